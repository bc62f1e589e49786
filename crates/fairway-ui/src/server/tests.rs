use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fairway_containers::Container;
use fairway_inspect::doctor::Finding;
use fairway_inspect::graph::Picture;
use fairway_inspect::trace::TraceMessage;

use super::*;
use crate::content::Answer;
use crate::token::Token;

/// A host on which something changes whenever the test says so.
#[derive(Default)]
struct Host {
    version: AtomicU64,
    ended: Mutex<Vec<String>>,
}

impl Source for Host {
    fn picture(&self) -> Result<Picture, Failure> {
        Ok(Picture { host: "harbour".to_owned(), ..Picture::default() })
    }

    fn explain(&self, from: &str, to: &str) -> Result<Answer, Failure> {
        Err(Failure { kind: FailureKind::Refused, message: format!("cannot find {from} or {to}") })
    }

    fn containers(&self) -> Result<Vec<(Container, bool)>, Failure> {
        Ok(Vec::new())
    }

    fn findings(&self) -> Result<Vec<Finding>, Failure> {
        Err(Failure { kind: FailureKind::Unavailable, message: "no daemon".to_owned() })
    }

    fn trace(
        &self,
        from: Option<String>,
        _: Option<String>,
        show: &mut dyn FnMut(TraceMessage) -> bool,
    ) -> Result<(), Failure> {
        while show(TraceMessage::Note("watching".to_owned())) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ended.lock().unwrap().extend(from);
        Ok(())
    }

    fn wait_for_change(&self, _: Duration) {
        std::thread::sleep(Duration::from_millis(5));
    }

    fn fingerprint(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }
}

struct Page {
    host: Arc<Host>,
    port: u16,
    token: Token,
}

fn page() -> Page {
    let (host, token) = (Arc::new(Host::default()), Token::random().unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (guard, source) = (Guard::new(token.clone(), None).unwrap(), Arc::clone(&host));
    std::thread::spawn(move || {
        serve(runtime().unwrap(), Listener::Tcp(listener), guard, source, std::future::pending()).unwrap();
    });
    Page { host, port, token }
}

impl Page {
    fn open(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n", self.port);
        stream.write_all(format!("{head}{headers}\r\n").as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// The status and all else that a request with the token brings.
    fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, &format!("Authorization: Bearer {}\r\n", self.token.text()))
    }

    fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let mut text = String::new();
        self.open(path, headers).read_to_string(&mut text).unwrap();
        (text[9..12].parse().unwrap(), text)
    }

    fn stream(&self, path: &str) -> BufReader<TcpStream> {
        self.open(path, &format!("Authorization: Bearer {}\r\n", self.token.text()))
    }
}

/// Reads until a line with these words; false if the stream ends before.
fn reads(stream: &mut BufReader<TcpStream>, words: &str) -> bool {
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap() > 0 {
        if line.contains(words) {
            return true;
        }
        line.clear();
    }
    false
}

#[test]
fn the_page_is_there_without_the_token_and_its_data_is_not() {
    let page = page();
    let (status, text) = page.get_with("/", "");
    assert_eq!(status, 200);
    assert!(text.contains("<title>Fairway</title>") && text.contains("content-security-policy:"), "{text}");
    for path in ["/data/picture", "/data/changes", "/data/trace", "/nothing"] {
        let (status, text) = page.get_with(path, "");
        assert_eq!(status, 401, "{path}");
        assert!(text.contains("content-security-policy:") && !text.contains("harbour"), "{text}");
        assert_eq!(page.get_with(path, "Authorization: Bearer 0\r\n").0, 401, "{path}");
    }
    assert_eq!(page.get("/nothing").0, 404);
    let (status, text) = page.get("/data/picture");
    assert!(status == 200 && text.contains("harbour"), "{text}");
}

#[test]
fn requests_of_other_sites_and_for_other_hosts_are_refused() {
    let page = page();
    let token = format!("Authorization: Bearer {}\r\n", page.token.text());
    let origin = format!("{token}Origin: http://evil.example\r\n");
    assert_eq!(page.get_with("/data/picture", &origin).0, 403);
    let mut stream = TcpStream::connect(("127.0.0.1", page.port)).unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: evil.example:{}\r\n\r\n", page.port);
    stream.write_all(head.as_bytes()).unwrap();
    assert!(reads(&mut BufReader::new(stream), "421 Misdirected Request"));
}

#[test]
fn failures_have_a_status_and_their_message() {
    let page = page();
    let (status, text) = page.get("/data/explain?from=web&to=db%3A80");
    assert!(status == 400 && text.ends_with(r#"{"Message":"cannot find web or db:80"}"#), "{text}");
    let (status, text) = page.get("/data/findings");
    assert!(status == 503 && text.contains("no daemon"), "{text}");
}

#[test]
fn each_change_is_an_event() {
    let page = page();
    let mut stream = page.stream("/data/changes");
    assert!(reads(&mut stream, "event: change"), "the first comes at once");
    // What a page that has just been opened may have missed.
    assert!(reads(&mut stream, "event: change"));
    page.host.version.store(7, Ordering::Relaxed);
    assert!(reads(&mut stream, "event: change"));
}

#[test]
fn a_trace_ends_when_its_page_is_gone() {
    let page = page();
    let mut stream = page.stream("/data/trace?from=web");
    assert!(reads(&mut stream, "data: \"watching\""));
    drop(stream);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while *page.host.ended.lock().unwrap() != ["web"] {
        assert!(std::time::Instant::now() < deadline, "the trace goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn traces_above_the_limit_are_refused() {
    let page = page();
    let mut running: Vec<_> = (0..TRACES).map(|_| page.stream("/data/trace")).collect();
    assert!(running.iter_mut().all(|stream| reads(stream, "event: note")));
    let (status, text) = page.get("/data/trace");
    assert!(status == 503 && text.contains("traces run already"), "{text}");
}
