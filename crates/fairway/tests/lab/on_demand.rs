//! The on-demand daemon: faces start it, it serves them as any daemon, and leaves nothing when its last sandbox leaves.

mod namespaces;
mod system;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use fairway::face::daemon::{Error, Place, ask_by, connect_by};
use fairway_api::types::{AttachRequest, NetworkCreate};
use fairway_api::{Client, ClientError};
use fairway_kernel::namespace;
use fairway_lab::{Lab, Outcome, Question, SCRATCH, ask, serve_tcp};
use fairway_model::ENGINE_LABEL;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getsid, kill_process};

use crate::harness::{HOST, Sandbox, Stage, eventually, flags_everywhere, request};
use crate::kernel_state::{assert_same, kill, observe, relay_pid};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fairway");
/// How long a daemon that has nothing to do may go on, and its end take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A face that root uses.
fn place() -> Place {
    Place { rootless: false, directory: PathBuf::from(format!("{SCRATCH}/config")) }
}

/// Asks as a face on the host does.
fn face<T: Send>(
    stage: &Stage,
    ask: impl FnMut(&mut Client) -> Result<T, ClientError> + Send,
) -> Result<T, Error> {
    stage.host.run_in(|| ask_by(Path::new(PROGRAM), &place(), ask)).unwrap()
}

/// Creates a network and attaches a named namespace to it, as a face of podman's does.
fn attach(stage: &Stage, name: &str, publish: &[&str]) -> Sandbox {
    let path = format!("{}/{name}", namespace::NAMED_DIRECTORY);
    stage.host.run_in(|| namespace::create_named(name)).unwrap().unwrap();
    let mut container = request(&["app"], publish);
    container.labels.insert(ENGINE_LABEL.to_owned(), "podman".to_owned());
    let attach = AttachRequest { name: name.to_owned(), path: path.clone(), container, ..Default::default() };
    let network = NetworkCreate { name: "app".to_owned(), driver: "bridge".to_owned(), ..Default::default() };
    let attached = face(stage, |client| {
        if client.network("app").is_err() {
            client.create_network(&network)?;
        }
        client.attach(&attach)
    });
    Sandbox::new(stage.host.sandbox(&path).unwrap(), path, attached.unwrap())
}

fn detach(stage: &Stage, name: &str) {
    face(stage, |client| client.detach(name)).unwrap();
    let path = format!("{}/{name}", namespace::NAMED_DIRECTORY);
    stage.host.run_in(|| namespace::remove_named(&namespace::identity(&path).unwrap())).unwrap().unwrap();
}

/// The on-demand daemons that run, by process id.
pub fn daemons() -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"--on-demand")
    })
    .collect()
}

pub fn wait_until_ended() {
    // While a process executes another program it has no command line.
    let are_gone = || {
        let first = daemons().is_empty();
        std::thread::sleep(Duration::from_millis(50));
        first && daemons().is_empty()
    };
    eventually("the on-demand daemon has ended", PATIENCE, are_gone);
}

/// What the on-demand daemon at the system's place logged.
fn log(stage: &Stage) -> String {
    stage.host.run_in(|| fs::read_to_string("/run/fairway/on-demand/daemon.log").unwrap_or_default()).unwrap()
}

/// What is there of the host and a sandbox, but for the daemon's log and store.
fn objects(stage: &Stage, web: &Sandbox) -> BTreeSet<String> {
    let mut lines = observe(stage, &[("web", web)]);
    lines.retain(|line| !line.contains("/run/fairway/on-demand/"));
    lines
}

/// No process, and nothing of the host but what was there before.
fn assert_nothing_left(stage: &Stage, before: &BTreeSet<String>) {
    wait_until_ended();
    eventually("the relay has ended", PATIENCE, || relay_pid().is_none());
    assert_same("after the end", &observe(stage, &[]), before);
    for path in ["/run/fairway", "/run/fairway.sock", "/var/lib/fairway"] {
        assert!(!stage.host.run_in(|| fs::symlink_metadata(path).is_ok()).unwrap(), "{path} is left");
    }
}

#[test]
fn faces_at_the_same_time_start_one_daemon() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let barrier = Barrier::new(32);
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    barrier.wait();
                    let info = face(&stage, Client::info).unwrap();
                    assert_eq!(info.docker_root_dir, "/run/fairway/on-demand");
                });
            }
        });
        assert_eq!(daemons().len(), 1);
        let log = log(&stage);
        assert_eq!(log.matches(" ready ").count(), 1, "{log}");
        let networks = face(&stage, |client| client.networks(&Default::default())).unwrap();
        assert!(networks.iter().all(|network| network.name != "bridge"), "a default network");
    });
}

#[test]
fn a_daemon_without_sandboxes_ends() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let before = observe(&stage, &[]);
        let since = Instant::now();
        drop(stage.host.run_in(|| connect_by(Path::new(PROGRAM), &place())).unwrap().unwrap());
        assert_eq!(daemons().len(), 1);
        assert_nothing_left(&stage, &before);
        assert!(since.elapsed() >= Duration::from_secs(5), "it ended after {:?}", since.elapsed());
    });
}

