//! In what a network, a sandbox or an endpoint is other than declared.

use std::collections::{BTreeMap, BTreeSet};

use fairway_api::types::{
    ContainerInspect, EndpointSettings, IpamConfig, NetworkCreate, NetworkInspect, PortBinding, PortMap,
};
use fairway_core::world::NetworkOptions;
use ipnet::IpNet;

use super::APPLIED;
use super::declared::Sandbox;
use super::present;

/// Options that a network has for life.
const FIXED_OPTIONS: [&str; 3] = ["com.docker.network.bridge.name", "parent", "macvlan_mode"];
/// The labels of what Compose created, which no file declares.
const COMPOSE_LABELS: &str = "com.docker.compose.";

/// In what a network is other than declared.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NetworkDifference {
    /// What no network can change.
    pub(super) fixed: Vec<String>,
    /// Options that change in place; none removes an option.
    pub(super) options: BTreeMap<String, Option<String>>,
    /// The options as text.
    pub(super) changes: Vec<String>,
}

/// Compares a network with its declaration. What is not declared and has no default that every daemon shares
/// (subnets, IPv4, IPv6) is as good as any; so are the daemon's own default options.
pub(super) fn network(
    declared: &NetworkCreate,
    present: &NetworkInspect,
    defaults: Option<&BTreeMap<String, String>>,
) -> NetworkDifference {
    let mut found = NetworkDifference::default();
    let from = declared.config_from.as_ref().map(|it| it.network.as_str()).unwrap_or_default();
    let mut compare = |what: &str, present: &str, declared: &str| {
        if present != declared {
            found.fixed.push(change(what, Some(present), Some(declared)));
        }
    };
    compare("config_from", &present.config_from.network, from);
    compare("config_only", &present.config_only.to_string(), &declared.config_only.to_string());
    if !declared.config_only {
        compare("driver", &present.driver, &declared.driver);
    }
    // The rest is that of the other network.
    if !from.is_empty() {
        return found;
    }
    compare("labels", &labels(&present.labels), &labels(&declared.labels));
    compare("internal", &present.internal.to_string(), &is_internal(declared).to_string());
    for (what, present, declared) in [
        ("enable_ipv4", present.enable_ipv4, declared.enable_ipv4),
        ("enable_ipv6", present.enable_ipv6, declared.enable_ipv6),
    ] {
        if let Some(declared) = declared {
            compare(what, &present.to_string(), &declared.to_string());
        }
    }
    if let Some(ipam) = &declared.ipam {
        compare("ipam.options", &joined(&present.ipam.options), &joined(&ipam.options));
        for subnet in &ipam.config {
            if !present.ipam.config.iter().any(|it| satisfies(it, subnet)) {
                let all: Vec<String> = present.ipam.config.iter().map(text).collect();
                compare("ipam.config", &all.join(", "), &text(subnet));
            }
        }
    }
    options(declared, present, defaults, &mut found);
    found
}

fn options(
    declared: &NetworkCreate,
    present: &NetworkInspect,
    defaults: Option<&BTreeMap<String, String>>,
    found: &mut NetworkDifference,
) {
    let names: BTreeSet<&String> = declared.options.keys().chain(present.options.keys()).collect();
    for name in names {
        let (wanted, there) = (declared.options.get(name), present.options.get(name));
        let default = defaults.and_then(|defaults| defaults.get(name));
        if wanted == there || (wanted.is_none() && there == default) {
            continue;
        }
        let text = change(name, there.map(String::as_str), wanted.map(String::as_str));
        if FIXED_OPTIONS.contains(&name.as_str()) || present.config_only {
            found.fixed.push(text);
        } else {
            found.options.insert(name.clone(), wanted.cloned());
            found.changes.push(text);
        }
    }
}

/// Whether a network that is created so is internal, as the daemon shows it: a ptp network, and one of macvlan without a
/// parent, has no way out in any case.
fn is_internal(declared: &NetworkCreate) -> bool {
    declared.internal
        || NetworkOptions::parse(&declared.options).is_ok_and(|options| options.internal)
        || match declared.driver.as_str() {
            "ptp" => true,
            "macvlan" => !declared.options.contains_key("parent"),
            _ => false,
        }
}

/// Whether a subnet has all that is declared of it.
fn satisfies(present: &IpamConfig, declared: &IpamConfig) -> bool {
    let given = |declared: &str, present: &str| declared.is_empty() || declared == present;
    let subnet = match (declared.subnet.parse::<IpNet>(), present.subnet.parse::<IpNet>()) {
        // Any of that size.
        (Ok(declared), Ok(present)) if declared.addr().is_unspecified() => {
            declared.prefix_len() == present.prefix_len()
                && declared.addr().is_ipv4() == present.addr().is_ipv4()
        }
        _ => given(&declared.subnet, &present.subnet),
    };
    subnet
        && given(&declared.gateway, &present.gateway)
        && given(&declared.ip_range, &present.ip_range)
        && declared
            .auxiliary_addresses
            .iter()
            .all(|(name, it)| present.auxiliary_addresses.get(name) == Some(it))
}

