//! The chains that packets of the host enter, and those that decide what enters and leaves a network.

use std::net::Ipv6Addr;

use super::packet::{ESTABLISHED, INPUT_AND_FAMILY, INPUT_AND_OUTPUT, link_local};
use super::reason::Reason;
use super::{direct_access, icc, routed_driver};
use crate::object::{RulesetSwitches, SetName};
use fairway_ruleset::{
    Chain, ChainKind, CtState, Expression, Family, Hook, Load, MetaKey, PayloadBase, Rule, RuleBuilder,
    Table, priority, rule,
};

const FORWARD: &str = "forward";
const NETWORK_IN: &str = "network-in";
const NETWORK_OUT: &str = "network-out";
const PUBLISHED_DNAT: &str = "published-dnat";
const ENGINE_DNAT: &str = "engine-dnat";
const LOOPBACK_IPV4: [u8; 1] = [127];

/// All chains.
pub(super) fn chains(switches: &RulesetSwitches) -> Vec<Chain> {
    vec![
        raw_prerouting(),
        nat_prerouting(switches),
        nat_output(switches),
        published_dnat(),
        engine_dnat(),
        forward(switches),
        network_in(switches),
        network_out(),
        nat_postrouting(switches),
    ]
}

/// A name as the kernel compares it: padded to IFNAMSIZ.
fn padded_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// Matches packets to 127.0.0.0/8. Only the first byte is compared, which is all that the prefix says.
fn to_loopback4() -> RuleBuilder {
    let first_byte = Load::Payload(PayloadBase::Network, 16, 1);
    rule().family(Family::Ip).is(first_byte, LOOPBACK_IPV4)
}

/// Matches packets from 127.0.0.0/8.
fn from_loopback4() -> RuleBuilder {
    let first_byte = Load::Payload(PayloadBase::Network, 12, 1);
    rule().family(Family::Ip).is(first_byte, LOOPBACK_IPV4)
}

/// Keeps packets from a wire or a sandbox away from the host's loopback addresses, which `route_localnet` would open.
fn raw_prerouting() -> Chain {
    let from_outside = to_loopback4().is_not(Load::INPUT_NAME, padded_name("lo"));
    Chain::base("raw-prerouting", ChainKind::Filter, Hook::Prerouting, priority::RAW)
        .with([Reason::LoopbackFromOutside.drops(from_outside)])
}

/// Published ports, for packets that arrive.
fn nat_prerouting(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::base("nat-prerouting", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT);
    let from_sandbox = rule().is_in(&[Load::INPUT_NAME], SetName::Bridges.text()).go_back();
    let chain = match switches.userland_proxy {
        true => chain
            .with([engine_ports(), from_sandbox.comment(Reason::SandboxUsesProxy)])
            .with(link_local_uses_proxy()),
        false => chain,
    };
    // While there was no firewall nothing was tracked: conntrack takes each connection from then for a new one.
    let proxied = rule().connected_here().go_back().comment(Reason::OlderConnection);
    chain.with([proxied, rule().to_local().jump(PUBLISHED_DNAT)])
}

/// Published ports, for packets of the host itself.
fn nat_output(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::base("nat-output", ChainKind::Nat, Hook::Output, priority::DESTINATION_NAT);
    let loopback6 = rule()
        .family(Family::Ip6)
        .is(Load::IP6_DESTINATION, Ipv6Addr::LOCALHOST.octets())
        .go_back()
        .comment(Reason::LoopbackIpv6);
    let chain = match switches.userland_proxy {
        true => chain
            .with([loopback6.clone(), engine_ports()])
            .with([to_loopback4().go_back().comment(Reason::LoopbackUsesProxy)])
            .with(link_local_uses_proxy()),
        false => chain,
    };
    chain.with([loopback6, rule().to_local().jump(PUBLISHED_DNAT)])
}

/// Translates for everybody where another engine holds the port: no proxy answers there.
fn engine_ports() -> RuleBuilder {
    rule().to_local().jump(ENGINE_DNAT)
}

/// Leaves packets from and to link-local addresses to the proxy: the kernel forwards no packet with such a source
/// (RFC 4291 section 2.5.6). Those of 169.254.0.0/16 it does forward.
fn link_local_uses_proxy() -> [RuleBuilder; 2] {
    [Load::IP6_SOURCE, Load::IP6_DESTINATION].map(|address| {
        let matched = link_local(rule().family(Family::Ip6), address);
        matched.go_back().comment(Reason::LinkLocalUsesProxy)
    })
}

