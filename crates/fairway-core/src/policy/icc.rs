//! Networks with `icc=false`: between their sandboxes only links pass, and packets to published ports.
//!
//! Bridged packets meet the IP hooks where br_netfilter is on for their family. There conntrack knows replies and
//! translated packets. Where br_netfilter is off only the hooks of the bridge family see them, and no translated
//! packet is among them: rules match ports of the bridge, and decide on each packet alone.

use super::packet::{
    ESTABLISHED, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FILTER_BRIDGED,
    ICMPV6_NEIGHBOR_ADVERTISEMENT, ICMPV6_NEIGHBOR_SOLICITATION,
};
use super::reason::Reason;
use crate::object::{RulesetSwitches, SetName};
use fairway_model::Protocol;
use fairway_ruleset::{
    Chain, ChainKind, CtState, Family, Hook, Load, PayloadBase, Rule, RuleBuilder, Table, rule,
};

/// The chain of packets between sandboxes of such a network; there is one in each of our tables.
pub(super) const CHAIN: &str = "icc-off";
/// The comment in earlier versions of rules of [`Reason::Ipv4Disabled`] and [`Reason::Ipv6Disabled`].
const FORMER_DISABLED: &str = "not filtered";

/// The byte with the flags of a TCP header, and the flags of the first segment: SYN without ACK (RFC 9293
/// section 3.1).
const TCP_FLAGS: Load = Load::Payload(PayloadBase::Transport, 13, 1);
const SYN_AND_ACK: u8 = 0x12;
const SYN: u8 = 0x02;

/// Without neighbor discovery no two sandboxes could be linked.
fn neighbor_discovery(rule: impl Fn() -> RuleBuilder) -> [RuleBuilder; 2] {
    [ICMPV6_NEIGHBOR_SOLICITATION, ICMPV6_NEIGHBOR_ADVERTISEMENT]
        .map(|kind| rule().icmpv6().is(Load::ICMPV6_TYPE, [kind]).accept())
}

/// Decides about packets that enter and leave by the bridge of such a network: routed ones, or bridged ones with
/// br_netfilter on.
pub(super) fn chain(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    let families = [
        (Family::Ip, L::IP_SOURCE, L::IP_DESTINATION, SetName::Links4),
        (Family::Ip6, L::IP6_SOURCE, L::IP6_DESTINATION, SetName::Links6),
    ];
    let chain = families.into_iter().fold(Chain::regular(CHAIN), |chain, (family, source, to, links)| {
        let reply = rule().family(family).ct_state_any(&ESTABLISHED);
        chain.with([
            rule()
                .family(family)
                .is_in(&[source, to, L::TRANSPORT, L::DESTINATION_PORT], links.text())
                .accept()
                .comment(Reason::Link),
            reply
                .is_in(&[to, source, L::TRANSPORT, L::SOURCE_PORT], links.text())
                .accept()
                .comment(Reason::LinkReply),
        ])
    });
    let chain = chain.with([
        rule().ct_state_any(&[CtState::Related]).accept(),
        rule().ct_status_dnat().accept().comment(Reason::PublishedPort),
    ]);
    let chain = match switches.bridge_netfilter_ipv6 {
        true => chain.with(neighbor_discovery(|| rule().family(Family::Ip6))),
        false => chain,
    };
    chain.with([Reason::IccOff.drops(rule())])
}

/// The hook for frames from one port of a bridge to another, where both are of such a network.
pub(super) fn bridge_forward() -> Chain {
    let ports = SetName::IccOffPorts.text();
    let both = rule().is_in(&[Load::INPUT_NAME], ports).is_in(&[Load::OUTPUT_NAME], ports);
    Chain::base("icc-forward", ChainKind::Filter, Hook::Forward, FILTER_BRIDGED).with([both.goto(CHAIN)])
}

fn disabled(ether_type: u16, comment: impl Into<String>) -> RuleBuilder {
    rule().ether_type(ether_type).accept().comment(comment)
}

/// Whether a table of the bridge family, of this version or one before, leaves IPv4 and IPv6 alone.
pub(super) fn disabled_in(table: &Table) -> (bool, bool) {
    let has = |ether_type, reason: Reason| {
        let comments = [reason.comment(), FORMER_DISABLED];
        let [now, before] = comments.map(|it| Rule::from(disabled(ether_type, it)));
        table.chains.iter().flat_map(|chain| &chain.rules).any(|rule| *rule == now || *rule == before)
    };
    (has(ETHERTYPE_IPV4, Reason::Ipv4Disabled), has(ETHERTYPE_IPV6, Reason::Ipv6Disabled))
}

/// Decides about frames between ports of such a network.
pub(super) fn bridge_chain(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    // By the frame's own header: br_netfilter passes over frames with a tag, which a receiver takes as if
    // there were none when its number is 0.
    let families = [
        (switches.bridge_netfilter_ipv4, switches.ipv4_disabled, ETHERTYPE_IPV4, Reason::Ipv4Disabled),
        (switches.bridge_netfilter_ipv6, switches.ipv6_disabled, ETHERTYPE_IPV6, Reason::Ipv6Disabled),
    ];
    let accepted = families.into_iter().filter(|(by_ip, is_disabled, ..)| *by_ip || *is_disabled);
    let accepted = accepted.map(|(_, is_disabled, ether_type, reason)| match is_disabled {
        true => disabled(ether_type, reason),
        false => rule().ether_type(ether_type).accept().comment(Reason::FilteredByInet),
    });
    let links = SetName::LinkedPorts.text();
    let first_segment = rule().transport(Protocol::Tcp).is_masked(TCP_FLAGS, [SYN_AND_ACK], [SYN]);
    Chain::regular(CHAIN)
        .with([rule().ether_type(ETHERTYPE_ARP).accept()])
        .with(neighbor_discovery(|| rule().ether_type(ETHERTYPE_IPV6)))
        .with(accepted)
        .with([
            rule()
                .is_in(&[L::INPUT_NAME, L::OUTPUT_NAME, L::TRANSPORT, L::DESTINATION_PORT], links)
                .accept()
                .comment(Reason::Link),
            Reason::AgainstLink.drops(first_segment),
            rule()
                .is_in(&[L::OUTPUT_NAME, L::INPUT_NAME, L::TRANSPORT, L::SOURCE_PORT], links)
                .accept()
                .comment(Reason::LinkReply),
            Reason::IccOff.drops(rule()),
        ])
}
