//! Macvlans of one parent.

use super::routed::{add_route, interface, listen, sentence};
use super::{TCP, UDP, address, tuple};
use crate::{
    End, FlowPosition, Interface, MacvlanParent, NamespaceId, Origin, Outcome, PacketWalk, Proxy, RouteKind,
    Sender, Step, Topology, Walker, add_interface, empty_namespace, walk_connection,
};
use fairway_model::MacvlanMode;

const HOST: NamespaceId = NamespaceId::HOST;
const ONE: NamespaceId = NamespaceId(1);
const TWO: NamespaceId = NamespaceId(2);
/// A host on the LAN.
const LAN: NamespaceId = NamespaceId(3);

/// Namespaces one (10.0.0.11) and two (10.0.0.12) with macvlans of the host's eth0 (10.0.0.1), which leads to a host on
/// the LAN (10.0.0.99). All listen at port 80.
fn topology(mode: MacvlanMode) -> Topology {
    let mut namespaces = vec![empty_namespace("host"), empty_namespace("one"), empty_namespace("two")];
    namespaces.push(empty_namespace("lan"));
    let parent = MacvlanParent { namespace: HOST, parent: 2, mode };
    for (id, own, macvlan_parent) in [
        (HOST, "10.0.0.1/24", None),
        (ONE, "10.0.0.11/24", Some(parent)),
        (TWO, "10.0.0.12/24", Some(parent)),
        (LAN, "10.0.0.99/24", None),
    ] {
        let eth0 = Interface { macvlan_parent, ..interface(id, 2, "eth0", &[own]) };
        add_interface(&mut namespaces[id.0], eth0);
        listen(&mut namespaces[id.0], TCP, "::", 80);
    }
    let mut topology = Topology { namespaces };
    topology.join((HOST, 2), (LAN, 2));
    topology
}

fn ask(topology: &Topology, origin: NamespaceId, to: &str) -> (Outcome, String) {
    let connection =
        walk_connection(topology, Origin::Local(origin), tuple(TCP, "0.0.0.0", to), Proxy::default());
    (connection.outcome(), sentence(&connection.first, topology))
}

fn answered(topology: &Topology, origin: NamespaceId, to: &str) -> bool {
    matches!(ask(topology, origin, to).0, Outcome::Answered(_))
}

#[test]
fn macvlans_reach_each_other_only_in_mode_bridge() {
    for (mode, reach) in
        [(MacvlanMode::Bridge, true), (MacvlanMode::Private, false), (MacvlanMode::Vepa, false)]
    {
        let topology = topology(mode);
        let (outcome, end) = ask(&topology, ONE, "10.0.0.12");
        assert_eq!(matches!(outcome, Outcome::Answered(_)), reach, "{mode:?} {end}");
        if !reach {
            assert_eq!(end, "lost on one: no neighbor on eth0 has 10.0.0.12");
        }
    }
    // One of the two in another mode.
    for end in [ONE, TWO] {
        let mut mixed = topology(MacvlanMode::Bridge);
        mixed[end].interfaces[1].macvlan_parent.as_mut().unwrap().mode = MacvlanMode::Private;
        assert!(!answered(&mixed, ONE, "10.0.0.12") && !answered(&mixed, TWO, "10.0.0.11"));
    }
    let mut down = topology(MacvlanMode::Bridge);
    down[TWO].interfaces[1].up = false;
    assert!(!answered(&down, ONE, "10.0.0.12"));
    let mut apart = topology(MacvlanMode::Bridge);
    apart[TWO].interfaces[1].macvlan_parent.as_mut().unwrap().parent = 3;
    assert!(!answered(&apart, ONE, "10.0.0.12"));
    apart[TWO].interfaces[1].macvlan_parent = None;
    assert!(!answered(&apart, ONE, "10.0.0.12"));
}

#[test]
fn a_frame_between_macvlans_does_not_leave_by_the_parent() {
    let topology = topology(MacvlanMode::Bridge);
    let walk = |to: &str| {
        let walk = Walker::new(&topology).walk_from_program(
            Sender::of(ONE),
            tuple(TCP, "0.0.0.0", to),
            FlowPosition::First,
        );
        by_parent(&walk)
    };
    assert!(!walk("10.0.0.12"));
    assert!(walk("10.0.0.99"));
}

/// Whether the packet left by the parent.
fn by_parent(walk: &PacketWalk) -> bool {
    walk.steps.iter().any(|step| matches!(step, Step::Leaves { namespace: HOST, .. }))
}

#[test]
fn macvlans_reach_the_lan_but_not_the_host_of_their_parent() {
    for mode in [MacvlanMode::Bridge, MacvlanMode::Private, MacvlanMode::Vepa] {
        let topology = topology(mode);
        assert!(answered(&topology, ONE, "10.0.0.99") && answered(&topology, LAN, "10.0.0.12"), "{mode:?}");
        assert!(answered(&topology, HOST, "10.0.0.99") && answered(&topology, LAN, "10.0.0.1"), "{mode:?}");
        let kept_apart = "lost on one: no neighbor on eth0 has 10.0.0.1";
        assert_eq!(ask(&topology, ONE, "10.0.0.1").1, kept_apart, "{mode:?}");
        assert_eq!(
            ask(&topology, HOST, "10.0.0.11").1,
            "lost on host: no neighbor on eth0 has 10.0.0.11",
            "{mode:?}"
        );
    }
}

