//! Routed networks: sandboxes of two hosts reach one another by their own addresses, and the internet by the host's.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use fairway_api::ClientError;
use fairway_api::types::{IpamConfig, NetworkInspect};
use fairway_kernel::route::{Links, RouteEntry};
use fairway_lab::{Host, Lab, Outcome, Place, Question, ask, serve_tcp};

use crate::harness::{HOST, HOST6, LAN, Sandbox, Stage, eventually, refusal, use_backend};
use crate::modes::patience;
use crate::ping::ping;

const OTHER: &str = "10.10.50.98";
const OTHER6: &str = "fd50::98";
/// `RT_TABLE_MAIN`: in others the kernel keeps accounts of its own.
const MAIN: u32 = 254;
const SOON: Duration = Duration::from_secs(20);

/// A routed network of both families with the number of its host in its subnets, and these peers.
fn routed(stage: &Stage, number: u8, peers: &str) -> Result<NetworkInspect, ClientError> {
    stage.create_network("net", |network| {
        network.driver = "routed".to_owned();
        network.enable_ipv6 = Some(true);
        let subnets = [format!("172.30.{number}.0/24"), format!("fd30:{number}::/64")];
        let config = subnets.map(|subnet| IpamConfig { subnet, ..IpamConfig::default() });
        network.ipam.get_or_insert_default().config = config.into();
        if !peers.is_empty() {
            network.options.insert("fairway.peers".to_owned(), peers.to_owned());
        }
    })
}

/// Two hosts whose networks know one another, with a sandbox each.
struct Pair {
    here: Stage,
    there: Stage,
    a: Sandbox,
    b: Sandbox,
}

impl Pair {
    fn new(lab: &Lab, flags: &[&str]) -> Pair {
        let here = Stage::new(lab, flags);
        let there = here.second_host(lab, "other", [OTHER, OTHER6], flags);
        routed(&here, 1, &format!("172.30.2.0/24@{OTHER},fd30:2::/64@{OTHER6}")).unwrap();
        routed(&there, 2, &format!("172.30.1.0/24@{HOST}, fd30:1::/64@{HOST6}")).unwrap();
        let a = here.sandbox("a", &["net"], &[]);
        let b = there.sandbox("b", &["net"], &[]);
        Pair { here, there, a, b }
    }
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn own(sandbox: &Sandbox) -> Outcome {
    Outcome::Answered { source: sandbox.address("net") }
}

/// The routes of ours on a host.
fn routes(host: &Host) -> Vec<String> {
    let routes = host.run_in(|| Links::open().unwrap().routes().unwrap()).unwrap();
    let ours = routes.iter().filter(|route| route.is_ours());
    let shown = |route: &RouteEntry| format!("{} {}", route.destination, route.gateway.unwrap());
    ours.map(shown).collect()
}

fn all_of(asked: &[(&Place, String, Outcome)]) {
    thread::scope(|scope| {
        for (place, target, expected) in asked {
            scope.spawn(move || {
                let patience = patience(*expected != Outcome::TimedOut);
                let seen = Question::to(target).unwrap().within(patience).tcp(place).unwrap();
                assert_eq!(seen, *expected, "{} asks {target}", place.name());
            });
        }
    });
}

fn check(lab: &Lab, flags: &[&str]) {
    let Pair { here, there, a, b } = Pair::new(lab, flags);
    let public = here.sandbox("public", &["net"], &["8080:80", "127.0.0.1:8088:88"]);
    let elsewhere = here.sandbox("elsewhere", &["bridge"], &[]);
    let _servers = [&*a, &b, &public, &here.lan].map(|it| serve_tcp(it, "[::]:80").unwrap());
    let _hidden = serve_tcp(&public, "0.0.0.0:88").unwrap();
    for (number, host, host6) in [(1, HOST, HOST6), (2, OTHER, OTHER6)] {
        here.lan.route(&format!("172.30.{number}.0/24"), host).unwrap();
        here.lan.route(&format!("fd30:{number}::/64"), host6).unwrap();
    }
    let answered = |address: IpAddr| Outcome::Answered { source: address };
    let public_own = public.address("net");
    all_of(&[
        // Between sandboxes of the two hosts both addresses stay.
        (&a, at(b.address("net"), 80), own(&a)),
        (&b, at(a.address("net"), 80), own(&b)),
        (&a, at(b.address6("net"), 80), answered(a.address6("net"))),
        (&b, at(a.address6("net"), 80), answered(b.address6("net"))),
        // The hosts reach them too, and sandboxes of other networks as their host.
        (&here.host, at(b.address("net"), 80), Outcome::answered(HOST)),
        (&there.host, at(a.address6("net"), 80), Outcome::answered(OTHER6)),
        (&elsewhere, at(b.address("net"), 80), Outcome::answered(HOST)),
        // To everywhere else they go as their host.
        (&a, format!("{LAN}:80"), Outcome::answered(HOST)),
        (&b, "[fd50::1]:80".to_owned(), Outcome::answered(OTHER6)),
        // Who is no peer reaches what is published: by the host's address, and by its own.
        (&here.lan, at(public_own, 80), Outcome::answered(LAN)),
        (&here.lan, at(public.address6("net"), 80), Outcome::answered("fd50::1")),
        (&here.lan, format!("{HOST}:8080"), Outcome::answered(LAN)),
        (&here.lan, at(public_own, 88), Outcome::TimedOut),
        (&here.lan, at(a.address("net"), 80), Outcome::TimedOut),
        (&here.lan, at(a.address6("net"), 80), Outcome::TimedOut),
        (&here.lan, at(b.address("net"), 80), Outcome::TimedOut),
        // Networks of one host are as apart as ever.
        (&elsewhere, at(a.address("net"), 80), Outcome::TimedOut),
        (&elsewhere, at(public_own, 80), Outcome::TimedOut),
    ]);
    thread::scope(|scope| {
        for (place, target, expected) in [
            (&*a, b.address6("net"), true),
            (&here.lan, a.address("net"), true),
            (&here.lan, b.address6("net"), true),
            (&elsewhere, a.address("net"), false),
        ] {
            scope.spawn(move || assert_eq!(ping(place, target), expected, "{} to {target}", place.name()));
        }
    });
}

#[test]
fn sandboxes_of_two_hosts_reach_one_another_by_their_own_addresses() {
    fairway_lab::run(|lab| check(lab, &[]));
}

#[test]
fn and_without_the_proxy() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false"]));
}

