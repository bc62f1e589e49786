//! Observes the host: interfaces, routes, foreign firewalls, sysctls and limits.

use fairway_inspect::doctor::{LinkState, Observations, Usage};
use fairway_kernel::route::{Address, Link, Links, RouteEntry};
use fairway_kernel::survey::route;
use fairway_kernel::{limits, sysctl};

use crate::commit::host::observe_host;
use crate::reconcile::foreign_firewall::read_all;

/// Sysctls to read.
const SETTINGS: [&str; 5] = [
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/ip_unprivileged_port_start",
];
/// Sysctls to read for each interface that packets are routed over.
const OF_INTERFACES: [(&str, &str); 3] =
    [("ipv4", "forwarding"), ("ipv4", "rp_filter"), ("ipv6", "accept_ra")];
/// `IFA_F_PERMANENT`, linux/if_addr.h.
const PERMANENT: u32 = 0x80;
/// `RTPROT_RA`, linux/rtnetlink.h: set by a router advertisement.
const ADVERTISED: u8 = 9;

/// Observes the host, and records which checks lack what cannot be observed.
pub(super) fn observe(observed: &mut Observations) {
    match observe_host() {
        Ok(facts) => observed.facts = facts,
        Err(error) => not_examined(
            observed,
            &["forwarding", "mtu", "nameservers", "ephemeral-ports"],
            &error.to_string(),
        ),
    }
    if let Err(error) = observe_links(observed) {
        not_examined(
            observed,
            &["bridge-netfilter", "rp-filter", "accept-ra", "mtu", "bridge-ports"],
            &error.to_string(),
        );
    }
    match read_all() {
        Ok((tables, _)) => observed.tables = tables,
        Err(error) => {
            not_examined(observed, &["forward-policy", "firewall", "two-firewalls"], &error.to_string())
        }
    }
    let mut paths: Vec<String> = SETTINGS.map(str::to_owned).into();
    for link in observed.links.iter().filter(|link| link.bridge.is_none() && !link.loopback) {
        paths.extend(OF_INTERFACES.map(|(family, key)| format!("net/{family}/conf/{}/{key}", link.name)));
    }
    let values = paths.into_iter().filter_map(|path| sysctl::read(&path).ok().map(|value| (path, value)));
    observed.sysctls = values.collect();
    let usage = |(used, limit): (u64, u64)| Usage { used, limit };
    observed.connections = limits::connections().map(usage);
    observed.neighbors = [true, false].map(|ipv4| limits::neighbors(ipv4).map(usage));
    observed.source_check_drops = limits::reverse_path_drops();
}

fn not_examined(observed: &mut Observations, checks: &[&'static str], reason: &str) {
    observed.not_examined.extend(checks.iter().map(|check| (*check, reason.to_owned())));
}

fn observe_links(observed: &mut Observations) -> Result<(), fairway_kernel::route::Error> {
    let links = Links::open()?;
    let (all, addresses, routes) = (links.all()?, links.addresses(0)?, links.routes()?);
    observed.links = all.iter().map(|link| link_state(link, &addresses, &routes)).collect();
    observed.routes = routes.into_iter().map(route).collect();
    Ok(())
}

fn link_state(link: &Link, addresses: &[Address], routes: &[RouteEntry]) -> LinkState {
    let own = || addresses.iter().filter(|address| address.interface == link.index);
    let has_lifetime = |address: &Address| {
        address.address.addr().is_ipv6() && address.scope == 0 && address.flags & PERMANENT == 0
    };
    LinkState {
        index: link.index,
        name: link.name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        loopback: link.loopback,
        up: link.up,
        mtu: link.mtu,
        bridge: link.master,
        ours: link.mark().is_some(),
        addresses: own().map(|address| address.address).collect(),
        advertised: own().any(has_lifetime)
            || routes.iter().any(|route| route.interface == link.index && route.protocol == ADVERTISED),
    }
}
