//! Finds rules in other programs' firewall tables that would drop Fairway's packets, and logs them.

mod integrate;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_core::policy::TABLE;
use fairway_core::policy::is_trace_table;
use fairway_inspect::conflict::{FirewallConflict, ForeignTable, Samples, firewall_conflicts, read_saved};
use fairway_kernel::nftables::{self, Reader};
use fairway_model::{NetworkId, SandboxId};
use fairway_ruleset::Family;

use crate::reconcile::Reconciler;

/// The lists of the kernel of iptables-legacy tables, and the programs that print them.
const LEGACY: [(Family, &str, &str); 2] = [
    (Family::Ip, "/proc/self/net/ip_tables_names", "iptables-legacy-save"),
    (Family::Ip6, "/proc/self/net/ip6_tables_names", "ip6tables-legacy-save"),
];
/// How many networks a log line names.
const NAMED: usize = 5;
/// How often one scan decides on the jumps: another program may change its rules each time.
const MOST_DECISIONS: usize = 3;

/// The tables of iptables-legacy, as printed.
pub(crate) type Printed = Vec<(Family, String)>;

/// The last scan of the foreign firewalls.
#[derive(Debug, Default)]
pub(crate) struct ForeignFirewalls {
    known: Mutex<Known>,
    /// Held during a scan: the placed jumps follow from what was read.
    scan: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    tables: Arc<Vec<ForeignTable>>,
    /// The tables of iptables-legacy, as printed.
    legacy: Printed,
    /// The conflicts that were logged, with the names of their networks.
    reported: BTreeMap<FirewallConflict, Vec<String>>,
    unreadable: bool,
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

/// Prints the tables `filter` of iptables-legacy that exist.
#[expect(clippy::disallowed_methods, reason = "iptables-save prints the tables of iptables-legacy")]
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
        // Comments hold the time, and counters are not compared.
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

/// Reads all foreign tables, and the printed text of those of iptables-legacy.
pub(crate) fn read_all() -> Result<(Vec<ForeignTable>, Printed), nftables::Error> {
    let tables = Reader::open()?.foreign(|listed| listed.name == TABLE || is_trace_table(&listed.name))?;
    // A failure is logged where they are read regularly.
    let legacy = legacy_tables().unwrap_or_default();
    let iptables_legacy = legacy.iter().filter_map(|(family, text)| read_saved(*family, text));
    let tables = tables.into_iter().map(|(table, owned)| ForeignTable { table, legacy: false, owned });
    Ok((tables.chain(iptables_legacy).map(ForeignTable::with_own_rules_allowed).collect(), legacy))
}

impl Reconciler {
    /// The rules of foreign tables that drop packets of a network.
    pub fn firewall_conflicts(&self, network: NetworkId) -> Vec<FirewallConflict> {
        let tables = self.foreign.lock().tables.clone();
        if tables.is_empty() {
            return Vec::new();
        }
        let samples = self.committer.read(|world| {
            let host = world.host();
            world.network(network).and_then(|it| Samples::of(world, it, host, host.default_interface.clone()))
        });
        samples.map(|samples| firewall_conflicts(&tables, &samples)).unwrap_or_default()
    }

    /// The rules of foreign tables that drop packets of a sandbox's networks.
    pub fn firewall_conflicts_of(&self, sandbox: SandboxId) -> BTreeSet<FirewallConflict> {
        let networks: Vec<NetworkId> = self
            .committer
            .read(|world| world.endpoints_of_sandbox(sandbox).iter().map(|it| it.network).collect());
        networks.into_iter().flat_map(|network| self.firewall_conflicts(network)).collect()
    }

    /// Whether the tables of iptables-legacy changed since the last scan.
    pub(crate) fn legacy_tables_changed(&self) -> bool {
        let found = legacy_tables();
        let mut known = self.foreign.lock();
        match found {
            Ok(tables) => {
                known.unreadable = false;
                tables != known.legacy
            }
            Err(reason) => {
                if !std::mem::replace(&mut known.unreadable, true) {
                    tracing::warn!(
                        %reason,
                        "cannot read the tables of iptables-legacy: {reason}: install iptables, or delete the tables"
                    );
                }
                false
            }
        }
    }

    /// Scans the foreign tables, places jumps where that is on, and logs each conflict once.
    pub(crate) fn scan_foreign_firewalls(&self) {
        let _exclusive = self.foreign.scan.lock().unwrap_or_else(PoisonError::into_inner);
        // What changes while jumps are placed is decided on again.
        for _ in 0..MOST_DECISIONS {
            match read_all() {
                Ok((tables, legacy)) => self.foreign.remember(tables, legacy),
                Err(error) => {
                    return tracing::warn!(%error, "failed to read the tables of other firewalls: {error}");
                }
            }
            if !self.integrate() {
                break;
            }
        }
        self.report_conflicts();
        self.committer.report_overlapping_routes();
    }

    fn report_conflicts(&self) {
        let networks: Vec<(NetworkId, String)> =
            self.committer.read(|world| world.networks().map(|it| (it.id, it.name.clone())).collect());
        let mut found: BTreeMap<FirewallConflict, Vec<String>> = BTreeMap::new();
        for (id, name) in networks {
            for conflict in self.firewall_conflicts(id) {
                found.entry(conflict).or_default().push(name.clone());
            }
        }
        let mut known = self.foreign.lock();
        for (conflict, names) in found.iter().filter(|(conflict, _)| !known.reported.contains_key(conflict)) {
            tracing::warn!(networks = list(names), "another firewall drops packets: {conflict}");
        }
        for conflict in known.reported.keys().filter(|conflict| !found.contains_key(conflict)) {
            tracing::info!("another firewall no longer drops packets: {conflict}");
        }
        known.reported = found;
    }
}

/// The first of many names.
fn list(names: &[String]) -> String {
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
