//! The reconcile loop: waits for events and for the time of the next task, and does what is due.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fairway_core::object::{Key, Object};
use fairway_core::world::{Command, UNKNOWN_EXIT_CODE};
use fairway_kernel::host_facts;
use fairway_kernel::parallel::in_parallel;
use fairway_kernel::watch::Event;
use fairway_model::Owner;
use fairway_model::{SandboxId, SandboxKind};

use crate::EngineError;
use crate::apply::relay_link::Health;
use crate::reconcile::Reconciler;
use crate::reconcile::address_defense::Guardian;
use crate::reconcile::lease_keeper::Keeper;
use crate::reconcile::netns_audit::NetnsAudit;
use crate::reconcile::notifications::{Monitors, listen};
use crate::reconcile::repair::{Failure, Pace};
use crate::reconcile::schedule::{Ended, Schedule, Task};
use crate::reconcile::turn::{Work, turn};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long the supervisor of an ended process may take to report its exit code, before the sandbox is stopped without
/// one. Endpoints have to be gone within two seconds.
const EXIT_REPORT_GRACE: Duration = Duration::from_millis(600);
/// The longest wait: the thread ends with the Reconciler.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Notes what failed at the start, and starts the threads. They end with the Reconciler.
pub(crate) fn start(
    reconciler: &Arc<Reconciler>,
    monitors: Monitors,
    failures: &[Failure],
) -> Result<(), EngineError> {
    if let Err(error) = reconciler.signals.watch_file(Path::new(RESOLV_CONF)) {
        tracing::warn!(%error, "failed to watch {RESOLV_CONF}: {error}; changed name servers go unnoticed");
    }
    let weak = Arc::downgrade(reconciler);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("monitor").spawn(move || listen(&weak, &monitors)).map_err(EngineError::Thread)?;
    // This is the only clock of the loop.
    let start = Instant::now();
    let clock = move || start.elapsed();
    let (schedule, mut state) = (Schedule::new(clock()), State::default());
    failures.iter().for_each(|failure| state.pace.note_failure(&**reconciler, failure, clock()));
    // A lease that is not known cannot be released: the next command may stop its sandbox.
    state.keeper.step(reconciler);
    let weak = Arc::downgrade(reconciler);
    thread("watcher").spawn(move || run(&weak, schedule, state, &clock)).map_err(EngineError::Thread)?;
    Ok(())
}

/// Runs the reconcile loop.
fn run(
    reconciler: &Weak<Reconciler>,
    mut schedule: Schedule,
    mut state: State,
    clock: &impl Fn() -> Duration,
) {
    loop {
        let Some(reconciler) = reconciler.upgrade() else { return };
        turn(&mut schedule, &mut Loop { reconciler: &reconciler, state: &mut state }, clock);
        let rest = schedule.next_due().map_or(LONGEST_WAIT, |due| due.saturating_sub(clock()));
        let events = reconciler.signals.wait(rest.min(LONGEST_WAIT)).unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to wait for ended sandboxes: {error}");
            std::thread::sleep(LONGEST_WAIT);
            Vec::new()
        });
        for event in events {
            match event {
                Event::ProcessEnded(id) | Event::NamespaceGone(id) => {
                    let ended = reconciler.notified(id);
                    schedule.at(Task::Stop(ended), clock() + reconciler.grace(id));
                }
                // The next command needs what the user wrote.
                Event::FileChanged(_) => schedule.at(Task::FollowHost, clock()),
                Event::Woken => {}
                Event::Failed(error) => tracing::warn!(%error, "failed to watch {RESOLV_CONF}: {error}"),
            }
        }
    }
}

/// What the tasks remember.
#[derive(Default)]
struct State {
    pace: Pace,
    audit: NetnsAudit,
    guardian: Guardian,
    keeper: Keeper,
}

/// The work of the loop on the real host.
struct Loop<'a> {
    reconciler: &'a Reconciler,
    state: &'a mut State,
}

