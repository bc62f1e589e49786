//! What `fairway trace` sees of real packets, and that nothing of it stays.

mod foreign;
mod kinds;
mod left;
mod reserved_names;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use fairway_kernel::nftables::{Transaction, Writer};
use fairway_lab::{Lab, Place, Question, Server, serve_tcp};
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Table, rule};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{HOST, LAN, Sandbox, Stage, backend};

const PATIENCE: Duration = Duration::from_secs(20);

/// A trace that runs.
struct Trace {
    process: Child,
    /// What it prints besides packets.
    notes: Vec<String>,
    notes_of: Receiver<String>,
    printed: Receiver<String>,
    text: String,
}

fn lines_of(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    let lines_of = BufReader::new(from).lines().map_while(Result::ok);
    std::thread::spawn(move || lines_of.map(|line| send.send(line)).take_while(Result::is_ok).count());
    lines
}

impl Trace {
    /// Starts it with these words, and waits until packets are watched.
    fn start(stage: &Stage, words: &str) -> Trace {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(["-H", stage.daemon.address(), "trace"]).args(words.split_ascii_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of(command.spawn().unwrap(), words)
    }

    fn of(mut process: Child, words: &str) -> Trace {
        let notes_of = lines_of(process.stderr.take().unwrap());
        let printed = lines_of(process.stdout.take().unwrap());
        // As JSON, notes are among the packets.
        let first = if words.contains("json") { &printed } else { &notes_of }.recv_timeout(PATIENCE).unwrap();
        assert!(first.contains("watching the host"), "{first}");
        Trace { process, notes: vec![first], notes_of, printed, text: String::new() }
    }

    /// Waits until a line with this has been printed.
    fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.printed.recv_timeout(left) {
                Ok(line) => self.text += &format!("{line}\n"),
                Err(_) => panic!("{words:?} is not printed:\n{}", self.text),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// What it prints until it ends.
    fn rest(mut self) -> String {
        while let Ok(line) = self.printed.recv_timeout(PATIENCE) {
            self.text += &format!("{line}\n");
        }
        self.process.wait().unwrap();
        self.text
    }

    /// Ends it as Ctrl-C does, and returns all that it printed.
    fn end(self) -> String {
        self.signal(Signal::INT);
        self.rest()
    }
}

/// Sandboxes of two networks, one with a server and a published port.
struct Players {
    stage: Stage,
    web: Sandbox,
    near: Sandbox,
    far: Sandbox,
    _server: Server,
}

impl Players {
    fn new(lab: &Lab, flags: &[&str]) -> Players {
        let stage = Stage::new(lab, flags);
        stage.network("app");
        stage.network("other");
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        let near = stage.sandbox("near", &["app"], &[]);
        let far = stage.sandbox("far", &["other"], &[]);
        let server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        Players { stage, web, near, far, _server: server }
    }
}

fn ask(place: &Place, to: &str) -> String {
    Question::to(to).unwrap().tcp(place).unwrap().to_string()
}

/// The packet whose first line is this, a line each, without times.
fn packet<'a>(text: &'a str, title: &str) -> Vec<String> {
    let from = text.find(title).unwrap_or_else(|| panic!("{title:?} is not in\n{text}"));
    let lines = text[from..].lines().skip(1).take_while(|line| !line.is_empty());
    let without_time = |line: &'a str| match line.trim_start().split_once("  ") {
        Some((time, rest)) if time.parse::<f64>().is_ok() => rest,
        _ => line,
    };
    lines.map(|line| without_time(line).split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Whether lines with these words are there in this order.
fn assert_in_order(lines: &[String], expected: &[&str]) {
    let mut rest = lines.iter();
    for words in expected {
        assert!(
            rest.any(|line| line.contains(words)),
            "{words:?} is missing or too early:\n{}",
            lines.join("\n")
        );
    }
}

/// The times of each packet.
fn times(text: &str) -> Vec<Vec<f64>> {
    let of_lines = |packet: &str| {
        packet.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect()
    };
    text.split("\n\n").map(of_lines).filter(|times: &Vec<f64>| !times.is_empty()).collect()
}

#[test]
fn a_published_port_is_seen_at_every_place_with_its_rewrites() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &["--userland-proxy=false"]);
        let mut trace = Trace::start(&players.stage, "lan web:80");
        assert!(trace.notes[0].contains("inside web"), "{:?}", trace.notes);
        assert_eq!(ask(&players.stage.lan, &format!("{HOST}:8080")), format!("answered {LAN}"));
        // Not asked for.
        ask(&players.near, &format!("{}:80", players.web.address("app")));
        trace.wait_for("FIN");
        let text = trace.end();
        let web = players.web.address("app");
        let first = packet(&text, &format!("flow 1:  tcp {LAN}:"));
        let expected = [
            &format!("host eth0 in tcp {LAN}:"),
            "host prerouting inet fairway -100: published-dnat: meta nfproto ipv4 dnat ip to",
            &format!("host translate destination {HOST}:8080 -> {web}:80"),
            "host forward inet fairway 0: network-in: ct status dnat accept",
            "host conntrack new: tcp",
            &format!("> {web}:80 SYN"),
            &format!("web eth0 in tcp {LAN}:"),
            "= arrives at web by eth0",
        ];
        assert_in_order(&first, &expected);
        assert!(first[0].ends_with(&format!("> {HOST}:8080 SYN")), "{first:?}");
        assert!(first.iter().all(|line| !line.contains("fairway-trace")), "{first:?}");
        assert!(first.iter().all(|line| !line.contains("jump")), "{first:?}");
        assert!(
            text.contains(" rules without effect on their packets are not shown: --all shows them"),
            "{text}"
        );
        let answer = packet(&text, &format!("flow 1, back:  tcp {web}:80 >"));
        let expected = [
            &format!("web eth0 out tcp {web}:80 > {LAN}:"),
            &format!("host conntrack source {web}:80 -> {HOST}:8080"),
            &format!("host eth0 out tcp {HOST}:8080 > {LAN}:"),
            "= leaves host by eth0",
        ];
        assert_in_order(&answer, &expected);
        let sum: Vec<&str> = text.lines().filter(|line| line.starts_with("flow 1: tcp")).collect();
        assert!(sum[0].contains(&format!("> {web}:80: established")), "{sum:?}");
        assert!(!text.contains("flow 2"), "{text}");
        // A packet may arrive while the one before it is still on its way.
        let times = times(&text);
        assert!(times.len() > 5 && times.iter().all(|packet| packet.is_sorted()), "{times:?}\n{text}");
        assert!(times.is_sorted_by_key(|packet| packet[0]), "{times:?}\n{text}");
    });
}

