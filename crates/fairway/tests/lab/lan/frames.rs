//! What sandboxes on a LAN must not do to it: flood it, hear what is none of their business, pretend to be others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use fairway_lab::frame::{self, ArpOperation, BROADCAST, Ethernet, Mac};
use fairway_lab::{Capture, FrameSender, Lab, Outcome, Place, ask, serve_tcp};

use super::{create, port_80};
use crate::harness::{LAN, LAN6, Sandbox, Stage, eventually};
use crate::ping::ping;

const ARP: [u8; 2] = [8, 6];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// How long is waited for what must not come.
const WHILE: Duration = Duration::from_millis(400);
/// An unused address of the LAN.
const UNUSED: Ipv4Addr = Ipv4Addr::new(10, 10, 50, 200);

fn ipv4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    address
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    let IpAddr::V6(address) = address else { panic!("{address} is not IPv6") };
    address
}

/// Who has this address? Asked of all.
fn who_has(own: Mac, own_address: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let ethernet = Ethernet { source: own, destination: BROADCAST };
    frame::arp(ethernet, ArpOperation::Request, own, own_address, [0; 6], address)
}

/// The same by IPv6 (RFC 4861, 4.3), asked of the group of those who could have it.
fn who_has6(own: Mac, own_address: Ipv6Addr, address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let ethernet = Ethernet { source: own, destination: [0x33, 0x33, 0xff, a, b, c] };
    let mut frame = frame::neighbor_advertisement(ethernet, own_address, group, address, own).unwrap();
    frame[54] = 135;
    // A solicitation has no flags, and names the hardware address of who asks.
    frame[58] = 0;
    frame[78] = 1;
    frame[56..58].fill(0);
    let words = frame[22..].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum::<u32>() + (frame.len() as u32 - 54) + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[56..58].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}

/// The addresses that are asked for among frames, by ARP and neighbour discovery.
fn asked_for(frames: &[Vec<u8>]) -> Vec<IpAddr> {
    let mut asked: Vec<IpAddr> = frames
        .iter()
        .filter_map(|frame| match frame.get(12..14)?.try_into().ok()? {
            ARP => <[u8; 4]>::try_from(frame.get(38..42)?).ok().map(IpAddr::from),
            IPV6 => <[u8; 16]>::try_from(frame.get(62..78)?).ok().map(IpAddr::from),
            _ => None,
        })
        .collect();
    asked.sort();
    asked.dedup();
    asked
}

/// Questions to many that arrive at a sandbox, but for the announcements of another sandbox, which is new.
fn questions(sandbox: &Sandbox, new: &Sandbox) -> Capture {
    let [own, new] = [sandbox, new].map(|it| it.mac("eth0").unwrap());
    let question = move |frame: &[u8]| {
        let to_many = frame[0] & 1 == 1 && frame[6..12] != own;
        let announces = frame[6..12] == new && frame.get(28..32) == frame.get(38..42);
        to_many
            && !announces
            && (frame[12..14] == ARP && frame.get(20..22) == Some(&[0, 1])
                || frame[12..14] == IPV6 && frame.get(54) == Some(&135))
    };
    Capture::start(sandbox, "eth0", question).unwrap()
}

on_each_backend! {
    a_sandbox_is_asked_for_its_own_addresses_alone;
    a_storm_is_cut_to_what_is_allowed_and_nothing_else_is;
    without_a_limit_all_arrives;
    a_sandbox_cannot_use_addresses_of_others;
}

fn a_sandbox_is_asked_for_its_own_addresses_alone(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    create(&stage, "lan", &[]).unwrap();
    let one = stage.sandbox("one", &["lan"], &[]);
    let two = stage.sandbox("two", &["lan"], &[]);
    let (own, own6) = (ipv4(one.address("lan")), ipv6(one.address6("lan")));
    let router = stage.lan.mac("eth0").unwrap();
    let (lan, lan6): (Ipv4Addr, Ipv6Addr) = (LAN.parse().unwrap(), LAN6.parse().unwrap());
    let heard = [questions(&one, &two), questions(&two, &one)];
    let wire = Capture::start(&stage.host, "eth0", |frame| frame[12..14] == ARP).unwrap();
    let sender = FrameSender::open(&stage.lan, "eth0").unwrap();
    for last in 190..=210 {
        sender.send(&who_has(router, lan, Ipv4Addr::new(10, 10, 50, last))).unwrap();
        sender.send(&who_has6(router, lan6, format!("fd50::{last}").parse().unwrap())).unwrap();
    }
    // A sandbox asks all of the LAN, and the host does.
    let asking = FrameSender::open(&two, "eth0").unwrap();
    asking.send(&who_has(two.mac("eth0").unwrap(), ipv4(two.address("lan")), UNUSED)).unwrap();
    assert!(!ping(&stage.host, "10.10.50.199".parse().unwrap()));
    sender.send(&who_has(router, lan, own)).unwrap();
    sender.send(&who_has6(router, lan6, own6)).unwrap();
    // The router advertises its own address.
    sender.send(&who_has(router, lan, lan)).unwrap();
    let expected = [IpAddr::V4(lan), IpAddr::V4(own), IpAddr::V6(own6)];
    eventually("it is asked", Duration::from_secs(20), || asked_for(&heard[0].frames()).len() >= 3);
    eventually("the other one is", Duration::from_secs(20), || !heard[1].frames().is_empty());
    std::thread::sleep(WHILE);
    assert_eq!(asked_for(&heard[0].frames()), expected);
    assert_eq!(asked_for(&heard[1].frames()), [IpAddr::V4(lan)]);
    // They were there to be heard: the wire has them, also what the sandbox asked.
    assert!(wire.frames().len() > 20);
    assert!(asked_for(&wire.frames()).contains(&UNUSED.into()));
}

