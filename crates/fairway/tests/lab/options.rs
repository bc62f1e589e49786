//! Options of endpoints, and those of networks that no other file is about.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use fairway_api::types::{ContainerCreate, EndpointSettings};
use fairway_lab::frame::{self, Content};
use fairway_lab::{Capture, Outcome, Place, Question, serve_tcp};

use crate::harness::{HOST, HOST6, Stage, eventually, request};
use crate::modes::patience;

const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
const COUNT: &str = "com.docker.network.advertise_addr_nmsgs";
const INTERVAL: &str = "com.docker.network.advertise_addr_ms";

/// A sandbox on `app` with these driver options.
fn with(options: &[(&str, &str)]) -> ContainerCreate {
    let mut container = request(&["app"], &[]);
    container.networking_config.endpoints_config[0].1 = asked(options);
    container
}

fn asked(options: &[(&str, &str)]) -> EndpointSettings {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    EndpointSettings { driver_opts: Some(options.collect()), ..EndpointSettings::default() }
}

fn setting(place: &Place, path: &str) -> String {
    let path = format!("/proc/sys/net/{path}");
    place.run_in(|| std::fs::read_to_string(path).unwrap().trim().to_owned()).unwrap()
}

/// `app`, dual-stack, with these options.
fn app(stage: &Stage, options: &[(&str, &str)]) {
    let ask = |network: &mut fairway_api::types::NetworkCreate| {
        network.enable_ipv6 = Some(true);
        network.options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    };
    stage.create_network("app", ask).unwrap();
}

#[test]
fn settings_inside_are_as_asked_and_repaired_at_the_next_start() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        app(&stage, &[]);
        stage.network("back");
        let text = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.IFNAME.ucast_solicit=7";
        let one = stage
            .attach("one", with(&[(SYSCTLS, text), ("com.docker.network.endpoint.ifname", "lan0")]))
            .unwrap();
        let all = ["ipv4/conf/lan0/log_martians", "ipv6/neigh/lan0/ucast_solicit"];
        let inside = || all.map(|path| setting(&one, path));
        assert_eq!(inside(), ["1", "7"]);
        stage.connect("back", "one", asked(&[(SYSCTLS, "net.ipv4.conf.ifname.forwarding=1")])).unwrap();
        assert_eq!(setting(&one, "ipv4/conf/eth0/forwarding"), "1");
        assert_eq!(setting(&one, "ipv4/conf/lan0/forwarding"), "0");
        // What was changed inside is told, and right again with the next daemon.
        one.run_in(|| std::fs::write("/proc/sys/net/ipv4/conf/lan0/log_martians", "0").unwrap()).unwrap();
        stage.daemon.restart(&[]);
        assert_eq!(inside(), ["1", "7"]);
        // Who switches IPv6 off gets no address of it.
        let four = stage.attach("four", with(&[(SYSCTLS, "net.ipv6.conf.IFNAME.disable_ipv6=1")])).unwrap();
        assert_eq!(four.attached.networks["app"].global_ipv6_address, "");
        assert_eq!(setting(&four, "ipv6/conf/eth0/disable_ipv6"), "1");
        for (text, reason) in [
            ("net.ipv4.conf.eth0.log_martians=1", "unrecognised network interface sysctl"),
            ("net.core.conf.IFNAME.x=1", "'X' must be 'ipv4', 'ipv6' or 'mpls'"),
            ("net.ipv4.conf.IFNAME.no_such=1", "net/ipv4/conf/eth0/no_such"),
        ] {
            let error = stage.attach("two", with(&[(SYSCTLS, text)])).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(stage.client().container("two").is_err(), "nothing is left of it");
        }
    });
}

/// How often addresses of others are announced to a sandbox, by ARP and by ND: at least so often each, if `join` has
/// them announced, and what comes in `pause` after that.
fn announced(neighbour: &Place, expected: usize, pause: Duration, join: impl FnOnce()) -> [usize; 2] {
    let own = neighbour.mac("eth0").unwrap();
    let announcements = Capture::start(neighbour, "eth0", move |bytes| {
        frame::read(bytes).is_some_and(|seen| match seen.content {
            _ if seen.ethernet.source == own => false,
            Content::Arp { sender_address, target_address, .. } => sender_address == target_address,
            _ => bytes.get(54) == Some(&136) && bytes.get(38..40) == Some(&[0xff, 0x02]),
        })
    })
    .unwrap();
    let counts = || {
        let frames = announcements.frames();
        let arp = frames.iter().filter(|bytes| bytes[12..14] == [0x08, 0x06]).count();
        [arp, frames.len() - arp]
    };
    join();
    eventually("they are announced", Duration::from_secs(20), || counts().iter().all(|it| *it >= expected));
    thread::sleep(pause);
    counts()
}

