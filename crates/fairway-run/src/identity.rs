//! Identity of a process: its id and start time, since ids are reused.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use fairway_model::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Why a process could not be signalled.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// It is not there any more.
    #[error("process {pid} has ended")]
    Gone {
        /// Its process id.
        pid: u32,
    },
    /// The number is no signal that can be sent.
    #[error("{signal} is no signal: 1 to 31 are")]
    NoSignal {
        /// What was given.
        signal: i32,
    },
    /// The kernel refused.
    #[error("cannot signal process {pid}: {source}")]
    Refused {
        /// Its process id.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

/// How a process was brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It had ended already.
    Before,
    /// It ended after the signal.
    Asked,
    /// It had to be killed.
    Killed,
}

/// The identity of the process that has this number now.
///
/// # Errors
/// As reading `/proc/PID/stat`; `NotFound` when there is none.
pub fn identify(pid: u32) -> io::Result<ProcessIdentity> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let start_time = start_time(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: no start time"))
    })?;
    Ok(ProcessIdentity { pid, start_time })
}

/// Field 22 of proc_pid_stat(5). The second field is a name that may hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A descriptor of exactly this process; none when it has ended.
pub(super) fn open(process: ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        result => result?,
    };
    // Read after the descriptor was opened: had the number changed hands before, the start shows
    // it; later it cannot, as far as the descriptor is concerned.
    match identify(process.pid) {
        Ok(found) => Ok((found == process).then_some(descriptor)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What reading files of a process under `/proc` says when it is not there any more.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Sends a signal, by number (1 to 31), to exactly this process.
///
/// # Errors
/// That it has ended, that the number is no signal, or what the kernel said.
pub fn send_signal(process: ProcessIdentity, signal: i32) -> Result<(), SignalError> {
    let pid = process.pid;
    let signal = Signal::from_named_raw(signal).ok_or(SignalError::NoSignal { signal })?;
    let refused = |source| SignalError::Refused { pid, source };
    let descriptor = open(process).map_err(refused)?.ok_or(SignalError::Gone { pid })?;
    match pidfd_send_signal(&descriptor, signal) {
        Err(Errno::SRCH) => Err(SignalError::Gone { pid }),
        result => result.map_err(|errno| refused(errno.into())),
    }
}

/// Sends a signal and, if the process is still there after `grace`, SIGKILL; returns when it has
/// ended. Blocks the thread that long. What else runs in its pid namespace ends with it.
///
/// # Errors
/// That the number is no signal, or what the kernel said.
pub fn stop(process: ProcessIdentity, signal: i32, grace: Duration) -> Result<Stopped, SignalError> {
    let pid = process.pid;
    let signal = Signal::from_named_raw(signal).ok_or(SignalError::NoSignal { signal })?;
    let refused = |source| SignalError::Refused { pid, source };
    let Some(descriptor) = open(process).map_err(refused)? else { return Ok(Stopped::Before) };
    for (signal, patience, outcome) in
        [(signal, Some(grace), Stopped::Asked), (Signal::KILL, None, Stopped::Killed)]
    {
        match pidfd_send_signal(&descriptor, signal) {
            Err(Errno::SRCH) => return Ok(outcome),
            result => result.map_err(|errno| refused(errno.into()))?,
        }
        if ends_within(&descriptor, patience).map_err(|errno| refused(errno.into()))? {
            return Ok(outcome);
        }
    }
    Ok(Stopped::Killed)
}

fn ends_within(descriptor: &OwnedFd, patience: Option<Duration>) -> Result<bool, Errno> {
    let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
    let mut watched = [PollFd::new(descriptor, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut watched, patience.as_ref())).map(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields: Vec<String> = (3..=52).map(|field: u32| field.to_string()).collect();
        let line = format!("7 (a) b (c)) {}", fields.join(" "));
        assert_eq!(start_time(&line), Some(22));
        assert_eq!(start_time("7 (short) S 1"), None);
    }

    #[test]
    fn a_signal_reaches_the_process_that_is_meant_and_no_other() {
        let mut child = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
        let process = identify(child.id()).unwrap();
        let other = ProcessIdentity { start_time: process.start_time + 1, ..process };
        assert!(matches!(send_signal(other, 15), Err(SignalError::Gone { .. })));
        assert!(matches!(stop(other, 15, Duration::ZERO), Ok(Stopped::Before)));
        assert!(child.try_wait().unwrap().is_none());
        assert!(matches!(send_signal(process, 99), Err(SignalError::NoSignal { signal: 99 })));
        assert!(matches!(stop(process, 15, Duration::from_secs(30)), Ok(Stopped::Asked)));
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(matches!(send_signal(process, 15), Err(SignalError::Gone { .. })));
    }

    #[test]
    fn who_does_not_listen_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let process = identify(child.id()).unwrap();
        assert!(matches!(stop(process, 15, Duration::from_millis(50)), Ok(Stopped::Killed)));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
