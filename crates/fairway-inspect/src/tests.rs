//! Compares the walker with outcomes measured with Docker, row by row.

mod links;
pub(crate) mod matrix_world;
mod nat;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fairway_model::Backend;

use crate::explain::{Query, Resolved, advice, captures};
use fairway_walk::{
    EndKind, Origin, Outcome, Proxy, StepKind, StepRecord, Tuple, WalkRecord, walk_connection,
};
use matrix_world::{DaemonFlags, MatrixWorld, named};

const TABLE: &str = include_str!("tests/docker-matrix.tsv");

fn tuple(to: SocketAddr) -> Tuple {
    let source = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    Tuple { protocol: 6, source, destination: to.ip(), source_port: 40_000, destination_port: to.port() }
}

/// Where Fairway differs from Docker on purpose, as the end-to-end test of the matrix has it.
fn expected(mode: DaemonFlags, group: &str, path: &str, outcome: &str, source: &str) -> String {
    let published = path.ends_with(":pub") || path.ends_with("gw pub");
    if path.ends_with("no route") {
        // The neighbor on the LAN has no other way out, so that its own kernel answers.
        return "unreachable".to_owned();
    }
    if !mode.iptables && !mode.proxy && published {
        return "refused".to_owned();
    }
    if mode.iptables && !mode.proxy && !mode.bridge_netfilter && path.starts_with("samenet->") && published {
        let gateway = if group == "DFL" { "172.17.0.1" } else { "172.18.0.1" };
        return format!("answered {gateway}");
    }
    match outcome {
        "timed-out" => "nothing".to_owned(),
        other => format!("{other} {source}").trim_end().to_owned(),
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(source) => format!("answered {source}"),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Closed => "closed".to_owned(),
        Outcome::Unreachable => "unreachable".to_owned(),
        Outcome::NoReply => "nothing".to_owned(),
        Outcome::LeavesHost => "left".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

fn check(mode: DaemonFlags) {
    let stage = MatrixWorld::new(mode);
    let mut wrong = String::new();
    let mut rows = 0;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[iptables, proxy, group, path, address, port, outcome, source] = &fields[..] else {
            panic!("a row of {} fields", fields.len())
        };
        if (iptables, proxy) != (&mode.iptables.to_string()[..], &mode.proxy.to_string()[..]) {
            continue;
        }
        rows += 1;
        let with_route = group == "DIRECT" || path.ends_with("(back route)");
        let topology = stage.topology(with_route);
        let origin = stage.origin(&topology, group, path);
        let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
        let connection =
            walk_connection(&topology, Origin::Local(origin), tuple(to), Proxy { user: Some(61_137) });
        let (seen, expected) = (said(&connection.outcome()), expected(mode, group, path, outcome, source));
        if seen != expected {
            wrong += &format!("{group} {path} {to}: {expected}, walked {seen}\n{connection:#?}\n");
        }
    }
    assert_eq!(rows, 50);
    assert!(wrong.is_empty(), "{mode:?}\n{wrong}");
}

/// The walks of a query from one namespace to an address and port, as text, with names of interfaces that do not
/// depend on random numbers; then the captures.
fn golden(mode: DaemonFlags, from: &str, to: &str) -> String {
    walks(mode, from, to, |_, step| step.kind != StepKind::Chain)
}

/// As [`golden`], with the walk of the first packet alone.
fn first(mode: DaemonFlags, from: &str, to: &str) -> String {
    walks(mode, from, to, |title, step| title.starts_with("the first packet") && step.kind != StepKind::Chain)
}

fn walks(mode: DaemonFlags, from: &str, to: &str, shown: impl Fn(&str, &StepRecord) -> bool) -> String {
    let stage = MatrixWorld::new(mode);
    let topology = stage.topology(false);
    let origin = named(&topology, from);
    let connection = walk_connection(
        &topology,
        Origin::Local(origin),
        tuple(to.parse().unwrap()),
        Proxy { user: Some(61_137) },
    );
    let names = stage.interfaces();
    let plain =
        |text: String| names.iter().fold(text, |text, (drawn, plain)| text.replace(drawn.as_str(), plain));
    let mut text = format!("{from} asks {to}\n");
    for walk in connection.records(&topology) {
        let steps: Vec<StepRecord> = walk.steps.into_iter().filter(|step| shown(&walk.title, step)).collect();
        if steps.is_empty() {
            continue;
        }
        text += &format!("\n{}\n", walk.title);
        for step in steps {
            let (place, what) = (plain(step.location().to_owned()), plain(step.text()));
            text += &format!("  {:5} {place:12} {what}\n", step.namespace);
        }
        text += &format!("  = {}\n", plain(walk.end.text));
    }
    text += &format!("\n{}\n\n", plain(connection.sentence(&topology)));
    for capture in captures(&connection, &topology, stage.world()) {
        text += &format!("{}  # {}\n", plain(capture.command), capture.what);
        for shown in capture.shows {
            text += &format!("  sees {shown}\n");
        }
    }
    text
}

/// The port is translated, and no proxy runs. Captures on the bridge had the addresses before translation, so bridged
/// packets met no rules there.
#[test]
fn a_translated_port_is_walked_as_analyzed_with_docker() {
    let mode = DaemonFlags { proxy: false, bridge_netfilter: false, ..DaemonFlags::DOCKER_DEFAULTS };
    insta::assert_snapshot!("itself_by_the_hosts_address", golden(mode, "u1", "10.10.50.99:8081"));
    insta::assert_snapshot!("host_by_loopback", golden(mode, "host", "127.0.0.1:8081"));
    insta::assert_snapshot!("host_by_its_address", golden(mode, "host", "10.10.50.99:8081"));
    insta::assert_snapshot!("host_by_the_gateway_address", golden(mode, "host", "172.18.0.1:8081"));
    let shut = DaemonFlags { route_localnet: false, ..mode };
    insta::assert_snapshot!(
        "host_by_loopback_without_route_localnet",
        golden(shut, "host", "127.0.0.1:8081")
    );
    insta::assert_snapshot!(
        "host_by_its_address_without_route_localnet",
        golden(shut, "host", "10.10.50.99:8081")
    );
    insta::assert_snapshot!(
        "host_by_the_gateway_without_route_localnet",
        golden(shut, "host", "172.18.0.1:8081")
    );
}

/// Where br_netfilter passes bridged packets to IP, a request to the own published port stays on the bridge: the host's
/// routes and the bridge interface never see it.
#[test]
fn a_translated_port_with_br_netfilter() {
    let mode = DaemonFlags::TRANSLATED;
    insta::assert_snapshot!("itself_on_a_bridge_that_is_seen", golden(mode, "u1", "10.10.50.99:8081"));
}

/// The proxy with translation, the proxy alone, and neither.
#[test]
fn the_proxy_is_walked_as_two_connections() {
    insta::assert_snapshot!(
        "itself_by_the_proxy",
        golden(DaemonFlags::DOCKER_DEFAULTS, "u1", "10.10.50.99:8081")
    );
    insta::assert_snapshot!(
        "host_by_loopback_and_the_proxy",
        golden(DaemonFlags::DOCKER_DEFAULTS, "host", "127.0.0.1:8081")
    );
    let alone = DaemonFlags { iptables: false, ..DaemonFlags::DOCKER_DEFAULTS };
    insta::assert_snapshot!("itself_by_the_proxy_alone", golden(alone, "u1", "10.10.50.99:8081"));
    let nothing = DaemonFlags { proxy: false, ..alone };
    insta::assert_snapshot!(
        "host_by_its_address_without_any_help",
        golden(nothing, "host", "10.10.50.99:8081")
    );
    insta::assert_snapshot!(
        "itself_by_the_gateway_without_any_help",
        golden(nothing, "u1", "172.18.0.1:8081")
    );
}

/// Further queries with published analyses, in their order: `--userland-proxy` and `--iptables` both
/// on, translation alone, neither, the proxy alone.
#[test]
fn each_way_to_publish_is_walked_as_analyzed_with_docker() {
    let both = DaemonFlags::DOCKER_DEFAULTS;
    insta::assert_snapshot!("noted_both_default_bridge", first(both, "d1", "10.10.50.99:8080"));
    insta::assert_snapshot!("noted_both_host_by_any_address", first(both, "host", "0.0.0.0:8080"));
    insta::assert_snapshot!("noted_both_host_network", first(both, "lan", "10.10.50.99:8082"));
    let translated = DaemonFlags { proxy: false, bridge_netfilter: false, ..both };
    insta::assert_snapshot!("noted_translated_default_bridge", first(translated, "d1", "10.10.50.99:8080"));
    insta::assert_snapshot!(
        "noted_translated_host_by_any_address",
        first(translated, "host", "0.0.0.0:8081")
    );
    let shut = DaemonFlags { route_localnet: false, ..translated };
    insta::assert_snapshot!(
        "noted_translated_host_by_any_address_without_route_localnet",
        first(shut, "host", "0.0.0.0:8081")
    );
    let nothing = DaemonFlags { iptables: false, ..translated };
    insta::assert_snapshot!("noted_nothing_host_by_any_address", first(nothing, "host", "0.0.0.0:8080"));
    insta::assert_snapshot!("noted_nothing_host_by_the_gateway", first(nothing, "host", "172.17.0.1:8080"));
    insta::assert_snapshot!("noted_nothing_itself_by_the_host", first(nothing, "d1", "10.10.50.99:8080"));
    let proxied = DaemonFlags { iptables: false, ..both };
    insta::assert_snapshot!("noted_proxied_default_bridge", first(proxied, "d1", "10.10.50.99:8080"));
    insta::assert_snapshot!("noted_proxied_host_by_any_address", first(proxied, "host", "0.0.0.0:8080"));
}

/// Chains without a matching rule are included, in the order of their priorities.
#[test]
fn every_chain_that_a_packet_meets_is_reported() {
    insta::assert_snapshot!(
        "every_chain",
        walks(DaemonFlags::DOCKER_DEFAULTS, "lan", "10.10.50.99:8081", |title, _| title
            .starts_with("the first packet"))
    );
}

#[test]
fn a_packet_that_is_not_allowed_ends_at_the_rule_that_drops_it() {
    insta::assert_snapshot!("another_network", golden(DaemonFlags::DOCKER_DEFAULTS, "o1", "172.18.0.2:80"));
}

#[test]
fn the_walker_agrees_with_every_row_of_the_matrix() {
    for iptables in [true, false] {
        for proxy in [true, false] {
            for bridge_netfilter in [true, false] {
                check(DaemonFlags { iptables, proxy, bridge_netfilter, ..DaemonFlags::DOCKER_DEFAULTS });
            }
        }
    }
}

#[test]
fn the_walker_agrees_with_iptables_rules() {
    for proxy in [true, false] {
        for bridge_netfilter in [true, false] {
            check(DaemonFlags {
                proxy,
                bridge_netfilter,
                backend: Backend::Iptables,
                ..DaemonFlags::DOCKER_DEFAULTS
            });
        }
    }
}

#[test]
fn iptables_rules_are_printed_in_iptables_syntax() {
    let mode = DaemonFlags { proxy: false, backend: Backend::Iptables, ..DaemonFlags::DOCKER_DEFAULTS };
    insta::assert_snapshot!("by_iptables", golden(mode, "u1", "10.10.50.99:8081"));
    insta::assert_snapshot!("another_network_by_iptables", golden(mode, "o1", "172.18.0.2:80"));
}

/// A sandbox may have any name, also one that means something else in a query.
#[test]
fn sandbox_named_host_is_not_the_host() {
    let mut world = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    for name in ["host", "lan"] {
        world.attach(name, "usr");
    }
    let (state, topology) = (world.world(), world.topology(false));
    let plan = fairway_core::plan::plan(state);
    let walk = |from, to| {
        let query = Query::parse(state, &plan, from, to).unwrap();
        let Resolved { origin, tuple } = query.resolve(state, &topology).unwrap();
        let walk = walk_connection(&topology, origin, tuple, Proxy { user: Some(61_137) });
        let first = walk.records(&topology).remove(0);
        let advice = advice(state, &query, &topology, &walk, &[]);
        (first.steps[0].namespace.clone(), first.end, advice)
    };
    let (from, end, _) = walk("container:host", "container:lan:80");
    assert_eq!((from.as_str(), end.namespace.as_str()), ("container:host", "container:lan"));
    let (from, end, _) = walk("host", "container:host:80");
    assert_eq!((from.as_str(), end.namespace.as_str()), ("host", "container:host"));
    let (from, end, _) = walk("container:lan", "host:8082");
    assert_eq!((from.as_str(), end.namespace.as_str()), ("container:lan", "host"));
    let (_, end, advice) = walk("u1", "container:host:81");
    assert_eq!((end.kind, end.namespace.as_str()), (EndKind::NoListener, "container:host"));
    assert!(advice.unwrap().starts_with("have the program in container:host listen at "));
    let connection = |from, to| {
        let query = Query::parse(state, &plan, from, to).unwrap();
        let Resolved { origin, tuple } = query.resolve(state, &topology).unwrap();
        walk_connection(&topology, origin, tuple, Proxy { user: Some(61_137) })
    };
    let commands: Vec<(String, bool)> =
        captures(&connection("container:host", "host:8082"), &topology, state)
            .into_iter()
            .map(|capture| (capture.namespace, capture.command.starts_with("nsenter --net=/host ")))
            .collect();
    assert_eq!(commands.first(), Some(&("container:host".to_owned(), true)), "{commands:?}");
    assert!(commands.iter().all(|(namespace, enters)| *enters == (namespace == "container:host")));
    let unknown = Query::parse(state, &plan, "container:missing", "u1").unwrap_err().to_string();
    assert!(unknown.contains("container:NAME if it is called host"), "{unknown}");
}

/// `trace lan u1:80` shows the packets to the published port too.
#[test]
fn a_host_on_the_lan_asks_for_a_published_port_where_it_is_published() {
    let world = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let (state, topology) = (world.world(), world.topology(false));
    let plan = fairway_core::plan::plan(state);
    let to = |from, to| {
        let resolved = Query::parse(state, &plan, from, to).unwrap().resolve(state, &topology).unwrap();
        format!("{}:{}", resolved.tuple.destination, resolved.tuple.destination_port)
    };
    assert_eq!(to("lan", "u1:80"), to("lan", "host:8081"));
    assert_eq!(to("lan:10.10.50.1", "u1:80"), to("lan", "u1:80"));
    for (from, name) in [("lan", "u1:81"), ("lan", "u1:80/udp"), ("u2", "u1:80"), ("host", "u1:80")] {
        let own = format!("{}:{}", "172.18.0.2", if name.contains("81") { 81 } else { 80 });
        assert_eq!(to(from, name), own, "{from} {name}");
    }
}

/// Each step has the facts in fields, and JSON is read as it was written.
#[test]
fn walk_records_have_fields_and_survive_json() {
    let mode = DaemonFlags::TRANSLATED;
    let topology = MatrixWorld::new(mode).topology(false);
    let origin = Origin::Local(named(&topology, "lan"));
    let walk =
        walk_connection(&topology, origin, tuple("10.10.50.99:8081".parse().unwrap()), Proxy::default());
    let record = walk.records(&topology).remove(0);
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<WalkRecord>(json.clone()).unwrap(), record);
    let steps = json["Steps"].as_array().unwrap();
    let rule = steps.iter().find(|step| step["Kind"] == "Rule").unwrap();
    assert_eq!(
        (&rule["Namespace"], &rule["Hook"], &rule["Family"], &rule["Table"], &rule["Priority"]),
        (&"host".into(), &"prerouting".into(), &"inet".into(), &"fairway".into(), &(-100).into())
    );
    let translated = steps.iter().find(|step| step["Kind"] == "Translate").unwrap();
    assert_eq!(translated["Before"]["Destination"], "10.10.50.99");
    assert_eq!(translated["Before"]["DestinationPort"], 8081);
    assert_eq!(translated["After"]["Destination"], "172.18.0.2");
    assert_eq!(translated["After"]["Protocol"], "tcp");
    assert_eq!((&json["End"]["Kind"], &json["End"]["Namespace"]), (&"Delivered".into(), &"u1".into()));
    let dropped = walk_connection(
        &topology,
        Origin::Local(named(&topology, "o1")),
        tuple("172.18.0.2:80".parse().unwrap()),
        Proxy::default(),
    );
    let end = serde_json::to_value(&dropped.records(&topology)[0].end).unwrap();
    assert_eq!(
        (&end["Kind"], &end["Table"], &end["Verdict"]),
        (&"Dropped".into(), &"fairway".into(), &"drop".into())
    );
    assert_eq!(end["Comment"], "port not published");
}
