mod shared;
mod upstream;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fairway_core::names::Upstreams;
use fairway_model::NameServer as Upstream;
use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record as DnsRecord, RecordType};

use super::ResolverLimits;
use crate::proxy::ProxyLimits;
use crate::table::{Change, Record};
use crate::testing::{SOON, TestRelay, names, resolver_sockets};

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(resolver: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send_to(&message.to_vec().unwrap(), resolver).unwrap();
    let mut buffer = [0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, resolver);
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert_eq!(answer.queries, message.queries);
    answer
}

fn addresses(answer: &Message) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for record in &answer.answers {
        match &record.data {
            RData::A(address) => all.push(IpAddr::V4(address.0)),
            RData::AAAA(address) => all.push(IpAddr::V6(address.0)),
            _ => {}
        }
    }
    all
}

fn code(answer: &Message) -> ResponseCode {
    answer.metadata.response_code
}

fn v4(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
}

fn insert_names(relay: &TestRelay, all: impl Iterator<Item = (u16, &'static [&'static str])>) {
    let changes = all
        .map(|(n, own)| Change::Insert { record: Record::Names(names(n, own, v4(n))), sockets: Vec::new() });
    relay.client.apply(changes.collect()).unwrap();
}

fn read_tcp(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn write_tcp(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&bytes);
    stream.write_all(&framed).unwrap();
}

/// What a name server does with a question.
#[derive(Clone, Copy, PartialEq)]
enum Behavior {
    Answers,
    Fails,
    Silent,
    /// Answers when the next server has been asked already.
    Late,
    /// Over UDP only the head, over TCP sixty answers.
    Cuts,
    NoSuchName,
    /// First another question's answer and another id's, then the right one.
    Lies,
}

/// The timeout of one server in these tests.
const EACH: Duration = Duration::from_secs(2);

/// How late a late server answers.
const LATE: Duration = Duration::from_secs(3);

/// A timeout of all servers that is longer than these tests wait for an answer, also where two share it.
const ENDLESS: Duration = Duration::from_secs(600);

/// A name server at 127.0.0.`n` that counts what it is asked, and notes who asks over UDP.
struct NameServer {
    address: IpAddr,
    asked: Arc<AtomicUsize>,
    requestors: Arc<Mutex<Vec<SocketAddr>>>,
}

impl NameServer {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// As a server of the host's loopback, which is asked from the host's namespace.
    fn of_host(&self) -> Upstream {
        self.address.into()
    }

    /// By its IPv6-mapped address, which is not on loopback as far as the resolver knows, so that it is asked by
    /// the sandbox's own sockets.
    fn inside(&self) -> Upstream {
        let IpAddr::V4(address) = self.address else { panic!("all are of IPv4") };
        IpAddr::V6(address.to_ipv6_mapped()).into()
    }
}

fn respond(behavior: Behavior, query: &Message, tcp: bool) -> Vec<Vec<u8>> {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.add_query(query.queries[0].clone());
    let name = query.queries[0].name().clone();
    let record = |last| DnsRecord::from_rdata(name.clone(), 60, RData::A(A::new(192, 0, 2, last)));
    match behavior {
        Behavior::Silent => return Vec::new(),
        Behavior::Fails => answer.metadata.response_code = ResponseCode::ServFail,
        Behavior::Cuts if !tcp => answer.metadata.truncation = true,
        Behavior::Cuts => drop(answer.add_answers((0..60).map(record))),
        Behavior::Answers if query.queries[0].query_type() == RecordType::TXT => {
            let text = RData::TXT(TXT::new(vec!["x".repeat(200); 5]));
            answer.add_answer(DnsRecord::from_rdata(name.clone(), 60, text));
        }
        Behavior::Answers => drop(answer.add_answer(record(1))),
        Behavior::Late => {
            thread::sleep(LATE);
            answer.add_answer(record(2));
        }
        Behavior::NoSuchName => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(Name::root(), Name::root(), 1, 2, 3, 4, 20);
            answer.add_authority(DnsRecord::from_rdata(Name::root(), 60, RData::SOA(soa)));
        }
        Behavior::Lies => {
            let mut guessed = answer.clone();
            guessed.metadata.id = query.metadata.id.wrapping_add(1);
            guessed.add_answer(record(66));
            let mut other = answer.clone();
            other.queries = vec![Query::query(Name::from_ascii("evil.org.").unwrap(), RecordType::A)];
            other.add_answer(record(66));
            answer.add_answer(record(1));
            return [guessed, other, answer].iter().map(|answer| answer.to_vec().unwrap()).collect();
        }
    }
    vec![answer.to_vec().unwrap()]
}

