//! Every path between host, LAN and sandboxes, against what was measured with Docker (`fairway-inspect/src/tests/docker-matrix.tsv`).
//!
//! The stage of the table: d1 and d2 on the default bridge, d1 publishes 8080; u1 and u2 on a network, u1 publishes
//! 8081; o1 on another network; the host listens on 8082, the LAN host on 80, every sandbox on 80.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use fairway_lab::{Lab, Outcome, Place, Question, Server, serve_tcp};

use crate::harness::{HOST, Sandbox, Stage, backend, texts};

const TABLE: &str = include_str!("../../../fairway-inspect/src/tests/docker-matrix.tsv");

/// How long an answer that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(700);

/// How the daemon and the host are set.
#[derive(Clone, Copy)]
pub struct Mode {
    pub iptables: bool,
    pub proxy: bool,
    pub bridge_netfilter: bool,
    /// As for [`backend`].
    pub backend: &'static str,
}

impl Mode {
    /// The daemon's flags.
    pub fn flags(self) -> Vec<String> {
        let flags = [format!("--iptables={}", self.iptables), format!("--userland-proxy={}", self.proxy)];
        flags.into_iter().chain(backend(self.backend).iter().map(|flag| (*flag).to_owned())).collect()
    }
}

/// A row: who asks whom, and what became of it.
pub struct Row {
    group: &'static str,
    path: &'static str,
    target: String,
    expected: String,
}

/// The rows of a mode, with Fairway's answer where it differs.
pub fn rows(mode: Mode) -> Vec<Row> {
    let (iptables, proxy) = (mode.iptables.to_string(), mode.proxy.to_string());
    let lines = TABLE.lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows = lines.filter_map(|line| {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let &[its_iptables, its_proxy, group, path, address, port, outcome, source] = &fields[..] else {
            panic!("a row of {} fields: {line}", fields.len());
        };
        if (its_iptables, its_proxy) != (&iptables[..], &proxy[..]) {
            return None;
        }
        let measured = format!("{outcome} {source}").trim_end().to_owned();
        let expected = differs(mode, group, path).unwrap_or(measured);
        Some(Row { group, path, target: format!("{address}:{port}"), expected })
    });
    rows.collect()
}

/// Where Fairway differs on purpose.
fn differs(mode: Mode, group: &str, path: &str) -> Option<String> {
    if path.ends_with("no route") {
        // The LAN host of the lab has no other way out, so that its own kernel answers.
        return Some("unreachable".to_owned());
    }
    let published = path.ends_with(":pub") || path.ends_with("gw pub");
    if !mode.iptables && !mode.proxy && published {
        // Docker holds the port and never answers.
        return Some("refused".to_owned());
    }
    if mode.iptables && !mode.proxy && !mode.bridge_netfilter && path.starts_with("samenet->") && published {
        // Docker does not answer.
        let gateway = if group == "DFL" { "172.17.0.1" } else { "172.18.0.1" };
        return Some(format!("answered {gateway}"));
    }
    None
}

/// Everybody who asks or is asked.
pub struct Players {
    pub stage: Stage,
    pub d1: Sandbox,
    pub d2: Sandbox,
    pub u1: Sandbox,
    pub u2: Sandbox,
    pub o1: Sandbox,
    _servers: Vec<Server>,
}

impl Players {
    /// Starts the daemon in a mode, with everybody on it.
    pub fn new(lab: &Lab, mode: Mode) -> Players {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_bridge_netfilter(mode.bridge_netfilter).unwrap();
        stage.daemon.launch(&texts(&mode.flags()));
        stage.daemon.wait_until_ready();
        stage.network("usr");
        stage.network("other");
        let d1 = stage.sandbox("d1", &["bridge"], &["8080:80"]);
        let d2 = stage.sandbox("d2", &["bridge"], &[]);
        let u1 = stage.sandbox("u1", &["usr"], &["8081:80"]);
        let u2 = stage.sandbox("u2", &["usr"], &[]);
        let o1 = stage.sandbox("o1", &["other"], &[]);
        let mut servers: Vec<Server> =
            [&d1, &d2, &u1, &u2, &o1].map(|it| serve_tcp(it, "[::]:80").unwrap()).into();
        servers.push(serve_tcp(&stage.host, "0.0.0.0:8082").unwrap());
        servers.push(serve_tcp(&stage.lan, "0.0.0.0:80").unwrap());
        Players { stage, d1, d2, u1, u2, o1, _servers: servers }
    }

