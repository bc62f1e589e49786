//! Advice for packets whose next hop does not answer.

use std::net::IpAddr;

use super::engine_command::{join, join_way_out};
use super::{Location, network_with, networks_of, sandbox_of};
use crate::explain::query::Query;
use fairway_core::world::World;
use fairway_model::{Driver, Endpoint, MacvlanMode, Network};

/// The advice for an address that no neighbor has: past a macvlan's parent the host does not reach it, nor it the host; else
/// no endpoint has it now.
pub(super) fn no_neighbor(world: &World, query: &Query, at: &Location<'_>, next: IpAddr) -> Option<String> {
    let holder = world.endpoints().find(|it| addresses(it).any(|own| own == next));
    if let Some(holder) = holder {
        return apart(world, query, holder, next.is_ipv4());
    }
    if world.host().addresses.iter().any(|own| own.destination.addr() == next) {
        let sandbox = at.sandbox?;
        let network = networks_of(world, sandbox).into_iter().find(|it| it.driver == Driver::Macvlan)?;
        let joined = join_way_out(world, next.is_ipv4(), [sandbox]);
        return Some(format!("{}: {joined}, and use the host's address there", apart_from_host(network)));
    }
    let network = network_with(world, next)?;
    Some(format!(
        "no endpoint on {} has {next} now: see the addresses of its endpoints: fairway network inspect {}",
        network.name, network.name
    ))
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.allocation.iter().flat_map(|allocation| allocation.addresses())
}

fn apart_from_host(network: &Network) -> String {
    format!("the host and the sandboxes of the macvlan network {} do not reach each other", network.name)
}

/// The advice for an endpoint of a macvlan network: a network with a bridge that the sender reaches too.
fn apart(world: &World, query: &Query, holder: &Endpoint, ipv4: bool) -> Option<String> {
    let (network, to) = (world.network(holder.network)?, world.sandbox(holder.sandbox)?);
    let mode = network.macvlan.as_ref()?.mode;
    let from = sandbox_of(world, &query.from);
    let is_member = from.is_some_and(|from| world.endpoint_on(from.id, network.id).is_some());
    let why = match mode {
        MacvlanMode::Bridge => apart_from_host(network),
        _ if !is_member => apart_from_host(network),
        mode => format!(
            "the sandboxes of the macvlan network {} do not reach each other (mode {mode})",
            network.name
        ),
    };
    // The host and the sender reach the sandboxes there.
    let shared = |it: &Network| {
        let joined = from.is_none_or(|from| world.endpoint_on(from.id, it.id).is_some());
        joined
            && it.subnets.iter().any(|own| own.subnet.addr().is_ipv4() == ipv4)
            && world.host_routes_to(it, ipv4)
    };
    let endpoints = world.endpoints_of_sandbox(to.id);
    let mut there = endpoints.into_iter().filter(|it| world.network(it.network).is_some_and(shared));
    if let Some(address) = there.find_map(|it| addresses(it).find(|own| own.is_ipv4() == ipv4)) {
        return Some(format!("{why}: ask {address}"));
    }
    let own = from.and_then(|from| networks_of(world, from).into_iter().find(|it| shared(it)));
    let also = from.filter(|_| own.is_none());
    let connect = match own {
        Some(network) => join(&network.name, [to]),
        None => join_way_out(world, ipv4, [to].into_iter().chain(also)),
    };
    Some(format!("{why}: {connect}, and use its address there"))
}