/// Name servers at one port of 127.0.0.1, .2, ...
fn name_servers(behaviors: &[Behavior]) -> (u16, Vec<NameServer>) {
    let (port, sockets) = 'port: loop {
        let (first, first_tcp) = resolver_sockets(Ipv4Addr::LOCALHOST.into());
        let port = first.local_addr().unwrap().port();
        let mut sockets = vec![(first, first_tcp)];
        for n in 1..behaviors.len() as u8 {
            let address = SocketAddr::from(([127, 0, 0, 1 + n], port));
            match (UdpSocket::bind(address), TcpListener::bind(address)) {
                (Ok(udp), Ok(tcp)) => sockets.push((udp, tcp)),
                _ => continue 'port,
            }
        }
        break (port, sockets);
    };
    let servers = sockets.into_iter().zip(behaviors).map(|((udp, tcp), behavior)| {
        let behavior = *behavior;
        let asked = Arc::new(AtomicUsize::new(0));
        let address = udp.local_addr().unwrap().ip();
        let requestors = Arc::new(Mutex::new(Vec::new()));
        let (counter, notes) = (Arc::clone(&asked), Arc::clone(&requestors));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                counter.fetch_add(1, Ordering::SeqCst);
                notes.lock().unwrap().push(from);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                for answer in respond(behavior, &query, false) {
                    udp.send_to(&answer, from).unwrap();
                }
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let query = read_tcp(&mut stream);
                for answer in respond(behavior, &query, true) {
                    write_tcp(&mut stream, &Message::from_vec(&answer).unwrap());
                }
            }
        });
        NameServer { address, asked, requestors }
    });
    (port, servers.collect())
}

/// A relay with a resolver in sandbox 1 that asks such servers.
fn forwarding(
    behaviors: &[Behavior],
    change: impl FnOnce(&mut ResolverLimits),
) -> (TestRelay, SocketAddr, Vec<NameServer>) {
    let (port, servers) = name_servers(behaviors);
    let mut limits = ResolverLimits {
        upstream_port: port,
        upstream_timeout: EACH * behaviors.len() as u32,
        upstream_resend: ENDLESS,
        ..ResolverLimits::default()
    };
    change(&mut limits);
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    let all = servers.iter().map(NameServer::of_host).collect();
    let resolver = relay.resolver(1, Upstreams::Servers(all));
    (relay, resolver, servers)
}

const EXAMPLE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

#[test]
fn names_are_answered_as_the_table_says() {
    // If a server were queried, the last answer would be late.
    let limits = ResolverLimits { upstream_timeout: ENDLESS, ..ResolverLimits::default() };
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    let resolver = relay.resolver(1, Upstreams::None);
    insert_names(&relay, [(1, &["Web", "www"][..]), (2, &["db", "www"][..])].into_iter());
    let answer = ask(resolver, &question("wEb.", RecordType::A));
    assert_eq!(addresses(&answer), [v4(1)]);
    assert_eq!(answer.answers[0].ttl, 1);
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert_eq!(addresses(&ask(resolver, &question("www.app.", RecordType::A))), [v4(1), v4(2)]);
    use RecordType as Type;
    for kind in
        [Type::AAAA, Type::MX, Type::HTTPS, Type::SVCB, Type::SRV, Type::TXT, Type::NS, Type::SOA, Type::ANY]
    {
        let nothing = ask(resolver, &question("web.", kind));
        assert_eq!((code(&nothing), nothing.answers.len()), (ResponseCode::NoError, 0), "{kind}");
    }
    let pointer = ask(resolver, &question("1.0.1.10.in-addr.arpa.", RecordType::PTR));
    assert_eq!(pointer.answers[0].data.to_string(), "Web.app.");
    assert_eq!(code(&ask(resolver, &question("example.org.", RecordType::A))), ResponseCode::ServFail);
}

