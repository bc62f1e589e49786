//! A whole network namespace as values, for whoever walks packets through it.

mod routing;
mod sockets;

use fairway_core::path::{Interface, Machine, Survey};
use fairway_core::ruleset::Table;
use thiserror::Error;

use crate::nftables::{self, Reader};
use crate::route::{self, Link, Links};
use crate::{netlink, sysctl};

/// Why a namespace cannot be looked at.
#[derive(Debug, Error)]
pub enum Error {
    /// Links or addresses cannot be read.
    #[error(transparent)]
    Route(#[from] route::Error),
    /// Routes cannot be read.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// Rules cannot be read.
    #[error(transparent)]
    Nftables(#[from] nftables::Error),
}

/// Looks at the namespace of the calling thread.
///
/// # Errors
/// The kernel cannot be asked.
pub fn survey(name: &str) -> Result<Survey, Error> {
    let links = Links::open()?;
    let all = links.all()?;
    let addresses = links.addresses(0)?;
    let forwards_ipv6 = is_on("net/ipv6/conf/all/forwarding");
    let interfaces = all.iter().map(|link| {
        let own = addresses.iter().filter(|address| address.interface == link.index);
        Interface {
            addresses: own.map(|address| address.address).collect(),
            ..interface(link, forwards_ipv6)
        }
    });
    let machine = Machine {
        name: name.to_owned(),
        interfaces: interfaces.collect(),
        routes: links.routes()?.into_iter().map(routing::route).collect(),
        rules: routing::rules()?,
        tables: tables()?,
        listeners: sockets::listeners(),
        bridge_netfilter: (
            is_on("net/bridge/bridge-nf-call-iptables"),
            is_on("net/bridge/bridge-nf-call-ip6tables"),
        ),
        elsewhere: false,
        unread: legacy_tables(),
    };
    let pairs = all.iter().filter(|link| link.kind.as_deref() == Some("veth"));
    let pairs = pairs.filter_map(|link| Some((link.index, link.peer?))).collect();
    Ok(Survey { machine, pairs })
}

fn is_on(path: &str) -> bool {
    number(path) != 0
}

/// A sysctl that the kernel may not have; then it is 0.
fn number(path: &str) -> u8 {
    sysctl::read(path).ok().and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn interface(link: &Link, forwards_ipv6: bool) -> Interface {
    let name = &link.name;
    let setting = |key: &str| {
        let [own, all] = [name.as_str(), "all"].map(|of| number(&format!("net/ipv4/conf/{of}/{key}")));
        own.max(all)
    };
    Interface {
        index: link.index,
        name: name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        loopback: link.loopback,
        mac: link.mac.unwrap_or_default(),
        up: link.up,
        addresses: Vec::new(),
        bridge: link.master,
        hairpin: link.hairpin.unwrap_or_default(),
        peer: None,
        route_localnet: setting("route_localnet") != 0,
        forwarding: (is_on(&format!("net/ipv4/conf/{name}/forwarding")), forwards_ipv6),
        reverse_path: setting("rp_filter"),
    }
}

/// All tables, whoever's they are.
fn tables() -> Result<Vec<Table>, Error> {
    let reader = Reader::open()?;
    let mut tables = Vec::new();
    for listed in reader.tables()? {
        // One that has gone meanwhile is met by nobody.
        tables.extend(reader.table(listed.family, &listed.name)?);
    }
    Ok(tables)
}

/// The tables of iptables' old kernel interface are read by nobody here, so that what they do is not known.
fn legacy_tables() -> Option<String> {
    let in_use = |path: &&str| std::fs::read_to_string(path).is_ok_and(|names| !names.trim().is_empty());
    let files = ["/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"];
    let found: Vec<&str> = files.iter().copied().filter(|path| in_use(path)).collect();
    (!found.is_empty()).then(|| {
        "there are tables of iptables-legacy, which are not read: use iptables-nft, or look there".to_owned()
    })
}

#[cfg(test)]
mod tests;
