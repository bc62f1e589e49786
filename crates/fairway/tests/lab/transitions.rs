//! A living host whose daemon comes back with other values of `--iptables` and `--userland-proxy`, through all twelve
//! transitions between the four modes of the matrix.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fairway_kernel::nftables::{Transaction, Writer};
use fairway_lab::{DatagramFlow, Lab, Outcome, Place, Server, serve_datagrams, serve_echo};
use fairway_ruleset::{Chain, ChainKind, CtState, Family, Hook, Table, priority, rule};

use crate::harness::{HOST, ports, texts};
use crate::kernel_state::{assert_same, make_anew, observe};
use crate::matrix::{Mode, Players, rows};

/// How long what must not fail may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(700);
/// Each pair of different modes once, each in both directions: the ends of what follows upon another.
const TOUR: [usize; 13] = [0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3, 0];

fn mode(number: usize, bridge_netfilter: bool, backend: &'static str) -> Mode {
    Mode { iptables: number < 2, proxy: number.is_multiple_of(2), bridge_netfilter, backend }
}

fn name(mode: Mode) -> String {
    mode.flags().join(" ")
}

/// A connection to an echo server, and how its bytes go. It is silent while the daemon is away, so that the first
/// packet that the new rules see is the client's.
struct Connection {
    what: &'static str,
    stream: TcpStream,
    path: Path,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    /// Straight to the sandbox.
    Direct,
    Translated,
    Carried,
    /// By the host's own loopback: untracked without a firewall, and to one that translates it a new connection.
    CarriedOnLoopback,
}

