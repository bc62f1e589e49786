//! One turn of the reconcile loop: takes the signals, and does each task that is due.

use std::time::Duration;

use crate::EngineError;
use crate::reconcile::schedule::{Ended, Schedule, Task};

/// The work of the loop, and where its signals come from.
pub(crate) trait Work {
    /// Notes the signals since the last call in the schedule.
    fn take_signals(&mut self, schedule: &mut Schedule, now: Duration);

    /// Does a task. The schedule takes what else is to be done, and when.
    ///
    /// # Errors
    /// The task failed, and is to be done again later.
    fn run(&mut self, task: Task, schedule: &mut Schedule, now: Duration) -> Result<(), EngineError>;

    /// Stops ended sandboxes, several in parallel, as clients would. Returns the outcomes in the same order.
    fn stop(&mut self, sandboxes: &[Ended]) -> Vec<Result<(), EngineError>>;
}

/// Does everything that is due, once. `clock` is the time since the start of the loop.
pub(crate) fn turn(schedule: &mut Schedule, work: &mut impl Work, clock: &impl Fn() -> Duration) {
    work.take_signals(schedule, clock());
    let due = schedule.take_due(clock());
    let ended = due.iter().filter_map(|task| match task {
        Task::Stop(ended) => Some(*ended),
        _ => None,
    });
    let ended: Vec<Ended> = ended.collect();
    for (ended, outcome) in ended.iter().zip(work.stop(&ended)) {
        finish(schedule, Task::Stop(*ended), outcome, clock());
    }
    for task in due.into_iter().filter(|task| !matches!(task, Task::Stop(_))) {
        let outcome = work.run(task, schedule, clock());
        finish(schedule, task, outcome, clock());
    }
}

fn finish(schedule: &mut Schedule, task: Task, outcome: Result<(), EngineError>, now: Duration) {
    match outcome {
        Ok(()) => schedule.succeeded(task, now),
        Err(error) => {
            let delay = schedule.failed(task, now).as_secs();
            tracing::error!(%error, delay, "failed to {task}: {error}; retrying in {delay} s");
        }
    }
}

#[cfg(test)]
mod tests;
