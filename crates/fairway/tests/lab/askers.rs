//! From where questions are asked that are not about names of ours: the sandbox's own network namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::dns::{DnsAnswer, DnsQuestion, RecordType, ResponseCode, Transport, look_up};
use fairway_api::types::{ContainerCreate, EndpointSettings, IpamConfig, NetworkCreate};
use fairway_lab::Place;

use crate::harness::{FAR, HOST, HOST6, LAN, LAN6, Sandbox, Stage, eventually, request};
use crate::kernel_state::kill_relay;
use crate::upstream::{ALL_SERVERS, FIRST, RESOLVER, SECOND, Upstream, set_servers, stage};

fn addresses(place: &Place, name: &str) -> Vec<IpAddr> {
    let patient = DnsQuestion::new(name, RecordType::A).within(Duration::from_secs(15));
    patient.ask(place, RESOLVER).unwrap().addresses()
}

fn answer(place: &Place, name: &str, by: Transport) -> DnsAnswer {
    let patient = DnsQuestion::new(name, RecordType::A).by(by).within(Duration::from_secs(15));
    patient.ask(place, RESOLVER).unwrap()
}

/// A sandbox on these networks with these name servers.
fn with_servers(networks: &[&str], servers: &[&str]) -> ContainerCreate {
    let mut container = request(networks, &[]);
    container.host_config.dns = servers.iter().map(|server| (*server).to_owned()).collect();
    container
}

/// A macvlan network: its parent; its subnet, range and gateway.
fn macvlan(stage: &Stage, name: &str, parent: &str, [subnet, range, gateway]: [&str; 3]) {
    let ask = |network: &mut NetworkCreate| {
        network.driver = "macvlan".to_owned();
        network.options.insert("parent".to_owned(), parent.to_owned());
        let (subnet, ip_range, gateway) = (subnet.to_owned(), range.to_owned(), gateway.to_owned());
        let config = IpamConfig { subnet, ip_range, gateway, ..Default::default() };
        network.ipam.get_or_insert_default().config = vec![config];
    };
    stage.create_network(name, ask).unwrap();
}

fn server_in(sandbox: &Sandbox, network: &str, answer: Ipv4Addr) -> Upstream {
    Upstream::start(sandbox, &sandbox.address(network).to_string(), answer)
}

#[test]
fn internal_networks_leak_no_question() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let outside = Upstream::start(&stage.lan, LAN, FIRST);
        let host = Upstream::start(&stage.host, "127.0.0.53", FIRST);
        set_servers(&stage, &["127.0.0.53"]);
        stage.daemon.launch(&["--dns", LAN]);
        stage.daemon.wait_until_ready();
        stage.create_network("inner", |network| network.internal = true).unwrap();
        let of_daemon = stage.sandbox("of-daemon", &["inner"], &[]);
        let of_its_own = stage.attach("of-its-own", with_servers(&["inner"], &[LAN])).unwrap();
        let of_host = stage.attach("of-host", with_servers(&["inner"], &["127.0.0.53"])).unwrap();
        for sandbox in [&of_daemon, &of_its_own, &of_host] {
            for by in [Transport::Udp, Transport::Tcp] {
                // The kernel says that there is no route. Else it would take as long as the relay waits for servers.
                let started = Instant::now();
                let answer = answer(sandbox, "secret.test", by);
                assert!(answer.code == ResponseCode::ServFail && answer.records.is_empty(), "{answer:?}");
                assert!(started.elapsed() < ALL_SERVERS, "it was waited for: {:?}", started.elapsed());
            }
        }
        assert_eq!((outside.asked(), host.asked()), (0, 0));
        // Servers on the internal network itself may be asked.
        let server = stage.sandbox("server", &["inner"], &[]);
        let inner = server_in(&server, "inner", SECOND);
        let at = server.address("inner").to_string();
        let client = stage.attach("client", with_servers(&["inner"], &[&at])).unwrap();
        assert_eq!(addresses(&client, "example.org"), [IpAddr::from(SECOND)]);
        assert_eq!(inner.askers(), [client.address("inner")]);
    });
}

