//! The face of aardvark-dns, started as netavark starts it, on a host whose networks are LANs with containers on them.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fairway_lab::{Host, Lab};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::dns::{DnsAnswer, DnsFailure, DnsQuestion, RecordType, ResponseCode, Transport, reverse_name};
use crate::harness::eventually;
use crate::upstream::{ALL_SERVERS, FIRST, SECOND, Upstream};

const SOON: Duration = Duration::from_secs(20);
const ONE: &str = "10.89.0.1:53";
const ONE6: &str = "[fd14::1]:53";
const TWO: &str = "10.90.0.1:53";

/// A host with two networks and containers on them: `c1` and `both` on the first, `c2` and `both` on the second.
struct Stage {
    host: Host,
    c1: Host,
    c2: Host,
    both: Host,
    directory: PathBuf,
}

const FIRST_FILE: &str = "10.89.0.1,fd14::1\n\
                          aaa1 10.89.0.2 fd14::2 C1,www,aaa1\n\
                          bbb1 10.89.0.3 fd14::3 both,www,bbb1\n";
const SECOND_FILE: &str = "10.90.0.1\nccc1 10.90.0.2  c2,ccc1\nbbb1 10.90.0.3  both,bbb1\n";

impl Stage {
    fn new(lab: &Lab) -> Stage {
        let [host, c1, c2, both] = ["host", "c1", "c2", "both"].map(|name| lab.host(name).unwrap());
        let (one, two) = (lab.lan("one").unwrap(), lab.lan("two").unwrap());
        for (lan, place, addresses) in [
            (&one, &host, &["10.89.0.1/24", "fd14::1/64"][..]),
            (&two, &host, &["10.90.0.1/24"]),
            (&one, &c1, &["10.89.0.2/24", "fd14::2/64"]),
            (&two, &c2, &["10.90.0.2/24"]),
            (&one, &both, &["10.89.0.3/24", "fd14::3/64"]),
            (&two, &both, &["10.90.0.3/24"]),
        ] {
            lan.join(place, addresses).unwrap();
        }
        let directory = lab.scratch().join("aardvark-dns");
        fs::create_dir(&directory).unwrap();
        Stage { host, c1, c2, both, directory }
    }

    /// With a server of both networks.
    fn serving(lab: &Lab) -> Stage {
        let stage = Stage::new(lab);
        stage.write("one", FIRST_FILE);
        stage.write("two", SECOND_FILE);
        stage.start();
        stage
    }

    fn write(&self, network: &str, text: &str) {
        fs::write(self.directory.join(network), text).unwrap();
    }

    /// Starts the server as netavark does.
    fn run(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(["aardvark-dns", "--config"]).arg(&self.directory);
        self.host.run(command.args(["-p", "53", "run"])).unwrap()
    }

    fn start(&self) {
        let output = self.run();
        assert!(output.status.success(), "{output:?}");
    }

    fn pid(&self) -> Pid {
        let text = fs::read_to_string(self.pid_file()).unwrap();
        Pid::from_raw(text.parse().unwrap()).unwrap()
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("aardvark.pid")
    }

