//! What the program refuses by itself, before it asks any daemon: compared with what Docker 20.10
//! answered to the same. Docker's words, as it said them, must be in ours; its exit code is ours.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use super::fake_daemon::FakeDaemon;
use super::{UNUSED, fairway, text};

/// Arguments; words of Docker's own that ours must have (in any letter case); the exit code.
type Row = (&'static str, &'static str, i32);

const DOCKER: [Row; 14] = [
    ("network create --subnet 172.31.0.0/99 bad", "invalid subnet 172.31.0.0/99", 1),
    ("network create --subnet 999.1.1.0/24 bad", "invalid subnet 999.1.1.0/24", 1),
    (
        "network create --subnet 172.31.0.5/24 --gateway 172.30.0.1 bad",
        "no matching subnet for gateway 172.30.0.1",
        1,
    ),
    (
        "network create --subnet 172.31.0.0/24 --ip-range 172.30.0.0/25 bad",
        "no matching subnet for range 172.30.0.0/25",
        1,
    ),
    (
        "network create --subnet 172.31.0.0/24 --aux-address x=172.30.0.9 bad",
        "no matching subnet for aux-address 172.30.0.9",
        1,
    ),
    ("run --rm --network app --ip abc -- true", "invalid IPv4 address: abc", 125),
    ("run --rm -p 70000:80 -- true", "Invalid hostPort: 70000", 125),
    (
        "run --rm -p 8000-8001:80-82 -- true",
        "Invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
        125,
    ),
    ("run --rm -p abc:80 -- true", "Invalid hostPort: abc", 125),
    ("run --rm -p 80:80/xyz -- true", "Invalid proto: xyz", 125),
    ("run --rm -p 80: -- true", "No port specified: 80:<empty>", 125),
    ("run --rm --network name=app,ip=10.1.0.2 --ip 10.1.0.3 -- true", "conflicting options:", 125),
    ("run --rm --add-host db -- true", "bad format for add-host: \"db\"", 125),
    ("network connect --driver-opt x app c1", "invalid key value pair format in driver options", 125),
];

#[test]
fn they_say_what_docker_says_and_more() {
    for (line, docker, code) in DOCKER {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        let reported = text(&output.stderr);
        assert!(reported.to_lowercase().contains(&docker.to_lowercase()), "{line}: {reported}");
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert_eq!(text(&output.stdout), "", "{line}");
        if line.starts_with("run") {
            assert!(
                reported.starts_with("fairway: ") && reported.ends_with("See 'fairway run --help'.\n"),
                "{line}: {reported}"
            );
        }
    }
}

