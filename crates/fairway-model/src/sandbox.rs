//! Sandboxes: network namespaces with a resolv.conf, a hosts file and a name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{ProcessOptions, Protocol, Publication, PublishRequest, RestartPolicy, SandboxId};

/// A process, identified by process id and start time, since the kernel reuses process ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process id in the daemon's PID namespace.
    pub pid: u32,
    /// The start time in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
    pub start_time: u64,
}

/// A network namespace: the path to open it, and its identity by device and inode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The path: `/proc/PID/ns/net` or a bind mount.
    pub path: String,
    /// The device number of nsfs.
    pub device: u64,
    /// The inode number in nsfs.
    pub inode: u64,
}

impl Namespace {
    /// What it is the same by, whichever path leads to it: device and inode (nsfs, `stat(2)`).
    pub const fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// The origin of a sandbox's namespace, which decides when the sandbox ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// `fairway run`: the namespace of a process that Fairway started.
    Run,
    /// `fairway attach`: an existing namespace; the sandbox ends with its process or path.
    Attached,
    /// `fairway sandbox create`: a namespace that Fairway bind-mounts at `/run/netns/NAME`.
    Created,
    /// A container of Docker Engine on networks of Fairway's plugin: dockerd makes the namespace, moves the links there
    /// and configures them. The sandbox ends with its last endpoint.
    Docker,
}

/// The network mode of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A namespace of its own, with endpoints.
    Private,
    /// The host's namespace.
    Host,
    /// A namespace of its own with loopback only, without endpoints.
    None,
    /// The namespace of another sandbox.
    Shared(SandboxId),
}

/// Where the resolver of a sandbox answers, in its namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResolverAddresses {
    /// At 127.0.0.11, as Docker's.
    #[default]
    One,
    /// At [`ResolverAddresses::RANGE`]: an engine that writes resolv.conf itself has an address for each network, and
    /// removes it from the file with the network.
    Range,
}

impl ResolverAddresses {
    /// The range. Its first address is that of the resolver's sockets.
    pub const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 64), 26);

    /// The address of the range with a number; the last one for numbers beyond it.
    pub fn of_range(number: u8) -> Ipv4Addr {
        let [a, b, c, d] = Self::RANGE.addr().octets();
        Ipv4Addr::new(a, b, c, d + number.min(63))
    }
}

impl fmt::Display for ResolverAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("127.0.0.11"),
            Self::Range => Self::RANGE.fmt(f),
        }
    }
}

/// The options that a sandbox was created with. The engine does not interpret `command`, `environment`, `directory`,
/// `labels`, `image` and the capabilities; they are stored for the next start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxOptions {
    /// `--hostname`; empty means the short id.
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
    /// Whether the engine that made the container holds the host ports of `publish`, as podman does: then none is bound
    /// here, and the firewall alone translates.
    #[serde(default)]
    pub ports_held_by_engine: bool,
    /// Where the resolver answers.
    #[serde(default)]
    pub resolver_addresses: ResolverAddresses,
    /// `--publish-all`: each exposed port at a random host port.
    pub publish_all: bool,
    /// `--rm`.
    pub auto_remove: bool,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `--env`, each `NAME=VALUE`.
    pub environment: Vec<String>,
    /// `--workdir`; empty means `/`.
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
    /// `--log-opt`, with defaults from the daemon's `--log-opt`.
    #[serde(default)]
    pub log_options: BTreeMap<String, String>,
    /// The image that a Docker client specified; displayed only.
    #[serde(default)]
    pub image: String,
    /// `--tty`: whether a detached command has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// How the command runs.
    #[serde(default)]
    pub process: ProcessOptions,
}

/// The state of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// Created and not started.
    Created,
    /// Running: the namespace exists.
    Running {
        /// The process of the namespace, if one is known.
        process: Option<ProcessIdentity>,
        /// The namespace; none in host mode, and until a namespace that dockerd makes is known.
        namespace: Option<Namespace>,
        /// The time of the start, in nanoseconds since 1970.
        since: i64,
    },
    /// Exited: the process ended or the namespace was removed.
    Exited {
        /// The exit code; 255 if unknown.
        code: i32,
        /// The time of the exit, in nanoseconds since 1970.
        at: i64,
    },
}

