//! Matches.

use std::net::IpAddr;

use ipnet::IpNet;

use super::options::Given;
use super::{compare, masked, number, octets, range, undecided};
use crate::{
    Comparison, CtDirection, CtKey, CtState, Expression, Family, FibFlags, FibResult, Load, MetaKey,
    PayloadBase, Register,
};
use fairway_model::MacAddress;

const FIRST: Register = Register::FIRST;

/// What one match asks; none if it is not understood.
type Read = Option<Vec<Expression>>;

/// The name of an interface, or the begin of one with `+` behind it.
pub fn interface(load: Load, name: &str, inverted: bool) -> Read {
    let value = match name.strip_suffix('+') {
        Some("") if !inverted => return Some(Vec::new()),
        Some(begin) => begin.as_bytes().to_vec(),
        None => [name.as_bytes(), &[0]].concat(),
    };
    Some(compare(load, value, inverted))
}

/// Where the source or destination is in packets of a family.
pub const fn address_load(family: Family, source: bool) -> Load {
    match (family, source) {
        (Family::Ip, true) => Load::IP_SOURCE,
        (Family::Ip, false) => Load::IP_DESTINATION,
        (_, true) => Load::IP6_SOURCE,
        (_, false) => Load::IP6_DESTINATION,
    }
}

/// An address, with the length of its prefix or any mask.
pub fn address(load: Load, text: &str, inverted: bool) -> Read {
    let (address, mask) = match text.parse::<IpNet>() {
        Ok(net) => (net.network(), net.netmask()),
        Err(_) => match text.split_once('/') {
            Some((address, mask)) => (address.parse().ok()?, mask.parse().ok()?),
            None => {
                let net = IpNet::from(text.parse::<IpAddr>().ok()?);
                (net.network(), net.netmask())
            }
        },
    };
    let (mask, value): (Vec<u8>, Vec<u8>) = (octets(mask), octets(address));
    if mask.iter().all(|byte| *byte == u8::MAX) {
        return Some(compare(load, value, inverted));
    }
    let value = value.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
    Some(bits(load, mask, value, inverted))
}

/// The number of a protocol, or its name as iptables has it.
pub fn protocol(name: &str, inverted: bool) -> Read {
    let number = match name {
        "all" => return Some(Vec::new()),
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        "dccp" => 33,
        "udplite" => 136,
        "esp" | "ipv6-crypt" => 50,
        "ah" | "ipv6-auth" => 51,
        "gre" => 47,
        "igmp" => 2,
        other => other.parse::<u8>().ok()?,
    };
    Some(compare(Load::TRANSPORT, [number], inverted))
}

/// Pieces of an IPv4 packet that are not the first.
pub fn fragment(inverted: bool) -> Vec<Expression> {
    bits(Load::Payload(PayloadBase::Network, 6, 2), vec![0x1f, 0xff], vec![0, 0], !inverted)
}

/// Of the bits of a mask exactly these.
fn bits(load: Load, mask: Vec<u8>, value: Vec<u8>, inverted: bool) -> Vec<Expression> {
    let operator = if inverted { Comparison::NotEqual } else { Comparison::Equal };
    let (from, xor) = (FIRST, vec![0; mask.len()]);
    let masked = Expression::Bitwise { from, to: from, mask, xor };
    vec![load.into_register(from), masked, Expression::Compare { from, operator, value }]
}

/// Any of these bits.
fn any_bit(load: Load, mask: u32) -> Vec<Expression> {
    bits(load, mask.to_ne_bytes().to_vec(), vec![0; 4], true)
}

fn between(load: Load, first: Vec<u8>, last: Vec<u8>, inverted: bool) -> Vec<Expression> {
    match first == last {
        true => compare(load, first, inverted),
        false => vec![load.into_register(FIRST), Expression::Range { from: FIRST, inverted, first, last }],
    }
}

fn one_of(mut ways: Vec<Vec<Expression>>, inverted: bool) -> Vec<Expression> {
    match (ways.len(), inverted) {
        (1, false) => ways.remove(0),
        _ => vec![Expression::OneOf { ways, inverted }],
    }
}

/// The modules whose options are read one by one.
const UNDERSTOOD: [&str; 19] = [
    "tcp",
    "udp",
    "udplite",
    "sctp",
    "dccp",
    "icmp",
    "icmp6",
    "multiport",
    "conntrack",
    "state",
    "mark",
    "connmark",
    "iprange",
    "mac",
    "owner",
    "physdev",
    "pkttype",
    "ttl",
    "hl",
];

