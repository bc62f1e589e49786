use std::fmt::Write;

use super::*;
use crate::object::RulesetSwitches;
use crate::object::iptables::{Place, RuleChain, RuleTable, Rules};
use crate::object::{Difference, Fragment, Key, Object};
use fairway_model::Isolation;

const WITH_PROXY: RulesetSwitches = RulesetSwitches {
    userland_proxy: true,
    bridge_netfilter_ipv4: true,
    bridge_netfilter_ipv6: true,
    drop_unrelated_forward_ipv4: true,
    drop_unrelated_forward_ipv6: false,
    ipv4_disabled: false,
    ipv6_disabled: false,
    bridge_table_only: true,
    allow_direct_routing: false,
    accept_mark: None,
    relay_user: None,
};

const WITHOUT_PROXY: RulesetSwitches = RulesetSwitches { userland_proxy: false, ..WITH_PROXY };

fn app(switches: &RulesetSwitches) -> NetworkRules<'_> {
    NetworkRules {
        bridge: "br-app",
        subnet: "172.18.0.0/16".parse().ok(),
        icc: true,
        internal: false,
        isolation: Isolation::Strict,
        masquerade: true,
        source: None,
        entry: DirectAccess::default(),
        switches,
    }
}

fn objects(ipv4: bool, switches: &RulesetSwitches, rules: Vec<Rules>) -> Fragment {
    let host = host(ipv4, switches);
    let chains = host.chains.into_iter().map(|chain| (Key::Chain(chain), Object::Chain));
    let rules = host.rules.into_iter().chain(rules);
    chains
        .chain(rules.map(|rules| (Key::Rules(rules.chain.clone(), rules.text()), Object::Rules(rules.place))))
        .collect()
}

/// What `iptables-save` would write after a difference was applied to nothing, without policies and counts.
fn saved(objects: &Fragment) -> String {
    let mut text = String::new();
    let chain = |key: &Key| match key {
        Key::Chain(chain) | Key::Rules(chain, _) => Some(chain.clone()),
        _ => None,
    };
    let mut chains: Vec<RuleChain> = objects.keys().filter_map(chain).collect();
    chains.sort_by_key(|chain| (chain.is_ours(), chain.clone()));
    chains.dedup();
    for table in RuleTable::ALL {
        let mut part = String::new();
        for chain in chains.iter().filter(|chain| chain.table == table) {
            for place in [Place::First, Place::Last] {
                let here = objects.iter().filter_map(|(key, object)| match (key, object) {
                    (Key::Rules(of, text), Object::Rules(at)) if of == chain && *at == place => Some(text),
                    _ => None,
                });
                for line in here.flat_map(|text| text.lines()) {
                    writeln!(part, "-A {} {line}", chain.name).unwrap();
                }
            }
        }
        if !part.is_empty() {
            writeln!(text, "*{}", table.text()).unwrap();
            for chain in chains.iter().filter(|chain| chain.table == table && chain.is_ours()) {
                writeln!(text, ":{} - [0:0]", chain.name).unwrap();
            }
            writeln!(text, "{part}COMMIT").unwrap();
        }
    }
    text
}

fn published_at(at: &str, to: &str) -> Rules {
    published(fairway_model::Protocol::Tcp, at.parse().unwrap(), to.parse().unwrap())
}

/// Compare with `docker-20.10-iptables_true-proxy_true.txt`: DOCKER is FAIRWAY; what Docker has in FORWARD and POSTROUTING
/// is in chains of that name.
#[test]
fn a_network_with_the_proxy() {
    let mut rules = network(true, &app(&WITH_PROXY));
    rules.push(published_at("0.0.0.0:8080", "172.18.0.2:80"));
    rules.push(published_at("127.0.0.1:8301", "172.18.0.2:80"));
    insta::assert_snapshot!(saved(&objects(true, &WITH_PROXY, rules)));
}

/// Compare with `docker-20.10-iptables_true-proxy_false.txt`.
#[test]
fn a_network_without_the_proxy() {
    let mut rules = network(true, &app(&WITHOUT_PROXY));
    rules.push(hairpin("172.18.0.2".parse().unwrap()));
    rules.push(published_at("0.0.0.0:8080", "172.18.0.2:80"));
    insta::assert_snapshot!(saved(&objects(true, &WITHOUT_PROXY, rules)));
}

