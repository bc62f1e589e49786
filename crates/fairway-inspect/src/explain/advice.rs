//! Suggests what to change so that a lost or refused packet gets through.

mod dropped;
mod engine_command;
mod firewalld;
mod no_neighbor;
#[cfg(test)]
mod tests;
mod vanished;

use std::net::IpAddr;

use engine_command::{join, join_way_out, publish};

use super::ends::Peer;
use super::query::Query;
use super::refusing_route::{delete_route, refusing_route};
use fairway_core::world::World;
use fairway_model::shell::{quote, set_sysctl};
use fairway_model::{Endpoint, Network, Publication, Sandbox};
use fairway_walk::{
    ConnectionWalk, DiscardReason, End, Listener, NamespaceId, Outcome, Route, Topology, Tuple, echo_sysctl,
    forwarding_sysctl,
};
pub(crate) use vanished::{give_back, has_vanished, publish_everywhere};

/// The change that lets a connection succeed; none if it succeeds already, or if no remedy is known.
/// `waiting` are the sockets of the namespace where the walk ends: one may listen at another address or port.
pub fn advice(
    world: &World,
    query: &Query,
    topology: &Topology,
    connection: &ConnectionWalk,
    waiting: &[Listener],
) -> Option<String> {
    let outcome = connection.outcome();
    if matches!(outcome, Outcome::Answered(_)) {
        return None;
    }
    if let Some(advice) = published_elsewhere(world, query) {
        return Some(advice);
    }
    if outcome == Outcome::LeavesHost {
        return None;
    }
    let walk = connection.last_walk();
    let at = Location::new(world, topology, walk.end.namespace());
    match &walk.end {
        End::Dropped { by, .. } | End::Rejected { by, .. } => dropped::dropped(world, query, &at, walk, by),
        End::NoListener { tuple, .. } if at.is_host => {
            Some(no_listener_on_host(world, query, tuple, waiting))
        }
        End::NoListener { tuple, .. } => Some(no_listener_in_sandbox(at.name, tuple, waiting)),
        End::Discarded { reason, .. } => discarded(&at, reason)
            .or_else(|| Some(without_route(world, &at, refusing_route(topology, walk)?))),
        End::NoRoute { by: Some(_), .. } => Some(without_route(world, &at, refusing_route(topology, walk)?)),
        End::NoRoute { destination, by: None, .. } => Some(no_route(world, query, &at, *destination)),
        End::NoNeighbor { next, silence: None, .. } => no_neighbor::no_neighbor(world, query, &at, *next),
        _ => None,
    }
}

/// The namespace in which a walk ends.
struct Location<'a> {
    /// Its name in texts.
    name: &'a str,
    is_host: bool,
    /// The sandbox whose namespace it is.
    sandbox: Option<&'a Sandbox>,
}

impl<'a> Location<'a> {
    fn new(world: &'a World, topology: &'a Topology, id: NamespaceId) -> Self {
        let sandbox = topology[id].sandbox.and_then(|sandbox| world.sandbox(sandbox));
        Self { name: topology.name(id), is_host: id == NamespaceId::HOST, sandbox }
    }

    /// The prefix of a command that has to run in the namespace.
    fn command_prefix(&self) -> String {
        let sandbox = self.sandbox.filter(|sandbox| sandbox.running());
        match sandbox.and_then(Sandbox::namespace) {
            Some(namespace) => format!("nsenter --net={} ", quote(&namespace.path)),
            None => String::new(),
        }
    }
}

fn sandbox_of<'a>(world: &'a World, peer: &Peer) -> Option<&'a Sandbox> {
    match peer {
        Peer::Sandbox(id) => world.sandbox(*id),
        Peer::Address(address) => {
            let holds = |endpoint: &&Endpoint| {
                endpoint.allocation.as_ref().is_some_and(|own| own.addresses().any(|it| it == *address))
            };
            world.endpoints().find(holds).and_then(|endpoint| world.sandbox(endpoint.sandbox))
        }
        Peer::Host | Peer::Lan(_) | Peer::Namespace(_) => None,
    }
}

/// The networks that a sandbox is on, those of users first.
fn networks_of<'a>(world: &'a World, of: &Sandbox) -> Vec<&'a Network> {
    let endpoints = world.endpoints_of_sandbox(of.id);
    let mut networks: Vec<&Network> =
        endpoints.into_iter().filter_map(|endpoint| world.network(endpoint.network)).collect();
    networks.sort_by_key(|network| !network.user_defined());
    networks
}

/// The network that an address belongs to.
fn network_with(world: &World, address: IpAddr) -> Option<&Network> {
    world.networks().find(|network| network.subnets.iter().any(|subnet| subnet.subnet.contains(&address)))
}

