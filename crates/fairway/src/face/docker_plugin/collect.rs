//! Asks dockerd which containers its endpoints belong to, and removes what it no longer has: at the start, after a
//! container joined, at intervals, and for `fairway doctor`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_api::Failure;
use fairway_containers::{DockerNetwork, docker_networks, docker_process};
use fairway_core::world::{Command, World};
use fairway_kernel::clock;
use fairway_model::{EndpointId, RefusalKind, SandboxKind};

use super::NAME;
use super::compare::{Answers, Consequences, Unlocated, compare};
use crate::daemon::PluginEngine;
use crate::face::container_id::CONTAINER_LABEL;

/// How often dockerd is asked when nothing happens.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long after a container joined dockerd is asked first, and by how much longer each time.
const SOON: Duration = Duration::from_millis(100);
/// How long an endpoint that joined may not be listed.
const JOINING: Duration = Duration::from_secs(30);
/// The root directory of the host.
const ROOT: &str = "/";

/// When dockerd is asked next.
#[derive(Debug, Default)]
struct Schedule {
    /// The next wait.
    wait: Duration,
    /// When endpoints joined.
    joined: BTreeMap<EndpointId, Instant>,
    /// Whether a container joined since dockerd was asked.
    news: bool,
    /// How far the wall clock was ahead of the clock of the boot when dockerd was asked.
    offset: Option<i64>,
    /// When the wall clock was last set, as far as that was seen.
    clock_set: Option<Instant>,
}

impl Schedule {
    /// Notes how far the wall clock is ahead, and returns whether it was set shortly before.
    fn clock_was_set(&mut self, offset: i64) -> bool {
        let before = self.offset.replace(offset);
        if before.is_some_and(|before| clock::was_set(before, offset)) {
            self.clock_set = Some(Instant::now());
        }
        // What was created before seems to be of another age until dockerd lists it.
        self.clock_set.is_some_and(|at| at.elapsed() < JOINING)
    }
}

/// Compares what the World has of Docker Engine with what its daemons have.
#[derive(Debug, Default)]
pub struct Collector {
    schedule: Mutex<Schedule>,
    changed: Condvar,
    /// Held while dockerd is asked and what follows is done.
    asking: Mutex<()>,
}

/// Starts the thread that asks dockerd.
///
/// # Errors
/// The system has no thread left.
pub fn start(engine: &Arc<dyn PluginEngine>, collector: &Arc<Collector>) -> io::Result<()> {
    let (engine, collector) = (Arc::clone(engine), Arc::clone(collector));
    let run = move || {
        loop {
            collector.wait();
            let located = engine.is_started() && collector.collect(&*engine);
            collector.plan(located);
        }
    };
    std::thread::Builder::new().name("docker".to_owned()).spawn(run).map(drop)
}

impl Collector {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an endpoint that is about to join: dockerd lists it a moment later.
    pub fn joins(&self, endpoint: EndpointId) {
        self.schedule().joined.insert(endpoint, Instant::now());
    }

    /// Notes that a container has joined, whose name and namespace are to be found out.
    pub fn joined(&self) {
        let mut schedule = self.schedule();
        (schedule.wait, schedule.news) = (SOON, true);
        self.changed.notify_all();
    }

    /// Waits until dockerd is to be asked.
    fn wait(&self) {
        let mut schedule = self.schedule();
        let since = Instant::now();
        loop {
            let left = schedule.wait.saturating_sub(since.elapsed());
            if left.is_zero() {
                schedule.news = false;
                return;
            }
            let waited = self.changed.wait_timeout(schedule, left);
            schedule = waited.map_or_else(|error| error.into_inner().0, |(schedule, _)| schedule);
        }
    }

    /// Decides on the next wait: it doubles until all containers are known.
    fn plan(&self, known: bool) {
        let mut schedule = self.schedule();
        schedule.joined.retain(|_, at| at.elapsed() < JOINING);
        if !schedule.news {
            schedule.wait = if known { INTERVAL } else { (schedule.wait * 2).clamp(SOON, INTERVAL) };
        }
    }

