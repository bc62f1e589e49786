//! What is refused: in Docker's words and with its exit codes, with who holds what is wanted and the way out; and
//! nothing has changed.

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};

use fairway_api::filter::Filters;

use crate::cli::{fairway, printed, stay};
use crate::harness::{Stage, request};
use crate::kernel_state::{assert_same, observe};

const ROWS: &str = include_str!("../data/refusals.tsv");

/// All that a command could change.
fn state(stage: &Stage) -> BTreeSet<String> {
    let mut lines = observe(stage, &[]);
    let mut client = stage.client();
    let mut sandboxes = client.containers(true, &Filters::default()).unwrap();
    // It says for how long.
    sandboxes.iter_mut().for_each(|sandbox| sandbox.status.clear());
    lines.extend(sandboxes.iter().map(|sandbox| format!("{sandbox:?}")));
    let networks = client.networks(&Filters::default()).unwrap();
    lines.extend(networks.iter().map(|network| format!("{network:?}")));
    let named = || std::fs::read_dir("/run/netns").unwrap().flatten().map(|entry| entry.path());
    let named = stage.host.run_in(|| named().collect::<Vec<_>>()).unwrap();
    lines.extend(named.iter().map(|path| format!("namespace {}", path.display())));
    lines
}

fn make_scene(stage: &Stage) {
    let networks = ["--subnet 172.25.0.0/16 app", "auto1", "--subnet 172.26.0.0/30 full"];
    for network in networks.into_iter().chain(["--ipv6 --subnet fd00:1::/64 six"]) {
        printed(stage, &format!("network create {network}"));
    }
    for sandbox in [
        "--name c1 --network app --ip 172.25.3.3 --mac-address 02:42:00:00:00:01",
        "--name lone --network full",
        "--name p1 -p 8080:80",
        "--name hh --network host",
        "--name nn --network none",
        "--name cc --network container:c1",
    ] {
        stay(stage, sandbox);
    }
    printed(stage, "run --name idle --network app -- /bin/sh -c :");
    printed(stage, "sandbox create --network app box");
    // Their namespaces stay when these are dropped.
    drop(stage.attach("ext", request(&["app"], &[])).unwrap());
    drop(stage.attach("free", request(&["app"], &[])).unwrap());
    printed(stage, "detach free");
}

#[test]
fn a_refusal_says_why_and_changes_nothing() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        make_scene(&stage);
        let (tcp, udp) = ("0.0.0.0:9999", "0.0.0.0:9998");
        let bind = || (TcpListener::bind(tcp).unwrap(), UdpSocket::bind(udp).unwrap());
        let _of_another_program = stage.host.run_in(bind).unwrap();
        let before = state(&stage);
        let mut wrong = Vec::new();
        for row in ROWS.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = row.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (line, code, words, undo) = (next(), next(), next(), next());
            let reported = fairway(&stage, line);
            let said = reported.errors.to_lowercase();
            let says_it = match words {
                "-" => said.is_empty(),
                words => words.split(" & ").all(|part| said.contains(&part.to_lowercase())),
            };
            if reported.code.to_string() != code || !says_it {
                wrong.push(format!("{line}: {} instead of {code}: {}", reported.code, reported.errors));
            }
            if !undo.is_empty() {
                assert_eq!(fairway(&stage, undo).code, 0, "{undo}");
            }
            assert_same(line, &state(&stage), &before);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
