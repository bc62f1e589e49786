//! The World of the Docker matrix: d1 and d2 on the default bridge, u1 and u2 on a network, o1 on another.

use std::net::IpAddr;

use crate::topology::planned;
use fairway_core::plan::plan;
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice, World};
use fairway_model::Rng;
use fairway_model::{
    Backend, EndpointRequest, HostFacts, HostRoute, MacAddress, Namespace, PortRange, Protocol,
    PublishRequest, SandboxKind, SandboxOptions, Settings,
};
use fairway_ruleset::{Chain, Family, Table};
use fairway_walk::{Interface, Listener, NamespaceId, NetworkNamespace, Topology, add_interface};
use fairway_walk::{add_default_route, empty_namespace};

const HOST: &str = "10.10.50.99";
const LAN: &str = "10.10.50.1";

#[derive(Debug, Clone, Copy)]
pub struct DaemonFlags {
    pub iptables: bool,
    pub proxy: bool,
    pub bridge_netfilter: bool,
    pub route_localnet: bool,
    pub backend: Backend,
}

impl DaemonFlags {
    /// Docker's defaults.
    pub const DOCKER_DEFAULTS: Self = Self {
        iptables: true,
        proxy: true,
        bridge_netfilter: true,
        route_localnet: true,
        backend: Backend::Nftables,
    };

    /// Docker's defaults without the proxy: every published port is translated.
    pub const TRANSLATED: Self = Self { proxy: false, ..Self::DOCKER_DEFAULTS };
}

pub struct MatrixWorld {
    world: World,
    rng: Rng,
    mode: DaemonFlags,
}

