//! Macvlan networks: sandboxes with a link of their own on the LAN, past the host.

use std::net::IpAddr;
use std::time::Duration;

use crate::dns::{RecordType, look_up};
use fairway_api::types::{EndpointSettings, IpamConfig, NetworkCreate};
use fairway_kernel::route::Links;
use fairway_lab::{Capture, Lab, Lan, Outcome, Place, Question, ask, serve_datagrams, serve_tcp};

use crate::foreign_changes;
use crate::harness::{HOST, HOST6, Sandbox, Stage, eventually, refusal, request};
use crate::kernel_state::{assert_same, observe};

/// The neighbour on the second LAN: the router of the macvlan networks.
const ROUTER: &str = "10.20.0.1";
const ROUTER6: &str = "fd20::1";
/// How long mending may take on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

/// A host with a second interface, eth1, without addresses; `lan` is its neighbour there too.
struct Scene {
    stage: Stage,
    wire: Lan,
}

impl Scene {
    fn new(lab: &Lab) -> Scene {
        let stage = Stage::new(lab, &[]);
        let wire = lab.lan("second").unwrap();
        wire.join(&stage.lan, &[&format!("{ROUTER}/24"), &format!("{ROUTER6}/64")]).unwrap();
        let scene = Scene { stage, wire };
        scene.plug();
        scene
    }

    /// Plugs the host into the second LAN.
    fn plug(&self) {
        assert_eq!(self.wire.join(&self.stage.host, &[]).unwrap(), "eth1");
    }

    /// A network on eth1, with both families.
    fn network(&self, name: &str, mode: &str) {
        self.stage.create_network(name, |network| on_parent(network, "eth1", mode, "20")).unwrap();
    }

    /// Has the switch send frames back where they came from, as 802.1Qbg wants it.
    fn reflect(&self) {
        let name = self.wire.name().to_owned();
        let reflect = move || {
            let links = Links::open().unwrap();
            let bridge = links.index(&name).unwrap();
            for port in links.all().unwrap().iter().filter(|link| link.master == Some(bridge)) {
                links.set_hairpin(port.index, &port.name, true).unwrap();
            }
        };
        self.wire.switches().run_in(reflect).unwrap();
    }
}

/// `-d macvlan --subnet 10.N.0.0/24 --gateway 10.N.0.1 --subnet fdN::/64 --gateway fdN::1 -o parent=..`.
fn on_parent(network: &mut NetworkCreate, parent: &str, mode: &str, number: &str) {
    network.driver = "macvlan".to_owned();
    network.enable_ipv6 = Some(true);
    let config = |subnet: String, gateway: String| IpamConfig { subnet, gateway, ..Default::default() };
    network.ipam.get_or_insert_default().config = vec![
        config(format!("10.{number}.0.0/24"), format!("10.{number}.0.1")),
        config(format!("fd{number}::/64"), format!("fd{number}::1")),
    ];
    network.options.insert("parent".to_owned(), parent.to_owned());
    if !mode.is_empty() {
        network.options.insert("macvlan_mode".to_owned(), mode.to_owned());
    }
}

/// Whether one sandbox reaches the other's port 80, by either family alike.
fn reaches(from: &Place, to: &Sandbox, network: &str) -> bool {
    let targets = [format!("{}:80", to.address(network)), format!("[{}]:80", to.address6(network))];
    let outcomes = targets.map(|target| {
        let question = Question::to(&target).unwrap().within(Duration::from_secs(2));
        matches!(question.tcp(from).unwrap(), Outcome::Answered { .. })
    });
    assert_eq!(outcomes[0], outcomes[1], "IPv4 and IPv6 alike");
    outcomes[0]
}

fn answered(by: IpAddr) -> Outcome {
    Outcome::Answered { source: by }
}

