//! What is wrong with the host: looked at here, judged by [`fairway_inspect::doctor`], and mended where it is Fairway's own.

mod files;
mod host;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use fairway_core::object::{Difference, Key, Object};
use fairway_core::world::World;
use fairway_inspect::conflict::{ForeignTable, Samples, firewall_conflicts};
use fairway_inspect::doctor::{
    Descriptors, Finding, Inside, LostPort, Observations, RESOLVER_TABLE, Relay, Share, examine,
};
use fairway_kernel::iptables::Flavour;
use fairway_kernel::{limits, port_holder, process, sysctl};
use fairway_model::{Backend, Sandbox, SandboxId, Settings};
use fairway_ruleset::{Family, Table};

use crate::apply::etc_netns;
use crate::reconcile::drift;
use crate::{Engine, EngineError, requirements};

/// How long the relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found, and what was done before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was found, for each check in turn; of what was mended, how it is now.
    pub findings: Vec<Finding>,
    /// What was mended, in words.
    pub done: Vec<String>,
}

/// Examines the host where no daemon runs.
pub fn examine_host() -> Vec<Finding> {
    let mut seen = Observations::default();
    host::observe(&mut seen);
    kernel(&mut seen, requirements::check(&Settings::default(), None));
    examine(&World::default(), &seen)
}

/// Remembers what trying the kernel brought.
fn kernel(seen: &mut Observations, tried: Result<(), EngineError>) {
    match tried {
        Ok(()) => {}
        Err(error) if !rustix::process::geteuid().is_root() => {
            seen.unseen.insert("kernel", error.to_string());
        }
        Err(error) => seen.lacking = Some(error.to_string()),
    }
}

impl Engine {
    /// Examines the host and all that is Fairway's, and changes nothing.
    pub fn doctor(self: &Arc<Self>) -> Diagnosis {
        let mut seen = Observations { daemon: true, now: self.now(), ..Observations::default() };
        host::observe(&mut seen);
        let (world, settings) = self.read(|world| (world.clone(), world.settings().clone()));
        kernel(&mut seen, requirements::check(&settings, self.firewall.flavour()));
        look_at_obstacles(&world, &mut seen);
        seen.relay = self.relay_seen();
        seen.descriptors = limits::descriptors().map(|(used, most, hard)| Descriptors {
            pid: std::process::id(),
            open: Share { used, most },
            hard,
        });
        seen.mended = self.repairs.all();
        match self.find_drift() {
            Ok(drift) => {
                seen.drift = drift.present();
                seen.leaks = drift::left(&drift.difference);
                seen.lost = lost(&world, &drift.difference, &[std::process::id(), seen.relay.pid]);
            }
            Err(error) => {
                for check in ["drift", "leaks", "ports"] {
                    seen.unseen.insert(check, error.to_string());
                }
            }
        }
        let lines = self.forgotten(&world, &seen.tables);
        seen.leaks.extend(lines);
        seen.inside = self.changed_inside(&world);
        seen.replaced_files = files::replaced(&world, &self.files);
        Diagnosis { findings: examine(&world, &seen), done: Vec::new() }
    }

    /// Mends what is Fairway's own, and examines it all again.
    pub fn doctor_fix(self: &Arc<Self>) -> Diagnosis {
        let before = self.doctor();
        self.follow_host();
        let own = |check: &str| {
            let found = before.findings.iter().filter(move |it| it.check == check);
            found
                .filter(|it| it.mend.as_ref().is_some_and(|mend| mend.own))
                .map(|it| it.seen.clone())
                .collect::<Vec<_>>()
        };
        let mut done = Vec::new();
        if !own("relay").is_empty() {
            done.push(match self.replace_relay() {
                Ok(()) => "started another relay and told it everything".to_owned(),
                Err(error) => format!("could not start another relay: {error}"),
            });
        }
        done.extend(self.repair_resolvers());
        let bridges = self.forward_on_bridges();
        let is_set = |what: &String| bridges.iter().any(|(path, _)| what.starts_with(path.as_str()));
        let ill = ["forwarding", "drift", "leaks", "ports"].into_iter().flat_map(own);
        let ill: Vec<String> = ill.filter(|what| !is_set(what)).collect();
        for (path, outcome) in bridges {
            done.push(match outcome {
                Ok(()) => format!("set {path} to 1"),
                Err(error) => error.to_string(),
            });
        }
        if !ill.is_empty() {
            self.request_netns_heal();
            match self.heal() {
                Ok(_) => done.extend(ill.into_iter().map(|what| format!("mended: {what}"))),
                Err(error) => done.push(format!("not everything could be mended: {error}")),
            }
            self.sweep_firewall();
            self.tidy_files();
        }
        // What was not mended after all is not said to be.
        let after = self.doctor();
        done.retain(|line| !after.findings.iter().any(|it| line.strip_prefix("mended: ") == Some(&it.seen)));
        Diagnosis { done, ..after }
    }

    /// Whether the relay answers soon. One that is stuck is waited for elsewhere.
    fn relay_seen(self: &Arc<Self>) -> Relay {
        let (tell, told) = mpsc::channel();
        let weak = Arc::downgrade(self);
        let asks = move || {
            let answers = weak.upgrade().is_some_and(|engine| engine.relay.answers());
            // Nobody may wait any longer.
            let _ = tell.send(answers);
        };
        let asking = std::thread::Builder::new().name("ask the relay".to_owned()).spawn(asks);
        let answers = asking.is_ok() && told.recv_timeout(PATIENCE).unwrap_or(false);
        let hello = self.relay.hello();
        Relay { answers, pid: hello.pid, missing: hello.missing }
    }

