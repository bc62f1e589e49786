//! What the relay may send.

use super::packet::{ESTABLISHED, link_local};
use super::reason::Reason;
use crate::object::SetName;
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, CtState, Family, Hook, Load, RuleBuilder, priority, rule};

const DNS: u16 = 53;
/// The ACK bit of the flags of a TCP header (RFC 9293 section 3.1).
const TCP_ACK: u8 = 0x10;

/// Confines the relay, which reads what strangers send: should it be taken over, it still reaches nothing but our
/// networks, and the name servers on the host's loopback and its links. Other name servers it asks by sockets in the
/// sandboxes' namespaces.
pub(super) fn chains(user: u32) -> [Chain; 2] {
    let base = Chain::base("relay-output", ChainKind::Filter, Hook::Output, priority::FILTER)
        .with([rule().socket_user(user).goto("relay")]);
    let on_loopback = |protocol| rule().oifname("lo").to_port(protocol, DNS).accept();
    let to_link = link_local(rule().family(Family::Ip6), Load::IP6_DESTINATION);
    let on_link = |protocol| to_link.clone().to_port(protocol, DNS).accept();
    let chain = Chain::regular("relay")
        .with([
            rule().ct_state_any(&ESTABLISHED).accept(),
            rule().is_in(&[Load::OUTPUT_NAME], SetName::Bridges.text()).accept(),
            on_loopback(Protocol::Udp),
            on_loopback(Protocol::Tcp),
            on_link(Protocol::Udp),
            on_link(Protocol::Tcp),
            rule()
                .transport(Protocol::Tcp)
                .has_any_bit(Load::TCP_FLAGS, [TCP_ACK])
                .accept()
                .comment(Reason::NotFirstSegment),
        ])
        .with(untracked_replies())
        .with([Reason::RelayDestination.drops(rule())]);
    [base, chain]
}

/// Accepts datagrams from published ports, where a rule of the host keeps them from conntrack.
fn untracked_replies() -> impl Iterator<Item = RuleBuilder> {
    use Load as L;
    let families = [
        (
            Family::Ip,
            L::IP_SOURCE,
            (SetName::Published4ByAddress, Reason::FromPublished4ByAddress),
            (SetName::Published4, Reason::FromPublished4),
        ),
        (
            Family::Ip6,
            L::IP6_SOURCE,
            (SetName::Published6ByAddress, Reason::FromPublished6ByAddress),
            (SetName::Published6, Reason::FromPublished6),
        ),
    ];
    families.into_iter().flat_map(|(family, address, by_address, everywhere)| {
        let keys = [vec![L::TRANSPORT, address, L::SOURCE_PORT], vec![L::TRANSPORT, L::SOURCE_PORT]];
        keys.into_iter().zip([by_address, everywhere]).map(move |(key, (map, reason))| {
            let untracked = rule().family(family).ct_state_any(&[CtState::Untracked]);
            let published = untracked.transport(Protocol::Udp).is_key_of(&key, map.text());
            // `nft list` shows no look-up whose value is not used.
            published.accept().comment(reason)
        })
    })
}
