//! Published ports: who reaches them, and what happens around them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use fairway_api::types::EndpointIpam;
use fairway_lab::{
    DatagramFlow, Lab, Outcome, Question, ask, ask_datagram, serve_datagrams, serve_echo, serve_tcp,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::harness::{HOST, LAN, Stage, eventually, refusal, request};

/// The daemon's flag for the userland proxy.
fn proxy(on: bool) -> String {
    format!("--userland-proxy={on}")
}

on_each_backend! {
    datagrams_are_answered_from_the_address_that_was_asked;
    ranges_and_host_addresses_are_kept_to;
    old_flows_of_datagrams_follow_a_sandbox_to_its_new_address;
}

fn datagrams_are_answered_from_the_address_that_was_asked(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    stage.host.add_address("eth0", "10.10.50.98/24").unwrap();
    stage.network("other");
    let server = stage.sandbox("server", &["bridge"], &["5300:53/udp"]);
    let neighbour = stage.sandbox("neighbour", &["bridge"], &[]);
    let other = stage.sandbox("other", &["other"], &[]);
    let _listening = serve_datagrams(&server, "0.0.0.0:53").unwrap();
    // With it, a neighbour would be seen as itself where there is no proxy.
    stage.host.set_bridge_netfilter(false).unwrap();
    for flag in ["--userland-proxy=true", "--userland-proxy=false", "--iptables=false"] {
        stage.daemon.restart(&[flag]);
        let (proxy, firewall) = (flag != "--userland-proxy=false", flag != "--iptables=false");
        // A probe takes answers only from the address that it asked.
        let (host, lan, gateway) = (&*stage.host, &*stage.lan, "172.17.0.1");
        let of_lan = if firewall { LAN } else { gateway };
        for (place, target, source) in [
            (lan, HOST, of_lan),
            (lan, "10.10.50.98", of_lan),
            (host, "127.0.0.1", gateway),
            (host, "127.8.8.8", gateway),
            (host, gateway, gateway),
            (host, HOST, if proxy && firewall { HOST } else { gateway }),
            (&*server, HOST, gateway),
            (&*server, gateway, gateway),
            (&*other, HOST, gateway),
            (&*other, "10.10.50.98", gateway),
            (&*other, "172.18.0.1", gateway),
            (&*neighbour, "10.10.50.98", gateway),
        ] {
            let seen = ask_datagram(place, &format!("{target}:5300")).unwrap();
            assert_eq!(seen, Outcome::answered(source), "{} to {target}, {flag}", place.name());
        }
        let seen = ask_datagram(host, "[::1]:5300").unwrap();
        let expected = if proxy { Outcome::answered(gateway) } else { Outcome::Refused };
        assert_eq!(seen, expected, "loopback by IPv6, {flag}");
    }
}

fn ranges_and_host_addresses_are_kept_to(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    let published = ["8000-8002:80-82", "127.0.0.1:9000:80", "10.10.50.99:9001:81"];
    let server = stage.sandbox("server", &["bridge"], &published);
    let neighbour = stage.sandbox("neighbour", &["bridge"], &[]);
    let _servers = [80, 81, 82].map(|port| serve_tcp(&server, &format!("0.0.0.0:{port}")).unwrap());
    for with_proxy in [true, false] {
        stage.daemon.restart(&[&proxy(with_proxy)]);
        let reached = |place, target: &str| {
            let reply = Question::to(target).unwrap().tcp_reply(place).unwrap();
            reply.map(|reply| reply.destination.port())
        };
        let (host, lan) = (&*stage.host, &*stage.lan);
        for (place, target, expected) in [
            (lan, "10.10.50.99:8000", Ok(80)),
            (lan, "10.10.50.99:8001", Ok(81)),
            (lan, "10.10.50.99:8002", Ok(82)),
            (host, "127.0.0.1:8002", Ok(82)),
            (lan, "10.10.50.99:8003", Err(Outcome::Refused)),
            (host, "127.0.0.1:9000", Ok(80)),
            (host, "127.0.0.2:9000", Err(Outcome::Refused)),
            (host, "10.10.50.99:9000", Err(Outcome::Refused)),
            (lan, "10.10.50.99:9000", Err(Outcome::Refused)),
            (&*neighbour, "172.17.0.1:9000", Err(Outcome::Refused)),
            (&*neighbour, "10.10.50.99:9000", Err(Outcome::Refused)),
            (lan, "10.10.50.99:9001", Ok(81)),
            (host, "10.10.50.99:9001", Ok(81)),
            (&*neighbour, "10.10.50.99:9001", Ok(81)),
            (&*neighbour, "172.17.0.1:9001", Err(Outcome::Refused)),
            (host, "127.0.0.1:9001", Err(Outcome::Refused)),
        ] {
            let name = place.name();
            assert_eq!(reached(place, target), expected, "{name} to {target}, proxy {with_proxy}");
        }
    }
    // What is published stays so without a daemon.
    assert!(stage.daemon.stop().success());
    for (place, target) in [(&*stage.lan, "10.10.50.99:8000"), (&*neighbour, "10.10.50.99:9001")] {
        let seen = ask(place, target).unwrap();
        assert!(matches!(seen, Outcome::Answered { .. }), "{} to {target}: {seen}", place.name());
    }
}

#[test]
fn free_ports_are_found() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let _taken = stage.host.run_in(|| TcpListener::bind("0.0.0.0:8001").unwrap()).unwrap();
        let mut ports = BTreeSet::new();
        for name in ["a", "b", "c"] {
            let sandbox = stage.sandbox(name, &["bridge"], &["80"]);
            let _server = serve_tcp(&sandbox, "0.0.0.0:80").unwrap();
            let port = sandbox.host_port("80/tcp");
            let text = stage.host.sysctl("net.ipv4.ip_local_port_range").unwrap();
            let range: Vec<u16> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
            assert!((range[0]..=range[1]).contains(&port), "{port} of {text}");
            assert!(ports.insert(port), "{port} twice");
            assert_eq!(ask(&stage.lan, &format!("{HOST}:{port}")).unwrap(), Outcome::answered(LAN));
        }
        // One of a range: what a sandbox or a program of the host holds is passed over.
        let of_range = |name| stage.attach(name, request(&["bridge"], &["8000-8003:80"]));
        let got = ["d", "e", "f"].map(|name| of_range(name).unwrap().host_port("80/tcp"));
        assert_eq!(got, [8000, 8002, 8003]);
        let message = refusal(of_range("g"));
        assert!(message.contains("8000-8003") && message.contains("in use"), "{message}");
    });
}

