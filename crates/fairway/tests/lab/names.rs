//! Names: who is found under which, by whom, and where other questions go.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::dns::{
    DnsAnswer, DnsFailure, DnsQuestion, RecordType, ResponseCode, Transport, look_up, reverse_name,
};
use fairway_api::types::EndpointSettings;
use fairway_lab::{Outcome, Place, ask, ask_datagram, serve_datagrams, serve_tcp};

use crate::harness::{LAN, Sandbox, Stage, eventually, request};
use crate::upstream::{ALL_SERVERS, FIRST, RESOLVER, SECOND, Upstream, set_servers, stage};

fn ask_resolver(place: &Place, name: &str, kind: RecordType, by: Transport) -> DnsAnswer {
    DnsQuestion::new(name, kind).by(by).ask(place, RESOLVER).unwrap()
}

/// The IPv4 addresses of a name, as a sandbox sees them.
fn addresses(place: &Place, name: &str) -> Vec<IpAddr> {
    look_up(place, RESOLVER, name, RecordType::A).unwrap()
}

/// A sandbox with an alias on a network.
fn with_alias(stage: &Stage, name: &str, network: &str, alias: &str) -> Sandbox {
    let mut container = request(&[network], &[]);
    container.networking_config.endpoints_config[0].1.aliases = Some(vec![alias.to_owned()]);
    stage.attach(name, container).unwrap()
}

#[test]
fn sandboxes_are_found_by_all_their_names() {
    fairway_lab::run(|lab| {
        let (stage, upstream) = stage(lab);
        stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
        let mut container = request(&["app"], &[]);
        container.hostname = "front".to_owned();
        container.networking_config.endpoints_config[0].1.aliases = Some(vec!["www".to_owned()]);
        let web = stage.attach("web", container).unwrap();
        let asker = stage.sandbox("asker", &["app"], &[]);
        let (address, address6) = (web.address("app"), web.address6("app"));
        let short = &web.attached.id[..12];
        let long = format!("{short}.app");
        for name in ["web", "web.app", "WEB", "Web.App", "web.", "web.app.", "front", "www", short, &long] {
            for by in [Transport::Udp, Transport::Edns, Transport::Tcp] {
                for (kind, address) in [(RecordType::A, address), (RecordType::AAAA, address6)] {
                    let answer = ask_resolver(&asker, name, kind, by);
                    assert_eq!(answer.addresses(), [address], "{name} {kind:?} {by:?}");
                    assert_eq!(
                        (answer.code, answer.records[0].ttl),
                        (ResponseCode::NoError, 1),
                        "{name} {kind:?} {by:?}"
                    );
                }
            }
        }
        for address in [address, address6] {
            for by in [Transport::Udp, Transport::Tcp] {
                let answer = ask_resolver(&asker, &reverse_name(address), RecordType::PTR, by);
                assert_eq!(answer.names(), ["web.app"], "{address}");
            }
        }
        // It knows itself, and a name of ours is nobody else's business.
        assert_eq!(addresses(&web, "web"), [address]);
        let mail = ask_resolver(&asker, "web", RecordType::MX, Transport::Udp);
        assert_eq!((mail.code, mail.records.len()), (ResponseCode::NoError, 0));
        assert_eq!(upstream.asked(), 0);
    });
}

#[test]
fn a_name_without_an_address_of_the_family_is_known_all_the_same() {
    fairway_lab::run(|lab| {
        let (stage, upstream) = stage(lab);
        stage.network("app");
        let _web = stage.sandbox("web", &["app"], &[]);
        let asker = stage.sandbox("asker", &["app"], &[]);
        let answer = ask_resolver(&asker, "web", RecordType::AAAA, Transport::Udp);
        assert_eq!((answer.code, answer.records.len()), (ResponseCode::NoError, 0));
        assert_eq!(upstream.asked(), 0);
    });
}

