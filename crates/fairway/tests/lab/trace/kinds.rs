//! Packets of all kinds, and too many of them.

use std::net::UdpSocket;

use fairway_lab::serve_datagrams;

use super::*;
use crate::harness::eventually;
use crate::ping::ping;

#[test]
fn echoes_datagrams_and_ipv6() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("six", |it| it.enable_ipv6 = Some(true)).unwrap();
        let web = stage.sandbox("web", &["six"], &["53:53/udp"]);
        let near = stage.sandbox("near", &["six"], &[]);
        let _names = serve_datagrams(&web, "[::]:53").unwrap();
        let _server = serve_tcp(&web, "[::]:80").unwrap();
        let mut trace = Trace::start(&stage, "web");
        assert!(ping(&web, LAN.parse().unwrap()));
        trace.wait_for(&format!("flow 1, back:  icmp {LAN} > {HOST}  echo reply 1"));
        let udp = |place: &Place, to: &str| Question::to(to).unwrap().udp(place).unwrap().to_string();
        assert!(udp(&stage.lan, &format!("{HOST}:53")).starts_with("answered"));
        trace.wait_for("flow 2, back:  udp ");
        assert_eq!(udp(&web, &format!("{LAN}:99")), "refused");
        trace.wait_for("port unreachable");
        assert!(ask(&near, &format!("[{}]:80", web.address6("six"))).starts_with("answered"));
        trace.wait_for("FIN");
        let text = trace.end();
        let sum = |number: u32| text.lines().rfind(|it| it.starts_with(&format!("flow {number}: "))).unwrap();
        let address = web.address("six");
        let echo = format!(
            "flow 1: icmp {address} > {LAN}, rewritten to icmp {HOST} > {LAN}: answered (1 packet and 1 back)"
        );
        assert_eq!(sum(1), echo);
        assert!(sum(2).contains(&format!("> {address}:53: answered (")), "{}", sum(2));
        assert!(
            sum(3).ends_with(&format!(": refused by {LAN}: port unreachable (1 packet and 1 back)")),
            "{}",
            sum(3)
        );
        let six = sum(4);
        assert!(six.contains(&format!("> [{}]:80: established", web.address6("six"))), "{six}");
        // The error is about the packet as it was there, and comes back to where it was made.
        let error = packet(&text, &format!("flow 3, back:  icmp {LAN} > {HOST}"));
        assert_in_order(
            &error,
            &[&format!("host conntrack destination {HOST} -> {address}"), "web eth0 in", "= arrives at web"],
        );
    });
}

#[test]
fn too_many_packets_are_counted() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &[]);
        let to = format!("{}:9", players.web.address("app"));
        let flood = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            (0..3000).for_each(|_| drop(socket.send_to(b"x", &to)));
        };
        // On a busy machine so many may take longer than the second in which they are too many, and be counted late.
        eventually("they are counted", 6 * PATIENCE, || {
            let trace = Trace::start(&players.stage, "near web");
            players.near.run_in(flood).unwrap();
            // The daemon counts them each second.
            std::thread::sleep(Duration::from_secs(3));
            trace.end().contains("packets met rules that are not shown: more than 1000 came in a second")
        });
    });
}

#[test]
fn legacy_iptables_rules_are_not_traced_and_that_is_reported() {
    fairway_lab::run(|lab| {
        let mut flags = backend("legacy").to_vec();
        flags.push("--userland-proxy=false");
        let players = Players::new(lab, &flags);
        let mut trace = Trace::start(&players.stage, "lan web:80");
        let note = trace.notes_of.recv_timeout(PATIENCE).unwrap();
        assert!(note.starts_with("rules of iptables-legacy cannot be traced"), "{note}");
        assert!(ask(&players.stage.lan, &format!("{HOST}:8080")).starts_with("answered"));
        trace.wait_for("FIN");
        let first = packet(&trace.end(), "flow 1:  tcp ");
        assert_in_order(&first, &["host eth0 in", "host translate destination", "host br-", "web eth0 in"]);
    });
}