    /// Asks dockerd, and does what follows. Returns whether all containers are known then.
    pub fn collect(&self, engine: &dyn PluginEngine) -> bool {
        let _exclusive = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if !engine.look(has_something_of_docker).unwrap_or_default() {
            return true;
        }
        let mut answers = ask(engine);
        answers.clock_was_set = self.schedule().clock_was_set(clock::offset());
        let mut found = Consequences::default();
        engine.read(&mut |world| {
            // Each endpoint is noted before the World has it: those of this World are all noted.
            answers.joining = self.schedule().joined.keys().copied().collect::<BTreeSet<_>>();
            found = compare(world, &answers);
        });
        let Consequences { commands, unlocated } = found;
        commands.into_iter().for_each(|command| execute(engine, command));
        let located = unlocated.iter().filter(|sandbox| locate(engine, sandbox)).count();
        located == unlocated.len()
            && !answers.clock_was_set
            && !engine.look(has_unlocated).unwrap_or_default()
    }
}

/// Asks each dockerd that runs.
fn ask(engine: &dyn PluginEngine) -> Answers {
    let asked = engine.now();
    let is_ours = |network: &DockerNetwork| network.driver == NAME || network.ipam_driver == NAME;
    let mut answers = Answers { asked, ..Answers::default() };
    for answer in docker_networks(Path::new(ROOT), is_ours) {
        match answer {
            Ok(daemon) => answers.daemons.push(daemon),
            Err(silent) => {
                answers.incomplete = true;
                tracing::debug!(
                    socket = silent.socket,
                    reason = silent.reason,
                    "failed to ask dockerd for its networks: {}",
                    silent.reason
                );
            }
        }
    }
    answers
}

fn has_something_of_docker(world: &World) -> bool {
    world.networks().any(|network| super::describe::is_of_docker(&network.labels))
        || world.sandboxes().any(|sandbox| sandbox.kind == SandboxKind::Docker)
        || world.pools().next().is_some()
}

fn has_unlocated(world: &World) -> bool {
    world.sandboxes().any(|sandbox| sandbox.kind == SandboxKind::Docker && sandbox.namespace().is_none())
}

/// Finds the process and the namespace of a container. Returns whether it has one.
fn locate(engine: &dyn PluginEngine, unlocated: &Unlocated) -> bool {
    let Unlocated { sandbox, socket, container, name } = unlocated;
    let process = match docker_process(Path::new(ROOT), socket, container) {
        Ok(process) => process,
        Err(silent) => {
            tracing::debug!(
                container,
                reason = silent.reason,
                "failed to ask for a container: {}",
                silent.reason
            );
            None
        }
    };
    let Some(located) = process.and_then(|pid| engine.locate_process(pid).ok()) else {
        return false;
    };
    execute(
        engine,
        Command::IdentifySandbox {
            sandbox: *sandbox,
            name: name.clone(),
            labels: [(CONTAINER_LABEL.to_owned(), container.clone())].into(),
            process: located.process,
            namespace: located.namespace,
        },
    );
    true
}

/// Executes a command about something that may be gone meanwhile.
fn execute(engine: &dyn PluginEngine, command: Command) {
    match &command {
        Command::DeleteEndpoint { endpoint } => {
            tracing::info!(endpoint = %endpoint.short(), "removing endpoint {}: dockerd does not have it any more", endpoint.short());
        }
        Command::RemoveNetwork { network } => {
            tracing::info!(network, "removing network {network}: dockerd does not have it any more");
        }
        Command::ReleasePool { pool } => {
            tracing::info!(%pool, "releasing pool {pool}: dockerd does not have it any more");
        }
        Command::ReleaseAddress { address, .. } => {
            tracing::info!(%address, "releasing address {address}: dockerd does not have it any more");
        }
        _ => {}
    }
    match engine.execute_for_plugin(command) {
        Ok(_) => {}
        Err(Failure { kind, .. }) if kind == RefusalKind::NotFound.into() => {}
        Err(error) => tracing::warn!(%error, "failed to follow dockerd: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_is_seen_for_a_while() {
        const HOUR: i64 = 3_600_000_000_000;
        let mut schedule = Schedule::default();
        assert!(!schedule.clock_was_set(HOUR), "when the daemon starts it is not known");
        assert!(!schedule.clock_was_set(HOUR + 1000), "it is adjusted");
        for offset in [3 * HOUR, 3 * HOUR, HOUR, HOUR] {
            assert!(schedule.clock_was_set(offset));
        }
        schedule.clock_set = Instant::now().checked_sub(JOINING);
        assert!(!schedule.clock_was_set(HOUR));
    }
}