#[test]
fn an_alias_is_all_its_holders_in_the_order_they_joined() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage.network("app");
        let asker = stage.sandbox("asker", &["app"], &[]);
        let [a, b, c] = ["a", "b", "c"].map(|name| with_alias(&stage, name, "app", "pool"));
        let address = |sandbox: &Sandbox| sandbox.address("app");
        assert_eq!(addresses(&asker, "pool"), [address(&a), address(&b), address(&c)]);
        // One that leaves is gone at once, and is the last when it comes back.
        stage.client().detach("a").unwrap();
        assert_eq!(addresses(&asker, "pool"), [address(&b), address(&c)]);
        let a = with_alias(&stage, "a", "app", "pool");
        assert_eq!(addresses(&asker, "pool.app"), [address(&b), address(&c), address(&a)]);
        stage.disconnect("app", "b").unwrap();
        assert_eq!(addresses(&asker, "pool"), [address(&c), address(&a)]);
        assert_eq!(addresses(&asker, "b"), [IpAddr::from(FIRST)], "asked elsewhere");
    });
}

#[test]
fn names_are_seen_on_shared_networks_only() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage.network("red");
        stage.network("blue");
        let red = stage.sandbox("red-one", &["red"], &[]);
        let blue = with_alias(&stage, "blue-one", "blue", "www");
        let both = stage.sandbox("both", &["red", "blue"], &[]);
        let elsewhere = [IpAddr::from(FIRST)];
        for name in ["blue-one", "blue-one.blue", "www", &blue.attached.id[..12]] {
            assert_eq!(addresses(&red, name), elsewhere, "{name}");
            assert_eq!(addresses(&both, name), [blue.address("blue")], "{name}");
        }
        assert_eq!(addresses(&red, "both"), [both.address("red")]);
        assert_eq!(addresses(&blue, "both"), [both.address("blue")]);
        assert_eq!(addresses(&red, "both.blue"), elsewhere);
        let reverse = reverse_name(blue.address("blue"));
        assert!(
            !ask_resolver(&red, &reverse, RecordType::PTR, Transport::Udp)
                .names()
                .contains(&"blue-one.blue".to_owned())
        );
        // Those that join and leave see and are seen at once.
        stage.connect("blue", "red-one", EndpointSettings::default()).unwrap();
        assert_eq!(addresses(&red, "blue-one"), [blue.address("blue")]);
        assert_eq!(addresses(&blue, "red-one").len(), 1);
        stage.disconnect("blue", "red-one").unwrap();
        assert_eq!(addresses(&red, "blue-one"), elsewhere);
        assert_eq!(addresses(&blue, "red-one"), elsewhere);
    });
}

#[test]
fn other_questions_follow_the_hosts_servers() {
    fairway_lab::run(|lab| {
        let (stage, upstream) = stage(lab);
        stage.lan.add_address("eth0", "10.10.50.2/24").unwrap();
        let second = Upstream::start(&stage.lan, "10.10.50.2", SECOND);
        stage.network("app");
        let sandbox = stage.sandbox("sandbox", &["app"], &[]);
        for by in [Transport::Udp, Transport::Edns, Transport::Tcp] {
            let answer = ask_resolver(&sandbox, "example.org", RecordType::A, by);
            assert_eq!(answer.addresses(), [IpAddr::from(FIRST)], "{by:?}");
        }
        assert!(upstream.asked() > 0 && second.asked() == 0);
        set_servers(&stage, &["10.10.50.2"]);
        eventually("the new server is asked", Duration::from_secs(20), || {
            addresses(&sandbox, "example.net") == [IpAddr::from(SECOND)]
        });
        // Its own servers go before those of the host.
        let mut container = request(&["app"], &[]);
        container.host_config.dns = vec![LAN.to_owned()];
        let stubborn = stage.attach("stubborn", container).unwrap();
        assert_eq!(addresses(&stubborn, "example.com"), [IpAddr::from(FIRST)]);
        // The next one is asked when the first is silent.
        set_servers(&stage, &["10.10.50.77", "10.10.50.2"]);
        let patient = DnsQuestion::new("example.edu", RecordType::A).within(Duration::from_secs(15));
        std::thread::sleep(Duration::from_secs(1));
        let answer = patient.ask(&sandbox, RESOLVER).unwrap();
        assert_eq!(answer.addresses(), [IpAddr::from(SECOND)]);
    });
}

