mod networks;

use super::*;
use crate::explain::Resolved;
use crate::tests::matrix_world::{DaemonFlags, MatrixWorld, add_table};
use fairway_core::plan::plan;
use fairway_core::world::{Command, CreateNetwork};
use fairway_model::{PortRange, Protocol, PublishRequest};
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Policy, Rule, Table, priority, rule};
use fairway_walk::{NamespaceId, NetworkNamespace, Proxy, Topology, walk_connection};

/// The advice for a query in a topology, or the outcome if there is no advice.
fn advised(stage: &MatrixWorld, topology: &Topology, from: &str, to: &str) -> String {
    let world = stage.world();
    let query = Query::parse(world, &plan(world), from, to).unwrap();
    let Resolved { origin, tuple } = query.resolve(world, topology).unwrap();
    let connection = walk_connection(topology, origin, tuple, Proxy { user: Some(61_137) });
    let waiting = match connection.last_end() {
        End::NoListener { namespace, .. } => Some(&topology[*namespace]),
        _ => None,
    };
    let waiting = waiting.map(|namespace| namespace.listeners.clone()).unwrap_or_default();
    advice(world, &query, topology, &connection, &waiting).unwrap_or_else(|| connection.sentence(topology))
}

fn advised_by_default(mode: DaemonFlags, from: &str, to: &str) -> String {
    let stage = MatrixWorld::new(mode);
    advised(&stage, &stage.topology(true), from, to)
}

#[test]
fn a_sender_on_another_network_may_join_it_or_use_a_published_port() {
    assert_eq!(
        advised_by_default(DaemonFlags::DOCKER_DEFAULTS, "o1", "u1:80"),
        "fairway network connect usr o1; or its port 80 is published: ask the host's address, port 8081"
    );
    assert_eq!(
        advised_by_default(DaemonFlags::DOCKER_DEFAULTS, "o1", "u1:81"),
        "fairway network connect usr o1; or fairway publish u1 81:81, and use the host's address"
    );
    assert_eq!(
        advised_by_default(DaemonFlags::DOCKER_DEFAULTS, "o1", "u2:53/udp"),
        "fairway network connect usr o1; or fairway publish u2 53:53/udp, and use the host's address"
    );
    assert_eq!(
        advised_by_default(DaemonFlags::DOCKER_DEFAULTS, "o1", "u2"),
        "fairway network connect usr o1"
    );
    assert_eq!(
        advised_by_default(DaemonFlags::DOCKER_DEFAULTS, "lan:10.10.50.1", "172.18.0.2:80"),
        "its port 80 is published: ask the host's address, port 8081"
    );
    assert_eq!(
        advised_by_default(DaemonFlags::DOCKER_DEFAULTS, "u1", "u2:80"),
        "It is answered; the server sees 172.18.0.2."
    );
}

#[test]
fn internal_networks_are_named() {
    let mut stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let inner = CreateNetwork { name: "inner".to_owned(), internal: true, ..CreateNetwork::default() };
    stage.apply(Command::CreateNetwork(inner));
    stage.attach("i1", "inner");
    let topology = stage.topology(true);
    assert_eq!(
        advised(&stage, &topology, "i1", "u1:80"),
        "the network inner is internal: fairway network connect usr i1"
    );
    assert_eq!(
        advised(&stage, &topology, "i1", "10.10.50.1:80"),
        "the network inner is internal: fairway network connect bridge i1"
    );
    assert_eq!(
        advised(&stage, &topology, "u1", "i1:80"),
        "the network inner is internal: fairway network connect inner u1; or fairway network connect bridge i1, and publish the port"
    );
}

#[test]
fn sandboxes_without_icc_may_share_another_network() {
    let mut stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let off = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
    let options = [off].into();
    let apart = CreateNetwork { name: "apart".to_owned(), options, ..CreateNetwork::default() };
    stage.apply(Command::CreateNetwork(apart));
    stage.attach("a1", "apart");
    stage.attach("a2", "apart");
    let advice = advised(&stage, &stage.topology(true), "a1", "a2:80");
    assert!(advice.starts_with("the containers of apart are kept apart (icc): "), "{advice}");
    // On that network `--link` only adds a name.
    assert!(!advice.contains("--link"), "{advice}");
}

