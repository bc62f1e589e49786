//! Checks of what containers send through the host: forwarding, firewalls, MTU, bridged packets.

use std::collections::BTreeSet;

use fairway_model::shell::quote;
use fairway_ruleset::Hook;

use super::observations::{Bridge, EngineObservations};
use super::rule::{Outcome, RuleFacts};
use crate::conflict::{Cause, FirewallConflict, Owner, Path, Samples, firewall_conflicts};
use crate::doctor::Finding;
use crate::doctor::finding::join_some;
use crate::explain::EngineWords;

/// Reports that the host does not forward between containers and the uplink. A bridge alone that does not forward may be
/// that of an internal network, as netavark makes it.
pub(super) fn check_forwarding(observed: &EngineObservations) -> Vec<Finding> {
    let bridges = observed.engine_bridges();
    let used: Vec<&Bridge<'_>> = bridges.iter().filter(|it| it.ports > 0 && has_ipv4(it)).collect();
    let Some(uplink) = observed.uplink().filter(|it| !it.forwarding.0 && !used.is_empty()) else {
        return Vec::new();
    };
    let (what, fix) = match used.iter().any(|it| it.interface.forwarding.0) {
        true => (uplink.name.clone(), format!("sysctl -w {}", quote(&setting(&uplink.name)))),
        false => {
            let names = used.iter().map(|it| it.interface.name.as_str());
            (join_some(names.chain([uplink.name.as_str()])), "sysctl -w net.ipv4.ip_forward=1".to_owned())
        }
    };
    let finding = Finding::error(
        "engine-forwarding",
        format!("the host does not forward IPv4 packets from {what}"),
        "containers reach nothing outside, and published ports are reached only through a proxy; their engine sets this \
         at its start, and something has reset it since",
    );
    vec![finding.fix(fix)]
}

/// The setting of an interface; `.` separates its parts, so that in a name it is written as `/` (sysctl(8)).
fn setting(interface: &str) -> String {
    format!("net.ipv4.conf.{}.forwarding=1", interface.replace('.', "/"))
}

fn has_ipv4(bridge: &Bridge<'_>) -> bool {
    bridge.subnets().any(|it| it.addr().is_ipv4())
}

/// Reports chain policies that drop what comes from bridges. A policy that Docker set is reported for every bridge, also
/// for those of libvirt and of users, since Docker makes rules for its own alone.
pub(super) fn check_policies(observed: &EngineObservations) -> Vec<Finding> {
    let tables: Vec<_> = observed.tables().collect();
    let uplink = observed.uplink().map(|it| it.name.clone());
    let bridges = observed.bridges();
    let internal = internal_bridges(observed);
    let forwarded = bridges.iter().filter(|it| {
        !internal.contains(&it.interface.name)
            && it.ports > 0
            && it.interface.forwarding.0
            && Some(&it.interface.name) != uplink.as_ref()
    });
    let findings = forwarded.filter_map(|bridge| {
        let samples = Samples {
            bridge: bridge.interface.name.clone(),
            addresses: members(bridge),
            outside: uplink.clone(),
            ..Samples::default()
        };
        let conflict = firewall_conflicts(&tables, &samples).into_iter().find(|it| {
            let of_docker = it.owner == Owner::Docker;
            it.certain
                && it.path == Path::Outward
                && it.cause == Cause::Policy
                && (of_docker || bridge.engine.is_some())
        })?;
        Some(policy_finding(observed, bridge, &conflict))
    });
    findings.collect()
}

/// The bridges of internal networks, whose engine drops what is sent elsewhere: `! -d SUBNET -i BRIDGE -j DROP`.
fn internal_bridges(observed: &EngineObservations) -> BTreeSet<String> {
    let tables = observed.host.tables.iter().chain(&observed.host.iptables_legacy);
    let rules = tables.flat_map(|it| &it.chains).flat_map(|it| &it.rules).map(RuleFacts::of);
    let names = rules.filter_map(|it| {
        let input = it.input.filter(|wanted| wanted.equal)?;
        let is_elsewhere = it.destination.is_some_and(|wanted| !wanted.equal);
        (it.outcome == Outcome::Drop && it.output.is_none() && is_elsewhere).then_some(input.value)
    });
    names.collect()
}

