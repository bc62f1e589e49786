//! Branches against the kernel: what happens to many packets is one of the branches, and each probable one happens.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fairway_lab::{Host, Lab, Outcome, Question, serve_tcp};
use fairway_walk::{
    Branches, NamespaceId, Origin, Probability, Proxy, Topology, Tuple, Walker, walk_branches,
};

use crate::foreign_firewalls::run_with;

/// How many connections are made, and which branches have to be met by them: of such, one in 10^7 is missed.
const CONNECTIONS: usize = 60;
const PROBABLE: (u64, u64) = (1, 4);
const TARGET: &str = "10.9.0.1:80";
const CHANCES: [(u64, u64); 5] = [(1, 2), (1, 3), (2, 3), (1, 4), (3, 4)];

/// Numbers that follow from a seed alone (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// A host that asks itself, from any of its addresses.
pub fn host(lab: &Lab) -> Host {
    let host = lab.host("alone").unwrap();
    for number in 1..=5 {
        host.add_address("lo", &format!("10.9.0.{number}/32")).unwrap();
    }
    host
}

fn walked(host: &Host) -> (Branches, Topology) {
    walked_to(host, TARGET)
}

/// The branches of a connection of the host itself, by the state of its kernel.
pub fn walked_to(host: &Host, target: &str) -> (Branches, Topology) {
    let target: SocketAddr = target.parse().unwrap();
    let survey = host.run_in(|| fairway_kernel::survey::survey("host")).unwrap().unwrap();
    let topology = Topology { namespaces: vec![survey.namespace] };
    let tuple = Tuple {
        protocol: 6,
        source: Ipv4Addr::UNSPECIFIED.into(),
        destination: target.ip(),
        source_port: 40_000,
        destination_port: target.port(),
    };
    let origin = Origin::Local(NamespaceId::HOST);
    let walker = Walker::new(&topology).with_any_source_port();
    (walk_branches(&walker, origin, tuple, Proxy::default()), topology)
}

/// A result as both sides have it.
fn in_thought(outcome: &fairway_walk::Outcome) -> String {
    match outcome {
        fairway_walk::Outcome::Answered(source) => source.to_string(),
        other => format!("{other:?}"),
    }
}

fn for_real(host: &Host, target: &str) -> String {
    let asked = Question::to(target).unwrap().within(Duration::from_secs(2)).tcp(host).unwrap();
    match asked {
        Outcome::Answered { source } => source.to_string(),
        other => format!("{other:?}"),
    }
}

/// Many connections end as the branches say, and in all that are probable.
pub fn agree(host: &Host, target: &str, rules: &str) {
    let (branches, topology) = walked_to(host, target);
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut probable: BTreeSet<String> = BTreeSet::new();
    let mut sum = Probability::new(0, 1);
    for branch in &branches.branches {
        let result = in_thought(&branch.walk.outcome());
        let probability = branch.probability.unwrap_or(Probability::new(1, 1));
        sum = sum.or(probability);
        let (share, of) = (probability.numerator(), probability.denominator());
        if share * PROBABLE.1 >= of * PROBABLE.0 {
            probable.insert(result.clone());
        }
        known.insert(result);
    }
    let said = branches.sentence(&topology);
    assert_eq!((sum, branches.not_walked), (Probability::new(1, 1), 0), "{rules}\n{said}");
    let met: BTreeSet<String> = (0..CONNECTIONS).map(|_| for_real(host, target)).collect();
    assert!(met.is_subset(&known), "{rules}\n{said}\nmet {met:?}");
    assert!(probable.is_subset(&met), "{rules}\n{said}\nmet {met:?}, not {probable:?}");
}

/// Rules of iptables that give a new connection one of several sources, or refuse it.
fn statistic(numbers: &mut Numbers) -> String {
    let chance = |numbers: &mut Numbers| {
        let (share, of) = CHANCES[numbers.below(CHANCES.len())];
        match numbers.below(3) {
            0 => format!("-m statistic --mode nth --every {} --packet 0", 2 + numbers.below(3)),
            1 => format!("-m statistic --mode random ! --probability {:.10}", share as f64 / of as f64),
            _ => format!("-m statistic --mode random --probability {:.10}", share as f64 / of as f64),
        }
    };
    let mut text = String::from("*nat\n");
    for number in 2..3 + numbers.below(3) {
        let chance = chance(numbers);
        text +=
            &format!("-A POSTROUTING -d 10.9.0.1/32 -p tcp {chance} -j SNAT --to-source 10.9.0.{number}\n");
    }
    text += "COMMIT\n*filter\n";
    if numbers.below(2) == 0 {
        let chance = chance(numbers);
        text +=
            &format!("-A OUTPUT -d 10.9.0.1/32 -p tcp --syn {chance} -j REJECT --reject-with tcp-reset\n");
    }
    text + "COMMIT\n"
}

