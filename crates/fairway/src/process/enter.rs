//! Running a command in the namespaces of a process that runs: `fairway exec`.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fairway_core::model::ProcessIdentity;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::init::{Report, confine, run_stage, stray, take_input, tell};
use super::launch::{Launched, Output};
use super::program::become_command;
use super::{CapabilitySet, Failure, Files, LaunchError, Running, identity};

/// How this program is told to be this stage.
pub(super) const STAGE: &str = "sandbox-enter";

/// What to run in a sandbox that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it may do: see [`CapabilitySet::choose`].
    pub capabilities: CapabilitySet,
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
    let process = identity::open(target).map_err(unreadable)?.ok_or(LaunchError::Gone { pid: target.pid })?;
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
    let request = Request { namespaces: namespaces.bits(), entry: entry.clone() };
    let files = [process];
    let enter_pids = || match pids {
        true => move_into_thread_name_spaces(files[0].as_fd(), ThreadNameSpaceType::PROCESS_ID),
        false => Ok(()),
    };
    let input = io::stdin();
    Launched::begin(STAGE, &request, input.as_fd(), &files, Output::Inherited, enter_pids)?
        .release(&Files::default())
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
    // The sandbox's processes see this one: they shall not look into it before it is one of them.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Failure::step("shut out the sandbox's processes", io::Error::from(errno)))?;
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
    let namespaces = ThreadNameSpaceType::from_bits_retain(request.namespaces);
    if !namespaces.is_empty() {
        move_into_thread_name_spaces(process.as_fd(), namespaces)
            .map_err(|errno| Failure::step("enter the sandbox's namespaces", io::Error::from(errno)))?;
    }
    tell(channel, &Report::Ready)?;
    let _: Files = channel
        .receive()
        .map_err(|error| Failure::step("read when to begin", error))?
        .ok_or_else(|| Failure::step("go on", "who started this process has ended"))?;
    confine(request.entry.capabilities)?;
    tell(channel, &Report::Starting { notes: Vec::new() })?;
    become_command(&request.entry.command, &request.entry.environment, &request.entry.directory)
}
