//! Checks of a host for networking problems: what was observed, what fails because of it, which command fixes it.
//!
//! [`Observations`] are plain values that the engine gathers; [`examine`] judges them. Each [`Check`] has an identifier
//! that does not change, for scripts and for `docs/reference/doctor.md`.

mod addressing;
mod daemon;
mod deviation;
mod engines;
mod finding;
mod firewall;
mod forwarding;
mod limits;
mod observations;
mod ports;
mod remedy;
#[cfg(test)]
mod tests;

pub use addressing::AddressingFinding;
pub use daemon::{DaemonFinding, RESOLVER_TABLE};
pub use deviation::Deviation;
pub use engines::{
    ConfiguredNetwork, DockerProxy, ENGINE_CHECKS, EngineCheck, EngineContainer, EngineObservations, UdpFlow,
    engines_not_examined, examine_engines,
};
pub use finding::{Finding, Fix, Severity};
pub use firewall::FirewallFinding;
pub use forwarding::ForwardingFinding;
pub use limits::LimitFinding;
pub use observations::{
    Descriptors, LinkState, NamespaceState, Observations, RelayState, ReplacedFile, StoreOutage, UnheldPort,
    Usage,
};
pub use ports::{PortFinding, Reservation};

use fairway_core::world::World;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindingKind {
    /// The check found no problem.
    Passed {
        /// The identifier of the check.
        id: &'static str,
        /// What the check verified.
        message: &'static str,
    },
    /// The check could not be carried out.
    NotExamined {
        /// The identifier of the check.
        id: &'static str,
        /// The error that prevented it.
        reason: String,
    },
    /// A problem of the daemon, the relay or an object that Fairway created.
    Daemon(DaemonFinding),
    /// A kernel setting that keeps the host from forwarding packets.
    Forwarding(ForwardingFinding),
    /// A foreign firewall that drops packets, or a conflict with Docker.
    Firewall(FirewallFinding),
    /// A problem with an MTU, a subnet or a name server.
    Addressing(AddressingFinding),
    /// A problem with a published port.
    Port(PortFinding),
    /// A limit that is reached, or nearly.
    Limit(LimitFinding),
}

impl FindingKind {
    /// Renders the finding: identifier, severity, message, impact and fix.
    pub fn render(&self) -> Finding {
        match self {
            Self::Passed { id, message } => Finding::new(id, Severity::Ok, *message, ""),
            Self::NotExamined { id, reason } => {
                let message = format!("cannot examine this: {reason}");
                Finding::new(id, Severity::Unknown, message, "run fairway doctor as root on the host itself")
            }
            Self::Daemon(kind) => kind.render(),
            Self::Forwarding(kind) => kind.render(),
            Self::Firewall(kind) => kind.render(),
            Self::Addressing(kind) => kind.render(),
            Self::Port(kind) => kind.render(),
            Self::Limit(kind) => kind.render(),
        }
    }
}

/// A check of the host for one kind of problem.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The identifier.
    pub id: &'static str,
    /// The message when the check finds no problem.
    pub passed: &'static str,
    /// Whether the check needs a running daemon.
    pub needs_daemon: bool,
    run: CheckFn,
}

type CheckFn = fn(&World, &Observations) -> Vec<FindingKind>;

const fn host(id: &'static str, passed: &'static str, run: CheckFn) -> Check {
    Check { id, passed, needs_daemon: false, run }
}

const fn daemon(id: &'static str, passed: &'static str, run: CheckFn) -> Check {
    Check { id, passed, needs_daemon: true, run }
}

/// All checks, in the order of the report.
pub const CHECKS: &[Check] = &[
    host("daemon", "the daemon is running", daemon::check_daemon),
    host("kernel", "the kernel has all features that Fairway needs", daemon::check_kernel),
    daemon("store", "the store can be written, and all its records are used", daemon::check_store),
    daemon("relay", "the relay answers and is confined", daemon::check_relay),
    daemon("drift", "all objects match the plan", daemon::check_drift),
    daemon("leaks", "all objects belong to a network or sandbox", daemon::check_leaks),
    daemon("netns", "the namespaces of all sandboxes match the plan", daemon::check_namespaces),
    daemon("files", "all sandboxes read the files that Fairway mounted", daemon::check_files),
    daemon("healing", "no repair in the last 10 minutes", daemon::check_repairs),
    daemon("forwarding", "the host forwards packets", forwarding::check_forwarding),
    host(
        "bridge-netfilter",
        "bridged packets pass the rules that apply to them",
        forwarding::check_bridge_netfilter,
    ),
    host(
        "rp-filter",
        "rp_filter does not drop packets of asymmetric routes",
        forwarding::check_source_validation,
    ),
    host(
        "accept-ra",
        "router advertisements are accepted where the host depends on them",
        forwarding::check_router_advertisements,
    ),
    daemon("forward-policy", "no foreign chain policy drops forwarded packets", firewall::check_policies),
    daemon("firewall", "no foreign firewall rule drops Fairway's packets", firewall::check_rules),
    host("two-firewalls", "rules exist in one iptables backend only", firewall::check_two_backends),
    daemon("docker", "no Docker bridge overlaps a network", firewall::check_docker),
    daemon("mtu", "the MTU of all networks fits the links", addressing::check_mtu),
    daemon("subnet-overlap", "no route of the host overlaps a network", addressing::check_overlaps),
    daemon(
        "nameservers",
        "all sandboxes have a name server that they can query",
        addressing::check_name_servers,
    ),
    daemon("ports", "all published ports are held", ports::check_held),
    daemon(
        "published-addresses",
        "the host has all addresses that ports are published on",
        ports::check_addresses,
    ),
    daemon("publishing", "all published ports are proxied or translated", ports::check_forwarded),
    daemon(
        "ephemeral-ports",
        "outgoing connections do not use ports to be published",
        ports::check_ephemeral,
    ),
    host("unprivileged-ports", "only root may bind ports below 1024", ports::check_unprivileged),
    daemon("bridge-ports", "all bridges have free ports", limits::check_bridge_ports),
    daemon("addresses", "all networks have free addresses", limits::check_addresses),
    daemon("subnets", "the address pools have free subnets", limits::check_subnets),
    host("conntrack", "the connection tracking table has free entries", limits::check_conntrack),
    host("neighbors", "the neighbor tables have free entries", limits::check_neighbors),
    daemon("descriptors", "the daemon has free file descriptors", limits::check_descriptors),
    daemon("space", "store and logs have space", limits::check_space),
];

/// Runs all checks on the observed state. Without a daemon the World is empty, and only the checks of the host run. A
/// check that finds no problem yields one [`FindingKind::Passed`].
pub fn examine(world: &World, observed: &Observations) -> Vec<FindingKind> {
    let checks = CHECKS.iter().filter(|check| observed.daemon || !check.needs_daemon);
    checks.flat_map(|check| run(check, world, observed)).collect()
}

fn run(check: &Check, world: &World, observed: &Observations) -> Vec<FindingKind> {
    let Check { id, passed, .. } = *check;
    if let Some(reason) = observed.not_examined.get(id) {
        return vec![FindingKind::NotExamined { id, reason: reason.clone() }];
    }
    let findings = (check.run)(world, observed);
    if findings.is_empty() { vec![FindingKind::Passed { id, message: passed }] } else { findings }
}

/// The highest severity of the findings.
pub fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
}
