//! Random histories of several clients with faults in the middle, against what the daemon acknowledged.
//!
//! Each client owns some networks and sandboxes and knows, after each reply, what must be there of them ([`model`]). A
//! fault then stops or kills the daemon or the relay, deletes what is theirs, or takes the disk away ([`Fault`]). After
//! it the World has to be what was acknowledged, and the kernel what a fresh daemon makes of that World.
//!
//! In CI these are a few histories of each backend. `FAIRWAY_CAMPAIGN=1000 cargo test -p fairway --test lab campaign`
//! runs a thousand of each; `FAIRWAY_CAMPAIGN=1:SEED` repeats the one that was found wrong.

mod fault;
mod model;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairway_lab::{Lab, Place};
use fairway_model::Rng;

use crate::harness::Stage;
use crate::kernel_state::{assert_same, make_anew, observe};
use fault::Fault;
use model::Owner;

/// How many clients there are at once.
const CLIENTS: u64 = 3;
/// How many faults a history has.
const FAULTS: u64 = 3;
/// How many histories of each backend, unless `FAIRWAY_CAMPAIGN` says so.
const HISTORIES: u64 = 2;
/// How long clients work before a fault, at most.
const LONGEST: u64 = 250;

on_each_backend! {
    the_world_is_what_was_acknowledged;
}

/// Has the clients end when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// How many histories are asked for, and the seed of the first one.
fn asked() -> (u64, u64) {
    let text = std::env::var("FAIRWAY_CAMPAIGN").unwrap_or_else(|_| HISTORIES.to_string());
    let (count, seed) = text.split_once(':').unwrap_or((&text, "1"));
    (count.parse().expect("FAIRWAY_CAMPAIGN=HISTORIES[:SEED]"), seed.parse().expect("a number as seed"))
}

fn the_world_is_what_was_acknowledged(lab: &Lab) {
    let (count, first) = asked();
    let mut stage = Stage::before_daemon(lab);
    stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
    stage.host.run_in(fault::mount_data_root).unwrap();
    stage.daemon.launch(&[]);
    stage.daemon.wait_until_ready();
    for seed in first..first + count {
        // What fails below names the seed.
        println!("FAIRWAY_CAMPAIGN=1:{seed}");
        history(&mut stage, seed);
    }
}

fn history(stage: &mut Stage, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut owners: Vec<Owner> = (0..CLIENTS).map(|number| Owner::new(number, rng.next())).collect();
    for round in 0..FAULTS {
        let fault = Fault::random(&mut rng);
        let what = format!("seed {seed}, round {round}, {fault:?}");
        let before = Duration::from_millis(rng.below(LONGEST));
        let enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for owner in &mut owners {
                let (stage, enough) = (&*stage, &enough);
                scope.spawn(move || owner.work(stage, enough));
            }
            // Also when what follows panics: the scope waits for all clients.
            let _end = Ended(&enough);
            std::thread::sleep(before);
            fault.strike(stage, &mut rng);
        });
        fault.recover(stage);
        owners.iter_mut().for_each(|owner| owner.check(stage, &what));
        check_kernel(stage, &owners, &what);
    }
    owners.iter_mut().for_each(|owner| owner.leave(stage));
    let acknowledged: usize = owners.iter().map(|owner| owner.acknowledged).sum();
    assert!(acknowledged > 0, "seed {seed}: nothing happened");
    let log = stage.daemon.log();
    assert!(!log.contains("panicked"), "seed {seed}: {log}");
}

/// Compares the kernel with what a fresh daemon makes of the World.
fn check_kernel(stage: &mut Stage, owners: &[Owner], what: &str) {
    let places: Vec<(String, Place)> = owners.iter().flat_map(|owner| owner.places(stage)).collect();
    let places: Vec<(&str, &Place)> = places.iter().map(|(name, place)| (name.as_str(), place)).collect();
    let found = observe(stage, &places);
    make_anew(stage, &[], &places);
    assert_same(what, &found, &observe(stage, &places));
}
