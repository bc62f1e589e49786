use fairway_core::object::{BridgeLink, DummyParent};
use fairway_model::{MacAddress, NetworkId};

use super::*;
use crate::netlink::Batch;
use crate::route::message::{CREATE_NEW, ifinfo};
use crate::testing::in_new_namespace;

const NETWORK: NetworkId = NetworkId::new([7; 32]);

/// Creates a bridge in the group of links without a mark, as a daemon that is killed leaves it.
fn add_bridge(links: &Links, name: &str, alias: Option<&str>) {
    let mut batch = Batch::new();
    let mut message = batch.message(libc::RTM_NEWLINK, CREATE_NEW, "a bridge");
    message.raw(&ifinfo(0, None)).text(libc::IFLA_IFNAME, name).u32(libc::IFLA_GROUP, INCOMPLETE_GROUP).nest(
        libc::IFLA_LINKINFO,
        |info| {
            info.text(libc::IFLA_INFO_KIND, "bridge");
        },
    );
    drop(message);
    links.socket.transact(&mut batch).unwrap();
    if let Some(alias) = alias {
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_SETLINK, 0, "name it")
            .raw(&ifinfo(links.index(name).unwrap(), None))
            .text(libc::IFLA_IFALIAS, alias);
        links.socket.transact(&mut batch).unwrap();
    }
}

fn names(links: &Links) -> Vec<String> {
    links.all().unwrap().into_iter().filter(|link| !link.loopback).map(|link| link.name).collect()
}

#[test]
fn a_link_that_cannot_be_set_up_is_deleted_at_once() {
    in_new_namespace(|| {
        let links = Links::open().unwrap();
        let bridge = BridgeLink {
            name: "br-new".into(),
            network: NETWORK,
            mac: MacAddress([2, 66, 1, 2, 3, 4]),
            mtu: 67,
            addresses: Vec::new(),
            route_localnet: false,
            ipv6: false,
            parent: None,
            adopted: false,
        };
        links.apply_bridge(&bridge).unwrap_err();
        let dummy_parent = DummyParent { name: "dm-new".into(), network: NETWORK, mtu: Some(u32::MAX) };
        links.apply_dummy_parent(&dummy_parent).unwrap_err();
        assert!(names(&links).is_empty(), "{:?}", names(&links));
        // A bridge that has its mark is not deleted: the network has one that cannot be changed.
        links.apply_bridge(&BridgeLink { mtu: 1400, ..bridge.clone() }).unwrap();
        links.apply_bridge(&bridge).unwrap_err();
        assert_eq!(names(&links), ["br-new"]);
    });
}

#[test]
fn incomplete_links_are_deleted_and_no_others() {
    in_new_namespace(|| {
        let links = Links::open().unwrap();
        add_bridge(&links, "br-left", None);
        add_bridge(&links, "br-alias", Some("a user's"));
        assert_eq!(links.delete_incomplete().unwrap(), ["br-left"]);
        assert_eq!(names(&links), ["br-alias"]);
        assert!(links.delete_incomplete().unwrap().is_empty());
    });
}
