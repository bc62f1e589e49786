//! Packets as bytes.

use super::{ICMP, ICMPV6, SCTP, TCP, UDP, address, tuple};
use crate::{FlowPosition, Packet, Tuple};
use fairway_model::MacAddress;
use fairway_ruleset::{Family, PayloadBase};

const POSITIONS: [FlowPosition; 4] =
    [FlowPosition::First, FlowPosition::Reply, FlowPosition::Established, FlowPosition::Reset];

fn ipv4(protocol: u8) -> Tuple {
    tuple(protocol, "10.0.0.1", "10.0.0.2")
}

fn ipv6(protocol: u8) -> Tuple {
    tuple(protocol, "fd00::1", "fd00::2")
}

fn bytes(packet: &Packet, base: PayloadBase, length: u32) -> Vec<u8> {
    assert_eq!(packet.bytes(base, 0, length + 1), None, "the header is longer than {length} bytes");
    packet.bytes(base, 0, length).unwrap().to_vec()
}

/// RFC 791, 3.1 and RFC 8200, 3.
#[test]
fn network_headers_have_length_protocol_and_addresses() {
    let packet = Packet::new(ipv4(TCP), FlowPosition::First);
    assert_eq!(
        bytes(&packet, PayloadBase::Network, 20),
        [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    );
    let packet = Packet::new(ipv6(UDP), FlowPosition::First);
    let mut expected = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    for last in [1, 2] {
        expected.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    assert_eq!(bytes(&packet, PayloadBase::Network, 40), expected);
}

/// RFC 9293, 3.1; RFC 768; RFC 9260, 3; RFC 792; RFC 4443, 4.
#[test]
fn transport_headers_follow_from_protocol_and_position() {
    let ports = [0x9c, 0x40, 0, 80];
    for (position, flags) in POSITIONS.into_iter().zip([0x02, 0x12, 0x10, 0x14]) {
        let packet = Packet::new(ipv4(TCP), position);
        let expected = [&ports[..], &[0; 8], &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat();
        assert_eq!(bytes(&packet, PayloadBase::Transport, 20), expected, "{position:?}");
    }
    let packet = Packet::new(ipv4(UDP), FlowPosition::First);
    assert_eq!(bytes(&packet, PayloadBase::Transport, 8), [&ports[..], &[0, 8, 0, 0]].concat());
    let packet = Packet::new(ipv4(SCTP), FlowPosition::First);
    assert_eq!(bytes(&packet, PayloadBase::Transport, 16), [&ports[..], &[0; 8], &[1, 0, 0, 20]].concat());
    for (flow, request, reply) in [(ipv4(ICMP), 8, 0), (ipv6(ICMPV6), 128, 129)] {
        for (position, kind) in POSITIONS.into_iter().zip([request, reply, request, reply]) {
            let packet = Packet::new(flow, position);
            assert_eq!(
                bytes(&packet, PayloadBase::Transport, 8),
                [kind, 0, 0, 0, 0, 7, 0, 1],
                "{position:?}"
            );
            assert_eq!(packet.echoes(), Some(kind == reply));
            assert_eq!(packet.begins(), kind == request, "{flow} {position:?}");
        }
    }
    assert!(bytes(&Packet::new(ipv4(47), FlowPosition::First), PayloadBase::Transport, 0).is_empty());
}

#[test]
fn a_packet_has_the_tuple_that_it_was_made_of() {
    for protocol in [TCP, UDP, SCTP, ICMP, ICMPV6, 47] {
        for flow in [ipv4(protocol), ipv6(protocol)] {
            let packet = Packet::new(flow, FlowPosition::First);
            assert_eq!(packet.tuple(), flow);
            assert_eq!(packet.family(), flow.family());
            assert_eq!(flow.has_ports(), [TCP, UDP, SCTP].contains(&protocol), "{flow}");
        }
    }
    assert_eq!((ipv4(TCP).family(), ipv6(TCP).family()), (Family::Ip, Family::Ip6));
}

/// An echo keeps its identifier, which is in the place of the source port.
#[test]
fn a_reversed_tuple_is_that_of_the_reply() {
    let reply = ipv4(TCP).reversed();
    assert_eq!((reply.source, reply.destination), (address("10.0.0.2"), address("10.0.0.1")));
    assert_eq!((reply.source_port, reply.destination_port), (80, 40_000));
    for echo in [ipv4(ICMP), ipv6(ICMPV6)] {
        let reply = echo.reversed();
        assert_eq!((reply.source, reply.destination), (echo.destination, echo.source));
        assert_eq!((reply.source_port, reply.destination_port), (7, 0));
    }
}

#[test]
fn tuples_as_text() {
    for (flow, text) in [
        (ipv4(TCP), "tcp 10.0.0.1:40000 > 10.0.0.2:80"),
        (ipv6(UDP), "udp [fd00::1]:40000 > [fd00::2]:80"),
        (ipv4(SCTP), "sctp 10.0.0.1:40000 > 10.0.0.2:80"),
        (ipv4(ICMP), "icmp 10.0.0.1 > 10.0.0.2"),
        (ipv6(ICMPV6), "icmp fd00::1 > fd00::2"),
        (ipv4(47), "protocol 47 10.0.0.1 > 10.0.0.2"),
    ] {
        assert_eq!(flow.to_string(), text);
    }
    assert_eq!(ipv6(TCP).source_text(), "[fd00::1]:40000");
    assert_eq!(ipv6(TCP).destination_text(), "[fd00::2]:80");
}

#[test]
fn translation_replaces_addresses_and_ports() {
    for protocol in [TCP, UDP, SCTP] {
        let to =
            Tuple { source_port: 1025, destination_port: 8080, ..tuple(protocol, "10.9.9.1", "10.9.9.2") };
        let mut packet = Packet::new(ipv4(protocol), FlowPosition::First);
        packet.translate(to);
        assert_eq!(packet.tuple(), to);
        let to = Tuple { source_port: 1025, destination_port: 8080, ..tuple(protocol, "fd09::1", "fd09::2") };
        let mut packet = Packet::new(ipv6(protocol), FlowPosition::First);
        packet.translate(to);
        assert_eq!(packet.tuple(), to);
    }
    // An echo request keeps type and identifier.
    let to = tuple(ICMP, "10.9.9.1", "10.9.9.2");
    let mut packet = Packet::new(ipv4(ICMP), FlowPosition::First);
    packet.translate(to);
    assert_eq!((packet.tuple(), packet.echoes()), (to, Some(false)));
    // Addresses of the other family do not fit.
    let mut packet = Packet::new(ipv4(UDP), FlowPosition::First);
    packet.translate(ipv6(UDP));
    assert_eq!(packet.tuple(), ipv4(UDP));
}

#[test]
fn bytes_beyond_a_header_are_neither_read_nor_replaced() {
    let mut packet = Packet::new(ipv4(UDP), FlowPosition::First);
    assert_eq!(packet.bytes(PayloadBase::Transport, 2, 2), Some(&[0, 80][..]));
    assert_eq!(packet.bytes(PayloadBase::Transport, 7, 2), None);
    assert_eq!(packet.bytes(PayloadBase::Transport, u32::MAX, 2), None);
    assert_eq!(packet.bytes(PayloadBase::Inner, 0, 1), None);
    assert_eq!(packet.bytes(PayloadBase::Link, 0, 1), None);
    assert!(packet.replace(PayloadBase::Transport, 2, &[0, 81]));
    assert!(packet.replace(PayloadBase::Network, 16, &[10, 0, 0, 9]));
    assert_eq!(packet.tuple().destination_text(), "10.0.0.9:81");
    for (base, offset) in [(PayloadBase::Transport, 7), (PayloadBase::Inner, 0), (PayloadBase::Link, 0)] {
        let before = packet.clone();
        assert!(!packet.replace(base, offset, &[1, 1]));
        assert_eq!(packet, before);
    }
    let (one, other) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    packet.frame(one, other);
    assert!(packet.replace(PayloadBase::Link, 5, &[3]));
    assert_eq!(packet.frame_destination(), Some(MacAddress([2, 0, 0, 0, 0, 3])));
}

#[test]
fn frames_have_addresses_and_type() {
    let (one, other) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    for (flow, kind) in [(ipv4(TCP), [0x08, 0x00]), (ipv6(TCP), [0x86, 0xdd])] {
        let mut packet = Packet::new(flow, FlowPosition::First);
        assert_eq!(packet.frame_destination(), None);
        assert_eq!(packet.unknown(PayloadBase::Link, 0, 14), 0);
        packet.readdress(other);
        assert_eq!(packet.frame_destination(), None);
        packet.frame(one, other);
        let expected = [&other.0[..], &one.0[..], &kind[..]].concat();
        assert_eq!(bytes(&packet, PayloadBase::Link, 14), expected);
        assert_eq!(packet.unknown(PayloadBase::Link, 0, 14), 0);

        let mut answer = Packet::new(flow.reversed(), FlowPosition::Reset);
        answer.frame_back(&packet);
        let expected = [&one.0[..], &other.0[..], &kind[..]].concat();
        assert_eq!(bytes(&answer, PayloadBase::Link, 14), expected);
        answer.frame_back(&Packet::new(flow, FlowPosition::First));
        assert_eq!(answer.frame_destination(), None);

        packet.readdress(one);
        assert_eq!(packet.frame_destination(), Some(one));
        packet.frame(MacAddress::default(), other);
        assert_eq!(packet.unknown(PayloadBase::Link, 0, 14), 0b1111_1100_0000, "the sender");
        assert_eq!(packet.frame_destination(), Some(other));
    }
}

/// `tcp_new` in net/netfilter/nf_conntrack_proto_tcp.c: a segment of a connection that is not known may begin a flow.
#[test]
fn resets_and_first_packets_are_recognized() {
    let tcp = |position| Packet::new(ipv4(TCP), position);
    assert_eq!(POSITIONS.map(|position| tcp(position).is_reset()), [false, false, false, true]);
    assert_eq!(POSITIONS.map(|position| tcp(position).begins()), [true, false, true, false]);
    let udp = Packet::new(ipv4(UDP), FlowPosition::Reset);
    assert!(!udp.is_reset() && udp.begins() && udp.echoes().is_none());
    // Bytes at the place of the flags are no flags in another protocol.
    let mut sctp = Packet::new(ipv4(SCTP), FlowPosition::First);
    assert!(sctp.replace(PayloadBase::Transport, 13, &[0x04]));
    assert!(!sctp.is_reset());
    let mut reset = tcp(FlowPosition::First);
    assert!(reset.replace(PayloadBase::Transport, 13, &[0x04]));
    assert!(reset.is_reset() && !reset.begins());
}

/// RFC 792, RFC 4443, 3.1: the error has the packet that it reports behind eight bytes.
#[test]
fn unreachable_errors_contain_the_packet_that_they_report() {
    for (flow, router, protocol, kind) in
        [(ipv4(TCP), "10.0.0.254", ICMP, 3), (ipv6(UDP), "fd00::fe", ICMPV6, 1)]
    {
        let mut error =
            Packet::unreachable(address(router), 9, &Packet::new(flow, FlowPosition::Established));
        let expected = Tuple {
            protocol,
            source: address(router),
            destination: flow.source,
            source_port: 0,
            destination_port: 0,
        };
        assert_eq!(error.tuple(), expected);
        assert_eq!(error.bytes(PayloadBase::Transport, 0, 8), Some(&[kind, 9, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(error.about(), Some(flow));
        assert_eq!((error.echoes(), error.begins(), error.is_reset()), (None, false, false));
        let to = Tuple { source_port: 1025, destination_port: 8080, ..flow.reversed() };
        error.translate_about(to);
        assert_eq!((error.about(), error.tuple()), (Some(to), expected));
        assert_eq!(error.bytes(PayloadBase::Transport, 0, 2), Some(&[kind, 9][..]));
    }
}

#[test]
fn only_icmp_errors_report_a_packet() {
    for position in POSITIONS {
        for flow in [ipv4(TCP), ipv4(UDP), ipv4(ICMP), ipv6(ICMPV6)] {
            let mut packet = Packet::new(flow, position);
            assert_eq!(packet.about(), None);
            let before = packet.clone();
            packet.translate_about(ipv4(TCP).reversed());
            assert_eq!(packet, before);
        }
    }
    let kinds = |flow: Tuple, router: &str| {
        let error = Packet::unreachable(address(router), 0, &Packet::new(flow, FlowPosition::First));
        let reports = |kind: &u8| {
            let mut packet = error.clone();
            assert!(packet.replace(PayloadBase::Transport, 0, &[*kind]));
            packet.about() == Some(flow)
        };
        (0..=255).filter(reports).collect::<Vec<u8>>()
    };
    assert_eq!(kinds(ipv4(TCP), "10.0.0.254"), [3, 4, 5, 11, 12]);
    assert_eq!(kinds(ipv6(TCP), "fd00::fe"), (0..128).collect::<Vec<u8>>());
}
