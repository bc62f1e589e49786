use ipnet::IpNet;

use super::{default_bridge_subnet, default_gateway};
use crate::ipam::IpamError;
use fairway_model::Rng;
use fairway_model::{HostFacts, HostRoute, Settings, Subnet};

fn settings(bip: &str, fixed_cidr: &str, default_gateway: &str) -> Settings {
    Settings {
        bridge_address: bip.parse().ok(),
        fixed_cidr: fixed_cidr.parse().ok(),
        default_gateway: default_gateway.parse().ok(),
        ..Settings::default()
    }
}

fn decide(settings: &Settings) -> Result<Subnet, IpamError> {
    default_bridge_subnet(settings, &HostFacts::default(), &[], false, &mut Rng::new(1))
}

#[test]
fn flags_decide_subnet_address_and_range() {
    let table = [
        ("", "", "172.17.0.0/16", "172.17.0.1", ""),
        ("10.9.8.1/24", "", "10.9.8.0/24", "10.9.8.1", ""),
        ("10.9.8.77/24", "10.9.8.128/25", "10.9.8.0/24", "10.9.8.77", "10.9.8.128/25"),
        ("", "172.17.4.0/24", "172.17.0.0/16", "172.17.0.1", "172.17.4.0/24"),
        ("", "172.17.4.9/24", "172.17.0.0/16", "172.17.0.1", "172.17.4.0/24"),
        ("", "10.9.8.0/24", "10.9.8.0/24", "10.9.8.1", "10.9.8.0/24"),
    ];
    for (bip, fixed_cidr, subnet, gateway, range) in table {
        let decided = decide(&settings(bip, fixed_cidr, "")).unwrap();
        assert_eq!(decided.subnet.to_string(), subnet, "{bip} {fixed_cidr}");
        assert_eq!(decided.gateway.to_string(), gateway, "{bip} {fixed_cidr}");
        assert_eq!(decided.ip_range, range.parse().ok(), "{bip} {fixed_cidr}");
        assert_eq!(decided.chosen, !bip.is_empty(), "{bip} {fixed_cidr}");
    }
}

#[test]
fn without_bip_the_default_bridge_avoids_the_host_and_other_networks() {
    let destination: IpNet = "172.17.0.0/16".parse().unwrap();
    let routes = vec![HostRoute { destination, interface: "tun0".to_owned() }];
    let host = HostFacts { routes, ..HostFacts::default() };
    let taken = [("172.18.0.0/16".parse().unwrap(), "web".to_owned())];
    let decided =
        default_bridge_subnet(&Settings::default(), &host, &taken, false, &mut Rng::new(1)).unwrap();
    assert_eq!(decided.gateway.to_string(), "172.19.0.1");
    // What the user names may meet the host's routes, but not a network.
    let named =
        default_bridge_subnet(&settings("172.17.0.1/16", "", ""), &host, &taken, false, &mut Rng::new(1));
    assert_eq!(named.unwrap().gateway.to_string(), "172.17.0.1");
    let named =
        default_bridge_subnet(&settings("172.18.5.1/24", "", ""), &host, &taken, false, &mut Rng::new(1));
    assert!(matches!(named, Err(IpamError::Overlap { holder, .. }) if holder == "web"));
}

#[test]
fn a_default_gateway_is_not_allocated() {
    let decided = decide(&settings("10.9.8.1/24", "", "10.9.8.254")).unwrap();
    assert_eq!(decided.gateway.to_string(), "10.9.8.1");
    assert_eq!(default_gateway(&decided), "10.9.8.254".parse().ok());
    assert!(decide(&settings("10.9.8.1/24", "", "10.9.8.1")).unwrap().auxiliary.is_empty());
}

#[test]
fn contradictory_flags_are_refused_by_name() {
    let table = [
        (
            "10.9.8.0/24",
            "",
            "",
            "invalid --bip 10.9.8.0/24: invalid bridge address 10.9.8.0: it is the network's own",
        ),
        (
            "10.9.8.255/24",
            "",
            "",
            "invalid --bip 10.9.8.255/24: invalid bridge address 10.9.8.255: it is the broadcast",
        ),
        (
            "127.0.5.1/24",
            "",
            "",
            "invalid --bip 127.0.5.1/24: invalid subnet 127.0.5.0/24: 127.0.0.0/8 is loopback",
        ),
        (
            "10.9.8.1/32",
            "",
            "",
            "invalid --bip 10.9.8.1/32: invalid subnet 10.9.8.1/32: no available addresses",
        ),
        (
            "10.9.8.1/24",
            "10.9.9.0/24",
            "",
            "invalid --fixed-cidr 10.9.9.0/24: it is not within the default bridge's 10.9.8.0/24",
        ),
        ("10.9.8.1/24", "10.9.0.0/16", "", "invalid --fixed-cidr 10.9.0.0/16: it is not within"),
        (
            "",
            "224.0.0.0/24",
            "",
            "invalid --fixed-cidr 224.0.0.0/24: invalid subnet 224.0.0.0/24: 224.0.0.0/4 is multicast",
        ),
        (
            "10.9.8.1/24",
            "",
            "10.9.9.1",
            "invalid --default-gateway 10.9.9.1: invalid default gateway 10.9.9.1: parent subnet 10.9.8.0/24",
        ),
        ("", "", "172.17.255.255", "invalid --default-gateway 172.17.255.255: invalid default gateway"),
    ];
    for (bip, fixed_cidr, gateway, expected) in table {
        let error = decide(&settings(bip, fixed_cidr, gateway)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?} does not start with {expected:?}");
    }
}

#[test]
fn flags_of_ipv6_decide_the_ipv6_subnet() {
    let six = |bip: &str, range: &str, gateway: &str| {
        let settings = Settings {
            bridge_address_ipv6: bip.parse().ok(),
            fixed_cidr_ipv6: range.parse().ok(),
            default_gateway_ipv6: gateway.parse().ok(),
            ..settings("10.9.8.1/24", "10.9.8.128/25", "10.9.8.254")
        };
        default_bridge_subnet(&settings, &HostFacts::default(), &[], true, &mut Rng::new(1))
    };
    let table = [
        ("fd08::5/64", "", "fd08::/64", "fd08::5", ""),
        ("", "fd08:1::/64", "fd08:1::/64", "fd08:1::1", "fd08:1::/64"),
        ("fd08::1/48", "fd08:0:0:7::/64", "fd08::/48", "fd08::1", "fd08:0:0:7::/64"),
    ];
    for (bip, range, subnet, gateway, ip_range) in table {
        let decided = six(bip, range, "").unwrap();
        assert_eq!(
            (decided.subnet, Some(decided.gateway), decided.ip_range),
            (subnet.parse().unwrap(), gateway.parse().ok(), ip_range.parse().ok())
        );
        assert!(decided.auxiliary.is_empty(), "the IPv4 gateway is not for IPv6");
    }
    let chosen = six("", "", "").unwrap();
    assert!(
        chosen.subnet.to_string().starts_with("fd") && chosen.subnet.prefix_len() == 64 && !chosen.chosen
    );
    assert_eq!(default_gateway(&six("fd08::1/64", "", "fd08::9").unwrap()), "fd08::9".parse().ok());
    let error = six("fd08::1/64", "fd09::/80", "").unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid --fixed-cidr-v6 fd09::/80: it is not within the default bridge's fd08::/64: change it or --bip6"
    );
}
