//! A container as its engine's records describe it.

use std::fmt;
use std::net::IpAddr;

use fairway_model::{MacAddress, Namespace, PortRange, Protocol};

/// A program that runs containers, or another origin of a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// Fairway itself. Its sandboxes are in no list that this crate reads: the caller adds them.
    Fairway,
    /// Docker Engine.
    Docker {
        /// The user of a rootless daemon; none for that of root.
        user: Option<String>,
    },
    /// Podman.
    Podman {
        /// The user of rootless containers; none for those of root.
        user: Option<String>,
    },
    /// containerd, by `ctr` or nerdctl.
    Containerd {
        /// The namespace of containerd.
        namespace: String,
    },
    /// A runtime of Kubernetes: containerd or CRI-O. Its containers are pods and the containers of pods.
    Kubernetes,
    /// LXC.
    Lxc {
        /// The user of an unprivileged container; none for those of root.
        user: Option<String>,
    },
    /// systemd-nspawn.
    Nspawn,
    /// A namespace that `ip netns` names.
    NamedNamespace,
    /// A process that no engine is known for.
    Process,
}

impl Engine {
    /// The word before the colon in a qualified name, as in `docker:web`.
    pub const fn qualifier(&self) -> &'static str {
        match self {
            Self::Fairway => "fairway",
            Self::Docker { .. } => "docker",
            Self::Podman { .. } => "podman",
            Self::Containerd { .. } => "ctr",
            Self::Kubernetes => "pod",
            Self::Lxc { .. } => "lxc",
            Self::Nspawn => "machine",
            Self::NamedNamespace => "netns",
            Self::Process => "pid",
        }
    }

    /// What sets names of one program apart: the user of a rootless engine, the namespace of containerd.
    pub fn scope(&self) -> Option<&str> {
        match self {
            Self::Docker { user } | Self::Podman { user } | Self::Lxc { user } => user.as_deref(),
            Self::Containerd { namespace } => Some(namespace),
            _ => None,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Fairway => "fairway",
            Self::Docker { .. } => "docker",
            Self::Podman { .. } => "podman",
            Self::Containerd { .. } => "containerd",
            Self::Kubernetes => "kubernetes",
            Self::Lxc { .. } => "lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::NamedNamespace => "ip netns",
            Self::Process => "process",
        };
        match self.scope() {
            Some(scope) => write!(f, "{name} ({scope})"),
            None => f.write_str(name),
        }
    }
}

/// Whether a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs: its namespace exists.
    Running,
    /// Its processes are frozen: its namespace exists.
    Paused,
    /// It was not started yet.
    Created,
    /// It does not run.
    Exited,
}

impl State {
    /// Whether the namespace of the container exists.
    pub const fn exists(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Created => "created",
            Self::Exited => "exited",
        })
    }
}

/// Whose network namespace a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Its own.
    Own,
    /// Its own with loopback only.
    None,
    /// The host's.
    Host,
    /// That of another container, by id or name.
    Shared(String),
}

/// A network that a container is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// The interface in the container, if it is recorded.
    pub interface: Option<String>,
    /// The addresses, IPv4 and IPv6.
    pub addresses: Vec<IpAddr>,
    /// The MAC address, if it is recorded.
    pub mac: Option<MacAddress>,
}

/// Host ports that lead to ports of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The host address; unspecified (0.0.0.0 or ::) means all addresses of the family.
    pub host_address: IpAddr,
    /// The host ports.
    pub host_ports: PortRange,
    /// The container's port that the first host port leads to; none where no readable record has it.
    pub container_port: Option<u16>,
}

impl PublishedPort {
    /// Joins neighboring ports into ranges, sorted.
    pub fn join(mut ports: Vec<Self>) -> Vec<Self> {
        ports.sort_by_key(|it| (it.protocol, it.host_address, it.host_ports, it.container_port));
        ports.dedup();
        let mut joined: Vec<Self> = Vec::new();
        for port in ports {
            match joined.last_mut() {
                Some(last) if last.is_followed_by(&port) => last.host_ports.last = port.host_ports.last,
                _ => joined.push(port),
            }
        }
        joined
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        let length = self.host_ports.last - self.host_ports.first + 1;
        let container = self.container_port.map(|port| port.checked_add(length));
        self.protocol == next.protocol
            && self.host_address == next.host_address
            && self.host_ports.last.checked_add(1) == Some(next.host_ports.first)
            && container
                .map_or(next.container_port.is_none(), |port| port == next.container_port && port.is_some())
    }
}

impl fmt::Display for PublishedPort {
    /// As `docker ps` has it: `0.0.0.0:8080->80/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.host_ports)?,
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.host_ports)?,
        }
        if let Some(first) = self.container_port {
            let last = first.saturating_add(self.host_ports.last - self.host_ports.first);
            write!(f, "->{}", PortRange { first, last })?;
        }
        write!(f, "/{}", self.protocol)
    }
}

/// A container of an engine on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its engine.
    pub engine: Engine,
    /// Its names; the first is displayed.
    pub names: Vec<String>,
    /// Its identifier; empty where the engine has none.
    pub id: String,
    /// Whether it runs.
    pub state: State,
    /// Its first process, if it runs and has one.
    pub pid: Option<u32>,
    /// Its network namespace, if that exists and may be opened.
    pub namespace: Option<Namespace>,
    /// The names that `ip netns` has for its namespace.
    pub namespace_names: Vec<String>,
    /// Whose namespace it uses.
    pub mode: Mode,
    /// The networks that the engine's records name. A container may have others.
    pub attachments: Vec<Attachment>,
    /// Its published ports, as far as they are recorded.
    pub ports: Vec<PublishedPort>,
}

