//! Addresses that are in use on the LAN: none is given, and one that is given is defended.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fairway_lab::frame::{self, ArpOperation, Ethernet};
use fairway_lab::{Capture, FrameSender, Outcome, Place, ask, serve_tcp};

use super::{FIRST, at, create, on, port_80};
use crate::harness::{HOST, LAN, Stage, eventually, refusal};

const SOON: Duration = Duration::from_secs(20);

/// A MAC address as people write it.
fn shown(place: &Place, interface: &str) -> String {
    let mac = place.mac(interface).unwrap();
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn held(stage: &Stage) -> Vec<String> {
    stage.client().network("lan").unwrap().fairway.map(|it| it.held).unwrap_or_default()
}

#[test]
fn an_address_in_use_on_the_lan_is_skipped_or_refused_with_its_holder() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let other = stage.second_host(lab, "other", ["10.10.50.98", "fd50::98"], &[]);
        stage.lan.add_address("eth0", &format!("{FIRST}/24")).unwrap();
        other.host.add_address("eth0", "10.10.50.95/24").unwrap();
        other.host.add_address("eth0", "fd50::8000/64").unwrap();
        create(&stage, "lan", &[]).unwrap();
        let one = stage.sandbox("one", &["lan"], &[]);
        assert_eq!(one.address("lan").to_string(), "10.10.50.129");
        assert_eq!(one.address6("lan").to_string(), "fd50::8001");
        let holder = shown(&stage.lan, "eth0");
        assert!(held(&stage).contains(&format!("{FIRST} at {holder}")), "{:?}", held(&stage));
        // By name: refused, and nothing is left of the attempt.
        let holder = shown(&other.host, "eth0");
        let refused = refusal(stage.attach("two", on("lan", "10.10.50.95")));
        assert!(refused.contains("10.10.50.95") && refused.contains(&holder), "{refused}");
        assert!(stage.client().container("two").is_err());
        let living = stage.sandbox("living", &["bridge"], &[]);
        let refused = refusal(stage.connect("lan", "living", at("10.10.50.95")));
        assert!(refused.contains(&holder), "{refused}");
        stage.connect("lan", "living", at("10.10.50.96")).unwrap();
        // Who has it is reached as before, and so is the sandbox.
        let _servers = [&*one, &living, &stage.lan].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
        assert_eq!(ask(&other.host, "10.10.50.96:80").unwrap(), Outcome::answered("10.10.50.98"));
        assert_eq!(ask(&other.host, &port_80(one.address("lan"))).unwrap(), Outcome::answered("10.10.50.98"));
        assert_eq!(ask(&stage.host, &format!("{FIRST}:80")).unwrap(), Outcome::answered(HOST));
    });
}

#[test]
fn two_hosts_do_not_give_the_same_address() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let other = stage.second_host(lab, "other", ["10.10.50.98", "fd50::98"], &[]);
        create(&stage, "lan", &[]).unwrap();
        create(&other, "lan", &[]).unwrap();
        let one = stage.sandbox("one", &["lan"], &[]);
        let two = other.sandbox("two", &["lan"], &[]);
        assert_ne!(one.address("lan"), two.address("lan"));
        assert_ne!(one.address6("lan"), two.address6("lan"));
        let _server = serve_tcp(&two, "[::]:80").unwrap();
        let seen = Outcome::Answered { source: one.address("lan") };
        assert_eq!(ask(&one, &port_80(two.address("lan"))).unwrap(), seen);
    });
}

#[test]
fn a_later_conflict_is_logged_and_the_address_defended() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        create(&stage, "lan", &[]).unwrap();
        let one = stage.sandbox("one", &["lan"], &[]);
        let own = one.mac("eth0").unwrap();
        let IpAddr::V4(address) = one.address("lan") else { unreachable!("the first is IPv4") };
        let _server = serve_tcp(&one, "0.0.0.0:80").unwrap();
        let target = port_80(address);
        assert_eq!(ask(&stage.lan, &target).unwrap(), Outcome::answered(LAN));
        // Somebody on the LAN announces the address as theirs.
        let liar = lab.host("liar").unwrap();
        stage.wire.join(&liar, &["10.10.50.66/24"]).unwrap();
        let theirs = liar.mac("eth0").unwrap();
        let announces =
            move |frame: &[u8]| frame[6..12] == own && frame.get(28..32) == Some(&address.octets());
        let defence = Capture::start(&stage.lan, "eth0", announces).unwrap();
        let sender = FrameSender::open(&liar, "eth0").unwrap();
        let ethernet = Ethernet { source: theirs, destination: frame::BROADCAST };
        let lie = frame::arp(ethernet, ArpOperation::Request, theirs, address, [0; 6], address);
        // Again and again: the first may come before the daemon listens to the interface, and what is taken for a defence
        // may be an announcement of the start.
        eventually("a host defends the address", SOON, || {
            sender.send(&lie).unwrap();
            !defence.wait_for(1, Duration::from_secs(3)).is_empty()
        });
        eventually("it is logged", SOON, || {
            sender.send(&lie).unwrap();
            stage.daemon.log().contains("address conflict on the LAN of network")
                && held(&stage).contains(&format!("{address} at {}", shown(&liar, "eth0")))
        });
        eventually("the LAN knows better", SOON, || {
            ask(&stage.lan, &target).unwrap() == Outcome::answered(LAN)
        });
        let none: Ipv4Addr = "10.10.50.129".parse().unwrap();
        assert!(!held(&stage).iter().any(|it| it.starts_with(&none.to_string())));
    });
}
