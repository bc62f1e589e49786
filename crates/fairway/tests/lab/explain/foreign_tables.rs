//! Tables of other programs as the kernel has them: which of their expressions are understood, and what their packets
//! meet.

use std::collections::BTreeMap;

use fairway_lab::{Host, serve_tcp};
use fairway_ruleset::Expression;

use super::branches::{agree, host, walked_to};
use crate::foreign_firewalls::{run, run_with};

const DOCKER: &str = include_str!("../../data/foreign/docker-29.nft");
const NETAVARK: &str = include_str!("../../data/foreign/netavark.nft");
const CNI: &str = include_str!("../../data/foreign/cni.nft");
const FIREWALLD: &str = include_str!("../../data/foreign/firewalld.nft");
const KUBE_PROXY: &str = include_str!("../../data/foreign/kube-proxy.nft");
const ODDS: &str = include_str!("../../data/foreign/odds.nft");

/// The expressions of a host's tables that are kept as bytes, by name, with their number.
fn kept_as_bytes(host: &Host) -> BTreeMap<String, usize> {
    let survey = host.run_in(|| fairway_kernel::survey::survey("host")).unwrap().unwrap();
    let chains = survey.namespace.tables.iter().flat_map(|table| &table.chains);
    let mut found = BTreeMap::new();
    for expression in chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.expressions) {
        if let Expression::Unknown { name, .. } = expression {
            *found.entry(name.clone()).or_insert(0) += 1;
        }
    }
    found
}

#[test]
fn expressions_in_tables_of_others_are_understood() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        for (whose, rules, expected) in [
            ("Docker 29", DOCKER, ""),
            ("netavark", NETAVARK, ""),
            ("CNI", CNI, ""),
            ("firewalld", FIREWALLD, ""),
            ("kube-proxy", KUBE_PROXY, ""),
            // `log`, `dynset` with a timeout, `exthdr` that sets an option and an object that counts have no effect; `rt` and
            // objects with limits and quotas are branches; `tproxy` and `synproxy` are named.
            ("odds", ODDS, "dynset 1, exthdr 1, log 2, objref 4, rt 1, tproxy 1"),
        ] {
            run_with(&host, "nft", &["-f", "-"], rules);
            let found = kept_as_bytes(&host);
            let found: Vec<String> = found.iter().map(|(name, count)| format!("{name} {count}")).collect();
            assert_eq!(found.join(", "), expected, "{whose}");
            run(&host, "nft", &["flush", "ruleset"]);
        }
    });
}

/// Rules as `nft` prints them, with expressions that are kept as bytes among them.
const PRINTED: &str = r#"log prefix "hello " drop
log prefix "g" group 2 snaplen 80 queue-threshold 5
log level debug flags all
log level info flags tcp sequence,options
counter name "c1" drop
quota name "q1" drop
limit name "l1" accept
ct helper set "ftp"
meta day "Monday" drop
meta day { "Sunday", "Saturday" } drop
meta random < 1000 drop
rt classid 5 drop
rt ip nexthop 10.0.0.1 drop
rt ip6 nexthop fd00::1 drop
rt ipsec exists accept
tcp option maxseg size set rt mtu
osf name "Linux" drop
osf ttl loose name "Windows" drop
synproxy mss 1460 wscale 7 timestamp sack-perm
meta l4proto tcp tproxy ip to :5000 accept
meta l4proto tcp tproxy to :5000 accept"#;

#[test]
fn rules_are_printed_as_nft_prints_them() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let objects = "counter c1 {}; quota q1 { over 25 mbytes; }; limit l1 { rate 5/second; };
            ct helper ftp { type \"ftp\" protocol tcp; l3proto ip; };";
        let (early, late): (Vec<&str>, Vec<&str>) = PRINTED.lines().partition(|line| line.contains("tproxy"));
        let [early, late] = [("prerouting", early), ("forward", late)].map(|(hook, rules)| {
            format!("chain {hook} {{ type filter hook {hook} priority 0\n{}\n}}", rules.join("\n"))
        });
        run_with(&host, "nft", &["-f", "-"], &format!("table inet t {{ {objects}\n{late}\n{early}\n}}"));
        let tables =
            host.run_in(|| fairway_kernel::survey::survey("host")).unwrap().unwrap().namespace.tables;
        let table = &tables[0];
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        let texts: Vec<String> = rules.map(|rule| table.rule_text(rule)).collect();
        assert_eq!(texts.join("\n"), PRINTED);
        let own = run(&host, "nft", &["list", "table", "inet", "t"]);
        let own: Vec<&str> = own.lines().map(str::trim).collect();
        for text in texts {
            assert!(own.contains(&text.as_str()), "{text}: {own:#?}");
        }
    });
}

