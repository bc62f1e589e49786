//! What follows from how networks are joined to what is outside.

use super::Maker;
use crate::model::{Allocation, Network, Publication, Sandbox, SandboxId};
use crate::plan::ElementValue;
use crate::policy::ElementKey;

impl Maker<'_> {
    /// What passes between a network and what is outside.
    pub(super) fn gateway_rules(&mut self, network: &Network) {
        let (world, bridge) = (self.world, network.bridge.as_str());
        for ipv4 in [true, false] {
            if world.masqueraded(network, ipv4) {
                self.member(ElementKey::masquerade(bridge, ipv4));
            }
            if let Some(source) = world.outbound_source(network, ipv4) {
                let key = ElementKey::outbound_source(bridge, ipv4);
                self.element(key, ElementValue::Address(source), "");
            }
            if world.unprotected(network, ipv4) {
                self.member(ElementKey::unprotected(bridge, ipv4));
            }
            if world.routed(network, ipv4) {
                self.member(ElementKey::routed_mode(bridge, ipv4));
            }
        }
        for interface in network.bridge_options.trusted_interfaces.iter().filter(|_| !network.internal) {
            self.member(ElementKey::trusted(interface, bridge));
        }
    }

    /// Who is asked straight on a network that is not its gateway answers by its default route, so by
    /// another port than the one that has the address.
    pub(super) fn answers_elsewhere(&mut self, id: SandboxId) {
        let endpoints = self.world.endpoints_of_sandbox(id);
        for asked in &endpoints {
            let Some(network) = self.world.network(asked.network) else { continue };
            let open = |ipv4| self.world.routed(network, ipv4) || self.world.unprotected(network, ipv4);
            let given = asked.allocation.iter().flat_map(Allocation::addresses);
            for address in given.filter(|address| open(address.is_ipv4())).collect::<Vec<_>>() {
                let others = endpoints.iter().filter(|other| other.id != asked.id);
                for port in others.filter_map(|other| other.allocation.as_ref()) {
                    self.member(ElementKey::own(&port.host_interface, address));
                }
            }
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
                    let key = ElementKey::direct(address, publication.protocol, port);
                    self.element(key, ElementValue::None, &sandbox.name);
                    self.direct_rules(address, publication.protocol, port);
                }
            }
        }
    }

    /// What else of its own a sandbox may send from, where it may send from nothing that is not.
    pub(super) fn strict_guard(&mut self, network: &Network, allocation: &Allocation) {
        if self.world.strictly_guarded(network) {
            let port = &allocation.host_interface;
            self.member(ElementKey::strict_port(port));
            self.member(ElementKey::own(port, allocation.mac.link_local().into()));
        }
    }
}
