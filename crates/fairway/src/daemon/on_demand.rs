//! The on-demand daemon: started by a face that needs one, it ends with its last sandbox and leaves nothing behind.

mod idle;
mod location;
mod precedence;
mod start;
mod start_lock;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fairway_api::{Clients, Failure, FailureKind};
use fairway_core::world::World;
use fairway_engine::Engine;
use fairway_model::{ENGINE_LABEL, RefusalKind};
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::configuration::Configuration;
use idle::{Idle, Load};
pub use location::Location;
pub use precedence::Precedence;
pub use start::{StartError, answering, start};
pub use start_lock::{LockError, StartLock};

/// The log, below the data root.
const LOG: &str = "daemon.log";
/// The flag that makes a daemon one.
const FLAG: &str = "--on-demand";
/// What it is called in ps(1).
const NAME: &std::ffi::CStr = c"fairway";
/// How often a daemon looks whether it has something to do.
const GLANCE: Duration = Duration::from_millis(250);
/// How many sandboxes a message names.
const NAMED: usize = 5;

/// Why an on-demand daemon does not start or end.
#[derive(Debug, Error)]
pub enum OnDemandError {
    /// The networks of another daemon go on.
    #[error(
        "cannot start an on-demand daemon in {}: the networks of a daemon that was stopped go on there: start that daemon (systemctl start fairway), or remove its networks (fairway daemon --remove)", .0.display()
    )]
    Stopped(PathBuf),
    /// The program cannot be executed again.
    #[error("cannot remove what the on-demand daemon made: {0}: run: fairway daemon --on-demand --remove")]
    Remove(#[source] io::Error),
}

/// Leaves the session and the umask of the starter.
pub(super) fn detach() {
    // A process that leads a group, as one that a shell started, stays in its session.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Else ps(1) would call it `exe`.
    let _ = rustix::thread::set_name(NAME);
}

/// Refuses an exec root where the relay of a stopped daemon runs, whose networks would be removed as lost ones.
///
/// # Errors
/// [`OnDemandError::Stopped`].
pub(super) fn check_exec_root(configuration: &Configuration) -> Result<(), OnDemandError> {
    let exec_root = &configuration.exec_root;
    match has_other_networks(&configuration.data_root, exec_root) {
        true => Err(OnDemandError::Stopped(exec_root.clone())),
        false => Ok(()),
    }
}

/// Whether the networks of a stopped daemon with another data root go on in an exec root.
fn has_other_networks(data_root: &Path, exec_root: &Path) -> bool {
    !fairway_engine::has_store(data_root) && fairway_engine::has_relay(exec_root)
}

/// Whether an on-demand daemon was asked to end.
#[derive(Debug, Default)]
pub(super) struct EndRequest(AtomicBool);

impl EndRequest {
    /// Asks for it.
    ///
    /// # Errors
    /// The daemon has sandboxes, which the failure names.
    pub fn ask(&self, world: &World, socket: &str) -> Result<(), Failure> {
        let label = |labels: &'_ BTreeMap<String, String>| labels.get(ENGINE_LABEL).cloned();
        let sandboxes = world.sandboxes();
        match in_use(sandboxes.map(|it| (it.name.clone(), label(&it.options.labels)))) {
            Some(sandboxes) => {
                let message = format!(
                    "cannot end the on-demand daemon at {socket}: it has {sandboxes}: stop these containers first"
                );
                Err(Failure::new(FailureKind::Refused(RefusalKind::Conflict), message))
            }
            None => {
                self.0.store(true, Ordering::Release);
                Ok(())
            }
        }
    }
}

/// Sandboxes, each with its engine, for a message; none if there are none.
fn in_use(sandboxes: impl Iterator<Item = (String, Option<String>)>) -> Option<String> {
    let (mut names, engines): (Vec<String>, Vec<Option<String>>) = sandboxes.unzip();
    let engines: BTreeSet<String> = engines.into_iter().flatten().collect();
    let engines: Vec<String> = engines.into_iter().collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let of = if engines.is_empty() { String::new() } else { format!(" of {}", engines.join(", ")) };
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!names.is_empty()).then(|| format!("sandboxes{of}: {}{rest}", names.join(", ")))
}

