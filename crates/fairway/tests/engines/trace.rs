//! `fairway trace` of real containers, without a daemon of Fairway.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fairway_lab::{Place, Question, serve_tcp};
use rustix::process::{Pid, Signal, kill_process};

use crate::docker::{self, docker};
use crate::podman::{self, podman};
use crate::stage::{self, sh};

/// The host's address on the LAN, and a neighbor's.
const HOST: &str = "10.10.50.99";
const LAN: &str = "10.10.50.1";

/// A LAN with a neighbor, which is a namespace of that name.
fn join_lan() -> Place {
    sh(&format!(
        "ip netns add neighbor
         ip link add eth0 type veth peer name eth0 netns neighbor
         ip address add {HOST}/24 dev eth0 && ip link set eth0 up
         ip -n neighbor address add {LAN}/24 dev eth0 && ip -n neighbor link set eth0 up
         ip route add default via {LAN}
         echo 1 > /proc/sys/net/ipv4/ip_forward"
    ));
    Place::from_path("/run/netns/neighbor").unwrap()
}

/// The namespace of the container with this process.
fn place_of(pid: &str) -> Place {
    Place::from_path(format!("/proc/{pid}/ns/net")).unwrap()
}

/// Connects to an address, whether or not there is an answer.
fn connect(from: &Place, address: &str, port: u16) {
    let question = Question::to(&format!("{address}:{port}")).unwrap().within(Duration::from_secs(1));
    question.tcp(from).unwrap();
}

/// What a trace prints while something happens, and what it watches.
fn traced(words: &str, happens: impl FnOnce()) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command.arg("trace").args(words.split_ascii_whitespace()).env_remove("FAIRWAY_HOST");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    let mut watching = String::new();
    notes.read_line(&mut watching).unwrap();
    happens();
    // The last packets are reported a moment later.
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    child.wait().unwrap();
    (watching.trim_end().to_owned(), printed)
}

/// Whether these words are in the text, in this order.
fn assert_in_order(text: &str, expected: &[&str]) {
    let mut rest = text;
    for words in expected {
        let at = rest.find(words).unwrap_or_else(|| panic!("{words:?} is missing or too early:\n{text}"));
        rest = &rest[at + words.len()..];
    }
}

fn assert_nothing_is_left() {
    assert!(!sh("nft list tables").contains("fairway-trace"));
}

#[test]
fn packets_of_docker() {
    stage::run(&["dockerd", "docker", "containerd", "nft"], |stage| {
        let neighbor = join_lan();
        let _daemon = docker::start(stage, &["--userland-proxy=false"]);
        docker("network create app --subnet 10.55.0.0/24");
        docker("run -d --name web -p 8080:80 bb sleep 1000");
        docker("run -d --name app --network app bb sleep 1000");
        let address = docker("inspect -f {{.NetworkSettings.Networks.bridge.IPAddress}} web");
        let [web, app] =
            ["web", "app"].map(|it| place_of(&docker(&format!("inspect -f {{{{.State.Pid}}}} {it}"))));
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let (watching, text) = traced("lan docker:web:80", || connect(&neighbor, HOST, 8080));
        assert_eq!(watching, "watching the host and inside web");
        let first = [
            &format!("flow 1:  tcp {LAN}:"),
            "host  eth0",
            "prerouting",
            "ip nat -100",
            "DNAT --to-destination",
            &format!("destination {HOST}:8080 -> {address}:80"),
            "docker0",
            "veth",
            "web   eth0",
            "= arrives at web by eth0",
            "established",
        ];
        assert_in_order(&text, &first);
        let (watching, text) = traced("app", || connect(&app, &address, 80));
        assert_eq!(watching, "watching the host and inside app");
        assert_in_order(
            &text,
            &["app   eth0", "out  tcp 10.55.0.2:", "= dropped on host by ip ", " DROP", "0 back"],
        );
        assert_nothing_is_left();
    });
}

#[test]
fn packets_of_podman() {
    stage::run(&["podman", "crun", "conmon", "nft"], |_| {
        let neighbor = join_lan();
        podman::prepare();
        podman("network create app --disable-dns --subnet 10.56.0.0/24");
        podman("run -d --name web --cgroups=disabled --network app -p 8080:80 bb sleep 1000");
        let web = place_of(&podman("inspect -f {{.State.Pid}} web"));
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let (watching, text) = traced("lan web", || connect(&neighbor, HOST, 8080));
        assert_eq!(watching, "watching the host and inside web");
        let first = [
            &format!("flow 1:  tcp {LAN}:"),
            "host  eth0",
            "prerouting",
            &format!("destination {HOST}:8080 -> 10.56.0.2:80"),
            "web   eth0",
            "= arrives at web by eth0",
            "established",
        ];
        assert_in_order(&text, &first);
        sh("nft 'add table inet guard; add chain inet guard forward { type filter hook forward priority -5; }
                 add rule inet guard forward tcp dport 81 drop comment \"not 81\"'");
        let (_, text) = traced("web", || connect(&web, LAN, 81));
        assert_in_order(
            &text,
            &[
                "web   eth0",
                &format!("> {LAN}:81"),
                "= dropped on host by inet guard forward: \"not 81\" (handle ",
            ],
        );
        assert_nothing_is_left();
    });
}
