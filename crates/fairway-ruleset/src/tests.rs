use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use fairway_model::Protocol;

const PORT_KEY: [Load; 2] = [Load::TRANSPORT, Load::DESTINATION_PORT];

fn sample() -> Table {
    let mut table = Table::new(Family::Inet, "fairway");
    table.flags = TableFlags::OWNED;
    let target = [Datatype::Ipv4Address, Datatype::InetService];
    table.sets = vec![
        Set::map("ports", [Datatype::InetProtocol, Datatype::InetService], target).counted().with([
            Element::to_value(
                key().protocol(Protocol::Tcp).port(8080),
                key().ipv4(Ipv4Addr::new(172, 18, 0, 2)).port(80),
            )
            .with_comment("web"),
        ]),
        Set::map("addressed", [Datatype::Ipv4Address, Datatype::InetProtocol, Datatype::InetService], target),
        Set::new("same", [Datatype::InterfaceName, Datatype::InterfaceName])
            .with([Element::new(key().interface("br0").interface("br0"))]),
        Set::new("pools", [Datatype::Ipv4Address]).with_ranges().with([
            Element::new([10, 0, 0, 0]).up_to([10, 255, 255, 255]),
            Element::new([1, 2, 3, 4]).up_to([1, 2, 3, 9]),
        ]),
        Set::verdict_map("by_bridge", [Datatype::InterfaceName])
            .with([Element::to_verdict(key().interface("br0"), Verdict::Jump("allow".into()))]),
    ];
    let destination = [Load::IP_DESTINATION, Load::TRANSPORT, Load::DESTINATION_PORT];
    table.chains = vec![
        Chain::base("prerouting", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT).with([
            rule().family(Family::Ip).dnat_by(Family::Ip, &destination, "addressed"),
            rule().to_local().dnat_by(Family::Ip, &PORT_KEY, "ports").comment("published"),
        ]),
        Chain::base("forward", ChainKind::Filter, Hook::Forward, priority::FILTER).with([
            rule().ct_state_any(&[CtState::Established, CtState::Related]).counter().accept(),
            rule().is_in(&[Load::INPUT_NAME, Load::OUTPUT_NAME], "same").accept(),
            rule().verdict_of(&[Load::OUTPUT_NAME], "by_bridge"),
            rule().family(Family::Ip).is_in(&[Load::IP_SOURCE], "pools").drop(),
            rule()
                .family(Family::Ip)
                .is_masked(Load::IP_DESTINATION, [255, 240, 0, 0], [172, 16, 0, 0])
                .drop(),
            rule()
                .ct_status_dnat()
                .is(Load::ORIGINAL_IP_DESTINATION, [192, 0, 2, 1])
                .is(Load::ORIGINAL_DESTINATION_PORT, 80u16.to_be_bytes())
                .reject(),
            rule().oifname("lo").go_back(),
        ]),
        Chain::regular("allow").with([
            rule().to_port(Protocol::Udp, 53).accept(),
            rule().socket_user(1000).from_local().masquerade(),
        ]),
    ];
    table
}

#[test]
fn a_table_reads_like_nft() {
    insta::assert_snapshot!(sample(), @r#"
    table inet fairway {
    	flags owner,persist
    	map ports {
    		type inet_proto . inet_service : ipv4_addr . inet_service
    		counter
    		elements = { tcp . 8080 comment "web" : 172.18.0.2 . 80 }
    	}

    	map addressed {
    		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    	}

    	set same {
    		type ifname . ifname
    		elements = { "br0" . "br0" }
    	}

    	set pools {
    		type ipv4_addr
    		flags interval
    		elements = { 10.0.0.0/8,
    			     1.2.3.4-1.2.3.9 }
    	}

    	map by_bridge {
    		type ifname : verdict
    		elements = { "br0" : jump allow }
    	}

    	chain prerouting {
    		type nat hook prerouting priority dstnat; policy accept;
    		dnat ip to ip daddr . meta l4proto . th dport map @addressed
    		fib daddr type local dnat ip to meta l4proto . th dport map @ports comment "published"
    	}

    	chain forward {
    		type filter hook forward priority filter; policy accept;
    		ct state established,related counter packets 0 bytes 0 accept
    		iifname . oifname @same accept
    		oifname vmap @by_bridge
    		ip saddr @pools drop
    		ip daddr 172.16.0.0/12 drop
    		ct status dnat ct original ip daddr 192.0.2.1 ct original proto-dst 80 reject with icmpx admin-prohibited
    		oifname "lo" return
    	}

    	chain allow {
    		udp dport 53 accept
    		meta skuid 1000 fib saddr type local masquerade
    	}
    }
    "#);
}

#[test]
fn a_bridge_table_names_ethernet_arp_and_neighbour_discovery() {
    let mut table = Table::new(Family::Bridge, "fairway");
    table.sets = vec![Set::new("owners", [Datatype::EtherAddress, Datatype::Ipv4Address])];
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
                .is(Load::ND_TARGET, [0; 16])
                .drop(),
            rule().is(Load::IP_SOURCE, [10, 0, 0, 1]).accept(),
        ]),
    ];
    insta::assert_snapshot!(table, @r#"
    table bridge fairway {
    	set owners {
    		type ether_addr . ipv4_addr
    	}

    	chain guard {
    		type filter hook prerouting priority filter; policy accept;
    		ether saddr . ip saddr != @owners drop
    		arp saddr ether . arp saddr ip != @owners drop
    		icmpv6 type nd-neighbor-advert icmpv6 taddr :: drop
    		@nh,96,32 0x0a000001 accept
    	}
    }
    "#);
}