/// The address and port where clients reach a published port.
fn place(publication: &Publication, port: u16) -> String {
    match publication.host_address {
        address if address.is_unspecified() => format!("the host's address, port {port}"),
        address => std::net::SocketAddr::new(address, port).to_string(),
    }
}

/// The advice for a port that is published at an address that the host does not have.
fn published_elsewhere(world: &World, query: &Query) -> Option<String> {
    let (Peer::Address(address) | Peer::Lan(Some(address))) = &query.to else { return None };
    let port = query.port;
    let is = |it: &&Publication| {
        let same = it.host_address == *address && it.protocol.number() == query.protocol;
        same && it.host_ports.contains(port) && has_vanished(it, world.host())
    };
    let (sandbox, publication) =
        world.sandboxes().find_map(|sandbox| Some((sandbox, sandbox.publications.iter().find(is)?)))?;
    let give = give_back(*address, world.host()).map_or(String::new(), |command| format!("{command}; or "));
    Some(format!(
        "port {port} is published for {} at {address}, which is no address of the host now: {give}{}",
        sandbox.name,
        publish_everywhere(sandbox, publication)
    ))
}

/// The sandbox's own address at which the published port of a routed sandbox is reached.
fn routed_at(world: &World, sandbox: &Sandbox, asked: &Query) -> Option<IpAddr> {
    let own = [true, false].into_iter().flat_map(|ipv4| world.direct_addresses(sandbox.id, ipv4));
    let mut routed = own.filter(|(_, routed)| *routed).map(|(address, _)| address);
    match asked.to {
        Peer::Address(to) if sandbox_of(world, &asked.to).is_some() => routed.find(|own| *own == to),
        _ => routed.next(),
    }
}

/// The address at which a socket listens at the port, if that is another address.
pub(super) fn elsewhere(waiting: &[Listener], tuple: &Tuple) -> Option<IpAddr> {
    let same =
        |it: &&Listener| it.protocol == tuple.protocol && it.port == tuple.destination_port && !it.held;
    waiting.iter().find(same).map(|it| it.address)
}

/// That something is at one address of the host alone, which may be asked instead, up to what else would help.
pub(super) fn only_at(address: IpAddr, query: &Query) -> String {
    match (address.is_loopback(), &query.from) {
        (false, _) | (true, Peer::Host | Peer::Namespace(NamespaceId::HOST)) => {
            format!("at {address} alone: ask there, or ")
        }
        (true, _) => format!("at {address} alone, which only the host itself reaches: "),
    }
}

