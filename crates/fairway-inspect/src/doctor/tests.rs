//! Each check on a healthy host and on one with the problem that it reports, and the suggested fix.

mod host;
mod namespaces;
mod published;
mod store;

use std::net::Ipv4Addr;

use super::*;
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{
    Backend, HostFacts, HostRoute, Namespace, PortRange, Protocol, PublishRequest, SandboxKind,
    SandboxOptions, Settings,
};

/// A healthy host with a daemon: network `web` with sandbox `p`, which publishes port 40000.
struct TestHost {
    world: World,
    rng: Rng,
    observed: Observations,
}

fn facts() -> HostFacts {
    HostFacts {
        mtu: Some(1500),
        default_interface: Some("eth0".to_owned()),
        nameservers: vec!["10.0.0.1".parse().unwrap()],
        forwarding: (true, true),
        ephemeral_ports: Some((32768, 60999)),
        ..HostFacts::default()
    }
}

fn link(index: u32, name: &str, address: &str) -> LinkState {
    LinkState {
        index,
        name: name.to_owned(),
        up: true,
        mtu: 1500,
        addresses: vec![address.parse().unwrap()],
        ..LinkState::default()
    }
}

impl TestHost {
    fn new() -> TestHost {
        TestHost::with(Settings::default())
    }

    fn with(settings: Settings) -> TestHost {
        let observed = Observations { daemon: true, facts: facts(), ..Observations::default() };
        let mut host = TestHost { world: World::default(), rng: Rng::new(1), observed };
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(facts()) };
        host.run(configure);
        host.network("web", |_| {});
        host.sandbox("p", "web", 40000);
        let eth0 = link(2, "eth0", "10.0.0.2/24");
        let bridge =
            LinkState { kind: "bridge".to_owned(), ours: true, ..link(3, &host.bridge(), "172.18.0.1/16") };
        let port = LinkState {
            bridge: Some(3),
            kind: "veth".to_owned(),
            ours: true,
            ..link(4, "fw1", "fe80::1/64")
        };
        host.observed.links = vec![eth0, bridge, port];
        host.set("net/ipv4/ip_unprivileged_port_start", "1024");
        host.set("net/ipv4/conf/all/rp_filter", "0");
        host.set("net/ipv4/ip_local_reserved_ports", "40000-40001");
        host
    }

    fn run(&mut self, command: Command) {
        self.world.apply(command, 1, &mut self.rng).unwrap();
    }

    fn network(&mut self, name: &str, change: impl FnOnce(&mut CreateNetwork)) {
        let mut request = CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() };
        change(&mut request);
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
        self.attach_with(
            name,
            network,
            SandboxOptions { publish: vec![publish], ..SandboxOptions::default() },
        );
    }

    fn attach_with(&mut self, name: &str, network: &str, options: SandboxOptions) {
        self.run(Command::CreateSandbox(Box::new(CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks([(network.to_owned(), Default::default())].into()),
            options,
        })));
        let inode = self.world.sandboxes().count() as u64;
        let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode });
        self.run(Command::StartSandbox { sandbox: name.to_owned(), process: None, namespace });
    }

    /// Changes the host's facts, in the observations and in the World.
    fn change_facts(&mut self, change: impl FnOnce(&mut HostFacts)) {
        change(&mut self.observed.facts);
        let (settings, facts) = (self.world.settings().clone(), self.observed.facts.clone());
        self.run(Command::Configure { settings: Box::new(settings), host: Box::new(facts) });
    }

    fn set(&mut self, path: &str, value: &str) {
        self.observed.sysctls.insert(path.to_owned(), value.to_owned());
    }

    fn bridge(&self) -> String {
        self.world.find_network("web").unwrap().bridge.clone()
    }

    fn link_mut(&mut self, name: &str) -> &mut LinkState {
        self.observed.links.iter_mut().find(|link| link.name == name).unwrap()
    }

    /// All findings except passed checks.
    fn findings(&self) -> Vec<FindingKind> {
        let passed = |kind: &FindingKind| matches!(kind, FindingKind::Passed { .. });
        examine(&self.world, &self.observed).into_iter().filter(|kind| !passed(kind)).collect()
    }

    /// The only finding.
    fn only(&self) -> FindingKind {
        let mut findings = self.findings();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings.remove(0)
    }

    /// The rendered form of the only finding.
    fn rendered(&self) -> Finding {
        let finding = self.only().render();
        assert!(!finding.impact.is_empty(), "{finding:#?}");
        finding
    }

    fn fix(&self) -> Fix {
        self.rendered().fix.unwrap()
    }

    fn assert(&self, id: &str, severity: Severity, message: &str, command: &str) {
        let found = self.rendered();
        assert_eq!((found.id.as_str(), found.severity, found.message.as_str()), (id, severity, message));
        assert_eq!(found.fix.map(|fix| fix.command).unwrap_or_default(), command);
    }
}

