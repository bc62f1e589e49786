//! `fairway ui`: the page of a real daemon, asked as browsers and as others ask.

mod browser;
mod page;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fairway_lab::{Place, Process, SCRATCH};
use rustix::process::Signal;
use serde_json::Value;

use crate::cli::fairway;
use crate::harness::{Stage, eventually};

/// How long what takes moments may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `fairway ui` on the stage's host.
pub struct Ui {
    process: Process,
    /// The printed address, without the token.
    pub origin: String,
    pub token: String,
}

impl Ui {
    pub fn start(stage: &Stage, flags: &[&str]) -> Self {
        Self::start_at(&stage.host, &[&["-H", stage.daemon.address(), "ui"], flags].concat())
    }

    /// With these arguments of `fairway`.
    pub fn start_at(place: &Place, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(arguments).env_remove("DISPLAY").env_remove("FAIRWAY_HOST");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = place.spawn(&mut command).unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (origin, token) = line.trim_end().split_once("/#token=").unwrap();
        Self { process, origin: origin.to_owned(), token: token.to_owned() }
    }

    fn host(&self) -> &str {
        self.origin.strip_prefix("http://").unwrap()
    }

    /// Sends the head of a request, to which the host and these headers are added.
    fn send(&self, place: &Place, path: &str, headers: &[(&str, &str)]) -> BufReader<TcpStream> {
        let mut stream = place.run_in(|| TcpStream::connect(self.host())).unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head(path, self.host(), headers).as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// The status and the text of an answer.
    fn ask(&self, place: &Place, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut text = String::new();
        self.send(place, path, headers).read_to_string(&mut text).unwrap();
        status(&text)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// The JSON of an answer to the page.
    pub fn get(&self, place: &Place, path: &str) -> Value {
        let (status, text) = self.ask(place, path, &[("Authorization", &self.bearer())]);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

fn head(path: &str, host: &str, headers: &[(&str, &str)]) -> String {
    let own = if headers.iter().any(|(name, _)| *name == "Host") {
        String::new()
    } else {
        format!("Host: {host}\r\n")
    };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{own}{headers}\r\n")
}

fn status(text: &str) -> (u16, String) {
    (text.get(9..12).unwrap_or_default().parse().unwrap_or_default(), text.to_owned())
}

#[test]
fn only_the_page_itself_is_answered() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let _web = stage.sandbox("web", &["bridge"], &[]);
        let ui = Ui::start(&stage, &["--no-open"]);
        assert!(ui.origin.starts_with("http://127.0.0.1:") && ui.token.len() == 48, "{}", ui.origin);
        let bearer = ui.bearer();
        let token = ("Authorization", bearer.as_str());
        let (code, text) = ui.ask(&stage.host, "/", &[]);
        let lower = text.to_lowercase();
        assert!(
            code == 200 && lower.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{text}"
        );
        assert!(
            lower.contains("frame-ancestors 'none'") && !lower.contains("access-control-allow"),
            "{text}"
        );
        for path in
            ["/data/picture", "/data/containers", "/data/findings", "/data/changes", "/data/trace", "/x"]
        {
            assert_eq!(ui.ask(&stage.host, path, &[]).0, 401, "{path}");
        }
        let picture = |headers: &[(&str, &str)]| ui.ask(&stage.host, "/data/picture", headers).0;
        assert_eq!(picture(&[token]), 200);
        assert_eq!(picture(&[("Authorization", "Bearer 0123456789abcdef")]), 401);
        // A name of another site that resolves to 127.0.0.1.
        assert_eq!(picture(&[token, ("Host", "evil.example")]), 421);
        assert_eq!(ui.ask(&stage.host, "/", &[("Host", "evil.example")]).0, 421);
        assert_eq!(picture(&[token, ("Host", "localhost:9999")]), 200, "a port that ssh forwards");
        // Pages of other sites.
        assert_eq!(picture(&[token, ("Origin", "http://evil.example")]), 403);
        assert_eq!(picture(&[token, ("Origin", &ui.origin)]), 200);
        assert_eq!(picture(&[token, ("Sec-Fetch-Site", "cross-site")]), 403);
        assert_eq!(ui.ask(&stage.host, "/style.css", &[("Sec-Fetch-Site", "cross-site")]).0, 403);
        // Only this host can connect.
        let port = ui.host().rsplit_once(':').unwrap().1.parse().unwrap();
        let address: std::net::IpAddr = crate::harness::HOST.parse().unwrap();
        assert!(stage.lan.run_in(|| TcpStream::connect((address, port))).unwrap().is_err());
    });
}

#[test]
fn the_data_is_that_of_the_daemon() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        let _server = fairway_lab::serve_tcp(&web, "0.0.0.0:80").unwrap();
        let _job = stage.sandbox("job", &["bridge"], &[]);
        let ui = Ui::start(&stage, &["--no-open"]);
        let picture = ui.get(&stage.host, "/data/picture");
        let names: Vec<&str> = picture["Elements"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|it| it["Endpoint"]["Name"].as_str())
            .collect();
        assert_eq!(names, ["lan:10.10.50.1", "host", "web", "job"], "{picture}");
        let rows = ui.get(&stage.host, "/data/containers");
        let row = rows.as_array().unwrap().iter().find(|it| it["Name"] == "web").unwrap();
        let address = web.address("app").to_string();
        assert_eq!(
            (row["Engine"].as_str(), row["Addresses"][0].as_str()),
            (Some("fairway"), Some(address.as_str()))
        );
        assert_eq!(
            (row["State"].as_str(), row["Ports"][0].as_str()),
            (Some("running"), Some("0.0.0.0:8080->80/tcp"))
        );
        assert!(!ui.get(&stage.host, "/data/findings").as_array().unwrap().is_empty());
        let answer = ui.get(&stage.host, "/data/explain?from=lan&to=10.10.50.99%3A8080");
        assert_eq!(answer["Walk"]["Answered"], true, "{answer}");
        let stops = answer["Walk"]["Legs"][0]["Stops"].as_array().unwrap();
        assert!(stops.len() > 2 && stops.iter().any(|it| it["Badge"] == "Rewritten"), "{answer}");
        let refused =
            ui.ask(&stage.host, "/data/explain?from=web&to=nowhere%3A80", &[("Authorization", &ui.bearer())]);
        assert!(refused.0 == 400 || refused.0 == 404, "{}", refused.1);
        assert!(refused.1.contains("cannot find"), "{}", refused.1);
    });
}