    /// Where the question of a row is asked.
    fn asker(&self, row: &Row) -> &Place {
        let usr = row.group == "USR";
        match row.path.split("->").next().unwrap_or_default() {
            "host" => &self.stage.host,
            "lan" => &self.stage.lan,
            "self" if usr => &self.u1,
            "self" => &self.d1,
            "samenet" if usr => &self.u2,
            "samenet" => &self.d2,
            "othernet" => &self.o1,
            "usrnet" | "usr" => &self.u2,
            "dflnet" | "dfl" => &self.d2,
            other => panic!("who is {other}?"),
        }
    }

    /// Asks all at once and returns a line for each row that is not as expected.
    fn wrong<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> String {
        let seen: Vec<(&Row, Outcome)> = thread::scope(|scope| {
            let asked = rows.map(|row| {
                let place = self.asker(row);
                let patience = if row.expected == "timed-out" { SILENCE } else { PATIENCE };
                let question = Question::to(&row.target).unwrap().within(patience);
                (row, scope.spawn(move || question.tcp(place).unwrap()))
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|(row, thread)| (row, thread.join().unwrap())).collect()
        });
        let mut table = String::new();
        for (row, seen) in seen.iter().filter(|(row, seen)| row.expected != seen.to_string()) {
            let Row { group, path, target, expected } = row;
            writeln!(table, "{group:8} {path:30} {target:18} {expected:24} {seen}").unwrap();
        }
        table
    }

    /// Asks all rows of a mode, those last that speak of a LAN host with a route to sandboxes.
    ///
    /// # Panics
    /// When an outcome is another than expected; with each that is.
    pub fn check(&self, rows: &[Row]) {
        assert_eq!(rows.len(), 50, "rows of the table in this mode");
        let with_route = |row: &&Row| row.group == "DIRECT" || row.path.ends_with("(back route)");
        let mut wrong = self.wrong(rows.iter().filter(|row| !with_route(row)));
        self.stage.lan.route("172.16.0.0/12", HOST).unwrap();
        wrong += &self.wrong(rows.iter().filter(with_route));
        self.stage.lan.remove_route("172.16.0.0/12").unwrap();
        assert!(wrong.is_empty(), "\nwho      path{:27}target{:13}expected{:17}seen\n{wrong}", "", "", "");
    }
}

/// Asks all rows of a mode.
fn check(lab: &Lab, mode: Mode) {
    Players::new(lab, mode).check(&rows(mode));
}

macro_rules! modes {
    ($($name:ident: $iptables:literal $proxy:literal $bridge_netfilter:literal $backend:literal;)*) => {$(
        #[test]
        fn $name() {
            let mode = Mode {
                iptables: $iptables,
                proxy: $proxy,
                bridge_netfilter: $bridge_netfilter,
                backend: $backend,
            };
            fairway_lab::run(|lab| check(lab, mode));
        }
    )*};
}

modes! {
    //                                               iptables proxy br_netfilter backend
    with_the_proxy:                                  true     true  true         "nftables";
    with_the_proxy_and_bridges_unseen:               true     true  false        "nftables";
    without_the_proxy:                               true     false true         "nftables";
    without_the_proxy_and_bridges_unseen:            true     false false        "nftables";
    by_the_proxy_alone:                              false    true  true         "nftables";
    by_the_proxy_alone_and_bridges_unseen:           false    true  false        "nftables";
    without_any_help:                                false    false true         "nftables";
    without_any_help_and_bridges_unseen:             false    false false        "nftables";
    by_iptables_with_the_proxy:                      true     true  true         "nft";
    by_iptables_with_the_proxy_and_bridges_unseen:   true     true  false        "nft";
    by_iptables_without_the_proxy:                   true     false true         "nft";
    by_iptables_without_the_proxy_bridges_unseen:    true     false false        "nft";
    by_legacy_iptables_with_the_proxy:               true     true  true         "legacy";
    by_legacy_iptables_with_the_proxy_bridges_unseen: true    true  false        "legacy";
    by_legacy_iptables_without_the_proxy:            true     false true         "legacy";
    by_legacy_iptables_alone_and_bridges_unseen:     true     false false        "legacy";
    by_the_proxy_alone_whatever_the_backend:         false    true  true         "nft";
    without_any_help_whatever_the_backend:           false    false true         "legacy";
}
