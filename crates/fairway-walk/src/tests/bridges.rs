//! Bridges, with and without br_netfilter.

use super::bridged::{
    BRIDGE, FAR, HOST, ONE, SWITCH, TWO, ask, ask_from, bridged, host, port, ports, table, with_switch,
};
use super::routed::{comments, filter, interface, listen, sentence, texts};
use super::{TCP, UDP, address, tuple};
use crate::{
    End, FlowPosition, Interface, Origin, Outcome, Proxy, RouteKind, Sender, Step, StepKind, Topology,
    Walker, add_interface, walk_connection,
};
use fairway_model::MacAddress;
use fairway_ruleset::{
    Chain, ChainKind, Expression, Family, Hook, Load, Register, Reject, RuleBuilder, Table, rule,
};

/// A table of the bridge, or of IP, with one chain whose only rule has a comment.
fn seen_at(family: Family, hook: Hook, priority: i32, matched: RuleBuilder, name: &str) -> Table {
    let chain = Chain::base("seen", ChainKind::Filter, hook, priority);
    table(family, name, chain.with([matched.comment(name).set_mark(1)]))
}

#[test]
fn frames_go_to_the_port_that_leads_to_their_destination() {
    let topology = bridged();
    for (to, expected) in [("10.0.0.12", "10.0.0.11"), ("fd00::12", "fd00::11")] {
        let connection = ask(&topology, to);
        assert_eq!(connection.outcome(), Outcome::Answered(address(expected)));
        assert_eq!(ports(&connection), ["p2"]);
    }
    let outside = ask(&topology, "10.0.0.99");
    assert_eq!(outside.outcome(), Outcome::LeavesHost);
    assert_eq!(ports(&outside), ["out"]);
    assert_eq!(
        sentence(&outside.first, &topology),
        "leaves host by out for 10.0.0.99, where a capture sees tcp 10.0.0.11:40000 > 10.0.0.99:80"
    );
    let mut topology = bridged();
    listen(host(&mut topology), TCP, "::", 80);
    for to in ["10.0.0.1", "fd00::1"] {
        let up = ask(&topology, to);
        assert!(matches!(up.outcome(), Outcome::Answered(_)), "{up:?}");
        assert_eq!(ports(&up), ["up"]);
        let captured = texts(&up.first, &topology, HOST, StepKind::In);
        assert_eq!(captured.len(), 2, "at the port and at the bridge: {captured:?}");
    }
}

#[test]
fn the_host_sends_by_its_bridge() {
    let topology = bridged();
    for (to, port) in [("10.0.0.11", "p1"), ("10.0.0.12", "p2"), ("fd00::12", "p2"), ("10.0.0.99", "out")] {
        let connection = ask_from(&topology, HOST, UDP, to);
        assert_eq!(ports(&connection), [port], "{to}");
    }
    let mut topology = bridged();
    port(&mut topology, 13).up = false;
    let lost = ask_from(&topology, HOST, UDP, "10.0.0.99");
    assert_eq!(sentence(&lost.first, &topology), "lost on host: no neighbor on br0 has 10.0.0.99");
    let lost = ask_from(&topology, ONE, UDP, "10.0.0.99");
    assert_eq!(sentence(&lost.first, &topology), "lost on one: no neighbor on eth0 has 10.0.0.99");
    port(&mut topology, 12).up = false;
    let lost = ask_from(&topology, HOST, UDP, "10.0.0.12");
    assert_eq!(sentence(&lost.first, &topology), "lost on host: no neighbor on br0 has 10.0.0.12");
    port(&mut topology, BRIDGE).up = false;
    let lost = ask_from(&topology, HOST, UDP, "10.0.0.11");
    assert!(matches!(lost.first.end, End::NoRoute { .. }), "{lost:?}");
}

