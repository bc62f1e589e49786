use fairway_model::Protocol;
use fairway_ruleset::{Datatype, Element, Family, Set, Table, Verdict};
use fairway_walk::{Listener, RouteQuery, RouteResult};

use super::{Details, outline, survey};
use crate::nftables::{Transaction, Writer};
use crate::testing::in_new_namespace;

#[test]
fn a_namespace_is_read_as_the_kernel_has_it() {
    in_new_namespace(|| {
        let socket = std::net::TcpListener::bind("0.0.0.0:4242").unwrap();
        let survey = survey("here").unwrap();
        let loopback = survey.namespace.interface_named("lo").unwrap();
        assert!(loopback.loopback);
        assert!(survey.namespace.rules.iter().any(|rule| rule.ipv4 && rule.table == 255));
        assert!(
            survey.namespace.rules.iter().all(|rule| rule.unknown.is_none()),
            "{:?}",
            survey.namespace.rules
        );
        let there = survey.namespace.listener(6, "127.0.0.1".parse().unwrap(), 4242, None);
        assert!(there.is_some_and(|listener| !listener.held), "{:?}", survey.namespace.listeners);
        drop(socket);
        // Loopback is down in a new namespace, and nothing leads anywhere.
        let question = RouteQuery::to("192.0.2.1".parse().unwrap());
        assert_eq!(survey.namespace.route(&question), RouteResult::NoRoute);
    });
}

#[test]
fn settings_of_interfaces_are_those_of_sysctls() {
    in_new_namespace(|| {
        let settings = [("lo", "forwarding", "1"), ("lo", "rp_filter", "2"), ("lo", "route_localnet", "1")];
        for (interface, key, value) in settings {
            crate::sysctl::write(&format!("net/ipv4/conf/{interface}/{key}"), value).unwrap();
        }
        let loopback = survey("here").unwrap().namespace.interface_named("lo").unwrap().clone();
        assert_eq!((loopback.forwarding.0, loopback.reverse_path, loopback.route_localnet), (true, 2, true));
        for (interface, key, _) in settings {
            crate::sysctl::write(&format!("net/ipv4/conf/{interface}/{key}"), "0").unwrap();
        }
        let loopback = survey("here").unwrap().namespace.interface_named("lo").unwrap().clone();
        assert_eq!(
            (loopback.forwarding.0, loopback.reverse_path, loopback.route_localnet),
            (false, 0, false)
        );
    });
}

#[test]
fn sockets_at_a_port_are_those_of_the_tables() {
    in_new_namespace(|| {
        use std::net::{TcpListener, UdpSocket};
        let _both = TcpListener::bind("[::]:4242").unwrap();
        let _other = TcpListener::bind("0.0.0.0:4243").unwrap();
        let _datagrams = UdpSocket::bind("0.0.0.0:4242").unwrap();
        let all = survey("here").unwrap().namespace.listeners;
        let listeners_at = |protocol, port| Details::open().unwrap().listeners_at(protocol, port).unwrap();
        for (protocol, port, table) in
            [(Protocol::Tcp, 4242, "tcp6"), (Protocol::Tcp, 4243, "tcp"), (Protocol::Udp, 4242, "udp")]
        {
            let is = |it: &&Listener| it.port == port && it.protocol == protocol.number();
            let expected: Vec<_> = all.iter().filter(is).cloned().collect();
            assert_eq!(listeners_at(protocol, port), expected);
            let written = crate::socket_table::entries(table);
            let inodes: Vec<_> =
                written.iter().map(|it| format!("{}{}", Listener::UNNAMED, it.inode)).collect();
            let owners: Vec<_> = expected.into_iter().map(|listener| listener.owner).collect();
            assert_eq!(owners, inodes, "{protocol} {port}");
        }
        assert_eq!(listeners_at(Protocol::Tcp, 4244), []);
    });
}

#[test]
fn an_outline_leaves_out_elements_and_listeners() {
    in_new_namespace(|| {
        let exact = Set::verdict_map("exact", [Datatype::InetService]).with([
            Element::to_verdict([0, 80], Verdict::Accept).with_comment("web"),
            Element::to_verdict([], Verdict::Drop),
        ]);
        let ranges = Set::new("ranges", [Datatype::InetService])
            .with_ranges()
            .with([Element::new([0, 80]).up_to([0, 90])]);
        let mut table = Table::new(Family::Inet, "outlined");
        table.sets = vec![exact, ranges];
        let mut transaction = Transaction::new();
        transaction.create(&table);
        Writer::open().unwrap().commit(transaction).unwrap();
        let outlined = outline("here").unwrap().namespace;
        assert!(outlined.on_demand && outlined.listeners.is_empty());
        let [found] = &outlined.tables[..] else { panic!("{:?}", outlined.tables) };
        assert_eq!(found.set("exact").unwrap().elements, []);
        assert_eq!(found.set("ranges").unwrap().elements, table.sets[1].elements);
        let details = Details::open().unwrap();
        let ask = |key: &[u8]| details.element(found, found.set("exact").unwrap(), key).unwrap();
        assert_eq!(ask(&[0, 80]).as_ref(), Some(&table.sets[0].elements[0]));
        assert_eq!(ask(&[0, 81]).as_ref(), Some(&table.sets[0].elements[1]));
    });
}