/// Sends frames to all of the LAN from a sandbox, of which at least some should arrive there, and counts what does and
/// how long it took.
fn storm(stage: &Stage, sandbox: &Sandbox, frames: usize, least: usize) -> (usize, Duration) {
    let mac = sandbox.mac("eth0").unwrap();
    let from_it = move |frame: &[u8]| frame[..6] == BROADCAST && frame[6..12] == mac && frame[12..14] != ARP;
    let heard = Capture::start(&stage.lan, "eth0", from_it).unwrap();
    let sender = FrameSender::open(sandbox, "eth0").unwrap();
    let source = SocketAddr::new(sandbox.address("lan"), 9);
    let target = SocketAddr::from(([255, 255, 255, 255], 9));
    let ethernet = Ethernet { source: mac, destination: BROADCAST };
    let one = frame::udp(ethernet, source, target, b"to all").unwrap();
    let since = Instant::now();
    for number in 0..frames {
        sender.send(&one).unwrap();
        if number % 20 == 19 {
            // Who listens has to keep up.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let took = since.elapsed();
    let _ = heard.wait_for(least, Duration::from_secs(20));
    let _ = heard.wait_for(frames, WHILE);
    (heard.frames().len(), took)
}

fn a_storm_is_cut_to_what_is_allowed_and_nothing_else_is(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    create(&stage, "lan", &[("fairway.storm_limit", "50")]).unwrap();
    let one = stage.sandbox("one", &["lan"], &[]);
    let other = stage.sandbox("other", &["lan"], &[]);
    let _servers = [&*one, &stage.lan].map(|it| serve_tcp(it, "0.0.0.0:80").unwrap());
    let (arrived, took) = storm(&stage, &one, 2000, 20);
    // A second's worth at once, and then so many a second.
    let most = 50.0 * (1.0 + took.as_secs_f64()) + 10.0;
    assert!(arrived >= 20, "{arrived} of 2000 arrived");
    assert!((arrived as f64) <= most, "{arrived} of 2000 arrived in {took:?}, {most} at most");
    // Meanwhile it is reached and reaches, and others may send to all.
    assert_eq!(ask(&one, &format!("{LAN}:80")).unwrap(), Outcome::Answered { source: one.address("lan") });
    assert_eq!(ask(&stage.lan, &port_80(one.address("lan"))).unwrap(), Outcome::answered(LAN));
    assert!(storm(&stage, &other, 20, 20).0 >= 20);
    // When something else is repaired, the limits are seen as they are.
    stage.host.add_address("eth0", "10.10.50.77/24").unwrap();
    eventually("it is repaired", Duration::from_secs(20), || stage.daemon.log().contains("drift"));
    assert!(!stage.daemon.log().contains("storm_limits"), "{}", stage.daemon.log());
}

fn without_a_limit_all_arrives(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    create(&stage, "lan", &[("fairway.storm_limit", "0")]).unwrap();
    let one = stage.sandbox("one", &["lan"], &[]);
    // Who listens on a busy machine may not keep up.
    eventually("all arrives", Duration::from_secs(60), || storm(&stage, &one, 1000, 0).0 > 900);
}

fn a_sandbox_cannot_use_addresses_of_others(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    create(&stage, "lan", &[]).unwrap();
    let one = stage.sandbox("one", &["lan"], &[]);
    let two = stage.sandbox("two", &["lan"], &[]);
    let neighbour = lab.host("neighbour").unwrap();
    stage.wire.join(&neighbour, &["10.10.50.66/24"]).unwrap();
    for _ in 0..2 {
        pretend(&stage, &one, &two, &neighbour);
        // The same after a restart.
        stage.daemon.restart(&[]);
    }
}

fn pretend(stage: &Stage, one: &Sandbox, two: &Sandbox, neighbour: &Place) {
    let own = one.mac("eth0").unwrap();
    let (router, other) = (stage.lan.mac("eth0").unwrap(), two.mac("eth0").unwrap());
    let (address, address6) = (ipv4(one.address("lan")), ipv6(one.address6("lan")));
    let (lan, lan6): (Ipv4Addr, Ipv6Addr) = (LAN.parse().unwrap(), LAN6.parse().unwrap());
    let host = stage.host.mac("eth0").unwrap();
    let host_address: Ipv4Addr = crate::harness::HOST.parse().unwrap();
    let strangers: Ipv4Addr = "10.10.50.66".parse().unwrap();
    let all = Ethernet { source: own, destination: BROADCAST };
    let claim = |sender: Mac, claimed: Ipv4Addr| {
        frame::arp(all, ArpOperation::Reply, sender, claimed, BROADCAST, claimed)
    };
    let datagram = |ethernet: Ethernet, source: IpAddr, from: u16| {
        let target: IpAddr =
            if source.is_ipv4() { [10, 10, 50, 255].into() } else { "ff02::1".parse().unwrap() };
        frame::udp(ethernet, SocketAddr::new(source, from), SocketAddr::new(target, 9), b"x").unwrap()
    };
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let multicast = Ethernet { source: own, destination: [0x33, 0x33, 0, 0, 0, 1] };
    let advertise = |source: Ipv6Addr, claimed: Ipv6Addr| {
        frame::neighbor_advertisement(multicast, source, all_nodes, claimed, own).unwrap()
    };
    let mut router_advertisement = advertise(address6, address6);
    router_advertisement[54] = 134;
    let own_frame = datagram(all, address.into(), 9);
    let tagged = [&own_frame[..12], &[0x81, 0, 0, 7], &own_frame[12..]].concat();
    let spanning_tree = [&[0x01, 0x80, 0xc2, 0, 0, 0][..], &own, &[0, 38, 0x42, 0x42, 3], &[0; 43]].concat();
    let forged = [
        ("the router's address by ARP", claim(own, lan)),
        ("the host's address by ARP", claim(own, host_address)),
        ("a neighbour's address by ARP", claim(own, strangers)),
        ("another sandbox's address by ARP", claim(own, ipv4(two.address("lan")))),
        ("an unused address by ARP", claim(own, UNUSED)),
        ("the router's MAC by ARP", claim(router, address)),
        ("the router's MAC", datagram(Ethernet { source: router, ..all }, address.into(), 9)),
        ("the host's MAC", datagram(Ethernet { source: host, ..all }, address.into(), 9)),
        ("another sandbox's MAC", datagram(Ethernet { source: other, ..all }, address.into(), 9)),
        ("an unused MAC", datagram(Ethernet { source: [2, 9, 9, 9, 9, 9], ..all }, address.into(), 9)),
        ("a neighbour's address", datagram(all, strangers.into(), 9)),
        ("the router's IPv6 address", datagram(multicast, lan6.into(), 9)),
        ("the router's address by ND", advertise(address6, lan6)),
        ("a router", router_advertisement),
        ("a DHCP server", datagram(all, address.into(), 67)),
        ("a DHCPv6 server", datagram(multicast, address6.into(), 547)),
        ("a VLAN", tagged),
        ("a switch", spanning_tree),
    ];
    let from_it = move |frame: &[u8]| {
        let macs = [own, router, host, other, [2, 9, 9, 9, 9, 9]];
        frame[0] & 1 == 1 && macs.contains(&frame[6..12].try_into().unwrap())
    };
    let heard = Capture::start(neighbour, "eth0", from_it).unwrap();
    let sender = FrameSender::open(one, "eth0").unwrap();
    for (what, frame) in &forged {
        let before = heard.frames().len();
        sender.send(frame).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let now = heard.frames();
        assert!(!now[before..].contains(frame), "it pretends: {what}");
    }
    std::thread::sleep(WHILE);
    for (what, frame) in &forged {
        assert!(!heard.frames().contains(frame), "it pretends: {what}");
    }
    // What is its own arrives.
    for frame in [claim(own, address), own_frame, advertise(address6, address6)] {
        let before = heard.frames().iter().filter(|it| **it == frame).count();
        sender.send(&frame).unwrap();
        eventually("its own arrives", Duration::from_secs(20), || {
            heard.frames().iter().filter(|it| **it == frame).count() > before
        });
    }
}
