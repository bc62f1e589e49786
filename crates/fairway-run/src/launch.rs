//! Starting a process in new namespaces, in two phases.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};

use fairway_kernel::{process, system};
use fairway_model::{Namespace, ProcessIdentity};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid};
use rustix::thread::UnshareFlags;
use serde::Serialize;

use super::channel::Channel;
use super::init::{self, Report};
use super::running::{self, Running, Signals};
use super::{Files, Launch, LaunchError};

/// Where the output of a command goes.
#[derive(Debug)]
pub(super) enum Output {
    /// To where the caller's goes.
    Inherited,
    /// Into pipes, of which the caller has the other ends.
    Piped,
    /// To this terminal.
    Terminal(OwnedFd),
    /// To the null device.
    Nowhere,
}

/// A process in namespaces of its own that waits for [`Launched::release`], and is killed when
/// this is dropped or its starter ends.
#[derive(Debug)]
pub struct Launched {
    stage: &'static str,
    /// None once another process owns it.
    pid: Option<Pid>,
    identity: ProcessIdentity,
    channel: Channel,
    output: Option<(ChildStdout, ChildStderr)>,
}

/// Starts a process whose standard streams are the caller's. Returns when its namespaces are there.
///
/// # Errors
/// What the kernel refuses. Nothing is left behind.
pub fn launch(launch: &Launch) -> Result<Launched, LaunchError> {
    start(launch, io::stdin().as_fd(), Output::Inherited)
}

/// The identity of a child that has this process id. Of one that has ended already the start time is 0: what it
/// reported says why it ended.
fn identity_of(pid: u32) -> io::Result<ProcessIdentity> {
    match process::identity(pid) {
        Err(process::Error::Gone(pid)) => Ok(ProcessIdentity { pid, start_time: 0 }),
        found => found.map_err(io::Error::other),
    }
}

pub(super) fn start(launch: &Launch, input: BorrowedFd<'_>, output: Output) -> Result<Launched, LaunchError> {
    let new_pids = || system::unshare(UnshareFlags::NEWPID);
    Launched::begin(init::STAGE, launch, input, &[], output, new_pids)
}

impl Launched {
    /// Starts a stage as the first process of the pid namespace that `enter_pids` puts the
    /// children of the calling thread into, and waits until it is ready.
    pub(super) fn begin(
        stage: &'static str,
        message: &impl Serialize,
        input: BorrowedFd<'_>,
        files: &[BorrowedFd<'_>],
        output: Output,
        enter_pids: impl FnOnce() -> rustix::io::Result<()> + Send,
    ) -> Result<Self, LaunchError> {
        let stage_error = |source| LaunchError::Stage { stage, source };
        let (channel, end) = Channel::pair().map_err(stage_error)?;
        // A thread of its own, for in the one that made a pid namespace for its children no more
        // threads can be made (clone(2), EINVAL).
        let mut child = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    enter_pids().map_err(|errno| LaunchError::PidNamespace { source: errno.into() })?;
                    spawn_stage(&["fairway", stage], end, &output).map_err(stage_error)
                })
                .join()
                .unwrap_or_else(|_| Err(stage_error(io::Error::other("its thread panicked"))))
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let output = child.stdout.take().zip(child.stderr.take());
        let identity = identity_of(child.id());
        let unread = ProcessIdentity { pid: child.id(), start_time: 0 };
        // From here on dropping this ends the process.
        let mut launched = Self { stage, pid, identity: unread, channel, output };
        launched.identity = identity.map_err(stage_error)?;