fn publish(host: u16, container: u16) -> PublishRequest {
    PublishRequest {
        host_address: None,
        host_ports: Some(PortRange::single(host)),
        container_ports: PortRange::single(container),
        protocol: Protocol::Tcp,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listens(namespace: &mut NetworkNamespace, at: &str, port: u16) {
    namespace.listeners.push(Listener {
        protocol: 6,
        address: address(at),
        port,
        both_families: at == "::",
        interface: None,
        held: false,
        owner: "a server".to_owned(),
        proxy: None,
    });
}

impl MatrixWorld {
    pub fn new(mode: DaemonFlags) -> Self {
        let mut world = World::default();
        let mut rng = Rng::new(1);
        let mut apply = |command| world.apply(command, 0, &mut rng).unwrap();
        let settings = Settings {
            iptables: mode.iptables,
            backend: mode.backend,
            userland_proxy: mode.proxy,
            relay_user: Some(61_137),
            ..Settings::default()
        };
        let host = HostFacts {
            addresses: vec![HostRoute {
                destination: format!("{HOST}/24").parse().unwrap(),
                interface: "eth0".to_owned(),
            }],
            bridge_netfilter_ipv4: mode.bridge_netfilter,
            bridge_netfilter_ipv6: mode.bridge_netfilter,
            forwarding: (false, false),
            hostname: "host".to_owned(),
            ..HostFacts::default()
        };
        apply(Command::Configure { settings: Box::new(settings), host: Box::new(host) });
        for name in ["usr", "other"] {
            apply(Command::CreateNetwork(CreateNetwork {
                name: name.to_owned(),
                ..CreateNetwork::default()
            }));
        }
        let sandboxes = [
            ("d1", "bridge", Some(8080)),
            ("d2", "bridge", None),
            ("u1", "usr", Some(8081)),
            ("u2", "usr", None),
            ("o1", "other", None),
        ];
        for (number, (name, network, port)) in sandboxes.into_iter().enumerate() {
            let options = SandboxOptions {
                publish: port.map(|port| publish(port, 80)).into_iter().collect(),
                ..SandboxOptions::default()
            };
            let create = CreateSandbox {
                name: Some(name.to_owned()),
                kind: SandboxKind::Attached,
                network: NetworkChoice::Networks(vec![(network.to_owned(), EndpointRequest::default())]),
                options,
            };
            let namespace = Namespace { path: format!("/{name}"), device: 4, inode: number as u64 + 1 };
            apply(Command::Attach { create: Box::new(create), process: None, namespace: Some(namespace) });
        }
        Self { world, rng, mode }
    }

    /// Applies a further command.
    pub fn apply(&mut self, command: Command) {
        self.world.apply(command, 0, &mut self.rng).unwrap();
    }

    /// Adds a sandbox on a network.
    pub fn attach(&mut self, name: &str, network: &str) {
        let create = CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks(vec![(network.to_owned(), EndpointRequest::default())]),
            options: SandboxOptions::default(),
        };
        let inode = 100 + self.world.sandboxes().count() as u64;
        let namespace = Namespace { path: format!("/{name}"), device: 4, inode };
        self.apply(Command::Attach { create: Box::new(create), process: None, namespace: Some(namespace) });
    }

    /// The World.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The host, its sandboxes, and a neighbor on its LAN, which may have a route to the sandboxes.
    pub fn topology(&self, with_route: bool) -> Topology {
        let mut host = empty_namespace("host");
        host.bridge_netfilter = (self.mode.bridge_netfilter, self.mode.bridge_netfilter);
        let neighbor = self.world.sandboxes().count() + 1;
        let interface = |peer, own: &str, mac| Interface {
            index: 2,
            name: "eth0".to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, mac]),
            up: true,
            addresses: vec![format!("{own}/24").parse().unwrap()],
            peer: Some((NamespaceId(peer), 2)),
            ..Interface::default()
        };
        add_interface(&mut host, interface(neighbor, HOST, 1));
        add_default_route(&mut host, address(LAN), 2);
        listens(&mut host, "0.0.0.0", 8082);
        let mut topology = planned(&self.world, &plan(&self.world), host);
        if !self.mode.route_localnet {
            topology.namespaces[0]
                .interfaces
                .iter_mut()
                .for_each(|interface| interface.route_localnet = false);
        }
        for sandbox in &mut topology.namespaces[1..] {
            listens(sandbox, "::", 80);
        }
        let mut lan = empty_namespace("lan");
        add_interface(&mut lan, interface(0, LAN, 2));
        if with_route {
            add_default_route(&mut lan, address(HOST), 2);
        }
        listens(&mut lan, "0.0.0.0", 80);
        topology.namespaces.push(lan);
        topology
    }

    /// The random names of interfaces, each with a stable name.
    pub fn interfaces(&self) -> Vec<(String, String)> {
        let ports = self.world.endpoints().filter_map(|endpoint| {
            let sandbox = self.world.sandbox(endpoint.sandbox)?;
            Some((endpoint.allocation.as_ref()?.host_interface.clone(), format!("port-{}", sandbox.name)))
        });
        let bridges = self.world.networks().filter(|network| network.user_defined());
        ports.chain(bridges.map(|network| (network.bridge.clone(), format!("br-{}", network.name)))).collect()
    }

    /// The namespace where the request of a row is sent.
    pub fn origin(&self, topology: &Topology, group: &str, path: &str) -> NamespaceId {
        let usr = group == "USR";
        let name = match path.split("->").next().unwrap_or_default() {
            "host" => "host",
            "lan" => "lan",
            "self" if usr => "u1",
            "self" => "d1",
            "samenet" if usr => "u2",
            "samenet" => "d2",
            "othernet" => "o1",
            "usrnet" | "usr" => "u2",
            "dflnet" | "dfl" => "d2",
            other => panic!("unknown sender {other}"),
        };
        named(topology, name)
    }
}

/// The namespace of a topology with this name.
pub fn named(topology: &Topology, name: &str) -> NamespaceId {
    topology.iter().find(|(_, namespace)| namespace.name == name).unwrap().0
}

/// Adds a foreign table with one chain to a namespace.
pub fn add_table(topology: &mut Topology, to: NamespaceId, family: Family, name: &str, chain: Chain) {
    let mut table = Table::new(family, name);
    table.chains.push(chain);
    topology.namespaces[to.0].tables.push(table);
}
