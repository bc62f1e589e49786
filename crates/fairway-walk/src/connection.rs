//! What comes of asking somebody: the first packet, its answer, one of those after it, and for a proxied port the
//! second connection.

use std::net::{IpAddr, SocketAddr};

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
    /// The next packet after that, if the answer arrives.
    pub established: Option<PacketWalk>,
    /// The next packet of the answer, where conntrack did not see all of those before: it may take this one for new.
    pub next_reply: Option<PacketWalk>,
    /// What tells the sender of the answer, or of the packet after it, that it was refused.
    pub refusal: Option<PacketWalk>,
    /// The connection that the proxy makes, if the first one ends at it.
    pub proxied: Option<Box<ConnectionWalk>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A program on a namespace.
    Local(NamespaceId),
    /// A program on a namespace that asks by an interface of it.
    LocalVia(NamespaceId, u32),
    /// Somebody behind an interface of a namespace, from that address.
    Remote(NamespaceId, u32),
}

/// What came of it, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered; the server saw this source.
    Answered(IpAddr),
    /// It was refused.
    Refused,
    /// It was accepted and closed again: the proxy did not reach whom it speaks for, or a rule resets what comes next.
    Closed,
    /// There is no way, and the origin is told.
    Unreachable,
    /// Nothing comes back.
    NoReply,
    /// It leaves for where nothing is known.
    LeavesHost,
    /// It is not known.
    Unknown,
}

/// The number of the user that the proxy runs as, so that rules on it match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The user; none when it runs as root.
    pub user: Option<u32>,
}

/// Walks a connection. Ports that the origin does not name are made up by the caller, in `tuple`.
pub fn walk_connection(topology: &Topology, origin: Origin, tuple: Tuple, proxy: Proxy) -> ConnectionWalk {
    walk_connection_with(&mut Walker::new(topology), origin, tuple, proxy)
}

/// Walks a connection with a walker, which may know flows of before.
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
        // A refusal has to find its way back too.
        connection.reply = walker.refusal();
        if let Some(reply) = &mut connection.reply {
            comes_back(topology, origin, &connection.first, reply);
        }
        connection.refusal = walker.refusal();
        return connection;
    };
    let (there, target, seen) = (*namespace, *target, *seen);
    // Datagrams are carried one by one: there is an answer when one has come back.
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

/// Ends an answer that leaves for where nothing is known on_demand than where it was asked for: the origin may get it
/// by another way if it is outside, and does not if it is known where it is.
fn comes_back(topology: &Topology, origin: Origin, first: &PacketWalk, reply: &mut PacketWalk) {
    let End::Leaves { namespace, interface, next, .. } = &reply.end else { return };
    let leaves = format!("the answer leaves by {interface} for {next}");
    let namespace = *namespace;
    let asked_at = first.steps.iter().find_map(|step| match step {
        Step::Arrives { namespace, interface, .. } => Some((namespace, interface)),
        _ => None,
    });
    match (origin, asked_at) {
        (Origin::Local(place) | Origin::LocalVia(place, _), _) => {
            let origin = topology.name(place);
            reply.end =
                End::Discarded { namespace, reason: format!("{leaves}, which does not lead to {origin}") };
        }
        (Origin::Remote(..), Some((at, by))) if (at, by) != (&namespace, interface) => {
            let reason = format!(
                "{leaves}, not by {by}, where it was asked for: whether it arrives is not known here"
            );
            reply.end = End::Unknown { namespace, reason };
        }
        _ => {}
    }
}

/// Whether conntrack was kept from a packet somewhere, or did not know it.
fn is_unseen(walk: &PacketWalk) -> bool {
    walk.steps.iter().any(|step| match step {
        Step::Tracked { state, .. } => *state == "invalid",
        Step::Chain { hits, .. } => hits.iter().any(|hit| hit.actions.contains(&Action::Untrack)),
        _ => false,
    })
}

/// Whether somebody gets it, here or behind what is known.
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
    /// Says better whose sockets get packets: asked for each namespace and what the socket sees, where it is a program's
    /// own. Only what is known to get a packet is worth looking for.
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

    /// The packet of the open connection that does not arrive.
    pub(super) fn stuck(&self) -> Option<&PacketWalk> {
        [&self.established, &self.next_reply].into_iter().flatten().find(|walk| !arrives(walk))
    }

    /// What came of it, in short.
    pub fn outcome(&self) -> Outcome {
        let answered = self.reply.as_ref().is_some_and(arrives);
        let is_tcp = matches!(&self.first.end, End::Delivered { tuple, .. } if tuple.protocol == TCP);
        if let Some(second) = &self.proxied {
            return match second.outcome() {
                Outcome::Unreachable | Outcome::Refused if is_tcp => Outcome::Closed,
                Outcome::Unreachable | Outcome::Refused => Outcome::NoReply,
                Outcome::Answered(_) if !answered => Outcome::NoReply,
                other => other,
            };
        }
        if let Some(stuck) = self.stuck().filter(|_| is_tcp && answered) {
            // Its sender takes the connection for open, and nothing comes through.
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
            // The program that asks is told by its own kernel.
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
            if matches!(self.first.end, End::Delivered { .. }) { "its answer" } else { "its refusal" };
        records.extend(self.reply.as_ref().map(|walk| record(replies, walk)));
        records.extend(self.established.as_ref().map(|walk| record("an established one", walk)));
        records.extend(self.next_reply.as_ref().map(|walk| record("the next one of the answer", walk)));
        records.extend(self.refusal.as_ref().map(|walk| record("the refusal of that", walk)));
        records
    }

    /// What comes of it, in a sentence.
    pub fn sentence(&self, topology: &Topology) -> String {
        match self.outcome() {
            Outcome::Answered(source) => format!("It is answered; the server sees {source}."),
            Outcome::LeavesHost => "It leaves; what answers is not known here.".to_owned(),
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
        let is_tcp = matches!(&self.first.end, End::Delivered { tuple, .. } if tuple.protocol == TCP);
        if let Some(stuck) = self.stuck().filter(|_| is_tcp) {
            return stuck;
        }
        match &self.reply {
            Some(reply) if delivered || !arrives(reply) => reply,
            _ => &self.first,
        }
    }
}
