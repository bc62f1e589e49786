//! The host: forwarding, foreign firewalls, MTUs, subnets, name servers.

use std::collections::BTreeMap;

use super::*;
use crate::conflict::{Cause, FirewallConflict, ForeignTable, Owner, Path};
use crate::doctor::remedy::{move_network, recreate_network};
use fairway_model::EndpointRequest;
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Policy, Table};
use fairway_walk::{Route, RouteKind};

#[test]
fn forwarding_that_is_off() {
    let mut host = TestHost::new();
    host.observed.facts.forwarding.0 = false;
    let message = "net/ipv4/ip_forward is 0: the host does not forward IPv4";
    host.assert("forwarding", Severity::Error, message, "sysctl -w net.ipv4.ip_forward=1");
    assert!(host.fix().automatic);
    let mut host = TestHost::with(Settings { ip_forward: false, ..Settings::default() });
    host.observed.facts.forwarding = (false, false);
    let disabled = ForwardingFinding::Disabled {
        sysctl: "net/ipv4/ip_forward",
        family: "IPv4",
        networks: vec!["bridge".to_owned(), "web".to_owned()],
        automatic: false,
    };
    assert_eq!(host.only(), FindingKind::Forwarding(disabled), "no network has IPv6");
}

#[test]
fn forwarding_that_is_off_on_one_interface() {
    let mut host = TestHost::new();
    host.set("net/ipv4/conf/eth0/forwarding", "0");
    let message = "net/ipv4/conf/eth0/forwarding is 0: packets that arrive on eth0 are not forwarded";
    host.assert("forwarding", Severity::Error, message, "sysctl -w net.ipv4.conf.eth0.forwarding=1");
    host.link_mut("eth0").name = "eth0.5".to_owned();
    host.set("net/ipv4/conf/eth0.5/forwarding", "0");
    assert_eq!(host.fix().command, "sysctl -w net/ipv4/conf/eth0.5/forwarding=1");
    let mut host = TestHost::new();
    host.set(&format!("net/ipv4/conf/{}/forwarding", host.bridge()), "0");
    assert!(host.fix().automatic);
}

fn add_foreign_bridge(host: &mut TestHost) {
    let port =
        |index| LinkState { bridge: Some(8), addresses: Vec::new(), ..link(index, "vm", "10.1.1.1/24") };
    let bridge = LinkState { kind: "bridge".to_owned(), ..link(8, "virbr0", "192.168.122.1/24") };
    host.observed.links.extend([bridge, port(9), port(10)]);
}

#[test]
fn foreign_bridges_filtered_by_iptables() {
    let mut host = TestHost::new();
    add_foreign_bridge(&mut host);
    assert_eq!(host.findings(), []);
    host.set("net/bridge/bridge-nf-call-iptables", "1");
    let message = "net/bridge/bridge-nf-call-iptables is 1, and the host has 1 foreign bridge: virbr0";
    let fix = "sysctl -w net.bridge.bridge-nf-call-iptables=0";
    host.assert("bridge-netfilter", Severity::Note, message, fix);
    host.observed.firewall_conflicts = BTreeMap::from([(policy(), vec!["web".to_owned()])]);
    let dropped = FindingKind::Forwarding(ForwardingFinding::ForeignBridgesFiltered {
        sysctls: vec!["net/bridge/bridge-nf-call-iptables"],
        bridges: vec!["virbr0".to_owned()],
        dropped: true,
        needed: false,
    });
    assert_eq!(dropped.render().severity, Severity::Warning);
    assert!(host.findings().contains(&dropped));

    // Docker's bridge relies on the setting: then the fix accepts packets on the foreign bridge.
    let docker0 = LinkState { kind: "bridge".to_owned(), ..link(18, "docker0", "172.31.0.1/16") };
    let port =
        |index| LinkState { bridge: Some(18), addresses: Vec::new(), ..link(index, "ve", "10.1.1.1/24") };
    host.observed.links.extend([docker0, port(19), port(20)]);
    host.observed.firewall_conflicts.clear();
    assert_eq!(host.fix().command, "iptables -I FORWARD -i virbr0 -o virbr0 -j ACCEPT");
    host.observed.links.retain(|link| link.name != "virbr0");
    assert_eq!(host.findings(), []);
}

