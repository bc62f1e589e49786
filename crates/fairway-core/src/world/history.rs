//! Random histories of commands, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{Change, Command, CreateNetwork, CreateSandbox, NetworkChoice, Record, RecordKey, Refusal};
use fairway_model::Draw;
use fairway_model::SubnetRequest;
use fairway_model::{
    Backend, DefaultBridge, EndpointRequest, HostFacts, HostRoute, Lease, LeaseRequest, MacAddress,
    Namespace, PacketMark, ParentFacts, PortRange, ProcessIdentity, Protocol, PublishRequest, SandboxKind,
    SandboxOptions, Settings, UnpublishRequest, Uplink, UplinkRoute,
};

/// Networks, and the last byte of the address that is asked for there.
type Places = Vec<(u8, Option<u8>)>;

/// One thing that a user does; small numbers name networks and sandboxes, so that they meet often.
#[derive(Debug, Clone)]
pub enum Step {
    Network {
        name: u8,
        ipv6: bool,
        internal: bool,
        icc: bool,
        subnet: Option<u8>,
        options: Vec<u8>,
        made: Made,
    },
    RemoveNetwork(u8),
    Held {
        network: u8,
        last: u8,
    },
    /// What became of the first lease that there is.
    Lease {
        lost: bool,
    },
    Sandbox {
        name: u8,
        networks: Places,
        ports: Vec<(Option<u8>, bool)>,
        kind: u8,
        links: Vec<u8>,
    },
    Start(u8),
    Stop(u8),
    Remove(u8),
    Connect {
        network: u8,
        sandbox: u8,
        address: Option<u8>,
        priority: i8,
    },
    Disconnect {
        network: u8,
        sandbox: u8,
    },
    Publish {
        sandbox: u8,
        ports: Vec<(Option<u8>, bool)>,
        wide: bool,
    },
    Unpublish {
        sandbox: u8,
        host: Option<u8>,
        container: Option<u8>,
        udp: bool,
        loopback: bool,
    },
    Settings {
        proxy: bool,
        firewall: (bool, bool, bool),
        masquerade: bool,
        forward: bool,
        bridged: bool,
        icc: bool,
        direct: bool,
        bridge: u8,
    },
}

/// How a network is made.
#[derive(Debug, Clone, Copy)]
pub enum Made {
    Bridge,
    /// A routed network, with peers or without.
    Routed(u8),
    /// A network that takes over the interface of that number.
    Lan(u8),
    /// A macvlan network: its parent, by number, or none; and whether its mode is passthru.
    Macvlan(Option<u8>, bool),
    Ptp,
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        4 => Just(Made::Bridge),
        2 => (0..3_u8).prop_map(Made::Routed),
        2 => (3..6_u8).prop_map(Made::Lan),
        1 => (prop::option::of(2..4_u8), prop::bool::weighted(0.2))
            .prop_map(|(parent, passthru)| Made::Macvlan(parent, passthru)),
        1 => Just(Made::Ptp),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    let small = || 0..5_u8;
    prop_oneof![
        2 => (
            small(), any::<bool>(), prop::bool::weighted(0.2), any::<bool>(), prop::option::of(0..4_u8),
            prop::collection::vec(0..NETWORK_OPTIONS.len() as u8, 0..4),
            made(),
        )
            .prop_map(|(name, ipv6, internal, icc, subnet, options, made)| Step::Network {
                name, ipv6, internal, icc, subnet, options, made
            }),
        1 => small().prop_map(Step::RemoveNetwork),
        1 => (small(), 0..4_u8).prop_map(|(network, last)| Step::Held { network, last }),
        1 => any::<bool>().prop_map(|lost| Step::Lease { lost }),
        3 => (
            small(),
            prop::collection::vec((small(), prop::option::of(0..8_u8)), 0..3),
            prop::collection::vec((prop::option::of(0..6_u8), any::<bool>()), 0..3),
            0..4_u8,
            prop::collection::vec(small(), 0..3),
        ).prop_map(|(name, networks, ports, kind, links)| Step::Sandbox {
            name, networks, ports, kind, links
        }),
        4 => small().prop_map(Step::Start),
        2 => small().prop_map(Step::Stop),
        1 => small().prop_map(Step::Remove),
        3 => (small(), small(), prop::option::of(0..8_u8), -1..2_i8).prop_map(
            |(network, sandbox, address, priority)| Step::Connect { network, sandbox, address, priority }
        ),
        3 => (
            small(), prop::collection::vec((prop::option::of(0..6_u8), any::<bool>()), 1..3), any::<bool>(),
        )
            .prop_map(|(sandbox, ports, wide)| Step::Publish { sandbox, ports, wide }),
        3 => (
            small(), prop::option::of(0..8_u8), prop::option::of(0..3_u8), any::<bool>(),
            prop::bool::weighted(0.2),
        )
            .prop_map(|(sandbox, host, container, udp, loopback)| Step::Unpublish {
                sandbox, host, container, udp, loopback
            }),
        2 => (small(), small()).prop_map(|(network, sandbox)| Step::Disconnect { network, sandbox }),
        1 => (prop::array::uniform6(any::<bool>()), any::<(bool, bool, bool)>(), 0..6_u8).prop_map(
            |([proxy, masquerade, forward, bridged, icc, direct], firewall, bridge)| Step::Settings {
                proxy, firewall, masquerade, forward, bridged, icc, direct, bridge
            }
        ),
    ]
}

