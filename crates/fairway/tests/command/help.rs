//! What `--help` says: all that can be asked for.

use super::{UNUSED, fairway, text};

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
fn of_attach() {
    insta::assert_snapshot!(help(&["attach", "--help"]));
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = help(&["completion", shell]);
        for word in ["network", "disconnect", "network-alias", "publish-all"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
