use fairway_model::{EndpointId, MacAddress, MacvlanMode, NetworkId, SandboxId};

use crate::namespace::{Handle, Workers, own};
use crate::netlink::Batch;
use crate::route::message::{CREATE_NEW, VETH_INFO_PEER, ifinfo};
use crate::route::{Error, Link, Links, Mark, NetnsSetup, NetnsState, observe_netns};
use crate::sysctl;
use crate::testing::in_new_namespace;
use fairway_core::object::{MacvlanLink, NetnsLink};

const NETWORK: NetworkId = NetworkId::new([7; 32]);

/// A host with a pair of interfaces `lan` and `far`, and two sandboxes.
struct Host {
    links: Links,
    workers: Workers,
    sandboxes: [Handle; 2],
}

fn in_host(test: impl FnOnce(Host) + Send) {
    in_new_namespace(|| {
        let sandboxes = [(); 2].map(|()| in_new_namespace(|| own().unwrap()));
        let links = Links::open().unwrap();
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_NEWLINK, CREATE_NEW, "a LAN")
            .raw(&ifinfo(0, None))
            .text(libc::IFLA_IFNAME, "lan")
            .nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        peer.raw(&ifinfo(0, None)).text(libc::IFLA_IFNAME, "far");
                    });
                });
            });
        links.socket.transact(&mut batch).unwrap();
        for name in ["lan", "far"] {
            let mut batch = Batch::new();
            batch.message(libc::RTM_SETLINK, 0, "up").raw(&ifinfo(links.index(name).unwrap(), Some(true)));
            links.socket.transact(&mut batch).unwrap();
        }
        test(Host { links, workers: Workers::new(2).unwrap(), sandboxes });
    });
}

impl Host {
    fn link(&self, number: u8) -> NetnsLink {
        NetnsLink {
            sandbox: SandboxId::new([number; 32]),
            endpoint: EndpointId::new([number; 32]),
            namespace: self.sandboxes[usize::from(number)].namespace().clone(),
            interface: "eth0".into(),
            mac: Some(MacAddress([2, 0, 0, 0, 0, number])),
            mtu: Some(1400),
            addresses: vec![
                format!("10.0.0.{number}/24").parse().unwrap(),
                format!("fd00::{number}/64").parse().unwrap(),
            ],
        }
    }

    fn macvlan(&self, number: u8, mode: MacvlanMode) -> MacvlanLink {
        MacvlanLink { link: self.link(number), parent: "lan".into(), mode }
    }

    fn fill(&self, link: &NetnsLink) -> Result<(), Error> {
        let work = NetnsSetup { netns_links: vec![link.clone()], ..NetnsSetup::default() };
        work.run(&self.workers, &self.sandboxes[usize::from(link.endpoint.bytes()[0])])
    }

    fn inside(&self, number: usize) -> NetnsState {
        observe_netns(&self.workers, &self.sandboxes[number]).unwrap()
    }

    /// The interface of a sandbox with its global addresses.
    fn found(&self, number: usize) -> Option<(Link, Vec<String>)> {
        let inside = self.inside(number);
        let link = inside.links.iter().find(|link| link.name == "eth0")?;
        let of_link = inside.addresses.iter().filter(|it| it.interface == link.index && it.scope == 0);
        let mut addresses: Vec<_> = of_link.map(|it| it.address.to_string()).collect();
        addresses.sort();
        Some((link.clone(), addresses))
    }

    fn delete(&self, number: usize, link: &NetnsLink) {
        let link = link.clone();
        self.workers
            .run(&self.sandboxes[number], move || Links::open()?.delete_netns_link(&link))
            .unwrap()
            .unwrap();
    }
}

#[test]
fn a_macvlan_is_as_planned_and_applying_it_again_changes_nothing() {
    in_host(|host| {
        let plan = host.macvlan(1, MacvlanMode::Bridge);
        for _ in 0..2 {
            host.links.create_macvlan(&plan, &host.sandboxes[1]).unwrap();
            host.fill(&plan.link).unwrap();
            let (link, addresses) = host.found(1).unwrap();
            assert_eq!(link.kind.as_deref(), Some("macvlan"));
            assert_eq!(link.mark(), Some(Mark::Endpoint(plan.link.endpoint)));
            assert_eq!((link.mac, link.mtu, link.up, link.group), (plan.link.mac, 1400, true, 0));
            assert_eq!(link.peer, Some(host.links.index("lan").unwrap()));
            assert_eq!(addresses, ["10.0.0.1/24", "fd00::1/64"]);
        }
        assert_eq!(host.links.all().unwrap().len(), 3, "nothing of it is on the host");
        let notify = || sysctl::read("net/ipv4/conf/eth0/arp_notify").unwrap();
        assert_eq!(host.workers.run(&host.sandboxes[1], notify).unwrap(), "1");
        host.delete(1, &plan.link);
        assert_eq!(host.found(1), None);
        host.delete(1, &plan.link);
    });
}

