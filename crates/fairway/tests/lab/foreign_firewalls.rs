//! Other owners of the host's firewall: what of ours they drop is said, with table, chain and rule.

use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_api::types::{NetworkCreate, NetworkObstacle};
use fairway_lab::{Host, Lab, Outcome, Place, Question, ask, serve_tcp};

use crate::harness::{HOST, LAN, Sandbox, Stage, eventually, request};

/// What is not let through is waited for in vain.
const IMPATIENT: Duration = Duration::from_millis(1200);
/// How long a change of foreign tables may go unnoticed; those of legacy iptables are polled,
/// every two seconds where the machine is not busy.
const PATIENCE: Duration = Duration::from_secs(30);
const DOCKER: &str = include_str!("../../../fairway-inspect/src/conflict/data/docker.v4");
const FIREWALLD: &str = include_str!("../data/foreign/firewalld.nft");

/// Runs a program that a test cannot do without, and brings what it printed.
pub fn run(host: &Place, program: &str, arguments: &[&str]) -> String {
    run_with(host, program, arguments, "")
}

/// As [`run`], with something to read.
pub fn run_with(host: &Place, program: &str, arguments: &[&str], input: &str) -> String {
    let file = host.run_in(|| {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    });
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::from(file.unwrap()));
    let output = host
        .run(&mut command)
        .unwrap_or_else(|error| panic!("{error}: this test needs it: apt-get install nftables iptables"));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// A stage whose bridged packets meet no IP hook, where another program has been before the daemon.
pub fn stage(lab: &Lab, before: impl FnOnce(&Host), flags: &[&str]) -> Stage {
    let mut stage = Stage::before_daemon(lab);
    stage.host.set_bridge_netfilter(false).unwrap();
    before(&stage.host);
    stage.daemon.launch(flags);
    stage.daemon.wait_until_ready();
    stage
}

/// The firewall conflicts of a network.
pub fn obstacles(stage: &Stage, network: &str) -> Vec<NetworkObstacle> {
    stage.client().network(network).unwrap().fairway.unwrap_or_default().obstacles
}

fn texts(stage: &Stage, network: &str) -> Vec<String> {
    obstacles(stage, network).into_iter().map(|obstacle| obstacle.text).collect()
}

fn eventually_clear(stage: &Stage, network: &str) {
    eventually("nothing is in the way", PATIENCE, || obstacles(stage, network).is_empty());
}

/// Whether a sandbox reaches the LAN, and the LAN what the sandbox publishes at 8080.
pub fn reach(stage: &Stage, sandbox: &Sandbox) -> [Outcome; 2] {
    reach_within(IMPATIENT, stage, sandbox)
}

fn reach_within(patience: Duration, stage: &Stage, sandbox: &Sandbox) -> [Outcome; 2] {
    let ask = |to: String| Question::to(&to).unwrap().within(patience);
    let outward = ask(format!("{LAN}:80")).tcp(sandbox).unwrap();
    [outward, ask(format!("{HOST}:8080")).tcp(&stage.lan).unwrap()]
}

pub fn assert_reached(stage: &Stage, sandbox: &Sandbox) {
    let all = [Outcome::answered(HOST), Outcome::answered(LAN)];
    assert_eq!(reach_within(PATIENCE, stage, sandbox), all);
}

const IN_VAIN: [Outcome; 2] = [Outcome::TimedOut, Outcome::TimedOut];

