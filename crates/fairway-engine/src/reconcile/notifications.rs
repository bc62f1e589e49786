//! Listens to notifications of links, addresses and tables, and finds those that another program caused.

use std::sync::Weak;

use fairway_core::object::{Key, Object, interface_of_buffer};
use fairway_core::policy::is_trace_table;
use fairway_kernel::host_facts;
use fairway_kernel::monitor::{Event, Monitor};
use fairway_kernel::nftables::{self, Notifications};
use fairway_kernel::route::{BUFFER_KIND, Link, Mark};
use fairway_model::Owner;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::apply::firewall::Firewall;
use crate::reconcile::Reconciler;
use crate::{ApplyError, EngineError};

/// The monitors of links and nf_tables: they miss no change after they are opened.
pub(crate) struct Monitors {
    links: Monitor,
    tables: nftables::Monitor,
}

impl Monitors {
    /// Opens the monitors in the namespace of the calling thread.
    pub fn open(firewall: &Firewall) -> Result<Self, EngineError> {
        let links = Monitor::open().map_err(|error| EngineError::Apply(ApplyError::Route(error.into())))?;
        let tables = nftables::Monitor::open(Some(firewall.port())).map_err(ApplyError::from)?;
        Ok(Self { links, tables })
    }
}

impl Reconciler {
    /// Whether an event shows a change by another program. Fairway's own changes are in the Plan before they are
    /// applied, so they never look so.
    fn is_drift(&self, event: &Event) -> bool {
        let planned = |link: &Link| {
            let (owner, key) = match link.mark() {
                Some(Mark::Network(id)) => (Owner::Network(id), Key::Bridge(link.name.clone())),
                Some(Mark::Endpoint(id)) => (Owner::Endpoint(id), endpoint_key(link)),
                None => return false,
            };
            let dummy_parent = Key::DummyParent(link.name.clone());
            let planned = |key| {
                self.committer
                    .snapshot()
                    .plan
                    .fragment(owner)
                    .is_some_and(|fragment| fragment.contains_key(key))
            };
            planned(&key) || planned(&dummy_parent)
        };
        match event {
            Event::Link(link) if link.mark().is_none() && self.is_uplink_loose(link) => true,
            Event::PortLeft(link) if link.mark().is_none() => {
                self.is_uplink_loose(&Link { master: None, ..link.clone() })
            }
            Event::Address(address) => self.is_at_uplink(address),
            // The kernel does not notify of IPv4 routes that go with their interface.
            Event::Link(link) | Event::LinkGone(link) if link.mark().is_none() => {
                self.committer.read(|world| world.networks().any(|network| !network.peers.is_empty()))
            }
            Event::LinkGone(link) | Event::PortLeft(link) => planned(link),
            Event::Link(link) => self.is_changed(link),
            Event::AddressGone(gone) => self.committer.read(|world| {
                let mut subnets = world.networks().flat_map(|network| &network.subnets);
                subnets.any(|subnet| subnet.gateway == gone.address.addr())
            }),
            Event::RouteGone(route) if route.is_ours() => self.committer.read(|world| {
                let mut peers = world.networks().flat_map(|network| &network.peers);
                peers.any(|peer| peer.subnet == route.destination)
            }),
            Event::Lost => true,
            _ => false,
        }
    }

    /// Whether a link differs from the planned one, as far as the event shows.
    fn is_changed(&self, link: &Link) -> bool {
        let state = self.committer.snapshot();
        let object = |owner, key| state.plan.fragment(owner).and_then(|fragment| fragment.get(&key));
        match link.mark() {
            Some(Mark::Network(id)) => match object(Owner::Network(id), Key::Bridge(link.name.clone())) {
                Some(Object::Bridge(bridge)) if bridge.parent.is_some() => {
                    !link.up || link.mac != Some(bridge.mac)
                }
                Some(Object::Bridge(bridge)) => {
                    !link.up || link.mtu != bridge.mtu || link.mac != Some(bridge.mac)
                }
                _ => match object(Owner::Network(id), Key::DummyParent(link.name.clone())) {
                    Some(Object::DummyParent(_)) => !link.up,
                    _ => false,
                },
            },
            Some(Mark::Endpoint(id)) => match object(Owner::Endpoint(id), endpoint_key(link)) {
                Some(Object::TrafficLimit(_)) => !link.up,
                Some(Object::Veth(veth)) => {
                    !link.up || link.mtu != veth.mtu || link.hairpin != Some(veth.hairpin)
                }
                _ => false,
            },
            None => false,
        }
    }
}

/// The object that a link with the mark of an endpoint belongs to.
fn endpoint_key(link: &Link) -> Key {
    match link.kind.as_deref() {
        Some(BUFFER_KIND) => Key::TrafficLimit(interface_of_buffer(&link.name)),
        _ => Key::Veth(link.name.clone()),
    }
}

/// Listens to changes of links, addresses and tables.
pub(crate) fn listen(reconciler: &Weak<Reconciler>, monitors: &Monitors) {
    let Monitors { links, tables } = monitors;
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        let mut descriptors = [PollFd::new(links, PollFlags::IN), PollFd::new(tables, PollFlags::IN)];
        // An interrupted wait finds nothing ready, as the next poll does too.
        let _ = poll(&mut descriptors, Some(&patience));
        let Some(reconciler) = reconciler.upgrade() else { return };
        let drifted = match links.events() {
            Ok(events) => {
                if events.iter().any(host_facts::concerns) {
                    reconciler.signals.host_changed();
                }
                for _ in events.iter().filter(|event| reconciler.concerns_netns_links(event)) {
                    reconciler.signals.retry_failed();
                }
                events.iter().any(|event| reconciler.is_drift(event))
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read link notifications: {error}; observing all links");
                reconciler.signals.host_changed();
                true
            }
        };
        let is_ours = |change: &nftables::Change| {
            change.table == fairway_core::policy::TABLE || is_trace_table(&change.table)
        };
        let (ours_changed, foreign_changed) = match tables.drain() {
            Ok(Notifications::Changes(changes)) => {
                let ours = |change: &&nftables::Change| reconciler.applier.firewall.is_disturbed_by(change);
                (changes.iter().any(|it| ours(&it)), changes.iter().any(|change| !is_ours(change)))
            }
            Ok(Notifications::Overflow) => (true, true),
            Err(error) => {
                tracing::warn!(%error, "failed to read nf_tables notifications: {error}; observing all tables");
                (true, true)
            }
        };
        if foreign_changed {
            reconciler.signals.request_foreign_scan();
        }
        if drifted || ours_changed {
            reconciler.signals.request_heal();
        }
    }
}
