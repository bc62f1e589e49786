//! Removes the objects that are gone: links, routes, ports and files, and the counters of unpublished ports.

use std::collections::HashSet;
use std::net::SocketAddr;

use fairway_core::object::{Difference, Key, Object};
use fairway_core::policy::counting::Counted;
use fairway_core::traffic;
use fairway_kernel::route::Mark;
use fairway_model::Protocol;

use super::progress::Progress;
use super::{Applier, Desired};
use crate::error::{ApplyError, Subject};

/// So many ports are closed before a command is answered, so that another program can have them at once: in half a
/// millisecond.
const CLOSED_AT_ONCE: usize = 64;

/// Whether a sandbox leaves its namespace: no caller waits for the end of its links then.
pub(super) fn leaves(difference: &Difference) -> bool {
    difference.removed.keys().any(|key| matches!(key, Key::Netns(_)))
}

impl Applier {
    /// Removes what is gone: redirections of queries, connections, objects, and resolvers last, since after a crash they
    /// name the namespaces to clear.
    pub(super) fn remove(&self, progress: &mut Progress<'_>, desired: Option<&dyn Desired>) {
        let difference = progress.difference();
        let published = || self.ports.published();
        self.remove_resolvers_while(progress, |progress| {
            self.flows.forget_while(difference, published, || self.remove_gone(progress));
        });
        self.close_resolvers(progress, desired);
    }

    /// Has a sandbox that leaves reach nothing, and closes its ports, unless they are very many. Other sandboxes may run
    /// on in its namespace.
    pub(super) fn cut_off(&self, difference: &Difference) {
        for object in difference.removed.values() {
            if let Object::Veth(link) = object {
                self.sweeper.set_endpoint_down(&link.host_interface);
            }
        }
        let ports = difference.removed.keys().filter_map(Key::port);
        ports.take(CLOSED_AT_ONCE).for_each(|(protocol, address)| self.ports.remove(protocol, address));
    }

    /// Removes the objects that are gone. A deleted link is unlinked when this returns; the kernel may take longer to
    /// free it.
    fn remove_gone(&self, progress: &mut Progress<'_>) {
        let removed = &progress.difference().removed;
        // The ports that the relay still has are found again by the daemon's duplicates.
        let relay_failed = progress.has_failed(&Subject::Relay);
        let kept = self.release_uplinks(progress);
        let mut leaving = Vec::new();
        for (key, object) in removed {
            match object {
                Object::Socket(_) if relay_failed => progress.skip(key, Subject::Relay),
                Object::Bridge(bridge) if kept.contains_key(&bridge.name) => {
                    if let Some(uplink) = kept.get(&bridge.name) {
                        progress.skip(key, Subject::Object(uplink.clone()));
                    }
                }
                _ => match link_of(object) {
                    Some(link) => leaving.push(link),
                    None => {
                        if let Err(error) = self.remove_object(key, object) {
                            progress.fail(Subject::Object(key.clone()), error);
                        }
                    }
                },
            }
        }
        self.sweeper.sweep(leaving);
    }

    /// Removes an object that is no link of Fairway's.
    fn remove_object(&self, key: &Key, object: &Object) -> Result<(), ApplyError> {
        match (key, object) {
            (Key::Socket(protocol, address), _) => self.ports.remove(*protocol, *address),
            (Key::File(sandbox, name), _) => self.files.remove(*sandbox, *name)?,
            (Key::Route(destination), _) => self.links(|links| links.delete_route(*destination))?,
            (_, Object::Bridge(bridge)) => self.links(|links| links.release_bridge(bridge))?,
            _ => {}
        }
        Ok(())
    }

    /// Resets the counters of unpublished ports.
    pub(crate) fn forget_counts(&self, difference: &Difference) {
        let gone: HashSet<(Protocol, SocketAddr)> = difference.removed.keys().filter_map(Key::port).collect();
        if gone.is_empty() {
            return;
        }
        // Packets to one address count for the publication at that address or at all addresses.
        let is_gone = |it: &Counted| {
            gone.contains(&(it.protocol, it.at))
                || gone.contains(&(it.protocol, traffic::wildcard(it.at)))
                    && self.ports.get(it.protocol, it.at).is_none()
        };
        if let Err(error) = self.firewall.forget_counts(is_gone) {
            tracing::warn!(%error, "failed to reset the counters of unpublished ports: {error}");
        }
    }
}

/// The link of Fairway's on the host that an object is, with its mark.
fn link_of(object: &Object) -> Option<(String, Mark)> {
    match object {
        Object::Veth(link) => Some((link.host_interface.clone(), Mark::Endpoint(link.endpoint))),
        // Without egress limit there is none of that name.
        Object::TrafficLimit(limit) => Some((limit.buffer_interface(), Mark::Endpoint(limit.endpoint))),
        Object::DummyParent(link) => Some((link.name.clone(), Mark::Network(link.network))),
        Object::Bridge(bridge) if !bridge.adopted => {
            Some((bridge.name.clone(), Mark::Network(bridge.network)))
        }
        _ => None,
    }
}