#[test]
fn frames_pass_several_bridges() {
    let mut topology = with_switch();
    for (from, protocol, to) in [(ONE, TCP, "10.0.0.99"), (HOST, UDP, "fd00::99"), (FAR, TCP, "10.0.0.11")] {
        let connection = ask_from(&topology, from, protocol, to);
        assert!(matches!(connection.outcome(), Outcome::Answered(_)), "{connection:?}");
    }
    assert_eq!(ports(&ask(&topology, "10.0.0.99")), ["out", "to-far"]);
    // Behind the other bridge may be hosts that are not known.
    let index = 13;
    add_interface(
        &mut topology[SWITCH],
        Interface { bridge: Some(BRIDGE), ..interface(SWITCH, index, "uplink", &[]) },
    );
    assert_eq!(ports(&ask(&topology, "10.0.0.50")), ["out", "uplink"]);
    // What they send comes in by the port to that bridge.
    let stranger = tuple(TCP, "10.0.0.50", "10.0.0.11");
    let arrives = walk_connection(&topology, Origin::Remote(HOST, BRIDGE), stranger, Proxy::default());
    assert_eq!(ports(&arrives), ["p1"], "{arrives:?}");
}

/// With the spanning tree protocol, bridges may be connected twice.
#[test]
fn a_loop_of_bridges_ends_the_search() {
    let mut topology = with_switch();
    for (place, name) in [(HOST, "second"), (SWITCH, "back")] {
        let port = Interface { bridge: Some(BRIDGE), ..interface(place, 20, name, &[]) };
        add_interface(&mut topology[place], port);
    }
    topology.join((HOST, 20), (SWITCH, 20));
    assert!(matches!(ask(&topology, "10.0.0.99").outcome(), Outcome::Answered(_)));
    let lost = ask(&topology, "10.0.0.50");
    assert_eq!(sentence(&lost.first, &topology), "lost on one: no neighbor on eth0 has 10.0.0.50");
}

/// Connections to a broadcast address fail at once, and what comes to one from elsewhere is not answered.
#[test]
fn nothing_answers_at_a_broadcast_address() {
    let mut topology = bridged();
    let own = ask(&topology, "10.0.0.255");
    assert_eq!(own.outcome(), Outcome::Unreachable, "{own:?}");
    let all = ask_from(&topology, ONE, UDP, "10.0.0.255");
    assert!(matches!(all.first.end, End::Unknown { .. }), "{all:?}");
    let second = interface(HOST, 30, "eth1", &["10.9.0.1/24"]);
    add_interface(host(&mut topology), second);
    listen(host(&mut topology), TCP, "::", 80);
    for protocol in [TCP, UDP] {
        let connection = ask_from(&topology, ONE, protocol, "10.9.0.255");
        assert_eq!(connection.outcome(), Outcome::NoReply, "{connection:?}");
    }
    listen(host(&mut topology), UDP, "0.0.0.0", 80);
    let heard = ask_from(&topology, ONE, UDP, "10.9.0.255");
    assert!(matches!(heard.first.end, End::Delivered { .. }), "{heard:?}");
}

#[test]
fn an_interface_that_is_down_neither_answers_nor_receives() {
    let mut topology = bridged();
    topology[TWO].interfaces[1].up = false;
    let lost = ask(&topology, "10.0.0.12");
    assert_eq!(ports(&lost), ["out"], "only a host outside may have the address");
    port(&mut topology, 13).up = false;
    let lost = ask(&topology, "10.0.0.12");
    assert_eq!(sentence(&lost.first, &topology), "lost on one: no neighbor on eth0 has 10.0.0.12");
}

/// `br_nf_ops` in net/bridge/br_netfilter_hooks.c: IP's hooks at 0 of prerouting, just before 0 of forward, and last of
/// postrouting.
#[test]
fn bridged_packets_meet_the_ip_hooks_among_the_chains_of_the_bridge() {
    let mut topology = bridged();
    for (hook, priorities) in
        [(Hook::Prerouting, [-1, 1]), (Hook::Forward, [-2, 0]), (Hook::Postrouting, [300, i32::MAX - 1])]
    {
        for at in priorities {
            let seen = seen_at(Family::Bridge, hook, at, rule(), &format!("bridge {hook} {at}"));
            host(&mut topology).tables.push(seen);
        }
        host(&mut topology).tables.push(seen_at(Family::Inet, hook, 500, rule(), &format!("ip {hook}")));
    }
    let met = |topology: &Topology, to: &str| comments(&ask(topology, to).first, topology, HOST);
    let last = format!("bridge postrouting {}", i32::MAX - 1);
    let bridge_only = [
        "bridge prerouting -1",
        "bridge prerouting 1",
        "bridge forward -2",
        "bridge forward 0",
        "bridge postrouting 300",
        &last,
    ];
    assert_eq!(met(&topology, "10.0.0.12"), bridge_only);
    let with_ip = [
        "bridge prerouting -1",
        "ip prerouting",
        "bridge prerouting 1",
        "bridge forward -2",
        "ip forward",
        "bridge forward 0",
        "bridge postrouting 300",
        &last,
        "ip postrouting",
    ];
    host(&mut topology).bridge_netfilter = (true, false);
    assert_eq!(met(&topology, "10.0.0.12"), with_ip);
    assert_eq!(met(&topology, "fd00::12"), bridge_only);
    host(&mut topology).bridge_netfilter = (false, true);
    assert_eq!(met(&topology, "10.0.0.12"), bridge_only);
    assert_eq!(met(&topology, "fd00::12"), with_ip);
}

