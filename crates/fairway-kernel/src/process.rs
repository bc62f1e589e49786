//! Processes, identified by pid and start time, since pids are reused.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fairway_model::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use thiserror::Error;

/// Why a process cannot be watched or signaled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// There is no such process, or it has ended.
    #[error("no process {0} is running")]
    Gone(u32),
    /// The pid belongs to another process now.
    #[error("process {pid} is now another one: it started at tick {found}, not {expected}")]
    Replaced {
        /// The number.
        pid: u32,
        /// The expected start time, in clock ticks since boot.
        expected: u64,
        /// The start time of the present process.
        found: u64,
    },
    /// `/proc/PID/stat` cannot be read or understood.
    #[error("cannot read /proc/{pid}/stat: {errno}")]
    Stat {
        /// The number.
        pid: u32,
        /// The reason.
        errno: Errno,
    },
    /// The kernel refuses.
    #[error("cannot {action} process {pid}: {errno}")]
    Refused {
        /// The attempted action.
        action: &'static str,
        /// The pid.
        pid: u32,
        /// The reason.
        errno: Errno,
    },
}

impl Error {
    /// Whether the process has ended. Of other errors, such as a lack of descriptors, that does not follow.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Replaced { .. })
    }
}

/// The identity of the process with this pid.
///
/// # Errors
/// [`Error::Gone`], also for a zombie; [`Error::Stat`].
pub fn identity(pid: u32) -> Result<ProcessIdentity, Error> {
    let text =
        std::fs::read(format!("/proc/{pid}/stat")).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::SRCH) => Error::Gone(pid),
            other => Error::Stat { pid, errno: other.unwrap_or(Errno::IO) },
        })?;
    let unclear = Error::Stat { pid, errno: Errno::ILSEQ };
    let Some(stat) = StatFields::parse(&text) else { return Err(unclear) };
    match (stat.has_ended(), stat.number(START_TIME)) {
        (_, None) => Err(unclear),
        (true, _) => Err(Error::Gone(pid)),
        (false, Some(start_time)) => Ok(ProcessIdentity { pid, start_time }),
    }
}

/// Whether the process has ended. One that cannot be looked at has not.
pub fn has_ended(process: ProcessIdentity) -> bool {
    check(process).is_err_and(|error| error.is_end())
}

/// Checks that the pid still means the process.
fn check(process: ProcessIdentity) -> Result<(), Error> {
    match identity(process.pid)?.start_time {
        found if found == process.start_time => Ok(()),
        found => Err(Error::Replaced { pid: process.pid, expected: process.start_time, found }),
    }
}

/// The start time of a process among the fields of [`StatFields`], in ticks since the host was started.
pub const START_TIME: usize = 22;
/// The parent of a process among them.
pub const PARENT: usize = 4;
/// The first field behind the program's name.
const STATE: usize = 3;

/// The fields of `/proc/PID/stat`, with their numbers in proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatFields<'a> {
    /// The name of the program, which may itself hold brackets and spaces.
    pub name: Cow<'a, str>,
    fields: Vec<&'a str>,
}

impl<'a> StatFields<'a> {
    /// Reads the fields; none if the text has no state behind a name in brackets.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let begin = text.iter().position(|byte| *byte == b'(')?;
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let name = String::from_utf8_lossy(text.get(begin + 1..end)?);
        let fields: Vec<_> =
            std::str::from_utf8(text.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
        (!fields.is_empty()).then_some(Self { name, fields })
    }

    /// Whether the process has ended, and is at most still to be waited for.
    pub fn has_ended(&self) -> bool {
        self.fields.first().is_some_and(|state| state.starts_with(['Z', 'X']))
    }

    /// The number in a field from 4 on; none if it is missing or no number.
    pub fn number(&self, field: usize) -> Option<u64> {
        self.fields.get(field.checked_sub(STATE)?)?.parse().ok()
    }
}

