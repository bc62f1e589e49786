//! Looking at the host itself, whoever runs there.

use fairway_inspect::doctor::{LinkSeen, Observations, Share};
use fairway_kernel::route::{Address, Link, Links, RouteEntry};
use fairway_kernel::survey::route;
use fairway_kernel::{limits, sysctl};

use crate::engine::observe_host;
use crate::reconcile::foreign_firewall::read_all;

/// Settings that are looked at.
const SETTINGS: [&str; 5] = [
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/ip_unprivileged_port_start",
];
/// Settings of each interface that packets are routed by.
const OF_INTERFACES: [(&str, &str); 3] =
    [("ipv4", "forwarding"), ("ipv4", "rp_filter"), ("ipv6", "accept_ra")];
/// `IFA_F_PERMANENT`, linux/if_addr.h.
const PERMANENT: u32 = 0x80;
/// `RTPROT_RA`, linux/rtnetlink.h: by a router advertisement.
const ADVERTISED: u8 = 9;

/// Looks at the host; what cannot be looked at is said of the checks that need it.
pub(super) fn observe(seen: &mut Observations) {
    match observe_host() {
        Ok(facts) => seen.facts = facts,
        Err(error) => {
            unseen(seen, &["forwarding", "mtu", "nameservers", "ephemeral-ports"], &error.to_string())
        }
    }
    if let Err(error) = observe_links(seen) {
        unseen(
            seen,
            &["bridge-netfilter", "rp-filter", "accept-ra", "mtu", "bridge-ports"],
            &error.to_string(),
        );
    }
    match read_all() {
        Ok((tables, _)) => seen.tables = tables,
        Err(error) => unseen(seen, &["forward-policy", "firewall", "two-firewalls"], &error.to_string()),
    }
    let mut paths: Vec<String> = SETTINGS.map(str::to_owned).into();
    for link in seen.links.iter().filter(|link| link.bridge.is_none() && !link.loopback) {
        paths.extend(OF_INTERFACES.map(|(family, key)| format!("net/{family}/conf/{}/{key}", link.name)));
    }
    let values = paths.into_iter().filter_map(|path| sysctl::read(&path).ok().map(|value| (path, value)));
    seen.sysctls = values.collect();
    let share = |(used, most): (u64, u64)| Share { used, most };
    seen.connections = limits::connections().map(share);
    seen.neighbours = [true, false].map(|ipv4| limits::neighbors(ipv4).map(share));
    seen.dropped_by_source = limits::reverse_path_drops();
}

fn unseen(seen: &mut Observations, checks: &[&'static str], reason: &str) {
    seen.unseen.extend(checks.iter().map(|check| (*check, reason.to_owned())));
}

fn observe_links(seen: &mut Observations) -> Result<(), fairway_kernel::route::Error> {
    let links = Links::open()?;
    let (all, addresses, routes) = (links.all()?, links.addresses(0)?, links.routes()?);
    seen.links = all.iter().map(|link| link_seen(link, &addresses, &routes)).collect();
    seen.routes = routes.into_iter().map(route).collect();
    Ok(())
}

fn link_seen(link: &Link, addresses: &[Address], routes: &[RouteEntry]) -> LinkSeen {
    let own = || addresses.iter().filter(|address| address.interface == link.index);
    let lent = |address: &Address| {
        address.address.addr().is_ipv6() && address.scope == 0 && address.flags & PERMANENT == 0
    };
    LinkSeen {
        index: link.index,
        name: link.name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        loopback: link.loopback,
        up: link.up,
        mtu: link.mtu,
        bridge: link.master,
        ours: link.mark().is_some(),
        addresses: own().map(|address| address.address).collect(),
        advertised: own().any(lent)
            || routes.iter().any(|route| route.interface == link.index && route.protocol == ADVERTISED),
    }
}
