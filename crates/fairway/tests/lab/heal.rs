//! Foreign changes are repaired and logged; changes inside a sandbox are logged and left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fairway_api::types::NetworkCreate;
use fairway_kernel::nftables::{Reader, Transaction, Writer};
use fairway_kernel::sysctl;
use fairway_lab::{Lab, Outcome, Place, Transfer, ask, serve_echo, serve_tcp};
use fairway_ruleset::{Family, Table};

use crate::cli::printed;
use crate::foreign_changes;
use crate::harness::{HOST, LAN, Sandbox, Stage, eventually, request};
use crate::kernel_state::{assert_same, destroy, observe};

/// How long mending may take. It is to be a second; the rest is for a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);
/// How long a look into one sandbox after the other may take.
const A_ROUND: Duration = Duration::from_secs(20);

/// A network with a sandbox that publishes 8080.
fn stage(lab: &Lab) -> (Stage, Sandbox) {
    let stage = Stage::new(lab, &[]);
    stage.network("web");
    let sandbox = stage.sandbox("p", &["web"], &["8080:80"]);
    (stage, sandbox)
}

fn reaches_port(from: &Place) -> Outcome {
    ask(from, &format!("{HOST}:8080")).unwrap()
}

#[test]
fn a_flushed_ruleset_cuts_nothing() {
    fairway_lab::run(|lab| {
        let (stage, sandbox) = stage(lab);
        let _server = serve_echo(&sandbox, "0.0.0.0:80").unwrap();
        let transfer = Transfer::start(&stage.lan, &format!("{HOST}:8080")).unwrap();
        assert!(transfer.moves_on(1 << 20, Duration::from_secs(20)));
        let before = observe(&stage, &[]);
        for _ in 0..10 {
            stage
                .host
                .run_in(|| {
                    let mut strangers = Transaction::new();
                    strangers.add_table(&Table::new(Family::Ip, "stranger"));
                    Writer::open().unwrap().commit(strangers).unwrap();
                    foreign_changes::flush_ruleset();
                    assert_eq!(
                        Reader::open().unwrap().table(Family::Ip, "stranger"),
                        Ok(None),
                        "it is flushed"
                    );
                })
                .unwrap();
            assert!(transfer.moves_on(1 << 18, Duration::from_secs(20)));
        }
        let report = transfer.finish();
        assert_eq!((report.fault, report.sent), (None, report.returned));
        eventually("the tables are there", SOON, || observe(&stage, &[]) == before);
    });
}

#[test]
fn tables_deleted_while_no_daemon_ran_come_back() {
    fairway_lab::run(|lab| {
        let (mut stage, sandbox) = stage(lab);
        let _server = serve_tcp(&sandbox, "0.0.0.0:80").unwrap();
        let before = observe(&stage, &[("p", &sandbox)]);
        stage.daemon.kill9();
        stage.host.run_in(|| destroy(&[(Family::Inet, "fairway"), (Family::Bridge, "fairway")])).unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        assert_same("after a start", &observe(&stage, &[("p", &sandbox)]), &before);
        assert_eq!(reaches_port(&stage.lan), Outcome::answered(LAN));
    });
}

/// Something that is done to the host, and what the log says of it.
struct Meddling {
    what: &'static str,
    reported: String,
    meddle: Box<dyn Fn() + Send + Sync>,
}

fn meddling(what: &'static str, reported: &str, meddle: impl Fn() + Send + Sync + 'static) -> Meddling {
    Meddling { what, reported: reported.to_owned(), meddle: Box::new(meddle) }
}

