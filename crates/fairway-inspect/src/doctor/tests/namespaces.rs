//! Sandboxes whose namespace differs from the Plan.

use super::*;

fn changed(deviations: Vec<Deviation>) -> TestHost {
    let mut host = TestHost::new();
    let namespace = "/run/netns/p".to_owned();
    host.observed.changed_namespaces =
        vec![NamespaceState { sandbox: "p".to_owned(), namespace, deviations }];
    host
}

#[test]
fn only_the_changed_properties_are_restored() {
    let down = Deviation::new("eth0", "down", "up").with_fix("ip link set dev eth0 up");
    let route = Deviation::new("default route", "via 172.18.0.9 dev eth0", "via 172.18.0.1 dev eth0");
    let route = route.with_fix("ip route replace default via 172.18.0.1 dev eth0");
    let message = "p: eth0 is down, expected up; default route is via 172.18.0.9 dev eth0, expected via 172.18.0.1 dev eth0";
    let command = "nsenter --net=/run/netns/p ip link set dev eth0 up && nsenter --net=/run/netns/p ip route replace default via 172.18.0.1 dev eth0";
    changed(vec![down, route]).assert("netns", Severity::Warning, message, command);
}

#[test]
fn a_missing_interface_is_restored_by_reconnecting() {
    let deviations = vec![Deviation::missing("interface eth0"), Deviation::missing("default route")];
    let host = changed(deviations.clone());
    let finding = DaemonFinding::NamespaceChanged {
        sandbox: "p".to_owned(),
        namespace: "/run/netns/p".to_owned(),
        deviations,
        disconnected: vec!["web".to_owned()],
    };
    assert_eq!(host.only(), FindingKind::Daemon(finding));
    let message = "p: interface eth0 is missing; default route is missing";
    let command = "fairway network disconnect web p && fairway network connect web p";
    host.assert("netns", Severity::Warning, message, command);
}

#[test]
fn rules_of_the_resolver_are_restored_automatically() {
    let host = changed(vec![Deviation::missing(RESOLVER_TABLE)]);
    let message = format!("p: {RESOLVER_TABLE} is missing");
    host.assert("netns", Severity::Warning, &message, Fix::COMMAND);
    assert!(host.fix().automatic);
}