/// An on-demand daemon that runs.
pub(super) struct OnDemand {
    engine: Arc<Engine>,
    clients: Clients,
    asked: Arc<EndRequest>,
    start: Instant,
    idle: Idle,
}

impl OnDemand {
    /// Begins to wait for the first request.
    pub fn new(engine: Arc<Engine>, clients: Clients) -> Self {
        Self { engine, clients, asked: Arc::default(), start: Instant::now(), idle: Idle::default() }
    }

    /// What asks this daemon to end.
    pub fn request(&self) -> Arc<EndRequest> {
        Arc::clone(&self.asked)
    }

    /// Resolves when the daemon has had nothing to do for long enough.
    pub async fn until_idle(&mut self) {
        loop {
            tokio::time::sleep(GLANCE).await;
            let load = self.load();
            let asked = self.asked.0.load(Ordering::Acquire);
            if self.engine.is_started() && self.idle.ends(self.start.elapsed(), load, asked) {
                return;
            }
        }
    }

    fn load(&self) -> Load {
        let requests = self.clients.requests();
        Load {
            sandboxes: self.engine.read(|world| world.sandboxes().count()),
            requests: requests.in_progress,
            begun: requests.begun,
        }
    }

    /// Becomes the process that removes what this daemon made. Call it while no request is served and the socket is
    /// open: clients that have connected meanwhile are refused when it succeeds, and are served when it returns none.
    /// Faces wait for the lock, which goes on until all is removed. Returns whether this process has to end as it is.
    ///
    /// # Errors
    /// The program cannot be executed.
    pub fn end(&self, exec_root: &Path) -> Result<bool, OnDemandError> {
        let lock = match StartLock::try_take(exec_root) {
            Ok(Some(lock)) => lock,
            // As podman does with the directories and the network namespace of a user's networks: nothing can be removed by
            // its path, and the kernel removes the rest with the namespace.
            _ if !exec_root.exists() => {
                self.end_relay();
                return Ok(true);
            }
            // A face is about to ask.
            _ => return Ok(false),
        };
        self.engine.finish_background_work();
        let load = self.load();
        if load.sandboxes > 0 || load.requests > 0 {
            return Ok(false);
        }
        tracing::info!("no sandbox and no request: removing what this daemon made");
        lock.keep_across_execution().map_err(OnDemandError::Remove)?;
        Err(OnDemandError::Remove(remove_instead()))
    }

    fn end_relay(&self) {
        let relay = i32::try_from(self.engine.relay().pid).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = relay.map(|relay| kill_process(relay, Signal::TERM)) {
            tracing::warn!(%error, "failed to end the relay: {error}");
        }
    }
}

/// Executes this program again, with the same flags and `--remove`: the kernel closes what the engine has open, such as
/// the socket that owns the tables.
#[expect(clippy::disallowed_methods, reason = "the daemon is this program, executed again")]
fn remove_instead() -> io::Error {
    Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).arg("--remove").exec()
}

/// Deletes what an on-demand daemon with this configuration keeps, after the host is as it was; of another daemon's
/// configuration, the log of an on-demand daemon that did not start there.
pub(super) fn delete_files(configuration: &Configuration) {
    let data_root = match configuration.on_demand {
        true => configuration.data_root.clone(),
        false => Location::of(&configuration.exec_root).data_root(),
    };
    // It may be the log of this very process: it is read no more.
    let _ = std::fs::remove_file(data_root.join(LOG));
    if !configuration.on_demand {
        // What is in it stays, and the directory with it.
        let _ = std::fs::remove_dir(data_root);
    } else if let Err(error) = fairway_engine::purge(&data_root) {
        tracing::warn!("failed to delete {}: {error}", data_root.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_are_named_with_their_engines() {
        let of = |sandboxes: &[(&str, Option<&str>)]| {
            in_use(sandboxes.iter().map(|(name, engine)| ((*name).to_owned(), engine.map(str::to_owned))))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("web", None)]).unwrap(), "sandboxes: web");
        let podman = Some("podman");
        assert_eq!(
            of(&[("web", podman), ("db", podman), ("job", Some("containerd"))]).unwrap(),
            "sandboxes of containerd, podman: db, job, web"
        );
        let many = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, podman));
        assert_eq!(of(&many).unwrap(), "sandboxes of podman: a, b, c, d, e and 2 more");
    }
}