    /// Signals a relay that does not answer, if it is there, and starts another one.
    fn replace_relay(&self) -> Result<(), EngineError> {
        let pid = self.relay.hello().pid;
        let own = std::fs::read_link("/proc/self/exe").ok();
        // By that number it is known in its own pid namespace: it has to be the same program.
        if own.is_some() && std::fs::read_link(format!("/proc/{pid}/exe")).ok() == own {
            let relay = process::identity(pid).and_then(process::Process::open);
            if let Err(error) = relay.and_then(|relay| relay.kill()) {
                tracing::debug!(%error, "the relay that did not answer has ended");
            }
        }
        Ok(self.restart_relay()?)
    }

    /// Lets bridges of ours forward that somebody keeps from it.
    fn forward_on_bridges(&self) -> Vec<(String, Result<(), sysctl::Error>)> {
        let (bridges, on) = self.read(|world| {
            let bridges = world.networks().filter(|network| network.driver.has_bridge() && !network.internal);
            (bridges.map(|network| network.bridge.clone()).collect::<Vec<_>>(), world.host().forwarding.0)
        });
        let paths = bridges.into_iter().map(|bridge| format!("net/ipv4/conf/{bridge}/forwarding"));
        let off = paths.filter(|path| on && sysctl::read(path).as_deref() == Ok("0"));
        off.map(|path| (path.clone(), sysctl::set(&path, "1"))).collect()
    }

    /// What is left of what is gone and is no object of a Plan: files of sandboxes, links to them, and rules of iptables
    /// where that is not what this daemon programs.
    fn forgotten(&self, world: &World, tables: &[ForeignTable]) -> Vec<String> {
        let gone = self.files.sandboxes().into_iter().filter(|id| world.sandbox(*id).is_none());
        let files = gone.map(|id| {
            let directory = self.files.directory(id);
            format!("files of sandbox {}, which is gone, are there ({})", id.short(), directory.display())
        });
        let links = etc_netns::left();
        let links = links.iter().map(|link| format!("{} leads to a sandbox that is gone", link.display()));
        let legacy = self.firewall.flavour() == Some(Flavour::Legacy);
        let used = |table: &ForeignTable| {
            let backend = world.settings().firewall_backend(table.table.family == Family::Ip);
            backend == Some(Backend::Iptables) && table.legacy == legacy
        };
        let rules = tables.iter().filter(|table| table.has_ours() && !used(table)).map(|table| {
            let kind = if table.legacy { "legacy " } else { "" };
            let Table { family, name, .. } = &table.table;
            format!("chains of Fairway's are in {kind}table {family} {name}, and nothing uses them")
        });
        files.chain(links).chain(rules).collect()
    }

    /// The sandboxes that are inside not as they were made.
    fn changed_inside(&self, world: &World) -> Vec<Inside> {
        let mut running: Vec<&Sandbox> = world.sandboxes().filter(|it| it.running()).collect();
        running.sort_by_key(|sandbox| &sandbox.name);
        let look = |sandbox: &Sandbox| {
            let differences = self.netns_deviations(sandbox.id).filter(|found| !found.is_empty())?;
            let namespace = sandbox.namespace().map(|namespace| namespace.path.clone()).unwrap_or_default();
            Some(Inside { sandbox: sandbox.name.clone(), namespace, differences })
        };
        running.into_iter().filter_map(look).collect()
    }

    /// Leads questions to the resolvers again in sandboxes that have lost the rules for it.
    fn repair_resolvers(&self) -> Vec<String> {
        let running: Vec<(SandboxId, String)> = self.read(|world| {
            let running = world.sandboxes().filter(|it| it.running());
            running.map(|it| (it.id, it.name.clone())).collect()
        });
        let lacks = |id: SandboxId| {
            let found = self.netns_deviations(id).unwrap_or_default();
            found.iter().any(|it| it.what == RESOLVER_TABLE)
        };
        let repaired = running.into_iter().filter(|(id, _)| lacks(*id)).map(|(id, name)| {
            match self.restore_resolver_rules(id) {
                Ok(()) => format!("{name}: {RESOLVER_TABLE} is there again"),
                Err(error) => format!("cannot restore {RESOLVER_TABLE} in {name}: {error}"),
            }
        });
        repaired.collect()
    }
}

/// What firewalls of others drop, of all networks.
fn look_at_obstacles(world: &World, seen: &mut Observations) {
    for network in world.networks() {
        let samples = Samples::of(network, &seen.facts, seen.facts.default_interface.clone());
        for conflict in samples.map(|samples| firewall_conflicts(&seen.tables, &samples)).unwrap_or_default()
        {
            seen.firewall_conflicts.entry(conflict).or_default().push(network.name.clone());
        }
    }
}

/// The published ports that we do not hold, and whether others than these processes of ours do.
fn lost(world: &World, difference: &Difference, ours: &[u32]) -> Vec<LostPort> {
    let sockets = difference.added.iter().filter_map(|(key, object)| match (key, object) {
        (Key::Socket(protocol, at), Object::Socket(socket)) => Some((*protocol, *at, socket.sandbox)),
        _ => None,
    });
    let lost = sockets.map(|(protocol, at, sandbox)| LostPort {
        protocol,
        at,
        sandbox: world.sandbox(sandbox).map(|it| it.name.clone()).unwrap_or_default(),
        holder: port_holder::find_except(protocol, at, ours).map(|holder| (holder.pid, holder.name)),
    });
    lost.collect()
}
