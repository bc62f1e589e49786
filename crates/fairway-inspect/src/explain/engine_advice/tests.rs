use std::net::IpAddr;

use super::rule_owner::{RuleOwner, owner_of};
use super::{EngineWords, KnownContainer, KnownNetwork, KnownPort, engine_advice};
use crate::explain::{Peer, Query};
use fairway_model::{MacvlanMode, PortRange, Protocol};
use fairway_ruleset::{Chain, Family, Hook, Table, Verdict};
use fairway_walk::{
    ConnectionWalk, DiscardReason, End, Interface, Listener, MacvlanParent, NamespaceId, PacketWalk, RuleHit,
    Step, Topology, Tuple, add_interface, empty_namespace,
};

const HOST: NamespaceId = NamespaceId::HOST;
const WEB: NamespaceId = NamespaceId(1);
const DB: NamespaceId = NamespaceId(2);
const POD: NamespaceId = NamespaceId(3);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn topology() -> Topology {
    let namespace = |name: &str, net: &str| {
        let mut namespace = empty_namespace(name);
        let interface = Interface {
            index: 2,
            name: "eth0".to_owned(),
            up: true,
            addresses: vec![net.parse().unwrap()],
            ..Interface::default()
        };
        add_interface(&mut namespace, interface);
        namespace
    };
    let all =
        [("host", "10.0.0.1/24"), ("web", "172.17.0.2/16"), ("db", "172.18.0.2/16"), ("pod", "10.88.0.2/16")];
    Topology { namespaces: all.map(|(name, net)| namespace(name, net)).into() }
}

fn container(
    engine: EngineWords,
    place: NamespaceId,
    name: &str,
    network: &str,
    own: &str,
) -> KnownContainer {
    let network = KnownNetwork { name: network.to_owned(), addresses: vec![address(own)] };
    KnownContainer {
        engine,
        engine_name: format!("{engine:?}"),
        name: name.to_owned(),
        namespace: Some(place),
        networks: vec![network],
        ports: Vec::new(),
    }
}

/// Two containers of Docker on networks of their own, of which one publishes port 80 at 8080 and port 90 at loopback, and
/// one of podman.
fn containers() -> Vec<KnownContainer> {
    let mut web = container(EngineWords::Docker, WEB, "web", "bridge", "172.17.0.2");
    let port = |host: &str, outside, inside| KnownPort {
        protocol: Protocol::Tcp,
        host_address: address(host),
        host_ports: PortRange::single(outside),
        container_port: Some(inside),
    };
    web.ports.extend([port("0.0.0.0", 8080, 80), port("127.0.0.1", 9090, 90)]);
    let db = container(EngineWords::Docker, DB, "db", "app", "172.18.0.2");
    vec![web, db, container(EngineWords::Podman, POD, "pod", "podman", "10.88.0.2")]
}

fn hit(family: Family, table: &str, chain: &str, place: Option<usize>) -> RuleHit {
    RuleHit {
        family,
        legacy: false,
        table: table.to_owned(),
        chain: chain.to_owned(),
        rule: place.map(|_| "-j DROP".to_owned()),
        comment: None,
        handle: place.map(|_| 7),
        place,
        element: None,
        actions: Vec::new(),
        verdict: Some(Verdict::Drop),
    }
}

fn tuple(to: &str, port: u16) -> Tuple {
    Tuple {
        protocol: if port == 0 { 1 } else { 6 },
        source: address("172.18.0.2"),
        destination: address(to),
        source_port: 40_000,
        destination_port: port,
    }
}

/// The advice for a first packet that ends so.
fn advised(
    from: Peer,
    to: Peer,
    packet: Tuple,
    hook: Hook,
    end: End,
    waiting: &[Listener],
) -> Option<String> {
    advised_in(&topology(), (from, to), packet, hook, end, waiting)
}

