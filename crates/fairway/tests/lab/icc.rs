//! Networks whose sandboxes may not talk to one another, and links, which let them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::dns::{RecordType, look_up};
use fairway_api::types::{ContainerCreate, EndpointSettings};
use fairway_lab::frame::{self, Ethernet};
use fairway_lab::{
    Capture, DatagramFlow, FrameSender, Lab, Outcome, Place, Question, Server, serve_datagrams, serve_tcp,
};

use crate::cli::{fairway, printed, stay};
use crate::harness::{HOST, HOST6, LAN, LAN6, Stage, request};
use crate::ping::ping;

const ICC: &str = "com.docker.network.bridge.enable_icc";
/// What is not let through is waited for in vain.
const IMPATIENT: Duration = Duration::from_millis(400);

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn tcp(place: &Place, address: IpAddr, port: u16) -> bool {
    let answered =
        Question::to(&at(address, port)).unwrap().within(Duration::from_secs(15)).tcp(place).unwrap();
    matches!(answered, Outcome::Answered { .. })
}

fn datagram(place: &Place, address: IpAddr, port: u16) -> bool {
    let answered =
        Question::to(&at(address, port)).unwrap().within(Duration::from_secs(15)).udp(place).unwrap();
    matches!(answered, Outcome::Answered { .. })
}

/// No packet of any kind is answered. All are sent at once, for each answer is waited for in vain.
fn assert_apart(pairs: &[(&Place, IpAddr, &[u16])], what: &str) {
    std::thread::scope(|scope| {
        for (from, to, ports) in pairs {
            let name = from.name();
            for port in *ports {
                let question = Question::to(&at(*to, *port)).unwrap().within(IMPATIENT);
                let what = format!("{name} to {to}:{port}, {what}");
                scope.spawn(move || {
                    assert_eq!(question.tcp(from).unwrap(), Outcome::TimedOut, "by TCP, {what}");
                    assert_eq!(question.udp(from).unwrap(), Outcome::TimedOut, "by UDP, {what}");
                });
            }
            scope.spawn(move || assert!(!ping(from, *to), "{name} pings {to}, {what}"));
        }
    });
}

fn serve(place: &Place, ports: &[u16]) -> Vec<Server> {
    let both = |port: &u16| {
        let address = format!("[::]:{port}");
        [serve_tcp(place, &address).unwrap(), serve_datagrams(place, &address).unwrap()]
    };
    ports.iter().flat_map(both).collect()
}

/// A stage whose daemon is started once for each setting of br_netfilter and the proxy.
fn in_each_mode(stage: &mut Stage, flags: &[&str], mut look: impl FnMut(&Stage, &str)) {
    for netfilter in [true, false] {
        stage.host.set_bridge_netfilter(netfilter).unwrap();
        for proxy in [true, false] {
            let proxy = format!("--userland-proxy={proxy}");
            stage.daemon.restart(&[flags, &[&proxy]].concat());
            look(stage, &format!("br_netfilter {netfilter}, {proxy}"));
        }
    }
}

on_each_backend! {
    neighbours_reach_what_is_published_and_nothing_else;
    no_frame_finds_a_way_to_a_neighbour;
    a_link_opens_the_exposed_ports_one_way;
    a_link_follows_its_target_to_another_address;
}

