//! What `--help` says: all that can be asked for.

use std::process::Command;

use super::fake_daemon::FakeDaemon;
use super::{NO_THREADS, UNUSED, fairway, program, text};

fn help(words: &[&str]) -> String {
    let output = fairway(UNUSED, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    text(&output.stdout)
}

#[test]
fn of_the_program() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn of_run() {
    insta::assert_snapshot!(help(&["run", "--help"]));
}

#[test]
fn of_network_create() {
    insta::assert_snapshot!(help(&["network", "create", "--help"]));
}

#[test]
fn of_network_connect() {
    insta::assert_snapshot!(help(&["network", "connect", "--help"]));
}

#[test]
fn of_publish_and_unpublish() {
    insta::assert_snapshot!(["publish", "unpublish"].map(|verb| help(&[verb, "--help"])).join("\n---\n"));
}

#[test]
fn of_explain_and_trace() {
    insta::assert_snapshot!(["explain", "trace"].map(|verb| help(&[verb, "--help"])).join("\n---\n"));
}

#[test]
fn of_apply_and_export() {
    insta::assert_snapshot!(["apply", "export"].map(|verb| help(&[verb, "--help"])).join("\n---\n"));
}

#[test]
fn of_attach() {
    insta::assert_snapshot!(help(&["attach", "--help"]));
}

/// The program as a shell calls it to complete the last of these words.
fn completion(host: &str, words: &[&str]) -> Command {
    let mut command = program(host, &[&["--", "fairway"], words].concat());
    command.env("FAIRWAY_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command
}

/// What a shell offers for the last of these words.
fn completed(host: &str, words: &[&str]) -> Vec<String> {
    let output = completion(host, words).output().unwrap();
    text(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn names_drivers_and_options_are_completed() {
    let daemon = FakeDaemon::new(vec![
        ("GET /networks?", 200, r#"[{"Name": "bridge"}, {"Name": "front"}]"#.to_owned()),
        ("GET /containers/json?", 200, r#"[{"Id": "1", "Names": ["/web"]}]"#.to_owned()),
    ]);
    for (words, expected) in [
        (&["network", "conn"][..], &["connect"][..]),
        (&["network", "connect", "fr"], &["front"]),
        (&["network", "connect", "front", "w"], &["web"]),
        (&["network", "rm", "front", "br"], &["bridge"]),
        (&["run", "--network", "f"], &["front"]),
        (&["exec", "w"], &["web"]),
        (&["sandbox", "rm", "w"], &["web"]),
        (&["inspect", ""], &["bridge", "front", "web"]),
        (&["explain", "lan", "w"], &["web"]),
        (&["explain", "l"], &["lan"]),
        (&["network", "create", "--driver", "ma"], &["macvlan"]),
        (&["run", "--restart", "un"], &["unless-stopped"]),
        (&["kill", "--signal", "US"], &["USR1", "USR2"]),
        (&["graph", "--path", "w"], &["web"]),
        (&["network", "create", "--opt", "fairway.iso"], &["fairway.isolate="]),
    ] {
        let offered = completed(&daemon.host, words);
        for word in expected {
            assert!(offered.iter().any(|it| it == word), "{words:?}: {offered:?}");
        }
    }
    assert_eq!(completed(UNUSED, &["network", "connect", "fr"]), [""; 0], "no daemon is no reason to fail");
    // Also as bash splits it, at the colon.
    let path = daemon.host.strip_prefix("unix:").unwrap();
    let equal = format!("--host={}", daemon.host);
    for words in [
        &["-H", &daemon.host][..],
        &["-D", &equal],
        &["-l", "debug", "-H", "unix", ":", path],
        &["--host", "unix", ":", path],
    ] {
        let words = [words, &["exec", "w"]].concat();
        assert_eq!(completed(UNUSED, &words), ["web"], "{words:?}");
    }
    let lists = completed(UNUSED, &["network", ""]);
    assert!(lists.contains(&"ls".to_owned()) && lists.contains(&"rm".to_owned()), "{lists:?}");
}

#[test]
fn a_daemon_that_does_not_answer_holds_up_no_shell() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("silent.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(completed(&format!("unix://{}", path.display()), &["exec", "w"]), [""; 0]);
}

#[test]
fn without_a_thread_no_names_are_completed() {
    let daemon = FakeDaemon::new(vec![("GET /", 200, r#"[{"Id": "1", "Names": ["/web"]}]"#.to_owned())]);
    let output = completion(&daemon.host, &["explain", ""]).envs([NO_THREADS]).output().unwrap();
    let offered = text(&output.stdout);
    assert!(offered.contains("lan") && !offered.contains("web"), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_script_has_the_shell_ask() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = help(&["completion", shell]);
        assert!(script.contains("FAIRWAY_COMPLETE") && script.contains("fairway"), "{shell}: {script}");
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    help(&["man", directory.path().to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let program = help(&["--help"]);
    let groups = program
        .split("\n\n")
        .filter(|group| group.lines().next().is_some_and(|it| it.ends_with(" Commands:")));
    let names: Vec<_> = groups
        .flat_map(|group| group.lines().skip(1))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in &names {
        assert!(page(&format!("fairway-{name}.1")).contains(".SH SYNOPSIS"), "{name}");
    }
    let create = page("fairway-network-create.1");
    for text in ["Create a network", "\\-\\-subnet", "\\-\\-host"] {
        assert!(create.contains(text), "{text}: {create}");
    }
}
