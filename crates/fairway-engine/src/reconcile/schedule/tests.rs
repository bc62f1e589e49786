use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn sandbox(number: u8) -> Ended {
    Ended { sandbox: SandboxId::new([number; 32]), process: None }
}

/// A schedule without the repeated tasks, at time 0.
fn empty() -> Schedule {
    Schedule { due: BTreeMap::new(), failed: Backoff::new(0) }
}

#[test]
fn a_signal_is_due_when_changes_have_settled() {
    let mut schedule = empty();
    schedule.signal(Signal::Drift, ms(100));
    assert_eq!(schedule.next_due(), Some(ms(120)));
    assert_eq!(schedule.take_due(ms(119)), []);
    assert_eq!(schedule.take_due(ms(120)), [Task::Heal]);
    assert_eq!((schedule.take_due(ms(500)), schedule.next_due()), (vec![], None));
}

#[test]
fn each_signal_calls_for_its_task() {
    for (signal, task, delay) in [
        (Signal::Drift, Task::Heal, 20),
        (Signal::NetnsDrift, Task::HealNetns, 20),
        (Signal::HostChanged, Task::FollowHost, 200),
        (Signal::ForeignRulesChanged, Task::ScanForeign, 20),
        (Signal::MemoryFreed, Task::ReleaseMemory, 5000),
    ] {
        let mut schedule = empty();
        schedule.signal(signal, ms(0));
        assert_eq!(schedule.next_due(), Some(ms(delay)), "{signal:?}");
        assert_eq!(schedule.take_due(ms(delay)), [task]);
    }
}

#[test]
fn signals_that_keep_coming_are_one_run_and_do_not_put_it_off() {
    let mut schedule = empty();
    let mut runs = Vec::new();
    for now in 0..100 {
        schedule.signal(Signal::Drift, ms(now));
        runs.extend(schedule.take_due(ms(now)).into_iter().map(|task| (now, task)));
    }
    let at: Vec<u64> = runs.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [20, 41, 62, 83]);
}

#[test]
fn a_signal_while_its_task_runs_is_not_lost() {
    let mut schedule = empty();
    schedule.signal(Signal::Drift, ms(0));
    assert_eq!(schedule.take_due(ms(20)), [Task::Heal]);
    schedule.signal(Signal::Drift, ms(30));
    schedule.succeeded(Task::Heal, ms(90));
    assert_eq!(schedule.take_due(ms(90)), [Task::Heal]);
}

#[test]
fn the_longest_due_comes_first() {
    let mut schedule = empty();
    schedule.at(Task::ReleaseMemory, ms(10));
    schedule.at(Task::Heal, ms(30));
    schedule.at(Task::Stop(sandbox(2)), ms(5));
    schedule.at(Task::Stop(sandbox(1)), ms(20));
    schedule.at(Task::FollowHost, ms(31));
    let due = schedule.take_due(ms(30));
    let expected = [Task::Stop(sandbox(2)), Task::ReleaseMemory, Task::Stop(sandbox(1)), Task::Heal];
    assert_eq!(due, expected);
}

#[test]
fn the_deeper_run_covers_the_other() {
    let mut schedule = empty();
    schedule.signal(Signal::NetnsDrift, ms(0));
    schedule.signal(Signal::Drift, ms(10));
    assert_eq!(schedule.take_due(ms(20)), [Task::HealNetns]);
    assert_eq!(schedule.next_due(), None, "drift that was signaled before is observed by that run");
    schedule.signal(Signal::Drift, ms(40));
    schedule.signal(Signal::NetnsDrift, ms(50));
    assert_eq!(schedule.take_due(ms(100)), [Task::HealNetns]);
}

#[test]
fn a_run_that_is_due_earlier_stays_so() {
    let mut schedule = empty();
    schedule.at(Task::Stop(sandbox(1)), ms(600));
    schedule.at(Task::Stop(sandbox(1)), ms(900));
    assert_eq!(schedule.next_due(), Some(ms(600)));
    schedule.at(Task::Stop(sandbox(1)), ms(50));
    assert_eq!(schedule.next_due(), Some(ms(50)));
    schedule.take_due(ms(50));
    assert_eq!(schedule.next_due(), None, "one end is one stop");
}

#[test]
fn repeated_tasks_come_at_their_intervals_and_never_twice() {
    let mut schedule = Schedule::new(ms(0));
    let mut runs: BTreeMap<Task, Vec<u64>> = BTreeMap::new();
    let mut now = ms(0);
    while now <= ms(2100) {
        for task in schedule.take_due(now) {
            runs.entry(task).or_default().push(u64::try_from(now.as_millis()).unwrap());
            schedule.succeeded(task, now);
        }
        now = schedule.next_due().unwrap();
    }
    assert_eq!(runs.len(), Task::REPEATED.len());
    assert_eq!(runs[&Task::PollSettings], [500, 1000, 1500, 2000]);
    assert_eq!(runs[&Task::CheckRelay], runs[&Task::AuditNetns]);
    assert_eq!(runs[&Task::PollLegacyTables], [2000]);
    assert_eq!(runs[&Task::KeepLeases].len(), 10);
}

