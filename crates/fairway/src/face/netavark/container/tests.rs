use super::*;

/// As podman 4.3.1 wrote it: one network, all kinds of ports.
const ONE_NETWORK: &str = r#"{"container_id":"2ab34ab590a92ab34ab590a92ab34ab590a92ab34ab590a92ab34ab590a92ab3","container_name":"c1","port_mappings":[{"host_ip":"::1","container_port":91,"host_port":9091,"range":1,"protocol":"tcp"},{"host_ip":"","container_port":7070,"host_port":40339,"range":1,"protocol":"sctp"},{"host_ip":"","container_port":80,"host_port":8080,"range":1,"protocol":"tcp"},{"host_ip":"","container_port":53,"host_port":5300,"range":3,"protocol":"udp"},{"host_ip":"127.0.0.1","container_port":90,"host_port":9090,"range":1,"protocol":"tcp"}],"networks":{"b1":{"static_ips":["10.89.0.9"],"aliases":["2ab34ab590a9"],"interface_name":"eth0"}},"network_info":{"b1":{"name":"b1","id":"76e737","driver":"bridge","network_interface":"podman1","created":"2026-11-29T13:20:48.806196321Z","subnets":[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1"}],"ipv6_enabled":false,"internal":false,"dns_enabled":true,"ipam_options":{"driver":"host-local"}}}}"#;

/// As podman 5.8.6 wrote it: two networks, the first with every option.
const TWO_NETWORKS: &str = r#"{"container_id":"f06ed9191711f06ed9191711f06ed9191711f06ed9191711f06ed9191711f06e","container_name":"c2","networks":{"b2":{"static_ips":["10.89.1.50","fdaf:4f20:cb6a:7d9f::2"],"aliases":["al1","f06ed9191711"],"static_mac":"02:aa:bb:cc:dd:01","interface_name":"foo0","options":{"host_interface_name":"hh0"}},"podman":{"static_ips":["10.88.0.5"],"aliases":["x"],"interface_name":"eth0"}},"container_hostname":"f06ed9191711","network_info":{"podman":{"name":"podman","id":"2f259b","driver":"bridge","network_interface":"podman0","subnets":[{"subnet":"10.88.0.0/16","gateway":"10.88.0.1"}],"ipv6_enabled":false,"internal":false,"dns_enabled":false,"ipam_options":{"driver":"host-local"}},"b2":{"name":"b2","id":"3febeb","driver":"bridge","network_interface":"podman2","created":"2026-11-29T13:21:04.153228574Z","subnets":[{"subnet":"10.89.1.0/24","gateway":"10.89.1.1"},{"subnet":"fdaf:4f20:cb6a:7d9f::/64","gateway":"fdaf:4f20:cb6a:7d9f::1"}],"routes":[{"destination":"10.77.0.0/16","gateway":"10.89.1.9"}],"ipv6_enabled":true,"internal":false,"dns_enabled":true,"labels":{"k":"v"},"options":{"isolate":"strict","metric":"50"},"network_dns_servers":["9.9.9.9"],"ipam_options":{"driver":"host-local"}}},"dns_servers":["8.8.8.8"]}"#;

const MACVLAN: &str = r#"{"container_id":"72bc53","container_name":"c6","networks":{"m1":{"static_ips":["10.10.50.194"],"aliases":["72bc53d3d739"],"interface_name":"eth0"}},"network_info":{"m1":{"name":"m1","id":"4970a4","driver":"macvlan","network_interface":"eth0","subnets":[{"subnet":"10.10.50.0/24","gateway":"10.10.50.1","lease_range":{"start_ip":"10.10.50.193","end_ip":"10.10.50.207"}}],"ipv6_enabled":false,"internal":false,"dns_enabled":true,"options":{"mode":"bridge"},"ipam_options":{"driver":"host-local"}}}}"#;

fn read(text: &str) -> Container {
    serde_json::from_str(text).unwrap()
}

fn joined(container: &Container) -> Result<JoinRequest, RequestError> {
    join(container, "/run/netns/x", Some("uplink0"), Resolver::Engine)
}

/// The container of a text with one network, changed.
fn with(text: &str, change: impl FnOnce(&mut Container, &mut Network)) -> Result<JoinRequest, RequestError> {
    let mut container = read(text);
    let mut network = container.network_info.values().next().unwrap().clone();
    change(&mut container, &mut network);
    container.network_info.insert(container.networks[0].name.clone(), network);
    joined(&container)
}

fn option(name: &str, value: &str) -> Option<BTreeMap<String, String>> {
    Some([(name.to_owned(), value.to_owned())].into())
}

