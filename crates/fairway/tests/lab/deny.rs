//! What is not allowed is denied: each denial is attacked.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use fairway_lab::frame::{self, Ethernet};
use fairway_lab::{Capture, FrameSender, Lab, Outcome, Place, Question, Server, serve_datagrams, serve_tcp};

use crate::harness::{FAR, FAR6, HOST, HOST6, LAN, LAN6, Sandbox, Stage, request};
use crate::ping::ping_within;

/// How long is waited for what must not come.
const WHILE: Duration = Duration::from_millis(400);

/// Servers of every kind on port 80 of a sandbox.
fn serve(place: &Place) -> [Server; 2] {
    [serve_tcp(place, "[::]:80").unwrap(), serve_datagrams(place, "[::]:80").unwrap()]
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// By what an address can be reached from a place, all tried at once: for an answer that is expected a busy machine gets
/// much time.
fn ways(place: &Place, target: IpAddr, expected: &[&str]) -> Vec<&'static str> {
    let answered = |outcome| matches!(outcome, Outcome::Answered { .. });
    let patience = Duration::from_secs(if expected.is_empty() { 1 } else { 15 });
    let question = || Question::to(&at(target, 80)).unwrap().within(patience);
    thread::scope(|scope| {
        let tcp = scope.spawn(|| answered(question().tcp(place).unwrap()));
        let udp = scope.spawn(|| answered(question().udp(place).unwrap()));
        let icmp = scope.spawn(|| ping_within(place, target, patience));
        let tried = [("tcp", tcp), ("udp", udp), ("icmp", icmp)];
        tried.into_iter().filter_map(|(name, way)| way.join().unwrap().then_some(name)).collect()
    })
}

/// Asserts by what each place reaches each address.
fn assert_ways(asked: &[(&Place, IpAddr)], expected: &[&str]) {
    thread::scope(|scope| {
        let tried: Vec<_> = asked
            .iter()
            .map(|(place, target)| (place, target, scope.spawn(|| ways(place, *target, expected))))
            .collect();
        for (place, target, seen) in tried {
            assert_eq!(seen.join().unwrap(), expected, "{} to {target}", place.name());
        }
    });
}

const ALL: [&str; 3] = ["tcp", "udp", "icmp"];
const NONE: [&str; 0] = [];

/// A dual-stack network.
fn dual(stage: &Stage, name: &str) {
    stage.create_network(name, |network| network.enable_ipv6 = Some(true)).unwrap();
}

on_each_backend! {
    networks_are_apart;
    container_addresses_are_not_reached_from_outside;
    loopback_is_the_hosts_own;
    the_host_is_a_router_for_its_sandboxes_alone;
    a_host_that_was_a_router_remains_one;
    internal_networks_have_no_way_out_or_in;
}

fn networks_are_apart(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    dual(&stage, "red");
    dual(&stage, "blue");
    let a = stage.sandbox("a", &["red"], &["8080:80"]);
    let b = stage.sandbox("b", &["red"], &[]);
    let c = stage.sandbox("c", &["blue"], &[]);
    let d = stage.sandbox("d", &["bridge"], &[]);
    let both = stage.sandbox("both", &["red", "blue"], &[]);
    let _servers = [&a, &b, &c, &d].map(|it| serve(it));
    let (red, blue) = (|it: &Sandbox| it.address("red"), |it: &Sandbox| it.address("blue"));
    let (red6, blue6) = (|it: &Sandbox| it.address6("red"), |it: &Sandbox| it.address6("blue"));
    assert_ways(
        &[(&a, red(&b)), (&a, red6(&b)), (&both, red(&a)), (&both, blue(&c)), (&both, blue6(&c))],
        &ALL,
    );
    assert_ways(
        &[
            (&a, blue(&c)),
            (&a, blue6(&c)),
            (&c, red(&a)),
            (&c, red6(&a)),
            (&c, red(&b)),
            (&d, red(&a)),
            (&a, d.address("bridge")),
        ],
        &NONE,
    );
}

