//! The daemon of the system and on-demand daemons at one place.

use std::process::{Command, Stdio};

use fairway_api::Client;
use fairway_lab::Process;

use super::{attach, daemons, detach, face, place, wait_until_ended};
use crate::harness::{Stage, eventually};
use crate::kernel_state::kill;
use crate::on_demand::{PATIENCE, PROGRAM};

/// Starts a daemon of the system at its own place; its log.
fn launch(stage: &Stage) -> Process {
    let mut command = Command::new(PROGRAM);
    command.arg("daemon").env("NO_COLOR", "1").env_remove("FAIRWAY_HOST");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    stage.host.spawn(&mut command).unwrap()
}

/// Its last words.
fn refusal(stage: &Stage) -> String {
    let mut daemon = launch(stage);
    let status = daemon.wait_within(PATIENCE).unwrap().expect("it was not refused");
    assert!(!status.success());
    std::io::read_to_string(daemon.stderr.take().unwrap()).unwrap()
}

/// The data root of the daemon that a face gets.
fn data_root(stage: &Stage) -> String {
    face(stage, Client::info).unwrap().docker_root_dir
}

#[test]
fn a_daemon_of_the_system_takes_over_where_no_sandbox_is() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let web = attach(&stage, "web", &["8080:80"]);
        for state in ["that runs", "that was killed"] {
            let words = refusal(&stage);
            assert!(words.contains("sandboxes of podman: web"), "{state}: {words}");
            assert!(words.contains("stop these containers first"), "{state}: {words}");
            assert_eq!(daemons().len(), 1, "{state}: {:?}", daemons());
            kill(daemons()[0]);
            wait_until_ended();
        }
        detach(&stage, "web");
        drop(web);
        for state in ["that runs", "that was killed"] {
            assert_eq!(data_root(&stage), "/run/fairway/on-demand", "{state}");
            if state == "that was killed" {
                kill(daemons()[0]);
                wait_until_ended();
            }
            let mut system = launch(&stage);
            eventually("the daemon of the system answers", PATIENCE, || {
                data_root(&stage) == "/var/lib/fairway" || system.try_wait().unwrap().is_some()
            });
            assert!(system.try_wait().unwrap().is_none(), "{state}: it ended");
            assert_eq!(daemons(), [] as [u32; 0], "{state}");
            let left = stage.host.run_in(|| std::fs::exists("/run/fairway/on-demand").unwrap()).unwrap();
            assert!(!left, "{state}");
            system.signal(rustix::process::Signal::TERM).unwrap();
            assert!(system.wait_within(PATIENCE).unwrap().unwrap().success());
            let removed = Command::new(PROGRAM)
                .args(["daemon", "--remove"])
                .env_remove("FAIRWAY_HOST")
                .output_on(&stage);
            assert!(removed.status.success(), "{removed:?}");
        }
    });
}

#[test]
fn the_networks_of_a_stopped_daemon_are_not_taken_for_lost() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let mut system = launch(&stage);
        eventually("the daemon of the system answers", PATIENCE, || {
            stage.host.run_in(|| Client::new("unix:///run/fairway.sock").unwrap().ping().is_ok()).unwrap()
        });
        assert_eq!(data_root(&stage), "/var/lib/fairway");
        let _web = attach(&stage, "web", &[]);
        system.signal(rustix::process::Signal::TERM).unwrap();
        assert!(system.wait_within(PATIENCE).unwrap().unwrap().success());
        let refused = face(&stage, Client::info).unwrap_err().to_string();
        assert!(refused.contains("the networks of a daemon that was stopped go on there"), "{refused}");
        // One that is restarted comes back while the face waits.
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| data_root(&stage));
            std::thread::sleep(std::time::Duration::from_millis(500));
            let system = launch(&stage);
            assert_eq!(asked.join().unwrap(), "/var/lib/fairway");
            assert_eq!(face(&stage, |client| client.containers(true, &Default::default())).unwrap().len(), 1);
            drop(system);
        });
        assert!(!place().directory.exists());
    });
}

/// Runs a command on the host of a stage.
trait OnHost {
    fn output_on(&mut self, stage: &Stage) -> std::process::Output;
}

impl OnHost for Command {
    fn output_on(&mut self, stage: &Stage) -> std::process::Output {
        stage.host.run(self).unwrap()
    }
}