#[test]
fn networks_without_ipam_give_no_addresses() {
    for (text, driver) in [(ONE_NETWORK, "bridge"), (MACVLAN, "macvlan")] {
        let request = with(text, |container, network| {
            container.networks[0].endpoint.static_ips = None;
            network.subnets = None;
            network.ipam_options = option("driver", "none");
        });
        let request = request.unwrap();
        let network = &request.networks[0];
        assert_eq!(
            (network.driver.as_str(), network.enable_ipv4, network.enable_ipv6),
            (driver, Some(false), Some(false))
        );
        assert_eq!(network.options.get("fairway.addresses").map(String::as_str), Some("false"));
        assert_eq!(
            request.container.networking_config.endpoints_config[0].1.ipam_config,
            Some(EndpointIpam::default())
        );
    }
}

#[test]
fn a_container_of_one_network_joins_it_with_its_ports() {
    let request = joined(&read(ONE_NETWORK)).unwrap();
    assert_eq!(request.id, "2ab34ab590a92ab34ab590a92ab34ab590a92ab34ab590a92ab34ab590a92ab3");
    assert_eq!((request.name.as_str(), request.path.as_str()), ("c1", "/run/netns/x"));
    let network = &request.networks[0];
    let options: Vec<_> = network.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        options,
        ["com.docker.network.bridge.name=podman1", "fairway.domain=dns.podman", "fairway.metric=100"]
    );
    assert_eq!(network.ipam.as_ref().unwrap().config[0].gateway, "10.89.0.1");
    let (name, endpoint) = &request.container.networking_config.endpoints_config[0];
    assert_eq!((name.as_str(), request.container.host_config.network_mode.as_str()), ("b1", "b1"));
    assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address, "10.89.0.9");
    assert_eq!(endpoint.aliases.as_ref().unwrap(), &["2ab34ab590a9", "c1"]);
    let ports: Vec<_> = request
        .container
        .host_config
        .port_bindings
        .iter()
        .flat_map(|(port, at)| at.iter().flatten().map(move |at| (port.as_str(), at)))
        .map(|(port, at)| format!("{}:{}->{port}", at.host_ip, at.host_port))
        .collect();
    let expected = [
        ":5300-5302->53-55/udp",
        ":40339->7070/sctp",
        ":8080->80/tcp",
        "127.0.0.1:9090->90/tcp",
        "::1:9091->91/tcp",
    ];
    assert_eq!(ports, expected);
}

#[test]
fn each_option_of_a_bridge_becomes_one_of_the_engine() {
    let request = joined(&read(TWO_NETWORKS)).unwrap();
    let names: Vec<_> = request.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(names, ["b2", "podman"], "in the order of the text");
    let network = &request.networks[0];
    let option = |name: &str| network.options.get(name).map(String::as_str);
    assert_eq!(option("fairway.isolate"), Some("strict"));
    assert_eq!(option("fairway.metric"), Some("50"));
    assert_eq!(option("fairway.routes"), Some("10.77.0.0/16@10.89.1.9"));
    assert_eq!(option("fairway.dns"), Some("9.9.9.9"));
    assert_eq!((network.enable_ipv4, network.enable_ipv6), (Some(true), Some(true)));
    assert_eq!(network.labels["k"], "v");
    assert_eq!(request.container.host_config.dns, ["8.8.8.8"]);
    let [(_, first), (_, second)] = &request.container.networking_config.endpoints_config[..] else {
        panic!("{request:?}")
    };
    assert_eq!(first.mac_address, "02:aa:bb:cc:dd:01");
    let driver_options = first.driver_opts.as_ref().unwrap();
    assert_eq!(driver_options["com.docker.network.endpoint.ifname"], "foo0");
    assert_eq!(driver_options["fairway.host_interface"], "hh0");
    assert_eq!(first.ipam_config.as_ref().unwrap().ipv6_address, "fdaf:4f20:cb6a:7d9f::2");
    assert!(first.gw_priority > second.gw_priority, "the lower metric has the default route");
    assert_eq!(request.networks[1].options["fairway.names"], "false");
    assert_eq!(second.aliases.as_deref(), Some(&[][..]), "names are not resolved there");
}