fn container_addresses_are_not_reached_from_outside(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    // Forwarding was on before, and nobody else filters.
    stage.host.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
    stage.host.set_sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    dual(&stage, "app");
    let published = stage.sandbox("published", &["app"], &["80:80", "80:80/udp"]);
    let unpublished = stage.sandbox("unpublished", &["app"], &[]);
    let _servers = [&published, &unpublished].map(|it| serve(it));
    stage.lan.route("172.16.0.0/12", HOST).unwrap();
    let network6 = ipnet::IpNet::new(published.address6("app"), 64).unwrap().trunc();
    stage.lan.route(&network6.to_string(), HOST6).unwrap();
    for with_proxy in ["--userland-proxy=true", "--userland-proxy=false"] {
        stage.daemon.restart(&[with_proxy]);
        // The host's own address, and that of the bridge, lead to what is published.
        let gateway = "172.18.0.1".parse().unwrap();
        let (host, host6) = (HOST.parse().unwrap(), HOST6.parse().unwrap());
        let lan = &*stage.lan;
        assert_ways(&[(lan, host), (lan, host6), (lan, gateway)], &ALL);
        let mut asked = Vec::new();
        for sandbox in [&published, &unpublished] {
            asked.extend([(lan, sandbox.address("app")), (lan, sandbox.address6("app"))]);
        }
        assert_ways(&asked, &NONE);
    }
}

/// Sends UDP frames to a loopback address of the host, and counts what arrives at a socket there.
fn forged_to_loopback(from: &Place, interface: &str, gateway: frame::Mac, stage: &Stage, own: IpAddr) {
    let ethernet = Ethernet { source: from.mac(interface).unwrap(), destination: gateway };
    let sender = FrameSender::open(from, interface).unwrap();
    let open = |address: &'static str| stage.host.run_in(move || UdpSocket::bind(address).unwrap()).unwrap();
    let (secret, open_to_all) = (open("127.0.0.1:7000"), open("0.0.0.0:7001"));
    let send = |target: &str| {
        let source = SocketAddr::new(own, 1234);
        sender.send(&frame::udp(ethernet, source, target.parse().unwrap(), b"forged").unwrap()).unwrap();
    };
    for target in ["127.0.0.1:7000", "127.0.0.1:9000", "127.255.0.1:7000"] {
        send(target);
    }
    send("10.10.50.99:7001");
    let mut buffer = [0; 16];
    open_to_all.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    open_to_all.recv(&mut buffer).unwrap();
    secret.set_read_timeout(Some(WHILE)).unwrap();
    assert!(secret.recv(&mut buffer).is_err(), "a frame from {} came to 127.0.0.1", from.name());
}

fn loopback_is_the_hosts_own(lab: &Lab) {
    let mut stage = Stage::new(lab, &[]);
    let published = ["127.0.0.1:9000:80", "127.0.0.1:9000:80/udp"];
    let server = stage.sandbox("server", &["bridge"], &published);
    let sandbox = stage.sandbox("sandbox", &["bridge"], &[]);
    let _servers = serve(&server);
    for (with_proxy, route_localnet) in [("true", "0"), ("false", "1")] {
        stage.daemon.restart(&[&format!("--userland-proxy={with_proxy}")]);
        // Without the proxy the kernel itself would take such packets.
        let sysctl = stage.host.sysctl("net.ipv4.conf.fairway0.route_localnet").unwrap();
        assert_eq!(sysctl, route_localnet);
        let arrived = Capture::start(&server, "eth0", |bytes| {
            frame::read(bytes).is_some_and(|seen| {
                let ports = seen.content.ports();
                ports == Some((1234, 80))
            })
        })
        .unwrap();
        let bridge = stage.host.mac("fairway0").unwrap();
        forged_to_loopback(&sandbox, "eth0", bridge, &stage, sandbox.address("bridge"));
        let eth0 = stage.host.mac("eth0").unwrap();
        forged_to_loopback(&stage.lan, "eth0", eth0, &stage, LAN.parse().unwrap());
        assert!(arrived.frames().is_empty(), "published on loopback, and reached from elsewhere");
        // The host itself reaches it.
        let seen = fairway_lab::ask_datagram(&stage.host, "127.0.0.1:9000").unwrap();
        assert_eq!(seen, Outcome::answered("172.17.0.1"));
    }
}

