//! Sandboxes that end, and many that come and go at once.

use std::net::TcpListener;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::dns::{RecordType, look_up};
use fairway_api::types::{AttachNamespace, Exited};
use fairway_lab::{Lab, Outcome, Place, Question, ask, serve_tcp};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::foreign_changes;
use crate::harness::{HOST, LAN, Sandbox, Stage, eventually, request};
use crate::kernel_state::{assert_same, observe};
use crate::metrics::metrics;

/// How soon the endpoints of what has ended are gone: in two seconds, but a busy machine gets much time.
const SOON: Duration = Duration::from_secs(20);
/// How long a repair takes at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after an end its exit code is reported in time: the daemon waits for 600 ms since it noticed.
const REPORTED_WITHIN: Duration = Duration::from_millis(500);
const RESOLVER: &str = "127.0.0.11:53";

/// A network with a neighbour who asks for names.
fn stage(lab: &Lab) -> (Stage, Sandbox) {
    let stage = Stage::new(lab, &[]);
    stage.network("web");
    let neighbour = stage.sandbox("neighbour", &["web"], &[]);
    (stage, neighbour)
}

fn is_known(place: &Place, name: &str) -> bool {
    !look_up(place, RESOLVER, name, RecordType::A).unwrap().is_empty()
}

fn is_free(stage: &Stage, port: u16) -> bool {
    stage.host.run_in(|| TcpListener::bind(("0.0.0.0", port)).is_ok()).unwrap()
}

#[test]
fn who_ends_takes_everything_along() {
    fairway_lab::run(|lab| {
        let (stage, neighbour) = stage(lab);
        let before = observe(&stage, &[]);
        let (sandbox, process) = stage.attach_process("p", request(&["web"], &["8080:80"])).unwrap();
        assert!(is_known(&neighbour, "p") && !is_free(&stage, 8080));
        // The test must not be the one that keeps the namespace.
        drop(sandbox);
        drop(process);
        eventually("all of it is gone", SOON, || observe(&stage, &[]) == before);
        assert!(!is_known(&neighbour, "p") && is_free(&stage, 8080));
        assert!(stage.client().container("p").is_err());
        assert!(!stage.daemon.log().contains("drift"), "it is not taken for drift");
    });
}

#[test]
fn a_namespace_whose_name_is_removed_is_gone() {
    fairway_lab::run(|lab| {
        let (stage, neighbour) = stage(lab);
        let before = observe(&stage, &[]);
        let sandbox = stage.sandbox("p", &["web"], &["8080:80"]);
        stage.host.run_in(|| foreign_changes::thread_into(&sandbox.path, "alive")).unwrap();
        assert!(is_known(&neighbour, "p") && is_known(&sandbox, "neighbour"));
        stage.remove_namespace(sandbox);
        eventually("nothing keeps the namespace", SOON, || {
            !stage.host.run_in(|| foreign_changes::has_link("alive")).unwrap()
        });
        eventually("all of it is gone", SOON, || observe(&stage, &[]) == before);
        assert!(!is_known(&neighbour, "p") && is_free(&stage, 8080));
    });
}

#[test]
fn a_detached_namespace_belongs_to_its_owner_alone() {
    fairway_lab::run(|lab| {
        let (stage, neighbour) = stage(lab);
        let before = observe(&stage, &[]);
        let sandbox = stage.sandbox("p", &["web"], &["8080:80"]);
        assert!(is_known(&neighbour, "p") && is_known(&sandbox, "neighbour"));
        stage.client().detach("p").unwrap();
        assert_same("when the reply comes", &observe(&stage, &[]), &before);
        assert!(!is_known(&neighbour, "p") && is_free(&stage, 8080));
        assert!(!sandbox.run_in(|| foreign_changes::has_link("eth0")).unwrap(), "its interface is gone");
        stage.host.run_in(|| foreign_changes::thread_into(&sandbox.path, "alive")).unwrap();
        stage.remove_namespace(sandbox);
        eventually("nothing keeps the namespace", SOON, || {
            !stage.host.run_in(|| foreign_changes::has_link("alive")).unwrap()
        });
    });
}

