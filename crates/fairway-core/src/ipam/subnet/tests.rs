use ipnet::IpNet;

use super::allocate_subnets;
use crate::ipam::IpamError;
use fairway_model::Rng;
use fairway_model::{HostFacts, HostRoute, Settings, Subnet};
use fairway_model::{RefusalKind, SubnetRequest};

/// A request by its texts; an empty one is not given.
fn request(subnet: &str, gateway: &str, range: &str, auxiliary: &[(&str, &str)]) -> SubnetRequest {
    SubnetRequest {
        subnet: subnet.parse().ok(),
        gateway: gateway.parse().ok(),
        ip_range: range.parse().ok(),
        auxiliary: auxiliary
            .iter()
            .map(|(name, address)| ((*name).to_owned(), address.parse().unwrap()))
            .collect(),
    }
}

fn decide(requests: &[SubnetRequest], v4: bool, v6: bool) -> Result<Vec<Subnet>, IpamError> {
    let taken = [("172.25.0.0/16".parse().unwrap(), "app".to_owned())];
    let destination: IpNet = "10.10.0.0/16".parse().unwrap();
    let routes = vec![HostRoute { destination, interface: "tun0".to_owned() }];
    let host = HostFacts { routes, ..HostFacts::default() };
    allocate_subnets("web", requests, v4, v6, &Settings::default(), &host, &taken, &mut Rng::new(1))
}

#[test]
fn enabled_families_get_a_subnet_each() {
    for (v4, v6, families) in [(true, false, "4"), (false, true, "6"), (true, true, "46"), (false, false, "")]
    {
        let decided = decide(&[], v4, v6).unwrap();
        let found: String =
            decided.iter().map(|subnet| if subnet.subnet.addr().is_ipv4() { '4' } else { '6' }).collect();
        assert_eq!(found, families);
        assert!(decided.iter().all(|subnet| !subnet.chosen && !subnet.gateway_chosen));
        assert!(decided.iter().all(|subnet| subnet.subnet.contains(&subnet.gateway)));
    }
}

#[test]
fn the_gateway_is_the_lowest_address_that_is_free() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        ("10.1.0.0/24", &[], "10.1.0.1"),
        ("10.1.0.0/24", &[("a", "10.1.0.2")], "10.1.0.1"),
        ("10.1.0.0/24", &[("a", "10.1.0.2"), ("b", "10.1.0.1")], "10.1.0.3"),
        ("10.1.0.0/31", &[], "10.1.0.0"),
        ("10.1.0.0/31", &[("a", "10.1.0.0")], "10.1.0.1"),
        ("fd00:5::/64", &[], "fd00:5::1"),
        ("fd00:5::/127", &[], "fd00:5::"),
    ];
    for (subnet, auxiliary, gateway) in table {
        let v6 = subnet.contains("::");
        let decided = decide(&[request(subnet, "", "", auxiliary)], !v6, v6).unwrap();
        assert_eq!(decided.len(), 1);
        assert_eq!(decided[0].gateway.to_string(), *gateway, "{subnet} {auxiliary:?}");
        assert!(decided[0].chosen && !decided[0].gateway_chosen);
    }
}

#[test]
fn requested_gateways_ranges_and_auxiliary_addresses_are_kept() {
    let v6 = request("fd00:5::/64", "fd00:5::9", "fd00:5::100/120", &[]);
    // It meets a route of the host, and is the user's to decide.
    let v4 = request("10.10.50.0/24", "10.10.50.254", "10.10.50.128/25", &[("db", "10.10.50.5")]);
    let decided = decide(&[v6, v4], true, true).unwrap();
    let [v4, v6] = decided.as_slice() else { panic!("{decided:?}") };
    assert_eq!(v4.subnet.to_string(), "10.10.50.0/24");
    assert_eq!(v4.gateway.to_string(), "10.10.50.254");
    assert_eq!(v4.ip_range.unwrap().to_string(), "10.10.50.128/25");
    assert_eq!(v4.auxiliary["db"].to_string(), "10.10.50.5");
    assert!(v4.chosen && v4.gateway_chosen);
    assert_eq!(v6.gateway.to_string(), "fd00:5::9");
}

#[test]
fn a_prefix_length_alone_is_cut_from_the_pools() {
    let decided =
        decide(&[request("::/112", "", "", &[]), request("0.0.0.0/24", "", "", &[])], true, true).unwrap();
    assert_eq!(decided[0].subnet.to_string(), "172.17.0.0/24");
    assert_eq!(decided[1].subnet.prefix_len(), 112);
    assert!(decided.iter().all(|subnet| !subnet.chosen));
    let decided = decide(&[SubnetRequest::default()], false, true).unwrap();
    assert!(decided[0].subnet.addr().is_ipv6());
}

