//! Applies a difference to the kernel, the relay and the files, phase by phase.
//!
//! The order leaves no unprotected moment: the firewall first, in one transaction; then links, guarded from their first
//! frame; then network namespaces, files, names and listeners; removed objects last. Each step is idempotent, and ends
//! at a failpoint.

pub(crate) mod adopt;
pub(crate) mod announcements;
pub(crate) mod etc_netns;
pub(crate) mod files;
pub(crate) mod firewall;
pub(crate) mod flows;
pub(crate) mod netns_link;
mod netns_setup;
mod relay;
pub(crate) mod relay_link;
pub(crate) mod resolvers;
pub(crate) mod sweeper;
pub(crate) mod uplink;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use fairway_core::object::{Difference, Key, Object};
use fairway_core::policy::counting::Counted;
use fairway_core::traffic;
use fairway_kernel::namespace::Workers;
use fairway_kernel::route::{Links, Mark};
use fairway_kernel::sysctl;
use fairway_model::Protocol;
use fairway_relay::table::{Change as RelayChange, Record};

use crate::ApplyError;
use crate::failpoint::failpoint;
use crate::parallel::in_parallel;
use crate::port_sockets::PortSockets;
use crate::signals::Signals;
use announcements::Announcements;
use files::SandboxFiles;
use firewall::Firewall;
use flows::Flows;
use netns_setup::NetnsChanges;
pub(crate) use relay::relay_record;
use relay_link::RelayLink;
use resolvers::Resolvers;
use sweeper::Sweeper;

/// The desired state, as far as applying a difference depends on more than the difference.
pub(crate) trait Desired {
    /// The published ports.
    fn published(&self) -> Vec<(Protocol, SocketAddr)>;

    /// The records that the relay is to have.
    fn relay_records(&self) -> Vec<Record>;

    /// Whether a sandbox publishes this port.
    fn is_published(&self, protocol: Protocol, at: SocketAddr) -> bool;
}

/// Makes differences true: sockets to the kernel, threads in namespaces, files, the relay.
pub(crate) struct Applier {
    pub signals: Arc<Signals>,
    pub firewall: Firewall,
    pub workers: Workers,
    pub ports: PortSockets,
    pub resolvers: Resolvers,
    pub relay: RelayLink,
    pub sweeper: Sweeper,
    pub announcements: Announcements,
    pub flows: Flows,
    pub files: SandboxFiles,
    /// Idle sockets for links in the host's namespace.
    pub idle_links: Mutex<Vec<Links>>,
}

impl Applier {
    /// Runs `work` with a socket for links in the host's namespace; the socket is kept for the next call.
    pub fn links<T>(
        &self,
        work: impl FnOnce(&Links) -> Result<T, fairway_kernel::route::Error>,
    ) -> Result<T, ApplyError> {
        let kept = self.idle_links.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let links = match kept {
            Some(links) => links,
            None => Links::open()?,
        };
        let outcome = work(&links)?;
        self.idle_links.lock().unwrap_or_else(PoisonError::into_inner).push(links);
        Ok(outcome)
    }

    /// Applies a difference. A removed object that cannot be deleted is logged, and deleted later.
    ///
    /// # Errors
    /// An object that could not be created.
    pub fn apply(&self, difference: &Difference, desired: &dyn Desired) -> Result<(), ApplyError> {
        if difference.is_empty() {
            return Ok(());
        }
        for object in difference.removed.values() {
            // Before another endpoint gets the same addresses.
            if let Object::Veth(link) = object {
                self.announcements.withdraw(link.endpoint);
            }
        }
        self.firewall.apply(difference)?;
        failpoint("firewall");
        self.apply_sysctls(difference)?;
        failpoint("sysctls");
        self.remove_orphaned_links(difference)?;
        failpoint("orphans");
        self.apply_bridges(difference)?;
        failpoint("bridges");
        self.apply_uplinks(difference)?;
        failpoint("uplinks");
        self.apply_routes(difference)?;
        failpoint("routes");
        self.apply_netns_links(difference)?;
        failpoint("netns links");
        let resolvers = self.set_up_namespaces(difference)?;
        self.settle_netns_links(difference);
        failpoint("namespaces");
        self.apply_files(difference)?;
        failpoint("files");
        self.apply_relay(difference, resolvers, desired)?;
        failpoint("relay");
        self.flows.forget_while(difference, || desired.published(), || self.remove_gone(difference));
        failpoint("flows");
        self.forget_counts(difference, desired);
        failpoint("counts");
        Ok(())
    }

    fn apply_sysctls(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (key, object) in difference.wanted() {
            if let (Key::Sysctl(path), Object::Sysctl(value)) = (key, object) {
                if path == IPV6_FORWARDING {
                    keep_router_advertisements();
                }
                if sysctl::write(path, value)? != sysctl::Change::Unchanged {
                    tracing::info!(sysctl = path, value, "set sysctl {path} to {value}");
                }
            }
        }
        Ok(())
    }

