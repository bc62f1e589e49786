use std::net::Ipv4Addr;

use fairway_core::object::{BridgeLink, GatewayRoute, NetnsRoute, SandboxRoutes, VethLink};
use fairway_model::{MacAddress, RouteType, StaticRoute};

use super::*;
use crate::namespace::{Handle, Workers, own};
use crate::netlink::Batch;
use crate::testing::in_new_namespace;

const NETWORK: NetworkId = NetworkId::new([7; 32]);

/// A host and two sandboxes.
struct Host {
    links: Links,
    workers: Workers,
    sandbox: Handle,
}

fn in_host(test: impl FnOnce(Host) + Send) {
    in_new_namespace(|| {
        let sandbox = in_new_namespace(|| own().unwrap());
        test(Host { links: Links::open().unwrap(), workers: Workers::new(2).unwrap(), sandbox });
    });
}

impl Host {
    fn attach(&self, veth: &VethLink, routes: Option<&SandboxRoutes>) -> Result<VethPair, Error> {
        self.links.attach(&self.workers, &self.sandbox, veth, true, routes)
    }

    fn inside(&self) -> NetnsState {
        observe_netns(&self.workers, &self.sandbox).unwrap()
    }

    fn veth(&self, number: u8) -> VethLink {
        VethLink {
            host_interface: format!("fw{number}"),
            endpoint: EndpointId::new([number; 32]),
            bridge: "fairway0".into(),
            namespace: Some(self.sandbox.namespace().clone()),
            interface: format!("eth{number}"),
            mac: MacAddress::from_ipv4(Ipv4Addr::new(10, 0, number, 2)),
            mtu: 1400,
            addresses: vec![
                format!("10.0.{number}.2/24").parse().unwrap(),
                format!("fd00:{number}::2/64").parse().unwrap(),
            ],
            hairpin: true,
            sysctls: Vec::new(),
            advertising: Default::default(),
            alternative_name: None,
        }
    }

    fn routes(&self, number: u8) -> SandboxRoutes {
        let name = format!("eth{number}");
        SandboxRoutes {
            namespace: self.sandbox.namespace().clone(),
            gateways: [format!("10.0.{number}.1"), format!("fd00:{number}::1")]
                .map(|gateway| GatewayRoute {
                    gateway: gateway.parse().unwrap(),
                    interface: name.clone(),
                    metric: None,
                })
                .into(),
            others: Vec::new(),
        }
    }
}

fn bridge() -> BridgeLink {
    BridgeLink {
        name: "fairway0".into(),
        network: NETWORK,
        mac: MacAddress([2, 66, 1, 2, 3, 4]),
        mtu: 1400,
        addresses: vec!["10.0.0.1/24".parse().unwrap(), "fd00:0::1/64".parse().unwrap()],
        route_localnet: true,
        ipv6: true,
        parent: None,
        adopted: false,
    }
}

fn add_foreign(links: &Links, name: &str) -> Link {
    let mut batch = Batch::new();
    batch
        .message(libc::RTM_NEWLINK, message::CREATE_NEW, "a foreign link")
        .raw(&message::ifinfo(0, None))
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
        });
    links.socket.transact(&mut batch).unwrap();
    links.find(name).unwrap().unwrap()
}

fn addresses_of(found: &[Address], index: u32) -> Vec<String> {
    let mut texts: Vec<_> = found
        .iter()
        .filter(|address| address.interface == index && address.scope == 0)
        .map(|address| address.address.to_string())
        .collect();
    texts.sort();
    texts
}

#[test]
fn marks_are_read_as_they_are_written() {
    for mark in [Mark::Network(NETWORK), Mark::Endpoint(EndpointId::new([9; 32]))] {
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
    }
    for text in ["", "fairway:", "fairway:network:", "fairway:other:07", "docker"] {
        assert_eq!(Mark::parse(text), None);
    }
}