fn neighbours_reach_what_is_published_and_nothing_else(lab: &Lab) {
    let mut stage = Stage::new(lab, &["--icc=false"]);
    stage
        .create_network("app", |network| {
            network.enable_ipv6 = Some(true);
            network.options.insert(ICC.to_owned(), "false".to_owned());
        })
        .unwrap();
    // The daemon's flag is for the default bridge alone.
    stage.network("open");
    let published = ["8080:80", "8080:80/udp", "127.0.0.1:8082:82"];
    let server = stage.sandbox("server", &["bridge"], &published);
    let neighbour = stage.sandbox("neighbour", &["bridge"], &[]);
    let [server6, neighbour6] = [("server6", &["8081:80"][..]), ("neighbour6", &[])]
        .map(|(name, ports)| stage.sandbox(name, &["app"], ports));
    let [one, other] = ["one", "other"].map(|name| stage.sandbox(name, &["open"], &[]));
    let _servers = [&*server, &*server6, &*other, &*stage.lan].map(|place| serve(place, &[80, 81, 82]));
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    in_each_mode(&mut stage, &["--icc=false"], |stage, mode| {
        assert_apart(
            &[
                (&neighbour, server.address("bridge"), &[80, 81, 82]),
                (&neighbour6, server6.address("app"), &[80, 81]),
                (&neighbour6, server6.address6("app"), &[80, 81]),
            ],
            mode,
        );
        for (place, target, port) in [
            (&*neighbour, HOST, 8080),
            (&*neighbour, "172.17.0.1", 8080),
            (&*server, HOST, 8080),
            (&*neighbour6, HOST, 8081),
            (&*neighbour6, HOST6, 8081),
            (&*server6, HOST6, 8081),
            (&*stage.lan, HOST, 8080),
            (&*stage.lan, HOST6, 8081),
            (&*neighbour, LAN, 80),
            (&*neighbour6, LAN6, 80),
        ] {
            assert!(tcp(place, address(target), port), "{} to {target}:{port}, {mode}", place.name());
        }
        assert!(datagram(&neighbour, address(HOST), 8080), "{mode}");
        // What is published on loopback is the host's.
        let question = Question::to("172.17.0.1:8082").unwrap().within(IMPATIENT);
        assert_eq!(question.tcp(&neighbour).unwrap(), Outcome::Refused, "{mode}");
        assert!(ping(&neighbour, address("172.17.0.1")) && tcp(&stage.host, server.address("bridge"), 81));
        assert!(tcp(&one, other.address("open"), 81) && ping(&one, other.address("open")), "{mode}");
    });
    stage.daemon.restart(&[]);
    assert!(tcp(&neighbour, server.address("bridge"), 81) && ping(&neighbour, server.address("bridge")));
    assert_apart(&[(&neighbour6, server6.address6("app"), &[81])], "the network's own option stays");
}

fn no_frame_finds_a_way_to_a_neighbour(lab: &Lab) {
    let mut stage = Stage::new(lab, &["--icc=false"]);
    let victim = stage.sandbox("victim", &["bridge"], &["8080:80/udp"]);
    let attacker = stage.sandbox("attacker", &["bridge"], &[]);
    let (to, from) = (victim.address("bridge"), attacker.address("bridge"));
    let [own, theirs] = [&attacker, &victim].map(|sandbox| sandbox.mac("eth0").unwrap());
    let bridge = stage.host.mac("fairway0").unwrap();
    let list = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let links = stage.host.run_in(list).unwrap();
    let ways = [theirs, bridge, frame::BROADCAST, [1, 0, 0x5e, 0, 0, 1], [2, 9, 9, 9, 9, 9]];
    let host_ends = links.lines().filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name);
    let host_ends = host_ends.filter(|name| name.starts_with("fw")).map(|name| stage.host.mac(name).unwrap());
    let ways: Vec<_> = ways.into_iter().chain(host_ends).collect();
    assert_eq!(ways.len(), 5 + 2);
    let heard = Capture::start(&victim, "eth0", |bytes| bytes.ends_with(b"attack")).unwrap();
    let sender = FrameSender::open(&attacker, "eth0").unwrap();
    in_each_mode(&mut stage, &["--icc=false"], |_, mode| {
        for destination in &ways {
            let ethernet = Ethernet { source: own, destination: *destination };
            let target = SocketAddr::new(to, 80);
            let plain = frame::udp(ethernet, SocketAddr::new(from, 80), target, b"attack").unwrap();
            // A priority tag (VLAN 0), by which br_netfilter passes over it; and what is no IP at all.
            let tagged = [&plain[..12], &[0x81, 0, 0, 0], &plain[12..]].concat();
            let foreign = [&plain[..12], &[0x88, 0xb5], &plain[14..]].concat();
            [plain, tagged, foreign].iter().for_each(|bytes| sender.send(bytes).unwrap());
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(heard.frames(), Vec::<Vec<u8>>::new(), "{mode}");
    });
    // They are well made.
    stage.daemon.restart(&[]);
    let ethernet = Ethernet { source: own, destination: theirs };
    let bytes = frame::udp(ethernet, SocketAddr::new(from, 80), SocketAddr::new(to, 80), b"attack").unwrap();
    sender.send(&bytes).unwrap();
    assert_eq!(heard.wait_for(1, Duration::from_secs(20)).first(), Some(&bytes));
}

