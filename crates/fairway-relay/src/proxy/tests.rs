use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fairway_core::object::SocketUse;
use fairway_model::Protocol;

use super::ProxyLimits;
use crate::resolver::ResolverLimits;
use crate::table::{Record, RecordKey};
use crate::testing::{SOON, TestRelay, own_loopback, port};

/// A server that answers each connection with `reply` after it has read all of it.
fn collector(reply: &'static [u8]) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let sender = sender.clone();
            thread::spawn(move || {
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).is_ok() {
                    stream.write_all(reply).unwrap();
                    let _ = sender.send(all);
                }
            });
        }
    });
    (address, receiver)
}

/// A server that sends back what it gets, with a mark of its own before it.
fn echo(mark: u8) -> SocketAddr {
    echo_at("127.0.0.1:0", mark)
}

fn echo_at(address: &str, mark: u8) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                stream.write_all(&[mark]).unwrap();
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

fn read_byte(stream: &mut TcpStream) -> std::io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[test]
fn each_direction_ends_on_its_own() {
    let relay = TestRelay::start();
    let (target, received) = collector(b"after the end");
    let mut stream = connect(relay.tcp(target));
    stream.write_all(b"before the end").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"after the end");
    assert_eq!(received.recv_timeout(SOON).unwrap(), b"before the end");
}

#[test]
fn a_server_may_end_first_and_still_read() {
    let relay = TestRelay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = connect(relay.tcp(listener.local_addr().unwrap()));
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"bye").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"bye");
    stream.write_all(b"still here").unwrap();
    drop(stream);
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"still here");
}

