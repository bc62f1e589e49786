//! Rules of other programs: which of their matches and targets are understood, branches, or only named.

use std::collections::BTreeSet;

use super::branches::{branches, lines, with_iptables};
use super::routed::{CLIENT, ROUTER, add_route};
use super::{TCP, address};
use crate::evaluate::opaque::{Opaque, classify};
use crate::{RealServer, RouteKind, VirtualServer};
use fairway_ruleset::{Expression, Family, iptables_save};

const DOCKER_20: &str = include_str!("rules/docker-20.10.v4");
const DOCKER_29: &str = include_str!("rules/docker-29.v4");
const DOCKER_29_IPV6: &str = include_str!("rules/docker-29.v6");
const NETAVARK: &str = include_str!("rules/netavark.v4");
const CNI: &str = include_str!("rules/cni.v4");
const FIREWALLD: &str = include_str!("rules/firewalld.v4");
const UFW: &str = include_str!("../../../fairway-inspect/src/conflict/data/ufw.v4");
const UFW_IPV6: &str = include_str!("../../../fairway-inspect/src/conflict/data/ufw.v6");
const KUBE_PROXY: &str = include_str!("rules/kube-proxy.v4");
const KUBE_PROXY_IPVS: &str = include_str!("rules/kube-proxy-ipvs.v4");

/// What an expression is to the walker, if it is not wholly understood: `branch: limit`, or the reason of an end.
fn doubts(expression: &Expression) -> Vec<String> {
    match expression {
        Expression::Chance { .. } => vec!["branch: statistic".to_owned()],
        Expression::Undecided { name, .. } => vec![format!("branch: {name}")],
        Expression::OneOf { ways, .. } => ways.iter().flatten().flat_map(doubts).collect(),
        Expression::Unknown { name, attributes } => match classify(name, attributes) {
            Opaque::Nothing => Vec::new(),
            Opaque::Changes(reason) | Opaque::Refuses(reason) | Opaque::Decides(reason) => vec![reason],
            other => vec![format!("{other:?}")],
        },
        _ => Vec::new(),
    }
}

fn doubts_of(family: Family, text: &str) -> BTreeSet<String> {
    let tables = iptables_save::read(family, text);
    let rules = tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let found: Vec<_> = rules.collect();
    assert_eq!(found.len(), text.lines().filter(|line| line.starts_with("-A ")).count());
    found.into_iter().flat_map(|rule| &rule.expressions).flat_map(doubts).collect()
}

#[test]
fn nothing_in_the_rules_of_others_is_passed_over_or_ends_a_walk() {
    let dumps: [(&str, Family, &str, &[&str]); 10] = [
        ("Docker 20.10", Family::Ip, DOCKER_20, &[]),
        ("Docker 29", Family::Ip, DOCKER_29, &[]),
        ("Docker 29, IPv6", Family::Ip6, DOCKER_29_IPV6, &[]),
        ("netavark 1.4", Family::Ip, NETAVARK, &[]),
        ("CNI bridge, portmap, firewall", Family::Ip, CNI, &[]),
        ("firewalld", Family::Ip, FIREWALLD, &["branch: limit", "branch: set"]),
        ("ufw", Family::Ip, UFW, &["branch: limit"]),
        ("ufw, IPv6", Family::Ip6, UFW_IPV6, &["branch: limit"]),
        ("kube-proxy", Family::Ip, KUBE_PROXY, &["branch: recent", "branch: statistic"]),
        ("kube-proxy with ipvs", Family::Ip, KUBE_PROXY_IPVS, &["branch: set"]),
    ];
    for (whose, family, text, expected) in dumps {
        let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(doubts_of(family, text), expected, "{whose}");
    }
}

