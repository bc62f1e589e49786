//! What the reconcile loop has to do, and when: a value that signals and the time change.
//!
//! Times are on the monotonic clock of the loop: since its start. Only the thread of the loop reads a clock.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fairway_model::{ProcessIdentity, SandboxId};

use crate::reconcile::backoff::{Backoff, FIRST_DELAY, LONGEST_DELAY};
use crate::signals::Signal;

/// How often settings are polled of whose changes the kernel does not notify, and whether the relay answers.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often the tables of iptables-legacy are read: the kernel does not notify of their changes.
const LEGACY_INTERVAL: Duration = Duration::from_secs(2);
/// How often leases are compared with the World, and due messages are sent.
const LEASE_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait for further changes: one change is often followed by the next.
const SETTLE_DELAY: Duration = Duration::from_millis(20);
/// How long to wait for further changes of the host: observing it lists all links and routes.
const HOST_SETTLE_DELAY: Duration = Duration::from_millis(200);
/// How long freed memory is kept: the next command may need it again.
const MEMORY_DELAY: Duration = Duration::from_secs(5);
/// The longest delay of a relay that cannot be updated: names and proxied ports wait for it.
const LONGEST_RELAY_DELAY: Duration = Duration::from_secs(5);
/// The longest delay of a reconcile run that fails as a whole: the firewall may be incomplete.
const LONGEST_HEAL_DELAY: Duration = Duration::from_secs(10);

/// A sandbox whose process or namespace has ended. One that was started again has another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ended {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The process that ended; none for a sandbox that is known by its namespace, which is never started again.
    pub process: Option<ProcessIdentity>,
}

/// A piece of work of the reconcile loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Stop a sandbox whose process or namespace has ended.
    Stop(Ended),
    /// Observe the host, and commit what changed.
    FollowHost,
    /// Scan the foreign firewalls.
    ScanForeign,
    /// Repair drift, also of links without an end on the host.
    HealNetns,
    /// Repair drift that the host can see.
    Heal,
    /// Check whether the relay answers, and restart one that has ended.
    CheckRelay,
    /// Compare the settings of whose changes the kernel does not notify.
    PollSettings,
    /// Compare the tables of iptables-legacy with the last scan.
    PollLegacyTables,
    /// Audit the namespaces of the next few sandboxes.
    AuditNetns,
    /// Defend the addresses of sandboxes on LANs.
    DefendAddresses,
    /// Renew and release leases.
    KeepLeases,
    /// Return free memory to the system.
    ReleaseMemory,
}

impl Task {
    /// The tasks that are repeated.
    const REPEATED: [Task; 6] = [
        Self::CheckRelay,
        Self::PollSettings,
        Self::PollLegacyTables,
        Self::AuditNetns,
        Self::DefendAddresses,
        Self::KeepLeases,
    ];

    /// The time from the end of one run to the next; none for a task that is done once for each request.
    fn interval(self) -> Option<Duration> {
        match self {
            Self::CheckRelay | Self::PollSettings | Self::AuditNetns | Self::DefendAddresses => {
                Some(POLL_INTERVAL)
            }
            Self::PollLegacyTables => Some(LEGACY_INTERVAL),
            Self::KeepLeases => Some(LEASE_INTERVAL),
            _ => None,
        }
    }

    fn longest_delay(self) -> Duration {
        match self {
            Self::CheckRelay => LONGEST_RELAY_DELAY,
            Self::Heal | Self::HealNetns => LONGEST_HEAL_DELAY,
            _ => LONGEST_DELAY,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop(ended) => write!(f, "stop sandbox {}", ended.sandbox.short()),
            Self::FollowHost => f.write_str("follow changes of the host"),
            Self::ScanForeign => f.write_str("scan the foreign firewalls"),
            Self::Heal | Self::HealNetns => f.write_str("repair drift"),
            Self::CheckRelay => f.write_str("update the relay"),
            Self::PollSettings => f.write_str("compare settings"),
            Self::PollLegacyTables => f.write_str("compare the tables of iptables-legacy"),
            Self::AuditNetns => f.write_str("audit network namespaces"),
            Self::DefendAddresses => f.write_str("defend addresses"),
            Self::KeepLeases => f.write_str("renew leases"),
            Self::ReleaseMemory => f.write_str("return free memory"),
        }
    }
}

/// The pending tasks with the times at which they are due, and the failures of each.
#[derive(Debug)]
pub(crate) struct Schedule {
    due: BTreeMap<Task, Duration>,
    failed: Backoff<Task>,
}

impl Schedule {
    /// The schedule of a loop that starts at `now`.
    pub fn new(now: Duration) -> Self {
        let mut schedule = Self { due: BTreeMap::new(), failed: Backoff::new(0) };
        Task::REPEATED.into_iter().for_each(|task| schedule.succeeded(task, now));
        schedule
    }

    /// Notes a signal: the task that it calls for becomes due once the changes have settled.
    pub fn signal(&mut self, signal: Signal, now: Duration) {
        let (task, delay) = match signal {
            Signal::Drift => (Task::Heal, SETTLE_DELAY),
            Signal::NetnsDrift => (Task::HealNetns, SETTLE_DELAY),
            Signal::HostChanged => (Task::FollowHost, HOST_SETTLE_DELAY),
            Signal::ForeignRulesChanged => (Task::ScanForeign, SETTLE_DELAY),
            Signal::MemoryFreed => (Task::ReleaseMemory, MEMORY_DELAY),
        };
        self.at(task, now + delay);
    }

    /// Has a task done at `due`, or earlier if it is due earlier already. One that failed is not tried again within the
    /// shortest delay, whatever calls for it.
    pub fn at(&mut self, task: Task, due: Duration) {
        let due = self.failed.last(&task).map_or(due, |last| due.max(last + FIRST_DELAY));
        self.due.entry(task).and_modify(|known| *known = due.min(*known)).or_insert(due);
    }

    /// Drops the pending tasks that nothing calls for any more.
    pub fn retain(&mut self, is_called_for: impl Fn(&Task) -> bool) {
        self.due.retain(|task, _| is_called_for(task));
    }

    /// When the next task is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.values().min().copied()
    }

    /// Takes the tasks that are due, the longest due first. A signal from now on makes a task pending again, also while
    /// it runs.
    pub fn take_due(&mut self, now: Duration) -> Vec<Task> {
        let mut due: Vec<_> = self.due.extract_if(.., |_, due| *due <= now).collect();
        if due.iter().any(|(task, _)| *task == Task::HealNetns) {
            // The deeper run repairs what the other would.
            self.due.remove(&Task::Heal);
            due.retain(|(task, _)| *task != Task::Heal);
        }
        due.sort_by_key(|(task, due)| (*due, *task));
        due.into_iter().map(|(task, _)| task).collect()
    }

    /// Notes that a task was done at `now`.
    pub fn succeeded(&mut self, task: Task, now: Duration) {
        self.failed.forget(&task);
        if let Some(interval) = task.interval() {
            self.at(task, now + interval);
        }
    }

    /// Notes that a task failed at `now`, and returns after how long it is tried again.
    pub fn failed(&mut self, task: Task, now: Duration) -> Duration {
        let delay = self.failed.attempt(task, now, task.longest_delay());
        self.at(task, now + delay);
        delay
    }
}

#[cfg(test)]
mod tests;
