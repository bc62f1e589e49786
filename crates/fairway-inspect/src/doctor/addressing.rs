//! Checks of MTUs, subnets and name servers.

use ipnet::IpNet;

use super::finding::{join_some, sorted};
use super::remedy::{is_docker_bridge, move_network, recreate_network};
use super::{Finding, FindingKind, Fix, LinkState, Observations};
use fairway_core::plan::chosen_servers;
use fairway_core::world::World;
use fairway_model::shell::quote;
use fairway_model::{Driver, NameServer, Network, NetworkMode, Sandbox};
use fairway_walk::MAIN_TABLE;

const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// A problem with an MTU, a subnet or a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressingFinding {
    /// The MTU of networks exceeds the one of the default route's interface.
    MtuExceedsUplink {
        /// The networks.
        networks: Vec<String>,
        /// Their largest MTU.
        mtu: u32,
        /// The interface of the default route.
        uplink: String,
        /// The MTU of the interface.
        uplink_mtu: u32,
        /// The command that gives the networks the MTU of the interface.
        fix: String,
    },
    /// A bridge or its ports have another MTU than the network.
    MtuDiffersOnBridge {
        /// The network.
        network: String,
        /// Its MTU.
        mtu: u32,
        /// The links with another MTU, each with that MTU.
        links: Vec<(String, u32)>,
    },
    /// The MTU of networks exceeds the one of another interface that routes lead to, such as a VPN's.
    MtuExceedsRoute {
        /// The networks.
        networks: Vec<String>,
        /// Their largest MTU.
        mtu: u32,
        /// The interface.
        interface: String,
        /// The MTU of the interface.
        interface_mtu: u32,
    },
    /// A route of the host overlaps a network.
    RouteOverlaps {
        /// The network.
        network: String,
        /// Its subnets.
        subnets: Vec<IpNet>,
        /// The destination of the route.
        destination: IpNet,
        /// The interface of the route; empty if it has none.
        interface: String,
        /// Whether the route takes packets for sandboxes: it is within the network's subnet.
        inside: bool,
        /// The command that gives the network another subnet, if there is one.
        fix: Option<String>,
    },
    /// The host has no name server, and sandboxes have none of their own.
    NoNameServer {
        /// The sandboxes.
        sandboxes: Vec<String>,
    },
    /// Sandboxes on the default network cannot reach the host's name servers.
    NameServerUnreachable {
        /// The host's name servers.
        servers: Vec<String>,
        /// Whether all of them are loopback addresses.
        loopback: bool,
        /// The sandboxes.
        sandboxes: Vec<String>,
        /// The command that connects the sandboxes to a network with a resolver.
        fix: String,
    },
}

/// `network web`, `networks a, b`.
fn network_list(networks: &[String]) -> String {
    format!("{} {}", if networks.len() == 1 { "network" } else { "networks" }, join_some(networks))
}

impl AddressingFinding {
    pub(super) fn render(&self) -> Finding {
        match self {
            Self::MtuExceedsUplink { networks, mtu, uplink, uplink_mtu, fix } => Finding::warning(
                "mtu",
                format!(
                    "the MTU of {} is {mtu}, larger than the MTU of {uplink} ({uplink_mtu})",
                    network_list(networks)
                ),
                "larger packets have to be sent again in smaller ones, and where ICMP is filtered, connections hang as \
                 soon as they carry much data",
            )
            .fix(fix),
            Self::MtuDiffersOnBridge { network, mtu, links } => {
                let other = links.iter().map(|(name, mtu)| format!("{name} ({mtu})"));
                let commands = links.iter().map(|(name, _)| format!("ip link set dev {} mtu {mtu}", quote(name)));
                Finding::warning(
                    "mtu",
                    format!("the MTU of network {network} is {mtu}, but not on {}", join_some(other)),
                    "a bridge drops packets that are too large for a port, without an ICMP error",
                )
                .fix(commands.collect::<Vec<_>>().join(" && "))
            }
            Self::MtuExceedsRoute { networks, mtu, interface, interface_mtu } => Finding::note(
                "mtu",
                format!(
                    "the MTU of {} is {mtu}, larger than the MTU of {interface} ({interface_mtu})",
                    network_list(networks)
                ),
                "the host sends sandboxes an ICMP error for larger packets there; where that is filtered, connections \
                 hang",
            )
            .fix(format!("fairway daemon --mtu={interface_mtu}")),
            Self::RouteOverlaps { network, subnets, destination, interface, inside, fix } => {
                let over = match interface.as_str() {
                    "" => String::new(),
                    interface => format!(" over {interface}"),
                };
                let subnets = join_some(subnets.iter().map(IpNet::to_string));
                let message =
                    format!("the host's route to {destination}{over} overlaps network {network} ({subnets})");
                let finding = match inside {
                    true => Finding::error(
                        "subnet-overlap",
                        message,
                        "packets for sandboxes with addresses in this route take the route: the host and published \
                         ports do not reach these sandboxes",
                    ),
                    false => Finding::warning(
                        "subnet-overlap",
                        message,
                        "hosts behind this route with an address in the network's subnet cannot be reached: packets \
                         for them go to the network",
                    ),
                };
                Finding { fix: fix.clone().map(Fix::by_user), ..finding }
            }
            Self::NoNameServer { sandboxes } => Finding::warning(
                "nameservers",
                format!(
                    "the host's resolv.conf has no name server, and {} have none of their own",
                    join_some(sandboxes)
                ),
                "they resolve names of sandboxes only; on the default network they query 8.8.8.8",
            )
            .fix("echo nameserver ADDRESS >> /etc/resolv.conf"),
            Self::NameServerUnreachable { servers, loopback, sandboxes, fix } => Finding::warning(
                "nameservers",
                format!(
                    "the host's name servers ({}) are {}, and {} cannot query them",
                    join_some(servers),
                    if *loopback { "on its loopback interface" } else { "reachable from the host only" },
                    join_some(sandboxes)
                ),
                "on the default network, names of sandboxes are not resolved; these sandboxes query 8.8.8.8 and do not \
                 know your own names. On user-defined networks, Fairway queries the host's servers for them",
            )
            .fix(fix),
        }
    }
}