#[test]
fn ports_that_others_have_are_refused_before_anything_changes() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.network("app");
        let _first = stage.sandbox("first", &["app"], &["8080:80", "127.0.0.1:5353:53/udp"]);
        let host = stage.host.clone();
        let holder = format!("(process {})", std::process::id());
        let _tcp = host.run_in(|| TcpListener::bind("127.0.0.1:9999").unwrap()).unwrap();
        let _udp = host.run_in(|| UdpSocket::bind("0.0.0.0:9998").unwrap()).unwrap();
        for with_proxy in [true, false] {
            stage.daemon.restart(&[&proxy(with_proxy)]);
            for (publish, said) in [
                (["81:81", "8080:80"], &["8080", "first"][..]),
                (["81:81", "10.10.50.99:8080:80"], &["8080", "first"]),
                (["81:81", "0.0.0.0:5353:53/udp"], &["5353", "first"]),
                (["81:81", "9999:80"], &["9999", "address already in use", &holder]),
                (["81:81", "9998:80/udp"], &["9998", "address already in use", &holder]),
                (["81:81", "10.1.1.1:80:80"], &["10.1.1.1:80", "address"]),
            ] {
                let message = refusal(stage.attach("second", request(&["app"], &publish)));
                for word in said {
                    assert!(message.contains(word), "{publish:?}: {message}");
                }
                // Its other port is free again, and nobody has its name or address.
                assert_eq!(ask(&stage.host, "127.0.0.1:81").unwrap(), Outcome::Refused);
                assert!(stage.client().container("second").is_err());
                let second = stage.sandbox("second", &["app"], &["81:81", "127.0.0.2:5353:53/udp"]);
                assert_eq!(second.address("app").to_string(), "172.18.0.3");
                stage.client().detach("second").unwrap();
            }
            // Nor does anybody else get a port that is published.
            let bound = host.run_in(|| TcpListener::bind("0.0.0.0:8080").map(drop)).unwrap();
            assert_eq!(bound.unwrap_err().kind(), std::io::ErrorKind::AddrInUse, "proxy {with_proxy}");
        }
    });
}

#[test]
fn each_direction_of_a_proxied_connection_ends_by_itself() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80", "8081:81"]);
        let listener = server.run_in(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
        let connect = |target| stage.host.run_in(move || TcpStream::connect(target).unwrap()).unwrap();
        // The client ends first, and is answered all the same.
        let mut client = connect("127.0.0.1:8080");
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        let mut text = String::new();
        served.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        served.write_all(b"answer").unwrap();
        drop(served);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        // The server ends first, and hears the client all the same.
        let mut client = connect("127.0.0.1:8080");
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"greeting").unwrap();
        served.shutdown(Shutdown::Write).unwrap();
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "greeting");
        client.write_all(b"farewell").unwrap();
        drop(client);
        text.clear();
        served.read_to_string(&mut text).unwrap();
        assert_eq!(text, "farewell");
        // Nobody listens behind the port: the client is not left waiting.
        let mut client = connect("127.0.0.1:8081");
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let end = client.read(&mut [0; 1]);
        assert!(!matches!(&end, Ok(1..)), "{end:?}");
        let waiting = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waiting, "the client was left waiting");
    });
}

