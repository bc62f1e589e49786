//! Tables with rules that set `meta nftrace`, so that the kernel reports the rules that packets meet.

use std::net::IpAddr;

use ipnet::IpNet;

use super::filter::{Filter, Pattern, Side};
use crate::explain::Port;
use fairway_core::policy::TRACE_TABLE_PREFIX;
use fairway_ruleset::{
    Chain, ChainKind, CtDirection, CtKey, Expression, Family, Hook, LimitRate, Load, MetaKey, Register, Rule,
    RuleBuilder, Table, TableFlags, Verdict, priority, rule,
};

/// The chain that sets `meta nftrace`; its last rule counts the packets beyond the rate limit.
pub const OVERFLOW: &str = "mark";
/// The priority before all other chains.
const FIRST: i32 = i32::MIN;
/// The rate limit of traced packets: packets per second, and burst.
const RATE: (u64, u32) = (1000, 1000);
/// The most rules of a filter. A filter that needs more traces all packets, and the joiner filters them.
const MOST: usize = 128;
const ETHER_TYPES: [(bool, u16); 2] = [(true, 0x0800), (false, 0x86dd)];

/// The tables that trace the packets of a filter on the host. `number` identifies the trace. With `tracks` they match
/// conntrack's tuples too, which is allowed only where conntrack is on already: matching them switches it on.
pub fn tables(number: u64, filter: &Filter, tracks: bool, flags: TableFlags) -> Vec<Table> {
    let name = format!("{TRACE_TABLE_PREFIX}{number}");
    let mut inet = Table { flags, ..Table::new(Family::Inet, name.clone()) };
    let mut bridge = Table { flags, ..Table::new(Family::Bridge, name) };
    let routed: Vec<RuleBuilder> = matches(filter, Where::Routed);
    inet.chains = vec![
        base("prerouting", Hook::Prerouting, FIRST).with(marking(routed.clone())),
        base("output", Hook::Output, FIRST).with(marking(routed)),
    ];
    if tracks {
        // Replies to translated packets, and ICMP errors, have other addresses: conntrack knows their flow.
        let after = priority::CONNTRACK + 1;
        let known: Vec<RuleBuilder> = matches(filter, Where::Tracked);
        inet.chains.push(base("prerouting-known", Hook::Prerouting, after).with(marking(known.clone())));
        inet.chains.push(base("output-known", Hook::Output, after).with(marking(known)));
    }
    inet.chains.push(mark());
    let bridged: Vec<RuleBuilder> = matches(filter, Where::Bridged);
    bridge.chains = vec![base("prerouting", Hook::Prerouting, FIRST).with(marking(bridged)), mark()];
    vec![inet, bridge]
}

/// The table that traces all packets of a sandbox: its namespace has few rules or none.
pub fn sandbox_table(number: u64, flags: TableFlags) -> Table {
    let mut table = Table { flags, ..Table::new(Family::Inet, format!("{TRACE_TABLE_PREFIX}{number}")) };
    table.chains = vec![
        base("prerouting", Hook::Prerouting, FIRST).with(marking(vec![rule()])),
        base("output", Hook::Output, FIRST).with(marking(vec![rule()])),
        mark(),
    ];
    table
}

fn base(name: &str, hook: Hook, priority: i32) -> Chain {
    Chain::base(name, ChainKind::Filter, hook, priority)
}

fn marking(matches: Vec<RuleBuilder>) -> impl Iterator<Item = RuleBuilder> {
    matches.into_iter().map(|rule| rule.verdict(Verdict::Goto(OVERFLOW.to_owned())))
}

/// The chain that marks packets up to the rate limit, and counts the rest.
fn mark() -> Chain {
    let (amount, burst) = RATE;
    let limit = LimitRate { amount, seconds: 1, burst, bytes: false, inverted: false };
    let register = Register::FIRST;
    let marked = rule()
        .expression(Expression::Limit(limit))
        .expression(Expression::Immediate { to: register, value: vec![1] })
        .expression(Expression::MetaSet { key: MetaKey::Trace, from: register })
        .accept();
    Chain::regular(OVERFLOW).with([marked, rule().counter()])
}

/// The place where packets are matched, and the addresses that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In the hooks of IP, by the packets' own addresses, in both directions.
    Routed,
    /// On a bridge, by the packets' own addresses, in both directions.
    Bridged,
    /// By the original tuple of the packets' flow in conntrack.
    Tracked,
}

