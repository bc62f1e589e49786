//! Worlds as they are: hosts of a lab, the engine itself, and what users do on the same host.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::{Command as Program, Stdio};
use std::sync::Arc;

use fairway_core::plan::plan;
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice};
use fairway_engine::{Engine, Options};
use fairway_inspect::topology::observed;
use fairway_kernel::namespace;
use fairway_kernel::netlink::{Batch, Protocol as Netlink, Socket};
use fairway_kernel::survey::survey;
use fairway_lab::{Host, Lab, Place};
use fairway_model::SubnetRequest;
use fairway_model::{
    Backend, EndpointRequest, PortRange, Protocol, PublishRequest, SandboxKind, SandboxOptions, Settings,
};
use fairway_walk::{NamespaceId, Survey, Topology};
use ipnet::IpNet;

use crate::case::{self, Driver, HOST, LAN, MORE, SIDE, SIDE_LAN};

/// The user that the relay runs as.
const RELAY_USER: u32 = 61_137;
/// What a host does not keep back for so long that a test would miss it: errors of ICMP.
const UNLIMITED: [(&str, &str); 4] = [
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv4.icmp_ratemask", "0"),
    ("net.ipv6.icmp.ratelimit", "0"),
    ("net.ipv4.ping_group_range", "0 0"),
];

/// A world that runs.
pub struct Built {
    pub host: Host,
    pub lan: Host,
    pub sandboxes: Vec<Place>,
    /// The numbers of networks that sandboxes are on, and their addresses there.
    addresses: BTreeMap<(usize, usize), Vec<IpAddr>>,
    gateways: Vec<Vec<IpAddr>>,
    engine: Arc<Engine>,
}

/// The name of a network by number.
fn network_name(number: usize) -> String {
    if number == 0 { "bridge".to_owned() } else { format!("net{number}") }
}

pub fn sandbox_name(number: usize) -> String {
    format!("box{number}")
}

fn publish(published: &case::Published) -> PublishRequest {
    PublishRequest {
        host_address: published.address,
        host_ports: Some(PortRange::single(published.host)),
        container_ports: PortRange::single(published.port),
        protocol: if published.udp { Protocol::Udp } else { Protocol::Tcp },
    }
}

fn create(number: usize, network: &case::Network) -> CreateNetwork {
    let (ipv4, ipv6) = case::subnets(number);
    let subnet = |subnet: IpNet, gateway: Option<IpAddr>| SubnetRequest {
        subnet: Some(subnet),
        gateway,
        ..SubnetRequest::default()
    };
    let driver = match network.driver {
        Driver::Bridge => "bridge",
        Driver::Routed => "routed",
        Driver::Lan => "lan",
        Driver::Macvlan => "macvlan",
        Driver::Ptp => "ptp",
    };
    let on_side = network.driver == Driver::Lan || (network.driver == Driver::Macvlan && !network.internal);
    let mut subnets = match network.driver {
        _ if on_side => {
            let gateway = |family: usize| Some(SIDE_LAN[family].parse().unwrap());
            vec![
                subnet("10.60.0.0/24".parse().unwrap(), gateway(0)),
                subnet("fd60::/64".parse().unwrap(), gateway(1)),
            ]
        }
        _ => vec![
            subnet(IpNet::new(ipv4.into(), 24).unwrap(), None),
            subnet(IpNet::new(ipv6.into(), 64).unwrap(), None),
        ],
    };
    if on_side {
        // Past the host's own addresses there, and the neighbor's.
        for (subnet, range) in subnets.iter_mut().zip(["10.60.0.128/28", "fd60::8000/116"]) {
            subnet.ip_range = Some(range.parse().unwrap());
        }
    }
    if !network.ipv6 {
        subnets.truncate(1);
    }
    CreateNetwork {
        name: network_name(number),
        driver: driver.to_owned(),
        subnets,
        enable_ipv6: Some(network.ipv6),
        internal: network.internal,
        options: network.options.iter().cloned().collect(),
        ..CreateNetwork::default()
    }
}

