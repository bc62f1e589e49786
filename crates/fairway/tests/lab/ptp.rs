//! Pairs: two sandboxes joined by nothing but a cable.

use std::net::IpAddr;
use std::time::Duration;

use crate::dns::{RecordType, look_up};
use fairway_api::types::{EndpointSettings, IpamConfig};
use fairway_kernel::route::Links;
use fairway_lab::{Outcome, Place, Question, ask, serve_datagrams, serve_tcp};

use crate::foreign_changes;
use crate::harness::{HOST, Sandbox, Stage, eventually, refusal, request};
use crate::kernel_state::{assert_same, observe};

const SOON: Duration = Duration::from_secs(20);

/// `network create -d ptp --subnet SUBNET NAME`.
fn pair(stage: &Stage, name: &str, subnets: &[&str]) {
    let made = stage.create_network(name, |network| {
        network.driver = "ptp".to_owned();
        network.enable_ipv6 = Some(subnets.iter().any(|subnet| subnet.contains(':')));
        let config = |subnet: &&str| IpamConfig { subnet: (*subnet).to_owned(), ..Default::default() };
        network.ipam.get_or_insert_default().config = subnets.iter().map(config).collect();
    });
    let made = made.unwrap();
    assert_eq!((made.driver.as_str(), made.internal), ("ptp", true));
    assert!(made.ipam.config.iter().all(|config| config.gateway.is_empty()), "{:?}", made.ipam.config);
}

/// Whether one reaches the other's UDP port 80, which sees its own address.
fn reaches(from: &Sandbox, to: &Sandbox, network: &str) -> bool {
    let question = Question::to(&format!("{}:80", to.address(network))).unwrap();
    match question.within(Duration::from_secs(2)).udp(from).unwrap() {
        Outcome::Answered { source } => {
            assert_eq!(source, from.address(network));
            true
        }
        _ => false,
    }
}

/// The names of the links of a place, loopback aside.
fn links(place: &Place) -> Vec<String> {
    let all = place.run_in(|| Links::open().unwrap().all().unwrap()).unwrap();
    all.into_iter().filter(|link| !link.loopback).map(|link| link.name).collect()
}

#[test]
fn two_sandboxes_and_nothing_between_them() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let before = links(&stage.host);
        let rules = observe(&stage, &[]);
        pair(&stage, "wire", &["10.1.1.0/30", "fd01::/126"]);
        let a = stage.sandbox("a", &["wire"], &["8080:80"]);
        assert!(a.attached.warnings.join(" ").contains("discarded"), "{:?}", a.attached.warnings);
        let alone = a.run_in(|| foreign_changes::link("eth0")).unwrap();
        assert!(alone.up, "it has its interface, if not a neighbour");
        let b = stage.sandbox("b", &["wire"], &[]);
        assert_eq!([&a, &b].map(|it| it.address("wire").to_string()), ["10.1.1.1", "10.1.1.2"]);
        assert_eq!(links(&stage.host), before, "no bridge, no end on the host");
        let sets = |lines: &std::collections::BTreeSet<String>| {
            lines.iter().filter(|line| line.starts_with("set ")).cloned().collect()
        };
        assert_same("the firewall", &sets(&observe(&stage, &[])), &sets(&rules));

        let _servers = [&a, &b].map(|place| serve_tcp(place, "[::]:80").unwrap());
        let _host = serve_tcp(&stage.host, "0.0.0.0:80").unwrap();
        for (from, to) in [(&a, &b), (&b, &a)] {
            for (source, target) in [
                (from.address("wire"), format!("{}:80", to.address("wire"))),
                (from.address6("wire"), format!("[{}]:80", to.address6("wire"))),
            ] {
                assert_eq!(ask(from, &target).unwrap(), Outcome::Answered { source });
            }
        }
        for (asker, name, address) in [(&a, "b", b.address("wire")), (&b, "a", a.address("wire"))] {
            let found = look_up(asker, "127.0.0.11:53", name, RecordType::A).unwrap();
            assert_eq!(found, [address]);
        }
        for target in [HOST, "10.10.50.1"] {
            assert_eq!(
                ask(&a, &format!("{target}:80")).unwrap(),
                Outcome::Unreachable,
                "there is no way out"
            );
        }
        let from_host = Question::to("10.1.1.1:80").unwrap().within(Duration::from_millis(500));
        assert!(!matches!(from_host.tcp(&stage.host).unwrap(), Outcome::Answered { .. }));
        let text = refusal(stage.attach("c", request(&["wire"], &[])));
        assert!(text.contains("network wire") && text.contains("two containers at most: a, b"), "{text}");
        let text = refusal(stage.create_network("other", |network| {
            network.driver = "ptp".to_owned();
            let config = IpamConfig {
                subnet: "10.2.2.0/30".to_owned(),
                gateway: "10.2.2.1".to_owned(),
                ..Default::default()
            };
            network.ipam.get_or_insert_default().config = vec![config];
        }));
        assert!(text.contains("no gateway"), "{text}");
    });
}

