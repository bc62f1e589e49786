//! Sandboxes on the LAN, and pairs of them: what is explained, and what happens.

use std::net::SocketAddr;
use std::time::Duration;

use fairway_api::types::IpamConfig;
use fairway_inspect::doctor::Severity;
use fairway_lab::{Lab, Outcome, Place, Question, ask, serve_tcp};

use crate::cli::{fairway, printed};
use crate::doctor::shell;
use crate::harness::{HOST, LAN, Stage};

/// The neighbour on the second LAN, and the host.
const ROUTER: &str = "10.60.0.1";
const OWN: &str = "10.60.0.99";

/// What `explain` says, and what becomes of a real connection.
fn said_and_seen(stage: &Stage, from: (&str, &Place), to: &str) -> (String, String) {
    let said = stage.client().explain(from.0, to, false).unwrap().sentence;
    let address = to.strip_prefix("lan:").unwrap_or(to);
    (said, ask(from.1, address).unwrap().to_string())
}

fn on_second_lan(stage: &Stage, name: &str, driver: &str, first: u8) {
    let made = stage.create_network(name, |network| {
        network.driver = driver.to_owned();
        network.options.insert("parent".to_owned(), "eth1".to_owned());
        network.ipam.get_or_insert_default().config = vec![IpamConfig {
            subnet: "10.60.0.0/24".to_owned(),
            gateway: ROUTER.to_owned(),
            ip_range: format!("10.60.0.{first}/28"),
            ..IpamConfig::default()
        }];
    });
    made.unwrap();
}

/// A host with a second LAN, whose neighbour is a server.
fn check(lab: &Lab, driver: &str, host_reaches: bool) {
    let stage = Stage::new(lab, &[]);
    let wire = lab.lan("second").unwrap();
    wire.join(&stage.lan, &[&format!("{ROUTER}/24")]).unwrap();
    wire.join(&stage.host, &[&format!("{OWN}/24")]).unwrap();
    on_second_lan(&stage, "side", driver, 128);
    let (one, other) = (stage.sandbox("one", &["side"], &[]), stage.sandbox("other", &["side"], &[]));
    let _servers = [&*one, &*other, &*stage.lan, &*stage.host].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
    let at = |place: &crate::harness::Sandbox| SocketAddr::new(place.address("side"), 80).to_string();

    let answered = |by: &crate::harness::Sandbox| {
        let by = by.address("side");
        (format!("It is answered; the server sees {by}."), format!("answered {by}"))
    };
    assert_eq!(said_and_seen(&stage, ("one", &one), &at(&other)), answered(&one));
    let from_lan = said_and_seen(&stage, (&format!("lan:{ROUTER}"), &stage.lan), &at(&one));
    let neighbour = (format!("It is answered; the server sees {ROUTER}."), format!("answered {ROUTER}"));
    assert_eq!(from_lan, neighbour);

    let (said, seen) = said_and_seen(&stage, ("one", &one), &format!("lan:{ROUTER}:80"));
    assert_eq!(said, "Leaves the host; the reply cannot be predicted.");
    assert_eq!(seen, format!("answered {}", one.address("side")));
    let out = stage.client().explain("one", &format!("lan:{ROUTER}:80"), false).unwrap();
    let sees = format!("tcp {}:40000 > {ROUTER}:80", one.address("side"));
    let end = format!("leaves host by eth1 for {ROUTER}, where a capture sees {sees}");
    assert_eq!(out.walks[0].end.text, end);

    let (said, seen) = said_and_seen(&stage, ("host", &stage.host), &at(&one));
    if host_reaches {
        assert_eq!(
            (said, seen),
            (format!("It is answered; the server sees {OWN}."), format!("answered {OWN}"))
        );
    } else {
        let lost = format!("No answer: lost on host: no neighbor on eth1 has {}.", one.address("side"));
        assert_eq!((said, seen), (lost, "timed-out".to_owned()));
        let why = "What would help: the host and the sandboxes of the macvlan network side do not reach each other: ";
        let connect = "fairway network connect bridge one, and use its address there\n";
        let out = fairway(&stage, &format!("explain host {at}", at = at(&one))).output;
        assert!(out.contains(&format!("{why}{connect}")), "{out}");
    }
    // The host's route to its own LAN is no fault.
    let findings = stage.client().doctor(false).unwrap().findings;
    assert!(
        findings.iter().all(|it| it.id != "subnet-overlap" || it.severity == Severity::Ok),
        "{findings:#?}"
    );
    assert!(!stage.daemon.log().contains("overlaps"), "{}", stage.daemon.log());
}

