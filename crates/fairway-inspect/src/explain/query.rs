//! Parses the query of `explain`: sender, destination, port and protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::ends::{Ends, Peer};
use fairway_core::names::{Answer, NameTable, QueryType};
use fairway_core::object::Object;
use fairway_core::plan::Plan;
use fairway_core::world::World;
use fairway_model::{PortRange, Protocol, parse};
use fairway_walk::Origin;
use fairway_walk::Tuple;
use fairway_walk::{Interface, MAIN_TABLE, NamespaceId, NetworkNamespace, Route, Topology};
use fairway_walk::{RouteQuery, RouteResult, is_link_local};

/// The prefix of a container's name in a query, where the name alone has another meaning.
const CONTAINER_PREFIX: &str = "container:";
/// What names may begin with, of sandboxes and, without the daemon's help, of containers of all engines.
const QUALIFIERS: [&str; 10] = [
    CONTAINER_PREFIX,
    "fairway:",
    "docker:",
    "podman:",
    "ctr:",
    "pod:",
    "lxc:",
    "machine:",
    "netns:",
    "pid:",
];
/// Names that do not denote a container in a query.
const RESERVED_NAMES: [&str; 4] = ["host", "localhost", "lan", "any"];
/// Another word for the LAN and what is behind it, unless a container has that name.
pub const OUTSIDE: &str = "outside";
/// The source port of walks.
const SOURCE_PORT: u16 = 40_000;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// An invalid query.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum QueryError {
    #[error(
        "cannot find {0:?}: no such container, host or address: give a container (container:NAME if it is called host, localhost, lan or any), host, lan, lan:ADDRESS, an address, or a name that {1} can resolve"
    )]
    NotFound(String, String),
    #[error("invalid port in {0:?}: TO:PORT or TO:PORT/tcp, udp or sctp is expected")]
    Port(String),
    #[error("container {0} is not running: start it first")]
    NotRunning(String),
    #[error(
        "{0} has no IPv4 or IPv6 address: connect it to a network first: fairway network connect NETWORK {0}"
    )]
    NoAddress(String),
    #[error("a packet from {0} and one to {1} are of different families")]
    Families(IpAddr, IpAddr),
    #[error("the host has no interface to a LAN: there is no way to {0}")]
    NoLan(String),
    #[error("{0} is an address of each link: name the interface of {1} too, as in {0}%eth0")]
    NoInterface(IpAddr, String),
    #[error("{1} has no interface {0:?}")]
    UnknownInterface(String, String),
}

/// A query: which packet is sent where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The sender.
    pub from: Peer,
    /// The destination.
    pub to: Peer,
    /// The protocol number; that of an echo request when no port is given.
    pub protocol: u8,
    /// The port; 0 for an echo request.
    pub port: u16,
    /// The interface of the sender, or of the host towards the LAN: `eth0` of `fe80::1%eth0`.
    pub interface: Option<String>,
}

/// The input of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The origin of the walk.
    pub origin: Origin,
    /// The first packet.
    pub tuple: Tuple,
}

/// A port with the number of its protocol.
pub type Port = (u16, u8);

/// Splits `TO[:PORT[/PROTOCOL]]`; an IPv6 address with a port is in brackets.
///
/// # Errors
/// [`QueryError::Port`].
pub fn split(text: &str) -> Result<(&str, Option<Port>), QueryError> {
    let bad = || QueryError::Port(text.to_owned());
    let is_address = |text: &str| zoned(text).0.parse::<IpAddr>().is_ok();
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad)?;
            (address, port.strip_prefix(':'))
        }
        None if is_address(text) => (text, None),
        None => match text.strip_prefix("lan:") {
            // `lan:8080` is a port, `lan:10.0.0.1` an address.
            Some(rest) if rest.parse::<Ipv4Addr>().is_ok() => (text, None),
            Some(rest) if zoned(rest).1.is_some_and(|interface| !interface.contains(':')) => (text, None),
            Some(rest) if rest.contains(':') => {
                let at = text.len() - rest.len() + rest.rfind(':').unwrap_or_default();
                (&text[..at], Some(&text[at + 1..]))
            }
            Some(rest) => ("lan", Some(rest)),
            None => {
                let qualifier = QUALIFIERS.iter().find(|qualifier| text.starts_with(**qualifier));
                let name = &text[qualifier.map_or(0, |qualifier| qualifier.len())..];
                let port = name.split_once(':').map(|(_, port)| port);
                (port.map_or(text, |port| &text[..text.len() - port.len() - 1]), port)
            }
        },
    };
    let Some(port) = port else { return Ok((name, None)) };
    Ok((name, Some(port_of(port).ok_or_else(bad)?)))
}