/// The gateway of each subnet with another address of it.
fn members(bridge: &Bridge<'_>) -> Vec<(std::net::IpAddr, std::net::IpAddr)> {
    let own = bridge.interface.addresses.iter().filter(|it| bridge.contains(it.addr()));
    let members = own.filter_map(|own| {
        let other = own.trunc().hosts().find(|it| *it != own.addr())?;
        Some((own.addr(), other))
    });
    members.collect()
}

fn policy_finding(
    observed: &EngineObservations,
    bridge: &Bridge<'_>,
    conflict: &FirewallConflict,
) -> Finding {
    let FirewallConflict { owner, family, table, chain, legacy, .. } = conflict;
    let name = &bridge.interface.name;
    let legacy = if *legacy { "legacy " } else { "" };
    let message = format!(
        "{owner}: {legacy}table {family} {table}, chain {chain}: its policy drops what comes from {}",
        described(observed, bridge)
    );
    let impact = match owner {
        Owner::Docker => {
            "Docker sets this policy and makes rules for its own bridges alone: what is on this bridge reaches nothing \
             outside"
        }
        _ => "what is on this bridge reaches nothing outside, whatever rules its engine has in other tables",
    };
    Finding::error("engine-forward-policy", message, impact).fix(accept(observed, conflict, &quote(name)))
}

/// The command that accepts what comes from a bridge and its answers.
fn accept(observed: &EngineObservations, conflict: &FirewallConflict, bridge: &str) -> String {
    let FirewallConflict { owner, family, table, chain, legacy, .. } = conflict;
    let is_iptables = || {
        let mut tables = observed.tables();
        tables.any(|it| {
            it.legacy == *legacy && it.table.family == *family && it.table.name == *table && it.is_iptables()
        })
    };
    match owner {
        Owner::Ufw => format!("ufw route allow in on {bridge}"),
        Owner::Firewalld => format!(
            "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
        ),
        _ if is_iptables() => {
            let program = match (*family == fairway_ruleset::Family::Ip6, legacy) {
                (true, true) => "ip6tables-legacy",
                (true, false) => "ip6tables",
                (false, true) => "iptables-legacy",
                (false, false) => "iptables",
            };
            let chain = if *owner == Owner::Docker { "DOCKER-USER" } else { chain.as_str() };
            let answers = "-m conntrack --ctstate RELATED,ESTABLISHED";
            format!(
                "{program} -I {chain} -i {bridge} -j ACCEPT && {program} -I {chain} -o {bridge} {answers} -j ACCEPT",
                chain = quote(chain)
            )
        }
        _ => {
            let (table, chain) = (quote(table), quote(chain));
            format!(
                "nft insert rule {family} {table} {chain} iifname {bridge} accept && \
                 nft insert rule {family} {table} {chain} oifname {bridge} ct state related,established accept"
            )
        }
    }
}

/// A bridge with its engine and network, or with a container on it.
pub(super) fn described(observed: &EngineObservations, bridge: &Bridge<'_>) -> String {
    let name = &bridge.interface.name;
    let engine = bridge.engine.map_or("", engine_name);
    let on_it: Vec<&str> = observed.on_bridge(bridge).map(|(it, _)| it.name.as_str()).collect();
    let network = observed.network_of(bridge).map(|it| format!(" network {it}"));
    let owner = match (engine, network) {
        ("", None) => String::new(),
        (engine, network) => format!(" ({engine}{})", network.unwrap_or_default()),
    };
    let containers = match on_it.is_empty() {
        true => String::new(),
        false => format!(", with {}", join_some(on_it)),
    };
    format!("bridge {name}{owner}{containers}")
}

/// The name of an engine in texts.
pub(super) const fn engine_name(engine: EngineWords) -> &'static str {
    match engine {
        EngineWords::Docker => "Docker",
        EngineWords::Podman => "podman",
        EngineWords::Fairway => "Fairway",
        EngineWords::Nerdctl => "nerdctl",
        EngineWords::Kubectl => "Kubernetes or another user of CNI",
        EngineWords::Other => "LXC",
    }
}