/// A process held by a pidfd, which never means another process.
#[derive(Debug)]
pub struct Process {
    descriptor: OwnedFd,
    identity: ProcessIdentity,
}

impl Process {
    /// Opens the process with this identity.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Replaced`], [`Error::Refused`].
    pub fn open(process: ProcessIdentity) -> Result<Self, Error> {
        let pid = process.pid;
        let descriptor =
            rustix::process::pidfd_open(pid_of(pid)?, PidfdFlags::empty()).map_err(refused("open", pid))?;
        // Read after opening: if the pid still means this process, so does the pidfd.
        check(process)?;
        Ok(Self { descriptor, identity: process })
    }

    /// Its identity.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Refused`].
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        rustix::process::pidfd_send_signal(&self.descriptor, signal)
            .map_err(refused("signal", self.identity.pid))
    }

    /// Kills the process (`SIGKILL`). An ended process is no error.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn kill(&self) -> Result<(), Error> {
        match self.signal(Signal::KILL) {
            Err(Error::Gone(_)) => Ok(()),
            result => result,
        }
    }

    /// Waits for the end of the process, at most `timeout`; returns whether it has ended.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn wait(&self, timeout: std::time::Duration) -> Result<bool, Error> {
        let timeout = Timespec::try_from(timeout).map_err(|_| Error::Refused {
            action: "wait that long for",
            pid: self.identity.pid,
            errno: Errno::INVAL,
        })?;
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut descriptors, Some(&timeout)))
            .map(|ready| ready > 0)
            .map_err(refused("wait for", self.identity.pid))
    }
}

impl AsFd for Process {
    /// A descriptor that is readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn pid_of(pid: u32) -> Result<Pid, Error> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Error::Gone(pid))
}

fn refused(action: &'static str, pid: u32) -> impl Fn(Errno) -> Error {
    move |errno| match errno {
        Errno::SRCH => Error::Gone(pid),
        errno => Error::Refused { action, pid, errno },
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    /// A process that lives until its input is closed.
    fn child() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn names_with_brackets_do_not_confuse_the_reader() {
        let text = b"7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let stat = StatFields::parse(text).unwrap();
        assert_eq!((&*stat.name, stat.has_ended(), stat.number(START_TIME)), ("a) b", false, Some(4711)));
        assert_eq!(StatFields::parse(b"7 (a) S 1").unwrap().number(START_TIME), None);
        assert!(StatFields::parse(b"7 (a) Z 1").unwrap().has_ended());
        assert_eq!((StatFields::parse(b"7 a S 1"), StatFields::parse(b"7 (a)")), (None, None));
    }

    #[test]
    fn a_process_is_watched_killed_and_then_gone() {
        let mut child = child();
        let known = identity(child.id()).unwrap();
        assert!(!has_ended(known));
        let process = Process::open(known).unwrap();
        assert_eq!(process.wait(Duration::ZERO), Ok(false));
        process.kill().unwrap();
        assert_eq!(process.wait(Duration::from_secs(10)), Ok(true));
        // Not yet waited for, and gone all the same.
        assert!(has_ended(known));
        assert_eq!(identity(known.pid), Err(Error::Gone(known.pid)));
        child.wait().unwrap();
        assert_eq!(process.signal(Signal::TERM), Err(Error::Gone(known.pid)));
        assert_eq!(process.kill(), Ok(()));
        assert_eq!(Process::open(known).unwrap_err(), Error::Gone(known.pid));
    }

    #[test]
    fn a_reused_pid_is_not_mistaken() {
        let mut known = identity(std::process::id()).unwrap();
        known.start_time += 1;
        assert!(has_ended(known));
        assert!(matches!(Process::open(known), Err(Error::Replaced { .. })));
    }

    #[test]
    fn numbers_that_no_process_has_are_refused() {
        for pid in [0, u32::MAX] {
            let process = ProcessIdentity { pid, start_time: 1 };
            assert_eq!(Process::open(process).unwrap_err(), Error::Gone(pid));
        }
    }
}
