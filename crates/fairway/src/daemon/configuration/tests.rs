//! Flags and file together.

use std::path::Path;

use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn with(text: &str, arguments: DaemonArguments) -> Result<Configuration, String> {
    let file = file(text);
    let arguments = DaemonArguments { config_file: Some(file.path().to_owned()), ..arguments };
    arguments.configuration().map_err(|error| error.to_string())
}

#[test]
fn the_file_has_dockerds_keys() {
    let text = r#"{"bip": "10.1.0.1/24", "iptables": false, "dns": ["1.1.1.1"], "hosts": ["unix:///x.sock"],
        "default-address-pools": [{"base": "10.9.0.0/16", "size": 24}], "live-restore": true}"#;
    let configuration = with(text, DaemonArguments::default()).unwrap();
    assert_eq!(configuration.socket, Path::new("/x.sock"));
    assert_eq!(configuration.settings.firewall_backend(true), None);
    assert_eq!(configuration.settings.firewall_backend(false), Some(Backend::Nftables));
    assert_eq!(configuration.settings.bridge_address, "10.1.0.1/24".parse().ok());
    assert_eq!(configuration.settings.address_pools.len(), 1);
}

#[test]
fn an_on_demand_daemon_takes_the_settings_of_the_file_and_not_its_places() {
    let on_demand = DaemonArguments { on_demand: true, ..DaemonArguments::default() };
    let text = r#"{"mtu": 1400, "hosts": ["unix:///x.sock"], "data-root": "/x", "exec-root": "/y", "pidfile": "/z"}"#;
    let configuration = with(text, on_demand.clone()).unwrap();
    assert_eq!(configuration.settings.mtu, Some(1400));
    assert_eq!(configuration.settings.bridge, DefaultBridge::Disabled);
    assert_eq!(configuration.socket, Path::new("/run/fairway.sock"));
    assert_eq!(configuration.data_root, Path::new("/run/fairway/on-demand"));
    assert_eq!((configuration.exec_root, configuration.pid_file), ("/run/fairway".into(), None));
    // The default network is there where flag or file asks for it.
    let named = with(r#"{"bridge": "br0"}"#, on_demand.clone()).unwrap();
    assert_eq!(named.settings.bridge, DefaultBridge::Named("br0".to_owned()));
    let below = DaemonArguments { exec_root: Some("/run/user/7/fairway".into()), ..on_demand };
    let below = with(r#"{"bip": "10.1.0.1/24"}"#, below).unwrap();
    assert_eq!(below.settings.bridge, DefaultBridge::Managed);
    assert_eq!(below.data_root, Path::new("/run/user/7/fairway/on-demand"));
}

#[test]
fn what_flag_and_file_both_say_is_refused() {
    let arguments = DaemonArguments { mtu: Some(1400), ..DaemonArguments::default() };
    let error = with(r#"{"mtu": 1300}"#, arguments).unwrap_err();
    assert!(error.ends_with("specified both as a flag and in the configuration file: mtu"), "{error}");
}

#[test]
fn sandboxes_are_kept_apart_by_a_firewall_or_not_at_all() {
    let apart = with(r#"{"icc": false}"#, DaemonArguments::default()).unwrap();
    assert!(!apart.settings.icc);
    assert!(with("{}", DaemonArguments::default()).unwrap().settings.icc);
    let arguments = DaemonArguments { iptables: Some(false), ..Default::default() };
    let error = with(r#"{"icc": false}"#, arguments).unwrap_err();
    assert!(error.starts_with("you specified --iptables=false with --icc=false: "), "{error}");
}

#[test]
fn unknown_keys_and_bad_values_are_refused_by_name() {
    assert!(with(r#"{"bipp": "x"}"#, DaemonArguments::default()).unwrap_err().contains("bipp"));
    let arguments = DaemonArguments { sockets: vec!["tcp://0.0.0.0:1".to_owned()], ..Default::default() };
    assert!(with("{}", arguments).unwrap_err().starts_with("invalid host tcp://0.0.0.0:1: "));
    let missing = DaemonArguments { config_file: Some("/nonexistent".into()), ..Default::default() };
    assert!(missing.configuration().is_err());
}

#[test]
fn tcp_is_served_with_certificates_alone_and_a_unix_socket_in_any_case() {
    let hosts = r#""hosts": ["tcp://0.0.0.0:2376", "fd://", "unix:///x.sock", "unix:///y.sock"]"#;
    let files = r#""tlscacert": "/ca", "tlscert": "/cert", "tlskey": "/key""#;
    let read = |text: &str| with(&format!("{{{text}}}"), DaemonArguments::default());
    let all = read(&format!(r#"{hosts}, {files}, "tlsverify": true"#)).unwrap();
    assert_eq!(all.socket, Path::new("/x.sock"));
    let tcp = ApiEndpoint::Tls("0.0.0.0:2376".to_owned());
    assert_eq!(all.endpoints, [tcp, ApiEndpoint::Activated, ApiEndpoint::Unix("/y.sock".into())]);
    assert_eq!(all.tls.unwrap().authority, Path::new("/ca"));
    for (without, more) in [(hosts, ""), (hosts, r#", "tlsverify": true"#), (hosts, r#", "tls": true"#)] {
        let refusal = read(&format!("{without}{more}")).unwrap_err();
        assert!(refusal.contains("add --tlsverify with --tlscacert, --tlscert and --tlskey"), "{refusal}");
    }
    let unverified = read(&format!(r#"{hosts}, {files}, "tls": true"#)).unwrap_err();
    assert!(unverified.contains("root on this host"), "{unverified}");
    assert_eq!(read(r#""hosts": ["fd://"]"#).unwrap().socket, Path::new("/run/fairway.sock"));
}

#[test]
fn who_may_enter_networks_is_read_from_flags_and_file() {
    let text =
        r#"{"bridge-accept-fwmark": "0x2/3", "allow-direct-routing": true, "ip-forward-no-drop": true}"#;
    let settings = with(text, DaemonArguments::default()).unwrap().settings;
    assert_eq!(settings.accept_mark, Some(PacketMark { value: 2, mask: 3 }));
    assert!(settings.allow_direct_routing && settings.ip_forward_no_drop);
    let none = with("{}", DaemonArguments::default()).unwrap().settings;
    assert!(!none.allow_direct_routing && !none.ip_forward_no_drop && none.accept_mark.is_none());
    let arguments = DaemonArguments { bridge_accept_fwmark: Some("x".to_owned()), ..Default::default() };
    let error = with("{}", arguments).unwrap_err();
    assert!(error.starts_with("invalid bridge-accept-fwmark x: invalid mark \"x\": "), "{error}");
}

#[test]
fn ipv6_bridge_and_options_are_keys_of_dockerds() {
    let text = r#"{"ipv6": true, "fixed-cidr-v6": "fd08::/64", "bip6": "fd08::1/64", "default-gateway-v6": "fd08::9",
        "host-gateway-ips": ["10.1.2.3", "fd08::3"],
        "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}}}"#;
    let settings = with(text, DaemonArguments::default()).unwrap().settings;
    assert!(settings.ipv6 && settings.bridge == DefaultBridge::Managed);
    assert_eq!(settings.bridge_address_ipv6, "fd08::1/64".parse().ok());
    assert_eq!(settings.fixed_cidr_ipv6, "fd08::/64".parse().ok());
    assert_eq!(settings.default_gateway_ipv6, "fd08::9".parse().ok());
    assert_eq!(settings.host_gateway, ["10.1.2.3", "fd08::3"].map(|it| it.parse::<IpAddr>().unwrap()));
    assert_eq!(settings.network_options["bridge"]["com.docker.network.driver.mtu"], "1400");
    let one = with(r#"{"host-gateway-ip": "10.1.2.3"}"#, DaemonArguments::default()).unwrap();
    assert_eq!(one.settings.host_gateway.len(), 1);
    let error = with(r#"{"host-gateway-ips": ["10.1.2.3", "10.1.2.4"]}"#, DaemonArguments::default());
    assert!(error.unwrap_err().starts_with("invalid host-gateway-ip 10.1.2.4: "));
}

#[test]
fn what_needs_no_kernel_is_checked_by_name() {
    let read = |text: &str| with(text, DaemonArguments::default());
    for (text, refusal) in [
        (r#"{"mtu": 67}"#, "invalid mtu 67: 68 to 65535 bytes are expected"),
        (r#"{"mtu": 65536}"#, "invalid mtu 65536: "),
        (r#"{"mtu": 1279, "ipv6": true}"#, "invalid mtu 1279: --ipv6 needs at least 1280 bytes (RFC 8200"),
        (
            r#"{"default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "x"}}}"#,
            "invalid default-network-opts bridge: invalid option com.docker.network.driver.mtu=x: ",
        ),
        (r#"{"dns-opts": ["x\nnameserver 6.6.6.6"]}"#, r"invalid dns-opts x\nnameserver 6.6.6.6: "),
        (r#"{"dns-search": ["x\nnameserver 6.6.6.6"]}"#, r"invalid dns-search x\nnameserver 6.6.6.6: "),
        (r#"{"dns": ["0.0.0.0"]}"#, "invalid dns 0.0.0.0: "),
        (r#"{"bip": "172.17.0.0/16"}"#, "invalid --bip 172.17.0.0/16: "),
        (r#"{"bip": "172.17.255.255/16"}"#, "invalid --bip 172.17.255.255/16: "),
        (r#"{"bip": "172.17.0.1/32"}"#, "invalid --bip 172.17.0.1/32: "),
        (r#"{"bip": "127.0.0.1/8"}"#, "invalid --bip 127.0.0.1/8: "),
        (r#"{"bip": "224.0.0.1/8"}"#, "invalid --bip 224.0.0.1/8: "),
        (r#"{"bip": "10.1.0.1/24", "fixed-cidr": "10.2.0.0/24"}"#, "invalid --fixed-cidr 10.2.0.0/24: "),
        (r#"{"bip": "10.1.0.1/24", "default-gateway": "10.2.0.1"}"#, "invalid --default-gateway 10.2.0.1: "),
        (r#"{"fixed-cidr": "127.0.0.0/24"}"#, "invalid --fixed-cidr 127.0.0.0/24: "),
        (r#"{"ipv6": true, "bip6": "ff02::1/64"}"#, "invalid --bip6 ff02::1/64: "),
    ] {
        let refused = read(text).map(|_| text).unwrap_err();
        assert!(refused.starts_with(refusal), "{text}: {refused}");
    }
    for text in [
        r#"{"mtu": 68, "bip": "10.1.0.1/31", "dns": ["10.1.0.2"]}"#,
        r#"{"mtu": 65535, "fixed-cidr": "172.18.0.5/32", "default-gateway": "172.18.0.9"}"#,
        // Without IPv6 its flags have no effect.
        r#"{"bip6": "ff02::1/64"}"#,
    ] {
        assert_eq!(read(text).err(), None, "{text}");
    }
    let flags = DaemonArguments { dns_search: Some(vec!["example.org.".to_owned()]), ..Default::default() };
    assert_eq!(with("{}", flags).unwrap().settings.dns_search, ["example.org"]);
    let flags = DaemonArguments { mtu: Some(67), ..Default::default() };
    assert!(with("{}", flags).unwrap_err().starts_with("invalid mtu 67: "));
}

#[test]
fn a_value_of_another_kind_is_refused_by_its_key() {
    for (text, refusal) in [
        (r#"{"ip": "1.2.3"}"#, "key ip: invalid IP address syntax"),
        (r#"{"icc": true, "mtu": "1400"}"#, "key mtu: invalid type: string \"1400\", expected u32"),
        (r#"{"bipp": 1}"#, "key bipp: unknown field `bipp`"),
        (r#"{"host-gateway-ips": "x"}"#, "key host-gateway-ips: "),
        (
            r#"{"default-address-pools": [{"base": "10.0.0.0/24", "size": 16}]}"#,
            "key default-address-pools: size must lie between 24 and 31",
        ),
    ] {
        let refused = with(text, DaemonArguments::default()).unwrap_err();
        assert!(refused.contains(&format!(": {refusal}")), "{text}: {refused}");
    }
}

#[test]
fn a_bridge_of_ones_own_has_its_own_address() {
    let named = with(r#"{"bridge": "br0"}"#, DaemonArguments::default()).unwrap();
    assert_eq!(named.settings.bridge, DefaultBridge::Named("br0".to_owned()));
    let none = with(r#"{"bridge": "none"}"#, DaemonArguments::default()).unwrap();
    assert_eq!(none.settings.bridge, DefaultBridge::Disabled);
    let error = with(r#"{"bridge": "br0", "bip": "10.1.0.1/24"}"#, DaemonArguments::default()).unwrap_err();
    assert!(error.starts_with("you specified --bridge and --bip: "), "{error}");
    let long = with(r#"{"bridge": "a-name-that-is-too-long"}"#, DaemonArguments::default()).unwrap_err();
    assert!(long.starts_with("invalid bridge a-name-that-is-too-long: "), "{long}");
}

#[test]
fn metrics_are_served_at_loopback_or_nowhere() {
    let at = |address: &str| {
        let flags = DaemonArguments { metrics_addr: Some(address.to_owned()), ..DaemonArguments::default() };
        with("{}", flags).map(|configuration| configuration.metrics)
    };
    assert_eq!(at("127.0.0.1:9323"), Ok("127.0.0.1:9323".parse().ok()));
    assert_eq!(at("[::1]:9323"), Ok("[::1]:9323".parse().ok()));
    for (address, reason) in [
        ("0.0.0.0:9323", "loopback alone"),
        ("[::]:9323", "loopback alone"),
        ("[::ffff:10.0.0.1]:9323", "loopback alone"),
        ("127.0.0.1", "an address and a port"),
        ("localhost:9323", "an address and a port"),
    ] {
        let refusal = at(address).unwrap_err();
        assert!(refusal.contains(address) && refusal.contains(reason), "{refusal}");
    }
    let file = with(r#"{"metrics-addr": "127.0.0.1:1"}"#, DaemonArguments::default()).unwrap();
    assert_eq!(file.metrics, "127.0.0.1:1".parse().ok());
    let on_demand = DaemonArguments { on_demand: true, ..DaemonArguments::default() };
    assert_eq!(with(r#"{"metrics-addr": "127.0.0.1:1"}"#, on_demand).unwrap().metrics, None);
}