/// A module with its options; none if nothing of it is understood.
pub fn module(family: Family, name: &str, options: &[Given]) -> Read {
    let mut all = Vec::new();
    match name {
        "nfacct" => return Some(all),
        "rpfilter" => return reverse_path(options),
        "addrtype" => return address_type(options),
        // A fact of its own, whatever else is asked: without options it says nothing.
        _ if options.is_empty() && !matches!(name, "tcp" | "udp" | "sctp" | "conntrack") => return None,
        _ if !UNDERSTOOD.contains(&name) => return Some(undecided::read(name, options)),
        _ => {}
    }
    for option in options {
        let read = match name {
            "tcp" | "udp" | "udplite" | "sctp" | "dccp" => transport(option),
            "icmp" | "icmp6" => icmp(option),
            "multiport" => ports(option),
            "conntrack" | "state" => tracked(family, option),
            "mark" => marked(Load::Meta(MetaKey::Mark), option),
            "connmark" => marked(Load::Ct(CtKey::Mark, None), option),
            "iprange" => address_range(family, option),
            "mac" => hardware(option),
            "owner" => owner(option),
            "physdev" => port(option),
            "pkttype" => packet_type(option),
            "ttl" | "hl" => hop_limit(family, option),
            _ => return None,
        };
        // All that is asked has to hold, also what is not understood.
        all.extend(read.unwrap_or_else(|| undecided::read(name, std::slice::from_ref(option))));
    }
    Some(all)
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    match text.split_once(':') {
        Some((first, last)) => {
            let or = |text: &str, else_: u16| if text.is_empty() { Some(else_) } else { text.parse().ok() };
            Some((or(first, 0)?, or(last, u16::MAX)?))
        }
        None => text.parse().ok().map(|only| (only, only)),
    }
}

fn port_between(load: Load, text: &str, inverted: bool) -> Read {
    let (first, last) = port_range(text)?;
    Some(between(load, first.to_be_bytes().into(), last.to_be_bytes().into(), inverted))
}

fn transport(option: &Given) -> Read {
    let not = option.inverted;
    match (option.name.as_str(), option.arguments.as_slice()) {
        ("--sport", [ports]) => port_between(Load::SOURCE_PORT, ports, not),
        ("--dport", [ports]) => port_between(Load::DESTINATION_PORT, ports, not),
        ("--syn", []) => Some(bits(Load::TCP_FLAGS, vec![0x17], vec![0x02], not)),
        ("--tcp-flags", [mask, set]) => {
            Some(bits(Load::TCP_FLAGS, vec![flags(mask)?], vec![flags(set)?], not))
        }
        _ => None,
    }
}

/// Flags of TCP by name (RFC 9293, 3.1).
fn flags(names: &str) -> Option<u8> {
    let bit = |name: &str| match name {
        "FIN" => Some(0x01),
        "SYN" => Some(0x02),
        "RST" => Some(0x04),
        "PSH" => Some(0x08),
        "ACK" => Some(0x10),
        "URG" => Some(0x20),
        "ALL" => Some(0x3f),
        "NONE" => Some(0),
        _ => None,
    };
    names.split(',').try_fold(0, |bits, name| Some(bits | bit(name)?))
}

fn icmp(option: &Given) -> Read {
    let text = option.one("--icmp-type").or_else(|| option.one("--icmpv6-type"))?;
    if text == "any" {
        return (!option.inverted).then(Vec::new);
    }
    let value = match text.split_once('/') {
        Some((kind, code)) => vec![kind.parse().ok()?, code.parse().ok()?],
        None => vec![text.parse().ok()?],
    };
    let load = Load::Payload(PayloadBase::Transport, 0, value.len() as u32);
    Some(compare(load, value, option.inverted))
}

fn ports(option: &Given) -> Read {
    let (source, destination) = match option.name.as_str() {
        "--sports" => (true, false),
        "--dports" => (false, true),
        "--ports" => (true, true),
        _ => return None,
    };
    let [list] = option.arguments.as_slice() else { return None };
    let sides = [(source, Load::SOURCE_PORT), (destination, Load::DESTINATION_PORT)];
    let mut ways = Vec::new();
    for (_, load) in sides.into_iter().filter(|(asked, _)| *asked) {
        for ports in list.split(',') {
            ways.push(port_between(load, ports, false)?);
        }
    }
    Some(one_of(ways, option.inverted))
}

/// Bits of a flow's status (`IPS_*`).
const EXPECTED: u32 = 1;
const SEEN_REPLY: u32 = 2;
const CONFIRMED: u32 = 8;
const SOURCE_TRANSLATED: u32 = 16;
const DESTINATION_TRANSLATED: u32 = 32;

