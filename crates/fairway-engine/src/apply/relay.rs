//! The relay's part of a difference: which ports it carries, which names it answers, which resolvers it serves.

use std::net::SocketAddr;

use fairway_core::object::{Difference, Key, Object, Phase, SocketUse};
use fairway_model::Protocol;
use fairway_relay::client::ClientError;
use fairway_relay::table::{Change as RelayChange, Record, RecordKey};

use super::progress::Progress;
use super::{Applier, Desired};
use crate::BindError;
use crate::error::{ApplyError, Subject};
use crate::port_sockets::set_listening;

/// So many new ports are handed over to the relay before a command is answered.
const HANDED_OVER_AT_ONCE: usize = 64;

/// Whether the relay gets many ports that were not published before. No caller waits for that: the daemon holds them,
/// and clients queue. A port that led elsewhere must not lead there any more when a command is answered.
pub(super) fn has_many_new_ports(difference: &Difference) -> bool {
    let Difference { added, removed, changed } = difference;
    removed.keys().chain(changed.keys()).find_map(Key::port).is_none()
        && added.keys().filter_map(Key::port).nth(HANDED_OVER_AT_ONCE).is_some()
}

impl Applier {
    /// Sends the relay its part of a difference: names, resolvers that were made, and `with_ports` the ports that are bound.
    pub(super) fn apply_relay(
        &self,
        progress: &mut Progress<'_>,
        resolvers: Vec<RelayChange>,
        desired: &dyn Desired,
        with_ports: bool,
    ) {
        let Difference { removed, changed, .. } = progress.difference();
        // A resolver stays until nothing leads to it: after a crash it names the namespace to clean.
        let gone = removed.iter().filter(|(key, _)| !matches!(key, Key::Netns(_)));
        let gone = gone.filter_map(|(key, object)| relay_key(key, object));
        let closed = changed.iter().filter(|(_, (_, new))| matches!(new, Object::Netns(_, None)));
        let gone = gone.chain(closed.filter_map(|(key, (old, _))| relay_key(key, old)));
        let mut changes: Vec<RelayChange> = gone.map(RelayChange::Remove).collect();
        changes.extend(resolvers);
        changes.extend(self.insertions(progress, Phase::Relay));
        if with_ports {
            self.hand_over(progress, changes, Some(desired));
        } else if !changes.is_empty() {
            self.send_to_relay(progress, changes, Some(desired));
        }
    }

    /// Sends the ports that are bound to the relay, behind other changes. Those that it carries listen before it has them,
    /// and those that are only reserved from now on until it has given them up.
    pub(super) fn hand_over(
        &self,
        progress: &mut Progress<'_>,
        mut changes: Vec<RelayChange>,
        desired: Option<&dyn Desired>,
    ) {
        self.listen(progress, true);
        changes.extend(self.insertions(progress, Phase::Ports));
        if !changes.is_empty() && self.send_to_relay(progress, changes, desired) {
            self.listen(progress, false);
        }
    }

    /// The changes that insert the records of a phase's objects.
    fn insertions(&self, progress: &mut Progress<'_>, phase: Phase) -> Vec<RelayChange> {
        let ready = progress.ready(&[phase]).into_iter();
        let records = ready.filter_map(|(key, object)| relay_record(key, object));
        records.map(|record| self.insertion(record)).collect()
    }

    /// Has the relay close the sockets of the resolvers that are gone.
    pub(crate) fn close_resolvers(&self, progress: &mut Progress<'_>, desired: Option<&dyn Desired>) {
        let gone = progress.difference().removed.iter().filter(|(key, _)| matches!(key, Key::Netns(_)));
        let changes: Vec<_> =
            gone.filter_map(|(key, object)| relay_key(key, object)).map(RelayChange::Remove).collect();
        if !changes.is_empty() {
            self.send_to_relay(progress, changes, desired);
        }
    }

    /// Sends changes to the relay; whether that worked. Without `desired` a relay that has ended is left to the
    /// reconcile loop, which starts another one with all records.
    fn send_to_relay(
        &self,
        progress: &mut Progress<'_>,
        changes: Vec<RelayChange>,
        desired: Option<&dyn Desired>,
    ) -> bool {
        for change in &changes {
            if let RelayChange::Remove(RecordKey::Resolver(sandbox)) = change {
                self.resolvers.forget(*sandbox);
            }
        }
        match self.relay_apply(changes, desired) {
            Ok(()) => true,
            Err(error) => {
                progress.fail(Subject::Relay, error);
                false
            }
        }
    }