#[test]
fn a_bridge_is_as_planned_and_applying_it_again_changes_nothing() {
    in_host(|host| {
        let plan = bridge();
        let made = host.links.apply_bridge(&plan).unwrap();
        assert_eq!(made.kind.as_deref(), Some("bridge"));
        assert_eq!(made.mark(), Some(Mark::Network(NETWORK)));
        assert_eq!((made.mac, made.mtu, made.up, made.group), (Some(plan.mac), 1400, true, 0));
        let addresses = host.links.addresses(made.index).unwrap();
        assert_eq!(addresses_of(&addresses, made.index), ["10.0.0.1/24", "fd00::1/64"]);
        assert_eq!(sysctl::read("net/ipv4/conf/fairway0/route_localnet").unwrap(), "1");
        assert_eq!(sysctl::read("net/ipv6/conf/fairway0/accept_ra").unwrap(), "0");
        assert_eq!(sysctl::read("net/ipv6/conf/fairway0/accept_dad").unwrap(), "0");
        assert_eq!(host.links.apply_bridge(&plan).unwrap(), made);
        assert_eq!(host.links.all().unwrap().len(), 2);
    });
}

#[test]
fn fairways_bridge_is_corrected() {
    in_host(|host| {
        let made = host.links.apply_bridge(&bridge()).unwrap();
        let plan = BridgeLink {
            mtu: 1280,
            addresses: vec!["10.9.0.1/16".parse().unwrap()],
            route_localnet: false,
            ipv6: false,
            adopted: false,
            ..bridge()
        };
        let changed = host.links.apply_bridge(&plan).unwrap();
        assert_eq!((changed.index, changed.mtu), (made.index, 1280));
        let addresses = host.links.addresses(0).unwrap();
        assert_eq!(addresses_of(&addresses, made.index), ["10.9.0.1/16"]);
        assert_eq!(sysctl::read("net/ipv4/conf/fairway0/route_localnet").unwrap(), "0");
        assert_eq!(sysctl::read("net/ipv6/conf/fairway0/disable_ipv6").unwrap(), "1");
    });
}

#[test]
fn an_attached_sandbox_is_as_planned() {
    in_host(|host| {
        let bridge = host.links.apply_bridge(&bridge()).unwrap();
        let veth = VethLink { interface: "eth1".into(), ..host.veth(1) };
        let pair = host.attach(&veth, Some(&host.routes(1))).unwrap();
        assert!(pair.fresh);

        let port = host.links.find("fw1").unwrap().unwrap();
        assert_eq!(port.index, pair.host);
        assert_eq!(port.mark(), Some(Mark::Endpoint(veth.endpoint)));
        assert_eq!((port.master, port.hairpin, port.mtu), (Some(bridge.index), Some(true), 1400));
        assert_eq!((port.up, port.group, port.peer), (true, 0, Some(pair.inside)));
        assert!(port.peer_namespace.is_some());
        // No link-local address on the host's end.
        assert!(host.links.addresses(0).unwrap().iter().all(|found| found.interface != port.index));

        let inside = host.inside();
        let end = inside.links.iter().find(|link| link.name == "eth1").unwrap();
        assert_eq!((end.index, end.mac, end.mtu, end.up), (pair.inside, Some(veth.mac), 1400, true));
        assert!(inside.links.iter().find(|link| link.loopback).unwrap().up);
        assert_eq!(addresses_of(&inside.addresses, end.index), ["10.0.1.2/24", "fd00:1::2/64"]);
        let tentative = inside.addresses.iter().filter(|address| address.scope == 0);
        assert!(tentative.clone().all(|address| address.flags & libc::IFA_F_TENTATIVE == 0));
        let mut gateways: Vec<_> = inside
            .default_routes
            .iter()
            .map(|route| (route.interface, route.gateway.unwrap().to_string()))
            .collect();
        gateways.sort();
        assert_eq!(gateways, [(end.index, "10.0.1.1".into()), (end.index, "fd00:1::1".into())]);
    });
}