#[test]
fn a_sandbox_with_a_silent_server_does_not_starve_others() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage.network("app");
        let mut container = request(&["app"], &[]);
        container.host_config.dns = vec!["10.10.50.77".to_owned()];
        let greedy = stage.attach("greedy", container).unwrap();
        let modest = stage.sandbox("modest", &["app"], &[]);
        let socket = greedy.run_in(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        for number in 0..2000_u16 {
            let mut question = number.to_be_bytes().to_vec();
            question.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5]);
            question.extend_from_slice(format!("n{number:04}").as_bytes());
            question.extend_from_slice(&[0, 0, 1, 0, 1]);
            socket.send_to(&question, RESOLVER).unwrap();
        }
        let started = Instant::now();
        assert_eq!(addresses(&modest, "example.org"), [IpAddr::from(FIRST)]);
        assert_eq!(addresses(&greedy, "modest"), [modest.address("app")]);
        assert!(started.elapsed() < ALL_SERVERS, "{:?}", started.elapsed());
    });
}

#[test]
fn internal_networks_ask_no_outside_server() {
    fairway_lab::run(|lab| {
        let (stage, upstream) = stage(lab);
        stage.create_network("inner", |network| network.internal = true).unwrap();
        let inside = stage.sandbox("inside", &["inner"], &[]);
        let neighbour = stage.sandbox("neighbour", &["inner"], &[]);
        assert_eq!(addresses(&inside, "neighbour"), [neighbour.address("inner")]);
        for by in [Transport::Udp, Transport::Tcp] {
            let answer = ask_resolver(&inside, "example.org", RecordType::A, by);
            assert!(answer.code != ResponseCode::NoError && answer.records.is_empty(), "{answer:?}");
        }
        assert_eq!(upstream.asked(), 0);
        // One that has another way out may ask.
        stage.network("outer");
        stage.connect("outer", "inside", EndpointSettings::default()).unwrap();
        assert_eq!(addresses(&inside, "example.org"), [IpAddr::from(FIRST)]);
    });
}

#[test]
fn a_sandbox_can_be_a_name_server_itself() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage.network("app");
        let server = stage.sandbox("server", &["app"], &["53:53", "53:53/udp"]);
        let client = stage.sandbox("client", &["app"], &[]);
        let _servers =
            (serve_tcp(&server, "0.0.0.0:53").unwrap(), serve_datagrams(&server, "0.0.0.0:53").unwrap());
        let at = format!("{}:53", server.address("app"));
        for (place, target, source) in [
            (&*client, &*at, client.address("app")),
            (&*server, "127.0.0.1:53", "127.0.0.1".parse().unwrap()),
            (&*stage.lan, "10.10.50.99:53", LAN.parse().unwrap()),
        ] {
            assert_eq!(ask(place, target).unwrap(), Outcome::Answered { source }, "{target}");
            assert_eq!(ask_datagram(place, target).unwrap(), Outcome::Answered { source }, "{target}");
        }
        // Its own questions are still answered by its resolver.
        for by in [Transport::Udp, Transport::Tcp] {
            let answer = ask_resolver(&server, "client", RecordType::A, by);
            assert_eq!(answer.addresses(), [client.address("app")]);
        }
    });
}

