//! A sandbox's resolv.conf, hosts and hostname stay its own, whatever the host does to its files of these names.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use fairway_inspect::doctor::Severity;

use crate::cli::{field, printed, stay};
use crate::harness::{Stage, eventually};

/// Replaces the host's files, by rename and by unlink, and a symbolic link's target as systemd-resolved does.
fn replace_files_of_host(stage: &Stage) {
    let replaced = stage.host.run_in(|| {
        fs::create_dir_all("/run/resolve")?;
        for path in ["/run/resolve/stub.conf", "/etc/hosts", "/etc/hostname"] {
            fs::write(format!("{path}.draft"), "replaced 192.0.2.1\n")?;
            fs::rename(format!("{path}.draft"), path)?;
        }
        if !fs::symlink_metadata("/etc/resolv.conf")?.is_symlink() {
            fs::remove_file("/etc/resolv.conf")?;
            symlink("../run/resolve/stub.conf", "/etc/resolv.conf")?;
        }
        Ok::<(), std::io::Error>(())
    });
    replaced.unwrap().unwrap();
}

/// What a running sandbox has in these files, by the mounts of its process.
fn files_of(stage: &Stage, name: &str) -> [String; 3] {
    let pid = field(stage, name, "State.Pid");
    read_all(&pid)
}

fn read_all(pid: &str) -> [String; 3] {
    ["resolv.conf", "hosts", "hostname"]
        .map(|name| fs::read_to_string(format!("/proc/{pid}/root/etc/{name}")).unwrap())
}

#[test]
fn files_of_a_running_sandbox_stay_its_own() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        printed(&stage, "network create app");
        stay(&stage, "--name before --hostname before --network app");
        let before = files_of(&stage, "before");
        assert!(before[0].contains("127.0.0.11") && before[1].contains("before"), "{before:?}");
        replace_files_of_host(&stage);
        assert_eq!(files_of(&stage, "before"), before);
        assert_eq!(printed(&stage, "exec before cat /etc/hostname"), before[2].trim_end());
        // Started where resolv.conf is a link.
        stay(&stage, "--name linked --hostname linked --network app");
        let linked = files_of(&stage, "linked");
        assert!(linked[0].contains("127.0.0.11") && linked[1].contains("linked"), "{linked:?}");
        let pid = field(&stage, "linked", "State.Pid");
        stage.daemon.kill9();
        replace_files_of_host(&stage);
        assert_eq!(read_all(&pid), linked);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        // A change by the daemon is seen in the files that are there.
        printed(&stage, "network disconnect app linked");
        eventually("the address is gone from the hosts file", Duration::from_secs(20), || {
            files_of(&stage, "linked")[1] != linked[1]
        });
    });
}

#[test]
fn each_command_in_a_named_namespace_has_the_files_of_the_sandbox() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        printed(&stage, "network create app");
        printed(&stage, "sandbox create --network app box");
        let shown = || {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", "box", "cat", "/etc/resolv.conf", "/etc/hosts"]);
            String::from_utf8(stage.host.run(&mut command).unwrap().stdout).unwrap()
        };
        for _ in 0..2 {
            let found = shown();
            assert!(found.contains("127.0.0.11") && found.contains("ip6-allrouters"), "{found}");
            replace_files_of_host(&stage);
        }
    });
}

#[test]
fn the_doctor_names_a_sandbox_that_does_not_see_its_files() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        printed(&stage, "network create app");
        stay(&stage, "--name web --network app --privileged");
        stay(&stage, "--name joined --network container:web");
        let found = || {
            let all = stage.client().doctor(false).unwrap().findings;
            all.into_iter().filter(|finding| finding.id == "files").collect::<Vec<_>>()
        };
        assert!(found().iter().all(|it| it.severity == Severity::Ok), "{:?}", found());
        printed(&stage, "exec --privileged web umount /etc/hosts");
        let now = found();
        assert_eq!(now.len(), 1, "{now:?}");
        assert!(now[0].message.starts_with("web: /etc/hosts"), "{now:?}");
        assert_eq!(now[0].fix.as_ref().unwrap().command, "fairway restart web");
        printed(&stage, "restart web");
        // What was joined to the namespace of before is so still.
        assert!(found().iter().all(|it| it.message.starts_with("joined: ")), "{:?}", found());
        printed(&stage, "restart joined");
        assert!(found().iter().all(|it| it.severity == Severity::Ok), "{:?}", found());
    });
}