#[test]
fn servers_see_who_asks() {
    fairway_lab::run(|lab| {
        let (stage, outside) = stage(lab);
        stage.network("app");
        let server = stage.sandbox("server", &["app"], &[]);
        let inner = server_in(&server, "app", SECOND);
        let at = server.address("app").to_string();
        let client = stage.attach("client", with_servers(&["app"], &[&at])).unwrap();
        for by in [Transport::Udp, Transport::Tcp] {
            assert_eq!(answer(&client, "example.org", by).addresses(), [IpAddr::from(SECOND)]);
        }
        assert_eq!(inner.askers(), [client.address("app")]);
        // On the LAN they are seen as all that leaves the network.
        let plain = stage.sandbox("plain", &["app"], &[]);
        assert_eq!(addresses(&plain, "example.org"), [IpAddr::from(FIRST)]);
        assert_eq!(outside.askers(), [HOST.parse::<IpAddr>().unwrap()]);
    });
}

#[test]
fn questions_take_the_sandboxs_default_route() {
    fairway_lab::run(|lab| {
        let (stage, outside) = stage(lab);
        // A network whose packets leave by another interface, as with a VPN: there the host's server is another one.
        let (far, interface) = stage.far(lab);
        far.add_address("eth0", &format!("{LAN}/32")).unwrap();
        let tunnelled = Upstream::start(&far, LAN, SECOND);
        macvlan(&stage, "vpn", &interface, ["10.20.0.0/24", "10.20.0.128/25", FAR]);
        stage.network("app");
        let by_vpn = stage.sandbox("by-vpn", &["vpn"], &[]);
        let direct = stage.sandbox("direct", &["app"], &[]);
        assert_eq!(addresses(&by_vpn, "example.org"), [IpAddr::from(SECOND)]);
        assert_eq!((tunnelled.asked(), outside.asked()), (1, 0));
        assert_eq!(addresses(&direct, "example.org"), [IpAddr::from(FIRST)]);
    });
}

#[test]
fn a_server_that_only_the_macvlan_reaches_is_asked() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        set_servers(&stage, &["127.0.0.53"]);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        // The host has no address of this subnet.
        stage.lan.add_address("eth0", "10.77.0.1/24").unwrap();
        let there = Upstream::start(&stage.lan, "10.77.0.1", SECOND);
        macvlan(&stage, "wire", "eth0", ["10.77.0.0/24", "10.77.0.128/25", "10.77.0.1"]);
        let sandbox = stage.attach("sandbox", with_servers(&["wire"], &["10.77.0.1"])).unwrap();
        assert_eq!(addresses(&sandbox, "example.org"), [IpAddr::from(SECOND)]);
        assert_eq!(there.askers(), [sandbox.address("wire")]);
    });
}

#[test]
fn a_server_on_another_network_is_not_reached() {
    fairway_lab::run(|lab| {
        let (stage, _outside) = stage(lab);
        stage.network("red");
        stage.network("blue");
        let server = stage.sandbox("server", &["blue"], &[]);
        let blue = server_in(&server, "blue", SECOND);
        let at = server.address("blue").to_string();
        let apart = stage.attach("apart", with_servers(&["red"], &[&at])).unwrap();
        let answer = answer(&apart, "example.org", Transport::Udp);
        assert!(answer.code == ResponseCode::ServFail && answer.records.is_empty(), "{answer:?}");
        assert_eq!(blue.asked(), 0);
        stage.connect("blue", "apart", EndpointSettings::default()).unwrap();
        assert_eq!(addresses(&apart, "example.org"), [IpAddr::from(SECOND)]);
    });
}

