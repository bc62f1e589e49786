//! Commands that several checks suggest, and the test for Docker's bridges that they share.

use fairway_core::world::World;
use fairway_model::shell::quote;
use fairway_model::{Driver, EndpointRequest, Network, Subnet};

use super::LinkState;

/// What a network is recreated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose<'a> {
    /// To leave out an option.
    WithoutOption(&'a str),
    /// To get another subnet.
    OtherSubnet,
}

/// The command that recreates a network under its name and reconnects its sandboxes; none for a network that users
/// cannot remove. `without` is an option that is left out.
pub(super) fn recreate_network(world: &World, network: &Network, without: &str) -> Option<String> {
    recreate(world, network, Purpose::WithoutOption(without))
}

fn recreate(world: &World, network: &Network, purpose: Purpose<'_>) -> Option<String> {
    let is_own = matches!(network.driver, Driver::Bridge | Driver::Routed) && network.adopted.is_none();
    if !is_own || !network.user_defined() {
        return None;
    }
    let name = &network.name;
    let mut members: Vec<(&str, String)> = Vec::new();
    for endpoint in world.endpoints_of_network(network.id) {
        let sandbox = world.sandbox(endpoint.sandbox)?;
        members.push((&sandbox.name, connect_flags(&endpoint.request, purpose)));
    }
    members.sort();
    let mut create = String::from("fairway network create");
    if network.driver != Driver::Bridge {
        create.push_str(&format!(" --driver {}", network.driver));
    }
    let is_kept = |key: &str| purpose != Purpose::WithoutOption(key);
    for (key, value) in network.options.iter().filter(|(key, _)| is_kept(key)) {
        create.push_str(&format!(" --opt {}", quote(&format!("{key}={value}"))));
    }
    for (key, value) in &network.ipam_options {
        create.push_str(&format!(" --ipam-opt {}", quote(&format!("{key}={value}"))));
    }
    for (key, value) in &network.labels {
        create.push_str(&format!(" --label {}", quote(&format!("{key}={value}"))));
    }
    create.push_str(if network.internal { " --internal" } else { "" });
    create.push_str(if network.enable_ipv6 { " --ipv6" } else { "" });
    create.push_str(if network.enable_ipv4 { "" } else { " --ipv4=false" });
    if purpose != Purpose::OtherSubnet {
        network.subnets.iter().filter(|it| it.chosen).for_each(|it| create.push_str(&subnet_flags(it)));
    }
    let disconnect = members.iter().map(|(member, _)| format!("fairway network disconnect {name} {member}"));
    let recreate = [format!("fairway network rm {name}"), format!("{create} {name}")];
    let connect =
        members.iter().map(|(member, flags)| format!("fairway network connect {flags}{name} {member}"));
    Some(disconnect.chain(recreate).chain(connect).collect::<Vec<_>>().join(" && "))
}

/// The flags by which a subnet was chosen.
fn subnet_flags(subnet: &Subnet) -> String {
    let mut flags = format!(" --subnet {}", subnet.subnet);
    if subnet.gateway_chosen {
        flags.push_str(&format!(" --gateway {}", subnet.gateway));
    }
    if let Some(range) = subnet.ip_range {
        flags.push_str(&format!(" --ip-range {range}"));
    }
    for (name, address) in &subnet.auxiliary {
        flags.push_str(&format!(" --aux-address {}", quote(&format!("{name}={address}"))));
    }
    flags
}

/// The flags by which a sandbox is connected as it was; its addresses are not those of another subnet.
fn connect_flags(request: &EndpointRequest, purpose: Purpose<'_>) -> String {
    let mut flags = String::new();
    if purpose != Purpose::OtherSubnet {
        flags.extend(request.ipv4.map(|address| format!("--ip {address} ")));
        flags.extend(request.ipv6.map(|address| format!("--ip6 {address} ")));
    }
    flags.extend(request.aliases.iter().map(|alias| format!("--alias {alias} ")));
    flags.extend(request.links.iter().map(|(target, alias)| format!("--link {target}:{alias} ")));
    let option =
        |(key, value): (&String, &String)| format!("--driver-opt {} ", quote(&format!("{key}={value}")));
    flags.extend(request.driver_options.iter().map(option));
    if request.gateway_priority != 0 {
        flags.push_str(&format!("--gw-priority {} ", request.gateway_priority));
    }
    flags
}

/// The command that gives a network another subnet: recreates it, or restarts the daemon with another default bridge. None
/// where the subnet is that of a LAN, or of a bridge that the user made.
pub(super) fn move_network(world: &World, network: &Network, ipv4: bool) -> Option<String> {
    let is_default = network.predefined && network.driver == Driver::Bridge && network.adopted.is_none();
    let flag = if ipv4 { "--bip" } else { "--bip6" };
    let default_bridge = || is_default.then(|| format!("fairway daemon {flag}=ADDRESS/BITS"));
    recreate(world, network, Purpose::OtherSubnet).or_else(default_bridge)
}

/// The command that creates one more network, under the next free name.
pub(super) fn create_another_network(world: &World, name: &str) -> String {
    let is_free = |name: &String| world.find_network(name).is_err();
    let numbered = (2..100).map(|number| format!("{name}-{number}"));
    let free = numbered.into_iter().find(is_free).unwrap_or_else(|| "NAME".to_owned());
    format!("fairway network create {free}")
}

/// Whether a link is a bridge of Docker, podman or Kubernetes, which rely on filtering of bridged packets.
pub(super) fn is_container_bridge(world: &World, link: &LinkState) -> bool {
    is_docker_bridge(world, link) || ["podman", "cni"].iter().any(|prefix| link.name.starts_with(prefix))
}

/// Whether a link is a bridge that Docker created.
pub(super) fn is_docker_bridge(world: &World, link: &LinkState) -> bool {
    let named = link.name == "docker0" || link.name.strip_prefix("br-").is_some_and(|id| id.len() == 12);
    let ours = link.ours || world.networks().any(|network| network.bridge == link.name);
    named && link.kind == "bridge" && !ours
}