        let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(input).chain(files.iter().copied()).collect();
        // If it cannot be sent, the stage has ended, and its last words say why.
        let sent = launched.channel.send_with(message, &descriptors);
        match launched.hear()? {
            Some(Report::Ready) => {}
            Some(Report::Forked { pid }) => launched.follow(pid).map_err(stage_error)?,
            Some(Report::Failed(failure)) => return Err(failure.into()),
            Some(Report::Starting { .. }) | None => return Err(launched.ended()),
        }
        sent.map(|()| launched).map_err(|source| LaunchError::Channel { stage, source })
    }

    /// Takes another child of this program in place of the stage, which is ending.
    fn follow(&mut self, pid: u32) -> io::Result<()> {
        let next = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        // It has the channel too, and the sandbox may write to it: only a child of this program is taken for it.
        waitid(WaitId::Pid(next), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)?;
        if let Some(stage) = self.pid.replace(next) {
            waitpid(Some(stage), WaitOptions::empty())?;
        }
        self.identity = identity_of(pid)?;
        Ok(())
    }

    /// Which process it is.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Its network namespace, by the path `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// As stat(2): the process has ended.
    pub fn namespace(&self) -> Result<Namespace, LaunchError> {
        namespace(self.identity)
    }

    /// Lets the process become its command, and returns when it has. From here on the signals of
    /// the calling thread are kept for [`Running::wait_forwarding_signals`].
    ///
    /// # Errors
    /// Why it could not: the command is not there ([`LaunchError::exit_code`] 127), cannot be
    /// executed (126), or a mount was refused (125). The process has ended then.
    pub fn release(mut self, files: &Files) -> Result<Running, LaunchError> {
        let signals = Signals::hold().map_err(|source| LaunchError::Signals { source })?;
        let sent = self.channel.send(files);
        let notes = match self.hear()? {
            Some(Report::Starting { notes }) => notes,
            Some(Report::Failed(failure)) => return Err(failure.into()),
            Some(Report::Ready | Report::Forked { .. }) | None => return Err(self.ended()),
        };
        sent.map_err(|source| LaunchError::Channel { stage: self.stage, source })?;
        match self.hear()? {
            None => {}
            Some(Report::Failed(failure)) => return Err(failure.into()),
            Some(_) => return Err(self.ended()),
        }
        let Some(pid) = self.pid.take() else { return Err(self.ended()) };
        Ok(Running::new(pid, self.identity, signals, self.output.take(), notes))
    }

    /// This program's ends of the output, if it goes into pipes.
    pub(super) fn output(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.output.iter().flat_map(|(out, err)| [out.as_fd(), err.as_fd()])
    }

    fn hear(&mut self) -> Result<Option<Report>, LaunchError> {
        match self.channel.receive() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            result => result.map_err(|source| LaunchError::Channel { stage: self.stage, source }),
        }
    }

    /// The error of a process that closed the channel without a report: it is ending.
    fn ended(&mut self) -> LaunchError {
        let status = self.pid.take().and_then(|pid| waitpid(Some(pid), WaitOptions::empty()).ok().flatten());
        let ending =
            status.map_or_else(|| "with unknown status".to_owned(), |(_, status)| running::describe(status));
        LaunchError::Ended { ending }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // It cannot have been reaped, so the number is its own; and there is nothing to do
            // about a refusal.
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// The network namespace of a process.
pub(super) fn namespace(process: ProcessIdentity) -> Result<Namespace, LaunchError> {
    let path = format!("/proc/{}/ns/net", process.pid);
    match fs::metadata(&path) {
        Ok(found) => Ok(Namespace { device: found.dev(), inode: found.ino(), path }),
        Err(source) => Err(LaunchError::Unreadable { path: path.into(), source }),
    }
}

/// Runs this program again, also when its file was replaced or removed. The first word is what it is called, the
/// second the stage.
#[expect(
    clippy::disallowed_methods,
    reason = "the process of a sandbox begins as this program, executed again"
)]
pub(super) fn spawn_stage(
    words: &[&str],
    input: OwnedFd,
    output: &Output,
) -> io::Result<std::process::Child> {
    let stream = || {
        Ok::<_, io::Error>(match output {
            Output::Inherited => Stdio::inherit(),
            Output::Piped => Stdio::piped(),
            Output::Terminal(terminal) => terminal.try_clone()?.into(),
            Output::Nowhere => Stdio::null(),
        })
    };
    let mut command = Command::new("/proc/self/exe");
    if let [name, arguments @ ..] = words {
        std::os::unix::process::CommandExt::arg0(&mut command, name).args(arguments);
    }
    command.stdin(input).stdout(stream()?).stderr(stream()?).spawn()
}
