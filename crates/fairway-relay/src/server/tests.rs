use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fairway_core::names::Upstreams;
use fairway_core::object::SocketUse;
use fairway_model::Protocol;
use rustix::event::{PollFd, PollFlags};

use crate::client::{ClientError, RelayClient};
use crate::table::{Change, Record, RecordKey, RecordWithSockets};
use crate::testing::{SOON, TestRelay, names, own_loopback, port, resolver_sockets, sandbox, view};

fn listener() -> (SocketAddr, TcpListener) {
    listener_at(Ipv4Addr::LOCALHOST.into())
}

fn listener_at(address: IpAddr) -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// A connection to the relay, as a daemon has it.
fn connected(relay: &TestRelay) -> OwnedFd {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(&relay.path).unwrap()).unwrap();
    socket
}

/// Some records of each kind, and how many.
fn fill(relay: &TestRelay) -> usize {
    let (target, _) = listener();
    relay.tcp(target);
    relay.udp_at("127.0.0.1:0", target);
    relay.resolver(1, Upstreams::Host);
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    relay.insert(Record::Names(names(1, &["web"], address)), Vec::new());
    relay.insert(Record::HostServers(vec![address.into()]), Vec::new());
    relay.shared_resolver(1);
    7
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(Record::key);
    records
}

#[test]
fn a_relay_describes_itself() {
    let relay = TestRelay::start();
    assert_eq!(relay.client.hello().pid, std::process::id());
    assert_eq!(relay.client.hello().version, env!("CARGO_PKG_VERSION"));
    assert!(relay.client.hello().confinement.contains(&"seccomp".to_owned()));
    assert_eq!(relay.client.hello().missing[0].0, "user");
}

