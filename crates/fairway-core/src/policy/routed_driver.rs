//! Networks of the driver `routed`, whose subnet other hosts reach by routes: what may enter, and what leaves without
//! NAT.

use super::packet::ICMP;
use super::reason::Reason;
use crate::object::SetName;
use fairway_ruleset::{Chain, Family, Load, RuleBuilder, rule};

/// The chain of packets that enter such a network.
pub(super) const IN: &str = "routed-driver-in";

const FAMILIES: [(Family, Load, Load, SetName, SetName); 2] = [
    (Family::Ip, Load::IP_SOURCE, Load::IP_DESTINATION, SetName::Peers4, SetName::DirectPorts4),
    (Family::Ip6, Load::IP6_SOURCE, Load::IP6_DESTINATION, SetName::Peers6, SetName::DirectPorts6),
];

/// Decides about packets into such a network: peers reach everything, other hosts published ports by the sandbox's own
/// address, and ICMP passes, as into any routed subnet. Other networks of this host do not reach it.
pub(super) fn chain() -> Chain {
    let from_network = rule().is_in(&[Load::INPUT_NAME], SetName::Bridges.text());
    let chain = Chain::regular(IN).with([Reason::OtherNetwork.drops(from_network)]);
    let chain = FAMILIES.into_iter().fold(chain, |chain, (family, source, to, peers, ports)| {
        chain.with([
            rule()
                .family(family)
                .is_in(&[Load::OUTPUT_NAME, source], peers.text())
                .accept()
                .comment(Reason::FromPeer),
            rule()
                .family(family)
                .is_in(&[to, Load::TRANSPORT, Load::DESTINATION_PORT], ports.text())
                .accept()
                .comment(Reason::PublishedPortDirect),
        ])
    });
    chain.with([
        rule().family(Family::Ip).is(Load::TRANSPORT, ICMP).accept(),
        rule().family(Family::Ip6).icmpv6().accept(),
        Reason::NotPublished.drops(rule()),
    ])
}

/// Packets to peers keep their source address.
pub(super) fn without_nat() -> impl Iterator<Item = RuleBuilder> {
    FAMILIES.into_iter().map(|(family, _, to, peers, _)| {
        let to_peer = rule().family(family).is_in(&[Load::INPUT_NAME, to], peers.text());
        to_peer.go_back().comment(Reason::ToPeer)
    })
}
