//! Checks of hosts with containers of any engine, which need no daemon of Fairway.
//!
//! [`EngineObservations`] are plain values that the caller gathers; [`examine_engines`] judges them.

mod forwarding;
mod observations;
mod published;
mod rule;
mod stale;
mod subnets;
#[cfg(test)]
mod tests;

pub use observations::{ConfiguredNetwork, DockerProxy, EngineContainer, EngineObservations, UdpFlow};

use super::{Finding, FindingKind, Severity};

/// A check of containers of other engines.
#[derive(Debug, Clone, Copy)]
pub struct EngineCheck {
    /// The identifier.
    pub id: &'static str,
    /// The message when the check finds no problem.
    pub passed: &'static str,
    run: fn(&EngineObservations) -> Vec<Finding>,
}

const fn check(
    id: &'static str,
    passed: &'static str,
    run: fn(&EngineObservations) -> Vec<Finding>,
) -> EngineCheck {
    EngineCheck { id, passed, run }
}

/// All checks of containers of other engines, in the order of the report.
pub const ENGINE_CHECKS: &[EngineCheck] = &[
    check(
        "engine-forwarding",
        "the host forwards what containers of other engines send",
        forwarding::check_forwarding,
    ),
    check(
        "engine-forward-policy",
        "no chain policy drops what comes from a bridge of another engine",
        forwarding::check_policies,
    ),
    check(
        "engine-bridge-netfilter",
        "bridged packets meet the rules of kube-proxy and of icc=false",
        forwarding::check_bridge_netfilter,
    ),
    check("engine-mtu", "the MTU of bridges of other engines fits the uplink", forwarding::check_mtu),
    check(
        "engine-subnets",
        "no route or bridge overlaps the subnet of another engine",
        subnets::check_subnets,
    ),
    check("engine-bridges", "no two engines have one bridge, pool or address", subnets::check_bridges),
    check("docker-proxy", "every docker-proxy has its container", stale::check_proxies),
    check("stale-dnat", "every DNAT rule of an engine leads to an address that exists", stale::check_rules),
    check("stale-flows", "no UDP flow goes to a container that is gone", stale::check_flows),
    check("netns-leaks", "every namespace of an engine has a process or container", stale::check_namespaces),
    check(
        "container-nameservers",
        "name servers on loopback of containers have a listener",
        stale::check_name_servers,
    ),
    check(
        "published-firewall",
        "ufw or firewalld have opened the published ports, or neither is active",
        published::check_firewall,
    ),
    check(
        "loopback-ports",
        "ports published on loopback cannot be reached from the LAN",
        published::check_loopback,
    ),
    check("conntrack-helpers", "no published port lacks a conntrack helper", published::check_helpers),
];

/// Runs all checks of containers of other engines. A check that finds no problem yields one finding with
/// [`Severity::Ok`].
pub fn examine_engines(observed: &EngineObservations) -> Vec<Finding> {
    ENGINE_CHECKS.iter().flat_map(|check| run(check, observed)).collect()
}

fn run(check: &EngineCheck, observed: &EngineObservations) -> Vec<Finding> {
    let EngineCheck { id, passed, .. } = *check;
    if let Some(reason) = observed.not_examined.get(id) {
        return vec![FindingKind::NotExamined { id, reason: reason.clone() }.render()];
    }
    let findings = (check.run)(observed);
    if findings.is_empty() { vec![Finding::new(id, Severity::Ok, passed, "")] } else { findings }
}

/// The findings on a host that cannot be read: no check can be carried out.
pub fn engines_not_examined(reason: &str) -> Vec<Finding> {
    let not_examined =
        |check: &EngineCheck| FindingKind::NotExamined { id: check.id, reason: reason.to_owned() }.render();
    ENGINE_CHECKS.iter().map(not_examined).collect()
}
