use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn network(pairs: &[(&str, &str)]) -> Result<NetworkOptions, String> {
    NetworkOptions::parse(&map(pairs)).map_err(|refusal| refusal.to_string())
}

#[test]
fn all_options_of_docker_and_fairway_are_read() {
    let read = network(&[
        ("com.docker.network.bridge.name", "br-web"),
        ("com.docker.network.bridge.enable_icc", "0"),
        ("com.docker.network.bridge.enable_ip_masquerade", "False"),
        ("com.docker.network.bridge.host_binding_ipv4", "::1"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "nat-unprotected"),
        ("com.docker.network.bridge.inhibit_ipv4", "t"),
        ("com.docker.network.bridge.trusted_host_interfaces", "vxlan.1:eth3:eth3"),
        ("com.docker.network.driver.mtu", "1400"),
        ("com.docker.network.container_iface_prefix", "net"),
        ("com.docker.network.host_ipv4", "10.0.0.9"),
        ("com.docker.network.host_ipv6", "fd00::9"),
        ("com.docker.network.enable_ipv4", "true"),
        ("com.docker.network.enable_ipv6", "1"),
        ("com.docker.network.internal", "true"),
        ("com.docker.network.advertise_addr_nmsgs", "0"),
        ("com.docker.network.advertise_addr_ms", "100"),
        ("fairway.route_localnet", "false"),
        ("fairway.guard", "strict"),
        ("fairway.isolate", "false"),
        ("fairway.dhcp", "true"),
        ("fairway.addresses", "false"),
        ("fairway.alias_answer", "first"),
        ("fairway.names", "false"),
        ("fairway.domain", ".DNS.Podman."),
        ("fairway.dns", "9.9.9.9, fd00::53,9.9.9.9"),
        ("fairway.metric", "9"),
        ("fairway.default_route", "0"),
        ("fairway.routes", "10.9.0.0/16, blackhole:fd09::/48#7"),
        ("fairway.storm_limit", "0"),
        ("parent", "eth0"),
        ("macvlan_mode", "vepa"),
        ("fairway.peers", "10.2.0.0/24@10.0.0.2, fd02::/64@fd00::2"),
    ]);
    let expected = NetworkOptions {
        bridge_name: Some("br-web".to_owned()),
        masquerade: Some(false),
        icc: Some(false),
        host_binding: "::1".parse().ok(),
        mtu: Some(1400),
        enable_ipv4: Some(true),
        enable_ipv6: Some(true),
        internal: true,
        without_addresses: true,
        macvlan_mode: Some(MacvlanMode::Vepa),
        parent: Some("eth0".to_owned()),
        alias_answer: AliasAnswer::First,
        names: NameOptions {
            disabled: true,
            domain: Some("dns.podman".to_owned()),
            servers: ["9.9.9.9", "fd00::53"].map(|server| server.parse().unwrap()).into(),
        },
        routes: RouteOptions {
            metric: Some(9),
            default_route: Some(false),
            routes: Some(["10.9.0.0/16", "blackhole:fd09::/48#7"].map(|route| route.parse().unwrap()).into()),
        },
        peers: ["10.2.0.0/24@10.0.0.2", "fd02::/64@fd00::2"].map(|peer| peer.parse().unwrap()).into(),
        bridge: BridgeOptions {
            gateway_mode_ipv4: GatewayMode::Routed,
            gateway_mode_ipv6: GatewayMode::NatUnprotected,
            inhibit_ipv4: true,
            trusted_interfaces: vec!["vxlan.1".to_owned(), "eth3".to_owned()],
            interface_prefix: Some("net".to_owned()),
            source_ipv4: "10.0.0.9".parse().ok(),
            source_ipv6: "fd00::9".parse().ok(),
            advertising: fairway_model::Advertising { count: 0, interval_milliseconds: 100 },
            route_localnet: false,
            strict_guard: true,
            dhcp: true,
            storm_limit: 0,
            isolation: Isolation::False,
        },
        warnings: Vec::new(),
    };
    assert_eq!(read, Ok(expected));
    assert_eq!(network(&[]), Ok(NetworkOptions::default()));
}

