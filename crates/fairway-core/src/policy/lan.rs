//! Sandboxes on a LAN of the host: each speaks for itself alone, hears what is asked of it and not what is asked of
//! others, and sends to all of the LAN no more than it may.

use super::isolation::FILTER_BRIDGED;
use super::rules::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, GUARD_PRIORITY, ICMPV6_NEIGHBOUR_ADVERTISEMENT,
};
use crate::object::{RulesetSwitches, SetName};
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, Hook, Load, PayloadBase, RuleBuilder, rule};

const FROM_PORT: &str = "from-lan-port";
const ARP_FROM_PORT: &str = "arp-from-lan-port";
const IPV4_FROM_PORT: &str = "ip-from-lan-port";
const IPV6_FROM_PORT: &str = "ip6-from-lan-port";
const INTO_PORT: &str = "into-lan-port";
const ARP_INTO_PORT: &str = "arp-into-lan-port";

/// Before the guard of all networks.
const BEFORE_GUARD: i32 = GUARD_PRIORITY - 1;
/// Router advertisement and neighbour solicitation, RFC 4861 sections 4.2 and 4.3.
const ICMPV6_ROUTER_ADVERTISEMENT: u8 = 134;
const ICMPV6_NEIGHBOUR_SOLICITATION: u8 = 135;
/// The ports of servers of DHCP (RFC 2131) and DHCPv6 (RFC 8415).
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;
/// A request of ARP (RFC 826).
const REQUEST: [u8; 2] = [0, 1];
/// The byte of an Ethernet destination whose lowest bit says that many are meant (IEEE 802), all among them.
const MANY: Load = Load::Payload(PayloadBase::Link, 0, 1);

fn to_many() -> RuleBuilder {
    rule().is_masked(MANY, [1], [1])
}

/// Drops what claims something that its port does not own.
fn not_own(rule: RuleBuilder, claim: Load, own: SetName, what: &str) -> RuleBuilder {
    rule.is_not_in(&[Load::INPUT_NAME, claim], own.text()).counter().drop().comment(what)
}

/// Drops what its port does not own among what the host or a sandbox asks of it.
fn not_asked(rule: RuleBuilder, asked: Load, own: SetName) -> RuleBuilder {
    let nobody = "asked of somebody else";
    rule.is_not_in(&[Load::OUTPUT_NAME, asked], own.text()).counter().drop().comment(nobody)
}

/// All chains. A family of addresses that is spared is not looked at, but for whose hardware address it is.
pub(super) fn chains(switches: &RulesetSwitches) -> Vec<Chain> {
    let ports = SetName::LanPorts.text();
    let into = |name: &str, hook: Hook| {
        let to_port = rule().is_in(&[Load::OUTPUT_NAME], ports).goto(INTO_PORT);
        Chain::base(name, ChainKind::Filter, hook, FILTER_BRIDGED).with([to_port])
    };
    vec![
        Chain::base("lan-guard", ChainKind::Filter, Hook::Prerouting, BEFORE_GUARD)
            .with([rule().is_in(&[Load::INPUT_NAME], ports).goto(FROM_PORT)]),
        from_port(switches),
        arp_from_port(),
        ipv4_from_port(),
        ipv6_from_port(),
        into("lan-forward", Hook::Forward),
        into("lan-output", Hook::Output),
        into_port(switches),
        arp_into_port(),
    ]
}

/// What a sandbox sends. Nothing but IP and ARP: what switches tell one another of loops and links could shut the
/// host's port.
fn from_port(switches: &RulesetSwitches) -> Chain {
    let storm = to_many().is_in(&[Load::INPUT_NAME], SetName::StormLimits.text());
    let chain = Chain::regular(FROM_PORT).with([
        storm.counter().drop().comment("a storm"),
        not_own(rule(), Load::ETHER_SOURCE, SetName::PortMacs, "not its MAC"),
    ]);
    let kinds = [
        (ETHERTYPE_ARP, ARP_FROM_PORT, switches.ipv4_disabled),
        (ETHERTYPE_IPV4, IPV4_FROM_PORT, switches.ipv4_disabled),
        (ETHERTYPE_IPV6, IPV6_FROM_PORT, switches.ipv6_disabled),
    ];
    let chain = kinds.into_iter().fold(chain, |chain, (kind, own, spared)| {
        let of_kind = rule().ether_type(kind);
        chain.with([if spared { of_kind.accept() } else { of_kind.goto(own) }])
    });
    chain.with([rule().counter().drop().comment("neither IP nor ARP")])
}

fn arp_from_port() -> Chain {
    Chain::regular(ARP_FROM_PORT).with([
        not_own(rule(), Load::ARP_SENDER_ETHER, SetName::PortMacs, "not its MAC by ARP"),
        rule().is(Load::ARP_SENDER_IP, [0; 4]).accept().comment("a probe"),
        not_own(rule(), Load::ARP_SENDER_IP, SetName::PortIps4, "not its address by ARP"),
    ])
}

fn ipv4_from_port() -> Chain {
    Chain::regular(IPV4_FROM_PORT).with([
        rule().from_port(Protocol::Udp, DHCP_SERVER).counter().drop().comment("no DHCP server"),
        rule().is(Load::IP_SOURCE, [0; 4]).accept().comment("it has no address yet"),
        not_own(rule(), Load::IP_SOURCE, SetName::PortIps4, "not its address"),
    ])
}

fn ipv6_from_port() -> Chain {
    let message = |kind: u8| rule().icmpv6().is(Load::ICMPV6_TYPE, [kind]);
    let advertisement = message(ICMPV6_NEIGHBOUR_ADVERTISEMENT);
    Chain::regular(IPV6_FROM_PORT).with([
        message(ICMPV6_ROUTER_ADVERTISEMENT).counter().drop().comment("no router"),
        rule().from_port(Protocol::Udp, DHCPV6_SERVER).counter().drop().comment("no DHCP server"),
        not_own(advertisement, Load::ND_TARGET, SetName::PortIps6, "not its address by ND"),
        rule().is(Load::IP6_SOURCE, [0; 16]).accept().comment("it has no address yet"),
        not_own(rule(), Load::IP6_SOURCE, SetName::PortIps6, "not its address"),
    ])
}

/// What a sandbox hears: of what asks for the holder of an address, what asks for its own.
fn into_port(switches: &RulesetSwitches) -> Chain {
    let solicitation =
        to_many().ether_type(ETHERTYPE_IPV6).icmpv6().is(Load::ICMPV6_TYPE, [ICMPV6_NEIGHBOUR_SOLICITATION]);
    let request = rule().ether_type(ETHERTYPE_ARP).is(Load::ARP_OPERATION, REQUEST);
    let rules = [
        (request.goto(ARP_INTO_PORT), switches.ipv4_disabled),
        (not_asked(solicitation, Load::ND_TARGET, SetName::PortIps6), switches.ipv6_disabled),
    ];
    let looked_at = rules.into_iter().filter(|(_, spared)| !spared).map(|(rule, _)| rule);
    Chain::regular(INTO_PORT).with(looked_at)
}

fn arp_into_port() -> Chain {
    let routers = SetName::LanRouters4.text();
    let moved = rule().is_in(&[Load::ARP_SENDER_IP], routers).is_in(&[Load::ARP_TARGET_IP], routers);
    Chain::regular(ARP_INTO_PORT).with([
        moved.accept().comment("a router tells where it is"),
        not_asked(rule(), Load::ARP_TARGET_IP, SetName::PortIps4),
    ])
}