/// What is dropped by a policy of DROP is said, and no longer once it is gone.
fn policy_of_drop(lab: &Lab, program: &'static str, table: &str) {
    let stage = stage(
        lab,
        |host| {
            run(host, program, &["-P", "FORWARD", "DROP"]);
        },
        &[],
    );
    let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
    let _servers = [&*web, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
    assert_eq!(reach(&stage, &web), IN_VAIN);
    let place = format!("iptables: {table}, chain FORWARD, policy: drops");
    let expected = [
        format!("{place} what sandboxes send elsewhere (IPv4)"),
        format!("{place} what comes to published ports from elsewhere (IPv4)"),
    ];
    assert_eq!(texts(&stage, "bridge"), expected);
    let warning = format!("another firewall drops packets: {}", expected[1]);
    assert_eq!(web.attached.warnings, [warning.as_str()]);
    let mut client = stage.client();
    let network = NetworkCreate { name: "app".to_owned(), ..Default::default() };
    let created = client.create_network(&network).unwrap();
    assert!(created.warning.unwrap_or_default().contains(&expected[0]));
    assert!(client.create_container("next", &request(&["app"], &[])).unwrap().warnings.unwrap().is_empty());
    let publishing = client.create_container("last", &request(&["app"], &["8081:80"])).unwrap();
    assert_eq!(publishing.warnings.unwrap(), [warning]);
    for text in &expected {
        assert_eq!(stage.daemon.log().matches(&format!("another firewall drops packets: {text}")).count(), 1);
    }
    run(
        &stage.host,
        program,
        &["-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"],
    );
    run(&stage.host, program, &["-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"]);
    assert_eq!(reach(&stage, &web), IN_VAIN);
    run(&stage.host, program, &["-A", "FORWARD", "-i", "fairway0", "-j", "ACCEPT"]);
    let only = &expected[1..];
    eventually("one path is free", PATIENCE, || texts(&stage, "bridge") == only);
    assert_eq!(reach(&stage, &web), [Outcome::answered(HOST), Outcome::TimedOut]);
    assert_eq!(texts(&stage, "app"), expected, "it is allowed for one bridge only");
    run(&stage.host, program, &["-P", "FORWARD", "ACCEPT"]);
    eventually_clear(&stage, "bridge");
    assert_reached(&stage, &web);
    eventually("the log says so", PATIENCE, || {
        stage.daemon.log().contains(&format!("another firewall no longer drops packets: {}", expected[1]))
    });
}

#[test]
fn a_forward_policy_of_drop_is_named() {
    fairway_lab::run(|lab| policy_of_drop(lab, "iptables-nft", "table ip filter"));
}

#[test]
fn a_forward_policy_of_drop_of_legacy_iptables_is_named() {
    fairway_lab::run(|lab| policy_of_drop(lab, "iptables-legacy", "legacy table ip filter"));
}

#[test]
fn somebodys_own_tables_are_read_rule_by_rule() {
    fairway_lab::run(|lab| {
        let stage = stage(lab, |_| {}, &[]);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _servers = [&*web, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        assert_eq!(obstacles(&stage, "bridge"), []);
        // What may match is told from what must, and a jump is followed.
        let rules = "table inet mine {
            set guests { type ifname; elements = { \"fairway0\" } }
            chain guests { tcp dport 80 counter drop; }
            chain pass { type filter hook forward priority 5; iifname @guests jump guests; }
            chain hosts { type filter hook input priority 5; iifname \"fairway0\" ip daddr 172.17.0.1 reject; }
        }";
        run_with(&stage.host, "nft", &["-f", "-"], rules);
        eventually("it is seen", PATIENCE, || obstacles(&stage, "bridge").len() == 2);
        let found = obstacles(&stage, "bridge");
        let outward = NetworkObstacle {
            certain: false,
            owner: "nftables".to_owned(),
            table: "inet mine".to_owned(),
            chain: "guests".to_owned(),
            ..found[0].clone()
        };
        assert_eq!(found[0], outward);
        let handle =
            format!("rule with handle {}: may drop what sandboxes send elsewhere (IPv4)", found[0].rule);
        assert_eq!(found[0].text, format!("nftables: table inet mine, chain guests, {handle}"));
        assert!(
            found[1].certain
                && found[1].text.contains("chain hosts")
                && found[1].text.contains("to the host")
        );
        let listed = run(&stage.host, "nft", &["-a", "list", "chain", "inet", "mine", "guests"]);
        let rule = format!("drop # handle {}", found[0].rule);
        assert!(listed.contains(&rule), "{rule}: {listed}");
        assert_eq!(ask(&web, &format!("{LAN}:80")).unwrap(), Outcome::TimedOut);
        run(&stage.host, "nft", &["delete", "table", "inet", "mine"]);
        eventually_clear(&stage, "bridge");
        assert_reached(&stage, &web);
    });
}

#[test]
fn a_zone_of_firewalld_is_named() {
    fairway_lab::run(|lab| {
        let stage = stage(lab, |_| {}, &[]);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _servers = [&*web, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        run_with(&stage.host, "nft", &["-f", "-"], FIREWALLD);
        eventually("it is seen", PATIENCE, || !obstacles(&stage, "bridge").is_empty());
        // Published ports pass it, for it lets through what was translated.
        let [outward, inward] = reach(&stage, &web);
        assert_ne!(outward, Outcome::answered(HOST));
        assert_eq!(inward, Outcome::answered(LAN));
        let found = obstacles(&stage, "bridge");
        assert!(found.iter().all(|it| it.owner == "firewalld" && it.table == "inet firewalld"), "{found:#?}");
        let outward: Vec<_> = found.iter().filter(|it| it.text.contains("send elsewhere")).collect();
        assert!(outward.iter().any(|it| it.certain && it.chain == "filter_FWD_public"), "{found:#?}");
        assert!(!found.iter().any(|it| it.text.contains("published ports from")), "{found:#?}");
        run(&stage.host, "nft", &["delete", "table", "inet", "firewalld"]);
        eventually_clear(&stage, "bridge");
        assert_reached(&stage, &web);
    });
}

const INTEGRATED: &[&str] = &["--firewall-integration"];

/// The rules of a table, without their counters.
fn listed(host: &Host, program: &str) -> Vec<String> {
    let lines = run(host, program, &["-S"]);
    lines.lines().map(str::to_owned).collect()
}

/// A jump is placed where a chain would drop, follows networks and reloads, and is taken away.
fn integration(lab: &Lab, program: &'static str) {
    let theirs_alone = |host: &Host| {
        run(host, program, &["-P", "FORWARD", "DROP"]);
        run(host, program, &["-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"]);
    };
    let mut stage = stage(lab, theirs_alone, &[]);
    let theirs = listed(&stage.host, program);
    let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
    let _servers = [&*web, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
    assert_eq!(reach(&stage, &web), IN_VAIN);

    // The chain that version 0.1.0 placed is replaced by that of today. A daemon that runs would delete it at once.
    stage.daemon.kill9();
    run(&stage.host, program, &["-N", "fairway-beside"]);
    run(&stage.host, program, &["-A", "fairway-beside", "-i", "fairway0", "-j", "ACCEPT"]);
    if program == "iptables-nft" {
        let jump = "insert rule ip filter FORWARD counter jump fairway-beside comment \"fairway\"";
        run_with(&stage.host, "nft", &["-f", "-"], jump);
    } else {
        let former = ["-I", "FORWARD", "-m", "comment", "--comment", "fairway", "-j", "fairway-beside"];
        run(&stage.host, program, &former);
    }
    stage.daemon.launch(INTEGRATED);
    stage.daemon.wait_until_ready();
    assert_reached(&stage, &web);
    assert_eq!(obstacles(&stage, "bridge"), []);
    let jump = "-A FORWARD -m comment --comment fairway -j fairway-accept";
    let first = |host: &Host| listed(host, program).into_iter().find(|line| line.starts_with("-A FORWARD"));
    assert_eq!(first(&stage.host).as_deref(), Some(jump));
    let bridge = ["-i", "-o"].map(|side| format!("-A fairway-accept {side} fairway0 -j ACCEPT"));
    let now = listed(&stage.host, program);
    assert!(bridge.iter().all(|line| now.contains(line)), "{now:?}");
    assert_eq!(now.len(), theirs.len() + 4, "{now:?}");
    // Our own table still decides: nobody comes straight to a sandbox.
    stage.lan.route("172.17.0.0/16", HOST).unwrap();
    let question = Question::to(&format!("{}:80", web.address("bridge"))).unwrap().within(IMPATIENT);
    assert_eq!(question.tcp(&stage.lan).unwrap(), Outcome::TimedOut);

    // It follows networks at once.
    stage.network("app");
    let other = stage.sandbox("other", &["app"], &[]);
    assert_eq!(ask(&other, &format!("{LAN}:80")).unwrap(), Outcome::answered(HOST));
    assert_eq!(listed(&stage.host, program).len(), theirs.len() + 6);
    stage.client().detach("other").unwrap();
    stage.client().remove_network("app").unwrap();
    assert_eq!(listed(&stage.host, program).len(), theirs.len() + 4);

    // Somebody reloads what is theirs, or puts a rule before.
    run(&stage.host, program, &["-F", "FORWARD"]);
    eventually("the jump is placed again", PATIENCE, || first(&stage.host).as_deref() == Some(jump));
    run(&stage.host, program, &["-I", "FORWARD", "-j", "DROP"]);
    eventually("it is the first again", PATIENCE, || first(&stage.host).as_deref() == Some(jump));
    assert_reached(&stage, &web);
    run(&stage.host, program, &["-D", "FORWARD", "-j", "DROP"]);
    run(&stage.host, program, &["-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"]);

    // What no longer drops needs no jump; what drops again does.
    run(&stage.host, program, &["-P", "FORWARD", "ACCEPT"]);
    eventually("it is taken away", PATIENCE, || listed(&stage.host, program).len() == theirs.len());
    run(&stage.host, program, &["-P", "FORWARD", "DROP"]);
    eventually("it is back", PATIENCE, || first(&stage.host).as_deref() == Some(jump));

    // Without the flag nothing of ours is left, and all of theirs is as it was.
    stage.daemon.restart(&[]);
    assert_eq!(listed(&stage.host, program), theirs);
    assert_eq!(reach(&stage, &web), IN_VAIN);
}

#[test]
fn a_jump_is_placed_where_forward_drops_and_taken_away_again() {
    fairway_lab::run(|lab| integration(lab, "iptables-nft"));
}

#[test]
fn a_jump_is_placed_among_rules_of_legacy_iptables() {
    fairway_lab::run(|lab| integration(lab, "iptables-legacy"));
}

#[test]
fn a_jump_outlasts_reloads_of_firewalld() {
    fairway_lab::run(|lab| {
        let load = |host: &Host| {
            run_with(host, "nft", &["-f", "-"], FIREWALLD);
        };
        let mut stage = stage(lab, load, INTEGRATED);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _servers = [&*web, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        assert_reached(&stage, &web);
        // What asks the host is firewalld's business, and is told.
        let left = obstacles(&stage, "bridge");
        assert!(!left.is_empty() && left.iter().all(|it| it.text.contains("send to the host")), "{left:?}");
        // As it reloads: all of its table goes, and comes anew.
        run_with(&stage.host, "nft", &["-f", "-"], &format!("delete table inet firewalld\n{FIREWALLD}"));
        let placed = || run(&stage.host, "nft", &["list", "chain", "inet", "firewalld", "filter_FORWARD"]);
        eventually("the jump is placed again", PATIENCE, || placed().contains("jump fairway-accept"));
        assert_reached(&stage, &web);
        stage.daemon.restart(&[]);
        let after = run(&stage.host, "nft", &["list", "table", "inet", "firewalld"]);
        assert!(!after.contains("fairway"), "{after}");
        assert_eq!(reach(&stage, &web)[1], Outcome::answered(LAN));
        assert_ne!(reach(&stage, &web)[0], Outcome::answered(HOST));
    });
}

#[test]
fn docker_gets_the_jump_in_its_user_chain() {
    fairway_lab::run(|lab| {
        let load = |host: &Host| {
            run_with(host, "iptables-nft-restore", &[], DOCKER);
        };
        let stage = stage(lab, load, INTEGRATED);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _servers = [&*web, &*stage.lan].map(|place| serve_tcp(place, "0.0.0.0:80").unwrap());
        assert_reached(&stage, &web);
        let rules = run(&stage.host, "iptables-nft", &["-S", "DOCKER-USER"]);
        assert_eq!(
            rules.lines().nth(1),
            Some("-A DOCKER-USER -m comment --comment fairway -j fairway-accept")
        );
        assert!(!run(&stage.host, "iptables-nft", &["-S", "FORWARD"]).contains("fairway"));
    });
}

#[test]
fn a_new_route_that_overlaps_a_network_is_logged() {
    fairway_lab::run(|lab| {
        let stage = stage(lab, |_| {}, &[]);
        let app = stage.network("app");
        let subnet = app.ipam.config[0].subnet.clone();
        assert_eq!((subnet.as_str(), app.fairway), ("172.18.0.0/16", None));
        // As a VPN would: a route to a part of what the network has.
        stage.host.route("172.18.128.0/20", LAN).unwrap();
        let routes = |name: &str| stage.client().network(name).unwrap().fairway.unwrap_or_default().routes;
        eventually("it is logged", PATIENCE, || routes("app") == ["172.18.128.0/20 dev eth0"]);
        assert!(routes("bridge").is_empty());
        let text = "overlaps the subnet of network";
        eventually("the log has it", PATIENCE, || {
            stage.daemon.log().lines().any(|line| line.contains(text) && line.contains("network=\"app\""))
        });
        // Networks that are made now keep away from it, and from what is around them.
        stage.host.route("172.19.0.0/16", LAN).unwrap();
        eventually("the next one passes it over", PATIENCE, || {
            let made = stage.network("next").ipam.config[0].subnet.clone();
            stage.client().remove_network("next").unwrap();
            made == "172.20.0.0/16"
        });
    });
}