/// The port and the number of its protocol in `80` or `53/udp`.
pub fn port_of(text: &str) -> Option<Port> {
    match parse::expose(text).as_deref() {
        Ok([(port, protocol)]) => Some((*port, protocol.number())),
        _ => None,
    }
}

/// Splits an address from its interface: `fe80::1%eth0`.
pub fn zoned(text: &str) -> (&str, Option<&str>) {
    text.split_once('%').map_or((text, None), |(address, interface)| (address, Some(interface)))
}

/// The name of a sandbox in texts and queries, with the prefix `container:` if the name alone has another meaning.
pub fn shown_name(name: &str) -> String {
    if RESERVED_NAMES.contains(&name) { format!("{CONTAINER_PREFIX}{name}") } else { name.to_owned() }
}

/// Finds the peer that a text names. `host`, `localhost` and `lan` never denote containers.
pub(crate) fn peer(world: &World, text: &str) -> Option<Peer> {
    let sandbox = |name| world.find_sandbox(name).ok().map(|sandbox| Peer::Sandbox(sandbox.id));
    match text {
        "host" | "localhost" => return Some(Peer::Host),
        "lan" => return Some(Peer::Lan(None)),
        _ => {}
    }
    if let Some(name) = text.strip_prefix(CONTAINER_PREFIX) {
        return sandbox(name);
    }
    sandbox(text).or_else(|| match text.strip_prefix("lan:") {
        Some(address) => zoned(address).0.parse().ok().map(|address| Peer::Lan(Some(address))),
        None if text == OUTSIDE => Some(Peer::Lan(None)),
        None => zoned(text).0.parse().ok().map(Peer::Address),
    })
}

/// Where a host on the LAN reaches a published port of a container: hosts there know no other address of it. None if the
/// sender is not on the LAN, or the port is not published for it. A published port is its protocol, host address, host
/// ports, and the container's port that the first host port leads to.
pub fn published_at(
    from: &Peer,
    (asked, protocol): Port,
    mut published: impl Iterator<Item = (Protocol, IpAddr, PortRange, u16)>,
) -> Option<(Peer, Port)> {
    let Peer::Lan(sender) = from else { return None };
    let ipv4 = sender.is_none_or(|address| address.is_ipv4());
    published.find_map(|(of, address, host_ports, first)| {
        // By IPv6 only an address that is given: which of the host's addresses a host on the LAN uses is not known.
        let reached =
            address.is_ipv4() == ipv4 && !address.is_loopback() && (ipv4 || !address.is_unspecified());
        let host_port = host_ports.first.checked_add(asked.checked_sub(first)?)?;
        let leads = of.number() == protocol && reached && host_ports.contains(host_port);
        let at = if address.is_unspecified() { Peer::Host } else { Peer::Address(address) };
        leads.then_some((at, (host_port, protocol)))
    })
}

impl Query {
    /// Parses the sender and the destination of a query.
    ///
    /// # Errors
    /// No container, host or address has that name, or the port is invalid.
    pub fn parse(world: &World, plan: &Plan, from: &str, to: &str) -> Result<Self, QueryError> {
        let not_found = |text: &str| QueryError::NotFound(text.to_owned(), from.to_owned());
        let origin = peer(world, from).ok_or_else(|| not_found(from))?;
        let (name, port) = split(to)?;
        let asked = match peer(world, name) {
            Some(peer) => peer,
            None => Peer::Address(resolve(plan, &origin, name).ok_or_else(|| not_found(name))?),
        };
        let interface = zoned(name).1.or(zoned(from).1).map(str::to_owned);
        let published = match (&asked, port) {
            (Peer::Sandbox(id), Some(port)) => {
                let publications = world.sandbox(*id).into_iter().flat_map(|it| &it.publications);
                let translated = publications.filter(|it| !it.routed);
                published_at(
                    &origin,
                    port,
                    translated.map(|it| (it.protocol, it.host_address, it.host_ports, it.container_port)),
                )
            }
            _ => None,
        };
        let (asked, port) = published.map_or((asked, port), |(at, port)| (at, Some(port)));
        Ok(Self::between(origin, asked, port, interface))
    }

    /// The query for a packet between two peers: an echo request without a port.
    pub fn between(from: Peer, to: Peer, port: Option<Port>, interface: Option<String>) -> Self {
        let (port, protocol) = port.unwrap_or((0, ICMP));
        Self { from, to, protocol, port, interface }
    }

