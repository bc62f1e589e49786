//! What passes between daemon and relay: when the relay does not answer, when it holds more sockets than there are
//! descriptors to spare, when it lies, and what is answered while the daemon starts.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use fairway::daemon::EXEC_ROOT;
use fairway_api::Client;
use fairway_api::types::NetworkCreate;
use fairway_inspect::doctor::Severity;
use fairway_lab::{Outcome, Question, serve_tcp};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::harness::{Stage, eventually, ports, refusal};
use crate::kernel_state::{kill, kill_relay, observe, relay_pid};

/// How long anything may take that waits for no relay.
const BOUND: Duration = Duration::from_secs(20);

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// How a port of the host's loopback answers.
fn asked(stage: &Stage, port: u16) -> Outcome {
    let question = Question::to(&format!("127.0.0.1:{port}")).unwrap().within(Duration::from_secs(2));
    question.tcp(&stage.host).unwrap()
}

fn is_answered(stage: &Stage, port: u16) -> bool {
    matches!(asked(stage, port), Outcome::Answered { .. })
}

#[test]
fn what_changes_while_the_relay_does_not_answer_is_given_to_it_when_it_does() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80", "8081:80"]);
        let _serving = serve_tcp(&server, "0.0.0.0:80").unwrap();
        assert!(is_answered(&stage, 8080));
        let pid = relay_pid().unwrap();
        signal(pid, Signal::STOP);
        let since = Instant::now();
        stage.client().publish("server", ports(&["8082:80"])).unwrap();
        stage.client().unpublish("server", ports(&["8081:80"])).unwrap();
        let late = stage.sandbox("late", &["bridge"], &["8083:80"]);
        let _late = serve_tcp(&late, "0.0.0.0:80").unwrap();
        assert!(since.elapsed() < BOUND, "they took {:?}", since.elapsed());
        // The port is held, and the other one refuses, though the relay has its socket.
        let taken = stage.host.run_in(|| TcpListener::bind("127.0.0.1:8082").is_err()).unwrap();
        assert!(taken);
        assert_eq!(asked(&stage, 8081), Outcome::Refused);
        let message = refusal(stage.client().publish("server", ports(&["8081:80"])));
        assert!(message.contains(&format!("the relay (process {pid}), which does not answer")), "{message}");
        let said = format!("the relay (process {pid}) does not answer");
        assert!(stage.daemon.log().contains(&said));
        let findings = stage.client().doctor(false).unwrap().findings;
        assert!(
            findings.iter().any(|it| it.message == said && it.impact.contains("kill -CONT")),
            "{findings:?}"
        );

        signal(pid, Signal::CONT);
        for port in [8080, 8082, 8083] {
            eventually("it is answered", BOUND, || is_answered(&stage, port));
        }
        assert_eq!(relay_pid(), Some(pid), "it is the same one");
        eventually("its socket is closed", BOUND, || {
            stage.host.run_in(|| TcpListener::bind("127.0.0.1:8081").is_ok()).unwrap()
        });
        stage.client().publish("server", ports(&["8081:80"])).unwrap();
        assert!(is_answered(&stage, 8081));
    });
}

#[test]
fn a_relay_that_does_not_answer_and_ends_is_replaced() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80"]);
        let _serving = serve_tcp(&server, "0.0.0.0:80").unwrap();
        let pid = relay_pid().unwrap();
        signal(pid, Signal::STOP);
        stage.client().publish("server", ports(&["8081:80"])).unwrap();
        kill(pid);
        for port in [8080, 8081] {
            eventually("it is answered", BOUND, || is_answered(&stage, port));
        }
    });
}

#[test]
fn a_daemon_does_not_start_while_a_relay_does_not_answer() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80"]);
        let _serving = serve_tcp(&server, "0.0.0.0:80").unwrap();
        let pid = relay_pid().unwrap();
        stage.daemon.kill9();
        signal(pid, Signal::STOP);
        stage.daemon.launch(&[]);
        assert!(stage.daemon.wait_until_ended().is_some_and(|status| !status.success()));
        assert!(
            stage.daemon.log().contains("cannot adopt the sockets of the relay at /run/fairway/relay.sock")
        );
        signal(pid, Signal::CONT);
        stage.daemon.restart(&[]);
        assert_eq!(relay_pid(), Some(pid));
        assert!(is_answered(&stage, 8080));
    });
}

/// How many descriptors a process has open.
fn open(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

fn limit(pid: u32, descriptors: u64) {
    let limit = Rlimit { current: Some(descriptors), maximum: Some(descriptors) };
    prlimit(Pid::from_raw(pid as i32), Resource::Nofile, limit).unwrap();
}

#[test]
fn a_relay_hands_over_more_sockets_than_it_has_descriptors_left() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8000-8999:1000-1999"]);
        let _serving = serve_tcp(&server, "0.0.0.0:1999").unwrap();
        let pid = relay_pid().unwrap();
        let _handed_over = observe(&stage, &[]);
        limit(pid, open(pid) + 20);
        stage.daemon.restart(&[]);
        assert_eq!(relay_pid(), Some(pid));
        assert!(is_answered(&stage, 8999));
        let log = stage.daemon.log();
        assert!(!log.contains("in use"), "{log}");
        let findings = stage.client().doctor(false).unwrap().findings;
        assert!(findings.iter().any(|it| it.id == "ports" && it.severity == Severity::Ok), "{findings:?}");
        stage.client().detach("server").unwrap();
        // Of a thousand ports most are closed after the reply.
        for port in [8000, 8500, 8999] {
            eventually("it is closed", BOUND, || asked(&stage, port) == Outcome::Refused);
        }
    });
}

