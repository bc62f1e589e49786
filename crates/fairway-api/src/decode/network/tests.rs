use super::*;
use crate::types::{ConfigReference, EndpointIpam, Ipam};

fn create(config: IpamConfig) -> NetworkCreate {
    NetworkCreate {
        name: "web".into(),
        ipam: Some(Ipam { config: vec![config], ..Ipam::default() }),
        ..NetworkCreate::default()
    }
}

#[test]
fn a_subnet_and_what_belongs_to_it_are_read() {
    let (network, warnings) = network(create(IpamConfig {
        subnet: "172.20.0.5/16".into(),
        ip_range: "172.20.4.0/24".into(),
        gateway: "172.20.0.1".into(),
        auxiliary_addresses: BTreeMap::from([("printer".into(), "172.20.0.9".into())]),
    }))
    .unwrap();
    let expected = SubnetRequest {
        // Host bits are the World's to judge.
        subnet: Some("172.20.0.5/16".parse().unwrap()),
        gateway: Some("172.20.0.1".parse().unwrap()),
        ip_range: Some("172.20.4.0/24".parse().unwrap()),
        auxiliary: BTreeMap::from([("printer".into(), "172.20.0.9".parse().unwrap())]),
    };
    assert_eq!((network.name.as_str(), network.subnets), ("web", vec![expected]));
    assert!(warnings.is_empty());
}

#[test]
fn all_invalid_fields_of_a_network_are_reported_at_once() {
    let failure = network(create(IpamConfig {
        subnet: "172.31.0.0/99".into(),
        gateway: "gate".into(),
        ..IpamConfig::default()
    }))
    .unwrap_err();
    insta::assert_snapshot!(failure.message, @r"
    invalid network config:
    invalid subnet 172.31.0.0/99: an address and a prefix length such as 172.20.0.0/16 is expected
    invalid gateway gate: an address such as 172.20.0.1 is expected
    ");
}

#[test]
fn swarm_options_are_refused() {
    let refused = |request: NetworkCreate| network(request).unwrap_err().kind == RefusalKind::Invalid.into();
    assert!(refused(NetworkCreate { ingress: true, ..NetworkCreate::default() }));
    assert!(refused(NetworkCreate { scope: "swarm".into(), ..NetworkCreate::default() }));
    let ipam = Some(Ipam { driver: "dhcp".into(), ..Ipam::default() });
    let failure = network(NetworkCreate { ipam, ..NetworkCreate::default() }).unwrap_err();
    assert_eq!(failure.kind, RefusalKind::NotFound.into());
}

#[test]
fn configurations_and_options_of_ipam_are_decoded() {
    let from = Some(ConfigReference { network: "base".into() });
    let options = [("zone".to_owned(), "a".to_owned())].into();
    let ipam = Some(Ipam { options, ..Ipam::default() });
    let (create, warnings) =
        network(NetworkCreate { config_from: from, ipam, ..NetworkCreate::default() }).unwrap();
    assert_eq!((create.config_from.as_deref(), create.ipam_options["zone"].as_str()), (Some("base"), "a"));
    assert!(warnings.is_empty());
    let none = Some(ConfigReference { network: String::new() });
    let only = NetworkCreate { config_only: true, config_from: none, ..NetworkCreate::default() };
    let (create, _) = network(only).unwrap();
    assert!(create.config_only && create.config_from.is_none());
}

#[test]
fn attachable_is_taken_with_a_warning() {
    let (_, warnings) = network(NetworkCreate { attachable: true, ..NetworkCreate::default() }).unwrap();
    assert_eq!(warnings.len(), 1);
}

#[test]
fn endpoint_settings_are_decoded() {
    let request = endpoint(EndpointSettings {
        ipam_config: Some(EndpointIpam {
            ipv4_address: "172.20.0.7".into(),
            ipv6_address: "fd00::7".into(),
            link_local_ips: Vec::new(),
        }),
        aliases: Some(vec!["db".into()]),
        links: Some(vec!["front:shop".into()]),
        mac_address: "02:42:ac:14:00:07".into(),
        gw_priority: -3,
        // What was given, as Docker's client sends it back: not asked for.
        ip_address: "10.9.9.9".into(),
        gateway: "10.9.9.1".into(),
        ..EndpointSettings::default()
    })
    .unwrap();
    let expected = EndpointRequest {
        ipv4: Some("172.20.0.7".parse().unwrap()),
        ipv6: Some("fd00::7".parse().unwrap()),
        mac: Some("02:42:ac:14:00:07".parse().unwrap()),
        aliases: vec!["db".into()],
        links: vec![("front".into(), "shop".into())],
        driver_options: BTreeMap::new(),
        gateway_priority: -3,
    };
    assert_eq!(request, expected);
}

#[test]
fn all_invalid_fields_of_an_endpoint_are_reported_at_once() {
    let failure = endpoint(EndpointSettings {
        ipam_config: Some(EndpointIpam {
            ipv4_address: "abc".into(),
            ipv6_address: "10.0.0.1".into(),
            link_local_ips: vec!["169.254.1.1".into()],
        }),
        mac_address: "x".into(),
        ..EndpointSettings::default()
    })
    .unwrap_err();
    let lines: Vec<_> = failure.message.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "invalid endpoint settings:",
            "invalid IPv4 address",
            "invalid IPv6 address",
            "invalid MAC address",
            "link-local addresses cannot be chosen",
        ]
    );
}