/// A network namespace with its resolv.conf, hosts file and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The identifier.
    pub id: SandboxId,
    /// The name, unique on the host.
    pub name: String,
    /// The time of creation, in nanoseconds since 1970.
    pub created: i64,
    /// The origin of the namespace.
    pub kind: SandboxKind,
    /// The network mode.
    pub mode: NetworkMode,
    /// The name of the first network that it was created on, which Docker's clients see as its network mode; empty for one
    /// that is not of `fairway run`, or of an earlier version.
    #[serde(default)]
    pub first_network: String,
    /// The options.
    pub options: SandboxOptions,
    /// The state.
    pub state: SandboxState,
    /// The published ports; empty while the sandbox does not run.
    pub publications: Vec<Publication>,
    /// Whether the running sandbox has been on a user-defined network: its resolv.conf then keeps the address of the
    /// embedded resolver, as in Docker.
    pub resolver: bool,
    /// The names of networks that were removed while the stopped sandbox was connected to them.
    #[serde(default)]
    pub removed_networks: Vec<String>,
    /// Whether a user stopped the sandbox since its last start: its restart policy does not start it again.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// How often its restart policy started the sandbox since a user did.
    #[serde(default)]
    pub restarts: u32,
    /// The time of the last start, in nanoseconds since 1970; none before the first.
    #[serde(default)]
    pub last_start: Option<i64>,
    /// The time of the last exit, in nanoseconds since 1970; none before the first.
    #[serde(default)]
    pub last_exit: Option<i64>,
    /// Whether the kernel killed one of its processes for lack of memory, since the last start.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why the last start failed; empty if it did not.
    #[serde(default)]
    pub start_error: String,
}

/// The label of a sandbox with the name of the engine whose container it is: `podman`, `docker`, `cni` or `oci`.
pub const ENGINE_LABEL: &str = "io.fairway.engine";

impl Sandbox {
    /// The engine whose container the sandbox is, if it is another program's.
    pub fn engine(&self) -> Option<&str> {
        self.options.labels.get(ENGINE_LABEL).map(String::as_str)
    }

    /// Whether the sandbox runs.
    pub fn running(&self) -> bool {
        matches!(self.state, SandboxState::Running { .. })
    }

    /// The namespace of a running sandbox; none in host mode, and until a namespace that dockerd makes is known.
    pub fn namespace(&self) -> Option<&Namespace> {
        match &self.state {
            SandboxState::Running { namespace, .. } => namespace.as_ref(),
            _ => None,
        }
    }

    /// The process of a running sandbox, if one is known.
    pub fn process(&self) -> Option<ProcessIdentity> {
        match &self.state {
            SandboxState::Running { process, .. } => *process,
            _ => None,
        }
    }

    /// Whether the sandbox runs, or waits to be restarted: both are running in Docker's terms.
    pub fn runs_or_restarts(&self) -> bool {
        self.running() || self.is_restarting()
    }

    /// Whether the restart policy starts the sandbox again, whose command has ended.
    pub fn is_restarting(&self) -> bool {
        self.ended_with(|restart, code| restart.restarts_after(code, self.restarts, self.stopped_by_user))
    }

    /// Whether the restart policy starts the sandbox, whose command has ended, with the daemon.
    pub fn starts_with_daemon(&self) -> bool {
        self.ended_with(|restart, code| restart.starts_with_daemon(code, self.restarts, self.stopped_by_user))
    }

    fn ended_with(&self, is_started: impl FnOnce(RestartPolicy, i32) -> bool) -> bool {
        self.exit_code().is_some_and(|code| is_started(self.options.process.restart, code))
    }

    /// The exit code, if the sandbox has exited.
    pub fn exit_code(&self) -> Option<i32> {
        match self.state {
            SandboxState::Exited { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The host name: as requested, or the short id.
    pub fn hostname(&self) -> String {
        if self.options.hostname.is_empty() { self.id.short() } else { self.options.hostname.clone() }
    }
}
