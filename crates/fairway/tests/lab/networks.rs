//! Networks: those that exist from the start, which subnets the others get, and the daemon's flags.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fairway_api::filter::Filters;
use fairway_api::types::{IpamConfig, NetworkCreate};
use fairway_lab::{Lab, Outcome, Place, ask, serve_tcp};
use serde_json::{Value, json};

use crate::harness::{HOST, LAN, Stage, eventually, refusal, request};

/// Asks for a subnet and more.
fn subnet(config: IpamConfig) -> impl FnOnce(&mut NetworkCreate) {
    move |network| network.ipam.get_or_insert_default().config = vec![config]
}

fn mtu(place: &Place, interface: &str) -> String {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/mtu");
    place.run_in(|| std::fs::read_to_string(path).unwrap().trim().to_owned()).unwrap()
}

#[test]
fn three_networks_are_there_from_the_start() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let mut client = stage.client();
        let listed = client.networks(&Filters::default()).unwrap();
        let drivers = listed.iter().map(|network| (network.name.as_str(), network.driver.as_str()));
        let drivers: BTreeSet<_> = drivers.collect();
        assert_eq!(drivers, [("bridge", "bridge"), ("host", "host"), ("none", "null")].into());
        for name in ["bridge", "host", "none"] {
            assert!(refusal(client.remove_network(name)).contains("cannot be removed"));
            let taken = refusal(stage.create_network(name, |_| {}));
            assert!(taken.contains(name), "{taken}");
        }
        let ids: Vec<_> = listed.into_iter().map(|network| network.id).collect();
        drop(client);
        let mut stage = stage;
        stage.daemon.restart(&[]);
        let again = stage.client().networks(&Filters::default()).unwrap();
        assert_eq!(again.into_iter().map(|network| network.id).collect::<Vec<_>>(), ids);
    });
}

#[test]
fn pools_that_the_host_uses_are_passed_over() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let other = lab.lan("other").unwrap();
        other.join(&stage.host, &["172.18.5.1/24"]).unwrap();
        stage.host.route("172.19.128.0/20", LAN).unwrap();
        stage
            .host
            .run_in(|| std::fs::write("/etc/resolv.conf", "nameserver 172.20.0.53\n").unwrap())
            .unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let made = |name: &str| stage.network(name).ipam.config[0].subnet.clone();
        assert_eq!(made("first"), "172.21.0.0/16");
        // What comes while it runs is seen as well.
        stage.host.route("172.22.0.0/24", LAN).unwrap();
        assert_eq!(made("second"), "172.23.0.0/16");
        assert_eq!(made("third"), "172.24.0.0/16");
        // The first that is free again is used again.
        stage.client().remove_network("second").unwrap();
        assert_eq!(made("fourth"), "172.23.0.0/16");
    });
}

#[test]
fn the_default_bridge_passes_over_as_well() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.host.route("172.16.0.0/15", LAN).unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let bridge = stage.client().network("bridge").unwrap();
        assert_eq!(bridge.ipam.config[0].subnet, "172.18.0.0/16");
        assert_eq!(bridge.ipam.config[0].gateway, "172.18.0.1");
    });
}

#[test]
fn where_no_pool_is_left_the_error_says_who_has_them() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.host.route("10.7.0.128/26", LAN).unwrap();
        stage.daemon.launch(&["--bip=10.1.0.1/24", "--default-address-pool=base=10.7.0.0/24,size=25"]);
        stage.daemon.wait_until_ready();
        assert_eq!(stage.network("only").ipam.config[0].subnet, "10.7.0.0/25");
        let message = refusal(stage.create_network("another", |_| {}));
        for word in ["network only", "10.7.0.0/25", "route 10.7.0.128/26", "eth0", "--default-address-pool"] {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert_eq!(stage.client().networks(&Filters::default()).unwrap().len(), 4);
        // A named subnet helps, unless another network has it.
        let named = |subnet: &str| IpamConfig { subnet: subnet.to_owned(), ..Default::default() };
        stage.create_network("named", subnet(named("10.2.0.0/24"))).unwrap();
        let message = refusal(stage.create_network("twice", subnet(named("10.2.0.128/25"))));
        assert!(message.contains("named") && message.contains("10.2.0.0/24"), "{message}");
    });
}

