//! Forged frames arrive, are believed where nothing forbids it, and captures see them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use fairway_lab::frame::{self, ArpOperation, BROADCAST, Content, Ethernet};
use fairway_lab::{Capture, FrameSender, Host, Lab, Outcome, Question, ask, serve_datagrams, serve_tcp};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a false answer until the friend believes it and loses its way to the victim. It may take more than one: a frame is
/// worked off after it was sent, and what the friend has learnt just now stands for a moment.
fn lie_until_lost(liar: &FrameSender, lie: &[u8], friend: &Host, target: &str) {
    let question = Question::to(target).unwrap().within(Duration::from_millis(500));
    let lost = (0..20).any(|_| {
        liar.send(lie).unwrap();
        question.tcp(friend).unwrap() == Outcome::TimedOut
    });
    assert!(lost, "{target} is still answered");
}

/// A thief, a victim and a friend on one LAN.
fn stage(lab: &Lab) -> [Host; 3] {
    let lan = lab.lan("lan0").unwrap();
    let hosts = ["thief", "victim", "friend"].map(|name| lab.host(name).unwrap());
    for (number, host) in (1..).zip(&hosts) {
        lan.join(host, &[&format!("10.0.0.{number}/24"), &format!("fd00::{number}/64")]).unwrap();
    }
    hosts
}

#[test]
fn a_forged_datagram_is_answered_to_whom_it_names() {
    fairway_lab::run(|lab| {
        let [thief, victim, friend] = stage(lab);
        let _server = serve_datagrams(&victim, "[::]:53").unwrap();
        for (from, to) in [("10.0.0.3:1000", "10.0.0.2:53"), ("[fd00::3]:1000", "[fd00::2]:53")] {
            let answers = Capture::start(&friend, "eth0", |bytes| {
                frame::read(bytes).is_some_and(|seen| seen.content.ports() == Some((53, 1000)))
            })
            .unwrap();
            let ethernet =
                Ethernet { source: thief.mac("eth0").unwrap(), destination: victim.mac("eth0").unwrap() };
            let forged =
                frame::udp(ethernet, from.parse().unwrap(), to.parse().unwrap(), b"hello\n").unwrap();
            FrameSender::open(&thief, "eth0").unwrap().send(&forged).unwrap();
            let frames = answers.wait_for(1, PATIENCE);
            let Content::Packet { segment, .. } = frame::read(&frames[0]).unwrap().content else {
                panic!("no packet");
            };
            let text = String::from_utf8_lossy(&segment[8..]).into_owned();
            assert!(text.starts_with("hello\n"), "{text}");
            assert!(text.contains(&format!("source {from}")), "{text}");
        }
    });
}

#[test]
fn a_forged_arp_reply_takes_an_address_over() {
    fairway_lab::run(|lab| {
        let [thief, victim, friend] = stage(lab);
        let _server = serve_tcp(&victim, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&friend, "10.0.0.2:80").unwrap(), Outcome::answered("10.0.0.3"));
        // An entry that was just confirmed is not replaced for a second (arp_process, locktime).
        friend.set_sysctl("net.ipv4.neigh.eth0.locktime", "0").unwrap();
        let own = thief.mac("eth0").unwrap();
        let ethernet = Ethernet { source: own, destination: friend.mac("eth0").unwrap() };
        let (claimed, told) = ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
        let lie = frame::arp(ethernet, ArpOperation::Reply, own, claimed, ethernet.destination, told);
        let stolen = Capture::start(&thief, "eth0", move |bytes| {
            frame::read(bytes).is_some_and(|seen| seen.content.ports().is_some_and(|(_, port)| port == 80))
        })
        .unwrap();
        lie_until_lost(&FrameSender::open(&thief, "eth0").unwrap(), &lie, &friend, "10.0.0.2:80");
        assert!(!stolen.frames().is_empty());
    });
}

#[test]
fn a_forged_neighbour_advertisement_takes_an_address_over() {
    fairway_lab::run(|lab| {
        let [thief, victim, friend] = stage(lab);
        let _server = serve_tcp(&victim, "[::]:80").unwrap();
        assert_eq!(ask(&friend, "[fd00::2]:80").unwrap(), Outcome::answered("fd00::3"));
        let own = thief.mac("eth0").unwrap();
        let ethernet = Ethernet { source: own, destination: friend.mac("eth0").unwrap() };
        let (claimed, told) = ("fd00::2".parse().unwrap(), "fd00::3".parse().unwrap());
        let lie = frame::neighbor_advertisement(ethernet, claimed, told, claimed, own).unwrap();
        lie_until_lost(&FrameSender::open(&thief, "eth0").unwrap(), &lie, &friend, "[fd00::2]:80");
    });
}

#[test]
fn a_capture_keeps_what_its_filter_accepts() {
    fairway_lab::run(|lab| {
        let [thief, victim, _] = stage(lab);
        let ethernet = Ethernet { source: thief.mac("eth0").unwrap(), destination: BROADCAST };
        let requests = Capture::start(
            &victim,
            "eth0",
            |bytes| matches!(frame::read(bytes), Some(seen) if matches!(seen.content, Content::Arp { .. })),
        )
        .unwrap();
        let sender = FrameSender::open(&thief, "eth0").unwrap();
        let nobody = "10.0.0.77:9".parse().unwrap();
        let syn = frame::tcp_syn(ethernet, "10.0.0.1:9".parse().unwrap(), nobody).unwrap();
        sender.send(&syn).unwrap();
        let (own, target) = ("10.0.0.1".parse().unwrap(), "10.0.0.77".parse().unwrap());
        sender
            .send(&frame::arp(ethernet, ArpOperation::Request, ethernet.source, own, [0; 6], target))
            .unwrap();
        let frames = requests.wait_for(1, PATIENCE);
        assert_eq!(frames.len(), 1);
        assert_eq!(
            frame::read(&frames[0]).unwrap().content,
            Content::Arp {
                operation: ArpOperation::Request,
                sender: ethernet.source,
                sender_address: own,
                target_address: target,
            }
        );
        assert!(FrameSender::open(&thief, "eth7").is_err());
        thief.set_link("eth0", false).unwrap();
        assert!(sender.send(&syn).is_err());
    });
}

#[test]
fn a_forged_first_segment_is_answered_by_a_server() {
    fairway_lab::run(|lab| {
        let [thief, victim, friend] = stage(lab);
        let _server = serve_tcp(&victim, "0.0.0.0:80").unwrap();
        let answers = Capture::start(&friend, "eth0", |bytes| {
            frame::read(bytes).is_some_and(|seen| seen.content.ports() == Some((80, 1000)))
        })
        .unwrap();
        let ethernet =
            Ethernet { source: thief.mac("eth0").unwrap(), destination: victim.mac("eth0").unwrap() };
        let (from, to) = ("10.0.0.3:1000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        let forged = frame::tcp_syn(ethernet, from, to).unwrap();
        FrameSender::open(&thief, "eth0").unwrap().send(&forged).unwrap();
        assert!(!answers.wait_for(1, PATIENCE).is_empty());
    });
}