#[test]
fn foreign_changes_are_repaired_and_logged() {
    fairway_lab::run(|lab| {
        let (stage, sandbox) = stage(lab);
        let _server = serve_tcp(&sandbox, "0.0.0.0:80").unwrap();
        let gateway = stage.client().network("web").unwrap().ipam.config[0].gateway.parse().unwrap();
        let (bridge, port) = stage
            .host
            .run_in(|| (foreign_changes::bridge_with(gateway), foreign_changes::port_of(&sandbox, "eth0")))
            .unwrap();
        let of_bridge = |setting: &str, values: &str| format!("{setting}bridge {bridge}: {values}");
        let of_port = |setting: &str, values: &str| format!("{setting}interface {port}: {values}");
        let with = |name: &String, change: fn(&str)| {
            let name = name.clone();
            move || change(&name)
        };
        let address = ipnet::IpNet::new(gateway, 16).unwrap();
        let name = bridge.clone();
        let localnet = format!("net/ipv4/conf/{bridge}/route_localnet");
        let localnet_setting = format!("sysctl net.ipv4.conf.{bridge}.route_localnet of ");
        let all = [
            meddling(
                "a port is deleted",
                &of_port("", "expected present, found missing"),
                with(&port, foreign_changes::delete_link),
            ),
            meddling(
                "the bridge is deleted",
                &of_bridge("", "expected present, found missing"),
                with(&bridge, foreign_changes::delete_link),
            ),
            meddling(
                "the bridge loses its address",
                &of_bridge(&format!("address {address} of "), "expected present, found missing"),
                move || foreign_changes::remove_address(&name, address),
            ),
            meddling(
                "the bridge is down",
                &of_bridge("state of ", "expected up, found down"),
                with(&bridge, foreign_changes::set_down),
            ),
            meddling(
                "the port is down",
                &of_port("state of ", "expected up, found down"),
                with(&port, foreign_changes::set_down),
            ),
            meddling(
                "the port leaves",
                &of_port("bridge of ", &format!("expected {bridge}, found none")),
                with(&port, foreign_changes::take_from_bridge),
            ),
            meddling(
                "the port gets another MTU",
                &of_port("mtu of ", "expected 1500, found 1300"),
                with(&port, |name| foreign_changes::set_mtu(name, 1300)),
            ),
            meddling(
                "the bridge gets another MTU",
                &of_bridge("mtu of ", "expected 1500, found 1300"),
                with(&bridge, |name| foreign_changes::set_mtu(name, 1300)),
            ),
            meddling("forwarding is off", "sysctl net.ipv4.ip_forward: expected 1, found 0", || {
                sysctl::set("net/ipv4/ip_forward", "0").unwrap();
            }),
            meddling(
                "127.0.0.0/8 is let in",
                &of_bridge(&localnet_setting, "expected 0, found 1"),
                move || sysctl::set(&localnet, "1").unwrap(),
            ),
        ];
        stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        eventually("forwarding is ours", SOON, || stage.host.sysctl("net.ipv4.ip_forward").unwrap() == "1");
        let wanted = observe(&stage, &[("p", &sandbox)]);
        for Meddling { what, reported, meddle } in all {
            let logged = stage.daemon.log().len();
            stage.host.run_in(&*meddle).unwrap();
            repaired(&stage, &sandbox, what, &wanted);
            eventually(&format!("{what}: {reported} is logged"), SOON, || {
                let log = stage.daemon.log().split_off(logged);
                log.contains(&format!("drift repaired: {reported}"))
            });
            assert_eq!(reaches_port(&stage.lan), Outcome::answered(LAN), "{what}");
        }
    });
}

fn repaired(stage: &Stage, sandbox: &Place, what: &str, wanted: &BTreeSet<String>) {
    let since = Instant::now();
    while observe(stage, &[("p", sandbox)]) != *wanted {
        if since.elapsed() > SOON {
            assert_same(what, &observe(stage, &[("p", sandbox)]), wanted);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{what}: repaired in {:?}", since.elapsed());
}

#[test]
fn it_is_followed_whether_bridged_packets_meet_the_firewall() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        assert!(stage.host.has_bridge_netfilter().unwrap(), "load br_netfilter");
        stage.host.set_bridge_netfilter(false).unwrap();
        stage.daemon.launch(&["--userland-proxy=false"]);
        stage.daemon.wait_until_ready();
        let without = observe(&stage, &[]);
        for on in [true, false] {
            let logged = stage.daemon.log().len();
            stage.host.set_bridge_netfilter(on).unwrap();
            // On the way from one ruleset to the other there may be a third.
            eventually("the ruleset is another, or that of before", A_ROUND, || {
                (observe(&stage, &[]) != without) == on
            });
            eventually("the log says so", A_ROUND, || {
                stage.daemon.log().split_off(logged).contains("whether bridged packets meet")
            });
        }
    });
}

#[test]
fn changes_inside_a_sandbox_are_logged_and_left() {
    fairway_lab::run(|lab| {
        let (stage, sandbox) = stage(lab);
        let address = sandbox.address("web");
        let reported = |words: &str| {
            eventually(words, A_ROUND, || {
                let log = stage.daemon.log();
                log.lines().any(|line| line.contains("not reverting") && line.contains(words))
            });
        };
        sandbox.run_in(foreign_changes::remove_default_route).unwrap();
        reported("default route is missing, expected via ");
        sandbox
            .run_in(|| foreign_changes::remove_address("eth0", ipnet::IpNet::new(address, 16).unwrap()))
            .unwrap();
        reported(&format!("address {address}/16 of eth0 is missing"));
        sandbox.run_in(|| foreign_changes::set_down("eth0")).unwrap();
        reported("eth0 is down, expected up");
        assert!(!sandbox.run_in(|| foreign_changes::link("eth0").up).unwrap(), "it is left");
        let reported = stage.daemon.log().matches("not reverting").count();
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(stage.daemon.log().matches("not reverting").count(), reported, "each is logged once");
    });
}

