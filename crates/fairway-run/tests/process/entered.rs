//! Commands in a sandbox that runs already.

use std::fs;
use std::os::unix::fs::MetadataExt;

use fairway_model::ProcessIdentity;
use fairway_run::{CapabilitySet, Entry, Files, LaunchError, Running, enter, environment, launch};
use rustix::process::Signal;

use super::Case;
use super::workspace::{WORK, file, place, probe, shell, until};

pub const CASES: &[Case] = &[
    ("entering_leads_into_all_namespaces", entering_leads_into_all_namespaces),
    ("entering_passes_codes_and_rights", entering_passes_codes_and_rights),
    ("another_process_is_not_entered", another_process_is_not_entered),
    ("what_enters_is_never_seen_with_more_rights", what_enters_is_never_seen_with_more_rights),
];

/// A sandbox that is there until `leave` is written, and then ends with 5.
fn sandbox() -> Running {
    let files = Files { hosts: Some(file("hosts", "192.0.2.1 inner\n")), ..Files::default() };
    let script = format!(": > {WORK}/there; until [ -e {WORK}/leave ]; do :; done; exit 5");
    let running = launch(&shell(&script)).unwrap().release(&files).unwrap();
    until("the sandbox is there", || place("there").exists());
    running
}

fn leave(running: Running) {
    fs::write(place("leave"), "").unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 5);
}

fn entry(script: &str) -> Entry {
    Entry {
        capabilities: CapabilitySet::docker_default(),
        identity: None,
        cgroups: Vec::new(),
        environment: environment("web", "/root", None, &["MODE=inner".to_owned()]),
        directory: "/etc".into(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
    }
}

fn run(target: ProcessIdentity, script: &str) -> i32 {
    enter(target, &entry(script)).unwrap().wait_forwarding_signals().unwrap()
}

fn entering_leads_into_all_namespaces() {
    let running = sandbox();
    let process = running.identity();
    let script = format!(
        "read host < /proc/sys/kernel/hostname; read hosts < /etc/hosts; \
         [ $$ != 1 ] && [ -e /proc/$$ ] && echo \"$host $hosts $MODE $(pwd)\" > {WORK}/report; \
         : > {WORK}/inside; until [ -e {WORK}/seen ]; do :; done"
    );
    let inside = enter(process, &entry(&script)).unwrap();
    until("the command is inside", || place("inside").exists());
    assert_eq!(super::text(place("report")), "web 192.0.2.1 inner inner /etc");
    for kind in ["mnt", "uts", "ipc", "net", "pid"] {
        let of = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino();
        assert_eq!(of(inside.identity().pid), of(process.pid), "{kind}");
        assert_ne!(of(std::process::id()), of(process.pid), "{kind}");
    }
    fs::write(place("seen"), "").unwrap();
    assert_eq!(inside.wait_forwarding_signals().unwrap(), 0);
    leave(running);
}

fn entering_passes_codes_and_rights() {
    let running = sandbox();
    let process = running.identity();
    assert_eq!(run(process, "exit 3"), 3);
    assert_eq!(run(process, "kill -9 $$"), 128 + Signal::KILL.as_raw());
    let status = "while read name value; do [ $name = CapEff: ] && echo $value; done < /proc/self/status";
    assert_eq!(run(process, &format!("{status} > {WORK}/rights; exit 0")), 0);
    assert_eq!(super::text(place("rights")), "00000000a80425fb");
    let mut missing = entry("");
    missing.command = vec!["no-such-program".to_owned()];
    assert_eq!(enter(process, &missing).unwrap_err().exit_code(), 127);
    // This process was not moved by any of it.
    assert_ne!(super::text("/proc/sys/kernel/hostname"), "web");
    leave(running);
}

fn another_process_is_not_entered() {
    let running = sandbox();
    let process = running.identity();
    let other = ProcessIdentity { start_time: process.start_time + 1, ..process };
    let refused = enter(other, &entry("exit 0")).unwrap_err();
    assert!(matches!(refused, LaunchError::Gone { pid } if pid == process.pid));
    leave(running);
    assert!(matches!(enter(process, &entry("exit 0")), Err(LaunchError::Gone { .. })));
}

fn what_enters_is_never_seen_with_more_rights() {
    let mut launched =
        probe(&["rights", place("watching").to_str().unwrap(), place("seen").to_str().unwrap()]);
    launched.capabilities = CapabilitySet::choose(false, &["SYS_PTRACE".to_owned()], &[]).unwrap();
    let running = launch(&launched).unwrap().release(&Files::default()).unwrap();
    until("the probe watches", || place("watching").exists());
    for _ in 0..20 {
        assert_eq!(run(running.identity(), "exit 0"), 0);
    }
    let entered =
        enter(running.identity(), &entry(&format!("until [ -e {WORK}/leave ]; do :; done"))).unwrap();
    until("the probe has seen processes come", || super::text(place("seen")).starts_with("00000000a80425fb"));
    fs::write(place("leave"), "").unwrap();
    assert_eq!(entered.wait_forwarding_signals().unwrap(), 0);
    fs::remove_file(place("watching")).unwrap();
    assert_eq!(running.wait_forwarding_signals().unwrap(), 0);
    assert_eq!(
        super::text(place("seen")),
        "00000000a80425fb",
        "a process inside could write to one with these rights"
    );
}