#[test]
fn bridged_packets_that_iptables_does_not_see() {
    let mut host = TestHost::with(Settings { backend: Backend::Iptables, ..Settings::default() });
    assert!(host.fix().command.starts_with("modprobe br_netfilter && sysctl -w"));
    host.set("net/bridge/bridge-nf-call-iptables", "0");
    host.set("net/bridge/bridge-nf-call-ip6tables", "0");
    assert!(host.fix().command.starts_with("sysctl -w"));
}

#[test]
fn strict_source_checks_on_asymmetric_routes() {
    let route = |destination: &str, interface, metric| Route {
        table: 254,
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: None,
        interface,
        metric,
        source: None,
    };
    let mut host = TestHost::new();
    host.observed.links.push(link(7, "eth1", "10.2.0.2/24"));
    host.observed.routes = vec![route("0.0.0.0/0", 2, 0), route("10.2.0.0/24", 7, 0)];
    host.set("net/ipv4/conf/all/rp_filter", "1");
    assert_eq!(host.findings(), [], "strict rp_filter is fine with symmetric routes");
    host.observed.source_check_drops = 3;
    let message = "rp_filter has dropped 3 packets and is strict on eth1";
    let fix = "sysctl -w net.ipv4.conf.eth1.rp_filter=2";
    host.assert("rp-filter", Severity::Warning, message, fix);
    host.observed.source_check_drops = 0;
    host.observed.routes.push(route("0.0.0.0/0", 7, 100));
    let message = "rp_filter of eth1 is strict, and the better default route is over eth0";
    host.assert("rp-filter", Severity::Warning, message, fix);
    host.set("net/ipv4/conf/eth1/rp_filter", "2");
    assert_eq!(host.findings(), []);
}

#[test]
fn router_advertisements_that_are_ignored() {
    let mut host = TestHost::new();
    host.set("net/ipv6/conf/eth0/accept_ra", "1");
    assert_eq!(host.findings(), [], "no router advertised anything");
    host.link_mut("eth0").advertised = true;
    let message = "net/ipv6/conf/eth0/accept_ra is 1, the host forwards IPv6, and eth0 has addresses or routes from router advertisements";
    host.assert("accept-ra", Severity::Warning, message, "sysctl -w net.ipv6.conf.eth0.accept_ra=2");
    host.observed.facts.forwarding.1 = false;
    assert_eq!(host.findings(), []);
}

fn policy() -> FirewallConflict {
    FirewallConflict {
        path: Path::Outward,
        ipv4: true,
        ipv6: false,
        certain: true,
        family: Family::Ip,
        table: "filter".to_owned(),
        chain: "FORWARD".to_owned(),
        cause: Cause::Policy,
        owner: Owner::Iptables,
        legacy: false,
    }
}

fn iptables(legacy: bool, chains: &[&str]) -> ForeignTable {
    let mut table = Table::new(Family::Ip, "filter");
    table.chains = chains
        .iter()
        .map(|name| match *name {
            "FORWARD" => {
                let mut chain = Chain::base("FORWARD", ChainKind::Filter, Hook::Forward, 0);
                if let Some(base) = &mut chain.base {
                    base.policy = Policy::Drop;
                }
                chain
            }
            name => Chain::regular(name),
        })
        .collect();
    ForeignTable { table, legacy, owned: false }
}

/// The check that reports a conflict, the severity and the fix.
fn report_of(conflict: FirewallConflict, tables: Vec<ForeignTable>) -> (String, Severity, String) {
    let mut host = TestHost::new();
    host.observed.tables = tables;
    host.observed.firewall_conflicts = BTreeMap::from([(conflict, vec!["web".to_owned()])]);
    let bridge = host.bridge();
    let finding = host.rendered();
    let fix = finding.fix.unwrap();
    assert!(!fix.automatic, "foreign rules are never changed automatically");
    (finding.id, finding.severity, fix.command.replace(&bridge, "BR"))
}

