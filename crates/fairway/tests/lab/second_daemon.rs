//! A second daemon in a network namespace, with directories and a socket of its own; and starts that fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_lab::{Lab, Outcome, ask, serve_tcp};

use crate::cli::fairway;
use crate::foreign_firewalls::run_with;
use crate::harness::{HOST, LAN, Stage, eventually, flags_everywhere};
use crate::kernel_state::{assert_same, observe, relay_pid};

/// The places of the second daemon.
const ELSEWHERE: &str = "--data-root /var/lib/second --exec-root /run/second";
const SOCKET: &str = "/run/second.sock";

on_each_backend! {
    a_second_daemon_changes_nothing;
}

fn exists(stage: &Stage, path: &str) -> bool {
    stage.host.run_in(|| Path::new(path).exists()).unwrap()
}

fn a_second_daemon_changes_nothing(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    stage.network("app");
    let web = stage.sandbox("web", &["app"], &["8080:80"]);
    let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
    let before = observe(&stage, &[]);
    let backend = flags_everywhere().join(" ");
    let relay = relay_pid();
    for options in ["", "--remove", "--remove --force"] {
        let line = format!("-H unix://{SOCKET} daemon {ELSEWHERE} {backend} {options}");
        let refused = fairway(&stage, &line);
        let reason = format!("another daemon (process {}) serves this network namespace", stage.daemon.pid());
        assert!(refused.code == 1 && refused.errors.contains(&reason), "{options}: {}", refused.errors);
        assert_same(options, &observe(&stage, &[]), &before);
        assert!(!exists(&stage, SOCKET) && !exists(&stage, "/run/second/relay.sock"));
        assert_eq!(relay_pid(), relay);
    }
    assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
    // The lock is free as soon as the daemon is gone.
    stage.daemon.restart(&[]);
    stage.daemon.kill9();
    let removed = fairway(&stage, &format!("-H unix://{SOCKET} daemon {ELSEWHERE} {backend} --remove"));
    assert_eq!((removed.code, &removed.errors[..]), (0, ""));
}

#[test]
fn a_start_that_fails_ends_the_relay_that_it_has_started() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let script = "(echo 'add table inet fairway { flags owner; }'; exec sleep 60) | nft -i";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _owner = stage.host.spawn(&mut command).unwrap();
        eventually("another process owns the table", Duration::from_secs(20), || {
            run_with(&stage.host, "nft", &["list", "tables"], "").contains("fairway")
        });
        stage.daemon.launch(&[]);
        let status = stage.daemon.wait_until_ended().unwrap();
        assert!(!status.success() && stage.daemon.log().contains("another process owns the table"));
        assert_eq!(relay_pid(), None);
        assert!(!exists(&stage, "/run/fairway/relay.sock"));
    });
}
