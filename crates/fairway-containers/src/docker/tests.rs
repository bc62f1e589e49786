use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::note::Note;
use crate::testing::{Fixture, lines};

const LIST: &str = r#"[
    {"Id": "aa", "Names": ["/web"], "State": "running"},
    {"Id": "bb", "Names": ["/db"], "State": "running"},
    {"Id": "cc", "Names": ["/old"], "State": "exited"},
    {"Names": ["/broken"]}
]"#;

/// A daemon that answers each path with a body; returns the paths that it was asked for, after `count` of them.
fn daemon(fixture: &Fixture, count: usize, answer: fn(&str) -> String) -> JoinHandle<Vec<String>> {
    fixture.process(900, 1, "/usr/sbin/dockerd -H fd://").file("/run/x", "");
    let listener = UnixListener::bind(fixture.root().join("run/docker.sock")).unwrap();
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            stream.write_all(answer(&path).as_bytes()).unwrap();
            asked.push(path);
        }
        asked
    })
}

fn ok(body: &str) -> String {
    format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
}

fn texts(notes: &[Note]) -> Vec<String> {
    notes.iter().map(ToString::to_string).collect()
}

#[test]
fn without_docker_there_is_nothing() {
    assert_eq!(Fixture::new().read(read), (Vec::new(), Vec::new()));
}

#[test]
fn the_api_is_asked_and_the_process_found_in_containerds_files() {
    let fixture = Fixture::new();
    let task = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/aa/init.pid";
    fixture.file(task, "41").process(41, 1, "nginx").process(42, 1, "postgres");
    let daemon = daemon(&fixture, 2, |path| match path {
        "/containers/json?all=true" => ok(LIST),
        _ => ok(r#"{"State": {"Pid": 42}}"#),
    });
    let (containers, notes) = fixture.read(read);
    assert_eq!(
        lines(&containers),
        ["docker:web running pid=41", "docker:db running pid=42", "docker:old exited"]
    );
    assert!(containers[0].namespace.as_ref().unwrap().path.ends_with("/proc/41/ns/net"));
    assert_eq!(texts(&notes), ["engine: cannot use /run/docker.sock: a container has no Id"]);
    // Only what the files do not have is asked for.
    assert_eq!(daemon.join().unwrap(), ["/containers/json?all=true", "/containers/bb/json"]);
}

/// Files of a container that runs, and one of which the record is broken.
fn with_files(fixture: &Fixture, data_root: &str) {
    let config = r#"{"ID": "aa", "Name": "/web", "State": {"Running": true, "Pid": 41}}"#;
    fixture
        .file(&format!("{data_root}/containers/aa/config.v2.json"), config)
        .file(&format!("{data_root}/containers/bb/config.v2.json"), "{")
        .file(&format!("{data_root}/containers/cc/hostconfig.json"), "{}");
}

#[test]
fn without_a_daemon_the_files_are_read() {
    let fixture = Fixture::new();
    with_files(&fixture, "/var/lib/docker");
    let (containers, notes) = fixture.process(41, 1, "nginx").read(read);
    assert_eq!(lines(&containers), ["docker:web running pid=41"]);
    assert_eq!(
        texts(&notes),
        ["engine: cannot use /var/lib/docker/containers/bb/config.v2.json: \
          EOF while parsing an object at line 1 column 1"]
    );
}

#[test]
fn a_container_whose_process_is_gone_does_not_run() {
    let fixture = Fixture::new();
    with_files(&fixture, "/var/lib/docker");
    assert_eq!(lines(&fixture.read(read).0), ["docker:web exited"]);
}

#[test]
fn a_daemon_is_asked_at_its_own_socket_and_data_root() {
    let fixture = Fixture::new();
    with_files(&fixture, "/srv/docker");
    fixture.process(41, 1, "nginx");
    fixture.process(900, 1, "dockerd -H tcp://1.2.3.4 --host=unix:///run/a.sock --data-root /srv/docker");
    let (containers, notes) = fixture.read(read);
    assert_eq!(lines(&containers), ["docker:web running pid=41"]);
    // That the socket is not there yet is no note of its own.
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn a_socket_without_its_daemon_is_not_connected_to() {
    let fixture = Fixture::new();
    fixture.file("/run/x", "");
    let listener = UnixListener::bind(fixture.root().join("run/docker.sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(fixture.read(read), (Vec::new(), Vec::new()));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn answers_that_are_not_understood_are_notes_and_the_files_are_read() {
    for (answer, reason) in [
        ("HTTP/1.0 500 Error\r\n\r\n", "the daemon answered with status 500"),
        ("HTTP/1.0 200 OK\r\n\r\n{}", "the answer is not a list of containers"),
        ("", "the answer is not HTTP"),
    ] {
        let fixture = Fixture::new();
        with_files(&fixture, "/var/lib/docker");
        std::fs::remove_dir_all(fixture.root().join("var/lib/docker/containers/bb")).unwrap();
        fixture.process(900, 1, "dockerd").file("/run/x", "");
        let listener = UnixListener::bind(fixture.root().join("run/docker.sock")).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let (containers, notes) = fixture.read(read);
        server.join().unwrap();
        assert_eq!(lines(&containers), ["docker:web exited"]);
        assert_eq!(texts(&notes), [format!("engine: cannot use /run/docker.sock: {reason}")]);
    }
}

#[test]
fn a_daemon_that_never_answers_takes_a_second_and_its_files_are_read() {
    let fixture = Fixture::new();
    with_files(&fixture, "/var/lib/docker");
    fixture.process(900, 1, "dockerd").process(41, 1, "nginx").file("/run/x", "");
    let _listener = UnixListener::bind(fixture.root().join("run/docker.sock")).unwrap();
    let started = Instant::now();
    let survey = fixture.survey();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(lines(&survey.containers), ["docker:web running pid=41"]);
    let silent = "docker: /run/docker.sock did not answer within a second: its files were read instead";
    assert!(texts(&survey.notes).iter().any(|note| note == silent), "{:?}", survey.notes);
}

#[test]
fn a_second_daemon_with_the_same_socket_lists_nothing_twice() {
    let fixture = Fixture::new();
    fixture.process(950, 1, "dockerd --host=unix:///var/run/docker.sock --data-root /data");
    fixture.file("/var/run/x", "").link("/var/run/docker.sock", "../../run/docker.sock");
    let daemon = daemon(&fixture, 2, |_| ok(r#"[{"Id": "cc", "Names": ["/old"], "State": "exited"}]"#));
    let (containers, notes) = fixture.read(read);
    daemon.join().unwrap();
    assert_eq!((lines(&containers), notes), (vec!["docker:old exited".to_owned()], Vec::new()));
}

#[test]
fn a_rootless_daemon_is_asked_at_its_users_socket() {
    let fixture = Fixture::new();
    fixture.process(900, 1, "dockerd --rootless").file("/run/user/1000/x", "");
    fixture.file("/etc/passwd", "alice:x:1000:1000::/home/alice:/bin/sh");
    let listener = UnixListener::bind(fixture.root().join("run/user/1000/docker.sock")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(ok(r#"[{"Id": "aa", "Names": ["/web"], "State": "created"}]"#).as_bytes()).unwrap();
    });
    let containers = fixture.read_as(1000, read).0;
    server.join().unwrap();
    assert_eq!(lines(&containers), ["docker:alice/web created"]);
}
