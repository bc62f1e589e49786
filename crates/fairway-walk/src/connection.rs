//! Walks the packets of a connection: the first packet, its reply, a later packet each way, and for a proxied port the
//! second connection.

use std::net::{IpAddr, SocketAddr};

use super::discard::DiscardReason;
use super::evaluate::Action;
use super::packet::{FlowPosition, Tuple};
use super::record::WalkRecord;
use super::route::is_link_local;
use super::sender::Sender;
use super::step::{End, PacketWalk, Step};
use super::topology::{Listener, NamespaceId, Topology};
use super::walk::Walker;
use fairway_ruleset::Reject;

const TCP: u8 = 6;

/// All walks of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionWalk {
    /// The first packet.
    pub first: PacketWalk,
    /// Its reply, if it is delivered.
    pub reply: Option<PacketWalk>,
    /// The next packet after that, if the reply arrives.
    pub established: Option<PacketWalk>,
    /// The next packet of the server, where conntrack did not see all packets before: its state may be `new`.
    pub next_reply: Option<PacketWalk>,
    /// The ICMP error or TCP reset to the sender of the reply, or of a later packet, that was refused.
    pub refusal: Option<PacketWalk>,
    /// The connection that the proxy makes, if the first one ends at it.
    pub proxied: Option<Box<ConnectionWalk>>,
}

/// Where the first packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A program in a namespace.
    Local(NamespaceId),
    /// A program in a namespace that sends by an interface of the namespace.
    LocalVia(NamespaceId, u32),
    /// A host behind an interface of a namespace, with that address.
    Remote(NamespaceId, u32),
}

/// The outcome of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered; it saw this source.
    Answered(IpAddr),
    /// A socket's absence or a rule refused a packet.
    Refused,
    /// The connection was accepted and closed again: the proxy did not reach its target, or a rule resets later
    /// packets.
    Closed,
    /// There is no route, and the origin gets an error.
    Unreachable,
    /// The origin gets no reply.
    NoReply,
    /// The packet leaves the host, and the reply cannot be predicted.
    LeavesHost,
    /// The outcome is not known.
    Unknown,
}

impl Outcome {
    /// Whether the connection is answered; none if that is not known.
    pub fn answered(&self) -> Option<bool> {
        match self {
            Self::Answered(_) => Some(true),
            Self::LeavesHost | Self::Unknown => None,
            _ => Some(false),
        }
    }
}

/// The number of the user that the proxy runs as, so that rules on it match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The user; none when it runs as root.
    pub user: Option<u32>,
}

/// Walks a connection. The caller chooses the source port in `tuple` if the origin names none.
pub fn walk_connection(topology: &Topology, origin: Origin, tuple: Tuple, proxy: Proxy) -> ConnectionWalk {
    walk_connection_with(&mut Walker::new(topology), origin, tuple, proxy)
}

/// Walks a connection with a walker that may know flows of earlier connections.
pub fn walk_connection_with(
    walker: &mut Walker<'_>,
    origin: Origin,
    tuple: Tuple,
    proxy: Proxy,
) -> ConnectionWalk {
    walk_connection_as(walker, origin, tuple, None, proxy)
}

fn walk_connection_as(
    walker: &mut Walker<'_>,
    origin: Origin,
    tuple: Tuple,
    user: Option<u32>,
    proxy: Proxy,
) -> ConnectionWalk {
    let topology = walker.topology();
    let ask = |walker: &mut Walker<'_>, tuple, place| match origin {
        Origin::Local(namespace) => {
            walker.walk_from_program(Sender { user, ..Sender::of(namespace) }, tuple, place)
        }
        Origin::LocalVia(namespace, interface) => {
            walker.walk_from_program(Sender { namespace, user, interface: Some(interface) }, tuple, place)
        }
        Origin::Remote(namespace, interface) => walker.arrives(namespace, interface, tuple, place),
    };
    let first = ask(walker, tuple, FlowPosition::First);
    let mut connection = ConnectionWalk {
        first,
        reply: None,
        established: None,
        next_reply: None,
        refusal: None,
        proxied: None,
    };
    let End::Delivered { namespace, proxy: target, tuple: seen, .. } = &connection.first.end else {
        // A refusal needs a route back too.
        connection.reply = walker.refusal();
        if let Some(reply) = &mut connection.reply {
            comes_back(topology, origin, &connection.first, reply);
        }
        connection.refusal = walker.refusal();
        return connection;
    };
    let (there, target, seen) = (*namespace, *target, *seen);
    // The proxy relays datagrams one by one: a reply exists when the target has sent one.
    if let Some(target) = target.filter(|_| tuple.protocol != TCP) {
        let second = walk_connection_as(walker, Origin::Local(there), to(target, tuple), proxy.user, proxy);
        let answered = matches!(second.outcome(), Outcome::Answered(_));
        connection.proxied = Some(Box::new(second));
        if !answered {
            return connection;
        }
    }
    let interface = walker.arrived().filter(|_| is_link_local(seen.source));
    let sender = Sender { interface, ..Sender::of(there) };
    let mut reply = walker.walk_from_program(sender, seen.reversed(), FlowPosition::Reply);
    comes_back(topology, origin, &connection.first, &mut reply);
    let mut open = tuple.protocol == TCP;
    if arrives(&reply) {
        let again = ask(walker, tuple, FlowPosition::Established);
        open &= arrives(&again);
        let is_unseen = [&connection.first, &reply, &again].into_iter().any(is_unseen);
        connection.established = Some(again);
        if open && is_unseen {
            let mut next = walker.walk_from_program(sender, seen.reversed(), FlowPosition::Established);
            comes_back(topology, origin, &connection.first, &mut next);
            open &= arrives(&next);
            connection.next_reply = Some(next);
        }
    }
    connection.refusal = walker.refusal();
    if let Some(target) = target.filter(|_| open && arrives(&reply)) {
        let second = walk_connection_as(walker, Origin::Local(there), to(target, tuple), proxy.user, proxy);
        connection.proxied = Some(Box::new(second));
    }
    connection.reply = Some(reply);
    connection
}

