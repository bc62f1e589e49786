use super::*;

const WITH_PROXY: RulesetSwitches = RulesetSwitches {
    userland_proxy: true,
    bridge_netfilter_ipv4: true,
    bridge_netfilter_ipv6: true,
    drop_unrelated_forward_ipv4: false,
    drop_unrelated_forward_ipv6: false,
    ipv4_disabled: false,
    ipv6_disabled: false,
    bridge_table_only: false,
    allow_direct_routing: false,
    accept_mark: None,
    relay_user: Some(61_000),
};

/// A chain of our inet table, as `nft` prints it.
fn chain(switches: &RulesetSwitches, name: &str) -> String {
    let tables = ruleset(switches);
    let table = tables.iter().find(|table| table.family == Family::Inet).unwrap();
    let chain = table.chains.iter().find(|chain| chain.name == name).unwrap();
    chain.rules.iter().map(|rule| table.rule_text(rule) + "\n").collect()
}

#[test]
fn the_relay_answers_what_is_untracked_and_opens_nothing_more() {
    insta::assert_snapshot!(chain(&WITH_PROXY, "relay"), @r#"
    ct state established,related accept
    oifname @bridges accept
    oifname "lo" udp dport 53 accept
    oifname "lo" tcp dport 53 accept
    ip6 daddr fe80::/10 udp dport 53 accept
    ip6 daddr fe80::/10 tcp dport 53 accept
    tcp flags & 16 != 0 accept comment "only the first segment of a connection has no ACK"
    ct state untracked accept comment "from a port in published4_by_address"
    meta nfproto ipv4 ct state untracked accept comment "from a port in published4"
    ct state untracked accept comment "from a port in published6_by_address"
    meta nfproto ipv6 ct state untracked accept comment "from a port in published6"
    counter packets 0 bytes 0 drop comment "the relay has no business there"
    "#);
}

#[test]
fn link_local_addresses_are_left_to_the_proxy_where_there_is_one() {
    insta::assert_snapshot!(chain(&WITH_PROXY, "nat-prerouting"), @r#"
    iifname @bridges return comment "sandboxes are answered by the proxy"
    ip6 saddr fe80::/10 return comment "link-local addresses are answered by the proxy"
    ip6 daddr fe80::/10 return comment "link-local addresses are answered by the proxy"
    tcp flags & 2 == 0 socket wildcard 0 return comment "the proxy carries it since there was no firewall"
    fib daddr type local jump publish
    "#);
    insta::assert_snapshot!(chain(&WITH_PROXY, "nat-output"), @r#"
    ip daddr 127.0.0.0/8 return comment "loopback is answered by the proxy"
    ip6 saddr fe80::/10 return comment "link-local addresses are answered by the proxy"
    ip6 daddr fe80::/10 return comment "link-local addresses are answered by the proxy"
    ip6 daddr ::1 return comment "IPv6 has no route_localnet"
    fib daddr type local jump publish
    "#);
    let without = RulesetSwitches { userland_proxy: false, ..WITH_PROXY };
    for name in ["nat-prerouting", "nat-output"] {
        assert!(!chain(&without, name).contains("link-local"), "no other process would answer");
    }
}

#[test]
fn a_table_says_whom_forwarding_is_on_for() {
    for (ipv4, ipv6) in [(true, true), (true, false), (false, true), (false, false)] {
        let switches = RulesetSwitches {
            drop_unrelated_forward_ipv4: ipv4,
            drop_unrelated_forward_ipv6: ipv6,
            ..WITH_PROXY
        };
        let tables = ruleset(&switches);
        let table = tables.into_iter().find(|table| table.family == Family::Inet).unwrap();
        assert_eq!(drops_unrelated_forwarding(&table.at_rest()), (ipv4, ipv6));
    }
}