/// `ip_sabotage_in`: a packet that met the IP hook at the port does not meet it again at the bridge.
#[test]
fn a_packet_for_the_host_meets_the_ip_hook_once() {
    for bridge_netfilter in [(false, false), (true, true)] {
        let mut topology = bridged();
        listen(host(&mut topology), TCP, "::", 80);
        host(&mut topology).bridge_netfilter = bridge_netfilter;
        for hook in [Hook::Prerouting, Hook::Input] {
            host(&mut topology).tables.push(seen_at(
                Family::Inet,
                hook,
                0,
                rule().iifname("br0"),
                &hook.to_string(),
            ));
            let seen = seen_at(Family::Bridge, hook, 0, rule().iifname("p1"), &format!("bridge {hook}"));
            host(&mut topology).tables.push(seen);
        }
        let mut met = comments(&ask(&topology, "10.0.0.1").first, &topology, HOST);
        met.sort_unstable();
        assert_eq!(met, ["bridge input", "bridge prerouting", "input", "prerouting"], "{bridge_netfilter:?}");
    }
}

#[test]
fn the_hooks_of_the_bridge_see_ports_and_those_of_ip_the_bridge() {
    let mut topology = bridged();
    host(&mut topology).bridge_netfilter = (true, true);
    let port_is =
        |output, name: &str| {
            let register = Register::FIRST;
            let mut value = name.as_bytes().to_vec();
            value.resize(16, 0);
            rule().expression(Expression::BridgePort { output, to: register }).expression(
                Expression::Compare { from: register, operator: fairway_ruleset::Comparison::Equal, value },
            )
        };
    for (name, family, hook, matched) in [
        ("bridge forward", Family::Bridge, Hook::Forward, rule().iifname("p1").oifname("p2")),
        ("bridge postrouting", Family::Bridge, Hook::Postrouting, rule().iifname("").oifname("p2")),
        ("ip prerouting", Family::Inet, Hook::Prerouting, rule().iifname("br0").oifname("")),
        ("ip forward", Family::Inet, Hook::Forward, rule().iifname("br0").oifname("br0")),
        ("ip postrouting", Family::Inet, Hook::Postrouting, rule().iifname("").oifname("br0")),
        ("port in", Family::Inet, Hook::Forward, port_is(false, "p1")),
        ("port out", Family::Inet, Hook::Forward, port_is(true, "p2")),
    ] {
        host(&mut topology).tables.push(seen_at(family, hook, 0, matched, name));
    }
    let mut met = comments(&ask(&topology, "10.0.0.12").first, &topology, HOST);
    met.sort_unstable();
    assert_eq!(
        met,
        [
            "bridge forward",
            "bridge postrouting",
            "ip forward",
            "ip postrouting",
            "ip prerouting",
            "port in",
            "port out"
        ]
    );
    // What the host sends itself meets output and postrouting of the bridge, and IP's own hooks with the bridge.
    let mut topology = bridged();
    host(&mut topology).bridge_netfilter = (true, true);
    for hook in [Hook::Output, Hook::Postrouting, Hook::Forward] {
        let seen = seen_at(Family::Bridge, hook, 0, rule().oifname("p2"), &format!("bridge {hook}"));
        host(&mut topology).tables.push(seen);
        host(&mut topology).tables.push(seen_at(Family::Inet, hook, 0, rule(), &format!("ip {hook}")));
    }
    let met = comments(&ask_from(&topology, HOST, UDP, "10.0.0.12").first, &topology, HOST);
    assert_eq!(met, ["ip output", "ip postrouting", "bridge output", "bridge postrouting"]);
}

