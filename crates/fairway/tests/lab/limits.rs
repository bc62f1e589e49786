//! What one request may cost: others are answered meanwhile, and nothing of it is kept when it was refused.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fairway_api::filter::Filters;

use crate::harness::{Stage, eventually, request};

/// What some work comes to, and how often containers were listed meanwhile.
fn listed_while<T>(stage: &Stage, work: impl FnOnce() -> T) -> (T, usize) {
    let (done, listed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = stage.client();
            while !done.load(Ordering::SeqCst) {
                client.containers(true, &Filters::default()).unwrap();
                listed.fetch_add(1, Ordering::SeqCst);
            }
        });
        let outcome = work();
        done.store(true, Ordering::SeqCst);
        (outcome, listed.load(Ordering::SeqCst))
    })
}

/// The memory of a process, in MB.
fn memory(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[test]
fn containers_are_listed_while_all_ports_are_asked_for() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--userland-proxy=false"]);
        stage.network("web");
        stage.sandbox("a", &["web"], &[]);
        let before = memory(stage.daemon.pid());
        // For the first there are no descriptors, as a rule, and for the second no random ports.
        for range in ["1-65535:1-65535", "1-65535"] {
            let ports = request(&[], &[range]).host_config.port_bindings;
            let mut client = stage.client();
            let (outcome, listed) = listed_while(&stage, || client.publish("a", ports));
            assert!(listed > 2, "{range}: {listed}: {outcome:?}");
        }
        let is_returned = || memory(stage.daemon.pid()) < before + 200;
        eventually("memory is returned to the system", Duration::from_secs(30), is_returned);
    });
}

/// The kernel would wait for all readers of the table of a process with several threads, each time that it grows: 30 ms
/// and more when the first thousand ports are published.
#[test]
fn the_table_of_descriptors_is_large_from_the_start() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &[]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", stage.daemon.pid())).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let wanted = limit.map_or(1 << 14, |limit| limit.min(1 << 14));
        assert!(size.trim().parse::<u64>().unwrap() >= wanted, "{size} of {wanted}");
    });
}
