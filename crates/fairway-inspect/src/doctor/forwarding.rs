//! Whether packets may pass the host at all.

use super::firewall::is_of_containers;
use super::{Ill, LinkSeen, Observations, count, few};
use crate::conflict::Path;
use fairway_core::world::World;
use fairway_model::shell::{quote, set_sysctl};
use fairway_model::{Backend, Driver, Network};
use fairway_walk::RouteKind;

const ALL_IPV4: &str = "net/ipv4/ip_forward";
const ALL_IPV6: &str = "net/ipv6/conf/all/forwarding";
const BRIDGE_NETFILTER: [&str; 2] =
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
const SEE_BRIDGED: &str =
    "sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1";
/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u32 = 254;

/// Whether packets of a network pass the host.
fn passes(network: &Network, ipv4: bool) -> bool {
    let family = if ipv4 { network.enable_ipv4 } else { network.enable_ipv6 };
    family && !network.internal && network.driver.has_bridge() && network.driver != Driver::Lan
}

/// Forwarding, of all and of each interface.
pub(super) fn forwarding(world: &World, seen: &Observations) -> Vec<Ill> {
    let mut ills = Vec::new();
    let own = world.settings().ip_forward;
    let on = seen.facts.forwarding;
    for (ipv4, on, path) in [(true, on.0, ALL_IPV4), (false, on.1, ALL_IPV6)] {
        let networks: Vec<&str> =
            world.networks().filter(|it| passes(it, ipv4)).map(|it| it.name.as_str()).collect();
        if on || networks.is_empty() {
            continue;
        }
        let family = if ipv4 { "IPv4" } else { "IPv6" };
        let ill = Ill::problem(
            format!("{path} is 0: the host forwards no {family}"),
            format!(
                "sandboxes of {} reach nothing beyond the host, and what is translated for published ports is \
                 thrown away; the proxy alone goes on",
                few(networks)
            ),
        );
        ills.push(if own { ill.own_mend(set_sysctl(path, 1)) } else { ill.mend(set_sysctl(path, 1)) });
    }
    if on.0 {
        ills.extend(seen.routers().filter_map(|link| of_interface(world, seen, link)));
    }
    ills
}

/// The kernel asks the interface that a packet came by; that of all is only copied to it when it changes.
fn of_interface(world: &World, seen: &Observations, link: &LinkSeen) -> Option<Ill> {
    let path = format!("net/ipv4/conf/{}/forwarding", link.name);
    if seen.number(&path) != Some(0) || !link.addresses.iter().any(|address| address.addr().is_ipv4()) {
        return None;
    }
    let of = format!("{path} is 0: what comes in by {} is not forwarded", link.name);
    if let Some(network) = world.networks().find(|network| network.bridge == link.name) {
        let why = format!("sandboxes of {} reach nothing beyond the host by IPv4", network.name);
        return passes(network, true).then(|| Ill::problem(of, why).own_mend(set_sysctl(&path, 1)));
    }
    let why = "what comes from there to published ports without the proxy, and the answers to what sandboxes \
               asked there, are thrown away";
    Some(Ill::problem(of, why).mend(set_sysctl(&path, 1)))
}

/// Whether bridged packets meet the IP hooks: of others' bridges they should not, for some rules they must.
pub(super) fn bridges(world: &World, seen: &Observations) -> Vec<Ill> {
    let on: Vec<&str> = BRIDGE_NETFILTER
        .into_iter()
        .filter(|path| seen.number(path).is_some_and(|value| value != 0))
        .collect();
    let ours = |name: &str| world.networks().any(|network| network.bridge == name);
    let busy = |link: &&LinkSeen| {
        link.kind == "bridge" && link.up && !link.ours && !ours(&link.name) && seen.ports_of(link).count() > 1
    };
    let (needing, others): (Vec<&LinkSeen>, Vec<&LinkSeen>) =
        seen.links.iter().filter(busy).partition(|link| is_of_containers(world, link));
    if !on.is_empty() && !others.is_empty() {
        let forwards = |path: Path| matches!(path, Path::Outward | Path::Published | Path::Within);
        let drops = seen.firewall_conflicts.keys().any(|conflict| forwards(conflict.path));
        let names = few(others.iter().map(|link| link.name.as_str()));
        let what =
            format!("{} is 1, and {} of others: {names}", on.join(" and "), count(others.len(), "bridge"));
        let why = "what passes those bridges meets the host's FORWARD rules, though nobody routes it; machines \
                   on them may not reach each other";
        let off = on.iter().map(|path| format!("{}=0", path.replace('/', "."))).collect::<Vec<_>>().join(" ");
        // Others are there for whom it has to stay on.
        let pass =
            others.iter().map(|it| format!("iptables -I FORWARD -i {0} -o {0} -j ACCEPT", quote(&it.name)));
        let mend = match needing.is_empty() {
            true => format!("sysctl -w {off}"),
            false => pass.collect::<Vec<_>>().join(" && "),
        };
        return vec![if drops { Ill::warning(what, why) } else { Ill::note(what, why) }.mend(mend)];
    }
    let iptables =
        seen.daemon && world.settings().has_firewall() && world.settings().backend == Backend::Iptables;
    if on.len() < BRIDGE_NETFILTER.len() && iptables {
        return vec![
            Ill::note(
                "bridged packets do not meet iptables (net.bridge.bridge-nf-call-iptables is not 1)",
                "rules of yours, in FAIRWAY-USER or elsewhere, do not see what sandboxes of one network send one \
                 another; Fairway's own do without",
            )
            .mend(match BRIDGE_NETFILTER.iter().all(|path| seen.sysctls.contains_key(*path)) {
                true => SEE_BRIDGED.to_owned(),
                false => format!("modprobe br_netfilter && {SEE_BRIDGED}"),
            }),
        ];
    }
    Vec::new()
}

