//! Sandboxes on the LAN, and pairs of them: what is explained, and what happens.

use std::net::SocketAddr;

use fairway_api::types::IpamConfig;
use fairway_lab::{Lab, Place, ask, serve_tcp};

use crate::harness::Stage;

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
    }
}

#[test]
fn sandboxes_on_a_macvlan_and_not_the_host() {
    fairway_lab::run(|lab| check(lab, "macvlan", false));
}

#[test]
fn sandboxes_on_the_hosts_lan() {
    fairway_lab::run(|lab| check(lab, "lan", true));
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
