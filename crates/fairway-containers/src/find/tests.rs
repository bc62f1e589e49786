use super::*;

fn container(engine: Engine, names: &[&str], id: &str) -> Container {
    Container::new(engine, names.iter().map(|it| (*it).to_owned()).collect(), id.to_owned())
}

/// Containers of every engine.
fn host() -> Vec<Container> {
    let docker = || Engine::Docker { user: None };
    let alice = || Some("alice".to_owned());
    let containerd = |namespace: &str| Engine::Containerd { namespace: namespace.to_owned() };
    let mut all = vec![
        container(docker(), &["web"], "1234aaaa"),
        container(docker(), &["db"], "1234bbbb"),
        container(docker(), &["cafe"], "dddd0000"),
        container(docker(), &["beef"], "cafe0000"),
        container(Engine::Podman { user: None }, &["web"], "5678aaaa"),
        container(Engine::Podman { user: alice() }, &["web"], "5678bbbb"),
        container(Engine::Podman { user: alice() }, &["mail"], "9999aaaa"),
        container(containerd("default"), &["cache"], "cache"),
        container(containerd("other"), &["cache"], "cache"),
        container(Engine::Kubernetes, &["default/api", "api"], "aaaa1111"),
        container(Engine::Kubernetes, &["kube-system/api", "api"], "aaaa2222"),
        container(Engine::Kubernetes, &["default/api/nginx"], "aaaa3333"),
        container(Engine::Lxc { user: None }, &["box1"], ""),
        container(Engine::Nspawn, &["deb"], ""),
        container(Engine::NamedNamespace, &["blue"], ""),
        container(Engine::Fairway, &["own"], "ffff0000"),
    ];
    all[0].pid = Some(4711);
    all[0].namespace_names = vec!["docker-web".to_owned()];
    all[14].namespace_names = vec!["blue".to_owned()];
    all
}

/// The qualified name of what is found, `-` if nothing is, or the candidates.
fn found(name: &str) -> String {
    match find(&host(), name) {
        Ok(Some(container)) => container.qualified(),
        Ok(None) => "-".to_owned(),
        Err(error) => error.candidates.join(" "),
    }
}

#[test]
fn a_name_is_found_in_any_engine() {
    for (name, expected) in [
        ("db", "docker:db"),
        ("mail", "podman:alice/mail"),
        ("box1", "lxc:box1"),
        ("deb", "machine:deb"),
        ("blue", "netns:blue"),
        ("own", "fairway:own"),
        ("default/api", "pod:default/api"),
        ("default/api/nginx", "pod:default/api/nginx"),
        ("", "-"),
        ("nothing", "-"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
}

#[test]
fn an_engine_before_the_name_decides() {
    for (name, expected) in [
        ("docker:web", "docker:web"),
        ("podman:alice/web", "podman:alice/web"),
        ("podman:mail", "podman:alice/mail"),
        ("ctr:default/cache", "ctr:default/cache"),
        ("ctr:other/cache", "ctr:other/cache"),
        ("pod:default/api", "pod:default/api"),
        ("pod:default/api/nginx", "pod:default/api/nginx"),
        ("lxc:box1", "lxc:box1"),
        ("machine:deb", "machine:deb"),
        ("netns:blue", "netns:blue"),
        ("fairway:own", "fairway:own"),
        ("docker:box1", "-"),
        ("lxc:web", "-"),
        ("podman:bob/web", "-"),
        ("ctr:third/cache", "-"),
        ("netns:web", "-"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
}

#[test]
fn a_container_is_found_by_its_process_and_the_name_of_its_namespace() {
    assert_eq!(found("pid:4711"), "docker:web");
    assert_eq!(found("netns:docker-web"), "docker:web");
    assert_eq!(found("pid:47"), "-");
    // Without the qualifier they are no names.
    assert_eq!(found("4711"), "-");
    assert_eq!(found("docker-web"), "-");
}

#[test]
fn an_identifier_or_its_start_is_found() {
    for (name, expected) in [
        ("1234aaaa", "docker:web"),
        ("1234b", "docker:db"),
        ("docker:1234b", "docker:db"),
        ("podman:alice/9", "podman:alice/mail"),
        ("pod:aaaa3", "pod:default/api/nginx"),
        ("fff", "fairway:own"),
        // The name precedes the start of another one's identifier, and a whole identifier precedes both.
        ("cafe", "docker:cafe"),
        ("cafe0000", "docker:beef"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
}

#[test]
fn a_name_of_several_containers_is_refused_with_the_candidates() {
    for (name, expected) in [
        ("web", "docker:web podman:alice/web podman:web"),
        ("podman:web", "podman:alice/web podman:web"),
        ("cache", "ctr:default/cache ctr:other/cache"),
        ("ctr:cache", "ctr:default/cache ctr:other/cache"),
        ("api", "pod:default/api pod:kube-system/api"),
        ("1234", "docker:db docker:web"),
        ("docker:1234", "docker:db docker:web"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
    assert_eq!(
        find(&host(), "podman:web").unwrap_err().to_string(),
        "\"podman:web\" names several containers: write one of podman:alice/web, podman:web"
    );
}

#[test]
fn candidates_with_one_name_are_called_by_their_identifiers() {
    let docker = || Engine::Docker { user: None };
    let host = [container(docker(), &["web"], "aa"), container(docker(), &["web"], "bb")];
    assert_eq!(find(&host, "web").unwrap_err().candidates, ["docker:aa", "docker:bb"]);
    assert_eq!(find(&host, "docker:aa").unwrap(), Some(&host[0]));
}

#[test]
fn only_known_qualifiers_are_split_off() {
    for (name, expected) in [
        ("docker:web", (Some("docker"), "web")),
        ("netns:/run/netns/a:b", (Some("netns"), "/run/netns/a:b")),
        ("pid:1", (Some("pid"), "1")),
        ("web", (None, "web")),
        ("web:80", (None, "web:80")),
        ("docker:", (None, "docker:")),
        ("fd00::1", (None, "fd00::1")),
    ] {
        assert_eq!(split(name), expected, "{name}");
    }
}