/// Why a sandbox has to be attached again; nothing if only its networks and ports can differ.
pub(super) fn sandbox(declared: &Sandbox, present: &ContainerInspect) -> Option<String> {
    if !present.state.running {
        return Some("its namespace is gone".to_owned());
    }
    let (wanted, there) = (&declared.request, &present.host_config);
    let ports =
        |ports: &BTreeMap<String, BTreeMap<String, String>>| ports.keys().cloned().collect::<Vec<_>>();
    let parts = [
        ("netns", present.network_settings.sandbox_key.clone(), declared.path.clone()),
        ("hostname", present::hostname(present).to_owned(), wanted.hostname.clone()),
        ("labels", labels(&present.config.labels), labels(&wanted.labels)),
        ("dns", there.dns.join(", "), wanted.host_config.dns.join(", ")),
        ("dns_search", there.dns_search.join(", "), wanted.host_config.dns_search.join(", ")),
        ("dns_opt", there.dns_options.join(", "), wanted.host_config.dns_options.join(", ")),
        ("extra_hosts", there.extra_hosts.join(", "), wanted.host_config.extra_hosts.join(", ")),
        ("expose", ports(&present.config.exposed_ports).join(", "), ports(&wanted.exposed_ports).join(", ")),
    ];
    changes(&parts)
}

/// In what an endpoint is other than declared. A MAC address that is not declared is as good as any.
pub(super) fn endpoint(declared: &EndpointSettings, present: &EndpointSettings) -> Option<String> {
    let addresses = |settings: &EndpointSettings| {
        let asked = settings.ipam_config.clone().unwrap_or_default();
        (asked.ipv4_address, asked.ipv6_address)
    };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default().join(", ");
    let options = |options: &Option<BTreeMap<String, String>>| joined(&options.clone().unwrap_or_default());
    let (wanted, there) = (addresses(declared), addresses(present));
    let mac = if declared.mac_address.is_empty() { "" } else { &present.mac_address };
    let parts = [
        ("ipv4_address", there.0, wanted.0),
        ("ipv6_address", there.1, wanted.1),
        ("mac_address", mac.to_owned(), declared.mac_address.clone()),
        ("aliases", list(&present.aliases), list(&declared.aliases)),
        ("links", list(&present.links), list(&declared.links)),
        ("driver_opts", options(&present.driver_opts), options(&declared.driver_opts)),
        ("gw_priority", present.gw_priority.to_string(), declared.gw_priority.to_string()),
    ];
    changes(&parts)
}

/// The ports to unpublish and to publish. What stays is among both where it cannot be distinguished from what goes.
pub(super) fn ports(declared: &PortMap, present: &PortMap) -> (PortMap, PortMap) {
    let (mut removed, mut added) = (PortMap::new(), PortMap::new());
    let keys: BTreeSet<&String> = declared.keys().chain(present.keys()).collect();
    for key in keys {
        let bindings = |map: &PortMap| map.get(key).cloned().flatten().unwrap_or_default();
        let (wanted, there) = (bindings(declared), bindings(present));
        let without = |all: &[PortBinding], others: &[PortBinding]| -> Vec<PortBinding> {
            all.iter().filter(|binding| !others.contains(binding)).cloned().collect()
        };
        let (mut gone, mut new) = (without(&there, &wanted), without(&wanted, &there));
        let mut kept = without(&there, &gone);
        kept.retain(|kept| gone.iter().any(|gone| may_mean(gone, kept)));
        gone.extend(kept.iter().cloned());
        new.extend(kept);
        if !gone.is_empty() {
            removed.insert(key.clone(), Some(gone));
        }
        if !new.is_empty() {
            added.insert(key.clone(), Some(new));
        }
    }
    (removed, added)
}

/// Whether to unpublish the one would unpublish the other: without an address or a port any is meant, and with a range
/// of ports any of it.
fn may_mean(gone: &PortBinding, kept: &PortBinding) -> bool {
    let address = gone.host_ip.is_empty() || kept.host_ip.is_empty() || gone.host_ip == kept.host_ip;
    address && (gone.host_port.parse::<u16>().is_err() || gone.host_port == kept.host_port)
}

/// Ports as `--publish` has them.
pub(super) fn published(ports: &PortMap) -> Vec<String> {
    let one = |port: &String, binding: &PortBinding| {
        let address = match binding.host_ip.contains(':') {
            true => format!("[{}]", binding.host_ip),
            false => binding.host_ip.clone(),
        };
        match (address.as_str(), binding.host_port.as_str()) {
            ("", "") => port.clone(),
            ("", host_port) => format!("{host_port}:{port}"),
            (address, host_port) => format!("{address}:{host_port}:{port}"),
        }
    };
    ports
        .iter()
        .flat_map(|(port, bindings)| bindings.iter().flatten().map(move |binding| one(port, binding)))
        .collect()
}

/// The declared labels as text.
fn labels(labels: &BTreeMap<String, String>) -> String {
    let declared = labels.iter().filter(|(name, _)| *name != APPLIED && !name.starts_with(COMPOSE_LABELS));
    joined(declared)
}

fn joined<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn text(subnet: &IpamConfig) -> String {
    let mut parts = Vec::new();
    for (what, value) in
        [("", &subnet.subnet), ("gateway ", &subnet.gateway), ("ip_range ", &subnet.ip_range)]
    {
        if !value.is_empty() {
            parts.push(format!("{what}{value}"));
        }
    }
    parts.extend(subnet.auxiliary_addresses.iter().map(|(name, it)| format!("{name}={it}")));
    parts.join(" ")
}

/// The parts that are other than declared; none if all are the same.
fn changes(parts: &[(&str, String, String)]) -> Option<String> {
    let differing = parts.iter().filter(|(_, present, declared)| present != declared);
    let texts: Vec<String> =
        differing.map(|(what, present, declared)| change(what, Some(present), Some(declared))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// `option fairway.isolate: none -> true`.
fn change(what: &str, present: Option<&str>, declared: Option<&str>) -> String {
    let text = |value: Option<&str>| value.filter(|it| !it.is_empty()).unwrap_or("none").to_owned();
    format!("{what}: {} -> {}", text(present), text(declared))
}
