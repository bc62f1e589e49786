//! Checks of limits: bridge ports, addresses, subnets, conntrack, neighbors, file descriptors.

use ipnet::IpNet;

use super::finding::{count, join_some, sorted};
use super::remedy::create_another_network;
use super::{Finding, FindingKind, Observations, Severity, Usage};
use fairway_core::ipam;
use fairway_core::world::World;
use fairway_model::address_range::AddressRange;
use fairway_model::shell::{quote, set_sysctl};
use fairway_model::{IpRange, Network, Rng, Subnet};

/// The most ports of a bridge: `BR_MAX_PORTS` of the kernel's net/bridge/br_private.h (`BR_PORT_BITS` is 10), whose
/// number 0 is not used.
const BRIDGE_PORTS: u64 = 1023;
/// The percentage from which a limit is reported.
const NEARLY_FULL: u64 = 90;
/// The percentage for tables that fill within moments.
const FILLING_FAST: u64 = 80;
/// Enough descriptors for 100,000 published ports of two families.
const ENOUGH_DESCRIPTORS: u64 = 1 << 18;
/// With less space than that in bytes, the store and the logs soon have none.
const LITTLE_SPACE: u64 = 16 << 20;
/// For how many more networks the pools must have subnets.
const SPARE_NETWORKS: usize = 3;

/// A limit that is reached, or nearly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitFinding {
    /// The ports of a network's bridge.
    BridgePorts {
        /// The network.
        network: String,
        /// Its bridge.
        bridge: String,
        /// The ports in use.
        ports: Usage,
        /// The command that creates one more network.
        fix: String,
    },
    /// The addresses of a network.
    Addresses {
        /// The network.
        network: String,
        /// The subnet or its allocation range.
        range: IpRange,
        /// The addresses in use.
        addresses: Usage,
        /// The command that creates one more network.
        fix: String,
    },
    /// The subnets of the default address pools.
    Subnets {
        /// How many subnets remain, at most two.
        remaining: usize,
        /// Networks without sandboxes, which could be removed.
        unused: Vec<String>,
    },
    /// Tracked connections.
    Conntrack(Usage),
    /// The neighbor table, which all network namespaces share.
    Neighbors {
        /// `ipv4` or `ipv6`.
        family: &'static str,
        /// The entries.
        entries: Usage,
    },
    /// The daemon's file descriptors: each published port takes one for each family, in the daemon and in the relay.
    Descriptors {
        /// The daemon's process.
        pid: u32,
        /// The descriptors in use.
        descriptors: Usage,
        /// The hard limit.
        hard: u64,
    },
    /// The file system of the daemon's store and logs.
    Space {
        /// The data root.
        directory: String,
        /// How many bytes are left.
        left: u64,
    },
}

/// An error at the limit, a warning before.
fn severity(usage: Usage) -> Severity {
    if usage.used >= usage.limit { Severity::Error } else { Severity::Warning }
}

impl LimitFinding {
    pub(super) fn render(&self) -> Finding {
        match self {
            Self::BridgePorts { network, bridge, ports, fix } => Finding::new(
                "bridge-ports",
                severity(*ports),
                format!("{} of the {} ports of bridge {bridge} are in use", ports.used, ports.limit),
                format!(
                    "the kernel accepts no more ports on a bridge: further sandboxes cannot join {network}"
                ),
            )
            .fix(fix),
            Self::Addresses { network, range, addresses, fix } => Finding::new(
                "addresses",
                severity(*addresses),
                format!(
                    "{} of the {} addresses in {range} are in use on network {network}",
                    addresses.used, addresses.limit
                ),
                "a sandbox cannot join when no address is free",
            )
            .fix(fix),
            Self::Subnets { remaining, unused } => render_subnets(*remaining, unused),
            Self::Conntrack(connections) => Finding::new(
                "conntrack",
                severity(*connections),
                format!(
                    "{} of {} connections are tracked ({} %)",
                    connections.used,
                    connections.limit,
                    connections.percent()
                ),
                "when the table is full, packets of new connections are dropped (nf_conntrack: table full)",
            )
            .fix(set_sysctl("net/netfilter/nf_conntrack_max", connections.limit * 2)),
            Self::Neighbors { family, entries } => {
                let limit = entries.limit * 4;
                let hard = set_sysctl(&format!("net/{family}/neigh/default/gc_thresh3"), limit);
                Finding::new(
                    "neighbors",
                    severity(*entries),
                    format!("{} of {} entries of the {family} neighbor table are in use", entries.used, entries.limit),
                    "all sandboxes share the table; when it is full, no new neighbor is resolved (neighbor table \
                     overflow)",
                )
                .fix(format!("{hard} net.{family}.neigh.default.gc_thresh2={}", limit / 2))
            }
            Self::Descriptors { pid, descriptors, hard } => {
                let limit = if *hard > descriptors.limit { *hard } else { ENOUGH_DESCRIPTORS };
                Finding::new(
                    "descriptors",
                    severity(*descriptors),
                    format!(
                        "the daemon has {} of {} file descriptors open",
                        descriptors.used, descriptors.limit
                    ),
                    "each published port takes one for each family; set LimitNOFILE in the daemon's unit to keep the \
                     limit",
                )
                .fix(format!("prlimit --pid {pid} --nofile={limit}:{limit}"))
            }
            Self::Space { directory, left } => Finding::new(
                "space",
                severity(Usage { used: LITTLE_SPACE - left, limit: LITTLE_SPACE }),
                format!("the file system of {directory} has {} KiB left", left >> 10),
                "the output of commands is lost when it is full, and changes are refused when the journal is full too",
            )
            .fix(format!("du -xh --max-depth=1 {}; fairway system prune", quote(directory))),
        }
    }
}

