//! What is nearly full.

use ipnet::IpNet;

use super::{Ill, Level, Observations, Share, few};
use fairway_core::ipam;
use fairway_core::world::World;
use fairway_model::Rng;
use fairway_model::shell::set_sysctl;
use fairway_model::{Network, Subnet};

/// The most ports of a bridge: `BR_MAX_PORTS` of the kernel's net/bridge/br_private.h (`BR_PORT_BITS` is 10), whose
/// number 0 is not used.
const BRIDGE_PORTS: u64 = 1023;
/// From so many percent on it is said.
const NEARLY: u64 = 90;
/// Tables that fill in a moment are told of earlier.
const FAST: u64 = 80;
/// Enough descriptors for 100,000 published ports of two families.
const DESCRIPTORS: u64 = 1 << 18;
/// How many more networks are looked for.
const MORE_NETWORKS: usize = 3;

/// A problem when it is full, a warning when it nearly is.
fn filled(share: Share, from: u64) -> Option<Level> {
    match share {
        _ if share.used >= share.most => Some(Level::Problem),
        _ if share.reaches(from) => Some(Level::Warning),
        _ => None,
    }
}

/// Ports of bridges.
pub(super) fn bridge_ports(world: &World, seen: &Observations) -> Vec<Ill> {
    let full = world.networks().filter(|network| !network.bridge.is_empty()).filter_map(|network| {
        let bridge = seen.link(&network.bridge)?;
        let share = Share { used: seen.ports_of(bridge).count() as u64, most: BRIDGE_PORTS };
        let ill = Ill::new(
            filled(share, NEARLY)?,
            format!("{} of the {BRIDGE_PORTS} ports of bridge {} are taken", share.used, bridge.name),
            format!("the kernel takes no more on one bridge; who joins {} then is refused", network.name),
        );
        Some(ill.mend(format!("fairway network create {}", another(world, &network.name))))
    });
    full.collect()
}

/// A name for one more network like this one.
fn another(world: &World, name: &str) -> String {
    let free = |name: &String| world.find_network(name).is_err();
    let numbered = (2..100).map(|number| format!("{name}-{number}"));
    numbered.into_iter().find(free).unwrap_or_else(|| "NAME".to_owned())
}

/// How many endpoints a subnet can have, and how many there are.
fn used(world: &World, network: &Network, subnet: &Subnet) -> Share {
    let range = subnet.ip_range.unwrap_or(subnet.subnet);
    let bits = if range.addr().is_ipv4() { 32 } else { 128 };
    let all = 1u64.checked_shl((bits - range.prefix_len()).into()).unwrap_or(u64::MAX);
    // Network and broadcast address, where there are such.
    let ends = if range.addr().is_ipv4() && range.prefix_len() < 31 { 2 } else { 0 };
    let within = |address: &std::net::IpAddr| range.contains(address);
    let reserved = [subnet.gateway].iter().chain(subnet.auxiliary.values()).filter(|it| within(it)).count();
    let reserved = if network.reserves_gateway(subnet) { reserved } else { reserved.saturating_sub(1) };
    let given = world.endpoints_of_network(network.id).filter_map(|endpoint| endpoint.allocation.as_ref());
    let given = given.flat_map(|allocation| allocation.addresses()).filter(within).count();
    Share { used: given as u64, most: all.saturating_sub(ends).saturating_sub(reserved as u64) }
}

/// Addresses of networks.
pub(super) fn addresses(world: &World, _: &Observations) -> Vec<Ill> {
    let networks = world.networks().filter(|network| network.driver.has_bridge());
    let subnets = networks.flat_map(|network| network.subnets.iter().map(move |subnet| (network, subnet)));
    let full = subnets.filter_map(|(network, subnet)| {
        let share = used(world, network, subnet);
        let range = subnet.ip_range.unwrap_or(subnet.subnet);
        let ill = Ill::new(
            filled(share, NEARLY)?,
            format!(
                "{} of the {} addresses in {range} are given on network {}",
                share.used, share.most, network.name
            ),
            "a sandbox that finds none free cannot join",
        );
        Some(ill.mend(format!("fairway network create {}", another(world, &network.name))))
    });
    full.collect()
}

