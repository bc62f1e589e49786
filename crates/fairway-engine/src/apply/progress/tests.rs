use std::net::SocketAddr;

use fairway_core::object::{
    BridgeLink, DummyParent, Fragment, MacvlanLink, NetnsLink, PairLink, PortSocket, SandboxRoutes,
    SetElement, SetName, SocketUse, UplinkPort, VethLink,
};
use fairway_core::object::{ElementValue, FileName};
use fairway_model::{
    Advertising, EndpointId, MacAddress, MacvlanMode, Namespace, NetworkId, Protocol, ResolverAddresses,
    SandboxId, Uplink,
};

use super::*;
use crate::EngineError;

fn network() -> NetworkId {
    NetworkId::new([1; 32])
}

fn sandbox(number: u8) -> SandboxId {
    SandboxId::new([number; 32])
}

fn namespace(number: u8) -> Namespace {
    Namespace { path: format!("/run/netns/{number}"), device: 4, inode: number.into() }
}

fn bridge(name: &str) -> (Key, Object) {
    let object = BridgeLink {
        name: name.to_owned(),
        network: network(),
        mac: MacAddress([2; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        route_localnet: false,
        ipv6: false,
        parent: None,
        adopted: false,
    };
    (Key::Bridge(name.to_owned()), Object::Bridge(object))
}

fn veth(name: &str, bridge: &str, number: u8) -> (Key, Object) {
    let object = VethLink {
        host_interface: name.to_owned(),
        endpoint: EndpointId::new([number; 32]),
        bridge: bridge.to_owned(),
        namespace: Some(namespace(number)),
        interface: "eth0".to_owned(),
        mac: MacAddress([2; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        hairpin: false,
        sysctls: Vec::new(),
        advertising: Advertising::default(),
        alternative_name: None,
    };
    (Key::Veth(name.to_owned()), Object::Veth(object))
}

fn netns_link(number: u8) -> NetnsLink {
    NetnsLink {
        sandbox: sandbox(number),
        endpoint: EndpointId::new([number; 32]),
        namespace: namespace(number),
        interface: "eth1".to_owned(),
        mac: None,
        mtu: None,
        addresses: Vec::new(),
    }
}

fn macvlan(parent: &str, number: u8) -> (Key, Object) {
    let link = netns_link(number);
    let object = MacvlanLink { link, parent: parent.to_owned(), mode: MacvlanMode::Bridge };
    (Key::Macvlan(EndpointId::new([number; 32])), Object::Macvlan(object))
}

fn pair(numbers: [u8; 2]) -> (Key, Object) {
    let object =
        PairLink { network: network(), waiting: "wait".to_owned(), ends: numbers.map(netns_link).to_vec() };
    (Key::Pair(network()), Object::Pair(object))
}

fn dummy_parent(name: &str) -> (Key, Object) {
    let object = DummyParent { name: name.to_owned(), network: network(), mtu: None };
    (Key::DummyParent(name.to_owned()), Object::DummyParent(object))
}

fn uplink(name: &str, bridge: &str) -> (Key, Object) {
    let taken = Uplink {
        parent: name.to_owned(),
        mac: MacAddress([2; 6]),
        mtu: 1500,
        addresses: Vec::new(),
        routes: Vec::new(),
        boot: String::new(),
        unusable: None,
    };
    (
        Key::Uplink(name.to_owned()),
        Object::Uplink(UplinkPort { bridge: bridge.to_owned(), network: network(), taken }),
    )
}

fn netns(number: u8) -> (Key, Object) {
    (Key::Netns(sandbox(number)), Object::Netns(namespace(number), Some(ResolverAddresses::One)))
}

fn routes(number: u8) -> (Key, Object) {
    let object = SandboxRoutes { namespace: namespace(number), gateways: Vec::new(), others: Vec::new() };
    (Key::SandboxRoutes(sandbox(number)), Object::SandboxRoutes(object))
}

fn port() -> (Key, Object) {
    let at: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let object = PortSocket { sandbox: sandbox(1), purpose: SocketUse::Reserve };
    (Key::Socket(Protocol::Tcp, at), Object::Socket(object))
}

fn element() -> (Key, Object) {
    let object = SetElement { value: ElementValue::None, comment: String::new() };
    (Key::Element(SetName::Bridges, vec![1]), Object::Element(object))
}

fn sysctl() -> (Key, Object) {
    (Key::Sysctl("net/ipv4/ip_forward".to_owned()), Object::Sysctl("1".to_owned()))
}

fn file() -> (Key, Object) {
    (Key::File(sandbox(1), FileName::Hosts), Object::File(String::new()))
}

/// One object of each kind: two sandboxes on two bridges, 1 with a macvlan too, and a pair of both.
fn all() -> Vec<(Key, Object)> {
    vec![
        element(),
        sysctl(),
        bridge("br1"),
        bridge("br2"),
        dummy_parent("dm"),
        uplink("eth0", "br2"),
        macvlan("dm", 1),
        veth("v1", "br1", 1),
        veth("v2", "br2", 2),
        netns(1),
        routes(1),
        netns(2),
        routes(2),
        file(),
        port(),
        (Key::HostServers, Object::HostServers(Vec::new())),
    ]
}

fn error() -> ApplyError {
    ApplyError::StartRelay(std::io::ErrorKind::NotFound.into())
}

/// Applies to a kernel that refuses what `refused` names, in all. Returns what was tried in which phase, and what is
/// reported.
fn apply(difference: &Difference, refused: &[Subject]) -> (Vec<(Phase, String)>, Vec<String>) {
    let mut tried = Vec::new();
    let outcome = apply_phases(difference, |phase, progress| {
        let ready = match phase {
            Phase::Firewall if refused.contains(&Subject::Firewall) => {
                progress.fail(Subject::Firewall, error());
                return;
            }
            Phase::Namespaces => progress.ready(&[Phase::NetnsLinks, Phase::Namespaces]),
            phase => progress.ready(&[phase]),
        };
        for (key, _) in ready {
            let subject = Subject::Object(key.clone());
            tried.push((phase, key.to_string()));
            if refused.contains(&subject) {
                progress.fail(subject, error());
            }
        }
    });
    let unapplied = outcome.err().map(|errors| errors.0).unwrap_or_default();
    (tried, unapplied.iter().map(ToString::to_string).collect())
}

fn added(objects: Vec<(Key, Object)>) -> Difference {
    Difference::between(Fragment::new(), Fragment::from_iter(objects))
}

fn object((key, _): (Key, Object)) -> Subject {
    Subject::Object(key)
}

#[test]
fn all_objects_are_tried_in_the_order_of_phases() {
    let (tried, reported) = apply(&added(all()), &[]);
    assert!(reported.is_empty(), "{reported:?}");
    assert!(tried.is_sorted_by_key(|(phase, _)| *phase), "{tried:?}");
    // The macvlan is made in one phase, and configured in another one.
    assert_eq!(tried.len(), all().len() + 1);
}

#[test]
fn what_rests_on_a_failed_object_is_skipped_and_the_rest_is_tried() {
    const FAILED: &str = "cannot start the relay: entity not found";
    let cases: [(&str, Subject, &[&str]); 7] = [
        ("a sysctl", object(sysctl()), &[]),
        (
            "a bridge: its ports, and the namespaces of those",
            object(bridge("br2")),
            &[
                "uplink eth0: skipped because of bridge br2",
                "interface v2: skipped because of bridge br2",
                "network namespace of sandbox 020202020202: skipped because of interface v2",
                "routes of sandbox 020202020202: skipped because of interface v2",
            ],
        ),
        (
            "a dummy parent: its macvlans, and all else in their namespaces",
            object(dummy_parent("dm")),
            &[
                "macvlan of endpoint 010101010101: skipped because of dummy parent dm",
                "interface v1: skipped because of macvlan of endpoint 010101010101",
                "network namespace of sandbox 010101010101: skipped because of macvlan of endpoint 010101010101",
                "routes of sandbox 010101010101: skipped because of macvlan of endpoint 010101010101",
            ],
        ),
        (
            "a macvlan: its namespace",
            object(macvlan("dm", 1)),
            &[
                "interface v1: skipped because of macvlan of endpoint 010101010101",
                "network namespace of sandbox 010101010101: skipped because of macvlan of endpoint 010101010101",
                "routes of sandbox 010101010101: skipped because of macvlan of endpoint 010101010101",
            ],
        ),
        ("an uplink", object(uplink("eth0", "br2")), &[]),
        ("a file", object(file()), &[]),
        ("a port", object(port()), &[]),
    ];
    for (what, refused, skipped) in cases {
        let (tried, reported) = apply(&added(all()), std::slice::from_ref(&refused));
        assert_eq!(reported.first(), Some(&format!("{refused}: {FAILED}")), "{what}");
        assert_eq!(reported.get(1..).unwrap(), skipped, "{what}");
        let untried = |line: &&str| {
            let name = line.split(": skipped").next().unwrap();
            // A macvlan is tried where it is made, not where it is configured.
            tried.iter().all(|(phase, key)| key != name || *phase == Phase::NetnsLinks)
        };
        assert!(skipped.iter().all(untried), "{what}: {tried:?}");
    }
}

#[test]
fn both_ends_of_a_pair_that_fails_are_left_alone() {
    let difference = added(vec![pair([1, 2]), netns(1), netns(2), netns(3)]);
    let (tried, reported) = apply(&difference, &[object(pair([1, 2]))]);
    assert_eq!(
        tried.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>(),
        ["ptp pair of network 010101010101", "network namespace of sandbox 030303030303"]
    );
    assert_eq!(reported.len(), 3);
}

#[test]
fn without_its_firewall_nothing_opens() {
    let (tried, reported) = apply(&added(all()), &[Subject::Firewall]);
    let tried: Vec<&str> = tried.iter().map(|(_, key)| key.as_str()).collect();
    assert_eq!(tried, ["file hosts of sandbox 010101010101", "name servers of the host"]);
    // One line for the elements, which are one transaction, and one for each object but the two.
    assert_eq!(reported.len(), 1 + all().len() - 3);
    assert!(reported.iter().skip(1).all(|line| line.ends_with(": skipped because of firewall")));
}

#[test]
fn all_failures_of_a_phase_are_reported() {
    let refused = [object(bridge("br1")), object(bridge("br2"))];
    let (_, reported) = apply(&added(vec![bridge("br1"), bridge("br2"), bridge("br3")]), &refused);
    assert_eq!(reported.len(), 2);
}

#[test]
fn an_error_names_few_of_many_skipped_objects() {
    let veths = (0..100).map(|number| veth(&format!("v{number}"), "br1", number));
    let difference = added(veths.chain([bridge("br1")]).collect());
    let errors = apply_phases(&difference, |phase, progress| match phase {
        Phase::Bridges => progress.each(phase, |_, _| Err(error())),
        phase => drop(progress.ready(&[phase])),
    });
    let text = errors.unwrap_err().to_string();
    assert!(text.starts_with("bridge br1: cannot start the relay"), "{text}");
    assert!(text.ends_with("\n92 more objects skipped"), "{text}");
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn the_error_of_a_command_names_only_what_failed() {
    let failed = Unapplied { subject: object(bridge("br2")), reason: FailureReason::Error(error()) };
    let because = FailureReason::Skipped(object(bridge("br2")));
    let skipped = Unapplied { subject: object(uplink("eth0", "br2")), reason: because };
    let text = EngineError::from(ApplyErrors(vec![failed, skipped])).to_string();
    let expected =
        "failed to set up container networking: bridge br2: cannot start the relay: entity not found";
    assert_eq!(text, expected);
}
