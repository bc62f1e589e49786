use clap::{Command, FromArgMatches};

use super::*;

fn request(arguments: &[&str]) -> Result<ContainerCreate, CommandError> {
    let command = SandboxOptions::augment_args(Command::new("test").disable_help_flag(true));
    let matches = command.no_binary_name(true).try_get_matches_from(arguments).unwrap();
    SandboxOptions::from_arg_matches(&matches).unwrap().request()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::to_value(request(arguments).unwrap()).unwrap()
}

#[test]
fn nothing_asked_is_the_default_network() {
    let request = request(&[]).unwrap();
    assert_eq!(request.host_config.network_mode, "default");
    assert!(request.networking_config.endpoints_config.is_empty());
}

#[test]
fn options_go_to_the_first_network() {
    let created = request(&[
        "--net",
        "app",
        "--network",
        "name=db,alias=x",
        "--ip",
        "10.1.0.9",
        "--ip6",
        "fd00::9",
        "--mac-address",
        "02:42:0a:01:00:09",
        "--net-alias",
        "a",
        "--network-alias",
        "b",
        "--link",
        "c1:zz",
    ])
    .unwrap();
    assert_eq!(created.host_config.network_mode, "app");
    let [(first, app), (second, db)] = created.networking_config.endpoints_config.try_into().unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("app", "db"));
    let ipam = app.ipam_config.unwrap();
    assert_eq!((ipam.ipv4_address.as_str(), ipam.ipv6_address.as_str()), ("10.1.0.9", "fd00::9"));
    assert_eq!(app.mac_address, "02:42:0a:01:00:09");
    assert_eq!(app.aliases.unwrap(), ["a", "b"]);
    assert_eq!(app.links.unwrap(), ["c1:zz"]);
    assert_eq!(db.aliases.unwrap(), ["x"]);
    assert_eq!(db.ipam_config, None);
}

#[test]
fn ports_and_names_are_dockers() {
    let created = json(&[
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1::53/udp",
        "-p",
        "[::1]:9000-9001:90-91",
        "-P",
        "--expose",
        "7000-7001",
        "-h",
        "web1",
        "--dns",
        "10.9.9.9",
        "--dns-search",
        "example.org",
        "--dns-opt",
        "ndots:2",
        "--dns-option",
        "rotate",
        "--add-host",
        "db:10.2.0.3",
        "--add-host",
        "up=host-gateway",
        "-l",
        "a=b",
        "--label",
        "c",
    ]);
    let host = &created["HostConfig"];
    assert_eq!(
        host["PortBindings"],
        serde_json::json!({
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
            "90/tcp": [{"HostIp": "::1", "HostPort": "9000"}],
            "91/tcp": [{"HostIp": "::1", "HostPort": "9001"}],
        })
    );
    assert_eq!(host["PublishAllPorts"], true);
    assert_eq!(created["ExposedPorts"], serde_json::json!({"7000/tcp": {}, "7001/tcp": {}}));
    assert_eq!(created["Hostname"], "web1");
    assert_eq!(host["Dns"], serde_json::json!(["10.9.9.9"]));
    assert_eq!(host["DnsSearch"], serde_json::json!(["example.org"]));
    assert_eq!(host["DnsOptions"], serde_json::json!(["ndots:2", "rotate"]));
    assert_eq!(host["ExtraHosts"], serde_json::json!(["db:10.2.0.3", "up:host-gateway"]));
    assert_eq!(created["Labels"], serde_json::json!({"a": "b", "c": ""}));
}

#[test]
fn contradictions_are_refused() {
    for (arguments, part) in [
        (&["--network", "name=app,ip=10.1.0.2", "--ip", "10.1.0.3"][..], "--ip and per-network IPv4 address"),
        (&["--network", "name=app,ip6=fd00::2", "--ip6", "fd00::3"], "--ip6 and per-network IPv6 address"),
        (&["--network", "name=app,alias=a", "--network-alias", "b"], "--network-alias and per-network alias"),
        (
            &["--network", "app", "--network", "name=app,alias=a"],
            "network \"app\" is specified multiple times",
        ),
        (&["--network", "host", "--network", "app"], "host must be the only network"),
        (&["--network", "app", "--network", "container:web"], "container:web must be the only network"),
    ] {
        let error = request(arguments).unwrap_err().to_string();
        assert!(error.starts_with("conflicting options: ") && error.contains(part), "{arguments:?}: {error}");
    }
}
