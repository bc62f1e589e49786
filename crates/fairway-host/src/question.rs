//! Finds what the two ends of a question mean on this host.

use std::net::IpAddr;

use fairway_containers::Engine;
use fairway_inspect::explain::{
    ByTopology, Ends, OUTSIDE, Peer, Port, Query, QueryError, neighbor_of, port_of, published_at, split,
    zoned,
};
use fairway_walk::NamespaceId;

use crate::error::HostError;
use crate::host::Host;

/// The prefix of a container's name, where the name alone has another meaning.
const CONTAINER: &str = "container:";

impl Host {
    /// Reads a question.
    ///
    /// # Errors
    /// No container, process, host or address has the name, several containers have it, or the port is invalid.
    pub(crate) fn question(&self, from: &str, to: &str) -> Result<Query, HostError> {
        let not_found =
            || HostError::NotFound { text: from.to_owned(), asker: from.to_owned(), because: None };
        let sender = self.peer(from)?.ok_or_else(not_found)?;
        let interface = zoned(from).1;
        let query = |peer: Peer, name: &str, port| {
            let interface = zoned(name).1.or(interface).map(str::to_owned);
            let address = ByTopology.address(&self.topology, &peer, &sender).map(|it| it.is_ipv4());
            let origin = self.seen(sender.clone(), peer.is_ipv4().or(address));
            Query::between(origin, peer, port, interface)
        };
        let mut unclear = None;
        for (name, port) in readings(to) {
            match self.peer(name) {
                Ok(Some(peer)) => {
                    let published = port.and_then(|port| self.published(&sender, &peer, port));
                    let (peer, port) = published.map_or((peer, port), |(at, port)| (at, Some(port)));
                    return Ok(query(peer, name, port));
                }
                Ok(None) => {}
                // Another reading may be what is meant.
                Err(error) => unclear = unclear.or(Some(error)),
            }
        }
        if let Some(error) = unclear {
            return Err(error);
        }
        let (name, port) = split(to)?;
        let origin = self.seen(sender.clone(), None);
        let address = self.look_up(&origin, name).map_err(|because| HostError::NotFound {
            text: name.to_owned(),
            asker: ByTopology.name(&self.topology, &origin),
            because,
        })?;
        Ok(query(Peer::Address(address), name, port))
    }

    /// Where a host on the LAN reaches a published port of the containers of a namespace.
    fn published(&self, from: &Peer, to: &Peer, port: Port) -> Option<(Peer, Port)> {
        let Peer::Namespace(place) = to else { return None };
        let ports: Vec<_> = self.containers_in(*place).flat_map(|it| it.ports.clone()).collect();
        let known = ports
            .into_iter()
            .filter_map(|it| Some((it.protocol, it.host_address, it.host_ports, it.container_port?)));
        published_at(from, port, known)
    }

    /// A host of the LAN whose namespace is on this host, such as a virtual machine's or a lab's, is walked from there.
    /// The address of a container is not on the LAN: a packet that comes from there with it is a forged one.
    /// `ipv4` says by which family it asks, if that is known.
    fn seen(&self, peer: Peer, ipv4: Option<bool>) -> Peer {
        let address = match peer {
            Peer::Lan(None) => neighbor_of(self.topology.host(), ipv4),
            Peer::Lan(address) => address,
            _ => None,
        };
        let is_there = |address: &IpAddr| {
            let mut others = self.topology.iter().skip(1).filter(|(_, it)| it.holder(*address).is_some());
            others
                .next()
                .is_some_and(|(id, _)| self.containers_in(id).all(|it| it.engine == Engine::NamedNamespace))
        };
        address.filter(is_there).map_or(peer, Peer::Address)
    }

    /// The end that a text means, without asking name servers; none if it means nothing here.
    pub(crate) fn peer(&self, text: &str) -> Result<Option<Peer>, HostError> {
        match text {
            "host" | "localhost" => return Ok(Some(Peer::Host)),
            "lan" | OUTSIDE => return Ok(Some(Peer::Lan(None))),
            _ => {}
        }
        let name = text.strip_prefix(CONTAINER);
        if let Some(container) = self.containers.resolve(name.unwrap_or(text))? {
            if !container.state.exists() {
                return Err(HostError::NotRunning(container.qualified()));
            }
            let place = self.place_of(&container).ok_or_else(|| HostError::Unseen(container.qualified()))?;
            return Ok(Some(if place == NamespaceId::HOST { Peer::Host } else { Peer::Namespace(place) }));
        }
        if name.is_some() {
            return Ok(None);
        }
        let outside = text.strip_prefix("lan:").or_else(|| text.strip_prefix("outside:"));
        let address = zoned(outside.unwrap_or(text)).0.parse::<IpAddr>().ok();
        Ok(match (address, outside) {
            (Some(address), Some(_)) => Some(Peer::Lan(Some(address))),
            (Some(address), None) => Some(Peer::Address(address)),
            (None, _) => None,
        })
    }
}

/// The ways to read `TO[:PORT[/PROTOCOL]]`, in their order: names of containers have colons too (`docker:web:80`,
/// `pid:1234`).
pub(crate) fn readings(text: &str) -> Vec<(&str, Option<Port>)> {
    if zoned(text).0.parse::<IpAddr>().is_ok() {
        return vec![(text, None)];
    }
    let with_port = || {
        let (name, port) = text.rsplit_once(':')?;
        Some((name, Some(port_of(port)?)))
    };
    let plain: Result<(&str, Option<Port>), QueryError> = split(text);
    with_port().into_iter().chain([(text, None)]).chain(plain.ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_behind_the_last_colon() {
        let tcp = |port| Some((port, 6));
        assert_eq!(readings("web:80")[0], ("web", tcp(80)));
        assert_eq!(readings("docker:web:53/udp")[0], ("docker:web", Some((53, 17))));
        assert_eq!(readings("pid:1234")[..2], [("pid", tcp(1234)), ("pid:1234", None)]);
        assert_eq!(readings("pid:1234:80")[0], ("pid:1234", tcp(80)));
        assert_eq!(readings("netns:/run/netns/blue:80")[0], ("netns:/run/netns/blue", tcp(80)));
        assert_eq!(readings("docker:web")[0], ("docker:web", None));
        assert_eq!(readings("lan:8080")[0], ("lan", tcp(8080)));
        assert_eq!(readings("lan:10.0.0.1")[0], ("lan:10.0.0.1", None));
    }

    #[test]
    fn addresses_are_read_whole() {
        assert_eq!(readings("fd00::1:80"), [("fd00::1:80", None)]);
        assert_eq!(readings("fe80::1%eth0"), [("fe80::1%eth0", None)]);
        assert_eq!(readings("10.0.0.1"), [("10.0.0.1", None)]);
        assert!(readings("[fd00::1]:80").contains(&("fd00::1", Some((80, 6)))));
        assert_eq!(readings("10.0.0.1:80")[0], ("10.0.0.1", Some((80, 6))));
    }
}
