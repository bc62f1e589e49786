//! The backends of the firewall on a living host: one takes the place of another, what others do to its rules is
//! repaired, and the rules of the user's own come first.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_kernel::iptables::{Flavour, Programs};
use fairway_kernel::nftables::Reader;
use fairway_lab::{Lab, Outcome, Place, Question, Server, Transfer, ask, serve_echo, serve_tcp};
use fairway_ruleset::{Family, Table};

use crate::harness::{HOST, HOST6, LAN, LAN6, Sandbox, Stage, backend, eventually};
use crate::kernel_state::{assert_same, make_anew, observe, rules};

/// How long mending may take: half a second until it is seen, and then some on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(700);
/// How long some bytes may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What users are advised to do.
const GUIDE: &str = include_str!("../../../../docs/how-to/own-firewall-rules.md");

/// Flags of the daemon, as others than the harness name them.
const NONE: &[&str] = &["--iptables=false", "--ip6tables=false"];

fn flags(name: &str) -> &'static [&'static str] {
    if name == "none" { NONE } else { backend(name) }
}

/// A network of both families with a sandbox that publishes 8080, where it answers, and 8081, where it echoes; and
/// a neighbour.
fn stage(lab: &Lab, name: &str) -> (Stage, Sandbox, Sandbox) {
    let stage = Stage::new(lab, flags(name));
    stage.create_network("web", |network| network.enable_ipv6 = Some(true)).unwrap();
    let server = stage.sandbox("server", &["web"], &["8080:80", "8081:81"]);
    let neighbour = stage.sandbox("neighbour", &["web"], &[]);
    (stage, server, neighbour)
}

fn serve(server: &Place) -> [Server; 2] {
    [serve_tcp(server, "[::]:80").unwrap(), serve_echo(server, "[::]:81").unwrap()]
}

fn seen(stage: &Stage, places: &[(&str, &Place)]) -> BTreeSet<String> {
    observe(stage, places)
}

/// What each backend is called in the lines that are observed.
fn is_of(name: &str, line: &str) -> bool {
    match name {
        "nftables" => line.starts_with("chain Inet"),
        flavour => line.starts_with(&format!("{flavour} rules")),
    }
}

#[test]
fn one_takes_the_place_of_another_and_cuts_nothing() {
    fairway_lab::run(|lab| {
        let (mut stage, server, neighbour) = stage(lab, "nftables");
        let _servers = serve(&server);
        let (host, lan) = (stage.host.clone(), stage.lan.clone());
        let within = format!("{}:81", server.address("web"));
        let transfers = || {
            [
                Transfer::start(&lan, &format!("{HOST}:8081")).unwrap(),
                Transfer::start(&neighbour, &within).unwrap(),
                Transfer::start(&host, &within).unwrap(),
            ]
        };
        let running = transfers();
        let places: [(&str, &Place); 2] = [("server", &server), ("neighbour", &neighbour)];
        // Each after each other one.
        let tour = ["nft", "legacy", "nftables", "legacy", "nft", "nftables"];
        let mut arrivals = Vec::new();
        for name in tour {
            stage.daemon.restart(flags(name));
            let found = seen(&stage, &places);
            for other in ["nftables", "nft", "legacy"] {
                let there = found.iter().any(|line| is_of(other, line));
                assert_eq!(there, other == name, "rules of {other} with {name}");
            }
            arrivals.push((name, found));
            for transfer in &running {
                assert!(transfer.moves_on(1 << 18, PATIENCE), "with {name}");
            }
            let reached = ask(&stage.lan, &format!("{HOST}:8080")).unwrap();
            assert_eq!(reached, Outcome::answered(LAN), "with {name}");
            let direct = Question::to(&format!("{}:80", server.address("web"))).unwrap().within(SILENCE);
            stage.lan.route("172.16.0.0/12", HOST).unwrap();
            assert_eq!(direct.tcp(&stage.lan).unwrap(), Outcome::TimedOut, "with {name}");
            stage.lan.remove_route("172.16.0.0/12").unwrap();
        }
        for transfer in running {
            let report = transfer.finish();
            assert_eq!((report.fault, report.sent), (None, report.returned));
        }
        for name in ["nftables", "nft", "legacy"] {
            make_anew(&mut stage, flags(name), &places);
            let fresh = seen(&stage, &places);
            for (_, found) in arrivals.iter().filter(|(arrived, _)| *arrived == name) {
                assert_same(&format!("switched to {name}"), found, &fresh);
            }
        }
    });
}