fn advised_in(
    topology: &Topology,
    (from, to): (Peer, Peer),
    packet: Tuple,
    hook: Hook,
    end: End,
    waiting: &[Listener],
) -> Option<String> {
    let hits = match &end {
        End::Dropped { by, .. } => vec![(**by).clone()],
        _ => Vec::new(),
    };
    let arrives = Step::Arrives { namespace: HOST, interface: "br-app".to_owned(), tuple: packet };
    let chain = Step::Chain {
        namespace: HOST,
        hook,
        bridged: false,
        priority: 0,
        family: Family::Ip,
        table: "filter".to_owned(),
        legacy: false,
        chain: "FORWARD".to_owned(),
        hits,
    };
    let first = PacketWalk { steps: vec![arrives, chain], counted: Vec::new(), end };
    let walk = ConnectionWalk {
        first,
        reply: None,
        established: None,
        next_reply: None,
        refusal: None,
        proxied: None,
    };
    let port = (packet.destination_port != 0).then_some((packet.destination_port, packet.protocol));
    let query = Query::between(from, to, port, None);
    engine_advice(&containers(), topology, &query, &walk, waiting)
}

fn dropped(from: Peer, to: Peer, packet: Tuple, by: RuleHit) -> String {
    let hook = if by.chain.contains("input") { Hook::Input } else { Hook::Forward };
    advised(from, to, packet, hook, End::Dropped { namespace: HOST, by: Box::new(by) }, &[]).unwrap()
}

#[test]
fn the_owner_of_a_rule_is_known_by_its_chain_or_table() {
    for (family, table, chain, place, owner) in [
        (Family::Ip, "filter", "DOCKER-ISOLATION-STAGE-2", Some(0), RuleOwner::Docker),
        (Family::Ip, "filter", "DOCKER-INTERNAL", Some(0), RuleOwner::Docker),
        (Family::Ip, "filter", "DOCKER", Some(3), RuleOwner::Docker),
        (Family::Ip, "docker-bridges", "filter-forward-in__docker0", Some(3), RuleOwner::Docker),
        (Family::Ip, "filter", "DOCKER-USER", Some(0), RuleOwner::Other),
        (Family::Inet, "netavark", "NETAVARK-ISOLATION-2", Some(0), RuleOwner::Netavark),
        (Family::Ip, "filter", "NETAVARK_ISOLATION_3", Some(0), RuleOwner::Netavark),
        (Family::Ip, "filter", "CNI-ISOLATION-STAGE-2", Some(0), RuleOwner::Cni),
        (Family::Ip, "filter", "ufw-user-input", Some(0), RuleOwner::Ufw),
        (Family::Ip6, "filter", "ufw6-reject-forward", Some(0), RuleOwner::Ufw),
        (Family::Inet, "firewalld", "filter_FORWARD", Some(9), RuleOwner::Firewalld),
        (Family::Ip, "filter", "FWDI_public_deny", Some(0), RuleOwner::Firewalld),
        (Family::Ip, "filter", "KUBE-FORWARD", Some(0), RuleOwner::Kubernetes),
        (Family::Ip, "filter", "cali-tw-cali12", Some(0), RuleOwner::Kubernetes),
        (Family::Ip, "filter", "FORWARD", None, RuleOwner::ForwardPolicy),
        (Family::Ip, "filter", "FORWARD", Some(2), RuleOwner::Other),
        (Family::Inet, "mine", "forward", Some(0), RuleOwner::Other),
        (Family::Inet, "fairway", "network-in", Some(0), RuleOwner::Fairway),
    ] {
        assert_eq!(owner_of(&hit(family, table, chain, place)), owner, "{table} {chain}");
    }
}

#[test]
fn isolation_of_an_engine_is_overcome_by_its_own_commands() {
    let isolated = || hit(Family::Ip, "filter", "DOCKER-ISOLATION-STAGE-2", Some(0));
    let said = dropped(Peer::Namespace(DB), Peer::Namespace(WEB), tuple("172.17.0.2", 80), isolated());
    assert_eq!(
        said,
        "Docker keeps its networks apart, and opens only published ports: docker network connect bridge db; or its port 80 is published: ask the host's address, port 8080"
    );
    let said = dropped(Peer::Namespace(DB), Peer::Namespace(WEB), tuple("172.17.0.2", 90), isolated());
    assert!(
        said.ends_with("is published at 127.0.0.1:9090 alone, which only the host itself reaches"),
        "{said}"
    );
    let said = dropped(
        Peer::Namespace(WEB),
        Peer::Address(address("172.18.0.2")),
        tuple("172.18.0.2", 5432),
        isolated(),
    );
    assert!(said.contains("docker network connect app web; or its port 5432 is not published"), "{said}");
    assert!(said.contains("docker rm -f db && docker run -p 5432:5432 --name db ..."), "{said}");
    let said = dropped(Peer::Namespace(WEB), Peer::Namespace(DB), tuple("172.18.0.2", 0), isolated());
    assert!(said.contains("docker network connect app web; or only published ports"), "{said}");
    // Of another engine it has no network to join.
    let said = dropped(Peer::Namespace(POD), Peer::Namespace(WEB), tuple("172.17.0.2", 80), isolated());
    assert!(!said.contains("network connect"), "{said}");
}