#[test]
fn a_macvlan_goes_and_comes_with_its_parent() {
    in_host(|host| {
        let plan = host.macvlan(1, MacvlanMode::Private);
        host.links.create_macvlan(&plan, &host.sandboxes[1]).unwrap();
        host.links.delete(host.links.index("lan").unwrap(), "lan").unwrap();
        assert_eq!(host.found(1), None);
        let error = host.links.create_macvlan(&plan, &host.sandboxes[1]).unwrap_err();
        assert!(matches!(&error, Error::NoInterface { name, .. } if name == "lan"), "{error}");
    });
}

#[test]
fn passthru_is_alone_and_has_the_parent_s_address() {
    in_host(|host| {
        let mut plan = host.macvlan(1, MacvlanMode::Passthru);
        plan.link.mac = None;
        host.links.create_macvlan(&plan, &host.sandboxes[1]).unwrap();
        host.fill(&plan.link).unwrap();
        let parent = host.links.find("lan").unwrap().unwrap();
        assert_eq!(host.found(1).unwrap().0.mac, parent.mac);
        let second = host.macvlan(0, MacvlanMode::Bridge);
        let error = host.links.create_macvlan(&second, &host.sandboxes[0]).unwrap_err();
        assert!(error.to_string().contains("no macvlan in the mode bridge on lan"), "{error}");
    });
}

#[test]
fn a_foreign_interface_is_left_alone() {
    in_host(|host| {
        let (first, mut second) =
            (host.macvlan(1, MacvlanMode::Bridge), host.macvlan(1, MacvlanMode::Bridge));
        host.links.create_macvlan(&first, &host.sandboxes[1]).unwrap();
        host.fill(&first.link).unwrap();
        second.link.endpoint = EndpointId::new([1; 32].map(|byte: u8| byte + 1));
        host.links.create_macvlan(&second, &host.sandboxes[1]).unwrap();
        let work = NetnsSetup { netns_links: vec![second.link.clone()], ..NetnsSetup::default() };
        let error = work.run(&host.workers, &host.sandboxes[1]).unwrap_err();
        assert!(matches!(error, Error::InterfaceTaken { .. }), "{error}");
        host.delete(1, &second.link);
        assert!(host.found(1).is_some());
    });
}

#[test]
fn a_ptp_pair_has_an_end_in_each_sandbox_or_one_on_the_host() {
    in_host(|host| {
        let (a, b) = (host.link(0), host.link(1));
        let [first, second] = &host.sandboxes;
        host.links.create_ptp_pair(NETWORK, "fw07", (&a, first), None).unwrap();
        host.fill(&a).unwrap();
        let (link, addresses) = host.found(0).unwrap();
        assert_eq!(addresses, ["10.0.0.0/24", "fd00::/64"]);
        assert_eq!((link.mac, link.mtu, link.mark()), (a.mac, 1400, Some(Mark::Endpoint(a.endpoint))));
        let waiting = host.links.find("fw07").unwrap().unwrap();
        assert_eq!((waiting.mark(), waiting.up, waiting.group), (Some(Mark::Network(NETWORK)), false, 0));
        assert_eq!(waiting.peer, Some(link.index));

        host.links.delete_pending_end("fw07", Mark::Network(NetworkId::new([8; 32]))).unwrap();
        assert!(host.links.find("fw07").unwrap().is_some(), "it bears another mark");
        host.links.delete_pending_end("fw07", Mark::Network(NETWORK)).unwrap();
        assert_eq!(host.found(0), None);

        host.links.create_ptp_pair(NETWORK, "fw07", (&a, first), Some((&b, second))).unwrap();
        host.fill(&a).unwrap();
        host.fill(&b).unwrap();
        let [(a_found, _), (b_found, addresses)] = [0, 1].map(|number| host.found(number).unwrap());
        assert_eq!((a_found.peer, b_found.peer), (Some(b_found.index), Some(a_found.index)));
        assert_eq!((b_found.mac, b_found.mark()), (b.mac, Some(Mark::Endpoint(b.endpoint))));
        assert_eq!(addresses, ["10.0.0.1/24", "fd00::1/64"]);
        assert_eq!(host.links.all().unwrap().len(), 3, "nothing of it is on the host");
        let error = host.links.create_ptp_pair(NETWORK, "fw07", (&a, first), Some((&b, second))).unwrap_err();
        assert!(matches!(error, Error::InterfaceTaken { .. }), "{error}");
        host.delete(1, &b);
        assert_eq!(host.found(0), None, "one end takes the other with it");
    });
}
