//! Surveys a network namespace as values, for packet walks.

mod carrier;
mod glance;
mod ipsec;
mod iptables;
mod ipvs;
mod routing;
mod sockets;
mod traffic_control;

use std::collections::BTreeMap;

use fairway_model::Protocol;
use fairway_ruleset::{Element, Set, Table};
use fairway_walk::{Interface, LinkProgram, Listener, NetworkNamespace, PortState, Survey, echo_sysctl};
pub use glance::{Glance, glance};
pub use iptables::tables;
pub use routing::route;
pub use sockets::listeners;
use thiserror::Error;

use crate::nftables::{self, Reader};
use crate::route::{self, Address, Link, Links};
use crate::{netlink, sysctl};

/// Why a namespace cannot be surveyed.
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

/// Surveys the namespace of the calling thread.
///
/// # Errors
/// The kernel refuses or its answer cannot be read.
pub fn survey(name: &str) -> Result<Survey, Error> {
    look(name, false)
}

/// As [`survey`], without what may be very many: the elements of sets of exact keys, and sockets
/// ([`NetworkNamespace::on_demand`]). These are read one by one ([`Details`]).
///
/// # Errors
/// The kernel refuses or its answer cannot be read.
pub fn outline(name: &str) -> Result<Survey, Error> {
    look(name, true)
}

/// The links, addresses and routes of the namespace of the calling thread, without rules and sockets.
///
/// # Errors
/// The kernel refuses or its answer cannot be read.
pub fn without_rules(name: &str) -> Result<NetworkNamespace, Error> {
    let links = Links::open()?;
    Ok(NetworkNamespace {
        name: name.to_owned(),
        interfaces: interfaces(&links, &Shared::read())?.1,
        routes: links.routes()?.into_iter().map(routing::route).collect(),
        bridge_netfilter: bridge_netfilter(),
        ignores_echo: ignores_echo(),
        ..NetworkNamespace::default()
    })
}

/// Reads what an [`outline`] leaves out, in the namespace that it was opened in, from any thread.
#[derive(Debug)]
pub struct Details {
    reader: Reader,
    sockets: sockets::Waiting,
}

impl Details {
    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// If no socket can be created.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { reader: Reader::open()?, sockets: sockets::Waiting::open()? })
    }

    /// The element of a set with a key, or else its catch-all element.
    ///
    /// # Errors
    /// The kernel refuses or its answer cannot be read.
    pub fn element(&self, table: &Table, set: &Set, key: &[u8]) -> Result<Option<Element>, Error> {
        let ask = |key| self.reader.element(table.family, &table.name, set, key);
        Ok(match ask(key)? {
            None => ask(&[])?,
            found => found,
        })
    }

    /// All elements of a set.
    ///
    /// # Errors
    /// The kernel refuses or its answer cannot be read.
    pub fn elements(&self, table: &Table, set: &Set) -> Result<Vec<Element>, Error> {
        Ok(self.reader.elements(table.family, &table.name, set)?)
    }

    /// The sockets that listen at a port.
    ///
    /// # Errors
    /// The kernel refuses or its answer cannot be read.
    pub fn listeners_at(&self, protocol: Protocol, port: u16) -> Result<Vec<Listener>, Error> {
        Ok(self.sockets.at(protocol, port)?)
    }
}

fn look(name: &str, on_demand: bool) -> Result<Survey, Error> {
    let links = Links::open()?;
    let (all, mut interfaces) = interfaces(&links, &Shared::read())?;
    // A kernel without traffic control (CONFIG_NET_SCHED) refuses the question.
    let mut programs = traffic_control::programs().unwrap_or_default();
    for interface in &mut interfaces {
        interface.programs.extend(programs.remove(&interface.index).unwrap_or_default());
    }
    // One without IPsec (CONFIG_XFRM_USER) too.
    if ipsec::has_policies().unwrap_or_default() {
        let policies = LinkProgram { what: "the IPsec policies".to_owned(), input: true, output: true };
        // Bridges pass frames without asking them.
        let routed = interfaces.iter_mut().filter(|it| !it.loopback && it.bridge.is_none());
        routed.for_each(|interface| interface.programs.push(policies.clone()));
    }
    let (iptables_legacy, unreadable_rules) = iptables::legacy_tables();
    let namespace = NetworkNamespace {
        name: name.to_owned(),
        sandbox: None,
        interfaces,
        routes: links.routes()?.into_iter().map(routing::route).collect(),
        rules: routing::rules()?,
        tables: iptables::tables(on_demand)?,
        iptables_legacy,
        listeners: if on_demand { Vec::new() } else { sockets::listeners()? },
        virtual_servers: ipvs::virtual_servers(),
        bridge_netfilter: bridge_netfilter(),
        ignores_echo: ignores_echo(),
        local_ports: local_ports(),
        on_demand,
        unreadable_rules,
    };
    let pairs = all.iter().filter(|link| link.kind.as_deref() == Some("veth"));
    let pairs = pairs.filter_map(|link| Some((link.index, link.peer?))).collect();
    Ok(Survey { namespace, veth_pairs: pairs })
}