#[test]
fn attaching_again_changes_nothing_and_repairs_differences() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let veth = host.veth(1);
        let routes = host.routes(1);
        let first = host.attach(&veth, Some(&routes)).unwrap();
        let before = host.inside();
        let again = host.attach(&veth, Some(&routes)).unwrap();
        assert_eq!(again, VethPair { fresh: false, ..first.clone() });
        assert_eq!(host.inside(), before);

        let moved = VethLink {
            addresses: vec!["10.0.1.77/24".parse().unwrap()],
            mac: MacAddress([2, 0, 0, 0, 0, 9]),
            hairpin: false,
            ..veth
        };
        host.attach(&moved, None).unwrap();
        let after = host.inside();
        assert_eq!(addresses_of(&after.addresses, first.inside), ["10.0.1.77/24"]);
        let end = after.links.iter().find(|link| link.index == first.inside).unwrap();
        assert_eq!(end.mac, Some(moved.mac));
        assert_eq!(host.links.find("fw1").unwrap().unwrap().hairpin, Some(false));
        host.links.set_hairpin(first.host, "fw1", true).unwrap();
        assert_eq!(host.links.find("fw1").unwrap().unwrap().hairpin, Some(true));
    });
}

#[test]
fn without_an_ipv6_address_there_is_no_ipv6_inside() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let veth = VethLink { addresses: vec!["10.0.1.2/24".parse().unwrap()], ..host.veth(1) };
        let mut routes = host.routes(1);
        routes.gateways.truncate(1);
        let pair = host.attach(&veth, Some(&routes)).unwrap();
        let inside = host.inside();
        let families: Vec<_> = inside
            .addresses
            .iter()
            .filter(|found| found.interface == pair.inside)
            .map(|found| found.address.to_string())
            .collect();
        assert_eq!(families, ["10.0.1.2/24"]);
        assert_eq!(inside.default_routes.len(), 1);
    });
}

/// The static routes inside, as `ip route` would show them.
fn static_routes(host: &Host) -> Vec<String> {
    let all = host.inside().static_routes;
    let mut shown: Vec<String> = all
        .iter()
        .map(|route| {
            let by = if route.gateway.is_some() { format!(" by {}", route.interface) } else { String::new() };
            format!("{}{by}", route.as_static().unwrap())
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn static_routes_and_metrics_replace_one_another() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let inside = host.attach(&host.veth(1), Some(&host.routes(1))).unwrap().inside;
        let planned = |metric: Option<u32>, texts: &[&str]| {
            let mut routes = host.routes(1);
            routes.gateways.iter_mut().for_each(|gateway| gateway.metric = metric);
            routes.others = texts
                .iter()
                .map(|text| {
                    let route: StaticRoute = text.parse().unwrap();
                    let interface = (route.kind == RouteType::Unicast).then(|| "eth1".to_owned());
                    NetnsRoute { route, interface }
                })
                .collect();
            routes
        };
        let apply = |routes: SandboxRoutes| {
            let work = NetnsSetup { routes: Some(routes), replace_routes: true, ..NetnsSetup::default() };
            work.run(&host.workers, &host.sandbox)
        };
        let metrics = || {
            let mut metrics: Vec<_> =
                host.inside().default_routes.iter().map(|it| (it.ipv6, it.metric)).collect();
            metrics.sort();
            metrics
        };
        let first = [
            "10.9.0.0/16@10.0.1.9",
            "10.8.0.0/16",
            "blackhole:10.66.0.0/16",
            "fd09::/48@fd00:1::9#7",
            "prohibit:fd66::/48",
            "0.0.0.0/0@10.0.1.8#900",
        ];
        for _ in 0..2 {
            apply(planned(Some(50), &first)).unwrap();
            let shown = [
                format!("0.0.0.0/0@10.0.1.8#900 by {inside}"),
                "10.8.0.0/16#0".to_owned(),
                format!("10.9.0.0/16@10.0.1.9#0 by {inside}"),
                "blackhole:10.66.0.0/16#0".to_owned(),
                format!("fd09::/48@fd00:1::9#7 by {inside}"),
                "prohibit:fd66::/48#1024".to_owned(),
            ];
            assert_eq!(static_routes(&host), shown);
            assert_eq!(metrics(), [(false, 50), (true, 50)]);
        }
        apply(planned(None, &["unreachable:10.66.0.0/16", "10.9.0.0/16@10.0.1.7"])).unwrap();
        let shown = [format!("10.9.0.0/16@10.0.1.7#0 by {inside}"), "unreachable:10.66.0.0/16#0".to_owned()];
        assert_eq!(static_routes(&host), shown);
        assert_eq!(metrics(), [(false, 0), (true, 1024)]);
        // The kernel's own routes are never replaced.
        let refusal = apply(planned(None, &["blackhole:10.0.1.0/24"])).unwrap_err().to_string();
        assert!(refusal.contains("add the route blackhole:10.0.1.0/24"), "{refusal}");
        apply(planned(None, &[])).unwrap();
        assert!(static_routes(&host).is_empty());
    });
}

