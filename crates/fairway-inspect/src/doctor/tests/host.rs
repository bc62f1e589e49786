//! The host around: forwarding, other firewalls, sizes, subnets, name servers.

use std::collections::BTreeMap;

use super::*;
use crate::conflict::{Cause, FirewallConflict, ForeignTable, Owner, Path};
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Policy, Table};
use fairway_walk::{Route, RouteKind};

#[test]
fn forwarding_that_is_off() {
    let mut patient = Patient::new();
    patient.seen.facts.forwarding.0 = false;
    let mend = "sysctl -w net.ipv4.ip_forward=1";
    let seen = "net/ipv4/ip_forward is 0: the host forwards no IPv4";
    assert_eq!(patient.only("forwarding"), (Level::Problem, seen.to_owned(), mend.to_owned(), true));
    let mut patient = Patient::with(Settings { ip_forward: false, ..Settings::default() });
    patient.seen.facts.forwarding = (false, false);
    assert!(!patient.only("forwarding").3, "it is the user's, and no network has IPv6");
    // Interfaces.
    let mut patient = Patient::new();
    patient.set("net/ipv4/conf/eth0/forwarding", "0");
    let seen = "net/ipv4/conf/eth0/forwarding is 0: what comes in by eth0 is not forwarded";
    patient.assert("forwarding", Level::Problem, seen, "sysctl -w net.ipv4.conf.eth0.forwarding=1");
    patient.link_mut("eth0").name = "eth0.5".to_owned();
    patient.set("net/ipv4/conf/eth0.5/forwarding", "0");
    assert_eq!(patient.only("forwarding").2, "sysctl -w net/ipv4/conf/eth0.5/forwarding=1");
    let mut patient = Patient::new();
    patient.set(&format!("net/ipv4/conf/{}/forwarding", patient.bridge()), "0");
    assert!(patient.only("forwarding").3);
}

fn with_bridge_of_others(patient: &mut Patient) {
    let port =
        |index| LinkSeen { bridge: Some(8), addresses: Vec::new(), ..link(index, "vm", "10.1.1.1/24") };
    let bridge = LinkSeen { kind: "bridge".to_owned(), ..link(8, "virbr0", "192.168.122.1/24") };
    patient.seen.links.extend([bridge, port(9), port(10)]);
}

#[test]
fn bridges_of_others_that_meet_the_firewall() {
    let mut patient = Patient::new();
    with_bridge_of_others(&mut patient);
    assert_eq!(patient.ills(), []);
    patient.set("net/bridge/bridge-nf-call-iptables", "1");
    let seen = "net/bridge/bridge-nf-call-iptables is 1, and 1 bridge of others: virbr0";
    let mend = "sysctl -w net.bridge.bridge-nf-call-iptables=0";
    patient.assert("bridge-netfilter", Level::Note, seen, mend);
    patient.seen.firewall_conflicts = BTreeMap::from([(policy(), vec!["web".to_owned()])]);
    let found = patient.ills();
    assert!(found.iter().any(|it| it.check == "bridge-netfilter" && it.level == Level::Warning));

    // Docker's own needs it: then what passes the other is let through.
    let docker0 = LinkSeen { kind: "bridge".to_owned(), ..link(18, "docker0", "172.31.0.1/16") };
    let port =
        |index| LinkSeen { bridge: Some(18), addresses: Vec::new(), ..link(index, "ve", "10.1.1.1/24") };
    patient.seen.links.extend([docker0, port(19), port(20)]);
    patient.seen.firewall_conflicts.clear();
    assert_eq!(patient.only("bridge-netfilter").2, "iptables -I FORWARD -i virbr0 -o virbr0 -j ACCEPT");
    patient.seen.links.retain(|link| link.name != "virbr0");
    assert_eq!(patient.ills(), []);

    let mut patient = Patient::with(Settings { backend: Backend::Iptables, ..Settings::default() });
    assert!(patient.only("bridge-netfilter").2.starts_with("modprobe br_netfilter && sysctl -w"));
    patient.set("net/bridge/bridge-nf-call-iptables", "0");
    patient.set("net/bridge/bridge-nf-call-ip6tables", "0");
    assert!(patient.only("bridge-netfilter").2.starts_with("sysctl -w"));
}

#[test]
fn strict_checks_of_sources() {
    let route = |destination: &str, interface, metric| Route {
        table: 254,
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: None,
        interface,
        metric,
        source: None,
    };
    let mut patient = Patient::new();
    patient.seen.links.push(link(7, "eth1", "10.2.0.2/24"));
    patient.seen.routes = vec![route("0.0.0.0/0", 2, 0), route("10.2.0.0/24", 7, 0)];
    patient.set("net/ipv4/conf/all/rp_filter", "1");
    assert_eq!(patient.ills(), [], "strict is well where nothing comes another way");
    patient.seen.dropped_by_source = 3;
    let seen = "3 packets thrown away by rp_filter so far, which is strict at eth1";
    let mend = "sysctl -w net.ipv4.conf.eth1.rp_filter=2";
    patient.assert("rp-filter", Level::Warning, seen, mend);
    patient.seen.dropped_by_source = 0;
    patient.seen.routes.push(route("0.0.0.0/0", 7, 100));
    let seen = "rp_filter of eth1 is strict, and the better route to everywhere else is by eth0";
    patient.assert("rp-filter", Level::Warning, seen, mend);
    patient.set("net/ipv4/conf/eth1/rp_filter", "2");
    assert_eq!(patient.ills(), []);
}

