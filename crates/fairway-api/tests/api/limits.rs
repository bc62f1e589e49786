//! What clients may take of the server, and what is answered meanwhile.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fairway_api::Limits;
use fairway_api::filter::Filters;
use fairway_api::types::{AttachRequest, ContainerCreate};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::engine::RunningServer;

fn connect(server: &RunningServer) -> UnixStream {
    let stream = UnixStream::connect(server.address.strip_prefix("unix://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a text on a new connection.
fn send(server: &RunningServer, text: &str) -> UnixStream {
    let mut stream = connect(server);
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

/// The status of a reply; 0 when the connection was closed without one.
fn status(stream: &mut UnixStream) -> u16 {
    let mut line = [0; 12];
    match stream.read_exact(&mut line) {
        Ok(()) => std::str::from_utf8(&line[9..]).unwrap().parse().unwrap(),
        Err(error) => {
            assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock), "neither answered nor closed");
            0
        }
    }
}

/// Whether a reply or the end of the connection can be read.
fn has_reply(stream: &UnixStream) -> bool {
    rustix::event::poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0
}

#[test]
fn a_refused_request_is_read_to_its_end_by_a_client_that_sends_all_first() {
    let server = RunningServer::start();
    for (path, length, expected) in [
        ("/nothing", 4 << 20, 404),
        ("/v1.99/networks/create", 4 << 20, 400),
        ("/networks/create", 20 << 20, 413),
        ("/containers/create", 4 << 20, 400),
    ] {
        let mut stream = send(&server, &post(path, length));
        stream.write_all(&vec![b'x'; length]).unwrap();
        assert_eq!(status(&mut stream), expected, "{path}");
    }
    // The next request of a connection is answered behind it.
    let text = format!(
        "{}{}GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        post("/x", 9),
        "123456789"
    );
    let mut stream = send(&server, &text);
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert!(replies.starts_with("HTTP/1.1 404") && replies.ends_with("OK"), "{replies}");
}

#[test]
fn events_until_the_earliest_time_end_at_once() {
    let server = RunningServer::start();
    let mut stream =
        send(&server, "GET /events?until=-9223372036 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&mut stream), 200);
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn any_number_of_stops_keeps_nothing_from_being_answered() {
    let server = RunningServer::start();
    let mut client = server.client();
    let stubborn = AttachRequest { name: "stubborn".into(), pid: 5, ..AttachRequest::default() };
    client.attach(&stubborn).unwrap();
    let _stops: Vec<_> =
        (0..400).map(|_| send(&server, &post("/containers/stubborn/stop?t=60", 0))).collect();
    while server.engine.signals.lock().unwrap().len() < 400 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.containers(true, &Filters::default()).unwrap().len(), 1);
}

#[test]
fn a_stop_goes_on_when_its_client_is_gone() {
    let server = RunningServer::start();
    let stubborn = AttachRequest { name: "stubborn".into(), pid: 5, ..AttachRequest::default() };
    server.client().attach(&stubborn).unwrap();
    drop(send(&server, &post("/containers/stubborn/stop?t=1", 0)));
    while !server.engine.signals.lock().unwrap().contains(&"kill stubborn".to_owned()) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn idle_connections_are_closed_for_another_one_and_busy_ones_are_not() {
    let limits = Limits { connections: 4, root_connections: 0, ..Limits::default() };
    let server = RunningServer::with(limits);
    let mut idle: Vec<_> = (0..4).map(|_| send(&server, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    for stream in &mut idle {
        assert_eq!(status(stream), 200);
    }
    let events = || send(&server, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut watching: Vec<_> = (0..4).map(|_| events()).collect();
    for stream in &mut watching {
        assert_eq!(status(stream), 200);
    }
    let mut refused = events();
    assert_eq!(status(&mut refused), 503);
    let mut text = String::new();
    refused.read_to_string(&mut text).unwrap();
    assert!(
        text.ends_with(r#"{"message":"too many connections to the daemon: close some, or try again later"}"#)
    );
    drop(watching);
    while status(&mut send(&server, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")) != 200 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_that_is_sent_too_slowly_is_given_up() {
    let server = RunningServer::with(Limits { reading: Duration::from_secs(2), ..Limits::default() });
    let mut idle = send(&server, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n");
    let slow = ["GET /_ping HTTP/1.1\r\nHo", &format!("{}123", post("/networks/create", 9))];
    for (mut stream, text) in slow.map(|text| (send(&server, text), text)) {
        assert_eq!(status(&mut stream), 0, "{text}");
    }
    assert_eq!(status(&mut idle), 200);
    idle.read_exact(&mut [0; 64]).unwrap();
    idle.write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut more = vec![0; 400];
    let read = idle.read(&mut more).unwrap();
    assert!(read > 0, "a connection without a request is kept");
}

#[test]
fn the_largest_body_makes_way_for_a_smaller_one() {
    let server = RunningServer::with(Limits { bodies: 100_000, ..Limits::default() });
    let mut large = send(&server, &post("/networks/create", 200_000));
    large.write_all(&[b' '; 90_000]).unwrap();
    // It is taken soon, but the server does not report when. If none made it give way, it would be closed in 30 s.
    while !has_reply(&large) {
        let mut small = send(&server, &post("/networks/create", 20_000));
        small.write_all(&[b' '; 20_000]).unwrap();
        assert_eq!(status(&mut small), 400, "what is not JSON is read all the same");
    }
    assert_eq!(status(&mut large), 503);
    let mut too_large = send(&server, &post("/networks/create", 200_000));
    too_large.write_all(&[b' '; 200_000]).unwrap();
    assert_eq!(status(&mut too_large), 503);
}

#[test]
fn streams_have_a_limit() {
    let server = RunningServer::with(Limits { streams: 2, ..Limits::default() });
    let events = || send(&server, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut streams = [events(), events()];
    assert_eq!(streams.each_mut().map(status), [200, 200]);
    assert_eq!(status(&mut events()), 503);
    drop(streams);
    while status(&mut events()) != 200 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connection_that_is_handed_over_is_a_stream() {
    let server = RunningServer::with(Limits { streams: 2, ..Limits::default() });
    server.client().create_container("web", &ContainerCreate::default()).unwrap();
    let head = "POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n";
    let attach = || send(&server, &format!("{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"));
    let mut attached: Vec<_> = Vec::new();
    for _ in 0..2 {
        attached.push(attach());
        assert_eq!(status(attached.last_mut().unwrap()), 101);
    }
    let is_refused = || status(&mut attach()) == 503;
    // The reply comes a moment before the connection is handed over.
    while !is_refused() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(attached);
    while is_refused() {
        std::thread::sleep(Duration::from_millis(5));
    }
}
