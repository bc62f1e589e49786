//! Sizes, subnets and name servers: what the host has for its networks.

use std::net::IpAddr;

use super::firewall::is_dockers;
use super::{Ill, Mend, Observations, few};
use crate::model::{Driver, Network, NetworkMode, Sandbox};
use crate::plan::chosen_servers;
use crate::world::World;

/// A command that makes a network anew under its name, with these options beside its own, and puts back who is on
/// it; none where users cannot remove it.
pub(super) fn renew(world: &World, network: &Network, without: Option<&str>, more: &str) -> Option<String> {
    let renewable = network.driver == Driver::Bridge && network.user_defined() && network.adopted.is_none();
    let name = &network.name;
    let mut members: Vec<(String, String)> = Vec::new();
    for endpoint in world.endpoints_of_network(network.id).filter(|_| renewable) {
        let sandbox = world.sandbox(endpoint.sandbox)?;
        let aliases = endpoint.request.aliases.iter().map(|alias| format!("--alias {alias} ")).collect();
        members.push((sandbox.name.clone(), aliases));
    }
    members.sort();
    let mut create = String::from("fairway network create");
    for (key, value) in network.options.iter().filter(|(key, _)| Some(key.as_str()) != without) {
        create.push_str(&format!(" --opt {key}={value}"));
    }
    for (key, value) in &network.labels {
        create.push_str(&format!(" --label {key}={value}"));
    }
    create.push_str(if network.internal { " --internal" } else { "" });
    create.push_str(if network.enable_ipv6 { " --ipv6" } else { "" });
    create.push_str(if network.enable_ipv4 { "" } else { " --ipv4=false" });
    let leave = members.iter().map(|(member, _)| format!("fairway network disconnect {name} {member}"));
    let made = [format!("fairway network rm {name}"), format!("{create}{more} {name}")];
    let join = members.iter().map(|(member, more)| format!("fairway network connect {more}{name} {member}"));
    renewable.then(|| leave.chain(made).chain(join).collect::<Vec<_>>().join(" && "))
}

/// What moves the default network, which cannot be made anew.
pub(super) const DEFAULT_BRIDGE_ELSEWHERE: &str = "fairway daemon --bip=ADDRESS/BITS";

const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// Packets that are larger than what they have to pass.
pub(super) fn mtu(world: &World, seen: &Observations) -> Vec<Ill> {
    let mut ills = Vec::new();
    let outside = seen.facts.default_interface.as_deref().and_then(|name| seen.link(name));
    let bridged = world.networks().filter(|network| network.driver.has_bridge());
    for network in bridged.filter(|network| network.driver != Driver::Lan) {
        let own = world.mtu(network);
        if let Some(outside) = outside.filter(|it| it.mtu < own && !network.internal) {
            let what = format!(
                "packets of network {} have up to {own} bytes, those of {} up to {}",
                network.name, outside.name, outside.mtu
            );
            let why = "what is larger has to be sent again in smaller parts, and where ICMP is filtered on the \
                       way, connections hang as soon as much is sent";
            let mend = match network.mtu {
                Some(_) => renew(world, network, Some(MTU_OPTION), ""),
                None => Some(format!("fairway daemon --mtu={}", outside.mtu)),
            };
            ills.push(Ill { mend: mend.map(Mend::of_user), ..Ill::warning(what, why) });
        }
        ills.extend(within(seen, network, own));
        if !network.internal {
            ills.extend(narrow_ways(world, seen, network, own));
        }
    }
    ills
}

/// A bridge and ports that do not agree: what is too large for one of them is thrown away without a word.
fn within(seen: &Observations, network: &Network, own: u32) -> Option<Ill> {
    let bridge = seen.link(&network.bridge)?;
    let other = seen.ports_of(bridge).chain([bridge]).filter(|link| link.mtu != own);
    let other: Vec<String> = other.map(|link| format!("{} ({})", link.name, link.mtu)).collect();
    let first = other.first()?.split(' ').next()?.to_owned();
    let what =
        format!("on network {} packets have up to {own} bytes, but not at {}", network.name, few(other));
    let why = "a bridge throws away what is too large for a port, and tells nobody";
    Some(Ill::warning(what, why).mend(format!("ip link set dev {first} mtu {own}")))
}