#[test]
fn none_takes_the_place_of_iptables_and_iptables_of_none() {
    fairway_lab::run(|lab| {
        let (mut stage, server, neighbour) = stage(lab, "nft");
        let _servers = serve(&server);
        let within = Transfer::start(&neighbour, &format!("{}:81", server.address("web"))).unwrap();
        for name in ["none", "legacy", "none", "nft", "none"] {
            let by_proxy = Transfer::start(&stage.lan, &format!("{HOST}:8081")).unwrap();
            stage.daemon.restart(flags(name));
            assert!(within.moves_on(1 << 18, PATIENCE), "with {name}");
            if name != "none" {
                // What the proxy carried it carries on.
                assert!(by_proxy.moves_on(1 << 18, PATIENCE), "with {name}");
            }
            let rules = stage.host.run_in(rules).unwrap();
            assert!(rules.iter().all(|line| is_of(name, line)), "with {name}: {rules:?}");
            assert_eq!(rules.is_empty(), name == "none", "with {name}");
            let source = if name == "none" { "172.18.0.1" } else { LAN };
            assert_eq!(
                ask(&stage.lan, &format!("{HOST}:8080")).unwrap(),
                Outcome::answered(source),
                "{name}"
            );
        }
        let report = within.finish();
        assert_eq!((report.fault, report.sent), (None, report.returned));
    });
}

/// A script for the programs of a flavour, on the host.
fn restore(stage: &Stage, flavour: Flavour, ipv4: bool, script: &str) {
    let run = || Programs::open(Some(flavour)).unwrap().restore(ipv4, script, |_| {}).unwrap();
    stage.host.run_in(run).unwrap();
}

/// Flushes every rule of iptables.
const EVERYTHING: &str = "everything";

fn repairs(lab: &Lab, name: &str, flavour: Flavour) {
    let (stage, server, _neighbour) = stage(lab, name);
    let _servers = serve(&server);
    let transfer = Transfer::start(&stage.lan, &format!("{HOST}:8081")).unwrap();
    assert!(transfer.moves_on(1 << 20, PATIENCE));
    let drifts = |stage: &Stage| stage.daemon.log().matches("drift repaired: ").count();
    let before = stage.host.run_in(rules).unwrap();
    let count = || {
        let save = |ipv4| Programs::open(Some(flavour)).unwrap().save(ipv4).unwrap();
        let lines = stage.host.run_in(|| [save(true), save(false)].concat()).unwrap();
        lines.lines().filter(|line| line.contains("FAIRWAY")).count()
    };
    let lines = count();
    let stranger = "-A FORWARD -s 192.0.2.1/32 -j DROP";
    for (what, script) in [
        ("iptables -F", "*filter\n-F\nCOMMIT\n".to_owned()),
        ("iptables -t nat -F", "*nat\n-F\nCOMMIT\n".to_owned()),
        ("a rule within", "*filter\n-D FAIRWAY-FORWARD 2\nCOMMIT\n".to_owned()),
        ("the jumps", "*filter\n-D FORWARD -j FAIRWAY-FORWARD\nCOMMIT\n".to_owned()),
        ("a rule twice", "*filter\n-I FAIRWAY-GUARD -j DROP\nCOMMIT\n".to_owned()),
        ("a rule of theirs", format!("*filter\n-I FAIRWAY -j ACCEPT\n{stranger}\nCOMMIT\n")),
        (EVERYTHING, "*raw\n-F\n-X\nCOMMIT\n*filter\n-F\n-X\nCOMMIT\n*nat\n-F\n-X\nCOMMIT\n".to_owned()),
    ] {
        let reported = drifts(&stage);
        for ipv4 in [true, false] {
            if !ipv4 && script.contains("192.0.2.1") {
                continue;
            }
            restore(&stage, flavour, ipv4, &script);
        }
        eventually(&format!("{name} repaired: {what}"), SOON, || {
            stage.host.run_in(rules).unwrap() == before && count() == lines && drifts(&stage) > reported
        });
        if what == EVERYTHING {
            // Also when it is not mended yet what comes next can be made.
            for _ in 0..3 {
                restore(&stage, flavour, true, &script);
                let late = stage.sandbox("late", &["web"], &["9090:80"]);
                let _server = serve_tcp(&late, "0.0.0.0:80").unwrap();
                let translated =
                    || ask(&stage.lan, &format!("{HOST}:9090")).unwrap() == Outcome::answered(LAN);
                eventually("it is published", SOON, translated);
                restore(&stage, flavour, true, &script);
                stage.client().detach("late").unwrap();
            }
            eventually(&format!("{name} repaired: {what}"), SOON, || count() == lines);
            // Whoever takes the translations away cuts what was translated.
            continue;
        }
        assert!(transfer.moves_on(1 << 18, PATIENCE), "{name}: {what}");
        let save = || Programs::open(Some(flavour)).unwrap().save(true).unwrap();
        let theirs = stage.host.run_in(save).unwrap().contains(stranger);
        assert_eq!(theirs, what == "a rule of theirs", "what is theirs stays in their chain");
    }
    assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
    assert_eq!(ask(&stage.lan, &format!("[{HOST6}]:8080")).unwrap(), Outcome::answered(LAN6));
}

