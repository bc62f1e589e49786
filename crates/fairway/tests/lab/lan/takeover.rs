//! The host stays reachable while its interface is taken over and given back, whatever happens in between.

use std::process::Command;
use std::time::Duration;

use fairway_api::ClientError;
use fairway_kernel::route::Links;
use fairway_lab::{Host, Outcome, Transfer, ask, serve_echo, serve_tcp};

use super::{at, bridge, create, port_80, state};
use crate::cli::fairway;
use crate::harness::{HOST, HOST6, LAN, Stage, eventually};

const SOON: Duration = Duration::from_secs(20);

fn master(host: &Host, interface: &'static str) -> Option<u32> {
    host.run_in(move || Links::open().unwrap().find(interface).unwrap().and_then(|link| link.master)).unwrap()
}

fn delete(host: &Host, interface: &str) {
    let interface = interface.to_owned();
    host.run_in(move || {
        let links = Links::open().unwrap();
        links.delete(links.index(&interface).unwrap(), &interface).unwrap();
    })
    .unwrap();
}

/// The host is reached from the LAN, and reaches it, by both families.
fn is_reachable(stage: &Stage) -> bool {
    let _server = serve_tcp(&stage.host, "[::]:7").unwrap();
    let _lan = serve_tcp(&stage.lan, "[::]:7").unwrap();
    [
        (&stage.lan, format!("{HOST}:7")),
        (&stage.lan, format!("[{HOST6}]:7")),
        (&stage.host, format!("{LAN}:7")),
    ]
    .iter()
    .all(|(place, target)| matches!(ask(place, target).unwrap(), Outcome::Answered { .. }))
}

#[test]
fn connections_live_and_all_is_given_back_as_it_was() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        stage.host.add_address("eth0", "10.10.60.99/24").unwrap();
        stage.host.route("192.168.0.0/16", "10.10.50.254").unwrap();
        let published = stage.sandbox("published", &["bridge"], &["8080:80"]);
        let _servers =
            [serve_echo(&stage.host, "0.0.0.0:7").unwrap(), serve_echo(&published, "0.0.0.0:80").unwrap()];
        let out = serve_echo(&stage.lan, "0.0.0.0:7").unwrap();
        let transfers = [
            Transfer::start(&stage.lan, &format!("{HOST}:7")).unwrap(),
            Transfer::start(&stage.lan, &format!("{HOST}:8080")).unwrap(),
            Transfer::start(&stage.host, &format!("{LAN}:7")).unwrap(),
        ];
        let all_move =
            |transfers: &[Transfer]| transfers.iter().all(|it| it.moves_on(1 << 18, Duration::from_secs(20)));
        assert!(all_move(&transfers));
        let before = state(&stage.host, "eth0");
        assert!(before.iter().any(|line| line.starts_with("0.0.0.0/0")), "{before:?}");
        for _ in 0..2 {
            create(&stage, "lan", &[]).unwrap();
            assert_eq!(state(&stage.host, "eth0"), Vec::<String>::new());
            assert_eq!(state(&stage.host, &bridge(&stage, "lan")), before);
            assert!(all_move(&transfers));
            stage.client().remove_network("lan").unwrap();
            assert_eq!(state(&stage.host, "eth0"), before);
            assert_eq!(master(&stage.host, "eth0"), None);
            assert!(all_move(&transfers));
        }
        for transfer in transfers {
            let report = transfer.finish();
            assert_eq!((report.fault, report.sent), (None, report.returned));
        }
        drop(out);
    });
}

/// Kills the daemon at every boundary of a change, and sees that the host is reachable after each next start, and
/// that everything is given back when the network goes.
fn crash_everywhere(
    prepare: fn(&Stage),
    act: fn(&Stage) -> Result<(), ClientError>,
    expected: &[&str],
) -> impl Fn(&fairway_lab::Lab) {
    move |lab| {
        let mut stage = Stage::new(lab, &[]);
        let before = state(&stage.host, "eth0");
        let mut passed = Vec::new();
        for number in 1..40 {
            prepare(&stage);
            stage.daemon.kill9();
            stage.daemon.launch_with(&[], &[("FAIRWAY_CRASH_AT", &format!("change:{number}"))]);
            stage.daemon.wait_until_ready();
            match act(&stage) {
                Ok(()) => break,
                Err(error @ ClientError::Refused { .. }) => panic!("{error}"),
                Err(_) => {}
            }
            stage.daemon.wait_until_ended().unwrap();
            let log = stage.daemon.log();
            let line = log.lines().rfind(|line| line.contains("killing the daemon at failpoint")).unwrap();
            let at = line.split("failpoint=").nth(1).unwrap().trim_matches('"').to_owned();
            stage.daemon.launch(&[]);
            stage.daemon.wait_until_ready();
            assert!(is_reachable(&stage), "killed at {at}");
            let there = stage.client().network("lan").is_ok();
            if there {
                assert_eq!(state(&stage.host, "eth0"), Vec::<String>::new(), "killed at {at}");
                assert_eq!(state(&stage.host, &bridge(&stage, "lan")), before, "killed at {at}");
                stage.client().remove_network("lan").unwrap();
            }
            assert_eq!(state(&stage.host, "eth0"), before, "killed at {at}");
            assert_eq!(master(&stage.host, "eth0"), None, "killed at {at}");
            passed.push(at);
        }
        for name in expected {
            assert!(passed.iter().any(|it| it == name), "never killed at {name}: {passed:?}");
        }
    }
}

