//! The new address and port of a translation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::registers::Registers;
use super::{Action, Evaluation, Step};
use crate::packet::Packet;
use fairway_ruleset::{Family, NatFlags, NatKind, RegisterRange};

impl Evaluation<'_> {
    /// What a translation does.
    pub(super) fn translation(
        &self,
        kind: NatKind,
        address: Option<RegisterRange>,
        port: Option<RegisterRange>,
        flags: NatFlags,
        registers: &Registers,
        packet: &Packet,
    ) -> Result<Action, Step> {
        let address = self.new_address(kind, address, flags, registers, packet)?;
        let port = match kind {
            NatKind::Destination => self.new_port(port, flags, registers, packet)?,
            NatKind::Source => new_source_port(port, registers)?,
        };
        Ok(Action::Translate { kind, address, port })
    }

    /// The new address: of a range, the kernel takes one by a hash of the source (`find_best_ips_proto` in
    /// net/netfilter/nf_nat_core.c).
    fn new_address(
        &self,
        kind: NatKind,
        range: Option<RegisterRange>,
        flags: NatFlags,
        registers: &Registers,
        packet: &Packet,
    ) -> Result<Option<IpAddr>, Step> {
        let Some(range) = range else { return Ok(None) };
        let length = if packet.family() == Family::Ip6 { 16 } else { 4 };
        for register in [range.first, range.last] {
            if let Some(reason) = registers.unknown(register, length) {
                return Err(Step::Unknown(reason));
            }
        }
        let read = |register| registers.address(register, packet.family()).map(number);
        let (Some(first), Some(last)) = (read(range.first), read(range.last)) else { return Ok(None) };
        let address = |number: u128| match packet.family() {
            Family::Ip6 => IpAddr::from(Ipv6Addr::from(number)),
            _ => Ipv4Addr::from(number as u32).into(),
        };
        if flags.contains(NatFlags::NETMAP) {
            let tuple = packet.tuple();
            let own = if kind == NatKind::Source { tuple.source } else { tuple.destination };
            // The bits in which the ends differ are those of the host.
            let host = first ^ last;
            return Ok(Some(address(first & !host | number(own) & host)));
        }
        let count = u32::try_from(last.saturating_sub(first)).map_or(u32::MAX, |more| more.saturating_add(1));
        let taken = match count {
            1 => 0,
            _ => self.pick(count, true, |taken| address(first + u128::from(taken)).to_string())?,
        };
        Ok(Some(address(first + u128::from(taken))))
    }

    /// The new destination port: of a range the own port, if it is one of them, else the first that is free; with
    /// `random` any (`get_unique_tuple` and `nf_nat_l4proto_unique_tuple` in net/netfilter/nf_nat_core.c).
    pub(super) fn new_port(
        &self,
        range: Option<RegisterRange>,
        flags: NatFlags,
        registers: &Registers,
        packet: &Packet,
    ) -> Result<Option<u16>, Step> {
        let Some(range) = range.filter(|_| is_range(range, registers)) else {
            return port_of(range, registers);
        };
        let end = |register| port_of(Some(RegisterRange::from(register)), registers);
        let (first, last) = (end(range.first)?.unwrap_or_default(), end(range.last)?.unwrap_or_default());
        let is_random = flags.contains(NatFlags::RANDOM) || flags.contains(NatFlags::FULLY_RANDOM);
        let own = packet.tuple().destination_port;
        if (first..=last).contains(&own) && !is_random {
            return Ok(Some(own));
        }
        let count = u32::from(last.saturating_sub(first)) + 1;
        let port = |taken: u32| first.saturating_add(taken as u16);
        let taken = self.pick(count, is_random, |taken| format!("port {}", port(taken)))?;
        Ok(Some(port(taken)))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Whether the ends of a range of ports differ.
fn is_range(range: Option<RegisterRange>, registers: &Registers) -> bool {
    range.is_some_and(|range| registers.bytes(range.first, 2) != registers.bytes(range.last, 2))
}

/// The new source port. Of a range none: which one the packet gets decides nothing that is shown.
pub(super) fn new_source_port(
    range: Option<RegisterRange>,
    registers: &Registers,
) -> Result<Option<u16>, Step> {
    if is_range(range, registers) { Ok(None) } else { port_of(range, registers) }
}

/// The first port of a range.
fn port_of(range: Option<RegisterRange>, registers: &Registers) -> Result<Option<u16>, Step> {
    let Some(range) = range else { return Ok(None) };
    for register in [range.first, range.last] {
        if let Some(reason) = registers.unknown(register, 2) {
            return Err(Step::Unknown(reason));
        }
    }
    Ok(Some(u16::from_be_bytes(registers.bytes(range.first, 2).try_into().unwrap_or_default())))
}