#[test]
fn the_default_bridge_is_as_the_flags_say() {
    fairway_lab::run(|lab| {
        let flags = ["--bip=10.1.0.1/16", "--fixed-cidr=10.1.2.0/24", "--mtu=1400", "--ip=10.10.50.99"];
        let mut stage = Stage::new(lab, &flags);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        assert_eq!(web.attached.networks["bridge"].gateway, "10.1.0.1");
        assert!(web.address("bridge").to_string().starts_with("10.1.2."), "{}", web.address("bridge"));
        assert_eq!(web.attached.networks["bridge"].ip_prefix_len, 16);
        assert_eq!((mtu(&web, "eth0"), mtu(&stage.host, "fairway0")), ("1400".to_owned(), "1400".to_owned()));
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&stage.lan, "10.10.50.99:8080").unwrap(), Outcome::answered(LAN));
        assert_eq!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::Refused);
        stage.client().detach("web").unwrap();
        // Other flags hold from the next start on.
        stage.daemon.restart(&["--bip=10.2.0.1/24", "--mtu=1300"]);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        assert_eq!(web.address("bridge").to_string(), "10.2.0.2");
        assert_eq!((mtu(&web, "eth0"), mtu(&stage.host, "fairway0")), ("1300".to_owned(), "1300".to_owned()));
        assert_eq!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::answered("10.2.0.1"));
    });
}

#[test]
fn packets_are_as_large_as_the_way_out_allows() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.host.run_in(|| std::fs::write("/sys/class/net/eth0/mtu", "1380").unwrap()).unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.network("app");
        let web = stage.sandbox("web", &["app"], &[]);
        assert_eq!(mtu(&web, "eth0"), "1380");
    });
}

on_each_backend! {
    without_masquerade_container_addresses_are_seen;
}

fn without_masquerade_container_addresses_are_seen(lab: &Lab) {
    let stage = Stage::new(lab, &["--ip-masq=false"]);
    let web = stage.sandbox("web", &["bridge"], &[]);
    let _server = serve_tcp(&stage.lan, "0.0.0.0:80").unwrap();
    assert_eq!(ask(&web, "10.10.50.1:80").unwrap(), Outcome::TimedOut);
    stage.lan.route("172.16.0.0/12", HOST).unwrap();
    assert_eq!(ask(&web, "10.10.50.1:80").unwrap(), Outcome::Answered { source: web.address("bridge") });
}

#[test]
fn forwarding_is_switched_on_only_where_it_may_be() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &["--ip-forward=false"]);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _servers = [serve_tcp(&stage.lan, "0.0.0.0:80").unwrap(), serve_tcp(&web, "0.0.0.0:80").unwrap()];
        let forwards = |stage: &Stage| stage.host.sysctl("net.ipv4.ip_forward").unwrap();
        assert_eq!(forwards(&stage), "0");
        assert_eq!(ask(&stage.host, "127.0.0.1:8080").unwrap(), Outcome::answered("172.17.0.1"));
        assert!(!matches!(ask(&web, "10.10.50.1:80").unwrap(), Outcome::Answered { .. }));
        stage.daemon.restart(&[]);
        assert_eq!(forwards(&stage), "1");
        assert_eq!(ask(&web, "10.10.50.1:80").unwrap(), Outcome::answered(HOST));
    });
}

