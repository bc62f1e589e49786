use fairway_containers::{Engine, State};
use fairway_model::Namespace;

use super::*;

const CNI: &str = "/run/netns/cni-1b4e28ba-2fa1-11d2-883f-0016d3cca427";

fn listed(path: &str, inode: u64, process: Option<u32>) -> ListedNamespace {
    ListedNamespace { namespace: Namespace { path: path.to_owned(), device: 4, inode }, process, name: None }
}

fn container(engine: Engine, inode: u64) -> Container {
    let mut container = Container::new(engine, vec!["web".to_owned()], "abc".to_owned());
    container.state = State::Running;
    container.namespace = Some(Namespace { path: String::new(), device: 4, inode });
    container
}

#[test]
fn only_paths_of_engines_are_theirs() {
    for path in [
        "/run/docker/netns/0123456789ab",
        "/var/run/docker/netns/0123456789ab",
        "/run/user/1000/docker/netns/0123456789ab",
        CNI,
        "/run/user/1000/netns/netns-1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    ] {
        assert!(is_of_engine(path), "{path}");
    }
    for path in [
        "/run/netns/web",
        "/run/netns/cni-web",
        "/run/docker/netns/default",
        "/run/docker/netns/ingress_sbox",
        "/run/docker/netns/1-0123456789",
        "/run/docker/netns/lb_012345678",
        "/run/fairway/netns/0123456789ab",
        "0123456789ab",
    ] {
        assert!(!is_of_engine(path), "{path}");
    }
}

#[test]
fn a_namespace_without_process_and_container_is_unused() {
    let host = listed("/proc/self/ns/net", 1, Some(1));
    let of = |it: &ListedNamespace, containers: &[Container]| unused(&[host.clone(), it.clone()], containers);
    let empty = listed(CNI, 9, None);
    assert_eq!(of(&empty, &[]), [CNI]);
    assert_eq!(of(&listed(CNI, 9, Some(7)), &[]), [""; 0]);
    assert_eq!(of(&empty, &[container(Engine::Kubernetes, 9)]), [""; 0]);
    // It is named by `ip netns`, since it is in that directory.
    assert_eq!(of(&empty, &[container(Engine::NamedNamespace, 9)]), [CNI]);
    assert_eq!(of(&empty, &[container(Engine::Kubernetes, 8)]), [CNI]);
    assert_eq!(of(&listed("/run/netns/web", 9, None), &[]), [""; 0]);
    assert_eq!(unused(&[empty], &[]), [""; 0], "the first is the host's");
}
