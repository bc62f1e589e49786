//! NAT.

use super::routed::{
    CLIENT, ROUTER, SERVER, add_chain, add_route, ask, comments, filter, header, interface, listen, routed,
    sentence, texts,
};
use super::{ICMP, TCP, UDP, address, tuple};
use crate::{End, FlowPosition, Outcome, RouteKind, Sender, StepKind, Topology, Walker, add_interface};
use fairway_ruleset::{
    Chain, ChainKind, CtKey, CtState, Expression, Family, Hook, Load, NatFlags, NatKind, PayloadBase,
    Register, Rule, RuleBuilder, Table, compat, priority, rule,
};

/// A rule that translates to an address and port.
fn translates(matched: RuleBuilder, kind: NatKind, to: &str, port: Option<u16>) -> Rule {
    let value = match address(to) {
        std::net::IpAddr::V4(to) => to.octets().to_vec(),
        std::net::IpAddr::V6(to) => to.octets().to_vec(),
    };
    let family = if value.len() == 4 { Family::Ip } else { Family::Ip6 };
    let (address, second) = (Register::FIRST, Register::at(8).unwrap());
    let matched = matched.expression(Expression::Immediate { to: address, value });
    let matched = match port {
        Some(port) => {
            matched.expression(Expression::Immediate { to: second, value: port.to_be_bytes().to_vec() })
        }
        None => matched,
    };
    matched
        .expression(Expression::Nat {
            kind,
            family,
            address: Some(address.into()),
            port: port.map(|_| second.into()),
            flags: NatFlags::default(),
        })
        .into()
}

fn redirects(matched: RuleBuilder, port: Option<u16>) -> Rule {
    let register = Register::FIRST;
    let value = port.unwrap_or_default().to_be_bytes().to_vec();
    matched
        .expression(Expression::Immediate { to: register, value })
        .expression(Expression::Redirect { port: port.map(|_| register.into()), flags: NatFlags::default() })
        .into()
}

fn nat(hook: Hook, rules: impl IntoIterator<Item = impl Into<Rule>>) -> Chain {
    let priority = match hook {
        Hook::Prerouting | Hook::Output => priority::DESTINATION_NAT,
        _ => priority::SOURCE_NAT,
    };
    Chain::base(hook.to_string(), ChainKind::Nat, hook, priority).with(rules)
}

/// The router with one nat chain.
fn translating(hook: Hook, rules: impl IntoIterator<Item = impl Into<Rule>>) -> Topology {
    let mut topology = routed();
    add_chain(&mut topology, ROUTER, nat(hook, rules));
    topology
}

/// What the server sees of the client's first packet.
fn seen(topology: &Topology, protocol: u8, to: &str) -> String {
    let connection = ask(topology, protocol, to);
    let End::Delivered { tuple, .. } = connection.first.end else { panic!("{connection:?}") };
    assert_eq!(connection.outcome(), Outcome::Answered(tuple.source), "{connection:?}");
    let End::Delivered { tuple: reply, namespace, .. } = connection.reply.unwrap().end else { panic!() };
    assert_eq!(
        (namespace, reply.source),
        (CLIENT, address(to)),
        "the reply comes from the address that was asked"
    );
    tuple.to_string()
}

#[test]
fn destinations_are_translated_and_replies_translated_back() {
    for (to, server, own, source) in [
        ("192.0.2.1", "10.2.0.2", "10.2.0.2:80", "10.1.0.2"),
        ("2001:db8::1", "fd02::2", "[fd02::2]:80", "[fd01::2]"),
    ] {
        let topology =
            translating(Hook::Prerouting, [translates(rule(), NatKind::Destination, server, None)]);
        assert_eq!(seen(&topology, TCP, to), format!("tcp {source}:40000 > {own}"));
        assert_eq!(seen(&topology, UDP, to), format!("udp {source}:40000 > {own}"));
        let mut topology =
            translating(Hook::Prerouting, [translates(rule(), NatKind::Destination, server, Some(8080))]);
        topology[SERVER].listeners.iter_mut().for_each(|listener| listener.port = 8080);
        assert_eq!(seen(&topology, TCP, to), format!("tcp {source}:40000 > {}80", own));
        let walk = ask(&topology, TCP, to);
        let first = texts(&walk.first, &topology, ROUTER, StepKind::Translate);
        assert!(first[0].starts_with("destination ") && !first[0].contains("first"), "{first:?}");
        let later = texts(walk.established.as_ref().unwrap(), &topology, ROUTER, StepKind::Translate);
        assert_eq!(later, [format!("{} (as it was for the first)", first[0])]);
    }
}