    /// Makes the ports of the proxy listen, or stops the ports that are only reserved from now on: a listening port
    /// without a program that accepts would keep clients waiting.
    fn listen(&self, progress: &mut Progress<'_>, carried: bool) {
        progress.each(Phase::Ports, |key, object| {
            let (Key::Socket(protocol, address), Object::Socket(socket)) = (key, object) else {
                return Ok(());
            };
            let (protocol, address) = (*protocol, *address);
            match self.ports.get(protocol, address) {
                Some(bound) if matches!(socket.purpose, SocketUse::Proxy(_)) == carried => {
                    set_listening(&bound, protocol, carried)
                        .map_err(|errno| BindError { address, protocol, reason: errno.into() }.into())
                }
                _ => Ok(()),
            }
        });
    }

    /// Sends changes to the relay. A relay that has ended is replaced by one with all records. A relay that does not
    /// answer gets the changes when it does: until then the daemon's duplicates hold the new sockets.
    fn relay_apply(
        &self,
        changes: Vec<RelayChange>,
        desired: Option<&dyn Desired>,
    ) -> Result<(), ApplyError> {
        let closed: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                RelayChange::Remove(RecordKey::Port(protocol, address)) => Some((*protocol, *address)),
                _ => None,
            })
            .collect();
        match self.relay.apply(changes) {
            Err(ClientError::Connection(reason)) => {
                let Some(desired) = desired else { return Ok(()) };
                tracing::warn!(%reason, "connecting to the relay again, or starting another one: {reason}");
                self.restart_relay(desired)
            }
            Err(ClientError::Timeout(_)) => {
                let pid = self.relay.hello().pid;
                tracing::warn!(
                    pid,
                    "the relay (process {pid}) does not answer; sending the changes when it does"
                );
                self.refuse_clients(closed);
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    /// Stops unpublished ports from listening while a relay that does not answer has their sockets: the duplicates here
    /// are the same sockets.
    fn refuse_clients(&self, closed: Vec<(Protocol, SocketAddr)>) {
        for (protocol, address) in closed {
            let Some(socket) = self.ports.get(protocol, address) else { continue };
            if let Err(errno) = set_listening(&socket, protocol, false) {
                tracing::debug!(%address, %errno, "failed to stop listening on {address}: {errno}; clients wait for the relay");
            }
        }
    }

    /// Sends all records to a relay that answers again.
    pub fn catch_up_relay(&self, desired: &dyn Desired) -> Result<(), ApplyError> {
        self.relay.catch_up(|| self.relay_state(desired))
    }

    /// Connects to the relay again, or starts another one, and sends it all records.
    pub fn restart_relay(&self, desired: &dyn Desired) -> Result<(), ApplyError> {
        // The Plan is read while no other thread talks to the relay: a thread that changes it meanwhile sends its
        // changes to the new relay afterwards.
        self.relay.restart(|| self.relay_state(desired))
    }

    /// The change that inserts a record, with the socket of a port if it is bound.
    fn insertion(&self, record: Record) -> RelayChange {
        let sockets = match &record {
            Record::Port { protocol, address, .. } => {
                self.ports.get(*protocol, *address).into_iter().collect()
            }
            _ => Vec::new(),
        };
        RelayChange::Insert { record, sockets }
    }

    /// All records that the relay is to have.
    fn relay_state(&self, desired: &dyn Desired) -> Vec<RelayChange> {
        // A port that is not bound yet is sent by the thread that binds it.
        let is_whole = |change: &RelayChange| match change {
            RelayChange::Insert { record, sockets } => record.sockets().contains(&sockets.len()),
            RelayChange::Remove(_) => true,
        };
        let known = desired.relay_records().into_iter().map(|record| self.insertion(record)).filter(is_whole);
        let resolvers = self
            .resolvers
            .all()
            .into_iter()
            .map(|(sandbox, sockets)| RelayChange::Insert { record: Record::Resolver(sandbox), sockets });
        known.chain(resolvers).collect()
    }
}

/// The record of the relay for an object.
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

/// The key of the record of the relay for an object.
fn relay_key(key: &Key, object: &Object) -> Option<RecordKey> {
    match (key, object) {
        (Key::Netns(sandbox), Object::Netns(_, Some(_))) => Some(RecordKey::Resolver(*sandbox)),
        _ => relay_record(key, object).map(|record| record.key()),
    }
}

#[cfg(test)]
mod tests;
