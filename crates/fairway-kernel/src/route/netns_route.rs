//! The routes of a sandbox: default routes, and static ones with Fairway's mark.

use fairway_core::object::{GatewayRoute, NetnsRoute, SandboxRoutes};
use fairway_model::{RouteType, StaticRoute, kernel_metric};

use super::message::{
    CREATE_NEW, REMOVE_ROUTE, ROUTE_PROTOCOL, delete_any_default_route, route_header, set_default_route,
};
use super::observe::RouteEntry;
use super::{Error, Links};
use crate::netlink::Batch;

/// The kernel's number of a route type.
const fn number(kind: RouteType) -> u8 {
    match kind {
        RouteType::Unicast => libc::RTN_UNICAST,
        RouteType::Blackhole => libc::RTN_BLACKHOLE,
        RouteType::Unreachable => libc::RTN_UNREACHABLE,
        RouteType::Prohibit => libc::RTN_PROHIBIT,
    }
}

impl RouteEntry {
    /// The static route that it is; none for a type that static routes do not have.
    pub fn as_static(&self) -> Option<StaticRoute> {
        Some(StaticRoute {
            destination: self.destination,
            gateway: self.gateway,
            kind: RouteType::ALL.into_iter().find(|kind| number(*kind) == self.kind)?,
            metric: Some(self.metric),
        })
    }

    /// Whether it is a planned route; `interface` is the index of the route's interface.
    pub fn is(&self, wanted: &StaticRoute, interface: Option<u32>) -> bool {
        self.destination == wanted.destination
            && self.gateway == wanted.gateway
            && self.kind == number(wanted.kind)
            && self.metric == wanted.kernel_metric()
            // The kernel names loopback as the interface of an IPv6 route that drops packets.
            && interface.is_none_or(|index| self.interface == index)
    }

    /// Whether it is a default route of the main table that is no static route.
    pub(super) fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
            && self.table == u32::from(libc::RT_TABLE_MAIN)
            && self.kind == libc::RTN_UNICAST
            && self.protocol != ROUTE_PROTOCOL
    }
}

impl Links {
    /// Makes the default routes of the namespace the planned ones. With `replace`, default routes with other metrics and
    /// static routes that are not planned are removed.
    pub(super) fn sandbox_routes(
        &self,
        batch: &mut Batch,
        routes: &SandboxRoutes,
        replace: bool,
    ) -> Result<(), Error> {
        let present = if replace || !routes.others.is_empty() { self.routes()? } else { Vec::new() };
        for ipv4 in [true, false] {
            let family = if ipv4 { libc::AF_INET } else { libc::AF_INET6 };
            match routes.gateway(ipv4) {
                Some(route) => self.default_route(batch, route, &present)?,
                None if !ipv4 && !self.ipv6 => {}
                None => delete_any_default_route(batch, family as u8),
            }
        }
        let wanted: Vec<(&NetnsRoute, Option<u32>)> = routes
            .others
            .iter()
            .map(|other| Ok((other, other.interface.as_ref().map(|name| self.index(name)).transpose()?)))
            .collect::<Result<_, Error>>()?;
        let ours: Vec<&RouteEntry> = present.iter().filter(|route| route.is_ours()).collect();
        for route in &ours {
            if !wanted.iter().any(|(other, interface)| route.is(&other.route, *interface)) {
                delete_route(batch, route);
            }
        }
        for (other, interface) in wanted {
            if !ours.iter().any(|route| route.is(&other.route, interface)) {
                add_route(batch, &other.route, interface);
            }
        }
        Ok(())
    }

    /// Sets the default route of a family, and removes those with other metrics.
    fn default_route(
        &self,
        batch: &mut Batch,
        wanted: &GatewayRoute,
        present: &[RouteEntry],
    ) -> Result<(), Error> {
        let ipv4 = wanted.gateway.is_ipv4();
        let metric = kernel_metric(wanted.metric, ipv4);
        set_default_route(
            batch,
            wanted.gateway,
            self.index(&wanted.interface)?,
            &wanted.interface,
            wanted.metric,
        );
        let family = present.iter().filter(|route| route.destination.addr().is_ipv4() == ipv4);
        let stale = family.filter(|route| route.is_default() && route.metric != metric);
        stale.for_each(|route| delete_route(batch, route));
        Ok(())
    }
}

fn add_route(batch: &mut Batch, route: &StaticRoute, interface: Option<u32>) {
    let mut header = route_header(route.destination, number(route.kind));
    let on_link = route.kind == RouteType::Unicast && route.gateway.is_none();
    if on_link && route.destination_is_ipv4() {
        // As ip-route(8): the next hop of a route with a gateway may be in it.
        header[6] = libc::RT_SCOPE_LINK;
    }
    let mut message = batch.message(libc::RTM_NEWROUTE, CREATE_NEW, format!("add the route {route}"));
    message.raw(&header).address(libc::RTA_DST, route.destination.network());
    if let Some(gateway) = route.gateway {
        message.address(libc::RTA_GATEWAY, gateway);
    }
    if let Some(interface) = interface {
        message.u32(libc::RTA_OIF, interface);
    }
    if let Some(metric) = route.metric {
        message.u32(libc::RTA_PRIORITY, metric);
    }
}

/// Removes a route of the main table.
fn delete_route(batch: &mut Batch, route: &RouteEntry) {
    let mut header = route_header(route.destination, route.kind);
    header[5] = route.protocol;
    header[6] = libc::RT_SCOPE_NOWHERE;
    let label = format!("{REMOVE_ROUTE}route to {}", route.destination);
    let mut message = batch.message(libc::RTM_DELROUTE, 0, label);
    message
        .raw(&header)
        .address(libc::RTA_DST, route.destination.network())
        .u32(libc::RTA_PRIORITY, route.metric);
    if let Some(gateway) = route.gateway {
        message.address(libc::RTA_GATEWAY, gateway);
    }
    if route.kind == libc::RTN_UNICAST {
        message.u32(libc::RTA_OIF, route.interface);
    }
}
