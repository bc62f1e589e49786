//! Each check on a healthy host and on one that is ill in that way, and what mends it.

mod host;
mod inside;
mod published;

use std::net::Ipv4Addr;

use super::*;
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{
    Backend, HostFacts, HostRoute, Namespace, PortRange, Protocol, PublishRequest, SandboxKind,
    SandboxOptions, Settings,
};

/// A World and what is seen of its host, both healthy: network `web` with a sandbox `p`, which publishes 40000.
struct Patient {
    world: World,
    rng: Rng,
    seen: Observations,
}

fn host() -> HostFacts {
    HostFacts {
        mtu: Some(1500),
        default_interface: Some("eth0".to_owned()),
        nameservers: vec!["10.0.0.1".parse().unwrap()],
        forwarding: (true, true),
        ephemeral_ports: Some((32768, 60999)),
        ..HostFacts::default()
    }
}

fn link(index: u32, name: &str, address: &str) -> LinkSeen {
    LinkSeen {
        index,
        name: name.to_owned(),
        up: true,
        mtu: 1500,
        addresses: vec![address.parse().unwrap()],
        ..LinkSeen::default()
    }
}

impl Patient {
    fn new() -> Patient {
        Patient::with(Settings::default())
    }

    fn with(settings: Settings) -> Patient {
        let seen = Observations { daemon: true, facts: host(), ..Observations::default() };
        let mut patient = Patient { world: World::default(), rng: Rng::new(1), seen };
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(host()) };
        patient.run(configure);
        patient.network("web", |_| {});
        patient.sandbox("p", "web", 40000);
        let bridge = patient.world.find_network("web").unwrap().bridge.clone();
        let eth0 = link(2, "eth0", "10.0.0.2/24");
        let bridge = LinkSeen { kind: "bridge".to_owned(), ours: true, ..link(3, &bridge, "172.18.0.1/16") };
        let port =
            LinkSeen { bridge: Some(3), kind: "veth".to_owned(), ours: true, ..link(4, "fw1", "fe80::1/64") };
        patient.seen.links = vec![eth0, bridge, port];
        for (path, value) in
            [("net/ipv4/ip_unprivileged_port_start", "1024"), ("net/ipv4/conf/all/rp_filter", "0")]
        {
            patient.set(path, value);
        }
        patient.seen.sysctls.insert("net/ipv4/ip_local_reserved_ports".to_owned(), "40000-40001".to_owned());
        patient
    }

    fn run(&mut self, command: Command) {
        self.world.apply(command, 1, &mut self.rng).unwrap();
    }

    fn network(&mut self, name: &str, ask: impl FnOnce(&mut CreateNetwork)) {
        let mut request = CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() };
        ask(&mut request);
        self.run(Command::CreateNetwork(request));
    }

    fn sandbox(&mut self, name: &str, network: &str, host_port: u16) {
        let publish = PublishRequest {
            host_address: Some(Ipv4Addr::UNSPECIFIED.into()),
            host_ports: Some(PortRange::single(host_port)),
            container_ports: PortRange::single(80),
            protocol: Protocol::Tcp,
        };
        self.attach(name, network, publish);
    }

    fn attach(&mut self, name: &str, network: &str, publish: PublishRequest) {
        self.run(Command::CreateSandbox(Box::new(CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks([(network.to_owned(), Default::default())].into()),
            options: SandboxOptions { publish: vec![publish], ..SandboxOptions::default() },
        })));
        let inode = self.world.sandboxes().count() as u64;
        let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode });
        self.run(Command::StartSandbox {
            sandbox: name.to_owned(),
            process: None,
            namespace,
            avoid: Vec::new(),
        });
    }

    /// The host changes, and the daemon follows.
    fn host(&mut self, change: impl FnOnce(&mut HostFacts)) {
        change(&mut self.seen.facts);
        let (settings, host) = (self.world.settings().clone(), self.seen.facts.clone());
        self.run(Command::Configure { settings: Box::new(settings), host: Box::new(host) });
    }

    fn set(&mut self, path: &str, value: &str) {
        self.seen.sysctls.insert(path.to_owned(), value.to_owned());
    }

    fn bridge(&self) -> String {
        self.world.find_network("web").unwrap().bridge.clone()
    }

    fn link_mut(&mut self, name: &str) -> &mut LinkSeen {
        self.seen.links.iter_mut().find(|link| link.name == name).unwrap()
    }

    /// All that is not well.
    fn ills(&self) -> Vec<Finding> {
        examine(&self.world, &self.seen).into_iter().filter(|finding| finding.level != Level::Ok).collect()
    }

    /// The one thing that is not well: how bad it is, what was seen, and the command, with whether it is Fairway's own.
    fn only(&self, check: &str) -> (Level, String, String, bool) {
        let mut ills = self.ills();
        assert_eq!(ills.len(), 1, "{ills:#?}");
        let ill = ills.remove(0);
        assert_eq!(ill.check, check, "{ill:#?}");
        assert!(!ill.why.is_empty(), "{ill:#?}");
        let mend = ill.mend.unwrap_or(Mend { command: String::new(), own: false });
        (ill.level, ill.seen, mend.command, mend.own)
    }

    fn assert(&self, check: &str, level: Level, seen: &str, mend: &str) {
        let (found, what, command, _) = self.only(check);
        assert_eq!((found, what.as_str(), command.as_str()), (level, seen, mend));
    }
}