#[test]
fn sources_are_translated_and_replies_translated_back() {
    let snat =
        |to: &str, port| translating(Hook::Postrouting, [translates(rule(), NatKind::Source, to, port)]);
    assert_eq!(seen(&snat("10.2.0.1", None), TCP, "10.2.0.2"), "tcp 10.2.0.1:40000 > 10.2.0.2:80");
    assert_eq!(seen(&snat("10.2.0.1", Some(1025)), TCP, "10.2.0.2"), "tcp 10.2.0.1:1025 > 10.2.0.2:80");
    assert_eq!(seen(&snat("fd02::1", Some(1025)), UDP, "fd02::2"), "udp [fd02::1]:1025 > [fd02::2]:80");
    // An echo keeps its identifier.
    assert_eq!(seen(&snat("10.2.0.1", Some(1025)), ICMP, "10.2.0.2"), "icmp 10.2.0.1 > 10.2.0.2");
}

#[test]
fn masquerade_takes_an_address_of_the_output_interface() {
    let masquerade = || {
        let mut topology = translating(Hook::Postrouting, [rule().oifname("eth1").masquerade()]);
        topology[ROUTER].interfaces[2].addresses.insert(0, "10.7.0.1/24".parse().unwrap());
        topology
    };
    assert_eq!(seen(&masquerade(), UDP, "10.2.0.2"), "udp 10.2.0.1:40000 > 10.2.0.2:80");
    assert_eq!(seen(&masquerade(), UDP, "fd02::2"), "udp [fd02::1]:40000 > [fd02::2]:80");
    let (register, flags) = (Register::FIRST, NatFlags::default());
    let to_port = rule()
        .expression(Expression::Immediate { to: register, value: vec![4, 1] })
        .expression(Expression::Masquerade { port: Some(register.into()), flags });
    let to_port = translating(Hook::Postrouting, [to_port]);
    assert_eq!(seen(&to_port, UDP, "10.2.0.2"), "udp 10.2.0.1:1025 > 10.2.0.2:80");
    let source = |topology: &Topology, to: &str| {
        let first = ask(topology, UDP, to).first;
        texts(&first, topology, ROUTER, StepKind::Translate)
            .remove(0)
            .replace("source 10.1.0.2:40000 -> ", "")
    };
    // A far destination: the address in the subnet of the gateway.
    let mut topology = masquerade();
    add_route(&mut topology, ROUTER, RouteKind::Unicast, "192.0.2.0/24", 3);
    assert_eq!(source(&topology, "192.0.2.1"), "10.7.0.1:40000");
    topology[ROUTER].routes.last_mut().unwrap().gateway = Some(address("10.2.0.2"));
    assert_eq!(source(&topology, "192.0.2.1"), "10.2.0.1:40000");
    // Loopback addresses stay on the host: another interface lends one.
    let mut topology = masquerade();
    topology[ROUTER].interfaces[2].addresses = vec!["127.0.0.9/8".parse().unwrap()];
    assert_eq!(source(&topology, "10.2.0.2"), "10.1.0.1:40000");
    // The route that counts is that of the mark.
    let mut topology = masquerade();
    filter(&mut topology, ROUTER, Hook::Prerouting, [rule().set_mark(7)]);
    let marked = crate::RouteRule { mark: Some((7, 7)), ..crate::RouteRule::default() };
    topology[ROUTER].rules.insert(1, crate::RouteRule { priority: 1, ipv4: true, table: 100, ..marked });
    add_route(&mut topology, ROUTER, RouteKind::Unicast, "192.0.2.0/24", 3);
    let route = topology[ROUTER].routes.last_mut().unwrap();
    (route.table, route.gateway) = (100, Some(address("10.2.0.2")));
    assert_eq!(source(&topology, "192.0.2.1"), "10.2.0.1:40000");
}

