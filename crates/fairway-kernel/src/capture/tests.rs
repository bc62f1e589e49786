use std::net::UdpSocket;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::route::{Links, NetnsSetup};
use crate::testing::in_new_namespace;

fn with_loopback(test: impl FnOnce() + Send) {
    in_new_namespace(|| {
        Links::open()
            .unwrap()
            .apply_netns_setup(&NetnsSetup { loopback: true, ..NetnsSetup::default() })
            .unwrap();
        test();
    });
}

#[test]
fn a_packet_is_seen_both_ways_with_its_time() {
    with_loopback(|| {
        let mut capture = Capture::open(64).unwrap();
        assert_eq!(capture.drain(10, &mut |frame| panic!("{frame:?}")).unwrap(), 0);
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.send_to(&[7; 100], receiver.local_addr().unwrap()).unwrap();
        receiver.recv(&mut [0; 100]).unwrap();
        let mut seen = Vec::new();
        let take = &mut |frame: Frame<'_>| {
            let at = Duration::from_nanos(frame.at);
            assert!(at >= before && at < before + Duration::from_secs(60), "{at:?}");
            // Of Ethernet, IP and UDP 14, 20 and 8 bytes are headers.
            assert_eq!((frame.length, frame.bytes.len(), frame.ethernet), (142, 64, true));
            assert_eq!(frame.packet()[..1], [0x45]);
            seen.push((frame.interface, frame.outgoing));
        };
        // The buffer holds one packet.
        assert_eq!(capture.drain(1, take).unwrap(), 1);
        assert_eq!(capture.drain(10, take).unwrap(), 1);
        assert_eq!(seen, [(1, true), (1, false)]);
        assert_eq!((capture.name(1), capture.name(99)), ("lo".to_owned(), "interface 99".to_owned()));
        assert_eq!(capture.lost().unwrap(), 0);
    });
}

#[test]
fn dropped_packets_are_counted() {
    with_loopback(|| {
        let mut capture = Capture::open(64).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&capture.socket, 4096).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().unwrap();
        (0..100).for_each(|_| assert_eq!(socket.send_to(&[7; 1000], own).unwrap(), 1000));
        let seen = capture.drain(1000, &mut |_| {}).unwrap();
        let lost = capture.lost().unwrap() as usize;
        assert!(lost > 100 && seen + lost == 200, "{seen} and {lost}");
        assert_eq!(capture.lost().unwrap(), 0);
    });
}