/// Rewrites the destination of packets to published ports.
fn published_dnat() -> Chain {
    let ipv4 = (SetName::Published4ByAddress, SetName::Published4);
    dnat(PUBLISHED_DNAT, ipv4, (SetName::Published6ByAddress, SetName::Published6))
}

/// Rewrites the destination of packets to published ports that other engines hold.
fn engine_dnat() -> Chain {
    let ipv4 = (SetName::EnginePublished4ByAddress, SetName::EnginePublished4);
    dnat(ENGINE_DNAT, ipv4, (SetName::EnginePublished6ByAddress, SetName::EnginePublished6))
}

/// Rewrites the destination by maps: for each family that of ports of one address, then that of ports of all.
fn dnat(name: &'static str, ipv4: (SetName, SetName), ipv6: (SetName, SetName)) -> Chain {
    use Load as L;
    let families = [(Family::Ip, L::IP_DESTINATION, ipv4), (Family::Ip6, L::IP6_DESTINATION, ipv6)];
    let chain = Chain::regular(name);
    families.into_iter().fold(chain, |chain, (family, address, (by_address, everywhere))| {
        chain.with([
            rule().family(family).dnat_by(
                family,
                &[L::TRANSPORT, address, L::DESTINATION_PORT],
                by_address.text(),
            ),
            rule().family(family).dnat_by(family, &[L::TRANSPORT, L::DESTINATION_PORT], everywhere.text()),
        ])
    })
}

/// What the host forwards.
fn forward(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::base(FORWARD, ChainKind::Filter, Hook::Forward, priority::FILTER).with([
        rule().is_in(&[Load::OUTPUT_NAME], SetName::Bridges.text()).goto(NETWORK_IN),
        rule().is_in(&[Load::INPUT_NAME], SetName::Bridges.text()).goto(NETWORK_OUT),
    ]);
    let families = [
        (switches.drop_unrelated_forward_ipv4, switches.bridge_netfilter_ipv4, Family::Ip),
        (switches.drop_unrelated_forward_ipv6, switches.bridge_netfilter_ipv6, Family::Ip6),
    ];
    families.into_iter().filter(|(drops, ..)| *drops).fold(chain, |chain, (_, bridged, family)| {
        let bridge = || padded_name("bridge");
        let within = rule()
            .family(family)
            .is(Load::Meta(MetaKey::InputKind), bridge())
            .is(Load::Meta(MetaKey::OutputKind), bridge())
            .accept()
            .comment(Reason::Bridged);
        let chain = if bridged { chain.with([within]) } else { chain };
        chain.with([unrelated(family)])
    })
}

/// Drops what is forwarded between interfaces of which none is a bridge of ours.
fn unrelated(family: Family) -> RuleBuilder {
    Reason::UnrelatedForward.drops(rule().family(family))
}

/// Whether a table of ours, at rest, drops what is forwarded between other interfaces, by IPv4 and by IPv6: then the
/// daemon that made it had switched forwarding on. The table may be one of a version with other comments.
pub fn drops_unrelated_forwarding(table: &Table) -> (bool, bool) {
    let rules = table.chain(FORWARD).map_or(&[][..], |chain| &chain.rules);
    let has = |family| {
        let wanted: Vec<Expression> = Rule::from(unrelated(family)).expressions;
        rules.iter().any(|rule| rule.expressions == wanted)
    };
    (has(Family::Ip), has(Family::Ip6))
}

/// What enters a network: replies, packets of its own sandboxes, and those translated to a published port.
fn network_in(switches: &RulesetSwitches) -> Chain {
    let from_internal = rule().is_in(&[Load::INPUT_NAME], SetName::InternalBridges.text());
    let chain = Chain::regular(NETWORK_IN).with([
        // Before the replies: a flow must not outlive the link that allowed it.
        rule().is_in(&INPUT_AND_OUTPUT, SetName::IccOff.text()).goto(icc::CHAIN).comment(Reason::IccOff),
        rule().ct_state_any(&ESTABLISHED).accept(),
        rule().is_in(&INPUT_AND_OUTPUT, SetName::SameNetwork.text()).accept().comment(Reason::SameNetwork),
        Reason::InternalNetwork.drops(from_internal),
        not_isolated(SetName::OpenBridges, SetName::LenientBridges),
        not_isolated(SetName::LenientBridges, SetName::OpenBridges),
        rule().ct_status_dnat().accept().comment(Reason::PublishedPort),
    ]);
    chain.with(direct_access::entry(switches)).with([Reason::NotPublished.drops(rule())])
}