    /// Finds the origin of the walk and its first packet.
    ///
    /// # Errors
    /// The sender or the destination has no address, or no namespace in the topology.
    pub fn resolve(&self, ends: &impl Ends, topology: &Topology) -> Result<Resolved, QueryError> {
        let destination = self.destination(ends, topology)?;
        let (origin, source) = self.beginning(ends, topology, destination)?;
        let origin = self.by_interface(topology, origin, destination)?;
        let unspecified = match destination {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let source = source.unwrap_or(unspecified);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(QueryError::Families(source, destination));
        }
        let protocol = match (self.protocol, destination) {
            (ICMP, IpAddr::V6(_)) => ICMPV6,
            (protocol, _) => protocol,
        };
        let tuple =
            Tuple { protocol, source, destination, source_port: SOURCE_PORT, destination_port: self.port };
        Ok(Resolved { origin, tuple })
    }

    fn destination(&self, ends: &impl Ends, topology: &Topology) -> Result<IpAddr, QueryError> {
        match &self.to {
            Peer::Address(address) | Peer::Lan(Some(address)) => Ok(*address),
            Peer::Sandbox(_) | Peer::Namespace(_) => {
                let found = ends.address(topology, &self.to, &self.from);
                found.ok_or_else(|| QueryError::NoAddress(ends.name(topology, &self.to)))
            }
            Peer::Host if self.from == Peer::Host => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Peer::Host => lan_of(topology.host(), self.from.is_ipv4())
                .map(|(_, address)| address)
                .ok_or_else(|| QueryError::NoLan("host".to_owned())),
            Peer::Lan(None) => neighbor_of(topology.host(), self.from.is_ipv4())
                .ok_or_else(|| QueryError::NoLan("lan".to_owned())),
        }
    }

    /// The same origin, by the interface of the query.
    fn by_interface(
        &self,
        topology: &Topology,
        origin: Origin,
        destination: IpAddr,
    ) -> Result<Origin, QueryError> {
        let (Origin::Local(place) | Origin::LocalVia(place, _) | Origin::Remote(place, _)) = origin;
        let namespace = &topology[place];
        let index = match &self.interface {
            None => None,
            Some(name) => {
                let unknown = || QueryError::UnknownInterface(name.clone(), namespace.name.clone());
                Some(namespace.interface_named(name).ok_or_else(unknown)?.index)
            }
        };
        Ok(match (origin, index) {
            (Origin::Remote(..), Some(index)) => Origin::Remote(place, index),
            (Origin::Local(_), Some(index)) => Origin::LocalVia(place, index),
            (Origin::Local(_), None) if is_link_local(destination) => {
                return Err(QueryError::NoInterface(destination, namespace.name.clone()));
            }
            _ => origin,
        })
    }

    /// The namespace of the sender; none if it is not on this host, or does not run.
    pub fn sender(&self, ends: &impl Ends, topology: &Topology) -> Option<NamespaceId> {
        match &self.from {
            Peer::Host => Some(NamespaceId::HOST),
            Peer::Sandbox(_) | Peer::Namespace(_) => ends.namespace(topology, &self.from),
            Peer::Address(address) => {
                topology.iter().find(|(_, it)| it.holder(*address).is_some()).map(|(id, _)| id)
            }
            Peer::Lan(_) => None,
        }
    }

    /// The origin, and the source address if the query has one.
    fn beginning(
        &self,
        ends: &impl Ends,
        topology: &Topology,
        destination: IpAddr,
    ) -> Result<(Origin, Option<IpAddr>), QueryError> {
        let host = topology.host();
        match &self.from {
            Peer::Host => Ok((Origin::Local(NamespaceId::HOST), None)),
            Peer::Sandbox(_) | Peer::Namespace(_) => {
                let not_running = || QueryError::NotRunning(ends.name(topology, &self.from));
                Ok((Origin::Local(self.sender(ends, topology).ok_or_else(not_running)?), None))
            }
            Peer::Lan(address) => {
                let no_lan = || QueryError::NoLan("lan".to_owned());
                let way = address.and_then(|address| way_to(host, address));
                let ipv4 = Some(destination.is_ipv4());
                let interface = way.or_else(|| Some(lan_of(host, ipv4)?.0)).ok_or_else(no_lan)?;
                let from = address.or_else(|| neighbor_of(host, ipv4)).ok_or_else(no_lan)?;
                Ok((Origin::Remote(NamespaceId::HOST, interface), Some(from)))
            }
            Peer::Address(address) => {
                if let Some(namespace) = self.sender(ends, topology) {
                    return Ok((Origin::Local(namespace), Some(*address)));
                }
                let way = way_to(host, *address).ok_or_else(|| QueryError::NoLan(address.to_string()))?;
                Ok((Origin::Remote(NamespaceId::HOST, way), Some(*address)))
            }
        }
    }
}

