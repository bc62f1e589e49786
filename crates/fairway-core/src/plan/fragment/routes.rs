//! The routes of a sandbox.

use super::Maker;
use crate::ipam;
use crate::object::{GatewayRoute, Key, NetnsRoute, Object, SandboxRoutes};
use crate::world::World;
use fairway_model::{Namespace, RouteType, SandboxId};

impl Maker<'_> {
    pub(super) fn sandbox_routes(&mut self, id: SandboxId, namespace: &Namespace) {
        self.add(Key::SandboxRoutes(id), Object::SandboxRoutes(self.world.routes_in(id, namespace)));
    }
}

impl World {
    /// The default routes of a sandbox, and the static routes of its endpoints.
    pub fn routes_in(&self, id: SandboxId, namespace: &Namespace) -> SandboxRoutes {
        let gateways = [true, false].into_iter().filter_map(|ipv4| self.gateway(id, ipv4)).collect();
        let mut others: Vec<NetnsRoute> = Vec::new();
        for endpoint in self.endpoints_of_sandbox(id) {
            let Some(allocation) = &endpoint.allocation else { continue };
            others.extend(self.static_routes(endpoint).map(|route| NetnsRoute {
                route: *route,
                interface: (route.kind == RouteType::Unicast).then(|| allocation.interface.clone()),
            }));
        }
        others.sort_unstable();
        SandboxRoutes { namespace: namespace.clone(), gateways, others }
    }

    /// The gateway of a sandbox and the interface that it is reached by.
    fn gateway(&self, sandbox: SandboxId, ipv4: bool) -> Option<GatewayRoute> {
        let endpoint = self.default_route_endpoint(sandbox, ipv4)?;
        let network = self.network(endpoint.network)?;
        let subnet = if ipv4 { network.ipv4() } else { network.ipv6() }?;
        let chosen = ipam::default_gateway(subnet).filter(|_| network.predefined);
        Some(GatewayRoute {
            gateway: chosen.unwrap_or(subnet.gateway),
            interface: endpoint.allocation.as_ref()?.interface.clone(),
            metric: self.default_route_metric(endpoint),
        })
    }
}