impl Built {
    /// Builds a world in a lab; `number` distinguishes it from others there.
    pub fn new(lab: &Lab, number: usize, world: &case::World) -> Built {
        let (host, lan) =
            (lab.host(&format!("host{number}")).unwrap(), lab.host(&format!("lan{number}")).unwrap());
        let (wire, side) =
            (lab.lan(&format!("wire{number}")).unwrap(), lab.lan(&format!("side{number}")).unwrap());
        let both = |ends: [&str; 2]| [format!("{}/24", ends[0]), format!("{}/64", ends[1])];
        for (wire, place, ends) in
            [(&wire, &host, HOST), (&wire, &lan, LAN), (&side, &host, SIDE), (&side, &lan, SIDE_LAN)]
        {
            wire.join(place, &both(ends).each_ref().map(String::as_str)).unwrap();
        }
        for gateway in LAN {
            host.route("default", gateway).unwrap();
        }
        if world.lan_routes {
            lan.route("172.16.0.0/12", HOST[0]).unwrap();
            lan.route("fd20::/12", HOST[1]).unwrap();
        }
        if world.more_addresses {
            host.add_address("eth0", &format!("{}/24", MORE[0])).unwrap();
            host.add_address("eth1", &format!("{}/24", MORE[1])).unwrap();
        }
        for (name, value) in UNLIMITED {
            host.set_sysctl(name, value).unwrap();
            lan.set_sysctl(name, value).unwrap();
        }
        host.set_bridge_netfilter(world.bridge_netfilter).unwrap();
        for interface in ["all", "default", "eth0", "eth1"] {
            host.set_sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), &world.reverse_path.to_string())
                .unwrap();
        }
        host.set_sysctl("net.ipv4.conf.eth0.route_localnet", if world.route_localnet { "1" } else { "0" })
            .unwrap();
        for route in &world.routes {
            host.run_in(|| add_route(route)).unwrap();
        }
        let engine = host.run_in(|| Engine::open(options(lab, world), |_| {}).unwrap()).unwrap();
        let mut built = Built {
            host,
            lan,
            sandboxes: Vec::new(),
            addresses: BTreeMap::new(),
            gateways: Vec::new(),
            engine,
        };
        for (number, network) in world.networks.iter().enumerate() {
            built.execute(Command::CreateNetwork(create(number + 1, network)));
        }
        for (number, sandbox) in world.sandboxes.iter().enumerate() {
            built.attach(number, sandbox);
        }
        built.note_addresses(world);
        built.host.run_in(|| policy(&world.rules)).unwrap();
        if world.vanishes {
            built.host.run_in(|| ip(&format!("address del {}/24 dev eth0", MORE[0]))).unwrap();
        }
        for (number, route) in &world.inside {
            // A sandbox on other networks has no such neighbor, and no such route then.
            built.sandboxes[*number].run_in(|| ip(&format!("route replace {route}"))).unwrap();
        }
        built.host.run_in(|| load(&foreign_tables(&world.foreign))).unwrap();
        built
    }

    fn execute(&self, command: Command) {
        let shown = format!("{command:?}");
        let done = self.host.run_in(|| self.engine.execute(None, command).map(drop)).unwrap();
        done.unwrap_or_else(|error| panic!("{error}: {shown}"));
    }

    fn attach(&mut self, number: usize, sandbox: &case::Sandbox) {
        let name = sandbox_name(number);
        let namespace = self.host.run_in(|| namespace::create_named(&name).unwrap()).unwrap();
        let place = self.host.sandbox(&namespace.path).unwrap();
        place
            .run_in(|| {
                for (name, value) in UNLIMITED {
                    std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value).unwrap();
                }
            })
            .unwrap();
        let networks = sandbox
            .networks
            .iter()
            .map(|number| (network_name(*number), EndpointRequest::default()))
            .collect();
        let create = CreateSandbox {
            name: Some(name),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks(networks),
            options: SandboxOptions {
                publish: sandbox.publish.iter().map(publish).collect(),
                ..SandboxOptions::default()
            },
        };
        self.execute(Command::Attach { create: Box::new(create), process: None, namespace: Some(namespace) });
        self.sandboxes.push(place);
    }

    fn note_addresses(&mut self, world: &case::World) {
        self.engine.read(|is| {
            let number =
                |name: &str| (0..=world.networks.len()).find(|it| network_name(*it) == name).unwrap();
            let mut gateways = vec![Vec::new(); world.networks.len() + 1];
            for network in is.networks().filter(|it| !["host", "none"].contains(&it.name.as_str())) {
                gateways[number(&network.name)] =
                    network.subnets.iter().map(|subnet| subnet.gateway).collect();
            }
            self.gateways = gateways;
            for endpoint in is.endpoints() {
                let sandbox = &is.sandbox(endpoint.sandbox).unwrap().name;
                let sandbox = (0..world.sandboxes.len()).find(|it| sandbox_name(*it) == *sandbox).unwrap();
                let network = number(&is.network(endpoint.network).unwrap().name);
                let own = endpoint.allocation.iter().flat_map(|it| it.addresses()).collect();
                self.addresses.insert((sandbox, network), own);
            }
        });
    }

    /// All addresses of a sandbox.
    pub fn addresses_of(&self, sandbox: usize) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter(move |((it, _), _)| *it == sandbox).flat_map(|(_, own)| own.clone())
    }

    /// The address that a packet is for; none where there is none of the family.
    pub fn target(&self, world: &case::World, probe: &case::Probe) -> Option<SocketAddr> {
        let of_family = |own: &[IpAddr]| own.iter().copied().find(|it| it.is_ipv6() == probe.ipv6);
        let address = match probe.to {
            case::To::At(address) => (address.is_ipv6() == probe.ipv6).then_some(address),
            case::To::Sandbox(sandbox, place) => {
                let network = world.sandboxes.get(sandbox)?.networks.get(place)?;
                of_family(self.addresses.get(&(sandbox, *network))?)
            }
            case::To::Gateway(network) => of_family(self.gateways.get(network)?),
            case::To::LinkLocal => return self.link_local(probe),
            case::To::Nobody(network) => {
                let near = of_family(self.gateways.get(network)?)?;
                Some(match near {
                    IpAddr::V4(address) => {
                        let [a, b, c, _] = address.octets();
                        Ipv4Addr::new(a, b, c, 200).into()
                    }
                    IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (!0 << 64) | 0xdead).into(),
                })
            }
        }?;
        Some(SocketAddr::new(address, probe.port))
    }

    /// The link-local address behind the origin's `eth0`.
    fn link_local(&self, probe: &case::Probe) -> Option<SocketAddr> {
        let eth0 = |place: &Place| {
            let inside = place.run_in(|| survey("").unwrap()).unwrap();
            inside.namespace.interface_named("eth0").cloned()
        };
        let own = eth0(self.place(probe.from)?)?;
        let behind = match probe.from {
            case::From::Host => eth0(&self.lan)?,
            case::From::Lan => eth0(&self.host)?,
            case::From::Sandbox(number) => {
                let inside = self.sandboxes[number].run_in(|| survey("").unwrap()).unwrap();
                let (_, port) = inside.veth_pairs.iter().find(|(index, _)| *index == own.index)?;
                let host = self.host.run_in(|| survey("").unwrap()).unwrap().namespace;
                host.interface(host.interface(*port)?.bridge?)?.clone()
            }
        };
        let mut addresses = behind.addresses.iter().filter_map(|net| match net.addr() {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
            _ => None,
        });
        Some(SocketAddrV6::new(addresses.next()?, probe.port, 0, own.index).into())
    }

    pub fn place(&self, from: case::From) -> Option<&Place> {
        match from {
            case::From::Sandbox(number) => self.sandboxes.get(number),
            case::From::Host => Some(&self.host),
            case::From::Lan => Some(&self.lan),
        }
    }

    /// All places, with the names that they have in the topology.
    pub fn places(&self) -> Vec<(String, &Place)> {
        let sandboxes =
            self.sandboxes.iter().enumerate().map(|(number, place)| (sandbox_name(number), place));
        [("host".to_owned(), &*self.host), ("lan".to_owned(), &*self.lan)]
            .into_iter()
            .chain(sandboxes)
            .collect()
    }

    /// The topology as the engine sees it; and with the neighbor, who is then plugged into the host's interfaces.
    pub fn topology(&self) -> (Topology, Topology) {
        let look = |place: &Place, name: &str| -> Survey { place.run_in(|| survey(name).unwrap()).unwrap() };
        let host = look(&self.host, "host");
        let world = self.engine.read(Clone::clone);
        let inside = world.sandboxes().filter_map(|sandbox| {
            let number = (0..self.sandboxes.len()).find(|it| sandbox_name(*it) == sandbox.name)?;
            Some((sandbox.id, look(&self.sandboxes[number], "")))
        });
        let alone = observed(&world, &plan(&world), &host, &inside.collect());
        let mut whole = alone.clone();
        let place = NamespaceId(whole.namespaces.len());
        let mut lan = look(&self.lan, "lan").namespace;
        for name in ["eth0", "eth1"] {
            let near = whole.namespaces[0].interfaces.iter_mut().find(|it| it.name == name).unwrap();
            let far = lan.interfaces.iter_mut().find(|it| it.name == name).unwrap();
            near.peer = Some((place, far.index));
            far.peer = Some((NamespaceId::HOST, near.index));
        }
        whole.namespaces.push(lan);
        (alone, whole)
    }

    /// The user of the proxy.
    pub fn relay_user(&self) -> Option<u32> {
        self.engine.read(|world| world.settings().relay_user)
    }
}