#[test]
fn a_healthy_host_passes_all_checks() {
    let host = TestHost::new();
    assert_eq!(host.findings(), []);
    let findings: Vec<Finding> =
        examine(&host.world, &host.observed).iter().map(FindingKind::render).collect();
    assert_eq!(
        findings.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
        CHECKS.iter().map(|it| it.id).collect::<Vec<_>>()
    );
    assert_eq!(worst(&findings), Severity::Ok);
}

#[test]
fn each_check_is_documented() {
    let text = include_str!("../../../../docs/reference/doctor.md");
    let (_, table) = text.split_once("## The checks").unwrap();
    let (table, _) = table.split_once("## Containers of other engines").unwrap();
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(rows, ids, "docs/reference/doctor.md has a row for each check, in their order");
}

#[test]
fn a_check_that_cannot_be_carried_out_is_unknown() {
    let mut host = TestHost::new();
    let reason = "operation not permitted".to_owned();
    host.observed.not_examined.insert("firewall", reason.clone());
    assert_eq!(host.only(), FindingKind::NotExamined { id: "firewall", reason });
    let message = "cannot examine this: operation not permitted";
    host.assert("firewall", Severity::Unknown, message, "");
    assert_eq!(worst(&[host.rendered()]), Severity::Unknown);
}

#[test]
fn without_a_daemon_only_the_host_is_examined() {
    let mut host = TestHost::new();
    host.observed.daemon = false;
    host.observed.drift = vec!["only a daemon can report this".to_owned()];
    assert_eq!(host.only(), FindingKind::Daemon(DaemonFinding::NotRunning { installed: true }));
    let judged = examine(&World::default(), &host.observed).len();
    assert_eq!(judged, CHECKS.iter().filter(|check| !check.needs_daemon).count());
}

#[test]
fn drift_and_leaks_are_fixed_automatically() {
    let automatic = Fix { command: Fix::COMMAND.to_owned(), automatic: true };
    let mut host = TestHost::new();
    host.observed.drift = vec!["the bridge x".into()];
    host.assert("drift", Severity::Warning, "the bridge x", Fix::COMMAND);
    assert_eq!(host.fix(), automatic);
    let mut host = TestHost::new();
    host.observed.leaks = vec!["the bridge y".into()];
    host.assert("leaks", Severity::Warning, "the bridge y", Fix::COMMAND);
    assert_eq!(host.fix(), automatic);
}

#[test]
fn relay_is_killed_if_unresponsive_and_reported_if_unconfined() {
    let mut host = TestHost::new();
    host.observed.relay = RelayState { answers: false, pid: 7, missing: Vec::new() };
    assert_eq!(host.only(), FindingKind::Daemon(DaemonFinding::RelayUnresponsive { pid: 7 }));
    host.assert("relay", Severity::Error, "the relay (process 7) does not answer", "kill -KILL 7");
    assert!(host.fix().automatic);
    let mut host = TestHost::new();
    host.observed.relay.missing = vec![("landlock".to_owned(), "not supported".to_owned())];
    host.assert("relay", Severity::Note, "the relay runs without landlock: not supported", "");
}