/// A sandbox of the default bridge that exposes ports and links to others.
fn linking(exposed: &[&str], publish: &[&str], links: &[&str]) -> ContainerCreate {
    let mut container = request(&["bridge"], publish);
    container.exposed_ports = exposed.iter().map(|port| ((*port).to_owned(), Default::default())).collect();
    container.host_config.links = links.iter().map(|link| (*link).to_owned()).collect();
    container
}

fn a_link_opens_the_exposed_ports_one_way(lab: &Lab) {
    let mut stage = Stage::new(lab, &["--icc=false"]);
    let db = stage.attach("db", linking(&["80/tcp", "53/udp"], &["9000:81"], &[])).unwrap();
    let lk = stage.attach("lk", linking(&["80/tcp"], &[], &["db:data"])).unwrap();
    let third = stage.sandbox("third", &["bridge"], &[]);
    let _servers = [&db, &lk].map(|place| serve(place, &[53, 80, 81, 82]));
    let (to, back) = (db.address("bridge"), lk.address("bridge"));
    let ethernet = Ethernet { source: db.mac("eth0").unwrap(), destination: lk.mac("eth0").unwrap() };
    let opening = frame::tcp_syn(ethernet, SocketAddr::new(to, 80), SocketAddr::new(back, 82)).unwrap();
    let awaited = opening.clone();
    let heard = Capture::start(&lk, "eth0", move |bytes| bytes == awaited).unwrap();
    let sender = FrameSender::open(&db, "eth0").unwrap();
    in_each_mode(&mut stage, &["--icc=false"], |_, mode| {
        assert!(tcp(&lk, to, 80) && tcp(&lk, to, 81) && datagram(&lk, to, 53), "{mode}");
        for (port, protocol) in [(53, "tcp"), (82, "tcp"), (80, "udp"), (81, "udp")] {
            let question = Question::to(&at(to, port)).unwrap().within(IMPATIENT);
            let seen = if protocol == "tcp" { question.tcp(&lk) } else { question.udp(&lk) };
            assert_eq!(seen.unwrap(), Outcome::TimedOut, "{port}/{protocol}, {mode}");
        }
        assert_apart(&[(&lk, to, &[]), (&db, back, &[80]), (&third, to, &[80])], mode);
        // Nor from a port that the link is to, which the answers come from.
        sender.send(&opening).unwrap();
    });
    let read = || std::fs::read_to_string(&lk.attached.hosts_path).unwrap();
    assert_eq!(heard.frames(), Vec::<Vec<u8>>::new());
    let hosts = stage.host.run_in(read).unwrap();
    let line = format!("{to}\tdata {} db\n", &db.attached.id[..12]);
    assert!(hosts.contains(&line), "{hosts}");
    // Where all may talk it arrives.
    stage.daemon.restart(&[]);
    sender.send(&opening).unwrap();
    assert_eq!(heard.wait_for(1, Duration::from_secs(20)), [opening]);
}

