//! What comes of asking somebody: the first packet, its answer, one of those after it, and for a proxied port the
//! second connection.

use std::net::{IpAddr, SocketAddr};

use super::evaluate::Effect;
use super::machine::{Listener, Scene};
use super::packet::{Place, Tuple};
use super::route::is_link_local;
use super::step::{End, Path, Step};
use super::walk::Walker;
use fairway_ruleset::Reject;

const TCP: u8 = 6;

/// All walks of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The first packet.
    pub first: Path,
    /// What answers it, if it is delivered.
    pub answer: Option<Path>,
    /// The next packet after that, if the answer arrives.
    pub later: Option<Path>,
    /// The next packet of the answer, where conntrack did not see all of those before: it may take this one for new.
    pub next: Option<Path>,
    /// What tells the sender of the answer, or of the packet after it, that it was refused.
    pub refusal: Option<Path>,
    /// The connection that the proxy makes, if the first one ends at it.
    pub proxied: Option<Box<Conversation>>,
}

/// A program that makes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker {
    /// Its machine, by place in the scene.
    pub machine: usize,
    /// The number of its user, if that is known.
    pub user: Option<u32>,
    /// The interface that it asks by, as in `fe80::1%eth0`; none when the route decides.
    pub interface: Option<u32>,
}

impl Maker {
    /// A program on a machine of which no more is known.
    pub fn on(machine: usize) -> Self {
        Self { machine, user: None, interface: None }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program on a machine.
    On(usize),
    /// A program on a machine that asks by an interface of it.
    By(usize, u32),
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
    /// It was accepted and closed again: the proxy did not reach whom it speaks for, or a rule resets what comes next.
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
    let ask = |walker: &mut Walker<'_>, tuple, place| match asker {
        Asker::On(machine) => walker.made(Maker { user, ..Maker::on(machine) }, tuple, place),
        Asker::By(machine, interface) => {
            walker.made(Maker { machine, user, interface: Some(interface) }, tuple, place)
        }
        Asker::Behind(machine, interface) => walker.arrives(machine, interface, tuple, place),
    };
    let first = ask(walker, tuple, Place::First);
    let mut conversation =
        Conversation { first, answer: None, later: None, next: None, refusal: None, proxied: None };
    let End::Delivered { machine, proxy: target, tuple: seen, .. } = &conversation.first.end else {
        // A refusal has to find its way back too.
        conversation.answer = walker.refusal();
        if let Some(answer) = &mut conversation.answer {
            comes_back(scene, asker, &conversation.first, answer);
        }
        conversation.refusal = walker.refusal();
        return conversation;
    };
    let Some(there) = scene.machines.iter().position(|it| it.name == *machine) else { return conversation };
    let (target, seen) = (*target, *seen);
    // Datagrams are carried one by one: there is an answer when one has come back.
    if let Some(target) = target.filter(|_| tuple.protocol != TCP) {
        let second = converse_as(walker, Asker::On(there), to(target, tuple), proxy.user, proxy);
        let answered = matches!(second.outcome(), Outcome::Answered(_));
        conversation.proxied = Some(Box::new(second));
        if !answered {
            return conversation;
        }
    }
    let interface = walker.arrived().filter(|_| is_link_local(seen.source));
    let maker = Maker { interface, ..Maker::on(there) };
    let mut answer = walker.made(maker, seen.reversed(), Place::Answer);
    comes_back(scene, asker, &conversation.first, &mut answer);
    let mut open = tuple.protocol == TCP;
    if arrives(&answer) {
        let again = ask(walker, tuple, Place::Later);
        open &= arrives(&again);
        let is_unseen = [&conversation.first, &answer, &again].into_iter().any(is_unseen);
        conversation.later = Some(again);
        if open && is_unseen {
            let mut next = walker.made(maker, seen.reversed(), Place::Later);
            comes_back(scene, asker, &conversation.first, &mut next);
            open &= arrives(&next);
            conversation.next = Some(next);
        }
    }
    conversation.refusal = walker.refusal();
    if let Some(target) = target.filter(|_| open && arrives(&answer)) {
        let second = converse_as(walker, Asker::On(there), to(target, tuple), proxy.user, proxy);
        conversation.proxied = Some(Box::new(second));
    }
    conversation.answer = Some(answer);
    conversation
}

