//! Removes everything that the engine created on the host.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_core::object::{Difference, Fragment};
use fairway_core::world::World;
use fairway_kernel::process::{self, Process};
use fairway_model::{ProcessIdentity, SandboxId, SandboxKind, Settings};
use fairway_store::Store;
use rustix::process::Signal;

use crate::apply::etc_netns;
use crate::apply::files::{LOGS, SandboxFiles};
use crate::apply::former_relays::FormerRelays;
use crate::commit::host::{adopted, release_bridges};
use crate::commit::records::{STORE, STORE_PATIENCE, load};
use crate::engine::RELAY_SOCKET;
use crate::reconcile::observe::Depth;
use crate::reconcile::repair::Host;
use crate::{Engine, EngineError, Options};

/// How long the process of a sandbox may take to end after SIGTERM; as in Docker.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a supervisor may take to record the exit code.
const REPORT: Duration = Duration::from_secs(1);
/// How many processes are stopped in parallel.
const MAX_PARALLEL_STOPS: usize = 64;

/// The result of a removal.
#[derive(Debug, Default)]
pub struct Removed {
    /// The names of the stopped sandboxes.
    pub stopped: Vec<String>,
}

impl Engine {
    /// Removes what a daemon with these options created on the host: tables and rules, links, addresses and routes,
    /// files, the relay. Releases uplinks and restores forwarding. Durable state stays: a daemon that starts again
    /// creates the same networks.
    ///
    /// # Errors
    /// [`EngineError::Running`] if sandboxes run, unless `force` stops them; nothing is changed then. The errors of a
    /// start, and those of the kernel.
    pub fn remove(options: Options, force: bool) -> Result<Removed, EngineError> {
        let exec_root = options.exec_root.clone();
        let running = running(&options.data_root)?;
        let names: Vec<String> = running.iter().map(|command| command.name.clone()).collect();
        if !running.is_empty() && !force {
            return Err(EngineError::Running(names));
        }
        stop_all(&running)?;
        await_records(&options, &running);
        // Without monitors, a removed object is not repaired.
        let (engine, _, known) = Self::assemble(options, true)?;
        engine.release_host()?;
        // First the objects as planned, of which everything is known; then the others, and orphans.
        for wanted in [engine.reconciler.wanted(), Fragment::new()] {
            let (found, _) = engine.reconciler.observe(&wanted, &Depth::All(&known))?;
            for failure in engine.reconciler.apply(&Difference::between(found, Fragment::new()))? {
                tracing::error!("failed to remove {}", failure.error);
            }
        }
        engine.applier.firewall.sweep(&Fragment::new());
        engine.applier.relay.end();
        FormerRelays::under(&exec_root).end();
        remove_files(&engine, &exec_root);
        Ok(Removed { stopped: names })
    }

    /// Restores forwarding, foreign tables and adopted bridges of the host.
    fn release_host(self: &Arc<Self>) -> Result<(), EngineError> {
        let settings = self.read(|world| world.settings().clone());
        self.reconfigure(None, Settings { ip_forward: false, firewall_integration: false, ..settings })?;
        let bridges = self.read(adopted);
        release_bridges(&bridges, &World::default());
        Ok(())
    }
}

/// Deletes durable state below a data root: the World and the logs. Other files stay, and the directory with them.
///
/// # Errors
/// A file that cannot be deleted.
pub fn purge(data_root: &Path) -> Result<(), EngineError> {
    Store::delete(&data_root.join(STORE))?;
    let refused = |source| EngineError::Delete { path: data_root.to_owned(), source };
    let found = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    found(std::fs::remove_dir_all(data_root.join(LOGS))).map_err(refused)?;
    match std::fs::remove_dir(data_root) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        done => found(done).map_err(refused),
    }
}

/// A process that Fairway runs in a sandbox.
struct Running {
    sandbox: SandboxId,
    name: String,
    process: ProcessIdentity,
}

/// The running processes, by the names of their sandboxes. Processes of other programs are left: they lose their
/// networks.
fn running(data_root: &Path) -> Result<Vec<Running>, EngineError> {
    let path = data_root.join(STORE);
    if !Store::exists(&path) {
        return Ok(Vec::new());
    }
    let (world, _) = load(&Store::open(&path, STORE_PATIENCE)?, &path)?;
    let commands = world.sandboxes().filter(|sandbox| sandbox.kind == SandboxKind::Run && sandbox.running());
    let mut running: Vec<Running> = commands
        .filter_map(|sandbox| {
            let process = sandbox.process().filter(|process| !process::has_ended(*process))?;
            Some(Running { sandbox: sandbox.id, name: sandbox.name.clone(), process })
        })
        .collect();
    running.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(running)
}

fn stop_all(running: &[Running]) -> Result<(), EngineError> {
    for some in running.chunks(MAX_PARALLEL_STOPS) {
        std::thread::scope(|scope| {
            let ends: Vec<_> = some.iter().map(|command| scope.spawn(|| stop(command.process))).collect();
            ends.into_iter().try_for_each(|end| end.join().unwrap_or(Ok(())))
        })?;
    }
    Ok(())
}

/// Waits until supervisors have recorded the exit codes.
fn await_records(options: &Options, running: &[Running]) {
    let files = SandboxFiles::under(&options.exec_root, &options.data_root);
    let since = Instant::now();
    for Running { sandbox, process, .. } in running {
        let recorded = || (options.exit_record)(&files.log(*sandbox), *process).is_some();
        while !recorded() && since.elapsed() < REPORT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Stops a process: SIGTERM, then SIGKILL.
fn stop(process: ProcessIdentity) -> Result<(), process::Error> {
    let process = match Process::open(process) {
        Err(error) if error.is_end() => return Ok(()),
        opened => opened?,
    };
    process.signal(Signal::TERM).or_else(|error| if error.is_end() { Ok(()) } else { Err(error) })?;
    if !process.wait(STOP_TIMEOUT)? {
        process.kill()?;
        process.wait(STOP_TIMEOUT)?;
    }
    Ok(())
}

/// Removes directories and sockets below the exec root; what cannot be removed stays.
fn remove_files(engine: &Engine, exec_root: &Path) {
    engine.applier.files.remove_all();
    etc_netns::tidy();
    let _ = std::fs::remove_file(exec_root.join(RELAY_SOCKET));
}