#[test]
fn a_daemon_that_may_have_too_few_descriptors_leaves_the_relay_as_it_is() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8000-8499:1000-1499"]);
        let _serving = serve_tcp(&server, "0.0.0.0:1499").unwrap();
        let _handed_over = observe(&stage, &[]);
        stage.daemon.kill9();
        limit(std::process::id(), 800);
        stage.daemon.launch(&[]);
        let ended = stage.daemon.wait_until_ended();
        assert!(ended.is_some_and(|status| !status.success()), "{}", stage.daemon.log());
        assert!(stage.daemon.log().contains("too many open files: the relay holds more sockets"));
        assert!(is_answered(&stage, 8499));
    });
}

/// A relay on the host that says that it holds `records`, without sockets, and makes no change before it may.
fn serve_as_relay(
    stage: &Stage,
    records: &'static str,
    may_change: Arc<AtomicBool>,
) -> mpsc::Receiver<String> {
    let listen = || {
        let path = format!("{EXEC_ROOT}/relay.sock");
        std::fs::remove_file(&path).unwrap();
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let listener = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 4).unwrap();
        listener
    };
    let listener: OwnedFd = stage.host.run_in(listen).unwrap();
    let (heard, all) = mpsc::channel();
    std::thread::spawn(move || {
        let daemon: OwnedFd = rustix::net::accept(&listener).unwrap();
        let mut buffer = vec![0; 1 << 20];
        while let Ok(length @ 1..) = rustix::io::read(&daemon, &mut buffer[..]) {
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let answer = match &request {
                hello if hello.contains("Hello") => concat!(
                    r#"{"Hello":{"version":""#,
                    env!("CARGO_PKG_VERSION"),
                    r#"","pid":1,"confinement":[],"missing":[],"counts":false,"asks_inside":true}}"#
                )
                .to_owned(),
                describe if describe.contains("Describe") => {
                    format!(r#"{{"Records":{{"records":[{records}],"last":true}}}}"#)
                }
                _ => r#"{"Changed":[]}"#.to_owned(),
            };
            let changes = request.contains("Insert");
            let _ = heard.send(request);
            while changes && !may_change.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if rustix::io::write(&daemon, answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    all
}

#[test]
fn reads_are_answered_while_the_daemon_starts_and_changes_wait() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.sandbox("server", &["bridge"], &["8080:80"]);
        stage.daemon.kill9();
        kill_relay();
        let may_change = Arc::new(AtomicBool::new(false));
        let heard = serve_as_relay(&stage, "", Arc::clone(&may_change));
        stage.daemon.launch(&[]);
        while !heard.recv_timeout(BOUND).unwrap().contains("Insert") {}
        // From here on the start waits for the relay.
        let containers = stage.client().containers(false, &Default::default()).unwrap();
        assert_eq!(containers[0].names, ["/server"]);
        let (made, done) = mpsc::channel();
        let mut client: Client = stage.client();
        std::thread::spawn(move || {
            let request =
                NetworkCreate { name: "more".to_owned(), driver: "bridge".to_owned(), ..Default::default() };
            let _ = made.send(client.create_network(&request).map(drop));
        });
        assert!(done.recv_timeout(Duration::from_millis(300)).is_err(), "it waits for the start");
        assert_eq!(stage.client().containers(false, &Default::default()).unwrap().len(), 1);
        may_change.store(true, Ordering::Release);
        done.recv_timeout(BOUND).unwrap().unwrap();
        stage.client().ping().unwrap();
    });
}

#[test]
fn what_a_relay_says_of_sockets_is_not_believed() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.sandbox("server", &["bridge"], &["127.0.0.1:8080:80"]);
        stage.daemon.kill9();
        kill_relay();
        let records = r#"[{"Port":{"protocol":"tcp","address":"127.0.0.1:8080","purpose":"Hold"}},0]"#;
        let heard = serve_as_relay(&stage, records, Arc::new(AtomicBool::new(true)));
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let said: Vec<String> = heard.try_iter().collect();
        assert!(said.iter().any(|it| it.contains("Remove")), "{said:?}");
        let log = stage.daemon.log();
        assert!(log.contains("dropped the relay's sockets of port 127.0.0.1:8080/tcp"), "{log}");
        assert!(
            stage.host.run_in(|| TcpStream::connect("127.0.0.1:8080").is_ok()).unwrap(),
            "it is bound anew"
        );
    });
}