/// A service of two endpoints, of which one listens, and one that keeps its clients.
#[test]
fn services_of_kube_proxy_by_nftables_are_branches() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        run(&host, "ip", &["route", "add", "10.96.0.0/16", "dev", "lo", "src", "10.9.0.5"]);
        let _server = serve_tcp(&host, "10.9.0.2:8080").unwrap();
        run_with(&host, "nft", &["-f", "-"], KUBE_PROXY);
        agree(&host, "10.96.0.10:80", KUBE_PROXY);
        agree(&host, "10.9.0.1:30080", KUBE_PROXY);
        let (found, topology) = walked_to(&host, "10.96.0.10:80");
        let shares: Vec<String> = found.branches.iter().map(|it| it.label()).collect();
        assert_eq!(shares, ["1 of 2", "1 of 2"], "{}", found.sentence(&topology));
        let (found, topology) = walked_to(&host, "10.96.0.11:80");
        let conditions: Vec<usize> = found.branches.iter().map(|it| it.conditions.len()).collect();
        assert_eq!(conditions, [2, 2, 2, 1], "{}", found.sentence(&topology));
        let (found, topology) = walked_to(&host, "10.96.0.99:80");
        assert_eq!(
            (found.branches.len(), found.answered()),
            (1, Some(false)),
            "{}",
            found.sentence(&topology)
        );
    });
}

/// Objects that a map gives: without one the rule does not match, and a counter has no effect.
#[test]
fn objects_of_maps_are_found() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let _servers = ["10.9.0.1:80", "10.9.0.1:81"].map(|address| serve_tcp(&host, address).unwrap());
        let rules = "table ip objects {
            counter hits { }
            chain out {
                type filter hook output priority 0;
                tcp flags & (syn|ack) == syn counter name tcp dport map { 80 : \"hits\" } reject with tcp reset
            }
        }";
        run_with(&host, "nft", &["-f", "-"], rules);
        for (target, answered) in [("10.9.0.1:80", false), ("10.9.0.1:81", true)] {
            agree(&host, target, rules);
            let (found, topology) = walked_to(&host, target);
            assert_eq!(found.answered(), Some(answered), "{}", found.sentence(&topology));
        }
    });
}

/// Sets of ipset are read with their entries; those whose entries vanish are branches.
#[test]
fn sets_of_ipset_are_looked_up() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let _servers = ["10.9.0.1:80", "10.9.0.1:81", "10.9.0.4:80", "10.9.0.2:80"]
            .map(|address| serve_tcp(&host, address).unwrap());
        let sets = "create nets hash:net\nadd nets 10.9.0.0/30\n\
            create ports hash:ip,port\nadd ports 10.9.0.1,tcp:80\nadd ports 10.9.0.4,80-90\nadd ports 10.9.0.2,80\n\
            create numbers bitmap:port range 0-1000\nadd numbers 81-90\n\
            create pairs hash:net,iface\nadd pairs 10.9.0.2,lo\n\
            create six hash:net family inet6\nadd six fd00::/64\n\
            create fading hash:ip timeout 1000\nadd fading 10.9.0.4\n";
        run_with(&host, "ipset", &["restore"], sets);
        let refused = "-j REJECT --reject-with tcp-reset";
        for (rule, refuses) in [
            ("-m set --match-set nets dst", [true, true, false, true]),
            ("-m set ! --match-set nets dst", [false, false, true, false]),
            ("-m set --match-set ports dst,dst", [true, false, true, true]),
            ("-m set ! --match-set ports dst,dst", [false, true, false, false]),
            ("-m set --match-set ports src,src", [false; 4]),
            ("-m set --match-set numbers dst", [false, true, false, false]),
            ("-m set --match-set pairs dst,dst", [false, false, false, true]),
        ] {
            let rules = format!("*filter\n-A OUTPUT -p tcp --syn {rule} {refused}\nCOMMIT\n");
            run_with(&host, "iptables-nft-restore", &[], &rules);
            let targets = ["10.9.0.1:80", "10.9.0.1:81", "10.9.0.4:80", "10.9.0.2:80"];
            for (target, refuses) in targets.into_iter().zip(refuses) {
                agree(&host, target, &rules);
                let (found, topology) = walked_to(&host, target);
                assert_eq!(
                    found.answered(),
                    Some(!refuses),
                    "{rule} {target}: {}",
                    found.sentence(&topology)
                );
            }
        }
        let rules =
            format!("*filter\n-A OUTPUT -p tcp --syn -m set --match-set fading dst {refused}\nCOMMIT\n");
        run_with(&host, "iptables-nft-restore", &[], &rules);
        let (found, topology) = walked_to(&host, "10.9.0.4:80");
        let labels: Vec<String> = found.branches.iter().map(|it| it.label()).collect();
        let expected =
            ["while 10.9.0.4 is in the ipset fading, as now", "while 10.9.0.4 is not in the ipset fading"];
        assert_eq!(labels, expected, "{}", found.sentence(&topology));
        agree(&host, "10.9.0.1:80", &rules);
        run(&host, "iptables-nft", &["-F"]);
        run(&host, "ipset", &["destroy"]);
    });
}
