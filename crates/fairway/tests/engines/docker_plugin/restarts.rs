//! Daemons that are restarted and killed.

use std::time::Duration;

use rustix::process::Signal;

use super::{
    PROGRAMS, assert_nothing_is_left, await_server, fairway, fetched, fetched_by_neighbor, fetched_in, host,
    listed, networks, run, wait_until_listed,
};
use crate::docker::{docker, start};
use crate::stage::{self, PROGRAM, Stage, printed, sh, wait_for};

#[test]
fn containers_outlive_fairway_and_are_gone_with_dockerd() {
    stage::run(&PROGRAMS, |stage| {
        let (fairway_daemon, dockerd) = host(stage, &[]);
        docker("network create -d fairway --subnet 10.73.0.0/24 app");
        run("web", "--restart no --network app -p 8080:80");
        wait_until_listed(&["web"]);
        // Fairway is killed: traffic goes on, and the next daemon knows all.
        drop(fairway_daemon);
        assert!(fetched("127.0.0.1:8080") && fetched_by_neighbor("192.0.2.1:8080"));
        let fairway_daemon = fairway(&[]);
        wait_until_listed(&["web"]);
        docker("run -d --name client --network app bb sleep 1000");
        assert!(fetched("127.0.0.1:8080") && fetched_in("client", "web"));
        docker("restart -t 0 web");
        await_server("web");
        assert!(fetched("127.0.0.1:8080"));
        // dockerd is stopped: it has its containers leave.
        dockerd.signal(Signal::TERM);
        wait_until_listed(&[]);
        drop(dockerd);
        assert_eq!(networks(), ["app"]);
        let dockerd = start(stage, &[]);
        docker("start web client");
        await_server("web");
        assert!(fetched("127.0.0.1:8080") && fetched_in("client", "web"));
        wait_until_listed(&["client", "web"]);
        // dockerd is killed, and its next start ends the containers.
        drop(dockerd);
        let _dockerd = start(stage, &[]);
        wait_until_listed(&[]);
        docker("start web");
        await_server("web");
        assert!(fetched("127.0.0.1:8080"));
        docker("rm -f web client");
        // The network is removed while the plugin is away.
        drop(fairway_daemon);
        docker("network rm app");
        let _fairway = fairway(&[]);
        wait_for("the network to be collected", || networks().is_empty());
        assert_nothing_is_left();
    });
}

#[test]
fn containers_live_on_without_dockerd() {
    stage::run(&PROGRAMS, |stage| {
        let (_fairway, dockerd) = host(stage, &["--live-restore"]);
        docker("network create -d fairway --subnet 10.74.0.0/24 app");
        run("web", "--network app -p 8080:80");
        wait_until_listed(&["web"]);
        drop(dockerd);
        assert!(fetched("127.0.0.1:8080"));
        // What dockerd cannot be asked about stays. Without dockerd its containers have no names.
        assert!(
            sh(&format!("{PROGRAM} doctor || true")).contains("names 127.0.0.11, and nothing listens there")
        );
        assert_eq!((listed(), networks()), (vec!["web".to_owned()], vec!["app".to_owned()]));
        let _dockerd = start(stage, &["--live-restore"]);
        assert!(fetched("127.0.0.1:8080") && fetched_by_neighbor("192.0.2.1:8080"));
        // dockerd 20.10 has such a container not leave.
        docker("rm -f web");
        wait_until_listed(&[]);
        assert!(!fetched("127.0.0.1:8080"));
        docker("network rm app");
        assert_nothing_is_left();
    });
}

/// Starts containers while the daemon is ended by a signal and replaced, and says which starts failed at first.
fn replace_daemon_at_starts(stage: &Stage, signal: Signal) -> Vec<u64> {
    let (mut fairway_daemon, _dockerd) = host(stage, &[]);
    let mut failed = Vec::new();
    docker("network create -d fairway --ipam-driver fairway --subnet 10.80.0.0/24 app");
    for round in 0..6_u64 {
        let name = format!("web{round}");
        let started = std::thread::spawn({
            let name = name.clone();
            move || {
                let options = "--network app -p 8080:80 bb httpd -f -p 80 -h /etc";
                printed(&format!("docker -H unix:///run/docker.sock run -d --name {name} {options}"))
                    .is_some()
            }
        });
        std::thread::sleep(Duration::from_millis(60 + 70 * round));
        fairway_daemon.signal(signal);
        fairway_daemon.0.wait().unwrap();
        fairway_daemon = fairway(&[]);
        // What was refused is started again, as its reason says.
        if !started.join().unwrap() {
            failed.push(round);
            docker(&format!("start {name}"));
        }
        await_server(&name);
        assert!(fetched("127.0.0.1:8080") && fetched_by_neighbor("192.0.2.1:8080"), "{round}");
        wait_until_listed(&[&name]);
        docker(&format!("rm -f {name}"));
        wait_until_listed(&[]);
    }
    docker("network rm app");
    assert_nothing_is_left();
    failed
}

#[test]
fn a_daemon_that_is_killed_at_any_time_leaves_nothing_behind() {
    stage::run(&PROGRAMS, |stage| drop(replace_daemon_at_starts(stage, Signal::KILL)));
}

#[test]
fn containers_start_while_the_daemon_is_replaced() {
    stage::run(&PROGRAMS, |stage| {
        let failed = replace_daemon_at_starts(stage, Signal::TERM);
        assert!(failed.is_empty(), "{failed:?}");
    });
}