#[test]
fn a_hundred_come_and_go_at_once() {
    const MANY: usize = 100;
    fairway_lab::run(|lab| {
        let (stage, _neighbour) = stage(lab);
        let before = observe(&stage, &[]);
        let barrier = Barrier::new(MANY);
        std::thread::scope(|scope| {
            for number in 0..MANY {
                let (stage, barrier) = (&stage, &barrier);
                scope.spawn(move || {
                    let name = format!("s{number}");
                    // The first one makes the namespace, the second one is one of a hundred.
                    stage.attach(&name, request(&[], &[])).unwrap();
                    stage.client().detach(&name).unwrap();
                    barrier.wait();
                    let sandbox = stage.attach(&name, request(&["web"], &["80", "53/udp"])).unwrap();
                    assert!(!is_free(stage, sandbox.host_port("80/tcp")));
                    barrier.wait();
                    stage.client().detach(&name).unwrap();
                    let gone = || !sandbox.run_in(|| foreign_changes::has_link("eth0")).unwrap();
                    eventually("its link is gone", SOON, gone);
                });
            }
        });
        assert_same("afterwards", &observe(&stage, &[]), &before);
        assert!(!stage.daemon.log().contains("drift"));
    });
}

#[test]
fn what_a_sandbox_left_can_be_had_at_once() {
    // Of the many ports most are closed, and given to the relay, after the replies.
    const PORTS: &str = "20000-20299:80-379";
    fairway_lab::run(|lab| {
        let (mut stage, _neighbour) = stage(lab);
        let before = observe(&stage, &[]);
        let asked = |stage: &Stage| ask(&stage.lan, &format!("{HOST}:20299")).unwrap();
        for name in ["first", "second", "first"] {
            let sandbox = stage.attach(name, request(&["web"], &[PORTS])).unwrap();
            let server = serve_tcp(&sandbox, "0.0.0.0:379").unwrap();
            assert_eq!(asked(&stage), Outcome::answered(LAN), "{name}");
            stage.client().detach(name).unwrap();
            // A port that is not closed yet accepts, and drops.
            assert!(matches!(asked(&stage), Outcome::Refused | Outcome::Dropped), "{name}");
            drop(server);
        }
        assert_same("afterwards", &observe(&stage, &[]), &before);
        let _sandbox = stage.attach("last", request(&["web"], &[PORTS])).unwrap();
        stage.client().detach("last").unwrap();
        stage.daemon.kill9();
        stage.daemon.restart(&[]);
        assert_same("after a crash", &observe(&stage, &[]), &before);
    });
}

#[test]
fn a_sandbox_that_left_reaches_nothing() {
    // Deleting so many links takes the kernel far longer than answering.
    const MANY: usize = 60;
    fairway_lab::run(|lab| {
        let (stage, _neighbour) = stage(lab);
        let _server = serve_tcp(&stage.lan, "0.0.0.0:80").unwrap();
        let sandboxes: Vec<(String, Sandbox)> = (0..MANY)
            .map(|number| format!("s{number}"))
            .map(|name| (name.clone(), stage.attach(&name, request(&["web"], &[])).unwrap()))
            .collect();
        let asked = |sandbox: &Sandbox| {
            let question = Question::to(&format!("{LAN}:80")).unwrap();
            question.within(Duration::from_millis(1500)).tcp(sandbox).unwrap()
        };
        assert_eq!(asked(&sandboxes[0].1), Outcome::answered(HOST));
        let barrier = Barrier::new(MANY);
        std::thread::scope(|scope| {
            for (name, sandbox) in &sandboxes {
                let (stage, barrier) = (&stage, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    stage.client().detach(name).unwrap();
                    assert_ne!(asked(sandbox), Outcome::answered(HOST), "{name}");
                });
            }
        });
    });
}

#[test]
fn many_that_end_at_once_are_gone_as_soon() {
    fairway_lab::run(|lab| {
        let (stage, _neighbour) = stage(lab);
        let before = observe(&stage, &[]);
        let attach =
            |number| stage.attach_process(&format!("s{number}"), request(&["web"], &["80"])).unwrap();
        let (sandboxes, processes): (Vec<_>, Vec<_>) = (0..40).map(attach).unzip();
        drop(sandboxes);
        drop(processes);
        eventually("all of them are gone", SOON, || observe(&stage, &[]) == before);
        assert!(!stage.daemon.log().contains("drift"));
    });
}

