//! Observes the facts about the host that decisions need.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fairway_model::{HostFacts, HostRoute, NameServer, NextHop, ResolvConf};

use crate::monitor::Event;
use crate::route::{Link, Links, RouteEntry};
use crate::{route, sysctl};

/// The resolver's configuration.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The servers that systemd-resolved queries itself.
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// The stub address of systemd-resolved, which resolv.conf then names alone.
const SYSTEMD_STUB: NameServer =
    NameServer { address: IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 53)), scope: 0 };
/// `RT_TABLE_LOCAL`: the host's own addresses, which are looked at as addresses.
const LOCAL_TABLE: u32 = 255;

/// Why the host cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Links, addresses or routes cannot be read.
    #[error(transparent)]
    Route(#[from] route::Error),
    /// A setting cannot be read.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// The resolver's configuration cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    ResolvConf {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// Observes the host: the namespace of `links`, which has to be the calling thread's too, and the
/// files that the process sees. Links for which `ours` is true are left out, with their addresses
/// and routes.
///
/// # Errors
/// [`Error`]; a missing resolv.conf or sysctl is no error.
pub fn observe(links: &Links, ours: impl Fn(&Link) -> bool) -> Result<HostFacts, Error> {
    observe_with(links, ours, Path::new(RESOLV_CONF))
}

/// As [`observe`], with another path of resolv.conf.
///
/// # Errors
/// As [`observe`].
pub fn observe_with(
    links: &Links,
    ours: impl Fn(&Link) -> bool,
    resolv_conf: &Path,
) -> Result<HostFacts, Error> {
    let all = links.all()?;
    let (own, others): (Vec<Link>, Vec<Link>) = all.into_iter().partition(|link| ours(link));
    let routes: Vec<_> = links
        .routes()?
        .into_iter()
        .filter(|route| !route.is_ours() && own.iter().all(|link| link.index != route.interface))
        .collect();
    let name = |index: u32| {
        others.iter().find(|link| link.index == index).map_or(String::new(), |link| link.name.clone())
    };
    let addresses = links
        .addresses(0)?
        .into_iter()
        .filter(|address| others.iter().any(|link| link.index == address.interface))
        .map(|found| HostRoute { destination: found.address, interface: name(found.interface) })
        .collect();
    let is_bridge = |link: &&Link| link.kind.as_deref() == Some("bridge") && !link.is_incomplete();
    let mut bridges: Vec<_> = others.iter().filter(is_bridge).map(|link| link.name.clone()).collect();
    bridges.sort();
    let mut facts = HostFacts {
        mtu: default_link(&routes, &others).map(|link| link.mtu),
        default_interface: default_link(&routes, &others).map(|link| link.name.clone()),
        addresses,
        bridges,
        routes: routes
            .iter()
            .filter(|route| leads_somewhere(route))
            .map(|route| HostRoute {
                destination: route.destination.trunc(),
                interface: name(route.interface),
            })
            .collect(),
        next_hops: routes
            .iter()
            .filter(|route| route.kind == libc::RTN_UNICAST && route.table != LOCAL_TABLE)
            .filter_map(|route| {
                let (destination, interface) = (route.destination.trunc(), name(route.interface));
                Some(NextHop { address: route.gateway?, destination, interface })
            })
            .collect(),
        ..HostFacts::default()
    };
    observe_settings(&mut facts, resolv_conf)?;
    if !facts.forwarding.1 {
        let names = others.iter().map(|link| link.name.as_str()).chain(["all", "default"]);
        let takes = |name: &&str| {
            let value = sysctl::read(&format!("net/ipv6/conf/{name}/accept_ra"));
            value.is_ok_and(|value| value == "1")
        };
        facts.router_advertisements = names.filter(takes).map(str::to_owned).collect();
    }
    Ok(facts)
}

/// Observes anew sysctls and resolv.conf, of whose changes the kernel sends no notification. Links, addresses and
/// routes stay as observed before. The cost is constant.
///
/// # Errors
/// As [`observe`].
pub fn observe_settings(facts: &mut HostFacts, resolv_conf: &Path) -> Result<(), Error> {
    let resolver = read_resolv_conf(resolv_conf)?;
    facts.nameservers = resolver.nameservers;
    facts.search = resolver.search;
    facts.resolver_options = resolver.options;
    facts.bridge_netfilter_ipv4 = switch("net/bridge/bridge-nf-call-iptables")?;
    facts.bridge_netfilter_ipv6 = switch("net/bridge/bridge-nf-call-ip6tables")?;
    facts.ephemeral_ports = optional("net/ipv4/ip_local_port_range")?.as_deref().and_then(port_range);
    facts.forwarding = (switch("net/ipv4/ip_forward")?, switch("net/ipv6/conf/all/forwarding")?);
    facts.hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(())
}

/// Whether an event may change the result of [`observe`]: foreign links, and all addresses and routes.
pub fn concerns(event: &Event) -> bool {
    match event {
        Event::Link(link) | Event::LinkGone(link) => link.mark().is_none() && !link.is_incomplete(),
        Event::Address(_) | Event::AddressGone(_) | Event::Lost => true,
        Event::Route(route) | Event::RouteGone(route) => route.table != LOCAL_TABLE,
        Event::PortLeft(_) => false,
    }
}

/// Reads the resolver's configuration. If it names only systemd-resolved's stub, the servers are those of
/// systemd-resolved, as in Docker. A missing file counts as empty.
///
/// # Errors
/// [`Error::ResolvConf`].
pub fn read_resolv_conf(path: &Path) -> Result<ResolvConf, Error> {
    let found = read_one(path)?;
    if path == Path::new(RESOLV_CONF) && found.nameservers == [SYSTEMD_STUB] {
        let behind = read_one(Path::new(SYSTEMD_RESOLV_CONF))?;
        if !behind.nameservers.is_empty() {
            return Ok(behind);
        }
    }
    Ok(found)
}

fn read_one(path: &Path) -> Result<ResolvConf, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(ResolvConf::parse(&String::from_utf8_lossy(&text), link_index)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ResolvConf::default()),
        Err(source) => Err(Error::ResolvConf { path: path.to_owned(), source }),
    }
}

