use ipnet::IpNet;
use proptest::prelude::*;

use super::super::IpamError;
use super::choose_subnet;
use fairway_model::Rng;
use fairway_model::address_range::overlap;
use fairway_model::{AddressPool, HostFacts, HostRoute, Settings};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn route(destination: &str, interface: &str) -> HostRoute {
    HostRoute { destination: net(destination), interface: interface.to_owned() }
}

fn pools(pools: &[(&str, u8)]) -> Settings {
    let address_pools = pools.iter().map(|&(base, size)| AddressPool { base: net(base), size }).collect();
    Settings { address_pools, ..Settings::default() }
}

/// Makes networks n0, n1, ... until no subnet is left.
fn exhaust(settings: &Settings, host: &HostFacts, v6: bool) -> (Vec<String>, String) {
    let mut taken: Vec<(IpNet, String)> = Vec::new();
    loop {
        match choose_subnet(settings, host, &taken, v6, None, &mut Rng::new(1)) {
            Ok(subnet) => taken.push((subnet, format!("n{}", taken.len()))),
            Err(error) => {
                return (taken.iter().map(|(subnet, _)| subnet.to_string()).collect(), error.to_string());
            }
        }
    }
}

#[test]
fn the_default_pools_are_dockers_in_dockers_order() {
    let expected: Vec<String> = (17..=31)
        .map(|n| format!("172.{n}.0.0/16"))
        .chain((0..16).map(|n| format!("192.168.{}.0/20", n * 16)))
        .collect();
    let (given, error) = exhaust(&Settings::default(), &HostFacts::default(), false);
    assert_eq!(given, expected);
    insta::assert_snapshot!(error, @"all predefined address pools have been fully subnetted: 172.17.0.0/16 by network n0 (172.17.0.0/16); 172.18.0.0/16 by network n1 (172.18.0.0/16); 172.19.0.0/16 by network n2 (172.19.0.0/16); 172.20.0.0/14 by network n3 (172.20.0.0/16), network n4 (172.21.0.0/16), network n5 (172.22.0.0/16) and 1 more; 172.24.0.0/14 by network n7 (172.24.0.0/16), network n8 (172.25.0.0/16), network n9 (172.26.0.0/16) and 1 more; 172.28.0.0/14 by network n11 (172.28.0.0/16), network n12 (172.29.0.0/16), network n13 (172.30.0.0/16) and 1 more; 192.168.0.0/16 by network n15 (192.168.0.0/20), network n16 (192.168.16.0/20), network n17 (192.168.32.0/20) and 13 more: choose a free subnet with --subnet, or configure another --default-address-pool");
}

#[test]
fn subnets_of_the_host_are_skipped() {
    let host = HostFacts {
        addresses: vec![route("172.17.9.1/24", "eth0"), route("fe80::1/64", "eth0")],
        nameservers: vec!["172.18.0.53".parse().unwrap()],
        routes: vec![
            route("0.0.0.0/0", "eth0"),
            route("::/1", "eth0"),
            route("172.19.4.0/22", "tun0"),
            route("172.20.0.0/15", ""),
        ],
        ..HostFacts::default()
    };
    let taken = [(net("172.22.128.0/17"), "web".to_owned())];
    let subnet = choose_subnet(&Settings::default(), &host, &taken, false, None, &mut Rng::new(1));
    assert_eq!(subnet, Ok(net("172.23.0.0/16")));
}

#[test]
fn the_error_names_the_holders_of_each_pool() {
    let host = HostFacts {
        addresses: vec![route("192.168.1.5/24", "eth0")],
        nameservers: vec!["10.0.0.53".parse().unwrap()],
        routes: vec![route("172.16.0.0/12", "tun0"), route("192.168.0.0/16", "")],
        ..HostFacts::default()
    };
    let error = choose_subnet(&Settings::default(), &host, &[], false, None, &mut Rng::new(1)).unwrap_err();
    insta::assert_snapshot!(error, @"all predefined address pools have been fully subnetted: 172.17.0.0/16, 172.18.0.0/16, 172.19.0.0/16, 172.20.0.0/14, 172.24.0.0/14, 172.28.0.0/14 by route 172.16.0.0/12 of tun0; 192.168.0.0/16 by route 192.168.0.0/16: choose a free subnet with --subnet, or configure another --default-address-pool");
    let error =
        choose_subnet(&pools(&[("10.0.0.0/24", 24)]), &host, &[], false, None, &mut Rng::new(1)).unwrap_err();
    assert!(error.to_string().contains("10.0.0.0/24 by nameserver 10.0.0.53"), "{error}");
    let error = choose_subnet(&pools(&[("192.168.1.0/28", 28)]), &host, &[], false, None, &mut Rng::new(1))
        .unwrap_err();
    assert!(error.to_string().contains("192.168.1.0/28 by route 192.168.0.0/16"), "{error}");
}

