use std::collections::BTreeMap;

use fairway_api::types::{EndpointSettings, PortBinding};
use fairway_walk::RouteKind;
use serde_json::json;

use super::*;

fn expected() -> Outcome {
    let value = json!({
        "interfaces": [{"name": "cni0"}, {"name": "eth0", "mac": "02:42:0A:16:00:02", "sandbox": "/n"}],
        "ips": [{"interface": 1, "address": "10.22.0.2/16"}, {"interface": 0, "address": "10.22.0.1/16"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    });
    Outcome::of_value("", &value).unwrap()
}

fn seen() -> Seen {
    let interface = Interface {
        name: "eth0".to_owned(),
        mac: "02:42:0a:16:00:02".parse().unwrap(),
        up: true,
        addresses: vec!["10.22.0.2/16".parse().unwrap()],
        ..Interface::default()
    };
    let route = Route {
        table: MAIN,
        destination: "0.0.0.0/0".parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: None,
        interface: 2,
        metric: 0,
        source: None,
    };
    Seen { interfaces: vec![interface], routes: vec![route] }
}

#[test]
fn a_namespace_as_it_was_given_passes() {
    seen().check("eth0", &expected()).unwrap();
    for (text, change) in [
        ("is missing in the container", (|seen| seen.interfaces.clear()) as fn(&mut Seen)),
        ("is down", |seen| seen.interfaces[0].up = false),
        ("MAC address", |seen| seen.interfaces[0].mac = "02:42:0a:16:00:03".parse().unwrap()),
        ("address 10.22.0.2/16 is missing", |seen| seen.interfaces[0].addresses.clear()),
        ("route 0.0.0.0/0 is missing", |seen| seen.routes[0].table = 255),
    ] {
        let mut changed = seen();
        change(&mut changed);
        let error = changed.check("eth0", &expected()).unwrap_err();
        assert_eq!((error.code(), error.to_string().contains(text)), (999, true), "{error}");
    }
    assert!(seen().check("eth1", &expected()).is_err());
}

#[test]
fn what_the_daemon_has_is_compared_too() {
    let mut known = ContainerInspect::default();
    let endpoint = EndpointSettings { ip_address: "10.22.0.2".to_owned(), ..EndpointSettings::default() };
    known.network_settings.networks.insert("pods".to_owned(), endpoint);
    let ports = |port: &str| {
        let binding = PortBinding { host_port: port.to_owned(), ..PortBinding::default() };
        BTreeMap::from([("80/tcp".to_owned(), Some(vec![binding]))])
    };
    known.network_settings.ports = ports("8080");
    let check = |known: &ContainerInspect, network: &str, port: &str| {
        check_container(known, network, &expected(), &ports(port)).map_err(|error| error.to_string())
    };
    assert_eq!(check(&known, "pods", "8080"), Ok(()));
    assert!(check(&known, "other", "8080").unwrap_err().contains("is not on network other"));
    assert!(check(&known, "pods", "8081").unwrap_err().contains("host port 8081 is not published"));
    let endpoint = known.network_settings.networks.get_mut("pods").unwrap();
    endpoint.ip_address = "10.22.0.9".to_owned();
    assert!(check(&known, "pods", "8080").unwrap_err().contains("10.22.0.9"));
}