    fn apply_bridges(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (_, object) in difference.wanted() {
            match object {
                Object::Bridge(bridge) => drop(self.links(|links| links.apply_bridge(bridge))?),
                Object::DummyParent(link) => self.links(|links| links.apply_dummy_parent(link))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Creates the routes to other hosts' subnets.
    fn apply_routes(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (key, object) in difference.wanted() {
            if let (Key::Route(destination), Object::Route(route)) = (key, object) {
                self.links(|links| links.apply_route(*destination, route.gateway))?;
            }
        }
        Ok(())
    }

    /// Configures each network namespace with changes, several in parallel. Returns the changes for the relay.
    fn set_up_namespaces(&self, difference: &Difference) -> Result<Vec<RelayChange>, ApplyError> {
        let changes =
            in_parallel(&NetnsChanges::all(difference), |changes| self.configure_namespace(changes));
        Ok(changes.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    fn apply_files(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (key, object) in difference.wanted() {
            if let (Key::File(sandbox, name), Object::File(contents)) = (key, object) {
                self.files.write(*sandbox, *name, contents)?;
            }
        }
        Ok(())
    }

    /// Removes the objects that are gone. A deleted link is unlinked when this returns; the kernel may take longer to
    /// free it.
    fn remove_gone(&self, difference: &Difference) {
        let mut leaving = Vec::new();
        let kept = self.release_uplinks(&difference.removed);
        for (key, object) in &difference.removed {
            match (key, object) {
                (Key::Socket(protocol, address), _) => self.ports.remove(*protocol, *address),
                (Key::File(sandbox, name), _) => {
                    if let Err(error) = self.files.remove(*sandbox, *name) {
                        tracing::warn!(%error, sandbox = %sandbox.short(), "{error}");
                    }
                }
                (Key::Route(destination), _) => {
                    if let Err(error) = self.links(|links| links.delete_route(*destination)) {
                        tracing::warn!(%error, %destination, "failed to delete route {destination}: {error}; retrying in 5 s");
                        self.signals.request_retry();
                    }
                }
                (_, Object::Veth(link)) => {
                    leaving.push((link.host_interface.clone(), Mark::Endpoint(link.endpoint)))
                }
                (_, Object::Bridge(bridge)) if bridge.adopted => {
                    if let Err(error) = self.links(|links| links.release_bridge(bridge)) {
                        tracing::warn!(%error, bridge = bridge.name, "failed to release bridge {}: {error}", bridge.name);
                    }
                }
                (_, Object::DummyParent(link)) => {
                    leaving.push((link.name.clone(), Mark::Network(link.network)))
                }
                (_, Object::Bridge(bridge)) if !kept.contains(&bridge.name) => {
                    leaving.push((bridge.name.clone(), Mark::Network(bridge.network)))
                }
                _ => {}
            }
        }
        for (old, new) in difference.changed.values() {
            if let (Object::Bridge(old), Object::Bridge(new)) = (old, new)
                && old.name != new.name
            {
                leaving.push((old.name.clone(), Mark::Network(old.network)));
            }
        }
        self.sweeper.sweep(leaving);
    }

    /// Deletes links with the name of a planned one and the mark of an unknown network. The uplink of such a bridge is
    /// released first.
    fn remove_orphaned_links(&self, difference: &Difference) -> Result<(), ApplyError> {
        let mut leaving = Vec::new();
        for (key, (old, new)) in &difference.changed {
            match (key, old, new) {
                (Key::Uplink(parent), Object::Uplink(old), Object::Uplink(new))
                    if old.network != new.network =>
                {
                    self.release_uplink(parent, &old.bridge)?;
                }
                (_, Object::Bridge(old), Object::Bridge(new)) if old.network != new.network => {
                    leaving.push((old.name.clone(), Mark::Network(old.network)));
                }
                _ => {}
            }
        }
        self.sweeper.sweep(leaving);
        Ok(())
    }

    /// Resets the counters of unpublished ports.
    fn forget_counts(&self, difference: &Difference, desired: &dyn Desired) {
        let port = |key: &Key| match key {
            Key::Socket(protocol, at) => Some((*protocol, *at)),
            _ => None,
        };
        let gone: HashSet<(Protocol, SocketAddr)> = difference.removed.keys().filter_map(port).collect();
        if gone.is_empty() {
            return;
        }
        // Packets to one address count for the publication at that address or at all addresses.
        let is_gone = |it: &Counted| {
            gone.contains(&(it.protocol, it.at))
                || gone.contains(&(it.protocol, traffic::wildcard(it.at)))
                    && !desired.is_published(it.protocol, it.at)
        };
        if let Err(error) = self.firewall.forget_counts(is_gone) {
            tracing::warn!(%error, "failed to reset the counters of unpublished ports: {error}");
        }
    }
}

const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";

/// A host that forwards IPv6 ignores router advertisements, and would lose its own default route,
/// unless `accept_ra` is 2 (kernel documentation, ip-sysctl).
fn keep_router_advertisements() {
    let interfaces = std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    for interface in interfaces {
        let name = interface.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = format!("net/ipv6/conf/{name}/accept_ra");
        if sysctl::read(&path).is_ok_and(|value| value == "1")
            && let Err(error) = sysctl::set(&path, "2")
        {
            tracing::warn!(%error, interface = name, "failed to set accept_ra of {name} to 2: {error}; the host may lose its IPv6 default route");
        }
    }
}
