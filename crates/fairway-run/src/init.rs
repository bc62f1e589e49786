//! The stage that makes a sandbox around itself and then becomes the sandbox's command.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use fairway_kernel::system::{self, inherit};
use rustix::fs::Mode;
use rustix::thread::{
    CapabilitySets, LinkNameSpaceType, UnshareFlags, clear_ambient_capability_set, move_into_link_name_space,
    remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::program::{Become, become_command};
use super::user::become_user;
use super::{CapabilitySet, Failure, Files, Identity, Launch, NetworkNamespace, mounts, root};

/// The first argument that starts this program as this stage.
pub(super) const STAGE: &str = "sandbox-init";

/// The messages of a stage to its starter. After [`Report::Starting`] the channel ends when the command
/// has taken the stage's place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The namespaces are there.
    Ready,
    /// The namespaces are entered, and another child of the starter goes on in the stage's place.
    Forked {
        /// Its number.
        pid: u32,
    },
    /// All is done but to become the command; what the user should know is with it.
    Starting {
        /// What is not as it should be, and why.
        notes: Vec<String>,
    },
    /// It cannot be.
    Failed(Failure),
}

/// Runs the stage and returns the code to exit with when it did not become the command.
pub(super) fn main() -> i32 {
    run_stage(run)
}

/// Runs a stage that becomes the command, and reports to its starter if it cannot.
pub(super) fn run_stage(run: impl FnOnce(&mut Channel) -> Result<Infallible, Failure>) -> i32 {
    let mut channel = match Channel::of_stage() {
        Ok(channel) => channel,
        Err(error) => return stray(&error.to_string()),
    };
    let Err(failure) = run(&mut channel);
    let code = failure.exit_code();
    // There is no receiver when the starter has gone.
    let _ = channel.send(&Report::Failed(failure));
    code
}

/// Reports that a user typed the name of a stage.
pub(super) fn stray(reason: &str) -> i32 {
    eprintln!("fairway: this command is for fairway's own use: {reason}");
    125
}

/// Takes over the standard input that came with the first message.
pub(super) fn take_input(input: impl AsFd) -> Result<(), Failure> {
    rustix::stdio::dup2_stdin(input)
        .map_err(|errno| Failure::step("take over standard input", io::Error::from(errno)))
}

fn run(channel: &mut Channel) -> Result<Infallible, Failure> {
    let (launch, files): (Launch, _) = match channel.receive_with() {
        Ok(Some(received)) => received,
        Ok(None) => return Err(gone()),
        Err(error) => {
            stray("its standard input is not a socket of fairway's");
            return Err(Failure::step("read what to start", error));
        }
    };
    let [input] = files.try_into().map_err(|_| Failure::step("take over standard input", "none came"))?;
    take_input(input)?;
    if launch.terminal.is_some() {
        take_terminal().map_err(|error| Failure::step("take over the terminal", error))?;
    }

    namespaces(&launch)?;
    rustix::system::sethostname(launch.hostname.as_bytes()).map_err(|errno| {
        Failure::step(format!("set the host name \"{}\"", launch.hostname), io::Error::from(errno))
    })?;
    tell(channel, &Report::Ready)?;

    // What follows goes on while the network is being connected. A failure waits for that too: it would seem to be one of
    // the network, whose namespace ends with this process.
    let mut notes = Vec::new();
    let view = mounts::private_view(&launch, &mut notes);
    let files: Files = channel
        .receive()
        .map_err(|error| Failure::step("read which files to use", error))?
        .ok_or_else(gone)?;
    mounts::personal_files(&files, view?, &launch.hidden, &mut notes)?;
    if launch.root.is_some() {
        root::make_directory(&launch.directory).map_err(|error| {
            Failure::step(format!("make the working directory {}", launch.directory.display()), error)
        })?;
    }
    confine(launch.capabilities, launch.identity.as_ref())?;
    tell(channel, &Report::Starting { notes })?;
    let mut close = || channel.close();
    let how = if launch.init { Become::Init(&mut close) } else { Become::Replaced };
    become_command(&launch.command, &launch.environment, &launch.directory, how)
}

fn gone() -> Failure {
    Failure::step("go on", "who started this process has ended")
}

pub(super) fn tell(channel: &mut Channel, report: &Report) -> Result<(), Failure> {
    channel.send(report).map_err(|error| Failure::step("report the progress of the start", error))
}

fn namespaces(launch: &Launch) -> Result<(), Failure> {
    let mut new = UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
    match &launch.network {
        NetworkNamespace::New => new |= UnshareFlags::NEWNET,
        NetworkNamespace::Caller => {}
        NetworkNamespace::Join(path) => File::open(path)
            .and_then(|namespace| {
                Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
            })
            .map_err(|error| {
                Failure::step(format!("join the network namespace {}", path.display()), error)
            })?,
    }
    system::unshare(new).map_err(|errno| Failure::step("make namespaces", io::Error::from(errno)))
}

/// Makes the input the terminal of a session of this process, so that its keys are signals (setsid(2), ioctl_tty(2)).
///
/// # Errors
/// The input is no terminal, or this process leads a process group.
pub fn take_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(io::stdin())?)
}

/// Leaves the command this user, these capabilities and nothing else of this program's: no open files, and
/// signals as in a process that was started by no particular program.
///
/// A command that is executed by root gets what is in the bounding set, and that of another user nothing
/// (capabilities(7), "Capabilities and execution of programs by root").
pub(super) fn confine(capabilities: CapabilitySet, identity: Option<&Identity>) -> Result<(), Failure> {
    let refused = |step: &str, errno| Failure::step(step, io::Error::from(errno));
    rustix::process::umask(Mode::from_raw_mode(0o022));
    inherit::reset_signals(1..=64);
    inherit::unblock_signals().map_err(|errno| refused("free the signals", errno))?;
    // Before Linux 5.11 the files that our caller left open to us stay open, as its own affair.
    let _ = inherit::close_on_exec_from(3);
    let mut kept = rustix::thread::CapabilitySet::empty();
    for number in 0..u64::BITS {
        let capability = rustix::thread::CapabilitySet::from_bits_retain(1 << number);
        let known = match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(there) => there,
            // The kernel knows no capability of this number, nor of a higher one.
            Err(_) => break,
        };
        if known && capabilities.contains(number) {
            kept |= capability;
        } else if known {
            remove_capability_from_bounding_set(capability)
                .map_err(|errno| refused("give up capabilities", errno))?;
        }
    }
    clear_ambient_capability_set().map_err(|errno| refused("clear the ambient capabilities", errno))?;
    if let Some(identity) = identity {
        let step = format!("become user {}:{}", identity.user, identity.group);
        become_user(identity).map_err(|errno| refused(&step, errno))?;
    }
    let held = rustix::thread::capabilities(None)
        .map_err(|errno| refused("read the capabilities", errno))?
        .permitted
        & kept;
    let sets = CapabilitySets {
        effective: held,
        permitted: held,
        inheritable: rustix::thread::CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(|errno| refused("set the capabilities", errno))
}