#[test]
fn missing_kernel_features_need_modules() {
    let mut host = TestHost::new();
    host.observed.kernel_lacks = Some("the kernel lacks bridges".to_owned());
    let found = host.rendered();
    assert_eq!((found.severity, found.message.as_str()), (Severity::Error, "the kernel lacks bridges"));
    assert!(host.fix().command.starts_with("modprobe -a bridge veth nf_tables"));
}

#[test]
fn few_repairs_are_a_note_and_many_a_warning() {
    let mut host = TestHost::new();
    host.observed.now = 2_000_000_000_000;
    let ago = |seconds: i64| (2_000_000_000_000 - seconds * 1_000_000_000, "the bridge".to_owned());
    host.observed.repairs = vec![ago(601)];
    assert_eq!(host.findings(), [], "repairs of more than ten minutes ago are ignored");
    host.observed.repairs = vec![ago(601), ago(3)];
    let last = "the bridge".to_owned();
    let one = DaemonFinding::Repaired { repairs: 1, seconds_ago: 3, last };
    assert_eq!(host.only(), FindingKind::Daemon(one));
    let command = "fairway events --since 10m --until 0s --filter type=daemon";
    let message =
        "the daemon repaired 1 object in the last 10 minutes, most recently 3 seconds ago: the bridge";
    host.assert("healing", Severity::Note, message, command);
    host.observed.repairs = vec![ago(9), ago(7), ago(4), ago(1)];
    let message =
        "the daemon repaired 4 objects in the last 10 minutes, most recently 1 second ago: the bridge";
    host.assert("healing", Severity::Warning, message, command);
}

#[test]
fn published_ports_that_another_process_holds() {
    let mut host = TestHost::new();
    let port = UnheldPort {
        protocol: Protocol::Tcp,
        address: "0.0.0.0:40000".parse().unwrap(),
        sandbox: "p".to_owned(),
        holder: Some((812, "nginx".to_owned())),
    };
    host.observed.unheld_ports = vec![port.clone()];
    assert_eq!(host.only(), FindingKind::Port(PortFinding::NotHeld(port.clone())));
    let held = "0.0.0.0:40000/tcp, published for p, is held by nginx (process 812)";
    host.assert("ports", Severity::Error, held, "kill 812");
    host.observed.unheld_ports = vec![UnheldPort { holder: None, ..port }];
    assert_eq!(host.fix(), Fix { command: Fix::COMMAND.to_owned(), automatic: true });
}

#[test]
fn conntrack_limit() {
    let mut host = TestHost::new();
    let usage = |used| Usage { used, limit: 1000 };
    host.observed.connections = Some(usage(799));
    assert_eq!(host.findings(), []);
    host.observed.connections = Some(usage(800));
    assert_eq!(host.only(), FindingKind::Limit(LimitFinding::Conntrack(usage(800))));
    let command = "sysctl -w net.netfilter.nf_conntrack_max=2000";
    host.assert("conntrack", Severity::Warning, "800 of 1000 connections are tracked (80 %)", command);
    host.observed.connections = Some(usage(1000));
    assert_eq!(host.rendered().severity, Severity::Error);
}

#[test]
fn neighbor_table_limit() {
    let mut host = TestHost::new();
    let usage = |used| Usage { used, limit: 1024 };
    host.observed.neighbors = [Some(usage(10)), Some(usage(800))];
    assert_eq!(host.findings(), []);
    host.observed.neighbors = [Some(usage(1000)), None];
    let neighbors = LimitFinding::Neighbors { family: "ipv4", entries: usage(1000) };
    assert_eq!(host.only(), FindingKind::Limit(neighbors));
    let command = "sysctl -w net.ipv4.neigh.default.gc_thresh3=4096 net.ipv4.neigh.default.gc_thresh2=2048";
    let message = "1000 of 1024 entries of the ipv4 neighbor table are in use";
    host.assert("neighbors", Severity::Warning, message, command);
}

