//! Routes and policy routing rules.

use fairway_walk::{Route, RouteKind, RouteRule};
use ipnet::IpNet;

use super::Error;
use crate::netlink::{Batch, Message, Protocol, Socket};
use crate::route::RouteEntry;

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// The length of `struct fib_rule_hdr`.
const HEADER: usize = 12;
const RTM_GETRULE: u16 = 34;

/// Converts a route for the packet walker.
pub fn route(entry: RouteEntry) -> Route {
    Route {
        table: entry.table,
        destination: entry.destination,
        kind: match entry.kind {
            libc::RTN_LOCAL | libc::RTN_ANYCAST => RouteKind::Local,
            libc::RTN_BROADCAST => RouteKind::Broadcast,
            libc::RTN_MULTICAST => RouteKind::Multicast,
            libc::RTN_BLACKHOLE => RouteKind::Blackhole,
            libc::RTN_UNREACHABLE => RouteKind::Unreachable,
            libc::RTN_PROHIBIT => RouteKind::Prohibit,
            libc::RTN_THROW => RouteKind::Throw,
            _ if entry.next_hops > 1 => RouteKind::Multipath,
            _ => RouteKind::Unicast,
        },
        gateway: entry.gateway,
        interface: entry.interface,
        metric: entry.metric,
        source: entry.source,
    }
}

/// Attributes of a rule (`FRA_*`, linux/fib_rules.h).
mod attribute {
    pub const TO: u16 = 1;
    pub const FROM: u16 = 2;
    pub const INPUT: u16 = 3;
    pub const PRIORITY: u16 = 6;
    pub const MARK: u16 = 10;
    /// Routes with no longer prefix than this are ignored; -1 is none.
    pub const SUPPRESS_PREFIX: u16 = 14;
    pub const TABLE: u16 = 15;
    pub const MASK: u16 = 16;
    pub const OUTPUT: u16 = 17;
    pub const PROTOCOL: u16 = 21;
    pub const TRANSPORT: u16 = 22;
    pub const SOURCE_PORTS: u16 = 23;
    pub const DESTINATION_PORTS: u16 = 24;
    /// Since Linux 6.15 a port comes with its mask: all bits for a single one.
    pub const PORT_MASKS: [u16; 2] = [28, 29];
    /// Attributes that do not select packets: padding, suppressed groups (-1), protocol.
    pub const HARMLESS: [u16; 3] = [0, 13, 18];
}

/// `FR_ACT_TO_TBL`, and the flag `FIB_RULE_INVERT`.
const TO_TABLE: u8 = 1;
const INVERT: u32 = 2;

/// All rules, in their order.
pub(super) fn rules() -> Result<Vec<RouteRule>, Error> {
    // Without a family the kernel dumps all.
    let mut batch = Batch::new();
    batch.message(RTM_GETRULE, DUMP, "list the routing rules").raw(&[0; HEADER]);
    let replies = Socket::open(Protocol::Route)?.dump(&mut batch)?;
    let mut rules: Vec<RouteRule> = replies.iter().filter_map(rule).collect();
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

/// Parses `RTM_NEWRULE`; none for multicast routing, which has rules of its own.
fn rule(message: &Message) -> Option<RouteRule> {
    let header: &[u8; HEADER] = message.payload.first_chunk()?;
    let ipv4 = match i32::from(header[0]) {
        libc::AF_INET => true,
        libc::AF_INET6 => false,
        _ => return None,
    };
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let attributes = message.attributes(HEADER);
    let value = |kind: u16| attributes.find(kind).and_then(|found| found.u32());
    let prefix = |kind: u16, length: u8| {
        let address = attributes.find(kind).and_then(|found| found.address());
        address.and_then(|address| IpNet::new(address, length).ok())
    };
    use attribute as a;
    let known = [
        a::TO,
        a::FROM,
        a::INPUT,
        a::PRIORITY,
        a::MARK,
        a::SUPPRESS_PREFIX,
        a::TABLE,
        a::MASK,
        a::OUTPUT,
        a::PROTOCOL,
        a::TRANSPORT,
        a::SOURCE_PORTS,
        a::DESTINATION_PORTS,
    ];
    let is_whole = |kind: &u16| {
        let mask = attributes.find(*kind).and_then(|found| found.u16());
        a::PORT_MASKS.contains(kind) && mask == Some(u16::MAX)
    };
    let kinds = &mut attributes.map(|found| found.kind);
    let strange = kinds.find(|kind| !(known.contains(kind) || a::HARMLESS.contains(kind) || is_whole(kind)));
    let unknown = match (header[7], strange) {
        (TO_TABLE, None) => None,
        (TO_TABLE, Some(kind)) => Some(format!("its attribute {kind} is not known here")),
        (action, _) => Some(format!("its action {action} is not known here")),
    };
    let text = |kind: u16| attributes.find(kind).and_then(|found| found.text()).map(str::to_owned);
    // `struct fib_rule_port_range`.
    let ports = |kind: u16| {
        let [first, last] = value(kind)?.to_ne_bytes().as_chunks::<2>().0.try_into().ok()?;
        Some((u16::from_ne_bytes(first), u16::from_ne_bytes(last)))
    };
    let mark = value(a::MARK).filter(|mark| *mark != 0 || value(a::MASK).is_some_and(|mask| mask != 0));
    Some(RouteRule {
        priority: value(a::PRIORITY).unwrap_or_default(),
        ipv4,
        from: prefix(a::FROM, header[2]),
        to: prefix(a::TO, header[1]),
        input: text(a::INPUT),
        output: text(a::OUTPUT),
        mark: mark.map(|mark| (mark, value(a::MASK).unwrap_or(u32::MAX))),
        protocol: attributes.find(a::TRANSPORT).and_then(|found| found.u8()),
        source_ports: ports(a::SOURCE_PORTS),
        destination_ports: ports(a::DESTINATION_PORTS),
        inverted: flags & INVERT != 0,
        table: value(a::TABLE).unwrap_or(header[4].into()),
        suppressed: value(a::SUPPRESS_PREFIX).and_then(|most| u8::try_from(most).ok()),
        unknown,
    })
}