/// Compare with `docker-20.10-icc-links-options.txt`: a network with icc=false, and a link.
#[test]
fn a_network_whose_sandboxes_are_apart() {
    let (from, to) = ("172.18.0.3".parse().unwrap(), "172.18.0.2".parse().unwrap());
    let mut rules = network(true, &NetworkRules { icc: false, ..app(&WITH_PROXY) });
    rules.extend(link("br-app", from, to, fairway_model::Protocol::Tcp, 80));
    insta::assert_snapshot!(lines(&rules));
}

/// An internal network, one that is not masqueraded, and one on a host without br_netfilter.
#[test]
fn other_networks() {
    let internal = NetworkRules { internal: true, masquerade: false, ..app(&WITH_PROXY) };
    insta::assert_snapshot!(lines(&network(true, &internal)));
    let unseen = RulesetSwitches { bridge_netfilter_ipv4: false, relay_user: Some(61_137), ..WITHOUT_PROXY };
    let plain = NetworkRules { masquerade: false, ..app(&unseen) };
    insta::assert_snapshot!(lines(&network(true, &plain)));
}

/// IPv6 is the same, but that loopback is not translated.
#[test]
fn a_network_by_ipv6() {
    let subnet = "fd00:1::/64".parse().ok();
    let mut rules = network(false, &NetworkRules { icc: false, subnet, ..app(&WITHOUT_PROXY) });
    rules.push(hairpin("fd00:1::2".parse().unwrap()));
    rules.push(published_at("[::]:8080", "[fd00:1::2]:80"));
    insta::assert_snapshot!(saved(&objects(false, &WITHOUT_PROXY, rules)));
}

/// What is not forwarded is left to the proxy, and what the relay answers is let out, tracked or not.
#[test]
fn the_proxy_answers_link_local_addresses_and_what_is_not_tracked() {
    let switches = RulesetSwitches { relay_user: Some(61_137), ..WITH_PROXY };
    let text = saved(&objects(false, &switches, Vec::new()));
    assert!(
        text.contains("-A FAIRWAY -s fe80::/10 -j RETURN\n-A FAIRWAY -d fe80::/10 -j RETURN\n"),
        "{text}"
    );
    let answers = "-A FAIRWAY-RELAY -p tcp -m tcp --tcp-flags ACK ACK -j RETURN\n-A FAIRWAY-RELAY -j DROP\n";
    assert!(text.contains(answers), "{text}");
    for (ipv4, switches) in [(true, &WITH_PROXY), (false, &WITHOUT_PROXY)] {
        assert!(!saved(&objects(ipv4, switches, Vec::new())).contains("fe80"));
    }
}

fn lines(rules: &[Rules]) -> String {
    let mut text = String::new();
    for rules in rules {
        for line in &rules.lines {
            writeln!(text, "{} -A {} {line}", rules.chain.table.text(), rules.chain.name).unwrap();
        }
    }
    text
}

fn difference(is: &Fragment, shall: &Fragment) -> Difference {
    Difference::between(is.clone(), shall.clone())
}

#[test]
fn a_change_is_the_lines_of_its_own() {
    let before = objects(true, &WITH_PROXY, network(true, &app(&WITH_PROXY)));
    let mut rules = network(true, &app(&WITH_PROXY));
    rules.push(published_at("0.0.0.0:8080", "172.18.0.2:80"));
    let after = objects(true, &WITH_PROXY, rules);
    insta::assert_snapshot!(script(true, &difference(&before, &after), None).unwrap());
    insta::assert_snapshot!(script(true, &difference(&after, &before), None).unwrap());
    assert_eq!(script(false, &difference(&before, &after), None), None);
    // Of a group that is another all lines are others: they follow one another.
    let apart = objects(true, &WITH_PROXY, network(true, &NetworkRules { icc: false, ..app(&WITH_PROXY) }));
    insta::assert_snapshot!(script(true, &difference(&before, &apart), None).unwrap());
}

#[test]
fn many_lines_are_committed_some_at_a_time() {
    let rules = (0..1200).map(|port| published_at(&format!("0.0.0.0:{}", 20_000 + port), "172.17.0.2:80"));
    let ports = objects(true, &RulesetSwitches::default(), rules.collect());
    let without = objects(true, &RulesetSwitches::default(), Vec::new());
    let text = script(true, &difference(&without, &ports), None).unwrap();
    let commits: Vec<usize> =
        text.split_terminator("COMMIT\n").map(|part| part.lines().count() - 1).collect();
    assert_eq!(commits, [500, 500, 200]);
    assert_eq!(text.matches("*nat\n").count(), 3);
}

