//! The processes of sandboxes: how `fairway run`, `start`, `exec`, `logs` and `stop` start, enter,
//! record and end them. This crate knows nothing of the daemon.
//!
//! A process is started in two phases, because its network must be there before its command is:
//! [`launch`] makes a process in new namespaces, which waits; the caller reads its
//! [`identity`](Launched::identity) and [`namespace`](Launched::namespace), has the namespace
//! connected, and then [releases](Launched::release) the process, which becomes the command, or
//! drops it, which ends it. It ends too when its starter does before the release. [`detach`] does
//! the same through a supervisor, a process that outlives its starter, and the daemon too.
//!
//! Between fork and exec this program runs itself again as a *stage* ([`stage`]), so that all of
//! it is ordinary single-threaded code instead of what may be done after a fork:
//!
//! ```text
//! fairway run ----------------------------- sandbox-init, then the command (pid 1 of its own)
//! fairway run -d ---- sandbox-supervise --- sandbox-init, then the command
//! fairway exec ---------------------------- sandbox-enter, then the command
//! ```
//!
//! As in Docker, the command itself is process 1 of its namespace: it is not ended by a signal
//! that it has no handler for, SIGKILL apart.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests run programs"))]

mod attachment;
mod capability;
pub mod cgroup;
mod channel;
mod enter;
mod environment;
mod etc;
mod failure;
mod init;
mod launch;
mod log;
mod mounts;
mod program;
mod reaper;
mod root;
mod running;
mod streams;
mod supervisor;
mod user;

use std::ffi::{CStr, OsString};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use attachment::{attach, resize};
pub use capability::{CapabilitySet, UnknownCapability};
pub use enter::{Entry, enter};
pub use environment::{environment, home};
pub use failure::{Failure, LaunchError};
pub use init::take_terminal;
pub use launch::{Launched, launch};
pub use log::{LogError, LogOptions, print_log};
pub use running::Running;
pub use supervisor::{Detached, Ending, Order, detach};
pub use user::{Identity, User, UserError, find_user};

/// The network namespace of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkNamespace {
    /// A new one, in which even loopback is down.
    #[default]
    New,
    /// That of the caller: `--network host`.
    Caller,
    /// The one that a path names: `--network container:NAME`.
    Join(PathBuf),
}

/// The description of a process, complete before its namespaces exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// In which network namespace.
    pub network: NetworkNamespace,
    /// The host name of its UTS namespace.
    pub hostname: String,
    /// What it may do: see [`CapabilitySet::choose`].
    pub capabilities: CapabilitySet,
    /// The directory that is its root; none means the host's.
    pub root: Option<PathBuf>,
    /// As which user; none means as the caller.
    pub identity: Option<Identity>,
    /// Whether the first process is this program, which reaps orphans.
    pub init: bool,
    /// The sysctls of its network namespace, by names such as `net.core.somaxconn`.
    pub sysctls: Vec<(String, String)>,
    /// Under a supervisor: the rows and columns of its terminal, 0 where they are unknown; none if it has no terminal.
    pub terminal: Option<[u16; 2]>,
    /// Under a supervisor: whether clients can write to its input.
    pub input: bool,
    /// Whether the input ends with the first client that ends its own.
    pub input_once: bool,
    /// Whether `/proc/sys`, `/sys` and what is masked for others is there and can be written.
    pub privileged: bool,
    /// Its environment, complete: see [`environment`].
    pub environment: Vec<(String, String)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The command and its arguments; the command is looked for in the `PATH` of the environment.
    pub command: Vec<String>,
    /// Directories and files that it must not see, such as the one with the daemon's socket. To
    /// hide a *file* holds only until a program removes and creates it again, as a daemon does with
    /// its socket when it starts: the kernel then takes away what was mounted on it. So let the
    /// socket be in a directory of its own and hide that.
    pub hidden: Vec<PathBuf>,
}

/// The files that a process sees in `/etc`, known once its network is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// What is to be `/etc/resolv.conf`; none leaves the host's.
    pub resolv_conf: Option<PathBuf>,
    /// What is to be `/etc/hosts`; none leaves the host's.
    pub hosts: Option<PathBuf>,
    /// What is to be `/etc/hostname`; none leaves the host's.
    pub hostname: Option<PathBuf>,
}

/// Runs the stage that this program was started as, if it was started as one, and returns the exit
/// code that it ends with. To be called first in `main`, before there is any other thread.
///
/// `arguments` are those of the program, its name included. `report` is called, in a supervisor,
/// with how the process ended: see [`Order::context`].
pub fn stage(
    mut arguments: impl Iterator<Item = OsString>,
    report: impl FnOnce(&str, Ending),
) -> Option<i32> {
    // Named, for a program that was executed by /proc/self/exe is called "exe".
    match arguments.nth(1)?.to_str()? {
        init::STAGE => Some(named(c"fairway-init", init::main)),
        enter::STAGE => Some(named(c"fairway-exec", enter::main)),
        supervisor::STAGE => Some(named(c"fairway-superv", || supervisor::main(report))),
        _ => None,
    }
}

/// Runs what this process does under the name that ps(1) and ss(8) show, 15 bytes at most.
pub fn named<T>(name: &CStr, work: impl FnOnce() -> T) -> T {
    // Without it the process runs as well, under the name that it had.
    let _ = rustix::thread::set_name(name);
    work()
}
