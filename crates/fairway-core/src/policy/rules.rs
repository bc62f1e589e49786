//! The fixed part of the ruleset: a few rules that look things up in the sets of [`super::element`].

use std::net::Ipv6Addr;

use super::{counting, gateway, isolation, lan, routed, strict};
use crate::object::{RulesetSwitches, SETS, SetName};
use fairway_model::HOST_INTERFACE_PREFIX;
use fairway_model::Protocol;
use fairway_ruleset::{
    Chain, ChainKind, CtState, Datatype, Family, Hook, Load, MetaKey, PayloadBase, RuleBuilder, Set, Table,
    TableFlags, priority, rule,
};

/// Our table of the inet family: what the host routes, translates and delivers.
pub const TABLE: &str = "fairway";
/// Our table of the bridge family: what passes between the ports of a bridge.
pub const BRIDGE_TABLE: &str = "fairway";

/// Before any other table of the bridge family sees a frame.
pub(super) const GUARD_PRIORITY: i32 = -400;

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The tags of IEEE 802.1Q and 802.1ad.
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];
/// Neighbour solicitation, RFC 4861 4.3.
pub(super) const ICMPV6_NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement, RFC 4861 4.4.
pub(super) const ICMPV6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const LOOPBACK_IPV4: [u8; 1] = [127];
const DNS: u16 = 53;
const FORWARD: &str = "forward";
/// fe80::/10 (RFC 4291 section 2.4).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
const LINK_LOCAL_MASK: Ipv6Addr = Ipv6Addr::new(0xffc0, 0, 0, 0, 0, 0, 0, 0);
/// The ACK bit of the flags of a TCP header (RFC 9293 section 3.1).
const TCP_ACK: u8 = 0x10;

/// Where a packet comes from and its family, and where it goes and its family.
const FROM: [Load; 2] = [Load::INPUT_NAME, FAMILY];
pub(super) const INTO: [Load; 2] = [Load::OUTPUT_NAME, FAMILY];
const FAMILY: Load = Load::Meta(MetaKey::NetworkFamily);
const SAME: [Load; 2] = [Load::INPUT_NAME, Load::OUTPUT_NAME];
pub(super) const ESTABLISHED: [CtState; 2] = [CtState::Established, CtState::Related];

/// The tables that follow from the switches, with empty sets.
pub fn ruleset(switches: &RulesetSwitches) -> Vec<Table> {
    let mut inet = Table::new(Family::Inet, TABLE);
    let mut bridge = Table::new(Family::Bridge, BRIDGE_TABLE);
    for table in [&mut inet, &mut bridge] {
        table.flags = TableFlags::OWNED;
        table.sets = SETS.into_iter().filter(|set| set.family() == table.family).map(declare).collect();
    }
    inet.chains = vec![
        raw(),
        prerouting(switches),
        output(switches),
        publish(),
        forward(switches),
        into_network(switches),
        gateway::straight(),
        gateway::routed(),
        routed::into_routed(),
        isolation::within(switches),
        out_of_network(),
        postrouting(switches),
    ];
    inet.sets.extend(counting::sets());
    inet.chains.extend(counting::chains());
    if let Some(user) = switches.relay_user {
        inet.chains.extend(relay(user));
    }
    for chain in inet.chains.iter_mut().filter(|chain| chain.base.is_some()) {
        let built = Chain::regular("").with(
            spared(switches)
                .map(|family| rule().family(family).accept().comment("neither filtered nor translated")),
        );
        chain.rules.splice(0..0, built.rules);
    }
    bridge.chains = vec![
        guard(switches),
        strict::chain(switches),
        isolation::forward(),
        isolation::between_ports(switches),
    ];
    bridge.chains.extend(lan::chains(switches));
    match switches.bridge_table_only {
        true => vec![bridge],
        false => vec![inet, bridge],
    }
}

/// The families that are left alone.
pub(super) fn spared(switches: &RulesetSwitches) -> impl Iterator<Item = Family> + use<> {
    let families = [(switches.ipv4_disabled, Family::Ip), (switches.ipv6_disabled, Family::Ip6)];
    families.into_iter().filter(|(spared, _)| *spared).map(|(_, family)| family)
}