#[test]
fn advertisements_that_are_not_heeded() {
    let mut patient = Patient::new();
    patient.set("net/ipv6/conf/eth0/accept_ra", "1");
    assert_eq!(patient.ills(), [], "nobody advertised anything");
    patient.link_mut("eth0").advertised = true;
    let seen = "net/ipv6/conf/eth0/accept_ra is 1, while the host forwards IPv6 and has what a router advertised there";
    patient.assert("accept-ra", Level::Warning, seen, "sysctl -w net.ipv6.conf.eth0.accept_ra=2");
    patient.seen.facts.forwarding.1 = false;
    assert_eq!(patient.ills(), []);
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

/// What mends an conflict, and the check that names it.
fn mend_of(conflict: FirewallConflict, tables: Vec<ForeignTable>) -> (String, Level, String) {
    let mut patient = Patient::new();
    patient.seen.tables = tables;
    patient.seen.firewall_conflicts = BTreeMap::from([(conflict, vec!["web".to_owned()])]);
    let bridge = patient.bridge();
    let ill = patient.ills().remove(0);
    assert!(!ill.mend.as_ref().unwrap().own, "it is never Fairway's to mend");
    (ill.check, ill.level, ill.mend.unwrap().command.replace(&bridge, "BR"))
}

#[test]
fn what_others_drop_is_mended_in_their_own_words() {
    let expect =
        |conflict: FirewallConflict, tables: Vec<ForeignTable>, check: &str, level: Level, mend: &str| {
            assert_eq!(mend_of(conflict, tables), (check.to_owned(), level, mend.to_owned()));
        };
    let new = || vec![iptables(false, &["FORWARD"])];
    let both = |program: &str, chain: &str| {
        format!("{program} -I {chain} -i BR -j ACCEPT && {program} -I {chain} -o BR -j ACCEPT")
    };
    expect(policy(), new(), "forward-policy", Level::Problem, &both("iptables-nft", "FORWARD"));
    let legacy = FirewallConflict { legacy: true, ..policy() };
    let tables = vec![iptables(true, &["FORWARD"])];
    expect(legacy, tables, "forward-policy", Level::Problem, &both("iptables-legacy", "FORWARD"));
    let docker = FirewallConflict { owner: Owner::Docker, ..policy() };
    let tables = vec![iptables(false, &["FORWARD", "DOCKER-USER"])];
    expect(docker, tables, "forward-policy", Level::Problem, &both("iptables-nft", "DOCKER-USER"));
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
    expect(own.clone(), Vec::new(), "firewall", Level::Problem, nft);
    let perhaps = FirewallConflict { certain: false, ..own.clone() };
    expect(perhaps, Vec::new(), "firewall", Level::Note, "fairway explain FROM TO:PORT");
    let perhaps = FirewallConflict { certain: false, ..policy() };
    expect(perhaps, new(), "forward-policy", Level::Warning, &both("iptables-nft", "FORWARD"));
    let questions = FirewallConflict { path: Path::Questions, chain: "OUTPUT".to_owned(), ..policy() };
    let mend = "iptables-nft -I OUTPUT -p udp --dport 53 -j ACCEPT";
    expect(questions, new(), "firewall", Level::Problem, mend);
    let to_host = FirewallConflict { path: Path::ToHost, ..own.clone() };
    let nft = "nft insert rule inet mine pass position 9 iifname BR accept";
    expect(to_host.clone(), Vec::new(), "firewall", Level::Warning, nft);
    let ufw = "ufw route allow in on BR && ufw route allow out on BR";
    expect(FirewallConflict { owner: Owner::Ufw, ..policy() }, new(), "forward-policy", Level::Problem, ufw);
    let zone = "firewall-cmd --permanent --zone=trusted --add-interface=BR && firewall-cmd --reload";
    expect(FirewallConflict { owner: Owner::Firewalld, ..own }, Vec::new(), "firewall", Level::Problem, zone);
    // Some ports of the host are kept from sandboxes: that is what a firewall is for.
    let mut patient = Patient::new();
    patient.seen.firewall_conflicts =
        BTreeMap::from([(FirewallConflict { certain: false, ..to_host }, vec!["web".to_owned()])]);
    assert_eq!(patient.ills(), []);
}

#[test]
fn rules_of_both_kinds_of_iptables() {
    let mut patient = Patient::new();
    patient.seen.tables = vec![iptables(false, &["FORWARD"])];
    assert_eq!(patient.ills(), []);
    patient.seen.tables.push(iptables(true, &["FORWARD"]));
    let (level, seen, mend, _) = patient.only("two-firewalls");
    assert_eq!(level, Level::Warning);
    assert_eq!(seen, "there are rules of legacy iptables (filter) and of iptables-nft (filter)");
    assert!(
        mend.starts_with("iptables-legacy-save -t filter | iptables-nft-restore --noflush && "),
        "{mend}"
    );
}

const RENEW: &str = "fairway network disconnect web p && fairway network rm web && fairway network create web && \
                     fairway network connect web p";

#[test]
fn subnets_that_are_elsewhere_too() {
    let route = |destination: &str, interface: &str| HostRoute {
        destination: destination.parse().unwrap(),
        interface: interface.to_owned(),
    };
    let mut patient = Patient::new();
    patient.host(|host| host.routes = vec![route("172.18.128.0/20", "tun0")]);
    let seen = "the host's route to 172.18.128.0/20 by tun0 meets network web (172.18.0.0/16)";
    patient.assert("subnet-overlap", Level::Problem, seen, RENEW);
    patient.host(|host| host.routes = vec![route("172.18.0.0/15", "tun0")]);
    assert_eq!(patient.only("subnet-overlap").0, Level::Warning);
    patient.host(|host| host.routes = vec![route("172.17.4.0/24", "tun0")]);
    assert_eq!(
        patient.only("subnet-overlap").2,
        "fairway daemon --bip=ADDRESS/BITS",
        "the default network stays"
    );
    // Docker's is told as Docker's.
    patient.host(|host| host.routes = vec![route("172.18.0.0/16", "docker0")]);
    let docker0 = LinkSeen { kind: "bridge".to_owned(), ..link(8, "docker0", "172.18.0.1/16") };
    patient.seen.links.push(docker0);
    let seen = "Docker's docker0 has 172.18.0.1/16, which meets network web";
    patient.assert("docker", Level::Problem, seen, RENEW);
}

#[test]
fn packets_that_are_too_large() {
    let mut patient = Patient::new();
    patient.network("wide", |request| {
        request.options = [("com.docker.network.driver.mtu".to_owned(), "9000".to_owned())].into();
        request.internal = false;
    });
    let seen = "packets of network wide have up to 9000 bytes, those of eth0 up to 1500";
    let mend = "fairway network rm wide && fairway network create wide";
    patient.assert("mtu", Level::Warning, seen, mend);

    let mut patient = Patient::with(Settings { mtu: Some(1600), ..Settings::default() });
    patient.seen.links.retain(|link| link.name == "eth0");
    let found = patient.ills();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].seen.starts_with("packets of networks ") && found[0].seen.contains("web"), "{found:#?}");
    assert_eq!(found[0].mend.as_ref().unwrap().command, "fairway daemon --mtu=1500");

    let mut patient = Patient::new();
    patient.link_mut("fw1").mtu = 1400;
    let seen = "on network web packets have up to 1500 bytes, but not at fw1 (1400)";
    patient.assert("mtu", Level::Warning, seen, "ip link set dev fw1 mtu 1500");

    let mut patient = Patient::new();
    patient.seen.links.push(LinkSeen { mtu: 1420, ..link(8, "wg0", "10.8.0.2/24") });
    assert_eq!(patient.ills(), [], "nothing is behind it");
    let behind = HostRoute { destination: "10.8.0.0/16".parse().unwrap(), interface: "wg0".to_owned() };
    patient.host(|host| host.routes = vec![behind]);
    let (level, seen, mend, _) = patient.only("mtu");
    assert_eq!((level, mend.as_str()), (Level::Note, "fairway daemon --mtu=1420"));
    assert!(seen.contains("web") && seen.ends_with("more than fit through wg0 (1420)"), "{seen}");
}

#[test]
fn name_servers_that_sandboxes_cannot_ask() {
    let mut patient = Patient::new();
    patient.host(|host| host.nameservers = vec!["127.0.0.53".parse().unwrap()]);
    assert_eq!(patient.ills(), [], "on a network of the user's own Fairway asks for it");
    patient.sandbox("plain", "bridge", 8001);
    let seen = "the host asks 127.0.0.53 alone, which is the host's own loopback, and plain cannot";
    patient.assert("nameservers", Level::Warning, seen, "fairway network connect web plain");
    patient.host(|host| host.nameservers.clear());
    let (level, seen, mend, _) = patient.only("nameservers");
    assert_eq!((level, mend.as_str()), (Level::Warning, "echo nameserver ADDRESS >> /etc/resolv.conf"));
    assert!(seen.starts_with("the host's resolv.conf names no server"), "{seen}");
    let dns = Settings { dns: vec!["10.0.0.53".parse().unwrap()], ..Settings::default() };
    let mut patient = Patient::with(dns);
    patient.host(|host| host.nameservers.clear());
    assert_eq!(patient.ills(), [], "the daemon was given one");
}