#[test]
fn what_the_proxy_carries_is_two_flows() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &["--iptables=false"]);
        let mut trace = Trace::start(&players.stage, "lan host:8080");
        assert!(ask(&players.stage.lan, &format!("{HOST}:8080")).starts_with("answered"));
        trace.wait_for("FIN");
        trace.wait_for("(the proxy's, for flow 1)");
        let text = trace.end();
        let web = players.web.address("app");
        let carried = packet(&text, "flow 2 (the proxy's, for flow 1):  tcp ");
        let expected = [&format!("> {web}:80 SYN"), "web eth0 in", "= arrives at web by eth0"];
        assert_in_order(&carried, &expected);
        let reported =
            |number: u32| text.lines().find(|line| line.starts_with(&format!("flow {number}: tcp"))).unwrap();
        assert!(reported(1).contains(&format!("> {HOST}:8080: established")), "{}", reported(1));
        assert!(reported(2).contains("by which the proxy carries flow 1: established"), "{}", reported(2));
    });
}

/// A foreign table that drops what goes to a port.
fn strangers(port: u16) -> Table {
    let port = rule().to_port(Protocol::Tcp, port).drop().comment("not this one");
    let mut table = Table::new(Family::Inet, "strangers");
    table.chains = vec![Chain::base("guard", ChainKind::Filter, Hook::Forward, -5).with([port])];
    table
}

fn make(place: &Place, table: Table) {
    let mut transaction = Transaction::new();
    transaction.create(&table);
    place.run_in(move || Writer::open().unwrap().commit(transaction)).unwrap().unwrap();
}