#[test]
fn a_fight_over_a_link_does_not_get_hot() {
    fairway_lab::run(|lab| {
        let (stage, sandbox) = stage(lab);
        let other = stage.sandbox("q", &["web"], &[]);
        let before = observe(&stage, &[]);
        let ports = [&sandbox, &other].map(|place| {
            let end = || foreign_changes::port_of(place, "eth0");
            stage.host.run_in(end).unwrap()
        });
        let repairs = || stage.daemon.log().matches("drift repaired: mtu of interface").count();
        let slowed = || stage.daemon.log().contains("drifts again and again");
        // Each repair is answered by the next change.
        eventually("the repairs wait", Duration::from_secs(60), || {
            stage.host.run_in(|| foreign_changes::set_mtu(&ports[0], 1300)).unwrap();
            slowed()
        });
        let fought = repairs();
        assert!(fought >= 10, "the first are made at once: {fought}");
        for _ in 0..100 {
            stage.host.run_in(|| foreign_changes::set_mtu(&ports[0], 1300)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        // A repair each second would be two, and without waiting there would be a hundred.
        assert!(repairs() <= fought + 5, "{} after {fought}", repairs());
        // Another object is repaired meanwhile, and this one when its time comes.
        stage.host.run_in(|| foreign_changes::set_mtu(&ports[1], 1300)).unwrap();
        let repaired = format!("drift repaired: mtu of interface {}", ports[1]);
        eventually("the other port is repaired", SOON, || stage.daemon.log().contains(&repaired));
        eventually("all is as before", Duration::from_secs(90), || observe(&stage, &[]) == before);
    });
}

#[test]
fn our_own_work_is_no_drift() {
    fairway_lab::run(|lab| {
        let (stage, _sandbox) = stage(lab);
        let before = observe(&stage, &[]);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let stage = &stage;
                scope.spawn(move || {
                    for round in 0..50 {
                        let name = format!("s{worker}");
                        let sandbox = stage.attach(&name, request(&["web"], &["80"])).unwrap();
                        match round % 10 {
                            // Its namespace goes, and it with it.
                            0 => {
                                stage.remove_namespace(sandbox);
                                eventually("it is gone", A_ROUND, || {
                                    stage.client().container(&name).is_err()
                                });
                            }
                            _ => stage.client().detach(&name).unwrap(),
                        }
                    }
                });
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        let log = stage.daemon.log();
        let wrong: Vec<&str> = log
            .lines()
            .filter(|line| ["drift", "not reverting", "ERROR"].iter().any(|word| line.contains(word)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_same("afterwards", &observe(&stage, &[]), &before);
    });
}

#[test]
fn an_object_that_cannot_be_made_does_not_prevent_the_others() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let sandboxes = ["web", "db"].map(|name| {
            let named = |network: &mut NetworkCreate| {
                let option = "com.docker.network.bridge.name".to_owned();
                network.options.insert(option, format!("br-{name}"));
            };
            stage.create_network(name, named).unwrap();
            stage.sandbox(name, &[name], &[])
        });
        let places: Vec<(&str, &Place)> = vec![("web", &sandboxes[0]), ("db", &sandboxes[1])];
        let before = observe(&stage, &places);
        stage.daemon.kill9();
        stage
            .host
            .run_in(|| {
                ["br-web", "br-db"].into_iter().for_each(foreign_changes::delete_link);
                foreign_changes::add_bridge("br-web");
            })
            .unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let _server = serve_tcp(&sandboxes[1], "0.0.0.0:80").unwrap();
        let answer = ask(&stage.host, &format!("{}:80", sandboxes[1].address("db"))).unwrap();
        assert!(matches!(answer, Outcome::Answered { .. }), "db works: {answer:?}");
        let log = stage.daemon.log();
        assert!(log.contains("failed to apply bridge br-web: "), "{log}");
        let skipped = log.lines().filter(|line| line.contains("skipped because of bridge"));
        assert!(
            skipped.clone().count() > 0 && skipped.clone().all(|line| line.contains("bridge br-web")),
            "{log}"
        );
        let pictures = |stage: &Stage| {
            ["svg", "dot", "mermaid"].map(|format| printed(stage, &format!("graph --format {format}")))
        };
        assert!(pictures(&stage).iter().all(|it| it.contains("drift: ")), "{:?}", pictures(&stage));
        stage.host.run_in(|| foreign_changes::delete_link("br-web")).unwrap();
        eventually("all is there", SOON, || observe(&stage, &places) == before);
        assert!(pictures(&stage).iter().all(|it| !it.contains("drift: ")), "{:?}", pictures(&stage));
    });
}