/// Subnets for networks that name none.
pub(super) fn subnets(world: &World, seen: &Observations) -> Vec<Ill> {
    let mut taken: Vec<(IpNet, String)> = world
        .networks()
        .flat_map(|network| network.subnets.iter().map(|it| (it.subnet, network.name.clone())))
        .collect();
    let mut left = 0;
    while left < MORE_NETWORKS {
        // IPv4 is chosen without any random number.
        match ipam::choose_subnet(world.settings(), &seen.facts, &taken, false, None, &mut Rng::new(0)) {
            Ok(subnet) => taken.push((subnet, "one more".to_owned())),
            Err(_) => break,
        }
        left += 1;
    }
    if left == MORE_NETWORKS {
        return Vec::new();
    }
    let mut unused: Vec<&str> = world
        .networks()
        .filter(|network| network.user_defined() && world.endpoints_of_network(network.id).next().is_none())
        .map(|network| network.name.as_str())
        .collect();
    unused.sort_unstable();
    let level = if left == 0 { Level::Problem } else { Level::Warning };
    let ill = Ill::new(
        level,
        match left {
            0 => "the address pools have no subnet left".to_owned(),
            left => format!("the address pools have subnets for {left} more only"),
        },
        "a network that names no subnet gets one from the pools, or is refused",
    );
    vec![match unused.is_empty() {
        false => Ill { seen: format!("{}; nobody is on {}", ill.seen, few(unused)), ..ill }
            .mend("fairway network prune --force"),
        true => ill.mend("fairway daemon --default-address-pool base=10.64.0.0/12,size=24"),
    }]
}

/// Connections that are tracked.
pub(super) fn conntrack(_: &World, seen: &Observations) -> Vec<Ill> {
    let full = seen.connections.and_then(|share| {
        let ill = Ill::new(
            filled(share, FAST)?,
            format!("{} of {} connections are tracked ({} %)", share.used, share.most, share.percent()),
            "when the table is full, packets of new connections are dropped (nf_conntrack: table full)",
        );
        Some(ill.mend(set_sysctl("net/netfilter/nf_conntrack_max", share.most * 2)))
    });
    full.into_iter().collect()
}

/// Neighbours, whose tables all network namespaces share.
pub(super) fn neighbours(_: &World, seen: &Observations) -> Vec<Ill> {
    let families = seen.neighbours.into_iter().zip(["ipv4", "ipv6"]);
    let full = families.filter_map(|(share, family)| {
        let share = share?;
        let ill = Ill::new(
            filled(share, FAST)?,
            format!("{} of {} neighbours are known by {family}", share.used, share.most),
            "all sandboxes share the table; when it is full, nobody new is found (neighbour table overflow)",
        );
        let most = share.most * 4;
        Some(ill.mend(format!(
            "{} net.{family}.neigh.default.gc_thresh2={}",
            set_sysctl(&format!("net/{family}/neigh/default/gc_thresh3"), most),
            most / 2
        )))
    });
    full.collect()
}

/// Descriptors of the daemon: each published port takes one for each family, here and in the relay.
pub(super) fn descriptors(_: &World, seen: &Observations) -> Vec<Ill> {
    let full = seen.descriptors.and_then(|descriptors| {
        let share = descriptors.open;
        let ill = Ill::new(
            filled(share, FAST)?,
            format!("the daemon has {} of {} descriptors open", share.used, share.most),
            "each published port takes one for each family; for good, give LimitNOFILE in the daemon's unit",
        );
        let most = if descriptors.hard > share.most { descriptors.hard } else { DESCRIPTORS };
        Some(ill.mend(format!("prlimit --pid {} --nofile={most}:{most}", descriptors.pid)))
    });
    full.into_iter().collect()
}
