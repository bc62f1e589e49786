//! Ports of the host.

use std::collections::BTreeSet;

use super::{FIX, Ill, Observations, few};
use crate::explain::{give_back, has_vanished, publish_everywhere};
use fairway_core::world::World;
use fairway_model::shell::set_sysctl;
use fairway_model::{PortRange, Protocol, Sandbox};

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

/// Ports that are published on an address that the host has not.
pub(super) fn addresses(world: &World, seen: &Observations) -> Vec<Ill> {
    let published = world.sandboxes().flat_map(|sandbox| {
        let vanished = sandbox.publications.iter().filter(|it| has_vanished(it, &seen.facts));
        vanished.map(move |publication| (sandbox, publication))
    });
    let ills = published.map(|(sandbox, publication)| {
        let address = publication.host_address;
        Ill::problem(
            format!(
                "ports {} of the host are published for {} at {address}, which is no address of the host",
                publication.host_ports, sandbox.name
            ),
            "connections to that address do not arrive here; they are accepted again as soon as the host has it",
        )
        .mend_if(give_back(address, &seen.facts), &publish_everywhere(sandbox, publication))
    });
    ills.collect()
}

/// Published ports that nothing carries, and those whose sockets do not listen.
pub(super) fn carried(world: &World, _: &Observations) -> Vec<Ill> {
    let settings = world.settings();
    if settings.userland_proxy {
        return Vec::new();
    }
    let mut ills = Vec::new();
    for (ipv4, filters, flag) in
        [(true, settings.iptables, "--iptables"), (false, settings.ip6tables, "--ip6tables")]
    {
        let publishes = |sandbox: &&Sandbox| {
            sandbox.publications.iter().any(|it| it.host_address.is_ipv4() == ipv4 && !it.routed)
        };
        let sandboxes: Vec<&str> = world.sandboxes().filter(publishes).map(|it| it.name.as_str()).collect();
        if sandboxes.is_empty() {
            continue;
        }
        let family = if ipv4 { "IPv4" } else { "IPv6" };
        ills.push(match filters {
            true => Ill::note(
                format!("published ports of {} are bound and do not listen, by {family}", few(sandboxes)),
                "--userland-proxy=false: they are translated, and ss shows no owner of them",
            )
            .mend("fairway ps"),
            false => Ill::problem(
                format!(
                    "the daemon runs with {flag}=false and --userland-proxy=false: {} publish ports",
                    few(sandboxes)
                ),
                "their ports are held, so that nothing else takes them, and neither translated nor proxied",
            )
            .mend("fairway daemon --userland-proxy=true"),
        });
    }
    ills
}

/// Published ports among those that outgoing connections get. As long as they are held that is harmless.
pub(super) fn ephemeral(world: &World, seen: &Observations) -> Vec<Ill> {
    let Some((first, last)) = seen.facts.ephemeral_ports else { return Vec::new() };
    let reserved = reserved_ports(seen.sysctls.get(RESERVED).map(String::as_str).unwrap_or_default());
    let asked = world.sandboxes().flat_map(|sandbox| &sandbox.options.publish);
    // A range from which one is chosen is chosen from again.
    let fixed = asked.filter(|it| it.host_ports.is_some_and(|hosts| hosts.len() == it.container_ports.len()));
    let ports = fixed.filter(|it| it.protocol != Protocol::Sctp).filter_map(|it| it.host_ports);
    let ports: BTreeSet<u16> = ports
        .flat_map(|range| range.iter())
        .filter(|port| (first..=last).contains(port) && !reserved.contains(port))
        .collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let all: BTreeSet<u16> = reserved.union(&ports).copied().collect();
    let left = (first..=last).filter(|port| !all.contains(port)).count();
    let note = Ill::note(
        format!(
            "outgoing connections get ports {first}-{last}, and of these are to be published: {}",
            few(ranges(&ports))
        ),
        "while their sandbox does not run an outgoing connection may have one, and the sandbox does not start",
    );
    let list = ranges(&all).join(",");
    if left < ENOUGH_PORTS || list.len() > LONGEST_LIST {
        let why = format!(
            "{}; to reserve them would leave {left} ports for outgoing connections: publish ports outside {first}-{last}",
            note.why
        );
        return vec![Ill { why, ..note }];
    }
    vec![note.mend(set_sysctl(RESERVED, list))]
}

/// So many ports have to be left for outgoing connections.
const ENOUGH_PORTS: usize = 4096;
/// The kernel reads a list of ports up to the size of a page.
const LONGEST_LIST: usize = 4000;

/// The ports of a list as the kernel has it: `8080,9000-9010`.
fn reserved_ports(list: &str) -> BTreeSet<u16> {
    let bounds = list.split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        from.trim().parse::<u16>().ok().zip(to.trim().parse::<u16>().ok())
    });
    bounds.flat_map(|(from, to)| from..=to).collect()
}

/// Ports as ranges.
fn ranges(ports: &BTreeSet<u16>) -> Vec<String> {
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(*port) => range.last = *port,
            _ => ranges.push(PortRange::single(*port)),
        }
    }
    ranges.iter().map(PortRange::to_string).collect()
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
