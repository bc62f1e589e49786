//! Sandboxes, with their places and published ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::graph::{Member, Port, Sandbox};
use fairway_core::world::World;
use fairway_model::{self as model, NetworkId, NetworkMode, PortRange, Protocol};

/// The parts of a publication without the host's address.
type Same = (PortRange, u16, Protocol, bool);

fn host_address(addresses: &BTreeSet<IpAddr>, ports: PortRange) -> Vec<String> {
    let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    if all.iter().all(|address| addresses.contains(address)) {
        return vec![format!("*:{ports}")];
    }
    let one = |address: &IpAddr| {
        let text = SocketAddr::new(*address, 0).to_string();
        format!("{}{ports}", text.strip_suffix('0').unwrap_or_default())
    };
    addresses.iter().map(one).collect()
}

fn ports(world: &World, sandbox: &model::Sandbox) -> Vec<Port> {
    let mut found: BTreeMap<Same, BTreeSet<IpAddr>> = BTreeMap::new();
    for it in sandbox.publications.iter().filter(|it| world.leads_to_sandbox(sandbox, it)) {
        let same = (it.host_ports, it.container_port, it.protocol, it.routed);
        found.entry(same).or_default().insert(it.host_address);
    }
    let mut ports = Vec::new();
    for ((hosts, container, protocol, routed), addresses) in found {
        let last = container.saturating_add(hosts.last - hosts.first);
        let inside = format!("{}/{protocol}", PortRange { first: container, last });
        match routed {
            true => ports.push(Port { host: None, inside }),
            false => ports.extend(
                host_address(&addresses, hosts)
                    .into_iter()
                    .map(|host| Port { host: Some(host), inside: inside.clone() }),
            ),
        }
    }
    ports.dedup();
    ports
}

/// A sandbox of the World.
pub(super) fn sandbox(
    world: &World,
    sandbox: &model::Sandbox,
    drawn: &BTreeMap<NetworkId, usize>,
) -> Sandbox {
    let mut notes = Vec::new();
    if !sandbox.running() {
        notes.push("does not run".to_owned());
    }
    let shares = |it: &&model::Sandbox| it.mode == NetworkMode::Shared(sandbox.id);
    notes.extend(world.sandboxes().filter(shares).map(|it| format!("with {}", it.name)));
    let elsewhere: Vec<&str> = world
        .endpoints_of_sandbox(sandbox.id)
        .iter()
        .filter(|it| !drawn.contains_key(&it.network))
        .filter_map(|it| Some(world.network(it.network)?.name.as_str()))
        .collect();
    if !elsewhere.is_empty() {
        notes.push(format!("also on {}", elsewhere.join(", ")));
    }
    for link in world.links(sandbox.id) {
        let ports: Vec<String> =
            link.ports().iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
        notes.push(
            format!("may use {}: {}", link.target.name, ports.join(" ")).trim_end_matches(": ").to_owned(),
        );
    }
    Sandbox {
        id: sandbox.id,
        name: sandbox.name.clone(),
        running: sandbox.running(),
        places: Vec::new(),
        ports: ports(world, sandbox),
        notes,
    }
}

/// Its places on networks that are drawn, with the numbers of these.
pub(super) fn members(
    world: &World,
    sandbox: &model::Sandbox,
    number: usize,
    networks: &BTreeMap<NetworkId, usize>,
) -> Vec<(usize, Member)> {
    let endpoints = world.endpoints_of_sandbox(sandbox.id);
    let drawn = || endpoints.iter().filter(|it| networks.contains_key(&it.network));
    let gateway = [true, false].into_iter().find_map(|ipv4| world.gateway_endpoint(sandbox.id, ipv4));
    let gateway = gateway.map(|it| it.id).filter(|id| drawn().any(|it| it.id == *id));
    let home = gateway.or_else(|| drawn().min_by_key(|it| it.order).map(|it| it.id));
    let member = |it: &&model::Endpoint| {
        let given = it.allocation.as_ref();
        let member = Member {
            sandbox: number,
            addresses: given
                .map(|given| given.addresses().map(|it| it.to_string()).collect())
                .unwrap_or_default(),
            interface: given.map(|given| given.interface.clone()).unwrap_or_default(),
            port: given.map(|given| given.host_interface.clone()).unwrap_or_default(),
            home: home == Some(it.id),
        };
        Some((*networks.get(&it.network)?, member))
    };
    drawn().filter_map(member).collect()
}