#[test]
fn much_arrives_whole_and_in_order() {
    let relay = TestRelay::start();
    let (target, received) = collector(b"");
    let mut stream = connect(relay.tcp(target));
    let bytes: Vec<u8> = (0..20_000_000u32).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(received.recv_timeout(SOON).unwrap() == bytes);
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    let relay = TestRelay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = connect(relay.tcp(listener.local_addr().unwrap()));
    let (mut server, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let chunk = [7; 65_536];
    let (mut sent, mut stuck) = (0usize, 0);
    while stuck < 20 {
        match stream.write(&chunk) {
            Ok(length) => (sent, stuck) = (sent + length, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stuck += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        // Four socket buffers of at most 6 MiB (tcp_rmem, tcp_wmem) and what the relay holds.
        assert!(sent < 64 << 20, "the relay swallows without end");
    }
    stream.set_nonblocking(false).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    server.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), sent);
}

#[test]
fn without_pipes_bytes_are_copied() {
    let limits = ProxyLimits { pipes: 0, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let (target, received) = collector(b"done");
    let mut stream = connect(relay.tcp(target));
    let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(received.recv_timeout(SOON).unwrap() == bytes);
}

#[test]
fn two_thousand_connections_at_a_time() {
    let relay = TestRelay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.tcp(listener.local_addr().unwrap());
    let servers = thread::spawn(move || {
        let all: Vec<TcpStream> = (0..2_000).map(|_| listener.accept().unwrap().0).collect();
        for mut server in all {
            let byte = read_byte(&mut server).unwrap();
            server.write_all(&[byte, byte]).unwrap();
        }
    });
    let mut clients: Vec<TcpStream> = (0..2_000).map(|_| connect(address)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.write_all(&[n as u8]).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [n as u8; 2]);
    }
    servers.join().unwrap();
}

/// A closed loopback port.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_client_of_a_sandbox_that_refuses_is_reset() {
    let relay = TestRelay::start();
    let mut stream = connect(relay.tcp(closed_port()));
    assert_eq!(read_byte(&mut stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_is_passed_on() {
    let relay = TestRelay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = connect(relay.tcp(listener.local_addr().unwrap()));
    let (server, _) = listener.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
    drop(server);
    assert_eq!(read_byte(&mut stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn removal_closes_the_port_and_resets_its_connections() {
    let relay = TestRelay::start();
    let address = relay.tcp(echo(1));
    let other = relay.tcp(echo(2));
    let (mut stream, mut bystander) = (connect(address), connect(other));
    assert_eq!((read_byte(&mut stream).unwrap(), read_byte(&mut bystander).unwrap()), (1, 2));
    relay.remove(RecordKey::Port(Protocol::Tcp, address));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(read_byte(&mut stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
    bystander.write_all(&[9]).unwrap();
    assert_eq!(read_byte(&mut bystander).unwrap(), 9);
}

#[test]
fn a_new_target_is_for_new_connections() {
    let relay = TestRelay::start();
    let address = relay.tcp(echo(1));
    let mut old = connect(address);
    assert_eq!(read_byte(&mut old).unwrap(), 1);
    relay.insert(port(Protocol::Tcp, address, echo(2)), Vec::new());
    let mut new = connect(address);
    assert_eq!(read_byte(&mut new).unwrap(), 2);
    old.write_all(&[5]).unwrap();
    assert_eq!(read_byte(&mut old).unwrap(), 5);
    relay.remove(RecordKey::Port(Protocol::Tcp, address));
    assert!(read_byte(&mut old).is_err(), "connections to the old target go with the port too");
}

#[test]
fn a_held_port_is_held_and_can_be_carried_later() {
    let relay = TestRelay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let held = Record::Port { protocol: Protocol::Tcp, address, purpose: SocketUse::Reserve };
    relay.insert(held.clone(), vec![listener.into()]);
    assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(relay.client.describe().unwrap().contains(&held));
    relay.insert(port(Protocol::Tcp, address, echo(3)), Vec::new());
    let mut carried = connect(address);
    assert_eq!(read_byte(&mut carried).unwrap(), 3);
    relay.insert(held, Vec::new());
    carried.write_all(&[8]).unwrap();
    assert_eq!(read_byte(&mut carried).unwrap(), 8, "what is established goes on");
    relay.remove(RecordKey::Port(Protocol::Tcp, address));
    TcpListener::bind(address).unwrap();
}

#[test]
fn ipv6_clients_reach_ipv4_sandboxes() {
    let relay = TestRelay::start();
    let address = relay.tcp_at("[::1]:0", echo(6));
    assert_eq!(read_byte(&mut connect(address)).unwrap(), 6);
}

/// A UDP server that answers with a mark, what it got, and from where.
fn udp_echo(mark: u8) -> SocketAddr {
    udp_echo_at("127.0.0.1:0", mark)
}

fn udp_echo_at(address: &str, mark: u8) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut answer = vec![mark];
            answer.extend_from_slice(&from.port().to_be_bytes());
            answer.extend_from_slice(&buffer[..length]);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

/// A socket that takes answers from `asked` only, as the kernel checks for connected ones.
fn udp_client(asked: SocketAddr) -> UdpSocket {
    let own = if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(own).unwrap();
    socket.connect(asked).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Asks; returns the server's mark and the port from which the relay asked it.
fn udp_ask(client: &UdpSocket, question: &[u8]) -> std::io::Result<(u8, u16)> {
    client.send(question)?;
    let mut buffer = [0; 65_536];
    let length = client.recv(&mut buffer)?;
    assert_eq!(&buffer[3..length], question);
    Ok((buffer[0], u16::from_be_bytes([buffer[1], buffer[2]])))
}

#[test]
fn udp_answers_come_from_the_address_that_was_asked() {
    let relay = TestRelay::start();
    let any = relay.udp_at("0.0.0.0:0", udp_echo(1));
    for address in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let client = udp_client(SocketAddr::new(address.parse().unwrap(), any.port()));
        assert_eq!(udp_ask(&client, b"hello").unwrap().0, 1, "{address}");
    }
    // One socket that asks two addresses has a flow for each.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    for address in ["127.0.0.4", "127.0.0.5"] {
        let asked = SocketAddr::new(address.parse().unwrap(), any.port());
        client.send_to(b"x", asked).unwrap();
        assert_eq!(client.recv_from(&mut [0; 16]).unwrap().1, asked);
    }
}

#[test]
fn udp_over_both_families_at_one_socket() {
    let relay = TestRelay::start();
    let any = relay.udp_at("[::]:0", udp_echo(1));
    for address in ["::1", "127.0.0.1", "127.0.0.9"] {
        let client = udp_client(SocketAddr::new(address.parse().unwrap(), any.port()));
        assert_eq!(udp_ask(&client, b"six and four").unwrap().0, 1, "{address}");
    }
}

#[test]
fn the_longest_datagrams_pass() {
    let relay = TestRelay::start();
    let client = udp_client(relay.udp_at("127.0.0.1:0", udp_echo(1)));
    assert_eq!(udp_ask(&client, &vec![3; 65_000]).unwrap().0, 1);
    assert_eq!(udp_ask(&client, b"").unwrap().0, 1);
}

#[test]
fn udp_flows_keep_their_port_until_they_are_evicted() {
    let limits = ProxyLimits { flows: 2, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let address = relay.udp_at("127.0.0.1:0", udp_echo(1));
    let (first, second, third) = (udp_client(address), udp_client(address), udp_client(address));
    let port = udp_ask(&first, b"1").unwrap().1;
    let evicted = udp_ask(&second, b"2").unwrap().1;
    assert_eq!(udp_ask(&first, b"1").unwrap().1, port);
    // The third takes the place of the second, which was silent longest.
    udp_ask(&third, b"3").unwrap();
    assert_eq!(udp_ask(&first, b"1").unwrap().1, port);
    assert_ne!(udp_ask(&second, b"2").unwrap().1, evicted);
}

#[test]
fn udp_flows_end_when_they_are_idle() {
    let limits = ProxyLimits { flow_idle: Duration::from_millis(100), ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let client = udp_client(relay.udp_at("127.0.0.1:0", udp_echo(1)));
    let port = udp_ask(&client, b"1").unwrap().1;
    let mut later = (0..100).map(|_| {
        thread::sleep(Duration::from_millis(300));
        udp_ask(&client, b"1").unwrap().1
    });
    assert!(later.any(|later| later != port), "its flow was kept");
}

#[test]
fn udp_clients_follow_a_new_target_at_once() {
    let relay = TestRelay::start();
    let address = relay.udp_at("127.0.0.1:0", udp_echo(1));
    let client = udp_client(address);
    assert_eq!(udp_ask(&client, b"a").unwrap().0, 1);
    relay.insert(port(Protocol::Udp, address, udp_echo(2)), Vec::new());
    assert_eq!(udp_ask(&client, b"b").unwrap().0, 2);
}

#[test]
fn a_udp_target_without_a_listener_can_start_listening() {
    let relay = TestRelay::start();
    let server = UdpSocket::bind((own_loopback(), 0)).unwrap();
    let target = server.local_addr().unwrap();
    drop(server);
    let client = udp_client(relay.udp_at("127.0.0.1:0", target));
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(udp_ask(&client, b"a").unwrap_err().kind(), ErrorKind::WouldBlock);
    let server = UdpSocket::bind(target).unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    client.send(b"b").unwrap();
    let mut buffer = [0; 8];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"b");
    server.send_to(b"there", from).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 5);
}

mod fairness;
