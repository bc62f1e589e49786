//! Whether what was walked is what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fairway_ruleset::{Family, Hook};
use fairway_walk::{
    ConnectionWalk, End, NamespaceId, Origin, Outcome, PacketWalk, Proxy, Step, Topology, Tuple,
    walk_connection,
};

use crate::ask::Heard;
use crate::case::{ASKING, Asked, Protocol, SERVED};
use crate::watch;

/// What was noted of packets: the place, the family of the hook, whether it is IPv4, and the key.
pub type Noted = (String, Family, bool, Vec<u8>);

/// The first packet of a question.
pub fn tuple(asked: &Asked) -> Tuple {
    let ipv4 = asked.target.is_ipv4();
    let protocol = match asked.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Echo if ipv4 => 1,
        Protocol::Echo => 58,
    };
    let any = if ipv4 { "0.0.0.0" } else { "::" };
    Tuple {
        protocol,
        source: any.parse().unwrap(),
        destination: asked.target.ip(),
        source_port: asked.port,
        destination_port: asked.target.port(),
    }
}

pub fn walk(topology: &Topology, from: &str, asked: &Asked, user: Option<u32>) -> ConnectionWalk {
    let (namespace, _) = topology.iter().find(|(_, namespace)| namespace.name == from).unwrap();
    let origin = match asked.target {
        SocketAddr::V6(target) if target.scope_id() != 0 => Origin::LocalVia(namespace, target.scope_id()),
        _ => Origin::Local(namespace),
    };
    walk_connection(topology, origin, tuple(asked), Proxy { user })
}

/// The first packet of a path as it arrives at a namespace from another one, and where.
fn arrives_at(path: &PacketWalk, namespace: NamespaceId) -> Option<(&str, Tuple)> {
    path.steps.iter().find_map(|step| match step {
        Step::Arrives { namespace: at, interface, tuple } if *at == namespace => {
            Some((interface.as_str(), *tuple))
        }
        _ => None,
    })
}

/// The same without the neighbor, of whom nothing is known in life: what comes from there begins at the host's
/// interface, and what goes there ends with what a capture sees. What differs; none when both agree.
pub fn compare_alone(
    alone: &Topology,
    whole: &ConnectionWalk,
    from: &str,
    asked: &Asked,
    user: Option<u32>,
) -> Option<String> {
    // The neighbor comes after all others.
    let lan = NamespaceId(alone.namespaces.len());
    if let Some((_, tuple)) = arrives_at(&whole.first, lan).filter(|_| from != "lan") {
        let walked = walk(alone, from, asked, user);
        let agrees = matches!(&walked.first.end, End::Leaves { tuple: seen, .. } if *seen == tuple);
        return (!agrees)
            .then(|| format!("without the neighbor: not {tuple}, but {}", words(alone, &walked)));
    }
    let (interface, tuple) = arrives_at(&whole.first, NamespaceId::HOST).filter(|_| from == "lan")?;
    let index = alone.host().interface_named(interface)?.index;
    let walked = walk_connection(alone, Origin::Remote(NamespaceId::HOST, index), tuple, Proxy { user });
    if let Some((_, tuple)) = arrives_at(&whole.first, lan) {
        let agrees = matches!(&walked.first.end, End::Leaves { tuple: seen, .. } if *seen == tuple);
        return (!agrees)
            .then(|| format!("without the neighbor: not back as {tuple}, but {}", words(alone, &walked)));
    }
    let comes_back = |of: &ConnectionWalk| {
        of.reply.as_ref().is_some_and(|answer| {
            // Alone, what leaves by another interface than that of the question is not known to come back.
            arrives_at(answer, lan).is_some()
                || matches!(answer.end, End::Leaves { .. })
                || matches!(&answer.end, End::Unknown { reason, .. } if reason.contains("where the request arrived"))
        })
    };
    let same_end = std::mem::discriminant(&walked.first.end) == std::mem::discriminant(&whole.first.end);
    let agrees =
        same_end && comes_back(&walked) == comes_back(whole) && server_saw(&walked) == server_saw(whole);
    (!agrees).then(|| format!("without the neighbor: {}", words(alone, &walked)))
}