fn tracked(family: Family, option: &Given) -> Read {
    let [text] = option.arguments.as_slice() else { return None };
    let not = option.inverted;
    let of = |key, direction| Load::Ct(key, Some(direction));
    let (original, reply) = (CtDirection::Original, CtDirection::Reply);
    let (source, destination) = match family {
        Family::Ip => (CtKey::SourceIpv4, CtKey::DestinationIpv4),
        _ => (CtKey::SourceIpv6, CtKey::DestinationIpv6),
    };
    match option.name.as_str() {
        "--ctstate" | "--state" => states(text, not),
        "--ctstatus" => {
            let bit = |name: &str| match name {
                "EXPECTED" => Some(EXPECTED),
                "SEEN_REPLY" => Some(SEEN_REPLY),
                "CONFIRMED" => Some(CONFIRMED),
                _ => None,
            };
            let mask = text.split(',').try_fold(0, |mask, name| Some(mask | bit(name)?))?;
            Some(one_of(vec![any_bit(Load::Ct(CtKey::Status, None), mask)], not))
        }
        "--ctdir" => {
            let direction = if text == "REPLY" { reply } else { original };
            Some(compare(Load::Ct(CtKey::Direction, None), [direction.number()], not))
        }
        "--ctproto" => Some(compare(Load::Ct(CtKey::TransportProtocol, None), [text.parse().ok()?], not)),
        "--ctorigsrc" => address(of(source, original), text, not),
        "--ctorigdst" => address(of(destination, original), text, not),
        "--ctreplsrc" => address(of(source, reply), text, not),
        "--ctrepldst" => address(of(destination, reply), text, not),
        "--ctorigsrcport" => port_between(of(CtKey::SourcePort, original), text, not),
        "--ctorigdstport" => port_between(of(CtKey::DestinationPort, original), text, not),
        "--ctreplsrcport" => port_between(of(CtKey::SourcePort, reply), text, not),
        "--ctrepldstport" => port_between(of(CtKey::DestinationPort, reply), text, not),
        _ => None,
    }
}

/// States; iptables counts among them what was translated.
fn states(names: &str, inverted: bool) -> Read {
    let (mut state, mut status) = (0, 0);
    for name in names.split(',') {
        match name {
            "INVALID" => state |= CtState::Invalid.number(),
            "ESTABLISHED" => state |= CtState::Established.number(),
            "RELATED" => state |= CtState::Related.number(),
            "NEW" => state |= CtState::New.number(),
            "UNTRACKED" => state |= CtState::Untracked.number(),
            "SNAT" => status |= SOURCE_TRANSLATED,
            "DNAT" => status |= DESTINATION_TRANSLATED,
            _ => return None,
        }
    }
    let asked = [(state, CtKey::State), (status, CtKey::Status)];
    let ways = asked.into_iter().filter(|(mask, _)| *mask != 0);
    Some(one_of(ways.map(|(mask, key)| any_bit(Load::Ct(key, None), mask)).collect(), inverted))
}

fn marked(load: Load, option: &Given) -> Read {
    let (value, mask) = masked(option.one("--mark")?)?;
    if mask == u32::MAX {
        return Some(compare(load, value.to_ne_bytes(), option.inverted));
    }
    Some(bits(load, mask.to_ne_bytes().into(), value.to_ne_bytes().into(), option.inverted))
}

fn address_range(family: Family, option: &Given) -> Read {
    let source = match option.name.as_str() {
        "--src-range" => true,
        "--dst-range" => false,
        _ => return None,
    };
    let [text] = option.arguments.as_slice() else { return None };
    let (first, last) = range::<IpAddr>(text, '-')?;
    Some(between(address_load(family, source), octets(first), octets(last), option.inverted))
}

fn hardware(option: &Given) -> Read {
    let mac = option.one("--mac-source")?.parse::<MacAddress>().ok()?;
    Some(compare(Load::ETHER_SOURCE, mac.0, option.inverted))
}

/// The user whose socket sent the packet; a packet without a socket does not match.
fn owner(option: &Given) -> Read {
    let (key, text) = match option.name.as_str() {
        "--uid-owner" => (MetaKey::SocketUser, option.arguments.first()?),
        "--gid-owner" => (MetaKey::SocketGroup, option.arguments.first()?),
        _ => return None,
    };
    let (first, last) = range::<u32>(text, '-')?;
    // Bytes are compared from the first on, and numbers are in the host's order.
    let few = (first..=last).take(MOST_OWNERS + 1).count() <= MOST_OWNERS;
    let ways = (first..=last).map(|user| compare(Load::Meta(key), user.to_ne_bytes(), false));
    few.then(|| one_of(ways.collect(), option.inverted))
}

