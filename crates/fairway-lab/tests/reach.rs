//! Who reaches whom in a lab, and what the probes call it.

use std::net::IpAddr;
use std::time::Duration;

use fairway_lab::{Host, Lab, Outcome, Question, ask, ask_datagram, serve_datagrams, serve_tcp};

/// Two hosts on a LAN, with both families.
fn pair(lab: &Lab) -> (Host, Host) {
    let (left, right) = (lab.host("left").unwrap(), lab.host("right").unwrap());
    let lan = lab.lan("lan0").unwrap();
    assert_eq!(lan.join(&left, &["10.10.50.1/24", "fd50::1/64"]).unwrap(), "eth0");
    lan.join(&right, &["10.10.50.99/24", "fd50::99/64"]).unwrap();
    (left, right)
}

#[test]
fn two_hosts_meet() {
    fairway_lab::run(|lab| {
        let (left, right) = pair(lab);
        let _server = serve_tcp(&right, "[::]:80").unwrap();
        assert_eq!(ask(&left, "10.10.50.99:80").unwrap(), Outcome::answered("10.10.50.1"));
        assert_eq!(ask(&left, "[fd50::99]:80").unwrap(), Outcome::answered("fd50::1"));
        assert_eq!(ask(&right, "127.0.0.1:80").unwrap(), Outcome::answered("127.0.0.1"));
        let reply = Question::to("10.10.50.99:80").unwrap().tcp_reply(&left).unwrap().unwrap();
        assert_eq!(reply.server, "right");
        assert_eq!(reply.destination, "10.10.50.99:80".parse().unwrap());
    });
}
