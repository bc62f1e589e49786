//! Published ports that are asked for at, or from, link-local addresses: what the kernel does not forward is answered
//! by the proxy.

use std::net::Ipv6Addr;

use fairway_lab::{Host, Lab, Outcome, Question, ask, ask_datagram, serve_datagrams, serve_tcp};
use fairway_model::MacAddress;

use crate::foreign_firewalls::run_with;
use crate::harness::{HOST, HOST6, Stage, eventually};

on_each_backend! {
    published_ports_are_reached_at_link_local_addresses;
}

fn link_local(host: &Host) -> Ipv6Addr {
    MacAddress(host.mac("eth0").unwrap()).link_local()
}

fn index(host: &Host) -> u32 {
    let read = || std::fs::read_to_string("/sys/class/net/eth0/ifindex").unwrap();
    host.run_in(read).unwrap().trim().parse().unwrap()
}

fn answered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { .. })
}

fn published_ports_are_reached_at_link_local_addresses(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
    let web = stage.sandbox("web", &["app"], &["8080:80", "8080:80/udp"]);
    let _servers = (serve_tcp(&web, "[::]:80").unwrap(), serve_datagrams(&web, "[::]:80").unwrap());
    let own = link_local(&stage.host);
    for host in [&stage.lan, &stage.host] {
        let target = format!("[{own}%{}]:8080", index(host));
        eventually("the link-local addresses are tried", std::time::Duration::from_secs(20), || {
            answered(&ask(host, &target).unwrap())
        });
        assert!(answered(&ask_datagram(host, &target).unwrap()), "{}", host.name());
    }
    let target = format!("[{HOST6}]:8080");
    let source = crate::harness::LAN6.parse().unwrap();
    assert_eq!(ask(&stage.lan, &target).unwrap(), Outcome::Answered { source }, "others are translated");
    // A neighbor that has no other address than its link-local one.
    run_with(&stage.lan, "ip", &["addr", "del", "fd50::1/64", "dev", "eth0"], "");
    run_with(&stage.lan, "ip", &["route", "add", "fd50::/64", "dev", "eth0"], "");
    let seen = [ask(&stage.lan, &target).unwrap(), ask_datagram(&stage.lan, &target).unwrap()];
    assert!(seen.iter().all(answered), "{seen:?}");
}

/// The kernel forwards 169.254.0.0/16 like any other address, so those packets are translated like any other.
#[test]
fn ipv4_link_local_addresses_are_translated() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.host.add_address("eth0", "169.254.7.1/16").unwrap();
        stage.lan.add_address("eth0", "169.254.7.2/16").unwrap();
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let expected = Outcome::answered("169.254.7.2");
        assert_eq!(ask(&stage.lan, "169.254.7.1:8080").unwrap(), expected);
        let from = Question::to(&format!("{HOST}:8080")).unwrap().from("169.254.7.2".parse().unwrap());
        assert_eq!(from.tcp(&stage.lan).unwrap(), expected);
    });
}