#[test]
fn a_restart_right_after_the_end_is_not_mistaken_for_it() {
    fairway_lab::run(|lab| {
        let (stage, neighbour) = stage(lab);
        let mut client = stage.client();
        client.create_container("again", &request(&["web"], &[])).unwrap();
        for _ in 0..2 {
            // A namespace with a process comes from a sandbox of its own.
            let (helper, process) = stage.attach_process("helper", request(&["none"], &[])).unwrap();
            client.detach("helper").unwrap();
            drop(helper);
            let start = AttachNamespace { pid: process.id(), ..Default::default() };
            client.attach_namespace("again", &start).unwrap();
            let pid = process.id();
            drop(process);
            // Whoever started it tells, and starts it again before the daemon has noticed by itself.
            client.exited("again", Exited { pid, code: 3, ..Exited::default() }).unwrap();
            let (helper, process) = stage.attach_process("helper", request(&["none"], &[])).unwrap();
            client.detach("helper").unwrap();
            drop(helper);
            let start = AttachNamespace { pid: process.id(), ..Default::default() };
            client.attach_namespace("again", &start).unwrap();
            std::thread::sleep(Duration::from_millis(1000));
            assert!(client.container("again").unwrap().state.running, "it runs");
            assert!(is_known(&neighbour, "again"));
            let pid = process.id();
            drop(process);
            client.exited("again", Exited { pid, code: 4, ..Exited::default() }).unwrap();
        }
    });
}

#[test]
fn an_exit_code_is_not_lost_to_a_link_that_goes_first() {
    fairway_lab::run(|lab| {
        let (stage, _neighbour) = stage(lab);
        let mut client = stage.client();
        client.create_container("code", &request(&["bridge"], &[])).unwrap();
        let mut codes = vec![7, 6, 5];
        while let Some(code) = codes.pop() {
            let (helper, process) = stage.attach_process("helper", request(&["none"], &[])).unwrap();
            client.detach("helper").unwrap();
            drop(helper);
            let start = AttachNamespace { pid: process.id(), ..Default::default() };
            client.attach_namespace("code", &start).unwrap();
            let inside = stage.host.sandbox(format!("/proc/{}/ns/net", process.id())).unwrap();
            let link = stage.host.run_in(|| foreign_changes::port_of(&inside, "eth0")).unwrap();
            drop(inside);
            let mut waiting = stage.client();
            let requests = || metrics(&stage)["fairway_api_requests_in_progress"];
            let before = requests();
            let waiter = std::thread::spawn(move || waiting.wait("code", "next-exit").unwrap());
            eventually("it waits", SOON, || requests() > before);
            std::thread::sleep(Duration::from_millis(50));
            let pid = process.id();
            let ended = Instant::now();
            drop(process);
            // Nothing but the process keeps a namespace without a resolver: its link goes with it, and tells the
            // daemon before anybody else does.
            let gone = || !stage.host.run_in(|| foreign_changes::has_link(&link)).unwrap();
            eventually("the link is gone", SOON, gone);
            std::thread::sleep(Duration::from_millis(30));
            let reported = client.exited("code", Exited { pid, code, ..Exited::default() });
            if ended.elapsed() > REPORTED_WITHIN {
                // The machine was slow, and the daemon waits no longer: again.
                let _ = waiter.join();
                codes.push(code);
                continue;
            }
            reported.unwrap();
            let state = client.container("code").unwrap().state;
            assert_eq!(waiter.join().unwrap(), code, "each waiter gets it");
            assert_eq!((state.running, state.exit_code), (false, code));
        }
        assert!(!stage.daemon.log().contains("drift"), "it is not taken for drift");
    });
}

/// What a daemon cannot look at, it does not take for ended.
#[test]
fn a_daemon_without_descriptors_stops_nothing() {
    fairway_lab::run(|lab| {
        let (stage, neighbour) = stage(lab);
        let web = stage.client().network("web").unwrap();
        let (_sandbox, _process) = stage.attach_process("p", request(&["web"], &[])).unwrap();
        let daemon = Pid::from_raw(i32::try_from(stage.daemon.pid()).unwrap());
        let limit = getrlimit(Resource::Nofile);
        let set = |current| prlimit(daemon, Resource::Nofile, Rlimit { current, ..limit }).unwrap();
        set(Some(1));
        let bridge = format!("br-{}", &web.id[..12]);
        stage.host.run_in(|| foreign_changes::set_down(&bridge)).unwrap();
        eventually("it tries to repair", PATIENCE, || stage.daemon.log().contains("Too many open files"));
        set(limit.current);
        let is_up = || stage.host.run_in(|| foreign_changes::link(&bridge).up).unwrap();
        eventually("it is repaired", PATIENCE, is_up);
        assert!(stage.client().container("p").unwrap().state.running);
        assert!(is_known(&neighbour, "p") && is_known(&neighbour, "neighbour"));
    });
}
