//! Everything at once: many clients, a daemon that is killed, links that others delete. Whatever came of the
//! requests, in the end kernel, files and sockets are what a fresh daemon makes of the World.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairway_api::ClientError;
use fairway_api::types::EndpointSettings;
use fairway_lab::{Lab, Place};

use crate::foreign_changes;
use crate::harness::{Stage, eventually, request};
use crate::kernel_state::{assert_same, kill, make_anew, observe};

const CLIENTS: usize = 6;

/// Two networks, and a namespace for each client.
fn stage(lab: &Lab) -> (Stage, Vec<(String, Place)>) {
    let mut stage = Stage::before_daemon(lab);
    stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    stage.network("one");
    stage.create_network("two", |network| network.enable_ipv6 = Some(true)).unwrap();
    let places = (0..CLIENTS).map(|number| {
        let name = format!("s{number}");
        let sandbox = stage.sandbox(&name, &["one"], &[]);
        (name, (*sandbox).clone())
    });
    let places = places.collect();
    (stage, places)
}

/// Attaches, connects, disconnects and detaches until asked to end or until something fails.
fn come_and_go(stage: &Stage, name: &str, enough: &AtomicBool) -> Result<(), ClientError> {
    while !enough.load(Ordering::Acquire) {
        stage.client().detach(name)?;
        stage.attach(name, request(&["one"], &["80", "53/udp"]))?;
        stage.connect("two", name, EndpointSettings::default())?;
        stage.disconnect("one", name)?;
    }
    Ok(())
}

/// Compares what is with what a fresh daemon makes.
fn assert_as_fresh(stage: &mut Stage, places: &[(String, Place)], what: &str) {
    let places: Vec<(&str, &Place)> = places.iter().map(|(name, place)| (name.as_str(), place)).collect();
    let found = observe(stage, &places);
    make_anew(stage, &[], &places);
    assert_same(what, &found, &observe(stage, &places));
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_many_requests() {
    fairway_lab::run(|lab| {
        let (mut stage, places) = stage(lab);
        for round in 0..8_u64 {
            for (name, _) in &places {
                if stage.client().container(name).is_err() {
                    stage.attach(name, request(&["one"], &[])).unwrap();
                }
            }
            let enough = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for (name, _) in &places {
                    let (stage, enough) = (&stage, &enough);
                    scope.spawn(move || {
                        // Any other error says that the daemon is dead.
                        if let Err(error @ ClientError::Refused { .. }) = come_and_go(stage, name, enough) {
                            panic!("{name}: {error}");
                        }
                    });
                }
                std::thread::sleep(Duration::from_millis(40 + 17 * round));
                kill(stage.daemon.pid());
                enough.store(true, Ordering::Release);
            });
            stage.daemon.restart(&[]);
            assert_as_fresh(&mut stage, &places, &format!("killed in round {round}"));
        }
    });
}

#[test]
fn links_that_others_delete_in_the_middle_of_many_requests() {
    fairway_lab::run(|lab| {
        let (mut stage, places) = stage(lab);
        let bridges: Vec<String> = ["one", "two"]
            .iter()
            .map(|name| {
                let gateway = &stage.client().network(name).unwrap().ipam.config[0].gateway;
                let gateway = gateway.parse().unwrap();
                stage.host.run_in(|| foreign_changes::bridge_with(gateway)).unwrap()
            })
            .collect();
        let enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (name, _) in &places {
                let (stage, enough) = (&stage, &enough);
                scope.spawn(move || {
                    // What meets a missing bridge may fail; it must not leave anything.
                    while !enough.load(Ordering::Acquire) {
                        let _ = come_and_go(stage, name, enough);
                        let _ = stage.attach(name, request(&["one"], &[]));
                    }
                });
            }
            for round in 0..6 {
                std::thread::sleep(Duration::from_millis(150));
                let bridge = &bridges[round % 2];
                stage
                    .host
                    .run_in(|| {
                        foreign_changes::has_link(bridge).then(|| foreign_changes::delete_link(bridge))
                    })
                    .unwrap();
            }
            enough.store(true, Ordering::Release);
        });
        eventually("the bridges are back", Duration::from_secs(20), || {
            bridges.iter().all(|bridge| stage.host.run_in(|| foreign_changes::has_link(bridge)).unwrap())
        });
        // What failed meanwhile is tried again after one, two, four seconds, ...
        eventually("all is repaired", Duration::from_secs(60), || {
            stage.client().plan_difference().unwrap().changes.is_empty()
        });
        assert_as_fresh(&mut stage, &places, "after the meddling");
    });
}