/// Each match and target of iptables that such rules have.
#[test]
fn matches_and_targets_are_understood_or_branch_or_are_named() {
    let named = |target: &str| format!("the effect of the target {target:?} is not known");
    let understood = String::new;
    let branch = |name: &str| format!("branch: {name}");
    let odd = "MayMatch(\"the match \\\"odd\\\" is not known\")".to_owned();
    for (rule, expected) in [
        ("-m comment --comment \"a b\" -j ACCEPT", understood()),
        (
            "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT,SNAT,NEW,INVALID,UNTRACKED -j ACCEPT",
            understood(),
        ),
        ("-m conntrack --ctstatus CONFIRMED,SEEN_REPLY,EXPECTED -j ACCEPT", understood()),
        ("-m conntrack --ctstatus ASSURED -j ACCEPT", branch("conntrack")),
        ("-m conntrack --ctdir ORIGINAL --ctorigdst 10.0.0.1 --ctorigdstport 80 -j ACCEPT", understood()),
        ("-m conntrack --ctproto 6 --ctexpire 5:10 -j ACCEPT", "branch: conntrack".to_owned()),
        ("-m state --state NEW -j ACCEPT", understood()),
        ("-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT", understood()),
        ("-m addrtype ! --src-type UNICAST,BROADCAST,MULTICAST -j ACCEPT", understood()),
        ("-p tcp -m multiport --dports 80,443,8000:8100 -j ACCEPT", understood()),
        ("-p tcp -m multiport ! --sports 80 -j ACCEPT", understood()),
        ("-p tcp -m multiport --ports 80 -j ACCEPT", understood()),
        ("-m physdev --physdev-in eth0 --physdev-is-bridged -j ACCEPT", understood()),
        ("-m physdev ! --physdev-is-in -j ACCEPT", understood()),
        ("-m mark --mark 0x4000/0x4000 -j ACCEPT", understood()),
        ("-m connmark ! --mark 0x1/0xff -j ACCEPT", understood()),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", understood()),
        ("-p tcp -m tcp --dport 1:1024 ! --syn -j ACCEPT", understood()),
        ("-p tcp -m tcp --tcp-option 2 -j ACCEPT", branch("tcp")),
        ("-p icmp -m icmp --icmp-type 3/4 -j ACCEPT", understood()),
        ("-m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT", understood()),
        ("-m owner --uid-owner 0-99 -j ACCEPT", understood()),
        ("-m owner --gid-owner 7 -j ACCEPT", understood()),
        ("-m owner --socket-exists -j ACCEPT", branch("owner")),
        ("-m rpfilter --validmark --loose --invert -j DROP", understood()),
        ("-m mac --mac-source 00:11:22:33:44:55 -j ACCEPT", understood()),
        ("-m pkttype --pkt-type broadcast -j ACCEPT", understood()),
        ("-m policy --dir in --pol ipsec -j ACCEPT", understood()),
        ("-m nfacct --nfacct-name x -j ACCEPT", understood()),
        ("-m statistic --mode random --probability 0.5 -j DROP", branch("statistic")),
        ("-m statistic --mode nth --every 3 --packet 0 -j DROP", branch("statistic")),
        ("-m limit --limit 3/min -j ACCEPT", branch("limit")),
        ("-m hashlimit --hashlimit-upto 5/sec --hashlimit-name x -j ACCEPT", branch("hashlimit")),
        ("-m connlimit --connlimit-above 5 -j DROP", branch("connlimit")),
        ("-m quota --quota 7 -j ACCEPT", branch("quota")),
        (
            "-m connbytes --connbytes 0:9 --connbytes-dir both --connbytes-mode bytes -j DROP",
            branch("connbytes"),
        ),
        ("-m recent --rcheck --name x -j DROP", branch("recent")),
        ("-m recent --set --name x -j ACCEPT", understood()),
        ("-m set --match-set x src,dst -j DROP", branch("set")),
        ("-m time --timestart 08:00 -j DROP", branch("time")),
        ("-m string --string x --algo bm -j DROP", branch("string")),
        ("-m length --length 1:2 -j DROP", branch("length")),
        ("-m ttl --ttl-lt 5 -j DROP", understood()),
        ("-m dscp --dscp 0x08 -j DROP", branch("dscp")),
        ("-m bpf --bytecode x -j DROP", branch("bpf")),
        ("-m u32 --u32 \"0 >> 22\" -j DROP", branch("u32")),
        ("-m socket --transparent -j ACCEPT", branch("socket")),
        ("-m helper --helper ftp -j ACCEPT", branch("helper")),
        ("-m odd -j DROP", odd),
        ("-j DNAT --to-destination 10.0.0.1:80", understood()),
        ("-j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random --persistent", understood()),
        ("-p udp -j DNAT --to-destination 10.0.0.1:53-55/5300", understood()),
        ("-j SNAT --to-source 10.0.0.1-10.0.0.2 --random-fully", understood()),
        ("-j MASQUERADE --random-fully", understood()),
        ("-p tcp -j MASQUERADE --to-ports 1024-2048", understood()),
        ("-p tcp -j REDIRECT --to-ports 8080-8081 --random", understood()),
        ("-j NETMAP --to 10.0.0.0/24", understood()),
        ("-j MARK --set-xmark 0x4000/0x4000", understood()),
        ("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", understood()),
        ("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff", understood()),
        ("-j CONNMARK --set-xmark 0x1/0xff", understood()),
        ("-j NOTRACK", understood()),
        ("-j CT --notrack", understood()),
        ("-j CT --helper ftp", understood()),
        ("-j CT --zone 5", named("CT")),
        ("-j LOG --log-prefix x", understood()),
        ("-j NFLOG --nflog-group 5", understood()),
        ("-j TRACE", understood()),
        ("-j TEE --gateway 10.0.0.1", understood()),
        ("-j SET --add-set x src", understood()),
        ("-p tcp -j TCPMSS --clamp-mss-to-pmtu", understood()),
        ("-j CHECKSUM --checksum-fill", understood()),
        ("-j DSCP --set-dscp 0x08", understood()),
        ("-j CLASSIFY --set-class 0001:0001", understood()),
        ("-j REJECT --reject-with icmp-admin-prohibited", understood()),
        (
            "-j TPROXY --on-port 3129 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1",
            "a program may take it (TPROXY)".to_owned(),
        ),
        ("-j NFQUEUE --queue-num 0", "a program decides (NFQUEUE)".to_owned()),
        ("-p tcp -j SYNPROXY --sack-perm", "a program decides (SYNPROXY)".to_owned()),
        ("-j ODD", format!("Anything({:?})", named("ODD"))),
    ] {
        let text = format!("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule}\nCOMMIT\n");
        let found: Vec<String> = doubts_of(Family::Ip, &text).into_iter().collect();
        assert_eq!(found.join(", "), expected, "{rule}");
    }
}

