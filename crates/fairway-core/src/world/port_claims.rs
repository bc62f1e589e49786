//! Claimed host ports and their holders.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_model::{Protocol, Publication};
use imbl::OrdMap;

/// Claimed host ports, each with its holder. A lookup takes logarithmic time.
#[derive(Debug, Clone)]
pub(super) struct PortClaims<T>(OrdMap<(Protocol, u16, IpAddr), T>);

impl<T> Default for PortClaims<T> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

/// The first and the last address of the family of `address`. The first, unspecified address means all addresses.
fn family(address: IpAddr) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into()),
    }
}

impl<T: Copy + PartialEq> PortClaims<T> {
    /// Claims the ports of a publication.
    pub fn claim(&mut self, publication: &Publication, holder: T) {
        let Publication { protocol, host_address, .. } = *publication;
        publication.claimed_ports().for_each(|port| self.claim_port(protocol, port, host_address, holder));
    }

    /// Claims one port.
    pub fn claim_port(&mut self, protocol: Protocol, port: u16, address: IpAddr, holder: T) {
        self.0.insert((protocol, port, address), holder);
    }

    /// Releases the ports of a publication that `holder` has claimed.
    pub fn release(&mut self, publication: &Publication, holder: T) {
        let Publication { protocol, host_address, .. } = *publication;
        for port in publication.claimed_ports() {
            let key = (protocol, port, host_address);
            if self.0.get(&key) == Some(&holder) {
                self.0.remove(&key);
            }
        }
    }

    /// The holder of a port at exactly this address.
    pub fn at(&self, protocol: Protocol, port: u16, address: IpAddr) -> Option<T> {
        self.0.get(&(protocol, port, address)).copied()
    }

    /// The holder of a port that conflicts with `address`. An unspecified address conflicts with every address of its
    /// family.
    pub fn holder(&self, protocol: Protocol, port: u16, address: IpAddr) -> Option<T> {
        #[cfg(test)]
        LOOKUPS.set(LOOKUPS.get() + 1);
        let (all, last) = family(address);
        if address == all {
            let mut claims = self.0.range((protocol, port, all)..=(protocol, port, last));
            return claims.next().map(|(_, holder)| *holder);
        }
        self.at(protocol, port, address).or_else(|| self.at(protocol, port, all))
    }
}

#[cfg(test)]
thread_local! {
    /// The number of conflict lookups on this thread, for tests of the cost.
    pub(super) static LOOKUPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_model::PortRange;

    fn claim(address: &str, ports: PortRange) -> Publication {
        let (host_address, protocol) = (address.parse().unwrap(), Protocol::Tcp);
        Publication { host_address, host_ports: ports, container_port: 1, protocol, routed: false }
    }

    #[test]
    fn an_unspecified_address_conflicts_with_each_of_its_family() {
        let mut claims = PortClaims::default();
        claims.claim(&claim("127.0.0.1", PortRange { first: 5, last: 6 }), 'a');
        claims.claim(&claim("::", PortRange::single(7)), 'b');
        let holder = |port, address: &str| claims.holder(Protocol::Tcp, port, address.parse().unwrap());
        assert_eq!((holder(5, "127.0.0.1"), holder(6, "0.0.0.0")), (Some('a'), Some('a')));
        assert_eq!((holder(5, "127.0.0.2"), holder(5, "::"), holder(4, "0.0.0.0")), (None, None, None));
        assert_eq!(
            (holder(7, "::"), holder(7, "fd00::1"), holder(7, "0.0.0.0")),
            (Some('b'), Some('b'), None)
        );
        assert_eq!(claims.holder(Protocol::Udp, 5, "127.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn only_the_holder_releases() {
        let mut claims = PortClaims::default();
        let one = claim("127.0.0.1", PortRange::single(5));
        claims.claim(&one, 'a');
        claims.release(&one, 'b');
        assert_eq!(claims.at(Protocol::Tcp, 5, one.host_address), Some('a'));
        claims.release(&one, 'a');
        assert_eq!(claims.at(Protocol::Tcp, 5, one.host_address), None);
    }
}
