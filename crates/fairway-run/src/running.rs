//! A command that runs: passing signals on to it, and learning how it ended.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdout};

use fairway_kernel::system::inherit::{block_signals, reset_signals};
use fairway_model::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitStatus, getpgrp, getpid, kill_process, waitid,
};

/// What is passed on: all that can be held, but for those that say what this program did itself
/// (a fault, a broken pipe, urgent data) and SIGCHLD, which says that the command changed.
const PASSED_ON: [Signal; 18] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::TERM,
    Signal::CONT,
    Signal::TSTP,
    Signal::TTIN,
    Signal::TTOU,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::VTALARM,
    Signal::PROF,
    Signal::WINCH,
    Signal::IO,
    Signal::POWER,
];
/// `si_code` of a signal that the kernel sent by itself, `asm-generic/siginfo.h`.
pub(super) const SI_KERNEL: i32 = 0x80;

/// The signals that the calling thread holds.
#[derive(Debug)]
pub(super) struct Signals(OwnedFd);

impl Signals {
    pub(super) fn hold() -> io::Result<Self> {
        let numbers: Vec<i32> =
            PASSED_ON.iter().chain([&Signal::CHILD]).map(|signal| signal.as_raw()).collect();
        // Who ignores it, as may be inherited, is not told how a child ended (wait(2), notes).
        reset_signals([Signal::CHILD.as_raw()]);
        Ok(Self(block_signals(&numbers)?))
    }

    /// The next that waits, with what caused it.
    pub(super) fn next(&self) -> io::Result<Option<(i32, i32)>> {
        // struct signalfd_siginfo, signalfd(2): ssi_signo, ssi_errno, ssi_code, ...
        let mut record = [0_u8; 128];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut record)) {
            Ok(128) => {
                let field = |at: usize| {
                    i32::from_ne_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
                };
                Ok(Some((field(0), field(8))))
            }
            Ok(_) | Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Signals {
    /// What is readable when a signal waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A command that was started, or entered a sandbox, and is this program's child.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    identity: ProcessIdentity,
    signals: Signals,
    output: Option<(ChildStdout, ChildStderr)>,
    notes: Vec<String>,
    /// Whether this program was asked to end.
    terminated: bool,
    /// Whether this program's process group was the terminal's foreground one: it is to be again.
    foreground: bool,
}

impl Running {
    pub(super) fn new(
        pid: Pid,
        identity: ProcessIdentity,
        signals: Signals,
        output: Option<(ChildStdout, ChildStderr)>,
        notes: Vec<String>,
    ) -> Self {
        let foreground = at_terminal()
            && streams().iter().any(|stream| rustix::termios::tcgetpgrp(stream) == Ok(getpgrp()));
        Self { pid, identity, signals, output, notes, terminated: false, foreground }
    }

    /// Which process it is.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// What the kernel refused and the command lives without, each with the reason.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether this program was asked to end, which it passed on.
    pub(super) fn terminated(&self) -> bool {
        self.terminated
    }

    /// Ends the command at once, and with it all processes of its pid namespace.
    pub(super) fn kill(&self) -> io::Result<()> {
        pass(kill_process(self.pid, Signal::KILL))
    }

    pub(super) fn take_output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.output.take()
    }

    /// Waits for the command to end, passes signals on to it until then, and returns its exit
    /// code, or 128 and the number of the signal that ended it.
    ///
    /// The command is in the same session and process group as this program, so what the terminal
    /// sends reaches it anyway and is not passed on. When job control stops the command, this
    /// program stops too, and so the shell gets the terminal.
    ///
    /// # Errors
    /// What the kernel refuses of waiting.
    pub fn wait_forwarding_signals(mut self) -> io::Result<i32> {
        loop {
            if let Some(code) = self.turn()? {
                return Ok(code);
            }
            let mut watched = [PollFd::new(&self, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut watched, None))?;
        }
    }

    /// Does what there is to do without waiting; returns the exit code if the command has ended.
    pub(super) fn turn(&mut self) -> io::Result<Option<i32>> {
        while let Some((number, cause)) = self.signals.next()? {
            self.terminated |= number == Signal::TERM.as_raw();
            if cause != SI_KERNEL
                && number != Signal::CHILD.as_raw()
                && let Some(signal) = Signal::from_named_raw(number)
            {
                pass(kill_process(self.pid, signal))?;
            }
        }
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
            let Some(status) = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), options))? else {
                return Ok(None);
            };
            if let Some(signal) = status.stopping_signal() {
                self.stop_with_it(signal)?;
                continue;
            }
            self.reclaim_terminal();
            let code =
                status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            return Ok(Some(code.unwrap_or(255)));
        }
    }

    /// Job control stopped the command: lets the shell see this program stopped as well, and
    /// continues with it.
    fn stop_with_it(&self, signal: i32) -> io::Result<()> {
        let by_job_control =
            [Signal::TSTP, Signal::TTIN, Signal::TTOU].iter().any(|stop| stop.as_raw() == signal);
        if self.foreground && by_job_control {
            self.reclaim_terminal();
            kill_process(getpid(), Signal::STOP)?;
            pass(kill_process(self.pid, Signal::CONT))?;
        }
        Ok(())
    }

    /// A shell as the command makes itself the foreground process group and, as the first process
    /// of its pid namespace, cannot see the number of the group to give the terminal back to.
    fn reclaim_terminal(&self) {
        if !self.foreground {
            return;
        }
        for stream in streams() {
            if rustix::termios::tcgetpgrp(stream).is_ok_and(|group| group != getpgrp()) {
                // SIGTTOU is held, so the kernel lets a background process do this.
                let _ = rustix::termios::tcsetpgrp(stream, getpgrp());
            }
        }
    }
}

impl AsFd for Running {
    /// What is readable when there is something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "with unknown status".to_owned(),
    }
}

fn streams() -> [BorrowedFd<'static>; 3] {
    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
}

/// A command that has just ended needs no signal.
fn pass(sent: rustix::io::Result<()>) -> io::Result<()> {
    match sent {
        Err(Errno::SRCH) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether any of the standard streams is a terminal.
fn at_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
