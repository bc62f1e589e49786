//! What follows from networks whose subnet other hosts reach by routes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Maker;
use crate::model::{Driver, EndpointId, Network, Publication};
use crate::plan::{HostRoute, Key, Object};
use crate::policy::ElementKey;

impl Maker<'_> {
    /// The routes to peers, and what they may: reach all of the network, and be reached without a translation.
    pub(super) fn peers(&mut self, network: &Network) {
        if network.driver != Driver::Routed {
            return;
        }
        self.member(ElementKey::routed(&network.bridge));
        let mut hosts = BTreeSet::new();
        for peer in &network.peers {
            let route = HostRoute { network: network.id, gateway: peer.gateway };
            self.add(Key::Route(peer.subnet), Object::Route(route));
            self.member(ElementKey::peer(&network.bridge, peer.subnet));
            hosts.insert(peer.gateway);
        }
        // The hosts themselves: what they ask for comes from their address on the LAN. Two subnets may be
        // behind one host, and one host's address in another's subnet, which is one range then.
        let covered = |host: &IpAddr| network.peers.iter().any(|peer| peer.subnet.contains(host));
        for host in hosts.into_iter().filter(|host| !covered(host)) {
            self.member(ElementKey::peer(&network.bridge, host.into()));
        }
    }

    /// A port that is published may be reached by the sandbox's own address, if its subnet is routed, by whomever
    /// the host's address is for too.
    pub(super) fn open(&mut self, publication: &Publication, target: Option<(EndpointId, IpAddr)>) {
        let Some((endpoint, address)) = target else { return };
        let network = self.world.endpoint(endpoint).and_then(|endpoint| self.world.network(endpoint.network));
        let routed = network.is_some_and(|network| network.driver == Driver::Routed);
        if !routed || publication.host_address.is_loopback() {
            return;
        }
        for (_, port) in publication.pairs() {
            self.member(ElementKey::open(address, publication.protocol, port));
        }
    }
}