/// The network that a number stands for; the last one is the default bridge.
fn network_name(number: u8) -> String {
    if number == 4 { "bridge".to_owned() } else { format!("net{number}") }
}

/// A bridge of the user's own.
const OWN_BRIDGE: &str = "own0";

const NETWORK_OPTIONS: [(&str, &str); 14] = [
    ("com.docker.network.bridge.name", OWN_BRIDGE),
    ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
    ("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected"),
    ("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
    ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
    ("com.docker.network.bridge.gateway_mode_ipv6", "isolated"),
    ("com.docker.network.bridge.inhibit_ipv4", "true"),
    ("com.docker.network.bridge.trusted_host_interfaces", "eth1"),
    ("com.docker.network.container_iface_prefix", "net"),
    ("com.docker.network.host_ipv4", "10.9.9.9"),
    ("com.docker.network.advertise_addr_nmsgs", "1"),
    ("fairway.route_localnet", "false"),
    ("fairway.guard", "strict"),
    ("fairway.alias_answer", "first"),
];

fn network_options(icc: bool, chosen: &[u8]) -> BTreeMap<String, String> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let icc = ("com.docker.network.bridge.enable_icc".to_owned(), icc.to_string());
    chosen.iter().map(|number| pair(NETWORK_OPTIONS[usize::from(*number)])).chain([icc]).collect()
}

/// What a DHCP server lends who asks: the first address that nobody has.
fn lend(world: &super::World, request: LeaseRequest) -> Lease {
    let given: Vec<_> = world.endpoints().filter_map(|it| it.allocation.as_ref()?.ipv4).collect();
    let free = (2..9)
        .chain(10..)
        .map(|last| Ipv4Addr::new(10, 45, 0, last))
        .find(|address| !given.contains(address));
    Lease {
        address: free.expect("few are given"),
        netmask: None,
        mac: request.identity.mac,
        client: request.identity.client,
        server: Ipv4Addr::new(10, 45, 0, 1),
        server_mac: MacAddress([2; 6]),
        renew_at: 1,
        rebind_at: 2,
        expires_at: 3,
        lost: false,
    }
}

fn sandbox_name(number: u8) -> String {
    format!("box{number}")
}