#[test]
fn no_rule_of_an_engine_is_ever_deleted() {
    for chain in [
        "DOCKER-ISOLATION-STAGE-2",
        "DOCKER",
        "NETAVARK_ISOLATION_3",
        "CNI-ISOLATION-STAGE-2",
        "KUBE-FORWARD",
    ] {
        let by = hit(Family::Ip, "filter", chain, Some(0));
        let said = dropped(Peer::Namespace(DB), Peer::Namespace(WEB), tuple("172.17.0.2", 80), by);
        assert!(!said.contains("-D ") && !said.contains("delete"), "{chain}: {said}");
    }
}

#[test]
fn firewalls_are_changed_by_their_own_commands() {
    let ends = || (Peer::Lan(None), Peer::Namespace(POD));
    let ask = |by| {
        let (from, to) = ends();
        dropped(from, to, tuple("10.88.0.2", 80), by)
    };
    assert_eq!(
        ask(hit(Family::Ip, "filter", "ufw-reject-forward", Some(0))),
        "ufw drops what is forwarded: ufw route allow proto tcp from any to 10.88.0.2 port 80"
    );
    assert_eq!(
        ask(hit(Family::Ip, "filter", "ufw-user-input", Some(0))),
        "ufw drops what comes to the host: ufw allow proto tcp from any to 10.88.0.2 port 80"
    );
    let said = ask(hit(Family::Inet, "firewalld", "filter_FORWARD", Some(0)));
    assert!(said.contains("firewall-cmd --zone=trusted --change-interface=BRIDGE"), "{said}");
    let said = ask(hit(Family::Inet, "firewalld", "filter_input", Some(0)));
    assert_eq!(said, "firewalld drops what comes to the host: firewall-cmd --add-port=80/tcp");
    let mine = ask(hit(Family::Inet, "mine", "forward", Some(0)));
    assert_eq!(mine, "that is a rule of this host's firewall: nft delete rule inet mine forward handle 7");
    let user = ask(hit(Family::Ip, "filter", "DOCKER-USER", Some(4)));
    assert_eq!(user, "that is a rule of this host's firewall: iptables -D DOCKER-USER 5");
}