#[test]
fn announcements_are_sent_as_often_as_asked() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        app(&stage, &[(COUNT, "2"), (INTERVAL, "100")]);
        let neighbour = stage.sandbox("neighbour", &["app"], &[]);
        let attach = |name: &str, expected: usize, options: &[(&str, &str)]| {
            announced(&neighbour, expected, Duration::from_millis(500), || {
                stage.attach(name, with(options)).unwrap();
            })
        };
        assert_eq!(attach("one", 2, &[]), [2, 2]);
        assert_eq!(attach("two", 3, &[(COUNT, "3")]), [3, 3]);
        assert_eq!(attach("none", 0, &[(COUNT, "0")]), [0, 0]);
        // Of who has left nothing is said: another may have its address.
        let slow = [(COUNT, "3"), (INTERVAL, "2000")];
        let counts = announced(&neighbour, 0, Duration::from_millis(2500), || {
            stage.attach("brief", with(&slow)).unwrap();
            stage.client().detach("brief").unwrap();
        });
        assert!(counts.iter().all(|it| *it <= 1), "{counts:?}");
    });
}

#[test]
fn names_and_places_are_as_asked() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let options = [
            ("com.docker.network.container_iface_prefix", "net"),
            ("com.docker.network.bridge.host_binding_ipv4", HOST6),
            ("fairway.gard", "strict"),
        ];
        app(&stage, &options);
        stage.network("back");
        let mut container = request(&["app"], &["8080:80"]);
        container.networking_config.endpoints_config.push(("back".to_owned(), EndpointSettings::default()));
        let sandbox = stage.attach("a", container).unwrap();
        let _server = serve_tcp(&sandbox, "[::]:80").unwrap();
        // The network keeps what it was given, and the daemon what it means.
        let shown = stage.client().network("app").unwrap().options;
        assert_eq!(shown["com.docker.network.container_iface_prefix"], "net");
        for _ in 0..2 {
            let links = sandbox.run_in(|| {
                let names = std::fs::read_dir("/proc/sys/net/ipv4/conf").unwrap();
                let mut names: Vec<_> =
                    names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
                names.retain(|name| !matches!(name.as_str(), "all" | "default" | "lo"));
                names.sort();
                names
            });
            assert_eq!(links.unwrap(), ["eth0", "net0"]);
            for (address, expected) in [(HOST, false), (HOST6, true)] {
                let target = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 8080).to_string();
                let question = Question::to(&target).unwrap().within(patience(expected));
                let outcome = question.tcp(&stage.lan).unwrap();
                assert_eq!(matches!(outcome, Outcome::Answered { .. }), expected, "{target}");
            }
            stage.daemon.restart(&["--userland-proxy=false"]);
        }
    });
}

#[test]
fn loopback_is_routed_only_where_the_network_lets_it() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--userland-proxy=false"]);
        app(&stage, &[("fairway.route_localnet", "false"), ("com.docker.network.bridge.name", "shut")]);
        stage
            .create_network("open", |network| {
                network.options.insert("com.docker.network.bridge.name".to_owned(), "open".to_owned());
            })
            .unwrap();
        let sandboxes = [("a", "app", "8081:80"), ("b", "open", "8082:80")]
            .map(|(name, network, port)| stage.sandbox(name, &[network], &[port]));
        let _servers = sandboxes.each_ref().map(|place| serve_tcp(place, "[::]:80").unwrap());
        let sysctl =
            |bridge: &str| stage.host.sysctl(&format!("net.ipv4.conf.{bridge}.route_localnet")).unwrap();
        assert_eq!([sysctl("shut"), sysctl("open")], ["0", "1"]);
        for (target, expected) in
            [("127.0.0.1:8081", false), ("127.0.0.1:8082", true), ("10.10.50.99:8081", true)]
        {
            let question = Question::to(target).unwrap().within(patience(expected));
            let outcome = question.tcp(&stage.host).unwrap();
            assert_eq!(matches!(outcome, Outcome::Answered { .. }), expected, "{target}");
        }
    });
}