#[test]
fn the_order_of_an_array_is_kept() {
    let text = TWO_NETWORKS.replacen(
        r#""networks":{"b2":{"#,
        r#""networks":[{"name":"podman","static_ips":["10.88.0.5"],"interface_name":"eth0"},{"name":"b2","#,
        1,
    );
    let text = text.replacen(r#"},"podman":{"static_ips":["10.88.0.5"],"aliases":["x"],"interface_name":"eth0"}},"container_hostname""#, r#"}],"container_hostname""#, 1);
    let request = joined(&read(&text)).unwrap();
    let names: Vec<_> = request.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(names, ["podman", "b2"]);
}

#[test]
fn macvlan_networks_have_a_parent_and_a_mode() {
    let request = joined(&read(MACVLAN)).unwrap();
    let options = &request.networks[0].options;
    assert_eq!((options["parent"].as_str(), options["macvlan_mode"].as_str()), ("eth0", "bridge"));
    assert_eq!(options["fairway.metric"], "99");
    assert_eq!(request.id.len(), 64, "a short id is hashed");
    let request = with(MACVLAN, |_, network| network.network_interface = Some(String::new())).unwrap();
    assert_eq!(request.networks[0].options["parent"], "uplink0");
    let request = with(MACVLAN, |container, network| {
        network.subnets = None;
        network.ipam_options = option("driver", "dhcp");
        container.networks[0].endpoint.static_ips = None;
    });
    assert_eq!(request.unwrap().networks[0].options["fairway.dhcp"], "true");
}

#[test]
fn unmanaged_bridges_keep_their_addresses_and_are_not_masqueraded() {
    let request = with(ONE_NETWORK, |_, network| network.options = option("mode", "unmanaged")).unwrap();
    let options = &request.networks[0].options;
    assert_eq!(options["com.docker.network.bridge.inhibit_ipv4"], "true");
    assert_eq!(options["com.docker.network.bridge.enable_ip_masquerade"], "false");
}

#[test]
fn routes_of_each_type_are_written_as_the_engine_reads_them() {
    let route = |kind: Option<&str>, gateway: Option<&str>| {
        with(ONE_NETWORK, |_, network| {
            network.routes = Some(vec![crate::face::netavark::request::Route {
                destination: "10.9.0.0/16".parse().unwrap(),
                gateway: gateway.map(|text| text.parse().unwrap()),
                metric: Some(7),
                route_type: kind.map(str::to_owned),
            }]);
        })
        .map(|request| request.networks[0].options["fairway.routes"].clone())
        .map_err(|error| error.to_string())
    };
    assert_eq!(route(None, Some("10.89.0.9")), Ok("10.9.0.0/16@10.89.0.9#7".to_owned()));
    assert_eq!(route(Some("blackhole"), None), Ok("blackhole:10.9.0.0/16#7".to_owned()));
    assert_eq!(route(Some("prohibit"), None), Ok("prohibit:10.9.0.0/16#7".to_owned()));
    assert_eq!(
        route(Some("unicast"), None),
        Err("route 10.9.0.0/16 requires a gateway for type unicast".to_owned())
    );
    assert_eq!(
        route(Some("unreachable"), Some("10.89.0.9")),
        Err("route 10.9.0.0/16 must not have a gateway for type unreachable".to_owned())
    );
    assert_eq!(route(Some("via"), None), Err("invalid route type \"via\"".to_owned()));
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Container, &mut Network)| {
        with(ONE_NETWORK, |container, network| change(container, network)).unwrap_err().to_string()
    };
    let option_of = |name: &'static str, value: &'static str| {
        refused(&move |_: &mut Container, network: &mut Network| network.options = option(name, value))
    };
    assert_eq!(
        option_of("vlan", "7"),
        "network b1: option vlan=7 is not supported by Fairway: leave the option out, or put the containers on the LAN (macvlan)"
    );
    assert!(option_of("vrf", "red").starts_with("network b1: option vrf=red is not supported"));
    assert_eq!(option_of("isolate", "maybe"), "invalid isolate option \"maybe\"");
    assert_eq!(option_of("mode", "odd"), "invalid bridge mode \"odd\"");
    assert!(option_of("mtu", "many").starts_with("unable to parse \"mtu\": invalid digit found in string"));
    assert_eq!(
        refused(&|container, _| container.networks[0].endpoint.interface_name.clear()),
        "no container interface name given"
    );
    assert_eq!(refused(&|_, network| network.network_interface = None), "no bridge interface name given");
    assert_eq!(
        refused(&|container, _| container.networks[0].endpoint.static_ips = None),
        "no static ips provided"
    );
    assert_eq!(
        refused(&|container, _| {
            container.networks[0].endpoint.static_ips = Some(vec!["10.9.0.1".parse().unwrap()]);
        }),
        "not all static IPs matched a subnet: expected 1, got 0"
    );
    assert_eq!(
        refused(&|_, network| network.ipam_options = option("driver", "dhcp")),
        "cannot use dhcp ipam driver without using the option mode=unmanaged"
    );
    assert_eq!(
        refused(&|container, _| {
            container.networks[0].endpoint.static_ips =
                Some(vec!["10.89.0.9".parse().unwrap(), "10.89.0.10".parse().unwrap()]);
        }),
        "network b1: a second address 10.89.0.10 is not supported by Fairway: use one address of each family on a network"
    );
}