/// Ends an answer that leaves for where nothing is known elsewhere than where it was asked for: the asker may get it
/// by another way if it is outside, and does not if it is known where it is.
fn comes_back(scene: &Scene, asker: Asker, first: &Path, answer: &mut Path) {
    let End::Leaves { machine, interface, next, .. } = &answer.end else { return };
    let leaves = format!("the answer leaves by {interface} for {next}");
    let machine = machine.clone();
    let asked_at = first.steps.iter().find_map(|step| match step {
        Step::Arrives { machine, interface, .. } => Some((machine, interface)),
        _ => None,
    });
    match (asker, asked_at) {
        (Asker::On(place) | Asker::By(place, _), _) => {
            let asker = scene.machines.get(place).map_or("", |it| it.name.as_str());
            answer.end =
                End::Discarded { machine, reason: format!("{leaves}, which does not lead to {asker}") };
        }
        (Asker::Behind(..), Some((at, by))) if (at, by) != (&machine, interface) => {
            let reason = format!(
                "{leaves}, not by {by}, where it was asked for: whether it arrives is not known here"
            );
            answer.end = End::Unknown { machine, reason };
        }
        _ => {}
    }
}

/// Whether conntrack was kept from a packet somewhere, or did not know it.
fn is_unseen(path: &Path) -> bool {
    path.steps.iter().any(|step| match step {
        Step::Tracked { state, .. } => *state == "invalid",
        Step::Chain { met, .. } => met.iter().any(|met| met.effects.contains(&Effect::Untrack)),
        _ => false,
    })
}

/// Whether somebody gets it, here or behind what is known.
fn arrives(path: &Path) -> bool {
    matches!(path.end, End::Delivered { .. } | End::Leaves { .. })
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

    /// The packet of the open connection that does not arrive.
    pub(super) fn stuck(&self) -> Option<&Path> {
        [&self.later, &self.next].into_iter().flatten().find(|path| !arrives(path))
    }

    /// What came of it, in short.
    pub fn outcome(&self) -> Outcome {
        let answered = self.answer.as_ref().is_some_and(arrives);
        let is_tcp = matches!(&self.first.end, End::Delivered { tuple, .. } if tuple.protocol == TCP);
        if let Some(second) = &self.proxied {
            return match second.outcome() {
                Outcome::Unreachable | Outcome::Refused if is_tcp => Outcome::Closed,
                Outcome::Unreachable | Outcome::Refused => Outcome::Nothing,
                Outcome::Answered(_) if !answered => Outcome::Nothing,
                other => other,
            };
        }
        if let Some(stuck) = self.stuck().filter(|_| is_tcp && answered) {
            // Its sender takes the connection for open, and nothing comes through.
            return match stuck.end {
                End::Unknown { .. } => Outcome::Unknown,
                End::Rejected { how: Reject::TcpReset, .. } => Outcome::Closed,
                _ => Outcome::Nothing,
            };
        }
        let answer = self.answer.as_ref().map(|answer| &answer.end);
        match (&self.first.end, answer) {
            (End::Delivered { tuple, .. }, _) if answered => Outcome::Answered(tuple.source),
            (End::Unknown { .. }, _) | (_, Some(End::Unknown { .. })) => Outcome::Unknown,
            (End::NobodyListens { .. }, _) if answered => Outcome::Refused,
            (End::Rejected { how, .. }, _) if answered && how.is_refusal() => Outcome::Refused,
            (End::Rejected { .. } | End::NoRoute { .. } | End::Discarded { .. }, _) if answered => {
                Outcome::Unreachable
            }
            // The program that asks is told by its own kernel.
            (End::NoRoute { .. }, None) => Outcome::Unreachable,
            (End::Leaves { .. }, _) => Outcome::Left,
            _ => Outcome::Nothing,
        }
    }
}
