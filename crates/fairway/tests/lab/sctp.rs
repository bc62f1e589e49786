//! SCTP ports, translated by the firewall: with packets made by hand, for the kernel may have no such sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fairway_lab::frame::{Content, Ethernet, Seen, read, sctp_init};
use fairway_lab::{Capture, FrameSender, Lab, Place};

use crate::harness::{HOST, HOST6, LAN, LAN6, Sandbox, Stage, request};

const SOON: Duration = Duration::from_secs(20);
const NOT: Duration = Duration::from_millis(400);

/// Keeps the SCTP packets at an interface.
fn listen(place: &Place, interface: &str) -> Capture {
    Capture::start(place, interface, |frame| {
        let seen = read(frame).map(|seen| seen.content);
        matches!(seen, Some(Content::Packet { protocol: 132, .. }))
    })
    .unwrap()
}

/// The only packet so far.
fn only(capture: &Capture) -> Seen {
    let frames = capture.wait_for(1, SOON);
    assert_eq!(frames.len(), 1);
    let seen = read(&frames[0]).unwrap();
    assert!(seen.content.is_sound_sctp(), "its checksum is right: {seen:?}");
    seen
}

fn ends(seen: &Seen) -> (SocketAddr, SocketAddr) {
    let Content::Packet { source, destination, .. } = seen.content else { panic!("{seen:?}") };
    let ports = seen.content.ports().unwrap();
    (SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1))
}

/// The LAN begins an association with a port of the host.
fn begin(stage: &Stage, from: (&str, u16), to: (&str, u16)) {
    let ethernet =
        Ethernet { source: stage.lan.mac("eth0").unwrap(), destination: stage.host.mac("eth0").unwrap() };
    let at = |(address, port): (&str, u16)| SocketAddr::new(address.parse().unwrap(), port);
    let frame = sctp_init(ethernet, at(from), at(to), 7, false).unwrap();
    FrameSender::open(&stage.lan, "eth0").unwrap().send(&frame).unwrap();
}

/// Begins an association from the LAN, has the sandbox answer, and sees which addresses each side sees.
fn associates(stage: &Stage, sandbox: &Sandbox, [lan, host]: [&str; 2], target: IpAddr, port: u16) {
    let (inside, outside) = (listen(sandbox, "eth0"), listen(&stage.lan, "eth0"));
    begin(stage, (lan, port), (host, 8080));
    let seen = only(&inside);
    let client = SocketAddr::new(lan.parse().unwrap(), port);
    let server = SocketAddr::new(target, 80);
    assert_eq!(ends(&seen), (client, server), "translated, and its source is seen");
    let back = Ethernet { source: seen.ethernet.destination, destination: seen.ethernet.source };
    let answer = sctp_init(back, server, client, 7, true).unwrap();
    FrameSender::open(sandbox, "eth0").unwrap().send(&answer).unwrap();
    let frames = outside.wait_for(2, SOON);
    let answered = read(frames.last().unwrap()).unwrap();
    assert!(answered.content.is_sound_sctp());
    assert_eq!(ends(&answered), (SocketAddr::new(host.parse().unwrap(), 8080), client));
}

fn ports() -> fairway_api::types::PortMap {
    request(&[], &["8080:80/sctp"]).host_config.port_bindings
}

fn check(lab: &Lab, flags: &[&str]) {
    let mut stage = Stage::new(lab, flags);
    stage.create_network("web", |network| network.enable_ipv6 = Some(true)).unwrap();
    let sandbox = stage.sandbox("a", &["web"], &["8080:80/sctp"]);
    let warnings = sandbox.attached.warnings.join(" ");
    assert_eq!(warnings.contains("does not carry SCTP"), flags.is_empty(), "{warnings}");
    assert_eq!(sandbox.host_port("80/sctp"), 8080);
    associates(&stage, &sandbox, [LAN, HOST], sandbox.address("web"), 5001);
    associates(&stage, &sandbox, [LAN6, HOST6], sandbox.address6("web"), 5002);
    stage.daemon.restart(flags);
    associates(&stage, &sandbox, [LAN, HOST], sandbox.address("web"), 5003);

    let inside = listen(&sandbox, "eth0");
    begin(&stage, (LAN, 5004), (HOST, 8081));
    assert_eq!(inside.wait_for(1, NOT).len(), 0, "another port is not published");
    stage.client().unpublish("a", ports()).unwrap();
    for port in [5001, 5005] {
        begin(&stage, (LAN, port), (HOST, 8080));
    }
    assert_eq!(inside.wait_for(1, NOT).len(), 0, "neither what was known nor what is new");
    drop(inside);
    stage.client().publish("a", ports()).unwrap();
    associates(&stage, &sandbox, [LAN, HOST], sandbox.address("web"), 5005);
}

#[test]
fn a_published_port_is_translated() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false"]));
}

#[test]
fn and_by_iptables() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false", "--firewall-backend=iptables"]));
}

#[test]
fn and_with_the_proxy() {
    fairway_lab::run(|lab| check(lab, &[]));
}
