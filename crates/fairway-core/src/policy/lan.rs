//! Sandboxes on a LAN of the host (driver `lan`): each sends from its own addresses alone, receives the queries for its
//! own addresses alone, and sends no more broadcasts and multicasts than the storm limit.

use super::packet::{
    DHCP_SERVER, DHCPV6_SERVER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FILTER_BRIDGED,
    GUARD_PRIORITY, ICMPV6_NEIGHBOR_ADVERTISEMENT, ICMPV6_NEIGHBOR_SOLICITATION, ICMPV6_ROUTER_ADVERTISEMENT,
};
use super::reason::Reason;
use crate::object::{RulesetSwitches, SetName};
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, Hook, Load, PayloadBase, RuleBuilder, rule};

const FROM_SANDBOX: &str = "lan-from-sandbox";
const ARP_FROM_SANDBOX: &str = "lan-arp-from-sandbox";
const IPV4_FROM_SANDBOX: &str = "lan-ip-from-sandbox";
const IPV6_FROM_SANDBOX: &str = "lan-ip6-from-sandbox";
const TO_SANDBOX: &str = "lan-to-sandbox";
const ARP_TO_SANDBOX: &str = "lan-arp-to-sandbox";

/// Before the guard of all networks.
const BEFORE_GUARD: i32 = GUARD_PRIORITY - 1;
/// A request of ARP (RFC 826).
const ARP_REQUEST: [u8; 2] = [0, 1];
/// The byte of an Ethernet destination whose lowest bit is set for multicast and broadcast (IEEE 802).
const GROUP_BIT: Load = Load::Payload(PayloadBase::Link, 0, 1);

fn to_group() -> RuleBuilder {
    rule().is_masked(GROUP_BIT, [1], [1])
}

/// Drops what claims an address or MAC that its port does not have.
fn not_own(rule: RuleBuilder, claim: Load, own: SetName, why: Reason) -> RuleBuilder {
    why.drops(rule.is_not_in(&[Load::INPUT_NAME, claim], own.text()))
}

/// Drops a query for an address that the receiving port does not have.
fn for_another(rule: RuleBuilder, target: Load, own: SetName) -> RuleBuilder {
    Reason::OtherTarget.drops(rule.is_not_in(&[Load::OUTPUT_NAME, target], own.text()))
}

/// All chains of LAN ports. Of an address family that is not filtered only MACs are checked.
pub(super) fn chains(switches: &RulesetSwitches) -> Vec<Chain> {
    let ports = SetName::LanPorts.text();
    let to_port = |name: &str, hook: Hook| {
        let to_port = rule().is_in(&[Load::OUTPUT_NAME], ports).goto(TO_SANDBOX);
        Chain::base(name, ChainKind::Filter, hook, FILTER_BRIDGED).with([to_port])
    };
    vec![
        Chain::base("lan-prerouting", ChainKind::Filter, Hook::Prerouting, BEFORE_GUARD)
            .with([rule().is_in(&[Load::INPUT_NAME], ports).goto(FROM_SANDBOX)]),
        from_sandbox(switches),
        arp_from_sandbox(),
        ipv4_from_sandbox(),
        ipv6_from_sandbox(),
        to_port("lan-forward", Hook::Forward),
        to_port("lan-output", Hook::Output),
        to_sandbox(switches),
        arp_to_sandbox(),
    ]
}