/// The index of a link of the calling thread's namespace.
fn link_index(name: &str) -> Option<u32> {
    let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
    let socket = rustix::net::socket_with(family, kind, rustix::net::SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::netdevice::name_to_index(socket, name).ok()
}

/// Whether a route must not overlap with a pool: not a default route, not the host's own address, broadcast or
/// multicast, not link-local.
fn leads_somewhere(route: &RouteEntry) -> bool {
    let special = match route.destination.addr() {
        IpAddr::V4(address) => address.is_link_local() || address.is_multicast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    // Beyond unicast: blackhole, unreachable, prohibit, which forbid what a pool would need.
    let kind = [libc::RTN_UNICAST, libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT]
        .contains(&route.kind);
    kind && !special && route.destination.prefix_len() > 0 && route.table != LOCAL_TABLE
}

/// The interface of the best default route, IPv4 first.
fn default_link<'a>(routes: &[RouteEntry], links: &'a [Link]) -> Option<&'a Link> {
    let best = routes
        .iter()
        .filter(|route| route.destination.prefix_len() == 0 && route.kind == libc::RTN_UNICAST)
        .filter(|route| route.table == u32::from(libc::RT_TABLE_MAIN))
        .min_by_key(|route| (route.destination.addr().is_ipv6(), route.metric))?;
    links.iter().find(|link| link.index == best.interface)
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut parts = text.split_ascii_whitespace().map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn switch(path: &str) -> Result<bool, Error> {
    Ok(optional(path)?.is_some_and(|value| value != "0"))
}

fn optional(path: &str) -> Result<Option<String>, Error> {
    match sysctl::read(path) {
        Ok(value) => Ok(Some(value)),
        Err(sysctl::Error::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