/// The client asks a service from outside the cluster, and a pod's own client by its node port.
#[test]
fn a_service_of_kube_proxy_has_its_endpoints_as_branches() {
    let servers = ["10.2.0.10", "10.2.0.11", "10.2.0.12"];
    let mut topology = with_iptables(KUBE_PROXY, &servers);
    add_route(&mut topology, CLIENT, RouteKind::Unicast, "10.96.0.0/16", 2);
    topology[CLIENT].routes.last_mut().unwrap().gateway = Some(address("10.1.0.1"));
    let thirds: Vec<String> =
        servers.iter().map(|it| format!("1 of 3: to {it}:8080, Answered(10.2.0.1)")).collect();
    assert_eq!(lines(&branches(&topology, TCP, "10.96.0.10"), &topology), thirds);
    // A list that has the client decides before chance does.
    let found = branches(&topology, TCP, "10.96.0.11");
    let without =
        |name: &str| format!("while its source is not in the list KUBE-SEP-{name} within 10800 seconds: ");
    let (one, two) = (without("ONEONEONEONEONEO"), without("TWOTWOTWOTWOTWOT"));
    assert_eq!(
        lines(&found, &topology),
        [
            format!("1 of 2: {one}{two}to 10.2.0.10:8080, Answered(10.2.0.1)"),
            format!("1 of 2: {one}{two}to 10.2.0.11:8080, Answered(10.2.0.1)"),
            format!("{one}{}to 10.2.0.11:8080, Answered(10.2.0.1)", two.replace("not ", "")),
            format!("{}to 10.2.0.10:8080, Answered(10.2.0.1)", one.replace("not ", "")),
        ]
    );
    // Without endpoints.
    let found = branches(&topology, TCP, "10.96.0.99");
    assert_eq!((found.branches.len(), found.answered()), (1, Some(false)));
}

