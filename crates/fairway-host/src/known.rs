//! What advice and pictures need to know of a container.

use fairway_containers::{Container, Engine};
use fairway_inspect::explain::{EngineWords, KnownContainer, KnownNetwork, KnownPort};
use fairway_walk::NamespaceId;

/// A container with the place of its namespace.
pub fn known(container: &Container, namespace: Option<NamespaceId>) -> KnownContainer {
    let networks = container
        .attachments
        .iter()
        .map(|it| KnownNetwork { name: it.network.clone(), addresses: it.addresses.clone() });
    let ports = container.ports.iter().map(|it| KnownPort {
        protocol: it.protocol,
        host_address: it.host_address,
        host_ports: it.host_ports,
        container_port: it.container_port,
    });
    KnownContainer {
        engine: words(&container.engine),
        engine_name: container.engine.to_string(),
        name: container.name().to_owned(),
        namespace: namespace.filter(|_| container.state.exists()),
        networks: networks.collect(),
        ports: ports.collect(),
    }
}

fn words(engine: &Engine) -> EngineWords {
    match engine {
        Engine::Fairway => EngineWords::Fairway,
        Engine::Docker { .. } => EngineWords::Docker,
        Engine::Podman { .. } => EngineWords::Podman,
        Engine::Containerd { .. } => EngineWords::Nerdctl,
        Engine::Kubernetes => EngineWords::Kubectl,
        _ => EngineWords::Other,
    }
}
