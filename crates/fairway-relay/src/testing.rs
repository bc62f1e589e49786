//! A relay in a thread, for tests; confined as the real one, but for the change of user.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fairway_core::names::{Convention, NameRecord, NameView, Upstreams};
use fairway_core::object::SocketUse;
use fairway_model::{EndpointId, NetworkId, Protocol, SandboxId};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::client::RelayClient;
use crate::proxy::ProxyLimits;
use crate::resolver::ResolverLimits;
use crate::server::{self, Configuration, ServerError};
use crate::table::{Change, Record, RecordKey};

/// A timeout that only a failure reaches.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct TestRelay {
    pub client: RelayClient,
    pub path: PathBuf,
    pub thread: JoinHandle<Result<(), ServerError>>,
    _directory: tempfile::TempDir,
}

impl TestRelay {
    pub fn start() -> Self {
        Self::with(ProxyLimits::default(), ResolverLimits::default())
    }

    pub fn with(proxy: ProxyLimits, resolver: ResolverLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.sock");
        let listener = server::listen(&path).unwrap();
        let configuration = Configuration { proxy, resolver, ..Configuration::default() };
        let thread = std::thread::spawn(move || server::run(listener, configuration));
        let client = RelayClient::connect(&path).unwrap();
        Self { client, path, thread, _directory: directory }
    }

    /// Publishes a loopback port to `target`.
    pub fn tcp(&self, target: SocketAddr) -> SocketAddr {
        self.tcp_at("127.0.0.1:0", target)
    }

    pub fn tcp_at(&self, address: &str, target: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        self.insert(port(Protocol::Tcp, address, target), vec![listener.into()]);
        address
    }

    pub fn udp_at(&self, address: &str, target: SocketAddr) -> SocketAddr {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        self.insert(port(Protocol::Udp, address, target), vec![socket.into()]);
        address
    }

    pub fn insert(&self, record: Record, sockets: Vec<OwnedFd>) {
        let sockets = sockets.into_iter().map(Arc::new).collect();
        self.client.apply(vec![Change::Insert { record, sockets }]).unwrap();
    }

    pub fn remove(&self, key: RecordKey) {
        self.client.apply(vec![Change::Remove(key)]).unwrap();
    }

    /// Opens a resolver on loopback that sandboxes share, and returns its address. Other sources are sandbox `others`.
    pub fn shared_resolver(&self, others: u8) -> SocketAddr {
        let (udp, tcp) = resolver_sockets(own_loopback());
        let address = udp.local_addr().unwrap();
        let others = sandbox(others);
        self.insert(Record::SharedResolver { address, others }, vec![udp.into(), tcp.into()]);
        address
    }

    /// Gives a sandbox a resolver on loopback, on network 1, and returns its address.
    pub fn resolver(&self, n: u8, upstreams: Upstreams) -> SocketAddr {
        let (udp, tcp) = resolver_sockets(own_loopback());
        let address = udp.local_addr().unwrap();
        self.insert(Record::View(view(n, upstreams)), Vec::new());
        self.insert(Record::Resolver(sandbox(n)), vec![udp.into(), tcp.into()]);
        address
    }

    /// The same, with sockets to ask name servers by as the daemon makes them inside a sandbox.
    pub fn resolver_inside(&self, n: u8, upstreams: Upstreams) -> SocketAddr {
        let (udp, tcp) = resolver_sockets(own_loopback());
        let address = udp.local_addr().unwrap();
        self.insert(Record::View(view(n, upstreams)), Vec::new());
        let sockets = [udp.into(), tcp.into()].into_iter().chain(outgoing_sockets()).collect();
        self.insert(Record::Resolver(sandbox(n)), sockets);
        address
    }
}

/// Sockets that are connected to nothing: four of UDP for both families, one of TCP for each.
pub(crate) fn outgoing_sockets() -> Vec<OwnedFd> {
    let make = |family, kind| {
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        if family == AddressFamily::INET6 {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false).unwrap();
        }
        socket
    };
    let udp = (0..4).map(|_| make(AddressFamily::INET6, SocketType::DGRAM));
    let tcp = [AddressFamily::INET, AddressFamily::INET6].map(|family| make(family, SocketType::STREAM));
    udp.chain(tcp).collect()
}

pub(crate) fn port(protocol: Protocol, address: SocketAddr, target: SocketAddr) -> Record {
    Record::Port { protocol, address, purpose: SocketUse::Proxy(target) }
}

/// A new address of loopback: no other test is given a port of it that the relay has let go of.
pub(crate) fn own_loopback() -> IpAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, COUNT.fetch_add(1, Ordering::Relaxed), high, low])
}

/// A UDP socket and a TCP listener at the same port.
pub(crate) fn resolver_sockets(address: IpAddr) -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((address, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

pub(crate) fn sandbox(n: u8) -> SandboxId {
    SandboxId::new([n; 32])
}

pub(crate) fn view(n: u8, upstreams: Upstreams) -> NameView {
    NameView {
        sandbox: sandbox(n),
        networks: vec![NetworkId::new([1; 32])],
        links: Vec::new(),
        upstreams,
        convention: Convention::Docker,
        source: None,
    }
}

/// The names of an endpoint on network 1, `app`.
pub(crate) fn names(n: u16, names: &[&str], address: IpAddr) -> NameRecord {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    NameRecord {
        endpoint: EndpointId::new(id),
        network: NetworkId::new([1; 32]),
        network_name: "app".to_owned(),
        domain: None,
        order: u64::from(n),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        first_only: false,
        ipv4: if let IpAddr::V4(address) = address { Some(address) } else { None },
        ipv6: if let IpAddr::V6(address) = address { Some(address) } else { None },
    }
}