#[test]
fn a_healthy_host_is_well_in_all_respects() {
    let patient = Patient::new();
    let findings = examine(&patient.world, &patient.seen);
    assert_eq!(patient.ills(), []);
    assert_eq!(
        findings.iter().map(|it| it.check.as_str()).collect::<Vec<_>>(),
        CHECKS.iter().map(|it| it.id).collect::<Vec<_>>()
    );
    assert_eq!(worst(&findings), Level::Ok);
}

#[test]
fn each_check_is_in_the_documentation() {
    let text = include_str!("../../../../docs/reference/doctor.md");
    let (_, table) = text.split_once("## The checks").unwrap();
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(rows, ids, "docs/reference/doctor.md has a row for each check, in their order");
}

#[test]
fn what_cannot_be_looked_at_is_unknown() {
    let mut patient = Patient::new();
    patient.seen.unseen.insert("firewall", "operation not permitted".to_owned());
    let what = "it could not be looked at: operation not permitted";
    patient.assert("firewall", Level::Unknown, what, "");
    assert_eq!(worst(&patient.ills()), Level::Unknown);
}

#[test]
fn without_a_daemon_the_host_alone_is_judged() {
    let mut patient = Patient::new();
    patient.seen.daemon = false;
    patient.seen.drift = vec!["nobody could know".to_owned()];
    patient.assert(
        "daemon",
        Level::Problem,
        "no daemon runs: only the host is looked at",
        "systemctl start fairway || fairway daemon",
    );
    let judged = examine(&World::default(), &patient.seen).len();
    assert_eq!(judged, CHECKS.iter().filter(|check| !check.needs_daemon).count());
}

#[test]
fn what_is_fairways_own() {
    let own = |change: fn(&mut Observations), check: &str, level: Level, seen: &str, mend: &str| {
        let mut patient = Patient::new();
        change(&mut patient.seen);
        assert_eq!(patient.only(check), (level, seen.to_owned(), mend.to_owned(), true));
    };
    own(|it| it.drift = vec!["the bridge x".into()], "drift", Level::Warning, "the bridge x", FIX);
    own(|it| it.leaks = vec!["the bridge y".into()], "leaks", Level::Warning, "the bridge y", FIX);
    own(
        |it| it.relay = Relay { answers: false, pid: 7, missing: Vec::new() },
        "relay",
        Level::Problem,
        "the relay (process 7) does not answer",
        "kill -KILL 7",
    );
    let mut patient = Patient::new();
    patient.seen.relay.missing = vec![("landlock".to_owned(), "not supported".to_owned())];
    patient.assert("relay", Level::Note, "the relay goes without landlock: not supported", "");
    let mut patient = Patient::new();
    patient.seen.lacking = Some("the kernel lacks bridges".to_owned());
    let (level, seen, mend, _) = patient.only("kernel");
    assert_eq!((level, seen.as_str()), (Level::Problem, "the kernel lacks bridges"));
    assert!(mend.starts_with("modprobe -a bridge veth nf_tables"), "{mend}");
}

#[test]
fn mending_once_is_a_note_and_again_and_again_a_warning() {
    let mut patient = Patient::new();
    patient.seen.now = 2_000_000_000_000;
    let ago = |seconds: i64| (2_000_000_000_000 - seconds * 1_000_000_000, "the bridge".to_owned());
    patient.seen.mended = vec![ago(601)];
    assert_eq!(patient.ills(), [], "that was long ago");
    patient.seen.mended = vec![ago(601), ago(3)];
    let mend = "fairway events --since 10m --until 0s --filter type=daemon";
    let once = "the daemon mended 1 thing in the last ten minutes, last 3 seconds ago: the bridge";
    patient.assert("healing", Level::Note, once, mend);
    patient.seen.mended = vec![ago(9), ago(7), ago(4), ago(1)];
    let often = "the daemon mended 4 things in the last ten minutes, last 1 second ago: the bridge";
    patient.assert("healing", Level::Warning, often, mend);
}

