//! What follows from networks whose subnet other hosts reach by routes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Maker;
use crate::object::ElementKey;
use crate::object::{HostRoute, Key, Object};
use fairway_model::{Driver, Network};

impl Maker<'_> {
    /// The routes to peers, and what they may: reach all of the network, and be reached without a translation.
    pub(super) fn peers(&mut self, network: &Network) {
        if network.driver != Driver::Routed {
            return;
        }
        self.member(ElementKey::routed_driver_bridge(&network.bridge));
        for peer in &network.peers {
            let route = HostRoute { network: network.id, gateway: peer.gateway };
            self.add(Key::Route(peer.subnet), Object::Route(route));
        }
        for peer in open_to(network) {
            self.member(ElementKey::peer(&network.bridge, peer));
        }
    }
}

/// Whom a network is open to: the subnets of its peers, and the hosts themselves, for what they ask for comes from
/// their address on the LAN. Two subnets may be behind one host, and one host's address in another's subnet, which is
/// one range then.
pub(super) fn open_to(network: &Network) -> Vec<IpNet> {
    let covered = |host: &IpAddr| network.peers.iter().any(|peer| peer.subnet.contains(host));
    let hosts: BTreeSet<IpAddr> = network.peers.iter().map(|peer| peer.gateway).collect();
    let hosts = hosts.into_iter().filter(|host| !covered(host)).map(IpNet::from);
    network.peers.iter().map(|peer| peer.subnet).chain(hosts).collect()
}