#[test]
fn an_alternative_name_is_given_once_and_to_one() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let veth = VethLink { alternative_name: Some("web0".into()), ..host.veth(1) };
        let first = host.attach(&veth, None).unwrap();
        host.attach(&veth, None).unwrap();
        assert_eq!(host.links.find("web0").unwrap().unwrap().index, first.host);
        assert_eq!(host.links.find("fw1").unwrap().unwrap().alternative_names, ["web0"]);
        let other = VethLink { alternative_name: Some("web0".into()), ..host.veth(2) };
        let taken = Error::NameTaken { name: "web0".into() };
        assert_eq!(host.attach(&other, None), Err(taken));
        assert_eq!(host.links.find("fw2").unwrap(), None);
    });
}

#[test]
fn default_routes_move_and_go() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        host.attach(&host.veth(1), Some(&host.routes(1))).unwrap();
        let second = host.attach(&host.veth(2), Some(&host.routes(2))).unwrap();
        let routes = host.inside().default_routes;
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert!(routes.iter().all(|route| route.interface == second.inside), "{routes:?}");

        let none = SandboxRoutes { gateways: Vec::new(), ..host.routes(2) };
        for _ in 0..2 {
            let work = NetnsSetup { routes: Some(none.clone()), ..NetnsSetup::default() };
            work.run(&host.workers, &host.sandbox).unwrap();
            assert_eq!(host.inside().default_routes, []);
        }
    });
}

#[test]
fn names_of_foreign_links_are_refused() {
    in_host(|host| {
        let foreign = add_foreign(&host.links, "fairway0");
        let error = host.links.apply_bridge(&bridge()).unwrap_err();
        assert!(matches!(&error, Error::Foreign { name, .. } if name == "fairway0"), "{error}");
        assert_eq!(host.links.find("fairway0").unwrap().unwrap(), foreign);
        host.links.delete(foreign.index, "fairway0").unwrap();

        host.links.apply_bridge(&bridge()).unwrap();
        let foreign = add_foreign(&host.links, "fw1");
        let error = host.attach(&host.veth(1), None).unwrap_err();
        assert!(matches!(&error, Error::Foreign { name, .. } if name == "fw1"), "{error}");
        assert_eq!(host.links.find("fw1").unwrap().unwrap(), foreign);

        // Another endpoint's link is not taken over either.
        host.attach(&host.veth(2), None).unwrap();
        let other = VethLink { endpoint: EndpointId::new([9; 32]), ..host.veth(2) };
        assert!(matches!(host.attach(&other, None), Err(Error::Foreign { .. })));
    });
}

#[test]
fn an_interface_name_taken_in_the_sandbox_is_refused_and_leaves_no_link() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        host.workers.run(&host.sandbox, || drop(add_foreign(&Links::open().unwrap(), "eth1"))).unwrap();
        let error = host.attach(&host.veth(1), None).unwrap_err();
        assert!(matches!(&error, Error::InterfaceTaken { name, .. } if name == "eth1"), "{error}");
        assert_eq!(host.links.find("fw1"), Ok(None));
        let nowhere = VethLink { bridge: "nowhere".into(), interface: "eth7".into(), ..host.veth(7) };
        assert!(matches!(host.attach(&nowhere, None), Err(Error::NoInterface { .. })));
    });
}

