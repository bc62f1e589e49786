//! Name servers on loopback in the resolv.conf of containers.

use std::io::Read;
use std::net::IpAddr;

use fairway_kernel::{namespace, survey};
use fairway_model::{Protocol, ResolvConf, ResolverAddresses};
use fairway_walk::{Listener, NamespaceId};
use ipnet::IpNet;

use crate::host::Host;

/// How much of a resolv.conf is read.
const LARGEST_FILE: u64 = 1024 * 1024;
const DNS: u16 = 53;

impl Host {
    /// The name servers on loopback in a container's resolv.conf at which no socket of its namespace listens. None is
    /// reported of a container without a network.
    pub(super) fn dead_name_servers(&self, process: u32, place: NamespaceId) -> Vec<IpAddr> {
        if self.topology[place].interfaces.iter().all(|it| it.loopback) {
            return Vec::new();
        }
        let servers = on_loopback(process);
        if servers.is_empty() {
            return servers;
        }
        // What cannot be read is not reported.
        let Some(sockets) = self.sockets_in(place) else { return Vec::new() };
        servers.into_iter().filter(|server| !is_served(&sockets, *server)).collect()
    }

    fn sockets_in(&self, place: NamespaceId) -> Option<Vec<Listener>> {
        let handle = namespace::open(&self.listed.get(place.0)?.namespace).ok()?;
        self.workers.run(&handle, survey::listeners).ok()?.ok()
    }
}

/// The name servers on loopback in the resolv.conf that a process sees.
fn on_loopback(process: u32) -> Vec<IpAddr> {
    let file = fairway_containers::open_inside(process, "/etc/resolv.conf");
    let text = file.and_then(|it| std::io::read_to_string(it.take(LARGEST_FILE))).unwrap_or_default();
    let servers = ResolvConf::parse(&text, |_| None).nameservers;
    servers.into_iter().map(|it| it.address).filter(IpAddr::is_loopback).collect()
}

/// Whether a socket answers a name server's address: one at port 53, or one at the address itself, since rules may lead
/// port 53 there, as Docker's do. Rules of Fairway lead all addresses of the resolver's range to one socket in the range.
fn is_served(sockets: &[Listener], server: IpAddr) -> bool {
    let is_resolver = |address: IpAddr| IpNet::V4(ResolverAddresses::RANGE).contains(&address);
    sockets.iter().filter(|it| it.protocol == Protocol::Udp.number()).any(|it| {
        it.address == server
            || (is_resolver(it.address) && is_resolver(server))
            || (it.address.is_unspecified() && it.port == DNS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(protocol: Protocol, address: &str, port: u16) -> Listener {
        Listener {
            protocol: protocol.number(),
            address: address.parse().unwrap(),
            port,
            both_families: false,
            interface: None,
            owner: String::new(),
            held: false,
            proxy: None,
        }
    }

    #[test]
    fn a_socket_serves_its_own_address_and_port_53_of_all() {
        let server = "127.0.0.53".parse().unwrap();
        for (socket, served) in [
            (socket(Protocol::Udp, "127.0.0.53", 53), true),
            (socket(Protocol::Udp, "127.0.0.53", 40123), true),
            (socket(Protocol::Udp, "0.0.0.0", 53), true),
            (socket(Protocol::Udp, "::", 53), true),
            (socket(Protocol::Udp, "0.0.0.0", 68), false),
            (socket(Protocol::Udp, "127.0.0.1", 53), false),
            (socket(Protocol::Tcp, "127.0.0.53", 53), false),
        ] {
            assert_eq!(is_served(std::slice::from_ref(&socket), server), served, "{socket:?}");
        }
        assert!(!is_served(&[], server));
    }

    #[test]
    fn the_resolver_serves_all_addresses_of_its_range() {
        let resolver = [socket(Protocol::Udp, "127.0.0.64", 40123)];
        for (server, served) in [("127.0.0.65", true), ("127.0.0.127", true), ("127.0.0.53", false)] {
            assert_eq!(is_served(&resolver, server.parse().unwrap()), served, "{server}");
        }
    }
}
