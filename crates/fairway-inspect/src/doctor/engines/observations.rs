//! The observed state of a host with containers of any engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use fairway_model::Protocol;
use fairway_walk::{Interface, NetworkNamespace};
use ipnet::IpNet;

use crate::conflict::ForeignTable;
use crate::explain::{EngineWords, KnownContainer};

/// A container of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineContainer {
    /// Its name with its engine: `docker:web`.
    pub name: String,
    /// Its engine, networks, addresses and published ports.
    pub known: KnownContainer,
    /// Whether it runs.
    pub running: bool,
    /// Whether it has a namespace of its own, which is neither the host's nor another container's.
    pub own_namespace: bool,
    /// The name servers of its resolv.conf on loopback at which no socket listens.
    pub dead_name_servers: Vec<IpAddr>,
}

/// A network in the configuration of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredNetwork {
    /// The engine: `podman`, `CNI`.
    pub engine: &'static str,
    /// The name of the network.
    pub name: String,
    /// The file that configures the network.
    pub file: String,
    /// The name of its bridge.
    pub bridge: Option<String>,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
}

/// A process that forwards a published port of Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerProxy {
    /// The process.
    pub pid: u32,
    /// The protocol.
    pub protocol: Protocol,
    /// The address and port of the host.
    pub host: SocketAddr,
    /// The address and port of the container.
    pub container: SocketAddr,
}

/// A tracked UDP flow with a translated destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpFlow {
    /// The address and port of the sender.
    pub source: SocketAddr,
    /// The address and port that it sends to.
    pub destination: SocketAddr,
    /// The address and port that its packets go to.
    pub target: SocketAddr,
}

/// The observed state of a host with containers of any engine.
#[derive(Debug, Clone, Default)]
pub struct EngineObservations {
    /// Checks that cannot be carried out, by identifier, each with the reason.
    pub not_examined: BTreeMap<&'static str, String>,
    /// The host's own namespace: interfaces, routes and rules.
    pub host: NetworkNamespace,
    /// The MTUs of the host's interfaces, in bytes, by index.
    pub mtus: BTreeMap<u32, u32>,
    /// The interface indexes of Fairway's own bridges.
    pub own_bridges: BTreeSet<u32>,
    /// The containers of all engines.
    pub containers: Vec<EngineContainer>,
    /// The networks in the configurations of engines.
    pub networks: Vec<ConfiguredNetwork>,
    /// The addresses of all interfaces in all namespaces, and those that engines have recorded for running containers.
    pub held: BTreeSet<IpAddr>,
    /// The docker-proxy processes of the host's namespace.
    pub proxies: Vec<DockerProxy>,
    /// The tracked UDP flows with a translated destination.
    pub flows: Vec<UdpFlow>,
    /// The mounted namespaces of engines that have neither a process nor a container.
    pub unused_namespaces: Vec<String>,
    /// Whether new flows get a conntrack helper by their port alone (`nf_conntrack_helper`); none where the kernel has no
    /// such setting.
    pub automatic_helpers: Option<bool>,
}

/// A bridge of the host with addresses.
#[derive(Debug, Clone)]
pub(super) struct Bridge<'a> {
    /// Its interface.
    pub interface: &'a Interface,
    /// The engine that made it, as far as its name or its containers show.
    pub engine: Option<EngineWords>,
    /// The number of its ports.
    pub ports: usize,
    /// Whether a port is a virtual machine's.
    pub has_machines: bool,
}

impl Bridge<'_> {
    /// Its subnets.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> {
        let usable = |it: &&IpNet| !it.addr().is_loopback() && !is_link_local(it.addr());
        self.interface.addresses.iter().filter(usable).map(IpNet::trunc)
    }

    /// Whether an address is in one of its subnets.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.subnets().any(|subnet| subnet.contains(&address))
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The engine that gives bridges such a name.
fn engine_of_name(name: &str) -> Option<EngineWords> {
    let is_number = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_digit()))
    };
    let is_hexadecimal =
        |rest: &str| rest.len() == 12 && rest.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    match name {
        "docker0" | "docker_gwbridge" => Some(EngineWords::Docker),
        "cni-podman0" => Some(EngineWords::Podman),
        "lxcbr0" | "lxdbr0" | "incusbr0" => Some(EngineWords::Other),
        "cbr0" => Some(EngineWords::Kubectl),
        _ if name.strip_prefix("br-").is_some_and(is_hexadecimal) => Some(EngineWords::Docker),
        _ if is_number("podman") || is_number("cni-podman") => Some(EngineWords::Podman),
        _ if is_number("nerdctl") => Some(EngineWords::Nerdctl),
        _ if is_number("cni") => Some(EngineWords::Kubectl),
        _ => None,
    }
}