#[test]
fn a_pair_whose_end_left_the_sandbox_is_recreated() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let first = host.attach(&host.veth(1), None).unwrap();
        let other = in_new_namespace(|| own().unwrap());
        let veth = VethLink { namespace: Some(other.namespace().clone()), ..host.veth(1) };
        let second = host.links.attach(&host.workers, &other, &veth, true, None).unwrap();
        assert!(second.fresh);
        assert_ne!(second.host, first.host);
        assert!(host.inside().links.iter().all(|link| link.loopback || link.kind.as_deref() != Some("veth")));
    });
}

#[test]
fn an_incomplete_link_is_completed() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let pair = host.attach(&host.veth(1), None).unwrap();
        // As a kill between creation and marking leaves it.
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_SETLINK, 0, "unmark")
            .raw(&message::ifinfo(pair.host, Some(false)))
            .text(libc::IFLA_IFALIAS, "")
            .u32(libc::IFLA_GROUP, ownership::INCOMPLETE_GROUP);
        host.links.socket.transact(&mut batch).unwrap();
        assert_eq!(host.links.find("fw1").unwrap().unwrap().mark(), None);
        let again = host.attach(&host.veth(1), None).unwrap();
        assert_eq!(again.host, pair.host);
        let link = host.links.find("fw1").unwrap().unwrap();
        assert_eq!((link.mark().is_some(), link.group, link.up), (true, 0, true));
    });
}

#[test]
fn many_links_are_deleted_and_no_others() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let doomed: Vec<_> = (1..=30)
            .map(|number| {
                let veth = host.veth(number);
                let pair = host.attach(&veth, None).unwrap();
                PendingDelete { index: pair.host, mark: Mark::Endpoint(veth.endpoint) }
            })
            .collect();
        let foreign = add_foreign(&host.links, "other");
        let mut asked = doomed[..28].to_vec();
        // An index of a foreign link, and an unused index.
        let reused = PendingDelete { index: foreign.index, mark: doomed[0].mark };
        let gone = PendingDelete { index: 1_000_000, mark: doomed[0].mark };
        asked.extend([reused, gone]);
        let retired = host.links.delete_links(&asked, 0x5eed_1234).unwrap();
        assert_eq!(retired.deleted, doomed[..28]);
        assert_eq!(retired.absent, [reused, gone]);
        let mut left: Vec<_> = host
            .links
            .all()
            .unwrap()
            .into_iter()
            .filter(|link| link.kind.as_deref() == Some("veth") && link.name != "veth0")
            .map(|link| link.name)
            .collect();
        left.sort();
        assert_eq!(left, ["fw29", "fw30", "other"]);
    });
}

#[test]
fn a_stranger_in_the_group_saves_the_group() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let doomed: Vec<_> = (1..=2)
            .map(|number| {
                let veth = host.veth(number);
                let pair = host.attach(&veth, None).unwrap();
                PendingDelete { index: pair.host, mark: Mark::Endpoint(veth.endpoint) }
            })
            .collect();
        let foreign = add_foreign(&host.links, "other");
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_SETLINK, 0, "join the group")
            .raw(&message::ifinfo(foreign.index, None))
            .u32(libc::IFLA_GROUP, 77);
        host.links.socket.transact(&mut batch).unwrap();
        assert!(matches!(host.links.delete_links(&doomed, 77), Err(Error::Foreign { .. })));
        assert!(host.links.find("fw1").unwrap().is_some());
        assert!(host.links.find("other").unwrap().is_some());
    });
}

#[test]
fn a_port_that_is_switched_off_waits_to_be_deleted() {
    in_host(|host| {
        host.links.apply_bridge(&bridge()).unwrap();
        let pair = host.attach(&host.veth(1), None).unwrap();
        host.links.set_down(pair.host, "fw1").unwrap();
        let link = host.links.find("fw1").unwrap().unwrap();
        assert_eq!((link.up, link.mark()), (false, Some(Mark::Endpoint(host.veth(1).endpoint))));
        // Attaching again brings it back as it was.
        assert_eq!(host.attach(&host.veth(1), None).unwrap().host, pair.host);
        assert!(host.links.find("fw1").unwrap().unwrap().up);
        host.links.delete(pair.host, "fw1").unwrap();
        assert_eq!(host.links.set_down(pair.host, "fw1"), Ok(()));
    });
}
