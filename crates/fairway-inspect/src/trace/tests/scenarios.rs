//! Events of a few packets, as the kernel reports them.

use std::net::{IpAddr, SocketAddr};

use crate::trace::{
    Captured, Change, ConntrackEvent, Event, EventKind, Filter, Head, ObservedPacket, Pattern, RuleMet,
    RuleTrace, Side, TracedNamespace,
};
use fairway_ruleset::{Family, Hook, Verdict};
use fairway_walk::Tuple;

const SYN: u8 = 2;
const ACK: u8 = 16;
const LAN: &str = "10.10.50.1:40000";
const HOST: &str = "10.10.50.99:8080";
const GATEWAY: &str = "172.18.0.1:40000";
const WEB: &str = "172.18.0.2:80";

/// A filter, and the events of packets in order.
pub struct Scene {
    pub filter: Filter,
    pub events: Vec<Event>,
}

pub fn scenes() -> Vec<Scene> {
    vec![published(), dropped()]
}

/// An IPv4 packet.
pub fn packet(source: &str, destination: &str, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, (20 + transport.len()) as u8, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
    for text in [source, destination] {
        let Ok(IpAddr::V4(address)) = text.parse() else { panic!("{text}") };
        bytes.extend(address.octets());
    }
    bytes.extend(transport);
    bytes
}

pub fn observed(bytes: Vec<u8>) -> ObservedPacket {
    ObservedPacket::of_packet(&bytes).unwrap()
}

/// A TCP segment with these flags and this sequence number.
pub fn tcp(source: &str, destination: &str, flags: u8, sequence: u8) -> ObservedPacket {
    let [source, destination]: [SocketAddr; 2] = [source, destination].map(|text| text.parse().unwrap());
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let rest = [0, 0, 0, sequence, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0];
    observed(packet(
        &source.ip().to_string(),
        &destination.ip().to_string(),
        6,
        &[&ports[..], &rest].concat(),
    ))
}

fn traced(namespace: &str) -> TracedNamespace {
    match namespace {
        "host" => TracedNamespace::Host,
        sandbox => TracedNamespace::Container(sandbox.to_owned()),
    }
}

/// A packet at an interface.
pub fn seen(at: u64, namespace: &str, interface: &str, outgoing: bool, observed: ObservedPacket) -> Event {
    let captured = Captured { at, interface: interface.to_owned(), outgoing, observed, frame: None };
    Event { namespace: traced(namespace), kind: EventKind::Captured(captured) }
}

struct Met<'a> {
    id: u32,
    family: Family,
    chain: &'a str,
    base: Option<(Hook, i32)>,
    text: &'a str,
    comment: Option<&'a str>,
    verdict: Verdict,
}

/// A rule that a packet met; with `head` the packet and its interfaces.
fn met(met: Met<'_>, head: Option<(ObservedPacket, &str, &str)>) -> Event {
    let Met { id, family, chain, base, text, comment, verdict } = met;
    let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let head =
        head.map(|(observed, input, output)| Head { observed, input: name(input), output: name(output) });
    let rule = RuleMet::Rule { handle: 7, text: Some(text.to_owned()), comment: comment.map(str::to_owned) };
    let table = if text.is_empty() { "fairway-trace-1" } else { "fairway" };
    let ruled = RuleTrace {
        id,
        head,
        family,
        table: table.to_owned(),
        chain: chain.to_owned(),
        base,
        met: rule,
        verdict,
    };
    Event { namespace: TracedNamespace::Host, kind: EventKind::Rule(ruled) }
}

fn inet<'a>(id: u32, chain: &'a str, base: Option<(Hook, i32)>, text: &'a str, verdict: Verdict) -> Met<'a> {
    Met { id, family: Family::Inet, chain, base, text, comment: None, verdict }
}

fn tuple(source: &str, destination: &str) -> Tuple {
    tcp(source, destination, SYN, 1).tuple
}

fn filter(from: Side, to: Side) -> Filter {
    let mut filter = Filter::default();
    filter.patterns.push(Pattern { from, to, ports: None });
    filter
}

