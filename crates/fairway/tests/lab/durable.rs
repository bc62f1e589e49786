//! The daemon dies and comes back, with the same flags or with others; the relay dies; the machine is rebooted.

use std::net::{IpAddr, TcpListener};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::dns::{DnsQuestion, RecordType};
use fairway_api::filter::Filters;
use fairway_api::types::{AttachNamespace, ConnectRequest, EndpointSettings};
use fairway_api::{Client, ClientError};
use fairway_kernel::conntrack::{Conntrack, Selector};
use fairway_lab::{Lab, Outcome, Place, Question, Transfer, ask, serve_echo, serve_tcp};
use fairway_model::Protocol;

use crate::foreign_changes;
use crate::harness::{HOST, LAN, Sandbox, Stage, eventually, request};
use crate::kernel_state::{assert_same, kill_relay, make_anew, observe, relay_pid, wipe_host};
use crate::upstream::RESOLVER;

/// How long what must not fail may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network with `p`, which publishes an echo at 8080 and a server at 8081, and `neighbour`, on two networks.
struct Scene {
    stage: Stage,
    p: Sandbox,
    neighbour: Sandbox,
}

impl Scene {
    fn new(lab: &Lab) -> Scene {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.network("web");
        let p = stage.sandbox("p", &["web"], &["8080:80", "8081:81"]);
        let neighbour = stage.sandbox("neighbour", &["web", "bridge"], &[]);
        Scene { stage, p, neighbour }
    }

    fn places(&self) -> [(&'static str, Place); 2] {
        [("p", (*self.p).clone()), ("neighbour", (*self.neighbour).clone())]
    }
}

/// Asks for a name again and again until asked to end; returns how often, and what failed.
fn keep_asking(place: &Place, name: &str, address: IpAddr, enough: &AtomicBool) -> (usize, Vec<String>) {
    let (mut asked, mut failed) = (0, Vec::new());
    while !enough.load(Ordering::Acquire) {
        asked += 1;
        match DnsQuestion::new(name, RecordType::A).within(PATIENCE).ask(place, RESOLVER) {
            Ok(answer) if answer.addresses() == [address] => {}
            other => failed.push(format!("{other:?}")),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (asked, failed)
}

fn moves_on(transfer: &Transfer) {
    assert!(transfer.moves_on(1 << 19, PATIENCE), "it stands still");
}

fn assert_whole(transfer: Transfer) {
    let report = transfer.finish();
    assert_eq!((&report.fault, report.sent), (&None, report.returned));
}

fn from_lan(stage: &Stage, port: u16) -> Outcome {
    ask(&stage.lan, &format!("{HOST}:{port}")).unwrap()
}

#[test]
fn a_killed_daemon_cuts_nothing() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, neighbour } = Scene::new(lab);
        let _echo = serve_echo(&p, "0.0.0.0:80").unwrap();
        let _server = serve_tcp(&p, "0.0.0.0:81").unwrap();
        let translated = Transfer::start(&stage.lan, &format!("{HOST}:8080")).unwrap();
        let carried = Transfer::start(&stage.host, "127.0.0.1:8080").unwrap();
        let (enough, address) = (AtomicBool::new(false), p.address("web"));
        let (asked, failed) = std::thread::scope(|scope| {
            let names = scope.spawn(|| keep_asking(&neighbour, "p", address, &enough));
            for _ in 0..3 {
                stage.daemon.kill9();
                [&translated, &carried].into_iter().for_each(moves_on);
                assert_eq!(from_lan(&stage, 8081), Outcome::answered(LAN));
                assert!(matches!(ask(&stage.host, "127.0.0.1:8081").unwrap(), Outcome::Answered { .. }));
                stage.daemon.launch(&[]);
                stage.daemon.wait_until_ready();
                [&translated, &carried].into_iter().for_each(moves_on);
            }
            enough.store(true, Ordering::Release);
            names.join().unwrap()
        });
        assert!(asked > 20, "{asked} questions");
        assert_eq!(failed, Vec::<String>::new());
        assert_whole(translated);
        assert_whole(carried);

        assert!(stage.client().container("p").unwrap().state.running);
        let after = stage.sandbox("after", &["web"], &["8090:80"]);
        let _server = serve_tcp(&after, "0.0.0.0:80").unwrap();
        assert_eq!(from_lan(&stage, 8090), Outcome::answered(LAN));
        stage.client().detach("after").unwrap();
        stage.client().detach("p").unwrap();
        assert_eq!(from_lan(&stage, 8081), Outcome::Refused);
    });
}