#[test]
fn sandboxes_are_on_the_lan_past_the_host() {
    fairway_lab::run(|lab| {
        let Scene { stage, .. } = &Scene::new(lab);
        // On the host's own interface, in its own subnet, past its own addresses.
        let made = stage.create_network("lan", |network| {
            on_parent(network, "eth0", "", "10");
            let config = &mut network.ipam.as_mut().unwrap().config;
            config[0].subnet = "10.10.50.0/24".to_owned();
            config[0].gateway = "10.10.50.1".to_owned();
            config[0].ip_range = "10.10.50.128/25".to_owned();
            config[1].subnet = "fd50::/64".to_owned();
            config[1].gateway = "fd50::1".to_owned();
        });
        let made = made.unwrap();
        assert_eq!((made.driver.as_str(), made.internal), ("macvlan", false));
        let before = observe(stage, &[]);
        let (a, b) = (stage.sandbox("a", &["lan"], &["8080:80"]), stage.sandbox("b", &["lan"], &[]));
        let links = |lines: &std::collections::BTreeSet<String>| {
            lines
                .iter()
                .filter(|line| line.starts_with("link ") || line.starts_with("set "))
                .cloned()
                .collect()
        };
        assert_same("the host itself", &links(&observe(stage, &[])), &links(&before));
        assert_eq!(a.address("lan").to_string(), "10.10.50.128", "the first of the range");
        let warnings = a.attached.warnings.join(" ");
        assert!(warnings.contains("discarded") && warnings.contains("at its own address"), "{warnings}");
        assert!(a.attached.ports.values().all(Option::is_none), "{:?}", a.attached.ports);

        let _servers = [&a, &b].map(|place| serve_tcp(place, "[::]:80").unwrap());
        let _neighbour = serve_tcp(&stage.lan, "[::]:80").unwrap();
        let _host = serve_tcp(&stage.host, "[::]:80").unwrap();
        assert!(reaches(&stage.lan, &a, "lan") && reaches(&a, &b, "lan"));
        for (target, source) in [("10.10.50.1", a.address("lan")), ("[fd50::1]", a.address6("lan"))] {
            assert_eq!(ask(&a, &format!("{target}:80")).unwrap(), answered(source), "not translated");
        }
        assert!(!reaches(&stage.host, &a, "lan"), "the kernel keeps a parent and its macvlans apart");
        for target in [HOST.to_owned(), format!("[{HOST6}]")] {
            let question = Question::to(&format!("{target}:80")).unwrap().within(Duration::from_millis(500));
            assert!(!matches!(question.tcp(&a).unwrap(), Outcome::Answered { .. }));
        }
        assert_eq!(ask(&stage.lan, &format!("{HOST}:8080")).unwrap(), Outcome::Refused, "not published");
        for (kind, address) in [(RecordType::A, b.address("lan")), (RecordType::AAAA, b.address6("lan"))] {
            assert_eq!(look_up(&a, "127.0.0.11:53", "b", kind).unwrap(), [address]);
        }
    });
}

#[test]
fn the_mode_says_which_frames_pass_between_sandboxes() {
    fairway_lab::run(|lab| {
        let scene = Scene::new(lab);
        let stage = &scene.stage;
        let run = |mode: &str, neighbours: bool| {
            scene.network("net", mode);
            let (a, b) = (stage.sandbox("a", &["net"], &[]), stage.sandbox("b", &["net"], &[]));
            let _servers = [&a, &b].map(|place| serve_tcp(place, "[::]:80").unwrap());
            assert_eq!(reaches(&a, &b, "net"), neighbours, "{mode}: a to b");
            assert!(reaches(&stage.lan, &a, "net"), "{mode}: the LAN to a");
            ["a", "b"].iter().for_each(|name| stage.client().detach(name).unwrap());
            stage.client().remove_network("net").unwrap();
        };
        run("bridge", true);
        run("private", false);
        run("vepa", false);
        scene.reflect();
        run("vepa", true);
        run("private", false);
    });
}

