//! From where, in which order and by how many sockets name servers are asked.

use std::collections::HashSet;

use super::*;
use crate::testing::outgoing_sockets;

/// A relay that asks such servers at their common port.
fn asking(behaviors: &[Behavior], waiting: usize) -> (TestRelay, Vec<NameServer>) {
    let (port, servers) = name_servers(behaviors);
    let limits = ResolverLimits {
        upstream_port: port,
        upstream_timeout: EACH * behaviors.len() as u32,
        upstream_resend: ENDLESS,
        waiting,
        ..ResolverLimits::default()
    };
    (TestRelay::with(ProxyLimits::default(), limits), servers)
}

fn inside(servers: &[NameServer]) -> Upstreams {
    Upstreams::Servers(servers.iter().map(NameServer::inside).collect())
}

fn answered(resolver: SocketAddr, name: &str) -> Vec<IpAddr> {
    addresses(&ask(resolver, &question(name, RecordType::A)))
}

#[test]
fn questions_leave_by_the_sandboxs_sockets_from_ever_new_ports() {
    let (relay, servers) = asking(&[Behavior::Answers], 100);
    let resolver = relay.resolver_inside(1, inside(&servers));
    for n in 0..50 {
        assert_eq!(answered(resolver, &format!("n{n}.org.")), [EXAMPLE]);
    }
    let ports: HashSet<u16> = servers[0].requestors.lock().unwrap().iter().map(SocketAddr::port).collect();
    assert!(ports.len() > 40, "{} ports for 50 questions", ports.len());
    // One more question needs no more sockets.
    let held = relay.client.describe_with_sockets().unwrap();
    let held = held.iter().find(|held| matches!(held.record, Record::Resolver(_))).unwrap();
    assert_eq!(held.sockets.len(), 8);
    let asking: HashSet<u16> = held.sockets[2..6]
        .iter()
        .map(|socket| SocketAddr::try_from(rustix::net::getsockname(socket).unwrap()).unwrap().port())
        .collect();
    let last = servers[0].requestors.lock().unwrap().last().unwrap().port();
    assert!(asking.contains(&last), "the last question left by a socket that was handed over");
}

#[test]
fn a_flood_of_questions_takes_a_bounded_number_of_ports() {
    let (relay, servers) = asking(&[Behavior::Answers], 100);
    let resolver = relay.resolver_inside(1, inside(&servers));
    let started = Instant::now();
    for n in 0..1_000 {
        assert_eq!(answered(resolver, &format!("n{n}.org.")), [EXAMPLE]);
    }
    let seconds = started.elapsed().as_secs() as usize + 1;
    let ports: HashSet<u16> = servers[0].requestors.lock().unwrap().iter().map(SocketAddr::port).collect();
    assert!(ports.len() <= seconds * 64, "{} ports for 1,000 questions", ports.len());
}

#[test]
fn many_questions_at_a_time_are_all_answered() {
    let (relay, servers) = asking(&[Behavior::Late, Behavior::Answers], 10_000);
    for upstreams in [inside(&servers[1..]), Upstreams::Servers(vec![servers[1].of_host()])] {
        let resolver = relay.resolver_inside(1, upstreams);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        for round in 0..10 {
            for n in 0..100 {
                let mut query = question(&format!("n{n}.r{round}.org."), RecordType::A);
                query.metadata.id = n;
                socket.send_to(&query.to_vec().unwrap(), resolver).unwrap();
            }
            let mut ids = HashSet::new();
            let mut buffer = [0; 512];
            while ids.len() < 100 {
                let length = socket.recv(&mut buffer).unwrap();
                let answer = Message::from_vec(&buffer[..length]).unwrap();
                assert_eq!(addresses(&answer), [EXAMPLE]);
                ids.insert(answer.metadata.id);
            }
        }
    }
}

#[test]
fn a_waiting_question_is_not_sent_twice() {
    let (relay, servers) = asking(&[Behavior::Late, Behavior::Silent], 100);
    let resolver = relay.resolver_inside(1, inside(&servers));
    // In time, although late for the timeout of these tests, as there is no other server.
    let limits = Upstreams::Servers(vec![servers[0].inside(), servers[0].inside()]);
    relay.insert(Record::View(crate::testing::view(1, limits)), Vec::new());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    for (id, name) in [(1, "same.org."), (2, "SAME.org."), (3, "same.ORG.")] {
        let mut query = question(name, RecordType::A);
        query.metadata.id = id;
        socket.send_to(&query.to_vec().unwrap(), resolver).unwrap();
    }
    let mut got = Vec::new();
    let mut buffer = [0; 512];
    for _ in 0..3 {
        let length = socket.recv(&mut buffer).unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        got.push((answer.metadata.id, answer.queries[0].name().to_string()));
        assert_eq!(addresses(&answer).len(), 1);
    }
    got.sort();
    let spelled = [(1, "same.org."), (2, "SAME.org."), (3, "same.ORG.")];
    assert_eq!(got, spelled.map(|(id, name)| (id, name.to_owned())));
    assert!(servers[0].asked() <= 2, "once for each server of the list");
}