/// The same with numbers of nf_tables.
fn numgen(numbers: &mut Numbers) -> String {
    let source = ["random", "inc"][numbers.below(2)];
    let count = 2 + numbers.below(3);
    let chains: String = (0..count)
        .map(|number| format!("chain to{number} {{ meta l4proto tcp snat to 10.9.0.{}; }}\n", number + 2))
        .collect();
    let by_verdict = (0..count).map(|number| format!("{number} : goto to{number}"));
    let by_value = (0..count).map(|number| format!("{number} : 10.9.0.{}", number + 2));
    let (all, rule) = match numbers.below(2) {
        0 => (by_verdict.collect::<Vec<_>>(), format!("numgen {source} mod {count} vmap")),
        _ => (by_value.collect(), format!("snat to numgen {source} mod {count} map")),
    };
    let refuses = match numbers.below(2) {
        0 => format!(
            "ip daddr 10.9.0.1 tcp flags & (syn|ack) == syn numgen random mod 10 < {} reject with tcp reset",
            3 + numbers.below(5)
        ),
        _ => String::new(),
    };
    format!(
        "table ip lots {{
            {chains}
            chain out {{ type filter hook output priority 0; {refuses}
            }}
            chain post {{ type nat hook postrouting priority srcnat; ip daddr 10.9.0.1 tcp dport 80 {rule} {{ {} }}; }}
        }}",
        all.join(", ")
    )
}

#[test]
fn chances_of_iptables_are_those_of_the_branches() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let _server = serve_tcp(&host, TARGET).unwrap();
        for seed in 0..8 {
            let rules = statistic(&mut Numbers(seed));
            run_with(&host, "iptables-nft-restore", &[], &rules);
            agree(&host, TARGET, &rules);
        }
    });
}

#[test]
fn numbers_of_nftables_are_those_of_the_branches() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let _server = serve_tcp(&host, TARGET).unwrap();
        for seed in 0..8 {
            let rules = numgen(&mut Numbers(seed));
            run_with(&host, "nft", &["-f", "-"], &rules);
            agree(&host, TARGET, &rules);
            run_with(&host, "nft", &["-f", "-"], "delete table ip lots");
        }
    });
}

/// Some connections pass below a limit, then none; both are branches, also in the rules of both kinds of iptables.
#[test]
fn both_sides_of_a_limit_are_branches() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let _server = serve_tcp(&host, TARGET).unwrap();
        let nft = "table ip limits { chain out { type filter hook output priority 0; tcp flags & (syn|ack) == syn \
            limit rate over 5/hour burst 5 packets reject with tcp reset; }; }";
        let iptables = "*filter\n-A OUTPUT -p tcp --syn -m limit --limit 5/hour --limit-burst 5 -j ACCEPT\n\
            -A OUTPUT -p tcp --syn -j REJECT --reject-with tcp-reset\nCOMMIT\n";
        for (program, arguments, rules) in
            [("nft", ["-f", "-"].as_slice(), nft), ("iptables-nft-restore", &[], iptables)]
        {
            run_with(&host, program, arguments, rules);
            let (branches, topology) = walked(&host);
            let known: Vec<String> =
                branches.branches.iter().map(|it| in_thought(&it.walk.outcome())).collect();
            let met: Vec<String> = (0..8).map(|_| for_real(&host, TARGET)).collect();
            assert_eq!(known, ["10.9.0.1", "Refused"], "{}", branches.sentence(&topology));
            assert_eq!((met[0].as_str(), met[7].as_str()), ("10.9.0.1", "Refused"), "{met:?}");
            assert!(branches.branches.iter().all(|it| it.probability.is_none() && it.conditions.len() == 1));
            run_with(&host, "nft", &["flush", "ruleset"], "");
        }
    });
}

/// A rule on some of the source ports that the kernel gives is met by some connections; one on all by all, one on others by
/// none.
#[test]
fn rules_on_source_ports_are_branches_where_the_kernel_gives_some_of_the_ports() {
    fairway_lab::run(|lab| {
        let host = host(lab);
        let _server = serve_tcp(&host, "0.0.0.0:80").unwrap();
        // The ports of connections to one address follow one another.
        host.set_sysctl("net.ipv4.ip_local_port_range", "41000 41099").unwrap();
        for (ports, results) in [
            ("tcp sport 1024-65535", 1),
            ("tcp sport 41000-41099", 1),
            ("tcp sport 1-40999", 1),
            ("tcp sport { 22, 41100-65535 }", 1),
            ("tcp sport 1024-41049", 2),
            ("tcp sport != 41000-41049", 2),
            ("tcp sport { 22, 41050-65535 }", 2),
            ("tcp sport . tcp dport { 41050-65535 . 80 }", 2),
            ("tcp sport . tcp dport { 41050-65535 . 81 }", 1),
        ] {
            let chain = format!(
                "chain out {{ type filter hook output priority 0\n tcp dport 80 {ports} reject with tcp reset\n}}"
            );
            run_with(&host, "nft", &["-f", "-"], &format!("flush ruleset\ntable ip t {{ {chain}\n}}"));
            let (branches, topology) = walked_to(&host, TARGET);
            let known: BTreeSet<String> =
                branches.branches.iter().map(|branch| in_thought(&branch.walk.outcome())).collect();
            let met: BTreeSet<String> = (0..CONNECTIONS).map(|_| for_real(&host, TARGET)).collect();
            assert_eq!((&known, known.len()), (&met, results), "{ports}: {}", branches.sentence(&topology));
        }
    });
}
