use std::collections::BTreeMap;

use fairway_model::Protocol;

use super::*;
use crate::types::{EndpointIpam, HostConfig, NetworkingConfig, PortBinding};

fn read(json: &str) -> Result<CreateSandbox, Failure> {
    container("", SandboxKind::Run, crate::json::from_slice(json.as_bytes()).unwrap())
}

fn networks(json: &str) -> Vec<String> {
    match read(json).unwrap().network {
        NetworkChoice::Networks(networks) => networks.into_iter().map(|(name, _)| name).collect(),
        other => panic!("not networks: {other:?}"),
    }
}

#[test]
fn an_empty_request_is_for_what_is_the_daemons_default() {
    let nothing = Vec::<String>::new();
    assert_eq!(networks("{}"), nothing);
    assert_eq!(networks(r#"{"HostConfig":{"NetworkMode":"default"}}"#), nothing);
    assert_eq!(networks(r#"{"HostConfig":null,"NetworkingConfig":null,"Env":null}"#), nothing);
    assert_eq!(networks(r#"{"NetworkingConfig":{"EndpointsConfig":null}}"#), nothing);
    assert_eq!(networks(r#"{"HostConfig":{"NetworkMode":"bridge"}}"#), ["bridge"]);
}

#[test]
fn networks_keep_their_order_with_that_of_the_mode_first() {
    let asked = r#""NetworkingConfig":{"EndpointsConfig":{"z":{},"m":{},"a":{}}}"#;
    assert_eq!(networks(&format!("{{{asked}}}")), ["z", "m", "a"]);
    assert_eq!(networks(&format!(r#"{{"HostConfig":{{"NetworkMode":"a"}},{asked}}}"#)), ["a", "z", "m"]);
    assert_eq!(networks(&format!(r#"{{"HostConfig":{{"NetworkMode":"x"}},{asked}}}"#)), ["x", "z", "m", "a"]);
    let default =
        r#"{"HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{}}}}"#;
    assert_eq!(networks(default), ["bridge"]);
}

#[test]
fn network_modes_are_not_taken_for_network_names() {
    let choice = |mode: &str| {
        let json = format!(r#"{{"HostConfig":{{"NetworkMode":"{mode}"}}}}"#);
        read(&json).map(|it| it.network)
    };
    assert_eq!(choice("host"), Ok(NetworkChoice::Host));
    assert_eq!(choice("none"), Ok(NetworkChoice::None));
    assert_eq!(choice("container:web"), Ok(NetworkChoice::Container("web".into())));
    assert_eq!(choice("container:").unwrap_err().message, "invalid container format container:<name|id>");
    // Docker's client names the mode among the networks.
    let json = r#"{"HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"host":{}}}}"#;
    assert_eq!(read(json).unwrap().network, NetworkChoice::Host);
}

#[test]
fn settings_of_an_unlisted_network_are_refused() {
    let failure = |mode: &str, network: &str, settings: EndpointSettings| {
        let request = ContainerCreate {
            host_config: HostConfig { network_mode: mode.into(), ..HostConfig::default() },
            networking_config: NetworkingConfig { endpoints_config: vec![(network.into(), settings)] },
            ..ContainerCreate::default()
        };
        container("", SandboxKind::Run, request).unwrap_err()
    };
    let address = EndpointSettings {
        ipam_config: Some(EndpointIpam { ipv4_address: "1.2.3.4".into(), ..EndpointIpam::default() }),
        ..EndpointSettings::default()
    };
    assert!(failure("host", "host", address).message.contains("user-defined networks only"));
    let links = EndpointSettings { links: Some(vec!["c1:x".into()]), ..EndpointSettings::default() };
    assert_eq!(failure("host", "host", links).message, "links are only supported for user-defined networks");
    let plain = EndpointSettings::default();
    assert!(failure("container:x", "web", plain.clone()).message.starts_with("container sharing network"));
    assert!(failure("none", "web", plain).message.contains("private (none) mode"));
}

#[test]
fn ports_are_read_and_runs_of_them_joined() {
    let binding = |ip: &str, port: usize| {
        Some(vec![PortBinding {
            host_ip: ip.into(),
            host_port: if port == 0 { String::new() } else { port.to_string() },
        }])
    };
    let mut bindings: PortMap =
        (0..1000).map(|port| (format!("{}/tcp", 2000 + port), binding("", 8000 + port))).collect();
    bindings.insert("53/udp".into(), binding("127.0.0.1", 5353));
    bindings.insert("54/udp".into(), binding("127.0.0.2", 5354));
    bindings.insert("80/tcp".into(), binding("::1", 0));
    bindings.insert("81/tcp".into(), binding("::1", 0));
    bindings
        .insert("90".into(), Some(vec![PortBinding { host_ip: String::new(), host_port: "70-79".into() }]));
    bindings.insert("99/tcp".into(), None);
    let request =
        |address: Option<&str>, host: Option<(u16, u16)>, ports: (u16, u16), protocol| PublishRequest {
            host_address: address.map(|address| address.parse().unwrap()),
            host_ports: host.map(|(first, last)| PortRange { first, last }),
            container_ports: PortRange { first: ports.0, last: ports.1 },
            protocol,
        };
    let mut expected = vec![
        request(None, Some((8000, 8999)), (2000, 2999), Protocol::Tcp),
        request(None, Some((70, 79)), (90, 90), Protocol::Tcp),
        request(Some("::1"), None, (80, 80), Protocol::Tcp),
        request(Some("::1"), None, (81, 81), Protocol::Tcp),
        request(Some("127.0.0.1"), Some((5353, 5353)), (53, 53), Protocol::Udp),
        request(Some("127.0.0.2"), Some((5354, 5354)), (54, 54), Protocol::Udp),
    ];
    let mut found = publications(bindings).unwrap();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn one_port_with_a_choice_of_host_ports_is_not_joined() {
    // 80 takes any of 8000-8001, which is not two ports.
    let bindings: PortMap = [("80/tcp", "8000-8001"), ("81/tcp", "8002")]
        .into_iter()
        .map(|(port, host)| {
            let binding = PortBinding { host_ip: String::new(), host_port: host.into() };
            (port.to_owned(), Some(vec![binding]))
        })
        .collect();
    assert_eq!(publications(bindings).unwrap().len(), 2);
}

#[test]
fn invalid_ports_are_refused() {
    let message = |json: &str| read(json).unwrap_err().message;
    let port = |key: &str, ip: &str, port: &str| {
        message(&format!(
            r#"{{"HostConfig":{{"PortBindings":{{"{key}":[{{"HostIp":"{ip}","HostPort":"{port}"}}]}}}}}}"#
        ))
    };
    assert!(port("80/tcp", "", "70000").starts_with("invalid hostPort: 70000"));
    assert!(port("80/xyz", "", "80").starts_with("invalid proto: xyz"));
    assert!(
        port("80-82/tcp", "", "8000-8001").starts_with("invalid ranges"),
        "{}",
        port("80-82/tcp", "", "8000-8001")
    );
    assert!(port("80/tcp", "localhost", "80").starts_with("invalid IP address: localhost"));
    assert!(message(r#"{"HostConfig":{"Dns":["abc"]}}"#).starts_with("invalid DNS server: abc"));
    assert!(message(r#"{"HostConfig":{"ExtraHosts":["abc"]}}"#).starts_with("bad format for add-host"));
    assert!(message(r#"{"ExposedPorts":{"0/tcp":{}}}"#).starts_with("invalid port to expose: 0/tcp"));
    assert!(message(r#"{"Hostname":"a b"}"#).starts_with("invalid hostname"));
}

#[test]
fn other_settings_are_decoded() {
    let json = r#"{"Hostname":"h","Entrypoint":["sh","-c"],"Cmd":["x"],"WorkingDir":"/srv","Env":["A=b"],"Labels":{"l":"1"},
        "ExposedPorts":{"80/tcp":{},"53/udp":{}},"MacAddress":"02:42:ac:14:00:07","Image":"bb",
        "HostConfig":{"Dns":["10.0.0.53"],"DnsSearch":["example.org"],"DnsOptions":["ndots:2"],
        "ExtraHosts":["gw:host-gateway"],"CapAdd":["NET_ADMIN"],"CapDrop":["MKNOD"],"Privileged":true,
        "AutoRemove":true,"PublishAllPorts":true,"Links":["db:data"],
        "LogConfig":{"Type":"","Config":{"max-size":"1m"}}}}"#;
    let sandbox =
        container("/name", SandboxKind::Attached, crate::json::from_slice(json.as_bytes()).unwrap()).unwrap();
    assert_eq!((sandbox.name.as_deref(), sandbox.kind), (Some("name"), SandboxKind::Attached));
    let NetworkChoice::Networks(networks) = sandbox.network else { panic!("no networks") };
    assert_eq!(networks[0].1.mac.unwrap().to_string(), "02:42:ac:14:00:07");
    assert_eq!(networks[0].1.links, [("db".to_owned(), "data".to_owned())]);
    let expected = SandboxOptions {
        hostname: "h".into(),
        dns: vec!["10.0.0.53".parse().unwrap()],
        dns_search: vec!["example.org".into()],
        dns_options: vec!["ndots:2".into()],
        extra_hosts: vec![("gw".into(), None)],
        exposed: vec![(53, Protocol::Udp), (80, Protocol::Tcp)],
        publish: Vec::new(),
        publish_all: true,
        auto_remove: true,
        command: vec!["sh".into(), "-c".into(), "x".into()],
        environment: vec!["A=b".into()],
        directory: "/srv".into(),
        capabilities_added: vec!["NET_ADMIN".into()],
        capabilities_dropped: vec!["MKNOD".into()],
        privileged: true,
        labels: BTreeMap::from([("l".into(), "1".into())]),
        log_options: [("max-size".to_owned(), "1m".to_owned())].into(),
        image: "bb".into(),
        process: ProcessOptions { entrypoint: 2, ..ProcessOptions::default() },
        ..SandboxOptions::default()
    };
    assert_eq!(sandbox.options, expected);
}

#[test]
fn a_namespace_is_named_in_one_way() {
    assert_eq!(namespace(7, String::new()), Ok(NamespaceReference::Pid(7)));
    assert_eq!(namespace(0, "/run/netns/x".into()), Ok(NamespaceReference::Path("/run/netns/x".into())));
    assert!(namespace(0, String::new()).is_err() && namespace(7, "/x".into()).is_err());
}

#[test]
fn links_that_dockers_client_writes_twice_are_one() {
    let json = r#"{"HostConfig":{"NetworkMode":"app","Links":["c1:later","c2"]},
        "NetworkingConfig":{"EndpointsConfig":{"app":{"Links":["c1:later","c2"]}}}}"#;
    let NetworkChoice::Networks(networks) = read(json).unwrap().network else { panic!("no networks") };
    let link = |name: &str, alias: &str| (name.to_owned(), alias.to_owned());
    assert_eq!(networks[0].1.links, [link("c1", "later"), link("c2", "c2")]);
}

#[test]
fn a_working_directory_is_resolved_without_links() {
    for (path, expected) in [
        ("", ""),
        ("/", "/"),
        ("/srv/./web/", "/srv/web"),
        ("/a/../b", "/b"),
        ("/../../a/b/..", "/a"),
        ("/a/../..", "/"),
        ("../a", "../a"),
    ] {
        assert_eq!(working_directory(path.to_owned()), expected, "{path}");
    }
}
