//! What passes between the sandboxes of a network whose members may not talk to one another
//! (`icc=false`): links, and what was translated to a published port.
//!
//! Bridged packets meet the IP hooks where br_netfilter is on for their family, and there conntrack tells
//! exactly what answers what and what was translated. Where it is off only the hooks of the bridge see them, and
//! nothing translated is among them: the ports of the bridge say who speaks, and each packet is judged by itself.

use super::rules::{
    ESTABLISHED, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV6_NEIGHBOUR_ADVERTISEMENT,
    ICMPV6_NEIGHBOUR_SOLICITATION,
};
use crate::object::{RulesetSwitches, SetName};
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, CtState, Family, Hook, Load, PayloadBase, RuleBuilder, Table, rule};

/// The chain that decides about packets that stay within an isolated network.
pub(super) const WITHIN: &str = "within-isolated";
/// `NF_BR_PRI_FILTER_BRIDGED`, linux/netfilter_bridge.h.
pub(super) const FILTER_BRIDGED: i32 = -200;
const BETWEEN_PORTS: &str = "between-isolated";

/// The byte with the flags of a TCP header, and those that only the first packet has so: SYN without ACK
/// (RFC 9293 section 3.1).
const TCP_FLAGS: Load = Load::Payload(PayloadBase::Transport, 13, 1);
const SYN_AND_ACK: u8 = 0x12;
const SYN: u8 = 0x02;

/// Who has which address, without which no two could be linked.
fn neighbour_discovery(rule: impl Fn() -> RuleBuilder) -> [RuleBuilder; 2] {
    [ICMPV6_NEIGHBOUR_SOLICITATION, ICMPV6_NEIGHBOUR_ADVERTISEMENT]
        .map(|kind| rule().icmpv6().is(Load::ICMPV6_TYPE, [kind]).accept())
}

/// Packets that enter and leave by the same isolated bridge: routed, or bridged with br_netfilter on.
pub(super) fn within(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    let families = [
        (Family::Ip, L::IP_SOURCE, L::IP_DESTINATION, SetName::Links4),
        (Family::Ip6, L::IP6_SOURCE, L::IP6_DESTINATION, SetName::Links6),
    ];
    let chain = families.into_iter().fold(Chain::regular(WITHIN), |chain, (family, source, to, links)| {
        let answer = rule().family(family).ct_state_any(&ESTABLISHED);
        chain.with([
            rule()
                .family(family)
                .is_in(&[source, to, L::TRANSPORT, L::DESTINATION_PORT], links.text())
                .accept()
                .comment("link"),
            answer
                .is_in(&[to, source, L::TRANSPORT, L::SOURCE_PORT], links.text())
                .accept()
                .comment("answer by a link"),
        ])
    });
    let chain = chain.with([
        rule().ct_state_any(&[CtState::Related]).accept(),
        rule().ct_status_dnat().accept().comment("published"),
    ]);
    let chain = match switches.bridge_netfilter_ipv6 {
        true => chain.with(neighbour_discovery(|| rule().family(Family::Ip6))),
        false => chain,
    };
    chain.with([rule().counter().drop().comment("icc is off")])
}

/// Frames from one port of a bridge to another, where both are of an isolated network.
pub(super) fn forward() -> Chain {
    let ports = SetName::IccOffPorts.text();
    let both = rule().is_in(&[Load::INPUT_NAME], ports).is_in(&[Load::OUTPUT_NAME], ports);
    Chain::base("isolation", ChainKind::Filter, Hook::Forward, FILTER_BRIDGED)
        .with([both.goto(BETWEEN_PORTS)])
}

fn unfiltered(kind: u16) -> RuleBuilder {
    rule().ether_type(kind).accept().comment("not filtered")
}

/// Whether IPv4 and IPv6 are left alone by the rules that a table of the bridge family holds.
pub(super) fn spares(table: &Table) -> (bool, bool) {
    let chain = table.chains.iter().find(|chain| chain.name == BETWEEN_PORTS);
    let has = |kind| {
        let wanted = Chain::regular(BETWEEN_PORTS).with([unfiltered(kind)]);
        chain.is_some_and(|chain| wanted.rules.iter().all(|rule| chain.rules.contains(rule)))
    };
    (has(ETHERTYPE_IPV4), has(ETHERTYPE_IPV6))
}

pub(super) fn between_ports(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    // By the frame's own header: br_netfilter passes over frames with a tag, which a receiver takes as if
    // there were none when its number is 0.
    let families = [
        (switches.bridge_netfilter_ipv4, switches.ipv4_disabled, ETHERTYPE_IPV4),
        (switches.bridge_netfilter_ipv6, switches.ipv6_disabled, ETHERTYPE_IPV6),
    ];
    let decided = families.into_iter().filter(|(seen, spared, _)| *seen || *spared);
    let decided = decided.map(|(_, spared, kind)| match spared {
        true => unfiltered(kind),
        false => rule().ether_type(kind).accept().comment("decided where it is forwarded"),
    });
    let links = SetName::LinkedPorts.text();
    Chain::regular(BETWEEN_PORTS)
        .with([rule().ether_type(ETHERTYPE_ARP).accept()])
        .with(neighbour_discovery(|| rule().ether_type(ETHERTYPE_IPV6)))
        .with(decided)
        .with([
            rule()
                .is_in(&[L::INPUT_NAME, L::OUTPUT_NAME, L::TRANSPORT, L::DESTINATION_PORT], links)
                .accept()
                .comment("link"),
            rule()
                .transport(Protocol::Tcp)
                .is_masked(TCP_FLAGS, [SYN_AND_ACK], [SYN])
                .counter()
                .drop()
                .comment("a link opens one way"),
            rule()
                .is_in(&[L::OUTPUT_NAME, L::INPUT_NAME, L::TRANSPORT, L::SOURCE_PORT], links)
                .accept()
                .comment("answer by a link"),
            rule().counter().drop().comment("icc is off"),
        ])
}