/// Reports networks with an MTU that does not fit the links their packets pass.
pub(super) fn check_mtu(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let bridged = world.networks().filter(|it| it.driver.has_bridge() && it.driver != Driver::Lan);
    let networks: Vec<(&Network, u32)> = bridged.map(|network| (network, world.mtu(network))).collect();
    let mut findings: Vec<AddressingFinding> =
        networks.iter().filter_map(|(network, mtu)| differs_on_bridge(observed, network, *mtu)).collect();
    let routed: Vec<(&Network, u32)> =
        networks.into_iter().filter(|(network, _)| !network.internal).collect();
    let default = observed.facts.default_interface.as_deref();
    if let Some(uplink) = default.and_then(|name| observed.link(name)) {
        findings.extend(exceeds_uplink(world, &routed, uplink));
    }
    let has_route = |name: &str| observed.facts.routes.iter().any(|route| route.interface == name);
    let others = observed
        .routed_links()
        .filter(|link| !link.ours && Some(link.name.as_str()) != default && has_route(&link.name));
    findings.extend(others.filter_map(|link| exceeds_route(&routed, link)));
    findings.into_iter().map(FindingKind::Addressing).collect()
}

/// The names and the largest MTU of networks; none for no networks.
fn names_and_mtu(networks: &[&(&Network, u32)]) -> Option<(Vec<String>, u32)> {
    let mtu = networks.iter().map(|(_, mtu)| *mtu).max()?;
    Some((sorted(networks.iter().map(|(network, _)| network.name.clone())), mtu))
}

/// Networks with a larger MTU than the default route's interface: one finding for each network with an MTU option, and
/// one for all other networks.
fn exceeds_uplink(world: &World, networks: &[(&Network, u32)], uplink: &LinkState) -> Vec<AddressingFinding> {
    let large = networks.iter().filter(|(_, mtu)| *mtu > uplink.mtu);
    let (configured, others): (Vec<&(&Network, u32)>, Vec<_>) =
        large.partition(|(network, _)| network.mtu.is_some());
    let finding = |networks: &[&(&Network, u32)], fix: String| {
        let (networks, mtu) = names_and_mtu(networks)?;
        let (uplink, uplink_mtu) = (uplink.name.clone(), uplink.mtu);
        Some(AddressingFinding::MtuExceedsUplink { networks, mtu, uplink, uplink_mtu, fix })
    };
    let create = || format!("fairway network create --opt {MTU_OPTION}=MTU NAME");
    let of_configured = configured.into_iter().filter_map(|network| {
        let fix = recreate_network(world, network.0, MTU_OPTION).unwrap_or_else(create);
        finding(&[network], fix)
    });
    let of_others = finding(&others, format!("fairway daemon --mtu={}", uplink.mtu));
    of_configured.chain(of_others).collect()
}