#[test]
fn a_drop_names_its_rule_in_any_table() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &[]);
        make(&players.stage.host, strangers(81));
        let mut inside = strangers(82);
        inside.chains[0].base.as_mut().unwrap().hook = Hook::Input;
        make(&players.near, inside);
        let web = players.web.address("app");
        let near = players.near.address("app");
        let mut trace = Trace::start(&players.stage, "far");
        ask(&players.far, &format!("{web}:80"));
        ask(&players.far, &format!("{LAN}:81"));
        trace.wait_for(&format!("> {LAN}:81"));
        trace.wait_for("= dropped on host by inet strangers");
        let text = trace.end();
        let ours = packet(&text, "flow 1:  tcp ");
        assert_in_order(&ours, &["far eth0 out", "host forward inet fairway 0: network-in:"]);
        let ours = ours.last().unwrap();
        assert!(
            ours.starts_with("= dropped on host by inet fairway network-in: \"port not published\" (handle "),
            "{ours}"
        );
        let theirs = packet(&text, "flow 2:  tcp ");
        assert_in_order(
            &theirs,
            &["host forward inet strangers -5: guard: tcp dport 81 drop comment \"not this one\""],
        );
        let sum = text.lines().find(|line| line.starts_with("flow 2: tcp")).unwrap();
        assert!(sum.contains("dropped on host by inet strangers guard: \"not this one\" (handle "), "{sum}");

        // Also inside, where the sandbox itself drops.
        let mut trace = Trace::start(&players.stage, "web near");
        ask(&players.web, &format!("{near}:82"));
        trace.wait_for("= dropped on near by inet strangers guard: \"not this one\"");
        trace.end();
    });
}

#[test]
fn rules_of_iptables_are_traced_too() {
    fairway_lab::run(|lab| {
        let mut flags = backend("nft").to_vec();
        flags.push("--userland-proxy=false");
        let players = Players::new(lab, &flags);
        let mut trace = Trace::start(&players.stage, "any web:80");
        assert!(ask(&players.stage.lan, &format!("{HOST}:8080")).starts_with("answered"));
        ask(&players.far, &format!("{}:80", players.web.address("app")));
        trace.wait_for("FIN");
        trace.wait_for("= dropped on host by ip filter FAIRWAY");
        let text = trace.end();
        let first = packet(&text, &format!("flow 1:  tcp {LAN}:"));
        assert_in_order(
            &first,
            &["host prerouting ip nat -100: FAIRWAY", "host translate destination", "web eth0 in"],
        );
    });
}

#[test]
fn a_file_holds_each_place_with_comments() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &["--userland-proxy=false"]);
        let path = format!("{}/packets", fairway_lab::SCRATCH);
        let trace = Trace::start(&players.stage, &format!("lan web --pcap {path} --count 3 --format json"));
        assert!(ask(&players.stage.lan, &format!("{HOST}:8080")).starts_with("answered"));
        let text = trace.rest();
        let packets = text.lines().filter(|line| line.starts_with("{\"Packet\"")).count();
        assert_eq!(
            (packets, text.lines().last().unwrap().starts_with("{\"End\":{\"Flows\":[{")),
            (3, true),
            "{text}"
        );
        let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
        let (mut names, mut comments) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(found) => {
                    names.extend(found.options.into_iter().filter_map(|it| match it {
                        InterfaceDescriptionOption::IfName(name) => Some(name.into_owned()),
                        _ => None,
                    }))
                }
                Block::EnhancedPacket(found) => {
                    let name = names[found.interface_id as usize].clone();
                    // The version and length of an IP header behind one of Ethernet.
                    assert_eq!(found.data[14], 0x45, "{name}");
                    comments.extend(found.options.into_iter().filter_map(|option| match option {
                        EnhancedPacketOption::Comment(text) => Some((name.clone(), text.into_owned())),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        assert_eq!(names[0], "host eth0");
        assert!(names.contains(&"web eth0".to_owned()), "{names:?}");
        let (name, first) = &comments[0];
        assert_eq!(name, "host eth0");
        let translated =
            format!("host translate: destination {HOST}:8080 -> {}:80", players.web.address("app"));
        assert!(first.contains(&translated) && first.contains("published-dnat: "), "{first}");
        let arrived = comments.iter().find(|(name, _)| name == "web eth0").unwrap();
        assert!(arrived.1.contains("= arrives at web by eth0"), "{arrived:?}");
    });
}