#[test]
fn an_attached_sandbox_and_real_packets_are_events() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let web = stage.sandbox("web", &["bridge"], &[]);
        let _server = fairway_lab::serve_tcp(&web, "0.0.0.0:80").unwrap();
        let ui = Ui::start(&stage, &["--no-open"]);
        let bearer = ui.bearer();
        let mut changes = ui.send(&stage.host, "/data/changes", &[("Authorization", &bearer)]);
        // The first comes at once, the second since the page may have read the state before.
        assert!(reads(&mut changes, "event: change") && reads(&mut changes, "event: change"));
        // What is found by looking again comes two seconds after the change before.
        let by_event = |number| {
            let before = Instant::now();
            let _late = stage.sandbox(&format!("late{number}"), &["bridge"], &[]);
            reads(&mut changes, "event: change") && before.elapsed() < Duration::from_secs(2)
        };
        assert!((0..10).any(by_event), "by the daemon's event, not by looking again");
        let mut trace = ui.send(&stage.host, "/data/trace?to=web%3A80", &[("Authorization", &bearer)]);
        assert!(reads(&mut trace, "event: "));
        let client = stage.host.clone();
        let address = (web.address("bridge"), 80);
        eventually("a packet is seen", PATIENCE, || {
            client.run_in(|| TcpStream::connect(address)).unwrap().unwrap();
            reads(&mut trace, "event: packet")
        });
        drop((changes, trace));
    });
}