fn endpoint(subnet: u8, address: Option<u8>) -> EndpointRequest {
    let ipv4 = address.map(|last| Ipv4Addr::new(10, subnet, 0, last));
    let aliases = if subnet == 4 { Vec::new() } else { vec![format!("alias{}", subnet % 2)] };
    // One that asks for an address also sets something inside, and one of these switches IPv6 off there.
    let sysctl = address.map(|last| match last {
        0..3 => "net.ipv6.conf.IFNAME.disable_ipv6=1",
        _ => "net.ipv4.conf.IFNAME.log_martians=1",
    });
    let sysctls = sysctl.map(|text| ("com.docker.network.endpoint.sysctls".to_owned(), text.to_owned()));
    let driver_options = sysctls.into_iter().collect();
    EndpointRequest { ipv4, aliases, driver_options, ..EndpointRequest::default() }
}

fn protocol(udp: bool, port: Option<u8>) -> Protocol {
    // What is no TCP is UDP or SCTP.
    match (udp, port) {
        (false, _) => Protocol::Tcp,
        (true, Some(port)) if port % 2 == 1 => Protocol::Sctp,
        (true, _) => Protocol::Udp,
    }
}

/// One port, or three in a row.
fn publish((host, udp): (Option<u8>, bool), wide: bool) -> PublishRequest {
    let range = |first| PortRange { first, last: first + if wide { 2 } else { 0 } };
    PublishRequest {
        host_address: host.filter(|port| port % 3 == 0).map(|_| IpAddr::from([127, 0, 0, 1])),
        host_ports: host.map(|port| range(8000 + u16::from(port))),
        container_ports: range(80),
        protocol: protocol(udp, host),
    }
}

/// The option for a peer, and for its host in the subnet of another one's.
fn peer(number: u8) -> (String, String) {
    let peers = format!("10.2{number}.0.0/24@10.9.0.{number},10.3{number}.0.0/24@10.2{number}.0.9");
    ("fairway.peers".to_owned(), peers)
}

/// An interface of the host.
fn uplink(number: u8) -> Uplink {
    let gateway = |text: &str| text.parse().ok();
    let route = |destination: &str, gateway| UplinkRoute {
        destination: destination.parse().expect("a literal"),
        gateway,
        metric: 0,
    };
    Uplink {
        parent: format!("eth{number}"),
        mac: MacAddress([2, 0, 0, 0, 1, number]),
        mtu: 1500,
        addresses: [format!("10.4{number}.0.9/24"), format!("fd4{number}::9/64")]
            .map(|address| address.parse().expect("a literal"))
            .into(),
        routes: vec![
            route("0.0.0.0/0", gateway(&format!("10.4{number}.0.1"))),
            route("::/0", gateway("fe80::1")),
        ],
        boot: String::new(),
        obstacle: None,
    }
}

/// A World under test with what a store would hold of it.
pub struct World {
    world: super::World,
    settings: Settings,
    host: HostFacts,
    records: BTreeMap<RecordKey, Record>,
}

impl World {
    pub fn new(draw: &mut Draw) -> Self {
        let own = |address: &str| HostRoute {
            destination: address.parse().expect("an address"),
            interface: OWN_BRIDGE.to_owned(),
        };
        let host = HostFacts {
            mtu: Some(1500),
            router_advertisements: ["eth0".to_owned()].into(),
            bridges: vec![OWN_BRIDGE.to_owned()],
            addresses: vec![own("192.0.2.1/24"), own("fd02::1/64")],
            ..HostFacts::default()
        };
        let mut new = Self {
            world: super::World::default(),
            settings: Settings::default(),
            host,
            records: BTreeMap::new(),
        };
        let change = new.world.apply(new.configure(), 0, draw).expect("an empty host has room");
        new.remember(&change.records);
        new
    }

    pub fn world(&self) -> &super::World {
        &self.world
    }

    pub fn configure(&self) -> Command {
        Command::Configure { settings: Box::new(self.settings.clone()), host: Box::new(self.host.clone()) }
    }

