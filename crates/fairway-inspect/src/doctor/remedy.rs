//! Commands that several checks suggest, and the test for Docker's bridges that they share.

use fairway_core::world::World;
use fairway_model::shell::quote;
use fairway_model::{Driver, Network};

use super::LinkState;

/// The command that recreates a network under its name and reconnects its sandboxes; none for a network that users
/// cannot remove. `without` is an option that is left out.
pub(super) fn recreate_network(world: &World, network: &Network, without: Option<&str>) -> Option<String> {
    if network.driver != Driver::Bridge || !network.user_defined() || network.adopted.is_some() {
        return None;
    }
    let name = &network.name;
    let mut members: Vec<(String, String)> = Vec::new();
    for endpoint in world.endpoints_of_network(network.id) {
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
    let disconnect = members.iter().map(|(member, _)| format!("fairway network disconnect {name} {member}"));
    let recreate = [format!("fairway network rm {name}"), format!("{create} {name}")];
    let connect =
        members.iter().map(|(member, aliases)| format!("fairway network connect {aliases}{name} {member}"));
    Some(disconnect.chain(recreate).chain(connect).collect::<Vec<_>>().join(" && "))
}

/// The command that gives a network another subnet: recreates it, or restarts the daemon with another default bridge.
pub(super) fn move_network(world: &World, network: &Network) -> String {
    let default_bridge = || "fairway daemon --bip=ADDRESS/BITS".to_owned();
    recreate_network(world, network, None).unwrap_or_else(default_bridge)
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