#[test]
fn two_addresses_are_enough() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        pair(&stage, "wire", &["10.1.1.0/31"]);
        pair(&stage, "chosen", &[]);
        for network in ["wire", "chosen"] {
            let names = [format!("{network}-a"), format!("{network}-b")];
            let [a, b] = names.map(|name| stage.sandbox(&name, &[network], &[]));
            let addresses: Vec<IpAddr> = [&a, &b].map(|it| it.address(network)).into();
            let config = &stage.client().network(network).unwrap().ipam.config[0].subnet;
            assert!(config.ends_with("/31"), "{config}");
            assert!(addresses[0] < addresses[1] && config.starts_with(&addresses[0].to_string()));
            let _server = serve_datagrams(&b, "0.0.0.0:80").unwrap();
            assert!(reaches(&a, &b, network));
        }
    });
}

#[test]
fn the_order_of_coming_and_going_does_not_matter() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        pair(&stage, "wire", &["10.1.1.0/30"]);
        let before = observe(&stage, &[]);
        let a = stage.sandbox("a", &["wire"], &[]);
        let _server = serve_datagrams(&a, "0.0.0.0:80").unwrap();
        // One goes by command, one with its namespace, one with its process, one off the network.
        let b = stage.sandbox("b", &["wire"], &[]);
        let _answers = serve_datagrams(&b, "0.0.0.0:80").unwrap();
        assert!(reaches(&b, &a, "wire") && reaches(&a, &b, "wire"));
        stage.client().detach("b").unwrap();
        assert_eq!(links(&b), Vec::<String>::new());
        assert!(!reaches(&a, &b, "wire"));
        drop(_answers);
        drop(b);

        let c = stage.sandbox("c", &["wire"], &[]);
        assert!(reaches(&c, &a, "wire"));
        let alone = || stage.client().network("wire").unwrap().containers.len() == 1;
        stage.remove_namespace(c);
        eventually("c is gone", SOON, alone);
        let whole = || {
            let found = a.run_in(|| Links::open().unwrap().find("eth0")).unwrap().unwrap();
            found.is_some_and(|link| link.up)
        };
        eventually("the other one has its interface still", SOON, whole);

        let (d, process) = stage.attach_process("d", request(&["wire"], &[])).unwrap();
        assert!(reaches(&d, &a, "wire"));
        drop(d);
        drop(process);
        eventually("d is gone", SOON, || alone() && whole());

        stage.network("app");
        let e = stage.sandbox("e", &["app"], &[]);
        let settings = || EndpointSettings::default();
        for _ in 0..2 {
            stage.connect("wire", "e", settings()).unwrap();
            let question = Question::to(&format!("{}:80", a.address("wire"))).unwrap();
            assert_eq!(question.udp(&e).unwrap(), Outcome::answered("10.1.1.2"));
            stage.disconnect("wire", "e").unwrap();
            assert_eq!(links(&e), ["eth0"]);
        }
        // The first one goes, and comes back as the second.
        stage.connect("wire", "e", settings()).unwrap();
        let _of_e = serve_datagrams(&e, "0.0.0.0:80").unwrap();
        stage.client().detach("a").unwrap();
        let a = stage.sandbox("a", &["wire"], &[]);
        let with = observe(&stage, &[("a", &a), ("e", &e)]);
        let reached = || ask_udp(&a, "10.1.1.2:80");
        assert!(reached());
        stage.daemon.restart(&[]);
        assert_same("after a restart", &observe(&stage, &[("a", &a), ("e", &e)]), &with);
        assert!(reached());
        // What one end does to its interface, the other has to bear; both are made anew.
        e.run_in(|| foreign_changes::delete_link("eth1")).unwrap();
        assert_eq!(links(&a), Vec::<String>::new());
        eventually("made anew", Duration::from_secs(20), reached);
        // The end that waits is looked after, too.
        stage.disconnect("wire", "e").unwrap();
        let waiting = stage.client().network("wire").unwrap().id[..12].to_owned();
        stage.host.run_in(|| foreign_changes::delete_link(&format!("fw{waiting}"))).unwrap();
        eventually("an interface again", SOON, || links(&a) == ["eth0"]);

        stage.client().detach("a").unwrap();
        stage.client().detach("e").unwrap();
        stage.client().remove_network("app").unwrap();
        assert_same("at the end", &observe(&stage, &[]), &before);
    });
}

fn ask_udp(from: &Place, target: &str) -> bool {
    let question = Question::to(target).unwrap().within(Duration::from_secs(2));
    matches!(question.udp(from).unwrap(), Outcome::Answered { .. })
}
