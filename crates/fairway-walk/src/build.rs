//! Builds namespaces from interfaces and routes, with the routes and rules that the kernel adds by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::topology::{Interface, NetworkNamespace, Route, RouteKind, RouteRule};

const LOCAL_TABLE: u32 = 255;
/// The number of the main routing table.
pub const MAIN_TABLE: u32 = 254;
const LOOPBACK: ipnet::Ipv4Net = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// A namespace with nothing but loopback and the rules that the kernel begins with.
pub fn empty_namespace(name: &str) -> NetworkNamespace {
    let rule = |priority, ipv4, table| RouteRule { priority, ipv4, table, ..RouteRule::default() };
    let mut namespace = NetworkNamespace { name: name.to_owned(), ..NetworkNamespace::default() };
    for ipv4 in [true, false] {
        namespace.rules.extend([rule(0, ipv4, LOCAL_TABLE), rule(32_766, ipv4, MAIN_TABLE)]);
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(IpNet::from);
    let interface = Interface {
        index: 1,
        name: "lo".to_owned(),
        loopback: true,
        up: true,
        addresses: loopback.to_vec(),
        forwarding: (true, true),
        ..Interface::default()
    };
    add_interface(&mut namespace, interface);
    namespace
        .routes
        .push(Route { destination: IpNet::V4(LOOPBACK), ..local(IpAddr::V4(Ipv4Addr::LOCALHOST), 1) });
    namespace
}

fn local(address: IpAddr, interface: u32) -> Route {
    Route {
        table: LOCAL_TABLE,
        destination: address.into(),
        kind: RouteKind::Local,
        gateway: None,
        interface,
        metric: 0,
        source: Some(address),
    }
}

/// Adds an interface with the routes that the kernel adds for its addresses.
pub fn add_interface(namespace: &mut NetworkNamespace, interface: Interface) {
    for address in &interface.addresses {
        add_address_routes(namespace, interface.index, *address);
    }
    namespace.interfaces.push(interface);
}

/// Adds the routes that the kernel adds for an address of the interface with an index.
pub fn add_address_routes(namespace: &mut NetworkNamespace, index: u32, address: IpNet) {
    namespace.routes.push(local(address.addr(), index));
    if address.prefix_len() < address.max_prefix_len() {
        namespace.routes.push(Route {
            table: MAIN_TABLE,
            destination: address.trunc(),
            kind: RouteKind::Unicast,
            gateway: None,
            interface: index,
            metric: 0,
            source: Some(address.addr()),
        });
    }
    // The network's broadcast address (`fib_add_ifaddr` in net/ipv4/fib_frontend.c).
    if let IpNet::V4(net) = address
        && net.prefix_len() < 31
    {
        let broadcast = local(net.broadcast().into(), index);
        let (kind, source) = (RouteKind::Broadcast, Some(address.addr()));
        namespace.routes.push(Route { kind, source, ..broadcast });
    }
}

/// Adds a default route.
pub fn add_default_route(namespace: &mut NetworkNamespace, gateway: IpAddr, interface: u32) {
    let all = match gateway {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    namespace.routes.push(Route {
        table: MAIN_TABLE,
        destination: all,
        kind: RouteKind::Unicast,
        gateway: Some(gateway),
        interface,
        metric: 0,
        source: None,
    });
}