/// A topology with a foreign table.
fn with_foreign_table(stage: &MatrixWorld, family: Family, table: &str, chain: Chain) -> Topology {
    let mut topology = stage.topology(true);
    add_table(&mut topology, NamespaceId::HOST, family, table, chain);
    topology
}

#[test]
fn foreign_rules_are_named_with_the_command_that_removes_them() {
    let stage = MatrixWorld::new(DaemonFlags::TRANSLATED);
    let ask = |topology: &Topology, to: &str| advised(&stage, topology, "lan:10.10.50.1", to);
    let chain = |name: &str, hook| Chain::base(name, ChainKind::Filter, hook, priority::FILTER);
    let dropping = |handle| Rule { handle, ..rule().to_port(Protocol::Tcp, 80).drop().into() };
    let kept = || -> Rule { rule().to_port(Protocol::Tcp, 22).drop().into() };

    let rules = [kept(), dropping(Some(12))];
    let topology =
        with_foreign_table(&stage, Family::Inet, "mine", chain("forward", Hook::Forward).with(rules.clone()));
    assert_eq!(
        ask(&topology, "10.10.50.99:8081"),
        "that is another firewall's rule: nft delete rule inet mine forward handle 12; or run the daemon with --firewall-integration"
    );
    let topology =
        with_foreign_table(&stage, Family::Ip, "filter", chain("FORWARD", Hook::Forward).with(rules));
    assert_eq!(
        ask(&topology, "10.10.50.99:8081"),
        "that is another firewall's rule: iptables -D FORWARD 2; or run the daemon with --firewall-integration"
    );
    let policy = |mut chain: Chain| {
        if let Some(base) = &mut chain.base {
            base.policy = Policy::Drop;
        }
        chain
    };
    let topology = with_foreign_table(&stage, Family::Ip, "filter", policy(chain("FORWARD", Hook::Forward)));
    assert_eq!(
        ask(&topology, "10.10.50.99:8081"),
        "that is another firewall's policy: iptables -P FORWARD ACCEPT; or run the daemon with --firewall-integration"
    );
    let topology = with_foreign_table(&stage, Family::Inet, "mine", policy(chain("input", Hook::Input)));
    assert_eq!(
        ask(&topology, "10.10.50.99:8082"),
        "that is another firewall's policy: nft 'chain inet mine input { policy accept; }'"
    );
    let topology = with_foreign_table(
        &stage,
        Family::Ip,
        "filter",
        chain("FAIRWAY-USER", Hook::Forward).with([dropping(Some(3))]),
    );
    assert_eq!(
        ask(&topology, "10.10.50.99:8081"),
        "that is another firewall's rule: iptables -D FAIRWAY-USER 1; or run the daemon with --firewall-integration"
    );

    // The rule of a sandbox's own table is removed in the sandbox.
    let mut topology = stage.topology(true);
    let mut theirs = Table::new(Family::Inet, "own");
    theirs.chains.push(chain("input", Hook::Input).with([dropping(Some(2))]));
    let inside = topology.namespaces.iter_mut().find(|namespace| namespace.name == "u1").unwrap();
    inside.tables.push(theirs);
    assert_eq!(
        ask(&topology, "10.10.50.99:8081"),
        "that is another firewall's rule: nsenter --net=/u1 nft delete rule inet own input handle 2"
    );
}