#[test]
fn a_rule_on_the_bridge_may_drop_a_frame_at_each_hook() {
    for (hook, to) in [
        (Hook::Prerouting, "10.0.0.12"),
        (Hook::Forward, "10.0.0.12"),
        (Hook::Postrouting, "10.0.0.12"),
        (Hook::Input, "10.0.0.1"),
    ] {
        let mut topology = bridged();
        let chain = Chain::base("drops", ChainKind::Filter, hook, 0).with([rule().drop()]);
        host(&mut topology).tables.push(table(Family::Bridge, "mine", chain));
        let first = ask(&topology, to).first;
        assert_eq!(sentence(&first, &topology), "dropped on host by bridge mine drops: drop", "{hook}");
    }
    for (hook, origin) in [(Hook::Output, HOST), (Hook::Postrouting, HOST)] {
        let mut topology = bridged();
        let chain = Chain::base("drops", ChainKind::Filter, hook, 0).with([rule().drop()]);
        host(&mut topology).tables.push(table(Family::Bridge, "mine", chain));
        let first = ask_from(&topology, origin, UDP, "10.0.0.12").first;
        assert!(matches!(first.end, End::Dropped { .. }), "{hook} {first:?}");
    }
}

/// A frame from a host behind the port that leads out.
#[test]
fn frames_from_outside_enter_by_the_port_that_leads_out() {
    let topology = bridged();
    let arrives = |topology: &Topology, interface, to: &str| {
        let mut walker = Walker::new(topology);
        let walk = walker.arrives(HOST, interface, tuple(TCP, "10.0.0.99", to), FlowPosition::First);
        let captured = walk.steps.iter().find_map(|step| match step {
            Step::Arrives { interface, .. } => Some(interface.clone()),
            _ => None,
        });
        (captured.unwrap_or_default(), sentence(&walk, topology))
    };
    for interface in [BRIDGE, 13] {
        let (at, end) = arrives(&topology, interface, "10.0.0.12");
        assert_eq!(at, "out");
        assert!(end.starts_with("delivered on two"), "{end}");
    }
    // To the host, and to a host that is not there: the router's MAC address.
    for to in ["10.0.0.1", "192.0.2.1"] {
        let (at, end) = arrives(&topology, BRIDGE, to);
        assert_eq!(at, "out");
        assert!(end.starts_with("refused"), "{end}");
    }
    let (_, end) = arrives(&topology, 99, "10.0.0.12");
    assert_eq!(end, "lost on host: the interface is down");
    // A bridge without a port that leads out receives at itself.
    let mut closed = bridged();
    port(&mut closed, 13).up = false;
    let (at, end) = arrives(&closed, BRIDGE, "10.0.0.1");
    assert_eq!(at, "br0");
    assert_eq!(end, "refused: no socket on host listens at 10.0.0.1:80");
}

#[test]
fn the_senders_mac_address_is_known_only_within_the_topology() {
    let sender = |mac: MacAddress| rule().is(Load::ETHER_SOURCE, mac.0);
    let mut topology = bridged();
    let mac = topology[ONE].interfaces[1].mac;
    host(&mut topology).tables.push(seen_at(Family::Bridge, Hook::Forward, 0, sender(mac), "from one"));
    assert_eq!(comments(&ask(&topology, "10.0.0.12").first, &topology, HOST), ["from one"]);
    let walk =
        Walker::new(&topology).arrives(HOST, 13, tuple(TCP, "10.0.0.99", "10.0.0.12"), FlowPosition::First);
    assert!(sentence(&walk, &topology).ends_with("the sender's MAC address is not known"), "{walk:?}");
}