/// A range of published ports keeps its order.
#[test]
fn a_range_of_ports_of_netavark_is_moved_as_one() {
    let mut topology = with_iptables(NETAVARK, &[]);
    for server in ["10.89.0.9", "10.90.0.9"] {
        add_route(&mut topology, ROUTER, RouteKind::Unicast, &format!("{server}/32"), 3);
    }
    let mut tuple = super::tuple(super::UDP, "10.1.0.2", "10.1.0.1");
    for (port, expected) in [(5300, 53), (5301, 54), (5302, 55)] {
        tuple.destination_port = port;
        let walk = crate::Walker::new(&topology).arrives(ROUTER, 2, tuple, crate::FlowPosition::First);
        let to = walk.steps.iter().find_map(|step| match step {
            crate::Step::Translated { to, .. } => Some(to.destination_text()),
            _ => None,
        });
        assert_eq!(to, Some(format!("10.90.0.9:{expected}")));
    }
}

/// Each real server of IPVS that gets connections is a branch, with its share where the scheduler gives one.
#[test]
fn real_servers_of_ipvs_are_branches() {
    let at = |port: u16, protocol: u8, to: &str, scheduler: &str, persistent: bool, weights: &[u32]| {
        let mut topology = with_iptables("", &[]);
        let server = |(number, weight): (usize, &u32)| RealServer {
            address: format!("10.2.0.{}:8080", number + 10).parse().unwrap(),
            forwarding: "Masq".to_owned(),
            weight: *weight,
        };
        topology[ROUTER].virtual_servers.push(VirtualServer {
            protocol: TCP,
            address: address("10.1.0.1"),
            port,
            scheduler: scheduler.to_owned(),
            persistent,
            servers: weights.iter().enumerate().map(server).collect(),
        });
        lines(&branches(&topology, protocol, to), &topology)
    };
    let walked = |scheduler: &str, persistent: bool, weights: &[u32]| {
        at(80, TCP, "10.1.0.1", scheduler, persistent, weights)
    };
    let end = |number: u32| {
        format!(
            "unknown from here on router: IPVS sends it on to 10.2.0.{number}:8080 (Masq): its way from there is not walked, Unknown"
        )
    };
    assert_eq!(
        walked("rr", false, &[1, 0, 3]),
        [format!("1 of 2: {}", end(10)), format!("1 of 2: {}", end(12))]
    );
    assert_eq!(
        walked("wrr", false, &[1, 3]),
        [format!("1 of 4: {}", end(10)), format!("3 of 4: {}", end(11))]
    );
    assert_eq!(walked("wrr", false, &[7]), [end(10)]);
    let takes = |number: u32, scheduler: &str| {
        format!("if IPVS takes 10.2.0.{number}:8080 (scheduler {scheduler}): {}", end(number))
    };
    assert_eq!(walked("sh", false, &[1, 1]), [takes(10, "sh"), takes(11, "sh")]);
    assert_eq!(walked("rr", true, &[1, 1]), [takes(10, "rr"), takes(11, "rr")]);
    for none in [walked("rr", false, &[0]), walked("rr", false, &[])] {
        assert_eq!(none, ["refused: no socket on router listens at 10.1.0.1:80, Refused"]);
    }
    assert_eq!(at(0, TCP, "10.1.0.1", "rr", false, &[1]), [end(10)], "all ports");
    for (port, protocol, to) in [(81, TCP, "10.1.0.1"), (80, super::UDP, "10.1.0.1"), (80, TCP, "10.2.0.1")] {
        let found = at(port, protocol, to, "rr", false, &[1]);
        assert!(
            found[0].starts_with("refused: no socket on router listens"),
            "{port} {protocol} {to}: {found:?}"
        );
    }
}