impl Container {
    /// A container that does not run, of which no more is known.
    pub const fn new(engine: Engine, names: Vec<String>, id: String) -> Self {
        Self {
            engine,
            names,
            id,
            state: State::Exited,
            pid: None,
            namespace: None,
            namespace_names: Vec::new(),
            mode: Mode::Own,
            attachments: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// The displayed name: the first one, or the identifier where there is none.
    pub fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.id)
    }

    /// The name with its engine, which no container of another engine has: `podman:alice/web`.
    pub fn qualified(&self) -> String {
        let scope = self.engine.scope().map(|scope| format!("{scope}/")).unwrap_or_default();
        format!("{}:{scope}{}", self.engine.qualifier(), self.name())
    }

    /// The recorded addresses, of all networks.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.attachments.iter().flat_map(|it| it.addresses.iter().copied())
    }

    /// The directory that is the root of the container's file system while it runs: below it are its resolv.conf and
    /// hosts file as it sees them. Links in there are the container's: open files with [`crate::open_inside`].
    pub fn file_system(&self) -> Option<String> {
        self.pid.map(|pid| format!("/proc/{pid}/root"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: u16, container: Option<u16>) -> PublishedPort {
        PublishedPort {
            protocol: Protocol::Tcp,
            host_address: IpAddr::from([0, 0, 0, 0]),
            host_ports: PortRange::single(host),
            container_port: container,
        }
    }

    #[test]
    fn neighboring_ports_are_ranges() {
        let joined = |ports: &[(u16, Option<u16>)]| {
            let ports = ports.iter().map(|(host, container)| port(*host, *container)).collect();
            PublishedPort::join(ports).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(joined(&[]), "");
        assert_eq!(joined(&[(8080, Some(80))]), "0.0.0.0:8080->80/tcp");
        assert_eq!(
            joined(&[(8081, Some(81)), (8080, Some(80)), (8082, Some(82))]),
            "0.0.0.0:8080-8082->80-82/tcp"
        );
        assert_eq!(
            joined(&[(8080, Some(80)), (8081, Some(80))]),
            "0.0.0.0:8080->80/tcp 0.0.0.0:8081->80/tcp"
        );
        assert_eq!(
            joined(&[(8080, None), (8081, None), (8083, None)]),
            "0.0.0.0:8080-8081/tcp 0.0.0.0:8083/tcp"
        );
        assert_eq!(joined(&[(8080, Some(80)), (8081, None)]), "0.0.0.0:8080->80/tcp 0.0.0.0:8081/tcp");
        assert_eq!(joined(&[(8080, Some(80)), (8080, Some(80))]), "0.0.0.0:8080->80/tcp");
        assert_eq!(
            joined(&[(65535, Some(65535)), (1, Some(1))]),
            "0.0.0.0:1->1/tcp 0.0.0.0:65535->65535/tcp"
        );
    }

    #[test]
    fn ports_of_other_protocols_and_addresses_are_not_joined() {
        let mut other = port(8081, Some(81));
        other.protocol = Protocol::Udp;
        assert_eq!(PublishedPort::join(vec![port(8080, Some(80)), other]).len(), 2);
        let mut other = port(8081, Some(81));
        other.host_address = "::".parse().unwrap();
        assert_eq!(other.to_string(), "[::]:8081->81/tcp");
        assert_eq!(PublishedPort::join(vec![port(8080, Some(80)), other]).len(), 2);
    }

    #[test]
    fn qualified_names_have_engine_and_scope() {
        let user = || Some("alice".to_owned());
        for (engine, qualified, displayed) in [
            (Engine::Fairway, "fairway:web", "fairway"),
            (Engine::Docker { user: None }, "docker:web", "docker"),
            (Engine::Docker { user: user() }, "docker:alice/web", "docker (alice)"),
            (Engine::Podman { user: None }, "podman:web", "podman"),
            (Engine::Podman { user: user() }, "podman:alice/web", "podman (alice)"),
            (
                Engine::Containerd { namespace: "default".to_owned() },
                "ctr:default/web",
                "containerd (default)",
            ),
            (Engine::Kubernetes, "pod:web", "kubernetes"),
            (Engine::Lxc { user: None }, "lxc:web", "lxc"),
            (Engine::Nspawn, "machine:web", "systemd-nspawn"),
            (Engine::NamedNamespace, "netns:web", "ip netns"),
            (Engine::Process, "pid:web", "process"),
        ] {
            assert_eq!(engine.to_string(), displayed);
            assert_eq!(Container::new(engine, vec!["web".to_owned()], String::new()).qualified(), qualified);
        }
    }

    #[test]
    fn a_container_without_a_name_is_called_by_its_identifier() {
        let container = Container::new(Engine::Docker { user: None }, Vec::new(), "abc".to_owned());
        assert_eq!((container.name(), container.qualified().as_str()), ("abc", "docker:abc"));
        assert_eq!(container.file_system(), None);
    }
}
