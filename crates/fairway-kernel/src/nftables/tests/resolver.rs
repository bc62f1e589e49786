//! The table in a sandbox leads questions to the resolver and answers back, and nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use fairway_ruleset::resolver::resolver_table;
use fairway_ruleset::{Chain, ChainKind, CtState, Family, Hook, Table, priority, rule};

use crate::netlink::{Batch, Protocol, Socket};
use crate::nftables::{Transaction, Writer};
use crate::testing::in_new_namespace;

const PATIENCE: Duration = Duration::from_secs(20);

/// Switches the loopback interface on, whose index is 1 in every namespace.
fn loopback_up() {
    let up = libc::IFF_UP.cast_unsigned().to_ne_bytes();
    let mut header = vec![0, 0, 0, 0, 1, 0, 0, 0];
    header.extend(up);
    header.extend(up);
    let mut batch = Batch::new();
    batch.message(libc::RTM_NEWLINK, 0, "loopback").raw(&header);
    Socket::open(Protocol::Route).unwrap().transact(&mut batch).unwrap();
}

fn udp_answers(socket: UdpSocket, answer: &'static [u8]) {
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let reply = [answer, &buffer[..length]].concat();
            let _ = socket.send_to(&reply, peer);
        }
    });
}

fn tcp_answers(listener: TcpListener, answer: &'static [u8]) {
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut question = Vec::new();
            let _ = stream.read_to_end(&mut question);
            let _ = stream.write_all(&[answer, &question].concat());
        }
    });
}

/// Asks through a connected socket, which takes answers from the address it asked only.
fn ask_udp(server: &str, question: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(question).unwrap();
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn ask_tcp(server: &str, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect_timeout(&server.parse().unwrap(), PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(question).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn questions_reach_the_resolver_despite_a_server_on_every_address() {
    in_new_namespace(|| {
        loopback_up();
        let resolver_udp = UdpSocket::bind("127.0.0.11:0").unwrap();
        let resolver_tcp = TcpListener::bind("127.0.0.11:0").unwrap();
        let ports = (resolver_udp.local_addr().unwrap().port(), resolver_tcp.local_addr().unwrap().port());
        udp_answers(resolver_udp, b"resolver:");
        tcp_answers(resolver_tcp, b"resolver:");
        udp_answers(UdpSocket::bind("0.0.0.0:53").unwrap(), b"own:");
        tcp_answers(TcpListener::bind("0.0.0.0:53").unwrap(), b"own:");
        assert_eq!(ask_tcp("127.0.0.11:53", b"before"), b"own:before");

        let mut transaction = Transaction::new();
        transaction.create(&resolver_table(ports.0, ports.1));
        Writer::open().unwrap().commit(transaction).unwrap();

        assert_eq!(ask_udp("127.0.0.11:53", b"one"), b"resolver:one");
        assert_eq!(ask_tcp("127.0.0.11:53", b"two"), b"resolver:two");
        assert_eq!(ask_udp("127.0.0.1:53", b"three"), b"own:three");
        assert_eq!(ask_tcp("127.0.0.1:53", b"four"), b"own:four");
        assert_eq!(ask_tcp("127.0.0.12:53", b"five"), b"own:five");
        let long = vec![7; 1 << 20];
        assert_eq!(ask_tcp("127.0.0.11:53", &long), [&b"resolver:"[..], &long].concat());
        assert_eq!(tracked_flows(), 0, "the table switched conntrack on");

        // A sandbox that tracks flows sees each question and its answer as one.
        let mut strict = Table::new(Family::Inet, "strict");
        strict.chains = vec![
            Chain::base("input", ChainKind::Filter, Hook::Input, priority::FILTER)
                .with([rule().ct_state_any(&[CtState::Invalid]).drop()]),
            Chain::base("output", ChainKind::Filter, Hook::Output, priority::FILTER)
                .with([rule().ct_state_any(&[CtState::Invalid]).drop()]),
        ];
        let mut transaction = Transaction::new();
        transaction.create(&strict);
        Writer::open().unwrap().commit(transaction).unwrap();
        assert_eq!(ask_udp("127.0.0.11:53", b"six"), b"resolver:six");
        assert_eq!(tracked_flows(), 1);
        assert_eq!(ask_tcp("127.0.0.11:53", b"seven"), b"resolver:seven");
        assert_eq!(tracked_flows(), 2);
    });
}

fn tracked_flows() -> u32 {
    // The file is not there while no namespace ever used conntrack.
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    count.map_or(0, |count| count.trim().parse().unwrap())
}
