//! Other owners of the firewall: what their tables would do with our packets, and saying so.

mod integrate;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_core::policy::TABLE;
use fairway_core::policy::is_trace_table;
use fairway_inspect::conflict::{FirewallConflict, ForeignTable, Samples, firewall_conflicts, read_saved};
use fairway_kernel::nftables::{self, Reader};
use fairway_model::{HostRoute, NetworkId, SandboxId};
use fairway_ruleset::Family;

use crate::Engine;

/// How often the tables of the older kernel interface are read, of whose changes nobody tells.
const LEGACY_ROUND: Duration = Duration::from_secs(2);
/// Where the kernel lists those that there are, and what prints them.
const LEGACY: [(Family, &str, &str); 2] = [
    (Family::Ip, "/proc/self/net/ip_tables_names", "iptables-legacy-save"),
    (Family::Ip6, "/proc/self/net/ip6_tables_names", "ip6tables-legacy-save"),
];
/// How many networks are named in a line of the log.
const NAMED: usize = 5;

/// Tables of the older kernel interface as they were printed.
pub(crate) type Printed = Vec<(Family, String)>;

/// What is known of the tables of others.
#[derive(Debug, Default)]
pub(crate) struct ForeignFirewalls {
    known: Mutex<Known>,
    /// Held by whoever looks: what is placed follows from what was read.
    alone: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    tables: Arc<Vec<ForeignTable>>,
    /// The older tables as they were printed.
    legacy: Printed,
    legacy_read: Option<Instant>,
    /// What was said of them in the log.
    said: BTreeMap<FirewallConflict, Vec<String>>,
    unreadable: bool,
    /// The routes that were said to meet a network, each with its name.
    routes: BTreeSet<(String, String)>,
}

impl ForeignFirewalls {
    fn remember(&self, tables: Vec<ForeignTable>, legacy: Printed) {
        let mut known = self.lock();
        (known.tables, known.legacy) = (Arc::new(tables), legacy);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The older tables `filter`, as they are printed, where there are any.
fn legacy_tables() -> io::Result<Printed> {
    let mut found = Vec::new();
    for (family, names, program) in LEGACY {
        let names = std::fs::read_to_string(names).unwrap_or_default();
        if !names.lines().any(|name| name == "filter") {
            continue;
        }
        let mut command = Command::new(program);
        let output = command.args(["-t", "filter"]).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        // The comments hold the time; what is counted is not asked for.
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let without_counts = lines.map(|line| match line.strip_prefix(':') {
            Some(chain) => format!(":{}", chain.split(" [").next().unwrap_or(chain)),
            None => line.to_owned(),
        });
        found.push((family, without_counts.collect::<Vec<_>>().join("\n")));
    }
    Ok(found)
}

/// All tables of others, and how the older ones were printed.
pub(crate) fn read_all() -> Result<(Vec<ForeignTable>, Printed), nftables::Error> {
    let tables = Reader::open()?.foreign(|listed| listed.name == TABLE || is_trace_table(&listed.name))?;
    // That they cannot be read is said where they are read regularly.
    let legacy = legacy_tables().unwrap_or_default();
    let older = legacy.iter().filter_map(|(family, text)| read_saved(*family, text));
    let tables = tables.into_iter().map(|(table, owned)| ForeignTable { table, legacy: false, owned });
    Ok((tables.chain(older).map(ForeignTable::with_own_rules_allowed).collect(), legacy))
}

impl Engine {
    /// What tables of others drop of a network's packets.
    pub fn firewall_conflicts(&self, network: NetworkId) -> Vec<FirewallConflict> {
        let tables = self.foreign.lock().tables.clone();
        if tables.is_empty() {
            return Vec::new();
        }
        let samples = self.read(|world| {
            let host = world.host();
            world.network(network).and_then(|it| Samples::of(it, host, host.default_interface.clone()))
        });
        samples.map(|samples| firewall_conflicts(&tables, &samples)).unwrap_or_default()
    }

    /// What they drop of the packets of a sandbox's networks.
    pub fn firewall_conflicts_of(&self, sandbox: SandboxId) -> BTreeSet<FirewallConflict> {
        let networks: Vec<NetworkId> =
            self.read(|world| world.endpoints_of_sandbox(sandbox).iter().map(|it| it.network).collect());
        networks.into_iter().flat_map(|network| self.firewall_conflicts(network)).collect()
    }

    /// Whether tables of the older kernel interface are other than they were; looks now and then.
    pub(crate) fn legacy_tables_changed(&self) -> bool {
        if self.foreign.lock().legacy_read.is_some_and(|read| read.elapsed() < LEGACY_ROUND) {
            return false;
        }
        let found = legacy_tables();
        let mut known = self.foreign.lock();
        known.legacy_read = Some(Instant::now());
        match found {
            Ok(tables) => {
                known.unreadable = false;
                tables != known.legacy
            }
            Err(reason) => {
                if !std::mem::replace(&mut known.unreadable, true) {
                    tracing::warn!(
                        %reason,
                        "there are tables of legacy iptables, and what they drop cannot be known: install iptables, or take them away"
                    );
                }
                false
            }
        }
    }

    /// Reads the tables of others, and says in the log what of ours they drop, once.
    pub(crate) fn scan_foreign_firewalls(&self) {
        let _exclusive = self.foreign.alone.lock().unwrap_or_else(PoisonError::into_inner);
        match read_all() {
            Ok((tables, legacy)) => self.foreign.remember(tables, legacy),
            Err(error) => return tracing::warn!(%error, "what other firewalls do cannot be known"),
        }
        if self.integrate()
            && let Ok((tables, legacy)) = read_all()
        {
            self.foreign.remember(tables, legacy);
        }
        self.report_conflicts();
        self.report_overlapping_routes();
    }

    /// Says which routes of the host meet networks of ours, once.
    pub(crate) fn report_overlapping_routes(&self) {
        let found: BTreeSet<(String, String)> = self.read(|world| {
            let meet = world.networks().flat_map(|network| {
                let route = |it: &HostRoute| format!("{} dev {}", it.destination, it.interface);
                world.overlapping_routes(network).map(move |it| (network.name.clone(), route(it)))
            });
            meet.collect()
        });
        let before = std::mem::replace(&mut self.foreign.lock().routes, found.clone());
        for (network, route) in found.difference(&before) {
            tracing::warn!(
                network,
                route,
                "a route of the host meets the network's subnet: one of the two cannot be reached"
            );
        }
        for (network, route) in before.difference(&found) {
            tracing::info!(network, route, "no route of the host meets the network's subnet any more");
        }
    }

    fn report_conflicts(&self) {
        let networks: Vec<(NetworkId, String)> =
            self.read(|world| world.networks().map(|it| (it.id, it.name.clone())).collect());
        let mut found: BTreeMap<FirewallConflict, Vec<String>> = BTreeMap::new();
        for (id, name) in networks {
            for conflict in self.firewall_conflicts(id) {
                found.entry(conflict).or_default().push(name.clone());
            }
        }
        let mut known = self.foreign.lock();
        for (conflict, names) in found.iter().filter(|(conflict, _)| !known.said.contains_key(conflict)) {
            tracing::warn!(networks = list(names), "another firewall is in the way: {conflict}");
        }
        for conflict in known.said.keys().filter(|conflict| !found.contains_key(conflict)) {
            tracing::info!("another firewall is no longer in the way: {conflict}");
        }
        known.said = found;
    }
}

/// The first few of many names.
fn list(names: &[String]) -> String {
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