/// `nf_send_reset` on a bridge: back to the port itself, past all hooks.
#[test]
fn a_reset_by_a_rule_goes_back_to_the_port() {
    let mut topology = bridged();
    host(&mut topology).bridge_netfilter = (true, true);
    let reset = rule().expression(Expression::Reject(Reject::TcpReset));
    filter(&mut topology, HOST, Hook::Forward, [reset]);
    filter(&mut topology, HOST, Hook::Output, [rule().comment("output").set_mark(1)]);
    filter(&mut topology, ONE, Hook::Input, [rule().comment("arrived").set_mark(1)]);
    let connection = ask(&topology, "10.0.0.12");
    assert_eq!(connection.outcome(), Outcome::Refused);
    let reply = connection.reply.unwrap();
    assert!(comments(&reply, &topology, HOST).is_empty());
    assert_eq!(comments(&reply, &topology, ONE), ["arrived"]);
    assert_eq!(texts(&reply, &topology, HOST, StepKind::Out), ["out  tcp 10.0.0.12:80 > 10.0.0.11:40000"]);
    // From outside there is no known peer.
    let mut walker = Walker::new(&topology);
    walker.arrives(HOST, 13, tuple(TCP, "10.0.0.99", "10.0.0.12"), FlowPosition::First);
    assert_eq!(sentence(&walker.refusal().unwrap(), &topology), "lost on host: the port leads nowhere");
}

/// An ICMP error by a rule that rejects a bridged packet is routed, and comes from the bridge.
#[test]
fn an_error_about_a_bridged_packet_is_routed_by_the_host() {
    let mut topology = bridged();
    host(&mut topology).bridge_netfilter = (true, true);
    filter(&mut topology, HOST, Hook::Forward, [rule().reject()]);
    for (to, source) in [("10.0.0.12", "10.0.0.1"), ("fd00::12", "fd00::1")] {
        let connection = ask_from(&topology, ONE, UDP, to);
        let End::Delivered { tuple, .. } = connection.reply.as_ref().unwrap().end else {
            panic!("{connection:?}")
        };
        assert_eq!(tuple.source, address(source));
    }
    // In prerouting a packet for the host itself has no route yet: the error comes from the address of the bridge.
    let mut topology = bridged();
    host(&mut topology).bridge_netfilter = (true, true);
    host(&mut topology).interfaces[1].addresses.push("10.0.0.2/24".parse().unwrap());
    filter(&mut topology, HOST, Hook::Prerouting, [rule().iifname("br0").reject()]);
    let source = |topology: &Topology, to: &str| {
        let connection = ask_from(topology, ONE, UDP, to);
        let made = texts(connection.reply.as_ref().unwrap(), topology, HOST, StepKind::Program).remove(0);
        made.split(' ').nth(2).unwrap().to_owned()
    };
    assert_eq!(source(&topology, "10.0.0.2"), "10.0.0.1");
    host(&mut topology).bridge_netfilter = (false, false);
    assert_eq!(source(&topology, "10.0.0.2"), "10.0.0.2");
}

/// `arp_process`: a host that answers an ARP request learns the address of its sender, and does not ask for it.
#[test]
fn a_neighbor_is_known_by_its_own_request() {
    let mut topology = bridged();
    // One checks sources strictly, and expects two behind another interface: it answers no ARP request of two.
    add_interface(&mut topology[ONE], interface(ONE, 3, "eth1", &["10.0.1.11/24"]));
    super::routed::add_route(&mut topology, ONE, RouteKind::Unicast, "10.0.0.12/32", 3);
    topology[ONE].interfaces[1].reverse_path = 1;
    port(&mut topology, 13).up = false;
    let reply = tuple(UDP, "10.0.0.12", "10.0.0.11");
    let mut walker = Walker::new(&topology);
    let walk = walker.walk_from_program(Sender::of(TWO), reply, FlowPosition::First);
    assert_eq!(sentence(&walk, &topology), "lost on two: no neighbor on eth0 has 10.0.0.11");
    let sender = Sender { interface: Some(2), ..Sender::of(ONE) };
    let walk = walker.walk_from_program(sender, reply.reversed(), FlowPosition::First);
    assert!(matches!(walk.end, End::NoListener { .. } | End::Delivered { .. }), "{walk:?}");
    let walk = walker.walk_from_program(Sender::of(TWO), reply, FlowPosition::Reply);
    assert_eq!(
        sentence(&walk, &topology),
        "lost on one: the way back to its source 10.0.0.12 is not by eth0: its rp_filter is 1"
    );
}