fn options(lab: &Lab, world: &case::World) -> Options {
    let settings = Settings {
        backend: if world.by_iptables { Backend::Iptables } else { Backend::Nftables },
        iptables: world.iptables,
        ip6tables: world.ip6tables,
        userland_proxy: world.userland_proxy,
        icc: world.icc,
        ipv6: world.default_ipv6,
        masquerade: world.masquerade,
        allow_direct_routing: world.direct,
        relay_user: lab.has_other_users().unwrap().then_some(RELAY_USER),
        ..Settings::default()
    };
    let user = settings.relay_user;
    Options {
        data_root: "/var/lib/fairway".into(),
        exec_root: "/run/fairway".into(),
        settings,
        iptables: None,
        start_relay: Box::new(move |control| {
            let mut program = Program::new(env!("CARGO_BIN_EXE_fairway"));
            program.args(["relay", "text"]).args(user.map(|user| user.to_string()));
            let mut relay = program.stdin(Stdio::from(control)).stdout(Stdio::null()).spawn()?;
            std::thread::spawn(move || relay.wait());
            Ok(())
        }),
        exit_record: Box::new(|_, _| None),
    }
}

/// What the user's own rules leave alone: who drops this has no neighbors.
const SPARED: &str = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";

/// The user's own tables, one for each rule.
fn foreign_tables(rules: &[case::Foreign]) -> String {
    let table = |(number, rule): (usize, &case::Foreign)| {
        format!(
            "table inet own{number} {{\nchain it {{\n{};\n{SPARED};\n{};\n}}\n}}\n",
            rule.chain, rule.rule
        )
    };
    rules.iter().enumerate().map(table).collect()
}