#[test]
fn foreign_drops_are_fixed_with_the_tool_of_their_owner() {
    let expect =
        |conflict: FirewallConflict, tables: Vec<ForeignTable>, check: &str, level: Severity, fix: &str| {
            assert_eq!(report_of(conflict, tables), (check.to_owned(), level, fix.to_owned()));
        };
    let new = || vec![iptables(false, &["FORWARD"])];
    let both = |program: &str, chain: &str| {
        format!("{program} -I {chain} -i BR -j ACCEPT && {program} -I {chain} -o BR -j ACCEPT")
    };
    expect(policy(), new(), "forward-policy", Severity::Error, &both("iptables-nft", "FORWARD"));
    let legacy = FirewallConflict { legacy: true, ..policy() };
    let tables = vec![iptables(true, &["FORWARD"])];
    expect(legacy, tables, "forward-policy", Severity::Error, &both("iptables-legacy", "FORWARD"));
    let docker = FirewallConflict { owner: Owner::Docker, ..policy() };
    let tables = vec![iptables(false, &["FORWARD", "DOCKER-USER"])];
    expect(docker, tables, "forward-policy", Severity::Error, &both("iptables-nft", "DOCKER-USER"));
    let own = FirewallConflict {
        family: Family::Inet,
        table: "mine".to_owned(),
        chain: "pass".to_owned(),
        cause: Cause::Rule(9),
        owner: Owner::Unknown,
        ..policy()
    };
    let nft = "nft insert rule inet mine pass position 9 iifname BR accept && \
               nft insert rule inet mine pass position 9 oifname BR accept";
    expect(own.clone(), Vec::new(), "firewall", Severity::Error, nft);
    let possible = FirewallConflict { certain: false, ..own.clone() };
    expect(possible, Vec::new(), "firewall", Severity::Note, "fairway explain FROM TO:PORT");
    let possible = FirewallConflict { certain: false, ..policy() };
    expect(possible, new(), "forward-policy", Severity::Warning, &both("iptables-nft", "FORWARD"));
    let questions = FirewallConflict { path: Path::Questions, chain: "OUTPUT".to_owned(), ..policy() };
    let fix = "iptables-nft -I OUTPUT -p udp --dport 53 -j ACCEPT";
    expect(questions, new(), "firewall", Severity::Error, fix);
    let to_host = FirewallConflict { path: Path::ToHost, ..own.clone() };
    let nft = "nft insert rule inet mine pass position 9 iifname BR accept";
    expect(to_host.clone(), Vec::new(), "firewall", Severity::Warning, nft);
    let ufw = "ufw route allow in on BR && ufw route allow out on BR";
    expect(FirewallConflict { owner: Owner::Ufw, ..policy() }, new(), "forward-policy", Severity::Error, ufw);
    let zone = "firewall-cmd --permanent --zone=trusted --add-interface=BR && firewall-cmd --reload";
    expect(
        FirewallConflict { owner: Owner::Firewalld, ..own },
        Vec::new(),
        "firewall",
        Severity::Error,
        zone,
    );
    // A firewall may protect some ports of the host.
    let mut host = TestHost::new();
    host.observed.firewall_conflicts =
        BTreeMap::from([(FirewallConflict { certain: false, ..to_host }, vec!["web".to_owned()])]);
    assert_eq!(host.findings(), []);
}

