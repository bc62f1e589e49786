use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn held(destination: &str, interface: &str) -> HostRoute {
    HostRoute { destination: net(destination), interface: interface.to_owned() }
}

fn hop(address: &str, destination: &str) -> NextHop {
    let (address, destination) = (address.parse().unwrap(), net(destination));
    NextHop { address, destination, interface: "eth0".to_owned() }
}

fn host() -> HostFacts {
    HostFacts {
        addresses: vec![
            held("10.10.50.99/24", "eth0"),
            held("192.0.2.7/32", "lo"),
            held("fd50::99/64", "eth0"),
        ],
        routes: vec![
            held("10.10.50.0/24", "eth0"),
            held("10.20.0.0/16", "tun0"),
            held("fd50::/64", "eth0"),
            held("0.0.0.0/1", "tun0"),
        ],
        next_hops: vec![
            hop("10.10.50.1", "0.0.0.0/0"),
            hop("172.31.1.1", "10.20.0.0/16"),
            hop("fe80::1", "::/0"),
        ],
        ..HostFacts::default()
    }
}

fn subnet(subnet: &str, gateway: &str) -> Subnet {
    Subnet {
        subnet: net(subnet),
        gateway: gateway.parse().unwrap(),
        ip_range: None,
        auxiliary: Default::default(),
        chosen: true,
        gateway_chosen: true,
    }
}

#[test]
fn a_subnet_that_takes_an_address_or_next_hop_of_the_host_is_refused() {
    for (wanted, gateway, taken) in [
        // The router's address, or the host's own.
        (
            "10.10.50.0/24",
            "10.10.50.1",
            Some("10.10.50.1 is the next hop of the host's route to everywhere by eth0"),
        ),
        (
            "10.0.0.0/8",
            "10.10.50.1",
            Some("10.10.50.1 is the next hop of the host's route to everywhere by eth0"),
        ),
        ("10.0.0.0/8", "10.10.50.99", Some("10.10.50.99 is the host's address at eth0")),
        // Neither, but the way to them.
        (
            "10.10.50.0/24",
            "10.10.50.200",
            Some("10.10.50.1 is the next hop of the host's route to everywhere by eth0"),
        ),
        ("10.10.50.64/26", "10.10.50.65", Some("10.10.50.99 is the host's address at eth0")),
        ("fd50::/64", "fd50::5", Some("fd50::99 is the host's address at eth0")),
        // A next hop that no subnet of the host contains.
        (
            "172.31.0.0/16",
            "172.31.0.1",
            Some("172.31.1.1 is the next hop of the host's route to 10.20.0.0/16 by eth0"),
        ),
        // Packets to the LAN go by its longer prefix.
        ("10.0.0.0/8", "10.0.0.1", None),
        ("10.10.50.128/25", "10.10.50.129", None),
        ("192.0.2.0/24", "192.0.2.1", None),
        ("10.20.0.0/24", "10.20.0.1", None),
        ("fe00::/8", "fe00::1", Some("fe80::1 is the next hop of the host's route to everywhere by eth0")),
        ("fd51::/64", "fd51::1", None),
    ] {
        let found = lost_host_address(&subnet(wanted, gateway), &host(), "br-app");
        assert_eq!(found.map(|taken| taken.to_string()).as_deref(), taken, "{wanted} with {gateway}");
    }
    assert_eq!(
        lost_host_address(&subnet("10.10.50.0/24", "10.10.50.99"), &host(), "eth0"),
        None,
        "its own bridge"
    );
}

#[test]
fn overlaps_are_named_with_what_is_lost() {
    let warned = |wanted: &str| host_overlap_warnings("app", &subnet(wanted, "10.0.0.1"), &host(), "br-app");
    assert_eq!(
        warned("10.0.0.0/8"),
        [
            "subnet 10.0.0.0/8 of network app overlaps 10.10.50.0/24 of eth0, 10.20.0.0/16 of tun0: containers of the network do not reach it"
        ]
    );
    assert_eq!(
        warned("10.20.7.0/24"),
        [
            "subnet 10.20.7.0/24 of network app overlaps 10.20.0.0/16 of tun0: the host does not reach what it has of 10.20.7.0/24 there any more"
        ]
    );
    assert_eq!(warned("172.18.0.0/16"), [""; 0]);
    let mut host = host();
    host.routes = (0..9).map(|number| held(&format!("10.{number}.0.0/16"), "tun0")).collect();
    let warned = host_overlap_warnings("app", &subnet("10.0.0.0/8", "10.0.0.1"), &host, "br-app");
    assert!(warned[0].contains("10.1.0.0/16 of tun0, 10.2.0.0/16 of tun0 and 7 more: "), "{warned:?}");
}
