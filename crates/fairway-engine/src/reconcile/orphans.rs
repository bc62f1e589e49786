//! Orphans: objects with Fairway's mark of an unknown network or sandbox. The state directory was deleted, or the
//! daemon was started with another one, while links, rules and sockets lived on. They are deleted at the start.

use std::collections::{BTreeMap, BTreeSet};

use fairway_core::object::FileName;
use fairway_kernel::namespace;
use fairway_model::{Namespace, SandboxId};
use fairway_relay::table::Record;

use crate::reconcile::Reconciler;

impl Reconciler {
    /// The orphaned sandboxes, by their files and by the records of the relay.
    fn orphaned_sandboxes(&self, known: &[Record]) -> BTreeSet<SandboxId> {
        let of_relay = known.iter().filter_map(|record| match record {
            Record::Resolver(sandbox) => Some(*sandbox),
            _ => None,
        });
        let mut orphans: BTreeSet<SandboxId> =
            self.applier.files.sandboxes().into_iter().chain(of_relay).collect();
        self.committer.read(|world| orphans.retain(|id| world.sandbox(*id).is_none()));
        orphans
    }

    /// The namespaces that may have links of orphaned sandboxes without an end on the host: those of their processes
    /// and all named ones, since only a World knows which sandbox has which. None without orphans.
    pub(crate) fn orphaned_namespaces(&self, known: &[Record]) -> Vec<Namespace> {
        let orphans = self.orphaned_sandboxes(known);
        if orphans.is_empty() {
            return Vec::new();
        }
        let of_processes =
            processes_in(&orphans).into_values().flatten().map(|pid| format!("/proc/{pid}/ns/net"));
        let named = std::fs::read_dir(namespace::NAMED_DIRECTORY).into_iter().flatten().flatten();
        let named = named.map(|entry| entry.path().to_string_lossy().into_owned());
        // A path that is no namespace, or has just gone, has no links.
        of_processes.chain(named).filter_map(|path| namespace::identity(&path).ok()).collect()
    }

    /// Logs the orphaned sandboxes by name. `known` are the records of the relay.
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
                    "deleting links, published ports and names of orphaned sandbox {name}: not in the state directory of this daemon; its process runs on without them: kill it, and run the command again"
                ),
                None => tracing::info!(
                    sandbox = %name, id = %short,
                    "deleting the remains of orphaned sandbox {name}: not in the state directory of this daemon"
                ),
            }
        }
    }

    /// The name of an orphaned sandbox: from the records of the relay, else its hostname.
    fn name_of(&self, id: SandboxId, known: &[Record]) -> String {
        let short = id.short();
        let answered = known.iter().find_map(|record| match record {
            Record::Names(record) if record.names.contains(&short) => record.names.first().cloned(),
            _ => None,
        });
        let hostname =
            || self.applier.files.read(id, FileName::Hostname).map(|text| text.trim_end().to_owned());
        answered.or_else(hostname).unwrap_or(short)
    }
}

/// The processes that mount files of these sandboxes.
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
