use fairway_core::object::{BridgeLink, GatewayRoute, SandboxRoutes};
use fairway_model::{MacAddress, NetworkId};

use super::*;
use crate::namespace::own;
use crate::route::NetnsSetup;
use crate::testing::in_new_namespace;

fn bridge(name: &str, id: u8, address: &str, mtu: u32) -> BridgeLink {
    BridgeLink {
        name: name.into(),
        network: NetworkId::new([id; 32]),
        mac: MacAddress([2, 0, 0, 0, 0, id]),
        mtu,
        addresses: vec![address.parse().unwrap()],
        route_localnet: false,
        ipv6: true,
        parent: None,
        adopted: false,
    }
}

fn texts(routes: &[HostRoute]) -> Vec<String> {
    let mut texts: Vec<_> =
        routes.iter().map(|route| format!("{} {}", route.destination, route.interface)).collect();
    texts.sort();
    texts
}

#[test]
fn ours_is_left_out_and_the_rest_is_seen() {
    in_new_namespace(|| {
        let links = Links::open().unwrap();
        // One plays the host's own interface.
        links.apply_bridge(&bridge("uplink", 1, "192.0.2.9/24", 1420)).unwrap();
        links.apply_bridge(&bridge("fairway0", 2, "172.17.0.1/16", 1500)).unwrap();
        let namespace = own().unwrap().namespace().clone();
        let routes = SandboxRoutes {
            namespace,
            gateways: vec![GatewayRoute {
                gateway: "192.0.2.1".parse().unwrap(),
                interface: "uplink".into(),
                metric: None,
            }],
            others: Vec::new(),
        };
        links.apply_netns_setup(&NetnsSetup { routes: Some(routes), ..NetnsSetup::default() }).unwrap();
        sysctl::set("net/ipv4/ip_local_port_range", "40000 50000").unwrap();
        sysctl::set("net/ipv4/ip_forward", "1").unwrap();

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let facts = observe_with(&links, |link| link.name == "fairway0", &file).unwrap();
        assert_eq!(facts.mtu, Some(1420));
        assert_eq!(texts(&facts.addresses), ["192.0.2.9/24 uplink"]);
        assert_eq!(texts(&facts.routes), ["192.0.2.0/24 uplink"]);
        assert_eq!(facts.nameservers, Vec::<NameServer>::new());
        assert_eq!(facts.ephemeral_ports, Some((40000, 50000)));
        assert_eq!(facts.forwarding, (true, false));
        assert_eq!(facts.hostname, rustix::system::uname().nodename().to_str().unwrap());

        std::fs::write(&file, "nameserver 192.0.2.53\nsearch example\n").unwrap();
        let facts = observe_with(&links, |_| false, &file).unwrap();
        assert_eq!(texts(&facts.routes), ["172.17.0.0/16 fairway0", "192.0.2.0/24 uplink"]);
        assert_eq!(facts.nameservers, ["192.0.2.53".parse::<NameServer>().unwrap()]);
        assert_eq!(facts.search, ["example"]);
    });
}

#[test]
fn without_a_default_route_there_is_no_mtu() {
    in_new_namespace(|| {
        let facts = observe(&Links::open().unwrap(), |_| false).unwrap();
        assert_eq!((facts.mtu, facts.routes), (None, vec![]));
    });
}