#[test]
fn the_resolver_table_rewrites_both_ways() {
    insta::assert_snapshot!(resolver::resolver_table(40053, 40054), @r#"
    table ip fairway-resolver {
    	chain questions {
    		type filter hook output priority raw; policy accept;
    		ip daddr 127.0.0.11 udp dport 53 udp dport set 40053
    		ip daddr 127.0.0.11 tcp dport 53 tcp dport set 40054
    	}

    	chain answers {
    		type filter hook output priority 100; policy accept;
    		ip saddr 127.0.0.11 udp sport 40053 udp sport set 53
    		ip saddr 127.0.0.11 tcp sport 40054 tcp sport set 53
    	}
    }
    "#);
}

#[test]
fn what_others_write_reads_like_nft_too() {
    let mut table = Table::new(Family::Inet, "others");
    let (register, next) = (Register::FIRST, Register::at(4).unwrap());
    let compare =
        |operator, value: &[u8]| Expression::Compare { from: register, operator, value: value.to_vec() };
    let port = || {
        rule().transport(Protocol::Tcp).compare(Load::DESTINATION_PORT, Comparison::GreaterOrEqual, [0, 10])
    };
    let rules: [Rule; 7] = [
        port().compare(Load::DESTINATION_PORT, Comparison::LessOrEqual, [0, 20]).accept().into(),
        rule()
            .expression(Expression::Meta { key: MetaKey::Length, to: register })
            .expression(Expression::Byteorder {
                from: register,
                to: register,
                order: ByteOrder::HostToNetwork,
                length: 4,
                size: 4,
            })
            .expression(compare(Comparison::Greater, &[0, 0, 0, 100]))
            .drop()
            .into(),
        rule()
            .expression(Expression::Fib {
                result: FibResult::Interface,
                flags: FibFlags(FibFlags::SOURCE.0 | FibFlags::INPUT.0 | FibFlags::PRESENT.0),
                to: register,
            })
            .expression(compare(Comparison::Equal, &[0; 4]))
            .drop()
            .into(),
        rule()
            .expression(Expression::Immediate { to: register, value: vec![0xfd; 16] })
            .expression(Expression::Immediate { to: next, value: vec![0, 80] })
            .expression(Expression::Nat {
                kind: NatKind::Destination,
                family: Family::Ip6,
                address: Some(register.into()),
                port: Some(next.into()),
                flags: NatFlags::PERSISTENT,
            })
            .into(),
        rule()
            .has_any_bit(Load::Meta(MetaKey::Mark), 255u32.to_ne_bytes())
            .is_in(&[Load::TRANSPORT], "some")
            .into(),
        rule().expression(Expression::Unknown { name: "quota".into(), attributes: Vec::new() }).into(),
        rule()
            .expression(Expression::Limit(LimitRate {
                amount: 10,
                seconds: 60,
                burst: 5,
                bytes: false,
                inverted: true,
            }))
            .expression(Expression::Reject(Reject::TcpReset))
            .into(),
    ];
    let mut some = Set::new("some", [Datatype::InetProtocol]).with([Element::new([6]), Element::new([17])]);
    some.flags.anonymous = true;
    table.sets.push(some);
    let text: Vec<String> = rules.iter().map(|rule| table.rule_text(rule)).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    tcp dport 10-20 accept
    meta length > 100 drop
    fib saddr . iif oif missing drop
    dnat ip6 to [fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:80 persistent
    meta mark & 0x000000ff != 0x00000000 meta l4proto { tcp, udp }
    [quota]
    limit rate over 10/minute reject with tcp reset
    "#);
}

#[test]
fn parts_of_a_key_are_padded_and_a_single_part_is_not() {
    assert_eq!(key().port(80).bytes(), [0, 80]);
    assert_eq!(key().protocol(Protocol::Udp).port(80).bytes(), [17, 0, 0, 0, 0, 80, 0, 0]);
    let parts = [Datatype::InetProtocol, Datatype::InetService];
    assert_eq!(Datatype::length_of(&parts), 8);
    assert_eq!(Datatype::text_of(&parts, &key().protocol(Protocol::Udp).port(80).bytes()), "udp . 80");
}

#[test]
fn an_address_takes_as_many_registers_as_it_has_words() {
    let rule: Rule = rule().dnat_by(Family::Ip6, &PORT_KEY, "ports").into();
    let Some(Expression::Nat { address, port, .. }) = rule.expressions.last() else {
        panic!("no translation in {rule:?}");
    };
    assert_eq!(address.map(|range| range.first.slot()), Some(0));
    assert_eq!(port.map(|range| range.first.slot()), Some(4));
}

#[test]
fn at_rest_forgets_what_passed_and_nothing_else() {
    let mut busy = sample();
    busy.sets[0].elements[0].count = Some(Count { packets: 3, bytes: 180 });
    busy.chains[1].rules[0].expressions[3] = Expression::Counter(Count { packets: 3, bytes: 180 });
    busy.chains[1].rules[0].handle = Some(7);
    let mut idle = sample();
    idle.sets[0].elements[0].count = Some(Count::default());
    assert_ne!(busy, idle);
    idle.chains.reverse();
    idle.sets.reverse();
    assert_eq!(busy.clone().at_rest(), idle.clone().at_rest());
    busy.chains[1].rules.remove(1);
    assert_ne!(busy.at_rest(), idle.at_rest());
}

proptest! {
    #[test]
    fn registers_keep_their_number(slot in 0..Register::COUNT) {
        let register = Register::at(slot).unwrap();
        prop_assert_eq!(Register::from_number(register.number()), Some(register));
    }

    #[test]
    fn the_parts_of_a_concatenation_are_found_in_its_number(picks in prop::collection::vec(0usize..22, 1..5)) {
        let parts: Vec<Datatype> = picks.iter().map(|&pick| NAMED[pick]).collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.length()).collect();
        let number = Datatype::number_of(&parts);
        prop_assert_eq!(Datatype::parts_of(number, &lengths, Datatype::length_of(&parts)), parts);
    }

    #[test]
    fn printing_never_fails(bytes in prop::collection::vec(any::<u8>(), 0..24), pick in 0usize..22) {
        prop_assert!(!NAMED[pick].text(&bytes).is_empty());
        let part = [NAMED[pick], Datatype::InetService];
        prop_assert!(Datatype::text_of(&part, &bytes).contains(" . "));
    }

    #[test]
    fn ports_print_as_numbers(port: u16, last in any::<[u8; 4]>()) {
        prop_assert_eq!(Datatype::InetService.text(&port.to_be_bytes()), port.to_string());
        prop_assert_eq!(Datatype::Ipv4Address.text(&last), IpAddr::from(last).to_string());
    }
}

const NAMED: [Datatype; 22] = [
    Datatype::NetworkFamily,
    Datatype::Ipv4Address,
    Datatype::Ipv6Address,
    Datatype::EtherAddress,
    Datatype::EtherType,
    Datatype::ArpOperation,
    Datatype::InetProtocol,
    Datatype::InetService,
    Datatype::IcmpType,
    Datatype::Icmpv6Type,
    Datatype::Mark,
    Datatype::InterfaceIndex,
    Datatype::InterfaceName,
    Datatype::InterfaceGroup,
    Datatype::UserId,
    Datatype::GroupId,
    Datatype::CtState,
    Datatype::CtDirection,
    Datatype::CtStatus,
    Datatype::PacketType,
    Datatype::FibType,
    Datatype::HostInteger,
];
