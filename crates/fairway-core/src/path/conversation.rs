//! What comes of asking somebody: the first packet, its answer, one of those after it, and for a proxied port the
//! second connection.

use std::net::{IpAddr, SocketAddr};

use super::machine::{Listener, Scene};
use super::packet::{Place, Tuple};
use super::step::{End, Path};
use super::walk::Walker;

/// All walks of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The first packet.
    pub first: Path,
    /// What answers it, if it is delivered.
    pub answer: Option<Path>,
    /// The next packet after that, if the answer arrives.
    pub later: Option<Path>,
    /// The connection that the proxy makes, if the first one ends at it.
    pub proxied: Option<Box<Conversation>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program on a machine.
    On(usize),
    /// Somebody behind an interface of a machine, from that address.
    Behind(usize, u32),
}

/// What came of it, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered; the server saw this source.
    Answered(IpAddr),
    /// It was refused.
    Refused,
    /// It was accepted and closed again: the proxy did not reach whom it speaks for.
    Closed,
    /// There is no way, and the asker is told.
    Unreachable,
    /// Nothing comes back.
    Nothing,
    /// It leaves for where nothing is known.
    Left,
    /// It is not known.
    Unknown,
}

/// The number of the user that the proxy runs as, so that rules on it match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proxy {
    /// The user; none when it runs as root.
    pub user: Option<u32>,
}

/// Walks a connection. Ports that the asker does not name are made up by the caller, in `tuple`.
pub fn converse(scene: &Scene, asker: Asker, tuple: Tuple, proxy: Proxy) -> Conversation {
    converse_by(&mut Walker::new(scene), asker, tuple, proxy)
}

/// Walks a connection with a walker, which may know flows of before.
pub fn converse_by(walker: &mut Walker<'_>, asker: Asker, tuple: Tuple, proxy: Proxy) -> Conversation {
    converse_as(walker, asker, tuple, None, proxy)
}

fn converse_as(
    walker: &mut Walker<'_>,
    asker: Asker,
    tuple: Tuple,
    user: Option<u32>,
    proxy: Proxy,
) -> Conversation {
    let scene = walker.scene();
    let first = match asker {
        Asker::On(machine) => walker.made(machine, tuple, Place::First, user),
        Asker::Behind(machine, interface) => walker.arrives(machine, interface, tuple, Place::First),
    };
    let mut conversation = Conversation { first, answer: None, later: None, proxied: None };
    let (machine, target, seen) = match &conversation.first.end {
        End::Delivered { machine, proxy, tuple, .. } => (machine, proxy, tuple),
        End::NobodyListens { machine, tuple } => {
            // The refusal has to find its way back too.
            let there = scene.machines.iter().position(|it| it.name == *machine);
            let back = there.map(|there| walker.made(there, tuple.reversed(), Place::Later, None));
            return Conversation { answer: back, ..conversation };
        }
        _ => return conversation,
    };
    let Some(there) = scene.machines.iter().position(|it| it.name == *machine) else { return conversation };
    let (target, seen) = (*target, *seen);
    let answer = walker.made(there, seen.reversed(), Place::Answer, None);
    if matches!(answer.end, End::Delivered { .. } | End::Leaves { .. }) {
        let again = match asker {
            Asker::On(machine) => {
                let source = first_source(&conversation.first).unwrap_or(tuple.source);
                walker.made(machine, Tuple { source, ..tuple }, Place::Later, user)
            }
            Asker::Behind(machine, interface) => walker.arrives(machine, interface, tuple, Place::Later),
        };
        conversation.later = Some(again);
        if let Some(target) = target {
            let second = converse_as(walker, Asker::On(there), to(target, tuple), proxy.user, proxy);
            conversation.proxied = Some(Box::new(second));
        }
    }
    conversation.answer = Some(answer);
    conversation
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

fn first_source(path: &Path) -> Option<IpAddr> {
    path.steps.iter().find_map(|step| match step {
        super::step::Step::Made { tuple, .. } => Some(tuple.source),
        _ => None,
    })
}

impl Conversation {
    /// Says better whose sockets get packets: asked for each machine and what the socket sees, where it is a program's
    /// own. Only what is known to get a packet is worth looking for.
    pub fn name_owners(&mut self, name: &mut dyn FnMut(&str, &Tuple) -> Option<String>) {
        let ends = [Some(&mut self.first.end), self.later.as_mut().map(|path| &mut path.end)];
        for end in ends.into_iter().flatten() {
            if let End::Delivered { machine, owner, tuple, proxy: None } = end
                && owner.starts_with(Listener::UNNAMED)
                && let Some(found) = name(machine, tuple)
            {
                *owner = found;
            }
        }
        if let Some(second) = &mut self.proxied {
            second.name_owners(name);
        }
    }

    /// What came of it, in short.
    pub fn outcome(&self) -> Outcome {
        if let Some(second) = &self.proxied {
            return match second.outcome() {
                Outcome::Unreachable | Outcome::Refused => Outcome::Closed,
                other => other,
            };
        }
        let answer = self.answer.as_ref().map(|answer| &answer.end);
        let arrives = matches!(answer, Some(End::Delivered { .. } | End::Leaves { .. }));
        match (&self.first.end, answer) {
            (End::Delivered { tuple, .. }, _) if arrives => Outcome::Answered(tuple.source),
            (End::Unknown { .. }, _) | (_, Some(End::Unknown { .. })) => Outcome::Unknown,
            (End::NobodyListens { .. }, _) if arrives => Outcome::Refused,
            (End::Rejected { .. } | End::NoRoute { .. }, _) => Outcome::Unreachable,
            (End::Leaves { .. }, _) => Outcome::Left,
            _ => Outcome::Nothing,
        }
    }
}
