//! A host whose tables an earlier version of the daemon made, with other names of sets and chains.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fairway_api::types::NetworkCreate;
use fairway_kernel::nftables::{Reader, Transaction, Writer};
use fairway_lab::{Lab, Outcome, Place, Question, serve_datagrams, serve_echo};
use fairway_ruleset::{Family, Table, TableFlags};

use crate::foreign_changes;
use crate::harness::{HOST, Stage};
use crate::kernel_state::{assert_same, make_anew, observe};

/// What `nft list ruleset` printed of the tables of version 0.1.0 for this test's World, with the names that differ
/// from run to run in braces.
const TABLES: &str = include_str!("upgrade/tables-0.1.0.nft");
const OURS: [(Family, &str); 2] = [(Family::Inet, "fairway"), (Family::Bridge, "fairway")];
/// How often isolation is tried.
const PAUSE: Duration = Duration::from_micros(500);
/// How long a packet that has to arrive may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our tables in the namespace of the calling thread.
fn read() -> Vec<Table> {
    let reader = Reader::open().unwrap();
    OURS.into_iter().filter_map(|(family, name)| reader.table(family, name).unwrap()).collect()
}

/// The names of sets and chains.
fn names(tables: &[Table]) -> BTreeSet<String> {
    let of = |table: &Table| {
        let sets = table.sets.iter().filter(|set| !set.flags.anonymous).map(|set| set.name.clone());
        sets.chain(table.chains.iter().map(|chain| chain.name.clone())).collect::<Vec<_>>()
    };
    tables.iter().flat_map(of).collect()
}

/// Loads a text of `nft` in the namespace of the calling thread.
fn load(text: &str) {
    let mut command = Command::new("nft");
    let mut nft = command.args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("apt-get install nftables");
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

/// Replaces our tables by others at once, as a daemon that is gone left them.
fn replace(tables: &[Table]) {
    let mut writer = Writer::open().unwrap();
    let tables: Vec<Table> =
        tables.iter().map(|table| Table { flags: TableFlags::OWNED, ..table.clone() }).collect();
    let mut adoption = Transaction::new();
    for table in &tables {
        adoption.add_table(table);
    }
    writer.commit(adoption).unwrap();
    let mut transaction = Transaction::new();
    for (old, new) in read().iter().zip(&tables) {
        transaction.replace(old, new);
        for set in new.sets.iter().filter(|set| !set.elements.is_empty() && !set.flags.anonymous) {
            transaction.add_elements(new, set, &set.elements);
        }
    }
    writer.commit(transaction).unwrap();
}

/// Sends datagrams all the time where none may pass.
struct Watch {
    stop: Arc<AtomicBool>,
    /// How many were sent, and how many were answered.
    thread: JoinHandle<(usize, usize)>,
}

impl Watch {
    fn start(from: &Place, to: SocketAddr) -> Self {
        let socket = from.run_in(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sent, mut answered) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                sent += usize::from(socket.send(b"hello").is_ok());
                answered += usize::from(socket.recv(&mut [0; 64]).is_ok());
                std::thread::sleep(PAUSE);
            }
            (sent, answered)
        });
        Self { stop, thread }
    }

    fn assert_apart(self, what: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, answered) = self.thread.join().unwrap();
        assert!(sent > 20, "{what}: only {sent} datagrams were sent");
        assert_eq!(answered, 0, "{what}: of {sent} datagrams");
    }
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut back = [0; 5];
    stream.write_all(b"hello")?;
    stream.read_exact(&mut back)
}

fn connect(from: &Place, to: &str) -> TcpStream {
    let stream = from.run_in(|| TcpStream::connect(to).unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    echo(&stream).unwrap();
    stream
}

fn network(stage: &Stage, name: &str, icc: bool) {
    let ask = |network: &mut NetworkCreate| {
        let chosen = [
            ("com.docker.network.bridge.name", format!("br-{name}")),
            ("com.docker.network.bridge.enable_icc", icc.to_string()),
        ];
        network.options = chosen.map(|(option, value)| (option.to_owned(), value)).into();
    };
    stage.create_network(name, ask).unwrap();
}

#[test]
fn tables_of_an_earlier_version_are_replaced_without_a_cut_connection() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::new(lab, &[]);
        for (name, icc) in [("app", true), ("other", true), ("closed", false)] {
            network(&stage, name, icc);
        }
        let web = stage.sandbox("web", &["app"], &["8080:80"]);
        let stranger = stage.sandbox("stranger", &["other"], &[]);
        let [one, two] = ["one", "two"].map(|name| stage.sandbox(name, &["closed"], &[]));
        let inside = [("web", &*web), ("stranger", &*stranger), ("one", &*one), ("two", &*two)];
        let _echo = serve_echo(&web, "0.0.0.0:80").unwrap();
        let _datagrams = [&web, &two].map(|it| serve_datagrams(it, "0.0.0.0:53").unwrap());
        let expected = names(&stage.host.run_in(read).unwrap());

        // As the daemon of the earlier version left it.
        stage.daemon.kill9();
        let mut text = TABLES.to_owned();
        for (name, place) in inside {
            let port = stage.host.run_in(|| foreign_changes::port_of(place, "eth0")).unwrap();
            text = text.replace(&format!("{{{name}}}"), &port);
        }
        for name in ["fairway0", "br-app", "br-other", "br-closed"] {
            let mac = stage.host.run_in(|| foreign_changes::link(name).mac.unwrap().to_string()).unwrap();
            text = text.replace(&format!("{{{name}}}"), &mac);
        }
        let scratch = lab.host("scratch").unwrap();
        scratch.run_in(|| load(&text)).unwrap();
        let earlier = scratch.run_in(read).unwrap();
        stage.host.run_in(|| replace(&earlier)).unwrap();
        let found = names(&stage.host.run_in(read).unwrap());
        assert!(found.contains("owned4") && !found.contains("assigned_ips4"), "{found:?}");

        let published = format!("{HOST}:8080");
        let connections = [connect(&stage.lan, &published), connect(&stranger, &published)];
        let watches = [
            (Watch::start(&stranger, (web.address("app"), 53).into()), "from another network"),
            (Watch::start(&one, (two.address("closed"), 53).into()), "with icc=false"),
        ];
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        for connection in &connections {
            echo(connection).unwrap();
        }
        for place in [&*stage.lan, &*stranger] {
            connect(place, &published);
        }
        std::thread::sleep(Duration::from_millis(500));
        for (watch, what) in watches {
            watch.assert_apart(what);
        }
        let served = Question::to(&format!("{}:53", web.address("app"))).unwrap().within(PATIENCE);
        let served = served.udp(&stage.host).unwrap();
        assert!(
            matches!(served, Outcome::Answered { .. }),
            "the server that no datagram reached: {served:?}"
        );
        for connection in &connections {
            echo(connection).unwrap();
        }
        assert_eq!(
            names(&stage.host.run_in(read).unwrap()),
            expected,
            "sets and chains of earlier names are left"
        );
        let after = observe(&stage, &inside);
        make_anew(&mut stage, &[], &inside);
        assert_same("after the upgrade", &after, &observe(&stage, &inside));
    });
}
