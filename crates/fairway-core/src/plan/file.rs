//! The files that a sandbox sees: resolv.conf, hosts and hostname.

use std::fmt::Write;
use std::net::IpAddr;

use crate::world::World;
use fairway_model::{NetworkMode, Sandbox};

/// Where a sandbox's resolver answers; Docker's address.
pub const RESOLVER_ADDRESS: &str = "127.0.0.11";

/// Servers for a sandbox without a resolver of ours when the host has only loopback servers, which
/// it could not reach; Docker's choice.
const FALLBACK_SERVERS: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 4, 4))];

const HOSTS_HEADER: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// The first list that is not empty.
fn first_of<T>(lists: [&[T]; 3]) -> &[T] {
    lists.into_iter().find(|list| !list.is_empty()).unwrap_or(&[])
}

/// The servers that a sandbox's questions go to when we do not answer them: its own, those of all its networks, the
/// daemon's, or none of these, which means the host's.
pub fn chosen_servers(world: &World, sandbox: &Sandbox) -> Vec<IpAddr> {
    let networks = world.endpoints_of_sandbox(sandbox.id).into_iter();
    let mut of_networks: Vec<IpAddr> = Vec::new();
    for network in networks.filter_map(|endpoint| world.network(endpoint.network)) {
        for server in &network.name_options.servers {
            if !of_networks.contains(server) {
                of_networks.push(*server);
            }
        }
    }
    first_of([&sandbox.options.dns, &of_networks, &world.settings().dns]).to_vec()
}

/// The contents of `/etc/resolv.conf`.
pub fn resolv_conf(world: &World, sandbox: &Sandbox) -> String {
    let (host, settings, options) = (world.host(), world.settings(), &sandbox.options);
    let mut text = String::new();
    let search = first_of([&options.dns_search, &settings.dns_search, &host.search]);
    if search.iter().all(|domain| domain != ".") && !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    let mut flags = first_of([&options.dns_options, &settings.dns_options, &host.resolver_options]).to_vec();
    if sandbox.resolver {
        let _ = writeln!(text, "nameserver {RESOLVER_ADDRESS}");
        if !flags.iter().any(|flag| flag.starts_with("ndots:")) {
            flags.push("ndots:0".to_owned());
        }
    } else {
        for server in plain_servers(world, sandbox) {
            let _ = writeln!(text, "nameserver {server}");
        }
    }
    if !flags.is_empty() {
        let _ = writeln!(text, "options {}", flags.join(" "));
    }
    text
}

/// The servers of a sandbox without a resolver of ours.
fn plain_servers(world: &World, sandbox: &Sandbox) -> Vec<IpAddr> {
    let chosen = chosen_servers(world, sandbox);
    if !chosen.is_empty() {
        return chosen;
    }
    let reachable = world.host().nameservers.iter().filter(|server| !server.queried_from_host());
    let servers: Vec<_> = reachable.map(|server| server.address).collect();
    if servers.is_empty() && sandbox.mode == NetworkMode::Private {
        FALLBACK_SERVERS.to_vec()
    } else {
        servers
    }
}

/// The addresses that `host-gateway` stands for: those of `--host-gateway-ip`, else those of the
/// default bridge, as in Docker; of IPv6 only where the sandbox has some.
fn host_gateway(world: &World, sandbox: &Sandbox) -> Vec<IpAddr> {
    let bridge = world.find_network("bridge").ok();
    let own = |v6: bool| {
        let subnet = bridge.and_then(|bridge| if v6 { bridge.ipv6() } else { bridge.ipv4() })?;
        Some(subnet.gateway)
    };
    let allocated = world
        .endpoints_of_sandbox(sandbox.id)
        .iter()
        .any(|it| it.allocation.as_ref().is_some_and(|allocation| allocation.ipv6.is_some()));
    let of_family = |v6: bool| {
        let chosen = world.settings().host_gateway.iter().find(|address| address.is_ipv6() == v6);
        chosen.copied().or_else(|| own(v6).filter(|_| !v6 || allocated))
    };
    [false, true].into_iter().filter_map(of_family).collect()
}

/// The contents of `/etc/hosts`.
pub fn hosts(world: &World, sandbox: &Sandbox) -> String {
    let mut text = HOSTS_HEADER.to_owned();
    for (name, address) in &sandbox.options.extra_hosts {
        let addresses = address.map_or_else(|| host_gateway(world, sandbox), |address| vec![address]);
        for address in addresses {
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    for link in world.links(sandbox.id) {
        let mut names = vec![link.alias.to_owned()];
        for name in [link.target.hostname(), link.target.name.clone()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for address in link.given.addresses() {
            let _ = writeln!(text, "{address}\t{}", names.join(" "));
        }
    }
    let hostname = sandbox.hostname();
    for endpoint in world.endpoints_of_sandbox(sandbox.id) {
        for address in endpoint.allocation.iter().flat_map(|allocation| allocation.addresses()) {
            let _ = writeln!(text, "{address}\t{hostname}");
        }
    }
    text
}

/// The contents of `/etc/hostname`.
pub fn hostname(sandbox: &Sandbox) -> String {
    format!("{}\n", sandbox.hostname())
}