#[test]
fn bad_values_are_refused_by_name() {
    for (name, value, reason) in [
        ("com.docker.network.bridge.name", "a/b", "a/b"),
        ("com.docker.network.bridge.enable_icc", "maybe", "true or false is expected"),
        (
            "com.docker.network.bridge.gateway_mode_ipv4",
            "bridged",
            "nat, nat-unprotected, routed or isolated",
        ),
        ("com.docker.network.bridge.gateway_mode_ipv6", "NAT", "nat, nat-unprotected, routed or isolated"),
        ("com.docker.network.bridge.inhibit_ipv4", "", "true or false is expected"),
        ("com.docker.network.bridge.trusted_host_interfaces", "eth0:a b", "a b"),
        ("com.docker.network.bridge.host_binding_ipv4", "host", "an IP address is expected"),
        ("fairway.peers", "10.2.0.0/24", "SUBNET@HOST"),
        ("fairway.storm_limit", "many", "frames a second"),
        ("com.docker.network.driver.mtu", "67", "68 to 65535 bytes are expected"),
        ("com.docker.network.container_iface_prefix", "averylongname", "1 to 12 bytes are expected"),
        ("com.docker.network.container_iface_prefix", "", "1 to 12 bytes are expected"),
        ("com.docker.network.container_iface_prefix", "a%d", "a%d"),
        ("com.docker.network.host_ipv4", "fd00::9", "an IPv4 address is expected"),
        ("com.docker.network.host_ipv4", "0.0.0.0", "a unicast address of this host is expected"),
        ("com.docker.network.host_ipv6", "10.0.0.9", "an IPv6 address is expected"),
        ("com.docker.network.host_ipv6", "ff02::1", "a unicast address of this host is expected"),
        ("com.docker.network.enable_ipv6", "yes", "true or false is expected"),
        ("com.docker.network.advertise_addr_nmsgs", "4", "0 to 3 announcements are expected"),
        ("com.docker.network.advertise_addr_ms", "99", "100 to 2000 milliseconds are expected"),
        ("fairway.route_localnet", "off", "true or false is expected"),
        ("fairway.guard", "lax", "strict is expected"),
        ("fairway.names", "no", "true or false is expected"),
        ("fairway.domain", "a..b", "a domain of letters, digits and hyphens is expected"),
        ("fairway.domain", "a b", "a domain of letters, digits and hyphens is expected"),
        ("fairway.dns", "9.9.9.9,dns", "\"dns\" is no IP address"),
        ("fairway.dns", "0.0.0.0", "0.0.0.0 is no address of a name server"),
        ("fairway.isolate", "lax", "strict, true or false is expected"),
        ("fairway.metric", "-1", "a metric from 0 to 4294967295 is expected"),
        ("fairway.default_route", "no", "true or false is expected"),
        ("fairway.routes", "10.9.0.1/16", "it should be 10.9.0.0/16"),
    ] {
        let refusal = network(&[(name, value)]).unwrap_err();
        assert!(refusal.starts_with(&format!("invalid option {name}={value}: ")), "{refusal}");
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn lists_have_at_most_a_thousand_entries() {
    let list = |count: usize, separator: &str| {
        (0..count).map(|number| format!("if{number}")).collect::<Vec<_>>().join(separator)
    };
    let interfaces = |count| {
        let read = network(&[("com.docker.network.bridge.trusted_host_interfaces", &list(count, ":"))]);
        read.map(|read| read.bridge.trusted_interfaces.len())
    };
    assert_eq!((interfaces(999), interfaces(1000)), (Ok(999), Ok(1000)));
    for count in [1001, 1002, 2000] {
        let refusal = interfaces(count).unwrap_err();
        assert!(refusal.ends_with("at most 1000 entries are allowed"), "{refusal}");
        let sysctls = endpoint_options(&map(&[("com.docker.network.endpoint.sysctls", &list(count, ","))]));
        assert!(sysctls.unwrap_err().to_string().ends_with("at most 1000 entries are allowed"));
        assert!(network(&[("fairway.peers", &list(count, ","))]).unwrap_err().ends_with("are allowed"));
    }
}

/// The first and the last value of each range, and those beyond.
#[test]
fn numbers_have_ranges() {
    for (name, least, most) in [
        ("com.docker.network.driver.mtu", 68, 65_535),
        ("com.docker.network.advertise_addr_nmsgs", 0, 3),
        ("com.docker.network.advertise_addr_ms", 100, 2000),
        ("fairway.storm_limit", 0, 1_500_000),
    ] {
        let is_read = |value: i64| network(&[(name, &value.to_string())]).is_ok();
        assert!(is_read(least) && is_read(most), "{name}");
        assert!(!is_read(least - 1) && !is_read(most + 1), "{name}");
    }
    let prefix = |length| network(&[("com.docker.network.container_iface_prefix", &"a".repeat(length))]);
    assert!(prefix(12).is_ok() && prefix(13).is_err());
}

#[test]
fn an_unknown_option_with_our_prefix_causes_a_warning() {
    let read = network(&[
        ("com.docker.network.bridge.enable_iccc", "false"),
        ("fairway.gard", "strict"),
        ("com.example.note", "ours is not to know"),
    ]);
    assert_eq!(
        read.unwrap().warnings,
        [
            "the option com.docker.network.bridge.enable_iccc is unknown and has no effect",
            "the option fairway.gard is unknown and has no effect",
        ]
    );
}

#[test]
fn isolated_networks_are_internal() {
    for family in ["ipv4", "ipv6"] {
        let name = format!("com.docker.network.bridge.gateway_mode_{family}");
        let read = network(&[(&name, "isolated")]).unwrap();
        assert_eq!(read.check_gateway_modes(true), Ok(()));
        let refusal = read.check_gateway_modes(false).unwrap_err().to_string();
        let reason = "gateway mode 'isolated' can only be used for an internal network: add --internal";
        assert_eq!(refusal, format!("invalid option {name}=isolated: {reason}"));
    }
}

#[test]
fn options_of_endpoints_are_read() {
    let sysctls = "net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.neigh.IFNAME.ucast_solicit=2,\
                   net.mpls.conf.IFNAME.input=1,net.ipv4.conf.IFNAME.log_martians=0";
    let (read, warnings) = endpoint_options(&map(&[
        ("com.docker.network.endpoint.ifname", "lan0"),
        ("com.docker.network.endpoint.sysctls", sysctls),
        ("com.docker.network.advertise_addr_nmsgs", "1"),
        ("com.docker.network.endpoint.other", "x"),
    ]))
    .unwrap();
    let paths: Vec<_> =
        read.sysctls.iter().map(|sysctl| format!("{}={}", sysctl.path("lan0"), sysctl.value)).collect();
    assert_eq!(
        paths,
        [
            "net/ipv4/conf/lan0/log_martians=0",
            "net/ipv6/neigh/lan0/ucast_solicit=2",
            "net/mpls/conf/lan0/input=1"
        ]
    );
    assert_eq!((read.interface.as_deref(), read.advertise_count), (Some("lan0"), Some(1)));
    assert_eq!(warnings, ["the option com.docker.network.endpoint.other is unknown and has no effect"]);
}

#[test]
fn sysctls_that_are_not_of_the_interface_are_refused() {
    for text in [
        "",
        "net.ipv4.conf.eth0.log_martians=1",
        "net.ipv4.conf.all.log_martians=1",
        "net.ipv4.ip_forward=1",
        "net.core.conf.IFNAME.x=1",
        "kernel.ipv4.conf.IFNAME.x=1",
        "net.ipv4.conf.IFNAME.log_martians",
        "net.ipv4.conf.IFNAME.log_martians=",
        "net.ipv4.conf.IFNAME=1",
        "net.ipv4.conf/../../..IFNAME.x=1",
        "net.ipv4.conf.IFNAME..=1",
        "net.ipv4.conf.IFNAME./etc=1",
        "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.x",
    ] {
        let refusal = endpoint_options(&map(&[("com.docker.network.endpoint.sysctls", text)])).unwrap_err();
        assert!(refusal.to_string().contains("unrecognised network interface sysctl '"), "{refusal}");
    }
    let off = "net.ipv6.conf.IFNAME.disable_ipv6=1";
    let (read, _) = endpoint_options(&map(&[("com.docker.network.endpoint.sysctls", off)])).unwrap();
    assert!(read.disables_ipv6());
}
