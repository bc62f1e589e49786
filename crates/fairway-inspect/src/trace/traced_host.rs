//! What the filter of a trace needs to know of a host: its containers with their addresses and published ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::explain::Port;

/// A host on which packets are traced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TracedHost {
    /// The host's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The subnets of the networks of containers.
    pub subnets: Vec<IpNet>,
    /// The containers, and other network namespaces.
    pub containers: Vec<TracedContainer>,
    /// The connections that userland proxies make.
    pub proxied: Vec<Proxied>,
    /// Whether bridged packets meet the IP hooks, for IPv4 and IPv6 (`bridge-nf-call-iptables`, `-ip6tables`).
    pub bridges_seen: (bool, bool),
}

/// A container of a [`TracedHost`], with those that share its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TracedContainer {
    /// The name of its namespace in texts.
    pub label: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it uses the host's namespace.
    pub on_host: bool,
    /// The addresses that it alone has.
    pub addresses: Vec<IpAddr>,
    /// The networks that it is on, by any name that its neighbors there have for them too.
    pub networks: BTreeSet<String>,
    /// Its published ports.
    pub published: Vec<PublishedPair>,
    /// The places of namespaces that its packets pass on their way to the host, as those of rootless engines do.
    pub behind: Vec<usize>,
}

/// A host port that leads to a port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedPair {
    /// The host address; unspecified means all addresses.
    pub host_address: IpAddr,
    /// The port of the host.
    pub host_port: Port,
    /// The port of the container; none if it is not known.
    pub container_port: Option<Port>,
}

/// An address and port that a userland proxy listens at, and the target of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// The protocol number.
    pub protocol: u8,
    /// Where the proxy listens; unspecified means all addresses.
    pub at: SocketAddr,
    /// Where it connects to.
    pub target: SocketAddr,
}

/// An end of a traced conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceEnd {
    /// Any address.
    Any,
    /// The host, by any of its addresses.
    Host,
    /// Neither the host nor an address of a container network.
    Outside,
    /// The container at this place of [`TracedHost::containers`].
    Container(usize),
    /// An address.
    Address(IpAddr),
}

/// The packets that a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceQuery {
    /// All packets from and to containers.
    All,
    /// Packets from and to an end; with a port, those to that port and the answers.
    One(TraceEnd, Option<Port>),
    /// Packets from the first end to the second, and the answers.
    Between(TraceEnd, TraceEnd, Option<Port>),
}
