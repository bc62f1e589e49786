//! The first process of a sandbox with `--init`: it starts the command, passes signals on to it, and reaps what the
//! command's processes leave behind.

use std::convert::Infallible;
use std::io;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use super::running::{SI_KERNEL, Signals};

/// Starts the command, calls `started`, and ends this process with the exit code of the command; returns only if the
/// command does not start.
pub(super) fn run_command(mut command: Command, started: impl FnOnce()) -> io::Result<Infallible> {
    let child = command.spawn()?;
    // Not before: the command would inherit that they are held.
    let signals = Signals::hold()?;
    started();
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    std::process::exit(reap_until(child, &signals).unwrap_or(255))
}

/// Passes signals on and reaps processes until this child ends; returns its exit code.
fn reap_until(child: Pid, signals: &Signals) -> io::Result<i32> {
    loop {
        while let Some((number, cause)) = signals.next()? {
            // What the terminal sends has reached the command, which is in the same process group.
            if cause != SI_KERNEL
                && number != Signal::CHILD.as_raw()
                && let Some(signal) = Signal::from_named_raw(number)
            {
                // The command may have ended just now.
                let _ = kill_process(child, signal);
            }
        }
        while let Some(status) = ended()? {
            if status.0 == child {
                return Ok(status.1);
            }
        }
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(signals, PollFlags::IN)], None))?;
    }
}

/// A child that ended, with its exit code, or 128 and the number of the signal that ended it.
fn ended() -> io::Result<Option<(Pid, i32)>> {
    let found = rustix::io::retry_on_intr(|| wait(WaitOptions::NOHANG))?;
    let code = |status: WaitStatus| {
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
    };
    Ok(found.map(|(process, status)| (process, code(status).unwrap_or(255))))
}