#[test]
fn refusals_name_the_value_the_reason_and_the_way_out() {
    let one = |subnet: &str, gateway: &str, range: &str, auxiliary: &[(&str, &str)]| {
        vec![request(subnet, gateway, range, auxiliary)]
    };
    let table: &[(Vec<SubnetRequest>, &str)] = &[
        (one("172.31.0.5/24", "", "", &[]), "invalid subnet 172.31.0.5/24: it should be 172.31.0.0/24"),
        (one("fd00::1/64", "", "", &[]), "invalid subnet fd00::1/64: it should be fd00::/64"),
        (
            one("10.1.0.0/24", "", "10.1.0.5/25", &[]),
            "invalid ip-range 10.1.0.5/25: it should be 10.1.0.0/25",
        ),
        (
            one("10.1.0.0/24", "", "10.1.0.0/23", &[]),
            "invalid ip-range 10.1.0.0/23: parent subnet 10.1.0.0/24 doesn't contain it",
        ),
        (
            one("10.1.0.0/24", "", "fd00::/64", &[]),
            "invalid ip-range fd00::/64: parent subnet 10.1.0.0/24 doesn't contain it",
        ),
        (
            one("10.1.0.0/24", "10.2.0.1", "", &[]),
            "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/24 doesn't contain it",
        ),
        (
            one("10.1.0.0/24", "", "", &[("db", "10.2.0.5")]),
            "invalid auxiliary address 10.2.0.5: parent subnet 10.1.0.0/24 doesn't contain it",
        ),
        (
            one("10.1.0.0/24", "10.1.0.255", "", &[]),
            "invalid gateway 10.1.0.255: it is the broadcast address of 10.1.0.0/24: choose one between",
        ),
        (
            one("10.1.0.0/24", "10.1.0.0", "", &[]),
            "invalid gateway 10.1.0.0: it is the network's own address of 10.1.0.0/24: choose one between",
        ),
        (
            one("fd00::/64", "fd00::", "", &[]),
            "invalid gateway fd00::: it is the subnet-router anycast address of fd00::/64: choose one between",
        ),
        (
            one("10.1.0.0/24", "10.1.0.7", "", &[("db", "10.1.0.7")]),
            "invalid auxiliary address db=10.1.0.7: Address already in use: it is the gateway",
        ),
        (
            one("10.1.0.0/24", "", "", &[("db", "10.1.0.7"), ("www", "10.1.0.7")]),
            "invalid auxiliary address www=10.1.0.7: Address already in use: it is db",
        ),
        (
            one("10.1.0.0/31", "", "", &[("a", "10.1.0.0"), ("b", "10.1.0.1")]),
            "failed to allocate gateway: no available addresses on 10.1.0.0/31: auxiliary addresses take all",
        ),
        (
            one("172.31.0.0/32", "", "", &[]),
            "invalid subnet 172.31.0.0/32: no available addresses on this pool",
        ),
        (one("fd00::/128", "", "", &[]), "invalid subnet fd00::/128: no available addresses on this pool"),
        (one("224.1.0.0/16", "", "", &[]), "invalid subnet 224.1.0.0/16: 224.0.0.0/4 is multicast: choose"),
        (one("127.5.0.0/16", "", "", &[]), "invalid subnet 127.5.0.0/16: 127.0.0.0/8 is loopback"),
        (one("64.0.0.0/2", "", "", &[]), "invalid subnet 64.0.0.0/2: 127.0.0.0/8 is loopback"),
        (one("169.254.7.0/24", "", "", &[]), "invalid subnet 169.254.7.0/24: 169.254.0.0/16 is link-local"),
        (one("fe80::/64", "", "", &[]), "invalid subnet fe80::/64: fe80::/10 is link-local"),
        (one("ff05::/64", "", "", &[]), "invalid subnet ff05::/64: ff00::/8 is multicast"),
        (one("", "10.1.0.1", "", &[]), "invalid gateway 10.1.0.1: its subnet is unknown: add --subnet"),
        (
            one("0.0.0.0/24", "", "", &[("db", "10.1.0.7")]),
            "invalid auxiliary address db=10.1.0.7: its subnet is unknown: add --subnet",
        ),
        (
            vec![request("10.1.0.0/24", "", "", &[]), request("10.2.0.0/24", "", "", &[])],
            "invalid subnet 10.2.0.0/24: network web has IPv4 subnet 10.1.0.0/24 already, and can have one of each family",
        ),
    ];
    for (requests, expected) in table {
        let error = decide(requests, true, true).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error:?} does not start with {expected:?}");
        assert_eq!(error.kind(), RefusalKind::Invalid);
    }
}

#[test]
fn a_subnet_of_a_disabled_family_is_refused() {
    let error = decide(&[request("fd00::/64", "", "", &[])], true, false).unwrap_err().to_string();
    assert_eq!(error, "invalid subnet fd00::/64: IPv6 has not been enabled for network web: add --ipv6");
    let error = decide(&[request("0.0.0.0/24", "", "", &[])], false, true).unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid subnet 0.0.0.0/24: IPv4 has not been enabled for network web: drop --ipv4=false"
    );
}

#[test]
fn a_subnet_of_another_network_is_refused_with_its_holder() {
    for subnet in ["172.25.4.0/24", "172.24.0.0/14", "172.25.0.0/16"] {
        let error = decide(&[request(subnet, "", "", &[])], true, false).unwrap_err();
        assert_eq!(error.kind(), RefusalKind::Forbidden);
        assert_eq!(
            error.to_string(),
            format!(
                "Pool overlaps with other one on this address space: {subnet} overlaps 172.25.0.0/16 of network app: choose another subnet, or remove that network"
            )
        );
    }
}