#[test]
fn sysctls_that_drop_packets_are_named() {
    let shut = DaemonFlags { route_localnet: false, ..DaemonFlags::TRANSLATED };
    let stage = MatrixWorld::new(shut);
    let bridge = &stage.world().find_network("usr").unwrap().bridge;
    assert_eq!(
        advised(&stage, &stage.topology(false), "host", "127.0.0.1:8081"),
        format!(
            "use another address of the host; or sysctl -w net.ipv4.conf.{bridge}.route_localnet=1; or run the daemon with --userland-proxy=true"
        )
    );
    let change = |change: fn(&mut NetworkNamespace)| {
        let stage = MatrixWorld::new(DaemonFlags::TRANSLATED);
        let mut topology = stage.topology(true);
        change(&mut topology.namespaces[0]);
        advised(&stage, &topology, "lan:10.10.50.1", "10.10.50.99:8081")
    };
    assert_eq!(
        change(|host| host.interfaces.iter_mut().for_each(|it| it.forwarding = (false, false))),
        "sysctl -w net.ipv4.ip_forward=1, or run the daemon with --ip-forward=true"
    );
    assert_eq!(
        change(|host| {
            host.interfaces[1].reverse_path = 1;
            host.routes.retain(|route| route.gateway.is_none() && !route.destination.contains(&LAN));
        }),
        "the kernel expects that source elsewhere: give it a route by eth0, or sysctl -w net.ipv4.conf.eth0.rp_filter=2"
    );
}

const LAN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 50, 1));

#[test]
fn sockets_at_other_addresses_and_ports_are_named() {
    let mut stage = MatrixWorld::new(DaemonFlags::TRANSLATED);
    let request = PublishRequest {
        host_address: Some("127.0.0.1".parse().unwrap()),
        host_ports: Some(PortRange::single(8090)),
        container_ports: PortRange::single(80),
        protocol: Protocol::Tcp,
    };
    let requests = vec![request];
    stage.apply(Command::Publish { sandbox: "u1".to_owned(), requests });
    let mut topology = stage.topology(true);
    // The hosts of the LAN are not known, as on real hosts.
    topology.namespaces[0].interfaces[1].peer = None;
    let ask = |topology: &Topology, from: &str, to: &str| advised(&stage, topology, from, to);
    assert_eq!(
        ask(&topology, "lan:10.10.50.1", "10.10.50.99:8090"),
        "port 8090 is published for u1 at 127.0.0.1 alone, which only the host itself reaches: fairway publish u1 10.10.50.99:8090:80"
    );
    assert_eq!(
        ask(&topology, "lan:10.10.50.1", "10.10.50.99:9999"),
        "start something that listens there, or publish a container's port: fairway publish CONTAINER 9999:PORT"
    );
    assert_eq!(
        ask(&topology, "u2", "u1:81"),
        "have the program in u1 listen at 172.18.0.2 or at all addresses, port 81; it listens at 80"
    );
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    for namespace in &mut topology.namespaces {
        namespace.listeners.iter_mut().filter(|it| it.proxy.is_none()).for_each(|it| it.address = loopback);
        namespace.listeners.iter_mut().for_each(|it| it.both_families = false);
    }
    assert_eq!(
        ask(&topology, "u2", "u1:80"),
        "what listens at port 80 in u1 does so at 127.0.0.1 alone: have it listen at 172.18.0.2 or at all addresses"
    );
    assert_eq!(
        ask(&topology, "lan:10.10.50.1", "10.10.50.99:8082"),
        "what listens at port 8082 of the host does so at 127.0.0.1 alone, which only the host itself reaches: have it listen at 10.10.50.99 or at all addresses"
    );
    assert_eq!(
        ask(&topology, "host", "10.10.50.99:8082"),
        "what listens at port 8082 of the host does so at 127.0.0.1 alone: ask there, or have it listen at 10.10.50.99 or at all addresses"
    );
}