#[test]
fn only_the_owner_can_connect_to_the_control_socket() {
    use std::os::unix::fs::PermissionsExt;
    let relay = TestRelay::start();
    let mode = std::fs::metadata(&relay.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = super::listen(&relay.path).unwrap_err();
    assert!(error.to_string().contains("cannot listen at"), "{error}");
}

#[test]
fn a_new_daemon_takes_over_and_finds_everything() {
    let relay = TestRelay::start();
    let count = fill(&relay);
    let before = sorted(relay.client.describe().unwrap());
    assert_eq!(before.len(), count);
    let second = RelayClient::connect(&relay.path).unwrap();
    assert!(matches!(relay.client.describe(), Err(ClientError::Connection(_))));
    assert_eq!(sorted(second.describe().unwrap()), before);
    let held = second.describe_with_sockets().unwrap();
    for RecordWithSockets { record, sockets } in &held {
        assert!(record.sockets().contains(&sockets.len()), "{record:?}");
        if let Record::Port { address, .. } = record {
            let found = rustix::net::getsockname(&sockets[0]).unwrap();
            assert_eq!(SocketAddr::try_from(found).unwrap(), *address);
        }
    }
    assert_eq!(sorted(held.into_iter().map(|held| held.record).collect()), before);
}

const HELLO: &[u8] = br#""Hello""#;

/// A connection that the relay takes for that of its daemon.
fn greeted(relay: &TestRelay) -> OwnedFd {
    let socket = connected(relay);
    let proof = crate::proof::open().unwrap();
    crate::message::send(&socket, HELLO, &[proof.as_fd()]).unwrap();
    crate::message::receive(&socket, &mut [0; 4096]).unwrap();
    socket
}

#[test]
fn a_process_that_cannot_show_the_pid_namespace_commands_nothing() {
    let relay = TestRelay::start();
    let count = fill(&relay);
    let other = std::fs::File::open("/proc/self/ns/net").unwrap();
    let proof = crate::proof::open().unwrap();
    let describe = br#"{"Describe":{"sockets":true}}"#;
    let cases: [(&[u8], &[BorrowedFd<'_>]); 4] =
        [(HELLO, &[]), (HELLO, &[other.as_fd()]), (describe, &[]), (describe, &[proof.as_fd()])];
    for (message, files) in cases {
        let socket = connected(&relay);
        crate::message::send(&socket, message, files).unwrap();
        let answer = crate::message::receive(&socket, &mut [0; 4096]);
        assert!(answer.is_err(), "{answer:?}");
    }
    // The daemon has its connection still, and one that comes is let in among those who say nothing.
    assert_eq!(relay.client.describe().unwrap().len(), count);
    let silent: Vec<OwnedFd> = (0..40).map(|_| connected(&relay)).collect();
    assert_eq!(relay.client.describe().unwrap().len(), count);
    assert_eq!(RelayClient::connect(&relay.path).unwrap().describe().unwrap().len(), count);
    drop(silent);
}

#[test]
fn a_daemon_that_died_in_the_middle_of_a_batch_changed_nothing() {
    let relay = TestRelay::start();
    let before = relay.client.describe().unwrap();
    let socket = greeted(&relay);
    let part = br#"{"Change":{"changes":[{"Insert":[{"HostServers":["10.9.9.9"]},0]}],"last":false}}"#;
    crate::message::send(&socket, part, &[]).unwrap();
    drop(socket);
    let again = RelayClient::connect(&relay.path).unwrap();
    assert_eq!(again.describe().unwrap(), before);
}

#[test]
fn nonsense_ends_the_daemon_and_not_the_relay() {
    let relay = TestRelay::start();
    fill(&relay);
    let before = sorted(relay.client.describe().unwrap());
    for nonsense in [&b"{"[..], b"\xff\xfe", b"{\"Unknown\":1}", &[b'['; 70_000]] {
        let socket = greeted(&relay);
        crate::message::send(&socket, nonsense, &[]).unwrap();
        let answer = crate::message::receive(&socket, &mut [0; 100]);
        assert!(answer.is_err(), "{answer:?}");
    }
    let again = RelayClient::connect(&relay.path).unwrap();
    assert_eq!(sorted(again.describe().unwrap()), before);
}

#[test]
fn two_thousand_listeners_in_one_batch() {
    let relay = TestRelay::start();
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let own = own_loopback();
    let mut changes = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..2_000 {
        let (address, listener) = listener_at(own);
        addresses.push(address);
        let sockets = vec![Arc::new(listener.into())];
        changes.push(Change::Insert { record: port(Protocol::Tcp, address, target), sockets });
    }
    relay.client.apply(changes).unwrap();
    assert_eq!(relay.client.describe().unwrap().len(), 2_001);
    assert_eq!(
        relay.client.describe_with_sockets().unwrap().iter().map(|held| held.sockets.len()).sum::<usize>(),
        2_000
    );
    let removals = addresses.iter().map(|address| Change::Remove(RecordKey::Port(Protocol::Tcp, *address)));
    relay.client.apply(removals.collect()).unwrap();
    assert_eq!(relay.client.describe().unwrap().len(), 1);
    for address in addresses {
        TcpListener::bind(address).unwrap();
    }
}

/// How many descriptors of this process are the socket with this inode.
fn descriptors_of(inodes: &HashSet<u64>) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = all.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inode = |link: std::path::PathBuf| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    links.filter_map(inode).filter(|inode| inodes.contains(inode)).count()
}

#[test]
fn describing_the_table_opens_no_descriptors() {
    let relay = TestRelay::start();
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let (mut changes, mut inodes) = (Vec::new(), HashSet::new());
    for _ in 0..1_000 {
        let (address, listener) = listener();
        inodes.insert(rustix::fs::fstat(&listener).unwrap().st_ino);
        let sockets = vec![Arc::new(listener.into())];
        changes.push(Change::Insert { record: port(Protocol::Tcp, address, target), sockets });
    }
    relay.client.apply(changes).unwrap();
    assert_eq!(descriptors_of(&inodes), 1_000);
    let daemon = greeted(&relay);
    crate::message::send(&daemon, br#"{"Describe":{"sockets":true}}"#, &[]).unwrap();
    // The first part is on its way when the relay has gathered all of them.
    rustix::event::poll(&mut [PollFd::new(&daemon, PollFlags::IN)], None).unwrap();
    assert_eq!(descriptors_of(&inodes), 1_000);
}

#[test]
fn a_hand_over_to_a_daemon_that_died_is_none() {
    let (target, _server) = listener();
    let dies_amid = || {
        let relay = TestRelay::start();
        let addresses: Vec<_> = (0..1_000).map(|_| relay.tcp(target)).collect();
        let daemon = greeted(&relay);
        crate::message::send(&daemon, br#"{"HandOver":{"limit":0}}"#, &[]).unwrap();
        rustix::event::poll(&mut [PollFd::new(&daemon, PollFlags::IN)], None).unwrap();
        drop(daemon);
        let held = RelayClient::connect(&relay.path).and_then(|next| next.describe_with_sockets()).ok()?;
        TcpStream::connect(addresses[0]).unwrap();
        Some(held.len())
    };
    // On a busy machine the relay may have handed over all before, and ends.
    assert_eq!((0..10).find_map(|_| dies_amid()), Some(1_001));
}

#[test]
fn refused_changes_are_named_and_the_others_are_in_force() {
    let relay = TestRelay::start();
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let good = Record::HostServers(vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()]);
    let changes = vec![
        Change::Insert { record: port(Protocol::Tcp, nowhere, target), sockets: Vec::new() },
        Change::Insert { record: Record::Resolver(sandbox(1)), sockets: Vec::new() },
        Change::Insert { record: good.clone(), sockets: Vec::new() },
        Change::Remove(RecordKey::View(sandbox(7))),
    ];
    let Err(ClientError::Refused(refusals)) = relay.client.apply(changes) else { panic!("nothing refused") };
    let keys: Vec<_> = refusals.into_iter().map(|refusal| refusal.key).collect();
    assert_eq!(keys, [RecordKey::Port(Protocol::Tcp, nowhere), RecordKey::Resolver(sandbox(1))]);
    assert_eq!(relay.client.describe().unwrap(), [good]);
}

#[test]
fn a_record_that_no_message_can_hold_is_refused_and_no_other() {
    let relay = TestRelay::start();
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let insert = |record| Change::Insert { record, sockets: Vec::new() };
    let long = "a".repeat(200_000);
    let (web, long) =
        (names(1, &["web"], address), [2, 3].map(|n| Record::Names(names(n, &[&long], address))));
    let changes = [&long[0], &Record::Names(web.clone()), &long[1]].map(|record| insert(record.clone()));
    let Err(ClientError::Refused(refusals)) = relay.client.apply(changes.into()) else { panic!("accepted") };
    let keys: Vec<_> = refusals.into_iter().map(|refusal| refusal.key).collect();
    assert_eq!(keys, long.map(|record| record.key()));
    let known = relay.client.describe().unwrap();
    assert!(known.len() == 2 && known.contains(&Record::Names(web)), "{known:?}");
}

#[test]
fn more_refusals_than_one_message_can_hold_all_arrive() {
    let relay = TestRelay::start();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let missing = (1..=3_000).map(|port_number| {
        let record = port(Protocol::Tcp, address(port_number), address(9));
        Change::Insert { record, sockets: Vec::new() }
    });
    let Err(ClientError::Refused(refusals)) = relay.client.apply(missing.collect()) else {
        panic!("nothing refused")
    };
    assert_eq!(refusals.len(), 3_000);
    assert_eq!(relay.client.describe().unwrap().len(), 1);
}

/// The two ends of a connection.
fn connection() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, rustix::net::SocketFlags::CLOEXEC, None).unwrap()
}

#[test]
fn a_response_to_another_request_closes_the_connection() {
    let (ours, theirs) = connection();
    let hello = br#"{"Hello":{"version":"1","pid":1,"confinement":[],"missing":[],"has_counters":true}}"#;
    let late = br#"{"Changed":[]}"#;
    for answer in [hello.as_slice(), late, late] {
        crate::message::send(&theirs, answer, &[]).unwrap();
    }
    let client = RelayClient::greet(ours).unwrap();
    assert!(matches!(client.counters(), Err(ClientError::UnexpectedResponse)));
    // What came late is no answer to the next request.
    assert!(matches!(client.apply(Vec::new()), Err(ClientError::Connection(_))));
}

#[test]
fn threads_that_change_the_table_at_once_get_their_own_outcomes() {
    let relay = TestRelay::start();
    thread::scope(|scope| {
        for n in 0..16u16 {
            let client = &relay.client;
            scope.spawn(move || {
                for step in 0..20u16 {
                    let address = IpAddr::V4(Ipv4Addr::new(10, 0, n as u8, step as u8));
                    let record = Record::Names(names(n * 100 + step, &["same"], address));
                    let key = record.key();
                    client.apply(vec![Change::Insert { record, sockets: Vec::new() }]).unwrap();
                    if step % 2 == 1 {
                        client.apply(vec![Change::Remove(key)]).unwrap();
                    }
                    let missing = SocketAddr::from(([127, 0, 0, 1], 1 + n));
                    let bad = port(Protocol::Tcp, missing, missing);
                    let outcome = client.apply(vec![Change::Insert { record: bad, sockets: Vec::new() }]);
                    let Err(ClientError::Refused(refusals)) = outcome else { panic!("{outcome:?}") };
                    assert_eq!(refusals.len(), 1);
                    assert_eq!(refusals[0].key, RecordKey::Port(Protocol::Tcp, missing));
                }
            });
        }
    });
    assert_eq!(relay.client.describe().unwrap().len(), 16 * 10 + 1);
}

#[test]
fn a_removed_resolver_has_let_go_of_its_sockets() {
    let relay = TestRelay::start();
    let address = relay.resolver(1, Upstreams::None);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    relay.remove(RecordKey::Resolver(sandbox(1)));
    UdpSocket::bind(address).unwrap();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_relay_that_handed_over_finishes_its_connections_and_ends() {
    let relay = TestRelay::start();
    let (target, server) = listener();
    let address = relay.tcp(target);
    let (udp, tcp) = resolver_sockets(own_loopback());
    relay.insert(Record::View(view(1, Upstreams::None)), Vec::new());
    relay.insert(Record::Resolver(sandbox(1)), vec![udp.into(), tcp.into()]);
    let mut client = TcpStream::connect(address).unwrap();
    let (mut old_side, _) = server.accept().unwrap();

    let held = relay.client.hand_over(SOON * 6).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("next.sock");
    let control = super::listen(&path).unwrap();
    thread::spawn(move || super::run(control, super::Configuration::default()));
    let next = RelayClient::connect(&path).unwrap();
    let changes = held.into_iter().map(|RecordWithSockets { record, sockets }| Change::Insert {
        record,
        sockets: sockets.into_iter().map(Arc::new).collect(),
    });
    next.apply(changes.collect()).unwrap();

    let mut second = TcpStream::connect(address).unwrap();
    let (mut new_side, _) = server.accept().unwrap();
    for (client, server) in [(&mut client, &mut old_side), (&mut second, &mut new_side)] {
        client.set_read_timeout(Some(SOON)).unwrap();
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    thread::sleep(Duration::from_millis(200));
    assert!(!relay.thread.is_finished(), "a connection is still open");
    drop((client, old_side));
    relay.thread.join().unwrap().unwrap();
    new_side.write_all(b"y").unwrap();
    second.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_hand_over_ends_when_its_time_is_up() {
    let relay = TestRelay::start();
    let (target, server) = listener();
    let mut client = TcpStream::connect(relay.tcp(target)).unwrap();
    let _open = server.accept().unwrap();
    relay.client.hand_over(Duration::from_millis(100)).unwrap();
    relay.thread.join().unwrap().unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_held_port_survives_the_daemon() {
    let relay = TestRelay::start();
    let (address, socket) = listener_at(own_loopback());
    let record = Record::Port { protocol: Protocol::Tcp, address, purpose: SocketUse::Reserve };
    relay.insert(record, vec![socket.into()]);
    let TestRelay { client, path, .. } = &relay;
    let _ = client;
    let second = RelayClient::connect(path).unwrap();
    assert_eq!(TcpListener::bind(address).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    second.apply(vec![Change::Remove(RecordKey::Port(Protocol::Tcp, address))]).unwrap();
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_relay_of_one_connection_ends_with_it() {
    let (ours, theirs) = connection();
    let thread = thread::spawn(move || super::run(theirs, super::Configuration::default()));
    let client = RelayClient::greet(ours).unwrap();
    let servers = Record::HostServers(vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()]);
    client.apply(vec![Change::Insert { record: servers.clone(), sockets: Vec::new() }]).unwrap();
    assert_eq!(client.describe().unwrap(), [servers]);
    drop(client);
    thread.join().unwrap().unwrap();
}