/// Whether nothing is expected to come back.
pub fn is_silent(connection: &ConnectionWalk) -> bool {
    matches!(connection.outcome(), Outcome::NoReply | Outcome::LeavesHost | Outcome::Unknown)
}

/// Whether it is of a question; the walker gives the odd ones to the proxy's own connections.
fn is_probe(port: u16) -> bool {
    (ASKING..ASKING + 10_000).contains(&port) && port.is_multiple_of(2)
}

/// Ports that are the same in a walk and in life; the others are the proxy's own.
fn is_fixed(port: u16) -> bool {
    is_probe(port) || port == SERVED || port == SERVED + 1 || (8000..9002).contains(&port) || port <= 1
}

fn parts(ipv4: bool) -> std::ops::Range<usize> {
    let rest = 12 + 2 * if ipv4 { 4 } else { 16 };
    rest + 4..rest + 12
}

/// A key without ports, which are not known beforehand.
fn plain((place, family, ipv4, key): Noted) -> Noted {
    let mut key = key;
    // What ICMP is about begins with its type and code.
    let skipped = usize::from(matches!(key[parts_protocol(ipv4)], 1 | 58));
    for port in key[parts(ipv4)].chunks_exact_mut(2).skip(skipped) {
        if !is_fixed(u16::from_be_bytes([port[0], port[1]])) {
            port.fill(0);
        }
    }
    (place, family, ipv4, key)
}

