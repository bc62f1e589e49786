//! Fair shares when there is not enough for all. Sandboxes are identified by their addresses here, 127.0.0.1 and
//! 127.0.0.2, and clients by theirs.

use super::*;

const QUIET: &str = "127.0.0.2:0";

/// A client at an address of loopback.
fn connect_from(client: &str, address: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        Some(rustix::net::ipproto::TCP),
    )
    .unwrap();
    let client: SocketAddr = client.parse().unwrap();
    rustix::net::bind(&socket, &client).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Connects so many times and keeps silent.
fn flood(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let flooded = (0..count).map(|_| {
        let mut stream = connect(address);
        // It may have made way already.
        let _ = read_byte(&mut stream);
        stream
    });
    flooded.collect()
}

fn answers(stream: &mut TcpStream) -> bool {
    stream.write_all(b"?").is_ok() && read_byte(stream).is_ok()
}

#[test]
fn idle_connections_of_one_sandbox_leave_ports_of_another_open() {
    let limits = ProxyLimits { connections: 8, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let (flooded, quiet) = (relay.tcp(echo(1)), relay.tcp(echo_at(QUIET, 2)));
    let mut early = connect(quiet);
    assert_eq!(read_byte(&mut early).unwrap(), 2);
    let mut idle = flood(flooded, 20);
    for _ in 0..3 {
        let mut late = connect(quiet);
        assert_eq!(read_byte(&mut late).unwrap(), 2);
        assert!(answers(&mut late));
    }
    assert!(answers(&mut early));
    assert!(answers(idle.last_mut().unwrap()), "the longest idle ones make way first");
    assert_eq!(read_byte(&mut idle[0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn idle_connections_of_one_client_leave_the_port_to_others() {
    let limits = ProxyLimits { connections: 8, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let address = relay.tcp(echo(1));
    let mut early = connect_from("127.0.0.9:0", address);
    assert_eq!(read_byte(&mut early).unwrap(), 1);
    let _idle = flood(address, 20);
    let mut late = connect_from("127.0.0.10:0", address);
    assert_eq!(read_byte(&mut late).unwrap(), 1);
    assert!(answers(&mut early));
}

#[test]
fn connections_that_a_sandbox_does_not_accept_count_too() {
    let limits = ProxyLimits { connections: 8, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    // Its backlog is full, so that the relay's connections stay half open.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let target = full.local_addr().unwrap();
    let _first = connect(target);
    let flooded = relay.tcp(target);
    let quiet = relay.tcp(echo_at(QUIET, 2));
    let _half_open: Vec<TcpStream> = (0..20).map(|_| connect(flooded)).collect();
    assert_eq!(read_byte(&mut connect(quiet)).unwrap(), 2);
}

#[test]
fn bytes_for_slow_readers_are_bounded() {
    let limits = ProxyLimits { pipes: 0, waiting_bytes: 100_000, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let flooded = relay.tcp(server.local_addr().unwrap());
    let quiet = relay.tcp(echo_at(QUIET, 2));
    let mut early = connect(quiet);
    assert_eq!(read_byte(&mut early).unwrap(), 2);
    thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || while stream.write_all(&[7; 65_536]).is_ok() {});
        }
    });
    let clients: Vec<TcpStream> = (0..20).map(|_| connect(flooded)).collect();
    let is_reset = |client: &TcpStream| matches!(client.take_error(), Ok(Some(_)));
    let since = std::time::Instant::now();
    while !clients.iter().any(is_reset) {
        assert!(since.elapsed() < SOON, "no connection made way");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(answers(&mut early));
}

#[test]
fn connections_that_carry_nothing_end_at_their_time() {
    let short = Duration::from_secs(3);
    let limits = ProxyLimits { connection_idle: short, half_closed_idle: short, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let address = relay.tcp(echo(1));
    let (mut busy, mut idle) = (connect(address), connect(address));
    assert_eq!((read_byte(&mut busy).unwrap(), read_byte(&mut idle).unwrap()), (1, 1));
    idle.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut outcomes = (0..300).map(|_| {
        assert!(answers(&mut busy));
        read_byte(&mut idle).unwrap_err().kind()
    });
    assert_eq!(outcomes.find(|kind| *kind != ErrorKind::WouldBlock), Some(ErrorKind::ConnectionReset));
    assert!(answers(&mut busy));
}

#[test]
fn flows_of_one_sandbox_leave_ports_of_another_open() {
    let limits = ProxyLimits { flows: 8, ..ProxyLimits::default() };
    let relay = TestRelay::with(limits, ResolverLimits::default());
    let flooded = relay.udp_at("127.0.0.1:0", udp_echo(1));
    let quiet = relay.udp_at("127.0.0.1:0", udp_echo_at(QUIET, 2));
    let early = udp_client(quiet);
    let (_, port) = udp_ask(&early, b"early").unwrap();
    let flood: Vec<UdpSocket> = (0..50).map(|_| udp_client(flooded)).collect();
    for client in &flood {
        udp_ask(client, b"flood").unwrap();
    }
    assert_eq!(udp_ask(&udp_client(quiet), b"late").unwrap().0, 2);
    assert_eq!(udp_ask(&early, b"early").unwrap(), (2, port), "its flow was kept");
}
