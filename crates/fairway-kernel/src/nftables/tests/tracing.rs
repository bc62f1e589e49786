//! The events of traced packets.

use std::net::UdpSocket;

use fairway_ruleset::{
    Chain, ChainKind, Expression, Family, Hook, MetaKey, Register, Table, TableFlags, Verdict, rule,
};

use crate::nftables::{Reader, TraceEvent, TracePoint, Tracer, Transaction, Writer};
use crate::route::{Links, NetnsSetup};
use crate::testing::in_new_namespace;

const OWNED: TableFlags = TableFlags { dormant: false, owner: true, persist: false };

fn tracing() -> Table {
    let register = Register::FIRST;
    let mark = rule()
        .expression(Expression::Immediate { to: register, value: vec![1] })
        .expression(Expression::MetaSet { key: MetaKey::Trace, from: register });
    let mut table = Table { flags: OWNED, ..Table::new(Family::Inet, "tracing") };
    table.chains = vec![Chain::base("first", ChainKind::Filter, Hook::Output, i32::MIN).with([mark])];
    table
}

fn deciding() -> Table {
    let udp = || rule().transport(fairway_model::Protocol::Udp);
    let mut table = Table::new(Family::Ip, "deciding");
    table.chains = vec![
        Chain::base("output", ChainKind::Filter, Hook::Output, 0).with([udp().jump("inner"), udp().drop()]),
        Chain::regular("inner").with([udp().counter()]),
    ];
    table
}

#[test]
fn trace_events_come_in_rule_order_with_the_headers_once() {
    in_new_namespace(|| {
        Links::open()
            .unwrap()
            .apply_netns_setup(&NetnsSetup { loopback: true, ..NetnsSetup::default() })
            .unwrap();
        let mut writer = Writer::open().unwrap();
        let mut transaction = Transaction::new();
        transaction.create(&tracing()).create(&deciding());
        writer.commit(transaction).unwrap();
        let tracer = Tracer::open().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:1000").unwrap();
        assert!(socket.send_to(b"hello", "127.0.0.1:2000").is_err(), "it is dropped");
        let mut events: Vec<TraceEvent> = Vec::new();
        assert_eq!(tracer.drain(&mut |event| events.push(event)), Ok(true));
        let rules = |chain| {
            let rules = writer.reader().rules(Family::Ip, "deciding", chain).unwrap();
            rules.into_iter().map(|rule| TracePoint::Rule(rule.handle.unwrap())).collect::<Vec<_>>()
        };
        let (outer, inner) = (rules("output"), rules("inner"));
        let met: Vec<_> = events
            .iter()
            .filter(|event| event.table == "deciding")
            .map(|event| (event.chain.as_str(), event.at, event.verdict.clone()))
            .collect();
        // That a chain ends without a verdict is not reported.
        let expected = [
            ("output", outer[0], Verdict::Jump("inner".to_owned())),
            ("inner", inner[0], Verdict::Continue),
            ("output", outer[1], Verdict::Drop),
        ];
        assert_eq!(met, expected);
        let heads: Vec<_> = events.iter().filter(|event| event.headers.is_some()).collect();
        assert_eq!(heads.len(), 2, "one for each base chain: {events:?}");
        let (network, transport) = heads[1].headers.as_ref().unwrap();
        assert_eq!((network.len(), &transport[..], heads[1].output), (20, &transport[..], Some(1)));
        assert_eq!((transport[..4].to_vec(), &transport[8..]), (vec![3, 232, 7, 208], &b"hello"[..]));
        assert!(events.iter().all(|event| event.id == events[0].id));

        // What belongs to a socket alone goes with it.
        drop(writer);
        let left = Reader::open().unwrap().tables().unwrap();
        assert_eq!(left.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["deciding"]);
    });
}
