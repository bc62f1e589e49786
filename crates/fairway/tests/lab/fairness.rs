//! What a quiet sandbox's clients notice of a neighbor whose published ports are flooded: nothing.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use fairway_lab::{DatagramFlow, Outcome, Question, serve_datagrams, serve_echo, serve_tcp};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::harness::Stage;

/// Few descriptors, so that a flood of some hundreds reaches the relay's limits.
const DESCRIPTORS: u64 = 2_000;
const FLOOD: usize = 600;

fn is_answered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { .. })
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"?").is_ok() && stream.read_exact(&mut byte).is_ok() && byte == *b"?"
}

#[test]
fn a_flood_of_one_sandboxs_ports_leaves_those_of_another_open() {
    fairway_lab::run(|lab| {
        let few = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
        setrlimit(Resource::Nofile, few).unwrap();
        let mut stage = Stage::new(lab, &["--iptables=false"]);
        let quiet = stage.sandbox("quiet", &["bridge"], &["8080:80", "8081:81", "8053:53/udp"]);
        let noisy = stage.sandbox("noisy", &["bridge"], &["9080:80", "9053:53/udp"]);
        let _serving = serve_tcp(&quiet, "0.0.0.0:80").unwrap();
        let _echo = serve_echo(&quiet, "0.0.0.0:81").unwrap();
        let _names = serve_datagrams(&quiet, "0.0.0.0:53").unwrap();
        let _idle = serve_echo(&noisy, "0.0.0.0:80").unwrap();
        for with_daemon in ["the first daemon", "the next one"] {
            let connect =
                |port: u16| stage.host.run_in(|| TcpStream::connect(("127.0.0.1", port)).unwrap()).unwrap();
            let mut early = connect(8081);
            assert!(echoes(&mut early));
            let flow = DatagramFlow::open(&stage.host, "127.0.0.1:8053").unwrap();
            let patience = Duration::from_secs(15);
            assert!(is_answered(&flow.ask(patience)));

            let _connections: Vec<TcpStream> = (0..FLOOD).map(|_| connect(9080)).collect();
            let flood = || {
                let open = || {
                    let socket = UdpSocket::bind("127.0.0.1:0")?;
                    socket.send_to(b"x", "127.0.0.1:9053")?;
                    Ok::<_, std::io::Error>(socket)
                };
                (0..FLOOD).map(|_| open().unwrap()).collect::<Vec<_>>()
            };
            let _flows = stage.host.run_in(flood).unwrap();
            for port in [8080, 8053] {
                let question = Question::to(&format!("127.0.0.1:{port}")).unwrap().within(patience);
                let outcome =
                    if port == 8080 { question.tcp(&stage.host) } else { question.udp(&stage.host) };
                let outcome = outcome.unwrap();
                assert!(is_answered(&outcome), "{port} with {with_daemon}: {outcome}");
            }
            assert!(echoes(&mut early), "it was idle, and its sandbox has no more than its share");
            assert!(is_answered(&flow.ask(patience)));
            stage.daemon.restart(&["--iptables=false"]);
        }
    });
}