#[test]
fn what_was_seen_and_acknowledged_survives_a_kill_at_once() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        // The second waits for the bridge of the first, which has the same name.
        let create = |stage: &Stage, name: &str| {
            stage.create_network(name, |request| {
                let option = "com.docker.network.bridge.name".to_owned();
                request.options = [(option, "br-test".to_owned())].into();
            })
        };
        create(&stage, "old").unwrap();
        let _sandbox = stage.sandbox("box", &["bridge"], &[]);
        for round in 0..8 {
            let (old, new) = if round % 2 == 0 { ("old", "new") } else { ("new", "old") };
            let stage_ref = &stage;
            std::thread::scope(|scope| {
                scope.spawn(move || stage_ref.client().remove_network(old).unwrap());
                scope.spawn(move || {
                    // It is refused while the other has the bridge.
                    eventually("the bridge is free", PATIENCE, || create(stage_ref, new).is_ok());
                });
                eventually("the network is seen", PATIENCE, || stage_ref.client().network(new).is_ok());
                stage_ref.connect(new, "box", EndpointSettings::default()).unwrap();
            });
            stage.daemon.kill9();
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            assert!(stage.client().network(new).is_ok(), "round {round}: the network was seen");
            let networks = stage.client().container("box").unwrap().network_settings.networks;
            assert!(networks.contains_key(new), "round {round}: the connection was acknowledged");
            stage.disconnect(new, "box").unwrap();
        }
    });
}

#[test]
fn carried_connections_outlive_the_proxy() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, .. } = Scene::new(lab);
        let _echo = serve_echo(&p, "0.0.0.0:80").unwrap();
        let _server = serve_tcp(&p, "0.0.0.0:81").unwrap();
        let translated = Transfer::start(&stage.lan, &format!("{HOST}:8080")).unwrap();
        let carried = Transfer::start(&stage.host, "127.0.0.1:8080").unwrap();
        let published = Selector::Translated(Protocol::Tcp, format!("{HOST}:8080").parse().unwrap());
        let flows = |stage: &Stage| {
            let list = || Conntrack::open().unwrap().flows(&[published].into()).unwrap();
            stage.host.run_in(list).unwrap()
        };
        let before = flows(&stage);
        assert_eq!(before.len(), 1);
        for flags in [&["--userland-proxy=false"][..], &[], &["--ip-masq=false", "--mtu=1400"], &[]] {
            stage.daemon.restart(flags);
            [&translated, &carried].into_iter().for_each(moves_on);
            assert_eq!(flows(&stage), before, "{flags:?}: the connection is tracked as before");
            assert_eq!(from_lan(&stage, 8081), Outcome::answered(LAN), "{flags:?}");
            let own = ask(&stage.host, "127.0.0.1:8081").unwrap();
            assert!(matches!(own, Outcome::Answered { .. }), "{flags:?}: {own}");
        }
        assert_whole(translated);
        assert_whole(carried);
    });
}

#[test]
fn other_flags_leave_nothing_of_the_old() {
    fairway_lab::run(|lab| {
        let mut scene = Scene::new(lab);
        let _server = serve_tcp(&scene.p, "0.0.0.0:81").unwrap();
        let places = scene.places();
        let places = [(places[0].0, &places[0].1), (places[1].0, &places[1].1)];
        // Each follows the one before it; the last word says how ports are found from the LAN.
        let modes: [(&[&str], &str); 9] = [
            (&["--userland-proxy=false"], "answered"),
            (&["--iptables=false"], "answered"),
            (&["--iptables=false", "--userland-proxy=false"], "refused"),
            (&[], "answered"),
            (&["--ip-masq=false", "--mtu=1400", "--ip-forward=false"], "timed-out"),
            (&["--userland-proxy=false", "--bip=172.17.5.9/16"], "answered"),
            (&["--bip=172.17.5.1/16", "--fixed-cidr=172.17.0.0/24"], "answered"),
            (&["--iptables=false", "--ip-forward=false"], "answered"),
            (&["--dns=10.10.50.1", "--dns-search=example.org"], "answered"),
        ];
        for (flags, expected) in modes {
            scene.stage.daemon.restart(flags);
            let found = observe(&scene.stage, &places);
            let seen = from_lan(&scene.stage, 8081).to_string();
            assert!(seen.starts_with(expected), "{flags:?}: {seen}");
            make_anew(&mut scene.stage, flags, &places);
            assert_same(&format!("{flags:?}"), &found, &observe(&scene.stage, &places));
        }
    });
}