/// The advice for a port of the host without a listening socket.
fn no_listener_on_host(world: &World, query: &Query, tuple: &Tuple, waiting: &[Listener]) -> String {
    let port = tuple.destination_port;
    let of = |publication: &Publication| publication.host_ports.contains(port) && !publication.routed;
    let published = world.sandboxes().flat_map(|sandbox| {
        sandbox.publications.iter().filter(|it| of(it)).map(move |publication| (sandbox, publication))
    });
    let published: Vec<(&Sandbox, &Publication)> = published.collect();
    let (same, other): (Vec<_>, Vec<_>) =
        published.into_iter().partition(|(_, publication)| publication.protocol.number() == tuple.protocol);
    let fits = |address: IpAddr| {
        address == tuple.destination
            || (address.is_unspecified() && address.is_ipv4() == tuple.destination.is_ipv4())
    };
    if let Some((sandbox, _)) = same.iter().find(|(_, publication)| fits(publication.host_address)) {
        return format!(
            "port {port} is published for {} and neither NAT nor the proxy forwards it: run the daemon with --iptables=true or --userland-proxy=true",
            sandbox.name
        );
    }
    if let Some((sandbox, publication)) = same.first() {
        let inside = publication.container_port + (port - publication.host_ports.first);
        return format!(
            "port {port} is published for {} {}{}",
            sandbox.name,
            only_at(publication.host_address, query),
            publish(sandbox, &format!("{}:{port}:{inside}", bracketed(tuple.destination)))
        );
    }
    if let Some(address) = elsewhere(waiting, tuple) {
        return format!(
            "what listens at port {port} of the host does so {}have it listen at {} or at all addresses",
            only_at(address, query),
            tuple.destination
        );
    }
    let is_routed = |it: &&Publication| {
        it.routed && it.host_ports.contains(port) && it.protocol.number() == tuple.protocol
    };
    let routed = world.sandboxes().find_map(|sandbox| {
        let publication = sandbox.publications.iter().find(is_routed)?;
        Some((sandbox, publication, routed_at(world, sandbox, query)?))
    });
    if let Some((sandbox, publication, address)) = routed {
        let inside = publication.container_port + (port - publication.host_ports.first);
        return format!(
            "{} is on a routed network, where no port of the host leads to it: ask {}",
            sandbox.name,
            std::net::SocketAddr::new(address, inside)
        );
    }
    if let Some((sandbox, publication)) = other.first() {
        return format!("port {port} is published for {} by {} alone", sandbox.name, publication.protocol);
    }
    format!(
        "start something that listens there, or publish a container's port: fairway publish CONTAINER {port}:PORT"
    )
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The advice for a port of a sandbox without a listening socket.
pub(super) fn no_listener_in_sandbox(namespace: &str, tuple: &Tuple, waiting: &[Listener]) -> String {
    let (address, port) = (tuple.destination, tuple.destination_port);
    if let Some(at) = elsewhere(waiting, tuple) {
        return format!(
            "what listens at port {port} in {namespace} does so at {at} alone: have it listen at {address} or at all addresses"
        );
    }
    let mut ports: Vec<u16> = waiting
        .iter()
        .filter(|it| it.protocol == tuple.protocol && !it.address.is_loopback() && !it.held)
        .map(|it| it.port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(4);
    let listens = match &ports[..] {
        [] => String::new(),
        ports => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("; it listens at {}", ports.join(", "))
        }
    };
    format!("have the program in {namespace} listen at {address} or at all addresses, port {port}{listens}")
}

fn discarded(location: &Location<'_>, reason: &DiscardReason) -> Option<String> {
    use DiscardReason as Reason;
    let at = location.command_prefix();
    match reason {
        Reason::LoopbackSourceLeaves { interface, .. }
        | Reason::LoopbackArrives { address: IpAddr::V4(_), interface, .. } => Some(format!(
            "use another address of the host; or {at}{}; or run the daemon with --userland-proxy=true",
            set_sysctl(&format!("net/ipv4/conf/{interface}/route_localnet"), 1)
        )),
        Reason::NotForwarding { destination, interface } => {
            let by_daemon = location.is_host && interface.is_none();
            let daemon = if by_daemon { ", or run the daemon with --ip-forward=true" } else { "" };
            let sysctl = set_sysctl(&forwarding_sysctl(*destination, interface.as_deref()), 1);
            Some(format!("{at}{sysctl}{daemon}"))
        }
        Reason::EchoIgnored { ipv4 } => Some(format!("{at}{}", set_sysctl(echo_sysctl(*ipv4), 0))),
        Reason::HairpinOff { .. } => Some(
            "run the daemon with --userland-proxy=true, or ask by the container's own address".to_owned(),
        ),
        Reason::ReversePath { interface, .. } => Some(format!(
            "the kernel expects that source elsewhere: give it a route by {interface}, or {at}{}",
            set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), 2)
        )),
        Reason::LinkLocalSource(_) => Some(
            "ask from a global address and for one of the host, or run the daemon with --userland-proxy=true"
                .to_owned(),
        ),
        Reason::OutputDown(interface) => Some(format!("{at}ip link set dev {} up", quote(interface))),
        _ => None,
    }
}

/// The advice for a route that refuses packets.
fn without_route(world: &World, location: &Location<'_>, route: &Route) -> String {
    let set = |it: &Sandbox| {
        let routes = world.routes_in(it.id, it.namespace()?);
        routes.others.into_iter().find(|it| it.route.destination == route.destination)
    };
    match location.sandbox {
        Some(sandbox) if set(sandbox).is_some() => format!(
            "the option fairway.routes of a network of {} refuses it: fairway network inspect NETWORK",
            sandbox.name
        ),
        _ => format!(
            "that is a route of {} itself: {}{}",
            location.name,
            location.command_prefix(),
            delete_route(route)
        ),
    }
}

fn no_route(world: &World, query: &Query, location: &Location<'_>, destination: IpAddr) -> String {
    let Some(sandbox) = location.sandbox else {
        return format!("ip route add {destination} via ROUTER");
    };
    let networks = networks_of(world, sandbox);
    let there = network_with(world, destination).or_else(|| {
        let to = sandbox_of(world, &query.to)?;
        networks_of(world, to).into_iter().next()
    });
    let connect = match there {
        Some(network) => join(&network.name, [sandbox]),
        None => join_way_out(world, destination.is_ipv4(), [sandbox]),
    };
    let why = match networks.iter().find(|network| network.internal) {
        Some(network) => format!("the network {} is internal", network.name),
        None if networks.is_empty() => format!("{} is on no network", location.name),
        None => format!("{} has no route there", location.name),
    };
    format!("{why}: {connect}")
}