#[test]
fn space_for_store_and_logs() {
    let mut host = TestHost::new();
    let left = |bytes| Some(("/var/lib/fairway".to_owned(), bytes));
    host.observed.data_root = left(16 << 20);
    assert_eq!(host.findings(), []);
    for (bytes, severity, message) in [
        (100 << 10, Severity::Warning, "the file system of /var/lib/fairway has 100 KiB left"),
        (0, Severity::Error, "the file system of /var/lib/fairway has 0 KiB left"),
    ] {
        host.observed.data_root = left(bytes);
        host.assert(
            "space",
            severity,
            message,
            "du -xh --max-depth=1 /var/lib/fairway; fairway system prune",
        );
    }
}

#[test]
fn descriptor_limit_of_the_daemon() {
    let mut host = TestHost::new();
    let open = |used| Some(Descriptors { pid: 5, open: Usage { used, limit: 1024 }, hard: 4096 });
    host.observed.descriptors = open(20);
    assert_eq!(host.findings(), []);
    host.observed.descriptors = open(900);
    let message = "the daemon has 900 of 1024 file descriptors open";
    host.assert("descriptors", Severity::Warning, message, "prlimit --pid 5 --nofile=4096:4096");
    host.observed.descriptors = open(900).map(|it| Descriptors { hard: 1024, ..it });
    assert_eq!(host.fix().command, "prlimit --pid 5 --nofile=262144:262144");
}

#[test]
fn port_limit_of_a_bridge() {
    let mut host = TestHost::new();
    let ports = |count: u32| {
        (5..5 + count).map(|index| LinkState { bridge: Some(3), ..link(index, "port", "fe80::1/64") })
    };
    host.observed.links.extend(ports(919));
    assert_eq!(host.findings(), []);
    let message = format!("921 of the 1023 ports of bridge {} are in use", host.bridge());
    host.observed.links.extend(ports(1));
    host.assert("bridge-ports", Severity::Warning, &message, "fairway network create web-2");
    host.observed.links.extend(ports(102));
    assert_eq!(host.rendered().severity, Severity::Error);
}

#[test]
fn subnets_of_the_address_pools() {
    let pool = fairway_model::AddressPool { base: "10.9.0.0/21".parse().unwrap(), size: 24 };
    let mut host = TestHost::with(Settings { address_pools: vec![pool], ..Settings::default() });
    host.network("a", |_| {});
    host.network("b", |_| {});
    host.network("c", |_| {});
    assert_eq!(host.findings(), []);
    host.network("d", |_| {});
    let unused = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    assert_eq!(host.only(), FindingKind::Limit(LimitFinding::Subnets { remaining: 2, unused }));
    let message = "the address pools have only 2 subnets left; no sandbox uses a, b, c, d";
    host.assert("subnets", Severity::Warning, message, "fairway network prune --force");
    ["e", "f"].into_iter().for_each(|name| host.network(name, |_| {}));
    assert_eq!(host.rendered().severity, Severity::Error);
}

#[test]
fn addresses_of_a_network() {
    let mut host = TestHost::new();
    let subnet = SubnetRequest { subnet: "10.8.0.0/29".parse().ok(), ..SubnetRequest::default() };
    host.network("small", |request| request.subnets = vec![subnet]);
    for (number, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        host.sandbox(name, "small", 8000 + number as u16);
    }
    assert_eq!(host.findings(), []);
    host.sandbox("e", "small", 8010);
    let message = "5 of the 5 addresses in 10.8.0.0/29 are in use on network small";
    host.assert("addresses", Severity::Error, message, "fairway network create small-2");
}