#[test]
fn rules_of_both_iptables_backends() {
    let mut host = TestHost::new();
    host.observed.tables = vec![iptables(false, &["FORWARD"])];
    assert_eq!(host.findings(), []);
    host.observed.tables.push(iptables(true, &["FORWARD"]));
    let tables = || vec!["filter".to_owned()];
    let kind =
        FirewallFinding::TwoBackends { program: "iptables", legacy: tables(), nft: tables(), ours: false };
    assert_eq!(host.only(), FindingKind::Firewall(kind));
    let finding = host.rendered();
    let message = "the host has rules of legacy iptables (filter) and of iptables-nft (filter)";
    assert_eq!((finding.severity, finding.message.as_str()), (Severity::Warning, message));
    let command = finding.fix.unwrap().command;
    let save = "iptables-legacy-save -t filter | iptables-nft-restore --noflush && ";
    assert!(command.starts_with(save), "{command}");
}

const RECREATE: &str = "fairway network disconnect web p && fairway network rm web && fairway network create web && \
                        fairway network connect web p";

#[test]
fn routes_that_overlap_a_network() {
    let route = |destination: &str, interface: &str| HostRoute {
        destination: destination.parse().unwrap(),
        interface: interface.to_owned(),
    };
    let mut host = TestHost::new();
    host.change_facts(|it| it.routes = vec![route("172.18.128.0/20", "tun0")]);
    let message = "the host's route to 172.18.128.0/20 over tun0 overlaps network web (172.18.0.0/16)";
    host.assert("subnet-overlap", Severity::Error, message, RECREATE);
    host.change_facts(|it| it.routes = vec![route("172.18.0.0/15", "tun0")]);
    assert_eq!(host.rendered().severity, Severity::Warning);
    host.change_facts(|it| it.routes = vec![route("172.17.4.0/24", "tun0")]);
    let command = "fairway daemon --bip=ADDRESS/BITS";
    assert_eq!(host.fix().command, command, "the default network cannot be recreated");
    // Of two routes with one destination, the kernel takes the first.
    host.change_facts(|it| it.routes = vec![route("172.18.0.0/16", "eth0")]);
    let main = |interface| Route {
        table: 254,
        destination: "172.18.0.0/16".parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: None,
        interface,
        metric: 0,
        source: None,
    };
    for (interfaces, severity) in [([3, 2], Severity::Warning), ([2, 3], Severity::Error)] {
        host.observed.routes = interfaces.map(main).to_vec();
        assert_eq!(host.rendered().severity, severity);
    }
    // A route over Docker's bridge is reported once, as Docker's.
    host.change_facts(|it| it.routes = vec![route("172.18.0.0/16", "docker0")]);
    let docker0 = LinkState { kind: "bridge".to_owned(), ..link(8, "docker0", "172.18.0.1/16") };
    host.observed.links.push(docker0);
    let message = "Docker's bridge docker0 has 172.18.0.1/16, which overlaps network web";
    host.assert("docker", Severity::Error, message, RECREATE);
}

#[test]
fn a_network_is_moved_as_its_driver_allows() {
    let mut host = TestHost::new();
    let options = |it: &mut CreateNetwork, driver: &str, option: (&str, &str)| {
        it.driver = driver.to_owned();
        it.options.insert(option.0.to_owned(), option.1.to_owned());
    };
    host.network("open", |it| {
        options(it, "routed", ("com.docker.network.driver.mtu", "1400"));
        it.subnets = vec![SubnetRequest { subnet: "10.30.1.0/24".parse().ok(), ..SubnetRequest::default() }];
    });
    let request = EndpointRequest {
        ipv4: "10.30.1.9".parse().ok(),
        aliases: vec!["db".to_owned()],
        links: vec![("p".to_owned(), "later".to_owned())],
        gateway_priority: 3,
        ..EndpointRequest::default()
    };
    host.run(Command::Connect { sandbox: "p".to_owned(), network: "open".to_owned(), request });
    let fix = |host: &TestHost, name: &str, ipv4: bool| {
        move_network(&host.world, host.world.find_network(name).unwrap(), ipv4).unwrap_or_default()
    };
    let moved = "fairway network disconnect open p && fairway network rm open && fairway network create --driver routed \
                 --opt com.docker.network.driver.mtu=1400 open && fairway network connect --alias db --link p:later \
                 --gw-priority 3 open p";
    assert_eq!(fix(&host, "open", true), moved);
    assert_eq!(fix(&host, "bridge", false), "fairway daemon --bip6=ADDRESS/BITS");
    // Without its MTU it keeps its subnet.
    let open = host.world.find_network("open").unwrap();
    let kept = recreate_network(&host.world, open, "com.docker.network.driver.mtu").unwrap();
    assert!(kept.contains("create --driver routed --subnet 10.30.1.0/24 open"), "{kept}");
    assert!(kept.contains("connect --ip 10.30.1.9 --alias db"), "{kept}");
    // The user's own bridge has its subnet from the user.
    host.change_facts(|it| it.bridges = vec!["own0".to_owned()]);
    host.network("own", |it| options(it, "bridge", ("com.docker.network.bridge.name", "own0")));
    assert_eq!(fix(&host, "own", true), "");
}