fn render_subnets(remaining: usize, unused: &[String]) -> Finding {
    let message = match remaining {
        0 => "the address pools have no subnet left".to_owned(),
        remaining => format!("the address pools have only {} left", count(remaining, "subnet")),
    };
    let impact =
        "a network without a subnet of its own gets one from the pools; when they are empty, it is refused";
    let severity = if remaining == 0 { Severity::Error } else { Severity::Warning };
    if unused.is_empty() {
        return Finding::new("subnets", severity, message, impact)
            .fix("fairway daemon --default-address-pool base=10.64.0.0/12,size=24");
    }
    let message = format!("{message}; no sandbox uses {}", join_some(unused));
    Finding::new("subnets", severity, message, impact).fix("fairway network prune --force")
}

/// Reports bridges with few free ports.
pub(super) fn check_bridge_ports(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let full = world.networks().filter(|network| !network.bridge.is_empty()).filter_map(|network| {
        let bridge = observed.link(&network.bridge)?;
        let ports = Usage { used: observed.ports_of(bridge).count() as u64, limit: BRIDGE_PORTS };
        ports.reaches(NEARLY_FULL).then(|| {
            FindingKind::Limit(LimitFinding::BridgePorts {
                network: network.name.clone(),
                bridge: bridge.name.clone(),
                ports,
                fix: create_another_network(world, &network.name),
            })
        })
    });
    full.collect()
}

/// How many endpoints a subnet has, and how many it can have.
fn address_usage(world: &World, network: &Network, subnet: &Subnet) -> Usage {
    let range = subnet.ip_range.unwrap_or(subnet.subnet.into());
    let usable = range.addresses().intersection(AddressRange::usable(subnet.subnet));
    let all = usable.map_or(0, |usable| (usable.last - usable.first).saturating_add(1));
    let all = u64::try_from(all).unwrap_or(u64::MAX);
    let within = |address: &std::net::IpAddr| range.contains(*address);
    let reserved = [subnet.gateway].iter().chain(subnet.auxiliary.values()).filter(|it| within(it)).count();
    let reserved = if network.reserves_gateway(subnet) { reserved } else { reserved.saturating_sub(1) };
    let allocations =
        world.endpoints_of_network(network.id).filter_map(|endpoint| endpoint.allocation.as_ref());
    let used = allocations.flat_map(|allocation| allocation.addresses()).filter(within).count();
    Usage { used: used as u64, limit: all.saturating_sub(reserved as u64) }
}

/// Reports networks with few free addresses.
pub(super) fn check_addresses(world: &World, _: &Observations) -> Vec<FindingKind> {
    let networks = world.networks().filter(|network| network.driver.has_bridge());
    let subnets = networks.flat_map(|network| network.subnets.iter().map(move |subnet| (network, subnet)));
    let full = subnets.filter_map(|(network, subnet)| {
        let addresses = address_usage(world, network, subnet);
        addresses.reaches(NEARLY_FULL).then(|| {
            FindingKind::Limit(LimitFinding::Addresses {
                network: network.name.clone(),
                range: subnet.ip_range.unwrap_or(subnet.subnet.into()),
                addresses,
                fix: create_another_network(world, &network.name),
            })
        })
    });
    full.collect()
}

/// Reports address pools with subnets for fewer than three more networks.
pub(super) fn check_subnets(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let mut taken: Vec<(IpNet, String)> = world
        .networks()
        .flat_map(|network| network.subnets.iter().map(|it| (it.subnet, network.name.clone())))
        .collect();
    let mut remaining = 0;
    while remaining < SPARE_NETWORKS {
        // An IPv4 subnet is chosen without random numbers.
        match ipam::choose_subnet(world.settings(), &observed.facts, &taken, false, None, &mut Rng::new(0)) {
            Ok(subnet) => taken.push((subnet, "spare".to_owned())),
            Err(_) => break,
        }
        remaining += 1;
    }
    if remaining == SPARE_NETWORKS {
        return Vec::new();
    }
    let is_unused = |it: &&Network| it.user_defined() && world.endpoints_of_network(it.id).next().is_none();
    let unused = sorted(world.networks().filter(is_unused).map(|network| network.name.clone()));
    vec![FindingKind::Limit(LimitFinding::Subnets { remaining, unused })]
}

/// Reports a nearly full connection tracking table.
pub(super) fn check_conntrack(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let full = observed.connections.filter(|usage| usage.reaches(FILLING_FAST));
    full.map(|usage| FindingKind::Limit(LimitFinding::Conntrack(usage))).into_iter().collect()
}

/// Reports nearly full neighbor tables.
pub(super) fn check_neighbors(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let families = observed.neighbors.into_iter().zip(["ipv4", "ipv6"]);
    let full = families.filter_map(|(usage, family)| {
        let entries = usage.filter(|usage| usage.reaches(FILLING_FAST))?;
        Some(FindingKind::Limit(LimitFinding::Neighbors { family, entries }))
    });
    full.collect()
}

/// Reports a daemon with few free file descriptors.
pub(super) fn check_descriptors(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let full = observed.descriptors.filter(|descriptors| descriptors.open.reaches(FILLING_FAST));
    let finding = full.map(|it| {
        FindingKind::Limit(LimitFinding::Descriptors { pid: it.pid, descriptors: it.open, hard: it.hard })
    });
    finding.into_iter().collect()
}

/// Reports little space for the daemon's store and logs.
pub(super) fn check_space(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let little = observed.data_root.iter().filter(|(_, left)| *left < LITTLE_SPACE);
    let finding =
        |(directory, left): &(String, u64)| LimitFinding::Space { directory: directory.clone(), left: *left };
    little.map(finding).map(FindingKind::Limit).collect()
}
