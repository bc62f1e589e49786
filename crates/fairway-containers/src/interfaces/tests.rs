use super::*;
use crate::testing::Fixture;

/// A link by its place, kind, the index that it leads to and its master.
fn link(index: u32, name: &str, kind: Option<&str>, peer: Option<u32>, master: Option<u32>) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        mac: Some(MacAddress([2, 0, 0, 0, 0, u8::try_from(index).unwrap()])),
        mtu: 1500,
        up: true,
        loopback: name == "lo",
        master,
        hairpin: None,
        port_state: None,
        isolated: false,
        alias: None,
        alternative_names: Vec::new(),
        group: 0,
        peer,
        peer_namespace: peer.map(|_| 0),
        detail: Default::default(),
        ipv4: None,
    }
}

fn address(interface: u32, text: &str) -> Address {
    let scope = if text.starts_with("fe80") { 253 } else { 0 };
    Address { interface, address: text.parse().unwrap(), scope, flags: 0 }
}

fn host() -> Vec<Link> {
    vec![
        link(1, "lo", None, None, None),
        link(2, "eth0", None, None, None),
        link(3, "podman1", Some("bridge"), None, None),
        link(4, "veth0", Some("veth"), Some(2), Some(3)),
        link(5, "cali1", Some("veth"), Some(3), None),
        link(6, "lxcbr0", Some("bridge"), None, None),
        link(7, "veth9", Some("veth"), Some(2), Some(6)),
    ]
}

/// Name and network of the interfaces of a container with these links, which all have an address.
fn found(links: &[Link]) -> Vec<(String, String)> {
    let addresses: Vec<Address> = links.iter().map(|link| address(link.index, "10.1.0.2/24")).collect();
    let bridges = Bridges::from([("podman1".to_owned(), "app".to_owned())]);
    let found = interfaces(links, &addresses, &host(), &bridges);
    found.into_iter().map(|it| (it.name, it.network)).collect()
}

#[test]
fn an_interface_has_the_network_of_the_hosts_end() {
    for (link, network) in [
        (link(2, "eth0", Some("veth"), Some(4), None), "app"),
        (link(2, "eth0", Some("veth"), Some(7), None), "lxcbr0"),
        (link(3, "eth0", Some("veth"), Some(5), None), "cali1"),
        (link(2, "eth0", Some("macvlan"), Some(2), None), "eth0"),
        // The other end of its pair is in a third namespace, where it has this index.
        (link(9, "eth1", Some("veth"), Some(4), None), "eth1"),
        (link(2, "eth1", Some("veth"), Some(2), None), "eth1"),
        (link(2, "tap0", Some("tun"), None, None), "tap0"),
    ] {
        let name = link.name.clone();
        assert_eq!(found(&[link]), [(name, network.to_owned())]);
    }
    let mut inside = link(2, "eth1", Some("veth"), Some(4), None);
    inside.peer_namespace = None;
    assert_eq!(found(&[inside]), [("eth1".to_owned(), "eth1".to_owned())]);
}

#[test]
fn loopback_and_interfaces_without_global_addresses_are_left_out() {
    assert_eq!(found(&[link(1, "lo", None, None, None)]), []);
    let eth0 = [link(2, "eth0", Some("veth"), Some(4), None)];
    assert_eq!(interfaces(&eth0, &[address(2, "fe80::1/64")], &host(), &Bridges::new()), []);
    let both = [address(2, "fe80::1/64"), address(2, "fd00::2/64"), address(3, "10.9.0.1/24")];
    let found = interfaces(&eth0, &both, &host(), &Bridges::new());
    assert_eq!(found[0].addresses, ["fd00::2".parse::<IpAddr>().unwrap()]);
}

fn attachment(network: &str, interface: Option<&str>) -> Attachment {
    Attachment {
        network: network.to_owned(),
        interface: interface.map(str::to_owned),
        addresses: Vec::new(),
        mac: None,
    }
}

/// Networks and addresses after the join of attachments with interfaces, which have the addresses 10.0.0.1, 10.0.0.2, ...
fn joined(mut attachments: Vec<Attachment>, names: &[&str]) -> Vec<String> {
    let interface = |(number, name): (usize, &&str)| Interface {
        name: (*name).to_owned(),
        network: format!("bridge of {name}"),
        mac: None,
        addresses: vec![IpAddr::from([10, 0, 0, u8::try_from(number + 1).unwrap()])],
    };
    join(&mut attachments, names.iter().enumerate().map(interface).collect());
    attachments.iter().map(|it| format!("{} {:?}", it.network, it.addresses)).collect()
}

#[test]
fn recorded_networks_keep_their_names() {
    assert_eq!(joined(Vec::new(), &["eth0"]), ["bridge of eth0 [10.0.0.1]"]);
    assert_eq!(joined(vec![attachment("app", None)], &["eth0"]), ["app [10.0.0.1]"]);
    assert_eq!(
        joined(
            vec![attachment("one", Some("eth0")), attachment("two", Some("eth1"))],
            &["eth1", "eth0", "eth2"]
        ),
        ["one [10.0.0.2]", "two [10.0.0.1]", "bridge of eth2 [10.0.0.3]"]
    );
    assert_eq!(
        joined(vec![attachment("one", None), attachment("two", None)], &["eth0"]),
        ["one []", "two []", "bridge of eth0 [10.0.0.1]"]
    );
}

#[test]
fn bridges_of_podmans_networks_are_read() {
    let fixture = Fixture::new();
    fixture.file("/etc/containers/networks/app.json", r#"{"name": "app", "network_interface": "podman1"}"#);
    fixture.file("/etc/containers/networks/lan.json", r#"{"name": "lan", "driver": "macvlan"}"#);
    fixture.file("/etc/containers/networks/netavark.lock", "");
    let read = std::cell::RefCell::default();
    let (_, notes) = fixture.read(|reader| {
        *read.borrow_mut() = bridges(reader);
        Vec::new()
    });
    assert_eq!(notes, []);
    let pair = |bridge: &str, name: &str| (bridge.to_owned(), name.to_owned());
    assert_eq!(read.into_inner(), Bridges::from([pair("podman0", "podman"), pair("podman1", "app")]));
}
