//! What commands show of a daemon's answers, and what they ask it.

use std::process::Output;

use fairway_api::types::{
    ContainerInspect, ContainerSummary, Diagnosis, NetworkInspect, NetworksDeleted, PlanDifference, Planned,
    PortBinding, PortSummary,
};

use fairway_core::object::Setting;
use fairway_core::plan::{Action, ObjectChange, PlannedFragment, PlannedObject, SettingChange};
use fairway_inspect::doctor::{Finding, Fix, Severity};

use super::fake_daemon::{Answer, FakeDaemon};
use super::{NO_THREADS, fairway, program, text};

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn refusal(message: &str) -> String {
    format!(r#"{{"message":{message:?}}}"#)
}

fn network(name: &str, id: &str, driver: &str) -> NetworkInspect {
    NetworkInspect {
        name: name.to_owned(),
        id: id.repeat(64),
        driver: driver.to_owned(),
        scope: "local".to_owned(),
        ..NetworkInspect::default()
    }
}

/// The output, the errors and the exit code, as a person would want to read them.
fn reported(daemon: &FakeDaemon, words: &[&str]) -> String {
    report(&fairway(&daemon.host, words))
}

fn report(output: &Output) -> String {
    let mut reported = text(&output.stdout);
    for line in text(&output.stderr).lines() {
        reported.push_str(&format!("! {line}\n"));
    }
    reported + &format!("= {}", output.status.code().unwrap())
}

#[test]
fn networks_are_listed_by_name() {
    let networks =
        vec![network("none", "c", "null"), network("app", "b", "bridge"), network("bridge", "a", "bridge")];
    let daemon = FakeDaemon::new(vec![("GET /networks?", 200, json(&networks))]);
    insta::assert_snapshot!(reported(&daemon, &["network", "ls"]), @"
    NETWORK ID     NAME      DRIVER    SCOPE
    bbbbbbbbbbbb   app       bridge    local
    aaaaaaaaaaaa   bridge    bridge    local
    cccccccccccc   none      null      local
    = 0
    ");
    insta::assert_snapshot!(reported(&daemon, &["network", "ls", "--format", "{{.Name}} {{.ID}}"]), @"
    app bbbbbbbbbbbb
    bridge aaaaaaaaaaaa
    none cccccccccccc
    = 0
    ");
    reported(&daemon, &["network", "ls", "-q", "-f", "driver=bridge", "--filter", "label=a=b"]);
    // {"driver":["bridge"],"label":["a=b"]}
    let asked =
        "GET /networks?filters=%7B%22driver%22%3A%5B%22bridge%22%5D%2C%22label%22%3A%5B%22a%3Db%22%5D%7D";
    assert_eq!(daemon.asked().last().unwrap(), asked);
}

#[test]
fn missing_objects_are_reported_after_the_found_ones() {
    let daemon = FakeDaemon::new(vec![
        ("GET /networks/app", 200, json(&network("app", "b", "bridge"))),
        ("GET /", 404, refusal("no")),
    ]);
    insta::assert_snapshot!(reported(&daemon, &["network", "inspect", "nosuch"]), @"
    []
    ! Error: No such network: nosuch
    = 1
    ");
    insta::assert_snapshot!(reported(&daemon, &["inspect", "nosuch", "app", "-f", "{{.Name}} {{.Driver}}"]), @"
    app bridge
    ! Error: No such object: nosuch
    = 1
    ");
    insta::assert_snapshot!(reported(&daemon, &["inspect", "--type", "container", "app"]), @"
    []
    ! Error: No such container: app
    = 1
    ");
    let whole = reported(&daemon, &["network", "inspect", "app"]);
    assert!(whole.starts_with("[\n    {\n        \"Name\": \"app\",\n"), "{whole}");
}

#[test]
fn each_of_several_is_removed_or_reported() {
    let answers: Vec<Answer> = vec![
        ("DELETE /networks/app", 204, String::new()),
        ("DELETE /networks/bridge", 403, refusal("bridge is a pre-defined network and cannot be removed")),
        ("DELETE /", 404, refusal("no")),
    ];
    let daemon = FakeDaemon::new(answers);
    insta::assert_snapshot!(reported(&daemon, &["network", "rm", "nosuch", "bridge", "app"]), @"
    app
    ! Error: No such network: nosuch
    ! Error response from daemon: bridge is a pre-defined network and cannot be removed
    = 1
    ");
    insta::assert_snapshot!(reported(&daemon, &["network", "rm", "-f", "nosuch"]), @"= 0");
    insta::assert_snapshot!(reported(&daemon, &["rm", "nosuch"]), @"
    ! Error: No such container: nosuch
    = 1
    ");
}

#[test]
fn each_of_several_is_stopped_or_reported_in_their_order() {
    let answers: Vec<Answer> = vec![
        ("POST /containers/web/stop", 204, String::new()),
        ("POST /containers/db/stop", 204, String::new()),
        ("POST /", 404, refusal("No such container: nosuch")),
    ];
    let daemon = FakeDaemon::new(answers);
    let words = ["stop", "web", "nosuch", "db"];
    // Also where the kernel gives no threads.
    for variables in [None, Some(NO_THREADS)] {
        let output = program(&daemon.host, &words).envs(variables).output().unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(report(&output), @"
            web
            db
            ! Error response from daemon: No such container: nosuch
            = 1
            ");
        }
    }
}

#[test]
fn pruning_asks_first() {
    let deleted = NetworksDeleted { networks_deleted: Some(vec!["app".to_owned(), "db".to_owned()]) };
    let daemon = FakeDaemon::new(vec![("POST /networks/prune", 200, json(&deleted))]);
    insta::assert_snapshot!(reported(&daemon, &["network", "prune"]), @"
    WARNING! This will remove all custom networks not used by at least one container.
    Are you sure you want to continue? [y/N] 
    = 0
    ");
    assert_eq!(daemon.asked(), [""; 0]);
    insta::assert_snapshot!(reported(&daemon, &["network", "prune", "-f"]), @"
    Deleted Networks:
    app
    db

    = 0
    ");
}

#[test]
fn sandboxes_are_listed_with_their_ports() {
    let port = |ip: &str, public_port| PortSummary {
        ip: ip.to_owned(),
        private_port: 80,
        public_port,
        kind: "tcp".to_owned(),
    };
    let web = ContainerSummary {
        id: "ab".repeat(32),
        names: vec!["/web".to_owned()],
        command: "python3 -m http.server 80".to_owned(),
        created: 0,
        status: "Up 5 minutes".to_owned(),
        ports: vec![port("0.0.0.0", 8080), port("::", 8080)],
        ..ContainerSummary::default()
    };
    let info = r#"{"Warnings":["published ports are not forwarded: --iptables=false","something else"]}"#;
    let daemon = FakeDaemon::new(vec![
        ("GET /containers/json?all=0", 200, json(&vec![web.clone()])),
        ("GET /containers/json?all=1", 200, json(&[ContainerSummary { ports: Vec::new(), ..web }])),
        ("GET /info", 200, info.to_owned()),
    ]);
    let format = "table {{.ID}}\\t{{.Command}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}";
    insta::assert_snapshot!(reported(&daemon, &["ps", "--format", format]), @r#"
    CONTAINER ID   COMMAND                  STATUS         PORTS                                     NAMES
    abababababab   "python3 -m http.ser…"   Up 5 minutes   0.0.0.0:8080->80/tcp, [::]:8080->80/tcp   web
    ! WARNING: published ports are not forwarded: --iptables=false
    = 0
    "#);
    insta::assert_snapshot!(reported(&daemon, &["ps", "-aq"]), @"
    abababababab
    = 0
    ");
}

#[test]
fn a_port_that_is_not_published_is_a_failure() {
    let mut web = ContainerInspect::default();
    let binding = PortBinding { host_ip: "::".to_owned(), host_port: "8080".to_owned() };
    web.network_settings.ports = [("80/tcp".to_owned(), Some(vec![binding]))].into();
    let daemon = FakeDaemon::new(vec![("GET /containers/web/json", 200, json(&web))]);
    insta::assert_snapshot!(reported(&daemon, &["port", "web"]), @"
    80/tcp -> [::]:8080
    = 0
    ");
    insta::assert_snapshot!(reported(&daemon, &["port", "web", "53/udp"]), @"
    ! Error: No public port '53/udp' published for web
    = 1
    ");
    insta::assert_snapshot!(reported(&daemon, &["exec", "web", "true"]), @"
    ! Error response from daemon: Container web is not running: start it first
    = 1
    ");
}

#[test]
fn what_is_created_is_asked_for_in_dockers_json() {
    let daemon = FakeDaemon::new(vec![
        ("POST /networks/create", 201, r#"{"Id":"abc","Warning":"mind this"}"#.to_owned()),
        ("POST /networks/app/connect", 200, String::new()),
        ("POST /containers/create", 409, refusal("Conflict. The container name is in use")),
    ]);
    let words = "network create --subnet 10.1.0.0/24 --gateway 10.1.0.9 --ip-range 10.1.0.128/25 --aux-address a=10.1.0.5 \
                 --ipv4=false --ipv6 --internal -o mtu=1400 --label x=y app";
    insta::assert_snapshot!(reported(&daemon, &words.split_whitespace().collect::<Vec<_>>()), @"
    abc
    ! WARNING: mind this
    = 0
    ");
    reported(
        &daemon,
        &["network", "connect", "--ip", "10.1.0.7", "--alias", "db", "--gw-priority", "-3", "app", "web"],
    );
    let words =
        ["run", "--name", "web", "--rm", "-p", "8080:80", "-e", "A=b", "sh", "-c", "true", "--", "-x"];
    insta::assert_snapshot!(reported(&daemon, &words), @"
    ! fairway: Error response from daemon: Conflict. The container name is in use
    = 125
    ");
    let bodies: Vec<serde_json::Value> = daemon
        .asked()
        .iter()
        .map(|asked| serde_json::from_str(asked.splitn(3, ' ').nth(2).unwrap()).unwrap())
        .collect();
    let [network, endpoint, container] = bodies.try_into().unwrap();
    assert_eq!(
        network["IPAM"]["Config"],
        serde_json::json!([{"Subnet": "10.1.0.0/24", "IPRange": "10.1.0.128/25", "Gateway": "10.1.0.9",
            "AuxiliaryAddresses": {"a": "10.1.0.5"}}])
    );
    assert_eq!((&network["EnableIPv4"], &network["EnableIPv6"]), (&false.into(), &true.into()));
    assert_eq!((&network["Internal"], &network["Options"]["mtu"]), (&true.into(), &"1400".into()));
    let endpoint = &endpoint["EndpointConfig"];
    assert_eq!(endpoint["IPAMConfig"], serde_json::json!({"IPv4Address": "10.1.0.7"}));
    assert_eq!((&endpoint["Aliases"][0], &endpoint["GwPriority"]), (&"db".into(), &(-3).into()));
    assert_eq!(container["Cmd"], serde_json::json!(["sh", "-c", "true", "--", "-x"]));
    assert_eq!(container["Env"], serde_json::json!(["A=b"]));
    assert_eq!(container["HostConfig"]["AutoRemove"], true);
}

#[test]
fn ports_that_come_and_go_are_asked_for_and_what_is_left_is_shown() {
    let left = r#"{"Ports":{"81/tcp":[{"HostIp":"0.0.0.0","HostPort":"8081"}]},"Warnings":["so it is"]}"#;
    let daemon = FakeDaemon::new(vec![("POST", 200, left.to_owned())]);
    for (words, asked) in [
        (
            &["publish", "web", "8081:81", "127.0.0.1:5300:53/udp"][..],
            r#"POST /containers/web/publish {"PortBindings":{"53/udp":[{"HostIp":"127.0.0.1","HostPort":"5300"}],"81/tcp":[{"HostIp":"","HostPort":"8081"}]}}"#,
        ),
        (
            &["unpublish", "web", "8080", "[::1]:9000-9001:90-91/udp", "0:80"],
            r#"POST /containers/web/unpublish {"PortBindings":{"/tcp":[{"HostIp":"","HostPort":"8080"}],"80/tcp":[{"HostIp":"","HostPort":""}],"90-91/udp":[{"HostIp":"::1","HostPort":"9000-9001"}]}}"#,
        ),
    ] {
        let output = fairway(&daemon.host, words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "81/tcp -> 0.0.0.0:8081\n");
        assert_eq!(text(&output.stderr), "WARNING: so it is\n");
        assert_eq!(daemon.asked().last().map(String::as_str), Some(asked));
    }
}

/// A finding of `fairway doctor`.
fn finding(id: &str, severity: Severity, message: &str, fix: Option<(&str, bool)>) -> Finding {
    let impact = if severity == Severity::Ok { "" } else { "packets are dropped" }.to_owned();
    let fix = fix.map(|(command, automatic)| Fix { command: command.to_owned(), automatic });
    Finding { id: id.to_owned(), severity, message: message.to_owned(), impact, fix }
}

#[test]
fn the_plan_and_what_differs_from_it_are_printed() {
    let object = |object: &str, name: &str, value: &str| PlannedObject {
        object: object.to_owned(),
        settings: vec![Setting { name: name.to_owned(), value: value.to_owned() }],
    };
    let owner = |owner: &str, objects| PlannedFragment { owner: owner.to_owned(), objects };
    let planned = Planned {
        owners: vec![
            owner("host", vec![object("sysctl net.ipv4.ip_forward", "value", "1")]),
            owner("network web", vec![object("bridge br-web", "mtu", "1500")]),
        ],
    };
    let change = |action, object: &str, settings, reason: &str| ObjectChange {
        action,
        object: object.to_owned(),
        settings,
        reason: reason.to_owned(),
    };
    let mtu = SettingChange { name: "mtu".to_owned(), old: "1300".to_owned(), new: Some("1500".to_owned()) };
    let different = PlanDifference {
        changes: vec![
            change(Action::Change, "bridge br-web", vec![mtu], "network web: differs"),
            change(Action::Remove, "interface fw01", Vec::new(), "endpoint 0102: does not exist"),
        ],
    };
    let daemon = FakeDaemon::new(vec![
        ("GET /fairway/plan/diff", 200, json(&different)),
        ("GET /fairway/plan", 200, json(&planned)),
    ]);
    insta::assert_snapshot!(reported(&daemon, &["plan"]));
    insta::assert_snapshot!(reported(&daemon, &["plan", "--format=json"]));
    insta::assert_snapshot!(reported(&daemon, &["plan", "--diff"]));
    insta::assert_snapshot!(reported(&daemon, &["plan", "--diff", "--format=json"]));
    let daemon = FakeDaemon::new(vec![("GET /fairway/plan/diff", 200, json(&PlanDifference::default()))]);
    assert_eq!(reported(&daemon, &["plan", "--diff"]), "No changes: the kernel is as planned.\n= 0");
}

#[test]
fn findings_are_printed_the_worst_last() {
    let findings = vec![
        finding("kernel", Severity::Ok, "the kernel has all features", None),
        finding("drift", Severity::Warning, "a bridge is missing", Some(("fairway doctor --fix", true))),
        finding(
            "forwarding",
            Severity::Error,
            "forwarding is off",
            Some(("sysctl -w net.ipv4.ip_forward=1", true)),
        ),
        finding(
            "mtu",
            Severity::Note,
            "the MTU of a VPN is smaller",
            Some(("fairway daemon --mtu=1420", false)),
        ),
        finding("firewall", Severity::Unknown, "cannot examine this: no", None),
    ];
    let all = Diagnosis { findings: findings.clone(), done: Vec::new() };
    let healthy = Diagnosis { findings: findings[..1].to_vec(), done: vec!["repaired: a bridge".to_owned()] };
    let unknown = Diagnosis { findings: findings[3..].to_vec(), done: Vec::new() };
    let daemon = FakeDaemon::new(vec![
        ("GET /fairway/doctor", 200, json(&all)),
        ("POST /fairway/doctor/fix", 200, json(&healthy)),
    ]);
    insta::assert_snapshot!(reported(&daemon, &["doctor"]));
    insta::assert_snapshot!(reported(&daemon, &["doctor", "--fix", "--all"]));
    let daemon = FakeDaemon::new(vec![("GET /fairway/doctor", 200, json(&unknown))]);
    assert!(reported(&daemon, &["doctor"]).ends_with("1 note, 1 check not carried out.\n= 2"));
    insta::assert_snapshot!(reported(&daemon, &["doctor", "--format=json"]));
    // A failed request is not a finding.
    let daemon = FakeDaemon::new(vec![("GET /fairway/doctor", 500, refusal("the disk is full"))]);
    assert_eq!(reported(&daemon, &["doctor"]), "! Error response from daemon: the disk is full\n= 2");
}