#[test]
fn and_by_iptables() {
    fairway_lab::run(|lab| {
        use_backend("nft");
        check(lab, &[]);
    });
}

#[test]
fn routes_outlast_the_daemon_and_are_repaired_and_removed() {
    fairway_lab::run(|lab| {
        let Pair { mut here, there, a, b } = Pair::new(lab, &[]);
        let _server = serve_tcp(&b, "0.0.0.0:80").unwrap();
        let target = at(b.address("net"), 80);
        let both = routes(&here.host);
        assert_eq!(both, [format!("172.30.2.0/24 {OTHER}"), format!("fd30:2::/64 {OTHER6}")]);
        let delete = |host: &Host| {
            host.run_in(|| Links::open().unwrap().delete_route("172.30.2.0/24".parse().unwrap()).unwrap())
                .unwrap();
        };
        // By somebody else, while the daemon looks and while it does not.
        delete(&here.host);
        eventually("the route is back", SOON, || routes(&here.host) == both);
        here.daemon.kill9();
        assert_eq!(ask(&a, &target).unwrap(), own(&a));
        delete(&here.host);
        here.daemon.launch(&[]);
        here.daemon.wait_until_ready();
        assert_eq!(routes(&here.host), both);
        // With the link.
        here.host.set_link("eth0", false).unwrap();
        eventually("the routes are gone", SOON, || routes(&here.host).is_empty());
        here.host.set_link("eth0", true).unwrap();
        here.host.add_address("eth0", &format!("{HOST6}/64")).unwrap();
        eventually("the routes are back", SOON, || routes(&here.host) == both);
        assert_eq!(ask(&a, &target).unwrap(), own(&a));
        here.client().detach("a").unwrap();
        here.client().remove_network("net").unwrap();
        assert_eq!(routes(&here.host), Vec::<String>::new());
        assert_eq!(routes(&there.host).len(), 2);
    });
}

#[test]
fn a_foreign_route_is_left_alone() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.host.route("172.30.2.0/24", LAN).unwrap();
        let all = |host: &Host| {
            let routes = host.run_in(|| Links::open().unwrap().routes().unwrap()).unwrap();
            routes.into_iter().filter(|route| route.table == MAIN).collect::<Vec<_>>()
        };
        let before = all(&stage.host);
        let refused = refusal(routed(&stage, 1, &format!("172.30.2.0/24@{OTHER}")));
        assert!(
            refused.contains("cannot add peer 172.30.2.0/24: the host has a route to it via eth0"),
            "{refused}"
        );
        // A host that is on none of our LANs, too, leaves nothing behind.
        let refused = refusal(routed(&stage, 1, "172.30.3.0/24@192.0.2.1, 172.30.4.0/24@198.51.100.1"));
        assert!(refused.contains("172.30.3.0/24 by way of 192.0.2.1"), "{refused}");
        assert_eq!(all(&stage.host), before);
        assert!(stage.client().network("net").is_err());
    });
}