    /// Has the server read the directory again.
    fn reload(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    fn set_servers(&self, servers: &[&str]) {
        let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        self.host.run_in(|| fs::write("/etc/resolv.conf", text).unwrap()).unwrap();
    }
}

fn ask(place: &Host, at: &str, name: &str, kind: RecordType, by: Transport) -> DnsAnswer {
    DnsQuestion::new(name, kind).by(by).within(SOON).ask(place, at).unwrap()
}

/// The IPv4 addresses of a name, by UDP.
fn addresses(place: &Host, at: &str, name: &str) -> Vec<IpAddr> {
    ask(place, at, name, RecordType::A, Transport::Udp).addresses()
}

fn code(place: &Host, at: &str, name: &str) -> ResponseCode {
    ask(place, at, name, RecordType::A, Transport::Udp).code
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn containers_are_found_by_all_their_names() {
    fairway_lab::run(|lab| {
        let stage = Stage::serving(lab);
        let (v4, v6) = (ip("10.89.0.2"), ip("fd14::2"));
        for name in ["c1", "C1", "aaa1", "c1.", "c1.dns.podman", "C1.DNS.Podman."] {
            for at in [ONE, ONE6] {
                for by in [Transport::Udp, Transport::Edns, Transport::Tcp] {
                    for (kind, address) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
                        let answer = ask(&stage.both, at, name, kind, by);
                        assert_eq!(answer.addresses(), [address], "{name} {kind:?} {by:?}");
                        assert_eq!(
                            (answer.code, answer.records[0].ttl),
                            (ResponseCode::NoError, 0),
                            "{name}"
                        );
                    }
                }
            }
        }
        assert_eq!(addresses(&stage.c1, ONE, "www"), [v4, ip("10.89.0.3")]);
        for address in [v4, v6] {
            let answer = ask(&stage.both, ONE, &reverse_name(address), RecordType::PTR, Transport::Udp);
            assert_eq!(answer.names(), ["c1", "www", "aaa1"], "{address}");
        }
        // A name without such records exists; one of the search domain that no container has does not.
        let none = ask(&stage.c2, TWO, "c2", RecordType::AAAA, Transport::Udp);
        assert_eq!((none.code, none.records.len()), (ResponseCode::NoError, 0));
        assert_eq!(code(&stage.c1, ONE, "nothing.dns.podman"), ResponseCode::NXDomain);
    });
}

#[test]
fn containers_see_the_names_of_their_own_networks() {
    fairway_lab::run(|lab| {
        let stage = Stage::serving(lab);
        assert_eq!(addresses(&stage.both, ONE, "c1"), [ip("10.89.0.2")]);
        assert_eq!(addresses(&stage.both, ONE, "c2"), [ip("10.90.0.2")]);
        assert_eq!(addresses(&stage.both, TWO, "c1"), [ip("10.89.0.2")]);
        assert_eq!(code(&stage.c1, ONE, "c2.dns.podman"), ResponseCode::NXDomain);
        assert_eq!(code(&stage.c2, TWO, "c1.dns.podman"), ResponseCode::NXDomain);
        assert_eq!(addresses(&stage.c2, TWO, "both"), [ip("10.90.0.3")]);
        // The host sees the network that it asks.
        assert_eq!(addresses(&stage.host, ONE, "c1"), [ip("10.89.0.2")]);
        assert_eq!(code(&stage.host, ONE, "c2.dns.podman"), ResponseCode::NXDomain);
    });
}

#[test]
fn internal_networks_are_not_forwarded() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab);
        let upstream = Upstream::start(&stage.host, "127.0.0.9", FIRST);
        stage.set_servers(&["127.0.0.9"]);
        stage.write("one%int", FIRST_FILE);
        stage.write("two", SECOND_FILE);
        stage.start();
        assert_eq!(addresses(&stage.c1, ONE, "both"), [ip("10.89.0.3")]);
        for by in [Transport::Udp, Transport::Tcp] {
            let answer = ask(&stage.c1, ONE, "example.org", RecordType::A, by);
            assert_eq!((answer.code, answer.records.len()), (ResponseCode::NXDomain, 0), "{by:?}");
        }
        assert_eq!(upstream.asked(), 0);
        // One with another network is forwarded, whichever it asks.
        assert_eq!(addresses(&stage.both, ONE, "example.org"), [IpAddr::from(FIRST)]);
        assert_eq!(addresses(&stage.c2, TWO, "example.org"), [IpAddr::from(FIRST)]);
    });
}

#[test]
fn other_names_are_forwarded_past_a_dead_server() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab);
        let one = Upstream::start(&stage.host, "127.0.0.8", FIRST);
        let _two = Upstream::start(&stage.host, "127.0.0.9", SECOND);
        // It receives and never answers.
        let _dead = stage.host.run_in(|| UdpSocket::bind("127.0.0.7:53").unwrap()).unwrap();
        stage.set_servers(&["127.0.0.7", "127.0.0.8"]);
        stage.write("one", FIRST_FILE);
        stage.write("two", &SECOND_FILE.replace("c2,ccc1", "c2,ccc1 127.0.0.9"));
        stage.start();
        let started = Instant::now();
        assert_eq!(addresses(&stage.c1, ONE, "example.org"), [IpAddr::from(FIRST)]);
        assert!(started.elapsed() < ALL_SERVERS, "the silent server had all of the time");
        for by in [Transport::Edns, Transport::Tcp] {
            let answer = ask(&stage.c1, ONE, "example.net", RecordType::A, by);
            assert_eq!(answer.addresses(), [IpAddr::from(FIRST)], "{by:?}");
        }
        assert!(one.asked() > 0);
        // A container's own server.
        assert_eq!(addresses(&stage.c2, TWO, "example.org"), [IpAddr::from(SECOND)]);
        // The host's servers are followed.
        stage.set_servers(&["127.0.0.9"]);
        eventually("the new server is asked", SOON, || {
            addresses(&stage.c1, ONE, "example.com") == [IpAddr::from(SECOND)]
        });
        // The network's server goes before the host's.
        stage.write("one", &FIRST_FILE.replace("fd14::1\n", "fd14::1 127.0.0.8\n"));
        stage.reload();
        eventually("the network's server is asked", SOON, || {
            addresses(&stage.c1, ONE, "example.edu") == [IpAddr::from(FIRST)]
        });
    });
}

