//! Orphans: what bears our mark and is in no World. The state directory was wiped, or the daemon was started with another
//! one, while links, rules and sockets lived on. They are removed at start.

use std::collections::{BTreeMap, BTreeSet};

use fairway_core::object::{Difference, FileName, Key, Object};
use fairway_kernel::namespace;
use fairway_kernel::route::Mark;
use fairway_model::{Namespace, SandboxId};
use fairway_relay::table::Record;

use crate::{ApplyError, Engine};

impl Engine {
    /// Removes links that have the name of a wanted one and the mark of a network that is in no World. An interface
    /// of the host that such a bridge holds gets its addresses back first.
    pub(crate) fn remove_orphaned_links(&self, difference: &Difference) -> Result<(), ApplyError> {
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

    /// The sandboxes that are in no World, by their files and by what the relay knows.
    fn orphaned_sandboxes(&self, known: &[Record]) -> BTreeSet<SandboxId> {
        let of_relay = known.iter().filter_map(|record| match record {
            Record::Resolver(sandbox) => Some(*sandbox),
            _ => None,
        });
        let mut orphans: BTreeSet<SandboxId> = self.files.sandboxes().into_iter().chain(of_relay).collect();
        self.read(|world| orphans.retain(|id| world.sandbox(*id).is_none()));
        orphans
    }

    /// The namespaces in which links of orphaned sandboxes may be that have no end on the host: those of their
    /// processes, and, since only a World says which sandbox has which, all that have a name. None without orphans.
    pub(crate) fn orphaned_namespaces(&self, known: &[Record]) -> Vec<Namespace> {
        let orphans = self.orphaned_sandboxes(known);
        if orphans.is_empty() {
            return Vec::new();
        }
        let of_processes =
            processes_in(&orphans).into_values().flatten().map(|pid| format!("/proc/{pid}/ns/net"));
        let named = std::fs::read_dir(namespace::NAMED_DIRECTORY).into_iter().flatten().flatten();
        let named = named.map(|entry| entry.path().to_string_lossy().into_owned());
        // One that is no namespace, or has just gone, has no links.
        of_processes.chain(named).filter_map(|path| namespace::identity(&path).ok()).collect()
    }

    /// Logs by name which sandboxes are in no World, and what becomes of them. `known` is what the relay knows.
    pub(crate) fn report_orphaned_sandboxes(&self, known: &[Record]) {
        let orphans = self.orphaned_sandboxes(known);
        if orphans.is_empty() {
            return;
        }
        let processes = processes_in(&orphans);
        for id in orphans {
            let name = self.name_of(id, known);
            let short = id.short();
            match processes.get(&id) {
                Some(pids) => tracing::warn!(
                    sandbox = %name, id = %short, ?pids,
                    "an orphaned sandbox, in no state directory of this daemon: its links, published ports and names are removed; its process runs on without them: kill it, and run the command again"
                ),
                None => tracing::info!(
                    sandbox = %name, id = %short,
                    "an orphaned sandbox, in no state directory of this daemon: what is left of it is removed"
                ),
            }
        }
    }

    /// The name of a sandbox that is in no World: as the relay answers it, else its hostname.
    fn name_of(&self, id: SandboxId, known: &[Record]) -> String {
        let short = id.short();
        let answered = known.iter().find_map(|record| match record {
            Record::Names(record) if record.names.contains(&short) => record.names.first().cloned(),
            _ => None,
        });
        let hostname = || self.files.read(id, FileName::Hostname).map(|text| text.trim_end().to_owned());
        answered.or_else(hostname).unwrap_or(short)
    }
}

/// The processes that have files of these sandboxes mounted.
fn processes_in(sandboxes: &BTreeSet<SandboxId>) -> BTreeMap<SandboxId, Vec<u32>> {
    let ids: Vec<_> = sandboxes.iter().map(|id| (*id, id.to_string())).collect();
    let mut found = BTreeMap::<SandboxId, Vec<u32>>::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        for (id, _) in ids.iter().filter(|(_, text)| mounts.contains(text)) {
            found.entry(*id).or_default().push(pid);
        }
    }
    found
}
