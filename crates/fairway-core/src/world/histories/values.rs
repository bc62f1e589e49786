//! The names, options, requests and interfaces that numbers of steps stand for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fairway_model::{
    EndpointRequest, Lease, LeaseRequest, MacAddress, PortRange, Protocol, PublishRequest, Uplink,
    UplinkRoute,
};

use crate::world::World;

/// The name of the network of that number; number 4 is the default bridge.
pub(super) fn network_name(number: u8) -> String {
    if number == 4 { "bridge".to_owned() } else { format!("net{number}") }
}

/// A bridge that the user created.
pub(super) const OWN_BRIDGE: &str = "own0";

/// The options that random networks have.
pub(super) const NETWORK_OPTIONS: [(&str, &str); 20] = [
    ("fairway.addresses", "false"),
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
    ("fairway.default_route", "false"),
    ("fairway.isolate", "false"),
    ("fairway.isolate", "true"),
    ("fairway.metric", "50"),
    ("fairway.routes", "blackhole:10.66.0.0/16"),
];

pub(super) fn network_options(icc: bool, chosen: &[u8]) -> BTreeMap<String, String> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let icc = ("com.docker.network.bridge.enable_icc".to_owned(), icc.to_string());
    chosen.iter().map(|number| pair(NETWORK_OPTIONS[usize::from(*number)])).chain([icc]).collect()
}

/// The lease that a DHCP server grants: of the lowest free address.
pub(super) fn lend(world: &World, request: LeaseRequest) -> Lease {
    let given: Vec<_> = world.endpoints().filter_map(|it| it.allocation.as_ref()?.ipv4).collect();
    let free = (2..9)
        .chain(10..)
        .map(|last| Ipv4Addr::new(10, 45, 0, last))
        .find(|address| !given.contains(address));
    Lease {
        address: free.expect("an address is free"),
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

/// The name of the sandbox of that number.
pub(super) fn sandbox_name(number: u8) -> String {
    format!("sandbox{number}")
}

/// The request of an endpoint on the network of that number.
pub(super) fn endpoint(subnet: u8, address: Option<u8>) -> EndpointRequest {
    let ipv4 = address.map(|last| Ipv4Addr::new(10, subnet, 0, last));
    let aliases = if subnet == 4 { Vec::new() } else { vec![format!("alias{}", subnet % 2)] };
    // An endpoint that requests an address also sets a sysctl; some disable IPv6, some limit their traffic.
    let sysctl = address.map(|last| match last {
        0..3 => "net.ipv6.conf.IFNAME.disable_ipv6=1",
        _ => "net.ipv4.conf.IFNAME.log_martians=1",
    });
    let sysctls = sysctl.map(|text| ("com.docker.network.endpoint.sysctls".to_owned(), text.to_owned()));
    let limited = address.is_some_and(|last| last % 4 == 3);
    let limit = limited.then(|| ("fairway.egress_rate".to_owned(), "10mbit".to_owned()));
    let driver_options = sysctls.into_iter().chain(limit).collect();
    EndpointRequest { ipv4, aliases, driver_options, ..EndpointRequest::default() }
}

/// TCP, or by the parity of the port SCTP or UDP.
pub(super) fn protocol(udp: bool, port: Option<u8>) -> Protocol {
    match (udp, port) {
        (false, _) => Protocol::Tcp,
        (true, Some(port)) if port % 2 == 1 => Protocol::Sctp,
        (true, _) => Protocol::Udp,
    }
}

/// A request to publish one port, or three consecutive ones.
pub(super) fn publish((host, udp): (Option<u8>, bool), wide: bool) -> PublishRequest {
    let range = |first| PortRange { first, last: first + if wide { 2 } else { 0 } };
    PublishRequest {
        host_address: host.filter(|port| port % 3 == 0).map(|_| IpAddr::from([127, 0, 0, 1])),
        host_ports: host.map(|port| range(8000 + u16::from(port))),
        container_ports: range(80),
        protocol: protocol(udp, host),
    }
}

/// The option of two peers, the second in the subnet of the first.
pub(super) fn peer(number: u8) -> (String, String) {
    let peers = format!("10.2{number}.0.0/24@10.9.0.{number},10.3{number}.0.0/24@10.2{number}.0.9");
    ("fairway.peers".to_owned(), peers)
}

/// The interface of the host of that number.
pub(super) fn uplink(number: u8) -> Uplink {
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
        unusable: None,
    }
}
