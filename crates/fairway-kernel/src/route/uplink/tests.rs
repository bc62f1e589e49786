use fairway_core::object::BridgeLink;
use fairway_model::NetworkId;

use super::*;
use crate::testing::in_new_namespace;

/// A host with an interface that has addresses and routes of many kinds.
fn in_host(test: impl FnOnce(Links) + Send) {
    in_new_namespace(|| {
        let links = Links::open().unwrap();
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_NEWLINK, CREATE_NEW, "a pair")
            .raw(&ifinfo(0, None))
            .text(libc::IFLA_IFNAME, "eth0")
            .nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                    data.nest(super::super::message::VETH_INFO_PEER, |end| {
                        end.raw(&ifinfo(0, None)).text(libc::IFLA_IFNAME, "wire0");
                    });
                });
            });
        links.socket.transact(&mut batch).unwrap();
        for name in ["eth0", "wire0"] {
            sysctl::write(&format!("net/ipv6/conf/{name}/accept_dad"), "0").unwrap();
            let mut batch = Batch::new();
            let index = links.index(name).unwrap();
            batch.message(libc::RTM_NEWLINK, 0, "up").raw(&ifinfo(index, Some(true)));
            links.socket.transact(&mut batch).unwrap();
        }
        let mut batch = Batch::new();
        let index = links.index("eth0").unwrap();
        for address in ["10.10.50.99/24", "10.10.50.98/24", "192.0.2.9/32", "fd50::99/64"] {
            add_address(&mut batch, index, "eth0", address.parse().unwrap());
        }
        for (destination, gateway, metric, table, protocol) in [
            ("0.0.0.0/0", "10.10.50.1", 100, 254, 16),
            ("192.168.0.0/16", "10.10.50.254", 0, 254, 4),
            ("172.30.0.0/16", "10.10.50.7", 0, 100, 3),
            ("::/0", "fd50::1", 1024, 254, 9),
            ("fd99::/48", "fe80::1", 1024, 254, 4),
        ] {
            let destination: IpNet = destination.parse().unwrap();
            let mut header = [0; RTMSG_LENGTH];
            header[0] = family(destination.addr());
            header[1] = destination.prefix_len();
            header[4] = table;
            header[5] = protocol;
            header[7] = libc::RTN_UNICAST;
            batch
                .message(libc::RTM_NEWROUTE, CREATE_NEW, format!("route {destination}"))
                .raw(&header)
                .address(libc::RTA_DST, destination.network())
                .address(libc::RTA_GATEWAY, gateway.parse().unwrap())
                .u32(libc::RTA_OIF, index)
                .u32(libc::RTA_PRIORITY, metric);
        }
        links.socket.transact(&mut batch).unwrap();
        test(links);
    });
}

/// The addresses and routes of an interface, without its number.
fn state(links: &Links, name: &str) -> (Vec<String>, Vec<String>) {
    let index = links.index(name).unwrap();
    let addresses = links.addresses(index).unwrap();
    let addresses = addresses.iter().filter(|it| it.interface == index && it.moves());
    let mut addresses: Vec<_> = addresses.map(|it| format!("{} {}", it.address, it.scope)).collect();
    let routes = links.routes().unwrap();
    let routes = routes.iter().filter(|it| it.interface == index && is_meant(it));
    let mut routes: Vec<_> = routes
        .map(|it| {
            let RouteEntry { destination, gateway, metric, table, protocol, .. } = it;
            format!("{destination} {gateway:?} {metric} {table} {protocol}")
        })
        .collect();
    addresses.sort();
    routes.sort();
    (addresses, routes)
}

fn bridge(links: &Links) {
    let uplink = links.uplink("eth0").unwrap().unwrap();
    links
        .apply_bridge(&BridgeLink {
            name: "br0".to_owned(),
            network: NetworkId::new([1; 32]),
            mac: uplink.mac,
            mtu: uplink.mtu,
            addresses: Vec::new(),
            route_localnet: false,
            ipv6: true,
            parent: Some("eth0".to_owned()),
            adopted: false,
        })
        .unwrap();
}