impl EngineObservations {
    /// The bridges with addresses that are not Fairway's.
    pub(super) fn bridges(&self) -> Vec<Bridge<'_>> {
        let interfaces = self.host.interfaces.iter();
        let foreign = interfaces.filter(|it| it.kind == "bridge" && !self.own_bridges.contains(&it.index));
        let bridges = foreign.map(|interface| {
            let ports: Vec<&Interface> =
                self.host.interfaces.iter().filter(|it| it.bridge == Some(interface.index)).collect();
            let mut bridge = Bridge {
                interface,
                engine: engine_of_name(&interface.name),
                ports: ports.len(),
                has_machines: ports.iter().any(|it| it.kind == "tun"),
            };
            let of_container = self.on_bridge(&bridge).map(|(container, _)| container.known.engine).next();
            bridge.engine = bridge.engine.or(of_container);
            bridge
        });
        // A bridge that the uplink is a port of is the host's own.
        let uplink = self.uplink().map(|it| it.index);
        let is_inner = |it: &Bridge<'_>| Some(it.interface.index) != uplink;
        bridges.filter(|bridge| is_inner(bridge) && bridge.subnets().next().is_some()).collect()
    }

    /// The bridges that an engine made.
    pub(super) fn engine_bridges(&self) -> Vec<Bridge<'_>> {
        self.bridges().into_iter().filter(|bridge| bridge.engine.is_some()).collect()
    }

    /// The running containers on a bridge, each with the name of its network there.
    pub(super) fn on_bridge<'a>(
        &'a self,
        bridge: &Bridge<'_>,
    ) -> impl Iterator<Item = (&'a EngineContainer, &'a str)> + use<'a> {
        let subnets: Vec<IpNet> = bridge.subnets().collect();
        let running =
            self.containers.iter().filter(|it| it.running && it.known.engine != EngineWords::Fairway);
        running.filter_map(move |container| {
            let is_there = |address: &IpAddr| subnets.iter().any(|subnet| subnet.contains(address));
            let network = container.known.networks.iter().find(|it| it.addresses.iter().any(is_there))?;
            Some((container, network.name.as_str()))
        })
    }

    /// The name of the network of a bridge, as its containers or the configuration have it.
    pub(super) fn network_of(&self, bridge: &Bridge<'_>) -> Option<String> {
        let of_container = self.on_bridge(bridge).map(|(_, network)| network.to_owned()).next();
        of_container.or_else(|| {
            let named = self.networks.iter().find(|it| it.bridge.as_ref() == Some(&bridge.interface.name));
            named.map(|it| it.name.clone())
        })
    }

    /// The interface of the IPv4 default route of the main table with the lowest metric.
    pub(super) fn uplink(&self) -> Option<&Interface> {
        const MAIN: u32 = 254;
        let is_default = |it: &&fairway_walk::Route| {
            it.table == MAIN && it.destination.prefix_len() == 0 && it.destination.addr().is_ipv4()
        };
        let best = self.host.routes.iter().filter(is_default).min_by_key(|it| it.metric)?;
        self.host.interface(best.interface)
    }

    /// The tables of other programs, of nf_tables and of iptables-legacy.
    pub(super) fn tables(&self) -> impl Iterator<Item = ForeignTable> {
        let of = |legacy| {
            move |table: &fairway_ruleset::Table| {
                ForeignTable { table: table.clone(), legacy, owned: table.flags.owner }
                    .with_own_rules_allowed()
            }
        };
        let ours = fairway_core::policy::TABLE;
        let foreign = self.host.tables.iter().filter(move |table| table.name != ours);
        foreign.map(of(false)).chain(self.host.iptables_legacy.iter().map(of(true)))
    }
}
