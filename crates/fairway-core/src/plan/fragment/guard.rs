//! The elements that keep a sandbox from using an address or MAC of another endpoint, or of the gateway.

use std::net::IpAddr;

use super::Maker;
use crate::object::ElementKey;
use fairway_model::{Allocation, Network, SandboxId};

impl Maker<'_> {
    /// What an endpoint owns at its port: its MAC, its addresses, and the link-local address that the kernel makes of
    /// the MAC (RFC 4291 appendix A). Other link-local addresses (RFC 7217, RFC 8981) are not known, so they belong
    /// to no endpoint.
    pub(super) fn guard(&mut self, network: &Network, allocation: &Allocation) {
        let port = &allocation.host_interface;
        self.member(ElementKey::assigned_mac(allocation.mac));
        self.member(ElementKey::port_mac(port, allocation.mac));
        let link_local = IpAddr::V6(allocation.mac.link_local());
        let derived = Some(link_local).filter(|_| network.enable_ipv6);
        for address in allocation.addresses().chain(derived) {
            self.member(ElementKey::assigned_ip(address));
            self.member(ElementKey::port_ip(port, address));
        }
        if self.world.has_strict_guard(network) {
            self.member(ElementKey::strict_guard_port(port));
            self.member(ElementKey::port_ip(port, link_local));
        }
    }

    /// The addresses of a sandbox are its own on each of its ports: a connection keeps its source address when the
    /// default route moves to another network, and the answer to who asked on one network may leave by another.
    pub(super) fn own_on_other_ports(&mut self, id: SandboxId) {
        let endpoints = self.world.endpoints_of_sandbox(id);
        for port in &endpoints {
            let network = self.world.network(port.network);
            let Some(at) =
                port.allocation.as_ref().filter(|_| network.is_some_and(|it| it.driver.has_bridge()))
            else {
                continue;
            };
            let others = endpoints.iter().filter(|other| other.id != port.id);
            for address in
                others.filter_map(|other| other.allocation.as_ref()).flat_map(Allocation::addresses)
            {
                self.member(ElementKey::port_ip(&at.host_interface, address));
            }
        }
    }
}

#[cfg(test)]
mod tests;
