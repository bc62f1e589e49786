//! Published ports: where they wait, and among which ports.

use super::*;

/// Publishes so many ports from the first one on, for a new sandbox.
fn publish(patient: &mut Patient, address: Option<&str>, first: u16, count: u16) {
    let range = PortRange { first, last: first + (count - 1) };
    let request = PublishRequest {
        host_address: address.map(|text| text.parse().unwrap()),
        host_ports: Some(range),
        container_ports: range,
        protocol: Protocol::Tcp,
    };
    patient.attach(if first < 40_000 { "many" } else { "more" }, "web", request);
}

#[test]
fn ports_to_reserve_are_ranges_beside_those_that_are_reserved() {
    let mut patient = Patient::new();
    publish(&mut patient, None, 33_000, 2_000);
    patient.set("net/ipv4/ip_local_reserved_ports", "8080,39999-40000,40001");
    let seen = "outgoing connections get ports 32768-60999, and of these are to be published: 33000-34999";
    let mend = "sysctl -w net.ipv4.ip_local_reserved_ports=8080,33000-34999,39999-40001";
    patient.assert("ephemeral-ports", Level::Note, seen, mend);
}

#[test]
fn ports_without_a_listener_are_noted() {
    let patient = Patient::with(Settings { userland_proxy: false, ..Settings::default() });
    let seen = "published ports of p are bound and do not listen, by IPv4";
    patient.assert("publishing", Level::Note, seen, "fairway ps");
}

#[test]
fn outgoing_connections_keep_ports() {
    let mut patient = Patient::new();
    publish(&mut patient, None, 32_768, 40_000 - 32_768);
    publish(&mut patient, None, 40_001, 17_000);
    let found = examine(&patient.world, &patient.seen);
    let found = found.iter().find(|it| it.check == "ephemeral-ports").unwrap();
    assert_eq!((found.level, &found.mend), (Level::Note, &None));
    assert!(found.why.ends_with("publish ports outside 32768-60999"), "{}", found.why);
}

#[test]
fn an_address_that_has_vanished_is_given_back_or_left() {
    let mut patient = Patient::new();
    let own = |text: &str| HostRoute { destination: text.parse().unwrap(), interface: "eth0".to_owned() };
    publish(&mut patient, Some("10.0.0.7"), 8080, 2);
    patient.seen.facts.addresses = vec![own("10.0.0.2/24"), own("10.0.0.7/24")];
    assert_eq!(patient.ills(), []);
    patient.seen.facts.addresses.pop();
    let seen =
        "ports 8080-8081 of the host are published for many at 10.0.0.7, which is no address of the host";
    patient.assert("published-addresses", Level::Problem, seen, "ip address add 10.0.0.7/24 dev eth0");
    patient.seen.facts.addresses = vec![own("10.1.0.2/24")];
    let elsewhere = "fairway unpublish many 10.0.0.7:8080-8081 && fairway publish many 8080-8081:8080-8081";
    patient.assert("published-addresses", Level::Problem, seen, elsewhere);
}