/// Strict checks of sources where answers go another way.
pub(super) fn sources(_: &World, seen: &Observations) -> Vec<Ill> {
    let strict = |link: &&LinkSeen| seen.larger(&link.name, "rp_filter") == 1;
    let mut ills = Vec::new();
    let mut suspects = Vec::new();
    for link in seen.routers().filter(|link| !link.ours).filter(strict) {
        let loose = set_sysctl(&format!("net/ipv4/conf/{}/rp_filter", link.name), 2);
        if let Some((destination, other)) = answered_elsewhere(seen, link) {
            ills.push(
                Ill::warning(
                    format!(
                        "rp_filter of {} is strict, and the better route to {destination} is by {other}",
                        link.name
                    ),
                    format!(
                        "what comes in by {} from there is thrown away before any rule sees it",
                        link.name
                    ),
                )
                .mend(loose),
            );
        } else {
            suspects.push((link, loose));
        }
    }
    let default = seen.facts.default_interface.as_deref();
    let aside: Vec<_> = suspects.iter().filter(|(link, _)| Some(link.name.as_str()) != default).collect();
    if ills.is_empty() && seen.dropped_by_source > 0 && !aside.is_empty() {
        let names = || aside.iter().map(|(link, _)| link.name.as_str());
        let dropped = count(usize::try_from(seen.dropped_by_source).unwrap_or(usize::MAX), "packet");
        let what = format!("{dropped} thrown away by rp_filter so far, which is strict at {}", few(names()));
        let why = "what comes in by one interface from where the host would answer by another never arrives";
        let mend = aside.iter().map(|(_, loose)| loose.as_str()).collect::<Vec<_>>().join(" && ");
        ills.push(Ill::warning(what, why).mend(mend));
    }
    ills
}

/// A destination that a link has a route to, and the link that has a better one.
fn answered_elsewhere<'a>(seen: &'a Observations, link: &LinkSeen) -> Option<(String, &'a str)> {
    let main = |it: &&fairway_walk::Route| {
        it.table == MAIN_TABLE && it.kind == RouteKind::Unicast && it.destination.addr().is_ipv4()
    };
    let routes: Vec<_> = seen.routes.iter().filter(main).collect();
    let own = routes.iter().filter(|route| route.interface == link.index);
    own.into_iter().find_map(|route| {
        let better = routes.iter().find(|it| {
            it.interface != link.index && it.destination == route.destination && it.metric < route.metric
        })?;
        let other = seen.links.iter().find(|it| it.index == better.interface)?;
        let all = route.destination.prefix_len() == 0;
        let what = if all { "everywhere else".to_owned() } else { route.destination.to_string() };
        Some((what, other.name.as_str()))
    })
}

/// A host that forwards heeds router advertisements only where `accept_ra` is 2.
pub(super) fn advertisements(_: &World, seen: &Observations) -> Vec<Ill> {
    if !seen.facts.forwarding.1 {
        return Vec::new();
    }
    let deaf = seen.routers().filter(|link| !link.ours && link.advertised).filter_map(|link| {
        let path = format!("net/ipv6/conf/{}/accept_ra", link.name);
        (seen.number(&path) == Some(1)).then(|| {
            Ill::warning(
                format!("{path} is 1, while the host forwards IPv6 and has what a router advertised there"),
                format!(
                    "a host that forwards heeds no advertisements then: its IPv6 by {} ends when what it has \
                     been told so far has expired",
                    link.name
                ),
            )
            .mend(set_sysctl(&path, 2))
        })
    });
    deaf.collect()
}
