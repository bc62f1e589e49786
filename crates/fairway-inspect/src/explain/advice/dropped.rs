//! Advice for packets that a rule drops: what to allow for Fairway's rules, which rule to delete for foreign ones.

use super::engine_command::{connect, join, join_way_out, publish};
use super::firewalld::firewalld;
use super::{Location, networks_of, place, routed_at, sandbox_of};
use crate::explain::{Peer, Query};
use fairway_core::object::iptables::{USER, is_ours as is_our_chain};
use fairway_core::policy::{BRIDGE_TABLE, Reason, TABLE, iptables};
use fairway_core::world::World;
use fairway_model::shell::quote;
use fairway_model::{Driver, Isolation, Network, Sandbox};
use fairway_ruleset::{Family, Hook};
use fairway_walk::RuleHit;
use fairway_walk::{PacketWalk, Step};

/// The tables of iptables.
const IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// The advice for the rule or policy at which a walk ends.
pub(super) fn dropped(
    world: &World,
    query: &Query,
    location: &Location<'_>,
    walk: &PacketWalk,
    by: &RuleHit,
) -> Option<String> {
    if location.is_host && is_ours(by) {
        return own(world, query, by);
    }
    let hook = walk.steps.iter().rev().find_map(|step| match step {
        Step::Chain { hook, bridged, hits, .. } if !hits.is_empty() => Some((*hook, *bridged)),
        _ => None,
    });
    let hook = hook?;
    let of_firewalld = || firewalld(world, walk, hook.0, by).filter(|_| location.is_host);
    Some(of_firewalld().unwrap_or_else(|| of_others(location, hook, by)))
}

fn is_ours(hit: &RuleHit) -> bool {
    let table = [TABLE, BRIDGE_TABLE].contains(&hit.table.as_str());
    table || (is_our_chain(&hit.chain) && hit.chain != USER)
}

fn own(world: &World, query: &Query, hit: &RuleHit) -> Option<String> {
    let reason = hit.comment.as_deref().and_then(Reason::from_comment);
    let reason = reason.or_else(|| iptables::reason(&hit.table, &hit.chain));
    if reason.is_some_and(Reason::is_spoofing) {
        return Some("it uses an address that belongs to another endpoint: use its own".to_owned());
    }
    if reason == Some(Reason::LoopbackFromOutside) {
        return Some(
            "127.0.0.0/8 of the host is for the host alone: ask for another address of it, and publish the port there: fairway publish CONTAINER HOSTPORT:PORT"
                .to_owned(),
        );
    }
    if reason == Some(Reason::UnrelatedForward) {
        return Some(
            "neither end is a container: if this host is to forward for others too, run the daemon with --ip-forward-no-drop"
                .to_owned(),
        );
    }
    if reason == Some(Reason::RelayDestination) {
        return None;
    }
    let (from, to) = (sandbox_of(world, &query.from), sandbox_of(world, &query.to));
    if let (Some(from), Some(to)) = (from, to)
        && let Some(network) = networks_of(world, from).into_iter().find(|it| is_on(world, to, it))
    {
        // On user-defined networks `--link` adds a name and allows no traffic.
        let link = match network.predefined {
            true => format!(" start {} with --link {},", from.name, to.name),
            false => String::new(),
        };
        return Some(format!(
            "the containers of {} are kept apart (icc): put both on another network ({}),{link} or publish the port and use the host's address",
            network.name,
            connect(from, "NETWORK")
        ));
    }
    let ipv4 = query.to.is_ipv4() != Some(false);
    let inside = |sandbox: &Sandbox| {
        let networks = networks_of(world, sandbox);
        let internal = networks.iter().all(|network| network.internal);
        networks.first().filter(|_| internal).map(|network| network.name.clone())
    };
    if let Some((from, internal)) = from.and_then(|from| Some((from, inside(from)?))) {
        let there = to.and_then(|to| networks_of(world, to).into_iter().find(|network| !network.internal));
        let connect = match there {
            Some(network) => join(&network.name, [from]),
            None => join_way_out(world, ipv4, [from]),
        };
        return Some(format!("the network {internal} is internal: {connect}"));
    }
    let to = to?;
    if let Some(internal) = inside(to) {
        let joined = from.map(|from| connect(from, &internal) + "; or ");
        return Some(format!(
            "the network {internal} is internal: {}{}, and publish the port",
            joined.unwrap_or_default(),
            join_way_out(world, ipv4, [to])
        ));
    }
    Some(unpublished(world, from, to, query))
}

fn is_on(world: &World, sandbox: &Sandbox, network: &Network) -> bool {
    world.endpoint_on(sandbox.id, network.id).is_some()
}

