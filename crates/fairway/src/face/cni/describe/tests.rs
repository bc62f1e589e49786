use fairway_api::types::AttachedInterface;
use serde_json::{Value, json};

use super::*;

/// What bridge was sent by libcni, podman 4.3.1 and containerd 1.6.20, with another type.
const BY_HAND: &str = r#"{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"ranges":[[{"subnet":"10.22.0.0/16"}],[{"subnet":"fd22::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]},"dns":{"nameservers":["10.22.0.1"]},"cniVersion":"0.3.1","name":"dbnet"}"#;
const BY_PODMAN: &str = r#"{"bridge":"cni-podman1","capabilities":{"ips":true},"cniVersion":"0.4.0","hairpinMode":true,"ipMasq":true,"ipam":{"ranges":[[{"gateway":"10.89.0.1","subnet":"10.89.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}],"type":"fairway"},"isGateway":true,"name":"cb1","runtimeConfig":{"ips":["10.89.0.77","10.89.0.77"],"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"},{"hostPort":5300,"containerPort":53,"protocol":"udp"},{"hostPort":9090,"containerPort":90,"protocol":"tcp","hostIP":"127.0.0.1"}],"aliases":{"cb1":["www"],"cb2":["db"]}},"type":"bridge"}"#;
const BY_CONTAINERD: &str = r#"{"bridge":"cni1","cniVersion":"1.0.0","ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.23.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]},"isGateway":true,"name":"ctrnet","type":"bridge"}"#;

fn environment(container: &str, arguments: &str) -> Environment {
    let variables = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", container),
        ("CNI_NETNS", "/run/netns/cn1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", arguments),
        ("CNI_PATH", "/usr/lib/cni"),
    ];
    let variable =
        |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
    Environment::read(variable).unwrap()
}

fn read(text: &str) -> Configuration {
    Configuration::read(text.as_bytes()).unwrap()
}

fn joined(container: &str, arguments: &str, text: &str) -> Result<JoinRequest, Error> {
    let (environment, configuration) = (environment(container, arguments), read(text));
    configuration.check_supported()?;
    let addressing = Addressing::built_in(&configuration, &environment.arguments.addresses)?;
    join(&environment, &configuration, &addressing)
}

/// A configuration with more keys.
fn with(more: Value) -> String {
    let mut all = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "fairway-cni", "isGateway": true,
        "ipam": {"ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd22::/64"}]]},
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all.to_string()
}

fn endpoint(text: &str) -> EndpointSettings {
    joined("c1", "", text).unwrap().container.networking_config.endpoints_config.remove(0).1
}

/// The endpoint options besides the interface's name.
fn options(more: Value) -> Vec<(String, String)> {
    let mut options = endpoint(&with(more)).driver_opts.unwrap();
    assert_eq!(options.remove(INTERFACE).as_deref(), Some("eth0"));
    options.into_iter().collect()
}

fn refused(more: Value) -> String {
    let error = joined("c1", "", &with(more)).unwrap_err();
    assert_eq!(error.code(), 7, "{error}");
    error.to_string()
}

#[test]
fn recorded_requests_become_requests_to_the_daemon() {
    let id = "0ae426".to_owned() + &"0".repeat(58);
    let podman = "IgnoreUnknown=1;K8S_POD_NAME=k1;MAC=02:aa:bb:cc:dd:09;IP=10.89.0.77";
    let all = [
        ("cid-1", "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=default", BY_HAND),
        (&id, podman, BY_PODMAN),
        ("default-c1", "", BY_CONTAINERD),
    ];
    let requests = all.map(|(container, arguments, text)| {
        let request = joined(container, arguments, text).unwrap();
        let (network, container) = (&request.networks[0], &request.container);
        json!({
            "id": request.id, "name": request.name, "path": request.path, "labels": container.labels,
            "network": {
                "name": network.name, "internal": network.internal, "options": network.options,
                "ipam": network.ipam, "ipv4": network.enable_ipv4, "ipv6": network.enable_ipv6,
            },
            "endpoints": container.networking_config.endpoints_config,
            "dns": container.host_config.dns, "ports": container.host_config.port_bindings,
        })
    });
    insta::assert_snapshot!(serde_json::to_string_pretty(&requests).unwrap());
}

#[test]
fn a_sandbox_has_the_name_of_the_pod_else_of_the_container() {
    let id = "0123456789abcdef".repeat(4);
    for (container, arguments, expected) in [
        ("cid-1", "", "cid-1"),
        (&id, "", "0123456789ab"),
        (&id, "K8S_POD_NAME=web", "web"),
        (&id, "K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop;K8S_POD_INFRA_CONTAINER_ID=7", "web.shop"),
    ] {
        assert_eq!(joined(container, arguments, &with(json!({}))).unwrap().name, expected);
    }
    assert_eq!(joined(&"a".repeat(200), "", &with(json!({}))).unwrap().name.len(), 128);
}

