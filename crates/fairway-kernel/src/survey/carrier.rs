//! Describes what carries the packets of a link, and which programs see them.

use fairway_walk::LinkProgram;

use crate::route::Link;

/// What carries packets that leave by a link, in words; empty for a plain link, and for kinds that the walker knows.
pub(super) fn carrier(link: &Link, all: &[Link]) -> String {
    let kind = link.kind.as_deref().unwrap_or_default();
    let named = |index: u32| all.iter().find(|it| it.index == index).map(|it| it.name.as_str());
    let below = match (link.peer, link.peer_namespace) {
        (Some(index), None) => named(index).map(str::to_owned),
        (Some(_), Some(_)) => Some("an interface of another namespace".to_owned()),
        (None, _) => None,
    };
    let of = below.map_or(String::new(), |name| format!(" of {name}"));
    let network = link.detail.tunnel_network.map_or(String::new(), |number| format!(" {number}"));
    let to = match link.detail.remote {
        Some(address) if address.is_multicast() => format!(" to the hosts of {address}"),
        Some(address) => format!(" to {address}"),
        None => " to the hosts that it knows".to_owned(),
    };
    match kind {
        "vlan" => format!("VLAN {}{of}", link.detail.vlan.unwrap_or_default()),
        "ipvlan" | "ipvtap" => format!("ipvlan in mode {}{of}", link.detail.ipvlan.unwrap_or("unknown")),
        "bond" | "team" => {
            let ports = all.iter().filter(|it| it.master == Some(link.index));
            let ports: Vec<&str> = ports.map(|it| it.name.as_str()).collect();
            format!(
                "{kind} of {}",
                if ports.is_empty() { "no interface".to_owned() } else { ports.join(", ") }
            )
        }
        "vxlan" | "geneve" => format!("{kind} tunnel{network}{to}"),
        "gre" | "gretap" | "ip6gre" | "ip6gretap" | "erspan" | "ip6erspan" | "ipip" | "sit" | "ip6tnl"
        | "vti" | "vti6" => format!("{kind} tunnel{to}"),
        "wireguard" => "wireguard, encrypted to the peer with that allowed address".to_owned(),
        "tun" => "a program that has the tun device".to_owned(),
        "xfrm" => "IPsec".to_owned(),
        "vrf" => format!("VRF of table {}", link.detail.vrf_table.unwrap_or_default()),
        _ => String::new(),
    }
}

/// The programs that see packets at a link.
pub(super) fn programs(link: &Link, master: Option<&str>) -> Vec<LinkProgram> {
    let arriving = |id: &u32| LinkProgram { what: format!("XDP program {id}"), input: true, output: false };
    let mut programs: Vec<LinkProgram> = link.detail.programs.iter().map(arriving).collect();
    let both = |what: &str| LinkProgram { what: what.to_owned(), input: true, output: true };
    if link.kind.as_deref() == Some("netkit") {
        programs.push(both("the program of the netkit device"));
    }
    if master == Some("openvswitch") {
        programs.push(both("Open vSwitch"));
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::LinkDetail;

    fn link(index: u32, name: &str, kind: &str, detail: LinkDetail) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: (!kind.is_empty()).then(|| kind.to_owned()),
            mac: None,
            mtu: 1500,
            up: true,
            loopback: false,
            master: None,
            hairpin: None,
            port_state: None,
            isolated: false,
            alias: None,
            alternative_names: Vec::new(),
            group: 0,
            peer: None,
            peer_namespace: None,
            detail,
            ipv4: None,
        }
    }

    fn said(kind: &str, detail: LinkDetail) -> String {
        let below = link(2, "eth0", "", LinkDetail::default());
        let port = Link { master: Some(3), ..link(4, "eth1", "", LinkDetail::default()) };
        let own = Link { peer: Some(2), ..link(3, "it", kind, detail) };
        carrier(&own, &[below, own.clone(), port])
    }

    #[test]
    fn carriers_are_named() {
        let none = LinkDetail::default;
        let far = |text: &str| Some(text.parse().unwrap());
        for (kind, detail, expected) in [
            ("vlan", LinkDetail { vlan: Some(5), ..none() }, "VLAN 5 of eth0"),
            ("ipvlan", LinkDetail { ipvlan: Some("l3"), ..none() }, "ipvlan in mode l3 of eth0"),
            (
                "vxlan",
                LinkDetail { tunnel_network: Some(42), remote: far("10.0.0.7"), ..none() },
                "vxlan tunnel 42 to 10.0.0.7",
            ),
            (
                "vxlan",
                LinkDetail { tunnel_network: Some(42), remote: far("239.1.1.1"), ..none() },
                "vxlan tunnel 42 to the hosts of 239.1.1.1",
            ),
            (
                "vxlan",
                LinkDetail { tunnel_network: Some(4096), ..none() },
                "vxlan tunnel 4096 to the hosts that it knows",
            ),
            ("ipip", LinkDetail { remote: far("10.0.0.8"), ..none() }, "ipip tunnel to 10.0.0.8"),
            ("bond", none(), "bond of eth1"),
            ("vrf", LinkDetail { vrf_table: Some(100), ..none() }, "VRF of table 100"),
            ("tun", none(), "a program that has the tun device"),
            ("wireguard", none(), "wireguard, encrypted to the peer with that allowed address"),
            ("", none(), ""),
            ("veth", none(), ""),
            ("bridge", none(), ""),
            ("macvlan", none(), ""),
        ] {
            assert_eq!(said(kind, detail), expected, "{kind}");
        }
    }

    #[test]
    fn a_lower_interface_in_another_namespace_has_no_name() {
        let vlan = LinkDetail { vlan: Some(7), ..LinkDetail::default() };
        let own = Link { peer: Some(2), peer_namespace: Some(0), ..link(3, "eth0.7", "vlan", vlan) };
        let other = link(2, "lookalike", "", LinkDetail::default());
        assert_eq!(carrier(&own, &[own.clone(), other]), "VLAN 7 of an interface of another namespace");
    }

    #[test]
    fn programs_are_named() {
        let xdp = link(2, "eth0", "", LinkDetail { programs: vec![7, 9], ..LinkDetail::default() });
        let said = |link: &Link, master| {
            let found = programs(link, master);
            found.into_iter().map(|it| (it.what, it.input, it.output)).collect::<Vec<_>>()
        };
        let arriving = |text: &str| (text.to_owned(), true, false);
        assert_eq!(said(&xdp, None), [arriving("XDP program 7"), arriving("XDP program 9")]);
        let both = |text: &str| [(text.to_owned(), true, true)];
        let netkit = link(2, "nk0", "netkit", LinkDetail::default());
        assert_eq!(said(&netkit, Some("bridge")), both("the program of the netkit device"));
        let port = link(2, "veth0", "veth", LinkDetail::default());
        assert_eq!(said(&port, Some("openvswitch")), both("Open vSwitch"));
    }
}
