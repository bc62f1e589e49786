//! Observes the host and commits what changed on it; gives back what a daemon before enabled.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use fairway_core::world::{Command, HostState, World};
use fairway_kernel::route::Links;
use fairway_kernel::{host_facts, sysctl};
use fairway_model::{HostFacts, HostRoute};

use super::Committer;
use crate::{ApplyError, EngineError};

impl Committer {
    /// Commits what changed on the host: name servers, MTU, routes, addresses, netfilter settings of bridges.
    pub(crate) fn follow_host(&self) {
        let mut observed = match observe_host() {
            Ok(observed) => observed,
            Err(error) => return tracing::warn!(%error, "failed to observe the host: {error}"),
        };
        let (settings, known) = self.read(|world| (world.settings().clone(), world.host().clone()));
        let adopted = self.read(adopted);
        adopted.iter().for_each(|name| observed.keep_bridge(&known, name));
        if known == observed {
            return;
        }
        for what in of_host(&known, &observed) {
            tracing::info!(changed = what, "adapting to the changed host: {what}");
        }
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(observed) };
        match self.execute(configure) {
            Ok(change) => change.warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
            Err(error) => tracing::warn!(%error, "failed to adapt to the changed host: {error}"),
        }
        if self.read(|world| world.settings().firewall_integration) {
            // The jumps in foreign tables depend on the bridges.
            self.signals.request_foreign_scan();
        }
        self.report_overlapping_routes();
    }

    /// Logs each route of the host that overlaps a network, once.
    pub(crate) fn report_overlapping_routes(&self) {
        let found: BTreeSet<(String, String)> = self.read(|world| {
            let meet = world.networks().flat_map(|network| {
                let route = |it: &HostRoute| format!("{} dev {}", it.destination, it.interface);
                world.overlapping_routes(network).map(move |it| (network.name.clone(), route(it)))
            });
            meet.collect()
        });
        let known = &mut *self.overlapping_routes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(known, found.clone());
        for (network, route) in found.difference(&before) {
            tracing::warn!(
                network,
                route,
                "route {route} of the host overlaps the subnet of network {network}: one of the two is unreachable"
            );
        }
        for (network, route) in before.difference(&found) {
            tracing::info!(
                network,
                route,
                "route {route} of the host no longer overlaps the subnet of network {network}"
            );
        }
    }
}

/// Observes the host, without Fairway's own links.
pub(crate) fn observe_host() -> Result<HostFacts, EngineError> {
    let links = Links::open().map_err(ApplyError::from)?;
    host_facts::observe(&links, |link| link.mark().is_some() && link.parent().is_none())
        .map_err(|error| EngineError::Observe(Box::new(error)))
}

/// Finds out from the rules in the kernel whether a daemon whose state is lost enabled forwarding: then forwarding is
/// not the host's own, and stays restricted to Fairway's networks.
pub(crate) fn find_switched_forwarding(world: &mut World, host: &HostFacts) -> Result<(), ApplyError> {
    let host_state = world.host_state();
    let unknown = [
        host.forwarding.0 && !host_state.switched_forwarding_ipv4,
        host.forwarding.1 && !host_state.switched_forwarding_ipv6,
    ];
    if unknown.contains(&true) {
        let (ipv4, ipv6) = crate::apply::firewall::drops_unrelated_forwarding()?;
        world.record_enabled_forwarding(ipv4, ipv6);
    }
    Ok(())
}

/// Disables forwarding that the last daemon enabled and this one does not want. Runs before that is durable: after a
/// crash in between, the next daemon runs it again.
pub(crate) fn restore_forwarding(before: &HostState, after: &HostState) -> Result<(), ApplyError> {
    let switched = [
        (before.switched_forwarding_ipv4, after.switched_forwarding_ipv4, "net/ipv4/ip_forward"),
        (before.switched_forwarding_ipv6, after.switched_forwarding_ipv6, "net/ipv6/conf/all/forwarding"),
    ];
    for (_, _, path) in switched.into_iter().filter(|(before, after, _)| *before && !after) {
        sysctl::set(path, "0")?;
        tracing::info!(sysctl = path, value = "0", "restored sysctl {path} to 0");
    }
    for interface in before.router_advertisements.difference(&after.router_advertisements) {
        let path = format!("net/ipv6/conf/{interface}/accept_ra");
        // The interface may be gone, and another value was set by another program on purpose.
        if sysctl::read(&path).is_ok_and(|value| value == "2")
            && let Err(error) = sysctl::set(&path, "1")
        {
            tracing::warn!(%error, interface, "failed to restore sysctl {path} to 1: {error}");
        }
    }
    Ok(())
}

/// The bridges of the user that networks adopt.
pub(crate) fn adopted(world: &World) -> Vec<String> {
    world.networks().filter(|network| network.adopted.is_some()).map(|it| it.bridge.clone()).collect()
}

/// Disables `route_localnet` on adopted bridges that no network uses any more: loopback ports without a proxy needed
/// it.
pub(crate) fn release_bridges(before: &[String], world: &World) {
    let now = adopted(world);
    for bridge in before.iter().filter(|bridge| !now.contains(bridge)) {
        match sysctl::write(&format!("net/ipv4/conf/{bridge}/route_localnet"), "0") {
            Ok(_) | Err(sysctl::Error::Missing(_)) => {}
            Err(error) => {
                tracing::warn!(%error, bridge, "failed to disable route_localnet of bridge {bridge}: {error}")
            }
        }
    }
}

/// Names what differs between two observations of the host. Forwarding is left out: it is reported as drift.
pub(crate) fn of_host(before: &HostFacts, now: &HostFacts) -> Vec<&'static str> {
    let nf = |facts: &HostFacts| (facts.bridge_netfilter_ipv4, facts.bridge_netfilter_ipv6);
    let resolver =
        |facts: &HostFacts| (facts.nameservers.clone(), facts.search.clone(), facts.resolver_options.clone());
    let changes = [
        (before.mtu != now.mtu, "the MTU of its default route"),
        (before.default_interface != now.default_interface, "the interface of its default route"),
        (before.addresses != now.addresses, "its addresses"),
        (before.routes != now.routes, "its routes"),
        (resolver(before) != resolver(now), "its resolv.conf"),
        (nf(before) != nf(now), "whether bridged packets meet the firewall (bridge-nf-call)"),
        (before.ephemeral_ports != now.ephemeral_ports, "its ephemeral ports"),
        (before.hostname != now.hostname, "its name"),
    ];
    changes.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect()
}
