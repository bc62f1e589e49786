//! A relay of another version is replaced when the daemon starts, without a failed connection or query.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairway::daemon::EXEC_ROOT;
use fairway_lab::{Lab, serve_echo};
use fairway_relay::client::RelayClient;
use fairway_relay::server::{self, Configuration};
use fairway_relay::table::{Change, RecordWithSockets};

use crate::dns::{RecordType, look_up};
use crate::harness::{Stage, eventually};
use crate::kernel_state::relay_pid;

const PATIENCE: Duration = Duration::from_secs(20);
const RESOLVER: &str = "127.0.0.11:53";
const VERSION: &str = "0.0.9";

/// Has a relay of another version take the place of the daemon's relay, while there is no daemon.
fn have_relay_of_another_version() {
    let path = PathBuf::from(EXEC_ROOT).join("relay.sock");
    let held = RelayClient::connect(&path).unwrap().hand_over(PATIENCE).unwrap();
    std::fs::remove_file(&path).unwrap();
    let listener = server::listen(&path).unwrap();
    let configuration = Configuration { version: VERSION, ..Configuration::default() };
    std::thread::spawn(move || server::run(listener, configuration));
    let insert = |held: RecordWithSockets| Change::Insert {
        record: held.record,
        sockets: held.sockets.into_iter().map(Into::into).collect(),
    };
    let held = held.into_iter().map(insert).collect();
    RelayClient::connect(&path).unwrap().apply(held).unwrap();
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut back = [0; 5];
    stream.write_all(b"hello")?;
    stream.read_exact(&mut back)
}

/// A connection through the proxy that was answered.
fn connect(stage: &Stage) -> TcpStream {
    let stream = stage.host.run_in(|| TcpStream::connect("127.0.0.1:8080")).unwrap().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    echo(&stream).unwrap();
    stream
}

#[test]
fn a_relay_of_another_version_is_replaced_and_no_client_notices() {
    fairway_lab::run(|lab: &Lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.network("app");
        let server = stage.sandbox("server", &["app"], &["8080:80"]);
        let client = stage.sandbox("client", &["app"], &[]);
        let _serving = serve_echo(&server, "0.0.0.0:80").unwrap();
        let expected = [server.address("app")];
        let first = relay_pid().unwrap();
        let asked = || assert_eq!(look_up(&client, RESOLVER, "server", RecordType::A).unwrap(), expected);
        asked();

        stage.daemon.stop();
        stage.host.run_in(have_relay_of_another_version).unwrap();
        eventually("the first relay ends", PATIENCE, || relay_pid() != Some(first));
        let kept = connect(&stage);
        let enough = AtomicBool::new(false);
        stage.daemon.launch(&[]);
        let (connections, questions) = std::thread::scope(|scope| {
            let count = |one: &(dyn Fn() + Sync)| {
                let mut count = 0;
                while !enough.load(Ordering::Relaxed) {
                    one();
                    count += 1;
                }
                count
            };
            let (stage, asked) = (&stage, &asked);
            let connections = scope.spawn(move || count(&|| drop(connect(stage))));
            let questions = scope.spawn(move || count(asked));
            eventually("the daemon is ready", PATIENCE, || stage.client().ping().is_ok());
            enough.store(true, Ordering::Relaxed);
            (connections.join().unwrap(), questions.join().unwrap())
        });
        assert!(connections > 10 && questions > 10, "only {connections} and {questions}");
        let log = stage.daemon.log();
        assert!(log.contains(&format!("replacing the relay of version {VERSION}")), "{log}");
        assert!(relay_pid().is_some(), "a new relay runs");
        // The replaced relay carries its connections on.
        echo(&kept).unwrap();

        // One of this version goes on.
        let second = relay_pid();
        stage.daemon.restart(&[]);
        assert_eq!(relay_pid(), second);
        connect(&stage);
        asked();
    });
}
