//! Gateway modes of networks: who reaches whom, straight and by the host's address, by IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use fairway_api::types::NetworkCreate;
use fairway_lab::{Outcome, Place, Question, Server, serve_tcp};

use crate::harness::{HOST, HOST6, LAN, LAN6, Sandbox, Stage};
use crate::ping::ping;

/// How long is waited for what must not come.
const IMPATIENT: Duration = Duration::from_millis(700);

/// By what somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Published,
    Unpublished,
    Ping,
}
use By::{Ping, Published, Unpublished};

const ALL: [By; 3] = [Published, Unpublished, Ping];

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The source address that the server saw; none without an answer.
fn seen(from: &Place, to: IpAddr, port: u16) -> Option<IpAddr> {
    match Question::to(&at(to, port)).unwrap().within(IMPATIENT).tcp(from).unwrap() {
        Outcome::Answered { source, .. } => Some(source),
        _ => None,
    }
}

/// By which ways `to` answers, all tried at once.
fn ways(from: &Place, to: IpAddr) -> Vec<By> {
    let answers = |by| match by {
        Published => seen(from, to, 80).is_some(),
        Unpublished => seen(from, to, 81).is_some(),
        Ping => ping(from, to),
    };
    thread::scope(|scope| {
        let tried = ALL.map(|by| (by, scope.spawn(move || answers(by))));
        tried.into_iter().filter_map(|(by, answer)| answer.join().unwrap().then_some(by)).collect()
    })
}

/// Asserts by which ways each place reaches each address.
fn assert_ways(expected: &[(&Place, IpAddr, &[By])], what: &str) {
    thread::scope(|scope| {
        let tried: Vec<_> = expected.iter().map(|(from, to, _)| scope.spawn(|| ways(from, *to))).collect();
        for ((from, to, by), found) in expected.iter().zip(tried) {
            assert_eq!(found.join().unwrap(), *by, "{} to {to}, {what}", from.name());
        }
    });
}

/// Asks for a dual-stack network with the third byte `number` and these options of bridges.
fn dual(number: u8, options: &[(&str, &str)]) -> impl FnOnce(&mut NetworkCreate) {
    let options: Vec<_> = options.iter().map(|(name, value)| (full(name), (*value).to_owned())).collect();
    move |network| {
        network.enable_ipv6 = Some(true);
        let ipam = network.ipam.get_or_insert_default();
        for subnet in [format!("172.30.{number}.0/24"), format!("fd30:{number}::/64")] {
            ipam.config.push(fairway_api::types::IpamConfig { subnet, ..Default::default() });
        }
        network.options.extend(options);
    }
}

fn full(name: &str) -> String {
    if name.contains("network.") || name.starts_with("fairway.") {
        return name.to_owned();
    }
    format!("com.docker.network.bridge.{name}")
}

/// The LAN knows the way to the networks.
fn give_routes(stage: &Stage) {
    stage.lan.route("172.30.0.0/16", HOST).unwrap();
    stage.lan.route("fd30::/16", HOST6).unwrap();
}

fn serve(place: &Place) -> [Server; 2] {
    [80, 81].map(|port| serve_tcp(place, &format!("[::]:{port}")).unwrap())
}

/// Both addresses of a sandbox on a network.
fn addresses(sandbox: &Sandbox, network: &str) -> [IpAddr; 2] {
    [sandbox.address(network), sandbox.address6(network)]
}

const MODE4: &str = "gateway_mode_ipv4";
const MODE6: &str = "gateway_mode_ipv6";

/// A daemon that is killed and started with each setting of br_netfilter and of the proxy.
fn in_two_modes(stage: &mut Stage, flags: &[&str], look: impl Fn(&Stage, &str)) {
    for (netfilter, proxy) in [(false, "--userland-proxy=true"), (true, "--userland-proxy=false")] {
        stage.host.set_bridge_netfilter(netfilter).unwrap();
        stage.daemon.restart(&[flags, &[proxy]].concat());
        look(stage, proxy);
    }
}

#[test]
fn each_gateway_mode_lets_in_whom_it_should() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        give_routes(&stage);
        let create = |name, number, mode4, mode6| {
            stage.create_network(name, dual(number, &[(MODE4, mode4), (MODE6, mode6)])).unwrap();
        };
        create("plain", 1, "nat", "nat");
        create("open", 2, "nat-unprotected", "nat-unprotected");
        create("routed", 3, "routed", "routed");
        create("mixed", 4, "nat", "routed");
        create("other", 5, "routed", "nat-unprotected");
        let client = stage.sandbox("client", &["plain"], &[]);
        let make = |name, network, publish| stage.sandbox(name, &[network], &[publish]);
        let plain = make("a", "plain", "8081:80");
        let open = make("b", "open", "8082:80");
        let routed = make("c", "routed", "8083:80");
        let mixed = make("d", "mixed", "8084:80");
        let other = make("e", "other", "8085:80");
        let _servers = [&plain, &open, &routed, &mixed, &other].map(|place| serve(place));
        let _lan = serve(&stage.lan);
        let straight: [&[By]; 2] = [&[], &ALL];
        let [closed, all] = straight;
        let published: &[By] = &[Published, Ping];
        in_two_modes(&mut stage, &[], |stage, what| {
            let mut expected: Vec<(&Place, IpAddr, &[By])> = Vec::new();
            for (sandbox, network, by4, by6) in [
                (&plain, "plain", closed, closed),
                (&open, "open", all, all),
                (&routed, "routed", published, published),
                (&mixed, "mixed", closed, published),
                (&other, "other", published, all),
            ] {
                let [ipv4, ipv6] = addresses(sandbox, network);
                expected.extend([(&*stage.lan, ipv4, by4), (&*stage.lan, ipv6, by6)]);
                expected.extend([(&*stage.host, ipv4, all), (&*stage.host, ipv6, all)]);
                if network != "plain" {
                    expected.extend([(&*client, ipv4, by4), (&*client, ipv6, by6)]);
                }
            }
            // Not the other way round.
            for address in addresses(&client, "plain") {
                expected.extend([(&*routed, address, closed), (&*open, address, closed)]);
            }
            assert_ways(&expected, what);
            // By the host's address: where ports are translated, and nowhere else.
            let host: [IpAddr; 2] = [HOST.parse().unwrap(), HOST6.parse().unwrap()];
            for (port, ipv4, ipv6) in [
                (8081, true, true),
                (8082, true, true),
                (8083, false, false),
                (8084, true, false),
                (8085, false, true),
            ] {
                for (address, there) in host.into_iter().zip([ipv4, ipv6]) {
                    for from in [&*stage.lan, &*client] {
                        let found = seen(from, address, port).is_some();
                        assert_eq!(found, there, "{} to {address}:{port}, {what}", from.name());
                    }
                }
            }
            // Who leaves a routed network keeps its address, also the one of which only one family is.
            let lan: [IpAddr; 2] = [LAN.parse().unwrap(), LAN6.parse().unwrap()];
            let sources = |sandbox: &Sandbox| lan.map(|to| seen(sandbox, to, 80).unwrap());
            assert_eq!(sources(&plain), host, "{what}");
            assert_eq!(sources(&open), host, "{what}");
            assert_eq!(sources(&routed), addresses(&routed, "routed"), "{what}");
            assert_eq!(sources(&mixed), [host[0], mixed.address6("mixed")], "{what}");
            // And so is who comes to one seen.
            assert_eq!(seen(&stage.lan, routed.address("routed"), 80), Some(lan[0]), "{what}");
            assert_eq!(seen(&stage.lan, routed.address6("routed"), 80), Some(lan[1]), "{what}");
        });
    });
}
