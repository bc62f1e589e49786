//! Keeps a sandbox from sending with an address or MAC of another one.
//!
//! On each port of a bridge a sandbox may use any address that is not assigned, as a sandbox that forwards for others
//! or has a VPN must. With `fairway.guard=strict` only packets from the port's own addresses pass, and what an
//! interface sends before it has an address.

use super::disabled_families;
use super::packet::{
    DHCP_CLIENT, DHCP_SERVER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPES_VLAN, GUARD_PRIORITY,
    ICMPV6_NEIGHBOR_ADVERTISEMENT, ICMPV6_NEIGHBOR_SOLICITATION, carries,
};
use super::reason::Reason;
use crate::object::{RulesetSwitches, SetName};
use fairway_model::{HOST_INTERFACE_PREFIX, Protocol};
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Load, RuleBuilder, rule};

const STRICT: &str = "strict-source-guard";

/// Router solicitation (RFC 4861 section 4.1), and reports of multicast listeners (RFC 2710 section 3, RFC 3810
/// section 5.2): besides solicitations of its own address, what an interface sends from `::`.
const ICMPV6_WITHOUT_ADDRESS: [u8; 3] = [133, 131, 143];

/// Drops what claims an address or MAC that is assigned, unless it is the port's own.
fn spoofed(rule: RuleBuilder, claim: Load, (assigned, own): (SetName, SetName), why: Reason) -> RuleBuilder {
    why.drops(rule.is_in(&[claim], assigned.text()).is_not_in(&[Load::INPUT_NAME, claim], own.text()))
}

fn neighbor_advertisement() -> RuleBuilder {
    carries(ETHERTYPE_IPV6).icmpv6().is(Load::ICMPV6_TYPE, [ICMPV6_NEIGHBOR_ADVERTISEMENT])
}

/// The guard of all ports. MACs are guarded in frames of every kind, whichever address families are filtered.
pub(super) fn chain(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    let macs = (SetName::AssignedMacs, SetName::PortMacs);
    let ips4 = (SetName::AssignedIps4, SetName::PortIps4);
    let ips6 = (SetName::AssignedIps6, SetName::PortIps6);
    let (ipv4, arp, ipv6) =
        (|| carries(ETHERTYPE_IPV4), || carries(ETHERTYPE_ARP), || carries(ETHERTYPE_IPV6));
    let not_a_sandbox = rule().is_not(L::INPUT_NAME, HOST_INTERFACE_PREFIX.as_bytes().to_vec()).accept();
    let chain = Chain::base("source-guard", ChainKind::Filter, Hook::Prerouting, GUARD_PRIORITY)
        .with([not_a_sandbox.comment(Reason::NotSandboxPort)])
        .with(ETHERTYPES_VLAN.map(|tag| Reason::StackedVlanTags.drops(carries(tag))))
        .with([spoofed(rule(), L::ETHER_SOURCE, macs, Reason::SpoofedMac)]);
    let by_ipv4 = [
        spoofed(ipv4(), L::IP_SOURCE, ips4, Reason::SpoofedIpv4),
        spoofed(arp(), L::ARP_SENDER_ETHER, macs, Reason::SpoofedArpMac),
        spoofed(arp(), L::ARP_SENDER_IP, ips4, Reason::SpoofedArpAddress),
    ];
    let by_ipv6 = [
        spoofed(ipv6(), L::IP6_SOURCE, ips6, Reason::SpoofedIpv6),
        spoofed(neighbor_advertisement(), L::ND_TARGET, ips6, Reason::SpoofedNdTarget),
    ];
    let chain = if switches.ipv4_disabled { chain } else { chain.with(by_ipv4) };
    let chain = if switches.ipv6_disabled { chain } else { chain.with(by_ipv6) };
    chain.with([rule().is_in(&[L::INPUT_NAME], SetName::StrictGuardPorts.text()).goto(STRICT)])
}

fn own(rule: RuleBuilder, claim: Load, set: SetName) -> RuleBuilder {
    rule.is_in(&[Load::INPUT_NAME, claim], set.text()).accept()
}

fn not_own(rule: RuleBuilder, claim: Load, set: SetName, why: Reason) -> RuleBuilder {
    why.drops(rule.is_not_in(&[Load::INPUT_NAME, claim], set.text()))
}

/// The guard of ports with `fairway.guard=strict`, after the one of all ports.
pub(super) fn strict_chain(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    let is_disabled = |family| disabled_families(switches).any(|disabled| disabled == family);
    let no_address4 = [0; 4];
    let from_no_address6 = || carries(ETHERTYPE_IPV6).is(L::IP6_SOURCE, [0; 16]).icmpv6();
    let asks_for_own = from_no_address6().is(L::ICMPV6_TYPE, [ICMPV6_NEIGHBOR_SOLICITATION]);
    let chain = Chain::regular(STRICT).with([not_own(
        rule(),
        L::ETHER_SOURCE,
        SetName::PortMacs,
        Reason::SpoofedMac,
    )]);
    let chain = match is_disabled(Family::Ip) {
        true => chain.with([ETHERTYPE_IPV4, ETHERTYPE_ARP].map(|kind| carries(kind).accept())),
        false => chain.with([
            own(carries(ETHERTYPE_IPV4), L::IP_SOURCE, SetName::PortIps4),
            carries(ETHERTYPE_IPV4)
                .is(L::IP_SOURCE, no_address4)
                .from_port(Protocol::Udp, DHCP_CLIENT)
                .to_port(Protocol::Udp, DHCP_SERVER)
                .accept()
                .comment(Reason::Dhcp),
            not_own(carries(ETHERTYPE_ARP), L::ARP_SENDER_ETHER, SetName::PortMacs, Reason::SpoofedArpMac),
            own(carries(ETHERTYPE_ARP), L::ARP_SENDER_IP, SetName::PortIps4),
            carries(ETHERTYPE_ARP).is(L::ARP_SENDER_IP, no_address4).accept().comment(Reason::ArpProbe),
        ]),
    };
    let chain = match is_disabled(Family::Ip6) {
        true => chain.with([carries(ETHERTYPE_IPV6).accept()]),
        false => chain
            .with([
                not_own(neighbor_advertisement(), L::ND_TARGET, SetName::PortIps6, Reason::SpoofedNdTarget),
                own(carries(ETHERTYPE_IPV6), L::IP6_SOURCE, SetName::PortIps6),
                own(asks_for_own, L::ND_TARGET, SetName::PortIps6).comment(Reason::DuplicateAddressDetection),
            ])
            .with(ICMPV6_WITHOUT_ADDRESS.map(|kind| from_no_address6().is(L::ICMPV6_TYPE, [kind]).accept())),
    };
    chain.with([Reason::UnassignedSource.drops(rule())])
}