#[test]
fn networks_come_and_go_by_signal_until_none_is_left() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab);
        stage.write("one", FIRST_FILE);
        stage.start();
        let pid = stage.pid();
        // What a socket holds when it is closed is never answered: it is asked again.
        let question = DnsQuestion::new("c2", RecordType::A).within(Duration::from_millis(200));
        assert_eq!(question.ask(&stage.c2, TWO), Err(DnsFailure::Refused));
        stage.write("two", SECOND_FILE);
        stage.reload();
        eventually("the second network is served", SOON, || question.ask(&stage.c2, TWO).is_ok());
        assert_eq!(addresses(&stage.both, ONE, "c2"), [ip("10.90.0.2")]);
        // A line that is wrong hides no other, and the file of another program is no network.
        stage.write("two", &format!("{SECOND_FILE}wrong\nddd1 10.90.0.4  c4\n"));
        stage.write("aardvark.lock", "");
        stage.reload();
        eventually("the new container is found", SOON, || {
            addresses(&stage.c2, TWO, "c4.dns.podman") == [ip("10.90.0.4")]
        });
        fs::remove_file(stage.directory.join("two")).unwrap();
        stage.reload();
        eventually("the second network is gone", SOON, || {
            question.ask(&stage.c2, TWO) == Err(DnsFailure::Refused)
        });
        assert_eq!(addresses(&stage.c1, ONE, "both"), [ip("10.89.0.3")]);
        assert_eq!(stage.pid(), pid);
        fs::remove_file(stage.directory.join("one")).unwrap();
        stage.reload();
        eventually("the server ends", SOON, || !runs(pid) && !stage.pid_file().exists());
        eventually("its relay ends", SOON, || {
            DnsQuestion::new("c1", RecordType::A).ask(&stage.c1, ONE) == Err(DnsFailure::Refused)
        });
    });
}

#[test]
fn a_killed_server_is_replaced_at_once() {
    fairway_lab::run(|lab| {
        let stage = Stage::serving(lab);
        let killed = stage.pid();
        kill_process(killed, Signal::KILL).unwrap();
        stage.start();
        assert_ne!(stage.pid(), killed);
        assert_eq!(addresses(&stage.c1, ONE, "both"), [ip("10.89.0.3")]);
        // A relay that is killed is started again, and answers at the same sockets.
        let relay = child_of(stage.pid());
        kill_process(relay, Signal::KILL).unwrap();
        eventually("the names are back", SOON, || {
            let question = DnsQuestion::new("both", RecordType::A).within(Duration::from_millis(200));
            !runs(relay) && question.ask(&stage.c1, ONE).is_ok_and(|answer| answer.records.len() == 1)
        });
    });
}

/// The only child of a process.
fn child_of(pid: Pid) -> Pid {
    let pid = pid.as_raw_nonzero();
    let children = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let all: String = threads.map(children).collect();
    Pid::from_raw(all.trim().parse().unwrap()).unwrap()
}

#[test]
fn a_second_start_signals_the_first_server() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab);
        stage.write("one", FIRST_FILE);
        stage.start();
        let pid = stage.pid();
        stage.write("two", SECOND_FILE);
        stage.start();
        assert_eq!(stage.pid(), pid);
        eventually("the second network is served", SOON, || {
            DnsQuestion::new("c2", RecordType::A).ask(&stage.c2, TWO).is_ok()
        });
    });
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab);
        let fails = |reason: &str| {
            let output = stage.run();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && text.contains(reason), "{text}");
            assert!(!stage.pid_file().exists());
        };
        stage.write("one", FIRST_FILE);
        let taken = stage.host.run_in(|| UdpSocket::bind("10.89.0.1:53").unwrap()).unwrap();
        fails("failed to bind udp listener on 10.89.0.1:53: Address already in use");
        drop(taken);
        stage.start();
        // Without a network there is nothing to serve, which is no failure.
        let pid = stage.pid();
        fs::remove_file(stage.directory.join("one")).unwrap();
        stage.reload();
        eventually("the server ends", SOON, || !runs(pid));
        stage.start();
        assert!(!stage.pid_file().exists());
        fs::remove_dir(&stage.directory).unwrap();
        fails("No such file or directory");
    });
}

#[test]
fn the_relay_that_answers_has_no_rights() {
    fairway_lab::run(|lab| {
        let stage = Stage::serving(lab);
        let relay = child_of(stage.pid()).as_raw_nonzero();
        let status = fs::read_to_string(Path::new("/proc").join(relay.to_string()).join("status")).unwrap();
        let value = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(value("CapEff:"), "0000000000000000");
        assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".to_owned(), "2".to_owned()));
        if lab.has_other_users().unwrap() {
            assert_eq!(value("Uid:"), "61137");
        }
    });
}
