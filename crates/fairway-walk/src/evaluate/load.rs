//! Loads facts that are not in the packet's bytes: meta, ct and fib.

use std::net::IpAddr;

use super::Facts;
use crate::packet::{Packet, Tuple};
use crate::route::{RouteQuery, RouteResult};
use crate::sender::ROOT;
use crate::topology::{Interface, Route, RouteKind};
use fairway_ruleset::{CtDirection, CtKey, CtState, Family, FibFlags, FibResult, MetaKey, PayloadBase};

/// The loaded value.
pub enum Loaded {
    /// These bytes.
    Value(Vec<u8>),
    /// The packet has no such value: the rule does not match.
    Absent,
    /// The value is not known, for this reason.
    Unknown(String),
    /// These bytes, of which two from an offset on are a port that may be any of a range.
    AnyPort(Vec<u8>, u32, (u16, u16)),
    /// These bytes, of which those at the bits are not known, for this reason.
    Partly(Vec<u8>, u64, String),
}

/// The reason for values that a sample does not have.
fn not_sampled() -> Loaded {
    Loaded::Unknown("the sample does not have the value".to_owned())
}

/// The reason for a source port that may be any of a range.
pub fn any_port_reason((least, most): (u16, u16)) -> String {
    format!("the source port may be any of {least}-{most}")
}

/// Loads bytes of the packet.
pub fn payload(facts: &Facts<'_>, packet: &Packet, base: PayloadBase, offset: u32, length: u32) -> Loaded {
    let Some(bytes) = packet.bytes(base, offset, length) else {
        return if facts.is_sample { not_sampled() } else { Loaded::Absent };
    };
    let port = packet.any_port(base, offset, length);
    match (packet.unknown(base, offset, length), port) {
        (0, None) => Loaded::Value(bytes.to_vec()),
        (0, Some((port, range))) => match port.count_ones() {
            2 => Loaded::AnyPort(bytes.to_vec(), port.trailing_zeros(), range),
            _ => Loaded::Partly(bytes.to_vec(), port, any_port_reason(range)),
        },
        _ if base == PayloadBase::Link => Loaded::Unknown("the sender's MAC address is not known".to_owned()),
        (unknown, port) => {
            let unknown = unknown | port.map_or(0, |(port, _)| port);
            let reason = match facts.is_sample {
                true => "the sample does not have the value",
                false => "packets differ in the value",
            };
            Loaded::Partly(bytes.to_vec(), unknown, reason.to_owned())
        }
    }
}

fn number(value: u32) -> Loaded {
    Loaded::Value(value.to_ne_bytes().to_vec())
}

fn name(text: &str) -> Loaded {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(16, 0);
    Loaded::Value(bytes)
}

fn address(of: IpAddr) -> Loaded {
    Loaded::Value(match of {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    })
}

/// Loads a `meta` key.
pub fn meta(facts: &Facts<'_>, packet: &Packet, key: MetaKey) -> Loaded {
    // Without an interface the name is empty and the number 0; a rule on the group or kind does not match.
    let index = |interface: Option<&Interface>| number(interface.map_or(0, |it| it.index));
    let named = |interface: Option<&Interface>| name(interface.map_or("", |it| &it.name));
    let kind = |interface: Option<&Interface>| match interface {
        Some(it) if !it.kind.is_empty() => name(&it.kind),
        _ => Loaded::Absent,
    };
    let bridge = |port: Option<&Interface>| {
        let bridge = port.and_then(|port| port.bridge).and_then(|index| facts.namespace.interface(index));
        bridge.map_or(Loaded::Absent, |bridge| name(&bridge.name))
    };
    let ipv4 = packet.family() == Family::Ip;
    match key {
        MetaKey::InputName | MetaKey::InputInterface if facts.is_sample && facts.input.is_none() => {
            not_sampled()
        }
        MetaKey::OutputName | MetaKey::OutputInterface if facts.is_sample && facts.output.is_none() => {
            not_sampled()
        }
        MetaKey::Protocol => {
            let kind: u16 = if ipv4 { 0x0800 } else { 0x86dd };
            Loaded::Value(kind.to_be_bytes().to_vec())
        }
        MetaKey::InputInterface => index(facts.input),
        MetaKey::OutputInterface => index(facts.output),
        MetaKey::InputName => named(facts.input),
        MetaKey::OutputName => named(facts.output),
        MetaKey::NetworkFamily => Loaded::Value(vec![packet.family().number()]),
        MetaKey::TransportProtocol => Loaded::Value(vec![packet.tuple().protocol]),
        _ if facts.is_sample => not_sampled(),
        MetaKey::Mark => number(packet.mark),
        MetaKey::InputKind => kind(facts.input),
        MetaKey::OutputKind => kind(facts.output),
        MetaKey::InputBridge => bridge(facts.input),
        MetaKey::OutputBridge => bridge(facts.output),
        MetaKey::SocketUser => facts.user.map_or(Loaded::Absent, number),
        MetaKey::SocketGroup => match facts.user {
            None => Loaded::Absent,
            Some(ROOT) => number(ROOT),
            Some(user) => Loaded::Unknown(format!("the group of user {user}")),
        },
        // PACKET_HOST: a walked packet is for the namespace that gets it.
        MetaKey::PacketType => Loaded::Value(vec![0]),
        MetaKey::SecurityPath => Loaded::Value(vec![0]),
        MetaKey::Time | MetaKey::Day | MetaKey::Hour => {
            Loaded::Unknown("the match depends on the time".to_owned())
        }
        other => Loaded::Unknown(format!("{other} of a simulated packet")),
    }
}

