use super::*;
use fairway_model::PacketMark;

const DEFAULT: RulesetSwitches = RulesetSwitches {
    userland_proxy: true,
    bridge_netfilter_ipv4: true,
    bridge_netfilter_ipv6: true,
    drop_unrelated_forward_ipv4: true,
    drop_unrelated_forward_ipv6: true,
    ipv4_disabled: false,
    ipv6_disabled: false,
    bridge_table_only: false,
    allow_direct_routing: false,
    accept_mark: None,
    relay_user: Some(61_000),
};

/// The tables as `nft` prints them, without the comments of rules.
fn printed(switches: &RulesetSwitches) -> String {
    without_comments(&ruleset(switches))
}

fn without_comments(tables: &[Table]) -> String {
    let text: String = tables.iter().map(ToString::to_string).collect();
    let without = |line: &str| match line.split_once(" comment \"") {
        Some((rule, _)) => format!("{rule}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(without).collect()
}

#[test]
fn the_ruleset_of_the_default_settings() {
    insta::assert_snapshot!(printed(&DEFAULT));
}

#[test]
fn the_ruleset_without_proxy_and_br_netfilter_and_with_direct_routing() {
    insta::assert_snapshot!(printed(&RulesetSwitches {
        userland_proxy: false,
        bridge_netfilter_ipv4: false,
        bridge_netfilter_ipv6: false,
        drop_unrelated_forward_ipv6: false,
        allow_direct_routing: true,
        accept_mark: Some(PacketMark { value: 2, mask: 3 }),
        relay_user: None,
        ..DEFAULT
    }));
}

#[test]
fn the_ruleset_of_the_iptables_backend() {
    insta::assert_snapshot!(printed(&RulesetSwitches { bridge_table_only: true, ..DEFAULT }));
}

#[test]
fn the_bridge_table_without_ipv6_filtering() {
    let mut tables = ruleset(&RulesetSwitches { ipv6_disabled: true, ..DEFAULT });
    tables.retain(|table| table.family == Family::Bridge);
    insta::assert_snapshot!(without_comments(&tables));
}

#[test]
fn the_disabled_families_of_an_existing_ruleset_are_recognized() {
    for (ipv4_disabled, ipv6_disabled) in [(false, false), (true, false), (false, true), (true, true)] {
        for bridge_table_only in [false, true] {
            let switches = RulesetSwitches { ipv4_disabled, ipv6_disabled, bridge_table_only, ..DEFAULT };
            let tables: Vec<Table> = ruleset(&switches).into_iter().map(|table| table.at_rest()).collect();
            let found = unknown_switches(&tables);
            assert_eq!(
                (found.ipv4_disabled, found.ipv6_disabled, found.bridge_table_only),
                (ipv4_disabled, ipv6_disabled, bridge_table_only)
            );
        }
    }
    let none = unknown_switches(&[]);
    assert_eq!((none.ipv4_disabled, none.ipv6_disabled, none.bridge_table_only), (false, false, true));
}

#[test]
fn tables_of_traces_are_recognized_by_name() {
    assert!(is_trace_table("fairway-trace-12") && !is_trace_table("fairway"));
}
