//! Networks whose subnet other hosts reach by routes: who may come in, and who is spoken to untranslated.

use crate::object::SetName;
use fairway_ruleset::{Chain, Family, Load, RuleBuilder, rule};

/// The chain that decides who comes in from elsewhere.
pub(super) const INTO: &str = "into-routed";

const ICMP: u8 = 1;

const FAMILIES: [(Family, Load, Load, SetName, SetName); 2] = [
    (Family::Ip, Load::IP_SOURCE, Load::IP_DESTINATION, SetName::Peers4, SetName::DirectPorts4),
    (Family::Ip6, Load::IP6_SOURCE, Load::IP6_DESTINATION, SetName::Peers6, SetName::DirectPorts6),
];

/// Peers come in to everything, others to what is published, by its own address; echo requests come from
/// everywhere, as to any routed subnet. Other networks of this host are as apart as ever.
pub(super) fn into_routed() -> Chain {
    let chain = Chain::regular(INTO).with([rule()
        .is_in(&[Load::INPUT_NAME], SetName::Bridges.text())
        .counter()
        .drop()
        .comment("another network")]);
    let chain = FAMILIES.into_iter().fold(chain, |chain, (family, source, to, peers, open)| {
        chain.with([
            rule()
                .family(family)
                .is_in(&[Load::OUTPUT_NAME, source], peers.text())
                .accept()
                .comment("a peer"),
            rule()
                .family(family)
                .is_in(&[to, Load::TRANSPORT, Load::DESTINATION_PORT], open.text())
                .accept()
                .comment("published, by its own address"),
        ])
    });
    chain.with([
        rule().family(Family::Ip).is(Load::TRANSPORT, [ICMP]).accept(),
        rule().family(Family::Ip6).icmpv6().accept(),
        rule().counter().drop().comment("not published"),
    ])
}

/// Packets to peers keep their addresses.
pub(super) fn untranslated() -> impl Iterator<Item = RuleBuilder> {
    FAMILIES.into_iter().map(|(family, _, to, peers, _)| {
        let to_peer = rule().family(family).is_in(&[Load::INPUT_NAME, to], peers.text());
        to_peer.go_back().comment("to a peer")
    })
}
