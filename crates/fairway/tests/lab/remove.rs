//! `fairway daemon --remove` and `fairway uninstall --purge`: the host is as it was before there was a daemon.

use std::fs;
use std::path::Path;

use fairway_lab::{Lab, Outcome, ask, serve_tcp};

use crate::cli::{fairway, printed, stay};
use crate::foreign_firewalls::run_with;
use crate::harness::{HOST, LAN, Stage, flags_everywhere};
use crate::kernel_state::{assert_same, observe, relay_pid};

/// A configuration file of a daemon that cannot start.
const FILE: &str = "/etc/daemon-of-this-test.json";

/// The flags of another command of the daemon's, for the daemon of the stage.
fn daemon(options: &str) -> String {
    ["daemon", &flags_everywhere().join(" "), options].join(" ")
}

fn is_there(stage: &Stage, path: &'static str) -> bool {
    stage.host.run_in(|| Path::new(path).exists()).unwrap()
}

on_each_backend! {
    the_host_is_as_it_was_before;
    what_no_world_knows_of_is_removed_too;
}

fn the_host_is_as_it_was_before(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    let _server = serve_tcp(&stage.lan, &format!("{LAN}:9000")).unwrap();
    let before = observe(&stage, &[]);
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    printed(&stage, "network create app");
    printed(
        &stage,
        "network create -d lan -o parent=eth0 --subnet 10.10.50.0/24 --gateway 10.10.50.1 --ip-range 10.10.50.128/25 wire",
    );
    stay(&stage, "--name web --network app -p 8080:80");
    stay(&stage, "--name cam --network wire");
    stage.sandbox("box", &["app"], &["8081:80"]);

    let runs = fairway(&stage, &daemon("--remove"));
    assert!(
        runs.errors.contains("a daemon runs at") && runs.errors.contains("stop it first"),
        "{}",
        runs.errors
    );
    assert!(stage.daemon.stop().success());
    let with_sandboxes = observe(&stage, &[]);
    let refused = fairway(&stage, &daemon("--remove"));
    let reason =
        "cannot remove the networks of running containers: cam, web: stop them first, or use --force";
    assert!(refused.errors.contains(reason), "{}", refused.errors);
    assert_eq!(refused.code, 1);
    assert_same("after a refusal", &observe(&stage, &[]), &with_sandboxes);

    let removed = printed(&stage, &daemon("--remove --force"));
    assert!(removed.starts_with("stopped cam\nstopped web\nremoved tables, links"), "{removed}");
    assert!(removed.ends_with("networks and logs stay in /var/lib/fairway"), "{removed}");
    let mut found = observe(&stage, &[]);
    found.retain(|line| !line.starts_with("file /var/lib/fairway/logs/"));
    assert_same("after everything was removed", &found, &before);
    assert_eq!(relay_pid(), None);
    assert!(!is_there(&stage, "/run/fairway") && !is_there(&stage, "/etc/netns/box"));
    // The host has its interface back.
    assert_eq!(ask(&stage.host, &format!("{LAN}:9000")).unwrap(), Outcome::answered(HOST));

    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    assert_eq!(printed(&stage, "network inspect -f {{.Name}} app"), "app");
    assert!(stage.daemon.stop().success());
    let purged = printed(&stage, "uninstall --purge");
    assert!(purged.contains("removed networks and logs in /var/lib/fairway"), "{purged}");
    assert_same("after all was purged", &observe(&stage, &[]), &before);
    assert!(!is_there(&stage, "/var/lib/fairway") && relay_pid().is_none());
}

fn what_no_world_knows_of_is_removed_too(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    // That forwarding was switched on is known by what is durable alone: here the host has switched it on itself.
    stage.host.run_in(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap()).unwrap();
    let before = observe(&stage, &[]);
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    printed(&stage, "network create app");
    stage.sandbox("box", &["app"], &["8081:80"]);
    stage.daemon.kill9();
    stage.host.run_in(|| fs::remove_dir_all("/var/lib/fairway").unwrap()).unwrap();
    add_interrupted(&stage);
    printed(&stage, &daemon("--remove"));
    assert_same("after everything was removed", &observe(&stage, &[]), &before);
    assert_eq!(relay_pid(), None);
}

/// A host whose daemon cannot start is cleaned too.
#[test]
fn settings_with_which_no_daemon_starts_are_no_obstacle() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let before = observe(&stage, &[]);
        for (text, reason) in [
            (r#"{"bip": "172.17.0.0/16"}"#, "invalid --bip 172.17.0.0/16"),
            (r#"{"mtu": "x"}"#, "key mtu"),
            ("{", "EOF while parsing"),
            (r#"{"bridge": "own0"}"#, "cannot use bridge own0"),
        ] {
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            printed(&stage, "network create app");
            assert!(stage.daemon.stop().success());
            stage.host.run_in(|| fs::write(FILE, text).unwrap()).unwrap();
            let removed = fairway(&stage, &daemon(&format!("--remove --config-file {FILE}")));
            assert!(removed.code == 0 && removed.errors.contains(reason), "{text}: {}", removed.errors);
            assert_same(text, &observe(&stage, &[]), &before);
            assert_eq!(relay_pid(), None);
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            printed(&stage, "network rm app");
            assert!(stage.daemon.stop().success());
        }
    });
}

/// Adds a bridge as a daemon leaves it that is killed between its creation and its mark.
fn add_interrupted(stage: &Stage) {
    let group = 0x4657_4159.to_string();
    run_with(&stage.host, "ip", &["link", "add", "br-half", "group", &group, "type", "bridge"], "");
}

#[test]
fn the_next_start_deletes_a_link_whose_creation_was_interrupted() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let before = observe(&stage, &[]);
        add_interrupted(&stage);
        stage.daemon.restart(&[]);
        assert_same("after the restart", &observe(&stage, &[]), &before);
    });
}