/// A name as the kernel compares it: padded to IFNAMSIZ.
fn sixteen(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn declare(set: SetName) -> Set {
    use Datatype::{
        EtherAddress, InetProtocol, InetService, InterfaceName, Ipv4Address, Ipv6Address, NetworkFamily,
    };
    let name = set.text();
    match set {
        SetName::Bridges | SetName::InternalBridges | SetName::RoutedDriverBridges => {
            Set::new(name, [InterfaceName])
        }
        SetName::SameNetwork | SetName::IccOff | SetName::TrustedInterfaces => {
            Set::new(name, [InterfaceName, InterfaceName])
        }
        SetName::MasqueradeBridges | SetName::UnprotectedBridges | SetName::RoutedModeBridges => {
            Set::new(name, [InterfaceName, NetworkFamily])
        }
        SetName::Snat4 => Set::map(name, [InterfaceName], [Ipv4Address]),
        SetName::Snat6 => Set::map(name, [InterfaceName], [Ipv6Address]),
        SetName::DirectPorts4 => Set::new(name, [Ipv4Address, InetProtocol, InetService]),
        SetName::DirectPorts6 => Set::new(name, [Ipv6Address, InetProtocol, InetService]),
        SetName::Peers4 => Set::new(name, [InterfaceName, Ipv4Address]).with_ranges(),
        SetName::Peers6 => Set::new(name, [InterfaceName, Ipv6Address]).with_ranges(),
        SetName::Links4 => Set::new(name, [Ipv4Address, Ipv4Address, InetProtocol, InetService]),
        SetName::Links6 => Set::new(name, [Ipv6Address, Ipv6Address, InetProtocol, InetService]),
        SetName::IccOffPorts | SetName::StrictGuardPorts | SetName::LanPorts | SetName::StormLimits => {
            Set::new(name, [InterfaceName])
        }
        SetName::LanRouters4 => Set::new(name, [Ipv4Address]),
        SetName::LinkedPorts => Set::new(name, [InterfaceName, InterfaceName, InetProtocol, InetService]),
        SetName::Published4 => Set::map(name, [InetProtocol, InetService], [Ipv4Address, InetService]),
        SetName::Published4ByAddress => {
            Set::map(name, [InetProtocol, Ipv4Address, InetService], [Ipv4Address, InetService])
        }
        SetName::Published6 => Set::map(name, [InetProtocol, InetService], [Ipv6Address, InetService]),
        SetName::Published6ByAddress => {
            Set::map(name, [InetProtocol, Ipv6Address, InetService], [Ipv6Address, InetService])
        }
        SetName::Hairpin4 => Set::new(name, [Ipv4Address, Ipv4Address]),
        SetName::Hairpin6 => Set::new(name, [Ipv6Address, Ipv6Address]),
        SetName::AssignedMacs => Set::new(name, [EtherAddress]),
        SetName::PortMacs => Set::new(name, [InterfaceName, EtherAddress]),
        SetName::AssignedIps4 => Set::new(name, [Ipv4Address]),
        SetName::PortIps4 => Set::new(name, [InterfaceName, Ipv4Address]),
        SetName::AssignedIps6 => Set::new(name, [Ipv6Address]),
        SetName::PortIps6 => Set::new(name, [InterfaceName, Ipv6Address]),
    }
}

/// To 127.0.0.0/8. Only the first byte is compared, which is all that the prefix asks.
fn to_loopback4() -> RuleBuilder {
    let first_byte = Load::Payload(PayloadBase::Network, 16, 1);
    rule().family(Family::Ip).is(first_byte, LOOPBACK_IPV4)
}

/// What no packet from a wire or a sandbox may do: ask for the host's own loopback addresses, which
/// `route_localnet` would allow.
fn raw() -> Chain {
    let not_from_host = to_loopback4()
        .is_not(Load::INPUT_NAME, sixteen("lo"))
        .counter()
        .drop()
        .comment("loopback addresses are the host's own");
    Chain::base("raw-prerouting", ChainKind::Filter, Hook::Prerouting, priority::RAW).with([not_from_host])
}

/// Published ports, asked for by somebody else than the host.
fn prerouting(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::base("nat-prerouting", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT);
    let proxied = rule().is_in(&[Load::INPUT_NAME], SetName::Bridges.text()).go_back();
    let chain = match switches.userland_proxy {
        true => {
            chain.with([proxied.comment("sandboxes are answered by the proxy")]).with(link_local_is_proxied())
        }
        false => chain,
    };
    // Without a firewall nothing was tracked: to conntrack each connection is new then.
    let carried =
        rule().connected_here().go_back().comment("the proxy carries it since there was no firewall");
    chain.with([carried, rule().to_local().jump("publish")])
}

/// Published ports, asked for by the host itself.
fn output(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::base("nat-output", ChainKind::Nat, Hook::Output, priority::DESTINATION_NAT);
    let loopback6 = rule()
        .family(Family::Ip6)
        .is(Load::IP6_DESTINATION, Ipv6Addr::LOCALHOST.octets())
        .go_back()
        .comment("IPv6 has no route_localnet");
    let chain = match switches.userland_proxy {
        true => chain
            .with([to_loopback4().go_back().comment("loopback is answered by the proxy")])
            .with(link_local_is_proxied()),
        false => chain,
    };
    chain.with([loopback6, rule().to_local().jump("publish")])
}

/// What link-local addresses ask for, or are asked for: the kernel forwards no packet with such a source (RFC 4291
/// section 2.5.6), so it is left to the proxy. It does forward those of 169.254.0.0/16.
fn link_local_is_proxied() -> [RuleBuilder; 2] {
    [Load::IP6_SOURCE, Load::IP6_DESTINATION].map(|address| {
        rule()
            .family(Family::Ip6)
            .is_masked(address, LINK_LOCAL_MASK.octets(), LINK_LOCAL.octets())
            .go_back()
            .comment("link-local addresses are answered by the proxy")
    })
}

fn publish() -> Chain {
    use Load as L;
    let families = [
        (Family::Ip, L::IP_DESTINATION, SetName::Published4ByAddress, SetName::Published4),
        (Family::Ip6, L::IP6_DESTINATION, SetName::Published6ByAddress, SetName::Published6),
    ];
    families.into_iter().fold(Chain::regular("publish"), |chain, (family, address, at, everywhere)| {
        chain.with([
            rule().family(family).dnat_by(family, &[L::TRANSPORT, address, L::DESTINATION_PORT], at.text()),
            rule().family(family).dnat_by(family, &[L::TRANSPORT, L::DESTINATION_PORT], everywhere.text()),
        ])
    })
}

fn forward(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::base(FORWARD, ChainKind::Filter, Hook::Forward, priority::FILTER).with([
        rule().is_in(&[Load::OUTPUT_NAME], SetName::Bridges.text()).goto("into-network"),
        rule().is_in(&[Load::INPUT_NAME], SetName::Bridges.text()).goto("out-of-network"),
    ]);
    let families = [
        (switches.drop_unrelated_forward_ipv4, switches.bridge_netfilter_ipv4, Family::Ip),
        (switches.drop_unrelated_forward_ipv6, switches.bridge_netfilter_ipv6, Family::Ip6),
    ];
    families.into_iter().filter(|(guard, ..)| *guard).fold(chain, |chain, (_, bridged, family)| {
        let kind = |key| Load::Meta(key);
        let bridge = || sixteen("bridge");
        let within = rule()
            .family(family)
            .is(kind(MetaKey::InputKind), bridge())
            .is(kind(MetaKey::OutputKind), bridge())
            .accept()
            .comment("bridged, not routed");
        let chain = if bridged { chain.with([within]) } else { chain };
        chain.with([unrelated(family)])
    })
}

/// Drops what is forwarded between interfaces of which none is ours.
fn unrelated(family: Family) -> RuleBuilder {
    rule().family(family).counter().drop().comment("forwarding is on for our networks alone")
}

/// Whether a table of ours, at rest, drops what is forwarded between interfaces of others, by IPv4 and by IPv6: the
/// daemon that made it had switched forwarding on.
pub fn drops_unrelated_forwarding(table: &Table) -> (bool, bool) {
    let chain = table.chains.iter().find(|chain| chain.name == FORWARD);
    let has = |family| {
        let wanted = Chain::regular(FORWARD).with([unrelated(family)]);
        chain.is_some_and(|chain| wanted.rules.iter().all(|rule| chain.rules.contains(rule)))
    };
    (has(Family::Ip), has(Family::Ip6))
}

/// What may enter a network: answers, its own members, and what was translated to a published port.
fn into_network(switches: &RulesetSwitches) -> Chain {
    let chain = Chain::regular("into-network").with([
        // Before the answers: a flow must not outlive the link that let it begin.
        rule().is_in(&SAME, SetName::IccOff.text()).goto(isolation::WITHIN).comment("icc is off"),
        rule().ct_state_any(&ESTABLISHED).accept(),
        rule().is_in(&SAME, SetName::SameNetwork.text()).accept().comment("same network"),
        rule()
            .is_in(&[Load::INPUT_NAME], SetName::InternalBridges.text())
            .counter()
            .drop()
            .comment("internal"),
        rule().ct_status_dnat().accept().comment("published"),
    ]);
    chain.with(gateway::untranslated(switches)).with([rule().counter().drop().comment("not published")])
}

/// What may leave a network, for somewhere that is none of ours.
fn out_of_network() -> Chain {
    Chain::regular("out-of-network").with([
        rule().ct_state_any(&ESTABLISHED).accept(),
        rule()
            .is_in(&[Load::INPUT_NAME], SetName::InternalBridges.text())
            .counter()
            .drop()
            .comment("internal"),
        rule()
            .ct_state_any(&[CtState::Invalid])
            .is_in(&FROM, SetName::MasqueradeBridges.text())
            .counter()
            .drop()
            .comment("would leave untranslated"),
        rule().accept(),
    ])
}

fn postrouting(switches: &RulesetSwitches) -> Chain {
    let mut rules = Vec::new();
    if !switches.userland_proxy {
        let to_bridge = || rule().is_in(&[Load::OUTPUT_NAME], SetName::Bridges.text());
        rules.push(to_bridge().from_local().masquerade().comment("from the host"));
        let hairpin = [
            (Family::Ip, [Load::IP_SOURCE, Load::IP_DESTINATION], SetName::Hairpin4),
            (Family::Ip6, [Load::IP6_SOURCE, Load::IP6_DESTINATION], SetName::Hairpin6),
        ];
        for (family, key, set) in hairpin {
            rules.push(rule().family(family).is_in(&key, set.text()).masquerade().comment("to its own port"));
        }
        let unseen =
            [(switches.bridge_netfilter_ipv4, Family::Ip), (switches.bridge_netfilter_ipv6, Family::Ip6)];
        for (_, family) in unseen.into_iter().filter(|(seen, _)| !*seen) {
            let neighbour = rule().family(family).ct_status_dnat().is_in(&SAME, SetName::SameNetwork.text());
            rules.push(neighbour.masquerade().comment("the answer would pass the bridge untranslated"));
        }
    }
    rules.extend(routed::untranslated());
    for (family, set) in [(Family::Ip, SetName::Snat4), (Family::Ip6, SetName::Snat6)] {
        let outbound = rule().family(family).is_not_in(&SAME, SetName::SameNetwork.text());
        rules.push(outbound.snat_by(family, &[Load::INPUT_NAME], set.text()).comment("outbound"));
    }
    rules.push(
        rule()
            .is_in(&FROM, SetName::MasqueradeBridges.text())
            .is_not_in(&SAME, SetName::SameNetwork.text())
            .masquerade()
            .comment("outbound"),
    );
    Chain::base("nat-postrouting", ChainKind::Nat, Hook::Postrouting, priority::SOURCE_NAT).with(rules)
}

/// The relay reads what strangers send: should it be taken over, it may still only speak to our
/// networks and ask name servers that only the host reaches, on its loopback and its links. It asks others by
/// sockets of the sandboxes' own namespaces.
fn relay(user: u32) -> [Chain; 2] {
    let entry = Chain::base("relay-output", ChainKind::Filter, Hook::Output, priority::FILTER)
        .with([rule().socket_user(user).goto("relay")]);
    let on_loopback = |protocol| rule().oifname("lo").to_port(protocol, DNS).accept();
    let to_link = rule().family(Family::Ip6);
    let to_link = to_link.is_masked(Load::IP6_DESTINATION, LINK_LOCAL_MASK.octets(), LINK_LOCAL.octets());
    let on_link = |protocol| to_link.clone().to_port(protocol, DNS).accept();
    let rules = Chain::regular("relay")
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
                .comment("only the first segment of a connection has no ACK"),
        ])
        .with(untracked_answers())
        .with([rule().counter().drop().comment("the relay has no business there")]);
    [entry, rules]
}

