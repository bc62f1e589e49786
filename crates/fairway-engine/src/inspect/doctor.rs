//! Gathers what [`fairway_inspect::doctor`] examines, and fixes what Fairway owns.

mod files;
mod host;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fairway_core::object::{Difference, Key, Object};
use fairway_core::world::World;
use fairway_inspect::conflict::{ForeignTable, Samples, firewall_conflicts};
use fairway_inspect::doctor::{
    DaemonFinding, Descriptors, Finding, FindingKind, ForwardingFinding, NamespaceState, Observations,
    PortFinding, RESOLVER_TABLE, RelayState, StoreOutage, UnheldPort, Usage, examine,
};
use fairway_kernel::iptables::Flavour;
use fairway_kernel::{limits, port_holder, sysctl};
use fairway_model::{Backend, Sandbox, SandboxId, Settings};
use fairway_ruleset::{Family, Table};

use super::Inspector;
use crate::apply::etc_netns;
use crate::commit::records::Orphan;
use crate::reconcile::drift;
use crate::{EngineError, requirements};

/// How long the relay may take to answer.
const RELAY_TIMEOUT: Duration = Duration::from_secs(2);

/// What is there where a daemon was set up, in its default places: its store and its unit.
const INSTALLED: [&str; 2] = ["/var/lib/fairway", "/etc/systemd/system/fairway.service"];

/// The findings of `fairway doctor`, and what `--fix` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The findings of all checks in order, after the fixes.
    pub findings: Vec<Finding>,
    /// The fixes, described in text.
    pub done: Vec<String>,
}

/// Examines a host on which no daemon runs.
pub fn examine_host() -> Vec<Finding> {
    let installed = INSTALLED.iter().any(|path| Path::new(path).exists());
    let mut observed = Observations { installed, ..Observations::default() };
    host::observe(&mut observed);
    record_requirements(&mut observed, requirements::check(&Settings::default(), None));
    render(&examine(&World::default(), &observed))
}

fn render(findings: &[FindingKind]) -> Vec<Finding> {
    findings.iter().map(FindingKind::render).collect()
}

/// Records the result of trying the kernel's features. Without root, an error says nothing about the kernel.
fn record_requirements(observed: &mut Observations, result: Result<(), EngineError>) {
    match result {
        Ok(()) => {}
        Err(error) if !rustix::process::geteuid().is_root() => {
            observed.not_examined.insert("kernel", error.to_string());
        }
        Err(error) => observed.kernel_lacks = Some(error.to_string()),
    }
}

impl Inspector {
    /// Examines the host and the daemon, and changes nothing.
    pub fn doctor(self: &Arc<Self>) -> Diagnosis {
        Diagnosis { findings: render(&self.examine()), done: Vec::new() }
    }

    fn examine(self: &Arc<Self>) -> Vec<FindingKind> {
        let mut observed =
            Observations { daemon: true, now: self.committer.now(), ..Observations::default() };
        host::observe(&mut observed);
        let (world, settings) = self.committer.read(|world| (world.clone(), world.settings().clone()));
        record_requirements(&mut observed, requirements::check(&settings, self.applier.firewall.flavour()));
        look_at_conflicts(&world, &mut observed);
        observed.relay = self.observe_relay();
        observed.store_outage = self.committer.store.health().map(|outage| StoreOutage {
            seconds: outage.since.elapsed().as_secs(),
            error: outage.error.to_string(),
        });
        let orphans = self.orphans.iter().map(|Orphan { key, reason }| (key.clone(), reason.clone()));
        observed.orphans = orphans.collect();
        observed.descriptors = limits::descriptors().map(|(used, limit, hard)| Descriptors {
            pid: std::process::id(),
            open: Usage { used, limit },
            hard,
        });
        observed.data_root = self.applier.files.space();
        observed.repairs = self.reconciler.repairs.all();
        match self.reconciler.find_drift() {
            Ok(drift) => {
                observed.drift = drift.present(&world);
                observed.leaks = drift::leaked(&drift.difference, &world);
                observed.unheld_ports =
                    unheld_ports(&world, &drift.difference, &[std::process::id(), observed.relay.pid]);
            }
            Err(error) => {
                for check in ["drift", "leaks", "ports"] {
                    observed.not_examined.insert(check, error.to_string());
                }
            }
        }
        let leaks = self.leaked_files_and_rules(&world, &observed.tables);
        observed.leaks.extend(leaks);
        observed.changed_namespaces = self.changed_namespaces(&world);
        observed.replaced_files = files::replaced(&world, &self.applier.files);
        examine(&world, &observed)
    }