#[test]
fn mtus_that_do_not_fit() {
    let mut host = TestHost::new();
    host.network("wide", |request| {
        request.options = [("com.docker.network.driver.mtu".to_owned(), "9000".to_owned())].into();
        request.internal = false;
    });
    let message = "the MTU of network wide is 9000, larger than the MTU of eth0 (1500)";
    let fix = "fairway network rm wide && fairway network create wide";
    host.assert("mtu", Severity::Warning, message, fix);

    let mut host = TestHost::with(Settings { mtu: Some(1600), ..Settings::default() });
    host.observed.links.retain(|link| link.name == "eth0");
    let kind = AddressingFinding::MtuExceedsUplink {
        networks: vec!["bridge".to_owned(), "web".to_owned()],
        mtu: 1600,
        uplink: "eth0".to_owned(),
        uplink_mtu: 1500,
        fix: "fairway daemon --mtu=1500".to_owned(),
    };
    assert_eq!(host.only(), FindingKind::Addressing(kind));

    let mut host = TestHost::new();
    host.link_mut("fw1").mtu = 1400;
    let message = "the MTU of network web is 1500, but not on fw1 (1400)";
    host.assert("mtu", Severity::Warning, message, "ip link set dev fw1 mtu 1500");

    let mut host = TestHost::new();
    host.observed.links.push(LinkState { mtu: 1420, ..link(8, "wg0", "10.8.0.2/24") });
    assert_eq!(host.findings(), [], "no route leads over it");
    let behind = HostRoute { destination: "10.8.0.0/16".parse().unwrap(), interface: "wg0".to_owned() };
    host.change_facts(|it| it.routes = vec![behind]);
    let message = "the MTU of networks bridge, web is 1500, larger than the MTU of wg0 (1420)";
    host.assert("mtu", Severity::Note, message, "fairway daemon --mtu=1420");
}

#[test]
fn name_servers_that_sandboxes_cannot_query() {
    let mut host = TestHost::new();
    host.change_facts(|it| it.nameservers = vec!["127.0.0.53".parse().unwrap()]);
    assert_eq!(host.findings(), [], "on a user-defined network, Fairway queries it for them");
    host.sandbox("plain", "bridge", 8001);
    let message =
        "the host's name servers (127.0.0.53) are on its loopback interface, and plain cannot query them";
    host.assert("nameservers", Severity::Warning, message, "fairway network connect web plain");
    host.change_facts(|it| it.nameservers.clear());
    let sandboxes = vec!["p".to_owned(), "plain".to_owned()];
    assert_eq!(host.only(), FindingKind::Addressing(AddressingFinding::NoNameServer { sandboxes }));
    assert_eq!(host.fix().command, "echo nameserver ADDRESS >> /etc/resolv.conf");
    let dns = Settings { dns: vec!["10.0.0.53".parse().unwrap()], ..Settings::default() };
    let mut host = TestHost::with(dns);
    host.change_facts(|it| it.nameservers.clear());
    assert_eq!(host.findings(), [], "the daemon has --dns");
}