/// How many users or groups may be listed one by one.
const MOST_OWNERS: usize = 1024;

/// The port of a bridge.
fn port(option: &Given) -> Read {
    let load = |output| Expression::BridgePort { output, to: FIRST };
    let named = |output, name: &str| {
        let value = match name.strip_suffix('+') {
            Some(begin) => begin.as_bytes().to_vec(),
            None => [name.as_bytes(), &[0]].concat(),
        };
        let operator = if option.inverted { Comparison::NotEqual } else { Comparison::Equal };
        vec![load(output), Expression::Compare { from: FIRST, operator, value }]
    };
    let any = |output| {
        let operator = if option.inverted { Comparison::Equal } else { Comparison::NotEqual };
        vec![load(output), Expression::Compare { from: FIRST, operator, value: vec![0; 16] }]
    };
    Some(match (option.name.as_str(), option.arguments.as_slice()) {
        ("--physdev-in", [name]) => named(false, name),
        ("--physdev-out", [name]) => named(true, name),
        ("--physdev-is-in", []) => any(false),
        ("--physdev-is-out" | "--physdev-is-bridged", []) => any(true),
        _ => return None,
    })
}

fn packet_type(option: &Given) -> Read {
    let number = match option.one("--pkt-type")? {
        "unicast" => 0,
        "broadcast" => 1,
        "multicast" => 2,
        _ => return None,
    };
    Some(compare(Load::Meta(MetaKey::PacketType), [number], option.inverted))
}

/// The time to live, or hop limit.
fn hop_limit(family: Family, option: &Given) -> Read {
    let offset = if family == Family::Ip6 { 7 } else { 8 };
    let [text] = option.arguments.as_slice() else { return None };
    let operator = match (option.name.as_str(), option.inverted) {
        ("--ttl-eq" | "--hl-eq", false) => Comparison::Equal,
        ("--ttl-eq" | "--hl-eq", true) => Comparison::NotEqual,
        ("--ttl-lt" | "--hl-lt", false) => Comparison::Less,
        ("--ttl-gt" | "--hl-gt", false) => Comparison::Greater,
        _ => return None,
    };
    let load = Load::Payload(PayloadBase::Network, offset, 1).into_register(FIRST);
    Some(vec![load, Expression::Compare { from: FIRST, operator, value: vec![text.parse().ok()?] }])
}

/// Kinds of addresses (`RTN_*`).
fn address_type(options: &[Given]) -> Read {
    let kinds = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
    ];
    let only = options.iter().fold(0, |flags, option| {
        flags
            | match option.name.as_str() {
                "--limit-iface-in" => FibFlags::INPUT.0,
                "--limit-iface-out" => FibFlags::OUTPUT.0,
                _ => 0,
            }
    });
    let mut all = Vec::new();
    for option in options {
        let side = match option.name.as_str() {
            "--src-type" => FibFlags::SOURCE,
            "--dst-type" => FibFlags::DESTINATION,
            "--limit-iface-in" | "--limit-iface-out" => continue,
            _ => return None,
        };
        let load = Load::Fib(FibResult::AddressType, FibFlags(side.0 | only));
        let mut ways = Vec::new();
        for name in option.arguments.first()?.split(',') {
            let kind = kinds.iter().position(|kind| *kind == name)? as u32;
            ways.push(compare(load, kind.to_ne_bytes(), false));
        }
        all.extend(one_of(ways, option.inverted));
    }
    Some(all)
}

/// Whether the way back leads to where it came from.
fn reverse_path(options: &[Given]) -> Read {
    let (mut flags, mut inverted) = (FibFlags::SOURCE.0 | FibFlags::INPUT.0, false);
    for option in options {
        match option.name.as_str() {
            "--loose" => flags &= !FibFlags::INPUT.0,
            "--validmark" => flags |= FibFlags::MARK.0,
            "--invert" => inverted = true,
            _ => return None,
        }
    }
    Some(compare(Load::Fib(FibResult::Interface, FibFlags(flags)), 0_u32.to_ne_bytes(), !inverted))
}

/// What a mark is made of: `(it & !mask) ^ value`.
pub fn mark(text: &str) -> Option<(u32, u32)> {
    masked(text)
}

/// A mask by its option; all bits without one.
pub fn mask(options: &[Given], name: &str) -> Option<u32> {
    options.iter().find(|option| option.name == name).map_or(Some(u32::MAX), |it| number(it.one(name)?))
}