#[test]
fn servers_of_the_hosts_loopback_are_asked_by_the_host() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let four = Upstream::start(&stage.host, "127.0.0.53", FIRST);
        let six = Upstream::start(&stage.host, "::1", SECOND);
        set_servers(&stage, &["127.0.0.53"]);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.network("app");
        let sandbox = stage.sandbox("sandbox", &["app"], &[]);
        for by in [Transport::Udp, Transport::Tcp] {
            assert_eq!(answer(&sandbox, "example.org", by).addresses(), [IpAddr::from(FIRST)]);
        }
        set_servers(&stage, &["::1"]);
        eventually("the new server is asked", Duration::from_secs(20), || {
            addresses(&sandbox, "example.net") == [IpAddr::from(SECOND)]
        });
        assert!(four.asked() > 0 && six.asked() > 0);
    });
}

#[test]
fn a_server_on_a_link_of_the_host_is_asked_by_the_host() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.lan.add_address("eth0", "fe80::53/64").unwrap();
        let scope = stage
            .lan
            .run_in(|| std::fs::read_to_string("/sys/class/net/eth0/ifindex").unwrap().trim().to_owned());
        let there = Upstream::start(&stage.lan, &format!("fe80::53%{}", scope.unwrap()), FIRST);
        set_servers(&stage, &["fe80::53%eth0"]);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.network("app");
        let sandbox = stage.sandbox("sandbox", &["app"], &[]);
        for by in [Transport::Udp, Transport::Tcp] {
            assert_eq!(answer(&sandbox, "example.org", by).addresses(), [IpAddr::from(FIRST)]);
        }
        assert_eq!(there.asked(), 2);
    });
}

#[test]
fn questions_over_ipv6_leave_the_sandbox_too() {
    fairway_lab::run(|lab| {
        let (stage, _outside) = stage(lab);
        stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
        let there = Upstream::start(&stage.lan, LAN6, SECOND);
        let sandbox = stage.attach("sandbox", with_servers(&["app"], &[LAN6])).unwrap();
        for by in [Transport::Udp, Transport::Tcp] {
            assert_eq!(answer(&sandbox, "example.org", by).addresses(), [IpAddr::from(SECOND)]);
        }
        assert_eq!(there.askers(), [HOST6.parse::<IpAddr>().unwrap()]);
    });
}

#[test]
fn names_go_on_without_the_daemon_and_with_another_relay() {
    fairway_lab::run(|lab| {
        let (mut stage, _outside) = stage(lab);
        stage.network("app");
        let server = stage.sandbox("server", &["app"], &[]);
        let inner = server_in(&server, "app", SECOND);
        let at = server.address("app").to_string();
        let client = stage.attach("client", with_servers(&["app"], &[&at])).unwrap();
        let asked = |name: &str| {
            for by in [Transport::Udp, Transport::Tcp] {
                assert_eq!(answer(&client, name, by).addresses(), [IpAddr::from(SECOND)], "{name}");
            }
            assert_eq!(inner.askers(), [client.address("app")], "{name}");
        };
        asked("before.org");
        stage.daemon.kill9();
        (0..20).for_each(|n| asked(&format!("n{n}.org")));
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        asked("another-daemon.org");
        kill_relay();
        eventually("another relay answers", Duration::from_secs(20), || {
            look_up(&client, RESOLVER, "server", RecordType::A).is_ok()
        });
        asked("another-relay.org");
    });
}

#[test]
fn sockets_for_questions_keep_no_namespace_alive() {
    fairway_lab::run(|lab| {
        let (stage, _outside) = stage(lab);
        stage.network("app");
        let sandbox = stage.sandbox("sandbox", &["app"], &[]);
        assert_eq!(addresses(&sandbox, "example.org"), [IpAddr::from(FIRST)]);
        let links = || stage.host.run_in(|| std::fs::read_dir("/sys/class/net").unwrap().count()).unwrap();
        let with = links();
        stage.remove_namespace(sandbox);
        eventually("the sandbox's link is gone with its namespace", Duration::from_secs(20), || {
            links() < with
        });
    });
}