#[test]
fn killed_anywhere_while_it_is_taken_over() {
    fairway_lab::run(|lab| {
        crash_everywhere(
            |_| {},
            |stage| create(stage, "lan", &[]).map(drop),
            &["bridges", "uplink addresses", "uplink port", "uplink routes", "uplink enslaved", "namespaces"],
        )(lab);
    });
}

#[test]
fn killed_anywhere_while_it_is_given_back() {
    fairway_lab::run(|lab| {
        crash_everywhere(
            |stage| {
                if stage.client().network("lan").is_err() {
                    create(stage, "lan", &[]).unwrap();
                }
            },
            |stage| stage.client().remove_network("lan"),
            &[
                "durable",
                "uplink released: addresses",
                "uplink released: routes",
                "uplink released: bridge bare",
                "uplink released: port",
                "counts",
            ],
        )(lab);
    });
}

#[test]
fn after_a_boot_the_uplink_waits_for_its_addresses() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        create(&stage, "lan", &[]).unwrap();
        let bridge = bridge(&stage, "lan");
        stage.daemon.kill9();
        delete(&stage.host, &bridge);
        delete(&stage.host, "eth0");
        stage.wire.join(&stage.host, &[]).unwrap();
        let script = "echo 00000000-0000-4000-8000-000000000000 > /run/boot
            exec mount --bind /run/boot /proc/sys/kernel/random/boot_id";
        let mounted = stage.host.run(Command::new("/bin/sh").args(["-ec", script])).unwrap();
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        assert!(master(&stage.host, "eth0").is_some());
        eventually("nothing is to be done", SOON, || fairway(&stage, "plan --diff").code == 0);
        // As a DHCP client gives it.
        stage.host.add_address("eth0", "10.10.50.99/24").unwrap();
        let moved = || state(&stage.host, &bridge).iter().any(|line| line.starts_with("10.10.50.99"));
        eventually("the address is the bridge's", SOON, moved);
        assert_eq!(ask(&stage.host, &format!("{LAN}:9")).unwrap(), Outcome::Refused);
    });
}

#[test]
fn foreign_changes_of_bridge_and_uplink_are_repaired() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::new(lab, &[]);
        let before = state(&stage.host, "eth0");
        create(&stage, "lan", &[]).unwrap();
        let one = stage.sandbox("one", &["lan"], &[]);
        let _server = serve_tcp(&one, "0.0.0.0:80").unwrap();
        let target = port_80(one.address("lan"));
        let reached = || ask(&stage.lan, &target).unwrap() == Outcome::answered(LAN);
        assert!(reached());
        let bridge = bridge(&stage, "lan");
        // Somebody renews the host's lease where it was before.
        stage.host.add_address("eth0", "10.10.50.77/24").unwrap();
        let moved = || state(&stage.host, &bridge).iter().any(|line| line.starts_with("10.10.50.77"));
        eventually("the address is the bridge's", SOON, moved);
        eventually("and not the interface's", SOON, || state(&stage.host, "eth0").is_empty());
        stage
            .host
            .run_in(|| {
                let links = Links::open().unwrap();
                links.release("eth0").unwrap();
            })
            .unwrap();
        eventually("it is a port again", SOON, || master(&stage.host, "eth0").is_some() && reached());
        // The bridge goes with all addresses of the host.
        delete(&stage.host, &bridge);
        eventually("the bridge is there again", SOON, || {
            state(&stage.host, &bridge).len() == before.len() && reached() && is_reachable(&stage)
        });
        // The interface vanishes and returns, as a new one.
        delete(&stage.host, "eth0");
        stage.wire.join(&stage.host, &[]).unwrap();
        eventually("the new one is taken over", SOON, || master(&stage.host, "eth0").is_some() && reached());
        // Also if nobody looks.
        stage.daemon.kill9();
        delete(&stage.host, "eth0");
        stage.wire.join(&stage.host, &[]).unwrap();
        stage.daemon.launch(&[]);
        stage.daemon.wait_until_ready();
        let reached = || ask(&stage.lan, &target).unwrap() == Outcome::answered(LAN);
        assert!(reached() && is_reachable(&stage));
        stage.connect("bridge", "one", at("")).unwrap();
        stage.disconnect("lan", "one").unwrap();
        stage.client().remove_network("lan").unwrap();
        assert!(is_reachable(&stage));
        assert_eq!(state(&stage.host, "eth0").len(), before.len());
    });
}
