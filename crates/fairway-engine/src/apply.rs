//! Applies a difference to the kernel, the relay and the files, phase by phase.
//!
//! What a sandbox that leaves had is let go of in the background, once its rules, names and ports are gone.
//!
//! An object that fails does not prevent the others of its phase, nor those of later phases that do not rest on it. Each
//! step is idempotent, and each phase ends at a failpoint.

pub(crate) mod adopt;
pub(crate) mod announcements;
pub(crate) mod background;
pub(crate) mod etc_netns;
pub(crate) mod files;
pub(crate) mod firewall;
pub(crate) mod flows;
pub(crate) mod former_relays;
pub(crate) mod netns_link;
mod netns_setup;
mod progress;
mod relay;
pub(crate) mod relay_link;
mod removal;
pub(crate) mod resolvers;
pub(crate) mod sweeper;
pub(crate) mod uplink;

use std::sync::{Arc, Mutex, PoisonError};

use fairway_core::object::{Difference, Key, Object, Phase};
use fairway_kernel::namespace::Workers;
use fairway_kernel::route::{Links, Mark};
use fairway_kernel::sysctl;
use fairway_relay::table::Record;

use crate::error::{ApplyError, ApplyErrors, Subject};
use crate::failpoint::failpoint;
use crate::port_sockets::PortSockets;
use announcements::Announcements;
use background::{Background, Claim};
use files::SandboxFiles;
use firewall::Firewall;
use flows::Flows;
use progress::{Progress, apply_phases};
pub(crate) use relay::relay_record;
use relay_link::RelayLink;
use resolvers::Resolvers;
use sweeper::Sweeper;

/// The desired state, as far as applying a difference depends on more than the difference.
pub(crate) trait Desired {
    /// The records that the relay is to have, which a relay that is started again gets.
    fn relay_records(&self) -> Vec<Record>;
}

/// What of a difference is left to the background.
struct Rest {
    /// Whether the relay is to get the ports.
    ports: bool,
    /// Whether objects are to be removed: those of a sandbox that leaves.
    removal: bool,
}

/// Makes differences true: sockets to the kernel, threads in namespaces, files, the relay.
pub(crate) struct Applier {
    pub firewall: Firewall,
    pub workers: Workers,
    pub ports: PortSockets,
    pub resolvers: Resolvers,
    pub relay: RelayLink,
    pub sweeper: Sweeper,
    pub announcements: Announcements,
    pub flows: Flows,
    pub files: SandboxFiles,
    pub background: Arc<Background>,
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

    /// Applies a difference as far as possible.
    ///
    /// # Errors
    /// All objects that are not as desired now: those that failed, and those that rest on them.
    pub fn apply(&self, difference: &Difference, desired: &dyn Desired) -> Result<(), ApplyErrors> {
        self.run_phases(difference, desired, None)
    }

    /// As [`Applier::apply`], without waiting for what no caller needs: the end of what a sandbox that leaves had,
    /// and the relay's taking of many ports. `on_failure` is called when that fails.
    pub fn begin(
        self: &Arc<Self>,
        difference: &Arc<Difference>,
        desired: &dyn Desired,
        on_failure: impl FnOnce(ApplyErrors) + Send + 'static,
    ) -> Result<(), ApplyErrors> {
        let mut rest = Rest { ports: relay::has_many_new_ports(difference), removal: false };
        let outcome = self.run_phases(difference, desired, Some(&mut rest));
        if !rest.ports && !rest.removal {
            return outcome;
        }
        let removed = difference.removed.iter().filter(|_| rest.removal);
        let ports = difference.added.iter().filter(|(key, _)| rest.ports && key.port().is_some());
        let claim = Claim::of(removed.chain(ports));
        let (applier, difference) = (Arc::clone(self), Arc::clone(difference));
        let finish = move || applier.finish(&difference, &rest).unwrap_or_else(on_failure);
        self.background.run(claim, finish);
        outcome
    }

    /// Does what was left to the background.
    fn finish(&self, difference: &Difference, rest: &Rest) -> Result<(), ApplyErrors> {
        apply_phases(difference, |phase, progress| {
            match phase {
                Phase::Relay if rest.ports => self.hand_over(progress, Vec::new(), None),
                Phase::Removal if rest.removal => self.remove(progress, None),
                Phase::Counts if rest.removal => self.forget_counts(difference),
                _ => return,
            }
            failpoint(phase.text());
        })
    }

