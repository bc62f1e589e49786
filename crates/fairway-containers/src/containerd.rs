//! containerd, by the directories of its tasks: containers of `ctr` and nerdctl, and pods of Kubernetes.

use serde_json::Value;

use crate::container::{Attachment, Container, Engine, Mode, PublishedPort, State};
use crate::oci::{Network, annotation, network};
use crate::reader::Reader;
use crate::{cni, docker, port_mapping, task};

/// Lists the containers that have a process. containerd keeps the others in a database of its own.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let mut containers = Vec::new();
    let mut results = None;
    for directory in task::DIRECTORIES {
        let mut namespaces = reader.names(directory);
        // Docker's containers are known better to Docker; the other namespace is that of its plugins.
        namespaces.retain(|name| name != docker::NAMESPACE && name != "plugins.moby");
        for namespace in namespaces {
            for id in reader.names(&format!("{directory}/{namespace}")) {
                let task = format!("{directory}/{namespace}/{id}");
                let Some(pid) = reader.pid_file(&format!("{task}/init.pid")) else { continue };
                let config = reader.json(&format!("{task}/config.json"));
                let mut container = container(&namespace, &id, config.as_ref());
                container.state = State::Running;
                container.pid = Some(pid);
                container.namespace = reader.namespace(pid);
                if container.mode == Mode::Own {
                    let results = results.get_or_insert_with(|| cni::read(reader));
                    add_networks(&mut container, results, &namespace);
                }
                containers.push(container);
            }
        }
    }
    containers
}

/// What the configuration of a container says, without the process.
fn container(namespace: &str, id: &str, config: Option<&Value>) -> Container {
    let Some(config) = config else { return plain(namespace, id, &Value::Null) };
    let mut container = pod(id, config).unwrap_or_else(|| plain(namespace, id, config));
    match network(config) {
        Network::Host => container.mode = Mode::Host,
        // nerdctl makes a new one also where the container is to have no network.
        Network::New if annotation(config, "nerdctl/networks") == Some("[\"none\"]") => {
            container.mode = Mode::None;
        }
        Network::Process(pid) if container.mode == Mode::Own => {
            container.mode = Mode::Shared(format!("pid:{pid}"));
        }
        _ => {}
    }
    container
}

/// A pod, or a container of one: both have the annotations of containerd's CRI plugin.
fn pod(id: &str, config: &Value) -> Option<Container> {
    let of = |key: &str| annotation(config, &format!("io.kubernetes.cri.{key}"));
    let (namespace, name) = (of("sandbox-namespace")?, of("sandbox-name")?);
    Some(match of("container-name") {
        None => kubernetes_pod(namespace, name, id),
        Some(container) => {
            let pod = of("sandbox-id").unwrap_or(name);
            kubernetes_container(namespace, name, container, id, pod)
        }
    })
}

/// A pod: the container that holds its namespace.
pub(crate) fn kubernetes_pod(namespace: &str, name: &str, id: &str) -> Container {
    Container::new(Engine::Kubernetes, vec![format!("{namespace}/{name}"), name.to_owned()], id.to_owned())
}

/// A container of a pod, which uses the namespace of the pod.
pub(crate) fn kubernetes_container(
    namespace: &str,
    pod: &str,
    name: &str,
    id: &str,
    pod_id: &str,
) -> Container {
    let names = vec![format!("{namespace}/{pod}/{name}")];
    let mut container = Container::new(Engine::Kubernetes, names, id.to_owned());
    container.mode = Mode::Shared(pod_id.to_owned());
    container
}

/// A container of `ctr`, which has its identifier as name, or of nerdctl.
fn plain(namespace: &str, id: &str, config: &Value) -> Container {
    let mut names: Vec<String> = annotation(config, "nerdctl/name").map(str::to_owned).into_iter().collect();
    if names.is_empty() {
        names.push(id.to_owned());
    }
    let engine = Engine::Containerd { namespace: namespace.to_owned() };
    let mut container = Container::new(engine, names, id.to_owned());
    let parsed = |key| serde_json::from_str::<Value>(annotation(config, key)?).ok();
    for network in parsed("nerdctl/networks").as_ref().and_then(Value::as_array).into_iter().flatten() {
        match network.as_str() {
            Some("host" | "none") | None => {}
            Some(name) => container.attachments.push(Attachment {
                network: name.to_owned(),
                interface: None,
                addresses: Vec::new(),
                mac: None,
            }),
        }
    }
    let ports = parsed("nerdctl/ports");
    let ports = ports.as_ref().and_then(Value::as_array).into_iter().flatten();
    container.ports =
        PublishedPort::join(ports.flat_map(|port| port_mapping::read(port, true, false)).collect());
    container
}

/// Adds what the CNI plugins returned; where they did, the annotations of nerdctl say nothing more.
fn add_networks(container: &mut Container, results: &cni::Results, namespace: &str) {
    let id = match container.engine {
        Engine::Kubernetes => container.id.clone(),
        // Both clients distinguish containers of several namespaces so.
        _ => format!("{namespace}-{}", container.id),
    };
    if results.contains_key(&id) {
        container.attachments.clear();
        cni::add(container, results, &id);
    }
}

#[cfg(test)]
mod tests;