#[test]
fn a_removed_name_does_not_resolve() {
    let relay = TestRelay::start();
    let resolver = relay.resolver(1, Upstreams::None);
    insert_names(&relay, [(1, &["a"][..])].into_iter());
    let record = Record::Names(names(1, &["a"], v4(1)));
    assert_eq!(addresses(&ask(resolver, &question("a.", RecordType::A))), [v4(1)]);
    relay.remove(record.key());
    assert_eq!(code(&ask(resolver, &question("a.", RecordType::A))), ResponseCode::ServFail);
}

#[test]
fn long_answers_are_truncated_to_the_clients_size_and_complete_over_tcp() {
    let relay = TestRelay::start();
    let resolver = relay.resolver(1, Upstreams::None);
    insert_names(&relay, (0..100).map(|n| (n, &["many"][..])));
    let mut query = question("many.", RecordType::A);
    let plain = ask(resolver, &query);
    assert!(plain.metadata.truncation && plain.answers.len() < 40);
    assert_eq!(addresses(&plain)[0], v4(0));
    let mut stream = TcpStream::connect(resolver).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write_tcp(&mut stream, &query);
    let whole = read_tcp(&mut stream);
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole), (0..100).map(v4).collect::<Vec<_>>());
    let mut edns = Edns::new();
    edns.set_max_payload(4_096);
    query.set_edns(edns);
    let large = ask(resolver, &query);
    assert!(!large.metadata.truncation && large.edns.is_some());
    assert_eq!(large.answers.len(), 100);
}