#[test]
fn a_datagram_that_is_not_answered_is_sent_once_more() {
    let (_relay, resolver, servers) = forwarding(&[Behavior::Silent, Behavior::Answers], |limits| {
        limits.upstream_resend = Duration::from_millis(100);
    });
    assert_eq!(answered(resolver, "lost.org."), [EXAMPLE]);
    let requestors = servers[0].requestors.lock().unwrap();
    assert_eq!(requestors.len(), 2);
    assert_eq!(requestors[0], requestors[1], "one more port would be one more chance to guess the answer");
}

#[test]
fn an_answer_that_comes_after_the_next_server_was_asked_is_used() {
    let (relay, servers) = asking(&[Behavior::Late, Behavior::Silent], 100);
    for resolver in [
        relay.resolver_inside(1, inside(&servers)),
        relay.resolver(2, Upstreams::Servers(servers.iter().map(NameServer::of_host).collect())),
    ] {
        let late = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(answered(resolver, "late.org."), [late]);
    }
    assert_eq!(servers[1].asked(), 2);
}

#[test]
fn a_failure_for_one_name_does_not_affect_other_names() {
    let (relay, servers) = asking(&[Behavior::Fails, Behavior::NoSuchName], 100);
    let one = relay.resolver_inside(1, inside(&servers));
    let two = relay.resolver_inside(2, inside(&servers));
    for (n, resolver) in [one, two, one, two].into_iter().enumerate() {
        let answer = ask(resolver, &question(&format!("n{n}.corp."), RecordType::A));
        assert_eq!(code(&answer), ResponseCode::NXDomain);
        assert_eq!(servers[0].asked(), n + 1, "the first server is asked first each time");
    }
}

#[test]
fn a_server_silent_for_one_sandbox_is_queried_by_others() {
    let (relay, servers) = asking(&[Behavior::Silent, Behavior::Answers], 100);
    let one = relay.resolver_inside(1, inside(&servers));
    assert_eq!(answered(one, "a.org."), [EXAMPLE]);
    assert_eq!(answered(one, "b.org."), [EXAMPLE]);
    assert_eq!(servers[0].asked(), 1, "passed over for a while");
    let two = relay.resolver_inside(2, inside(&servers));
    assert_eq!(answered(two, "c.org."), [EXAMPLE]);
    assert_eq!(servers[0].asked(), 2, "by its own sandbox alone");
}

#[test]
fn cached_answers_are_shared_only_for_servers_queried_from_the_host() {
    let (relay, servers) = asking(&[Behavior::Answers], 100);
    for (upstreams, asked) in [(inside(&servers), 2), (Upstreams::Servers(vec![servers[0].of_host()]), 3)] {
        for n in 1..=2 {
            let resolver = relay.resolver_inside(n, upstreams.clone());
            assert_eq!(answered(resolver, "a.org."), [EXAMPLE]);
            assert_eq!(answered(resolver, "a.org."), [EXAMPLE]);
        }
        assert_eq!(servers[0].asked(), asked);
    }
}

#[test]
fn answers_by_former_networks_are_queried_again() {
    let (relay, servers) = asking(&[Behavior::Answers], 100);
    let resolver = relay.resolver_inside(1, inside(&servers));
    assert_eq!(answered(resolver, "a.org."), [EXAMPLE]);
    let mut view = crate::testing::view(1, inside(&servers));
    relay.insert(Record::View(view.clone()), Vec::new());
    assert_eq!(answered(resolver, "a.org."), [EXAMPLE]);
    assert_eq!(servers[0].asked(), 1, "nothing has changed");
    view.networks.push(fairway_model::NetworkId::new([9; 32]));
    relay.insert(Record::View(view), Vec::new());
    assert_eq!(answered(resolver, "a.org."), [EXAMPLE]);
    assert_eq!(servers[0].asked(), 2);
}

#[test]
fn truncated_answers_are_retried_over_tcp_from_the_sandbox() {
    let (relay, servers) = asking(&[Behavior::Cuts], 100);
    let resolver = relay.resolver_inside(1, inside(&servers));
    for n in 0..20 {
        let mut stream = TcpStream::connect(resolver).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write_tcp(&mut stream, &question(&format!("n{n}.org."), RecordType::A));
        assert_eq!(read_tcp(&mut stream).answers.len(), 60);
    }
}