#[test]
fn a_requested_prefix_length_is_cut_from_the_pools() {
    let choose_sized = |size| {
        choose_subnet(&Settings::default(), &HostFacts::default(), &[], false, Some(size), &mut Rng::new(1))
    };
    assert_eq!(choose_sized(24), Ok(net("172.17.0.0/24")));
    assert_eq!(choose_sized(15), Ok(net("172.20.0.0/15")));
    assert_eq!(choose_sized(31), Ok(net("172.17.0.0/31")));
    assert_eq!(choose_sized(32), Err(IpamError::TooSmall { subnet: net("0.0.0.0/32") }));
    assert!(choose_sized(8).unwrap_err().to_string().contains("192.168.0.0/16 cannot be cut into /8"));
}

#[test]
fn configured_pools_replace_the_default_pools_of_their_family() {
    let settings = pools(&[("10.8.0.0/22", 24), ("2001:db8::/62", 64)]);
    let (v4, _) = exhaust(&settings, &HostFacts::default(), false);
    assert_eq!(v4, ["10.8.0.0/24", "10.8.1.0/24", "10.8.2.0/24", "10.8.3.0/24"]);
    let (v6, error) = exhaust(&settings, &HostFacts::default(), true);
    assert_eq!(v6, ["2001:db8::/64", "2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:0:3::/64"]);
    assert!(error.contains("2001:db8::/62 by network n0 (2001:db8::/64), network n1"), "{error}");
    let only_v6 = pools(&[("2001:db8::/48", 64)]);
    let v4 = choose_subnet(&only_v6, &HostFacts::default(), &[], false, None, &mut Rng::new(1));
    assert_eq!(v4, Ok(net("172.17.0.0/16")));
}

#[test]
fn ipv6_without_a_pool_is_a_random_unique_local_subnet() {
    let (settings, host) = (Settings::default(), HostFacts::default());
    let mut rng = Rng::new(7);
    let mut choose_sized = |size| choose_subnet(&settings, &host, &[], true, size, &mut rng);
    let (one, other) = (choose_sized(None).unwrap(), choose_sized(None).unwrap());
    assert_ne!(one, other);
    for subnet in [one, other] {
        assert_eq!(subnet, subnet.trunc());
        assert_eq!(subnet.prefix_len(), 64);
        let IpNet::V6(subnet) = subnet else { panic!("{subnet} is not IPv6") };
        assert_eq!(subnet.addr().octets()[0], 0xfd);
        // The subnet id of RFC 4193 is 0: all of the randomness is in the global id.
        assert_eq!(subnet.addr().segments()[3], 0);
    }
    assert_eq!(choose_sized(Some(112)).map(|subnet| subnet.prefix_len()), Ok(112));
    let error = choose_sized(Some(40)).unwrap_err().to_string();
    assert!(error.contains("fd00::/8 is given in /48 and less"), "{error}");
}

#[test]
fn unique_local_subnets_can_be_exhausted() {
    let host = HostFacts { routes: vec![route("fc00::/7", "tun0")], ..HostFacts::default() };
    let error = choose_subnet(&Settings::default(), &host, &[], true, None, &mut Rng::new(1)).unwrap_err();
    assert!(error.to_string().contains("subnetted: fd00::/8 by route fc00::/7 of tun0: choose"), "{error}");
}

#[test]
fn a_pool_of_many_subnets_is_searched_in_one_step_per_holder() {
    // 2^56 subnets; a search subnet by subnet would not end.
    let settings = pools(&[("2000::/8", 64)]);
    let taken = [(net("2000::/9"), "a".to_owned()), (net("2080::/10"), "b".to_owned())];
    let subnet = choose_subnet(&settings, &HostFacts::default(), &taken, true, None, &mut Rng::new(1));
    assert_eq!(subnet, Ok(net("20c0::/64")));
}

/// A subnet of 10.0.0.0/20 or thereabouts.
fn allocate_subnets() -> impl Strategy<Value = IpNet> {
    (0u32..0x2000, 14u8..=32).prop_map(|(host, length)| {
        IpNet::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host).into(), length).unwrap()
    })
}

proptest! {
    #[test]
    fn the_first_free_subnet_is_chosen(
        routes in prop::collection::vec(allocate_subnets(), 0..6),
        addresses in prop::collection::vec(allocate_subnets(), 0..6),
        networks in prop::collection::vec(allocate_subnets(), 0..20),
        size in 20u8..=31,
    ) {
        let held = |subnets: &[IpNet]| -> Vec<HostRoute> {
            subnets
                .iter()
                .map(|&destination| HostRoute { destination, interface: "eth0".to_owned() })
                .collect()
        };
        let host =
            HostFacts { routes: held(&routes), addresses: held(&addresses), ..HostFacts::default() };
        let taken: Vec<(IpNet, String)> =
            networks.iter().map(|&subnet| (subnet, "other".to_owned())).collect();
        let free = |subnet: IpNet| {
            !routes.iter().chain(&addresses).chain(&networks).any(|&held| overlap(held, subnet))
        };
        let pool: ipnet::Ipv4Net = "10.0.0.0/20".parse().unwrap();
        let first = pool.subnets(size).unwrap().map(IpNet::V4).find(|&subnet| free(subnet));
        let settings = pools(&[("10.0.0.0/20", size)]);
        let chosen = choose_subnet(&settings, &host, &taken, false, None, &mut Rng::new(1));
        prop_assert_eq!(chosen.ok(), first);
    }
}