#[test]
fn the_gateway_gives_default_routes_where_they_are_asked_for() {
    let none = Vec::<(String, String)>::new();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let off = pair("fairway.default_route", "false");
    let routes = |routes: Value| json!({"ipam": {"routes": routes, "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd22::/64"}]]}});
    assert_eq!(options(json!({})), std::slice::from_ref(&off));
    assert_eq!(options(json!({"isDefaultGateway": true})), none);
    assert_eq!(options(routes(json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd22::1"}]))), none);
    // One family of two: it is a route as any other.
    let one = pair("fairway.routes", "0.0.0.0/0@10.22.0.1");
    assert_eq!(options(routes(json!([{"dst": "0.0.0.0/0"}]))), [off.clone(), one]);
    let others = json!([
        {"dst": "192.168.0.0/16", "gw": "10.22.0.9"}, {"dst": "fd99::/64"},
        {"dst": "172.16.0.9/12", "priority": 7, "table": 254},
    ]);
    let texts = "192.168.0.0/16@10.22.0.9,fd99::/64@fd22::1,172.16.0.0/12@10.22.0.1#7";
    assert_eq!(options(routes(others)), [off, pair("fairway.routes", texts)]);
    for (key, value) in [("mtu", 1400), ("advmss", 1400), ("scope", 253), ("table", 7)] {
        let text = refused(routes(json!([{"dst": "192.168.0.0/16", key: value}])));
        assert!(text.starts_with(&format!("cannot use routes: {key}")), "{text}");
    }
    assert!(refused(routes(json!([{"dst": "10.0.0.0"}]))).contains("invalid route"));
    assert!(refused(routes(json!([{"dst": "10.0.0.0/8", "gw": "x"}]))).contains("invalid gateway"));
}

#[test]
fn limits_of_the_traffic_are_options_of_the_endpoint() {
    let expected = |rate: u64| {
        [("egress_burst", 4), ("egress_rate", 3), ("ingress_burst", 2), ("ingress_rate", rate)]
            .map(|(name, value)| (format!("fairway.{name}"), value.to_string()))
    };
    let limits = |rate: u64| json!({"ingressRate": rate, "ingressBurst": 2, "egressRate": 3, "egressBurst": 4, "isDefaultGateway": true});
    assert_eq!(options(limits(1)), expected(1));
    let mut both = limits(1);
    both["runtimeConfig"] = json!({"bandwidth": limits(9)});
    assert_eq!(options(both), expected(9));
}

#[test]
fn labels_ports_and_name_servers_are_those_of_the_request() {
    let request = with(json!({
        "args": {"cni": {"labels": [{"key": "app", "value": "shop"}, {"key": "", "value": "x"}], "ips": ["10.22.0.9"]}},
        "dns": {"nameservers": ["10.1.1.1"], "domain": "a.example", "options": ["ndots:5"]},
        "RUNTIMECONFIG": {"dns": {"servers": ["10.2.2.2"]}, "portMappings": null},
        "unknown": {"a": [1]}, "mtu": null,
    }));
    let container = joined("c1", "", &request).unwrap().container;
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    assert_eq!(container.labels.len(), 3);
    assert_eq!(
        (label("app"), label(ENGINE_LABEL), label(CONTAINER_LABEL)),
        (Some("shop"), Some("cni"), Some("c1"))
    );
    let host = container.host_config;
    assert_eq!((host.dns, host.dns_search), (vec!["10.2.2.2".to_owned()], vec!["a.example".to_owned()]));
    assert_eq!((host.dns_options, host.port_bindings), (vec!["ndots:5".to_owned()], PortMap::new()));
    assert_eq!(endpoint(&request).ipam_config.unwrap().ipv4_address, "10.22.0.9");
    for (mapping, text) in [
        (json!({"hostPort": 0, "containerPort": 80}), "invalid host port 0"),
        (json!({"hostPort": 80, "containerPort": 70000}), "invalid container port 70000"),
        (json!({"hostPort": 80, "containerPort": -1}), "invalid container port -1"),
    ] {
        let found = refused(json!({"runtimeConfig": {"portMappings": [mapping]}}));
        assert!(found.contains(text), "{found}");
    }
    assert!(refused(json!({"runtimeConfig": {"aliases": [7]}})).contains("a list of names"));
    assert!(refused(json!({"runtimeConfig": {"ips": ["x"]}})).contains("invalid address \"x\""));
}

#[test]
fn keys_that_fairway_does_not_have_are_refused_by_name() {
    for (key, value) in [
        ("promiscMode", json!(true)),
        ("enabledad", json!(true)),
        ("disableContainerInterface", json!(true)),
        ("vlan", json!(7)),
        ("vlanTrunk", json!([{"id": 7}])),
        ("conditionsV4", json!(["-s", "10.0.0.0/8"])),
        ("conditionsV6", json!([])),
        ("ingressPolicy", json!("open")),
    ] {
        let text = refused(json!({key: value}));
        assert!(text.starts_with(&format!("cannot use {key}")), "{text}");
    }
    assert!(refused(json!({"runtimeConfig": {"infinibandGUID": "c2:11"}})).contains("infinibandGUID"));
    assert!(refused(json!({"ipam": {"type": "dhcp"}})).contains("fairway.dhcp=true"));
    assert!(refused(json!({"driver": "ptp", "isDefaultGateway": true})).contains("has no gateway"));
    let gateway = json!({"driver": "ptp", "isDefaultGateway": false, "ipam": {"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}});
    assert!(refused(gateway).contains("has no gateway"));
    let harmless = json!({
        "promiscMode": false, "vlan": 0, "vlanTrunk": [], "ingressPolicy": "same-bridge", "hairpinMode": false,
        "forceAddress": true, "preserveDefaultVlan": false, "ipMasqBackend": "nftables",
    });
    joined("c1", "", &with(harmless)).unwrap();
}

#[test]
fn the_network_has_the_options_of_its_keys() {
    let network = |more: Value| joined("c1", "", &with(more)).unwrap().networks.remove(0);
    let pairs = |options: BTreeMap<String, String>| {
        let short = |name: String| name.trim_start_matches("com.docker.network.").to_owned();
        options.into_iter().map(|(name, value)| format!("{}={value}", short(name))).collect::<Vec<_>>()
    };
    let apart = network(json!({"isGateway": false}));
    assert!(apart.internal);
    assert_eq!(
        pairs(apart.options),
        ["bridge.gateway_mode_ipv4=isolated", "bridge.gateway_mode_ipv6=isolated"]
    );
    let all = network(json!({
        "bridge": "cni0", "mtu": 1400, "portIsolation": true, "macspoofchk": true, "ipMasq": true,
        "options": {"fairway.alias_answer": "first"},
    }));
    assert!(!all.internal);
    assert_eq!(
        pairs(all.options),
        [
            "bridge.enable_icc=false",
            "bridge.enable_ip_masquerade=true",
            "bridge.name=cni0",
            "driver.mtu=1400",
            "fairway.alias_answer=first",
            "fairway.guard=strict"
        ]
    );
    let pair = json!({"driver": "ptp", "isDefaultGateway": false, "ipam": {"subnet": "10.9.0.0/24"}});
    assert_eq!(network(pair).ipam.unwrap().config[0].gateway, "");
    let routed = network(json!({"driver": "routed", "isGateway": false}));
    assert_eq!((routed.driver.as_str(), routed.internal, routed.options.len()), ("routed", false, 0));
}

#[test]
fn the_result_has_the_addresses_that_the_daemon_gave() {
    let attached = Attached {
        networks: BTreeMap::from([(
            "pods".to_owned(),
            EndpointSettings {
                ip_address: "10.22.0.2".to_owned(),
                ip_prefix_len: 16,
                mac_address: "02:42:0a:16:00:02".to_owned(),
                ..EndpointSettings::default()
            },
        )]),
        interfaces: BTreeMap::from([(
            "pods".to_owned(),
            AttachedInterface { name: "eth0".to_owned(), ..AttachedInterface::default() },
        )]),
        ..Attached::default()
    };
    let result = |more: Value| {
        let (environment, configuration) = (environment("c1", ""), read(&with(more)));
        let addressing = Addressing::built_in(&configuration, &[]).unwrap();
        outcome(&environment, &configuration, &addressing, &attached)
    };
    let found = result(json!({}));
    let interface = Interface {
        name: "eth0".to_owned(),
        mac: "02:42:0a:16:00:02".to_owned(),
        sandbox: "/run/netns/cn1".to_owned(),
        ..Interface::default()
    };
    assert_eq!(found.interfaces, [interface]);
    let ip = Ip { interface: Some(0), address: "10.22.0.2/16".to_owned(), gateway: "10.22.0.1".to_owned() };
    assert_eq!((found.ips, found.routes, found.dns), (vec![ip], Vec::new(), Dns::default()));
    // No route of a family that has no address.
    let default = Route { dst: "0.0.0.0/0".to_owned(), gw: "10.22.0.1".to_owned(), ..Route::default() };
    assert_eq!(result(json!({"isDefaultGateway": true})).routes, [default]);
}
