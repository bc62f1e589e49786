//! Published ports: whether packets reach them, and which ports they are.

use super::*;

/// Publishes so many ports from the first one on, for a new sandbox.
fn publish(host: &mut TestHost, address: Option<&str>, first: u16, count: u16) {
    let range = PortRange { first, last: first + (count - 1) };
    let request = PublishRequest {
        host_address: address.map(|text| text.parse().unwrap()),
        host_ports: Some(range),
        container_ports: range,
        protocol: Protocol::Tcp,
    };
    host.attach(if first < 40_000 { "many" } else { "more" }, "web", request);
}

fn ephemeral(ports: PortRange, reservation: Reservation) -> FindingKind {
    FindingKind::Port(PortFinding::Ephemeral { range: (32768, 60999), ports: vec![ports], reservation })
}

#[test]
fn ports_of_outgoing_connections_are_to_be_reserved() {
    let mut host = TestHost::new();
    host.set("net/ipv4/ip_local_reserved_ports", "39999,50000-50001");
    let message = "outgoing connections use ports 32768-60999, among them ports to be published: 40000";
    let command = "sysctl -w net.ipv4.ip_local_reserved_ports=39999-40000,50000-50001";
    host.assert("ephemeral-ports", Severity::Note, message, command);
}

#[test]
fn reserved_ports_are_joined_to_ranges() {
    let mut host = TestHost::new();
    publish(&mut host, None, 33_000, 2_000);
    host.set("net/ipv4/ip_local_reserved_ports", "8080,39999-40000,40001");
    let list = "8080,33000-34999,39999-40001".to_owned();
    let ports = PortRange { first: 33_000, last: 34_999 };
    assert_eq!(host.only(), ephemeral(ports, Reservation::List(list)));
}

#[test]
fn enough_ports_remain_for_outgoing_connections() {
    let mut host = TestHost::new();
    publish(&mut host, None, 32_768, 40_000 - 32_768);
    publish(&mut host, None, 40_001, 17_000);
    let found = examine(&host.world, &host.observed).into_iter().map(|kind| kind.render());
    let found = found.into_iter().find(|it| it.id == "ephemeral-ports").unwrap();
    assert_eq!((found.severity, &found.fix), (Severity::Note, &None));
    assert!(found.impact.ends_with("publish ports outside 32768-60999"), "{}", found.impact);
}

#[test]
fn ports_below_1024_for_every_user() {
    let mut host = TestHost::new();
    host.set("net/ipv4/ip_unprivileged_port_start", "80");
    assert_eq!(host.only(), FindingKind::Port(PortFinding::Unprivileged { first: 80 }));
    let command = "sysctl -w net.ipv4.ip_unprivileged_port_start=1024";
    host.assert("unprivileged-ports", Severity::Note, "net/ipv4/ip_unprivileged_port_start is 80", command);
}

#[test]
fn ports_without_proxy_and_firewall() {
    let settings =
        Settings { iptables: false, ip6tables: false, userland_proxy: false, ..Settings::default() };
    let host = TestHost::with(settings);
    let kind = PortFinding::NotForwarded { flag: "--iptables", sandboxes: vec!["p".to_owned()] };
    assert_eq!(host.only(), FindingKind::Port(kind));
    assert_eq!(host.rendered().severity, Severity::Error);
    assert_eq!(
        host.fix(),
        Fix { command: "fairway daemon --userland-proxy=true".to_owned(), automatic: false }
    );
}

#[test]
fn ports_without_a_listening_socket() {
    let mut host = TestHost::with(Settings { userland_proxy: false, ..Settings::default() });
    // Another engine listens at the ports that it holds.
    let publish = host.world.find_sandbox("p").unwrap().options.publish[0].clone();
    let publish = vec![PublishRequest { host_ports: Some(PortRange::single(8081)), ..publish }];
    let options = SandboxOptions { publish, ports_held_by_engine: true, ..SandboxOptions::default() };
    host.attach_with("held", "web", options);
    let message = "published ports of p are bound and do not listen on IPv4";
    host.assert("publishing", Severity::Note, message, "fairway ps");
}

#[test]
fn ports_on_an_address_that_the_host_has_lost() {
    let mut host = TestHost::new();
    let own = |text: &str| HostRoute { destination: text.parse().unwrap(), interface: "eth0".to_owned() };
    publish(&mut host, Some("10.0.0.7"), 8080, 2);
    host.observed.facts.addresses = vec![own("10.0.0.2/24"), own("10.0.0.7/24")];
    assert_eq!(host.findings(), []);
    host.observed.facts.addresses.pop();
    let message = "many publishes host ports 8080-8081 on 10.0.0.7, which the host does not have";
    let add = "ip address add 10.0.0.7/24 dev eth0";
    host.assert("published-addresses", Severity::Error, message, add);
    host.observed.facts.addresses = vec![own("10.1.0.2/24")];
    let elsewhere = "fairway unpublish many 10.0.0.7:8080-8081 && fairway publish many 8080-8081:8080-8081";
    host.assert("published-addresses", Severity::Error, message, elsewhere);
}