/// Reports bridges with ports whose packets the uplink cannot carry.
pub(super) fn check_mtu(observed: &EngineObservations) -> Vec<Finding> {
    let Some(uplink) = observed.uplink() else { return Vec::new() };
    let Some(limit) = observed.mtus.get(&uplink.index) else { return Vec::new() };
    let internal = internal_bridges(observed);
    let outward = observed.engine_bridges().into_iter().filter(|it| !internal.contains(&it.interface.name));
    let findings = outward.filter_map(|bridge| {
        let mtu = observed.mtus.get(&bridge.interface.index)?;
        let is_larger = bridge.ports > 0 && mtu > limit && bridge.interface.index != uplink.index;
        is_larger.then(|| {
            let message = format!(
                "{} has MTU {mtu}, and the uplink {} has {limit}",
                described(observed, &bridge),
                uplink.name
            );
            Finding::warning(
                "engine-mtu",
                message,
                "connections open, and hang as soon as much is sent, where a router or a firewall drops the ICMP messages \
                 that announce the smaller MTU",
            )
            .fix(set_mtu(observed, &bridge, *limit))
        })
    });
    findings.collect()
}

/// The command that gives the network of a bridge another MTU.
fn set_mtu(observed: &EngineObservations, bridge: &Bridge<'_>, mtu: u32) -> String {
    let network = observed.network_of(bridge);
    let name = network.as_deref().map_or_else(|| "NETWORK".into(), quote);
    match bridge.engine {
        Some(EngineWords::Docker) if bridge.interface.name == "docker0" => {
            format!("dockerd --mtu {mtu}")
        }
        Some(EngineWords::Docker) => {
            format!(
                "docker network rm {name} && docker network create -o com.docker.network.driver.mtu={mtu} {name}"
            )
        }
        Some(EngineWords::Podman) => {
            format!("podman network rm {name} && podman network create -o mtu={mtu} {name}")
        }
        Some(EngineWords::Nerdctl) => {
            format!("nerdctl network rm {name} && nerdctl network create -o mtu={mtu} {name}")
        }
        _ => format!("ip link set dev {} mtu {mtu}", quote(&bridge.interface.name)),
    }
}

/// Reports that bridged packets do not meet the rules of kube-proxy or of `icc=false`.
pub(super) fn check_bridge_netfilter(observed: &EngineObservations) -> Vec<Finding> {
    const FIX: &str = "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1";
    const ID: &str = "engine-bridge-netfilter";
    if observed.host.bridge_netfilter.0 {
        return Vec::new();
    }
    let tables: Vec<_> = observed.tables().collect();
    let chains = || tables.iter().flat_map(|it| &it.table.chains);
    let bridges = observed.engine_bridges();
    let is_of_pods = |it: &&Bridge<'_>| it.engine == Some(EngineWords::Kubectl) && it.ports > 0;
    let of_pods = bridges.iter().find(is_of_pods);
    let has_services = chains().any(|it| it.name == "KUBE-SERVICES" && !it.rules.is_empty());
    let services = of_pods.filter(|_| has_services).map(|bridge| {
        Finding::error(
            ID,
            format!(
                "net.bridge.bridge-nf-call-iptables is off, and kube-proxy has services for pods on bridge {}",
                bridge.interface.name
            ),
            "the answer of a pod to a pod on the same node goes through the bridge alone, where kube-proxy's translation \
             is not undone: services answer from other nodes and not from this one",
        )
        .fix(FIX)
    });
    let forward: Vec<RuleFacts> = chains()
        .filter(|it| it.name == "FORWARD" || it.base.as_ref().is_some_and(|base| base.hook == Hook::Forward))
        .flat_map(|it| &it.rules)
        .map(RuleFacts::of)
        .collect();
    let is_apart = |bridge: &&Bridge<'_>| {
        let name = &bridge.interface.name;
        let is_own = |it: &RuleFacts| {
            [&it.input, &it.output]
                .iter()
                .all(|side| side.as_ref().is_some_and(|wanted| wanted.equal && wanted.value == *name))
        };
        bridge.ports > 1 && forward.iter().any(|it| it.outcome == Outcome::Drop && is_own(it))
    };
    let apart = bridges.iter().filter(is_apart).map(|bridge| {
        Finding::warning(
            ID,
            format!(
                "net.bridge.bridge-nf-call-iptables is off, and a rule is to keep containers on {} apart (icc=false)",
                described(observed, bridge)
            ),
            "packets between its containers do not meet the rule: they reach one another",
        )
        .fix(FIX)
    });
    services.into_iter().chain(apart).collect()
}