/// The host's output interface for an address.
fn way_to(host: &NetworkNamespace, address: IpAddr) -> Option<u32> {
    let query = RouteQuery::to(address);
    match host.route(&query) {
        RouteResult::Found(route) if route.kind.forwards() => Some(route.interface),
        _ => None,
    }
}

/// The best default route of the main table, of one family or else of any, IPv4 first. Those of other tables are for some
/// packets alone.
fn default_route(host: &NetworkNamespace, ipv4: Option<bool>) -> Option<&Route> {
    let is_default = |route: &&Route| {
        let of_family = ipv4.is_none_or(|ipv4| route.destination.addr().is_ipv4() == ipv4);
        let leads = route.kind.forwards() && route.destination.prefix_len() == 0;
        route.table == MAIN_TABLE && leads && of_family
    };
    let defaults = host.routes.iter().filter(is_default);
    defaults.min_by_key(|route| (route.destination.addr().is_ipv6(), route.metric))
}

/// Whether an interface is hardware, or a link upon hardware.
pub(crate) fn is_lan_link(interface: &Interface) -> bool {
    !interface.loopback
        && ["", "bond", "team", "vlan", "macvlan", "ipvlan"].contains(&interface.kind.as_str())
}

/// Whether an interface leads to a LAN by itself or, as a bridge, by a port.
fn leads_to_lan(host: &NetworkNamespace, interface: &Interface) -> bool {
    let is_port = |it: &Interface| it.bridge == Some(interface.index) && is_lan_link(it);
    is_lan_link(interface) || host.interfaces.iter().any(is_port)
}

/// The interface of the host's default route, or else the first that leads to a LAN, and its address: of one family, or else
/// of any, IPv4 first.
fn lan_of(host: &NetworkNamespace, ipv4: Option<bool>) -> Option<(u32, IpAddr)> {
    let address = |interface: &Interface| {
        let own = interface.addresses.iter().map(|net| net.addr());
        let own = own.filter(|it| !is_link_local(*it) && ipv4.is_none_or(|ipv4| it.is_ipv4() == ipv4));
        Some((interface.index, own.min_by_key(IpAddr::is_ipv6)?))
    };
    let defaults = [default_route(host, ipv4), default_route(host, None)].into_iter().flatten();
    let routed = defaults.filter_map(|route| host.interface(route.interface));
    routed.chain(host.interfaces.iter().filter(|it| leads_to_lan(host, it))).find_map(address)
}

/// An address on the host's LAN, of one family or else of any, IPv4 first: its router, else the first address of the subnet
/// that is not the host's.
pub fn neighbor_of(host: &NetworkNamespace, ipv4: Option<bool>) -> Option<IpAddr> {
    let gateway = default_route(host, ipv4).and_then(|route| route.gateway);
    if let Some(gateway) = gateway.filter(|it| !is_link_local(*it)) {
        return Some(gateway);
    }
    let (index, own) = lan_of(host, ipv4)?;
    let net = host.interface(index)?.addresses.iter().find(|net| net.addr() == own)?;
    // The first address of an IPv6 subnet is that of all its routers, but between two (RFC 6164).
    let of_routers = |it: &IpAddr| it.is_ipv6() && net.prefix_len() < 127 && *it == net.network();
    net.hosts().find(|address| *address != own && !of_routers(address))
}

/// Resolves a name as a sandbox's resolver does.
pub(crate) fn resolve(plan: &Plan, origin: &Peer, name: &str) -> Option<IpAddr> {
    let Peer::Sandbox(sandbox) = origin else { return None };
    let mut table = NameTable::new();
    for object in plan.objects().map(|(_, object)| object) {
        match object {
            Object::Names(record) => table.insert(record.clone()),
            Object::View(view) => table.set_view(view.clone()),
            _ => {}
        }
    }
    let folded = name.trim_end_matches('.').to_ascii_lowercase();
    [QueryType::A, QueryType::Aaaa].into_iter().find_map(|kind| match table.answer(*sandbox, &folded, kind) {
        Answer::Addresses(addresses) => addresses.first().copied(),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