fn the_host_is_a_router_for_its_sandboxes_alone(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    let (far, _) = stage.far(lab);
    stage.be_router_of_lan();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    dual(&stage, "app");
    let sandbox = stage.sandbox("sandbox", &["app"], &[]);
    let _servers = [serve(&stage.lan), serve(&far)];
    for sysctl in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        assert_eq!(stage.host.sysctl(sysctl).unwrap(), "1", "{sysctl}");
    }
    let [lan, lan6, far4, far6] = [LAN, LAN6, FAR, FAR6].map(|it| it.parse().unwrap());
    assert_ways(&[(&sandbox, lan), (&sandbox, lan6), (&sandbox, far4), (&sandbox, far6)], &ALL);
    let between: [(&Place, IpAddr); 4] = [(&far, lan), (&far, lan6), (&stage.lan, far4), (&stage.lan, far6)];
    assert_ways(&between, &NONE);
    // It stays so without a daemon.
    stage.daemon.kill9();
    assert_ways(&between, &NONE);
}

fn a_host_that_was_a_router_remains_one(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    stage.host.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
    let (far, _) = stage.far(lab);
    stage.be_router_of_lan();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    let _servers = serve(&stage.lan);
    assert_ways(&[(&far, LAN.parse().unwrap())], &ALL);
}

fn internal_networks_have_no_way_out_or_in(lab: &Lab) {
    let stage = Stage::new(lab, &[]);
    let ask = |network: &mut fairway_api::types::NetworkCreate| {
        network.internal = true;
        network.enable_ipv6 = Some(true);
    };
    stage.create_network("inner", ask).unwrap();
    dual(&stage, "outer");
    let inside = stage.attach("inside", request(&["inner"], &["8080:80"])).unwrap();
    let neighbour = stage.sandbox("neighbour", &["inner"], &[]);
    let outside = stage.sandbox("outside", &["outer"], &[]);
    let _servers = [&*inside, &*neighbour, &*outside, &*stage.lan].map(serve);
    assert!(inside.attached.warnings.iter().any(|text| text.contains("internal")), "ports are discarded");
    let inner = [inside.address("inner"), inside.address6("inner")];
    assert_ways(&[(&neighbour, inner[0]), (&neighbour, inner[1])], &ALL);
    // Out.
    let [lan, lan6] = [LAN, LAN6].map(|it| it.parse().unwrap());
    let outer = [outside.address("outer"), outside.address6("outer")];
    assert_ways(&[(&inside, lan), (&inside, lan6), (&inside, outer[0]), (&inside, outer[1])], &NONE);
    // In, with a route there.
    stage.lan.route("172.16.0.0/12", HOST).unwrap();
    let lan = &*stage.lan;
    let published = HOST.parse().unwrap();
    assert_ways(&[(lan, inner[0]), (&outside, inner[0]), (&outside, inner[1])], &NONE);
    let seen = Question::to(&at(published, 8080)).unwrap().tcp(lan).unwrap();
    assert_eq!(seen, Outcome::Refused);
    // Out, by way of a bridge that it is not told to use.
    let arrived = Capture::start(lan, "eth0", |bytes| {
        frame::read(bytes).is_some_and(|seen| seen.content.ports().is_some_and(|(_, to)| to == 4321))
    })
    .unwrap();
    let forge = |from: &Sandbox, network: &str, bridge: &str| {
        let destination = stage.host.mac(bridge).unwrap();
        let ethernet = Ethernet { source: from.mac("eth0").unwrap(), destination };
        let source = SocketAddr::new(from.address(network), 1234);
        let datagram = frame::udp(ethernet, source, format!("{LAN}:4321").parse().unwrap(), b"x");
        FrameSender::open(from, "eth0").unwrap().send(&datagram.unwrap()).unwrap();
    };
    forge(&inside, "inner", &bridge_of(&stage, "inner"));
    forge(&outside, "outer", &bridge_of(&stage, "outer"));
    assert!(!arrived.wait_for(1, Duration::from_secs(20)).is_empty(), "the honest one arrives");
    thread::sleep(WHILE);
    assert_eq!(arrived.frames().len(), 1, "and no other");
}

/// The bridge of a network: named for the first 12 digits of its id.
fn bridge_of(stage: &Stage, network: &str) -> String {
    let id = stage.client().network(network).unwrap().id;
    format!("br-{}", &id[..12])
}
