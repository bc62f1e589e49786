//! Worlds to be drawn.

use std::net::IpAddr;

use crate::explain::{Query, Resolved, advice};
use crate::graph::{Picture, Walk};
use crate::topology::planned;
use fairway_core::plan::plan;
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice, World};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{
    EndpointRequest, HostFacts, HostRoute, MacAddress, Namespace, ParentFacts, SandboxKind, SandboxOptions,
    Settings, Uplink, UplinkRoute, parse,
};
use fairway_walk::{
    Branches, Interface, Listener, NetworkNamespace, Proxy, Topology, add_interface, walk_connection,
};
use fairway_walk::{add_default_route, empty_namespace};

/// A host 10.10.50.99 with a World on it.
pub struct LargeFixture {
    world: World,
    rng: Rng,
    born: u64,
}

impl LargeFixture {
    pub fn new(settings: Settings) -> Self {
        let mut fixture = Self { world: World::default(), rng: Rng::new(3), born: 0 };
        let host = HostFacts {
            addresses: vec![HostRoute {
                destination: "10.10.50.99/24".parse().unwrap(),
                interface: "eth0".to_owned(),
            }],
            bridge_netfilter_ipv4: true,
            bridge_netfilter_ipv6: true,
            hostname: "harbour".to_owned(),
            ..HostFacts::default()
        };
        fixture.apply(Command::Configure { settings: Box::new(settings), host: Box::new(host) });
        fixture
    }

    fn apply(&mut self, command: Command) {
        self.world.apply(command, 0, &mut self.rng).unwrap();
    }

    /// Makes a network; options as `-o` has them, and `internal`, `ipv6`, `subnet=`, `driver=`.
    pub fn network(mut self, name: &str, options: &[&str]) -> Self {
        let mut request = CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() };
        for option in options {
            match option.split_once('=') {
                Some(("subnet", subnet)) => request
                    .subnets
                    .push(SubnetRequest { subnet: subnet.parse().ok(), ..SubnetRequest::default() }),
                Some(("driver", driver)) => request.driver = driver.to_owned(),
                Some((key, value)) => drop(request.options.insert(key.to_owned(), value.to_owned())),
                None if *option == "internal" => request.internal = true,
                None => request.enable_ipv6 = Some(true),
            }
        }
        if request.driver == "lan" {
            request.uplink = Some(Box::new(Uplink {
                parent: request.options["parent"].clone(),
                mac: MacAddress([2, 0, 0, 0, 0, 7]),
                mtu: 1500,
                addresses: vec!["192.168.7.9/24".parse().unwrap()],
                routes: vec![UplinkRoute {
                    destination: "0.0.0.0/0".parse().unwrap(),
                    gateway: "192.168.7.1".parse().ok(),
                    metric: 0,
                }],
                boot: String::new(),
                unusable: None,
            }));
        }
        request.parent = Some(ParentFacts { mac: Some(MacAddress([2; 6])), ..ParentFacts::default() });
        self.apply(Command::CreateNetwork(request));
        self
    }

    /// Attaches a sandbox, with published ports as `-p` has them.
    pub fn sandbox(mut self, name: &str, networks: &[&str], publish: &[&str]) -> Self {
        self.born += 1;
        let publish = publish.iter().flat_map(|text| parse::publish(text).unwrap()).collect();
        let choice = match networks {
            ["host"] => NetworkChoice::Host,
            ["none"] => NetworkChoice::None,
            names => NetworkChoice::Networks(
                names.iter().map(|name| ((*name).to_owned(), EndpointRequest::default())).collect(),
            ),
        };
        let create = Box::new(CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Attached,
            network: choice,
            options: SandboxOptions { publish, ..SandboxOptions::default() },
        });
        let namespace = (networks != ["host"]).then(|| Namespace {
            path: format!("/{name}"),
            device: 4,
            inode: self.born,
        });
        self.apply(Command::Attach { create, process: None, namespace });
        self
    }

    pub fn picture(&self) -> Picture {
        Picture::new(&self.world, &plan(&self.world), &host(), &[])
    }

    /// The host with all sandboxes, in each of which a server listens at port 80.
    pub fn topology(&self) -> Topology {
        let mut topology = planned(&self.world, &plan(&self.world), host());
        for sandbox in &mut topology.namespaces[1..] {
            sandbox.listeners.push(Listener {
                protocol: 6,
                address: "::".parse().unwrap(),
                port: 80,
                both_families: true,
                interface: None,
                held: false,
                owner: "a server".to_owned(),
                proxy: None,
            });
        }
        topology
    }

    /// The picture with a walk over it.
    pub fn walked(&self, from: &str, to: &str) -> Picture {
        self.walked_through(&self.topology(), from, to)
    }

    /// The picture with a walk through a topology that differs from the Plan.
    pub fn walked_through(&self, topology: &Topology, from: &str, to: &str) -> Picture {
        let mut picture = self.picture();
        let query = Query::parse(&self.world, &plan(&self.world), from, to).unwrap();
        let Resolved { origin, tuple } = query.resolve(&self.world, topology).unwrap();
        let connection = walk_connection(topology, origin, tuple, Proxy { user: Some(61_137) });
        let advice = advice(&self.world, &query, topology, &connection, &[]);
        let walk =
            Walk::new(&picture, format!("{from} asks {to}"), topology, &Branches::only(connection), advice);
        picture.walk = Some(walk);
        picture
    }

    /// The picture of some networks alone.
    pub fn part(&self, names: &[&str]) -> Picture {
        let only: Vec<_> = names.iter().map(|name| self.world.find_network(name).unwrap().id).collect();
        Picture::new(&self.world, &plan(&self.world), &host(), &only)
    }
}