/// Ends a reply that leaves the host by another interface than the one where the request arrived. An origin outside the
/// topology may get the reply by another way; an origin within the topology does not.
fn comes_back(topology: &Topology, origin: Origin, first: &PacketWalk, reply: &mut PacketWalk) {
    let End::Leaves { namespace, interface, next, .. } = &reply.end else { return };
    let namespace = *namespace;
    let asked_at = first.steps.iter().find_map(|step| match step {
        Step::Arrives { namespace, interface, .. } => Some((namespace, interface)),
        _ => None,
    });
    match (origin, asked_at) {
        (Origin::Local(place) | Origin::LocalVia(place, _), _) => {
            let (interface, origin) = (interface.clone(), topology.name(place).to_owned());
            let reason = DiscardReason::ReplyAstray { interface, next: *next, origin };
            reply.end = End::Discarded { namespace, reason };
        }
        // The origin's side of that interface may be seen too.
        (Origin::Remote(..), Some(asked)) if passes(reply, asked) => {}
        (Origin::Remote(..), Some((at, by))) if (at, by) != (&namespace, interface) => {
            let reason = format!(
                "the reply leaves by {interface} for {next}, not by {by}, where the request arrived: whether the reply arrives is not known"
            );
            reply.end = End::Unknown { namespace, reason };
        }
        _ => {}
    }
}

/// Whether a packet leaves by an interface of a namespace.
fn passes(walk: &PacketWalk, (at, by): (&NamespaceId, &String)) -> bool {
    let leaves = |step: &Step| matches!(step, Step::Leaves { namespace, interface, .. } if (namespace, interface) == (at, by));
    walk.steps.iter().any(leaves)
}

/// Whether a packet bypassed conntrack somewhere, or conntrack found it invalid.
fn is_unseen(walk: &PacketWalk) -> bool {
    walk.steps.iter().any(|step| match step {
        Step::Tracked { state, .. } => *state == "invalid",
        Step::Chain { hits, .. } => hits.iter().any(|hit| hit.actions.contains(&Action::Untrack)),
        _ => false,
    })
}

/// Whether the packet is delivered or leaves the host.
fn arrives(walk: &PacketWalk) -> bool {
    matches!(walk.end, End::Delivered { .. } | End::Leaves { .. })
}

/// The connection that a proxy makes to a target, from a port of its own.
fn to(target: SocketAddr, of: Tuple) -> Tuple {
    let source = match target.ip() {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    Tuple {
        source,
        destination: target.ip(),
        destination_port: target.port(),
        source_port: of.source_port.wrapping_add(1).max(1024),
        ..of
    }
}

impl ConnectionWalk {
    /// Names the owners of the sockets that get packets. `name` is called with the namespace and the tuple that the
    /// socket sees, and only for sockets of programs that get a packet.
    pub fn name_owners(&mut self, name: &mut dyn FnMut(NamespaceId, &Tuple) -> Option<String>) {
        let ends = [Some(&mut self.first.end), self.established.as_mut().map(|walk| &mut walk.end)];
        for end in ends.into_iter().flatten() {
            if let End::Delivered { namespace, owner, tuple, proxy: None } = end
                && owner.starts_with(Listener::UNNAMED)
                && let Some(found) = name(*namespace, tuple)
            {
                *owner = found;
            }
        }
        if let Some(second) = &mut self.proxied {
            second.name_owners(name);
        }
    }

    /// Whether the first packet of TCP is delivered.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(&self.first.end, End::Delivered { tuple, .. } if tuple.protocol == TCP)
    }

    /// The packet of the established connection that does not arrive.
    pub(super) fn stuck(&self) -> Option<&PacketWalk> {
        [&self.established, &self.next_reply].into_iter().flatten().find(|walk| !arrives(walk))
    }

    /// The outcome of a connection.
    pub fn outcome(&self) -> Outcome {
        let answered = self.reply.as_ref().is_some_and(arrives);
        let is_tcp = self.is_tcp();
        if let Some(second) = &self.proxied {
            return match second.outcome() {
                Outcome::Unreachable | Outcome::Refused if is_tcp => Outcome::Closed,
                Outcome::Unreachable | Outcome::Refused => Outcome::NoReply,
                Outcome::Answered(_) if !answered => Outcome::NoReply,
                other => other,
            };
        }
        if let Some(stuck) = self.stuck().filter(|_| is_tcp && answered) {
            // The sender takes the connection for established, and no data arrives.
            return match stuck.end {
                End::Unknown { .. } => Outcome::Unknown,
                End::Rejected { how: Reject::TcpReset, .. } => Outcome::Closed,
                _ => Outcome::NoReply,
            };
        }
        let reply = self.reply.as_ref().map(|reply| &reply.end);
        match (&self.first.end, reply) {
            (End::Delivered { tuple, .. }, _) if answered => Outcome::Answered(tuple.source),
            (End::Unknown { .. }, _) | (_, Some(End::Unknown { .. })) => Outcome::Unknown,
            (End::NoListener { .. }, _) if answered => Outcome::Refused,
            (End::Rejected { how, .. }, _) if answered && how.is_refusal() => Outcome::Refused,
            (End::Rejected { .. } | End::NoRoute { .. } | End::Discarded { .. }, _) if answered => {
                Outcome::Unreachable
            }
            // The program that sends gets the error from its own kernel.
            (End::NoRoute { .. }, None) => Outcome::Unreachable,
            (End::Leaves { .. }, _) => Outcome::LeavesHost,
            _ => Outcome::NoReply,
        }
    }
}