/// Lets a sandbox send IP and ARP alone: a protocol of switches about loops and links could shut the host's port.
fn from_sandbox(switches: &RulesetSwitches) -> Chain {
    let over_limit = to_group().is_in(&[Load::INPUT_NAME], SetName::StormLimits.text());
    let chain = Chain::regular(FROM_SANDBOX).with([
        Reason::StormLimit.drops(over_limit),
        not_own(rule(), Load::ETHER_SOURCE, SetName::PortMacs, Reason::SpoofedMac),
    ]);
    let kinds = [
        (ETHERTYPE_ARP, ARP_FROM_SANDBOX, switches.ipv4_disabled),
        (ETHERTYPE_IPV4, IPV4_FROM_SANDBOX, switches.ipv4_disabled),
        (ETHERTYPE_IPV6, IPV6_FROM_SANDBOX, switches.ipv6_disabled),
    ];
    let chain = kinds.into_iter().fold(chain, |chain, (ether_type, checks, is_disabled)| {
        let of_kind = rule().ether_type(ether_type);
        chain.with([if is_disabled { of_kind.accept() } else { of_kind.goto(checks) }])
    });
    chain.with([Reason::UnknownProtocol.drops(rule())])
}

fn arp_from_sandbox() -> Chain {
    Chain::regular(ARP_FROM_SANDBOX).with([
        not_own(rule(), Load::ARP_SENDER_ETHER, SetName::PortMacs, Reason::SpoofedArpMac),
        rule().is(Load::ARP_SENDER_IP, [0; 4]).accept().comment(Reason::ArpProbe),
        not_own(rule(), Load::ARP_SENDER_IP, SetName::PortIps4, Reason::SpoofedArpAddress),
    ])
}

fn ipv4_from_sandbox() -> Chain {
    Chain::regular(IPV4_FROM_SANDBOX).with([
        Reason::DhcpServer.drops(rule().from_port(Protocol::Udp, DHCP_SERVER)),
        rule().is(Load::IP_SOURCE, [0; 4]).accept().comment(Reason::NoAddressYet),
        not_own(rule(), Load::IP_SOURCE, SetName::PortIps4, Reason::SpoofedIpv4),
    ])
}

fn ipv6_from_sandbox() -> Chain {
    let message = |kind: u8| rule().icmpv6().is(Load::ICMPV6_TYPE, [kind]);
    let advertisement = message(ICMPV6_NEIGHBOR_ADVERTISEMENT);
    Chain::regular(IPV6_FROM_SANDBOX).with([
        Reason::RouterAdvertisement.drops(message(ICMPV6_ROUTER_ADVERTISEMENT)),
        Reason::DhcpServer.drops(rule().from_port(Protocol::Udp, DHCPV6_SERVER)),
        not_own(advertisement, Load::ND_TARGET, SetName::PortIps6, Reason::SpoofedNdTarget),
        rule().is(Load::IP6_SOURCE, [0; 16]).accept().comment(Reason::NoAddressYet),
        not_own(rule(), Load::IP6_SOURCE, SetName::PortIps6, Reason::SpoofedIpv6),
    ])
}

/// Lets a sandbox receive ARP requests and neighbor solicitations for its own addresses alone.
fn to_sandbox(switches: &RulesetSwitches) -> Chain {
    let solicitation =
        to_group().ether_type(ETHERTYPE_IPV6).icmpv6().is(Load::ICMPV6_TYPE, [ICMPV6_NEIGHBOR_SOLICITATION]);
    let request = rule().ether_type(ETHERTYPE_ARP).is(Load::ARP_OPERATION, ARP_REQUEST);
    let rules = [
        (request.goto(ARP_TO_SANDBOX), switches.ipv4_disabled),
        (for_another(solicitation, Load::ND_TARGET, SetName::PortIps6), switches.ipv6_disabled),
    ];
    let enabled = rules.into_iter().filter(|(_, is_disabled)| !is_disabled).map(|(rule, _)| rule);
    Chain::regular(TO_SANDBOX).with(enabled)
}

fn arp_to_sandbox() -> Chain {
    let routers = SetName::LanRouters4.text();
    let announced = rule().is_in(&[Load::ARP_SENDER_IP], routers).is_in(&[Load::ARP_TARGET_IP], routers);
    Chain::regular(ARP_TO_SANDBOX).with([
        announced.accept().comment(Reason::RouterMac),
        for_another(rule(), Load::ARP_TARGET_IP, SetName::PortIps4),
    ])
}