#[test]
fn a_host_without_a_daemon_is_shown_too() {
    fairway_lab::run(|lab| {
        let stage = Stage::before_daemon(lab);
        let script =
            "ip link add br0 type bridge && ip address add 172.30.0.1/24 dev br0 && ip link set br0 up &&
            for name in one two; do
                ip netns add $name && ip link add $name type veth peer name eth0 netns $name &&
                ip link set $name master br0 up && ip -n $name link set eth0 up || exit 1
            done
            ip -n one address add 172.30.0.2/24 dev eth0 && ip -n two address add 172.30.0.3/24 dev eth0";
        let made = stage.host.run(Command::new("/bin/sh").args(["-c", script])).unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let ui = Ui::start(&stage, &["--no-open"]);
        let picture = ui.get(&stage.host, "/data/picture").to_string();
        assert!(picture.contains(r#""Name":"one""#) && picture.contains("172.30.0.3"), "{picture}");
        let rows = ui.get(&stage.host, "/data/containers");
        let named: Vec<&str> =
            rows.as_array().unwrap().iter().filter_map(|it| it["Endpoint"].as_str()).collect();
        assert_eq!(named, ["one", "two"], "{rows}");
        let findings = ui.get(&stage.host, "/data/findings");
        assert!(findings.as_array().unwrap().iter().any(|it| it["Id"] == "daemon"), "{findings}");
        let answer = ui.get(&stage.host, "/data/explain?from=one&to=two%3A80");
        assert_eq!(answer["Walk"]["Answered"], false, "no program listens: {answer}");
        assert!(answer["Walk"]["Legs"][0]["Stops"].as_array().unwrap().len() >= 3, "{answer}");
        let answer = ui.get(&stage.host, "/data/explain?from=one&to=two");
        assert_eq!(answer["Walk"]["Answered"], true, "{answer}");
        let mut trace =
            ui.send(&stage.host, "/data/trace?from=one&to=two", &[("Authorization", &ui.bearer())]);
        assert!(reads(&mut trace, "watching the host and inside one, two"));
        let one = stage.host.sandbox("/run/netns/one").unwrap();
        eventually("a packet is seen", PATIENCE, || {
            // Nothing listens: it is refused.
            one.run_in(|| TcpStream::connect("172.30.0.3:80")).unwrap().unwrap_err();
            reads(&mut trace, "event: packet")
        });
    });
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
fn a_proxy_is_served_at_a_socket() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let path = format!("{SCRATCH}/page.sock");
        let listen = format!("unix://{path}");
        let mut ui = Ui::start(&stage, &["--listen", &listen, "--url", "https://fairway.example.com/"]);
        assert_eq!(ui.origin, "https://fairway.example.com");
        let ask = |host: &str| {
            let mut stream = stage.host.run_in(|| UnixStream::connect(&path)).unwrap().unwrap();
            let headers = [("Host", host), ("Authorization", &ui.bearer())];
            stream.write_all(head("/data/picture", "", &headers).as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            status(&text).0
        };
        assert_eq!((ask("fairway.example.com"), ask("localhost:8080"), ask("evil.example")), (200, 200, 421));
        ui.process.signal(Signal::INT).unwrap();
        let ended = ui.process.wait_within(PATIENCE).unwrap().unwrap();
        assert_eq!(ended.code(), Some(0));
        assert!(
            !stage.host.run_in(|| std::path::Path::new(&path).exists()).unwrap(),
            "the socket is removed"
        );
        let refused = fairway(&stage, "ui --listen 0.0.0.0:8080");
        assert_eq!(refused.code, 125);
        assert!(refused.errors.contains("can be reached from other hosts"), "{}", refused.errors);
    });
}
