use super::*;
use crate::object::{Fragment, Key, Object};
use crate::plan::fragment;
use crate::world::Undecided;
use crate::world::{Change, Command, CreateSandbox, NetworkChoice};
use fairway_model::Owner;
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{
    EndpointRequest, HostFacts, MacAddress, Namespace, PortRange, Protocol, PublishRequest, SandboxKind,
    SandboxOptions, Settings,
};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

struct Host {
    world: World,
    rng: Rng,
}

impl Host {
    fn new() -> Self {
        let mut host = Self { world: World::default(), rng: Rng::new(7) };
        let (settings, facts) = (Box::<Settings>::default(), Box::<HostFacts>::default());
        host.apply(Command::Configure { settings, host: facts }).unwrap();
        host
    }

    fn apply(&mut self, command: Command) -> Result<Change, Undecided> {
        self.world.apply(command, 0, &mut self.rng)
    }

    /// `network create -d DRIVER --subnet SUBNET -o OPTIONS`, on a host where every parent is there.
    fn create(
        &mut self,
        driver: &str,
        name: &str,
        subnet: &str,
        options: &[(&str, &str)],
    ) -> Result<NetworkId, Undecided> {
        let parent = Some(ParentFacts { mac: Some(MAC), ..ParentFacts::default() });
        self.create_on(parent, driver, name, subnet, options)
    }