fn matches(filter: &Filter, place: Where) -> Vec<RuleBuilder> {
    let mut known: Vec<Rule> = Vec::new();
    let mut rules: Vec<RuleBuilder> = Vec::new();
    for rule in filter.patterns.iter().flat_map(|it| of_pattern(it, place)) {
        if known.len() > MOST {
            return vec![fairway_ruleset::rule()];
        }
        let text: Rule = rule.clone().into();
        // Two patterns may yield the same rule.
        if !known.contains(&text) {
            known.push(text);
            rules.push(rule);
        }
    }
    rules
}

fn of_pattern(pattern: &Pattern, place: Where) -> Vec<RuleBuilder> {
    let ports: Vec<Option<Port>> = match &pattern.ports {
        None => vec![None],
        Some(ports) => ports.iter().map(|port| Some(*port)).collect(),
    };
    let backwards: &[bool] = if place == Where::Tracked { &[false] } else { &[false, true] };
    let mut rules = Vec::new();
    for (ipv4, ether_type) in ETHER_TYPES {
        let (from, to) = (sides(&pattern.from, ipv4, place), sides(&pattern.to, ipv4, place));
        for (backwards, port) in backwards.iter().flat_map(|it| ports.iter().map(move |port| (*it, *port))) {
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                if rules.len() > MOST {
                    return rules;
                }
                let family = if ipv4 { Family::Ip } else { Family::Ip6 };
                let start = match place {
                    Where::Bridged => rule().ether_type(ether_type),
                    _ => rule().family(family),
                };
                let (source, destination) = if backwards { (to, from) } else { (from, to) };
                let start = with(start, source, true, ipv4, place);
                let start = with(start, destination, false, ipv4, place);
                rules.push(with_port(start, port, backwards, place));
            }
        }
    }
    rules
}

/// A side as a rule can match it.
#[derive(Debug, Clone, Copy)]
enum Compared {
    Any,
    Net(IpNet),
    Local,
}

fn sides(side: &Side, ipv4: bool, place: Where) -> Vec<Compared> {
    match side {
        Side::Any | Side::Outside => vec![Compared::Any],
        Side::Host if place == Where::Routed => vec![Compared::Local],
        Side::Host => vec![Compared::Any],
        Side::Nets(nets) => {
            let own = nets.iter().filter(|net| net.addr().is_ipv4() == ipv4);
            own.map(|net| Compared::Net(*net)).collect()
        }
    }
}

fn with(rule: RuleBuilder, side: &Compared, source: bool, ipv4: bool, place: Where) -> RuleBuilder {
    let load = match (place, ipv4, source) {
        (Where::Tracked, true, true) => Load::Ct(CtKey::SourceIpv4, Some(CtDirection::Original)),
        (Where::Tracked, true, false) => Load::ORIGINAL_IP_DESTINATION,
        (Where::Tracked, false, true) => Load::Ct(CtKey::SourceIpv6, Some(CtDirection::Original)),
        (Where::Tracked, false, false) => Load::ORIGINAL_IP6_DESTINATION,
        (_, true, true) => Load::IP_SOURCE,
        (_, true, false) => Load::IP_DESTINATION,
        (_, false, true) => Load::IP6_SOURCE,
        (_, false, false) => Load::IP6_DESTINATION,
    };
    match side {
        Compared::Any => rule,
        Compared::Local if source => rule.from_local(),
        Compared::Local => rule.to_local(),
        Compared::Net(net) if net.prefix_len() == net.max_prefix_len() => rule.is(load, bytes(net.addr())),
        Compared::Net(net) => rule.is_masked(load, bytes(net.netmask()), bytes(net.network())),
    }
}

fn with_port(rule: RuleBuilder, port: Option<Port>, backwards: bool, place: Where) -> RuleBuilder {
    let Some((port, protocol)) = port else { return rule };
    let load = match (place, backwards) {
        (Where::Tracked, _) => Load::ORIGINAL_DESTINATION_PORT,
        (_, false) => Load::DESTINATION_PORT,
        (_, true) => Load::SOURCE_PORT,
    };
    rule.is(Load::TRANSPORT, [protocol]).is(load, port.to_be_bytes())
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
