//! Networks with IPv6.

use std::net::{IpAddr, SocketAddr};

use fairway_api::types::IpamConfig;
use fairway_lab::{Lab, Outcome, Place, Server, ask, ask_datagram, serve_datagrams, serve_tcp};

use crate::harness::{HOST6, LAN, LAN6, Sandbox, Stage};
use crate::ping::ping;

fn serve(place: &Place) -> [Server; 2] {
    [serve_tcp(place, "[::]:80").unwrap(), serve_datagrams(place, "[::]:80").unwrap()]
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn gateway(sandbox: &Sandbox, network: &str) -> IpAddr {
    sandbox.attached.networks[network].ipv6_gateway.parse().unwrap()
}

on_each_backend! {
    sandboxes_have_addresses_and_ways_out;
    ports_are_published;
}

fn sandboxes_have_addresses_and_ways_out(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    let network = stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
    assert!(network.enable_ipv6 && network.enable_ipv4);
    let web = stage.sandbox("web", &["app"], &[]);
    // A unique local network of its own (RFC 4193): fd, 40 random bits, 16 for the subnet.
    let address = web.address6("app");
    let IpAddr::V6(six) = address else { panic!("{address}") };
    assert_eq!((six.octets()[0], web.attached.networks["app"].global_ipv6_prefix_len), (0xfd, 64));
    let other = stage.create_network("other", |network| network.enable_ipv6 = Some(true)).unwrap();
    assert_ne!(network.ipam.config[1].subnet, other.ipam.config[1].subnet);
    assert!(ping(&web, gateway(&web, "app")));
    assert!(ping(&web, LAN6.parse().unwrap()));
    let _servers = serve(&stage.lan);
    for target in [LAN6, LAN] {
        let source = if target == LAN6 { HOST6.to_owned() } else { crate::harness::HOST.to_owned() };
        let target = at(target.parse().unwrap(), 80);
        assert_eq!(ask(&web, &target).unwrap(), Outcome::answered(&source));
        assert_eq!(ask_datagram(&web, &target).unwrap(), Outcome::answered(&source));
    }
    // A network without IPv6 has none.
    stage.network("plain");
    let plain = stage.sandbox("plain", &["plain"], &[]);
    let has = plain.run_in(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap()).unwrap();
    assert!(has.lines().all(|line| line.ends_with(" lo")), "{has}");
}

#[test]
fn subnets_are_as_they_were_asked_for() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let six = |subnet: &str, gateway: &str| IpamConfig {
            subnet: subnet.to_owned(),
            gateway: gateway.to_owned(),
            ..Default::default()
        };
        stage
            .create_network("app", |network| {
                network.ipam.get_or_insert_default().config = vec![six("fd08::/64", "fd08::f")];
                network.enable_ipv6 = Some(true);
            })
            .unwrap();
        let web = stage.sandbox("web", &["app"], &[]);
        assert!(web.address6("app").to_string().starts_with("fd08::"));
        assert_eq!(gateway(&web, "app").to_string(), "fd08::f");
        assert!(ping(&web, "fd08::f".parse().unwrap()));
        // One without IPv4.
        stage
            .create_network("six", |network| {
                network.enable_ipv4 = Some(false);
                network.enable_ipv6 = Some(true);
            })
            .unwrap();
        let only = stage.sandbox("only", &["six"], &["8080:80"]);
        assert_eq!(only.attached.networks["six"].ip_address, "");
        let _servers = (serve(&stage.lan), serve(&only));
        assert_eq!(ask(&only, &at(LAN6.parse().unwrap(), 80)).unwrap(), Outcome::answered(HOST6));
        assert_eq!(ask(&only, &at(LAN.parse().unwrap(), 80)).unwrap(), Outcome::Unreachable);
        // Its port is reached by IPv4 all the same: the proxy carries it.
        let gateway = gateway(&only, "six").to_string();
        assert_eq!(ask(&stage.lan, "10.10.50.99:8080").unwrap(), Outcome::answered(&gateway));
    });
}

fn ports_are_published(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    for name in ["app", "other"] {
        stage.create_network(name, |network| network.enable_ipv6 = Some(true)).unwrap();
    }
    let web = stage.sandbox("web", &["app"], &["8080:80", "8080:80/udp", "[::1]:9000:80"]);
    let neighbour = stage.sandbox("neighbour", &["app"], &[]);
    let other = stage.sandbox("other", &["other"], &[]);
    let _servers = serve(&web);
    let (gateway, other_gateway) = (gateway(&web, "app"), gateway(&other, "other"));
    let (host6, lan6): (IpAddr, IpAddr) = (HOST6.parse().unwrap(), LAN6.parse().unwrap());
    let loopback: IpAddr = "::1".parse().unwrap();
    for (proxy, br_netfilter) in [(true, true), (false, true), (false, false)] {
        stage.host.set_bridge_netfilter(br_netfilter).unwrap();
        stage.daemon.restart(&[&format!("--userland-proxy={proxy}")]);
        let near = match (proxy, br_netfilter) {
            (false, true) => neighbour.address6("app"),
            _ => gateway,
        };
        for (place, target, port, source) in [
            (&*stage.lan, host6, 8080, Some(lan6)),
            (&*stage.host, loopback, 8080, proxy.then_some(gateway)),
            (&*stage.host, host6, 8080, Some(if proxy { host6 } else { gateway })),
            (&*stage.host, gateway, 8080, Some(gateway)),
            (&*web, host6, 8080, Some(gateway)),
            (&*web, gateway, 8080, Some(gateway)),
            (&*neighbour, host6, 8080, Some(near)),
            (&*other, host6, 8080, Some(gateway)),
            (&*other, gateway, 8080, Some(gateway)),
            (&*other, other_gateway, 8080, Some(gateway)),
            (&*stage.host, loopback, 9000, proxy.then_some(gateway)),
            (&*stage.lan, host6, 9000, None),
            (&*stage.host, host6, 9000, None),
        ] {
            let what = format!("{} to {target}:{port}, {proxy} {br_netfilter}", place.name());
            // What is held and not carried by IPv6's loopback refuses.
            let expected = source.map_or(Outcome::Refused, |source| Outcome::Answered { source });
            assert_eq!(ask(place, &at(target, port)).unwrap(), expected, "{what}");
            if port == 8080 && source.is_some() {
                assert_eq!(ask_datagram(place, &at(target, port)).unwrap(), expected, "{what}, udp");
            }
        }
    }
}

#[test]
fn the_host_still_hears_its_router() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let accepts = || stage.host.sysctl("net.ipv6.conf.eth0.accept_ra").unwrap();
        let forwards = || stage.host.sysctl("net.ipv6.conf.all.forwarding").unwrap();
        assert_eq!((accepts().as_str(), forwards().as_str()), ("1", "0"));
        stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
        // Forwarding would make it deaf to router advertisements, unless it is 2.
        assert_eq!((accepts().as_str(), forwards().as_str()), ("2", "1"));
    });
}