/// Links beside the default route's that take less, as those of VPNs.
fn narrow_ways(world: &World, seen: &Observations, network: &Network, own: u32) -> Option<Ill> {
    let default = seen.facts.default_interface.as_deref();
    let leads = |name: &str| seen.facts.routes.iter().any(|route| route.interface == name);
    let narrow = seen.routers().filter(|link| {
        !link.ours && link.mtu < own && Some(link.name.as_str()) != default && leads(&link.name)
    });
    let narrow: Vec<(String, u32)> = narrow.map(|link| (link.name.clone(), link.mtu)).collect();
    let least = narrow.iter().map(|(_, mtu)| *mtu).min()?;
    let what = few(narrow.into_iter().map(|(name, mtu)| format!("{name} ({mtu})")));
    let what =
        format!("packets of network {} have up to {own} bytes, more than fit through {what}", network.name);
    let why = "sandboxes are told to send less there; where what tells them so is filtered, connections hang";
    let smaller = renew(world, network, Some(MTU_OPTION), &format!(" --opt {MTU_OPTION}={least}"));
    Some(Ill::note(what, why).mend_if(smaller, &format!("fairway daemon --mtu={least}")))
}

/// Routes of the host that meet networks.
pub(super) fn overlaps(world: &World, seen: &Observations) -> Vec<Ill> {
    let mut ills = Vec::new();
    let dockers = |name: &str| seen.link(name).is_some_and(|link| is_dockers(world, link));
    for network in world.networks() {
        for route in world.routes_over(network).filter(|route| !dockers(&route.interface)) {
            let subnets = network.subnets.iter().map(|it| it.subnet);
            let inside = subnets.clone().any(|subnet| subnet.contains(&route.destination));
            let by = if route.interface.is_empty() { "nowhere" } else { &route.interface };
            let subnets = few(subnets.map(|it| it.to_string()));
            let what = format!(
                "the host's route to {} by {by} meets network {} ({subnets})",
                route.destination, network.name
            );
            let ill = match inside {
                true => Ill::problem(
                    what,
                    "what is for sandboxes with addresses of that route goes there instead: published ports \
                     and the host itself do not reach them",
                ),
                false => Ill::warning(
                    what,
                    "what lies behind that route and has an address of the network's cannot be reached: it \
                     seems to be a sandbox",
                ),
            };
            ills.push(ill.mend_if(renew(world, network, None, ""), DEFAULT_BRIDGE_ELSEWHERE));
        }
    }
    ills
}

/// Name servers that only the host itself can ask.
pub(super) fn nameservers(world: &World, seen: &Observations) -> Vec<Ill> {
    if !world.settings().dns.is_empty() {
        return Vec::new();
    }
    let servers = &seen.facts.nameservers;
    if servers.is_empty() {
        let needs = |sandbox: &&Sandbox| {
            sandbox.running()
                && sandbox.mode == NetworkMode::Private
                && chosen_servers(world, sandbox).is_empty()
        };
        let asking: Vec<&str> = world.sandboxes().filter(needs).map(|it| it.name.as_str()).collect();
        if asking.is_empty() {
            return Vec::new();
        }
        let what =
            format!("the host's resolv.conf names no server, and {} have none of their own", few(asking));
        let why = "they resolve the names of sandboxes alone; on the default network they ask 8.8.8.8";
        return vec![Ill::warning(what, why).mend("echo nameserver ADDRESS >> /etc/resolv.conf")];
    }
    if !servers.iter().all(IpAddr::is_loopback) {
        return Vec::new();
    }
    let without = |sandbox: &&Sandbox| {
        sandbox.running()
            && sandbox.mode == NetworkMode::Private
            && !sandbox.resolver
            && chosen_servers(world, sandbox).is_empty()
    };
    let cannot: Vec<&str> = world.sandboxes().filter(without).map(|it| it.name.as_str()).collect();
    if cannot.is_empty() {
        return Vec::new();
    }
    let mut networks =
        world.networks().filter(|it| it.user_defined() && it.driver == Driver::Bridge && !it.internal);
    let (make, network) = match networks.next() {
        Some(network) => (String::new(), network.name.clone()),
        None => ("fairway network create names && ".to_owned(), "names".to_owned()),
    };
    let join = cannot.iter().map(|name| format!("fairway network connect {network} {name}"));
    let mend = format!("{make}{}", join.collect::<Vec<_>>().join(" && "));
    let what = format!(
        "the host asks {} alone, which is the host's own loopback, and {} cannot",
        few(servers.iter().map(ToString::to_string)),
        few(cannot)
    );
    let why = "on the default network nobody resolves names for sandboxes; these ask 8.8.8.8 instead and know no \
               name of your own. On networks of yours Fairway asks the host's servers for them";
    vec![Ill::warning(what, why).mend(mend)]
}