#[test]
fn many_questions_over_one_tcp_connection() {
    let relay = TestRelay::start();
    let resolver = relay.resolver(1, Upstreams::None);
    insert_names(&relay, [(1, &["a"][..])].into_iter());
    let mut stream = TcpStream::connect(resolver).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let asking = thread::spawn(move || {
        for id in 0..2_000 {
            let mut query = question("a.", RecordType::A);
            query.metadata.id = id;
            write_tcp(&mut writer, &query);
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    for id in 0..2_000 {
        let answer = read_tcp(&mut stream);
        assert_eq!((answer.metadata.id, addresses(&answer)), (id, vec![v4(1)]));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    asking.join().unwrap();
}

#[test]
fn a_silent_tcp_client_is_hung_up_on() {
    let limits = ResolverLimits { client_idle: Duration::from_secs(2), ..ResolverLimits::default() };
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    let mut stream = TcpStream::connect(relay.resolver(1, Upstreams::None)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&[0]).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0)));
}

#[test]
fn other_names_are_forwarded_and_cached() {
    let (_relay, resolver, servers) = forwarding(&[Behavior::Answers], |_| {});
    for name in ["example.org.", "Example.ORG."] {
        assert_eq!(addresses(&ask(resolver, &question(name, RecordType::A))), [EXAMPLE]);
    }
    assert_eq!(servers[0].asked(), 1);
    assert_eq!(addresses(&ask(resolver, &question("other.org.", RecordType::A))), [EXAMPLE]);
    assert_eq!(servers[0].asked(), 2);
}

#[test]
fn negative_answers_are_cached() {
    let (_relay, resolver, servers) = forwarding(&[Behavior::NoSuchName], |_| {});
    for _ in 0..3 {
        let answer = ask(resolver, &question("nowhere.org.", RecordType::A));
        assert_eq!(code(&answer), ResponseCode::NXDomain);
    }
    assert_eq!(servers[0].asked(), 1);
}

#[test]
fn the_next_server_answers_when_one_does_not() {
    for first in [Behavior::Silent, Behavior::Fails] {
        let (_relay, resolver, servers) = forwarding(&[first, Behavior::Answers], |_| {});
        assert_eq!(addresses(&ask(resolver, &question("a.org.", RecordType::A))), [EXAMPLE]);
        // From then on the next one is asked first if the first was silent; what it said of one name says nothing
        // of others.
        for name in ["b.org.", "c.org.", "d.org."] {
            assert_eq!(addresses(&ask(resolver, &question(name, RecordType::A))), [EXAMPLE]);
        }
        assert_eq!(servers[0].asked(), if first == Behavior::Silent { 1 } else { 4 });
    }
}

#[test]
fn no_server_answers() {
    let (_relay, resolver, servers) = forwarding(&[Behavior::Silent, Behavior::Fails], |_| {});
    assert_eq!(code(&ask(resolver, &question("a.org.", RecordType::A))), ResponseCode::ServFail);
    assert!(servers.iter().all(|server| server.asked() == 1));
}

#[test]
fn a_closed_port_is_skipped_at_once() {
    let (port, servers) = name_servers(&[Behavior::Answers]);
    let limits = ResolverLimits {
        upstream_port: port,
        upstream_timeout: ENDLESS,
        upstream_resend: ENDLESS,
        ..ResolverLimits::default()
    };
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    let unused = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
    let resolver = relay.resolver(1, Upstreams::Servers(vec![unused.into(), servers[0].of_host()]));
    // The kernel reports that the server is unreachable.
    assert_eq!(addresses(&ask(resolver, &question("a.org.", RecordType::A))), [EXAMPLE]);
}

#[test]
fn the_hosts_servers_are_followed() {
    let (port, servers) = name_servers(&[Behavior::NoSuchName, Behavior::Answers]);
    let limits = ResolverLimits { upstream_port: port, ..ResolverLimits::default() };
    let relay = TestRelay::with(ProxyLimits::default(), limits);
    let resolver = relay.resolver(1, Upstreams::Host);
    let query = question("a.org.", RecordType::A);
    assert_eq!(code(&ask(resolver, &query)), ResponseCode::ServFail);
    relay.insert(Record::HostServers(vec![servers[0].of_host()]), Vec::new());
    assert_eq!(code(&ask(resolver, &query)), ResponseCode::NXDomain);
    relay.insert(Record::HostServers(vec![servers[1].of_host()]), Vec::new());
    assert_eq!(addresses(&ask(resolver, &query)), [EXAMPLE]);
}

#[test]
fn lies_are_not_believed() {
    let (_relay, resolver, _) = forwarding(&[Behavior::Lies], |_| {});
    assert_eq!(addresses(&ask(resolver, &question("a.org.", RecordType::A))), [EXAMPLE]);
}

#[test]
fn a_truncated_answer_stays_truncated_over_udp_and_is_complete_over_tcp() {
    let (_relay, resolver, _) = forwarding(&[Behavior::Cuts], |_| {});
    let query = question("long.org.", RecordType::A);
    assert!(ask(resolver, &query).metadata.truncation);
    let mut stream = TcpStream::connect(resolver).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write_tcp(&mut stream, &query);
    assert_eq!(read_tcp(&mut stream).answers.len(), 60);
    // Remembered now, and still too long for UDP without EDNS.
    let again = ask(resolver, &query);
    assert!(again.metadata.truncation && again.answers.is_empty());
}

#[test]
fn a_forwarded_answer_is_truncated_to_the_clients_size() {
    let (_relay, resolver, _) = forwarding(&[Behavior::Answers], |_| {});
    let query = question("text.org.", RecordType::TXT);
    let answer = ask(resolver, &query);
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let mut large = query.clone();
    large.set_edns({
        let mut edns = Edns::new();
        edns.set_max_payload(4_096);
        edns
    });
    assert_eq!(ask(resolver, &large).answers.len(), 1);
}

#[test]
fn garbage_at_the_control_socket_does_no_harm() {
    let relay = TestRelay::start();
    let resolver = relay.resolver(1, Upstreams::None);
    insert_names(&relay, [(1, &["a"][..])].into_iter());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = 0x2545_f491_4f6c_dd1du64;
    for n in 0..2_000 {
        // Now and then a question, so that no more comes than the socket's buffer holds.
        if n % 50 == 0 {
            assert_eq!(addresses(&ask(resolver, &question("a.", RecordType::A))), [v4(1)]);
        }
        let bytes: Vec<u8> = (0..noise % 100)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect();
        noise = noise.wrapping_add(1);
        let _ = socket.send_to(&bytes, resolver);
    }
    assert_eq!(addresses(&ask(resolver, &question("a.", RecordType::A))), [v4(1)]);
}
