//! The nf_tables registers that expressions of one rule share.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Step;
use super::load::{Loaded, any_port_reason};
use crate::packet::bits;
use fairway_ruleset::{Comparison, Family, Register};

const BYTES: usize = Register::COUNT as usize * Register::SIZE;

/// The registers of a rule.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    bytes: Vec<u8>,
    /// A bit for each byte whose value is not known.
    lost: u64,
    /// The reason why the values are not known.
    reason: String,
    /// Two bytes that are a port which may be any of a range: the position of the first, and the range.
    any_port: Option<(u32, (u16, u16))>,
}

/// The size in bytes of the longest value: an IPv6 address, or the name of an interface.
const WIDEST: usize = 16;

impl Registers {
    /// Puts a loaded value into a register; an absent value ends the rule.
    pub fn load(&mut self, to: Register, loaded: Loaded) -> Step {
        match loaded {
            Loaded::Value(value) => {
                self.put(to, &value);
                Step::Next
            }
            Loaded::Absent => Step::No,
            Loaded::Unknown(reason) => {
                // A rule may load an unknown value and not use it.
                self.lost |= place(to, WIDEST);
                self.overwrite_port(place(to, WIDEST));
                self.reason = reason;
                Step::Next
            }
            Loaded::AnyPort(value, at, range) => {
                self.put(to, &value);
                self.any_port = Some((first(to) + at, range));
                Step::Next
            }
            Loaded::Partly(value, unknown, reason) => {
                self.put(to, &value);
                self.lose_bytes(to, unknown);
                self.reason = reason;
                Step::Next
            }
        }
    }

    /// Marks bytes from a register on as not known; a bit for each.
    fn lose_bytes(&mut self, to: Register, unknown: u64) {
        self.lost |= unknown.checked_shl(first(to)).unwrap_or_default();
    }

    /// The bytes from a register on that are not known, also those of a port that may be any of a range, as bits from the
    /// first one on.
    fn lost(&self, from: Register, length: usize) -> u64 {
        let port = self.any_port.map_or(0, |(at, _)| bits(at..at + 2));
        (self.lost | port).checked_shr(first(from)).unwrap_or_default() & bits(0..length as u32)
    }

    /// Forgets the port that may be any of a range if a value is written over it.
    fn overwrite_port(&mut self, written: u64) {
        self.any_port = self.any_port.filter(|(at, _)| bits(*at..at + 2) & written == 0);
    }

    fn put(&mut self, to: Register, value: &[u8]) {
        self.bytes.resize(BYTES, 0);
        let written = place(to, value.len().next_multiple_of(Register::SIZE));
        self.overwrite_port(written);
        self.lost &= !written;
        let start = usize::from(to.slot()) * Register::SIZE;
        // The kernel clears the rest of the last slot.
        let end = (start + value.len().next_multiple_of(Register::SIZE)).min(BYTES);
        self.bytes[start..end].fill(0);
        let end = (start + value.len()).min(BYTES);
        self.bytes[start..end].copy_from_slice(&value[..end - start]);
    }

    /// The reason why a value is not known, if it is not.
    pub fn unknown(&self, from: Register, length: usize) -> Option<String> {
        let is_lost = self.lost & place(from, length) != 0;
        (self.lost(from, length) != 0).then(|| if is_lost { self.reason.clone() } else { self.port_reason() })
    }

    /// Marks all values as not known, with the reason.
    pub fn lose(&mut self, reason: String) {
        (self.lost, self.reason, self.any_port) = (u64::MAX, reason, None);
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

    fn matches(&self, from: Register, length: usize, holds: bool) -> Step {
        match self.unknown(from, length) {
            Some(reason) => Step::may_match(reason),
            None if holds => Step::Next,
            None => Step::No,
        }
    }

    /// The bytes from a register on, each none if it is not known.
    pub fn known(&self, from: Register, length: usize) -> Vec<Option<u8>> {
        let lost = self.lost(from, length);
        let is_lost = |at: usize| lost.checked_shr(at as u32).is_some_and(|bits| bits & 1 != 0);
        self.bytes(from, length)
            .into_iter()
            .enumerate()
            .map(|(at, it)| (!is_lost(at)).then_some(it))
            .collect()
    }

    /// Whether bytes from a register on have a port that may be any of a range: its offset among them.
    pub fn varies(&self, from: Register, length: usize) -> Option<(usize, (u16, u16))> {
        let (at, range) = self.any_port?;
        let within = at.checked_sub(first(from))? as usize;
        (within + 2 <= length).then_some((within, range))
    }

    /// The registers with each port that matters to a comparison with `bounds`, if bytes from a register on have a port that
    /// may be any of a range: those at its ends, and around the ports of the bounds. None otherwise.
    pub fn with_each_port<'b>(
        &self,
        from: Register,
        length: usize,
        bounds: impl IntoIterator<Item = &'b [u8]>,
    ) -> Vec<Self> {
        let Some((within, (least, most))) = self.varies(from, length) else { return Vec::new() };
        let mut ports = BTreeSet::from([least, most]);
        for bound in bounds {
            if let Some(bytes) = bound.get(within..within + 2) {
                let port = bytes.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
                let around = [port.saturating_sub(1), port, port.saturating_add(1)];
                ports.extend(around.into_iter().filter(|port| (least..=most).contains(port)));
            }
        }
        let with = |port: u16| {
            let (mut registers, mut value) = (self.clone(), self.bytes(from, length));
            value[within..within + 2].copy_from_slice(&port.to_be_bytes());
            let lost = registers.lost;
            registers.put(from, &value);
            (registers.lost, registers.any_port) = (lost, None);
            registers
        };
        ports.into_iter().map(with).collect()
    }

