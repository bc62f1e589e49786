//! Deletes stale conntrack entries: of addresses and ports that are gone or lead elsewhere.
//!
//! A UDP client keeps its conntrack entry alive by sending, so its packets would go unanswered for as long as conntrack
//! translates to an address that has changed. And a new owner of an address must not inherit the connections of the one
//! before.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use fairway_core::object::{Difference, Key, Object};
use fairway_core::policy::port;
use fairway_kernel::conntrack::{Conntrack, Selector};
use fairway_model::Protocol;

use crate::{ApplyError, EngineError};

/// The entries to delete, and the channel that reports the end.
struct Request {
    selectors: HashSet<Selector>,
    done: SyncSender<()>,
}

/// Deletes conntrack entries on a thread, those of several changes in one pass: each pass lists all entries.
#[derive(Debug)]
pub(crate) struct Flows {
    queue: Sender<Request>,
}

impl Flows {
    /// Starts the thread in the namespace of the calling thread.
    pub fn start() -> Result<Self, EngineError> {
        let conntrack = Conntrack::open().map_err(|error| EngineError::Apply(ApplyError::from(error)))?;
        let (queue, requests) = channel();
        std::thread::Builder::new()
            .name("flows".to_owned())
            .spawn(move || run(&conntrack, &requests))
            .map_err(EngineError::Thread)?;
        Ok(Self { queue })
    }

    /// Deletes the entries that a difference makes stale, and meanwhile runs `work`; returns when both are done.
    /// `published` returns all published ports.
    pub fn forget_while<T>(
        &self,
        difference: &Difference,
        published: impl FnOnce() -> Vec<(Protocol, SocketAddr)>,
        work: impl FnOnce() -> T,
    ) -> T {
        let mut selectors = stale(difference);
        let changed = [true, false].map(|ipv4| (ipv4, becomes_filtered(difference, ipv4)));
        if changed.iter().any(|(_, becomes)| becomes.is_some()) {
            let ports = published();
            for (ipv4, firewall) in changed.into_iter().filter_map(|(ipv4, becomes)| Some((ipv4, becomes?))) {
                let ports = ports.iter().filter(|(_, at)| at.is_ipv4() == ipv4);
                selectors.extend(ports.filter_map(|(protocol, at)| other_way(*protocol, *at, firewall)));
            }
        }
        if selectors.is_empty() {
            return work();
        }
        let (done, finished) = sync_channel(1);
        let asked = self.queue.send(Request { selectors, done }).is_ok();
        let worked = work();
        if asked {
            // If the thread has ended there is nothing to wait for.
            let _ = finished.recv();
        }
        worked
    }
}

/// The stale entries: those of released addresses, of UDP and SCTP ports that lead elsewhere now, and of unpublished
/// TCP ports: translated connections would go on for as long as both ends live. The proxy cuts its own connections
/// itself.
fn stale(difference: &Difference) -> HashSet<Selector> {
    let mut selectors = HashSet::new();
    for object in difference.removed.values() {
        if let Object::Veth(link) = object {
            selectors.extend(link.addresses.iter().map(|address| Selector::Address(address.addr())));
        }
    }
    let ports = difference.keys().filter_map(port::published_port);
    let ports = ports.filter(|(protocol, _)| *protocol != Protocol::Tcp);
    selectors.extend(ports.map(|(protocol, at)| Selector::OriginalDestination(protocol, at)));
    // A rule that leads elsewhere now is another one.
    let added: HashSet<_> = difference.added.keys().filter_map(port::published_port).collect();
    let unpublished = difference.removed.keys().filter_map(port::published_port);
    let unpublished = unpublished.filter(|it| it.0 == Protocol::Tcp && !added.contains(it));
    selectors.extend(unpublished.map(|(protocol, at)| Selector::Translated(protocol, at)));
    // Connections by direct routing to a port that is no longer published.
    let direct = difference.removed.keys().filter_map(port::direct_port);
    selectors.extend(direct.map(|(protocol, at)| Selector::OriginalDestination(protocol, at)));
    selectors
}

/// Whether an address family gets or loses its firewall; none if neither.
fn becomes_filtered(difference: &Difference, ipv4: bool) -> Option<bool> {
    let filters = |object: Option<&Object>| match object {
        Some(Object::Ruleset(switches)) => switches.filters(ipv4),
        _ => false,
    };
    let other = difference.changed.get(&Key::Ruleset);
    let before = filters(difference.removed.get(&Key::Ruleset).or(other.map(|(old, _)| old)));
    let after = filters(difference.added.get(&Key::Ruleset).or(other.map(|(_, new)| new)));
    (before != after).then_some(after)
}

/// The entries to a port that would be translated otherwise if they began now, after the firewall came or went. Where
/// the host itself tracks connections, a translated entry breaks the proxy: its replies would begin an entry that
/// clashes with it, and conntrack drops those. Connections of the proxy go on.
fn other_way(protocol: Protocol, at: SocketAddr, firewall: bool) -> Option<Selector> {
    match (firewall, protocol) {
        (true, Protocol::Udp | Protocol::Sctp) => Some(Selector::Untranslated(protocol, at)),
        (true, Protocol::Tcp) => None,
        (false, _) => Some(Selector::Translated(protocol, at)),
    }
}

fn run(conntrack: &Conntrack, requests: &Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let all: Vec<Request> = std::iter::once(first).chain(requests.try_iter()).collect();
        let selectors: HashSet<Selector> = all.iter().flat_map(|request| request.selectors.clone()).collect();
        match conntrack.delete(&selectors) {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "deleted {count} stale conntrack entries"),
            Err(error) => tracing::warn!(%error, "failed to delete stale conntrack entries: {error}"),
        }
        for request in all {
            // The requester may have given up.
            let _ = request.done.send(());
        }
    }
}