    fn run_phases(
        &self,
        difference: &Difference,
        desired: &dyn Desired,
        mut rest: Option<&mut Rest>,
    ) -> Result<(), ApplyErrors> {
        if difference.is_empty() {
            return Ok(());
        }
        self.background.wait_for(difference);
        self.withdraw_announcements(difference);
        // The relay gets the resolvers that are made in the namespaces.
        let mut resolvers = Vec::new();
        apply_phases(difference, |phase, progress| {
            match phase {
                Phase::Firewall => self.apply_firewall(progress),
                Phase::Sysctls => progress.each(phase, apply_sysctl),
                Phase::Orphans => self.remove_orphaned_links(progress),
                Phase::Bridges => progress.each(phase, |_, object| self.apply_bridge(object)),
                Phase::Uplinks => progress.each(phase, |key, object| self.apply_uplink(key, object)),
                Phase::Routes => progress.each(phase, |key, object| self.apply_route(key, object)),
                Phase::NetnsLinks => self.apply_netns_links(progress),
                Phase::Namespaces => resolvers = self.set_up_namespaces(progress),
                Phase::TrafficLimits => progress.each(phase, |_, object| self.apply_traffic_limit(object)),
                Phase::Files => progress.each(phase, |key, object| self.apply_file(key, object)),
                Phase::Ports => self.bind_ports(progress),
                Phase::Relay => {
                    let with_ports = rest.as_deref().is_none_or(|rest| !rest.ports);
                    self.apply_relay(progress, std::mem::take(&mut resolvers), desired, with_ports);
                }
                Phase::Removal => match rest.as_deref_mut() {
                    Some(rest) if progress.is_whole() && removal::leaves(difference) => {
                        rest.removal = true;
                        self.cut_off(difference);
                    }
                    _ => self.remove(progress, Some(desired)),
                },
                Phase::Counts if rest.as_deref().is_some_and(|rest| rest.removal) => {}
                Phase::Counts => self.forget_counts(difference),
            }
            failpoint(phase.text());
        })
    }

    /// Stops announcing the addresses of removed endpoints, before other endpoints get them.
    fn withdraw_announcements(&self, difference: &Difference) {
        for object in difference.removed.values() {
            if let Object::Veth(link) = object {
                self.announcements.withdraw(link.endpoint);
            }
        }
    }

    fn apply_firewall(&self, progress: &mut Progress<'_>) {
        if let Err(error) = self.firewall.apply(progress.difference()) {
            progress.fail(Subject::Firewall, error);
        }
    }

    fn apply_bridge(&self, object: &Object) -> Result<(), ApplyError> {
        match object {
            Object::Bridge(bridge) => self.links(|links| links.apply_bridge(bridge)).map(drop),
            Object::DummyParent(link) => self.links(|links| links.apply_dummy_parent(link)),
            _ => Ok(()),
        }
    }

    /// Creates a route to another host's subnet.
    fn apply_route(&self, key: &Key, object: &Object) -> Result<(), ApplyError> {
        match (key, object) {
            (Key::Route(to), Object::Route(route)) => {
                self.links(|links| links.apply_route(*to, route.gateway))
            }
            _ => Ok(()),
        }
    }

    fn apply_traffic_limit(&self, object: &Object) -> Result<(), ApplyError> {
        match object {
            Object::TrafficLimit(limit) => self.links(|links| links.apply_traffic_limit(limit)),
            _ => Ok(()),
        }
    }

    fn apply_file(&self, key: &Key, object: &Object) -> Result<(), ApplyError> {
        match (key, object) {
            (Key::File(sandbox, name), Object::File(contents)) => {
                Ok(self.files.write(*sandbox, *name, contents)?)
            }
            _ => Ok(()),
        }
    }

    /// Deletes links with the name of a planned one and the mark of an unknown network. The uplink of such a bridge is
    /// released first.
    fn remove_orphaned_links(&self, progress: &mut Progress<'_>) {
        let mut kept = Vec::new();
        for (key, (old, new)) in &progress.difference().changed {
            if let (Key::Uplink(parent), Object::Uplink(old), Object::Uplink(new)) = (key, old, new)
                && old.network != new.network
                && let Err(error) = self.release_uplink(parent, &old.bridge)
            {
                progress.fail(Subject::Object(key.clone()), error);
                kept.push((old.bridge.as_str(), key));
            }
        }
        let mut leaving = Vec::new();
        for (key, (old, new)) in &progress.difference().changed {
            if let (Object::Bridge(old), Object::Bridge(new)) = (old, new)
                && old.network != new.network
            {
                match kept.iter().find(|(bridge, _)| *bridge == old.name) {
                    Some((_, uplink)) => progress.skip(key, Subject::Object((*uplink).clone())),
                    None => leaving.push((old.name.clone(), Mark::Network(old.network))),
                }
            }
        }
        self.sweeper.sweep(leaving);
    }

    /// Binds the ports that are not bound yet.
    fn bind_ports(&self, progress: &mut Progress<'_>) {
        let ready = progress.ready(&[Phase::Ports]);
        for (key, error) in self.ports.bind_free(&ready) {
            progress.fail(Subject::Object(key), error.into());
        }
    }
}

fn apply_sysctl(key: &Key, object: &Object) -> Result<(), ApplyError> {
    let (Key::Sysctl(path), Object::Sysctl(value)) = (key, object) else { return Ok(()) };
    if path == IPV6_FORWARDING {
        keep_router_advertisements();
    }
    if sysctl::write(path, value)? != sysctl::Change::Unchanged {
        tracing::info!(sysctl = path, value, "set sysctl {path} to {value}");
    }
    Ok(())
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