#[test]
fn reasons_of_the_kernel_have_their_own_advice() {
    let stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let topology = stage.topology(false);
    let host = Location::new(stage.world(), &topology, NamespaceId::HOST);
    let advice = |reason: &DiscardReason| discarded(&host, reason).unwrap_or_default();
    let link_local = DiscardReason::LinkLocalSource("fe80::1".parse().unwrap());
    assert!(advice(&link_local).starts_with("ask from a global address"), "{}", advice(&link_local));
    let down = DiscardReason::OutputDown("eth 0".to_owned());
    assert_eq!(advice(&down), "ip link set dev 'eth 0' up");
    let arrives = |address: &str| DiscardReason::LoopbackArrives {
        address: address.parse().unwrap(),
        is_source: false,
        interface: "eth0.1".to_owned(),
    };
    let loopback = advice(&arrives("127.0.0.1"));
    assert!(loopback.contains("; or sysctl -w net/ipv4/conf/eth0.1/route_localnet=1; or"), "{loopback}");
    assert_eq!(advice(&arrives("::1")), "", "IPv6 has no such sysctl");
}

/// Publishes port 80 of u1.
fn publish(stage: &mut MatrixWorld, address: Option<&str>, port: Option<u16>) {
    let request = PublishRequest {
        host_address: address.map(|text| text.parse().unwrap()),
        host_ports: port.map(PortRange::single),
        container_ports: PortRange::single(80),
        protocol: Protocol::Tcp,
    };
    stage.apply(Command::Publish { sandbox: "u1".to_owned(), requests: vec![request] });
}

#[test]
fn a_port_at_a_missing_address_is_moved_or_the_address_is_added() {
    let mut stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    publish(&mut stage, Some("10.10.50.98"), Some(8090));
    publish(&mut stage, Some("192.0.2.9"), Some(8090));
    let mut topology = stage.topology(true);
    topology.namespaces[0].interfaces[1].peer = None;
    for from in ["lan:10.10.50.1", "host"] {
        assert_eq!(
            advised(&stage, &topology, from, "10.10.50.98:8090"),
            "port 8090 is published for u1 at 10.10.50.98, which is no address of the host now: ip address add \
             10.10.50.98/24 dev eth0; or fairway unpublish u1 10.10.50.98:8090 && fairway publish u1 8090:80"
        );
    }
    assert_eq!(
        advised(&stage, &topology, "lan:10.10.50.1", "192.0.2.9:8090"),
        "port 8090 is published for u1 at 192.0.2.9, which is no address of the host now: fairway unpublish u1 \
         192.0.2.9:8090 && fairway publish u1 8090:80"
    );
}

#[test]
fn ports_of_routed_networks_are_reached_at_the_containers_own_address() {
    let mut stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let routed = ("com.docker.network.bridge.gateway_mode_ipv4".to_owned(), "routed".to_owned());
    let open =
        CreateNetwork { name: "open".to_owned(), options: [routed].into(), ..CreateNetwork::default() };
    stage.apply(Command::CreateNetwork(open));
    stage.attach("r1", "open");
    let own = stage.world().find_sandbox("r1").unwrap().id;
    let own = stage.world().direct_addresses(own, true)[0].0;
    let ask = |stage: &MatrixWorld, from: &str, to: &str| {
        let mut topology = stage.topology(true);
        topology.namespaces[0].interfaces[1].peer = None;
        advised(stage, &topology, from, to)
    };
    assert_eq!(ask(&stage, "lan:10.10.50.1", &format!("{own}:80")), "fairway publish r1 80");
    assert_eq!(
        ask(&stage, "u1", "r1:80/udp"),
        "fairway network connect open u1; or fairway publish r1 80/udp"
    );
    let request = PublishRequest {
        host_address: None,
        host_ports: Some(PortRange::single(8090)),
        container_ports: PortRange::single(80),
        protocol: Protocol::Tcp,
    };
    stage.apply(Command::Publish { sandbox: "r1".to_owned(), requests: vec![request] });
    assert_eq!(
        ask(&stage, "lan:10.10.50.1", &format!("{own}:80")),
        "It is answered; the server sees 10.10.50.1."
    );
    assert_eq!(
        ask(&stage, "lan:10.10.50.1", "10.10.50.99:8090"),
        format!("r1 is on a routed network, where no port of the host leads to it: ask {own}:80")
    );
}