    /// Fixes what Fairway owns, and examines everything again.
    pub fn doctor_fix(self: &Arc<Self>) -> Diagnosis {
        let before = self.examine();
        self.committer.follow_host();
        let mut done = Vec::new();
        let is_relay =
            |it: &FindingKind| matches!(it, FindingKind::Daemon(DaemonFinding::RelayUnresponsive { .. }));
        if before.iter().any(is_relay) {
            done.push(match self.replace_relay() {
                Ok(()) => "started a new relay and sent it the whole state".to_owned(),
                Err(error) => format!("cannot start a new relay: {error}"),
            });
        }
        done.extend(self.repair_resolvers());
        for (path, outcome) in self.enable_bridge_forwarding() {
            done.push(match outcome {
                Ok(()) => format!("set {path} to 1"),
                Err(error) => error.to_string(),
            });
        }
        let repairable = before.iter().filter(|kind| is_repaired_by_heal(kind)).map(FindingKind::render);
        let repairable: Vec<String> = repairable.map(|finding| finding.message).collect();
        let mut repaired = Vec::new();
        if !repairable.is_empty() {
            match self.reconciler.heal_all() {
                Ok(()) => repaired = repairable,
                Err(error) => done.push(format!("cannot repair everything: {error}")),
            }
            self.reconciler.sweep_firewall();
            self.committer.tidy_files();
        }
        let findings = render(&self.examine());
        repaired.retain(|message| !findings.iter().any(|finding| finding.message == *message));
        done.extend(repaired.into_iter().map(|message| format!("repaired: {message}")));
        Diagnosis { findings, done }
    }

    /// The state of the relay. A thread waits for the answer, since a stuck relay never sends one.
    fn observe_relay(self: &Arc<Self>) -> RelayState {
        let (sender, receiver) = mpsc::channel();
        let weak = Arc::downgrade(self);
        let query = move || {
            let answers = weak.upgrade().is_some_and(|inspector| inspector.applier.relay.answers());
            // The receiver is gone after the timeout.
            let _ = sender.send(answers);
        };
        let thread = std::thread::Builder::new().name("query the relay".to_owned()).spawn(query);
        let answers = thread.is_ok() && receiver.recv_timeout(RELAY_TIMEOUT).unwrap_or(false);
        let hello = self.applier.relay.hello();
        RelayState { answers, pid: hello.pid, missing: hello.missing }
    }

    /// Kills a relay that does not answer, if its process exists, and starts a new one.
    fn replace_relay(&self) -> Result<(), EngineError> {
        self.applier.relay.kill();
        Ok(self.applier.restart_relay(&self.committer.pipeline)?)
    }

    /// Enables forwarding on the bridges of networks where it was disabled.
    fn enable_bridge_forwarding(&self) -> Vec<(String, Result<(), sysctl::Error>)> {
        let (bridges, on) = self.committer.read(|world| {
            let bridges = world.networks().filter(|network| network.driver.has_bridge() && !network.internal);
            (bridges.map(|network| network.bridge.clone()).collect::<Vec<_>>(), world.host().forwarding.0)
        });
        let paths = bridges.into_iter().map(|bridge| format!("net/ipv4/conf/{bridge}/forwarding"));
        let off = paths.filter(|path| on && sysctl::read(path).as_deref() == Ok("0"));
        off.map(|path| (path.clone(), sysctl::set(&path, "1"))).collect()
    }