fn a_link_follows_its_target_to_another_address(lab: &Lab) {
    let mut stage = Stage::new(lab, &["--icc=false"]);
    for netfilter in [true, false] {
        stage.host.set_bridge_netfilter(netfilter).unwrap();
        stage.daemon.restart(&["--icc=false"]);
        let field = |name: &str, field: &str| printed(&stage, &format!("inspect -f {{{{.{field}}}}} {name}"));
        let inside = |name: &str| stage.host.sandbox(field(name, "NetworkSettings.SandboxKey")).unwrap();
        let address = |name: &str| -> IpAddr {
            field(name, "NetworkSettings.Networks.bridge.IPAddress").parse().unwrap()
        };
        stay(&stage, "--name db --hostname dbhost --expose 80 --expose 80/udp -e PASS=x");
        stay(&stage, "--name lk --link db:data");
        let (lk, old) = (inside("lk"), address("db"));
        let hosts = field("lk", "HostsPath");
        let lines = || -> Vec<String> {
            let text = stage.host.run_in(|| std::fs::read_to_string(&hosts).unwrap()).unwrap();
            text.lines().filter(|line| line.contains("data")).map(str::to_owned).collect()
        };
        let serving = serve(&inside("db"), &[80]);
        let flow = DatagramFlow::open(&lk, &at(old, 80)).unwrap();
        assert!(tcp(&lk, old, 80) && matches!(flow.ask(Duration::from_secs(15)), Outcome::Answered { .. }));
        assert_eq!(lines(), [format!("{old}\tdata dbhost db")]);
        drop(serving);
        printed(&stage, "stop -t 1 db");
        assert!(lines().is_empty());
        let refused = fairway(&stage, "run --rm --link db:data -- /bin/true");
        let reason = "Cannot link to a non running container: /db AS /";
        assert!(refused.errors.contains(reason), "{refused:?}");
        let heir = stage.sandbox("heir", &["bridge"], &[]);
        assert_eq!(heir.address("bridge"), old);
        let _heir = serve(&heir, &[80]);
        printed(&stage, "start db");
        let new = address("db");
        assert_ne!(new, old);
        let _serving = serve(&inside("db"), &[80]);
        assert!(tcp(&lk, new, 80));
        assert_eq!(lines(), [format!("{new}\tdata dbhost db")]);
        assert_eq!(flow.ask(IMPATIENT), Outcome::TimedOut, "the flow of before");
        assert_apart(&[(&lk, old, &[80])], "the next owner of the address");
        let script = "echo $DATA_PORT $DATA_PORT_80_UDP_PROTO $DATA_NAME $DATA_ENV_PASS";
        let run = format!("run --rm --name env --link db:data -- /bin/sh -c '{script}'");
        assert_eq!(printed(&stage, &run), format!("tcp://{new}:80 udp /env/data x"));
        // Who has the linking sandbox's address after it has no link, nor has who has the target's name.
        let freed = address("lk");
        printed(&stage, "rm -f lk");
        let after = stage.sandbox("after", &["bridge"], &[]);
        assert_eq!(after.address("bridge"), freed);
        assert_apart(&[(&after, new, &[80])], "the next owner of the linking one's address");
        printed(&stage, "rm -f db");
        ["heir", "after"].iter().for_each(|name| stage.client().detach(name).unwrap());
    }
}

#[test]
fn on_networks_of_users_a_link_is_a_name_and_no_more() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage
            .create_network("app", |network| drop(network.options.insert(ICC.to_owned(), "false".to_owned())))
            .unwrap();
        let links = |link: &str| Some(vec![link.to_owned()]);
        let mut container = request(&["app"], &[]);
        container.networking_config.endpoints_config[0].1.links = links("later:shop");
        let front = stage.attach("front", container).unwrap();
        let other = stage.sandbox("other", &["bridge"], &[]);
        stage
            .connect("app", "other", EndpointSettings { links: links("later:store"), ..Default::default() })
            .unwrap();
        let server = "127.0.0.11:53";
        let found =
            |place: &Place, name: &str| look_up(place, server, name, RecordType::A).unwrap_or_default();
        for _ in 0..2 {
            let mut container = request(&["app"], &[]);
            container.exposed_ports = [("80/tcp".to_owned(), Default::default())].into();
            let later = stage.attach("later", container).unwrap();
            let _servers = serve(&later, &[80]);
            let address = later.address("app");
            assert_eq!((found(&front, "shop"), found(&front, "store")), (vec![address], vec![]));
            assert_eq!((found(&other, "store"), found(&other, "shop")), (vec![address], vec![]));
            assert_apart(&[(&front, address, &[80])], "a name opens nothing");
            stage.client().detach("later").unwrap();
            assert_eq!(found(&front, "shop"), Vec::<IpAddr>::new());
        }
    });
}
