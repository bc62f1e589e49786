//! Running a command in the namespaces of a process that runs: `fairway exec`.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fairway_kernel::process::{self, Process};
use fairway_kernel::system::spawn::fork_sibling;
use fairway_model::ProcessIdentity;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use super::cgroup;
use super::channel::Channel;
use super::init::{Report, confine, run_stage, stray, take_input, tell};
use super::launch::{Launched, Output};
use super::program::{Become, become_command};
use super::{CapabilitySet, Failure, Files, Identity, LaunchError, Running};

/// The first argument that starts this program as this stage.
pub(super) const STAGE: &str = "sandbox-enter";

/// What to run in a sandbox that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it may do: see [`CapabilitySet::choose`].
    pub capabilities: CapabilitySet,
    /// As which user; none means as the caller.
    pub identity: Option<Identity>,
    /// The control groups of the sandbox, whose limits hold for it too: see `cgroup::places`.
    pub cgroups: Vec<PathBuf>,
    /// Its environment, complete.
    pub environment: Vec<(String, String)>,
    /// Its working directory in the sandbox.
    pub directory: PathBuf,
    /// The command and its arguments.
    pub command: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// Bits of [`ThreadNameSpaceType`].
    namespaces: u32,
    /// Whether the target's pid namespace is another one.
    pids: bool,
    entry: Entry,
}

/// Runs a command in the mount, UTS, IPC, network and pid namespaces of a process, with the
/// caller's standard streams. Returns when the command runs.
///
/// # Errors
/// That the process has ended, or is another one than was meant; or as [`Launched::release`].
pub fn enter(target: ProcessIdentity, entry: &Entry) -> Result<Running, LaunchError> {
    let unreadable =
        |source| LaunchError::Unreadable { path: format!("/proc/{}", target.pid).into(), source };
    let process = Process::open(target).map_err(|error| match error {
        process::Error::Gone(pid) | process::Error::Replaced { pid, .. } => LaunchError::Gone { pid },
        error => unreadable(io::Error::other(error)),
    })?;
    let pids = differs(target.pid, "pid").map_err(unreadable)?;
    let mut namespaces = ThreadNameSpaceType::empty();
    for (name, namespace) in [
        ("mnt", ThreadNameSpaceType::MOUNT),
        ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        ("net", ThreadNameSpaceType::NETWORK),
    ] {
        // To enter what one is in already needs rights over it, and none are needed.
        if differs(target.pid, name).map_err(unreadable)? {
            namespaces |= namespace;
        }
    }
    let request = Request { namespaces: namespaces.bits(), pids, entry: entry.clone() };
    let input = io::stdin();
    let launched =
        Launched::begin(STAGE, &request, input.as_fd(), &[process.as_fd()], Output::Inherited, || Ok(()))?;
    cgroup::join(&entry.cgroups, launched.identity().pid);
    launched.release(&Files::default())
}

/// Whether a process is in another namespace of that kind than this program.
fn differs(pid: u32, kind: &str) -> io::Result<bool> {
    let theirs = fs::metadata(Path::new("/proc").join(pid.to_string()).join("ns").join(kind))?;
    let ours = fs::metadata(Path::new("/proc/self/ns").join(kind))?;
    Ok((theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()))
}

/// Runs the stage and returns the code to exit with when it did not become the command.
pub(super) fn main() -> i32 {
    run_stage(run)
}

fn run(channel: &mut Channel) -> Result<Infallible, Failure> {
    let (request, files): (Request, _) = match channel.receive_with() {
        Ok(Some(received)) => received,
        Ok(None) => return Err(Failure::step("go on", "who started this process has ended")),
        Err(error) => {
            stray("its standard input is not a socket of fairway's");
            return Err(Failure::step("read what to run", error));
        }
    };
    let [input, process] =
        files.try_into().map_err(|_| Failure::step("take over standard input", "none came"))?;
    take_input(input)?;
    let refused = |step: &str, errno| Failure::step(step, io::Error::from(errno));
    let mut namespaces = ThreadNameSpaceType::from_bits_retain(request.namespaces);
    if request.pids {
        // Of the children: this process itself stays outside.
        namespaces |= ThreadNameSpaceType::PROCESS_ID;
    }
    if !namespaces.is_empty() {
        move_into_thread_name_spaces(process.as_fd(), namespaces)
            .map_err(|errno| refused("enter the sandbox's namespaces", errno))?;
    }
    drop(process);
    // A process of the sandbox with CAP_SYS_PTRACE can write to each process that it sees: the one that it is going to see
    // has no more rights than the command before it is there. Without that capability it cannot look into this one.
    confine(request.entry.capabilities, request.entry.identity.as_ref())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| refused("shut out the sandbox's processes", errno))?;
    if let Some(process) = fork_sibling().map_err(|errno| refused("start a process in the sandbox", errno))? {
        tell(channel, &Report::Forked { pid: process.as_raw_pid().unsigned_abs() })?;
        std::process::exit(0);
    }
    let _: Files = channel
        .receive()
        .map_err(|error| Failure::step("read when to begin", error))?
        .ok_or_else(|| Failure::step("go on", "who started this process has ended"))?;
    tell(channel, &Report::Starting { notes: Vec::new() })?;
    let Entry { command, environment, directory, .. } = request.entry;
    become_command(&command, &environment, &directory, Become::Replaced)
}
