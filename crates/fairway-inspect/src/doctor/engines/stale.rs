//! Checks of what containers that are gone have left: proxies, rules, flows, namespaces; and of their name servers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairway_model::Protocol;
use fairway_model::shell::quote;
use fairway_ruleset::{Family, Table};

use super::forwarding::engine_name;
use super::observations::{Bridge, EngineContainer, EngineObservations};
use super::published::translations;
use super::rule::{Outcome, RuleFacts};
use super::subnets::restart;
use crate::conflict::ForeignTable;
use crate::doctor::Finding;
use crate::doctor::finding::{count, join_some};
use crate::explain::EngineWords;

/// The engine that makes chains of such names.
fn engine_of_chain(chain: &str) -> Option<EngineWords> {
    let known = [
        ("DOCKER", EngineWords::Docker),
        ("nat-prerouting", EngineWords::Docker),
        ("NETAVARK", EngineWords::Podman),
        ("nv_", EngineWords::Podman),
        ("CNI-DN-", EngineWords::Nerdctl),
        ("CNI-HOSTPORT", EngineWords::Nerdctl),
    ];
    known.into_iter().find(|(prefix, _)| chain.starts_with(prefix)).map(|(_, engine)| engine)
}

/// Whether an address is one of a container that is gone: in the subnet of an engine's bridge, and of no interface. The
/// addresses of virtual machines cannot be seen.
fn is_gone(observed: &EngineObservations, bridges: &[Bridge<'_>], address: IpAddr) -> bool {
    let of_bridge = bridges.iter().any(|it| it.contains(address) && !it.has_machines);
    of_bridge && !observed.held.contains(&address)
}

/// Reports docker-proxy processes whose container is gone.
pub(super) fn check_proxies(observed: &EngineObservations) -> Vec<Finding> {
    let orphans = observed.proxies.iter().filter(|it| !observed.held.contains(&it.container.ip()));
    let findings = orphans.map(|proxy| {
        Finding::error(
            "docker-proxy",
            format!(
                "docker-proxy (process {}) has {}/{} for {}, and no container has that address",
                proxy.pid, proxy.host, proxy.protocol, proxy.container
            ),
            "connections to the port are accepted and then hang or are reset, and no container can publish the port: \
             \"address already in use\"",
        )
        .fix(format!("kill {}", proxy.pid))
    });
    findings.collect()
}

/// Reports rules that translate to addresses that no container has.
pub(super) fn check_rules(observed: &EngineObservations) -> Vec<Finding> {
    let tables: Vec<ForeignTable> = observed.tables().collect();
    let bridges = observed.engine_bridges();
    let mut stale: BTreeMap<(IpAddr, &str, usize), Vec<RuleFacts>> = BTreeMap::new();
    for (number, foreign) in tables.iter().enumerate() {
        for (chain, facts) in translations(std::slice::from_ref(&foreign.table)) {
            let Outcome::TranslateTo(address) = facts.outcome else { continue };
            let of_engine = engine_of_chain(chain).is_some() && !observed.held.contains(&address);
            if of_engine || is_gone(observed, &bridges, address) {
                stale.entry((address, chain, number)).or_default().push(facts);
            }
        }
    }
    let findings = stale.into_iter().map(|((address, chain, number), rules)| {
        let ports = rules.iter().filter_map(|it| it.ports.map(|(port, _)| port_text(it, port)));
        let ports: BTreeSet<String> = ports.collect();
        let ports = if ports.is_empty() { "packets".to_owned() } else { join_some(ports) };
        Finding::error(
            "stale-dnat",
            format!("chain {chain} translates {ports} to {address}, which no container has"),
            "what comes to the port goes nowhere, also if a new container publishes the port: the first rule that matches \
             decides",
        )
        .fix(remove_rules(&tables[number], chain, &rules))
    });
    findings.collect()
}

fn port_text(facts: &RuleFacts, port: u16) -> String {
    let protocol = facts.protocol.and_then(Protocol::from_number);
    protocol.map_or_else(|| port.to_string(), |protocol| format!("{port}/{protocol}"))
}

/// The command that removes stale rules of a chain; of rules without an engine, the one that shows them. Docker makes all
/// its rules again at its start. Netavark and CNI change rules of running containers only.
fn remove_rules(foreign: &ForeignTable, chain: &str, rules: &[RuleFacts]) -> String {
    let (family, table) = (&foreign.table.family, quote(&foreign.table.name));
    let legacy = if *family == Family::Ip6 { "ip6tables-legacy" } else { "iptables-legacy" };
    let mut handles: Vec<u64> = rules.iter().filter_map(|rule| rule.handle).collect();
    let engine = engine_of_chain(chain);
    let chain = quote(chain);
    match engine {
        Some(EngineWords::Docker) => "systemctl restart docker".to_owned(),
        Some(_) if !handles.is_empty() && foreign.legacy => {
            // Each deletion changes the numbers of the rules below.
            handles.sort_unstable_by_key(|number| Reverse(*number));
            let delete = |number| format!("{legacy} -t {table} -D {chain} {number}");
            handles.into_iter().map(delete).collect::<Vec<_>>().join(" && ")
        }
        Some(_) if !handles.is_empty() => {
            let delete = |handle| format!("delete rule {family} {table} {chain} handle {handle}");
            let deletions: Vec<_> = handles.into_iter().map(delete).collect();
            format!("nft {}", quote(&deletions.join("; ")))
        }
        _ if foreign.legacy => format!("{legacy} -t {table} -L {chain} -n --line-numbers"),
        _ => format!("nft -a list chain {family} {table} {chain}"),
    }
}

/// Reports UDP flows that still go to a container that is gone, while the port leads to another one.
pub(super) fn check_flows(observed: &EngineObservations) -> Vec<Finding> {
    let tables: Vec<Table> = observed.tables().map(|it| it.table).collect();
    let bridges = observed.engine_bridges();
    let rules: Vec<RuleFacts> = translations(&tables).map(|(_, facts)| facts).collect();
    // Without a new container nothing fails that would work otherwise.
    let leads_elsewhere = |port: u16| {
        let mut targets = rules.iter().filter_map(|it| match it.outcome {
            Outcome::TranslateTo(address) if it.is_for(Protocol::Udp.number(), port) => Some(address),
            _ => None,
        });
        targets.any(|it| observed.held.contains(&it))
    };
    let mut pinned: BTreeMap<(IpAddr, u16), Vec<String>> = BTreeMap::new();
    for flow in &observed.flows {
        let (target, port) = (flow.target.ip(), flow.destination.port());
        if is_gone(observed, &bridges, target) && leads_elsewhere(port) {
            pinned.entry((target, port)).or_default().push(flow.source.to_string());
        }
    }
    let findings = pinned.into_iter().map(|((target, port), sources)| {
        Finding::error(
            "stale-flows",
            format!(
                "{} to port {port}/udp of the host still {} to {target}, which no container has: from {}",
                count(sources.len(), "flow"),
                if sources.len() == 1 { "goes" } else { "go" },
                join_some(&sources)
            ),
            "conntrack keeps the translation of a flow's first packet as long as its sender goes on: these senders do not \
             reach the container that has the port now",
        )
        .fix(format!("conntrack -D -p udp --orig-port-dst {port} --reply-src {target}"))
    });
    findings.collect()
}

/// Reports namespaces of engines in which nothing is any more.
pub(super) fn check_namespaces(observed: &EngineObservations) -> Vec<Finding> {
    let findings = observed.unused_namespaces.iter().map(|path| {
        let remove = match path.strip_prefix("/run/netns/") {
            Some(name) => format!("ip netns delete {}", quote(name)),
            None => format!("umount {path} && rm {path}", path = quote(path)),
        };
        Finding::warning(
            "netns-leaks",
            format!("network namespace {path} has no process, and no container of an engine uses it"),
            "its veth pair, its addresses and its name stay taken",
        )
        .fix(remove)
    });
    findings.collect()
}

/// Reports name servers in containers at which nothing listens.
pub(super) fn check_name_servers(observed: &EngineObservations) -> Vec<Finding> {
    let mut alike: BTreeMap<(EngineWords, Vec<IpAddr>), Vec<&EngineContainer>> = BTreeMap::new();
    for container in observed.containers.iter().filter(|it| !it.dead_name_servers.is_empty()) {
        let key = (container.known.engine, container.dead_name_servers.clone());
        alike.entry(key).or_default().push(container);
    }
    let findings = alike.into_iter().map(|((engine, servers), containers)| {
        let names = containers.iter().map(|it| it.name.as_str());
        let asked = join_some(servers.iter().map(ToString::to_string));
        Finding::error(
            "container-nameservers",
            format!("the resolv.conf of {} names {asked}, and nothing listens there", join_some(names)),
            format!(
                "names are not resolved in there: loopback is the container's own, not the host's, as {} copied it",
                engine_name(engine)
            ),
        )
        .fix(set_name_server(engine, containers.first().copied()))
    });
    findings.collect()
}

/// The command that gives containers of an engine another name server.
fn set_name_server(engine: EngineWords, container: Option<&EngineContainer>) -> String {
    match engine {
        EngineWords::Docker => "docker run --dns ADDRESS IMAGE".to_owned(),
        EngineWords::Podman => "podman run --dns ADDRESS IMAGE".to_owned(),
        EngineWords::Nerdctl => "nerdctl run --dns ADDRESS IMAGE".to_owned(),
        EngineWords::Kubectl => "kubelet --resolv-conf=/run/systemd/resolve/resolv.conf".to_owned(),
        EngineWords::Fairway | EngineWords::Other => container.map(restart).unwrap_or_default(),
    }
}
