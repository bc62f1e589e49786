//! What expressions leave for those after them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Step;
use super::load::Loaded;
use crate::ruleset::{Comparison, Family, Register};

const BYTES: usize = Register::COUNT as usize * Register::SIZE;

/// The registers of a rule.
#[derive(Debug, Default)]
pub struct Registers {
    bytes: Vec<u8>,
    /// Why a value that was loaded is not known.
    unknown: Option<String>,
}

impl Registers {
    /// Puts what was loaded into a register; what is not there ends the rule.
    pub fn load(&mut self, to: Register, loaded: Loaded) -> Step {
        match loaded {
            Loaded::Value(value) => {
                self.put(to, &value);
                Step::Next
            }
            Loaded::Absent => Step::No,
            Loaded::Unknown(reason) => {
                // A rule may load it and not use it.
                self.unknown = Some(reason);
                Step::Next
            }
        }
    }

    fn put(&mut self, to: Register, value: &[u8]) {
        self.bytes.resize(BYTES, 0);
        let start = usize::from(to.slot()) * Register::SIZE;
        // The kernel clears the rest of the last slot.
        let end = (start + value.len().next_multiple_of(Register::SIZE)).min(BYTES);
        self.bytes[start..end].fill(0);
        let end = (start + value.len()).min(BYTES);
        self.bytes[start..end].copy_from_slice(&value[..end - start]);
    }

    /// Why a value is not known, if one is.
    pub fn unknown(&self) -> Option<String> {
        self.unknown.clone()
    }

    /// Bytes from a register on.
    pub fn bytes(&self, from: Register, length: usize) -> Vec<u8> {
        let start = usize::from(from.slot()) * Register::SIZE;
        let mut bytes = self.bytes.get(start..).unwrap_or_default().to_vec();
        bytes.resize(length, 0);
        bytes
    }

    /// A number in the host's order.
    pub fn number(&self, from: Register) -> u32 {
        u32::from_ne_bytes(self.bytes(from, 4).try_into().unwrap_or_default())
    }

    /// An address.
    pub fn address(&self, from: Register, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ip6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(self.bytes(from, 16)).ok()?).into()),
            _ => Some(Ipv4Addr::from(<[u8; 4]>::try_from(self.bytes(from, 4)).ok()?).into()),
        }
    }

    fn matches(&self, holds: bool) -> Step {
        match &self.unknown {
            Some(reason) => Step::Unknown(reason.clone()),
            None if holds => Step::Next,
            None => Step::No,
        }
    }

    /// Compares as `memcmp` does.
    pub fn compare(&self, from: Register, operator: Comparison, value: &[u8]) -> Step {
        let order = self.bytes(from, value.len()).as_slice().cmp(value);
        self.matches(match operator {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        })
    }

    /// Compares with both ends.
    pub fn range(&self, from: Register, inverted: bool, first: &[u8], last: &[u8]) -> Step {
        let value = self.bytes(from, first.len());
        let within = first <= value.as_slice() && value.as_slice() <= last;
        self.matches(within != inverted)
    }

    /// `to = (from & mask) ^ xor`.
    pub fn bitwise(&mut self, from: Register, to: Register, mask: &[u8], xor: &[u8]) -> Step {
        let value = self.bytes(from, mask.len());
        let bits = mask.iter().zip(xor.iter().chain(std::iter::repeat(&0)));
        let value: Vec<u8> = value.iter().zip(bits).map(|(byte, (mask, xor))| (byte & mask) ^ xor).collect();
        self.put(to, &value);
        Step::Next
    }

    /// Turns the bytes of each number, where the host's order is not the network's.
    pub fn turn(&mut self, from: Register, to: Register, length: u32, size: u32) -> Step {
        let mut value = self.bytes(from, length as usize);
        if cfg!(target_endian = "little") {
            value.chunks_mut(size.max(1) as usize).for_each(<[u8]>::reverse);
        }
        self.put(to, &value);
        Step::Next
    }
}
