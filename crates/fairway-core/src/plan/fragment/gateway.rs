//! What follows from how networks are joined to what is outside.

use super::Maker;
use crate::object::ElementKey;
use crate::object::ElementValue;
use fairway_model::{Isolation, Network, Publication, Sandbox};

impl Maker<'_> {
    /// The isolation of a network from other bridge networks.
    pub(super) fn isolation(&mut self, network: &Network) {
        let isolation = self.world.isolation(network);
        if isolation == Isolation::False {
            self.member(ElementKey::open_bridge(&network.bridge));
        }
        if isolation != Isolation::Strict {
            self.member(ElementKey::lenient_bridge(&network.bridge));
        }
    }

    /// What passes between a network and what is outside.
    pub(super) fn gateway_rules(&mut self, network: &Network) {
        let (world, bridge) = (self.world, network.bridge.as_str());
        for ipv4 in [true, false] {
            if world.is_masqueraded(network, ipv4) {
                self.member(ElementKey::masquerade_bridge(bridge, ipv4));
            }
            if let Some(source) = world.outbound_source(network, ipv4) {
                let key = ElementKey::snat(bridge, ipv4);
                self.element(key, ElementValue::Address(source), "");
            }
            if world.is_unprotected(network, ipv4) {
                self.member(ElementKey::unprotected_bridge(bridge, ipv4));
            }
            if world.is_routed(network, ipv4) {
                self.member(ElementKey::routed_mode_bridge(bridge, ipv4));
            }
        }
        for interface in network.bridge_options.trusted_interfaces.iter().filter(|_| !network.internal) {
            self.member(ElementKey::trusted_interface(interface, bridge));
        }
    }

    /// Published ports by the sandbox's own addresses of a family, for those who may go straight there.
    pub(super) fn published_directly(&mut self, sandbox: &Sandbox, ipv4: bool) {
        let of_family = |p: &&Publication| p.host_address.is_ipv4() == ipv4;
        for (address, routed) in self.world.direct_addresses(sandbox.id, ipv4) {
            // What is published for the host itself alone is not opened to others, but for where host
            // addresses have no meaning.
            let meant = |p: &&Publication| routed || !p.host_address.is_loopback();
            for publication in sandbox.publications.iter().filter(of_family).filter(meant) {
                for port in publication.container_ports().iter() {
                    let key = ElementKey::direct_port(address, publication.protocol, port);
                    self.element(key, ElementValue::None, &sandbox.name);
                    self.direct_rules(address, publication.protocol, port);
                }
            }
        }
    }
}
