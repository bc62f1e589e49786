//! Small programs that the cases start inside and outside of sandboxes.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::process::ExitCode;

use fairway_kernel::system::inherit::block_signals;
use fairway_run::{Files, Order, detach, launch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::workspace;

/// Runs the probe that the arguments name.
pub fn run(arguments: &[&str]) -> ExitCode {
    match *arguments {
        ["signals", ready] => signals(ready),
        ["blocked", report] => blocked(report),
        ["starter", order] => starter(order),
        ["rights", watching, seen] => rights(watching, seen),
        ["terminal", ready, result] => terminal(ready, result),
        _ => ExitCode::from(99),
    }
}

/// Says that it is ready, waits for a signal, and ends with its number; with 100 if it came twice.
fn signals(ready: &str) -> ExitCode {
    let held = block_signals(&[1, 2, 10, 12, 15, 28]).unwrap();
    fs::write(ready, "").unwrap();
    let mut record = [0; 128];
    let mut watched = [PollFd::from_borrowed_fd(held.as_fd(), PollFlags::IN)];
    let a_while = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    poll(&mut watched, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap();
    rustix::io::read(&held, &mut record).unwrap();
    // A second one of the same number would have been passed on by now.
    if poll(&mut watched, Some(&a_while)).unwrap() > 0 {
        return ExitCode::from(100);
    }
    ExitCode::from(record[0])
}

/// Starts a process and never lets it go on.
fn blocked(report: &str) -> ExitCode {
    let launched = launch(&workspace::shell("exit 0")).unwrap();
    let identity = launched.identity();
    fs::write(format!("{report}.draft"), serde_json::to_vec(&identity).unwrap()).unwrap();
    fs::rename(format!("{report}.draft"), report).unwrap();
    loop {
        std::thread::park();
    }
}

/// Starts what it is ordered to, detached, and ends at once.
fn starter(order: &str) -> ExitCode {
    let order: Order = serde_json::from_slice(&fs::read(order).unwrap()).unwrap();
    match detach(&order).and_then(|detached| detached.release(&Files::default())) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Becomes the leader of a session with its standard input as the terminal, runs a `signals` probe
/// in a sandbox there, and writes down how that ended.
fn terminal(ready: &str, result: &str) -> ExitCode {
    rustix::process::setsid().unwrap();
    rustix::process::ioctl_tiocsctty(std::io::stdin()).unwrap();
    let code = workspace::code(&workspace::probe(&["signals", ready]));
    let foreground = rustix::termios::tcgetpgrp(std::io::stdin()).unwrap() == rustix::process::getpgrp();
    fs::write(format!("{result}.draft"), format!("{code} {foreground}")).unwrap();
    fs::rename(format!("{result}.draft"), result).unwrap();
    ExitCode::SUCCESS
}

/// As long as the file `watching` is there, looks which capabilities the processes of this pid namespace have, but for
/// itself, and writes each set down once.
fn rights(watching: &str, seen: &str) -> ExitCode {
    fs::write(watching, "").unwrap();
    let mut sets = BTreeSet::new();
    fs::write(seen, "").unwrap();
    while fs::exists(watching).unwrap() {
        let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            entry.file_name().to_str()?.parse::<u32>().ok().filter(|pid| *pid != std::process::id())
        });
        for pid in processes {
            // It may end at any moment.
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
            if line.is_some_and(|set| sets.insert(set.trim().to_owned())) {
                fs::write(seen, sets.iter().cloned().collect::<Vec<_>>().join("\n")).unwrap();
            }
        }
    }
    ExitCode::SUCCESS
}