/// `br_handle_frame` and `should_deliver` of net/bridge.
#[test]
fn a_port_that_does_not_forward_takes_no_part() {
    use crate::PortState;
    for state in [PortState::Disabled, PortState::Listening, PortState::Learning, PortState::Blocking] {
        let mut topology = bridged();
        port(&mut topology, 13).port_state = state;
        port(&mut topology, 12).port_state = state;
        let name = state.name();
        for to in ["10.0.0.12", "fd00::12"] {
            let lost = ask(&topology, to);
            assert_eq!(
                sentence(&lost.first, &topology),
                format!(
                    "lost on one: no neighbor on eth0 answers for {to}: the bridge port p2 of host is {name}"
                )
            );
        }
        let lost = ask_from(&topology, TWO, UDP, "10.0.0.1");
        let reason = format!("answers for 10.0.0.1: the bridge port p2 of host is {name}");
        assert!(sentence(&lost.first, &topology).ends_with(&reason), "{lost:?}");
        // A frame that comes in nevertheless.
        let stranger = tuple(TCP, "10.0.0.50", "10.0.0.11");
        let arrives = walk_connection(&topology, Origin::Remote(HOST, BRIDGE), stranger, Proxy::default());
        let reason = format!("lost on host: the bridge port out is {name}");
        assert_eq!(sentence(&arrives.first, &topology), reason);
    }
}

#[test]
fn a_port_that_learns_still_meets_the_rules_of_prerouting() {
    use crate::PortState;
    let stranger = tuple(TCP, "10.0.0.50", "10.0.0.11");
    for (state, expected) in [(PortState::Learning, vec!["seen"]), (PortState::Listening, vec![])] {
        let mut topology = bridged();
        port(&mut topology, 13).port_state = state;
        host(&mut topology).tables.push(seen_at(Family::Bridge, Hook::Prerouting, -300, rule(), "seen"));
        let arrives = walk_connection(&topology, Origin::Remote(HOST, BRIDGE), stranger, Proxy::default());
        assert_eq!(comments(&arrives.first, &topology, HOST), expected);
    }
}

/// The other way of a loop is taken where a port is blocked.
#[test]
fn frames_take_the_way_that_the_spanning_tree_leaves_open() {
    let mut topology = with_switch();
    for (place, name) in [(HOST, "second"), (SWITCH, "back")] {
        let port = Interface { bridge: Some(BRIDGE), ..interface(place, 20, name, &[]) };
        add_interface(&mut topology[place], port);
    }
    topology.join((HOST, 20), (SWITCH, 20));
    let to_host = |topology: &mut Topology| {
        topology[SWITCH]
            .interfaces
            .iter_mut()
            .find(|it| it.index == 11)
            .map(|it| it.port_state = crate::PortState::Blocking)
    };
    to_host(&mut topology).unwrap();
    let answered = ask(&topology, "10.0.0.99");
    assert!(matches!(answered.outcome(), Outcome::Answered(_)), "{answered:?}");
    assert_eq!(ports(&answered), ["second", "to-far"]);
}

#[test]
fn a_tentative_address_does_not_answer() {
    let mut topology = bridged();
    topology[TWO].interfaces[1].tentative = vec![address("fd00::12")];
    port(&mut topology, 13).up = false;
    let lost = ask(&topology, "fd00::12");
    assert_eq!(
        sentence(&lost.first, &topology),
        "lost on one: no neighbor on eth0 answers for fd00::12: it is tentative on eth0 of two, or duplicate address \
         detection failed"
    );
    assert!(matches!(ask(&topology, "10.0.0.12").outcome(), Outcome::Answered(_)));
    // An interface that is not behind the bridge is not the reason.
    let apart = interface(HOST, 30, "apart", &["fd00::77/128"]);
    add_interface(&mut topology[HOST], Interface { tentative: vec![address("fd00::77")], ..apart });
    assert_eq!(
        sentence(&ask(&topology, "fd00::77").first, &topology),
        "lost on one: no neighbor on eth0 has fd00::77"
    );
}