#[test]
fn sockets_that_a_former_relay_connected_are_used_anew() {
    let (relay, servers) = asking(&[Behavior::Answers], 100);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let outgoing = outgoing_sockets();
    for socket in &outgoing[..4] {
        let SocketAddr::V4(to) = other.local_addr().unwrap() else { panic!("it is of IPv4") };
        let mapped = SocketAddr::from((to.ip().to_ipv6_mapped(), to.port()));
        rustix::net::connect(socket, &mapped).unwrap();
        let from = SocketAddr::try_from(rustix::net::getsockname(socket).unwrap()).unwrap();
        other.send_to(b"an answer to a former question", (Ipv4Addr::LOCALHOST, from.port())).unwrap();
    }
    let (udp, tcp) = crate::testing::resolver_sockets(Ipv4Addr::LOCALHOST.into());
    let resolver = udp.local_addr().unwrap();
    relay.insert(Record::View(crate::testing::view(1, inside(&servers))), Vec::new());
    let all = [udp.into(), tcp.into()].into_iter().chain(outgoing).collect();
    relay.insert(Record::Resolver(crate::testing::sandbox(1)), all);
    for n in 0..8 {
        assert_eq!(answered(resolver, &format!("n{n}.org.")), [EXAMPLE]);
    }
}

#[test]
fn a_resolver_without_sandbox_sockets_queries_from_the_host() {
    let (relay, servers) = asking(&[Behavior::Answers], 100);
    let before = relay.resolver(1, inside(&servers));
    assert_eq!(answered(before, "a.org."), [EXAMPLE]);
    let after = relay.resolver_inside(1, inside(&servers));
    assert_eq!(answered(after, "b.org."), [EXAMPLE]);
    // A record without sockets keeps all that are there.
    relay.insert(Record::Resolver(crate::testing::sandbox(1)), Vec::new());
    assert_eq!(answered(after, "c.org."), [EXAMPLE]);
    assert!(relay.client.hello().queries_from_sandbox);
}

#[test]
fn the_sandbox_with_the_most_waiting_questions_makes_space() {
    let (relay, servers) = asking(&[Behavior::Silent, Behavior::Answers], 20);
    let limits = |server: &NameServer| Upstreams::Servers(vec![server.inside(); 3]);
    let greedy = relay.resolver_inside(1, limits(&servers[0]));
    let modest = relay.resolver_inside(2, limits(&servers[1]));
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    flood.set_read_timeout(Some(SOON)).unwrap();
    // No more than the socket's buffer holds.
    for n in 0..100 {
        let mut query = question(&format!("n{n}.org."), RecordType::A);
        query.metadata.id = n;
        flood.send_to(&query.to_vec().unwrap(), greedy).unwrap();
    }
    // The oldest are given up at once, the others wait; nothing is refused.
    let mut buffer = [0; 512];
    for n in 0..80 {
        let length = flood.recv(&mut buffer).unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!((answer.metadata.id, code(&answer)), (n, ResponseCode::ServFail));
    }
    assert_eq!(answered(modest, "a.org."), [EXAMPLE]);
    // Names of our own are not counted.
    insert_names(&relay, [(1, &["own"][..])].into_iter());
    assert_eq!(answered(greedy, "own."), [v4(1)]);
}

#[test]
fn a_tcp_client_beyond_the_limit_replaces_the_longest_idle_one() {
    let relay = TestRelay::start();
    let resolver = relay.resolver(1, Upstreams::None);
    insert_names(&relay, [(1, &["a"][..])].into_iter());
    let most = ResolverLimits::default().clients_per_sandbox;
    let mut clients: Vec<TcpStream> = Vec::new();
    let asks = |client: &mut TcpStream| {
        write_tcp(client, &question("a.", RecordType::A));
        assert_eq!(addresses(&read_tcp(client)), [v4(1)]);
    };
    for _ in 0..most {
        let mut client = TcpStream::connect(resolver).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        asks(&mut client);
        clients.push(client);
    }
    asks(&mut clients[0]);
    let mut newcomer = TcpStream::connect(resolver).unwrap();
    newcomer.set_read_timeout(Some(SOON)).unwrap();
    asks(&mut newcomer);
    asks(&mut clients[0]);
    assert_eq!(clients[1].read(&mut [0]).unwrap(), 0, "the second was idle longest");
    asks(&mut clients[2]);
}

#[test]
fn servers_share_the_time_that_a_client_waits() {
    let (relay, servers) = asking(&[Behavior::Silent; 3], 100);
    let resolver = relay.resolver_inside(1, inside(&servers));
    let started = Instant::now();
    assert_eq!(code(&ask(resolver, &question("a.org.", RecordType::A))), ResponseCode::ServFail);
    assert!(servers.iter().all(|server| server.asked() > 0), "each was asked");
    assert!(started.elapsed() < 3 * 3 * EACH, "each had the whole time: {:?}", started.elapsed());
}
