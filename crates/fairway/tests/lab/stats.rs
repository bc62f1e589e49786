//! What `network stats` counts: each packet once, and with whom it was.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use fairway_api::types::{NetworkStats, PortStats, TrafficCount};
use fairway_lab::{DatagramFlow, Outcome, Place, ask, ask_datagram, serve_datagrams, serve_echo, serve_tcp};

use crate::cli::printed;
use crate::harness::{HOST, HOST6, LAN, LAN6, Stage, request};

const PATIENCE: Duration = Duration::from_secs(20);

fn stats(stage: &Stage, network: &str) -> NetworkStats {
    stage.client().stats(Some(network)).unwrap().remove(0)
}

/// The counters of a host port of a network, at this address.
fn port(stage: &Stage, network: &str, host_ip: &str, host_port: u16) -> Option<PortStats> {
    let ports = stats(stage, network).ports;
    ports.into_iter().find(|it| it.host_ip == host_ip && it.host_port == host_port)
}

fn translated(stage: &Stage, network: &str, host_ip: &str, host_port: u16) -> TrafficCount {
    port(stage, network, host_ip, host_port).unwrap().translated
}

/// Sends bytes to an echo server and reads them back.
fn echo(place: &Place, target: &str, bytes: usize) {
    let target = target.to_owned();
    let read = place.run_in(move || {
        let mut stream = TcpStream::connect(target).unwrap();
        stream.write_all(&vec![7; bytes]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back.len()
    });
    assert_eq!(read.unwrap(), bytes);
}

/// Asks that many times from one socket.
fn ask_often(place: &Place, target: &str, times: u64) {
    let flow = DatagramFlow::open(place, target).unwrap();
    for _ in 0..times {
        assert!(matches!(flow.ask(PATIENCE), Outcome::Answered { .. }), "{target}");
    }
}

#[test]
fn each_packet_through_a_published_port_is_counted_once() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &["--userland-proxy=false"]);
        stage.create_network("app", |it| it.enable_ipv6 = Some(true)).unwrap();
        stage.host.add_address("eth0", "10.10.50.98/24").unwrap();
        let published = ["8080:80/udp", "10.10.50.98:8081:80/udp", "9000-9002:80-82/udp"];
        let web = stage.sandbox("web", &["app"], &published);
        let other = stage.sandbox("other", &["bridge"], &["10.10.50.99:8081:80/udp"]);
        let _servers = [&*web, &*other].map(|place| serve_datagrams(place, "[::]:80").unwrap());
        assert_eq!(translated(&stage, "app", "0.0.0.0", 8080), TrafficCount::default());
        assert_eq!(
            port(&stage, "app", "0.0.0.0", 9001),
            None,
            "a range has no counters before a client asks"
        );

        // From the LAN, at two of the host's addresses; by the host; by the sandbox itself.
        ask_often(&stage.lan, &format!("{HOST}:8080"), 3);
        ask_often(&stage.lan, "10.10.50.98:8080", 2);
        ask_often(&stage.host, &format!("{HOST}:8080"), 4);
        ask_often(&web, &format!("{HOST}:8080"), 5);
        let count = translated(&stage, "app", "0.0.0.0", 8080);
        assert_eq!((count.packets_in, count.packets_out), (14, 14));
        // A packet has a header of 28 bytes and a question; an answer tells more.
        assert!(count.bytes_in > 14 * 28 && count.bytes_out > count.bytes_in, "{count:?}");
        ask_often(&stage.lan, &format!("[{HOST6}]:8080"), 6);
        let count = translated(&stage, "app", "::", 8080);
        assert_eq!((count.packets_in, count.packets_out), (6, 6));

        // The same port of two addresses is two publications.
        ask_often(&stage.lan, "10.10.50.98:8081", 7);
        ask_often(&stage.lan, "10.10.50.99:8081", 8);
        assert_eq!(translated(&stage, "app", "10.10.50.98", 8081).packets_in, 7);
        assert_eq!(translated(&stage, "bridge", "10.10.50.99", 8081).packets_in, 8);
        assert_eq!(port(&stage, "app", "0.0.0.0", 9001), None);
        ask_often(&stage.lan, &format!("{HOST}:9000"), 1);
        assert_eq!(translated(&stage, "app", "0.0.0.0", 9000).packets_in, 1);

        // Counters outlive the daemon.
        let before = stats(&stage, "app").ports;
        stage.daemon.restart(&["--userland-proxy=false"]);
        assert_eq!(stats(&stage, "app").ports, before);
        ask_often(&stage.lan, &format!("{HOST}:8080"), 1);
        assert_eq!(translated(&stage, "app", "0.0.0.0", 8080).packets_in, 15);

        // What is published no more is forgotten, and what others have stays.
        let ports = |publish: &[&str]| request(&[], publish).host_config.port_bindings;
        stage.client().unpublish("web", ports(&["8080:80/udp", "10.10.50.98:8081:80/udp"])).unwrap();
        assert_eq!(port(&stage, "app", "0.0.0.0", 8080), None);
        stage.client().publish("web", ports(&["8080:80/udp", "10.10.50.98:8081:80/udp"])).unwrap();
        assert_eq!(translated(&stage, "app", "0.0.0.0", 8080), TrafficCount::default());
        assert_eq!(translated(&stage, "app", "10.10.50.98", 8081), TrafficCount::default());
        assert_eq!(translated(&stage, "bridge", "10.10.50.99", 8081).packets_in, 8);
        assert!(stats(&stage, "host").traffic.is_none());
    });
}