/// RFC 6724, section 5, rule 1.
#[test]
fn a_masqueraded_packet_to_an_own_address_has_that_address() {
    for (to, expected) in
        [("fd02::1", "udp [fd02::1]:40000 > [fd02::1]:80"), ("10.2.0.1", "udp 10.1.0.1:40000 > 10.2.0.1:80")]
    {
        let mut topology = routed();
        listen(&mut topology[ROUTER], UDP, "::", 80);
        add_chain(&mut topology, ROUTER, nat(Hook::Postrouting, [rule().masquerade()]));
        let source = if to.contains(':') { "fd01::1" } else { "0.0.0.0" };
        let walk = Walker::new(&topology).walk_from_program(
            Sender::of(ROUTER),
            tuple(UDP, source, to),
            FlowPosition::First,
        );
        let End::Delivered { tuple, .. } = walk.end else { panic!("{walk:?}") };
        assert_eq!(tuple.to_string(), expected);
    }
}

/// `nf_nat_redirect_ipv4` in net/netfilter/nf_nat_redirect.c.
#[test]
fn redirects_lead_to_the_host_itself() {
    for (to, expected) in [
        ("10.2.0.2", "udp 10.1.0.2:40000 > 10.1.0.1:8080"),
        ("fd02::2", "udp [fd01::2]:40000 > [fd01::1]:8080"),
    ] {
        let mut topology = translating(Hook::Prerouting, [redirects(rule(), Some(8080))]);
        listen(&mut topology[ROUTER], UDP, "::", 8080);
        assert_eq!(seen(&topology, UDP, to), expected);
        let mut topology = translating(Hook::Prerouting, [redirects(rule(), None)]);
        listen(&mut topology[ROUTER], UDP, "::", 80);
        assert_eq!(seen(&topology, UDP, to), expected.replace("8080", "80"));
    }
    for (to, expected) in
        [("10.2.0.2", "udp 10.1.0.2:40000 > 127.0.0.1:8080"), ("fd02::2", "udp [fd01::2]:40000 > [::1]:8080")]
    {
        let mut topology = routed();
        add_chain(&mut topology, CLIENT, nat(Hook::Output, [redirects(rule(), Some(8080))]));
        listen(&mut topology[CLIENT], UDP, "::", 8080);
        assert_eq!(seen(&topology, UDP, to), expected);
    }
}

/// A source may be translated for packets that the host receives, too.
#[test]
fn sources_are_translated_on_input() {
    let mut topology = routed();
    add_chain(
        &mut topology,
        SERVER,
        nat(Hook::Input, [translates(rule(), NatKind::Source, "10.2.0.77", None)]),
    );
    let first = ask(&topology, UDP, "10.2.0.2").first;
    let End::Delivered { tuple, .. } = first.end else { panic!("{first:?}") };
    assert_eq!(tuple.source, address("10.2.0.77"));
}

#[test]
fn the_first_chain_that_translates_decides() {
    let to = |port| translates(rule(), NatKind::Destination, "10.2.0.2", Some(port));
    let chain = |priority, rules: Vec<Rule>| {
        Chain::base("nat", ChainKind::Nat, Hook::Prerouting, priority).with(rules)
    };
    let port = |chains: Vec<Chain>| {
        let mut topology = routed();
        for chain in chains {
            add_chain(&mut topology, ROUTER, chain);
        }
        let first = ask(&topology, UDP, "192.0.2.1").first;
        match first.end {
            End::NoListener { tuple, .. } => tuple.destination_port.to_string(),
            end => end.sentence(&topology),
        }
    };
    let accepts = || -> Rule { rule().accept().into() };
    assert_eq!(port(vec![chain(-100, vec![to(81)]), chain(-99, vec![to(82)])]), "81");
    assert_eq!(port(vec![chain(-100, vec![to(81)]), chain(-101, vec![to(82)])]), "82");
    assert_eq!(port(vec![chain(-100, vec![accepts()]), chain(-99, vec![to(82)])]), "82");
    // The order of tables at one priority is not known, unless they agree or one does not translate.
    let unknown = "unknown from here on router: inet mine1 nat and inet mine0 nat translate the packet differently \
                   at one priority, and their order is not known";
    assert_eq!(port(vec![chain(-100, vec![to(81)]), chain(-100, vec![to(82)])]), unknown);
    assert_eq!(port(vec![chain(-100, vec![to(81)]), chain(-100, vec![to(81)])]), "81");
    assert_eq!(port(vec![chain(-100, vec![to(81)]), chain(-100, vec![accepts()])]), "81");
    let recent: Rule =
        translates(rule().expression(compat::matching("recent")), NatKind::Destination, "10.2.0.2", Some(82));
    assert!(
        port(vec![chain(-100, vec![recent]), chain(-100, vec![to(81)])])
            .starts_with("unknown from here on router: inet mine0 nat")
    );
    // Chains of one table at one priority: the later one is first.
    let mut topology = routed();
    let mut table = Table::new(Family::Inet, "mine");
    table.chains =
        vec![chain(-100, vec![to(81)]), Chain { name: "second".to_owned(), ..chain(-100, vec![to(82)]) }];
    topology[ROUTER].tables.push(table);
    let first = ask(&topology, UDP, "192.0.2.1").first;
    assert_eq!(sentence(&first, &topology), "refused: no socket on server listens at 10.2.0.2:82");
}

