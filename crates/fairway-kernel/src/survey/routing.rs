//! Routes and the rules of the routing policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_core::path::{Route, RouteKind, RouteRule};
use ipnet::IpNet;

use super::Error;
use crate::netlink::{Attributes, Batch, Message, Protocol, Socket};

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// The lengths of `struct rtmsg` and `struct fib_rule_hdr`; they are laid out alike.
const HEADER: usize = 12;
const RTM_GETRULE: u16 = 34;
/// `RTM_F_CLONED`: made for one destination.
const CLONED: u32 = 0x200;

fn dump(kind: u16, family: u8, what: &str) -> Result<Vec<Message>, Error> {
    let mut header = [0; HEADER];
    header[0] = family;
    let mut batch = Batch::new();
    batch.message(kind, DUMP, format!("list the {what}")).raw(&header);
    Ok(Socket::open(Protocol::Route)?.dump(&mut batch)?)
}

fn families() -> impl Iterator<Item = (bool, u8)> {
    let has_ipv6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
    [(true, libc::AF_INET as u8), (false, libc::AF_INET6 as u8)]
        .into_iter()
        .filter(move |(ipv4, _)| *ipv4 || has_ipv6)
}

fn any(ipv4: bool) -> IpAddr {
    if ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// All routes, in all tables.
pub(super) fn routes() -> Result<Vec<Route>, Error> {
    let mut routes = Vec::new();
    for (ipv4, family) in families() {
        let replies = dump(libc::RTM_GETROUTE, family, "routes")?;
        routes.extend(replies.iter().filter_map(|reply| route(reply, ipv4)));
    }
    Ok(routes)
}

fn route(message: &Message, ipv4: bool) -> Option<Route> {
    let header: &[u8; HEADER] = message.payload.first_chunk()?;
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    if flags & CLONED != 0 {
        return None;
    }
    let attributes = message.attributes(HEADER);
    let address = |kind: u16| attributes.find(kind).and_then(|found| found.address());
    let value = |kind: u16| attributes.find(kind).and_then(|found| found.u32());
    // Of several next hops the first stands for all: struct rtnexthop is length, flags, hops, index, attributes.
    let hop = attributes.find(libc::RTA_MULTIPATH).map_or(&[][..], |found| found.value);
    let inner = Attributes::new(hop.get(8..).unwrap_or_default());
    let hop_interface = hop.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    Some(Route {
        table: value(libc::RTA_TABLE).unwrap_or(header[4].into()),
        destination: IpNet::new(address(libc::RTA_DST).unwrap_or(any(ipv4)), header[1]).ok()?,
        kind: match header[7] {
            libc::RTN_LOCAL | libc::RTN_ANYCAST => RouteKind::Local,
            libc::RTN_BROADCAST => RouteKind::Broadcast,
            libc::RTN_MULTICAST => RouteKind::Multicast,
            libc::RTN_BLACKHOLE => RouteKind::Blackhole,
            libc::RTN_UNREACHABLE => RouteKind::Unreachable,
            libc::RTN_PROHIBIT => RouteKind::Prohibit,
            libc::RTN_THROW => RouteKind::Throw,
            _ => RouteKind::Unicast,
        },
        gateway: address(libc::RTA_GATEWAY)
            .or_else(|| inner.find(libc::RTA_GATEWAY).and_then(|found| found.address())),
        interface: value(libc::RTA_OIF).or(hop_interface).unwrap_or_default(),
        metric: value(libc::RTA_PRIORITY).unwrap_or_default(),
        source: address(libc::RTA_PREFSRC),
    })
}

/// Attributes of a rule (`FRA_*`, linux/fib_rules.h).
mod attribute {
    pub const TO: u16 = 1;
    pub const FROM: u16 = 2;
    pub const INPUT: u16 = 3;
    pub const PRIORITY: u16 = 6;
    pub const MARK: u16 = 10;
    /// No longer prefix than this counts; -1 is none.
    pub const SUPPRESS_PREFIX: u16 = 14;
    pub const TABLE: u16 = 15;
    pub const MASK: u16 = 16;
    pub const PROTOCOL: u16 = 21;
    /// Those that say nothing about which packets it is for: padding, suppressed groups (-1), protocol.
    pub const HARMLESS: [u16; 3] = [0, 13, 18];
}

/// `FR_ACT_TO_TBL`, and the flag `FIB_RULE_INVERT`.
const TO_TABLE: u8 = 1;
const INVERT: u32 = 2;

/// All rules, in their order.
pub(super) fn rules() -> Result<Vec<RouteRule>, Error> {
    let mut rules = Vec::new();
    for (ipv4, family) in families() {
        let replies = dump(RTM_GETRULE, family, "routing rules")?;
        rules.extend(replies.iter().filter_map(|reply| rule(reply, ipv4)));
    }
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

fn rule(message: &Message, ipv4: bool) -> Option<RouteRule> {
    let header: &[u8; HEADER] = message.payload.first_chunk()?;
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let attributes = message.attributes(HEADER);
    let value = |kind: u16| attributes.find(kind).and_then(|found| found.u32());
    let prefix = |kind: u16, length: u8| {
        let address = attributes.find(kind).and_then(|found| found.address());
        address.and_then(|address| IpNet::new(address, length).ok())
    };
    use attribute as a;
    let known = [a::TO, a::FROM, a::INPUT, a::PRIORITY, a::MARK, a::TABLE, a::MASK, a::PROTOCOL];
    let strange = attributes.map(|found| found.kind).find(|kind| {
        let suppresses = *kind == a::SUPPRESS_PREFIX && value(a::SUPPRESS_PREFIX) != Some(u32::MAX);
        suppresses || !(known.contains(kind) || a::HARMLESS.contains(kind) || *kind == a::SUPPRESS_PREFIX)
    });
    let unknown = match (header[7], flags & INVERT, strange) {
        (TO_TABLE, 0, None) => None,
        (TO_TABLE, 0, Some(kind)) => Some(format!("its attribute {kind} is not known here")),
        (TO_TABLE, ..) => Some("it is for all but what it names".to_owned()),
        (action, ..) => Some(format!("its action {action} is not known here")),
    };
    let mark = value(a::MARK).filter(|mark| *mark != 0 || value(a::MASK).is_some_and(|mask| mask != 0));
    Some(RouteRule {
        priority: value(a::PRIORITY).unwrap_or_default(),
        ipv4,
        from: prefix(a::FROM, header[2]),
        to: prefix(a::TO, header[1]),
        input: attributes.find(a::INPUT).and_then(|found| found.text()).map(str::to_owned),
        mark: mark.map(|mark| (mark, value(a::MASK).unwrap_or(u32::MAX))),
        table: value(a::TABLE).unwrap_or(header[4].into()),
        unknown,
    })
}