    fn create_on(
        &mut self,
        parent: Option<ParentFacts>,
        driver: &str,
        name: &str,
        subnet: &str,
        options: &[(&str, &str)],
    ) -> Result<NetworkId, Undecided> {
        let subnet = SubnetRequest { subnet: subnet.parse().ok(), ..SubnetRequest::default() };
        let change = self.apply(Command::CreateNetwork(CreateNetwork {
            name: name.to_owned(),
            driver: driver.to_owned(),
            subnets: subnet.subnet.iter().map(|_| subnet.clone()).collect(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            parent,
            ..CreateNetwork::default()
        }))?;
        Ok(change.network.unwrap())
    }

    fn attach(&mut self, name: &str, network: &str, request: EndpointRequest) -> Result<Change, Undecided> {
        let publish = PublishRequest {
            host_address: None,
            host_ports: Some(PortRange::single(8080)),
            container_ports: PortRange::single(80),
            protocol: Protocol::Tcp,
        };
        self.apply(Command::Attach {
            create: Box::new(CreateSandbox {
                name: Some(name.to_owned()),
                kind: SandboxKind::Attached,
                network: NetworkChoice::Networks(vec![(network.to_owned(), request)]),
                options: SandboxOptions { publish: vec![publish], ..SandboxOptions::default() },
            }),
            process: None,
            namespace: Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 8 }),
        })
    }

    fn join(&mut self, name: &str, network: &str) -> Result<Change, Undecided> {
        self.attach(name, network, EndpointRequest::default())
    }

    fn fragment(&self, owner: Owner) -> Fragment {
        fragment(&self.world, owner)
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Undecided>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn a_sandbox_gets_a_link_on_the_parent_and_the_lan_s_gateway() {
    let mut host = Host::new();
    let lan = host.create("macvlan", "lan", "10.10.50.0/24", &[("parent", "eth1")]).unwrap();
    let change = host.join("web", "lan").unwrap();
    let (sandbox, endpoint) =
        (change.sandbox.unwrap(), host.world.endpoints_of_network(lan).next().unwrap().id);
    assert!(host.fragment(Owner::Network(lan)).is_empty(), "the parent is the user's");
    let objects = host.fragment(Owner::Endpoint(endpoint));
    let Some(Object::Macvlan(macvlan)) = objects.get(&Key::Macvlan(endpoint)) else { panic!("{objects:?}") };
    assert_eq!((&macvlan.parent[..], macvlan.mode), ("eth1", MacvlanMode::Bridge));
    assert_eq!(macvlan.link.addresses, ["10.10.50.2/24".parse().unwrap()]);
    assert_eq!((&macvlan.link.interface[..], macvlan.link.mtu), ("eth0", None));
    assert!(objects.contains_key(&Key::Names(endpoint)));
    assert_eq!(objects.len(), 2, "the host's firewall never sees it: {objects:?}");
    let inside = host.fragment(Owner::Sandbox(sandbox));
    let Some(Object::SandboxRoutes(routes)) = inside.get(&Key::SandboxRoutes(sandbox)) else {
        panic!("{inside:?}")
    };
    let gateway = routes.gateway(true).unwrap();
    assert_eq!((gateway.gateway, &gateway.interface[..]), ("10.10.50.1".parse().unwrap(), "eth0"));
    assert!(host.fragment(Owner::Publications(sandbox)).is_empty());
    let warning = "Published ports of web are discarded: its gateway is on a LAN, where each of its ports is \
                   reached at its own address";
    assert_eq!(change.warnings, [warning]);
}

#[test]
fn without_a_parent_the_links_stand_on_one_that_leads_nowhere() {
    let mut host = Host::new();
    for (name, options) in [("alone", [("parent", "")]), ("empty", [("macvlan_mode", "private")])] {
        let id = host.create("macvlan", name, "", &options).unwrap();
        let dummy_parent = format!("dm-{}", id.short());
        let objects = host.fragment(Owner::Network(id));
        assert!(matches!(objects.get(&Key::DummyParent(dummy_parent.clone())), Some(Object::DummyParent(_))));
        assert_eq!(objects.len(), 1, "nothing is forwarded there: {objects:?}");
        let network = host.world.network(id).unwrap();
        assert!(network.internal);
        assert_eq!(network.macvlan.as_ref().unwrap().parent, dummy_parent);
        let change = host.join(&format!("in-{name}"), name).unwrap();
        let inside = host.fragment(Owner::Sandbox(change.sandbox.unwrap()));
        let routes = &inside[&Key::SandboxRoutes(change.sandbox.unwrap())];
        assert!(matches!(routes, Object::SandboxRoutes(routes) if routes.gateways.is_empty()));
    }
}

#[test]
fn what_cannot_be_a_parent_is_refused_by_name() {
    let mut host = Host::new();
    let eth1 = [("parent", "eth1")];
    let text = refused(host.create_on(None, "macvlan", "lan", "", &eth1));
    assert!(text.contains("no such interface: eth1"), "{text}");
    let port = ParentFacts { master: Some("br0".to_owned()), ..ParentFacts::default() };
    assert_eq!(
        refused(host.create_on(Some(port), "macvlan", "lan", "", &eth1)),
        "cannot use interface eth1 as macvlan parent: it is a port of br0, which takes all its frames: use br0, or remove the interface from it first"
    );
    let loopback = ParentFacts { loopback: true, ..ParentFacts::default() };
    assert!(refused(host.create_on(Some(loopback), "macvlan", "lan", "", &eth1)).contains("loopback"));
    assert!(refused(host.create("macvlan", "lan", "", &[("parent", "dm-1")])).contains("dm-"));
    assert_eq!(
        refused(host.create("macvlan", "lan", "", &[("macvlan_mode", "source")])),
        "invalid option macvlan_mode=source: bridge, private, vepa or passthru is expected"
    );
}

#[test]
fn a_parent_carries_several_networks_unless_one_passes_all_through() {
    let mut host = Host::new();
    host.create("macvlan", "one", "10.1.0.0/24", &[("parent", "eth1")]).unwrap();
    host.create("macvlan", "two", "10.2.0.0/24", &[("parent", "eth1"), ("macvlan_mode", "vepa")]).unwrap();
    let through = [("parent", "eth1"), ("macvlan_mode", "passthru")];
    let text = refused(host.create("macvlan", "all", "10.3.0.0/24", &through));
    assert!(text.starts_with("cannot use eth1 in the mode passthru: network "), "{text}");
    let through = [("parent", "eth2"), ("macvlan_mode", "passthru")];
    host.create("macvlan", "all", "10.3.0.0/24", &through).unwrap();
    let text = refused(host.create("macvlan", "more", "10.4.0.0/24", &[("parent", "eth2")]));
    assert!(text.contains("network all uses it in the mode passthru"), "{text}");
}

#[test]
fn subnets_may_meet_behind_other_parents_only() {
    let mut host = Host::new();
    host.create("macvlan", "one", "10.1.0.0/24", &[("parent", "eth1")]).unwrap();
    host.create("macvlan", "two", "10.1.0.0/24", &[("parent", "eth2")]).unwrap();
    for (driver, parent) in [("macvlan", "eth2"), ("bridge", "eth3")] {
        let text = refused(host.create(driver, "three", "10.1.0.0/24", &[("parent", parent)]));
        assert!(text.contains("overlaps"), "{text}");
    }
    let at = |last: &str| EndpointRequest {
        ipv4: format!("10.1.0.{last}").parse().ok(),
        ..EndpointRequest::default()
    };
    host.attach("a", "one", at("9")).unwrap();
    host.attach("b", "two", at("9")).unwrap();
    assert!(refused(host.attach("c", "one", at("9"))).contains("that of container a"));
    assert!(refused(host.attach("c", "two", at("1"))).contains("the gateway"));
}

#[test]
fn passthru_takes_one_sandbox_with_the_parent_s_own_address() {
    let mut host = Host::new();
    let all = [("parent", "eth1"), ("macvlan_mode", "passthru")];
    let id = host.create("macvlan", "all", "10.1.0.0/24", &all).unwrap();
    let asked = EndpointRequest { mac: Some(MacAddress([2; 6])), ..EndpointRequest::default() };
    assert!(refused(host.attach("a", "all", asked)).contains("that of the interface eth1"));
    host.join("a", "all").unwrap();
    let endpoint = host.world.endpoints_of_network(id).next().unwrap().clone();
    assert_eq!(endpoint.allocation.unwrap().mac, MAC);
    let objects = host.fragment(Owner::Endpoint(endpoint.id));
    assert!(matches!(&objects[&Key::Macvlan(endpoint.id)], Object::Macvlan(it) if it.link.mac.is_none()));
    assert_eq!(
        refused(host.join("b", "all")),
        "cannot join network all: in the mode passthru it takes one container: a: disconnect one first"
    );
}

#[test]
fn a_pair_is_one_object_of_its_network_with_an_end_for_each_that_runs() {
    let mut host = Host::new();
    let wire = host.create("ptp", "wire", "", &[]).unwrap();
    let network = host.world.network(wire).unwrap();
    assert!(network.internal && network.bridge.is_empty());
    assert_eq!(network.subnets[0].subnet.prefix_len(), 31, "two addresses, and no gateway");
    assert!(host.fragment(Owner::Network(wire)).is_empty());
    let ends = |host: &Host| match host.fragment(Owner::Network(wire)).get(&Key::Pair(wire)) {
        Some(Object::Pair(pair)) => pair.ends.iter().map(|end| end.addresses[0].to_string()).collect(),
        _ => Vec::new(),
    };
    let change = host.join("a", "wire").unwrap();
    assert!(change.owners.contains(&Owner::Network(wire)));
    assert_eq!(change.warnings, ["Published ports of a are discarded: it is on internal networks only"]);
    assert_eq!(ends(&host), ["172.18.0.0/31"]);
    host.join("b", "wire").unwrap();
    assert_eq!(ends(&host), ["172.18.0.0/31", "172.18.0.1/31"]);
    assert_eq!(
        refused(host.join("c", "wire")),
        "cannot join network wire: the driver ptp joins two containers at most: a, b: disconnect one first"
    );
    let change =
        host.apply(Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None }).unwrap();
    assert!(change.owners.contains(&Owner::Network(wire)));
    assert_eq!(ends(&host), ["172.18.0.1/31"]);
    host.join("c", "wire").unwrap();
    assert_eq!(ends(&host), ["172.18.0.1/31", "172.18.0.0/31"]);
}

#[test]
fn a_pair_has_the_subnet_that_is_asked_for_and_no_gateway() {
    let mut host = Host::new();
    let wire = host.create("ptp", "wire", "10.1.1.0/30", &[]).unwrap();
    let network = host.world.network(wire).unwrap();
    assert!(!network.reserves_gateway(&network.subnets[0]));
    let at = EndpointRequest { ipv4: "10.1.1.1".parse().ok(), ..EndpointRequest::default() };
    host.attach("a", "wire", at).unwrap();
    let gateway = SubnetRequest {
        subnet: "10.2.2.0/30".parse().ok(),
        gateway: "10.2.2.1".parse().ok(),
        ..SubnetRequest::default()
    };
    let request = CreateNetwork {
        name: "other".to_owned(),
        driver: "ptp".to_owned(),
        subnets: vec![gateway],
        ..CreateNetwork::default()
    };
    let text = refused(host.apply(Command::CreateNetwork(request)));
    assert_eq!(text, "cannot use gateway 10.2.2.1: a ptp network has no gateway: drop --gateway");
}
