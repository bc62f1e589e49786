//! Ports of networks with `fairway.guard=strict`: a sandbox sends from nothing but its own addresses.
//!
//! Elsewhere it may use any address that nobody has, as who forwards for others or has a VPN must. Here only what
//! says who it is from passes, and what an interface says before it has an address.

use super::rules::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV6_NEIGHBOUR_ADVERTISEMENT,
    ICMPV6_NEIGHBOUR_SOLICITATION, spared,
};
use crate::object::{RulesetSwitches, SetName};
use fairway_model::Protocol;
use fairway_ruleset::{Chain, Family, Load, MetaKey, RuleBuilder, rule};

const STRICT: &str = "strict-guard";

/// BOOTP client and server, RFC 2131 section 4.1.
const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;
/// Router solicitation (RFC 4861 section 4.1), and reports of multicast listeners (RFC 2710 section 3, RFC 3810
/// section 5.2): besides solicitations of its own address what comes from no address.
const ICMPV6_WITHOUT_ADDRESS: [u8; 3] = [133, 131, 143];

fn carries(kind: u16) -> RuleBuilder {
    rule().is(Load::Meta(MetaKey::Protocol), kind.to_be_bytes())
}

fn own(rule: RuleBuilder, claim: Load, set: SetName) -> RuleBuilder {
    rule.is_in(&[Load::INPUT_NAME, claim], set.text()).accept()
}

fn not_own(rule: RuleBuilder, claim: Load, set: SetName) -> RuleBuilder {
    rule.is_not_in(&[Load::INPUT_NAME, claim], set.text()).counter().drop()
}

/// The way to it, at the end of the guard.
pub(super) fn entry() -> RuleBuilder {
    rule().is_in(&[Load::INPUT_NAME], SetName::StrictGuardPorts.text()).goto(STRICT)
}

pub(super) fn chain(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    let spares = |family| spared(switches).any(|spared| spared == family);
    let nothing4 = [0; 4];
    let from_nothing6 = || carries(ETHERTYPE_IPV6).is(L::IP6_SOURCE, [0; 16]).icmpv6();
    let advertises = carries(ETHERTYPE_IPV6).icmpv6().is(L::ICMPV6_TYPE, [ICMPV6_NEIGHBOUR_ADVERTISEMENT]);
    let asks_for_own = from_nothing6().is(L::ICMPV6_TYPE, [ICMPV6_NEIGHBOUR_SOLICITATION]);
    let chain = Chain::regular(STRICT)
        .with([not_own(rule(), L::ETHER_SOURCE, SetName::PortMacs).comment("not its own MAC")]);
    let chain = match spares(Family::Ip) {
        true => chain.with([ETHERTYPE_IPV4, ETHERTYPE_ARP].map(|kind| carries(kind).accept())),
        false => chain.with([
            own(carries(ETHERTYPE_IPV4), L::IP_SOURCE, SetName::PortIps4),
            carries(ETHERTYPE_IPV4)
                .is(L::IP_SOURCE, nothing4)
                .from_port(Protocol::Udp, DHCP_CLIENT)
                .to_port(Protocol::Udp, DHCP_SERVER)
                .accept()
                .comment("DHCP"),
            not_own(carries(ETHERTYPE_ARP), L::ARP_SENDER_ETHER, SetName::PortMacs)
                .comment("not its own MAC by ARP"),
            own(carries(ETHERTYPE_ARP), L::ARP_SENDER_IP, SetName::PortIps4),
            carries(ETHERTYPE_ARP).is(L::ARP_SENDER_IP, nothing4).accept().comment("a probe"),
        ]),
    };
    let chain = match spares(Family::Ip6) {
        true => chain.with([carries(ETHERTYPE_IPV6).accept()]),
        false => chain
            .with([
                not_own(advertises, L::ND_TARGET, SetName::PortIps6).comment("not its own address by ND"),
                own(carries(ETHERTYPE_IPV6), L::IP6_SOURCE, SetName::PortIps6),
                own(asks_for_own, L::ND_TARGET, SetName::PortIps6).comment("is it free?"),
            ])
            .with(ICMPV6_WITHOUT_ADDRESS.map(|kind| from_nothing6().is(L::ICMPV6_TYPE, [kind]).accept())),
    };
    chain.with([rule().counter().drop().comment("not its own address")])
}
