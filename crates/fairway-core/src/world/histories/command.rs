//! The commands of steps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_model::{
    Backend, DefaultBridge, EndpointId, EndpointRequest, Lease, MacAddress, Namespace, NetworkId, PacketMark,
    ParentFacts, PortRange, ProcessIdentity, Protocol, SandboxId, SandboxKind, SandboxOptions, SubnetRequest,
    UnpublishRequest,
};

use ipnet::IpNet;

use super::TestWorld;
use super::step::{DriverChoice, Step};
use super::values::{
    OWN_BRIDGE, endpoint, network_name, network_options, peer, protocol, publish, sandbox_name, uplink,
};
use crate::world::{Command, CreateNetwork, CreateSandbox, Join, JoinEndpoint, NetworkChoice};

const MTU: &str = "com.docker.network.driver.mtu";

/// The name of a network that another engine describes.
fn described_name(number: u8) -> String {
    format!("described{number}")
}

fn docker_pool(number: u8) -> IpNet {
    IpNet::new_assert(IpAddr::from([10, 90 + number, 0, 0]), 24)
}

fn docker_network(number: u8) -> NetworkId {
    NetworkId::new([200 + number; 32])
}

fn docker_endpoint(container: u8, network: u8) -> EndpointId {
    EndpointId::new([100 + 10 * network + container; 32])
}

