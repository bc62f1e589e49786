//! The traffic that is permitted between a bridge network and other networks, by address family. Both firewall backends
//! make their rules from these answers.

use std::net::IpAddr;

use super::World;
use fairway_model::{Allocation, Driver, GatewayMode, Isolation, Network, SandboxId};

impl World {
    /// The gateway mode of a network.
    pub fn gateway_mode(&self, network: &Network, ipv4: bool) -> GatewayMode {
        network.bridge_options.gateway_mode(ipv4)
    }

    /// Whether outbound traffic of a network is masqueraded or gets another source address.
    pub fn is_masqueraded(&self, network: &Network, ipv4: bool) -> bool {
        let translates =
            matches!(self.gateway_mode(network, ipv4), GatewayMode::Nat | GatewayMode::NatUnprotected);
        translates && !network.internal && network.masquerade.unwrap_or(self.settings.masquerade)
    }

    /// The configured source address of a network's outbound traffic; none if it has the outbound interface's address.
    pub fn outbound_source(&self, network: &Network, ipv4: bool) -> Option<IpAddr> {
        network.bridge_options.source(ipv4).filter(|_| self.is_masqueraded(network, ipv4))
    }

    /// Whether hosts with a route reach every port of a network's endpoints (`nat-unprotected`).
    pub fn is_unprotected(&self, network: &Network, ipv4: bool) -> bool {
        !network.internal && self.gateway_mode(network, ipv4) == GatewayMode::NatUnprotected
    }

    /// Whether hosts with a route reach the published ports of a network's endpoints without NAT (`routed`).
    pub fn is_routed(&self, network: &Network, ipv4: bool) -> bool {
        !network.internal && self.gateway_mode(network, ipv4) == GatewayMode::Routed
    }

    /// Whether packets addressed directly to the published ports of a network's endpoints are accepted: in gateway mode
    /// `routed`, from trusted interfaces, with `--allow-direct-routing`, and with the driver `routed`.
    pub fn allows_direct_access(&self, network: &Network, ipv4: bool) -> bool {
        let exempt = self.settings.allow_direct_routing
            || network.driver == Driver::Routed
            || !network.bridge_options.trusted_interfaces.is_empty();
        let translated = matches!(network.driver, Driver::Bridge | Driver::Routed);
        self.is_routed(network, ipv4) || (exempt && translated && !network.internal)
    }

    /// The isolation of a network from other bridge networks, `fairway.isolate`. An internal network is isolated, and so is
    /// one whose hosts elsewhere reach it by routes.
    pub fn isolation(&self, network: &Network) -> Isolation {
        match network.driver == Driver::Bridge && !network.internal {
            true => network.bridge_options.isolation,
            false => Isolation::Strict,
        }
    }

    /// Whether the bridge of a network has the gateway's address.
    pub fn bridge_has_address(&self, network: &Network, ipv4: bool) -> bool {
        let inhibited = ipv4 && network.bridge_options.inhibit_ipv4;
        self.gateway_mode(network, ipv4) != GatewayMode::Isolated && !inhibited
    }

    /// Whether packets of the host for a network's subnet go to the network's bridge. The subnet of a macvlan network is on
    /// its parent's LAN, and that of a ptp network is between sandboxes alone.
    pub fn host_routes_to(&self, network: &Network, ipv4: bool) -> bool {
        network.driver.has_bridge() && self.bridge_has_address(network, ipv4)
    }

    /// Whether IPv6 is enabled on the bridge of a network. On an isolated network the bridge has no link-local address
    /// either.
    pub fn bridge_has_ipv6(&self, network: &Network) -> bool {
        network.enable_ipv6 && self.gateway_mode(network, false) != GatewayMode::Isolated
    }

    /// Whether the endpoints of a network may send from their own addresses only (`fairway.guard=strict`). Otherwise they
    /// may send from addresses that no other endpoint has.
    pub fn has_strict_guard(&self, network: &Network) -> bool {
        network.bridge_options.strict_guard
    }

    /// Whether the ports of a running sandbox are published without NAT in a family, since its gateway network has the
    /// mode `routed`. Host ports are then unused.
    pub fn publishes_without_nat(&self, sandbox: SandboxId, ipv4: bool) -> bool {
        let gateway = self.gateway_endpoint(sandbox, ipv4);
        let network = gateway.and_then(|endpoint| self.network(endpoint.network));
        network.is_some_and(|network| self.is_routed(network, ipv4))
    }

    /// The addresses of a family at which the published ports of a running sandbox are directly accessible, each with
    /// whether the network is routed: all addresses on routed networks, and the gateway endpoint's address elsewhere.
    pub fn direct_addresses(&self, sandbox: SandboxId, ipv4: bool) -> Vec<(IpAddr, bool)> {
        let gateway = self.gateway_endpoint(sandbox, ipv4).map(|endpoint| endpoint.id);
        let mut addresses = Vec::new();
        for endpoint in self.endpoints_of_sandbox(sandbox) {
            let Some(network) = self.network(endpoint.network) else { continue };
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
