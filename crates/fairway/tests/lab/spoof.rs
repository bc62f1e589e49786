//! A sandbox that pretends to be another: forged frames must neither arrive nor change what others know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fairway_lab::frame::{self, ArpOperation, BROADCAST, Ethernet, Mac};
use fairway_lab::{Capture, FrameSender, Lab, Place, Question, Server, serve_tcp};
use fairway_model::MacAddress;

use crate::harness::{Sandbox, Stage, eventually};

/// A network with an attacker, its victim, and a friend of the victim whom the attacker lies to.
pub struct Scene {
    /// The stage.
    pub stage: Stage,
    /// Who lies.
    pub attacker: Sandbox,
    victim: Sandbox,
    friend: Sandbox,
    _server: Server,
}

/// A frame, and what it pretends.
pub type Lie = (&'static str, Vec<u8>);

impl Scene {
    fn new(lab: &Lab, flags: &[&str]) -> Scene {
        Scene::with(lab, flags, &[])
    }

    /// On a network with these options.
    pub fn with(lab: &Lab, flags: &[&str], options: &[(&str, &str)]) -> Scene {
        let stage = Stage::new(lab, flags);
        let ask = |network: &mut fairway_api::types::NetworkCreate| {
            network.enable_ipv6 = Some(true);
            network.options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        };
        stage.create_network("app", ask).unwrap();
        let [attacker, victim, friend] =
            ["attacker", "victim", "friend"].map(|name| stage.sandbox(name, &["app"], &[]));
        let server = serve_tcp(&victim, "[::]:80").unwrap();
        // An entry that was just confirmed would not be replaced for a second (arp_process, locktime).
        friend.run_in(|| std::fs::write("/proc/sys/net/ipv4/neigh/eth0/locktime", "0").unwrap()).unwrap();
        Scene { stage, attacker, victim, friend, _server: server }
    }

    pub fn mac(&self, place: &Place) -> Mac {
        place.mac("eth0").unwrap()
    }

    pub fn ipv4(&self, sandbox: &Sandbox) -> Ipv4Addr {
        match sandbox.address("app") {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => unreachable!(),
        }
    }

    pub fn ipv6(&self, sandbox: &Sandbox) -> Ipv6Addr {
        match sandbox.address6("app") {
            IpAddr::V6(address) => address,
            IpAddr::V4(_) => unreachable!(),
        }
    }

    /// From the attacker to its friend.
    pub fn honest(&self) -> Ethernet {
        Ethernet { source: self.mac(&self.attacker), destination: self.mac(&self.friend) }
    }

    /// A datagram to the friend, for the port by which it is recognised.
    pub fn datagram(&self, ethernet: Ethernet, source: IpAddr, port: u16) -> Vec<u8> {
        let to = match source {
            IpAddr::V4(_) => self.friend.address("app"),
            IpAddr::V6(_) => self.friend.address6("app"),
        };
        frame::udp(ethernet, SocketAddr::new(source, 1), SocketAddr::new(to, port), b"x").unwrap()
    }

    pub fn arp(&self, ethernet: Ethernet, operation: ArpOperation, at: Mac, claimed: Ipv4Addr) -> Vec<u8> {
        let reported = self.ipv4(&self.friend);
        frame::arp(ethernet, operation, at, claimed, ethernet.destination, reported)
    }

    pub fn advertisement(&self, ethernet: Ethernet, source: Ipv6Addr, claimed: Ipv6Addr) -> Vec<u8> {
        let reported = self.ipv6(&self.friend);
        frame::neighbor_advertisement(ethernet, source, reported, claimed, ethernet.source).unwrap()
    }

    /// Frames that pretend to be another's.
    fn lies(&self) -> Vec<Lie> {
        let honest = self.honest();
        let own = self.mac(&self.attacker);
        let network = self.stage.client().network("app").unwrap();
        let bridge = self.stage.host.mac(&format!("br-{}", &network.id[..12])).unwrap();
        let [gateway, gateway6]: [IpAddr; 2] =
            [0, 1].map(|number: usize| network.ipam.config[number].gateway.parse().unwrap());
        let (IpAddr::V4(gateway4), IpAddr::V6(router6)) = (gateway, gateway6) else { unreachable!() };
        let (victim, victim6) = (self.ipv4(&self.victim), self.ipv6(&self.victim));
        let as_victim = Ethernet { source: self.mac(&self.victim), ..honest };
        let as_bridge = Ethernet { source: bridge, ..honest };
        let own4 = self.attacker.address("app");
        let loud = Ethernet { destination: BROADCAST, ..honest };
        let (own6, link_local) = (self.ipv6(&self.attacker), "fe80::bad".parse().unwrap());
        let [victim_local, gateway_local] =
            [as_victim.source, bridge].map(|mac| MacAddress(mac).link_local());
        vec![
            ("a datagram of the victim", self.datagram(honest, victim.into(), 1)),
            ("a datagram of the gateway", self.datagram(honest, gateway, 1)),
            ("a datagram of the victim by IPv6", self.datagram(honest, victim6.into(), 1)),
            ("a datagram of the gateway by IPv6", self.datagram(honest, gateway6, 1)),
            ("the victim's MAC", self.datagram(as_victim, own4, 1)),
            ("the gateway's MAC", self.datagram(as_bridge, own4, 1)),
            ("the victim's MAC by IPv6", self.datagram(as_victim, own6.into(), 1)),
            ("an answer for the victim", self.arp(honest, ArpOperation::Reply, own, victim)),
            ("an answer for the gateway", self.arp(honest, ArpOperation::Reply, own, gateway4)),
            ("a question of the victim", self.arp(honest, ArpOperation::Request, own, victim)),
            ("a question to all of the victim", self.arp(loud, ArpOperation::Request, own, victim)),
            (
                "an answer with the victim's MAC",
                self.arp(honest, ArpOperation::Reply, as_victim.source, victim),
            ),
            ("an advertisement for the victim", self.advertisement(honest, own6, victim6)),
            ("an advertisement for the gateway", self.advertisement(honest, own6, router6)),
            ("one from a link-local address", self.advertisement(honest, link_local, victim6)),
            ("one from the victim", self.advertisement(honest, victim6, victim6)),
            ("a datagram of the victim's link-local address", self.datagram(honest, victim_local.into(), 1)),
            ("one for the victim's link-local address", self.advertisement(honest, own6, victim_local)),
            (
                "a datagram of the gateway's link-local address",
                self.datagram(honest, gateway_local.into(), 1),
            ),
            ("one for the gateway's link-local address", self.advertisement(honest, own6, gateway_local)),
        ]
    }

    /// What the attacker may send.
    fn truths(&self) -> Vec<Lie> {
        let honest = self.honest();
        let (own4, own6) = (self.ipv4(&self.attacker), self.ipv6(&self.attacker));
        let link_local = "fe80::600d".parse().unwrap();
        let own_local = MacAddress(honest.source).link_local();
        let probe = self.arp(honest, ArpOperation::Request, honest.source, Ipv4Addr::UNSPECIFIED);
        vec![
            ("its own datagram", self.datagram(honest, own4.into(), 2)),
            ("its own datagram by IPv6", self.datagram(honest, own6.into(), 2)),
            ("an unused address", self.datagram(honest, "10.66.66.66".parse().unwrap(), 2)),
            ("its own address", self.arp(honest, ArpOperation::Reply, honest.source, own4)),
            ("a probe without an address", probe),
            ("its own address by IPv6", self.advertisement(honest, own6, own6)),
            ("a link-local address", self.advertisement(honest, link_local, link_local)),
            ("its own link-local address", self.advertisement(honest, own_local, own_local)),
        ]
    }

    /// Sends frames out of the attacker and returns those that came to its friend.
    pub fn arrived(&self, frames: &[Lie]) -> Vec<&'static str> {
        // The last one is known to be let through, so that nothing is waited for in vain.
        let last = self.datagram(self.honest(), self.attacker.address("app"), 65_000);
        let caught = Capture::start(&self.friend, "eth0", |_| true).unwrap();
        let sender = FrameSender::open(&self.attacker, "eth0").unwrap();
        for (_, frame) in frames {
            sender.send(frame).unwrap();
        }
        sender.send(&last).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !caught.frames().contains(&last) {
            assert!(std::time::Instant::now() < deadline, "an honest frame did not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
        let caught = caught.frames();
        frames.iter().filter(|(_, frame)| caught.contains(frame)).map(|(name, _)| *name).collect()
    }

    /// Who answers the friend at the victim's addresses.
    pub fn answers(&self) -> Vec<String> {
        let targets = [self.victim.address("app"), self.victim.address6("app")];
        let replies = targets.map(|address| {
            let target = SocketAddr::new(address, 80).to_string();
            let question = Question::to(&target).unwrap().within(Duration::from_millis(2500));
            question.tcp_reply(&self.friend).unwrap()
        });
        replies.map(|reply| reply.map_or_else(|other| other.to_string(), |reply| reply.server)).into()
    }
}

pub fn names(frames: &[Lie]) -> Vec<&'static str> {
    frames.iter().map(|(name, _)| *name).collect()
}

on_each_backend! {
    no_sandbox_can_use_the_addresses_of_another;
    tags_and_headers_hide_no_lie;
    the_host_takes_no_sandbox_for_its_router;
}

fn no_sandbox_can_use_the_addresses_of_another(lab: &Lab) {
    let scene = Scene::new(lab, &[]);
    let victim = scene.victim.name();
    assert_eq!(scene.answers(), [victim, victim]);
    assert_eq!(scene.arrived(&scene.lies()), [""; 0]);
    assert_eq!(scene.arrived(&scene.truths()), names(&scene.truths()));
    assert_eq!(scene.answers(), [victim, victim]);
}

#[test]
fn without_a_firewall_the_same_frames_would_arrive() {
    fairway_lab::run(|lab| {
        // The host would tell the truth again, a second later and two.
        let silent = ("com.docker.network.advertise_addr_nmsgs", "0");
        let scene = Scene::with(lab, &["--iptables=false", "--ip6tables=false"], &[silent]);
        let victim = scene.victim.name();
        assert_eq!(scene.answers(), [victim, victim]);
        let lies = scene.lies();
        assert_eq!(scene.arrived(&lies), names(&lies));
        assert_eq!(scene.answers(), ["timed-out", "timed-out"]);
    });
}

fn tags_and_headers_hide_no_lie(lab: &Lab) {
    let scene = Scene::new(lab, &[]);
    let victim = scene.victim.name();
    assert_eq!(scene.answers(), [victim, victim]);
    // Priority tags (VLAN 0, 802.1Q) are taken off and the frame is read, one after the other.
    let (customer, service) = ([0x81, 0x00, 0, 0], [0x88, 0xa8, 0, 0]);
    let sender = FrameSender::open(&scene.attacker, "eth0").unwrap();
    for tags in [&[customer][..], &[service], &[service, customer], &[customer, customer]] {
        for (_, lie) in scene.lies() {
            let tagged = [&lie[..12], &tags.concat(), &lie[12..]].concat();
            sender.send(&tagged).unwrap();
        }
    }
    // An advertisement behind a header of options for each hop (RFC 8200, 4.3).
    let options = [58, 0, 1, 4, 0, 0, 0, 0];
    for (_, lie) in scene.lies().into_iter().filter(|(_, lie)| lie[20] == 58) {
        let mut longer = [&lie[..54], &options, &lie[54..]].concat();
        longer[20] = 0;
        longer[19] += 8;
        sender.send(&longer).unwrap();
    }
    // What comes after them is answered as before.
    scene.arrived(&[]);
    assert_eq!(scene.answers(), [victim, victim]);
}

fn the_host_takes_no_sandbox_for_its_router(lab: &Lab) {
    let scene = Scene::new(lab, &[]);
    let routes = || {
        let read = || std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
        [&*scene.stage.host, &*scene.friend].map(|place| place.run_in(read).unwrap())
    };
    let defaults = |routes: [String; 2]| {
        let default = |line: &&str| line.starts_with(&format!("{} 00 ", "0".repeat(32)));
        routes.map(|text| text.lines().filter(default).count())
    };
    let before = defaults(routes());
    // A router advertisement (RFC 4861, 4.2) to all nodes, from the attacker's link-local address: the
    // shape of a neighbour advertisement, with other bytes in it.
    let own = scene.mac(&scene.attacker);
    let ethernet = Ethernet { source: own, destination: [0x33, 0x33, 0, 0, 0, 1] };
    let (source, all) = ("fe80::bad".parse().unwrap(), "ff02::1".parse().unwrap());
    let mut bytes = frame::neighbor_advertisement(ethernet, source, all, source, own).unwrap();
    let message = 14 + 40;
    bytes[message] = 134;
    // Hop limit 64, no flags, a lifetime of 1,800 seconds; the rest is an option of one's own MAC address.
    bytes.truncate(message + 16);
    bytes[message + 2..message + 16].copy_from_slice(&[0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[1, 1]);
    bytes.extend_from_slice(&own);
    let length = u16::try_from(bytes.len() - message).unwrap();
    bytes[18..20].copy_from_slice(&length.to_be_bytes());
    let sum = checksum6(&bytes[14..]);
    bytes[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
    let sender = FrameSender::open(&scene.attacker, "eth0").unwrap();
    sender.send(&bytes).unwrap();
    scene.arrived(&[]);
    assert_eq!(defaults(routes()), before);
    // One that listens would believe it.
    let listen = || std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_ra", "1").unwrap();
    scene.friend.run_in(listen).unwrap();
    sender.send(&bytes).unwrap();
    eventually("the advertisement is well made", Duration::from_secs(20), || {
        defaults(routes())[1] == before[1] + 1
    });
}

/// The checksum of an ICMPv6 packet whose own field is zero (RFC 4443, 2.3).
pub fn checksum6(packet: &[u8]) -> u16 {
    let length = u32::try_from(packet.len() - 40).unwrap();
    let mut sum = length + 58;
    for pair in packet[8..].chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