/// Lets connections begin between networks that are not isolated from one another. An invalid packet would enter with the
/// sandbox's own address.
fn not_isolated(from: SetName, to: SetName) -> RuleBuilder {
    let between = rule().is_in(&[Load::INPUT_NAME], from.text()).is_in(&[Load::OUTPUT_NAME], to.text());
    between.ct_state_any(&[CtState::New]).accept().comment(Reason::NotIsolated)
}

/// What leaves a network for an interface that is no bridge of ours.
fn network_out() -> Chain {
    let from_internal = rule().is_in(&[Load::INPUT_NAME], SetName::InternalBridges.text());
    let invalid =
        rule().ct_state_any(&[CtState::Invalid]).is_in(&INPUT_AND_FAMILY, SetName::MasqueradeBridges.text());
    Chain::regular(NETWORK_OUT).with([
        rule().ct_state_any(&ESTABLISHED).accept(),
        Reason::InternalNetwork.drops(from_internal),
        Reason::NotTranslated.drops(invalid),
        rule().accept(),
    ])
}

/// The source addresses of packets that leave.
fn nat_postrouting(switches: &RulesetSwitches) -> Chain {
    let mut rules = Vec::new();
    rules.extend(replies_return(switches));
    rules.extend(routed_driver::without_nat());
    for (family, set) in [(Family::Ip, SetName::Snat4), (Family::Ip6, SetName::Snat6)] {
        let outbound = rule().family(family).is_not_in(&INPUT_AND_OUTPUT, SetName::SameNetwork.text());
        rules.push(outbound.snat_by(family, &[Load::INPUT_NAME], set.text()).comment(Reason::Outbound));
    }
    let outbound = rule()
        .is_in(&INPUT_AND_FAMILY, SetName::MasqueradeBridges.text())
        .is_not_in(&INPUT_AND_OUTPUT, SetName::SameNetwork.text());
    rules.push(outbound.masquerade().comment(Reason::Outbound));
    Chain::base("nat-postrouting", ChainKind::Nat, Hook::Postrouting, priority::SOURCE_NAT).with(rules)
}

/// Masquerades packets to published ports whose replies would not return through the host otherwise.
fn replies_return(switches: &RulesetSwitches) -> Vec<RuleBuilder> {
    let to_bridge = rule().is_in(&[Load::OUTPUT_NAME], SetName::Bridges.text());
    // With the proxy only ports that other engines hold are translated on loopback.
    let from_host = match switches.userland_proxy {
        true => from_loopback4().is_in(&[Load::OUTPUT_NAME], SetName::Bridges.text()).ct_status_dnat(),
        false => to_bridge.from_local(),
    };
    let mut rules = vec![from_host.masquerade().comment(Reason::FromHost)];
    let hairpin = [
        (Family::Ip, [Load::IP_SOURCE, Load::IP_DESTINATION], SetName::Hairpin4),
        (Family::Ip6, [Load::IP6_SOURCE, Load::IP6_DESTINATION], SetName::Hairpin6),
    ];
    for (family, key, set) in hairpin {
        let to_itself = rule().family(family).is_in(&key, set.text());
        rules.push(to_itself.masquerade().comment(Reason::OwnPublishedPort));
    }
    let by_bridge =
        [(switches.bridge_netfilter_ipv4, Family::Ip), (switches.bridge_netfilter_ipv6, Family::Ip6)];
    for (_, family) in by_bridge.into_iter().filter(|(bridge_netfilter, _)| !*bridge_netfilter) {
        let same = rule().family(family).ct_status_dnat();
        let same = same.is_in(&INPUT_AND_OUTPUT, SetName::SameNetwork.text());
        rules.push(same.masquerade().comment(Reason::BridgedReply));
    }
    rules
}
