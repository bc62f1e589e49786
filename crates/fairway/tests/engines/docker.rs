//! Docker Engine.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::stage::{self, Running, Stage, assert_listed, listed, sh, succeeds, wait_for};

/// The containers of the tests, as they are listed.
const LINES: [&str; 8] = [
    "docker:alone running [none] []",
    "docker:def running [bridge] [172.17.0.3]",
    "docker:done exited [bridge] []",
    "docker:frozen paused [bridge] [172.17.0.4]",
    "docker:hosted running [host] []",
    "docker:joined running [container:web] []",
    "docker:made created [bridge] []",
    "docker:web running [app,bridge] [10.55.0.2,172.17.0.2] \
     0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:9000-9002->90-92/udp",
];

/// Starts a daemon that has the image.
pub fn start(stage: &Stage, options: &[&str]) -> Running {
    let mut command = Command::new("dockerd");
    command.args(["-H", "unix:///run/docker.sock", "--storage-driver", "vfs"]).args(options);
    command.arg("--cgroup-parent").arg(format!("/{}", stage.cgroup));
    let daemon = Running::start(&mut command, "/run/dockerd.log");
    wait_for("dockerd", || succeeds("docker -H unix:///run/docker.sock version"));
    if !succeeds("docker -H unix:///run/docker.sock image inspect bb") {
        docker("import /run/image.tar bb");
    }
    daemon
}

/// Runs a command of Docker.
pub fn docker(arguments: &str) -> String {
    sh(&format!("docker -H unix:///run/docker.sock {arguments}"))
}

fn run_containers() {
    docker("network create app --subnet 10.55.0.0/24");
    docker("run -d --name web --network app -p 8080:80 -p 127.0.0.1:9000-9002:90-92/udp bb sleep 1000");
    docker("network connect bridge web");
    docker("run -d --name def bb sleep 1000");
    docker("run -d --name hosted --network host bb sleep 1000");
    docker("run -d --name alone --network none bb sleep 1000");
    docker("run -d --name joined --network container:web bb sleep 1000");
    docker("run -d --name frozen bb sleep 1000");
    docker("pause frozen");
    docker("create --name made bb sleep 1000");
    docker("run --name done bb true");
}

#[test]
fn its_containers_are_listed_by_its_api_and_without_it() {
    stage::run(&["dockerd", "docker", "containerd"], |stage| {
        let daemon = start(stage, &[]);
        run_containers();
        assert_listed(&LINES);
        let running: Vec<&str> =
            LINES.into_iter().filter(|it| !it.contains("exited") && !it.contains("created")).collect();
        assert_eq!(listed("").0, running);
        let survey = fairway_containers::read("/".as_ref());
        let pid = docker("inspect -f {{.State.Pid}} web");
        let expected = fairway_kernel::namespace::identity(&format!("/proc/{pid}/ns/net")).unwrap();
        assert_eq!(survey.resolve("web").unwrap().unwrap().namespace, Some(expected));
        // A daemon that does not answer costs a second, and nothing else.
        daemon.signal(Signal::STOP);
        let started = Instant::now();
        let (lines, errors) = listed("--all");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert_eq!(lines, LINES);
        let silent = "/run/docker.sock did not answer within a second: its files were read instead";
        assert_eq!(errors, format!("WARNING: docker: {silent}\n"));
        // Without the daemon the files are read, and the containers go on.
        drop(daemon);
        assert_listed(&LINES);
    });
}

#[test]
fn a_daemon_with_another_data_root_is_found_by_its_command_line() {
    stage::run(&["dockerd", "docker", "containerd"], |stage| {
        let daemon = start(stage, &["--data-root", "/run/data"]);
        docker("run -d --name web bb sleep 1000");
        assert_listed(&["docker:web running [bridge] [172.17.0.2]"]);
        daemon.signal(Signal::STOP);
        assert_eq!(listed("").0, ["docker:web running [bridge] [172.17.0.2]"]);
    });
}
