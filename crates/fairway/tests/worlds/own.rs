//! What users do on the same host: rules of filters and of routing, and routes, drawn.

use crate::case::{Dice, Foreign};

pub fn foreign(dice: &mut Dice) -> Foreign {
    let hooks = ["prerouting", "forward", "input", "output", "postrouting"];
    let hook = dice.one(&hooks);
    let priority = dice.one(&["-350", "-310", "-150", "-10", "0", "10", "150"]);
    let matches = [
        "",
        "ip protocol icmp ",
        "meta l4proto udp ",
        "tcp dport 80 ",
        "tcp dport 8000-8003 ",
        "tcp sport 80 ",
        "ip saddr 172.20.0.0/24 ",
        "ip daddr 172.20.0.0/24 ",
        "ip6 daddr fd21::/64 ",
        "ip daddr 10.10.50.99 ",
        "ct state new ",
        "ct state established ",
        "ct status dnat ",
        "ct direction reply ",
        "ct state related ",
        "fib daddr type local ",
        "iifname eth0 ",
        "oifname eth0 ",
        "meta mark 7 ",
        "ip daddr { 172.17.0.2, 172.20.0.2, 172.21.0.3 } ",
    ];
    let early = priority.starts_with('-') && priority.len() == 4;
    let mut condition = String::new();
    for _ in 0..1 + dice.below(2) {
        let part = dice.one(&matches);
        let later = hook == "forward" || hook == "output" || hook == "postrouting";
        let unfit = (part.starts_with("iif") && (hook == "output" || hook == "postrouting"))
            || (part.starts_with("oif") && !later);
        // Of what is in the packet itself one thing, for two may contradict each other.
        let general = ["ct ", "fib ", "iif", "oif", "meta mark"].iter().any(|it| part.starts_with(it));
        if !unfit && !condition.contains(part) && (general || condition.is_empty()) {
            condition.push_str(part);
        }
    }
    let verdicts: &[&str] = match hook {
        "prerouting" | "output" if early => &["drop", "meta mark set 7", "accept", "notrack", "notrack"],
        "forward" | "input" => &["drop", "accept", "reject", "reject with icmpx admin-prohibited", "counter"],
        "output" => &["drop", "accept", "reject", "meta mark set 7"],
        _ => &["drop", "accept", "meta mark set 7", "counter"],
    };
    // Half of the drops are narrowed, lest nothing gets through any more.
    let mut verdict = dice.one(verdicts);
    if condition.is_empty() && !["counter", "notrack"].contains(&verdict) {
        verdict = "meta mark set 7";
    }
    if verdict.starts_with("reject with") && condition.contains("tcp") {
        verdict = "reject with tcp reset";
    }
    // What a chain of this kind changes looks for its way anew.
    let kind = if hook == "output" && verdict.starts_with("meta mark") && dice.percent(50) {
        "route"
    } else {
        "filter"
    };
    Foreign {
        chain: format!("type {kind} hook {hook} priority {priority}"),
        rule: format!("{condition}{verdict}"),
    }
}

pub fn route(dice: &mut Dice) -> String {
    let routes = [
        "blackhole 198.51.100.0/24",
        "unreachable 198.51.100.0/24",
        "prohibit 203.0.113.0/24",
        "unreachable 203.0.113.0/24",
        "198.51.100.0/24 via 10.60.0.1",
        "203.0.113.7/32 via 10.10.50.1 src 10.10.50.99",
        "blackhole fd99::/64",
        "unreachable fd99::/64",
        "prohibit fd99::/64",
        "fd99::/64 via fd50::1",
    ];
    dice.one(&routes).to_owned()
}

pub fn rule(dice: &mut Dice) -> String {
    let rules = [
        "from 10.10.50.99 lookup 100",
        "from 172.20.0.0/24 lookup 100",
        "not from 172.16.0.0/12 lookup 100",
        "iif eth0 lookup 100",
        "fwmark 7 lookup 100",
        "ipproto udp lookup 100",
        "ipproto tcp dport 80 lookup 100",
        "ipproto tcp sport 8000-8009 lookup 100",
        "to 198.51.100.0/24 lookup 100",
        "lookup main suppress_prefixlength 0",
        "-6 from fd50::99 lookup 100",
        "-6 from fd21::/64 lookup 100",
        "-6 ipproto tcp dport 80 lookup 100",
        "-6 fwmark 7 lookup 100",
    ];
    dice.one(&rules).to_owned()
}

pub fn route_inside(dice: &mut Dice) -> String {
    let routes = [
        "198.51.100.0/24 via 172.20.0.1",
        "198.51.100.0/24 via 172.17.0.1",
        "198.51.100.0/24 via 172.20.0.3",
        "unreachable 203.0.113.0/24",
        "blackhole 198.51.100.0/24",
        "10.10.50.0/24 via 172.20.0.1",
        "172.21.0.0/24 via 172.20.0.1",
        "172.20.0.0/24 via 172.17.0.1",
        "default via 172.20.0.3",
        "default via 172.20.0.1",
        "fd99::/64 via fd21::1",
        "unreachable fd99::/64",
    ];
    dice.one(&routes).to_owned()
}