/// Datagrams from published ports, where a rule of the host keeps them from conntrack.
fn untracked_answers() -> impl Iterator<Item = RuleBuilder> {
    use Load as L;
    let families = [
        (Family::Ip, L::IP_SOURCE, SetName::Published4ByAddress, SetName::Published4),
        (Family::Ip6, L::IP6_SOURCE, SetName::Published6ByAddress, SetName::Published6),
    ];
    families.into_iter().flat_map(|(family, address, at, everywhere)| {
        let keys = [vec![L::TRANSPORT, address, L::SOURCE_PORT], vec![L::TRANSPORT, L::SOURCE_PORT]];
        keys.into_iter().zip([at, everywhere]).map(move |(key, map)| {
            let untracked = rule().family(family).ct_state_any(&[CtState::Untracked]);
            let published = untracked.transport(Protocol::Udp).is_key_of(&key, map.text());
            // `nft list` shows no look-up whose value is not used.
            published.accept().comment(format!("from a port in {}", map.text()))
        })
    })
}

/// A sandbox may not use an address that belongs to another endpoint or to the gateway. Hardware addresses are
/// guarded in frames of every kind: who has them is the same for all.
fn guard(switches: &RulesetSwitches) -> Chain {
    use Load as L;
    let ours = rule().is_not(L::INPUT_NAME, HOST_INTERFACE_PREFIX.as_bytes().to_vec()).accept();
    let claims = |rule: RuleBuilder, claim: Load, owned: SetName, own: SetName, what: &str| {
        rule.is_in(&[claim], owned.text())
            .is_not_in(&[L::INPUT_NAME, claim], own.text())
            .counter()
            .drop()
            .comment(what)
    };
    let (macs, own_macs) = (SetName::AssignedMacs, SetName::PortMacs);
    // What is behind the first tag, as the receiver will see it: to one with priority alone (VLAN 0) it is
    // as if there were none. The EtherType in the frame would be that of the tag.
    let carries = |kind: u16| rule().is(L::Meta(MetaKey::Protocol), kind.to_be_bytes());
    let (ipv4, arp) = (|| carries(ETHERTYPE_IPV4), || carries(ETHERTYPE_ARP));
    let ipv6 = || carries(ETHERTYPE_IPV6);
    let advertisement = ipv6().icmpv6().is(L::ICMPV6_TYPE, [ICMPV6_NEIGHBOUR_ADVERTISEMENT]);
    let chain = Chain::base("guard", ChainKind::Filter, Hook::Prerouting, GUARD_PRIORITY).with([
        ours.comment("no port of a sandbox"),
        carries(ETHERTYPES_VLAN[0]).counter().drop().comment("a tag behind a tag hides what follows"),
        carries(ETHERTYPES_VLAN[1]).counter().drop().comment("a tag behind a tag hides what follows"),
        claims(rule(), L::ETHER_SOURCE, macs, own_macs, "another's MAC"),
    ]);
    let of_ipv4 = [
        claims(ipv4(), L::IP_SOURCE, SetName::AssignedIps4, SetName::PortIps4, "another's address"),
        claims(arp(), L::ARP_SENDER_ETHER, macs, own_macs, "another's MAC by ARP"),
        claims(arp(), L::ARP_SENDER_IP, SetName::AssignedIps4, SetName::PortIps4, "another's address by ARP"),
    ];
    let of_ipv6 = [
        claims(ipv6(), L::IP6_SOURCE, SetName::AssignedIps6, SetName::PortIps6, "another's IPv6 address"),
        claims(
            advertisement,
            L::ND_TARGET,
            SetName::AssignedIps6,
            SetName::PortIps6,
            "another's address by ND",
        ),
    ];
    let chain = if switches.ipv4_disabled { chain } else { chain.with(of_ipv4) };
    let chain = if switches.ipv6_disabled { chain } else { chain.with(of_ipv6) };
    chain.with([strict::entry()])
}

#[cfg(test)]
mod tests;