#[test]
fn the_default_bridge_has_no_resolver() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage.network("app");
        let web = stage.sandbox("web", &["app"], &[]);
        let plain = stage.sandbox("plain", &["bridge"], &[]);
        let nobody = DnsQuestion::new("plain", RecordType::A).ask(&plain, RESOLVER);
        assert_eq!(nobody, Err(DnsFailure::Refused));
        let file = |sandbox: &Sandbox| {
            let path = sandbox.attached.resolv_conf_path.clone();
            stage.host.run_in(|| std::fs::read_to_string(path).unwrap()).unwrap()
        };
        assert_eq!(file(&plain), format!("nameserver {LAN}\n"));
        // With a network of its own it has one, which does not know the default bridge.
        stage.connect("app", "plain", EndpointSettings::default()).unwrap();
        assert_eq!(addresses(&plain, "web"), [web.address("app")]);
        assert!(file(&plain).contains("nameserver 127.0.0.11\n"), "{}", file(&plain));
        let known = addresses(&web, "plain");
        assert!(known.len() == 1 && known[0] != plain.address("bridge"), "{known:?}");
    });
}

#[test]
fn files_say_what_is_so() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage
            .host
            .run_in(|| {
                let text = format!("search lan.example\nnameserver {LAN}\noptions timeout:3\n");
                std::fs::write("/etc/resolv.conf", text).unwrap();
            })
            .unwrap();
        stage.network("app");
        stage.network("second");
        let mut container = request(&["app"], &[]);
        container.hostname = "front".to_owned();
        container.host_config.extra_hosts = vec!["db.example:10.1.2.3".to_owned()];
        eventually("the search list is followed", Duration::from_secs(20), || {
            let probe = stage.sandbox("probe", &["app"], &[]);
            let path = probe.attached.resolv_conf_path.clone();
            let text = stage.host.run_in(|| std::fs::read_to_string(path).unwrap()).unwrap();
            stage.client().detach("probe").unwrap();
            text == "search lan.example\nnameserver 127.0.0.11\noptions timeout:3 ndots:0\n"
        });
        let web = stage.attach("web", container).unwrap();
        let read = |path: &str| stage.host.run_in(|| std::fs::read_to_string(path).unwrap()).unwrap();
        let hosts = || read(&web.attached.hosts_path);
        assert_eq!(read(&web.attached.hostname_path), "front\n");
        let has = |line: &str| hosts().lines().any(|other| other == line);
        let own = format!("{}\tfront", web.address("app"));
        assert!(has("127.0.0.1\tlocalhost") && has("10.1.2.3\tdb.example") && has(&own), "{}", hosts());
        // The files are rewritten in place, for they are mounted in sandboxes.
        let inode = |path: &str| {
            use std::os::unix::fs::MetadataExt;
            stage.host.run_in(|| std::fs::metadata(path).unwrap().ino()).unwrap()
        };
        let before = inode(&web.attached.hosts_path);
        stage.connect("second", "web", EndpointSettings::default()).unwrap();
        let lines = hosts().lines().filter(|line| line.ends_with("\tfront")).count();
        assert_eq!((lines, inode(&web.attached.hosts_path)), (2, before), "{}", hosts());
        stage.disconnect("app", "web").unwrap();
        assert!(!has(&own), "{}", hosts());
    });
}

#[test]
fn long_answers_are_cut_for_datagrams_and_whole_otherwise() {
    fairway_lab::run(|lab| {
        let (stage, _upstream) = stage(lab);
        stage.network("app");
        let asker = stage.sandbox("asker", &["app"], &[]);
        let holders: Vec<_> =
            (0..40).map(|number| with_alias(&stage, &format!("holder{number}"), "app", "pool")).collect();
        let all: Vec<_> = holders.iter().map(|holder| holder.address("app")).collect();
        let answer = |by| ask_resolver(&asker, "pool", RecordType::A, by);
        let cut = answer(Transport::Udp);
        assert!(cut.truncated && cut.size <= 512, "{cut:?}");
        for by in [Transport::Edns, Transport::Tcp] {
            let whole = answer(by);
            assert!(!whole.truncated);
            assert_eq!(whole.addresses(), all, "{by:?}");
        }
    });
}
