//! Checks of the peers of routed networks.

use ipnet::IpNet;

use crate::world::option::PEERS;
use crate::world::{Refusal, World};
use fairway_model::address_range::overlap;
use fairway_model::{Driver, Peer, Subnet};

fn refused(peers: &[Peer], reason: impl Into<String>) -> Refusal {
    let value: Vec<String> = peers.iter().map(Peer::to_string).collect();
    Refusal::InvalidOption { name: PEERS.to_owned(), value: value.join(","), reason: reason.into() }
}

impl World {
    /// Refuses peers of other drivers and of internal networks, and peers whose subnets overlap another network or peer or
    /// equal the destination of a route of the host, which would be replaced.
    pub(super) fn check_peers(&self, peers: &[Peer], driver: Driver, internal: bool) -> Result<(), Refusal> {
        if peers.is_empty() {
            return Ok(());
        }
        if driver != Driver::Routed {
            return Err(refused(peers, "only a network of the driver routed has peers"));
        }
        if internal {
            return Err(refused(peers, "an internal network has no routes to other hosts: drop --internal"));
        }
        for (number, peer) in peers.iter().enumerate() {
            let named = peers[..number].iter().map(|other| (other.subnet, "another peer's".to_owned()));
            let taken =
                self.taken_subnets(None).into_iter().map(|(held, name)| (held, format!("network {name}'s")));
            if let Some((held, whose)) = named.chain(taken).find(|(held, _)| overlap(*held, peer.subnet)) {
                return Err(refused(peers, format!("{} overlaps {held}, which is {whose}", peer.subnet)));
            }
            if let Some(route) = self.host.routes.iter().find(|route| route.destination == peer.subnet) {
                let interface = route.interface.clone();
                return Err(Refusal::RouteTaken { destination: peer.subnet, interface });
            }
        }
        Ok(())
    }
}

/// Refuses peers within the network itself.
pub(super) fn check_apart(peers: &[Peer], subnets: &[Subnet]) -> Result<(), Refusal> {
    let within = |peer: &Peer, subnet: IpNet| {
        overlap(peer.subnet, subnet) || subnet.contains(&peer.gateway) || peer.subnet.contains(&peer.gateway)
    };
    for peer in peers {
        if let Some(own) = subnets.iter().find(|own| within(peer, own.subnet)) {
            let reason = format!(
                "it does not lead out of {}: a peer has a subnet of its own, and its host an address on a LAN",
                own.subnet
            );
            return Err(refused(&[*peer], reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