#[test]
fn what_is_denied_or_meant_for_others_does_not_count() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--userland-proxy=false"]);
        let web = stage.sandbox("web", &["bridge"], &["8080:80"]);
        let _server = serve_tcp(&web, "0.0.0.0:80").unwrap();
        let _lan = serve_tcp(&stage.lan, "0.0.0.0:80").unwrap();
        assert_eq!(ask(&web, &format!("{LAN}:80")).unwrap(), Outcome::answered(HOST));
        // Straight to the sandbox, not by the published port: refused by the firewall.
        stage.lan.route("172.17.0.0/16", HOST).unwrap();
        assert_eq!(ask(&stage.lan, &format!("{}:80", web.address("bridge"))).unwrap(), Outcome::TimedOut);
        assert_eq!(
            ask(&stage.host, &format!("{}:80", web.address("bridge"))).unwrap(),
            Outcome::answered("172.17.0.1")
        );
        assert_eq!(translated(&stage, "bridge", "0.0.0.0", 8080), TrafficCount::default());
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::answered(LAN));
        let count = translated(&stage, "bridge", "0.0.0.0", 8080);
        assert!(count.packets_in >= 4 && count.packets_out >= 3, "{count:?}");
    });
}

#[test]
fn proxied_and_translated_traffic_are_counted_separately() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let published = ["8080:80", "8081:81/udp"];
        let web = stage.sandbox("web", &["bridge"], &published);
        let _echo = serve_echo(&web, "0.0.0.0:80").unwrap();
        let _datagrams = serve_datagrams(&web, "0.0.0.0:81").unwrap();
        // More than is copied at once, so that it is spliced too.
        echo(&stage.host, "127.0.0.1:8080", 300_000);
        let count = port(&stage, "bridge", "0.0.0.0", 8080).unwrap();
        assert_eq!((count.proxied_bytes_in, count.proxied_bytes_out), (300_000, 300_000));
        assert_eq!(count.translated, TrafficCount::default());
        echo(&stage.lan, &format!("{HOST}:8080"), 1000);
        let count = port(&stage, "bridge", "0.0.0.0", 8080).unwrap();
        assert_eq!(count.proxied_bytes_in, 300_000);
        assert!(count.translated.bytes_in > 1000 && count.translated.bytes_out > 1000, "{count:?}");
        assert!(matches!(ask_datagram(&stage.host, "127.0.0.1:8081").unwrap(), Outcome::Answered { .. }));
        let datagrams = port(&stage, "bridge", "0.0.0.0", 8081).unwrap();
        assert!(datagrams.proxied_bytes_in > 0 && datagrams.proxied_bytes_out > datagrams.proxied_bytes_in);
        // The relay outlives the daemon, and so does what it counted.
        stage.daemon.restart(&[]);
        assert_eq!(port(&stage, "bridge", "0.0.0.0", 8080).unwrap(), count);
        // Without a firewall the proxy carries everything.
        stage.daemon.restart(&["--iptables=false"]);
        echo(&stage.lan, &format!("{HOST}:8080"), 2000);
        let alone = port(&stage, "bridge", "0.0.0.0", 8080).unwrap();
        assert_eq!(alone.proxied_bytes_in, 302_000);
        assert_eq!(alone.translated, count.translated, "nothing is translated any more");
    });
}

#[test]
fn a_network_counts_what_its_sandboxes_have_with_others() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.create_network("app", |it| it.enable_ipv6 = Some(true)).unwrap();
        let [one, two] = ["one", "two"].map(|name| stage.sandbox(name, &["app"], &[]));
        let _echoes = [&*stage.lan, &*two].map(|place| serve_echo(place, "[::]:80").unwrap());
        echo(&one, &format!("{LAN}:80"), 200_000);
        let first = stats(&stage, "app").traffic.unwrap();
        assert!(first.bytes_in > 200_000 && first.bytes_out > 200_000, "{first:?}");
        assert!(first.bytes_in < 300_000 && first.bytes_out < 300_000, "{first:?}");
        assert!(first.packets_in > 2 && first.packets_out > 2, "{first:?}");
        echo(&one, &format!("[{LAN6}]:80"), 200_000);
        let second = stats(&stage, "app").traffic.unwrap();
        assert!(second.bytes_in > 400_000 && second.bytes_out > 400_000, "{second:?}");
        // Neighbours do not pass the host.
        echo(&one, &format!("{}:80", two.address("app")), 200_000);
        let third = stats(&stage, "app").traffic.unwrap();
        assert!(third.bytes_in < second.bytes_in + 100_000, "{third:?}");
        assert!(stats(&stage, "bridge").traffic.unwrap().bytes_in < 100_000);

        let json = printed(&stage, "network stats --format json app");
        let reported: NetworkStats = serde_json::from_str(&json).unwrap();
        assert!(reported.traffic.unwrap().bytes_out >= second.bytes_out);
        let text = printed(&stage, "network stats");
        assert!(text.lines().any(|line| line.starts_with("app ")), "{text}");
        assert!(!text.contains("\nhost"), "{text}");
    });
}
