use fairway_core::object::{BridgeLink, VethLink};
use fairway_model::{EndpointId, NetworkId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::namespace::{Handle, Workers, own};
use crate::route::Links;
use crate::system::packet::packet_socket;
use crate::testing::in_new_namespace;

fn bridge() -> BridgeLink {
    BridgeLink {
        name: "fairway0".into(),
        network: NetworkId::new([1; 32]),
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: vec!["10.0.0.1/24".parse().unwrap()],
        route_localnet: false,
        ipv6: false,
        parent: None,
        adopted: false,
    }
}

fn veth(number: u8, sandbox: &Handle) -> VethLink {
    VethLink {
        host_interface: format!("fw{number}"),
        endpoint: EndpointId::new([number; 32]),
        bridge: "fairway0".into(),
        namespace: Some(sandbox.namespace().clone()),
        interface: "eth0".into(),
        mac: MacAddress([2, 0, 0, 0, 0, number]),
        mtu: 1500,
        addresses: vec![format!("10.0.0.{number}/24").parse().unwrap()],
        hairpin: false,
        sysctls: Vec::new(),
        advertising: Default::default(),
        alternative_name: None,
    }
}

#[test]
fn a_gratuitous_arp_request() {
    let frame = gratuitous_arp(MacAddress([2, 1, 2, 3, 4, 5]), Ipv4Addr::new(10, 0, 0, 2));
    let expected = "ffffffffffff020102030405080600010800060400010201020304050a0000020000000000000a000002";
    let text: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, expected);
}

#[test]
fn an_advertisement_whose_checksum_holds() {
    let address: Ipv6Addr = "fd00::2".parse().unwrap();
    let frame = neighbor_advertisement(MacAddress([2, 1, 2, 3, 4, 5]), address);
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!((frame[20], frame[21], frame[54], frame[58]), (58, 255, 136, 0x20));
    assert_eq!(frame[62..78], address.octets());
    // Over a message that holds its own checksum the sum is all ones, which is zero here.
    assert_eq!(icmpv6_checksum(&frame), 0);
}

/// What is heard at an interface, of one Ethernet type. The first is waited for: on a busy machine frames are worked off
/// after they were sent.
fn heard(socket: &OwnedFd, kind: [u8; 2]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let patience =
            if frames.is_empty() { Timespec { tv_sec: 20, tv_nsec: 0 } } else { Timespec::default() };
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            return frames;
        }
        let (_, length) =
            rustix::net::recv(socket, &mut buffer[..], rustix::net::RecvFlags::empty()).unwrap();
        if buffer[12..14] == kind {
            frames.push(buffer[..length].to_vec());
        }
    }
}

#[test]
fn a_sandbox_receives_announcements_on_its_bridge() {
    in_new_namespace(|| {
        let workers = Workers::new(1).unwrap();
        let links = Links::open().unwrap();
        let bridge = links.apply_bridge(&bridge()).unwrap();
        let listener = in_new_namespace(|| own().unwrap());
        let pair = links.attach(&workers, &listener, &veth(2, &listener), true, None).unwrap();
        let socket = workers.run(&listener, move || packet_socket(pair.inside).unwrap()).unwrap();

        let announcer = Announcer::open().unwrap();
        let mac = MacAddress([2, 1, 2, 3, 4, 5]);
        let (ipv4, ipv6) = (Ipv4Addr::new(10, 0, 0, 7), "fd00::7".parse::<Ipv6Addr>().unwrap());
        announcer.announce(bridge.index, mac, &[ipv4.into(), ipv6.into()]).unwrap();
        assert_eq!(heard(&socket, ETHERNET_ARP), [gratuitous_arp(mac, ipv4).to_vec()]);
        announcer.announce(bridge.index, mac, &[ipv6.into()]).unwrap();
        assert!(heard(&socket, ETHERNET_IPV6).contains(&neighbor_advertisement(mac, ipv6).to_vec()));
        assert!(matches!(announcer.announce(9999, mac, &[ipv4.into()]), Err(Error::Send { .. })));
    });
}

#[test]
fn the_first_packet_of_a_sandbox_arrives() {
    in_new_namespace(|| {
        let workers = Workers::new(1).unwrap();
        let links = Links::open().unwrap();
        links.apply_bridge(&bridge()).unwrap();
        let server = std::net::UdpSocket::bind("10.0.0.1:9").unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_millis(950))).unwrap();
        // A second with the same address and MAC, behind another port: what is known of the first
        // must not be in its way.
        for number in [2, 3] {
            let sandbox = in_new_namespace(|| own().unwrap());
            let veth = VethLink { host_interface: format!("fw{number}"), ..veth(2, &sandbox) };
            links.attach(&workers, &sandbox, &veth, true, None).unwrap();
            let client = workers
                .run(&sandbox, || {
                    let socket = std::net::UdpSocket::bind("10.0.0.2:9").unwrap();
                    socket.send_to(b"x", "10.0.0.1:9").unwrap();
                    socket
                })
                .unwrap();
            // Less than the second after which a lost ARP request is repeated.
            let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
            server.send_to(b"y", from).unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_millis(950))).unwrap();
            client.recv_from(&mut [0; 8]).unwrap();
        }
    });
}