#[test]
fn a_bridge_address_that_does_not_fit_is_refused_and_all_runs_on() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, neighbour } = Scene::new(lab);
        let _server = serve_tcp(&p, "0.0.0.0:81").unwrap();
        let places = [("p", &*p), ("neighbour", &*neighbour)];
        let owned = observe(&stage, &places);
        stage.daemon.kill9();
        let before = observe(&stage, &places);
        stage.daemon.launch(&["--bip=10.99.0.1/24", "--userland-proxy=false", "--ip-forward=false"]);
        let status = stage.daemon.wait_until_ended().expect("it is refused");
        assert!(!status.success());
        let address = neighbour.address("bridge").to_string();
        let log = stage.daemon.log();
        let reported = log.lines().rfind(|line| line.contains("10.99.0.1/24")).expect("it is logged");
        assert!(reported.contains("neighbour") && reported.contains(&address), "{reported}");
        assert_same("what runs is left alone", &observe(&stage, &places), &before);
        assert_eq!(from_lan(&stage, 8081), Outcome::answered(LAN));
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        assert_same("and found as it was", &observe(&stage, &places), &owned);
    });
}

#[test]
fn a_daemon_that_is_asked_to_end_answers_what_is_in_flight() {
    const MANY: usize = 32;
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        stage.network("web");
        let names: Vec<String> = (0..MANY).map(|number| format!("s{number}")).collect();
        let _sandboxes: Vec<_> = names.iter().map(|name| stage.sandbox(name, &[], &[])).collect();
        let (address, barrier) = (stage.daemon.address().to_owned(), Barrier::new(MANY + 1));
        for round in 0..4_u64 {
            let answers: Vec<Result<(), ClientError>> = std::thread::scope(|scope| {
                let connect = |name: &String| {
                    let mut client = Client::new(&address).unwrap();
                    let container = name.clone();
                    let barrier = &barrier;
                    scope.spawn(move || {
                        client.ping().unwrap();
                        barrier.wait();
                        client.connect("web", &ConnectRequest { container, ..Default::default() }).map(drop)
                    })
                };
                let clients: Vec<_> = names.iter().map(connect).collect();
                barrier.wait();
                std::thread::sleep(Duration::from_millis(3 * round));
                stage.daemon.stop();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            for (name, answer) in names.iter().zip(answers) {
                let networks = stage.client().container(name).unwrap().network_settings.networks;
                match answer {
                    Ok(()) => assert!(networks.contains_key("web"), "round {round}: {name}"),
                    Err(ClientError::NotRunning { .. }) => {}
                    Err(error) => panic!("round {round}: {name}: {error:?}"),
                }
                if networks.contains_key("web") {
                    stage.disconnect("web", name).unwrap();
                }
            }
        }
    });
}

#[test]
fn a_sandbox_that_ended_without_a_daemon_is_gone() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, neighbour } = Scene::new(lab);
        let before = observe(&stage, &[("p", &p), ("neighbour", &neighbour)]);
        let (with_process, process) = stage.attach_process("q", request(&["web"], &["8085:80"])).unwrap();
        let named = stage.sandbox("n", &["web"], &["8086:80/udp"]);
        stage.host.run_in(|| foreign_changes::thread_into(&named.path, "alive")).unwrap();
        stage.daemon.kill9();
        drop((with_process, process));
        stage.remove_namespace(named);
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        for name in ["q", "n"] {
            assert!(stage.client().container(name).is_err(), "{name} is gone");
        }
        eventually("nothing keeps the namespace", PATIENCE, || {
            !stage.host.run_in(|| foreign_changes::has_link("alive")).unwrap()
        });
        assert_same("they are gone", &observe(&stage, &[("p", &p), ("neighbour", &neighbour)]), &before);
        assert!(stage.host.run_in(|| TcpListener::bind("0.0.0.0:8085").is_ok()).unwrap());
    });
}

#[test]
fn a_killed_relay_loses_no_one_who_waits() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, neighbour } = Scene::new(lab);
        let _server = serve_tcp(&p, "0.0.0.0:81").unwrap();
        let address = p.address("web");
        let works = |stage: &Stage| {
            // Whoever asks while there is no relay waits in the backlog of the daemon's own descriptors.
            let own = Question::to("127.0.0.1:8081").unwrap().within(PATIENCE).tcp(&stage.host).unwrap();
            assert!(matches!(own, Outcome::Answered { .. }), "{own}");
            let answer = DnsQuestion::new("p", RecordType::A).within(PATIENCE).ask(&neighbour, RESOLVER);
            assert_eq!(answer.unwrap().addresses(), [address]);
        };
        let before = observe(&stage, &[("p", &p), ("neighbour", &neighbour)]);
        for _ in 0..3 {
            kill_relay();
            works(&stage);
            assert!(relay_pid().is_some());
        }
        stage.daemon.kill9();
        kill_relay();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        works(&stage);
        assert_same("both were killed", &observe(&stage, &[("p", &p), ("neighbour", &neighbour)]), &before);
    });
}

