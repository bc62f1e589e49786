//! Who made a rule: an engine or firewall is known by the names of its tables and chains.

use fairway_core::object::iptables::{USER, is_ours};
use fairway_core::policy::TABLE;
use fairway_ruleset::Family;
use fairway_walk::RuleHit;

/// The program that made a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleOwner {
    /// Fairway.
    Fairway,
    /// Docker Engine.
    Docker,
    /// netavark, of podman.
    Netavark,
    /// The firewall plugin of CNI.
    Cni,
    /// ufw.
    Ufw,
    /// firewalld.
    Firewalld,
    /// kube-proxy or a network plugin of Kubernetes.
    Kubernetes,
    /// None: the policy of FORWARD drops what no rule accepts.
    ForwardPolicy,
    /// The administrator of the host, or a program that is not known.
    Other,
}

/// The tables of iptables.
const IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// The program that changes a rule of iptables; none for a rule of another table.
pub(super) fn program(hit: &RuleHit) -> Option<&'static str> {
    if !IPTABLES.contains(&hit.table.as_str()) {
        return None;
    }
    match (hit.family, hit.legacy) {
        (Family::Ip, false) => Some("iptables"),
        (Family::Ip, true) => Some("iptables-legacy"),
        (Family::Ip6, false) => Some("ip6tables"),
        (Family::Ip6, true) => Some("ip6tables-legacy"),
        _ => None,
    }
}

/// The owner of the rule or policy that decided.
pub(super) fn owner_of(hit: &RuleHit) -> RuleOwner {
    let chain = hit.chain.as_str();
    let begins = |names: &[&str]| names.iter().any(|name| chain.starts_with(name));
    match hit.table.as_str() {
        // The tables of both families have one name.
        TABLE => return RuleOwner::Fairway,
        // Docker 29 with nftables.
        "docker-bridges" => return RuleOwner::Docker,
        "netavark" => return RuleOwner::Netavark,
        "firewalld" => return RuleOwner::Firewalld,
        "kube-proxy" => return RuleOwner::Kubernetes,
        _ => {}
    }
    if chain == "FORWARD" && hit.place.is_none() {
        return RuleOwner::ForwardPolicy;
    }
    // The administrator's own chains.
    if ["DOCKER-USER", USER].contains(&chain) {
        return RuleOwner::Other;
    }
    if is_ours(chain) {
        RuleOwner::Fairway
    } else if begins(&["DOCKER"]) {
        RuleOwner::Docker
    } else if begins(&["NETAVARK"]) {
        RuleOwner::Netavark
    } else if begins(&["CNI-"]) {
        RuleOwner::Cni
    } else if begins(&["ufw-", "ufw6-"]) {
        RuleOwner::Ufw
    } else if begins(&["FWDI_", "FWDO_", "FWD_", "IN_", "FORWARD_", "INPUT_"]) {
        RuleOwner::Firewalld
    } else if begins(&["KUBE-", "cali-", "CILIUM_", "FLANNEL-", "WEAVE-"]) {
        RuleOwner::Kubernetes
    } else {
        RuleOwner::Other
    }
}
