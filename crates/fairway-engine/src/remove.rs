//! Removing from the host what the engine made there.

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
use crate::engine::{RELAY_SOCKET, STORE_FILE, STORE_PATIENCE, adopted, load, release_bridges};
use crate::reconcile::observe::Depth;
use crate::{Engine, EngineError, Options};

/// How long the command of a sandbox has to end by itself; Docker's.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a supervisor may take to record how its command ended.
const REPORT: Duration = Duration::from_secs(1);
/// How many commands are ended at once.
const SIDE_BY_SIDE: usize = 64;

/// What was removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// The sandboxes whose commands were ended, by name.
    pub stopped: Vec<String>,
}

impl Engine {
    /// Removes what a daemon with these options made of the host: tables and rules, links, addresses and routes, files,
    /// the relay. Forwarding and interfaces are given back. What is durable stays: a daemon that is started again makes
    /// the same networks again.
    ///
    /// # Errors
    /// [`EngineError::Running`] if sandboxes run, unless `force` ends them; nothing is changed then. What a daemon
    /// cannot start with, and what the kernel refuses.
    pub fn remove(options: Options, force: bool) -> Result<Removed, EngineError> {
        let exec_root = options.exec_root.clone();
        let running = running(&options.data_root)?;
        let names: Vec<String> = running.iter().map(|command| command.name.clone()).collect();
        if !running.is_empty() && !force {
            return Err(EngineError::Running(names));
        }
        end_all(&running)?;
        await_records(&options, &running);
        // No monitor is listened to, which would have what goes repaired.
        let (engine, _, known) = Self::assemble(options)?;
        engine.release_host()?;
        // First what is there as wanted, all of which is known; then what is there otherwise, or is in no World.
        for wanted in [engine.wanted(), Fragment::new()] {
            let (found, _) = engine.observe(&wanted, &Depth::All(&known))?;
            engine.apply_in_parts(Difference::between(found, Fragment::new()))?;
        }
        engine.firewall.sweep(&Fragment::new());
        engine.relay.end();
        remove_files(&engine, &exec_root);
        Ok(Removed { stopped: names })
    }

    /// Gives back what is the host's own: forwarding, tables of other firewalls, bridges of the user's.
    fn release_host(self: &Arc<Self>) -> Result<(), EngineError> {
        let settings = self.read(|world| world.settings().clone());
        self.reconfigure(Settings { ip_forward: false, firewall_integration: false, ..settings })?;
        let bridges = self.read(adopted);
        release_bridges(&bridges, &World::default());
        Ok(())
    }
}

/// Deletes what is durable below a data root: the World and the logs. Anything else in it stays, and the directory with
/// it.
///
/// # Errors
/// A file that cannot be deleted.
pub fn purge(data_root: &Path) -> Result<(), EngineError> {
    Store::delete(&data_root.join(STORE_FILE))?;
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

/// A command of Fairway's that runs in a sandbox.
struct Running {
    sandbox: SandboxId,
    name: String,
    process: ProcessIdentity,
}

/// The commands that run, by the names of their sandboxes. What others run there is theirs: it loses its networks.
fn running(data_root: &Path) -> Result<Vec<Running>, EngineError> {
    let path = data_root.join(STORE_FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let world = load(&Store::open(&path, STORE_PATIENCE)?, &path)?;
    let commands = world.sandboxes().filter(|sandbox| sandbox.kind == SandboxKind::Run && sandbox.running());
    let mut running: Vec<Running> = commands
        .filter_map(|sandbox| {
            let process = sandbox.process().filter(|process| process::running(*process))?;
            Some(Running { sandbox: sandbox.id, name: sandbox.name.clone(), process })
        })
        .collect();
    running.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(running)
}

fn end_all(running: &[Running]) -> Result<(), EngineError> {
    for some in running.chunks(SIDE_BY_SIDE) {
        std::thread::scope(|scope| {
            let ends: Vec<_> = some.iter().map(|command| scope.spawn(|| end(command.process))).collect();
            ends.into_iter().try_for_each(|end| end.join().unwrap_or(Ok(())))
        })?;
    }
    Ok(())
}

/// Waits until supervisors have recorded how their commands ended, a moment after they did.
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

/// Signals a process: asks it to, and kills it if it does not.
fn end(process: ProcessIdentity) -> Result<(), process::Error> {
    let gone = |error| if matches!(error, process::Error::Gone(_)) { Ok(()) } else { Err(error) };
    let Ok(process) = Process::open(process) else { return Ok(()) };
    process.signal(Signal::TERM).or_else(gone)?;
    if !process.wait(STOP_TIMEOUT)? {
        process.kill()?;
        process.wait(STOP_TIMEOUT)?;
    }
    Ok(())
}

/// Removes directories and sockets of this boot; one that cannot be removed stays.
fn remove_files(engine: &Engine, exec_root: &Path) {
    engine.files.remove_all();
    etc_netns::tidy();
    let _ = std::fs::remove_file(exec_root.join(RELAY_SOCKET));
}