/// The addresses of an ICMP error, and those of the packet that it reports, as rules of a namespace see them.
fn error_at(namespace: crate::NamespaceId, topology: &Topology, walk: &crate::PacketWalk) -> String {
    let found = comments(walk, topology, namespace);
    assert_eq!(found.len(), 1, "{found:?} {walk:?}");
    found[0].clone()
}

/// Rules that recognize ICMP errors by the addresses that they quote.
fn quoting() -> Vec<Rule> {
    let hosts = ["10.1.0.2", "10.2.0.2", "10.2.0.1", "192.0.2.1"];
    let octets = |text: &str| match address(text) {
        std::net::IpAddr::V4(address) => address.octets(),
        std::net::IpAddr::V6(_) => unreachable!(),
    };
    let ports = [(40_000_u16, 80_u16), (80, 40_000), (1025, 80), (40_000, 8080), (8080, 40_000), (80, 1025)];
    let pairs = hosts.into_iter().flat_map(|source| hosts.map(|destination| (source, destination)));
    pairs
        .flat_map(|(source, destination)| ports.map(|ports| (source, destination, ports)))
        .map(|(source, destination, (from, to))| {
            let quoted = rule()
                .is(Load::TRANSPORT, [ICMP])
                .is(header(PayloadBase::Transport, 8 + 12, 4), octets(source))
                .is(header(PayloadBase::Transport, 8 + 16, 4), octets(destination))
                .is(header(PayloadBase::Transport, 8 + 20, 2), from.to_be_bytes())
                .is(header(PayloadBase::Transport, 8 + 22, 2), to.to_be_bytes());
            quoted.comment(format!("{source}:{from} > {destination}:{to}")).accept().into()
        })
        .collect()
}

/// `nf_nat_icmp_reply_translation`: an error is translated like a packet of the flow against that which it reports.
#[test]
fn icmp_errors_are_translated_with_the_packet_that_they_report() {
    let dnat = || translates(rule(), NatKind::Destination, "10.2.0.2", Some(8080));
    let snat = || translates(rule(), NatKind::Source, "10.2.0.1", Some(1025));
    let refused_by = |namespace: crate::NamespaceId, chains: Vec<Chain>, to: &str| {
        let mut topology = routed();
        for listener in &mut topology[SERVER].listeners {
            listener.port = if chains[0].name == "prerouting" { 8080 } else { 80 };
        }
        for chain in chains {
            add_chain(&mut topology, ROUTER, chain);
        }
        let other = if namespace == SERVER { CLIENT } else { SERVER };
        filter(&mut topology, namespace, Hook::Input, [rule().reject()]);
        filter(&mut topology, other, Hook::Input, quoting());
        let connection = ask(&topology, UDP, to);
        let error = match namespace == SERVER {
            true => connection.reply.unwrap(),
            false => connection.refusal.unwrap(),
        };
        let addresses = texts(&error, &topology, other, StepKind::In).remove(0);
        format!("{addresses}, {}", error_at(other, &topology, &error))
    };
    let prerouting = || nat(Hook::Prerouting, [dnat()]);
    let postrouting = || nat(Hook::Postrouting, [snat()]);
    // From the server about the request: the client sees what it asked.
    for (chains, to, expected) in [
        (vec![prerouting()], "192.0.2.1", "in   icmp 192.0.2.1 > 10.1.0.2, 10.1.0.2:40000 > 192.0.2.1:80"),
        (vec![postrouting()], "10.2.0.2", "in   icmp 10.2.0.2 > 10.1.0.2, 10.1.0.2:40000 > 10.2.0.2:80"),
        (
            vec![prerouting(), postrouting()],
            "192.0.2.1",
            "in   icmp 192.0.2.1 > 10.1.0.2, 10.1.0.2:40000 > 192.0.2.1:80",
        ),
    ] {
        assert_eq!(refused_by(SERVER, chains, to), expected);
    }
    // From the client about the reply: the server sees what it sent.
    for (chains, to, expected) in [
        (vec![prerouting()], "192.0.2.1", "in   icmp 10.1.0.2 > 10.2.0.2, 10.2.0.2:8080 > 10.1.0.2:40000"),
        (vec![postrouting()], "10.2.0.2", "in   icmp 10.2.0.1 > 10.2.0.2, 10.2.0.2:80 > 10.2.0.1:1025"),
    ] {
        assert_eq!(refused_by(CLIENT, chains, to), expected);
    }
}

