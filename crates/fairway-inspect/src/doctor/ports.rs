//! Checks of published ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::finding::{join_some, sorted};
use super::{Finding, FindingKind, Fix, Observations, UnheldPort};
use crate::explain::{give_back, has_vanished, publish_everywhere};
use fairway_core::world::World;
use fairway_model::shell::set_sysctl;
use fairway_model::{PortRange, Protocol, Publication, Sandbox};

const RESERVED_PORTS: &str = "net/ipv4/ip_local_reserved_ports";
const UNPRIVILEGED_PORT_START: &str = "net/ipv4/ip_unprivileged_port_start";
/// The kernel's default of `ip_unprivileged_port_start`.
const DEFAULT_UNPRIVILEGED_PORT_START: u64 = 1024;
/// How many ports reserving must leave for outgoing connections.
const ENOUGH_PORTS: usize = 4096;
/// The kernel reads a list of ports up to the size of a page.
const LONGEST_LIST: usize = 4000;

/// A problem with a published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFinding {
    /// Fairway does not hold a published port.
    NotHeld(UnheldPort),
    /// A port is published on an address that the host does not have.
    AddressMissing {
        /// The sandbox.
        sandbox: String,
        /// The address.
        address: IpAddr,
        /// The ports of the host.
        ports: PortRange,
        /// The command that adds the address, or that publishes the ports on all addresses.
        fix: String,
    },
    /// Published ports are translated without a listening socket.
    NotListening {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The sandboxes that publish ports.
        sandboxes: Vec<String>,
    },
    /// Published ports are neither translated nor proxied.
    NotForwarded {
        /// The daemon's flag that disables the firewall.
        flag: &'static str,
        /// The sandboxes that publish ports.
        sandboxes: Vec<String>,
    },
    /// Ports to be published are among the ports of outgoing connections.
    Ephemeral {
        /// The first and last port of outgoing connections.
        range: (u16, u16),
        /// The ports to be published.
        ports: Vec<PortRange>,
        /// What reserving them would take.
        reservation: Reservation,
    },
    /// Every user of the host may bind ports below 1024.
    Unprivileged {
        /// The first such port.
        first: u64,
    },
}

/// Whether the kernel can keep ports from outgoing connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// It can, with this list of reserved ports.
    List(String),
    /// Too few ports would remain, or the list would be too long.
    Impossible {
        /// How many ports would remain.
        remaining: usize,
    },
}

impl PortFinding {
    pub(super) fn render(&self) -> Finding {
        match self {
            Self::NotHeld(port) => render_unheld(port),
            Self::AddressMissing { sandbox, address, ports, fix } => Finding::error(
                "published-addresses",
                format!("{sandbox} publishes host ports {ports} on {address}, which the host does not have"),
                "connections to this address do not reach the host; they are accepted as soon as the host has the \
                 address",
            )
            .fix(fix),
            Self::NotListening { family, sandboxes } => Finding::note(
                "publishing",
                format!("published ports of {} are bound and do not listen on {family}", join_some(sandboxes)),
                "with --userland-proxy=false, ports are translated, and ss shows no owner of them",
            )
            .fix("fairway ps"),
            Self::NotForwarded { flag, sandboxes } => Finding::error(
                "publishing",
                format!(
                    "the daemon runs with {flag}=false and --userland-proxy=false, and {} publish ports",
                    join_some(sandboxes)
                ),
                "the ports are held, so that no other program binds them, but they are neither translated nor proxied",
            )
            .fix("fairway daemon --userland-proxy=true"),
            Self::Ephemeral { range: (first, last), ports, reservation } => {
                let message = format!(
                    "outgoing connections use ports {first}-{last}, among them ports to be published: {}",
                    join_some(ports.iter().map(PortRange::to_string))
                );
                let impact = "while its sandbox does not run, such a port may be in use by an outgoing connection, and \
                              the sandbox does not start";
                match reservation {
                    Reservation::List(list) => Finding::note("ephemeral-ports", message, impact)
                        .fix(set_sysctl(RESERVED_PORTS, list)),
                    Reservation::Impossible { remaining } => {
                        let why = format!(
                            "{impact}; reserving them would leave {remaining} ports for outgoing connections: publish \
                             ports outside {first}-{last}"
                        );
                        Finding::note("ephemeral-ports", message, why)
                    }
                }
            }
            Self::Unprivileged { first } => Finding::note(
                "unprivileged-ports",
                format!("{UNPRIVILEGED_PORT_START} is {first}"),
                format!("every user of the host may bind ports from {first} on, also ports to be published"),
            )
            .fix(set_sysctl(UNPRIVILEGED_PORT_START, DEFAULT_UNPRIVILEGED_PORT_START)),
        }
    }
}

fn render_unheld(port: &UnheldPort) -> Finding {
    let published = format!("{}/{}, published for {},", port.address, port.protocol, port.sandbox);
    let impact =
        "connections to this port reach that process, or none; Fairway binds the port as soon as it is free";
    match &port.holder {
        Some((pid, name)) => {
            Finding::error("ports", format!("{published} is held by {name} (process {pid})"), impact)
                .fix(format!("kill {pid}"))
        }
        None => {
            Finding::error("ports", format!("{published} is held by a process that cannot be seen"), impact)
                .automatic_fix(Fix::COMMAND)
        }
    }
}