#[test]
fn addresses_and_routes_move_and_come_back_as_they_were() {
    in_host(|links| {
        let before = state(&links, "eth0");
        assert_eq!(before.0.len(), 4);
        bridge(&links);
        // Each step twice, as after a crash.
        for _ in 0..2 {
            links.copy_addresses("eth0", "br0").unwrap();
            links.enslave("eth0", "br0").unwrap();
        }
        for _ in 0..2 {
            links.move_routes("eth0", "br0").unwrap();
            links.remove_addresses("eth0", "br0").unwrap();
        }
        assert_eq!(state(&links, "br0"), before);
        assert_eq!(state(&links, "eth0"), (Vec::new(), Vec::new()));
        let found = links.find("br0").unwrap().unwrap();
        assert_eq!(found.parent(), Some("eth0"));
        assert_eq!(found.mac, links.find("eth0").unwrap().unwrap().mac);
        for _ in 0..2 {
            links.copy_addresses("br0", "eth0").unwrap();
            links.move_routes("br0", "eth0").unwrap();
            links.remove_addresses("br0", "eth0").unwrap();
            links.release("eth0").unwrap();
        }
        assert_eq!(state(&links, "eth0"), before);
        assert_eq!(state(&links, "br0").0, Vec::<String>::new());
        assert_eq!(links.find("eth0").unwrap().unwrap().master, None);
    });
}

#[test]
fn addresses_and_routes_lost_with_a_bridge_are_restored() {
    in_host(|links| {
        let taken = links.uplink("eth0").unwrap().unwrap();
        bridge(&links);
        links.copy_addresses("eth0", "br0").unwrap();
        links.enslave("eth0", "br0").unwrap();
        links.move_routes("eth0", "br0").unwrap();
        links.remove_addresses("eth0", "br0").unwrap();
        let before = state(&links, "br0");
        links.delete(links.index("br0").unwrap(), "br0").unwrap();
        assert_eq!(state(&links, "eth0").0, Vec::<String>::new());
        bridge_again(&links, &taken);
        let after = state(&links, "br0");
        assert_eq!(after.0, before.0);
        let destinations = |routes: &[String]| -> Vec<String> {
            // Who made them, and other tables, are not remembered.
            let main = routes.iter().filter(|route| route.contains(" 254 "));
            main.map(|route| route.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        assert_eq!(destinations(&after.1), destinations(&before.1));
        // Not twice.
        links.restore("br0", &taken).unwrap();
        assert_eq!(state(&links, "br0"), after);
    });
}

fn bridge_again(links: &Links, taken: &Uplink) {
    bridge(links);
    links.enslave("eth0", "br0").unwrap();
    links.restore("br0", taken).unwrap();
}

#[test]
fn the_obstacle_is_named() {
    in_host(|links| {
        assert_eq!(links.uplink("eth9").unwrap(), None);
        let obstacle = |name: &str| links.uplink(name).unwrap().unwrap().unusable.unwrap_or_default();
        assert_eq!(obstacle("eth0"), "");
        assert!(obstacle("lo").contains("no Ethernet"), "{}", obstacle("lo"));
        bridge(&links);
        assert!(obstacle("br0").contains("Fairway's own"));
        links.enslave("eth0", "br0").unwrap();
        assert!(obstacle("eth0").contains("a port of br0"), "{}", obstacle("eth0"));
        links.release("eth0").unwrap();
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_NEWLINK, CREATE_NEW, "a macvlan")
            .raw(&ifinfo(0, None))
            .text(libc::IFLA_IFNAME, "mac0")
            .u32(libc::IFLA_LINK, links.index("eth0").unwrap())
            .nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "macvlan");
            });
        links.socket.transact(&mut batch).unwrap();
        assert!(obstacle("eth0").contains("the macvlan mac0"), "{}", obstacle("eth0"));
    });
}
