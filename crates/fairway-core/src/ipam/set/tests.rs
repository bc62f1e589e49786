use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::AddressSet;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Takes the lowest free address until there is none.
fn drain(range: &str, subnet: &str) -> Vec<String> {
    let mut set = AddressSet::new();
    let mut given = Vec::new();
    while let Some(address) = set.first_free(net(range), net(subnet)) {
        assert!(set.take(address));
        given.push(address.to_string());
    }
    given
}

#[test]
fn each_subnet_allocates_its_usable_addresses() {
    let table: &[(&str, &[&str])] = &[
        ("10.0.0.8/29", &["10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]),
        ("10.0.0.0/30", &["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/31", &["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.7/32", &["10.0.0.7"]),
        ("255.255.255.252/30", &["255.255.255.253", "255.255.255.254"]),
        ("fd00::/126", &["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127", &["fd00::", "fd00::1"]),
        ("fd00::5/128", &["fd00::5"]),
        (
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
            &["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ),
    ];
    for (subnet, expected) in table {
        assert_eq!(drain(subnet, subnet), *expected, "{subnet}");
    }
}

#[test]
fn a_range_within_a_subnet_includes_its_own_ends() {
    // 10.0.0.4 and .7 are ends of the range only, not of the subnet.
    assert_eq!(drain("10.0.0.4/30", "10.0.0.0/24"), ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]);
    assert_eq!(drain("10.0.0.252/30", "10.0.0.0/24"), ["10.0.0.252", "10.0.0.253", "10.0.0.254"]);
    assert_eq!(drain("10.1.0.0/30", "10.0.0.0/24"), [""; 0]);
    assert_eq!(drain("fd00::/126", "10.0.0.0/24"), [""; 0]);
}

#[test]
fn a_range_of_64_bits_works() {
    let (range, subnet) = (net("fd00:0:0:1::/64"), net("fd00::/48"));
    let mut set = AddressSet::new();
    assert_eq!(set.first_free(range, subnet), Some(ip("fd00:0:0:1::")));
    set.take(ip("fd00:0:0:1::"));
    set.take(ip("fd00:0:0:1:ffff:ffff:ffff:ffff"));
    assert_eq!(set.first_free(range, subnet), Some(ip("fd00:0:0:1::1")));
}

/// The ends of a range need not be those of a part with a prefix length.
#[test]
fn a_range_may_go_from_any_address_to_any_other() {
    let range = |text: &str| text.parse::<fairway_model::IpRange>().unwrap();
    let subnet = net("10.0.0.0/24");
    let mut set = AddressSet::new();
    for expected in ["10.0.0.9", "10.0.0.10", "10.0.0.11"] {
        assert_eq!(set.first_free(range("10.0.0.9-10.0.0.11"), subnet), Some(ip(expected)));
        set.take(ip(expected));
    }
    assert_eq!(set.first_free(range("10.0.0.9-10.0.0.11"), subnet), None);
    assert_eq!(set.first_free(range("10.0.0.0-10.0.0.0"), subnet), None, "no interface has it");
    assert_eq!(set.first_free(range("10.0.0.200-10.0.0.255"), subnet), Some(ip("10.0.0.200")));
    assert_eq!(set.first_free(range("fd00::1-fd00::9"), subnet), None);
}

#[test]
fn the_families_do_not_mix() {
    let mut set = AddressSet::new();
    assert!(set.take(ip("0.0.0.1")));
    assert!(!set.contains(ip("::1")));
    assert!(set.take(ip("::1")));
    assert!(set.release(ip("0.0.0.1")));
    assert!(set.contains(ip("::1")));
}

#[test]
fn released_addresses_are_allocated_again_lowest_first() {
    let subnet = net("10.0.0.0/24");
    let mut set: AddressSet = (1..=254).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    assert_eq!((set.first_free(subnet, subnet), set.count()), (None, 254));
    for host in [200, 7, 100] {
        assert!(set.release(IpAddr::from([10, 0, 0, host])));
    }
    assert_eq!(set.first_free(subnet, subnet), Some(ip("10.0.0.7")));
    assert!(!set.release(ip("10.0.0.7")));
    assert_eq!(set.count(), 251);
}

/// An address near an end of the line of addresses, or in the middle of it.
fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..40).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))),
        (0u32..40).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(u32::MAX - n))),
        (0u128..40).prop_map(|n| IpAddr::V6(Ipv6Addr::from_bits(n))),
        (0u128..40).prop_map(|n| IpAddr::V6(Ipv6Addr::from_bits(u128::MAX - n))),
    ]
}

/// The lowest free address, found by asking for each.
fn naive_first_free(used: &HashSet<IpAddr>, range: IpNet, subnet: IpNet) -> Option<IpAddr> {
    let short = subnet.prefix_len() >= subnet.max_prefix_len() - 1;
    let given = |address: &IpAddr| {
        subnet.contains(address)
            && (short
                || *address != subnet.network() && (address.is_ipv6() || *address != subnet.broadcast()))
    };
    let every: Box<dyn Iterator<Item = IpAddr>> = match range {
        IpNet::V4(range) => Box::new(
            (range.network().to_bits()..=range.broadcast().to_bits()).map(|n| Ipv4Addr::from(n).into()),
        ),
        IpNet::V6(range) => Box::new(
            (range.network().to_bits()..=range.broadcast().to_bits()).map(|n| Ipv6Addr::from(n).into()),
        ),
    };
    every.filter(given).find(|address| !used.contains(address))
}

proptest! {
    #[test]
    fn an_address_set_agrees_with_a_plain_set(
        steps in prop::collection::vec((any::<bool>(), addresses()), 1..200),
        near in addresses(),
        lengths in (0u8..=5, 0u8..=5),
    ) {
        let (mut set, mut plain) = (AddressSet::new(), HashSet::new());
        for (take, address) in steps {
            if take {
                prop_assert_eq!(set.take(address), plain.insert(address));
            } else {
                prop_assert_eq!(set.release(address), plain.remove(&address));
            }
            prop_assert_eq!(set.contains(address), take);
        }
        prop_assert_eq!(set.count(), plain.len());
        let longest = if near.is_ipv4() { 32 } else { 128 };
        let range = IpNet::new(near, longest - lengths.0).unwrap().trunc();
        let subnet = IpNet::new(near, longest - lengths.1).unwrap().trunc();
        prop_assert_eq!(set.first_free(range, subnet), naive_first_free(&plain, range, subnet));
        // However it came about, equal contents are equal sets: no two runs touch.
        prop_assert_eq!(set, plain.into_iter().collect());
    }
}
