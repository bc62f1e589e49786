use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;

use fairway_core::object::SocketUse;
use fairway_relay::server::{self, Configuration};
use fairway_relay::table::Record;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::*;

/// What a relay of the version before says of itself, and hands over: a resolver with two sockets, and servers.
const HELLO: &str = r#"{"Hello":{"version":"0.1.0","pid":1,"confinement":[],"missing":[],"counts":true}}"#;
const RECORDS: &str =
    r#"{"Records":{"records":[[{"Resolver":"ID"},2],[{"HostServers":["10.9.9.9"]},0]],"last":true}}"#;

/// Behaves as such a relay until the daemon leaves; what it was asked.
fn earlier_relay(listener: &OwnedFd, sandbox: &str) -> Vec<String> {
    let daemon = rustix::net::accept(listener).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut asked = Vec::new();
    loop {
        let mut buffer = vec![0; 65_536];
        let length = rustix::net::recvmsg(
            &daemon,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut rustix::net::RecvAncillaryBuffer::default(),
            RecvFlags::empty(),
        );
        let length = length.map_or(0, |received| received.bytes);
        if length == 0 {
            return asked;
        }
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let sockets = [udp.as_fd(), tcp.as_fd()];
        let answer = match request.contains("Hello") {
            true => HELLO.to_owned(),
            false => {
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)));
                RECORDS.replace("ID", sandbox)
            }
        };
        asked.push(request);
        let parts = [IoSlice::new(answer.as_bytes())];
        rustix::net::sendmsg(&daemon, &parts, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    }
}

#[test]
fn a_relay_of_the_version_before_hands_over_to_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let listener = listen(&path).unwrap();
    let sandbox = "ab".repeat(32);
    let id = sandbox.clone();
    let earlier = std::thread::spawn(move || earlier_relay(&listener, &id));
    let start: StartRelay = Box::new(|listener| {
        std::thread::spawn(move || server::run(listener, Configuration::default()));
        Ok(())
    });
    let (link, held) = RelayLink::find_or_start(path, &FormerRelays::under(directory.path()), start).unwrap();
    assert!(link.hello().queries_from_sandbox, "the new one answers");
    let asked = earlier.join().unwrap();
    assert!(asked.last().is_some_and(|asked| asked.contains("HandOver")), "{asked:?}");
    let resolver = Record::Resolver(sandbox.parse().unwrap());
    let kept = held.iter().find(|held| held.record == resolver).unwrap();
    assert_eq!(kept.sockets.len(), 2, "the daemon keeps duplicates");
    let known = link.client().describe().unwrap();
    assert!(known.contains(&resolver), "{known:?}");
    assert!(known.contains(&Record::HostServers(vec!["10.9.9.9".parse().unwrap()])), "{known:?}");
}

#[test]
fn the_relay_of_an_engine_that_does_not_start_is_ended() {
    for starts in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.sock");
        let (send, ended) = std::sync::mpsc::channel();
        let start: StartRelay = Box::new(move |listener| {
            let send = send.clone();
            std::thread::spawn(move || {
                drop(server::run(listener, Configuration::default()));
                let _ = send.send(());
            });
            Ok(())
        });
        let former = FormerRelays::under(directory.path());
        let (link, _) = RelayLink::find_or_start(path.clone(), &former, start).unwrap();
        if starts {
            link.keep();
        }
        drop(link);
        let within = if starts { Duration::from_millis(200) } else { Duration::from_secs(60) };
        assert_eq!(ended.recv_timeout(within).is_err(), starts);
        assert_eq!(path.exists(), starts);
    }
}

#[test]
fn a_relay_whose_connection_is_lost_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let (send, started) = std::sync::mpsc::channel();
    let start: StartRelay = Box::new(move |listener| {
        let _ = send.send(());
        std::thread::spawn(move || server::run(listener, Configuration::default()));
        Ok(())
    });
    let former = FormerRelays::under(directory.path());
    let (link, _) = RelayLink::find_or_start(path.clone(), &former, start).unwrap();
    let servers = |address: &str| Change::Insert {
        record: Record::HostServers(vec![address.parse().unwrap()]),
        sockets: Vec::new(),
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (protocol, address) = (Protocol::Tcp, socket.local_addr().unwrap());
    let record = Record::Port { protocol, address, purpose: SocketUse::Proxy(address) };
    link.apply(vec![Change::Insert { record, sockets: vec![Arc::new(socket.into())] }]).unwrap();
    // The relay lets go of its daemon for another one.
    drop(RelayClient::connect(&path).unwrap());
    assert_eq!(link.look(), Health::Gone);
    link.restart(|| vec![servers("10.9.9.9")]).unwrap();
    assert_eq!(started.try_iter().count(), 1, "no other relay");
    let expected = [Record::HostServers(vec!["10.9.9.9".parse().unwrap()])];
    assert_eq!(link.client().describe().unwrap(), expected, "and no other record");
}
