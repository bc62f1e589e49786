//! Names namespaces for texts: by their containers, else by their processes or paths.

use std::collections::BTreeMap;

use fairway_containers::{Container, Engine, Mode};
use fairway_kernel::namespace::ListedNamespace;

/// Words with a meaning of their own in questions.
const RESERVED: [&str; 5] = ["host", "localhost", "lan", "outside", "any"];

/// The names of namespaces, in their order; the first is the host. Each is a name by which a question finds the
/// namespace again.
pub fn labels(listed: &[ListedNamespace], containers: &[Container]) -> Vec<String> {
    let mut by_namespace: BTreeMap<u64, Vec<&Container>> = BTreeMap::new();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for container in containers.iter().filter(|it| it.state.exists()) {
        let Some(namespace) = &container.namespace else { continue };
        by_namespace.entry(namespace.inode).or_default().push(container);
    }
    for container in containers {
        *uses.entry(container.name()).or_default() += 1;
    }
    let label = |(place, it): (usize, &ListedNamespace)| {
        if place == 0 {
            return "host".to_owned();
        }
        let known = by_namespace.get(&it.namespace.inode).map(Vec::as_slice).unwrap_or_default();
        match known.iter().min_by_key(|it| rank(it)) {
            Some(container) => {
                let name = container.name();
                let is_clear = uses.get(name) == Some(&1) && !RESERVED.contains(&name);
                if is_clear { name.to_owned() } else { container.qualified() }
            }
            None => match (&it.name, it.process) {
                (Some(name), _) => format!("netns:{name}"),
                (None, Some(process)) => format!("pid:{process}"),
                (None, None) => format!("netns:{}", it.namespace.path),
            },
        }
    };
    listed.iter().enumerate().map(label).collect()
}

/// Which of the containers in one namespace gives it its name: the one that the namespace was made for.
fn rank(container: &Container) -> (bool, bool) {
    (!matches!(container.mode, Mode::Own | Mode::None), container.engine == Engine::NamedNamespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_containers::State;
    use fairway_model::Namespace;

    fn namespace(inode: u64) -> Namespace {
        Namespace { path: format!("/proc/{inode}/ns/net"), device: 4, inode }
    }

    fn listed(inode: u64, process: Option<u32>, name: Option<&str>) -> ListedNamespace {
        ListedNamespace { namespace: namespace(inode), process, name: name.map(str::to_owned) }
    }

    fn container(engine: Engine, name: &str, inode: u64) -> Container {
        let mut container = Container::new(engine, vec![name.to_owned()], format!("id-of-{name}"));
        (container.state, container.namespace) = (State::Running, Some(namespace(inode)));
        container
    }

    #[test]
    fn a_namespace_is_called_as_its_container_if_that_is_clear() {
        let docker = || Engine::Docker { user: None };
        let podman = || Engine::Podman { user: None };
        let mut sidecar = container(docker(), "sidecar", 2);
        sidecar.mode = Mode::Shared("web".to_owned());
        let containers = [
            sidecar,
            container(docker(), "web", 2),
            container(docker(), "db", 3),
            container(podman(), "db", 4),
            container(podman(), "lan", 5),
        ];
        let listed = [1, 2, 3, 4, 5].map(|inode| listed(inode, Some(77), None));
        assert_eq!(labels(&listed, &containers), ["host", "web", "docker:db", "podman:db", "podman:lan"]);
    }

    #[test]
    fn a_namespace_without_a_container_has_the_name_by_which_it_is_found() {
        let listed = [
            listed(1, Some(1), None),
            listed(2, Some(77), Some("blue")),
            listed(3, Some(78), None),
            listed(4, None, None),
        ];
        assert_eq!(labels(&listed, &[]), ["host", "netns:blue", "pid:78", "netns:/proc/4/ns/net"]);
    }

    #[test]
    fn a_container_that_does_not_run_makes_a_name_unclear_and_names_nothing() {
        let mut gone = container(Engine::Podman { user: None }, "web", 9);
        gone.state = State::Exited;
        let containers = [container(Engine::Docker { user: None }, "web", 2), gone];
        let listed = [listed(1, None, None), listed(2, None, None), listed(9, Some(5), None)];
        assert_eq!(labels(&listed, &containers), ["host", "docker:web", "pid:5"]);
    }
}
