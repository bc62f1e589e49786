//! Routes of endpoints: which may have the default route, and the static routes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::option::{ROUTES, same_place};
use super::{Refusal, World};
use fairway_model::{Endpoint, EndpointOptions, Network, NetworkId, SandboxId, StaticRoute, Subnet};

/// The static routes of an endpoint of a network: its own, else the network's.
fn routes_by<'a>(network: &'a Network, options: &'a EndpointOptions) -> &'a [StaticRoute] {
    options.routes.routes.as_ref().or(network.routes.routes.as_ref()).map_or(&[], Vec::as_slice)
}

fn refused(route: &StaticRoute, reason: String) -> Refusal {
    Refusal::InvalidOption { name: ROUTES.to_owned(), value: route.to_string(), reason }
}

/// Checks static routes by a network with these subnets.
pub(super) fn check_subnets(name: &str, subnets: &[Subnet], routes: &[StaticRoute]) -> Result<(), Refusal> {
    for route in routes {
        let ipv4 = route.destination_is_ipv4();
        let Some(subnet) = subnets.iter().find(|it| it.subnet.addr().is_ipv4() == ipv4) else {
            let family = if ipv4 { "IPv4" } else { "IPv6" };
            return Err(refused(route, format!("network {name} has no {family} subnet")));
        };
        if route.destination == subnet.subnet {
            return Err(refused(route, format!("the kernel has the route to the subnet of network {name}")));
        }
        if let Some(gateway) = route.gateway.filter(|gateway| !subnet.subnet.contains(gateway)) {
            let subnet = subnet.subnet;
            return Err(refused(
                route,
                format!("the gateway {gateway} is not in the subnet {subnet} of network {name}"),
            ));
        }
    }
    Ok(())
}

impl World {
    /// Whether the default route of a sandbox may be by an endpoint, unless `fairway.default_route=false`.
    pub(super) fn may_have_default_route(&self, endpoint: &Endpoint) -> bool {
        self.leaves_default_route(endpoint.options.routes.default_route, endpoint.network)
    }

    /// Whether an endpoint with this option of its own, on a network, may have a default route.
    pub(super) fn leaves_default_route(&self, own: Option<bool>, network: NetworkId) -> bool {
        let of_network = || self.network(network)?.routes.default_route;
        own.or_else(of_network).unwrap_or(true)
    }

    /// The metric of the default route by an endpoint, `fairway.metric`; none is the kernel's.
    pub fn default_route_metric(&self, endpoint: &Endpoint) -> Option<u32> {
        let network = || self.network(endpoint.network)?.routes.metric;
        endpoint.options.routes.metric.or_else(network)
    }

    /// The static routes by an endpoint, in the families of its addresses.
    pub fn static_routes<'a>(&'a self, endpoint: &'a Endpoint) -> impl Iterator<Item = &'a StaticRoute> {
        let routes = self.network(endpoint.network).map_or(&[][..], |it| routes_by(it, &endpoint.options));
        let addresses = || endpoint.allocation.iter().flat_map(|it| it.addresses());
        let has_family = move |route: &&StaticRoute| {
            addresses().any(|address: IpAddr| address.is_ipv4() == route.destination_is_ipv4())
        };
        routes.iter().filter(has_family)
    }

    /// Checks the static routes of a sandbox's endpoint on a network that has changed.
    pub(super) fn check_routes_again(&self, network: NetworkId, sandbox: SandboxId) -> Result<(), Refusal> {
        let endpoints = self.endpoints_of_sandbox(sandbox).into_iter();
        let known = endpoints.filter_map(|it| Some((self.network(it.network)?, &it.options)));
        let (own, others): (Vec<_>, Vec<_>) = known.partition(|(other, _)| other.id == network);
        own.into_iter().try_for_each(|(network, options)| {
            self.check_static_routes(network, options, others.iter().copied())
        })
    }

    /// Checks the static routes of a new endpoint of a sandbox that has these other endpoints.
    pub(super) fn check_static_routes<'a>(
        &'a self,
        network: &'a Network,
        options: &'a EndpointOptions,
        others: impl Iterator<Item = (&'a Network, &'a EndpointOptions)> + Clone,
    ) -> Result<(), Refusal> {
        let routes = routes_by(network, options);
        check_subnets(&network.name, &network.subnets, routes)?;
        let subnet_of = |network: &Network, destination: IpNet| {
            network.subnets.iter().any(|subnet| subnet.subnet == destination)
        };
        for (other, other_options) in others {
            let theirs = routes_by(other, other_options);
            for route in routes {
                if subnet_of(other, route.destination) {
                    return Err(refused(route, format!("that is the subnet of network {}", other.name)));
                }
                if theirs.iter().any(|it| same_place(it, route)) {
                    let reason = format!(
                        "the container has a route to it by network {}: give one of them another #METRIC",
                        other.name
                    );
                    return Err(refused(route, reason));
                }
            }
            if let Some(route) = theirs.iter().find(|route| subnet_of(network, route.destination)) {
                let reason =
                    format!("a route by network {}, to the subnet of network {}", other.name, network.name);
                return Err(refused(route, reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
