//! The commands of engines, and what advice needs to know of their containers.

use std::net::{IpAddr, SocketAddr};

use fairway_model::shell::quote;
use fairway_model::{PortRange, Protocol};
use fairway_walk::NamespaceId;

/// The command line of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineWords {
    /// `docker`.
    Docker,
    /// `podman`.
    Podman,
    /// `fairway`.
    Fairway,
    /// `nerdctl`.
    Nerdctl,
    /// `kubectl`.
    Kubectl,
    /// An engine without such commands, or none.
    Other,
}

/// A network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNetwork {
    /// Its name.
    pub name: String,
    /// The addresses of the container there.
    pub addresses: Vec<IpAddr>,
}

/// Published ports of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The address of the host; unspecified for all.
    pub host_address: IpAddr,
    /// The ports of the host.
    pub host_ports: PortRange,
    /// The port of the container that the first one leads to.
    pub container_port: Option<u16>,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownContainer {
    /// The command line of its engine.
    pub engine: EngineWords,
    /// Its engine in words, with the user of a rootless one.
    pub engine_name: String,
    /// Its name for the commands of its engine.
    pub name: String,
    /// Its namespace, by place in the topology.
    pub namespace: Option<NamespaceId>,
    /// Its networks.
    pub networks: Vec<KnownNetwork>,
    /// Its published ports.
    pub ports: Vec<KnownPort>,
}

impl KnownContainer {
    /// Whether it is on a network.
    pub(super) fn is_on(&self, network: &str) -> bool {
        self.networks.iter().any(|it| it.name == network)
    }

    /// The place on the host that leads to a port of it; one at which other hosts reach it first.
    pub(super) fn published_at(&self, protocol: u8, port: u16) -> Option<SocketAddr> {
        let at = |it: &KnownPort| {
            let offset = port.checked_sub(it.container_port?)?;
            let host =
                it.host_ports.first.checked_add(offset).filter(|host| it.host_ports.contains(*host))?;
            (it.protocol.number() == protocol).then(|| SocketAddr::new(it.host_address, host))
        };
        self.ports.iter().filter_map(at).min_by_key(|it| (it.ip().is_loopback(), it.is_ipv6()))
    }

    /// Where a port of the host leads to it.
    pub(super) fn publishes(&self, protocol: u8, port: u16) -> Option<SocketAddr> {
        let own =
            self.ports.iter().find(|it| it.protocol.number() == protocol && it.host_ports.contains(port))?;
        Some(SocketAddr::new(own.host_address, port))
    }
}

impl EngineWords {
    /// The command that connects a container to a network, if there is one.
    pub(super) fn connect(self, network: &str, container: &str) -> Option<String> {
        let (network, container) = (quote(network), quote(container));
        match self {
            Self::Docker => Some(format!("docker network connect {network} {container}")),
            Self::Podman => Some(format!("podman network connect {network} {container}")),
            Self::Fairway => Some(format!("fairway network connect {network} {container}")),
            Self::Nerdctl | Self::Kubectl | Self::Other => None,
        }
    }

    /// How to publish a port of a container.
    pub(super) fn publish(self, container: &str, port: u16, protocol: Option<Protocol>) -> String {
        let suffix = match protocol {
            Some(Protocol::Tcp) | None => String::new(),
            Some(other) => format!("/{other}"),
        };
        let name = quote(container);
        let again = |program: &str| {
            format!(
                "its port {port} is not published, and {program} publishes ports only as it makes a container: {program} rm -f {name} && {program} run -p {port}:{port}{suffix} --name {name} ..., and ask the host's address"
            )
        };
        match self {
            Self::Docker => again("docker"),
            Self::Podman => again("podman"),
            Self::Nerdctl => again("nerdctl"),
            Self::Fairway => {
                format!("fairway publish {name} {port}:{port}{suffix}, and use the host's address")
            }
            Self::Kubectl => {
                format!("make a service of it: kubectl expose pod POD --port={port} --type=NodePort")
            }
            Self::Other => format!("publish its port {port} by the program that made it"),
        }
    }

    /// The command that publishes a port of a container that is still to be made.
    pub(super) fn publish_any(self, port: u16) -> Option<String> {
        match self {
            Self::Docker => Some(format!("docker run -p {port}:PORT ...")),
            Self::Podman => Some(format!("podman run -p {port}:PORT ...")),
            Self::Nerdctl => Some(format!("nerdctl run -p {port}:PORT ...")),
            Self::Fairway => Some(format!("fairway publish CONTAINER {port}:PORT")),
            Self::Kubectl | Self::Other => None,
        }
    }

    /// Whether the engine makes rules for what may be forwarded to its containers.
    pub(super) fn filters_forwarding(self) -> bool {
        matches!(self, Self::Docker | Self::Fairway)
    }
}