#[test]
fn all_that_goes_goes_at_once_but_the_users_chain() {
    let before = objects(true, &WITH_PROXY, network(true, &app(&WITH_PROXY)));
    insta::assert_snapshot!(script(true, &difference(&before, &Fragment::new()), None).unwrap());
}

#[test]
fn what_was_saved_is_what_was_wanted() {
    for switches in [WITH_PROXY, WITHOUT_PROXY] {
        let mut rules = network(true, &app(&switches));
        rules.extend(network(true, &NetworkRules { bridge: "br-other", icc: false, ..app(&switches) }));
        rules.push(published_at("0.0.0.0:8080", "172.18.0.2:80"));
        let wanted = objects(true, &switches, rules);
        let text = saved(&wanted);
        assert_eq!(Saved::parse(true, &text).objects(&wanted), wanted);
        assert!(!Saved::parse(true, &text).is_empty());
        assert!(
            Saved::parse(true, "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j DOCKER\nCOMMIT\n").is_empty()
        );
    }
}

/// The script that repairs rules whose text another program changed.
fn repair(change: impl FnOnce(String) -> String) -> String {
    let mut rules = network(true, &app(&WITH_PROXY));
    rules.push(published_at("0.0.0.0:8080", "172.18.0.2:80"));
    let wanted = objects(true, &WITH_PROXY, rules);
    let text = change(saved(&wanted));
    let found = Saved::parse(true, &text).objects(&wanted);
    script(true, &difference(&found, &wanted), None).unwrap_or_default()
}

#[test]
fn whatever_others_did_is_undone() {
    assert_eq!(repair(|text| text), "");
    let missing = repair(|text| text.replace("-A FAIRWAY-FORWARD -o br-app -j FAIRWAY\n", ""));
    insta::assert_snapshot!(missing);
    let twice = repair(|text| {
        text.replace("-A FAIRWAY-GUARD -j DROP\n", "-A FAIRWAY-GUARD -j DROP\n-A FAIRWAY-GUARD -j DROP\n")
    });
    insta::assert_snapshot!(twice);
    let theirs =
        repair(|text| text.replace("-A FAIRWAY -o", "-A FAIRWAY -s 1.2.3.4/32 -j ACCEPT\n-A FAIRWAY -o"));
    insta::assert_snapshot!(theirs);
    // What is to be first is behind what is last.
    let order = repair(|text| {
        let own = "-A FAIRWAY -i br-app -j RETURN\n";
        text.replace(own, "").replace(":80\n", &format!(":80\n{own}"))
    });
    insta::assert_snapshot!(order);
    // The first of two alike is the one that is deleted.
    let again = repair(|text| {
        text.replace("-o br-app -j DROP\n", "-o br-app -j DROP\n-A FAIRWAY-FORWARD -o br-app -j FAIRWAY\n")
    });
    insta::assert_snapshot!(again);
    let users = repair(|text| {
        let text =
            text.replace(":FAIRWAY-USER - [0:0]\n", ":FAIRWAY-USER - [0:0]\n-A FAIRWAY-USER -j DROP\n");
        format!("{text}*mangle\n-A FORWARD -j FAIRWAY\nCOMMIT\n")
    });
    assert_eq!(users, "");
}

#[test]
fn what_is_gone_meanwhile_is_neither_deleted_nor_built_upon() {
    let before = objects(true, &WITH_PROXY, network(true, &app(&WITH_PROXY)));
    let mut rules = network(true, &NetworkRules { masquerade: false, ..app(&WITH_PROXY) });
    rules.push(published_at("0.0.0.0:8080", "172.18.0.2:80"));
    let after = objects(true, &WITH_PROXY, rules);
    let found = Saved::parse(true, "*filter\n:FAIRWAY-FORWARD - [0:0]\nCOMMIT\n");
    insta::assert_snapshot!(script(true, &difference(&before, &after), Some(&found)).unwrap());
}

#[test]
fn the_users_chain_outlives_ours_while_it_holds_something() {
    let text =
        "*filter\n:FAIRWAY-USER - [0:0]\n-A FORWARD -j FAIRWAY-USER\n-A FAIRWAY-USER -j DROP\nCOMMIT\n";
    let users = Key::Chain(RuleChain::new(true, RuleTable::Filter, USER));
    let found = Saved::parse(true, text).objects(&Fragment::new());
    assert!(!found.contains_key(&users) && found.len() == 1);
    let empty = text.replace("-A FAIRWAY-USER -j DROP\n", "");
    assert!(Saved::parse(true, &empty).objects(&Fragment::new()).contains_key(&users));
}