impl ConnectionWalk {
    /// The walks as records, in the order in which they happen.
    pub fn records(&self, topology: &Topology) -> Vec<WalkRecord> {
        self.titled("", topology)
    }

    fn titled(&self, whose: &str, topology: &Topology) -> Vec<WalkRecord> {
        let record = |title: &str, walk: &PacketWalk| walk.record(format!("{title}{whose}"), topology);
        let mut records = vec![record("the first packet", &self.first)];
        if let Some(second) = &self.proxied {
            records.extend(second.titled(" of the proxy's connection", topology));
        }
        let replies =
            if matches!(self.first.end, End::Delivered { .. }) { "the reply" } else { "the error reply" };
        records.extend(self.reply.as_ref().map(|walk| record(replies, walk)));
        records.extend(self.established.as_ref().map(|walk| record("a later packet", walk)));
        records.extend(self.next_reply.as_ref().map(|walk| record("a later reply", walk)));
        records.extend(self.refusal.as_ref().map(|walk| record("the error about the reply", walk)));
        records
    }

    /// The outcome in a sentence, and the programs on the way on which it depends too.
    pub fn sentence(&self, topology: &Topology) -> String {
        let mut sentence = self.outcome_sentence(topology);
        let mut programs = Vec::new();
        self.programs(topology, &mut programs);
        if !programs.is_empty() {
            let programs = programs.join(", or by ");
            sentence.push_str(&format!(" Provided that it is not changed or dropped by {programs}."));
        }
        sentence
    }

    /// Collects the programs that packets meet, in words.
    fn programs(&self, topology: &Topology, found: &mut Vec<String>) {
        let walks = [Some(&self.first), self.reply.as_ref(), self.established.as_ref()];
        for step in walks.into_iter().flatten().flat_map(|walk| &walk.steps) {
            let Step::Program { namespace, interface, what } = step else { continue };
            let text = format!("{what} at {interface} of {}", topology.name(*namespace));
            if !found.contains(&text) {
                found.push(text);
            }
        }
        if let Some(second) = &self.proxied {
            second.programs(topology, found);
        }
    }

    fn outcome_sentence(&self, topology: &Topology) -> String {
        match self.outcome() {
            Outcome::Answered(source) => format!("It is answered; the server sees {source}."),
            Outcome::LeavesHost => "Leaves the host; the reply cannot be predicted.".to_owned(),
            Outcome::Unknown => format!("Not known: {}.", self.last_end().sentence(topology)),
            Outcome::NoReply => format!("No answer: {}.", self.last_end().sentence(topology)),
            Outcome::Closed => {
                format!("Accepted by the proxy, and closed again: {}.", self.last_end().sentence(topology))
            }
            Outcome::Refused | Outcome::Unreachable => {
                let end = self.last_end().sentence(topology);
                format!("{}{}.", end[..1].to_uppercase(), &end[1..])
            }
        }
    }

    /// The end that decided.
    pub fn last_end(&self) -> &End {
        &self.last_walk().end
    }

    /// The walk whose end decided.
    pub fn last_walk(&self) -> &PacketWalk {
        if let Some(second) = &self.proxied {
            return second.last_walk();
        }
        let delivered = matches!(self.first.end, End::Delivered { .. });
        let is_tcp = self.is_tcp();
        if let Some(stuck) = self.stuck().filter(|_| is_tcp) {
            return stuck;
        }
        match &self.reply {
            Some(reply) if delivered || !arrives(reply) => reply,
            _ => &self.first,
        }
    }
}