#[test]
fn passthru_has_the_parent_s_frames_and_no_neighbour() {
    fairway_lab::run(|lab| {
        let scene = Scene::new(lab);
        let stage = &scene.stage;
        scene.network("all", "passthru");
        let parent = stage.host.mac("eth1").unwrap();
        let a = stage.sandbox("a", &["all"], &[]);
        assert_eq!(a.mac("eth0").unwrap(), parent);
        assert_eq!(a.attached.networks["all"].mac_address, mac_text(parent));
        let _server = serve_tcp(&a, "[::]:80").unwrap();
        assert!(reaches(&stage.lan, &a, "all"));
        // A frame to somebody else, which only the whole interface sees.
        let heard = Capture::start(&a, "eth0", |frame| frame.starts_with(&[2, 9, 9, 9, 9, 9])).unwrap();
        let mut frame = vec![2, 9, 9, 9, 9, 9];
        frame.extend(stage.lan.mac("eth1").unwrap());
        frame.extend([0x88, 0xb5]);
        frame.resize(60, 0);
        fairway_lab::FrameSender::open(&stage.lan, "eth1").unwrap().send(&frame).unwrap();
        assert_eq!(heard.wait_for(1, SOON).len(), 1, "a passthru macvlan hears all");
        let text = refusal(stage.attach("b", request(&["all"], &[])));
        assert!(text.contains("network all") && text.contains("passthru") && text.contains(": a:"), "{text}");
        let text = refusal(stage.create_network("more", |it| on_parent(it, "eth1", "bridge", "21")));
        assert!(text.contains("eth1") && text.contains("network all"), "{text}");
    });
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[test]
fn networks_share_a_parent_and_subnets_meet_behind_others() {
    fairway_lab::run(|lab| {
        let scene = Scene::new(lab);
        let stage = &scene.stage;
        scene.network("one", "bridge");
        stage.create_network("two", |network| on_parent(network, "eth1", "bridge", "21")).unwrap();
        stage.lan.add_address("eth1", "10.21.0.1/24").unwrap();
        stage.lan.add_address("eth1", "fd21::1/64").unwrap();
        let (a, b) = (stage.sandbox("a", &["one"], &[]), stage.sandbox("b", &["two"], &[]));
        let _servers = [&a, &b].map(|place| serve_tcp(place, "[::]:80").unwrap());
        assert!(reaches(&stage.lan, &a, "one") && reaches(&stage.lan, &b, "two"));
        assert_ne!(a.mac("eth0").unwrap(), b.mac("eth0").unwrap());
        // The same subnet behind eth0 is another LAN, with its own a.
        stage.create_network("elsewhere", |network| on_parent(network, "eth0", "bridge", "20")).unwrap();
        let c = stage.sandbox("c", &["elsewhere"], &[]);
        assert_eq!(c.address("elsewhere"), a.address("one"));
        assert!(!reaches(&c, &b, "two"));
        let text = refusal(stage.create_network("three", |it| on_parent(it, "eth1", "bridge", "20")));
        assert!(text.contains("network one"), "{text}");
        let mut container = request(&["one"], &[]);
        let settings = &mut container.networking_config.endpoints_config[0].1;
        settings.ipam_config.get_or_insert_default().ipv4_address = a.address("one").to_string();
        let text = refusal(stage.attach("d", container));
        assert!(text.contains("Address already in use") && text.contains("container a"), "{text}");
    });
}

#[test]
fn without_a_parent_it_leads_nowhere() {
    fairway_lab::run(|lab| {
        let Scene { stage, .. } = &Scene::new(lab);
        let made = stage.create_network("alone", |network| network.driver = "macvlan".to_owned()).unwrap();
        assert!(made.internal);
        let (a, b) = (stage.sandbox("a", &["alone"], &[]), stage.sandbox("b", &["alone"], &[]));
        let _server = serve_tcp(&b, "0.0.0.0:80").unwrap();
        let _host = serve_tcp(&stage.host, "0.0.0.0:80").unwrap();
        let to_b = format!("{}:80", b.address("alone"));
        assert_eq!(ask(&a, &to_b).unwrap(), answered(a.address("alone")));
        assert_eq!(ask(&a, &format!("{HOST}:80")).unwrap(), Outcome::Unreachable);
        // Somebody deletes what they stand upon: it comes back, and they with it.
        let dummy_parent = format!("dm-{}", &made.id[..12]);
        stage.host.run_in(|| foreign_changes::delete_link(&dummy_parent)).unwrap();
        eventually("they are back", SOON, || {
            let question = Question::to(&to_b).unwrap().within(Duration::from_secs(2));
            matches!(question.tcp(&a).unwrap(), Outcome::Answered { .. })
        });
        ["a", "b"].iter().for_each(|name| stage.client().detach(name).unwrap());
        stage.client().remove_network("alone").unwrap();
        assert!(!stage.host.run_in(|| foreign_changes::has_link(&dummy_parent)).unwrap());
    });
}

#[test]
fn what_cannot_be_a_parent_is_refused_by_name() {
    fairway_lab::run(|lab| {
        let Scene { stage, .. } = &Scene::new(lab);
        let on = |parent: &str| {
            refusal(stage.create_network("lan", |network| on_parent(network, parent, "", "20")))
        };
        assert!(on("eth7").contains("no such interface: eth7"));
        assert!(on("lo").contains("loopback"));
        let bridged = stage.network("app");
        stage.sandbox("p", &["app"], &[]);
        let p = stage.host.sandbox("/run/netns/p").unwrap();
        let port = stage.host.run_in(|| foreign_changes::port_of(&p, "eth0")).unwrap();
        assert!(on(&port).contains(&format!("it is a port of br-{}", &bridged.id[..12])));
    });
}

#[test]
fn a_living_sandbox_comes_and_goes() {
    fairway_lab::run(|lab| {
        let mut scene = Scene::new(lab);
        scene.network("lan", "bridge");
        let stage = &mut scene.stage;
        stage.network("app");
        let a = stage.sandbox("a", &["app"], &["8080:80"]);
        let _server = serve_tcp(&a, "[::]:80").unwrap();
        let settings = |mac: &str| {
            let ipam = fairway_api::types::EndpointIpam {
                ipv4_address: "10.20.0.9".to_owned(),
                ..Default::default()
            };
            // The way out, and with it the published port, stays where it is.
            EndpointSettings {
                ipam_config: Some(ipam),
                mac_address: mac.to_owned(),
                gw_priority: -1,
                ..Default::default()
            }
        };
        stage.connect("lan", "a", settings("")).unwrap();
        let reached = |stage: &Stage| {
            ask(&stage.lan, "10.20.0.9:80").unwrap() == Outcome::answered(ROUTER)
                && ask(&stage.lan, &format!("{HOST}:8080")).unwrap() == Outcome::answered("10.10.50.1")
        };
        assert!(reached(stage));
        let with = observe(stage, &[("a", &a)]);
        stage.daemon.restart(&[]);
        assert_same("after a restart", &observe(stage, &[("a", &a)]), &with);
        assert!(reached(stage));
        stage.disconnect("lan", "a").unwrap();
        assert!(!a.run_in(|| foreign_changes::has_link("eth1")).unwrap());
        // Another one with its address and another MAC: neighbours are told.
        let b = stage.sandbox("b", &["app"], &[]);
        let _other = serve_tcp(&b, "[::]:80").unwrap();
        stage.connect("lan", "b", settings("02:00:00:00:00:77")).unwrap();
        assert_eq!(ask(&stage.lan, "10.20.0.9:80").unwrap(), Outcome::answered(ROUTER));
        stage.client().detach("b").unwrap();
        assert!(
            !b.run_in(|| foreign_changes::has_link("eth1")).unwrap(),
            "the namespace lives on without it"
        );
    });
}

#[test]
fn links_come_back_with_their_parent() {
    fairway_lab::run(|lab| {
        let mut scene = Scene::new(lab);
        scene.network("lan", "bridge");
        let a = scene.stage.sandbox("a", &["lan"], &[]);
        let _server = serve_datagrams(&a, "[::]:80").unwrap();
        let target = format!("{}:80", a.address("lan"));
        let reached = |scene: &Scene| {
            let question = Question::to(&target).unwrap().within(Duration::from_secs(2));
            matches!(question.udp(&scene.stage.lan).unwrap(), Outcome::Answered { .. })
        };
        assert!(reached(&scene));
        let with = observe(&scene.stage, &[("a", &a)]);

        scene.stage.host.set_link("eth1", false).unwrap();
        assert!(!reached(&scene));
        scene.stage.host.set_link("eth1", true).unwrap();
        eventually("up again", SOON, || reached(&scene));

        for restart in [false, true] {
            scene.stage.host.run_in(|| foreign_changes::delete_link("eth1")).unwrap();
            assert!(!a.run_in(|| foreign_changes::has_link("eth0")).unwrap(), "the kernel takes it away");
            eventually("it is logged", SOON, || {
                scene
                    .stage
                    .daemon
                    .log()
                    .lines()
                    .any(|line| line.contains("macvlan parent eth1") && line.contains("was deleted"))
            });
            if restart {
                scene.stage.daemon.restart(&[]);
            }
            let text = refusal(scene.stage.attach("late", request(&["lan"], &[])));
            assert!(text.contains("there is no interface eth1"), "{text}");
            scene.plug();
            eventually("back again", SOON, || reached(&scene));
        }
        assert_same("the sandbox", &observe(&scene.stage, &[("a", &a)]), &with);

        // The sandbox deletes it itself: a look into sandboxes finds that out.
        a.run_in(|| foreign_changes::delete_link("eth0")).unwrap();
        eventually("made anew", Duration::from_secs(20), || reached(&scene));
    });
}
