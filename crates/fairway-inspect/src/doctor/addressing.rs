//! Sizes, subnets and name servers: what the host has for its networks.

use super::firewall::is_dockers;
use super::{Ill, LinkSeen, Observations, few};
use fairway_core::plan::chosen_servers;
use fairway_core::world::World;
use fairway_model::shell::quote;
use fairway_model::{Driver, NameServer, Network, NetworkMode, Sandbox};

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
        create.push_str(&format!(" --opt {}", quote(&format!("{key}={value}"))));
    }
    for (key, value) in &network.labels {
        create.push_str(&format!(" --label {}", quote(&format!("{key}={value}"))));
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
    let bridged = world.networks().filter(|it| it.driver.has_bridge() && it.driver != Driver::Lan);
    let networks: Vec<(&Network, u32)> = bridged.map(|network| (network, world.mtu(network))).collect();
    let mut ills: Vec<Ill> =
        networks.iter().filter_map(|(network, own)| within(seen, network, *own)).collect();
    let outward: Vec<(&Network, u32)> =
        networks.into_iter().filter(|(network, _)| !network.internal).collect();
    if let Some(outside) = seen.facts.default_interface.as_deref().and_then(|name| seen.link(name)) {
        ills.extend(too_large(world, &outward, outside));
    }
    let default = seen.facts.default_interface.as_deref();
    let leads = |name: &str| seen.facts.routes.iter().any(|route| route.interface == name);
    let ways =
        seen.routers().filter(|link| !link.ours && Some(link.name.as_str()) != default && leads(&link.name));
    ills.extend(ways.filter_map(|link| narrow(&outward, link)));
    ills
}

/// Networks whose packets do not fit through the interface of the default route: those with a size of their own one by
/// one, and all others at once.
fn too_large(world: &World, networks: &[(&Network, u32)], outside: &LinkSeen) -> Vec<Ill> {
    let large = networks.iter().filter(|(_, own)| *own > outside.mtu);
    let (named, others): (Vec<&(&Network, u32)>, Vec<_>) =
        large.partition(|(network, _)| network.mtu.is_some());
    let ill = |networks: &[&(&Network, u32)]| {
        let own = networks.iter().map(|(_, own)| *own).max().unwrap_or_default();
        let of = if networks.len() == 1 { "network" } else { "networks" };
        let names = few(networks.iter().map(|(network, _)| network.name.as_str()));
        let (name, mtu) = (&outside.name, outside.mtu);
        let why = "what is larger has to be sent again in smaller parts, and where ICMP is filtered on the \
                   way, connections hang as soon as much is sent";
        Ill::warning(
            format!("packets of {of} {names} have up to {own} bytes, those of {name} up to {mtu}"),
            why,
        )
    };
    let of_named = named.into_iter().map(|network| {
        let renewed = renew(world, network.0, Some(MTU_OPTION), "");
        ill(&[network])
            .mend_if(renewed, "fairway network create --opt com.docker.network.driver.mtu=MTU NAME")
    });
    let of_others =
        (!others.is_empty()).then(|| ill(&others).mend(format!("fairway daemon --mtu={}", outside.mtu)));
    of_named.chain(of_others).collect()
}

/// A bridge and ports that do not agree: what is too large for one of them is thrown away without a word.
fn within(seen: &Observations, network: &Network, own: u32) -> Option<Ill> {
    let bridge = seen.link(&network.bridge)?;
    let other = seen.ports_of(bridge).chain([bridge]).filter(|link| link.mtu != own);
    let (named, commands): (Vec<String>, Vec<String>) = other
        .map(|link| {
            let command = format!("ip link set dev {} mtu {own}", quote(&link.name));
            (format!("{} ({})", link.name, link.mtu), command)
        })
        .unzip();
    if named.is_empty() {
        return None;
    }
    let what =
        format!("on network {} packets have up to {own} bytes, but not at {}", network.name, few(named));
    let why = "a bridge throws away what is too large for a port, and sends no error";
    Some(Ill::warning(what, why).mend(commands.join(" && ")))
}

/// A link beside the default route's that takes less, as those of VPNs.
fn narrow(networks: &[(&Network, u32)], link: &LinkSeen) -> Option<Ill> {
    let large: Vec<&(&Network, u32)> = networks.iter().filter(|(_, own)| *own > link.mtu).collect();
    let own = large.iter().map(|(_, own)| *own).max()?;
    let names = few(large.iter().map(|(network, _)| network.name.as_str()));
    let of = if large.len() == 1 { "network" } else { "networks" };
    let what = format!(
        "packets of {of} {names} have up to {own} bytes, more than fit through {} ({})",
        link.name, link.mtu
    );
    let why = "sandboxes are told to send less there; where what tells them so is filtered, connections hang";
    Some(Ill::note(what, why).mend(format!("fairway daemon --mtu={}", link.mtu)))
}

/// Routes of the host that meet networks.
pub(super) fn overlaps(world: &World, seen: &Observations) -> Vec<Ill> {
    let mut ills = Vec::new();
    let dockers = |name: &str| seen.link(name).is_some_and(|link| is_dockers(world, link));
    for network in world.networks() {
        for route in world.overlapping_routes(network).filter(|route| !dockers(&route.interface)) {
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
    if !servers.iter().all(NameServer::queried_from_host) {
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
    let on_loopback = servers.iter().all(|server| server.address.is_loopback());
    let what = format!(
        "the host asks {} alone, which {}, and {} cannot",
        few(servers.iter().map(ToString::to_string)),
        if on_loopback { "is the host's own loopback" } else { "only the host reaches" },
        few(cannot)
    );
    let why = "on the default network names of sandboxes are not resolved; these ask 8.8.8.8 instead and know no \
               name of your own. On networks of yours Fairway asks the host's servers for them";
    vec![Ill::warning(what, why).mend(mend)]
}