#[test]
fn what_is_mistyped_is_corrected() {
    for (line, tip, code) in [
        ("netwrk ls", "'network'", 1),
        ("network creat x", "'create'", 1),
        ("run --nmae x -- true", "'--name'", 125),
        ("ps --fromat json", "'--format'", 125),
        ("network create --subnte 10.1.0.0/24 x", "'--subnet'", 125),
    ] {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        let reported = text(&output.stderr);
        assert!(reported.contains(tip) && reported.contains("See 'fairway "), "{line}: {reported}");
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}

/// The daemon of these tests has the network front and the sandbox web.
fn daemon() -> FakeDaemon {
    let networks = r#"[{"Name": "bridge"}, {"Name": "front"}]"#.to_owned();
    let missing = |message: &str| format!("{{\"message\": \"{message}\"}}");
    FakeDaemon::new(vec![
        ("GET /networks?", 200, networks),
        ("GET /containers/json?", 200, r#"[{"Id": "1", "Names": ["/web"]}]"#.to_owned()),
        ("POST /networks/frnt/connect", 404, missing("network frnt not found")),
        ("POST /networks/frnt/disconnect", 404, missing("network frnt not found")),
        ("GET /containers/wbe/", 404, missing("No such container: wbe")),
        ("GET /containers/elsewhere/", 404, missing("No such container: elsewhere")),
        ("POST /containers/wbe/", 404, missing("No such container: wbe")),
    ])
}

#[test]
fn near_names_are_proposed_unless_the_command_destroys() {
    let daemon = daemon();
    for (line, reported) in [
        (
            "network connect frnt web",
            "Error response from daemon: network frnt not found: did you mean front?",
        ),
        ("port wbe", "Error response from daemon: No such container: wbe: did you mean web?"),
        ("port elsewhere", "Error response from daemon: No such container: elsewhere"),
        ("publish wbe 80", "Error response from daemon: No such container: wbe: did you mean web?"),
        ("network inspect frnt", "Error: No such network: frnt: did you mean front?"),
        ("inspect wbe", "Error: No such object: wbe: did you mean web?"),
        ("wait wbe", "Error response from daemon: No such container: wbe: did you mean web?"),
        ("update -m 1g wbe", "Error response from daemon: No such container: wbe: did you mean web?"),
        ("start wbe", "Error response from daemon: No such container: wbe: did you mean web?"),
        ("network disconnect frnt web", "Error response from daemon: network frnt not found"),
        ("unpublish wbe 80", "Error response from daemon: No such container: wbe"),
        ("stop wbe", "Error response from daemon: No such container: wbe"),
        ("kill wbe", "Error response from daemon: No such container: wbe"),
        ("rm wbe", "Error: No such container: wbe"),
        ("network rm frnt", "Error: No such network: frnt"),
    ] {
        let output = fairway(&daemon.host, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(text(&output.stderr).trim_end(), reported, "{line}");
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn no_command_that_destroys_is_proposed() {
    for line in [
        "stp web",
        "kil web",
        "network prne",
        "network disconect app web",
        "remve web",
        "detch web",
        "uninstal",
        "restrt web",
    ] {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        let said = text(&output.stderr);
        // Nor another one, which is not meant.
        assert!(!said.contains("similar subcommand"), "{line}: {said}");
        assert_eq!(output.status.code(), Some(1), "{line}");
    }
}

#[test]
fn what_only_docker_has_is_refused_with_what_to_do() {
    for (line, instead, code) in [
        ("run -v /a:/b x", "found: a sandbox sees the files of this host", 125),
        ("run --cpu-shares=5 x", "found: Fairway limits memory, processors and processes", 125),
        ("run --userns host x", "found: users are those of this host", 125),
        ("compose up", "'compose': Fairway makes the networks of a Compose file", 1),
        ("container run -d x", "'container': leave the word out", 125),
        ("attach web", "found: fairway attach joins the namespace of another program", 125),
        ("system prune -a", "found: Fairway has no images", 125),
        ("network create --scope swarm x", "unexpected argument '--scope' found\n", 125),
    ] {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(said.contains(instead) && said.contains("See 'fairway"), "{line}: {said}");
        assert!(!said.contains("tip:"), "{line}: {said}");
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}

#[test]
fn a_prefix_length_that_is_missing_is_named() {
    for line in [
        "daemon --validate --bip 172.17.0.1",
        "daemon --validate --fixed-cidr 172.17.0.0",
        "daemon --validate --bip6 fd00::1",
        "daemon --validate --fixed-cidr-v6 fd00::",
        "daemon --validate --default-address-pool base=10.0.0.0,size=24",
        "network create --subnet 10.1.0.0 x",
        "network create --subnet 10.1.0.0/24 --ip-range 10.1.0.128 x",
    ] {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(said.contains("the prefix length is missing: "), "{line}: {said}");
        assert_ne!(output.status.code(), Some(0), "{line}");
    }
}

#[test]
fn a_configuration_is_validated_without_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("daemon.json");
    let path = path.to_str().unwrap();
    let validate = |contents: &str| {
        std::fs::write(path, contents).unwrap();
        fairway(UNUSED, &["daemon", "--validate", "--config-file", path])
    };
    let good = validate(r#"{"bip": "10.1.0.1/24", "log-level": "warn"}"#);
    assert_eq!((text(&good.stdout).as_str(), good.status.code()), ("configuration OK\n", Some(0)));
    for (contents, reason) in [
        ("{", "EOF while parsing"),
        (r#"{"bip": "172.17.0.1"}"#, "the prefix length is missing"),
        (r#"{"default-address-pools": [{"base": "10.0.0.0", "size": 24}]}"#, "the prefix length is missing"),
        (r#"{"log-level": "loud"}"#, "key log-level: unknown variant `loud`"),
    ] {
        let refused = validate(contents);
        let said = text(&refused.stderr);
        assert!(
            said.starts_with("fairway: unable to configure the daemon") && said.contains(reason),
            "{said}"
        );
        assert_eq!((text(&refused.stdout).as_str(), refused.status.code()), ("", Some(1)));
    }
}

#[test]
fn a_user_without_rights_is_asked_to_be_root() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // A program that an ordinary user may execute, wherever this one was built.
    let program = directory.path().join("fairway");
    // Copied by another process: a child of another test could inherit our descriptor, and a file that is open for
    // writing cannot be executed (execve(2), ETXTBSY).
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_fairway")).arg(&program).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let own = directory.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&own, Some(65_534), Some(65_534)).unwrap();
    }
    let own = own.to_str().unwrap();
    let by_user = |words: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command
            .args(words)
            .env("FAIRWAY_HOST", format!("unix://{own}/socket"))
            .stdin(std::process::Stdio::null());
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        text(&output.stderr)
    };
    let daemon = ["daemon", "--data-root", &format!("{own}/data"), "--exec-root", &format!("{own}/exec")];
    let missing = "fairway: failed to start daemon: cannot change the host's network without CAP_NET_ADMIN and \
                   CAP_SYS_ADMIN: run the daemon as root\n";
    assert_eq!(by_user(&daemon), missing);
    if is_root {
        let root = directory.path().to_str().unwrap();
        let said = by_user(&["install", "--root", root, "--bin-path", "/usr/bin/fairway"]);
        assert!(said.ends_with("Permission denied (os error 13): run this as root\n"), "{said}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (line, missing, code) in [
        ("run --rm", "<COMMAND>", 125),
        ("exec web", "<COMMAND>", 125),
        ("network create", "<NETWORK>", 1),
        ("network connect app", "<CONTAINER>", 1),
        ("stop", "<CONTAINER>", 1),
        ("attach --name x", "--netns", 1),
    ] {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        let reported = text(&output.stderr);
        assert!(reported.contains(missing), "{line}: {reported}");
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}

#[test]
fn a_missing_daemon_is_reported() {
    for (line, start, code) in [
        ("ps", "cannot connect to the Fairway daemon at ", 1),
        ("run -- true", "fairway: cannot connect to the Fairway daemon at ", 125),
        ("-H tcp://127.0.0.1:2375 ps", "invalid daemon address \"tcp://127.0.0.1:2375\"", 1),
    ] {
        let output = fairway(UNUSED, &line.split(' ').collect::<Vec<_>>());
        assert!(text(&output.stderr).starts_with(start), "{line}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}");
    }
}
