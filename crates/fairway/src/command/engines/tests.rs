use fairway_api::types::{ContainerState, EndpointSettings, PortBinding};

use super::*;

fn container(engine: Engine, name: &str, id: &str) -> Container {
    Container::new(engine, vec![name.to_owned()], id.to_owned())
}

/// The values of a row, without the namespace and the qualified name.
fn cells(container: &Container, names: &[(String, String)]) -> Vec<String> {
    let Value::Object(pairs) = row(container, names, false) else { panic!() };
    assert_eq!(pairs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), FIELDS.map(|(name, _)| name));
    pairs.iter().take(COLUMNS.len()).map(|(_, value)| value.to_string()).collect()
}

#[test]
fn a_row_has_what_is_known_of_a_container() {
    let mut web = container(Engine::Podman { user: Some("alice".to_owned()) }, "web", &"ab".repeat(32));
    let attachment = |network: &str, addresses: &[&str]| Attachment {
        network: network.to_owned(),
        interface: None,
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        mac: None,
    };
    web.attachments = vec![attachment("app", &["10.1.0.2", "fd00::2"]), attachment("db", &["10.2.0.2"])];
    web.ports = vec![PublishedPort {
        protocol: Protocol::Tcp,
        host_address: "0.0.0.0".parse().unwrap(),
        host_ports: PortRange::single(8080),
        container_port: None,
    }];
    web.state = State::Running;
    web.pid = Some(41);
    assert_eq!(
        cells(&web, &[]),
        [
            "podman (alice)",
            "web",
            "abababababab",
            "app,db",
            "10.1.0.2,fd00::2,10.2.0.2",
            "0.0.0.0:8080/tcp",
            "41",
            "running",
        ]
    );
}

#[test]
fn modes_are_shown_as_networks_and_names_are_identifiers_where_there_are_none() {
    let shown = |mode| {
        let mut container = container(Engine::Lxc { user: None }, "deb", "");
        container.mode = mode;
        cells(&container, &[("aaaa".to_owned(), "web".to_owned())])[2..4].to_vec()
    };
    for (mode, networks) in [
        (Mode::Own, ""),
        (Mode::Host, "host"),
        (Mode::None, "none"),
        (Mode::Shared("aaaa".to_owned()), "container:web"),
        (Mode::Shared("bbbb".to_owned()), "container:bbbb"),
    ] {
        assert_eq!(shown(mode), ["deb", networks]);
    }
}

#[test]
fn a_sandbox_is_a_container_of_fairway() {
    let mut known = ContainerInspect { id: "aaaa".to_owned(), name: "/web".to_owned(), ..Default::default() };
    known.state = ContainerState { status: "running".to_owned(), pid: 41, ..Default::default() };
    let endpoint = EndpointSettings { ip_address: "172.25.0.2".to_owned(), ..Default::default() };
    known.network_settings.networks.insert("app".to_owned(), endpoint);
    let binding = |port: &str| PortBinding { host_ip: "0.0.0.0".to_owned(), host_port: port.to_owned() };
    known.network_settings.ports.insert("80/tcp".to_owned(), Some(vec![binding("8080"), binding("")]));
    known.network_settings.ports.insert("81/tcp".to_owned(), None);
    assert_eq!(
        cells(&sandbox(&known), &[]),
        ["fairway", "web", "aaaa", "app", "172.25.0.2", "0.0.0.0:8080->80/tcp", "41", "running"]
    );
    known.host_config.network_mode = "none".to_owned();
    known.state.status = "exited".to_owned();
    assert_eq!(cells(&sandbox(&known), &[])[3..], ["none", "", "0.0.0.0:8080->80/tcp", "", "exited"]);
    known.host_config.network_mode = "container:bbbb".to_owned();
    known.state.status = "created".to_owned();
    assert_eq!(cells(&sandbox(&known), &[])[3], "container:bbbb");
    assert_eq!(sandbox(&known).state, State::Created);
}

#[test]
fn control_characters_of_names_do_not_reach_the_terminal() {
    let evil = container(Engine::Podman { user: Some("bob".to_owned()) }, "a\u{1b}[2Jb\nc", "");
    assert_eq!(cells(&evil, &[])[1], "a\u{fffd}[2Jb\u{fffd}c");
}
