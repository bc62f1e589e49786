use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use fairway_model::SandboxId;

use super::*;
use crate::signals::Signal;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn sandbox(number: u8) -> Ended {
    Ended { sandbox: SandboxId::new([number; 32]), process: None }
}

/// Work that takes time on a clock of its own, and fails as often as it is to.
struct Fake<'a> {
    clock: &'a Cell<Duration>,
    signals: BTreeSet<Signal>,
    /// How often each task fails from now on.
    failures: BTreeMap<Task, u32>,
    /// The time that each task takes.
    takes: BTreeMap<Task, Duration>,
    /// The signal that arrives while a task runs.
    meanwhile: BTreeMap<Task, Signal>,
    done: Vec<(u64, Task)>,
    stopped_together: Vec<Vec<Ended>>,
}

impl<'a> Fake<'a> {
    fn on(clock: &'a Cell<Duration>) -> Self {
        Self {
            clock,
            signals: BTreeSet::new(),
            failures: BTreeMap::new(),
            takes: BTreeMap::new(),
            meanwhile: BTreeMap::new(),
            done: Vec::new(),
            stopped_together: Vec::new(),
        }
    }

    fn outcome(&mut self, task: Task) -> Result<(), EngineError> {
        self.done.push((u64::try_from(self.clock.get().as_millis()).unwrap(), task));
        match self.failures.get_mut(&task) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(EngineError::Observe("no memory".into()))
            }
            _ => Ok(()),
        }
    }

    fn times(&self, task: Task) -> Vec<u64> {
        self.done.iter().filter(|(_, done)| *done == task).map(|(at, _)| *at).collect()
    }
}

impl Work for Fake<'_> {
    fn take_signals(&mut self, schedule: &mut Schedule, now: Duration) {
        std::mem::take(&mut self.signals).into_iter().for_each(|signal| schedule.signal(signal, now));
    }

    fn run(&mut self, task: Task, _: &mut Schedule, _: Duration) -> Result<(), EngineError> {
        let outcome = self.outcome(task);
        self.clock.set(self.clock.get() + self.takes.get(&task).copied().unwrap_or_default());
        self.signals.extend(self.meanwhile.remove(&task));
        outcome
    }

    fn stop(&mut self, sandboxes: &[Ended]) -> Vec<Result<(), EngineError>> {
        if !sandboxes.is_empty() {
            self.stopped_together.push(sandboxes.to_vec());
        }
        sandboxes.iter().map(|ended| self.outcome(Task::Stop(*ended))).collect()
    }
}

/// Runs the loop until a time, jumping from one deadline to the next.
fn run(schedule: &mut Schedule, work: &mut Fake<'_>, until: Duration) {
    let clock = work.clock;
    loop {
        turn(schedule, work, &|| clock.get());
        let next = match work.signals.is_empty() {
            true => schedule.next_due().unwrap(),
            false => clock.get(),
        };
        if next > until {
            clock.set(until);
            return;
        }
        clock.set(next.max(clock.get()));
    }
}

#[test]
fn a_failed_task_is_done_again_until_it_succeeds() {
    let clock = Cell::new(ms(0));
    let (mut schedule, mut work) = (Schedule::new(ms(0)), Fake::on(&clock));
    work.failures.insert(Task::Heal, 3);
    work.signals.insert(Signal::Drift);
    run(&mut schedule, &mut work, ms(60_000));
    assert_eq!(work.times(Task::Heal), [20, 1020, 3020, 7020]);
}

#[test]
fn a_failing_task_leaves_the_others_on_time() {
    let clock = Cell::new(ms(0));
    let (mut schedule, mut work) = (Schedule::new(ms(0)), Fake::on(&clock));
    work.failures.insert(Task::CheckRelay, u32::MAX);
    run(&mut schedule, &mut work, ms(10_000));
    assert_eq!(work.times(Task::CheckRelay), [500, 1500, 3500, 7500]);
    assert_eq!(work.times(Task::PollSettings).len(), 20);
}

#[test]
fn a_signal_during_its_own_task_is_another_run() {
    let clock = Cell::new(ms(0));
    let (mut schedule, mut work) = (Schedule::new(ms(0)), Fake::on(&clock));
    work.takes.insert(Task::Heal, ms(150));
    work.meanwhile.insert(Task::Heal, Signal::Drift);
    work.signals.insert(Signal::Drift);
    run(&mut schedule, &mut work, ms(1000));
    assert_eq!(work.times(Task::Heal), [20, 190]);
}

#[test]
fn slow_work_starves_nothing() {
    let clock = Cell::new(ms(0));
    let (mut schedule, mut work) = (Schedule::new(ms(0)), Fake::on(&clock));
    // Longer than every interval.
    work.takes.insert(Task::AuditNetns, ms(3000));
    run(&mut schedule, &mut work, ms(30_000));
    for task in [Task::CheckRelay, Task::PollSettings, Task::PollLegacyTables, Task::KeepLeases] {
        let times = work.times(task);
        assert!(times.len() >= 8, "{task:?}: {times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 4000), "{task:?}: {times:?}");
    }
}

#[test]
fn sandboxes_that_ended_together_are_stopped_together_the_first_to_end_first() {
    let clock = Cell::new(ms(0));
    let (mut schedule, mut work) = (Schedule::new(ms(0)), Fake::on(&clock));
    for (number, due) in [(3, 10), (1, 30), (2, 20), (4, 900)] {
        schedule.at(Task::Stop(sandbox(number)), ms(due));
    }
    clock.set(ms(40));
    run(&mut schedule, &mut work, ms(2000));
    let together = [vec![sandbox(3), sandbox(2), sandbox(1)], vec![sandbox(4)]];
    assert_eq!(work.stopped_together, together);
}

#[test]
fn a_sandbox_that_cannot_be_stopped_is_tried_again_alone() {
    let clock = Cell::new(ms(0));
    let (mut schedule, mut work) = (Schedule::new(ms(0)), Fake::on(&clock));
    work.failures.insert(Task::Stop(sandbox(2)), 2);
    for number in 1..=3 {
        schedule.at(Task::Stop(sandbox(number)), ms(0));
    }
    run(&mut schedule, &mut work, ms(10_000));
    assert_eq!(work.times(Task::Stop(sandbox(1))), [0]);
    assert_eq!(work.times(Task::Stop(sandbox(2))), [0, 1000, 3000]);
    assert_eq!(work.times(Task::Stop(sandbox(3))), [0]);
}
