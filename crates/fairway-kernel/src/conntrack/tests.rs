use std::net::UdpSocket;

use super::*;
use crate::netlink::Protocol as Family;
use crate::route::{Links, NetnsSetup};
use crate::testing::in_new_namespace;

/// A namespace with loopback, in which flows are tracked: a table with one rule that asks for it.
fn in_tracked(test: impl FnOnce() + Send) {
    in_new_namespace(|| {
        Links::open()
            .unwrap()
            .apply_netns_setup(&NetnsSetup { loopback: true, ..NetnsSetup::default() })
            .unwrap();
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

fn udp(at: &str) -> HashSet<Selector> {
    [Selector::OriginalDestination(Protocol::Udp, at.parse().unwrap())].into()
}

#[test]
fn flows_are_found_by_destination_and_deleted() {
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
        let flows = conntrack.flows(&udp("0.0.0.0:53")).unwrap();
        let mut ports: Vec<_> = flows.iter().map(|flow| flow.original.source_port).collect();
        ports.sort();
        assert_eq!(ports, [4001, 4002]);
        assert!(flows.iter().all(|flow| flow.reply.source_port == 53));

        assert_eq!(conntrack.delete(&udp("127.0.0.2:53")), Ok(1));
        assert_eq!(conntrack.flows(&udp("0.0.0.0:53")).unwrap().len(), 1);
        assert_eq!(conntrack.delete(&udp("[::]:53")), Ok(1), "of its family alone");
        assert_eq!(conntrack.delete(&udp("0.0.0.0:53")), Ok(1));
        assert_eq!(conntrack.delete(&udp("0.0.0.0:53")), Ok(0));
        assert_eq!(conntrack.flows(&udp("0.0.0.0:54")).unwrap().len(), 1);
        let tcp = Selector::OriginalDestination(Protocol::Tcp, "0.0.0.0:54".parse().unwrap());
        assert_eq!(conntrack.delete(&HashSet::from([tcp])), Ok(0));
    });
}

#[test]
fn flows_are_forgotten_by_any_end() {
    in_tracked(|| {
        let conntrack = Conntrack::open().unwrap();
        let _receiver = UdpSocket::bind("127.0.0.2:53").unwrap();
        let _senders = [send("127.0.0.3:4001", "127.0.0.2:53"), send("127.0.0.4:4002", "127.0.0.2:53")];
        let by = |address: &str| HashSet::from([Selector::Address(address.parse().unwrap())]);
        assert_eq!(conntrack.flows(&by("127.0.0.2")).unwrap().len(), 2);
        assert_eq!(conntrack.delete(&by("127.0.0.3")), Ok(1));
        assert_eq!(conntrack.delete(&by("::1")), Ok(0));
        assert_eq!(conntrack.delete(&by("127.0.0.2")), Ok(1));
    });
}

#[test]
fn flows_to_a_port_are_distinguished_by_dnat() {
    let tuple = |source: &str, destination: &str, source_port, destination_port| Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: Protocol::Tcp.number(),
        source_port,
        destination_port,
    };
    let flow = |original, reply| Flow { original, reply, id: 1, zone: 0, zone_of_original: false };
    let to = |at: &str| Selector::Translated(Protocol::Tcp, at.parse().unwrap());
    let means = |selector, flow: &Flow| Selector::of(flow).any(|each| each == selector);
    // To our address and port, answered by a sandbox.
    let published =
        flow(tuple("10.10.50.1", "10.10.50.99", 4000, 8080), tuple("172.17.0.2", "10.10.50.1", 80, 4000));
    assert!(means(to("0.0.0.0:8080"), &published) && means(to("10.10.50.99:8080"), &published));
    for other in ["0.0.0.0:80", "10.10.50.1:8080", "[::]:8080"] {
        assert!(!means(to(other), &published), "{other}");
    }
    // From a sandbox to that port of another host: only the source was rewritten.
    let outbound =
        flow(tuple("172.17.0.2", "192.0.2.1", 4000, 8080), tuple("192.0.2.1", "10.10.50.99", 8080, 4000));
    assert!(!means(to("0.0.0.0:8080"), &outbound));
    let plain = Selector::OriginalDestination(Protocol::Tcp, "0.0.0.0:8080".parse().unwrap());
    assert!(means(plain, &outbound));
    let untouched = Selector::Untranslated(Protocol::Tcp, "0.0.0.0:8080".parse().unwrap());
    assert!(means(untouched, &outbound) && !means(untouched, &published));
}

#[test]
fn new_and_destroyed_flows_are_reported() {
    in_tracked(|| {
        let events = FlowEvents::open().unwrap();
        let _receiver = UdpSocket::bind("127.0.0.1:53").unwrap();
        let sender = send("127.0.0.1:1000", "127.0.0.1:53");
        let is_meant = |flow: &FlowEvent| flow.original.destination_port == 53;
        let heard = || {
            let mut heard = Vec::new();
            assert_eq!(events.drain(&mut |flow| heard.push(flow)), Ok(true));
            heard
        };
        let [new] = heard()[..] else { panic!("one flow is new") };
        assert_eq!(new.original.to_string(), "udp 127.0.0.1:1000 > 127.0.0.1:53");
        assert_eq!((new.reply, new.is_gone), (new.original.reversed(), false));
        assert_eq!(matching_flows(is_meant), Ok(vec![new]));
        assert_eq!(matching_flows(|flow| !is_meant(flow)), Ok(vec![]));
        drop(sender);
        Conntrack::open().unwrap().delete(&udp("0.0.0.0:53")).unwrap();
        assert_eq!(heard(), [FlowEvent { is_gone: true, ..new }]);
    });
}