/// What the daemon says to a GET request, as it is.
fn get(stage: &Stage, path: &str) -> Value {
    let socket = stage.daemon.address().strip_prefix("unix://").unwrap();
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: fairway\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn inspect_is_in_the_shape_of_dockers() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let ask = IpamConfig {
            subnet: "10.3.0.0/16".to_owned(),
            ip_range: "10.3.4.0/24".to_owned(),
            gateway: "10.3.0.254".to_owned(),
            auxiliary_addresses: [("printer".to_owned(), "10.3.4.1".to_owned())].into(),
        };
        let made = stage
            .create_network("app", |network| {
                network.labels.insert("owner".to_owned(), "me".to_owned());
                network.options.insert("com.docker.network.driver.mtu".to_owned(), "1400".to_owned());
                subnet(ask)(network);
            })
            .unwrap();
        // The range begins at .0, which is nobody's; .1 is the printer's.
        let web = stage.sandbox("web", &["app"], &[]);
        let mut seen = get(&stage, "/networks/app");
        let endpoint = &web.attached.networks["app"];
        assert!(seen["Created"].as_str().unwrap().ends_with('Z'));
        seen.as_object_mut().unwrap().remove("Created");
        seen.as_object_mut().unwrap().remove("Status");
        let expected = json!({
            "Name": "app", "Id": made.id, "Scope": "local", "Driver": "bridge",
            "EnableIPv4": true, "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Options": {}, "Config": [{
                "Subnet": "10.3.0.0/16", "IPRange": "10.3.4.0/24", "Gateway": "10.3.0.254",
                "AuxiliaryAddresses": {"printer": "10.3.4.1"},
            }]},
            "Internal": false, "Attachable": false, "Ingress": false,
            "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
            "Containers": {&web.attached.id: {
                "Name": "web", "EndpointID": endpoint.endpoint_id, "MacAddress": endpoint.mac_address,
                "IPv4Address": format!("{}/16", endpoint.ip_address), "IPv6Address": "",
            }},
            "Options": {"com.docker.network.driver.mtu": "1400"}, "Labels": {"owner": "me"},
        });
        assert_eq!(seen, expected);
        assert!(endpoint.ip_address.starts_with("10.3.4.") && endpoint.ip_address != "10.3.4.1");
        let all = get(&stage, "/networks");
        let names: BTreeSet<_> =
            all.as_array().unwrap().iter().map(|it| it["Name"].as_str().unwrap()).collect();
        assert_eq!(names, ["app", "bridge", "host", "none"].into());
        // One in use is not removed, one that is not is gone with its bridge.
        let in_use = refusal(stage.client().remove_network("app"));
        assert!(in_use.contains("app") && in_use.contains("web"), "{in_use}");
        stage.client().detach("web").unwrap();
        let bridge = format!("br-{}", &made.id[..12]);
        assert!(stage.host.mac(&bridge).is_ok());
        stage.client().remove_network("app").unwrap();
        assert!(stage.host.mac(&bridge).is_err());
    });
}

#[test]
fn what_ends_takes_its_endpoints_with_it() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        let (process, running) = stage.attach_process("process", request(&["app"], &["8080:80"])).unwrap();
        let named = stage.sandbox("named", &["app"], &["8081:80"]);
        let _stays = stage.sandbox("stays", &["app"], &["8082:80"]);
        let held = |port: u16| {
            let bound = stage.host.run_in(move || std::net::TcpListener::bind(("0.0.0.0", port))).unwrap();
            bound.is_err()
        };
        assert!(held(8080) && held(8081) && held(8082));
        drop(process);
        drop(running);
        stage.remove_namespace(named);
        eventually("ports are free again", Duration::from_secs(20), || !held(8080) && !held(8081));
        let links =
            || stage.host.run_in(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).unwrap();
        let ends = || links().lines().filter(|line| line.trim_start().starts_with("fw")).count();
        eventually("only one link is left", Duration::from_secs(20), || ends() == 1);
        let network = stage.client().network("app").unwrap();
        let members: Vec<_> = network.containers.values().map(|member| member.name.as_str()).collect();
        assert_eq!(members, ["stays"]);
        assert!(held(8082));
    });
}
