use fairway_core::path::{RouteQuestion, Routed};

use super::survey;
use crate::testing::in_new_namespace;

#[test]
fn a_namespace_is_read_as_the_kernel_has_it() {
    in_new_namespace(|| {
        let socket = std::net::TcpListener::bind("0.0.0.0:4242").unwrap();
        let survey = survey("here").unwrap();
        let loopback = survey.machine.interface_named("lo").unwrap();
        assert!(loopback.loopback);
        assert!(survey.machine.rules.iter().any(|rule| rule.ipv4 && rule.table == 255));
        assert!(survey.machine.rules.iter().all(|rule| rule.unknown.is_none()), "{:?}", survey.machine.rules);
        let there = survey.machine.listener(6, "127.0.0.1".parse().unwrap(), 4242);
        assert!(there.is_some_and(|listener| !listener.held), "{:?}", survey.machine.listeners);
        drop(socket);
        // Loopback is down in a new namespace, and nothing leads anywhere.
        let question =
            RouteQuestion { destination: "192.0.2.1".parse().unwrap(), source: None, input: None, mark: 0 };
        assert_eq!(survey.machine.route(&question), Routed::Nowhere);
    });
}