on_each_backend! {
    the_end_of_the_last_sandbox_leaves_nothing;
    after_a_kill_the_next_face_goes_on;
}

pub fn configure(stage: &Stage) {
    let flags = flags_everywhere();
    if let [backend, flavour] = flags {
        let value = |flag: &str| flag.split_once('=').unwrap().1.to_owned();
        let text =
            serde_json::json!({"firewall-backend": value(backend), "iptables-flavour": value(flavour)});
        stage
            .host
            .run_in(|| {
                fs::create_dir_all("/etc/fairway").unwrap();
                fs::write("/etc/fairway/daemon.json", text.to_string()).unwrap();
            })
            .unwrap();
    }
}

fn the_end_of_the_last_sandbox_leaves_nothing(lab: &Lab) {
    let stage = Stage::before_daemon(lab);
    configure(&stage);
    let before = observe(&stage, &[]);
    // A descriptor that programs inherit.
    let inherited = File::open("/proc/self/status").unwrap();
    fcntl_setfd(&inherited, FdFlags::empty()).unwrap();
    let web = attach(&stage, "web", &["8080:80"]);
    let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
    assert!(matches!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::Answered { .. }));

    let [daemon] = daemons()[..] else { panic!("one daemon: {:?}", daemons()) };
    let pid = Pid::from_raw(daemon as i32);
    assert_eq!(getsid(pid).unwrap(), pid.unwrap(), "a session of its own");
    assert_eq!(fs::read_link(format!("/proc/{daemon}/cwd")).unwrap(), Path::new("/"));
    for entry in fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        assert!(!target.ends_with("status"), "it inherited descriptor {}", inherited.as_raw_fd());
    }

    // Longer than it goes on without.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(daemons(), [daemon]);
    let db = attach(&stage, "db", &[]);
    detach(&stage, "web");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(daemons(), [daemon]);
    // Its namespace goes, and no face says so.
    stage.remove_namespace(db);
    assert_nothing_left(&stage, &before);
}

fn after_a_kill_the_next_face_goes_on(lab: &Lab) {
    let stage = Stage::before_daemon(lab);
    configure(&stage);
    let before = observe(&stage, &[]);
    let web = attach(&stage, "web", &["8080:80"]);
    let server = serve_tcp(&web, "0.0.0.0:80").unwrap();
    let with_web = objects(&stage, &web);
    let [first] = daemons()[..] else { panic!("one daemon: {:?}", daemons()) };
    kill(first);
    wait_until_ended();
    let question = Question::to(&format!("{HOST}:8080")).unwrap().within(PATIENCE);
    let answered = || matches!(question.tcp(&stage.lan).unwrap(), Outcome::Answered { .. });
    assert!(answered(), "without a daemon");
    let containers = face(&stage, |client| client.containers(true, &Default::default())).unwrap();
    assert_eq!(containers.len(), 1, "{}", log(&stage));
    let [second] = daemons()[..] else { panic!("one daemon: {:?}", daemons()) };
    assert_ne!(first, second);
    assert!(answered(), "with the next daemon");
    assert_same("after a kill", &objects(&stage, &web), &with_web);
    // The other end: a signal. All goes on, and the next one ends for good.
    kill_process(Pid::from_raw(second as i32).unwrap(), Signal::TERM).unwrap();
    wait_until_ended();
    assert!(answered(), "after SIGTERM");
    drop(server);
    detach(&stage, "web");
    drop(web);
    assert_nothing_left(&stage, &before);
}

#[test]
fn a_face_gives_the_reason_why_the_daemon_does_not_start() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        stage
            .host
            .run_in(|| {
                fs::create_dir_all("/etc/fairway").unwrap();
                fs::write("/etc/fairway/daemon.json", r#"{"mtuu": 1400}"#).unwrap();
            })
            .unwrap();
        let error = face(&stage, Client::info).unwrap_err().to_string();
        assert!(error.starts_with("cannot start an on-demand daemon: "), "{error}");
        assert!(error.contains("mtuu") && error.contains("/etc/fairway/daemon.json"), "{error}");
    });
}

/// Faces come all the time while the daemon ends again and again: each is answered, and what was acknowledged is so.
#[test]
fn no_acknowledged_command_is_lost_to_the_end() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let before = observe(&stage, &[]);
        for round in 0..6 {
            face(&stage, Client::info).unwrap();
            let ending = daemons();
            // It has no sandbox: it ends within moments.
            face(&stage, Client::end).unwrap();
            std::thread::sleep(Duration::from_millis(60 * round));
            let web = attach(&stage, "web", &[]);
            let found = face(&stage, |client| client.container("web")).unwrap();
            assert_eq!(found.name, "/web", "round {round}");
            let kept = daemons() == ending;
            println!("round {round}: served by the {} daemon", if kept { "same" } else { "next" });
            detach(&stage, "web");
            drop(web);
        }
        assert_nothing_left(&stage, &before);
    });
}
