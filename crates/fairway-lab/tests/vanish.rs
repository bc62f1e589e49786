//! A lab is gone, with all that ran in it, whatever ends it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fairway_lab::leftovers::{Machine, processes_with};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const MARK: &str = "FAIRWAY_LAB_VICTIM";

struct Victim {
    child: Child,
    mark: String,
}

impl Victim {
    /// Starts one, as a process group of its own, and waits until its lab is full of life.
    fn start(panics: bool) -> Victim {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab-program"));
        command.arg(if panics { "panics" } else { "victim" }).env(MARK, &mark).process_group(0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| Some(line.unwrap().strip_prefix("ready ")?.to_owned()));
        let namespace = ready.expect("the victim's lab should come up");
        assert_ne!(namespace, own_namespace());
        // Read on, so that it never writes to a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Victim { child, mark }
    }

    fn processes(&self) -> Vec<u32> {
        processes_with(MARK, &self.mark).unwrap()
    }

    /// The test, the gate, init and the body, in this order.
    fn chain(&self) -> Vec<u32> {
        let all = self.processes();
        let mut chain = vec![self.child.id()];
        while let Some(child) = all.iter().find(|pid| parent(**pid) == chain.last().copied()) {
            chain.push(*child);
            if chain.len() == 4 {
                break;
            }
        }
        chain
    }

    fn assert_gone(mut self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        self.child.wait().unwrap();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: these still run: {left:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn own_namespace() -> String {
    std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

#[test]
fn a_lab_vanishes_whichever_of_its_processes_is_killed() {
    let before = Machine::observe().unwrap();
    for (position, name) in ["the test", "the gate", "init", "the body"].into_iter().enumerate() {
        let victim = Victim::start(false);
        let chain = victim.chain();
        assert_eq!(chain.len(), 4, "{chain:?}");
        // The four, and the two that sleep.
        assert_eq!(victim.processes().len(), 6);
        kill_process(pid(chain[position]), Signal::KILL).unwrap();
        victim.assert_gone(name);
    }
    assert_eq!(Machine::observe().unwrap().new_since(&before), [""; 0]);
}

#[test]
fn a_lab_vanishes_when_interrupted_from_the_keyboard() {
    let victim = Victim::start(false);
    kill_process_group(pid(victim.child.id()), Signal::INT).unwrap();
    victim.assert_gone("interrupted");
}

#[test]
fn a_test_that_panics_fails_and_its_lab_vanishes() {
    let mut victim = Victim::start(true);
    assert!(!victim.child.wait().unwrap().success());
    victim.assert_gone("panicked");
}