/// Loads tables as `nft` reads them.
fn load(tables: &str) {
    use std::io::Write;
    if tables.is_empty() {
        return;
    }
    let mut nft = Program::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("this test needs nft: apt-get install nftables");
    nft.stdin.take().unwrap().write_all(tables.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{tables}");
}

/// Runs `ip`, and returns whether it did as it was asked.
fn ip(line: &str) -> bool {
    let mut ip = Program::new("ip");
    ip.args(line.split(' ')).stderr(Stdio::null());
    ip.status().expect("this test needs ip: apt-get install iproute2").success()
}

/// Adds rules of the routing policy, and what they lead to.
fn policy(rules: &[String]) {
    if rules.is_empty() {
        return;
    }
    for (family, gateway) in ["-4", "-6"].into_iter().zip(SIDE_LAN) {
        ip(&format!("{family} route add default via {gateway} table 100"));
    }
    for (number, rule) in rules.iter().enumerate() {
        let (family, rule) = rule.strip_prefix("-6 ").map_or(("-4", rule.as_str()), |rule| ("-6", rule));
        assert!(ip(&format!("{family} rule add priority {} {rule}", 100 + number)), "{rule}");
    }
}

/// Adds a route of the user's own: `[blackhole|unreachable|prohibit] DESTINATION [via ADDRESS] [src ADDRESS]`.
fn add_route(text: &str) {
    const EXCLUSIVE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
    let mut words: Vec<&str> = text.split(' ').collect();
    let kind = match words[0] {
        "blackhole" => libc::RTN_BLACKHOLE,
        "unreachable" => libc::RTN_UNREACHABLE,
        "prohibit" => libc::RTN_PROHIBIT,
        _ => libc::RTN_UNICAST,
    };
    if kind != libc::RTN_UNICAST {
        words.remove(0);
    }
    let destination: IpNet = words[0].parse().unwrap();
    let after = |word: &str| {
        let place = words.iter().position(|it| *it == word)?;
        Some(words[place + 1].parse::<IpAddr>().unwrap())
    };
    let family = if destination.addr().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let header = [
        family as u8,
        destination.prefix_len(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_UNIVERSE,
        kind,
    ];
    let mut batch = Batch::new();
    let mut message = batch.message(libc::RTM_NEWROUTE, EXCLUSIVE, format!("the route {text}"));
    message.raw(&header).raw(&[0; 4]).address(libc::RTA_DST, destination.addr());
    if let Some(gateway) = after("via") {
        message.address(libc::RTA_GATEWAY, gateway);
    }
    if let Some(source) = after("src") {
        message.address(libc::RTA_PREFSRC, source);
    }
    drop(message);
    Socket::open(Netlink::Route).unwrap().transact(&mut batch).unwrap();
}
