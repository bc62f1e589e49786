use std::net::{TcpListener, UdpSocket};

use super::*;

fn namespaces(sandboxes: impl IntoIterator<Item = (SandboxId, Identity)>) -> Namespaces {
    let host = identity(&namespace::own().unwrap());
    Namespaces { host, sandboxes: sandboxes.into_iter().collect() }
}

fn sandbox(n: u8) -> SandboxId {
    SandboxId::new([n; 32])
}

fn port(protocol: Protocol, address: SocketAddr) -> Record {
    Record::Port { protocol, address, purpose: SocketUse::Proxy(SocketAddr::from(([10, 0, 0, 2], 80))) }
}

fn listener() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

fn datagrams(address: &str) -> (OwnedFd, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    (socket.into(), address)
}

/// Takes one record over; whether it was taken.
fn takes(record: Record, sockets: Vec<OwnedFd>, namespaces: &Namespaces) -> bool {
    let (ports, resolvers) = (PortSockets::default(), Resolvers::default());
    let key = record.key();
    let taken = adopt_relay_sockets(
        vec![RecordWithSockets { record: record.clone(), sockets }],
        namespaces,
        &ports,
        &resolvers,
    );
    if taken.known == [record] {
        return true;
    }
    assert!(matches!(&taken.dropped[..], [Change::Remove(dropped)] if *dropped == key));
    assert!(ports.keys().is_empty() && resolvers.all().is_empty());
    false
}

#[test]
fn ports_that_are_what_the_relay_says_are_taken() {
    let namespaces = namespaces([]);
    let (socket, address) = listener();
    assert!(takes(port(Protocol::Tcp, address), vec![socket], &namespaces));
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let (socket, address) = datagrams(any);
        assert!(takes(port(Protocol::Udp, address), vec![socket], &namespaces));
    }
    let record = Record::Port {
        protocol: Protocol::Sctp,
        address: "192.0.2.1:9".parse().unwrap(),
        purpose: SocketUse::Reserve,
    };
    let unbound = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    assert!(takes(record, vec![unbound], &namespaces));
}

#[test]
fn sockets_of_another_port_kind_or_number_are_dropped() {
    let namespaces = namespaces([]);
    let (_, elsewhere) = listener();
    let (socket, _) = listener();
    assert!(!takes(port(Protocol::Tcp, elsewhere), vec![socket], &namespaces));
    let (socket, address) = datagrams("127.0.0.1:0");
    assert!(!takes(port(Protocol::Tcp, address), vec![socket], &namespaces));
    let (socket, address) = listener();
    assert!(!takes(port(Protocol::Udp, address), vec![socket], &namespaces));
    let (_, address) = listener();
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    assert!(!takes(port(Protocol::Tcp, address), vec![file.into()], &namespaces));
    assert!(!takes(port(Protocol::Tcp, address), vec![], &namespaces));
}

#[test]
fn sockets_of_another_namespace_are_dropped() {
    let mut namespaces = namespaces([]);
    namespaces.host.1 += 1;
    let (socket, address) = listener();
    assert!(!takes(port(Protocol::Tcp, address), vec![socket], &namespaces));
}

#[test]
fn a_published_port_that_does_not_listen_is_made_to() {
    let address: SocketAddr = {
        let (_socket, address) = listener();
        address
    };
    let socket = crate::port_sockets::bind(Protocol::Tcp, address, false).unwrap();
    let duplicate = socket.try_clone().unwrap();
    assert!(takes(port(Protocol::Tcp, address), vec![socket], &namespaces([])));
    assert!(sockopt::socket_acceptconn(&duplicate).unwrap());
}

#[test]
fn a_resolver_is_at_its_address_in_the_namespace_of_its_sandbox() {
    let resolver = |udp: &str, tcp: &str| {
        let tcp = TcpListener::bind(tcp).unwrap();
        vec![UdpSocket::bind(udp).unwrap().into(), tcp.into()]
    };
    let good = || resolver("127.0.0.11:0", "127.0.0.11:0");
    let own = identity(&namespace::own().unwrap());
    let here = namespaces([(sandbox(1), own)]);
    let record = || Record::Resolver(sandbox(1));
    assert!(takes(record(), good(), &here));
    assert!(!takes(record(), resolver("127.0.0.1:0", "127.0.0.11:0"), &here));
    assert!(!takes(record(), resolver("127.0.0.11:0", "127.0.0.1:0"), &here));
    let mut swapped = good();
    swapped.reverse();
    assert!(!takes(record(), swapped, &here));
    assert!(!takes(record(), good(), &namespaces([(sandbox(1), (own.0, own.1 + 1))])));
    // Of a sandbox that is forgotten: neither the host's namespace nor that of another one.
    assert!(!takes(record(), good(), &namespaces([])));
    assert!(!takes(record(), good(), &Namespaces { host: (0, 0), sandboxes: [(sandbox(2), own)].into() }));
    assert!(takes(record(), good(), &Namespaces { host: (0, 0), sandboxes: HashMap::new() }));
}
