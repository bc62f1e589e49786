//! The commands that connect a sandbox to a network and publish its ports: those of the engine whose container it is. Another
//! program's would not know of it.

use fairway_core::world::World;
use fairway_model::{Network, Sandbox};

/// The command that connects a sandbox to a network.
pub(super) fn connect(sandbox: &Sandbox, network: &str) -> String {
    let name = &sandbox.name;
    match sandbox.engine() {
        None => format!("fairway network connect {network} {name}"),
        Some(engine @ ("podman" | "docker")) => format!("{engine} network connect {network} {name}"),
        Some(engine) => format!("have its {engine} configuration connect {name} to {network}"),
    }
}

/// The command that publishes a port of a sandbox, such as `80:80/udp`.
pub(super) fn publish(sandbox: &Sandbox, port: &str) -> String {
    let name = &sandbox.name;
    match sandbox.engine() {
        None => format!("fairway publish {name} {port}"),
        Some(engine @ ("podman" | "docker")) => format!("make {name} again with {engine} run -p {port}"),
        Some(engine) => format!("have its {engine} configuration publish {port} of {name}"),
    }
}

/// The commands that connect sandboxes to a network.
pub(super) fn join<'a>(network: &str, sandboxes: impl IntoIterator<Item = &'a Sandbox>) -> String {
    let commands: Vec<String> = sandboxes.into_iter().map(|sandbox| connect(sandbox, network)).collect();
    commands.join(" && ")
}

/// The commands that connect sandboxes to a network with access to other hosts by a family, a new one if there is none.
pub(super) fn join_way_out<'a>(
    world: &World,
    ipv4: bool,
    sandboxes: impl IntoIterator<Item = &'a Sandbox>,
) -> String {
    let leads = |network: &&Network| {
        let of_family = network.subnets.iter().any(|it| it.subnet.addr().is_ipv4() == ipv4);
        of_family && !network.internal && world.host_routes_to(network, ipv4)
    };
    match world.networks().filter(leads).min_by_key(|it| it.user_defined()) {
        Some(network) => join(&network.name, sandboxes),
        None => {
            let family = if ipv4 { "" } else { "--ipv6 " };
            format!("fairway network create {family}NETWORK && {}", join("NETWORK", sandboxes))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fairway_core::world::{Command, CreateSandbox, NetworkChoice};
    use fairway_model::{ENGINE_LABEL, Rng, SandboxKind, SandboxOptions};

    use super::*;

    #[test]
    fn commands_are_those_of_the_engine() {
        for (engine, connects, publishes) in [
            (None, "fairway network connect app web", "fairway publish web 80:80"),
            (Some("podman"), "podman network connect app web", "make web again with podman run -p 80:80"),
            (
                Some("cni"),
                "have its cni configuration connect web to app",
                "have its cni configuration publish 80:80 of web",
            ),
        ] {
            let labels: BTreeMap<_, _> =
                engine.map(|engine| (ENGINE_LABEL.to_owned(), engine.to_owned())).into_iter().collect();
            let create = CreateSandbox {
                name: Some("web".to_owned()),
                kind: SandboxKind::Attached,
                options: SandboxOptions { labels, ..SandboxOptions::default() },
                network: NetworkChoice::None,
            };
            let mut world = World::default();
            world.apply(Command::CreateSandbox(Box::new(create)), 0, &mut Rng::new(1)).unwrap();
            let web = world.find_sandbox("web").unwrap();
            assert_eq!((connect(web, "app").as_str(), publish(web, "80:80").as_str()), (connects, publishes));
        }
    }
}
