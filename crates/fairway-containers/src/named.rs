//! The namespaces that `ip netns` names.

use fairway_kernel::namespace::NAMED_DIRECTORY;
use fairway_model::Namespace;

use crate::container::{Container, Engine, Mode, State};
use crate::reader::Reader;

/// Lists the named namespaces.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let mut containers = Vec::new();
    for name in reader.names(NAMED_DIRECTORY) {
        let Some(namespace) = reader.namespace_at(&format!("{NAMED_DIRECTORY}/{name}")) else { continue };
        let mut container = Container::new(Engine::NamedNamespace, vec![name.clone()], String::new());
        container.state = State::Running;
        container.namespace = Some(namespace);
        container.namespace_names = vec![name];
        containers.push(container);
    }
    containers
}

/// Gives each name of a namespace to the containers whose own namespace it is, in place of a container of its own.
pub(crate) fn join(containers: Vec<Container>) -> Vec<Container> {
    let (named, mut owners): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|it| it.engine == Engine::NamedNamespace);
    let mut others = Vec::new();
    for container in named {
        let mut owned = false;
        for owner in owners.iter_mut().filter(|it| owns(it, container.namespace.as_ref())) {
            owned = true;
            let known = owner.namespace_names.clone();
            let new = container.namespace_names.iter().filter(|name| !known.contains(name));
            owner.namespace_names.extend(new.cloned());
        }
        if !owned {
            others.push(container);
        }
    }
    owners.append(&mut others);
    owners
}

/// Whether a namespace is the container's own, and not the host's or that of another container.
fn owns(container: &Container, namespace: Option<&Namespace>) -> bool {
    let (Some(one), Some(other)) = (&container.namespace, namespace) else { return false };
    matches!(container.mode, Mode::Own | Mode::None) && one.identity() == other.identity()
}