impl Connection {
    fn open(what: &'static str, from: &Place, to: &str, path: Path) -> Self {
        let stream = from.run_in(|| TcpStream::connect(to).unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = Self { what, stream, path };
        connection.echo().unwrap_or_else(|error| panic!("{what}: {error}"));
        connection
    }

    /// Sends some bytes and waits for them to come back.
    fn echo(&self) -> io::Result<()> {
        let (mut stream, mut back) = (&self.stream, [0; 5]);
        stream.write_all(b"hello")?;
        stream.read_exact(&mut back)
    }

    /// Whether its kind of path is there in another mode. What the relay carries it carries on as long as the port is
    /// its to carry, or translated.
    fn lives_in(&self, mode: Mode) -> bool {
        match self.path {
            Path::Direct => true,
            Path::Translated => mode.iptables,
            Path::Carried => mode.iptables || mode.proxy,
            Path::CarriedOnLoopback => mode.proxy,
        }
    }
}

/// What can be connected to in a mode, by ways that another mode may keep.
fn connections(players: &Players, mode: Mode) -> Vec<Connection> {
    let (d1, u1) = (players.d1.address("bridge"), players.u1.address("usr"));
    let (host, lan) = (&*players.stage.host, &*players.stage.lan);
    let mut all = vec![
        Connection::open("neighbour, directly", &players.d2, &format!("{d1}:81"), Path::Direct),
        Connection::open("neighbour on a network, directly", &players.u2, &format!("{u1}:81"), Path::Direct),
        Connection::open("host, directly", host, &format!("{d1}:81"), Path::Direct),
    ];
    let published = format!("{HOST}:8090");
    match (mode.iptables, mode.proxy) {
        (true, _) => all.push(Connection::open("lan, translated", lan, &published, Path::Translated)),
        (false, true) => all.push(Connection::open("lan, carried", lan, &published, Path::Carried)),
        (false, false) => {}
    }
    if mode.proxy {
        all.push(Connection::open("host, carried", host, "127.0.0.1:8090", Path::CarriedOnLoopback));
        all.push(Connection::open("neighbour, carried", &players.d2, &published, Path::Carried));
    }
    all
}

/// Has the host's own firewall track connections, whatever becomes of ours.
fn track() {
    let mut table = Table::new(Family::Inet, "own");
    let seen = rule().ct_state_any(&[CtState::Established]).counter();
    table.chains = vec![Chain::base("input", ChainKind::Filter, Hook::Input, priority::FILTER).with([seen])];
    let mut transaction = Transaction::new();
    transaction.create(&table);
    Writer::open().unwrap().commit(transaction).unwrap();
}

fn check(lab: &Lab, bridge_netfilter: bool, tracked: bool, backend: &'static str) {
    let mode = |number| mode(number, bridge_netfilter, backend);
    let mut players = Players::new(lab, mode(TOUR[0]));
    let _echoes: [Server; 2] = [&players.d1, &players.u1].map(|it| serve_echo(it, "0.0.0.0:81").unwrap());
    let _datagrams = serve_datagrams(&players.d1, "0.0.0.0:53").unwrap();
    let published = ports(&["8090:81", "5300:53/udp"]);
    assert_eq!(players.stage.client().publish("d1", published).unwrap().ports.len(), 3);
    if tracked {
        players.stage.host.run_in(track).unwrap();
    }
    // One client, which asks from the same port all the time.
    let flow = DatagramFlow::open(&players.stage.lan, &format!("{HOST}:5300")).unwrap();
    let running = |players: &Players| {
        let state = |name: &str| {
            let it = players.stage.client().container(name).unwrap();
            (it.state.running, it.state.started_at, it.network_settings.networks)
        };
        ["d1", "d2", "u1", "u2", "o1"].map(state)
    };
    let before = running(&players);
    let seen = |players: &Players| {
        let all = [
            ("d1", &*players.d1),
            ("d2", &*players.d2),
            ("u1", &*players.u1),
            ("u2", &*players.u2),
            ("o1", &*players.o1),
        ];
        observe(&players.stage, &all)
    };
    let mut arrivals: Vec<(String, usize, BTreeSet<String>)> = Vec::new();
    for pair in TOUR.windows(2) {
        let (from, to) = (mode(pair[0]), mode(pair[1]));
        let what = format!("{} after {}", name(to), name(from));
        println!("{what}");
        let connections = connections(&players, from);
        players.stage.daemon.restart(&texts(&to.flags()));
        players.check(&rows(to));
        for connection in connections.iter().filter(|it| it.lives_in(to)) {
            connection.echo().unwrap_or_else(|error| panic!("{}, {what}: {error}", connection.what));
        }
        drop(connections);
        assert_eq!(running(&players), before, "{what}");
        let expected = to.iptables || to.proxy;
        match (expected, flow.ask(if expected { PATIENCE } else { SILENCE })) {
            (true, Outcome::Answered { .. }) | (false, Outcome::TimedOut) => {}
            (_, other) => panic!("datagrams, {what}: {other}"),
        }
        arrivals.push((what, pair[1], seen(&players)));
    }
    for number in 0..4 {
        let flags = mode(number).flags();
        let players = &mut players;
        let places = [
            ("d1", (*players.d1).clone()),
            ("d2", (*players.d2).clone()),
            ("u1", (*players.u1).clone()),
            ("u2", (*players.u2).clone()),
            ("o1", (*players.o1).clone()),
        ];
        let places = places.each_ref().map(|(name, place)| (*name, place));
        make_anew(&mut players.stage, &texts(&flags), &places);
        let fresh = seen(players);
        for (what, _, found) in arrivals.iter().filter(|(_, arrived, _)| *arrived == number) {
            assert_same(what, found, &fresh);
        }
    }
}

#[test]
fn all_twelve_keep_what_runs_and_leave_nothing_of_the_old() {
    fairway_lab::run(|lab| check(lab, true, false, "nftables"));
}

#[test]
fn all_twelve_with_bridges_unseen_and_a_firewall_of_the_hosts_own() {
    fairway_lab::run(|lab| check(lab, false, true, "nftables"));
}

#[test]
fn all_twelve_by_iptables() {
    fairway_lab::run(|lab| check(lab, true, true, "nft"));
}

#[test]
fn all_twelve_by_legacy_iptables() {
    fairway_lab::run(|lab| check(lab, false, false, "legacy"));
}
