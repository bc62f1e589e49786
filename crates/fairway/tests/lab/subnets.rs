//! Networks of the smallest and the largest kinds: IPv6 alone, two addresses, ranges beyond 64 bits.

use std::net::{IpAddr, SocketAddr};

use fairway_api::types::{EndpointIpam, EndpointSettings, IpamConfig, NetworkCreate};
use fairway_lab::{Outcome, ask, serve_tcp};

use crate::harness::{HOST6, LAN6, Sandbox, Stage, refusal, request};

fn subnet(subnet: &str, range: &str) -> impl FnOnce(&mut NetworkCreate) {
    let config =
        IpamConfig { subnet: subnet.to_owned(), ip_range: range.to_owned(), ..IpamConfig::default() };
    let v6 = subnet.contains(':');
    move |network| {
        network.ipam.get_or_insert_default().config = vec![config];
        network.enable_ipv6 = Some(v6);
        network.enable_ipv4 = Some(!v6);
    }
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn of(sandbox: &Sandbox, network: &str, v6: bool) -> IpAddr {
    if v6 { sandbox.address6(network) } else { sandbox.address(network) }
}

#[test]
fn two_addresses_are_a_network() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let table = [
            ("ten", "10.88.0.0/31", false, "10.88.0.0", "10.88.0.1"),
            ("six", "fd88::/127", true, "fd88::", "fd88::1"),
        ];
        for (name, pool, v6, gateway, address) in table {
            let made = stage.create_network(name, subnet(pool, "")).unwrap();
            assert_eq!(made.ipam.config[0].gateway, gateway);
            let port = if v6 { "8086:80" } else { "8084:80" };
            let only = stage.sandbox(&format!("in-{name}"), &[name], &[port]);
            assert_eq!(of(&only, name, v6).to_string(), address);
            let _server = serve_tcp(&only, "[::]:80").unwrap();
            // From the host, and from the LAN by the published port.
            let own = Outcome::answered(gateway);
            assert_eq!(ask(&stage.host, &at(address.parse().unwrap(), 80)).unwrap(), own, "{name}");
            let target = if v6 { at(HOST6.parse().unwrap(), 8086) } else { "10.10.50.99:8084".to_owned() };
            let lan = if v6 { LAN6 } else { "10.10.50.1" };
            assert_eq!(ask(&stage.lan, &target).unwrap(), Outcome::answered(lan), "{name}");
            let full = refusal(stage.attach("second", request(&[name], &[])));
            assert!(full.contains("no available"), "{full}");
        }
        for (name, pool) in [("one", "10.89.0.0/32"), ("single", "fd89::1/128")] {
            let small = refusal(stage.create_network(name, subnet(pool, "")));
            assert!(small.contains(pool), "{small}");
        }
    });
}

#[test]
fn ranges_may_lie_anywhere_in_128_bits() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let table = [
            ("wide", "fd00::/48", "fd00::1:0:0:0/80", "fd00:0:0:0:1::"),
            ("half", "fd01::/64", "fd01::8000:0:0:0/65", "fd01::8000:"),
            (
                "last",
                "fd02::/32",
                "fd02:0:ffff:ffff:ffff:ffff:ffff:0/112",
                "fd02:0:ffff:ffff:ffff:ffff:ffff:",
            ),
        ];
        for (name, pool, range, prefix) in table {
            let made = stage.create_network(name, subnet(pool, range)).unwrap();
            assert_eq!((made.ipam.config[0].subnet.as_str(), made.enable_ipv4), (pool, false));
            let [a, b] = ["a", "b"].map(|who| stage.sandbox(&format!("{who}-{name}"), &[name], &[]));
            let range: ipnet::IpNet = range.parse().unwrap();
            for sandbox in [&a, &b] {
                let address = sandbox.address6(name);
                assert!(range.contains(&address), "{address} of {range}, {prefix}");
                assert_eq!(sandbox.attached.networks[name].ip_address, "");
            }
            let _server = serve_tcp(&a, "[::]:80").unwrap();
            let seen = ask(&b, &at(a.address6(name), 80)).unwrap();
            assert_eq!(seen, Outcome::Answered { source: b.address6(name) });
            let _outside = serve_tcp(&stage.lan, "[::]:80").unwrap();
            assert_eq!(ask(&a, &at(LAN6.parse().unwrap(), 80)).unwrap(), Outcome::answered(HOST6));
        }
        // One's own address lies anywhere in the subnet, also outside of the range.
        let mut asked = request(&["wide"], &[]);
        let own = "fd00:0:0:ffff:ffff:ffff:ffff:ffff";
        let settings = EndpointSettings {
            ipam_config: Some(EndpointIpam { ipv6_address: own.to_owned(), ..EndpointIpam::default() }),
            ..EndpointSettings::default()
        };
        asked.networking_config.endpoints_config[0].1 = settings;
        let far = stage.attach("far", asked).unwrap();
        assert_eq!(Some(far.address6("wide")), own.parse().ok());
        let outside = refusal(stage.create_network("bad", subnet("fd03::/64", "fd03:0:0:1::/80")));
        assert!(outside.contains("fd03:0:0:1::/80"), "{outside}");
    });
}

#[test]
fn a_range_may_go_from_any_address_to_any_other() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let table = [
            ("four", "10.77.0.0/24", "10.77.0.9-10.77.0.10", false, ["10.77.0.9", "10.77.0.10"]),
            ("six", "fd77::/64", "fd77::ffff-fd77::1:0", true, ["fd77::ffff", "fd77::1:0"]),
        ];
        for (name, whole, range, v6, expected) in table {
            let made = stage.create_network(name, subnet(whole, range)).unwrap();
            assert_eq!(made.ipam.config[0].ip_range, range);
            let attach = |number: u8| {
                stage
                    .attach(&format!("{name}-{number}"), request(&[name], &[]))
                    .map(|it| of(&it, name, v6).to_string())
            };
            assert_eq!([attach(1).unwrap(), attach(2).unwrap()], expected);
            assert!(refusal(attach(3)).contains(range), "the range is full");
        }
        stage.daemon.restart(&[]);
        assert_eq!(stage.client().network("four").unwrap().ipam.config[0].ip_range, "10.77.0.9-10.77.0.10");
        let error = stage.create_network("net", subnet("10.78.0.0/24", "10.78.0.9-10.79.0.9"));
        assert!(refusal(error).contains("10.78.0.9-10.79.0.9"));
        let error = stage.create_network("net", subnet("10.78.0.0/24", "10.78.0.9-"));
        assert!(refusal(error).contains("invalid ip-range 10.78.0.9-"));
    });
}