#[test]
fn a_policy_that_drops_is_opened_for_one_destination() {
    let policy = || hit(Family::Ip, "filter", "FORWARD", None);
    let said = dropped(Peer::Lan(None), Peer::Namespace(POD), tuple("10.88.0.2", 80), policy());
    assert_eq!(
        said,
        "this host has set the policy of FORWARD to DROP, and no rule accepts it: iptables -I FORWARD -d 10.88.0.2 -p tcp --dport 80 -j ACCEPT && iptables -I FORWARD -s 10.88.0.2 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    );
    // For a container of Docker it means that the port is not published.
    let said = dropped(Peer::Lan(None), Peer::Namespace(WEB), tuple("172.17.0.2", 80), policy());
    assert_eq!(
        said,
        "no rule lets it forward to web: its port 80 is published: ask the host's address, port 8080"
    );
}

#[test]
fn with_docker_on_the_host_its_users_chain_is_opened() {
    let mut topology = topology();
    let mut table = Table::new(Family::Ip, "filter");
    table.chains.push(Chain::regular("DOCKER-USER"));
    topology[HOST].tables.push(table);
    let by = Box::new(hit(Family::Ip, "filter", "FORWARD", None));
    let arrives =
        Step::Arrives { namespace: HOST, interface: "eth0".to_owned(), tuple: tuple("10.88.0.2", 80) };
    let first =
        PacketWalk { steps: vec![arrives], counted: Vec::new(), end: End::Dropped { namespace: HOST, by } };
    let walk = ConnectionWalk {
        first,
        reply: None,
        established: None,
        next_reply: None,
        refusal: None,
        proxied: None,
    };
    let query = Query::between(Peer::Lan(None), Peer::Namespace(POD), Some((80, 6)), None);
    let said = engine_advice(&containers(), &topology, &query, &walk, &[]).unwrap();
    assert!(said.starts_with("Docker has set the policy of FORWARD to DROP"), "{said}");
    assert!(said.contains("iptables -I DOCKER-USER -d 10.88.0.2 -p tcp --dport 80 -j ACCEPT"), "{said}");
}

#[test]
fn a_port_without_a_listener_is_published_or_asked_elsewhere() {
    let ask = |port, waiting: &[Listener]| {
        let packet = tuple("10.0.0.1", port);
        let end = End::NoListener { namespace: HOST, tuple: packet };
        advised(Peer::Namespace(DB), Peer::Host, packet, Hook::Input, end, waiting).unwrap()
    };
    assert_eq!(
        ask(9090, &[]),
        "port 9090 is published for web at 127.0.0.1 alone, which only the host itself reaches: publish it at all addresses"
    );
    assert_eq!(
        ask(9000, &[]),
        "start something that listens there, or publish a container's port: docker run -p 9000:PORT ..."
    );
    assert!(
        ask(8080, &[])
            .starts_with("port 8080 is published for web, and neither a rule nor a proxy forwards it")
    );
    let loopback = Listener {
        protocol: 6,
        address: address("127.0.0.1"),
        port: 9000,
        both_families: false,
        interface: None,
        held: false,
        owner: "nginx".to_owned(),
        proxy: None,
    };
    assert!(
        ask(9000, &[loopback])
            .starts_with("what listens at port 9000 of the host does so at 127.0.0.1 alone")
    );
}

#[test]
fn a_container_without_a_route_joins_the_network_of_the_other() {
    let end = |namespace| End::NoRoute { namespace, destination: address("172.17.0.2"), by: None };
    let ask = |from, place| {
        advised(
            Peer::Namespace(from),
            Peer::Namespace(WEB),
            tuple("172.17.0.2", 80),
            Hook::Output,
            end(place),
            &[],
        )
    };
    assert_eq!(ask(DB, DB).unwrap(), "db has no route there: docker network connect bridge db");
    assert_eq!(ask(DB, HOST).unwrap(), "ip route add 172.17.0.2 via ROUTER");
}

#[test]
fn what_the_kernel_discards_is_explained_by_its_sysctl_or_link() {
    let ask = |namespace, reason| {
        let end = End::Discarded { namespace, reason };
        advised(Peer::Namespace(DB), Peer::Namespace(WEB), tuple("172.17.0.2", 80), Hook::Forward, end, &[])
    };
    let forwarding = DiscardReason::NotForwarding { destination: address("172.17.0.2"), interface: None };
    assert_eq!(ask(HOST, forwarding.clone()).unwrap(), "sysctl -w net.ipv4.ip_forward=1");
    assert_eq!(ask(DB, forwarding).unwrap(), "in db: sysctl -w net.ipv4.ip_forward=1");
    assert_eq!(ask(HOST, DiscardReason::OutputDown("br0".to_owned())).unwrap(), "ip link set dev br0 up");
    assert_eq!(ask(HOST, DiscardReason::Blackhole), None);
}

#[test]
fn a_container_on_a_macvlan_is_past_the_host() {
    let mut topology = topology();
    let on = MacvlanParent { namespace: HOST, parent: 2, mode: MacvlanMode::Bridge };
    topology.change_interface((WEB, 2), |it| it.macvlan_parent = Some(on));
    let next = address("172.17.0.2");
    let end = End::NoNeighbor { namespace: HOST, interface: "eth0".to_owned(), next, silence: None };
    let (from, to) = (Peer::Host, Peer::Namespace(WEB));
    let advice = advised_in(&topology, (from, to), tuple("172.17.0.2", 80), Hook::Output, end, &[]).unwrap();
    let connect = "docker network connect NETWORK web, with one that has a bridge";
    assert!(advice.starts_with("web is on a macvlan") && advice.ends_with(connect), "{advice}");
}

#[test]
fn an_address_that_is_gone_is_named() {
    let ask = |next: &str| {
        let interface = "docker0".to_owned();
        let end = End::NoNeighbor { namespace: HOST, interface, next: address(next), silence: None };
        advised(Peer::Host, Peer::Address(address(next)), tuple(next, 80), Hook::Output, end, &[]).unwrap()
    };
    assert!(ask("172.17.0.2").starts_with("172.17.0.2 is recorded for web"));
    assert!(ask("172.17.0.9").starts_with("no container has 172.17.0.9 now"));
}
