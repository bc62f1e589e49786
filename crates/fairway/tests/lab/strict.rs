//! A network whose sandboxes may send from nothing but their own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_lab::Lab;
use fairway_lab::frame::{self, ArpOperation, BROADCAST, Ethernet, Mac};
use fairway_model::MacAddress;

use crate::spoof::{Lie, Scene, checksum6, names};

const STRICT: [(&str, &str); 1] = [("fairway.guard", "strict")];
/// An unused MAC address.
const STRAY: Mac = [0x02, 0xde, 0xad, 0xbe, 0xef, 0x01];

/// Frames from unused addresses.
fn forgeries(scene: &Scene) -> Vec<Lie> {
    let honest = scene.honest();
    let stray = Ethernet { source: STRAY, ..honest };
    let (own4, own6) = (scene.ipv4(&scene.attacker), scene.ipv6(&scene.attacker));
    let (unused4, unused6): (Ipv4Addr, Ipv6Addr) =
        ("10.66.66.66".parse().unwrap(), "fd66::66".parse().unwrap());
    let link_local = "fe80::bad".parse().unwrap();
    let nothing = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut foreign = scene.datagram(honest, own4.into(), 1);
    foreign[12..14].copy_from_slice(&[0x88, 0xb5]);
    vec![
        ("an unused address", scene.datagram(honest, unused4.into(), 1)),
        ("an unused IPv6 address", scene.datagram(honest, unused6.into(), 1)),
        ("an unused MAC", scene.datagram(stray, own4.into(), 1)),
        ("an unused MAC, by IPv6", scene.datagram(stray, own6.into(), 1)),
        ("an answer for an unused address", scene.arp(honest, ArpOperation::Reply, honest.source, unused4)),
        ("an answer with an unused MAC", scene.arp(honest, ArpOperation::Reply, STRAY, own4)),
        ("an advertisement for an unused address", scene.advertisement(honest, own6, unused6)),
        ("one from a link-local address of another", scene.advertisement(honest, link_local, link_local)),
        ("no address, and no DHCP", scene.datagram(honest, nothing, 1)),
        ("a question whether an address of others is free", asks_whether_free(honest, unused6)),
        ("what has no address at all", foreign),
    ]
}

/// Duplicate address detection (RFC 4862, 5.4.2).
fn asks_whether_free(honest: Ethernet, wanted: Ipv6Addr) -> Vec<u8> {
    let ethernet = Ethernet { destination: [0x33, 0x33, 0, 0, 0, 1], ..honest };
    let (nobody, all) = (Ipv6Addr::UNSPECIFIED, "ff02::1".parse().unwrap());
    let mut bytes = frame::neighbor_advertisement(ethernet, nobody, all, wanted, honest.source).unwrap();
    let message = 14 + 40;
    bytes.truncate(message + 24);
    bytes[18..20].copy_from_slice(&24_u16.to_be_bytes());
    bytes[message] = 135;
    bytes[message + 2..message + 8].fill(0);
    let sum = checksum6(&bytes[14..]);
    bytes[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What an interface has to say.
fn truths(scene: &Scene) -> Vec<Lie> {
    let honest = scene.honest();
    let loud = Ethernet { destination: BROADCAST, ..honest };
    let (own4, own6) = (scene.ipv4(&scene.attacker), scene.ipv6(&scene.attacker));
    let link_local = MacAddress(honest.source).link_local();
    let (client, server) = ("0.0.0.0:68".parse().unwrap(), "255.255.255.255:67".parse().unwrap());
    let probe = scene.arp(loud, ArpOperation::Request, honest.source, Ipv4Addr::UNSPECIFIED);
    vec![
        ("its own datagram", scene.datagram(honest, own4.into(), 2)),
        ("its own datagram by IPv6", scene.datagram(honest, own6.into(), 2)),
        ("its own address", scene.arp(honest, ArpOperation::Reply, honest.source, own4)),
        ("a probe without an address", probe),
        ("its own address by IPv6", scene.advertisement(honest, own6, own6)),
        ("its own link-local address", scene.advertisement(honest, link_local, link_local)),
        ("a question whether that is free", asks_whether_free(honest, link_local)),
        ("DHCP", frame::udp(loud, client, server, b"discover").unwrap()),
    ]
}

#[test]
fn a_sandbox_sends_from_nothing_but_its_own_addresses() {
    fairway_lab::run(|lab| {
        let mut scene = Scene::with(lab, &[], &STRICT);
        let expected = scene.answers();
        for flags in [&[][..], &["--firewall-backend=iptables"], &["--ip6tables=false"], &[]] {
            scene.stage.daemon.restart(flags);
            let spared6 = flags.contains(&"--ip6tables=false");
            let arrived = scene.arrived(&forgeries(&scene));
            // Of a family that is not filtered only the MAC is looked at.
            let by_ipv6 = [
                "an unused IPv6 address",
                "an advertisement for an unused address",
                "one from a link-local address of another",
                "a question whether an address of others is free",
            ];
            assert_eq!(arrived, if spared6 { by_ipv6.to_vec() } else { Vec::new() }, "{flags:?}");
            assert_eq!(scene.arrived(&truths(&scene)), names(&truths(&scene)), "{flags:?}");
            assert_eq!(scene.answers(), expected, "{flags:?}");
        }
    });
}

on_each_backend! {
    elsewhere_what_is_nobodys_may_be_used;
}

fn elsewhere_what_is_nobodys_may_be_used(lab: &Lab) {
    let scene = Scene::with(lab, &[], &[]);
    assert_eq!(scene.arrived(&forgeries(&scene)), names(&forgeries(&scene)));
}