    /// Leaks that are no objects of a Plan: files of removed sandboxes, links to them in `/etc/netns`, and chains in the
    /// iptables backend that this daemon does not use.
    fn leaked_files_and_rules(&self, world: &World, tables: &[ForeignTable]) -> Vec<String> {
        let gone = self.applier.files.sandboxes().into_iter().filter(|id| world.sandbox(*id).is_none());
        let files = gone.map(|id| {
            let directory = self.applier.files.directory(id);
            let logs = || self.applier.files.log(id).with_extension("*");
            let found = if directory.exists() { directory } else { logs() };
            format!("files of removed sandbox {} ({})", id.short(), found.display())
        });
        let links = etc_netns::dangling();
        let links =
            links.iter().map(|link| format!("{} links to a file of a removed sandbox", link.display()));
        let legacy = self.applier.firewall.flavour() == Some(Flavour::Legacy);
        let used = |table: &ForeignTable| {
            let backend = world.settings().firewall_backend(table.table.family == Family::Ip);
            backend == Some(Backend::Iptables) && table.legacy == legacy
        };
        let rules = tables.iter().filter(|table| table.has_ours() && !used(table)).map(|table| {
            let kind = if table.legacy { "legacy " } else { "" };
            let Table { family, name, .. } = &table.table;
            format!("unused chains of Fairway in {kind}table {family} {name}")
        });
        files.chain(links).chain(rules).collect()
    }

    /// The sandboxes whose namespace differs from the Plan.
    fn changed_namespaces(&self, world: &World) -> Vec<NamespaceState> {
        let mut running: Vec<&Sandbox> = world.sandboxes().filter(|it| it.running()).collect();
        running.sort_by_key(|sandbox| &sandbox.name);
        let look = |sandbox: &Sandbox| {
            let deviations =
                self.reconciler.netns_deviations(sandbox.id).filter(|found| !found.is_empty())?;
            let namespace = sandbox.namespace().map(|namespace| namespace.path.clone()).unwrap_or_default();
            Some(NamespaceState { sandbox: sandbox.name.clone(), namespace, deviations })
        };
        running.into_iter().filter_map(look).collect()
    }

    /// Restores the rules that redirect DNS queries to the resolver in sandboxes that have lost them.
    fn repair_resolvers(&self) -> Vec<String> {
        let running: Vec<(SandboxId, String)> = self.committer.read(|world| {
            let running = world.sandboxes().filter(|it| it.running());
            running.map(|it| (it.id, it.name.clone())).collect()
        });
        let lacks = |id: SandboxId| {
            let found = self.reconciler.netns_deviations(id).unwrap_or_default();
            found.iter().any(|it| it.what == RESOLVER_TABLE)
        };
        let repaired = running.into_iter().filter(|(id, _)| lacks(*id)).map(|(id, name)| {
            match self.applier.restore_resolver_rules(id) {
                Ok(()) => format!("{name}: restored {RESOLVER_TABLE}"),
                Err(error) => format!("cannot restore {RESOLVER_TABLE} in {name}: {error}"),
            }
        });
        repaired.collect()
    }
}

/// Records what foreign firewalls drop of the packets of all networks.
fn look_at_conflicts(world: &World, observed: &mut Observations) {
    for network in world.networks() {
        let samples = Samples::of(world, network, &observed.facts, observed.facts.default_interface.clone());
        for conflict in
            samples.map(|samples| firewall_conflicts(&observed.tables, &samples)).unwrap_or_default()
        {
            observed.firewall_conflicts.entry(conflict).or_default().push(network.name.clone());
        }
    }
}

/// Whether healing repairs the cause of a finding.
fn is_repaired_by_heal(kind: &FindingKind) -> bool {
    match kind {
        FindingKind::Daemon(DaemonFinding::Drift { .. } | DaemonFinding::Leak { .. }) => true,
        FindingKind::Forwarding(ForwardingFinding::Disabled { automatic, .. }) => *automatic,
        FindingKind::Port(PortFinding::NotHeld(port)) => port.holder.is_none(),
        _ => false,
    }
}

/// The published ports that Fairway does not hold, each with the process that holds it, other than `ours`.
fn unheld_ports(world: &World, difference: &Difference, ours: &[u32]) -> Vec<UnheldPort> {
    let sockets = difference.added.iter().filter_map(|(key, object)| match (key, object) {
        (Key::Socket(protocol, address), Object::Socket(socket)) => {
            Some((*protocol, *address, socket.sandbox))
        }
        _ => None,
    });
    let unheld = sockets.map(|(protocol, address, sandbox)| UnheldPort {
        protocol,
        address,
        sandbox: world.sandbox(sandbox).map(|it| it.name.clone()).unwrap_or_default(),
        holder: port_holder::find_except(protocol, address, ours).map(|holder| (holder.pid, holder.name)),
    });
    unheld.collect()
}
