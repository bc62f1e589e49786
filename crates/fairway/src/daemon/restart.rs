//! Restart policies: sandboxes whose command ended are started again, and with the daemon those that were to run.
//!
//! [`RestartPolicy`](fairway_model::RestartPolicy) decides which sandboxes are started. This program starts them as a user
//! would.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_api::EngineApi;
use fairway_core::world::{Command, Subject};
use fairway_model::{Sandbox, SandboxId};
use tokio::process::Command as Process;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// The first delay, Docker's.
const LEAST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay, Docker's.
const MOST_DELAY: Duration = Duration::from_secs(60);
/// How long a command has to run for the next delay to be the first one again, as in Docker.
const STABLE: Duration = Duration::from_secs(10);
/// How often to look whether the engine has started.
const GLANCE: Duration = Duration::from_millis(20);

/// Starts sandboxes by their policies, as long as the runtime runs.
pub(super) fn follow(runtime: &Runtime, engine: Arc<dyn EngineApi>) {
    let (send, changes) = mpsc::unbounded_channel();
    engine.watch(Box::new(move |timed| {
        let started = timed.event.action == "start";
        let about = timed.event.subject == Subject::Container && (started || timed.event.action == "die");
        match timed.event.id.parse() {
            Ok(id) if about => send.send((id, started)).is_ok(),
            _ => !send.is_closed(),
        }
    }));
    let restarter = Restarter { engine, known: Arc::default() };
    runtime.spawn(restarter.run(changes));
}

#[derive(Clone)]
struct Restarter {
    engine: Arc<dyn EngineApi>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each sandbox was started, and the delay before its next restart.
    delays: BTreeMap<SandboxId, (Option<Instant>, Duration)>,
    /// Those that are about to be started.
    pending: BTreeSet<SandboxId>,
}

impl Restarter {
    async fn run(self, mut changes: mpsc::UnboundedReceiver<(SandboxId, bool)>) {
        while !self.engine.is_started() {
            tokio::time::sleep(GLANCE).await;
        }
        let mut with_daemon = Vec::new();
        self.engine.read(&mut |world| {
            let started = world.sandboxes().filter(|sandbox| sandbox.starts_with_daemon());
            with_daemon = started.map(|sandbox| sandbox.id).collect();
        });
        for id in with_daemon {
            self.schedule(id, Duration::ZERO, true);
        }
        while let Some((id, started)) = changes.recv().await {
            if started {
                self.lock().delays.entry(id).or_insert((None, LEAST_DELAY)).0 = Some(Instant::now());
            } else if self.is_to_run(id) {
                // The one that starts it now looks again by itself.
                if !self.lock().pending.contains(&id) {
                    let delay = self.next_delay(id);
                    self.schedule(id, delay, false);
                }
            } else if !self.exists(id) {
                self.lock().delays.remove(&id);
            }
        }
    }

    /// Starts a sandbox after a delay, and again until that succeeds or its policy ends. `at_once` does so the first time
    /// whatever the policy says of one that ended.
    fn schedule(&self, id: SandboxId, delay: Duration, at_once: bool) {
        if !self.lock().pending.insert(id) {
            return;
        }
        let restarter = self.clone();
        tokio::spawn(async move {
            let (mut delay, mut wanted) = (delay, at_once);
            loop {
                tokio::time::sleep(delay).await;
                if !(wanted || restarter.is_to_run(id)) || !restarter.exists(id) {
                    break;
                }
                match restarter.start(id).await {
                    Ok(()) => break,
                    Err(reason) => {
                        delay = restarter.next_delay(id);
                        let seconds = delay.as_secs_f32();
                        tracing::warn!(%id, reason, "failed to restart sandbox {id}: {reason}; retrying in {seconds} s");
                    }
                }
                // From now on a user may stop it.
                wanted = false;
            }
            restarter.lock().pending.remove(&id);
            // It may have ended before that was recorded.
            if restarter.is_to_run(id) {
                let delay = restarter.next_delay(id);
                restarter.schedule(id, delay, false);
            }
        });
    }

    async fn start(&self, id: SandboxId) -> Result<(), String> {
        let known = self.look(id, |sandbox| (sandbox.name.clone(), sandbox.restarts));
        let (name, restarts) = known.unwrap_or_default();
        let restarts = restarts.saturating_add(1);
        let mut program = Process::from(self.engine.program());
        program.args(["start", &id.to_string()]).stdin(Stdio::null());
        let output = program.output().await.map_err(|error| error.to_string())?;
        let engine = Arc::clone(&self.engine);
        let count = Command::CountRestarts { sandbox: id.to_string(), restarts };
        // One that is removed by now needs no count.
        let _ = tokio::task::spawn_blocking(move || engine.execute(count)).await;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        tracing::info!(
            sandbox = name,
            restarts,
            "restarted sandbox {name} by its restart policy: {restarts} times since its start"
        );
        Ok(())
    }

    /// The delay before the next restart of a sandbox.
    fn next_delay(&self, id: SandboxId) -> Duration {
        let mut known = self.lock();
        let (started, next) = known.delays.entry(id).or_insert((None, LEAST_DELAY));
        // Of a start that fails there is no time that it ran.
        let (delay, following) = delays(*next, started.take().map(|at| at.elapsed()));
        *next = following;
        delay
    }

    fn is_to_run(&self, id: SandboxId) -> bool {
        self.look(id, Sandbox::is_restarting).unwrap_or_default()
    }

    fn exists(&self, id: SandboxId) -> bool {
        self.look(id, |_| ()).is_some()
    }

    fn look<T>(&self, id: SandboxId, find: impl Fn(&Sandbox) -> T) -> Option<T> {
        let mut found = None;
        self.engine.read(&mut |world| found = world.sandbox(id).map(&find));
        found
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The delay before a restart and the one after it, of the one that was to be next and how long the command ran.
fn delays(next: Duration, ran: Option<Duration>) -> (Duration, Duration) {
    let delay = if ran.is_some_and(|ran| ran >= STABLE) { LEAST_DELAY } else { next };
    (delay, (delay * 2).min(MOST_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_until_a_command_runs_for_long_enough() {
        let (mut next, mut seen) = (LEAST_DELAY, Vec::new());
        for _ in 0..12 {
            let (delay, following) = delays(next, Some(Duration::from_secs(1)));
            seen.push(delay.as_millis());
            next = following;
        }
        assert_eq!(seen[..4], [100, 200, 400, 800]);
        assert_eq!(seen[10..], [60_000, 60_000]);
        assert_eq!(delays(next, Some(STABLE)), (LEAST_DELAY, LEAST_DELAY * 2));
        assert_eq!(delays(next, None).0, MOST_DELAY);
    }
}
