//! Addresses from the LAN's own DHCP server.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fairway_api::ClientError;
use fairway_api::types::{EndpointSettings, NetworkInspect};
use fairway_lab::{DhcpServer, Lab, Outcome, ask, serve_tcp};

use super::{on, port_80, state};
use crate::harness::{HOST, LAN, Sandbox, Stage, eventually, refusal};

const SOON: Duration = Duration::from_secs(20);
const POOL: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 10, 50, 60), Ipv4Addr::new(10, 10, 50, 61), Ipv4Addr::new(10, 10, 50, 62)];

fn create(stage: &Stage) -> Result<NetworkInspect, ClientError> {
    stage.create_network("lan", |network| {
        network.driver = "lan".to_owned();
        let options = [("parent", "eth0"), ("fairway.dhcp", "true")];
        network.options.extend(options.map(|(name, value)| (name.to_owned(), value.to_owned())));
    })
}

fn serve(stage: &Stage, pool: &[Ipv4Addr], seconds: u32) -> DhcpServer {
    DhcpServer::start(&stage.lan, "eth0", LAN.parse().unwrap(), pool, seconds).unwrap()
}

fn ipv4(sandbox: &Sandbox) -> Ipv4Addr {
    match sandbox.address("lan") {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

/// How often a client was heard to say something about an address.
fn times(server: &DhcpServer, kind: &str, address: Ipv4Addr) -> usize {
    server.heard().iter().filter(|heard| heard.kind == kind && heard.address == address).count()
}

fn leases(stage: &Stage) -> Vec<String> {
    stage.client().network("lan").unwrap().fairway.map(|it| it.leases).unwrap_or_default()
}

fn check(lab: &Lab, flags: &[&str]) {
    let mut stage = Stage::new(lab, flags);
    let server = serve(&stage, &POOL, 600);
    let network = create(&stage).unwrap();
    assert_eq!(network.ipam.config[0].subnet, "10.10.50.0/24");
    let one = stage.sandbox("one", &["lan"], &[]);
    let two = stage.sandbox("two", &["lan"], &[]);
    assert_eq!([ipv4(&one), ipv4(&two)], [POOL[0], POOL[1]]);
    let _servers = [&*one, &two, &stage.lan, &stage.host].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
    let seen = |source: Ipv4Addr| Outcome::Answered { source: source.into() };
    assert_eq!(ask(&one, &format!("{LAN}:80")).unwrap(), seen(POOL[0]));
    assert_eq!(ask(&two, &format!("{HOST}:80")).unwrap(), seen(POOL[1]));
    assert_eq!(ask(&two, &port_80(POOL[0])).unwrap(), seen(POOL[1]));
    assert_eq!(ask(&stage.lan, &port_80(POOL[0])).unwrap(), Outcome::answered(LAN));
    // The server knows them by their own names and hardware addresses.
    let asked = server.heard();
    let request = |name: &str| asked.iter().find(|heard| heard.kind == "request" && heard.hostname == name);
    assert_eq!(request("one").unwrap().mac, one.mac("eth0").unwrap());
    assert_eq!(request("two").unwrap().mac, two.mac("eth0").unwrap());
    assert!(
        leases(&stage)[0].starts_with(&format!("{} of one by {LAN} until ", POOL[0])),
        "{:?}",
        leases(&stage)
    );
    // A restart keeps them, and asks nobody.
    stage.daemon.restart(flags);
    assert_eq!(ask(&stage.lan, &port_80(POOL[0])).unwrap(), Outcome::answered(LAN));
    assert_eq!(leases(&stage).len(), 2);
    assert_eq!(server.heard().len(), 4, "{:?}", server.heard());
    // One that leaves gives its address back, and the next one gets it.
    stage.disconnect("lan", "one").unwrap();
    eventually("it is given back", SOON, || times(&server, "release", POOL[0]) == 1);
    assert_eq!(times(&server, "release", POOL[1]), 0);
    stage.connect("lan", "one", EndpointSettings::default()).unwrap();
    assert_eq!(ask(&stage.lan, &port_80(POOL[0])).unwrap(), Outcome::answered(LAN));
    stage.remove_namespace(two);
    eventually("what ends gives back too", SOON, || times(&server, "release", POOL[1]) == 1);
    // Who asks for an address by name gets it, and no server hears of it.
    let before = server.heard().len();
    let named = stage.attach("named", on("lan", "10.10.50.95")).unwrap();
    assert_eq!(named.address("lan").to_string(), "10.10.50.95");
    assert_eq!(ask(&named, &format!("{LAN}:80")).unwrap(), Outcome::answered("10.10.50.95"));
    assert_eq!(server.heard().len(), before);
}

#[test]
fn addresses_are_lent_kept_and_given_back() {
    fairway_lab::run(|lab| check(lab, &[]));
}

#[test]
fn the_same_with_the_iptables_backend() {
    fairway_lab::run(|lab| check(lab, &["--firewall-backend=iptables"]));
}

/// A sandbox on a LAN whose server leases for four seconds.
fn with_a_short_lease(lab: &Lab) -> (Stage, DhcpServer, Sandbox) {
    let stage = Stage::new(lab, &[]);
    let server = serve(&stage, &POOL, 4);
    create(&stage).unwrap();
    let one = stage.sandbox("one", &["lan"], &[]);
    (stage, server, one)
}

#[test]
fn leases_are_renewed_and_their_loss_is_logged() {
    fairway_lab::run(|lab| {
        let (mut stage, server, one) = with_a_short_lease(lab);
        let address = ipv4(&one);
        let _server = serve_tcp(&one, "0.0.0.0:80").unwrap();
        eventually("it is renewed", SOON, || stage.daemon.log().contains("renewed lease of "));
        let renewal = server.heard().into_iter().find(|heard| heard.address == address).unwrap();
        assert_eq!(
            (renewal.kind, renewal.source, renewal.mac),
            ("request", address, one.mac("eth0").unwrap())
        );
        // By the next daemon too.
        stage.daemon.restart(&[]);
        let before = times(&server, "request", address);
        eventually("it is renewed again", SOON, || times(&server, "request", address) >= before + 2);
        assert!(!stage.daemon.log().contains("lost lease of "));
        // What is lost is told, and the sandbox is not cut off.
        server.refuse(true);
        eventually("the loss is logged", SOON, || {
            stage.daemon.log().contains("lost lease of ")
                && leases(&stage).iter().any(|line| line.starts_with(&format!("{address} of one: lost")))
        });
        assert_eq!(ask(&stage.lan, &port_80(address)).unwrap(), Outcome::answered(LAN));
    });
}

#[test]
fn a_wall_clock_that_is_set_ends_no_lease() {
    fairway_lab::run(|lab| {
        let (mut stage, server, one) = with_a_short_lease(lab);
        let address = ipv4(&one);
        let renewed_twice = || {
            let before = times(&server, "request", address);
            eventually("it is renewed", SOON, || times(&server, "request", address) >= before + 2);
        };
        for ahead in [-3600, 86_400] {
            stage.daemon.set_clock(ahead);
            renewed_twice();
            let until: i64 = leases(&stage)[0].rsplit(' ').next().unwrap().parse().unwrap();
            let left = until - ahead - fairway_kernel::clock::wall() / 1_000_000_000;
            assert!((0..=4).contains(&left), "{left} s, by a clock that is {ahead} s ahead");
            stage.daemon.restart(&[]);
            renewed_twice();
        }
        assert!(!stage.daemon.log().contains("lost lease of "), "{}", stage.daemon.log());
    });
}

#[test]
fn a_lan_without_a_dhcp_server_is_refused_and_nothing_changes() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        create(&stage).unwrap();
        let bridge = super::bridge(&stage, "lan");
        let before = state(&stage.host, &bridge);
        let living = stage.sandbox("living", &["bridge"], &[]);
        let (attached, connected) = std::thread::scope(|scope| {
            let attached = scope.spawn(|| stage.attach("one", on("lan", "")).map(drop));
            let connected = stage.connect("lan", "living", EndpointSettings::default());
            (attached.join().unwrap(), connected)
        });
        for refused in [refusal(attached), refusal(connected)] {
            assert!(refused.contains("no DHCP server answered within 7 s on eth0: give --ip"), "{refused}");
        }
        assert!(stage.client().container("one").is_err());
        assert!(living.mac("eth1").is_err(), "there is no second interface");
        assert_eq!(state(&stage.host, &bridge), before);
        // One that takes its offers back.
        let server = serve(&stage, &POOL, 600);
        server.refuse(true);
        let refused = refusal(stage.connect("lan", "living", EndpointSettings::default()));
        assert!(refused.contains(&format!("DHCP server {LAN} refused")), "{refused}");
        drop(server);
        // One that lends what is not of this LAN gets it back.
        let foreign = Ipv4Addr::new(10, 9, 9, 9);
        let server = serve(&stage, &[foreign], 600);
        let refused = refusal(stage.connect("lan", "living", EndpointSettings::default()));
        assert!(refused.contains("cannot use address 10.9.9.9 from DHCP server"), "{refused}");
        eventually("it is given back", SOON, || times(&server, "release", foreign) == 1);
        drop(server);
        // What somebody has is declined, and another one asked for.
        stage.lan.add_address("eth0", &format!("{}/24", POOL[0])).unwrap();
        let server = serve(&stage, &POOL, 600);
        stage.connect("lan", "living", EndpointSettings::default()).unwrap();
        assert!(server.heard().iter().any(|heard| heard.kind == "decline"));
        let _servers = [&*living, &stage.lan].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
        assert_eq!(ask(&stage.lan, &port_80(POOL[1])).unwrap(), Outcome::answered(LAN));
    });
}