/// A bridge or ports with another MTU than their network.
fn differs_on_bridge(observed: &Observations, network: &Network, mtu: u32) -> Option<AddressingFinding> {
    let bridge = observed.link(&network.bridge)?;
    let links: Vec<(String, u32)> = observed
        .ports_of(bridge)
        .chain([bridge])
        .filter(|link| link.mtu != mtu)
        .map(|link| (link.name.clone(), link.mtu))
        .collect();
    let network = network.name.clone();
    (!links.is_empty()).then_some(AddressingFinding::MtuDiffersOnBridge { network, mtu, links })
}

/// Networks with a larger MTU than an interface other than the default route's.
fn exceeds_route(networks: &[(&Network, u32)], link: &LinkState) -> Option<AddressingFinding> {
    let large: Vec<&(&Network, u32)> = networks.iter().filter(|(_, mtu)| *mtu > link.mtu).collect();
    let (networks, mtu) = names_and_mtu(&large)?;
    let (interface, interface_mtu) = (link.name.clone(), link.mtu);
    Some(AddressingFinding::MtuExceedsRoute { networks, mtu, interface, interface_mtu })
}

/// Reports routes of the host that overlap networks. Routes over Docker's bridges are reported by the check of Docker.
pub(super) fn check_overlaps(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let is_docker = |name: &str| observed.link(name).is_some_and(|link| is_docker_bridge(world, link));
    let overlaps = world.networks().flat_map(|network| {
        let routes = world.overlapping_routes(network).filter(|route| !is_docker(&route.interface));
        routes.map(move |route| (network, route)).collect::<Vec<_>>()
    });
    let findings = overlaps.map(|(network, route)| {
        let subnets: Vec<IpNet> = network.subnets.iter().map(|it| it.subnet).collect();
        let is_preferred =
            |subnet: &IpNet| *subnet == route.destination && prefers_bridge(observed, network, subnet);
        FindingKind::Addressing(AddressingFinding::RouteOverlaps {
            network: network.name.clone(),
            inside: subnets.iter().any(|it| it.contains(&route.destination) && !is_preferred(it)),
            subnets,
            destination: route.destination,
            interface: route.interface.clone(),
            fix: move_network(world, network, route.destination.addr().is_ipv4()),
        })
    });
    findings.collect()
}

/// Whether the host's packets for a subnet go to the network's bridge, although another route has the same destination: the
/// kernel takes the lowest metric, and of equal ones the first that was added.
fn prefers_bridge(observed: &Observations, network: &Network, subnet: &IpNet) -> bool {
    let same = observed.routes.iter().filter(|it| it.table == MAIN_TABLE && it.destination == *subnet);
    let first = same.min_by_key(|route| route.metric);
    first
        .is_some_and(|route| observed.link(&network.bridge).is_some_and(|link| link.index == route.interface))
}

/// Reports sandboxes without a name server that they can query.
pub(super) fn check_name_servers(world: &World, observed: &Observations) -> Vec<FindingKind> {
    if !world.settings().dns.is_empty() {
        return Vec::new();
    }
    let servers = &observed.facts.nameservers;
    let needs_host = |sandbox: &&Sandbox| {
        sandbox.running() && sandbox.mode == NetworkMode::Private && chosen_servers(world, sandbox).is_empty()
    };
    let names = |needs: &dyn Fn(&&Sandbox) -> bool| -> Vec<String> {
        sorted(world.sandboxes().filter(needs_host).filter(needs).map(|it| it.name.clone()))
    };
    let finding = if servers.is_empty() {
        let sandboxes = names(&|_| true);
        (!sandboxes.is_empty()).then_some(AddressingFinding::NoNameServer { sandboxes })
    } else if servers.iter().all(NameServer::queried_from_host) {
        let sandboxes = names(&|sandbox| !sandbox.resolver);
        (!sandboxes.is_empty()).then(|| AddressingFinding::NameServerUnreachable {
            servers: servers.iter().map(ToString::to_string).collect(),
            loopback: servers.iter().all(|server| server.address.is_loopback()),
            fix: connect_to_resolver(world, &sandboxes),
            sandboxes,
        })
    } else {
        None
    };
    finding.map(FindingKind::Addressing).into_iter().collect()
}

/// The command that connects sandboxes to a network where Fairway resolves names for them.
fn connect_to_resolver(world: &World, sandboxes: &[String]) -> String {
    let mut networks =
        world.networks().filter(|it| it.user_defined() && it.driver == Driver::Bridge && !it.internal);
    let (create, network) = match networks.next() {
        Some(network) => (String::new(), network.name.clone()),
        None => ("fairway network create names && ".to_owned(), "names".to_owned()),
    };
    let connect = sandboxes.iter().map(|name| format!("fairway network connect {network} {name}"));
    format!("{create}{}", connect.collect::<Vec<_>>().join(" && "))
}