/// A connection to a published port: translated in both directions, and answered.
pub fn published() -> Scene {
    let asked = || tcp(LAN, HOST, SYN, 1);
    let translated = || tcp(LAN, WEB, SYN, 1);
    let hidden = || tcp(GATEWAY, WEB, SYN, 1);
    let (first, late) = (Some((Hook::Prerouting, i32::MIN)), Some((Hook::Prerouting, -100)));
    let masked = Some((Hook::Postrouting, 100));
    let answers =
        [tcp(WEB, GATEWAY, SYN | ACK, 2), tcp(WEB, LAN, SYN | ACK, 2), tcp(HOST, LAN, SYN | ACK, 2)];
    let [answer, known, visible] = answers;
    let flow = ConntrackEvent {
        change: Change::New,
        id: 99,
        original: tuple(LAN, HOST),
        reply: tuple(GATEWAY, WEB).reversed(),
    };
    let events = vec![
        seen(100, "host", "eth0", false, asked()),
        met(inet(1, "mark", None, "", Verdict::Accept), Some((asked(), "eth0", ""))),
        met(inet(1, "prerouting", first, "", Verdict::Accept), None),
        met(
            inet(1, "nat-prerouting", late, "jump publish", Verdict::Jump("publish".into())),
            Some((asked(), "eth0", "")),
        ),
        met(inet(1, "published-dnat", None, "dnat ip to @published4", Verdict::Accept), None),
        met(
            inet(1, "forward", Some((Hook::Forward, 0)), "ct status dnat accept", Verdict::Accept),
            Some((translated(), "eth0", "br-app")),
        ),
        met(
            inet(1, "nat-postrouting", masked, "masquerade", Verdict::Accept),
            Some((translated(), "", "br-app")),
        ),
        Event { namespace: TracedNamespace::Host, kind: EventKind::Conntrack(flow) },
        seen(140, "host", "br-app", true, hidden()),
        seen(141, "host", "fw1", true, hidden()),
        seen(142, "web", "eth0", false, hidden()),
        seen(200, "web", "eth0", true, answer.clone()),
        seen(201, "host", "fw1", false, answer.clone()),
        met(
            Met { family: Family::Bridge, ..inet(2, "mark", None, "", Verdict::Accept) },
            Some((answer.clone(), "fw1", "")),
        ),
        seen(202, "host", "br-app", false, answer.clone()),
        met(inet(3, "mark", None, "", Verdict::Accept), Some((answer, "br-app", ""))),
        met(
            inet(3, "forward", Some((Hook::Forward, 0)), "ct state established accept", Verdict::Accept),
            Some((known, "br-app", "eth0")),
        ),
        seen(240, "host", "eth0", true, visible),
    ];
    let lan: IpAddr = "10.10.50.1".parse().unwrap();
    Scene { filter: filter(Side::Nets(vec![lan.into()]), Side::Any), events }
}

/// A packet to another network, which a rule drops.
pub fn dropped() -> Scene {
    let asked = || tcp("172.19.0.2:40000", WEB, SYN, 3);
    let forward = Some((Hook::Forward, 0));
    let events = vec![
        seen(100, "db", "eth0", true, asked()),
        seen(101, "host", "fw2", false, asked()),
        seen(102, "host", "br-other", false, asked()),
        met(inet(5, "mark", None, "", Verdict::Accept), Some((asked(), "br-other", ""))),
        met(
            inet(5, "forward", forward, "goto network-in", Verdict::Goto("network-in".into())),
            Some((asked(), "br-other", "br-app")),
        ),
        met(
            Met {
                comment: Some("port not published"),
                ..inet(5, "network-in", None, "drop comment \"port not published\"", Verdict::Drop)
            },
            None,
        ),
    ];
    let web: IpAddr = "172.18.0.2".parse().unwrap();
    Scene { filter: filter(Side::Any, Side::Nets(vec![web.into()])), events }
}