#[test]
fn a_port_that_was_lost_comes_back_when_it_is_free() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, .. } = Scene::new(lab);
        let _server = serve_tcp(&p, "0.0.0.0:81").unwrap();
        let before = observe(&stage, &[]);
        stage.daemon.kill9();
        kill_relay();
        // A process that is killed loses its words before its sockets.
        let mut thief = None;
        eventually("the port is free", PATIENCE, || {
            thief = stage.host.run_in(|| TcpListener::bind("0.0.0.0:8081").ok()).unwrap();
            thief.is_some()
        });
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let log = stage.daemon.log();
        let reported =
            log.lines().rfind(|line| line.contains("failed to bind host port")).expect("it is logged");
        assert!(reported.contains("0.0.0.0:8081"), "{reported}");
        drop(thief);
        eventually("it is ours again", PATIENCE, || observe(&stage, &[]) == before);
        assert!(matches!(ask(&stage.host, "127.0.0.1:8081").unwrap(), Outcome::Answered { .. }));
    });
}

#[test]
fn forwarding_is_given_back_only_where_it_was_taken() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
        stage.host.set_sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
        let forwarding = |stage: &Stage| {
            ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]
                .map(|name| stage.host.sysctl(name).unwrap())
        };
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        stage.create_network("six", |network| network.enable_ipv6 = Some(true)).unwrap();
        assert_eq!(forwarding(&stage), ["1", "1"]);
        stage.daemon.restart(&[]);
        stage.daemon.restart(&["--ip-forward=false"]);
        assert_eq!(forwarding(&stage), ["0", "1"], "the host forwarded IPv6 before");
        stage.daemon.restart(&[]);
        assert_eq!(forwarding(&stage), ["1", "1"]);
    });
}

#[test]
fn a_reboot_loses_nothing_that_was_asked_for() {
    fairway_lab::run(|lab| {
        let Scene { mut stage, p, neighbour } = Scene::new(lab);
        let mut client = stage.client();
        let mut container = request(&["web"], &["80"]);
        container.hostname = "kept".to_owned();
        client.create_container("kept", &container).unwrap();
        let (helper, process) = stage.attach_process("helper", request(&["none"], &[])).unwrap();
        client.detach("helper").unwrap();
        client
            .attach_namespace("kept", &AttachNamespace { pid: process.id(), ..Default::default() })
            .unwrap();
        let running = client.container("kept").unwrap();
        assert!(running.state.running);
        let port =
            running.network_settings.ports["80/tcp"].as_ref().unwrap()[0].host_port.parse::<u16>().unwrap();
        let networks = |client: &mut fairway_api::Client| {
            let mut networks = client.networks(&Filters::default()).unwrap();
            networks.iter_mut().for_each(|network| network.containers.clear());
            networks.iter_mut().for_each(|network| network.status = Default::default());
            networks
        };
        let before = networks(&mut client);

        stage.daemon.kill9();
        kill_relay();
        drop((helper, process));
        stage.remove_namespace(p);
        stage.remove_namespace(neighbour);
        stage.host.run_in(wipe_host).unwrap();
        let flags = ["--exec-root=/run/fairway-of-this-boot"];
        stage.daemon.launch(&flags);
        stage.daemon.wait_until_ready();

        let mut client = stage.client();
        assert_eq!(networks(&mut client), before);
        let kept = client.container("kept").unwrap();
        assert!(!kept.state.running);
        assert_eq!((kept.id, kept.config.hostname), (running.id, running.config.hostname));
        assert!(client.container("p").is_err(), "who was attached from outside is not ours to keep");
        assert!(
            stage.host.run_in(|| TcpListener::bind(("0.0.0.0", port)).is_ok()).unwrap(),
            "{port} is let go"
        );
        let newcomer = stage.sandbox("newcomer", &["web"], &["8080:80"]);
        let _server = serve_tcp(&newcomer, "0.0.0.0:80").unwrap();
        assert_eq!(from_lan(&stage, 8080), Outcome::answered(LAN));
    });
}