/// The macvlan of mode passthru has all frames of the parent.
#[test]
fn a_passthru_macvlan_receives_all_frames_of_its_parent() {
    let mut topology = topology(MacvlanMode::Passthru);
    topology[TWO].interfaces[1].macvlan_parent = None;
    topology[ONE].interfaces[1].mac = topology[HOST].interfaces[1].mac;
    assert!(answered(&topology, LAN, "10.0.0.11") && answered(&topology, ONE, "10.0.0.99"));
    let (outcome, end) = ask(&topology, LAN, "10.0.0.1");
    assert_ne!(outcome, Outcome::Answered(address("10.0.0.99")), "{end}");
}

#[test]
fn a_parent_that_leads_out_leads_to_hosts_outside() {
    let mut topology = topology(MacvlanMode::Bridge);
    topology[HOST].interfaces[1].peer = None;
    let (outcome, end) = ask(&topology, ONE, "10.0.0.50");
    assert_eq!(outcome, Outcome::LeavesHost);
    assert_eq!(
        end,
        "leaves host by eth0 for 10.0.0.50, where a capture sees tcp 10.0.0.11:40000 > 10.0.0.50:80"
    );
    assert!(answered(&topology, ONE, "10.0.0.12"));
    let arrives = |to: &str| {
        let tuple = tuple(TCP, "10.0.0.50", to);
        sentence(&Walker::new(&topology).arrives(HOST, 2, tuple, FlowPosition::First), &topology)
    };
    assert!(arrives("10.0.0.12").starts_with("delivered on two"), "{}", arrives("10.0.0.12"));
    assert!(arrives("10.0.0.1").starts_with("delivered on host"));
    assert!(arrives("10.0.0.70").starts_with("lost on") || arrives("10.0.0.70").starts_with("leaves host"));
}

#[test]
fn a_dummy_parent_leads_nowhere() {
    for kind in ["dummy", "ifb"] {
        let mut topology = topology(MacvlanMode::Bridge);
        let eth0 = &mut topology[HOST].interfaces[1];
        (eth0.peer, eth0.kind) = (None, kind.to_owned());
        assert_eq!(ask(&topology, ONE, "10.0.0.50").1, "lost on one: no neighbor on eth0 has 10.0.0.50");
        assert!(answered(&topology, ONE, "10.0.0.12"));
    }
    let mut gone = topology(MacvlanMode::Private);
    gone[HOST].interfaces.pop();
    assert_eq!(ask(&gone, ONE, "10.0.0.99").1, "lost on one: no neighbor on eth0 has 10.0.0.99");
}

/// A macvlan's frames pass the parent's own addresses, routes and rules.
#[test]
fn the_state_of_a_packet_ends_at_the_namespace() {
    use fairway_ruleset::{Hook, Load, MetaKey, rule};
    let mut topology = topology(MacvlanMode::Bridge);
    super::routed::filter(&mut topology, ONE, Hook::Output, [rule().set_mark(7)]);
    let marked = || rule().is(Load::Meta(MetaKey::Mark), 7_u32.to_ne_bytes());
    super::routed::filter(&mut topology, ONE, Hook::Postrouting, [marked().comment("in one").accept()]);
    for other in [TWO, LAN, HOST] {
        super::routed::filter(&mut topology, other, Hook::Prerouting, [marked().drop()]);
    }
    for to in ["10.0.0.12", "10.0.0.99"] {
        let connection =
            walk_connection(&topology, Origin::Local(ONE), tuple(TCP, "0.0.0.0", to), Proxy::default());
        assert_eq!(super::routed::comments(&connection.first, &topology, ONE), ["in one"]);
        assert_eq!(connection.outcome(), Outcome::Answered(address("10.0.0.11")));
    }
}

#[test]
fn a_macvlan_may_be_a_router_for_the_lan() {
    let mut topology = topology(MacvlanMode::Bridge);
    add_route(&mut topology, LAN, RouteKind::Unicast, "192.0.2.0/24", 2);
    topology[LAN].routes.last_mut().unwrap().gateway = Some(address("10.0.0.11"));
    let walk = Walker::new(&topology).walk_from_program(
        Sender::of(LAN),
        tuple(UDP, "0.0.0.0", "192.0.2.1"),
        FlowPosition::First,
    );
    assert!(matches!(walk.end, End::NoRoute { namespace: ONE, .. }), "{walk:?}");
}

#[test]
fn a_tentative_address_of_a_macvlan_does_not_answer() {
    let mut topology = topology(MacvlanMode::Bridge);
    for (id, own) in [(ONE, "fd00::11/64"), (TWO, "fd00::12/64"), (LAN, "fd00::99/64")] {
        let eth0 = topology[id].interfaces.iter_mut().find(|it| it.name == "eth0").unwrap();
        eth0.addresses.push(own.parse().unwrap());
        add_route(&mut topology, id, RouteKind::Unicast, "fd00::/64", 2);
        add_route(&mut topology, id, RouteKind::Local, &own.replace("64", "128"), 2);
    }
    let ask = |topology: &Topology, origin| {
        let packet = tuple(TCP, "::", "fd00::12");
        let walk = walk_connection(topology, Origin::Local(origin), packet, Proxy::default());
        sentence(&walk.first, topology)
    };
    assert!(ask(&topology, ONE).starts_with("delivered on two"), "{}", ask(&topology, ONE));
    topology[TWO].interfaces[1].tentative = vec![address("fd00::12")];
    for (origin, name) in [(ONE, "one"), (LAN, "lan")] {
        let expected = format!(
            "lost on {name}: no neighbor on eth0 answers for fd00::12: it is tentative on eth0 of two, or duplicate address \
             detection failed"
        );
        assert_eq!(ask(&topology, origin), expected);
    }
}
