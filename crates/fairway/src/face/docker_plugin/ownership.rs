//! Which commands of Fairway's users would take from dockerd what it believes to have. Pure.

use fairway_api::{Failure, FailureKind};
use fairway_core::world::{Command, NetworkChoice, World};
use fairway_model::{RefusalKind, SandboxKind};

use super::describe::is_of_docker;

/// The refusal of a command that changes what is Docker's; none if it does not. Ports may be published and unpublished:
/// they are Fairway's.
pub fn refusal(world: &World, command: &Command) -> Option<Failure> {
    let network_of = |reference: &str| {
        let network = world.find_network(reference).ok()?;
        is_of_docker(&network.labels).then(|| network.name.clone())
    };
    let container_of = |reference: &str| {
        let sandbox = world.find_sandbox(reference).ok()?;
        (sandbox.kind == SandboxKind::Docker).then(|| sandbox.name.clone())
    };
    let joined = |choice: &NetworkChoice| choice.names().find_map(network_of);
    let of_network = |name: String, what: &str, instead: &str| {
        refused(format!("cannot {what} network {name}: it is Docker's: {instead}"))
    };
    let of_container = |name: String, what: &str, instead: &str| {
        refused(format!("cannot {what} container {name}: it is Docker's: {instead}"))
    };
    match command {
        Command::RemoveNetwork { network } => network_of(network)
            .map(|name| of_network(name.clone(), "remove", &format!("docker network rm {name}"))),
        Command::UpdateNetwork { network, .. } => network_of(network)
            .map(|name| of_network(name, "change", "remove it and create it again with other options")),
        Command::Connect { network, sandbox, .. } => {
            container_of(sandbox).map(|name| of_container(name, "connect", "docker network connect")).or_else(
                || network_of(network).map(|name| of_network(name, "connect a sandbox to", OWN_NETWORK)),
            )
        }
        Command::Disconnect { sandbox, .. } => {
            container_of(sandbox).map(|name| of_container(name, "disconnect", "docker network disconnect"))
        }
        Command::CreateSandbox(create) | Command::Attach { create, .. } => {
            joined(&create.network).map(|name| of_network(name, "connect a sandbox to", OWN_NETWORK))
        }
        Command::Join(join) => {
            joined(&join.sandbox.network).map(|name| of_network(name, "connect a sandbox to", OWN_NETWORK))
        }
        Command::Rename { sandbox, .. } => container_of(sandbox)
            .map(|name| of_container(name.clone(), "rename", &format!("docker rename {name} NAME"))),
        Command::StopSandbox { sandbox, .. } => stop_refusal(world, sandbox),
        Command::RemoveSandbox { sandbox } => container_of(sandbox)
            .map(|name| of_container(name.clone(), "remove", &format!("docker rm -f {name}"))),
        _ => None,
    }
}

/// The way out of connecting a sandbox to a network whose addresses dockerd allocates.
const OWN_NETWORK: &str = "dockerd allocates its addresses: create one with fairway network create";

/// The refusal to stop a container of Docker; none if it is none.
pub fn stop_refusal(world: &World, sandbox: &str) -> Option<Failure> {
    let sandbox = world.find_sandbox(sandbox).ok().filter(|it| it.kind == SandboxKind::Docker)?;
    let name = &sandbox.name;
    Some(refused(format!("cannot stop container {name}: it is Docker's: docker stop {name}")))
}

fn refused(message: String) -> Failure {
    Failure::new(FailureKind::Refused(RefusalKind::Forbidden), message)
}

#[cfg(test)]
mod tests {
    use fairway_core::world::{CreateNetwork, CreateSandbox, JoinEndpoint};
    use fairway_model::{
        EndpointId, EndpointRequest, NetworkId, Rng, SandboxId, SandboxOptions, Settings, SubnetRequest,
    };

    use super::*;
    use crate::face::docker_plugin::describe::labels;

    fn world() -> World {
        let (mut world, mut rng) = (World::default(), Rng::new(1));
        let network = |name: &str, id: Option<NetworkId>| {
            let subnet = id.and_then(|_| "10.1.0.0/24".parse().ok());
            Command::CreateNetwork(CreateNetwork {
                id,
                name: name.to_owned(),
                subnets: vec![SubnetRequest { subnet, ..SubnetRequest::default() }],
                labels: id.map(|_| labels()).unwrap_or_default(),
                ..CreateNetwork::default()
            })
        };
        let id = NetworkId::new([1; 32]);
        for command in [
            Command::Configure { settings: Box::new(Settings::default()), host: Box::default() },
            network("app", Some(id)),
            network("own", None),
            Command::JoinEndpoint(Box::new(JoinEndpoint {
                id: EndpointId::new([2; 32]),
                network: id,
                sandbox: SandboxId::new([3; 32]),
                name: "web".to_owned(),
                labels: labels(),
                request: EndpointRequest::default(),
            })),
        ] {
            world.apply(command, 1, &mut rng).unwrap();
        }
        world
    }

    fn create(network: &str) -> Command {
        Command::CreateSandbox(Box::new(CreateSandbox {
            name: None,
            kind: SandboxKind::Run,
            network: NetworkChoice::Networks(vec![(network.to_owned(), EndpointRequest::default())]),
            options: SandboxOptions::default(),
        }))
    }

    #[test]
    fn what_is_dockers_is_changed_by_docker() {
        let world = world();
        let text = |command: Command| refusal(&world, &command).map(|it| it.message).unwrap_or_default();
        let (network, sandbox) = ("app".to_owned(), "web".to_owned());
        assert_eq!(
            text(Command::RemoveNetwork { network: network.clone() }),
            "cannot remove network app: it is Docker's: docker network rm app"
        );
        assert_eq!(
            text(create("app")),
            "cannot connect a sandbox to network app: it is Docker's: dockerd allocates its addresses: create one with fairway network create"
        );
        assert_eq!(
            text(Command::Disconnect { network, sandbox: sandbox.clone() }),
            "cannot disconnect container web: it is Docker's: docker network disconnect"
        );
        assert_eq!(
            text(Command::RemoveSandbox { sandbox: sandbox.clone() }),
            "cannot remove container web: it is Docker's: docker rm -f web"
        );
        assert_eq!(
            text(Command::Rename { sandbox: sandbox.clone(), name: "other".to_owned() }),
            "cannot rename container web: it is Docker's: docker rename web NAME"
        );
        assert_eq!(
            stop_refusal(&world, "web").unwrap().message,
            "cannot stop container web: it is Docker's: docker stop web"
        );
        let own = Command::RemoveNetwork { network: "own".to_owned() };
        for command in [own, create("own"), Command::Publish { sandbox, requests: Vec::new() }] {
            assert_eq!(text(command), "");
        }
    }
}