impl TestWorld {
    /// The command of a step.
    pub(in crate::world) fn command(&mut self, step: &Step) -> Command {
        match step.clone() {
            Step::Network { name, ipv6, internal, icc, subnet, options, driver: choice } => {
                let chosen = |n: u8| SubnetRequest {
                    subnet: format!("10.{n}.0.0/24").parse().ok(),
                    ..SubnetRequest::default()
                };
                let mut options = network_options(icc, &options);
                let driver = match choice {
                    DriverChoice::Bridge => "bridge",
                    DriverChoice::Routed(peers) => {
                        options.extend(Some(peers).filter(|number| *number > 0).map(peer));
                        "routed"
                    }
                    DriverChoice::Lan(number) => {
                        options.insert("parent".to_owned(), format!("eth{number}"));
                        // The last one has a DHCP server.
                        options.insert("fairway.dhcp".to_owned(), (number == 5).to_string());
                        "lan"
                    }
                    DriverChoice::Ptp => "ptp",
                    DriverChoice::Macvlan(parent, passthru) => {
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
                    uplink: match choice {
                        DriverChoice::Lan(number) => Some(Box::new(uplink(number))),
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
            Step::AddressInUse { network, last } => Command::AddressInUse {
                network: network_name(network),
                address: IpAddr::from([10, 40 + 3 + last % 2, 0, 1 + last]),
                mac: MacAddress([2, 0, 0, 0, 2, last]),
            },
            Step::RemoveNetwork(name) => Command::RemoveNetwork { network: network_name(name) },
            Step::Sandbox { name, networks, ports, kind, links } => {
                let links: Vec<_> =
                    links.into_iter().map(|target| (sandbox_name(target), format!("link{target}"))).collect();
                // Links name a target by id on the default bridge only.
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
                    Command::Attach { create, process: None, namespace: Some(namespace) }
                } else {
                    Command::CreateSandbox(create)
                }
            }
            Step::Start(name) => Command::StartSandbox {
                sandbox: sandbox_name(name),
                process: Some(ProcessIdentity { pid: 100, start_time: 1 }),
                namespace: Some(Namespace { path: "/proc/100/ns/net".to_owned(), device: 4, inode: 9 }),
            },
            Step::Stop(name) => {
                Command::StopSandbox { sandbox: sandbox_name(name), exit: 0.into(), process: None }
            }
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
            Step::Join { container, networks, ports, strict } => {
                let described = |number: &u8| CreateNetwork {
                    name: described_name(*number),
                    subnets: vec![SubnetRequest {
                        subnet: format!("10.8{number}.0.0/24").parse().ok(),
                        ..SubnetRequest::default()
                    }],
                    options: network_options(true, if strict { &[12] } else { &[] }),
                    ..CreateNetwork::default()
                };
                let endpoints = networks.iter().map(|it| (described_name(*it), EndpointRequest::default()));
                Command::Join(Box::new(Join {
                    id: SandboxId::new([container; 32]),
                    networks: networks.iter().map(described).collect(),
                    sandbox: CreateSandbox {
                        name: Some(sandbox_name(container)),
                        kind: SandboxKind::Attached,
                        network: NetworkChoice::Networks(endpoints.collect()),
                        options: SandboxOptions {
                            publish: ports.into_iter().map(|port| publish(port, false)).collect(),
                            ports_held_by_engine: container % 2 == 0,
                            ..SandboxOptions::default()
                        },
                    },
                    process: None,
                    namespace: Some(Namespace {
                        path: format!("/run/netns/container{container}"),
                        device: 4,
                        inode: 100 + u64::from(container),
                    }),
                }))
            }
            Step::Leave { container, networks } => Command::Leave {
                sandbox: SandboxId::new([container; 32]).to_string(),
                networks: networks.into_iter().map(described_name).collect(),
            },
            Step::UpdateNetwork(number) => Command::UpdateNetwork {
                network: if number < 4 { described_name(number) } else { network_name(number - 4) },
                options: [(MTU.to_owned(), (number % 2 == 0).then(|| "1300".to_owned()))].into(),
            },
            Step::DockerPool { number, released } => match released {
                true => Command::ReleasePool { pool: docker_pool(number) },
                false => Command::RequestPool { subnet: Some(docker_pool(number)), range: None, ipv6: false },
            },
            Step::DockerAddress { pool, last, released } => {
                let address = |last| IpAddr::from([10, 90 + pool, 0, last]);
                match released {
                    true => Command::ReleaseAddress {
                        pool: docker_pool(pool),
                        address: address(last.unwrap_or(1)),
                    },
                    false => Command::RequestAddress {
                        pool: docker_pool(pool),
                        address: last.map(address),
                        gateway: false,
                    },
                }
            }
            Step::DockerNetwork { network, name } => Command::CreateNetwork(CreateNetwork {
                id: Some(docker_network(network)),
                name: network_name(name),
                subnets: vec![SubnetRequest {
                    subnet: format!("10.9{network}.0.0/24").parse().ok(),
                    ..SubnetRequest::default()
                }],
                ..CreateNetwork::default()
            }),
            Step::DockerJoin { container, network, address } => {
                Command::JoinEndpoint(Box::new(JoinEndpoint {
                    id: docker_endpoint(container, network),
                    network: docker_network(network),
                    sandbox: SandboxId::new([100 + container; 32]),
                    name: sandbox_name(container),
                    labels: BTreeMap::new(),
                    request: EndpointRequest {
                        ipv4: Some([10, 90 + network, 0, 2 + address].into()),
                        ..EndpointRequest::default()
                    },
                }))
            }
            Step::DockerDelete { container, network } => {
                Command::DeleteEndpoint { endpoint: docker_endpoint(container, network) }
            }
            Step::DockerPorts { container, network, ports } => Command::ExternalConnectivity {
                endpoint: docker_endpoint(container, network),
                ports: ports.map(|ports| ports.into_iter().map(|port| publish(port, false)).collect()),
            },
            Step::DockerIdentify { container, name } => Command::IdentifySandbox {
                sandbox: SandboxId::new([100 + container; 32]),
                name: sandbox_name(name),
                labels: BTreeMap::new(),
                process: None,
                namespace: Some(Namespace {
                    path: format!("/run/docker/netns/{container}"),
                    device: 4,
                    inode: 200 + u64::from(container),
                }),
            },
            Step::Publish { sandbox, ports, wide } => Command::Publish {
                sandbox: sandbox_name(sandbox),
                requests: ports.into_iter().map(|port| publish(port, wide)).collect(),
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
            Step::Rename { sandbox, name } => {
                Command::Rename { sandbox: sandbox_name(sandbox), name: sandbox_name(name) }
            }
            Step::Unlink { sandbox, target } => {
                Command::Unlink { sandbox: sandbox_name(sandbox), alias: format!("link{target}") }
            }
            Step::Settings { proxy, firewall, masquerade, forward, bridged, icc, direct, bridge } => {
                self.settings.bridge = match bridge {
                    4 => DefaultBridge::Disabled,
                    5 => DefaultBridge::Named(OWN_BRIDGE.to_owned()),
                    _ => DefaultBridge::Managed,
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