/// Gateway modes, trusted interfaces, marks, peers, and a source address of one's own.
#[test]
fn what_may_enter_untranslated() {
    let mark = fairway_model::PacketMark { value: 2, mask: u32::MAX };
    let marked = RulesetSwitches { accept_mark: Some(mark), ..WITH_PROXY };
    let trusted = ["eth1".to_owned()];
    let source = "10.10.50.98".parse().ok();
    let from = DirectAccess { trusted: &trusted, ..DirectAccess::default() };
    insta::assert_snapshot!(lines(&network(true, &NetworkRules { entry: from, source, ..app(&marked) })));
    let routed = DirectAccess { routed: true, ..DirectAccess::default() };
    insta::assert_snapshot!(lines(&network(
        true,
        &NetworkRules { entry: routed, masquerade: false, ..app(&WITH_PROXY) }
    )));
    let peers = ["172.30.2.0/24".parse().unwrap()];
    let open = DirectAccess { peers: Some(&peers), ..DirectAccess::default() };
    insta::assert_snapshot!(lines(&network(true, &NetworkRules { entry: open, ..app(&WITH_PROXY) })));
}

#[test]
fn direct_access_is_known_by_the_rule() {
    let (to, protocol) = ("172.18.0.2".parse().unwrap(), fairway_model::Protocol::Udp);
    let rules = direct(to, protocol, 53);
    assert_eq!(rules.text(), "-d 172.18.0.2/32 -p udp -m udp --dport 53 -j ACCEPT");
    assert_eq!(direct_port(&rules.chain, &rules.text()), Some((protocol, (to, 53).into())));
    let elsewhere = RuleChain::new(true, RuleTable::Filter, USER);
    assert_eq!(direct_port(&elsewhere, &rules.text()), None);
}

#[test]
fn as_allowed_accepts_in_our_forward_chain_and_keeps_other_chains() {
    let drop = || fairway_ruleset::Chain::regular("").with([rule().drop()]).rules;
    let names = [chain_name::FORWARD, "FAIRWAY-STAGE-1", USER, "FORWARD"];
    let mut table = Table::new(fairway_ruleset::Family::Ip, "filter");
    table.chains = names.map(|name| Chain { rules: drop(), ..Chain::regular(name) }).into();
    accept_in_our_chains(&mut table);
    let rules: Vec<_> = table.chains.iter().map(|chain| chain.rules.clone()).collect();
    let accept = Chain::regular("").with([rule().accept()]).rules;
    assert_eq!(rules, [accept, Vec::new(), drop(), drop()]);
}

#[test]
fn saved_rules_are_counted_by_chain_and_only_our_chains_can_be_missing() {
    let text = "*filter\n:FAIRWAY-GUARD - [0:0]\n-A FAIRWAY-GUARD -j DROP\n-A FAIRWAY-GUARD -j DROP\n-A FORWARD -j FAIRWAY-GUARD\nCOMMIT\n";
    let found = Saved::parse(true, text);
    let chain = |name: &str| RuleChain::new(true, RuleTable::Filter, name);
    let (guard, forward) = (chain("FAIRWAY-GUARD"), chain("FORWARD"));
    let counts = found.counts();
    assert_eq!(counts.get(&(&guard, "-j DROP")), Some(&2));
    assert_eq!(counts.get(&(&forward, "-j FAIRWAY-GUARD")), Some(&1));
    assert_eq!(counts.len(), 2);
    assert!(found.has_chain(&guard) && found.has_chain(&chain("INPUT")));
    assert!(!found.has_chain(&chain("FAIRWAY-FORWARD")));
    assert!(!found.has_chain(&RuleChain::new(false, RuleTable::Filter, "FAIRWAY-GUARD")));
}

#[test]
fn drops_of_the_host_state_their_reason_by_table_and_chain() {
    let switches = RulesetSwitches {
        drop_unrelated_forward_ipv4: true,
        relay_user: Some(99),
        ..RulesetSwitches::default()
    };
    let host = host(true, &switches);
    let drops = host.rules.iter().filter(|rules| rules.lines.iter().any(|line| line.ends_with("-j DROP")));
    let mut reasons: Vec<_> =
        drops.map(|rules| reason(rules.chain.table.text(), &rules.chain.name)).collect();
    reasons.sort_by_key(|it| it.map(Reason::comment));
    let expected =
        [Reason::LoopbackFromOutside, Reason::UnrelatedForward, Reason::RelayDestination].map(Some);
    assert_eq!(reasons, expected);
    assert_eq!(reason("filter", "FAIRWAY-FORWARD"), None);
}