/// Loads the name of the bridge port by which the packet arrived or leaves.
pub fn port(facts: &Facts<'_>, output: bool) -> Loaded {
    match facts.ports {
        None if facts.is_sample => not_sampled(),
        Some((input, leaving)) => name(if output { &leaving.name } else { &input.name }),
        // A packet that arrived by a bridge may have the port on record.
        None if !output && facts.input.is_some_and(|it| it.kind == "bridge") => {
            Loaded::Unknown("the bridge port where the packet arrived is not known".to_owned())
        }
        None => name(""),
    }
}

/// Loads a `ct` key.
pub fn ct(facts: &Facts<'_>, key: CtKey, direction: Option<CtDirection>) -> Loaded {
    let state = |bit: CtState| number(bit.number());
    let Some((flow, own)) = facts.flow else {
        // A packet that conntrack has not seen has a state and no other key.
        return match (key, facts.untracked) {
            (CtKey::State, true) => state(CtState::Untracked),
            (CtKey::State, false) => state(CtState::Invalid),
            _ => Loaded::Absent,
        };
    };
    let tuple: Tuple = match direction {
        Some(CtDirection::Reply) => flow.translated.reversed(),
        _ => flow.original,
    };
    let is_ipv4 = tuple.source.is_ipv4();
    let port = |port: u16| Loaded::Value(port.to_be_bytes().to_vec());
    match key {
        CtKey::State if facts.related => state(CtState::Related),
        CtKey::State if flow.answered || own == CtDirection::Reply => state(CtState::Established),
        CtKey::State => state(CtState::New),
        CtKey::Direction => Loaded::Value(vec![own.number()]),
        CtKey::Status => number(flow.status()),
        _ if facts.is_sample => not_sampled(),
        CtKey::Mark => number(flow.mark),
        CtKey::NetworkFamily => Loaded::Value(vec![tuple.family().number()]),
        CtKey::TransportProtocol => Loaded::Value(vec![tuple.protocol]),
        CtKey::Source => address(tuple.source),
        CtKey::Destination => address(tuple.destination),
        CtKey::SourceIpv4 if is_ipv4 => address(tuple.source),
        CtKey::DestinationIpv4 if is_ipv4 => address(tuple.destination),
        CtKey::SourceIpv6 if !is_ipv4 => address(tuple.source),
        CtKey::DestinationIpv6 if !is_ipv4 => address(tuple.destination),
        CtKey::SourceIpv4 | CtKey::DestinationIpv4 | CtKey::SourceIpv6 | CtKey::DestinationIpv6 => {
            Loaded::Absent
        }
        CtKey::SourcePort => port(tuple.source_port),
        CtKey::DestinationPort => port(tuple.destination_port),
        CtKey::Zone => Loaded::Value(vec![0, 0]),
        other => Loaded::Unknown(format!("ct {other} of a simulated flow")),
    }
}

/// Loads a fact about the socket that the packet is for: none has it if no socket listens, and no answer was seen.
pub fn socket(facts: &Facts<'_>, packet: &Packet) -> Loaded {
    let tuple = packet.tuple();
    let (lookup, id) = facts.lookup;
    let is_new = facts.flow.is_none_or(|(flow, own)| !flow.answered && own == CtDirection::Original);
    let place = (id, facts.namespace);
    let listener = lookup.listener(
        place,
        tuple.protocol,
        (tuple.destination, tuple.destination_port),
        facts.input.map(|it| it.index),
    );
    match listener {
        Ok(None) if is_new && !facts.is_sample => Loaded::Absent,
        _ => Loaded::Unknown("the rule looks up a socket of the host".to_owned()),
    }
}

/// Loads the result of a `fib` lookup.
pub fn fib(facts: &Facts<'_>, packet: &Packet, result: FibResult, flags: FibFlags) -> Loaded {
    let tuple = packet.tuple();
    let asked = if flags.contains(FibFlags::SOURCE) { tuple.source } else { tuple.destination };
    let only = match (flags.contains(FibFlags::INPUT), flags.contains(FibFlags::OUTPUT)) {
        (true, _) => facts.input.map(|it| it.index),
        (_, true) => facts.output.map(|it| it.index),
        _ => None,
    };
    if result == FibResult::AddressType {
        return number(facts.namespace.address_type(asked, only));
    }
    if facts.is_sample {
        return not_sampled();
    }
    // A packet from loopback arrived where its source is expected (nft_fib_is_loopback, rpfilter_is_loopback).
    if let Some(loopback) = facts.input.filter(|it| it.loopback && flags.contains(FibFlags::SOURCE)) {
        return match result {
            _ if flags.contains(FibFlags::PRESENT) => Loaded::Value(vec![1]),
            FibResult::Interface => number(loopback.index),
            _ => name(&loopback.name),
        };
    }
    let other = if flags.contains(FibFlags::SOURCE) { tuple.destination } else { tuple.source };
    let mark = if flags.contains(FibFlags::MARK) { packet.mark } else { 0 };
    let question = RouteQuery { source: Some(other), mark, ..RouteQuery::to(asked) };
    let found = match facts.namespace.route(&question) {
        RouteResult::Unknown(reason) => return Loaded::Unknown(reason),
        RouteResult::Found(Route { kind: RouteKind::Multipath, .. }) => {
            return Loaded::Unknown("the route has several next hops".to_owned());
        }
        RouteResult::Found(route) if only.is_none_or(|index| route.interface == index) => {
            facts.namespace.interface(route.interface)
        }
        _ => None,
    };
    if flags.contains(FibFlags::PRESENT) {
        return Loaded::Value(vec![u8::from(found.is_some())]);
    }
    match result {
        FibResult::Interface => number(found.map_or(0, |it| it.index)),
        _ => name(found.map_or("", |it| &it.name)),
    }
}