/// The links of a namespace, and what the walker needs of them.
fn interfaces(links: &Links, shared: &Shared) -> Result<(Vec<Link>, Vec<Interface>), Error> {
    let all = links.all()?;
    let mut addresses: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
    for address in links.addresses(0)? {
        addresses.entry(address.interface).or_default().push(address);
    }
    let interfaces = all.iter().map(|link| {
        let own = addresses.remove(&link.index).unwrap_or_default();
        let those =
            |is: fn(&Address) -> bool| own.iter().filter(|it| is(it)).map(|it| it.address.addr()).collect();
        Interface {
            tentative: those(Address::is_unusable),
            deprecated: those(Address::is_deprecated),
            addresses: own.iter().map(|it| it.address).collect(),
            ..interface(link, &all, shared)
        }
    });
    let interfaces = interfaces.collect();
    Ok((all, interfaces))
}

/// Whether bridged packets meet the IP hooks, for IPv4 and IPv6.
fn bridge_netfilter() -> (bool, bool) {
    (is_on("net/bridge/bridge-nf-call-iptables"), is_on("net/bridge/bridge-nf-call-ip6tables"))
}

/// Whether echo requests are not answered, for IPv4 and IPv6.
fn ignores_echo() -> (bool, bool) {
    (is_on(echo_sysctl(true)), is_on(echo_sysctl(false)))
}

/// The range of ports for programs that ask for none.
fn local_ports() -> Option<(u16, u16)> {
    let range = sysctl::read("net/ipv4/ip_local_port_range").ok()?;
    let (first, last) = range.split_once(char::is_whitespace)?;
    Some((first.parse().ok()?, last.trim().parse().ok()?))
}

/// Sysctls that apply to all interfaces.
#[derive(Default)]
struct Shared {
    route_localnet: bool,
    reverse_path: u8,
    forwards_ipv6: bool,
}

impl Shared {
    fn read() -> Self {
        Self {
            route_localnet: is_on("net/ipv4/conf/all/route_localnet"),
            reverse_path: number("net/ipv4/conf/all/rp_filter"),
            forwards_ipv6: is_on("net/ipv6/conf/all/forwarding"),
        }
    }
}

fn is_on(path: &str) -> bool {
    number(path) != 0
}

/// Reads a sysctl; 0 if the kernel does not have it.
fn number(path: &str) -> u8 {
    sysctl::read(path).ok().and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn interface(link: &Link, all: &[Link], shared: &Shared) -> Interface {
    let own = link.ipv4.unwrap_or_default();
    let master = link.master.and_then(|index| all.iter().find(|it| it.index == index));
    let master_kind = master.and_then(|it| it.kind.as_deref());
    Interface {
        index: link.index,
        name: link.name.clone(),
        kind: link.kind.clone().unwrap_or_default(),
        loopback: link.loopback,
        mac: link.mac.unwrap_or_default(),
        up: link.up,
        addresses: Vec::new(),
        tentative: Vec::new(),
        deprecated: Vec::new(),
        bridge: link.master.filter(|_| master_kind.is_none_or(|kind| kind == "bridge")),
        port_state: link.port_state.map(PortState::from_number).unwrap_or_default(),
        hairpin: link.hairpin.unwrap_or_default(),
        isolated: link.isolated,
        peer: None,
        macvlan_parent: None,
        route_localnet: own.route_localnet || shared.route_localnet,
        forwarding: (own.forwarding, shared.forwards_ipv6),
        reverse_path: own.reverse_path.max(shared.reverse_path),
        carrier: carrier::carrier(link, all),
        programs: carrier::programs(link, master_kind),
    }
}

#[cfg(test)]
mod tests;