#[test]
fn what_was_missed_by_a_slow_run_is_not_caught_up() {
    let mut schedule = Schedule::new(ms(0));
    let due = schedule.take_due(ms(60_000));
    assert_eq!(due.len(), Task::REPEATED.len(), "each once: {due:?}");
    due.into_iter().for_each(|task| schedule.succeeded(task, ms(61_000)));
    assert_eq!(schedule.take_due(ms(61_100)), []);
}

#[test]
fn nothing_starves_while_a_signal_never_ends() {
    let mut schedule = Schedule::new(ms(0));
    let mut runs: BTreeMap<Task, u32> = BTreeMap::new();
    for now in (0..3000).step_by(10) {
        schedule.signal(Signal::Drift, ms(now));
        schedule.signal(Signal::ForeignRulesChanged, ms(now));
        for task in schedule.take_due(ms(now)) {
            *runs.entry(task).or_default() += 1;
            schedule.succeeded(task, ms(now));
        }
    }
    for task in Task::REPEATED {
        assert!(runs[&task] >= 1, "{task:?}: {runs:?}");
    }
    assert!(runs[&Task::Heal] >= 90 && runs[&Task::Heal] <= 110, "{runs:?}");
}

/// The times at which a task that always fails is run, in seconds.
fn failing(schedule: &mut Schedule, task: Task, runs: usize) -> Vec<u64> {
    let mut times = Vec::new();
    while times.len() < runs {
        let now = schedule.next_due().unwrap();
        for due in schedule.take_due(now) {
            assert_eq!(due, task);
            times.push(now.as_secs());
            schedule.failed(task, now);
        }
    }
    times
}

#[test]
fn a_failing_task_is_retried_ever_later_up_to_its_bound() {
    let stop = Task::Stop(sandbox(1));
    let mut schedule = empty();
    schedule.at(stop, ms(0));
    assert_eq!(failing(&mut schedule, stop, 9), [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    let mut schedule = empty();
    schedule.at(Task::CheckRelay, ms(0));
    assert_eq!(failing(&mut schedule, Task::CheckRelay, 6), [0, 1, 3, 7, 12, 17]);
    let mut schedule = empty();
    schedule.at(Task::Heal, ms(0));
    assert_eq!(failing(&mut schedule, Task::Heal, 7), [0, 1, 3, 7, 15, 25, 35]);
}

#[test]
fn a_success_ends_the_backoff() {
    let mut schedule = empty();
    schedule.at(Task::Heal, ms(0));
    failing(&mut schedule, Task::Heal, 3);
    schedule.take_due(ms(10_000));
    schedule.succeeded(Task::Heal, ms(10_000));
    assert_eq!(schedule.next_due(), None);
    assert_eq!(schedule.failed(Task::Heal, ms(20_000)), ms(1000));
}

#[test]
fn a_failing_task_delays_no_other() {
    let mut schedule = empty();
    for _ in 0..6 {
        schedule.failed(Task::Stop(sandbox(1)), ms(0));
    }
    schedule.at(Task::Stop(sandbox(2)), ms(10));
    schedule.signal(Signal::Drift, ms(0));
    assert_eq!(schedule.take_due(ms(20)), [Task::Stop(sandbox(2)), Task::Heal]);
}

#[test]
fn a_signal_hastens_a_failing_task_but_does_not_make_it_hot() {
    let mut schedule = empty();
    for _ in 0..4 {
        schedule.failed(Task::Heal, ms(0));
        schedule.take_due(ms(20_000));
    }
    assert_eq!(schedule.failed(Task::Heal, ms(20_000)), ms(10_000));
    let mut runs = Vec::new();
    for now in (20_000..25_000).step_by(10) {
        schedule.signal(Signal::Drift, ms(now));
        for task in schedule.take_due(ms(now)) {
            runs.push(now);
            schedule.failed(task, ms(now));
        }
    }
    assert_eq!(runs, [21_000, 22_000, 23_000, 24_000]);
}

#[test]
fn a_task_that_nothing_calls_for_any_more_is_dropped() {
    let mut schedule = empty();
    let ended = [1, 2].map(sandbox);
    ended.into_iter().for_each(|ended| schedule.at(Task::Stop(ended), ms(600)));
    schedule.retain(|task| *task != Task::Stop(ended[0]));
    // It starts and ends again.
    schedule.at(Task::Stop(ended[0]), ms(1100));
    assert_eq!(schedule.take_due(ms(600)), [Task::Stop(ended[1])]);
    assert_eq!(schedule.next_due(), Some(ms(1100)));
}

/// A sandbox that was started again and ended again gets the whole grace, while the first stop is pending still.
#[test]
fn the_ends_of_two_processes_of_a_sandbox_are_two_stops() {
    let mut schedule = empty();
    let ended = |start_time| Ended { process: Some(ProcessIdentity { pid: 7, start_time }), ..sandbox(1) };
    schedule.at(Task::Stop(ended(1)), ms(600));
    schedule.at(Task::Stop(ended(2)), ms(1100));
    assert_eq!(schedule.take_due(ms(600)), [Task::Stop(ended(1))]);
    assert_eq!(schedule.next_due(), Some(ms(1100)));
}
