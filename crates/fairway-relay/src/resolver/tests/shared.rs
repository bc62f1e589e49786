//! Resolvers that sandboxes share, which know each by the source address of its queries.

use fairway_core::names::{Convention, NameView};

use super::*;
use crate::table::RecordKey;
use crate::testing::{sandbox, view};

/// The source address of a sandbox.
fn source(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, n))
}

/// The view of a sandbox of podman's.
fn podman(n: u8, upstreams: Upstreams) -> NameView {
    let convention = Convention::Podman { domain: Some("dns.podman".to_owned()) };
    NameView { convention, source: Some(source(n)), ..view(n, upstreams) }
}

fn insert_view(relay: &TestRelay, view: NameView) {
    relay.insert(Record::View(view), Vec::new());
}

fn socket(n: u8) -> UdpSocket {
    let socket = UdpSocket::bind((source(n), 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Asks as sandbox `n`.
fn ask_as(n: u8, resolver: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = socket(n);
    socket.send_to(&question(name, kind).to_vec().unwrap(), resolver).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

#[test]
fn each_source_address_sees_its_own_names() {
    let relay = TestRelay::start();
    insert_names(&relay, [(1, &["web"][..])].into_iter());
    insert_view(&relay, podman(20, Upstreams::None));
    insert_view(&relay, NameView { networks: Vec::new(), ..podman(21, Upstreams::None) });
    let resolver = relay.shared_resolver(9);
    let seen = ask_as(20, resolver, "web.", RecordType::A);
    assert_eq!((addresses(&seen), seen.answers[0].ttl), (vec![v4(1)], 0));
    let hidden = ask_as(21, resolver, "web.", RecordType::A);
    assert_eq!((code(&hidden), hidden.answers.len()), (ResponseCode::NXDomain, 0));
    // An unknown address without a view.
    assert_eq!(code(&ask_as(22, resolver, "web.", RecordType::A)), ResponseCode::ServFail);
    insert_view(&relay, NameView { source: None, ..podman(9, Upstreams::None) });
    assert_eq!(addresses(&ask_as(22, resolver, "web.", RecordType::A)), [v4(1)]);
    // Over TCP too.
    let stream =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&stream, &SocketAddr::new(source(21), 0)).unwrap();
    rustix::net::connect(&stream, &resolver).unwrap();
    let mut stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(SOON)).unwrap();
    write_tcp(&mut stream, &question("web.", RecordType::A));
    assert_eq!(code(&read_tcp(&mut stream)), ResponseCode::NXDomain);
}

#[test]
fn each_source_address_has_its_own_servers() {
    let (port, servers) = name_servers(&[Behavior::Answers, Behavior::NoSuchName]);
    let limits = ResolverLimits { upstream_port: port, ..ResolverLimits::default() };
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    insert_view(&relay, podman(20, Upstreams::Servers(vec![servers[0].of_host()])));
    insert_view(&relay, podman(21, Upstreams::Servers(vec![servers[1].of_host()])));
    let resolver = relay.shared_resolver(9);
    assert_eq!(addresses(&ask_as(20, resolver, "example.org.", RecordType::A)), [EXAMPLE]);
    assert_eq!(code(&ask_as(21, resolver, "example.org.", RecordType::A)), ResponseCode::NXDomain);
    assert_eq!(code(&ask_as(20, resolver, "x.dns.podman.", RecordType::A)), ResponseCode::NXDomain);
    assert_eq!((servers[0].asked(), servers[1].asked()), (1, 1));
    // A sandbox that left and came back has nothing of what it had.
    relay.remove(RecordKey::View(sandbox(20)));
    insert_view(&relay, podman(20, Upstreams::Servers(vec![servers[1].of_host()])));
    assert_eq!(code(&ask_as(20, resolver, "example.org.", RecordType::A)), ResponseCode::NXDomain);
}

#[test]
fn a_sandbox_that_waits_for_a_silent_server_delays_no_other() {
    let (port, servers) = name_servers(&[Behavior::Silent, Behavior::Answers]);
    let limits = ResolverLimits {
        upstream_port: port,
        upstream_timeout: ENDLESS,
        waiting: 50,
        ..ResolverLimits::default()
    };
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    insert_view(&relay, podman(20, Upstreams::Servers(vec![servers[0].of_host()])));
    insert_view(&relay, podman(21, Upstreams::Servers(vec![servers[1].of_host()])));
    let resolver = relay.shared_resolver(9);
    let greedy = socket(20);
    for n in 0..200 {
        let question = question(&format!("n{n}.org."), RecordType::A);
        greedy.send_to(&question.to_vec().unwrap(), resolver).unwrap();
    }
    // Else it would wait for the server of another.
    assert_eq!(addresses(&ask_as(21, resolver, "example.org.", RecordType::A)), [EXAMPLE]);
}

#[test]
fn a_shared_resolver_moves_to_new_sockets_and_is_removed() {
    let relay = TestRelay::start();
    insert_names(&relay, [(1, &["web"][..])].into_iter());
    insert_view(&relay, NameView { source: None, ..podman(9, Upstreams::None) });
    insert_view(&relay, NameView { source: None, networks: Vec::new(), ..podman(8, Upstreams::None) });
    let address = relay.shared_resolver(9);
    assert_eq!(addresses(&ask_as(20, address, "web.", RecordType::A)), [v4(1)]);
    // Without sockets it keeps those that it has.
    relay.insert(Record::SharedResolver { address, others: sandbox(8) }, Vec::new());
    assert_eq!(code(&ask_as(20, address, "web.", RecordType::A)), ResponseCode::NXDomain);
    relay.remove(RecordKey::SharedResolver(address));
    let _free = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    let others = sandbox(8);
    let insert = Change::Insert { record: Record::SharedResolver { address, others }, sockets: Vec::new() };
    assert!(relay.client.apply(vec![insert]).unwrap_err().to_string().contains("send them"));
}
