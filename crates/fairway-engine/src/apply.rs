//! Making the kernel, the relay and the files follow a difference, phase by phase.
//!
//! The order lets no window open: the firewall first, in one transaction; then links, which are
//! guarded from their first frame; then the insides of sandboxes, files, names and listeners; last
//! what left. Each step may be done twice.

pub(crate) mod adopt;
pub(crate) mod announcements;
pub(crate) mod etc_netns;
pub(crate) mod files;
pub(crate) mod firewall;
pub(crate) mod flows;
pub(crate) mod netns_link;
mod netns_setup;
pub(crate) mod relay_link;
pub(crate) mod resolvers;
pub(crate) mod sweeper;
pub(crate) mod uplink;

use std::net::SocketAddr;

use fairway_core::object::{Difference, Key, Object, SocketUse};
use fairway_kernel::route::Mark;
use fairway_kernel::sysctl;
use fairway_model::Protocol;
use fairway_relay::client::ClientError;
use fairway_relay::table::Change as RelayChange;
use fairway_relay::table::{Record, RecordKey};

use crate::apply::netns_setup::NetnsChanges;
use crate::failpoint::failpoint;
use crate::parallel::in_parallel;
use crate::port_sockets::set_listening;
use crate::{ApplyError, BindError, Engine};

impl Engine {
    /// Makes everything follow `difference`. What leaves and cannot go is relay_state in the log, and goes
    /// later.
    ///
    /// # Errors
    /// What could not be made.
    pub(crate) fn apply(&self, difference: &Difference) -> Result<(), ApplyError> {
        if difference.is_empty() {
            return Ok(());
        }
        for object in difference.removed.values() {
            // Before anybody else can have its addresses.
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
        self.apply_routes(difference)?;
        failpoint("routes");
        self.apply_netns_links(difference)?;
        failpoint("netns links");
        let resolvers = self.set_up_namespaces(difference)?;
        self.settle_netns_links(difference);
        failpoint("insides");
        self.apply_files(difference)?;
        failpoint("files");
        self.apply_relay(difference, resolvers)?;
        failpoint("relay");
        self.flows.forget_while(difference, || self.published(), || self.remove_gone(difference));
        failpoint("flows");
        self.forget_counts(difference);
        failpoint("counts");
        failpoint("retired");
        Ok(())
    }

    /// All published ports.
    fn published(&self) -> Vec<(Protocol, SocketAddr)> {
        let state = self.state();
        let keys = state.plan.values().flat_map(|fragment| fragment.keys());
        let published = keys.filter_map(|key| match key {
            Key::Socket(protocol, at) => Some((*protocol, *at)),
            _ => None,
        });
        published.collect()
    }

    fn apply_sysctls(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (key, object) in difference.wanted() {
            if let (Key::Sysctl(path), Object::Sysctl(value)) = (key, object) {
                if path == IPV6_FORWARDING {
                    keep_router_advertisements();
                }
                if sysctl::write(path, value)? != sysctl::Change::Unchanged {
                    tracing::info!(sysctl = path, value, "switched on");
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

    /// Makes the routes to other hosts' subnets.
    fn apply_routes(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (key, object) in difference.wanted() {
            if let (Key::Route(destination), Object::Route(route)) = (key, object) {
                self.links(|links| links.apply_route(*destination, route.gateway))?;
            }
        }
        Ok(())
    }

    /// Goes into each sandbox that has something new inside, once, into several at a time. Returns what the relay is to
    /// know of resolvers that were made.
    fn set_up_namespaces(&self, difference: &Difference) -> Result<Vec<RelayChange>, ApplyError> {
        let changes = in_parallel(&NetnsChanges::all(difference), |visit| self.visit(visit));
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

    fn apply_relay(&self, difference: &Difference, resolvers: Vec<RelayChange>) -> Result<(), ApplyError> {
        let mut changes: Vec<RelayChange> = difference
            .removed
            .iter()
            .filter_map(|(key, object)| relay_key(key, object))
            .map(RelayChange::Remove)
            .collect();
        let closed = difference.changed.iter().filter(|(_, (_, new))| matches!(new, Object::Netns(_, false)));
        changes.extend(closed.filter_map(|(key, (old, _))| relay_key(key, old)).map(RelayChange::Remove));
        changes.extend(resolvers);
        let records = difference.wanted().filter_map(|(key, object)| relay_record(key, object));
        changes.extend(records.map(|record| self.insertion(record)));
        if changes.is_empty() {
            return Ok(());
        }
        self.listen(difference, true)?;
        for change in &changes {
            if let RelayChange::Remove(RecordKey::Resolver(sandbox)) = change {
                self.resolvers.forget(*sandbox);
            }
        }
        self.relay_apply(changes)?;
        self.listen(difference, false)
    }

    /// Makes the ports that the relay is to carry listen, or those listen no more that are only held
    /// from now on: a port that listens and that nobody accepts at would keep clients waiting.
    fn listen(&self, difference: &Difference, carried: bool) -> Result<(), ApplyError> {
        for (protocol, address, purpose) in crate::commit::sockets(difference) {
            if matches!(purpose, SocketUse::Proxy(_)) == carried
                && let Some(socket) = self.ports.get(protocol, address)
            {
                set_listening(&socket, protocol, carried).map_err(|errno| BindError {
                    address,
                    protocol,
                    reason: errno.into(),
                })?;
            }
        }
        Ok(())
    }

    /// Lets go of what left. A link that is leaving is out of sight when this returns; the kernel
    /// may take a while longer to forget it.
    fn remove_gone(&self, difference: &Difference) {
        let mut leaving = Vec::new();
        let kept = self.release_uplinks(&difference.removed);
        for (key, object) in &difference.removed {
            match (key, object) {
                (Key::Socket(protocol, address), _) => self.ports.remove(*protocol, *address),
                (Key::File(sandbox, name), _) => {
                    if let Err(error) = self.files.remove(*sandbox, *name) {
                        tracing::warn!(%error, "left behind");
                    }
                }
                (Key::Route(destination), _) => {
                    if let Err(error) = self.links(|links| links.delete_route(*destination)) {
                        tracing::warn!(%error, "left behind; it is removed later");
                        self.signals.request_retry();
                    }
                }
                (_, Object::Veth(link)) => {
                    leaving.push((link.host_interface.clone(), Mark::Endpoint(link.endpoint)))
                }
                (_, Object::Bridge(bridge)) if bridge.adopted => {
                    if let Err(error) = self.links(|links| links.release_bridge(bridge)) {
                        tracing::warn!(%error, "left behind");
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

    /// Sends changes to the relay; one that is gone is started anew with all that it has to know. One that does not
    /// answer is given them when it does: until then the daemon's duplicates hold what is new.
    pub(crate) fn relay_apply(&self, changes: Vec<RelayChange>) -> Result<(), ApplyError> {
        let closed: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                RelayChange::Remove(RecordKey::Port(protocol, address)) => Some((*protocol, *address)),
                _ => None,
            })
            .collect();
        match self.relay.apply(changes) {
            Err(ClientError::Connection(reason)) => {
                tracing::warn!(%reason, "the relay is gone; starting another one");
                self.restart_relay()
            }
            Err(ClientError::Timeout(_)) => {
                let pid = self.relay.hello().pid;
                tracing::warn!(
                    pid,
                    "the relay (process {pid}) does not answer; it is given what has changed when it does"
                );
                self.refuse_clients(closed);
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    /// Lets ports that are published no more refuse clients, while a relay that does not answer has their sockets: the
    /// duplicates here are the same sockets.
    fn refuse_clients(&self, closed: Vec<(Protocol, SocketAddr)>) {
        for (protocol, address) in closed {
            let Some(socket) = self.ports.get(protocol, address) else { continue };
            if let Err(errno) = set_listening(&socket, protocol, false) {
                tracing::debug!(%address, %errno, "its clients wait until the relay answers");
            }
        }
    }

    /// Gives a relay that answers again everything.
    pub(crate) fn relay_is_back(&self) -> Result<(), ApplyError> {
        self.relay.catch_up(|| self.relay_state())
    }

    /// Starts another relay and tells it everything.
    pub(crate) fn restart_relay(&self) -> Result<(), ApplyError> {
        // The Plan is looked at while nobody else talks to the relay: whoever changes it meanwhile
        // tells the new one afterwards.
        self.relay.restart(|| self.relay_state())
    }

    /// What tells the relay of a record, with the socket of a port as far as it is there.
    fn insertion(&self, record: Record) -> RelayChange {
        let sockets = match &record {
            Record::Port { protocol, address, .. } => {
                self.ports.get(*protocol, *address).into_iter().collect()
            }
            _ => Vec::new(),
        };
        RelayChange::Insert { record, sockets }
    }

    /// All that a relay is to know.
    fn relay_state(&self) -> Vec<RelayChange> {
        let records: Vec<Record> = {
            let state = self.state();
            let objects = state.plan.values().flatten();
            objects.filter_map(|(key, object)| relay_record(key, object)).collect()
        };
        // A port whose socket is not there yet is about to be relay_state by whoever binds it.
        let is_whole = |change: &RelayChange| match change {
            RelayChange::Insert { record, sockets } => record.sockets().contains(&sockets.len()),
            RelayChange::Remove(_) => true,
        };
        let known = records.into_iter().map(|record| self.insertion(record)).filter(is_whole);
        let resolvers = self
            .resolvers
            .all()
            .into_iter()
            .map(|(sandbox, sockets)| RelayChange::Insert { record: Record::Resolver(sandbox), sockets });
        known.chain(resolvers).collect()
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
            tracing::warn!(%error, "the host may lose its IPv6 default route");
        }
    }
}

/// What the relay has for an object.
pub(crate) fn relay_record(key: &Key, object: &Object) -> Option<Record> {
    match (key, object) {
        (Key::Socket(protocol, address), Object::Socket(socket)) => {
            Some(Record::Port { protocol: *protocol, address: *address, purpose: socket.purpose.clone() })
        }
        (_, Object::Names(names)) => Some(Record::Names(names.clone())),
        (_, Object::View(view)) => Some(Record::View(view.clone())),
        (_, Object::HostServers(servers)) => Some(Record::HostServers(servers.clone())),
        _ => None,
    }
}

/// The key of what the relay has for an object.
fn relay_key(key: &Key, object: &Object) -> Option<RecordKey> {
    match (key, object) {
        (Key::Netns(sandbox), Object::Netns(_, true)) => Some(RecordKey::Resolver(*sandbox)),
        _ => relay_record(key, object).map(|record| record.key()),
    }
}
