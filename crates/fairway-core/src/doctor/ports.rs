//! Ports of the host.

use std::collections::BTreeSet;

use super::{FIX, Ill, Observations, few};
use crate::model::Protocol;
use crate::shell::set_sysctl;
use crate::world::World;

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";
const UNPRIVILEGED: &str = "net/ipv4/ip_unprivileged_port_start";
/// The first port that every user may take, as the kernel has it unless told otherwise.
const FIRST_FOR_ALL: u64 = 1024;

/// Published ports that somebody else has.
pub(super) fn held(_: &World, seen: &Observations) -> Vec<Ill> {
    let ills = seen.lost.iter().map(|lost| {
        let port = format!("{}/{}, published for {},", lost.at, lost.protocol, lost.sandbox);
        match &lost.holder {
            Some((pid, name)) => Ill::problem(
                format!("{port} is held by {name} (process {pid})"),
                "who asks that port gets that process or nobody; Fairway takes it as soon as it is free",
            )
            .mend(format!("kill {pid}")),
            None => Ill::problem(
                format!("{port} is not held, and whoever has it cannot be seen from here"),
                "who asks that port gets somebody else or nobody; Fairway takes it as soon as it is free",
            )
            .own_mend(FIX),
        }
    });
    ills.collect()
}

/// Published ports that nothing carries.
pub(super) fn carried(world: &World, _: &Observations) -> Vec<Ill> {
    let settings = world.settings();
    let mut ills = Vec::new();
    for (ipv4, filters, flag) in
        [(true, settings.iptables, "--iptables"), (false, settings.ip6tables, "--ip6tables")]
    {
        if settings.userland_proxy || filters {
            continue;
        }
        let publishes = |ipv4: bool| {
            move |it: &&crate::model::Sandbox| {
                it.publications.iter().any(|it| it.host_address.is_ipv4() == ipv4 && !it.routed)
            }
        };
        let sandboxes: Vec<&str> =
            world.sandboxes().filter(publishes(ipv4)).map(|it| it.name.as_str()).collect();
        if sandboxes.is_empty() {
            continue;
        }
        ills.push(
            Ill::problem(
                format!(
                    "the daemon runs with {flag}=false and --userland-proxy=false: {} publish ports",
                    few(sandboxes)
                ),
                "their ports are held, so that nobody else takes them, and neither translated nor proxied",
            )
            .mend("fairway daemon --userland-proxy=true"),
        );
    }
    ills
}

/// Published ports among those that outgoing connections get. As long as they are held that is harmless.
pub(super) fn ephemeral(world: &World, seen: &Observations) -> Vec<Ill> {
    let Some((first, last)) = seen.facts.ephemeral_ports else { return Vec::new() };
    let reserved = seen.sysctls.get(RESERVED).map(String::as_str).unwrap_or_default();
    let kept = |port: u16| {
        reserved.split(',').any(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let bounds = from.trim().parse::<u16>().ok().zip(to.trim().parse::<u16>().ok());
            bounds.is_some_and(|(from, to)| (from..=to).contains(&port))
        })
    };
    let asked = world.sandboxes().flat_map(|sandbox| &sandbox.options.publish);
    // A range from which one is chosen is chosen from again.
    let fixed = asked.filter(|it| it.host_ports.is_some_and(|hosts| hosts.len() == it.container_ports.len()));
    let ports = fixed.filter(|it| it.protocol != Protocol::Sctp).filter_map(|it| it.host_ports);
    let ports: BTreeSet<u16> = ports
        .flat_map(|range| range.iter())
        .filter(|port| (first..=last).contains(port) && !kept(*port))
        .collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let list = ports.iter().map(ToString::to_string);
    let all: Vec<String> =
        (!reserved.is_empty()).then(|| reserved.to_owned()).into_iter().chain(list.clone()).collect();
    vec![
        Ill::note(
            format!("outgoing connections get ports {first}-{last}, and of these are to be published: {}", few(list)),
            "while their sandbox does not run an outgoing connection may have one, and the sandbox does not start",
        )
        .mend(set_sysctl(RESERVED, all.join(","))),
    ]
}

/// Who may take low ports.
pub(super) fn unprivileged(_: &World, seen: &Observations) -> Vec<Ill> {
    let low = seen.number(UNPRIVILEGED).filter(|first| *first < FIRST_FOR_ALL);
    let ill = low.map(|first| {
        Ill::note(
            format!("{UNPRIVILEGED} is {first}"),
            format!(
                "every user of the host may take ports from {first} on, also one that is to be published"
            ),
        )
        .mend(set_sysctl(UNPRIVILEGED, FIRST_FOR_ALL))
    });
    ill.into_iter().collect()
}
