//! Sandboxes: network namespaces with names of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Protocol, Publication, PublishRequest, SandboxId};

/// Which process, not just which number: process ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process id as the daemon sees it.
    pub pid: u32,
    /// Its start, in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
    pub start_time: u64,
}

/// Which network namespace. The path says how to reach it, device and inode whether it is still it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Where it can be opened: `/proc/PID/ns/net` or a bind mount.
    pub path: String,
    /// The device number of nsfs.
    pub device: u64,
    /// The inode within nsfs.
    pub inode: u64,
}

/// Who keeps the sandbox's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// `fairway run`: a process that the command line or its supervisor started.
    Run,
    /// `fairway attach`: somebody else's namespace, gone when its process or path is.
    Attached,
    /// `fairway sandbox create`: a bind mount of ours, at `/run/netns/NAME`.
    Created,
}

/// What kind of network namespace a sandbox has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// One of its own, with endpoints.
    Private,
    /// The host's.
    Host,
    /// One of its own with loopback only, in which no endpoint may be.
    None,
    /// That of another sandbox.
    Shared(SandboxId),
}

/// What a sandbox was created with. The engine does not interpret `command`, `environment`,
/// `directory`, `labels`, `image` and the capabilities: they are kept for the next start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxOptions {
    /// `--hostname`; the short id when empty.
    pub hostname: String,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-opt`.
    pub dns_options: Vec<String>,
    /// `--add-host`: name and address; no address means `host-gateway`.
    pub extra_hosts: Vec<(String, Option<IpAddr>)>,
    /// `--expose`.
    pub exposed: Vec<(u16, Protocol)>,
    /// `--publish`.
    pub publish: Vec<PublishRequest>,
    /// `--publish-all`: each exposed port at a random host port.
    pub publish_all: bool,
    /// `--rm`.
    pub auto_remove: bool,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `--env`, each `NAME=VALUE`.
    pub environment: Vec<String>,
    /// `--workdir`; `/` when empty.
    #[serde(default)]
    pub directory: String,
    /// `--cap-add`.
    pub capabilities_added: Vec<String>,
    /// `--cap-drop`.
    pub capabilities_dropped: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--log-opt`, with the daemon's where it says nothing.
    #[serde(default)]
    pub log_options: BTreeMap<String, String>,
    /// The image that a client of Docker's named: shown, and not used.
    #[serde(default)]
    pub image: String,
}

/// Where a sandbox is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// Made, never started.
    Created,
    /// Its namespace exists.
    Running {
        /// The process that keeps it, if one does.
        process: Option<ProcessIdentity>,
        /// The namespace; none in host mode.
        namespace: Option<Namespace>,
        /// Nanoseconds since 1970.
        since: i64,
    },
    /// Its process ended or its namespace went.
    Exited {
        /// The exit code; 255 when nobody saw it.
        code: i32,
        /// Nanoseconds since 1970.
        at: i64,
    },
}

/// A network namespace with its resolv.conf, hosts file and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its identifier.
    pub id: SandboxId,
    /// Its name, unique on the host.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Who keeps its namespace.
    pub kind: SandboxKind,
    /// What namespace it has.
    pub mode: NetworkMode,
    /// What it was created with.
    pub options: SandboxOptions,
    /// Where it is in its life.
    pub state: SandboxState,
    /// The ports that are published for it now; none while it does not run.
    pub publications: Vec<Publication>,
    /// Whether it ever was on a network that resolves names: its resolv.conf then keeps naming
    /// our resolver, as in Docker.
    pub resolver: bool,
    /// The names of networks that it was on while it did not run, and that were removed meanwhile.
    #[serde(default)]
    pub removed_networks: Vec<String>,
}

impl Sandbox {
    /// Whether it runs.
    pub fn running(&self) -> bool {
        matches!(self.state, SandboxState::Running { .. })
    }

    /// Its namespace, while it runs in one of its own.
    pub fn namespace(&self) -> Option<&Namespace> {
        match &self.state {
            SandboxState::Running { namespace, .. } => namespace.as_ref(),
            _ => None,
        }
    }

    /// Its process, while it runs and one keeps it.
    pub fn process(&self) -> Option<ProcessIdentity> {
        match &self.state {
            SandboxState::Running { process, .. } => *process,
            _ => None,
        }
    }

    /// Its host name: as asked, or the short id.
    pub fn hostname(&self) -> String {
        if self.options.hostname.is_empty() { self.id.short() } else { self.options.hostname.clone() }
    }
}