    pub fn remember(&mut self, keys: &BTreeSet<RecordKey>) {
        for key in keys {
            match self.world.record(*key) {
                Some(record) => self.records.insert(*key, record),
                None => self.records.remove(key),
            };
        }
    }

    /// The World as it is read back from its records.
    pub fn reborn(&self) -> super::World {
        super::World::from_records(self.records.values().cloned())
    }

    pub fn take(&mut self, step: &Step, draw: &mut Draw) -> Result<Change, Refusal> {
        let before = (self.settings.clone(), self.host.clone());
        let command = self.command(step);
        let mut leases = Vec::new();
        let outcome = loop {
            match self.world.apply_with(command.clone(), &leases, 1, draw) {
                Err(Refusal::LeaseNeeded(request)) => {
                    leases.push((request.network, lend(&self.world, *request)))
                }
                outcome => break outcome,
            }
        };
        if outcome.is_err() {
            (self.settings, self.host) = before;
        }
        outcome
    }

    fn command(&mut self, step: &Step) -> Command {
        match step.clone() {
            Step::Network { name, ipv6, internal, icc, subnet, options, made } => {
                let chosen = |n: u8| SubnetRequest {
                    subnet: format!("10.{n}.0.0/24").parse().ok(),
                    ..SubnetRequest::default()
                };
                let mut options = network_options(icc, &options);
                let driver = match made {
                    Made::Bridge => "bridge",
                    Made::Routed(peers) => {
                        options.extend(Some(peers).filter(|number| *number > 0).map(peer));
                        "routed"
                    }
                    Made::Lan(number) => {
                        options.insert("parent".to_owned(), format!("eth{number}"));
                        // The last one has a DHCP server.
                        options.insert("fairway.dhcp".to_owned(), (number == 5).to_string());
                        "lan"
                    }
                    Made::Ptp => "ptp",
                    Made::Macvlan(parent, passthru) => {
                        let parent = parent.map(|number| ("parent".to_owned(), format!("eth{number}")));
                        options.extend(parent);
                        let mode = if passthru { "passthru" } else { "private" };
                        options.insert("macvlan_mode".to_owned(), mode.to_owned());
                        "macvlan"
                    }
                };
                Command::CreateNetwork(CreateNetwork {
                    name: network_name(name),
                    driver: driver.to_owned(),
                    enable_ipv6: Some(ipv6),
                    internal,
                    options,
                    uplink: match made {
                        Made::Lan(number) => Some(Box::new(uplink(number))),
                        _ => None,
                    },
                    parent: Some(ParentFacts { mac: Some(MacAddress([2; 6])), ..ParentFacts::default() }),
                    subnets: subnet.map(chosen).into_iter().collect(),
                    ..CreateNetwork::default()
                })
            }
            Step::Lease { lost } => {
                let leased = self
                    .world
                    .endpoints()
                    .find_map(|it| Some((it.id, it.allocation.as_ref()?.lease.clone()?)));
                let Some((endpoint, lease)) = leased else { return self.configure() };
                Command::LeaseRenewed { endpoint, lease: Box::new(Lease { lost, ..lease }) }
            }
            Step::Held { network, last } => Command::AddressHeld {
                network: network_name(network),
                address: IpAddr::from([10, 40 + 3 + last % 2, 0, 1 + last]),
                mac: MacAddress([2, 0, 0, 0, 2, last]),
            },
            Step::RemoveNetwork(name) => Command::RemoveNetwork { network: network_name(name) },
            Step::Sandbox { name, networks, ports, kind, links } => {
                let links: Vec<_> =
                    links.into_iter().map(|target| (sandbox_name(target), format!("link{target}"))).collect();
                // Links lead somewhere on the default bridge only.
                let default = networks.is_empty().then_some((4, None));
                let asked = networks.into_iter().chain(default).map(|(n, address)| {
                    (network_name(n), EndpointRequest { links: links.clone(), ..endpoint(n, address) })
                });
                let create = Box::new(CreateSandbox {
                    name: Some(sandbox_name(name)),
                    kind: if kind == 0 { SandboxKind::Attached } else { SandboxKind::Run },
                    network: match kind {
                        2 => NetworkChoice::None,
                        _ => NetworkChoice::Networks(asked.collect()),
                    },
                    options: SandboxOptions {
                        publish: ports.into_iter().map(|port| publish(port, false)).collect(),
                        exposed: vec![(80 + u16::from(name) % 2, Protocol::Tcp)],
                        ..SandboxOptions::default()
                    },
                });
                if kind == 0 {
                    let namespace = Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 8 };
                    let (process, avoid) = (None, Vec::new());
                    Command::Attach { create, process, namespace: Some(namespace), avoid }
                } else {
                    Command::CreateSandbox(create)
                }
            }
            Step::Start(name) => Command::StartSandbox {
                sandbox: sandbox_name(name),
                process: Some(ProcessIdentity { pid: 100, start_time: 1 }),
                namespace: Some(Namespace { path: "/proc/100/ns/net".to_owned(), device: 4, inode: 9 }),
                avoid: Vec::new(),
            },
            Step::Stop(name) => Command::StopSandbox { sandbox: sandbox_name(name), code: 0 },
            Step::Remove(name) => Command::RemoveSandbox { sandbox: sandbox_name(name) },
            Step::Connect { network, sandbox, address, priority } => Command::Connect {
                network: network_name(network),
                sandbox: sandbox_name(sandbox),
                request: EndpointRequest {
                    gateway_priority: i32::from(priority),
                    ..endpoint(network, address)
                },
            },
            Step::Disconnect { network, sandbox } => {
                Command::Disconnect { network: network_name(network), sandbox: sandbox_name(sandbox) }
            }
            Step::Publish { sandbox, ports, wide } => Command::Publish {
                sandbox: sandbox_name(sandbox),
                requests: ports.into_iter().map(|port| publish(port, wide)).collect(),
                avoid: Vec::new(),
            },
            Step::Unpublish { sandbox, host, container, udp, loopback } => Command::Unpublish {
                sandbox: sandbox_name(sandbox),
                requests: vec![UnpublishRequest {
                    host_address: loopback.then(|| IpAddr::from([127, 0, 0, 1])),
                    host_ports: host.map(|port| PortRange::single(8000 + u16::from(port))),
                    container_ports: container.map(|port| PortRange::single(80 + u16::from(port))),
                    protocol: protocol(udp, host),
                }],
            },
            Step::Settings { proxy, firewall, masquerade, forward, bridged, icc, direct, bridge } => {
                self.settings.bridge = match bridge {
                    4 => DefaultBridge::Disabled,
                    5 => DefaultBridge::Named(OWN_BRIDGE.to_owned()),
                    _ => DefaultBridge::Ours,
                };
                self.settings.ipv6 = bridge % 2 == 1;
                self.settings.network_options = match bridge {
                    2 => [("bridge".to_owned(), network_options(icc, &[]))].into(),
                    _ => BTreeMap::new(),
                };
                self.settings.userland_proxy = proxy;
                let (nftables, ipv4, ipv6) = firewall;
                self.settings.backend = if nftables { Backend::Nftables } else { Backend::Iptables };
                (self.settings.iptables, self.settings.ip6tables) = (ipv4, ipv6);
                self.settings.masquerade = masquerade;
                self.settings.icc = icc;
                self.settings.allow_direct_routing = direct;
                self.settings.ip_forward_no_drop = direct;
                self.settings.firewall_integration = direct;
                self.settings.accept_mark = direct.then_some(PacketMark { value: 2, mask: 3 });
                self.settings.ip_forward = forward;
                self.host.bridge_netfilter_ipv4 = bridged;
                self.configure()
            }
        }
    }
}
