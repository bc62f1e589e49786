use std::net::UdpSocket;

use super::*;
use crate::netlink::Protocol as Family;
use crate::route::{InsideWork, Links};
use crate::testing::in_new_namespace;

/// A namespace with loopback, in which flows are tracked: a table with one rule that asks for it.
fn in_tracked(test: impl FnOnce() + Send) {
    in_new_namespace(|| {
        Links::open().unwrap().apply_inside(&InsideWork { loopback: true, ..InsideWork::default() }).unwrap();
        track();
        test();
    });
}

/// As `nft add rule inet t c ct state new`: looking at the state switches tracking on.
fn track() {
    const TABLE: u16 = 10 << 8;
    const CHAIN: u16 = (10 << 8) | 3;
    const RULE: u16 = (10 << 8) | 6;
    let create = libc::NLM_F_CREATE as u16;
    let family = [libc::NFPROTO_INET as u8, 0, 0, 0];
    let subsystem = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
    let mut batch = Batch::new();
    batch.message(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, "begin").raw(&subsystem);
    batch.message(TABLE, create, "table").raw(&family).text(1, "t");
    batch
        .message(CHAIN, create, "chain")
        .raw(&family)
        .text(1, "t")
        .text(3, "c")
        .nest(4, |hook| {
            hook.be32(1, 3).be32(2, 0);
        })
        .text(7, "filter");
    batch
        .message(RULE, create | libc::NLM_F_APPEND as u16, "rule")
        .raw(&family)
        .text(1, "t")
        .text(2, "c")
        .nest(4, |expressions| {
            expressions.nest(1, |expression| {
                expression.text(1, "ct").nest(2, |ct| {
                    ct.be32(1, 1).be32(2, 0);
                });
            });
        });
    batch.message(libc::NFNL_MSG_BATCH_END as u16, 0, "end").raw(&subsystem);
    Socket::open(Family::Netfilter).unwrap().transact(&mut batch).unwrap();
}

fn send(from: &str, to: &str) -> UdpSocket {
    let socket = UdpSocket::bind(from).unwrap();
    socket.send_to(b"x", to).unwrap();
    socket
}

fn udp(port: u16, address: Option<&str>) -> Selector {
    let address = address.map(|address| address.parse().unwrap());
    Selector::OriginalDestination { address, port, protocol: Protocol::Udp }
}

#[test]
fn flows_are_found_by_what_they_were_sent_to_and_forgotten() {
    in_tracked(|| {
        let conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.count(), Ok(0));
        let _receivers: Vec<_> = ["127.0.0.1:53", "127.0.0.2:53", "127.0.0.1:54", "[::1]:53"]
            .map(|address| UdpSocket::bind(address).unwrap())
            .into();
        let _senders = [
            send("127.0.0.1:4001", "127.0.0.1:53"),
            send("127.0.0.1:4002", "127.0.0.2:53"),
            send("127.0.0.1:4003", "127.0.0.1:54"),
            send("[::1]:4004", "[::1]:53"),
        ];
        assert_eq!(conntrack.count(), Ok(4));
        let flows = conntrack.flows(&[udp(53, None)]).unwrap();
        let mut ports: Vec<_> = flows.iter().map(|flow| flow.original.source_port).collect();
        ports.sort();
        assert_eq!(ports, [4001, 4002, 4004]);
        assert!(flows.iter().all(|flow| flow.reply.source_port == 53));

        assert_eq!(conntrack.delete(&[udp(53, Some("127.0.0.2"))]), Ok(1));
        assert_eq!(conntrack.flows(&[udp(53, None)]).unwrap().len(), 2);
        assert_eq!(conntrack.delete(&[udp(53, None)]), Ok(2));
        assert_eq!(conntrack.delete(&[udp(53, None)]), Ok(0));
        assert_eq!(conntrack.flows(&[udp(54, None)]).unwrap().len(), 1);
        let tcp = Selector::OriginalDestination { address: None, port: 54, protocol: Protocol::Tcp };
        assert_eq!(conntrack.delete(&[tcp]), Ok(0));
    });
}

#[test]
fn flows_are_forgotten_by_any_end() {
    in_tracked(|| {
        let conntrack = Conntrack::open().unwrap();
        let _receiver = UdpSocket::bind("127.0.0.2:53").unwrap();
        let _senders = [send("127.0.0.3:4001", "127.0.0.2:53"), send("127.0.0.4:4002", "127.0.0.2:53")];
        let by = |address: &str| [Selector::Address(address.parse().unwrap())];
        assert_eq!(conntrack.flows(&by("127.0.0.2")).unwrap().len(), 2);
        assert_eq!(conntrack.delete(&by("127.0.0.3")), Ok(1));
        assert_eq!(conntrack.delete(&by("::1")), Ok(0));
        assert_eq!(conntrack.delete(&by("127.0.0.2")), Ok(1));
    });
}