/// The network whose isolation keeps two sandboxes apart that are on bridge networks of which one is not strictly isolated.
fn isolated<'a>(world: &'a World, from: &Sandbox, to: &Sandbox) -> Option<&'a str> {
    let gateway =
        world.default_route_endpoint(from.id, true).or(world.default_route_endpoint(from.id, false));
    let source = world.network(gateway?.network)?;
    let target = networks_of(world, to).into_iter().find(|it| it.driver == Driver::Bridge && !it.internal)?;
    match (world.isolation(source), world.isolation(target)) {
        _ if source.driver != Driver::Bridge => None,
        (Isolation::Strict, Isolation::Strict) => None,
        (Isolation::Strict, _) => Some(&source.name),
        _ => Some(&target.name),
    }
}

/// The advice for a port that is not published, for a sender on another network.
fn unpublished(world: &World, from: Option<&Sandbox>, to: &Sandbox, query: &Query) -> String {
    let Query { port, protocol, .. } = *query;
    let leads_there = to.publications.iter().find_map(|publication| {
        let inside = publication.container_ports();
        let same = inside.contains(port) && publication.protocol.number() == protocol;
        // Other hosts do not reach ports published on loopback.
        let reached = !publication.host_address.is_loopback() && !publication.routed;
        let at = publication.host_ports.first.checked_add(port.checked_sub(inside.first)?)?;
        (same && reached).then(|| place(publication, at))
    });
    let routed = routed_at(world, to, query);
    let published = match (leads_there, fairway_model::Protocol::from_number(protocol)) {
        (Some(place), _) => format!("its port {port} is published: ask {place}"),
        (None, Some(protocol)) => {
            let suffix = match protocol {
                fairway_model::Protocol::Tcp => String::new(),
                other => format!("/{other}"),
            };
            match routed {
                // On a routed network a published port is open at the sandbox's own address, the destination of the
                // query.
                Some(_) => publish(to, &format!("{port}{suffix}")),
                None => publish(to, &format!("{port}:{port}{suffix}")) + ", and use the host's address",
            }
        }
        // Echo requests have no port to publish.
        (None, None) => String::new(),
    };
    let join = from.and_then(|from| {
        let network = networks_of(world, to).into_iter().next()?;
        Some(connect(from, &network.name))
    });
    let isolated = from
        .and_then(|from| isolated(world, from, to))
        .map(|network| format!("; or make the network {network} again with -o fairway.isolate=false"));
    let join = join.map(|join| join + &isolated.unwrap_or_default());
    match (join, published.is_empty()) {
        (Some(join), false) => format!("{join}; or {published}"),
        (Some(join), true) => join,
        (None, false) => published,
        (None, true) if matches!(query.from, Peer::Lan(_)) => {
            "other hosts reach only published ports, and an echo request has none".to_owned()
        }
        (None, true) => "only published ports are reached, and an echo request has none".to_owned(),
    }
}

/// The advice for a foreign rule or policy: the command that removes it.
fn of_others(location: &Location<'_>, (hook, bridged): (Hook, bool), hit: &RuleHit) -> String {
    let RuleHit { family, .. } = hit;
    let (table, chain) = (quote(&hit.table), quote(&hit.chain));
    let at = location.command_prefix();
    let is_iptables = IPTABLES.contains(&hit.table.as_str());
    let program = match family {
        Family::Ip if is_iptables => Some("iptables"),
        Family::Ip6 if is_iptables => Some("ip6tables"),
        _ => None,
    };
    let program = program.map(|program| format!("{program}{}", if hit.legacy { "-legacy" } else { "" }));
    let of_table = if table == "filter" { String::new() } else { format!("-t {table} ") };
    let command = match (program, hit.place, hit.handle) {
        (Some(program), None, _) => format!("{at}{program} {of_table}-P {chain} ACCEPT"),
        (Some(program), Some(place), _) => format!("{at}{program} {of_table}-D {chain} {}", place + 1),
        (None, None, _) => {
            format!("{at}nft {}", quote(&format!("chain {family} {table} {chain} {{ policy accept; }}")))
        }
        (None, Some(_), Some(handle)) => {
            format!("{at}nft delete rule {family} {table} {chain} handle {handle}")
        }
        (None, Some(_), None) => format!("{at}nft -a list chain {family} {table} {chain}, and delete it"),
    };
    let what = match hit.place {
        None => "another firewall's policy",
        Some(_) => "another firewall's rule",
    };
    let integrated = (hook == Hook::Forward && !bridged && location.is_host)
        .then_some("; or run the daemon with --firewall-integration");
    format!("that is {what}: {command}{}", integrated.unwrap_or_default())
}