#[test]
fn ports_may_have_several_protocols_and_end_at_the_last_one() {
    let mapping = |protocol: &str, host_port, range| PortMapping {
        host_ip: String::new(),
        container_port: 53,
        host_port,
        range,
        protocol: protocol.to_owned(),
    };
    let keys: Vec<_> = ports(&[mapping("tcp,udp", 5300, 0)]).unwrap().into_keys().collect();
    assert_eq!(keys, ["53/tcp", "53/udp"]);
    assert_eq!(ports(&[mapping("", 5300, 1)]).unwrap().into_keys().collect::<Vec<_>>(), ["53/tcp"]);
    assert!(ports(&[mapping("tcp", 65535, 1)]).is_ok());
    assert_eq!(
        ports(&[mapping("tcp", 65535, 2)]).unwrap_err().to_string(),
        "port range 65535 to 65536 of a port mapping exceeds 65535"
    );
    assert!(ports(&[mapping("icmp", 1, 1)]).is_err());
}

#[test]
fn statuses_are_as_netavark_prints_them() {
    let container = read(TWO_NETWORKS);
    let settings = |ipv4: &str, prefix, ipv6: &str| EndpointSettings {
        mac_address: "02:aa:bb:cc:dd:01".into(),
        ip_address: ipv4.into(),
        ip_prefix_len: prefix,
        global_ipv6_address: ipv6.into(),
        global_ipv6_prefix_len: 64,
        ..EndpointSettings::default()
    };
    let interface = |name: &str| fairway_api::types::AttachedInterface {
        name: name.into(),
        resolver: "127.0.0.70".into(),
        ..Default::default()
    };
    let attached = Attached {
        networks: [
            ("b2".to_owned(), settings("10.89.1.50", 24, "fdaf:4f20:cb6a:7d9f::2")),
            ("podman".to_owned(), settings("10.88.0.5", 16, "")),
        ]
        .into(),
        interfaces: [("b2".to_owned(), interface("foo0")), ("podman".to_owned(), interface("eth0"))].into(),
        ..Attached::default()
    };
    let printed =
        |resolver| serde_json::to_string(&statuses(&container, &attached, resolver).unwrap()).unwrap();
    assert_eq!(
        printed(Resolver::Aardvark),
        r#"{"b2":{"dns_search_domains":["dns.podman"],"dns_server_ips":["10.89.1.1","fdaf:4f20:cb6a:7d9f::1"],"interfaces":{"foo0":{"mac_address":"02:aa:bb:cc:dd:01","subnets":[{"gateway":"10.89.1.1","ipnet":"10.89.1.50/24"},{"gateway":"fdaf:4f20:cb6a:7d9f::1","ipnet":"fdaf:4f20:cb6a:7d9f::2/64"}]}}},"podman":{"dns_search_domains":[],"dns_server_ips":["8.8.8.8"],"interfaces":{"eth0":{"mac_address":"02:aa:bb:cc:dd:01","subnets":[{"gateway":"10.88.0.1","ipnet":"10.88.0.5/16"}]}}}}"#
    );
    assert!(printed(Resolver::Engine).contains(r#""dns_server_ips":["127.0.0.70"]"#));
    let missing = Attached::default();
    assert!(statuses(&container, &missing, Resolver::Engine).is_err());
}

#[test]
fn a_network_without_its_description_is_named() {
    let mut container = read(ONE_NETWORK);
    container.network_info.clear();
    let error = network_of(&container, &container.networks[0]).unwrap_err();
    assert_eq!(error.to_string(), "network info for network b1 not found");
}

#[test]
fn interfaces_in_order_have_the_default_route_first() {
    assert!(gateway_priority(100, "eth0", 0) > gateway_priority(100, "eth1", 0));
    assert!(gateway_priority(100, "eth0", 1) > gateway_priority(100, "eth1", 0));
    assert!(gateway_priority(100, "foo0", 0) > gateway_priority(100, "eth0", 1));
    assert!(gateway_priority(99, "eth7", 0) > gateway_priority(100, "eth0", 0));
    assert_eq!(gateway_priority(u32::MAX, "eth0", 0), i32::MIN);
}
