//! What may pass between a bridge network and what is outside, for each family of addresses: the
//! questions whose answers every backend of the firewall puts into rules of its own kind.

use std::net::IpAddr;

use super::World;
use fairway_model::{Allocation, Driver, GatewayMode, Network, SandboxId};

impl World {
    /// The gateway mode of a network.
    pub fn gateway_mode(&self, network: &Network, ipv4: bool) -> GatewayMode {
        network.bridge_options.gateway_mode(ipv4)
    }

    /// Whether what leaves a network gets another source address.
    pub fn is_masqueraded(&self, network: &Network, ipv4: bool) -> bool {
        let translates =
            matches!(self.gateway_mode(network, ipv4), GatewayMode::Nat | GatewayMode::NatUnprotected);
        translates && !network.internal && network.masquerade.unwrap_or(self.settings.masquerade)
    }

    /// The source address that what leaves a network gets, where it is not that of the interface it
    /// leaves by.
    pub fn outbound_source(&self, network: &Network, ipv4: bool) -> Option<IpAddr> {
        network.bridge_options.source(ipv4).filter(|_| self.is_masqueraded(network, ipv4))
    }

    /// Whether whoever has a route reaches every port of a network's endpoints.
    pub fn is_unprotected(&self, network: &Network, ipv4: bool) -> bool {
        !network.internal && self.gateway_mode(network, ipv4) == GatewayMode::NatUnprotected
    }

    /// Whether whoever has a route reaches the published ports of a network's endpoints at their own
    /// addresses, and nothing is translated.
    pub fn is_routed(&self, network: &Network, ipv4: bool) -> bool {
        !network.internal && self.gateway_mode(network, ipv4) == GatewayMode::Routed
    }

    /// Whether somebody may go straight to the published ports of a network's endpoints: because it is
    /// routed, or where packets come from an interface that it trusts, by
    /// `--allow-direct-routing`, or because its subnet is one that other hosts have routes to.
    pub fn allows_direct_access(&self, network: &Network, ipv4: bool) -> bool {
        let exempt = self.settings.allow_direct_routing
            || network.driver == Driver::Routed
            || !network.bridge_options.trusted_interfaces.is_empty();
        let translated = matches!(network.driver, Driver::Bridge | Driver::Routed);
        self.is_routed(network, ipv4) || (exempt && translated && !network.internal)
    }

    /// Whether the bridge of a network has its gateway's address.
    pub fn bridge_has_address(&self, network: &Network, ipv4: bool) -> bool {
        let inhibited = ipv4 && network.bridge_options.inhibit_ipv4;
        self.gateway_mode(network, ipv4) != GatewayMode::Isolated && !inhibited
    }

    /// Whether IPv6 is on for the bridge of a network: on an isolated one not even a link-local address
    /// leads to the host.
    pub fn bridge_has_ipv6(&self, network: &Network) -> bool {
        network.enable_ipv6 && self.gateway_mode(network, false) != GatewayMode::Isolated
    }

    /// Whether the sandboxes of a network may send from nothing but their own addresses; elsewhere, from
    /// nothing that is another's.
    pub fn has_strict_guard(&self, network: &Network) -> bool {
        network.bridge_options.strict_guard
    }

    /// Whether the published ports of a running sandbox are not translated in a family: its gateway there
    /// is a routed network, and host ports have no meaning.
    pub fn publishes_without_nat(&self, sandbox: SandboxId, ipv4: bool) -> bool {
        let gateway = self.gateway_endpoint(sandbox, ipv4);
        let network = gateway.and_then(|endpoint| self.networks.get(&endpoint.network));
        network.is_some_and(|network| self.is_routed(network, ipv4))
    }

    /// The addresses of a family at which somebody may go straight to the published ports of a running
    /// sandbox, and whether it is routed there: on routed networks all of them, elsewhere that of its
    /// gateway endpoint, to which published ports lead.
    pub fn direct_addresses(&self, sandbox: SandboxId, ipv4: bool) -> Vec<(IpAddr, bool)> {
        let gateway = self.gateway_endpoint(sandbox, ipv4).map(|endpoint| endpoint.id);
        let mut addresses = Vec::new();
        for endpoint in self.endpoints_of_sandbox(sandbox) {
            let Some(network) = self.networks.get(&endpoint.network) else { continue };
            let routed = self.is_routed(network, ipv4);
            let reached = gateway == Some(endpoint.id) && self.allows_direct_access(network, ipv4);
            let given =
                endpoint.allocation.iter().filter(|_| routed || reached).flat_map(Allocation::addresses);
            addresses.extend(given.filter(|it| it.is_ipv4() == ipv4).map(|address| (address, routed)));
        }
        addresses
    }
}

#[cfg(test)]
mod tests;
