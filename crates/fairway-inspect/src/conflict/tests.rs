use super::*;
use fairway_ruleset::{Chain, ChainKind, Element, Hook};
use fairway_ruleset::{CtState, Load, Policy, RuleBuilder, Set, rule};

fn samples() -> Samples {
    Samples {
        bridge: "br-ours".to_owned(),
        addresses: vec![
            ("172.30.0.1".parse().unwrap(), "172.30.0.2".parse().unwrap()),
            ("fd00:1::1".parse().unwrap(), "fd00:1::2".parse().unwrap()),
        ],
        outside: Some("eth0".to_owned()),
        internal: false,
        publishes_udp: false,
        resolver: true,
        bridge_netfilter_ipv4: true,
        bridge_netfilter_ipv6: true,
    }
}

fn lines(tables: &[ForeignTable]) -> Vec<String> {
    firewall_conflicts(tables, &samples()).iter().map(ToString::to_string).collect()
}

fn saved(family: Family, text: &str) -> ForeignTable {
    read_saved(family, text).unwrap()
}

fn sixteen(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// A table with one chain at the forward hook.
fn forward(policy: Policy, rules: Vec<RuleBuilder>, others: Vec<Chain>) -> ForeignTable {
    let mut chain = Chain::base("fwd", ChainKind::Filter, Hook::Forward, 0).with(rules);
    if let Some(base) = &mut chain.base {
        base.policy = policy;
    }
    let mut table = Table::new(Family::Inet, "mine");
    table.chains = [vec![chain], others].concat();
    for chain in &mut table.chains {
        for (rule, handle) in chain.rules.iter_mut().zip(10..) {
            rule.handle = Some(handle);
        }
    }
    ForeignTable { table, legacy: false, owned: false }
}

const OUTWARD: &str = "what sandboxes send elsewhere (IPv4 and IPv6)";
const PUBLISHED: &str = "what comes to published ports from elsewhere (IPv4 and IPv6)";
const WITHIN: &str = "what sandboxes of the network send one another (IPv4 and IPv6)";

#[test]
fn a_policy_of_drop_drops_all_that_is_forwarded() {
    let place = "nftables: table inet mine, chain fwd, policy: drops";
    let expected: Vec<String> =
        [OUTWARD, PUBLISHED, WITHIN].iter().map(|what| format!("{place} {what}")).collect();
    assert_eq!(lines(&[forward(Policy::Drop, vec![], vec![])]), expected);
    assert!(lines(&[forward(Policy::Accept, vec![], vec![])]).is_empty());
    // A rule for known flows does not accept the first packet of one.
    let answers = rule().ct_state_any(&[CtState::Established, CtState::Related]).accept();
    assert_eq!(lines(&[forward(Policy::Drop, vec![answers], vec![])]), expected);
}

#[test]
fn rules_that_accept_our_bridge_are_understood() {
    let ours = || rule().is(Load::INPUT_NAME, sixteen("br-ours")).accept();
    let left = lines(&[forward(Policy::Drop, vec![ours()], vec![])]);
    assert_eq!(left, [format!("nftables: table inet mine, chain fwd, policy: drops {PUBLISHED}")]);
    let begin = rule().is(Load::INPUT_NAME, *b"br-").accept();
    assert_eq!(lines(&[forward(Policy::Drop, vec![begin], vec![])]), left);
    let published = rule().ct_status_dnat().accept();
    assert!(lines(&[forward(Policy::Drop, vec![ours(), published], vec![])]).is_empty());
    let other = rule().is(Load::INPUT_NAME, sixteen("br-theirs")).accept();
    assert_eq!(lines(&[forward(Policy::Drop, vec![other], vec![])]).len(), 3);
    let unless = rule().is_not(Load::INPUT_NAME, sixteen("br-ours")).drop();
    let cut = lines(&[forward(Policy::Accept, vec![unless], vec![])]);
    assert_eq!(
        cut,
        [format!("nftables: table inet mine, chain fwd, rule with handle 10: drops {PUBLISHED}")]
    );
}

#[test]
fn rules_on_unknown_values_may_drop() {
    let some = || rule().to_port(fairway_model::Protocol::Tcp, 80);
    let found = lines(&[forward(Policy::Drop, vec![some().accept()], vec![])]);
    assert!(found.iter().all(|line| line.contains("policy: may drop")), "{found:?}");
    let found = lines(&[forward(Policy::Accept, vec![some().drop()], vec![])]);
    assert!(found.len() == 3 && found.iter().all(|line| line.contains("handle 10: may drop")), "{found:?}");
    let udp = rule().to_port(fairway_model::Protocol::Udp, 80).drop();
    assert!(lines(&[forward(Policy::Accept, vec![udp], vec![])]).is_empty());
}

#[test]
fn published_udp_ports_are_found_where_tcp_passes() {
    let lines = |rules: Vec<RuleBuilder>, policy| {
        let samples = Samples { publishes_udp: true, ..samples() };
        let table = forward(policy, rules, vec![]);
        firewall_conflicts(&[table], &samples).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let udp = || rule().is(Load::TRANSPORT, [17]);
    let of_udp = "what comes to published UDP ports from elsewhere (IPv4 and IPv6)";
    let place = "nftables: table inet mine, chain fwd";
    assert_eq!(
        lines(vec![udp().drop()], Policy::Accept),
        [format!("{place}, rule with handle 10: drops {of_udp}")]
    );
    let port = || rule().to_port(fairway_model::Protocol::Udp, 53);
    assert_eq!(
        lines(vec![port().drop()], Policy::Accept),
        [format!("{place}, rule with handle 10: may drop {of_udp}")]
    );
    // What drops TCP too is said once.
    let all = lines(vec![], Policy::Drop);
    assert!(all.len() == 3 && !all.iter().any(|line| line.contains("UDP")), "{all:?}");
    let rest = lines(vec![rule().is(Load::TRANSPORT, [6]).accept()], Policy::Drop);
    assert_eq!(rest, [format!("{place}, policy: drops {of_udp}")]);
}

#[test]
fn chains_and_sets_are_followed() {
    let zones = Chain::regular("zones").with([rule().is(Load::OUTPUT_NAME, sixteen("eth0")).goto("refuse")]);
    let refuse = Chain::regular("refuse").with([rule().reject()]);
    let table = forward(Policy::Accept, vec![rule().jump("zones")], vec![zones.clone(), refuse.clone()]);
    let expected =
        vec![format!("nftables: table inet mine, chain refuse, rule with handle 10: drops {OUTWARD}")];
    assert_eq!(lines(&[table]), expected);
    let mut table = forward(
        Policy::Accept,
        vec![rule().is_in(&[Load::INPUT_NAME], "friends").accept(), rule().jump("zones")],
        vec![zones, refuse],
    );
    table.table.sets = vec![Set::new("friends", [fairway_ruleset::Datatype::InterfaceName])];
    assert_eq!(lines(std::slice::from_ref(&table)), expected);
    table.table.sets[0].elements = vec![Element::new(sixteen("br-ours"))];
    assert!(lines(&[table]).is_empty());
}

#[test]
fn a_dormant_table_and_another_family_drop_nothing() {
    let mut table = forward(Policy::Drop, vec![], vec![]);
    table.table.family = Family::Ip;
    let found = lines(std::slice::from_ref(&table));
    assert!(found.len() == 3 && found.iter().all(|line| line.ends_with("(IPv4)")), "{found:?}");
    table.table.flags.dormant = true;
    assert!(lines(&[table]).is_empty());
}

#[test]
fn ufw_drops_forwarded_packets_and_packets_to_the_host() {
    let found = lines(&[
        saved(Family::Ip, include_str!("data/ufw.v4")),
        saved(Family::Ip6, include_str!("data/ufw.v6")),
    ]);
    for chain in ["FORWARD", "INPUT"] {
        let place = format!("ufw: legacy table ip filter, chain {chain}, policy: ");
        assert!(found.iter().any(|line| line.starts_with(&place)), "{chain}: {found:#?}");
    }
    assert!(
        !found.iter().any(|line| line.contains("name servers") || line.contains("from the host")),
        "{found:#?}"
    );
    let outward = |line: &&String| line.contains("policy: drops what sandboxes send elsewhere (IPv4)");
    assert_eq!(found.iter().filter(outward).count(), 1, "{found:#?}");
}

#[test]
fn docker_drops_by_the_policy_of_forward() {
    let found = lines(&[saved(Family::Ip, include_str!("data/docker.v4"))]);
    let place = "Docker: legacy table ip filter, chain FORWARD, policy: drops";
    let expected =
        [OUTWARD, PUBLISHED, WITHIN].map(|what| format!("{place} {}", what.replace(" and IPv6", "")));
    assert_eq!(found, expected);
}

#[test]
fn a_quoted_comment_is_one_word() {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i br-ours -m comment --comment \"-j DROP \\\"x\\\"\" -j ACCEPT\n-A FORWARD -d 172.30.0.0/16 -j ACCEPT\nCOMMIT\n";
    let foreign = saved(Family::Ip, text);
    assert_eq!(foreign.table.chains[0].rules[0].comment.as_deref(), Some("-j DROP \"x\""));
    assert!(lines(&[foreign]).is_empty());
}

#[test]
fn a_jump_is_inserted_only_into_chains_that_drop() {
    let networks = [samples()];
    let at = |foreign: &ForeignTable| jump::places(foreign, &networks);
    assert_eq!(at(&saved(Family::Ip, include_str!("data/ufw.v4"))), ["FORWARD"]);
    assert_eq!(at(&saved(Family::Ip6, include_str!("data/ufw.v6"))), ["FORWARD"]);
    assert_eq!(at(&saved(Family::Ip, include_str!("data/docker.v4"))), ["DOCKER-USER"]);
    assert!(at(&forward(Policy::Accept, vec![], vec![])).is_empty());
    let table = forward(Policy::Drop, vec![], vec![]);
    assert_eq!(at(&table), ["fwd"]);
    assert!(at(&ForeignTable { owned: true, ..table.clone() }).is_empty(), "only its owner may change it");
    // A table with chains of Fairway's iptables backend gets no jump.
    let mut own = table.clone();
    own.table.chains.push(Chain::regular("FAIRWAY-FORWARD"));
    assert!(at(&own).is_empty());
    // Only the forward hook gets a jump.
    let mut input = table;
    input.table.chains[0].base.as_mut().unwrap().hook = Hook::Input;
    assert!(at(&input).is_empty());
}

#[test]
fn the_own_jump_is_recognized_and_removed() {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i a -j ACCEPT\nCOMMIT\n";
    let before = saved(Family::Ip, text);
    let script = jump::legacy_script(&before, &["FORWARD".to_owned()], &["br-ours".to_owned()]);
    let own = "-A fairway-accept -i br-ours -j ACCEPT\n-A fairway-accept -o br-ours -j ACCEPT\n";
    let jump = "-m comment --comment fairway -j fairway-accept\n";
    let expected = format!("*filter\n:fairway-accept - [0:0]\n{own}-I FORWARD 1 {jump}COMMIT\n");
    assert_eq!(script, expected);
    let with = format!(
        "*filter\n:FORWARD DROP [0:0]\n:fairway-accept - [0:0]\n-A FORWARD {jump}-A FORWARD -i a -j ACCEPT\n{own}COMMIT\n"
    );
    let with = saved(Family::Ip, &with);
    assert!(lines(std::slice::from_ref(&with)).is_empty());
    let without = jump::without_ours(&with);
    assert_eq!(without.table.chains[0].rules[0].handle, Some(2));
    assert_eq!(without.table.at_rest(), before.table.clone().at_rest());
    let removal = format!("*filter\n-D FORWARD {jump}-F fairway-accept\n-X fairway-accept\nCOMMIT\n");
    assert_eq!(jump::legacy_script(&with, &[], &[]), removal);
}

#[test]
fn a_jump_of_the_former_name_is_replaced() {
    let former = "-m comment --comment fairway -j fairway-beside\n";
    let text = format!(
        "*filter\n:FORWARD DROP [0:0]\n:fairway-beside - [0:0]\n-A FORWARD {former}-A fairway-beside -i br-ours -j ACCEPT\nCOMMIT\n"
    );
    let script =
        jump::legacy_script(&saved(Family::Ip, &text), &["FORWARD".to_owned()], &["br-ours".to_owned()]);
    let own = "-A fairway-accept -i br-ours -j ACCEPT\n-A fairway-accept -o br-ours -j ACCEPT\n";
    let expected = format!(
        "*filter\n:fairway-accept - [0:0]\n-D FORWARD {former}-F fairway-beside\n-X fairway-beside\n{own}-I FORWARD 1 -m comment --comment fairway -j fairway-accept\nCOMMIT\n"
    );
    assert_eq!(script, expected);
}

#[test]
fn a_walk_through_many_nested_jumps_ends() {
    let jumps = |to: String| (0..10).map(move |_| rule().jump(&to));
    let fan =
        (0..15).map(|depth| Chain::regular(format!("at{depth}")).with(jumps(format!("at{}", depth + 1))));
    let tables = [forward(Policy::Accept, vec![rule().jump("at0")], fan.collect())];
    assert_eq!(lines(&tables), Vec::<String>::new());
}
