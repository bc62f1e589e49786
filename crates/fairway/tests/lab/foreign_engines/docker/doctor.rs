//! `fairway doctor` on a host of the real Docker Engine: nothing is found on a healthy one, and each problem alone.

use std::process::{Command, Stdio};

use fairway_api::types::Diagnosis;
use fairway_inspect::doctor::{Finding, Severity};
use fairway_lab::Place;

use super::{DIRECTORIES, Docker, GROUP, PROGRAMS, docker, inside, printed, run};
use crate::foreign_firewalls::run_with;

const FAIRWAY: &str = env!("CARGO_BIN_EXE_fairway");
const UFW: &str = include_str!("../../../../../fairway-inspect/src/conflict/data/ufw.v4");

/// What is reported, other than that no daemon runs and that checks passed.
pub fn findings() -> Vec<Finding> {
    let mut command = Command::new(FAIRWAY);
    command.args(["doctor", "--format", "json"]).env_remove("FAIRWAY_HOST").stdin(Stdio::null());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let found: Diagnosis = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    found.findings.into_iter().filter(|it| it.id != "daemon").collect()
}

/// The only finding; its message has these words.
fn only(id: &str, severity: Severity, words: &str) -> Finding {
    let mut found = findings();
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = found.remove(0);
    assert_eq!((found.id.as_str(), found.severity), (id, severity), "{found:#?}");
    assert!(found.message.contains(words), "{found:#?}");
    found
}

fn obey(finding: &Finding) {
    printed("sh", &["-c", &finding.fix.as_ref().unwrap().command]);
}

fn remove(name: &str) {
    docker(&["rm", "-f", name]);
    assert_eq!(findings(), [], "without {name}");
}

fn each_problem_alone() {
    docker(&["network", "create", "app"]);
    docker(&["network", "create", "--internal", "inner"]);
    run("web", &["-p", "8080:80"]);
    // Its name server is Docker's own at 127.0.0.11, by rules in its namespace.
    run("app1", &["--network", "app", "-p", "8081:80/udp"]);
    run("inner1", &["--network", "inner"]);
    run("joined", &["--network", "container:web"]);
    run("lonely", &["--network", "none"]);
    run("hosted", &["--network", "host"]);
    assert_eq!(findings(), []);

    run("mute", &["--dns", "127.0.0.53"]);
    only(
        "container-nameservers",
        Severity::Error,
        "the resolv.conf of docker:mute names 127.0.0.53, and nothing listens there",
    );
    remove("mute");

    run("files", &["-p", "2121:21"]);
    only("conntrack-helpers", Severity::Note, "docker:files publishes ftp at 2121/tcp");
    remove("files");

    run("inward", &["-p", "127.0.0.1:8082:80"]);
    // Docker 28 and later drop what comes from elsewhere.
    if printed("iptables-save", &["-t", "raw"]).contains("127.0.0.1") {
        assert_eq!(findings(), []);
    } else {
        obey(&only("loopback-ports", Severity::Warning, "docker:inward publishes 127.0.0.1:8082/tcp"));
        assert_eq!(findings(), []);
    }
    remove("inward");

    let host = Place::here().unwrap();
    run_with(&host, "iptables-restore", &["--noflush"], UFW);
    let closed = only("published-firewall", Severity::Warning, "docker:web (8080/tcp)");
    assert!(closed.message.starts_with("ufw has not opened"), "{closed:?}");
    assert!(closed.message.contains("docker:app1 (8081/udp)"), "{closed:?}");
    obey(&closed);
    assert_eq!(findings(), []);
}

#[test]
fn each_problem_of_its_containers_is_found_alone() {
    inside::run(
        "foreign_engines::docker::doctor::each_problem_of_its_containers_is_found_alone",
        &PROGRAMS,
        GROUP,
        || {
            inside::prepare(&DIRECTORIES);
            let engine = Docker::start(&[]);
            each_problem_alone();
            for name in docker(&["ps", "-aq"]).split_ascii_whitespace() {
                docker(&["rm", "-f", name]);
            }
            engine.stop();
        },
    );
}