/// The host's interfaces.
pub fn host() -> NetworkNamespace {
    let mut host = empty_namespace("host");
    host.bridge_netfilter = (true, true);
    let eth0 = Interface {
        index: 2,
        name: "eth0".to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: vec!["10.10.50.99/24".parse().unwrap(), "fd50::99/64".parse().unwrap()],
        ..Interface::default()
    };
    add_interface(&mut host, eth0);
    add_default_route(&mut host, "10.10.50.1".parse::<IpAddr>().unwrap(), 2);
    host
}

/// A web shop on two networks, and a sandbox on the default network.
pub fn shop() -> LargeFixture {
    LargeFixture::new(Settings { relay_user: Some(61_137), ..Settings::default() })
        .network("app", &["subnet=172.25.0.0/16"])
        .network("back", &["internal", "ipv6"])
        .sandbox("web", &["app"], &["8080:80"])
        .sandbox("api", &["app", "back"], &["127.0.0.1:9000:80"])
        .sandbox("db", &["back"], &[])
        .sandbox("job", &["bridge"], &[])
}

/// Networks of all kinds with 30 sandboxes.
pub fn quarter() -> LargeFixture {
    let icc = "com.docker.network.bridge.enable_icc=false";
    let mode = "com.docker.network.bridge.gateway_mode_ipv4";
    let mut fixture = LargeFixture::new(Settings { relay_user: Some(61_137), ..Settings::default() })
        .network("app", &["subnet=172.25.0.0/16", "ipv6"])
        .network("back", &["internal", "ipv6"])
        .network("tenants", &[icc])
        .network("open", &[&format!("{mode}=routed"), "subnet=172.30.0.0/24"])
        .network("hills", &["driver=routed", "fairway.peers=172.31.2.0/24@10.10.50.98"])
        .network("wire", &["driver=macvlan", "parent=eth0", "subnet=10.10.50.0/24"])
        .network("yard", &["driver=lan", "parent=eth1"])
        .network("pair", &["driver=ptp", "subnet=10.0.0.0/31"])
        .network("empty", &[]);
    for number in 1..=8 {
        let port = format!("{}:80", 8080 + number);
        fixture = fixture.sandbox(&format!("web-{number}"), &["app"], &[&port]);
    }
    for number in 1..=6 {
        fixture = fixture.sandbox(&format!("tenant-{number}"), &["tenants"], &[]);
    }
    fixture
        .sandbox("api", &["app", "back"], &["127.0.0.1:9000:80", "5300-5310:53-63/udp"])
        .sandbox("worker-with-a-name-that-is-quite-long-0001", &["app", "back"], &[])
        .sandbox("db", &["back"], &[])
        .sandbox("db-replica", &["back", "hills"], &[])
        .sandbox("srv", &["open"], &["80"])
        .sandbox("camera", &["wire"], &[])
        .sandbox("printer", &["wire"], &[])
        .sandbox("doorbell", &["yard"], &[])
        .sandbox("left", &["pair"], &[])
        .sandbox("right", &["pair"], &[])
        .sandbox("job", &["bridge"], &[])
        .sandbox("cron", &["bridge"], &[])
        .sandbox("node-exporter", &["host"], &[])
        .sandbox("hermit", &["none"], &[])
        .sandbox("sheep-1", &["hills"], &[])
        .sandbox("sheep-2", &["hills"], &[])
        .sandbox("proxy", &["bridge", "tenants", "app"], &["80:80", "443:443"])
}

/// `count` sandboxes, `each` to a network, every seventh on the next one too.
pub fn city(count: usize, each: usize) -> LargeFixture {
    let mut fixture = LargeFixture::new(Settings { relay_user: Some(61_137), ..Settings::default() });
    let networks = count.div_ceil(each);
    for number in 0..networks {
        let options: &[&str] = if number % 4 == 1 { &["internal"] } else { &[] };
        let subnet = format!("subnet=10.{}.0.0/20", 60 + number);
        let options: Vec<&str> = options.iter().copied().chain([subnet.as_str()]).collect();
        fixture = fixture.network(&format!("net-{number:02}"), &options);
    }
    for number in 0..count {
        let own = format!("net-{:02}", number / each);
        let next = format!("net-{:02}", (number / each + 1) % networks);
        let port = format!("{}:80", 20_000 + number);
        let published: &[&str] = if number % 5 == 0 { &[&port] } else { &[] };
        let places: &[&str] = if number % 29 == 28 && networks > 1 { &[&own, &next] } else { &[&own] };
        fixture = fixture.sandbox(&format!("box-{number:03}"), places, published);
    }
    fixture
}