#[test]
fn a_reader_that_is_slow_slows_its_writer_down() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let server = stage.sandbox("server", &["bridge"], &["8080:80"]);
        let listener = server.run_in(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
        let mut client = stage.host.run_in(|| TcpStream::connect("127.0.0.1:8080").unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let chunk = vec![7; 1 << 20];
        let mut written = 0;
        while let Ok(length) = client.write(&chunk) {
            written += length;
            assert!(written < 100 << 20, "it accepts more and more without a reader");
        }
        drop(client);
        let mut read = Vec::new();
        served.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), written, "all that was taken arrives");
    });
}

#[test]
fn a_thousand_connections_are_carried_at_once() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
        let server = stage.sandbox("server", &["bridge"], &["8080:80"]);
        let _echo = serve_echo(&server, "0.0.0.0:80").unwrap();
        let mut clients: Vec<TcpStream> = stage
            .host
            .run_in(|| (0..1000).map(|_| TcpStream::connect("127.0.0.1:8080").unwrap()).collect())
            .unwrap();
        for (number, client) in clients.iter_mut().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            write!(client, "{number:08}").unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut back = [0; 8];
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, *format!("{number:08}").as_bytes());
        }
    });
}

fn old_flows_of_datagrams_follow_a_sandbox_to_its_new_address(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    stage.network("app");
    for with_proxy in [true, false] {
        stage.daemon.restart(&[&proxy(with_proxy)]);
        let first = stage.sandbox("server", &["app"], &["5300:53/udp"]);
        let serving = serve_datagrams(&first, "0.0.0.0:53").unwrap();
        let places = [(&*stage.lan, HOST), (&*stage.host, "127.0.0.1"), (&*stage.host, HOST)];
        let flows = places.map(|(place, at)| DatagramFlow::open(place, &format!("{at}:5300")).unwrap());
        let answered = |outcome: &Outcome| matches!(outcome, Outcome::Answered { .. });
        for flow in &flows {
            let seen = flow.ask(Duration::from_secs(15));
            assert!(answered(&seen), "{seen}");
        }
        stage.client().detach("server").unwrap();
        drop(serving);
        // While it is away the flows are tracked as leading to the host itself.
        for flow in &flows {
            assert!(!answered(&flow.ask(Duration::from_millis(100))));
        }
        let squatter = stage.sandbox("squatter", &["app"], &[]);
        assert_eq!(squatter.address("app"), first.address("app"));
        let again = stage.sandbox("server", &["app"], &["5300:53/udp"]);
        assert_ne!(again.address("app"), first.address("app"));
        let _serving = serve_datagrams(&again, "0.0.0.0:53").unwrap();
        for (flow, (place, at)) in flows.iter().zip(places) {
            let what = format!("{} to {at} is answered, proxy {with_proxy}", place.name());
            eventually(&what, Duration::from_secs(20), || answered(&flow.ask(Duration::from_secs(1))));
        }
        for name in ["server", "squatter"] {
            stage.client().detach(name).unwrap();
        }
    }
}

#[test]
fn neighbours_learn_at_once_who_has_an_address_now() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage
            .create_network("app", |network| {
                network.enable_ipv6 = Some(true);
                let subnets = ["10.8.0.0/24", "fd08::/64"].map(|subnet| fairway_api::types::IpamConfig {
                    subnet: subnet.to_owned(),
                    ..Default::default()
                });
                network.ipam.get_or_insert_default().config = subnets.into();
            })
            .unwrap();
        let at = |number: u8| {
            let mut container = request(&["app"], &[]);
            container.mac_address = format!("02:00:00:00:00:{number:02x}");
            container.networking_config.endpoints_config[0].1.ipam_config = Some(EndpointIpam {
                ipv4_address: "10.8.0.50".to_owned(),
                ipv6_address: "fd08::50".to_owned(),
                ..Default::default()
            });
            container
        };
        let neighbour = stage.sandbox("neighbour", &["app"], &[]);
        for (number, name) in (1..).zip(["first", "second", "third"]) {
            let sandbox = stage.attach(name, at(number)).unwrap();
            assert_eq!(sandbox.mac("eth0").unwrap(), [2, 0, 0, 0, 0, number]);
            let _serving = serve_tcp(&sandbox, "[::]:80").unwrap();
            for place in [&*neighbour, &*stage.host] {
                for target in ["10.8.0.50:80", "[fd08::50]:80"] {
                    // A stale entry would be tried for five seconds before it is doubted.
                    let question = Question::to(target).unwrap().within(Duration::from_secs(2));
                    let seen = question.tcp(place).unwrap();
                    let reached = matches!(seen, Outcome::Answered { .. });
                    assert!(reached, "{} to {name} at {target}: {seen}", place.name());
                }
            }
            stage.client().detach(name).unwrap();
        }
    });
}
