//! What `explain` says, and what the kernel then does with a real connection: both have to agree.

mod advice;
mod branches;
mod drivers;
mod foreign_tables;
mod links;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use fairway_api::types::Explained;
use fairway_lab::{Capture, Lab, Place, Question, Server, frame, serve_tcp};
use fairway_walk::Tuple;

use crate::cli::fairway;
use crate::harness::{HOST, HOST6, LAN, Sandbox, Stage, backend, eventually};

/// How long a connection may take: all are tried at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sandboxes of all kinds of networks, each with a server at port 80.
struct Players {
    stage: Stage,
    sandboxes: Vec<(&'static str, Sandbox)>,
    _servers: Vec<Server>,
}

impl Players {
    fn new(lab: &Lab, flags: &[&str], bridge_netfilter: bool) -> Players {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_bridge_netfilter(bridge_netfilter).unwrap();
        stage.daemon.launch(flags);
        stage.daemon.wait_until_ready();
        stage.create_network("web", |it| it.enable_ipv6 = Some(true)).unwrap();
        stage.create_network("inner", |it| it.internal = true).unwrap();
        let off = || ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
        stage.create_network("apart", |it| it.options = [off()].into()).unwrap();
        let named: [(&str, &[&str], &[&str]); 7] = [
            ("d1", &["bridge"], &["8080:80"]),
            ("w1", &["web"], &["8081:80", "127.0.0.1:8082:80"]),
            ("w2", &["web"], &[]),
            ("i1", &["inner"], &[]),
            ("i2", &["inner", "web"], &[]),
            ("a1", &["apart"], &["8083:80"]),
            ("a2", &["apart"], &["8084:81"]),
        ];
        let sandboxes: Vec<_> = named
            .into_iter()
            .map(|(name, networks, ports)| (name, stage.sandbox(name, networks, ports)))
            .collect();
        let mut servers: Vec<Server> =
            sandboxes.iter().map(|(_, place)| serve_tcp(place, "[::]:80").unwrap()).collect();
        servers.push(serve_tcp(&stage.host, "0.0.0.0:9000").unwrap());
        Players { stage, sandboxes, _servers: servers }
    }

    /// Everybody who asks, with the name that `explain` knows them by.
    fn askers(&self) -> Vec<(String, &Place)> {
        let sandboxes = self.sandboxes.iter().map(|(name, sandbox)| ((*name).to_owned(), &**sandbox));
        let others = [("host".to_owned(), &*self.stage.host), (format!("lan:{LAN}"), &*self.stage.lan)];
        sandboxes.chain(others).collect()
    }