#[test]
fn ports_that_others_have_or_may_get() {
    let mut patient = Patient::new();
    let lost = LostPort {
        protocol: Protocol::Tcp,
        at: "0.0.0.0:40000".parse().unwrap(),
        sandbox: "p".to_owned(),
        holder: Some((812, "nginx".to_owned())),
    };
    patient.seen.lost = vec![lost.clone()];
    let held = "0.0.0.0:40000/tcp, published for p, is held by nginx (process 812)";
    patient.assert("ports", Level::Problem, held, "kill 812");
    patient.seen.lost = vec![LostPort { holder: None, ..lost }];
    assert_eq!((patient.only("ports").2.as_str(), patient.only("ports").3), (FIX, true));

    let mut patient = Patient::new();
    patient.set("net/ipv4/ip_local_reserved_ports", "39999,50000-50001");
    let seen = "outgoing connections get ports 32768-60999, and of these are to be published: 40000";
    let mend = "sysctl -w net.ipv4.ip_local_reserved_ports=39999-40000,50000-50001";
    patient.assert("ephemeral-ports", Level::Note, seen, mend);
    let mut patient = Patient::new();
    patient.set("net/ipv4/ip_unprivileged_port_start", "80");
    let mend = "sysctl -w net.ipv4.ip_unprivileged_port_start=1024";
    patient.assert("unprivileged-ports", Level::Note, "net/ipv4/ip_unprivileged_port_start is 80", mend);

    let nothing =
        Settings { iptables: false, ip6tables: false, userland_proxy: false, ..Settings::default() };
    let (level, seen, mend, own) = Patient::with(nothing).only("publishing");
    assert_eq!((level, mend.as_str(), own), (Level::Problem, "fairway daemon --userland-proxy=true", false));
    assert!(seen.ends_with("--userland-proxy=false: p publish ports"), "{seen}");
}

#[test]
fn what_is_full() {
    let mut patient = Patient::new();
    let share = |used, most| Some(Share { used, most });
    patient.seen.connections = share(799, 1000);
    patient.seen.neighbours = [share(10, 1024), share(800, 1024)];
    let open = |used| Some(Descriptors { pid: 5, open: Share { used, most: 1024 }, hard: 4096 });
    patient.seen.descriptors = open(20);
    assert_eq!(patient.ills(), []);
    patient.seen.connections = share(800, 1000);
    let mend = "sysctl -w net.netfilter.nf_conntrack_max=2000";
    patient.assert("conntrack", Level::Warning, "800 of 1000 connections are tracked (80 %)", mend);
    patient.seen.connections = share(1000, 1000);
    assert_eq!(patient.only("conntrack").0, Level::Problem);
    patient.seen.connections = None;
    patient.seen.neighbours = [share(1000, 1024), None];
    let mend = "sysctl -w net.ipv4.neigh.default.gc_thresh3=4096 net.ipv4.neigh.default.gc_thresh2=2048";
    patient.assert("neighbours", Level::Warning, "1000 of 1024 neighbours are known by ipv4", mend);
    patient.seen.neighbours = [None, None];
    patient.seen.descriptors = open(900);
    let mend = "prlimit --pid 5 --nofile=4096:4096";
    patient.assert("descriptors", Level::Warning, "the daemon has 900 of 1024 descriptors open", mend);
    patient.seen.descriptors = open(900).map(|it| Descriptors { hard: 1024, ..it });
    assert_eq!(patient.only("descriptors").2, "prlimit --pid 5 --nofile=262144:262144");
    patient.seen.descriptors = None;
    let ports = |count: u32| {
        (5..5 + count).map(|index| LinkSeen {
            bridge: Some(3),
            mtu: 1500,
            ..link(index, "port", "fe80::1/64")
        })
    };
    patient.seen.links.extend(ports(919));
    assert_eq!(patient.ills(), []);
    let full = format!("921 of the 1023 ports of bridge {} are taken", patient.bridge());
    patient.seen.links.extend(ports(1));
    patient.assert("bridge-ports", Level::Warning, &full, "fairway network create web-2");
    patient.seen.links.extend(ports(102));
    assert_eq!(patient.only("bridge-ports").0, Level::Problem);
}

#[test]
fn networks_and_pools_that_are_full() {
    let pool = fairway_model::AddressPool { base: "10.9.0.0/21".parse().unwrap(), size: 24 };
    let mut patient = Patient::with(Settings { address_pools: vec![pool], ..Settings::default() });
    patient.network("a", |_| {});
    patient.network("b", |_| {});
    patient.network("c", |_| {});
    assert_eq!(patient.ills(), []);
    patient.network("d", |_| {});
    let seen = "the address pools have subnets for 2 more only; nobody is on a, b, c, d";
    patient.assert("subnets", Level::Warning, seen, "fairway network prune --force");
    ["e", "f"].into_iter().for_each(|name| patient.network(name, |_| {}));
    assert_eq!(patient.only("subnets").0, Level::Problem);

    let mut patient = Patient::new();
    let subnet = SubnetRequest { subnet: "10.8.0.0/29".parse().ok(), ..SubnetRequest::default() };
    patient.network("small", |request| request.subnets = vec![subnet]);
    for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        patient.sandbox(name, "small", 8000 + number as u16);
    }
    assert_eq!(patient.ills(), []);
    patient.sandbox("e", "small", 8010);
    let full = "5 of the 5 addresses in 10.8.0.0/29 are given on network small";
    patient.assert("addresses", Level::Problem, full, "fairway network create small-2");
}