impl Work for Loop<'_> {
    fn take_signals(&mut self, schedule: &mut Schedule, now: Duration) {
        for signal in self.reconciler.signals.take() {
            schedule.signal(signal, now);
        }
        // A sandbox that was stopped and started again gets the whole grace when it ends again.
        schedule.retain(|task| !matches!(task, Task::Stop(ended) if !self.reconciler.has_ended(*ended)));
        if self.reconciler.signals.take_retry() {
            self.state.pace.retry_failed(now);
        }
        if let Some(due) = self.state.pace.next_retry() {
            // The host cannot see all that failed.
            schedule.at(Task::HealNetns, due);
        }
    }

    fn run(&mut self, task: Task, schedule: &mut Schedule, now: Duration) -> Result<(), EngineError> {
        let Self { reconciler, state } = self;
        match task {
            Task::Stop(ended) => reconciler.stop(ended)?,
            Task::FollowHost => reconciler.committer.follow_host(),
            Task::ScanForeign => reconciler.scan_foreign_firewalls(),
            Task::Heal | Task::HealNetns => {
                for ended in reconciler.ended() {
                    schedule.at(Task::Stop(ended), now + reconciler.grace(ended.sandbox));
                }
                if let Some(due) = reconciler.heal(&mut state.pace, task == Task::HealNetns, now)? {
                    schedule.at(Task::HealNetns, due);
                }
            }
            Task::CheckRelay => reconciler.check_relay()?,
            Task::PollSettings => {
                if reconciler.sysctls_changed() || reconciler.applier.firewall.differs() {
                    reconciler.signals.request_heal();
                }
                if reconciler.host_settings_changed() {
                    schedule.at(Task::FollowHost, now);
                }
            }
            Task::PollLegacyTables => {
                if reconciler.legacy_tables_changed() {
                    schedule.at(Task::ScanForeign, now);
                }
            }
            Task::AuditNetns => state.audit.step(reconciler),
            Task::DefendAddresses => state.guardian.step(reconciler, now),
            Task::KeepLeases => state.keeper.step(reconciler),
            Task::ReleaseMemory => fairway_kernel::system::release_memory(),
        }
        Ok(())
    }

    fn stop(&mut self, sandboxes: &[Ended]) -> Vec<Result<(), EngineError>> {
        in_parallel(sandboxes, |ended| self.reconciler.stop(*ended))
    }
}

impl Reconciler {
    /// Checks whether the relay answers, connects to it again, and replaces one that has ended.
    fn check_relay(&self) -> Result<(), EngineError> {
        let pid = self.applier.relay.hello().pid;
        match self.applier.relay.look() {
            Health::Answers | Health::Awaited => {}
            Health::Late => tracing::warn!(pid, "the relay (process {pid}) does not answer"),
            Health::Back => {
                tracing::info!(pid, "the relay (process {pid}) answers again; sending it the changes");
                self.applier.catch_up_relay(&self.committer.pipeline)?;
            }
            Health::Gone => {
                tracing::warn!(
                    pid,
                    "the relay (process {pid}) has ended or closed the connection; connecting again, or starting another one"
                );
                self.applier.restart_relay(&self.committer.pipeline)?;
            }
        }
        Ok(())
    }

    /// Whether settings of the host changed for which the kernel sends no notification. Listing links and routes each
    /// time would take too long on a host with many.
    fn host_settings_changed(&self) -> bool {
        let known = self.committer.read(|world| world.host().clone());
        let mut observed = known.clone();
        // A failure is logged where the change is committed.
        let seen = host_facts::observe_settings(&mut observed, Path::new(RESOLV_CONF));
        seen.is_err() || observed != known
    }

    fn sysctls_changed(&self) -> bool {
        let wanted: Vec<(String, String)> = {
            let state = self.committer.snapshot();
            let mut wanted = Vec::new();
            // The host and the networks sort before all other owners.
            let watched = |owner: &Owner| matches!(owner, Owner::Host | Owner::Network(_));
            let fragments = state.plan.fragments().take_while(|(owner, _)| watched(owner));
            for (key, object) in fragments.flat_map(|(_, fragment)| fragment) {
                match (key, object) {
                    (Key::Sysctl(path), Object::Sysctl(value)) => wanted.push((path.clone(), value.clone())),
                    (_, Object::Bridge(bridge)) if bridge.parent.is_none() => {
                        let path = format!("net/ipv4/conf/{}/route_localnet", bridge.name);
                        wanted.push((path, u8::from(bridge.route_localnet).to_string()));
                        if bridge.ipv6 || !bridge.adopted {
                            let path = format!("net/ipv6/conf/{}/disable_ipv6", bridge.name);
                            wanted.push((path, u8::from(!bridge.ipv6).to_string()));
                        }
                    }
                    _ => {}
                }
            }
            wanted
        };
        wanted
            .iter()
            .any(|(path, value)| fairway_kernel::sysctl::read(path).is_ok_and(|found| found != *value))
    }

    /// How long an ended sandbox waits for its exit code. Only sandboxes of `fairway run` have a supervisor that
    /// reports one.
    fn grace(&self, id: SandboxId) -> Duration {
        let ours =
            self.committer.read(|world| world.sandbox(id).is_some_and(|it| it.kind == SandboxKind::Run));
        if ours { EXIT_REPORT_GRACE } else { Duration::ZERO }
    }

    /// Stops an ended sandbox, unless it was stopped or restarted already.
    fn stop(&self, ended: Ended) -> Result<(), EngineError> {
        if !self.has_ended(ended) {
            return Ok(());
        }
        let Ended { sandbox: id, process } = ended;
        // It names the process: the sandbox may be started again before the command is decided.
        let stop = Command::StopSandbox { sandbox: id.to_string(), exit: UNKNOWN_EXIT_CODE.into(), process };
        match self.committer.execute(stop) {
            Ok(_) => {
                tracing::info!(sandbox = %id.short(), "stopped sandbox {}: its process or namespace ended", id.short());
            }
            // Its supervisor was faster.
            Err(EngineError::Refused(reason)) => {
                tracing::debug!(%reason, sandbox = %id.short(), "sandbox {} has stopped already: {reason}", id.short());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