    /// Why the port that may be any of a range is not known.
    fn port_reason(&self) -> String {
        any_port_reason(self.any_port.map_or((0, u16::MAX), |(_, range)| range))
    }

    /// Puts a value that is made of those of other registers into a register; `lost` are its bytes that are not known.
    fn put_result(&mut self, from: &[Register], to: Register, value: &[u8], lost: u64) -> Step {
        let reason = from.iter().find_map(|from| self.unknown(*from, value.len()));
        self.put(to, value);
        if let Some(reason) = reason.filter(|_| lost != 0) {
            self.lose_bytes(to, lost);
            self.reason = reason;
        }
        Step::Next
    }

    /// The result of a comparison for each port that a value may have.
    fn for_each_port(
        &self,
        (from, bounds): (Register, &[&[u8]]),
        compare: impl Fn(&Self) -> Step,
    ) -> Option<Step> {
        let length = bounds.first().map_or(0, |bound| bound.len());
        let all = self.with_each_port(from, length, bounds.iter().copied());
        let mut steps = all.iter().map(compare);
        let one = steps.next()?;
        let is_like = |other: Step| matches!((&one, other), (Step::Next, Step::Next) | (Step::No, Step::No));
        Some(if steps.all(is_like) { one } else { Step::may_match(self.port_reason()) })
    }

    /// Compares as `memcmp` does. A byte that differs decides about equality, even if others are not known.
    pub fn compare(&self, from: Register, operator: Comparison, value: &[u8]) -> Step {
        let each = |registers: &Self| registers.compare(from, operator, value);
        if let Some(step) = self.for_each_port((from, &[value]), each) {
            return step;
        }
        let order = self.bytes(from, value.len()).as_slice().cmp(value);
        let mut pairs = self.known(from, value.len()).into_iter().zip(value);
        let differs = pairs.any(|(held, byte)| held.is_some_and(|held| held != *byte));
        match operator {
            Comparison::Equal if differs => return Step::No,
            Comparison::NotEqual if differs => return Step::Next,
            _ => {}
        }
        let holds = match operator {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        };
        self.matches(from, value.len(), holds)
    }

    /// Compares with both ends of a range.
    pub fn range(&self, from: Register, inverted: bool, first: &[u8], last: &[u8]) -> Step {
        let each = |registers: &Self| registers.range(from, inverted, first, last);
        if let Some(step) = self.for_each_port((from, &[first, last]), each) {
            return step;
        }
        let value = self.bytes(from, first.len());
        let within = first <= value.as_slice() && value.as_slice() <= last;
        self.matches(from, first.len(), within != inverted)
    }

    /// `to = (from & mask) ^ xor`.
    pub fn bitwise(&mut self, from: Register, to: Register, mask: &[u8], xor: &[u8]) -> Step {
        let value = self.bytes(from, mask.len());
        let changes = mask.iter().zip(xor.iter().chain(std::iter::repeat(&0)));
        let value: Vec<u8> =
            value.iter().zip(changes).map(|(byte, (mask, xor))| (byte & mask) ^ xor).collect();
        let masked = mask.iter().enumerate().filter(|(_, byte)| **byte != 0);
        let masked = masked.fold(0, |all, (at, _)| all | bits(at as u32..at as u32 + 1));
        self.put_result(&[from], to, &value, self.lost(from, mask.len()) & masked)
    }

    /// `to = one ^ other`.
    pub fn exclusive_or(&mut self, one: Register, other: Register, to: Register, length: usize) -> Step {
        let lost = self.lost(one, length) | self.lost(other, length);
        let pairs = self.bytes(one, length).into_iter().zip(self.bytes(other, length));
        let value: Vec<u8> = pairs.map(|(one, other)| one ^ other).collect();
        self.put_result(&[one, other], to, &value, lost)
    }

    /// Reverses the bytes of each number where the host's byte order is not the network's.
    pub fn swap_bytes(&mut self, from: Register, to: Register, length: u32, size: u32) -> Step {
        let mut value = self.bytes(from, length as usize);
        if cfg!(target_endian = "little") {
            value.chunks_mut(size.max(1) as usize).for_each(<[u8]>::reverse);
        }
        let lost = self.lost(from, length as usize);
        // The bytes change places.
        self.put_result(&[from], to, &value, if lost == 0 { 0 } else { bits(0..length) })
    }
}

/// The position of a register's first byte.
fn first(of: Register) -> u32 {
    u32::from(of.slot()) * Register::SIZE as u32
}

/// The bytes of a value that begins in a register, as bits.
fn place(from: Register, length: usize) -> u64 {
    bits(first(from)..first(from).saturating_add(length as u32))
}