/// The question that a key belongs to, by its port; none for the proxy's own connections.
fn asker_of((_, _, ipv4, key): &Noted) -> Option<u16> {
    let ports = key[parts(*ipv4)].chunks_exact(2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    ports.into_iter().find(|port| is_probe(*port))
}

fn counted_on(topology: &Topology, path: &PacketWalk) -> impl Iterator<Item = Noted> {
    path.counted.iter().filter(|counted| counted.table == watch::NAME).map(|counted| {
        let ipv4 = counted.set == watch::SETS[0];
        (topology.name(counted.namespace).to_owned(), counted.family, ipv4, counted.key.clone())
    })
}

fn counted(topology: &Topology, connection: &ConnectionWalk, into: &mut BTreeSet<Noted>) {
    let ConnectionWalk { first, reply, established, next_reply, refusal, .. } = connection;
    // Of datagrams and echoes one is sent: nothing comes later, and is refused.
    let is_tcp = matches!(&first.end, End::Delivered { tuple, .. } if tuple.protocol == 6);
    let (established, refusal) = match established {
        Some(_) if !is_tcp => (&None, &None),
        _ => (established, refusal),
    };
    let paths = [Some(first), reply.as_ref(), established.as_ref(), next_reply.as_ref(), refusal.as_ref()];
    into.extend(paths.into_iter().flatten().flat_map(|walk| counted_on(topology, walk)).map(plain));
    if let Some(second) = &connection.proxied {
        counted(topology, second, into);
    }
}

/// Whether a packet of it is for an unused address.
fn has_no_receiver(connection: &ConnectionWalk) -> bool {
    let paths = [Some(&connection.first), connection.reply.as_ref()];
    let ends = |path: &PacketWalk| matches!(path.end, End::NoNeighbor { .. });
    paths.into_iter().flatten().any(ends) || connection.proxied.as_deref().is_some_and(has_no_receiver)
}

fn is_refused_later(connection: &ConnectionWalk) -> bool {
    connection.established.as_ref().is_some_and(|later| matches!(later.end, End::Rejected { .. }))
}

/// Whether a packet of it is dropped where a bridge hears it.
fn ends_on_bridge(connection: &ConnectionWalk) -> bool {
    let paths = [Some(&connection.first), connection.reply.as_ref()];
    let ends = |path: &PacketWalk| {
        let last = path.steps.iter().rev().find(|step| matches!(step, Step::Chain { .. }));
        matches!(path.end, End::Dropped { .. })
            && matches!(last, Some(Step::Chain { bridged: true, hook: Hook::Prerouting, .. }))
    };
    paths.into_iter().flatten().any(ends) || connection.proxied.as_deref().is_some_and(ends_on_bridge)
}

/// The port of a question.
fn port_of(connection: &ConnectionWalk) -> Option<u16> {
    connection.first.steps.iter().find_map(|step| match step {
        Step::Made { tuple, .. } => Some(tuple.source_port),
        _ => None,
    })
}

fn is_error((_, _, ipv4, key): &Noted) -> bool {
    let kind = key[parts(*ipv4)][0];
    key[parts_protocol(*ipv4)] == if *ipv4 { 1 } else { 58 } && kind == if *ipv4 { 3 } else { 1 }
}

fn noted_in_words(noted: &Noted) -> String {
    let (place, family, ipv4, key) = noted;
    format!("{place} {}", watch::words(*family, *ipv4, key))
}

/// Compares the hooks that packets met, and returns what differs by the port of its question; 0 for the proxy's.
pub fn compare_hooks(
    topology: &Topology,
    walked: &[&ConnectionWalk],
    noted: Vec<Noted>,
) -> BTreeMap<u16, Vec<String>> {
    let mut expected = BTreeSet::new();
    walked.iter().for_each(|connection| counted(topology, connection, &mut expected));
    let seen: BTreeSet<Noted> = noted.into_iter().map(plain).collect();
    let mut wrong: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    let mut differ = |noted: &Noted, what: &str| {
        let text = format!("{what}: {}", noted_in_words(noted));
        wrong.entry(asker_of(noted).unwrap_or_default()).or_default().push(text);
    };
    let lost = walked.iter().copied().filter(|it| has_no_receiver(it) || ends_on_bridge(it));
    let lost: BTreeSet<u16> = lost.filter_map(port_of).collect();
    // A bridge whose rules drop a packet for its source drops the question first by which its sender looks for the
    // next one, so that the packet is not even sent.
    let unasked: BTreeSet<u16> =
        walked.iter().copied().filter(|it| ends_on_bridge(it)).filter_map(port_of).collect();
    let not_sent = |(_, family, ..): &Noted, port: Option<u16>| {
        *family == Family::Bridge && port.is_some_and(|port| unasked.contains(&port))
    };
    let missing = expected.difference(&seen).filter(|it| !not_sent(it, asker_of(it)));
    missing.for_each(|noted| differ(noted, "walked and not seen"));
    // That nobody has the next address is told by ICMP after three seconds, for which nobody waits here.
    let told_late =
        |noted: &&Noted| is_error(noted) && asker_of(noted).is_some_and(|port| lost.contains(&port));
    seen.difference(&expected)
        .filter(|it| !told_late(it))
        .for_each(|noted| differ(noted, "seen and not walked"));
    wrong
}

/// The error that a program without a connection does not see: what the last hook of its place noted.
pub fn with_errors(heard: Heard, place: &str, asked: &Asked, noted: &[Noted]) -> Heard {
    const INPUT_ENDS: [u8; 4] = [0, 0, 0, 3];
    if heard != Heard::Nothing || asked.protocol == Protocol::Tcp {
        return heard;
    }
    let about = noted.iter().find(|(at, family, ipv4, key)| {
        let parts = &key[parts(*ipv4)];
        let kind = if *ipv4 { 3 } else { 1 };
        at == place
            && *family == Family::Inet
            && key[..4] == INPUT_ENDS
            && parts[0] == kind
            && key[parts_protocol(*ipv4)] == if *ipv4 { 1 } else { 58 }
            && parts[4..6] == asked.port.to_be_bytes()
    });
    match about {
        Some((_, _, ipv4, key)) => {
            let code = key[parts(*ipv4)][1];
            let port_unreachable = if *ipv4 { 3 } else { 4 };
            if code == port_unreachable { Heard::Refused } else { Heard::Unreachable }
        }
        None => heard,
    }
}

fn parts_protocol(ipv4: bool) -> usize {
    parts(ipv4).start - 1
}

/// The addresses that the last server saw, and its own.
fn server_saw(connection: &ConnectionWalk) -> Option<(SocketAddr, SocketAddr)> {
    if let Some(second) = &connection.proxied {
        return server_saw(second).map(|(from, at)| (SocketAddr::new(from.ip(), 0), at));
    }
    match &connection.first.end {
        End::Delivered { tuple, .. } => Some((
            SocketAddr::new(tuple.source, tuple.source_port),
            SocketAddr::new(tuple.destination, tuple.destination_port),
        )),
        _ => None,
    }
}

/// Whom the origin hears.
fn answers(connection: &ConnectionWalk) -> Option<SocketAddr> {
    match &connection.reply.as_ref()?.end {
        End::Delivered { tuple, .. } => Some(SocketAddr::new(tuple.source, tuple.source_port)),
        _ => None,
    }
}

/// What differs between a walk and what was heard; none when they agree.
pub fn compare(connection: &ConnectionWalk, asked: &Asked, heard: Heard) -> Option<String> {
    let outcome = connection.outcome();
    let proxied = connection.proxied.is_some();
    let agrees = match (&outcome, heard) {
        (Outcome::Answered(_), Heard::Answer { from, mut seen, at }) => {
            let (source, own) = server_saw(connection)?;
            if proxied {
                seen.set_port(0);
            }
            answers(connection) == Some(from) && source == seen && own == at
        }
        (Outcome::Answered(_), Heard::Echo { from }) => {
            answers(connection).is_some_and(|answer| answer.ip() == from)
        }
        (Outcome::Refused, Heard::Refused) | (Outcome::Unreachable, Heard::Unreachable) => true,
        (Outcome::NoReply, Heard::Nothing) => true,
        // What ICMP says about an open connection is told to programs that ask for it.
        (Outcome::NoReply, Heard::Unreachable | Heard::Refused) if is_refused_later(connection) => true,
        // What is lost before it is sent is told to whoever sends a datagram.
        (Outcome::NoReply, Heard::Unreachable)
            if asked.protocol != Protocol::Tcp && matches!(connection.first.end, End::Discarded { .. }) =>
        {
            !connection.first.steps.iter().any(|step| matches!(step, Step::Leaves { .. }))
        }
        (Outcome::NoReply, Heard::Unreachable) => has_no_receiver(connection) || ends_on_bridge(connection),
        // Taken and reset at once: the reset may overtake the origin's own connect(2). Datagrams just vanish.
        (Outcome::Closed, Heard::Closed) => true,
        (Outcome::Closed, Heard::Refused) => asked.protocol == Protocol::Tcp,
        (Outcome::Closed, Heard::Nothing) => asked.protocol == Protocol::Udp,
        // The proxy has taken it and waits.
        _ => false,
    };
    (!agrees).then(|| {
        format!(
            "walked {outcome:?}{}, heard {heard:?}",
            match (answers(connection), server_saw(connection)) {
                (Some(answer), Some((source, own))) => format!(" (from {answer}; {own} sees {source})"),
                _ => String::new(),
            }
        )
    })
}

/// A walk in words.
pub fn words(topology: &Topology, connection: &ConnectionWalk) -> String {
    let mut text = String::new();
    for walk in connection.records(topology) {
        text += &format!("  {}\n", walk.title);
        for step in walk.steps {
            text += &format!("    {} {} {}\n", step.namespace, step.location(), step.text());
        }
        text += &format!("    = {}\n", walk.end.text);
    }
    text
}