#[test]
fn flushed_iptables_rules_come_back() {
    fairway_lab::run(|lab| repairs(lab, "nft", Flavour::Nft));
}

#[test]
fn flushed_legacy_iptables_rules_come_back() {
    fairway_lab::run(|lab| repairs(lab, "legacy", Flavour::Legacy));
}

#[test]
fn the_users_own_rules_of_iptables_come_first_and_stay() {
    fairway_lab::run(|lab| {
        let (mut stage, server, _neighbour) = stage(lab, "nft");
        let _server = serve_tcp(&server, "[::]:80").unwrap();
        let reached = |stage: &Stage| {
            Question::to(&format!("{HOST}:8080")).unwrap().within(3 * SILENCE).tcp(&stage.lan).unwrap()
        };
        assert_eq!(reached(&stage), Outcome::answered(LAN));
        let own = format!("-A FAIRWAY-USER -s {LAN}/32 -p tcp -m tcp --dport 80 -j DROP");
        restore(&stage, Flavour::Nft, true, &format!("*filter\n{own}\nCOMMIT\n"));
        let kept = |stage: &Stage| {
            let save = || Programs::open(Some(Flavour::Nft)).unwrap().save(true).unwrap();
            stage.host.run_in(save).unwrap().lines().filter(|line| *line == own).count()
        };
        for name in ["nft", "none", "nft", "nftables", "nft"] {
            assert_eq!(kept(&stage), 1, "before {name}");
            stage.daemon.restart(flags(name));
            assert_eq!(kept(&stage), 1, "with {name}");
            let wanted = if name == "nft" { Outcome::TimedOut } else { reached(&stage) };
            assert_eq!(reached(&stage), wanted, "with {name}");
            if name != "nft" {
                assert!(matches!(wanted, Outcome::Answered { .. }), "with {name}: {wanted}");
            }
        }
        stage.network("another");
        assert_eq!((kept(&stage), reached(&stage)), (1, Outcome::TimedOut));
        // Without rules the chain goes with ours.
        restore(&stage, Flavour::Nft, true, "*filter\n-F FAIRWAY-USER\nCOMMIT\n");
        assert_eq!(reached(&stage), Outcome::answered(LAN));
        stage.daemon.restart(flags("nftables"));
        assert_eq!(stage.host.run_in(rules).unwrap(), BTreeSet::new());
    });
}