/// Reports published ports that another process holds.
pub(super) fn check_held(_: &World, observed: &Observations) -> Vec<FindingKind> {
    observed.unheld_ports.iter().cloned().map(PortFinding::NotHeld).map(FindingKind::Port).collect()
}

/// Reports ports that are published on an address that the host does not have.
pub(super) fn check_addresses(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let published = world.sandboxes().flat_map(|sandbox| {
        let vanished = sandbox.publications.iter().filter(|it| has_vanished(it, &observed.facts));
        vanished.map(move |publication| (sandbox, publication))
    });
    let findings = published.map(|(sandbox, publication)| {
        let address = publication.host_address;
        FindingKind::Port(PortFinding::AddressMissing {
            sandbox: sandbox.name.clone(),
            address,
            ports: publication.host_ports,
            fix: give_back(address, &observed.facts)
                .unwrap_or_else(|| publish_everywhere(sandbox, publication)),
        })
    });
    findings.collect()
}

/// Reports published ports that are neither translated nor proxied, and those without a listening socket.
pub(super) fn check_forwarded(world: &World, _: &Observations) -> Vec<FindingKind> {
    let settings = world.settings();
    if settings.userland_proxy {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (ipv4, filters, flag) in
        [(true, settings.iptables, "--iptables"), (false, settings.ip6tables, "--ip6tables")]
    {
        // Where another engine holds the ports, its own sockets listen there.
        let listens = |sandbox: &Sandbox| filters && sandbox.options.ports_held_by_engine;
        let publishes = |sandbox: &&Sandbox| {
            let of_family = |it: &&Publication| it.host_address.is_ipv4() == ipv4 && !it.routed;
            let mut publications = sandbox.publications.iter().filter(of_family);
            publications.any(|it| world.leads_to_sandbox(sandbox, it)) && !listens(sandbox)
        };
        let sandboxes = sorted(world.sandboxes().filter(publishes).map(|it| it.name.clone()));
        if sandboxes.is_empty() {
            continue;
        }
        let family = if ipv4 { "IPv4" } else { "IPv6" };
        findings.push(FindingKind::Port(match filters {
            true => PortFinding::NotListening { family, sandboxes },
            false => PortFinding::NotForwarded { flag, sandboxes },
        }));
    }
    findings
}

/// Reports ports to be published that outgoing connections may use. Held ports are safe.
pub(super) fn check_ephemeral(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let Some((first, last)) = observed.facts.ephemeral_ports else { return Vec::new() };
    let reserved =
        reserved_ports(observed.sysctls.get(RESERVED_PORTS).map(String::as_str).unwrap_or_default());
    let requested = world.sandboxes().flat_map(|sandbox| &sandbox.options.publish);
    // From a larger range of host ports, a free port is chosen at each start.
    let fixed =
        requested.filter(|it| it.host_ports.is_some_and(|hosts| hosts.len() == it.container_ports.len()));
    let ports = fixed.filter(|it| it.protocol != Protocol::Sctp).filter_map(|it| it.host_ports);
    let ports: BTreeSet<u16> = ports
        .flat_map(|range| range.iter())
        .filter(|port| (first..=last).contains(port) && !reserved.contains(port))
        .collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let all: BTreeSet<u16> = reserved.union(&ports).copied().collect();
    let remaining = (first..=last).filter(|port| !all.contains(port)).count();
    let list = ranges(&all).iter().map(PortRange::to_string).collect::<Vec<_>>().join(",");
    let reservation = match remaining < ENOUGH_PORTS || list.len() > LONGEST_LIST {
        true => Reservation::Impossible { remaining },
        false => Reservation::List(list),
    };
    let ports = ranges(&ports);
    vec![FindingKind::Port(PortFinding::Ephemeral { range: (first, last), ports, reservation })]
}

/// The ports of a list in the kernel's format: `8080,9000-9010`.
fn reserved_ports(list: &str) -> BTreeSet<u16> {
    let bounds = list.split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        from.trim().parse::<u16>().ok().zip(to.trim().parse::<u16>().ok())
    });
    bounds.flat_map(|(from, to)| from..=to).collect()
}

/// Joins consecutive ports to ranges.
fn ranges(ports: &BTreeSet<u16>) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(*port) => range.last = *port,
            _ => ranges.push(PortRange::single(*port)),
        }
    }
    ranges
}

/// Reports that every user may bind low ports.
pub(super) fn check_unprivileged(_: &World, observed: &Observations) -> Vec<FindingKind> {
    let low =
        observed.number(UNPRIVILEGED_PORT_START).filter(|first| *first < DEFAULT_UNPRIVILEGED_PORT_START);
    low.map(|first| FindingKind::Port(PortFinding::Unprivileged { first })).into_iter().collect()
}
