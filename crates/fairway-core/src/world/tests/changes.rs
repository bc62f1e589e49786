//! What each command changes: the object it is about, records, and owners of fragments.

use super::{network, publish, refused, run, sandbox, start, world};
use crate::world::{Change, Command, Exit, UNKNOWN_EXIT_CODE, World};
use fairway_model::{EndpointRequest, ProcessIdentity, SandboxOptions, SandboxState, UnpublishRequest};

/// The variants of keys and owners, each once.
fn kinds(values: impl Iterator<Item = String>) -> String {
    let mut kinds: Vec<String> =
        values.map(|text| text.split('(').next().unwrap_or_default().to_owned()).collect();
    kinds.dedup();
    kinds.join(" ")
}

/// The object of a command, changed records, and owners: `sandbox: Sandbox | Sandbox Publications`.
fn described(change: &Change) -> String {
    let about = match (change.network, change.sandbox) {
        (Some(_), Some(_)) => "network and sandbox",
        (Some(_), None) => "network",
        (None, Some(_)) => "sandbox",
        (None, None) => "none",
    };
    let records = kinds(change.records.iter().map(|key| format!("{key:?}")));
    let owners = kinds(change.owners.iter().map(|owner| format!("{owner:?}")));
    format!("{about}: {records} | {owners}")
}

#[test]
fn each_command_names_its_object_with_changed_records_and_owners() {
    let (mut world, mut rng) = world();
    let (web, app) = (|| "web".to_owned(), || "app".to_owned());
    let request = EndpointRequest::default;
    let port = publish(Some(8081), 81).publish;
    let unpublished = UnpublishRequest {
        host_address: None,
        host_ports: port[0].host_ports,
        container_ports: None,
        protocol: port[0].protocol,
    };
    let removed_at_exit = SandboxOptions { auto_remove: true, ..SandboxOptions::default() };
    for (command, expected) in [
        (network("app", None), "network: Network | Network"),
        (
            sandbox("web", &[("app", request())], publish(Some(8080), 80)),
            "sandbox: Host Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (start("web"), "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links"),
        (
            Command::Publish { sandbox: web(), requests: port },
            "sandbox: Sandbox | Sandbox Publications Links",
        ),
        (
            Command::Unpublish { sandbox: web(), requests: vec![unpublished] },
            "sandbox: Sandbox | Sandbox Publications Links",
        ),
        (
            Command::Connect { network: "bridge".to_owned(), sandbox: web(), request: request() },
            "network and sandbox: Host Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (
            Command::Disconnect { network: "bridge".to_owned(), sandbox: web() },
            "network and sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (
            Command::CancelStart { sandbox: web() },
            "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (start("web"), "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links"),
        (
            Command::StopSandbox { sandbox: web(), exit: 0.into(), process: None },
            "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (
            Command::RemoveSandbox { sandbox: web() },
            "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (Command::RemoveNetwork { network: app() }, "network: Network | Network"),
        (
            sandbox("once", &[], removed_at_exit),
            "sandbox: Host Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
        (start("once"), "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links"),
        (
            Command::StopSandbox { sandbox: "once".to_owned(), exit: 0.into(), process: None },
            "sandbox: Sandbox Endpoint | Sandbox Endpoint Publications Links",
        ),
    ] {
        let change = world.apply(command.clone(), 1, &mut rng).unwrap();
        assert_eq!(described(&change), expected, "{command:?}");
        assert!(change.warnings.is_empty(), "{command:?}: {:?}", change.warnings);
    }
    assert!(world.sandboxes().next().is_none());
}

/// An exit may be noticed before its code is known: the code is recorded once, later.
#[test]
fn the_code_of_an_exit_is_recorded_when_it_is_known() {
    let (mut world, mut rng) = world();
    let exit = |code, oom_killed| {
        let exit = Exit { code, oom_killed };
        Command::StopSandbox { sandbox: "web".to_owned(), exit, process: None }
    };
    run(&mut world, &mut rng, [sandbox("web", &[], Default::default()), start("web")]);
    let found = |world: &World| {
        let sandbox = world.find_sandbox("web").unwrap();
        match sandbox.state {
            SandboxState::Exited { code, .. } => (code, sandbox.oom_killed),
            ref other => panic!("{other:?}"),
        }
    };
    for (known, oom_killed) in [(UNKNOWN_EXIT_CODE, false), (3, true)] {
        run(&mut world, &mut rng, [exit(known, oom_killed)]);
        assert_eq!(found(&world), (known, oom_killed));
    }
    assert!(refused(&mut world, &mut rng, exit(4, false)).contains("web"));
    assert_eq!(found(&world), (3, true));
}

/// The end of a process is noticed late, when the sandbox may have been stopped and started again.
#[test]
fn the_end_of_an_earlier_process_stops_only_that() {
    let (mut world, mut rng) = world();
    let process = |start_time| Some(ProcessIdentity { pid: 7, start_time });
    let started = |start_time| match start("web") {
        Command::StartSandbox { sandbox, namespace, .. } => {
            Command::StartSandbox { sandbox, process: process(start_time), namespace }
        }
        other => other,
    };
    let exit = Exit { code: 1, oom_killed: true };
    let ended = |process| Command::StopSandbox { sandbox: "web".to_owned(), exit, process };
    let d = &mut rng;
    run(&mut world, d, [sandbox("web", &[], Default::default()), started(1), ended(process(1)), started(2)]);
    assert!(
        refused(&mut world, d, ended(process(1))).contains("container web for the end of an earlier process")
    );
    let web = world.find_sandbox("web").unwrap();
    assert_eq!((web.process(), web.oom_killed), (process(2), false));
    run(&mut world, d, [ended(process(2)), started(3), ended(None)]);
    assert!(!world.find_sandbox("web").unwrap().running());
}

#[test]
fn the_last_start_and_the_last_exit_are_remembered() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [sandbox("web", &[], Default::default())]);
    let exit = || Command::StopSandbox { sandbox: "web".to_owned(), exit: 0.into(), process: None };
    for (command, now, expected) in [
        (start("web"), 2, (Some(2), None)),
        (exit(), 3, (Some(2), Some(3))),
        (start("web"), 4, (Some(4), Some(3))),
        (exit(), 5, (Some(4), Some(5))),
    ] {
        world.apply(command, now, &mut rng).unwrap();
        let found = world.find_sandbox("web").unwrap();
        assert_eq!((found.last_start, found.last_exit), expected);
    }
}