#[test]
fn the_users_own_table_comes_before_ours_and_stays() {
    fairway_lab::run(|lab| {
        let (mut stage, server, _neighbour) = stage(lab, "nftables");
        let _server = serve_tcp(&server, "[::]:80").unwrap();
        let own = || {
            let example = GUIDE.split("```nft\n").nth(1).unwrap().split("```").next().unwrap();
            let mut nft = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("apt-get install nftables");
            nft.stdin.take().unwrap().write_all(example.as_bytes()).unwrap();
            assert!(nft.wait().unwrap().success());
        };
        let there = |stage: &Stage| {
            let read = || Reader::open().unwrap().table(Family::Inet, "own").unwrap().map(Table::at_rest);
            stage.host.run_in(read).unwrap()
        };
        let reached = |stage: &Stage| {
            Question::to(&format!("{HOST}:8080")).unwrap().within(3 * SILENCE).tcp(&stage.lan).unwrap()
        };
        assert_eq!(reached(&stage), Outcome::answered(LAN));
        stage.host.run_in(own).unwrap();
        let before = there(&stage);
        assert!(before.is_some());
        for name in ["nftables", "none", "nftables", "nft", "nftables"] {
            stage.daemon.restart(flags(name));
            stage.sandbox("more", &["web"], &["9090:90"]);
            stage.client().detach("more").unwrap();
            assert_eq!(there(&stage), before, "with {name}");
            // Without a firewall of ours it is the proxy that is reached.
            let wanted = if name == "none" { Outcome::answered("172.18.0.1") } else { Outcome::TimedOut };
            assert_eq!(reached(&stage), wanted, "with {name}");
        }
    });
}

#[test]
fn one_family_without_a_firewall_leaves_the_other_its() {
    fairway_lab::run(|lab| {
        let (mut stage, server, neighbour) = stage(lab, "nftables");
        let _server = serve_tcp(&server, "[::]:80").unwrap();
        let (to4, to6) = (format!("{HOST}:8080"), format!("[{HOST6}]:8080"));
        let direct4 = format!("{}:80", server.address("web"));
        let direct6 = format!("[{}]:80", server.address6("web"));
        stage.lan.route("172.16.0.0/12", HOST).unwrap();
        let subnet6 = stage.client().network("web").unwrap().ipam.config[1].subnet.clone();
        stage.lan.route(&subnet6, HOST6).unwrap();
        let assert_asked = |stage: &Stage, to: &str, expected: Outcome, what: &str| {
            let patience = if expected == Outcome::TimedOut { SILENCE } else { PATIENCE };
            let seen = Question::to(to).unwrap().within(patience).tcp(&stage.lan).unwrap();
            assert_eq!(seen, expected, "{to}, {what}");
        };
        let gateway6 = stage.client().network("web").unwrap().ipam.config[1].gateway.clone();
        for name in ["nftables", "nft", "legacy"] {
            for (ipv4, ipv6) in [(true, false), (false, true)] {
                let off = [format!("--iptables={ipv4}"), format!("--ip6tables={ipv6}")];
                let all: Vec<&str> =
                    off.iter().map(String::as_str).chain(flags(name).iter().copied()).collect();
                stage.daemon.restart(&all);
                let what = format!("{name}: {off:?}");
                // Translated, or carried by the proxy.
                let by =
                    |on: bool, own: &str, gateway: &str| Outcome::answered(if on { own } else { gateway });
                assert_asked(&stage, &to4, by(ipv4, LAN, "172.18.0.1"), &what);
                assert_asked(&stage, &to6, by(ipv6, LAN6, &gateway6), &what);
                let straight =
                    |on: bool, own: &str| if on { Outcome::TimedOut } else { Outcome::answered(own) };
                assert_asked(&stage, &direct4, straight(ipv4, LAN), &what);
                assert_asked(&stage, &direct6, straight(ipv6, LAN6), &what);
                let within = Question::to(&direct4).unwrap().tcp(&neighbour).unwrap();
                assert!(matches!(within, Outcome::Answered { .. }), "{what}");
            }
        }
    });
}