    /// Everything that is asked for.
    fn targets(&self) -> Vec<SocketAddr> {
        let host: IpAddr = HOST.parse().unwrap();
        let host6: IpAddr = HOST6.parse().unwrap();
        let published = [8080, 8081, 8082, 8083, 8084, 8099, 9000];
        let mut targets: Vec<_> = published.map(|port| SocketAddr::new(host, port)).into();
        targets.extend([8081, 8080].map(|port| SocketAddr::new(host6, port)));
        for (_, sandbox) in &self.sandboxes {
            for endpoint in sandbox.attached.networks.values() {
                let addresses = [&endpoint.ip_address, &endpoint.global_ipv6_address];
                let addresses = addresses.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
                targets.extend(addresses.flat_map(|it| [80, 81].map(|port| SocketAddr::new(it, port))));
            }
        }
        targets
    }
}

/// What is said, in the words of what is seen.
pub fn said(explained: &Explained) -> String {
    let sentence = explained.sentence.as_str();
    match sentence.strip_prefix("It is answered; the server sees ") {
        Some(source) => format!("answered {}", source.trim_end_matches('.')),
        None if sentence.starts_with("Accepted by the proxy, and closed again: ") => "dropped".to_owned(),
        None if sentence.starts_with("Refused: ") => "refused".to_owned(),
        None if sentence.starts_with("No answer: ") => "timed-out".to_owned(),
        None if sentence.starts_with("Leaves the host;") => {
            // A host there answers, and sees the source that a capture sees.
            let seen = explained.walks[0].end.packet.unwrap();
            format!("answered {}", seen.source)
        }
        None if sentence.ends_with("gets a TCP reset.") => "refused".to_owned(),
        None if sentence.ends_with("gets an ICMP \"port unreachable\".") => "refused".to_owned(),
        None if sentence.starts_with("Refused on ") && sentence.contains(": its sender gets an ICMP ") => {
            "unreachable".to_owned()
        }
        None if sentence.contains("there is no route to") => "unreachable".to_owned(),
        None => sentence.to_owned(),
    }
}

/// What was seen. An answer that was expected and did not come may have been late on a busy machine: that is asked again.
pub fn surely_seen(place: &Place, target: &SocketAddr, said: &str, seen: String) -> String {
    if seen != "timed-out" || said == seen {
        return seen;
    }
    Question::to(&target.to_string()).unwrap().within(5 * PATIENCE).tcp(place).unwrap().to_string()
}

/// Asks in thought and for real: who, by the name that `explain` knows, from where, and for what. How many questions
/// could be asked.
///
/// # Panics
/// When what is said is not what is seen.
pub fn agree(stage: &Stage, questions: &[(&str, &Place, Vec<SocketAddr>)]) -> usize {
    let mut wrong = String::new();
    let mut compared = 0;
    let seen: Vec<Vec<String>> = thread::scope(|scope| {
        let ask = |place, target: &SocketAddr| {
            let question = Question::to(&target.to_string()).unwrap().within(PATIENCE);
            scope.spawn(move || question.tcp(place).unwrap().to_string())
        };
        let asked = questions
            .iter()
            .map(|(_, place, targets)| targets.iter().map(|target| ask(*place, target)).collect::<Vec<_>>());
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|all| all.into_iter().map(|one| one.join().unwrap()).collect()).collect()
    });
    for ((name, place, targets), seen) in questions.iter().zip(seen) {
        let mut client = stage.client();
        for (target, seen) in targets.iter().zip(seen) {
            let explained = match client.explain(name, &target.to_string(), false) {
                Ok(explained) => explained,
                // One end has no address of that family: nobody could even try.
                Err(_) => continue,
            };
            compared += 1;
            let said = said(&explained);
            let seen = surely_seen(place, target, &said, seen);
            // Accepted and reset at once: the reset may overtake the client's own connect(2).
            let overtaken = said == "dropped" && seen == "refused";
            if said != seen && !overtaken {
                let lines = explained.walks.iter().flat_map(|walk| {
                    let lines = walk
                        .steps
                        .iter()
                        .map(|it| format!("    {} {} {}", it.namespace, it.location(), it.text()));
                    [walk.title.clone()].into_iter().chain(lines).chain([format!("    = {}", walk.end.text)])
                });
                let lines: Vec<String> = lines.collect();
                writeln!(wrong, "{name} -> {target}: seen {seen}, said {said}\n{}", lines.join("\n"))
                    .unwrap();
            }
            assert_eq!(explained.planned, None, "{name} -> {target}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    compared
}

/// Asks everybody for everything, in thought and for real.
fn check(lab: &Lab, flags: &[&str], bridge_netfilter: bool) {
    check_some(lab, flags, bridge_netfilter, 1);
}

/// The same for one of so many targets, others for each who asks.
fn check_some(lab: &Lab, flags: &[&str], bridge_netfilter: bool, one_of: usize) {
    let players = Players::new(lab, flags, bridge_netfilter);
    players.stage.lan.route("172.16.0.0/12", HOST).unwrap();
    let (askers, all) = (players.askers(), players.targets());
    let mut questions = Vec::new();
    for (number, (name, place)) in askers.iter().enumerate() {
        let targets = all.iter().skip(number % one_of).step_by(one_of);
        questions.push((name.as_str(), *place, targets.copied().collect()));
    }
    let compared = agree(&players.stage, &questions);
    let asked = askers.len() * all.len() / one_of;
    assert!(compared > asked / 2, "{compared} of {asked}");
}

#[test]
fn agrees_with_the_kernel_with_the_proxy() {
    fairway_lab::run(|lab| check(lab, &[], true));
}

#[test]
fn agrees_with_the_kernel_with_the_proxy_and_bridges_unseen() {
    fairway_lab::run(|lab| check(lab, &[], false));
}

#[test]
fn agrees_with_the_kernel_without_the_proxy() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false"], true));
}

#[test]
fn agrees_with_the_kernel_without_the_proxy_and_bridges_unseen() {
    fairway_lab::run(|lab| check(lab, &["--userland-proxy=false"], false));
}

#[test]
fn agrees_with_the_kernel_by_the_proxy_alone() {
    fairway_lab::run(|lab| check(lab, &["--iptables=false"], true));
}

/// The first packet of each connection that a capture saw, without its port: `10.0.0.1 > 10.0.0.2:80`.
fn beginnings(frames: &[Vec<u8>]) -> BTreeSet<String> {
    let beginning = |bytes: &Vec<u8>| {
        let content = frame::read(bytes)?.content;
        let (_, port) = content.ports()?;
        let frame::Content::Packet { source, destination, protocol: 6, segment } = content else {
            return None;
        };
        const SYN: u8 = 2;
        (segment.get(13) == Some(&SYN)).then(|| format!("{source} > {}", SocketAddr::new(destination, port)))
    };
    frames.iter().filter_map(beginning).collect()
}

/// What captures are said to show, in the same words.
fn said_to_be_seen(shows: &[Tuple]) -> BTreeSet<String> {
    let words = |seen: &Tuple| format!("{} > {}", seen.source, seen.destination_text());
    shows.iter().filter(|seen| seen.protocol == 6).map(words).collect()
}

fn captures_see_what_is_said(lab: &Lab, flags: &[&str], bridge_netfilter: bool) {
    let players = Players::new(lab, flags, bridge_netfilter);
    let place = |name: &str| match players.sandboxes.iter().find(|(sandbox, _)| *sandbox == name) {
        Some((_, sandbox)) => &**sandbox,
        None if name == "host" => &*players.stage.host,
        None => &*players.stage.lan,
    };
    let questions = [
        ("lan", format!("{HOST}:8081")),
        ("d1", format!("{HOST}:8081")),
        ("w1", format!("{HOST}:8081")),
        ("host", "127.0.0.1:8081".to_owned()),
        ("host", format!("{HOST}:8081")),
        ("d1", format!("{LAN}:80")),
    ];
    for (from, to) in questions {
        let explained = players.stage.client().explain(from, &to, false).unwrap();
        assert!(explained.captures.len() > 1, "{from} -> {to}: {explained:?}");
        let started = explained.captures.iter().map(|it| {
            assert!(it.command.contains(&format!("tcpdump -ni {} '", it.interface)), "{}", it.command);
            Capture::start(place(&it.namespace), &it.interface, |_| true).unwrap()
        });
        let started: Vec<Capture> = started.collect();
        // It may be refused.
        let _ = Question::to(&to).unwrap().tcp(place(from)).unwrap();
        for (reported, capture) in explained.captures.iter().zip(&started) {
            let expected = said_to_be_seen(&reported.shows);
            let what =
                format!("{from} -> {to} at {} of {}: {expected:?}", reported.interface, reported.namespace);
            let all = || beginnings(&capture.frames()).is_superset(&expected);
            eventually(&what, Duration::from_secs(20), all);
            assert_eq!(beginnings(&capture.frames()), expected, "{what}");
        }
    }
}

#[test]
fn captures_see_what_is_said_with_the_proxy() {
    fairway_lab::run(|lab| captures_see_what_is_said(lab, &[], true));
}

#[test]
fn captures_see_what_is_said_without_the_proxy() {
    fairway_lab::run(|lab| captures_see_what_is_said(lab, &["--userland-proxy=false"], false));
}

#[test]
fn agrees_with_the_kernel_by_iptables() {
    fairway_lab::run(|lab| check_some(lab, backend("nft"), true, 6));
}

#[test]
fn agrees_with_the_kernel_by_legacy_iptables() {
    fairway_lab::run(|lab| check_some(lab, backend("legacy"), false, 6));
}

#[test]
fn says_what_would_help() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &[], true);
        let reported = |line: &str| fairway(&players.stage, line);
        let dropped = reported("explain d1 w1:80");
        assert_eq!(dropped.code, 1);
        assert!(dropped.output.contains(
            "No answer: dropped on host by inet fairway network-in: \"port not published\" (handle "
        ));
        assert!(
            dropped.output.ends_with(
                "What would help: fairway network connect web d1; or its port 80 is published: ask the host's address, port 8081\n"
            ),
            "{}",
            dropped.output
        );
        assert_eq!(reported("network connect web d1").code, 0);
        let through = reported("explain d1 w1:80");
        assert_eq!(through.code, 0);
        assert!(through.output.contains("It is answered; the server sees "), "{}", through.output);
        let apart = reported("explain a1 a2:80");
        assert!(
            apart.output.contains("\"icc=false\"")
                && apart.output.contains("fairway network connect NETWORK a1"),
            "{}",
            apart.output
        );
        let missing = reported("explain d1 missing:80");
        assert_eq!((missing.code, missing.output.as_str()), (1, ""));
        assert!(
            missing
                .errors
                .contains("cannot find \"missing\": no such container, process or address: give a container"),
            "{}",
            missing.errors
        );
        let served = reported("explain host d1:80").output;
        assert!(served.contains("delivered on d1 to ") && served.contains(" (process "), "{served}");
        let closed = reported("explain host d1:81 --format json");
        assert!(closed.output.contains("\"Answered\": false"), "{}", closed.output);
    });
}

#[test]
fn says_what_is_other_than_planned() {
    fairway_lab::run(|lab| {
        let players = Players::new(lab, &[], true);
        let reported = || fairway(&players.stage, "explain d1 10.10.50.1:80");
        assert!(!reported().output.contains("By the Plan"), "{}", reported().output);
        let (_, sandbox) = &players.sandboxes[0];
        sandbox.run_in(super::foreign_changes::remove_default_route).unwrap();
        let lost = reported();
        assert_eq!(lost.code, 1);
        let says = [
            "Refused on d1: there is no route to 10.10.50.1.\n",
            "By the Plan it would be otherwise: ",
            "  other than planned: in d1, default route is missing, expected via 172.17.0.1 dev eth0\n",
            "What would help: fairway doctor: ",
        ];
        for words in says {
            assert!(lost.output.contains(words), "{words}: {}", lost.output);
        }
    });
}
