//! Against the kernel, in namespaces of their own.

mod ownership;
mod resolver;
mod round_trip;
mod tracing;
mod transactions;

use std::net::Ipv4Addr;

use fairway_model::Protocol;
use fairway_ruleset::{
    Chain, ChainKind, CtState, Datatype, Element, Family, Hook, Load, Set, Table, Verdict, key, priority,
    rule,
};

/// A table with one of everything that the firewall needs.
fn firewall() -> Table {
    let mut table = Table::new(Family::Inet, "fairway");
    let target = [Datatype::Ipv4Address, Datatype::InetService];
    let target6 = [Datatype::Ipv6Address, Datatype::InetService];
    let port = [Datatype::InetProtocol, Datatype::InetService];
    table.sets = vec![
        Set::map("ports", port, target).counted().with([published(8080)]),
        Set::map("ports6", port, target6),
        Set::map("addressed", [Datatype::Ipv4Address, Datatype::InetProtocol, Datatype::InetService], target),
        Set::new("same", [Datatype::InterfaceName, Datatype::InterfaceName])
            .with_comment("in and out by one bridge")
            .with([Element::new(key().interface("br0").interface("br0"))]),
        Set::new("bridges", [Datatype::InterfaceName])
            .with([Element::new(key().interface("br0")).with_comment("web")]),
        Set::new("pairs", [Datatype::Ipv4Address, Datatype::Ipv4Address]).counted(),
        Set::new("marks", [Datatype::Mark]).with([Element::new(key().number(16))]),
        Set::new("pools", [Datatype::Ipv4Address]).with_ranges().with([
            Element::new([1, 2, 3, 4]).up_to([1, 2, 3, 9]),
            Element::new([10, 0, 0, 0]).up_to([10, 255, 255, 255]),
            Element::new([192, 0, 2, 1]),
            Element::new([255, 0, 0, 0]).up_to([255, 255, 255, 255]),
        ]),
        Set::new("ranges", [Datatype::Ipv4Address, Datatype::InetService])
            .with_ranges()
            .with([Element::new(key().ipv4(Ipv4Addr::new(10, 0, 0, 0)).port(80))
                .up_to(key().ipv4(Ipv4Addr::new(10, 255, 255, 255)).port(90))]),
        Set::verdict_map("by_bridge", [Datatype::InterfaceName])
            .with([Element::to_verdict(key().interface("br0"), Verdict::Jump("allow".into()))]),
    ];
    let destination = [Load::IP_DESTINATION, Load::TRANSPORT, Load::DESTINATION_PORT];
    let port = [Load::TRANSPORT, Load::DESTINATION_PORT];
    table.chains = vec![
        Chain::base("prerouting", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT).with([
            rule().family(Family::Ip).dnat_by(Family::Ip, &destination, "addressed"),
            rule().to_local().dnat_by(Family::Ip, &port, "ports").comment("published"),
            rule().to_local().dnat_by(Family::Ip6, &port, "ports6"),
        ]),
        Chain::base("forward", ChainKind::Filter, Hook::Forward, priority::FILTER).with([
            rule().ct_state_any(&[CtState::Established, CtState::Related]).counter().accept(),
            rule().is_in(&[Load::INPUT_NAME, Load::OUTPUT_NAME], "same").accept(),
            rule().verdict_of(&[Load::OUTPUT_NAME], "by_bridge"),
            rule().is_in(&[Load::OUTPUT_NAME], "bridges").drop(),
            rule().family(Family::Ip).is_in(&[Load::IP_SOURCE, Load::IP_DESTINATION], "pairs").accept(),
            rule().family(Family::Ip).is_not_in(&[Load::IP_SOURCE], "pools").drop(),
            rule()
                .ct_status_dnat()
                .is(Load::ORIGINAL_IP_DESTINATION, [192, 0, 2, 1])
                .transport(Protocol::Tcp)
                .is(Load::ORIGINAL_DESTINATION_PORT, 80u16.to_be_bytes())
                .reject(),
            rule().oifname("lo").go_back(),
        ]),
        Chain::base("postrouting", ChainKind::Nat, Hook::Postrouting, priority::SOURCE_NAT).with([rule()
            .socket_user(1000)
            .from_local()
            .set_mark(7)
            .masquerade()]),
        Chain::regular("allow").with([rule().to_port(Protocol::Udp, 53).accept()]),
    ];
    table
}

/// An element of `ports`.
fn published(port: u16) -> Element {
    let [high, low] = port.to_be_bytes();
    Element::to_value(
        key().protocol(Protocol::Tcp).port(port),
        key().ipv4(Ipv4Addr::new(172, 18, high, low)).port(80),
    )
    .with_comment("sandbox web")
}

/// A bridge table that names everything of Ethernet, ARP and neighbour discovery.
fn guard() -> Table {
    let mut table = Table::new(Family::Bridge, "fairway");
    table.sets = vec![
        Set::new("owners", [Datatype::EtherAddress, Datatype::Ipv4Address]),
        Set::new("owners6", [Datatype::EtherAddress, Datatype::Ipv6Address]),
    ];
    table.chains = vec![
        Chain::base("guard", ChainKind::Filter, Hook::Prerouting, priority::BRIDGE_FILTER).with([
            rule().ether_type(0x0800).is_not_in(&[Load::ETHER_SOURCE, Load::IP_SOURCE], "owners").drop(),
            rule()
                .ether_type(0x0806)
                .is_not_in(&[Load::ARP_SENDER_ETHER, Load::ARP_SENDER_IP], "owners")
                .drop(),
            rule()
                .ether_type(0x86dd)
                .icmpv6()
                .is(Load::ICMPV6_TYPE, [136])
                .is_not_in(&[Load::ETHER_SOURCE, Load::ND_TARGET], "owners6")
                .drop(),
        ]),
    ];
    table
}