#[test]
fn conntrack_and_nat_have_their_places_among_the_priorities() {
    let mut topology =
        translating(Hook::Prerouting, [translates(rule(), NatKind::Destination, "10.2.0.2", None)]);
    add_chain(
        &mut topology,
        ROUTER,
        nat(Hook::Postrouting, [translates(rule(), NatKind::Source, "10.2.0.1", None)]),
    );
    let state = |name: String| {
        rule().is(Load::Ct(CtKey::State, None), CtState::New.number().to_ne_bytes()).comment(name).set_mark(1)
    };
    for at in [-201, -199] {
        let chain = Chain::base("tracked", ChainKind::Filter, Hook::Prerouting, at);
        add_chain(&mut topology, ROUTER, chain.with([state(format!("new at {at}"))]));
    }
    for (hook, at) in [(Hook::Prerouting, -101), (Hook::Prerouting, -99)] {
        let to = rule().to_address(address("10.2.0.2")).comment(format!("destination at {at}")).set_mark(1);
        let mut table = Table::new(Family::Ip, format!("d{at}"));
        table.chains.push(Chain::base("d", ChainKind::Filter, hook, at).with([to]));
        topology[ROUTER].tables.push(table);
    }
    for (hook, at) in [(Hook::Postrouting, 99), (Hook::Postrouting, 101)] {
        let from = rule().from_address(address("10.2.0.1")).comment(format!("source at {at}")).set_mark(1);
        let mut table = Table::new(Family::Ip, format!("s{at}"));
        table.chains.push(Chain::base("s", ChainKind::Filter, hook, at).with([from]));
        topology[ROUTER].tables.push(table);
    }
    let first = ask(&topology, UDP, "192.0.2.1").first;
    assert_eq!(comments(&first, &topology, ROUTER), ["new at -199", "destination at -99", "source at 101"]);
}

#[test]
fn the_source_of_a_second_link_is_that_of_its_route() {
    let mut topology = routed();
    add_interface(&mut topology[ROUTER], interface(ROUTER, 4, "eth2", &["10.3.0.1/24"]));
    add_chain(&mut topology, ROUTER, nat(Hook::Postrouting, [rule().masquerade()]));
    let first = ask(&topology, UDP, "10.3.0.9").first;
    assert_eq!(
        sentence(&first, &topology),
        "leaves router by eth2 for 10.3.0.9, where a capture sees udp 10.3.0.1:40000 > 10.3.0.9:80"
    );
}

/// A reset that a rule sends has the flow of the refused packet, whose destination has its binding already.
#[test]
fn a_flow_gets_its_binding_once() {
    let mut topology =
        translating(Hook::Prerouting, [translates(rule(), NatKind::Destination, "10.2.0.2", None)]);
    let again = rule().comment("again").counter();
    let again: Rule = translates(again, NatKind::Destination, "10.2.0.9", None);
    add_chain(&mut topology, ROUTER, nat(Hook::Output, [again]));
    let reset = Expression::Reject(fairway_ruleset::Reject::TcpReset);
    filter(&mut topology, ROUTER, Hook::Forward, [rule().expression(reset)]);
    let connection = ask(&topology, super::TCP, "192.0.2.1");
    assert_eq!(connection.outcome(), Outcome::Refused);
    assert!(comments(connection.reply.as_ref().unwrap(), &topology, ROUTER).is_empty());
}