#[test]
fn sandboxes_on_a_macvlan_and_not_the_host() {
    fairway_lab::run(|lab| check(lab, "macvlan", false));
}

#[test]
fn sandboxes_on_the_hosts_lan() {
    fairway_lab::run(|lab| check(lab, "lan", true));
}

/// The host's interface is a port of a bridge of the user's own, which has its address and routes.
#[test]
fn sandboxes_on_a_bridge_of_ones_own_to_the_lan() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let bridge = "ip link add br0 type bridge && ip address flush dev eth0 && ip link set eth0 master br0 && \
                      ip address add 10.10.50.99/24 dev br0 && ip address add fd50::99/64 dev br0 nodad && \
                      ip link set br0 up && ip route replace default via 10.10.50.1 && ip -6 route replace default via fd50::1";
        shell(&stage, bridge);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let made = stage.create_network("own", |network| {
            network.options.insert("com.docker.network.bridge.name".to_owned(), "br0".to_owned());
            network.ipam.get_or_insert_default().config = vec![IpamConfig {
                subnet: "10.10.50.0/24".to_owned(),
                ip_range: "10.10.50.208/28".to_owned(),
                ..IpamConfig::default()
            }];
        });
        made.unwrap();
        let (one, other) =
            (stage.sandbox("one", &["own"], &["8111:80"]), stage.sandbox("other", &["bridge"], &[]));
        let _servers = [&*one, &*stage.lan].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
        let at = SocketAddr::new(one.address("own"), 80).to_string();
        // What is published is translated by the host, to which the answer has to come back.
        for (to, source) in [(&at, LAN), (&format!("{HOST}:8111"), HOST)] {
            let answered =
                (format!("It is answered; the server sees {source}."), format!("answered {source}"));
            for from in ["lan", &format!("lan:{LAN}")] {
                assert_eq!(said_and_seen(&stage, (from, &stage.lan), to), answered, "{to}");
            }
        }
        // Another network does not reach the members of this one, which the LAN's hosts are.
        for (name, place, leaves) in
            [("one", &*one, true), ("other", &*other, false), ("host", &*stage.host, true)]
        {
            let out = fairway(&stage, &format!("explain {name} lan:80")).output;
            assert!(out.contains("Leaves the host") == leaves && !out.contains("By the Plan"), "{out}");
            let asked = Question::to(&format!("{LAN}:80"))
                .unwrap()
                .within(Duration::from_secs(1))
                .tcp(place)
                .unwrap();
            assert_eq!(matches!(asked, Outcome::Answered { .. }), leaves, "{name}");
        }
        let drawn = printed(&stage, "graph --format dot");
        assert!(
            drawn.contains("LAN of eth0") && drawn.contains("on the LAN") && drawn.contains(LAN),
            "{drawn}"
        );
    });
}

#[test]
fn a_pair_of_sandboxes() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("wire", |network| network.driver = "ptp".to_owned()).unwrap();
        let (left, right) = (stage.sandbox("left", &["wire"], &[]), stage.sandbox("right", &["wire"], &[]));
        let _server = serve_tcp(&right, "0.0.0.0:80").unwrap();
        let target = SocketAddr::new(right.address("wire"), 80).to_string();
        let by = left.address("wire");
        let expected = (format!("It is answered; the server sees {by}."), format!("answered {by}"));
        assert_eq!(said_and_seen(&stage, ("left", &left), &target), expected);
        let closed = SocketAddr::new(left.address("wire"), 80).to_string();
        let (said, seen) = said_and_seen(&stage, ("right", &right), &closed);
        assert_eq!(
            (said, seen),
            (format!("Refused: no socket on left listens at {closed}."), "refused".to_owned())
        );
    });
}
