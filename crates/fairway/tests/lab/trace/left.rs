//! What a trace leaves behind: nothing, however it ends.

use std::fs::read_dir;

use fairway_core::policy::is_trace_table;
use fairway_kernel::nftables::Reader;

use super::*;
use crate::harness::eventually;

/// The tables of a place: those that are there to trace, and others.
fn tables(place: &Place) -> (Vec<String>, Vec<String>) {
    let all = place.run_in(|| Reader::open().unwrap().tables().unwrap()).unwrap();
    all.into_iter()
        .map(|it| format!("{} {}", it.family, it.name))
        .partition(|name| is_trace_table(name.split(' ').nth(1).unwrap()))
}

/// How many threads and descriptors a process has.
fn held(pid: u32) -> (usize, usize) {
    let count = |what: &str| read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

#[test]
fn nothing_is_left_however_it_ends() {
    fairway_lab::run(|lab| {
        let mut players = Players::new(lab, &[]);
        make(&players.stage.host, strangers(81));
        make(&players.near, strangers(81));
        let (_, before) = tables(&players.stage.host);
        let gone = |players: &Players| {
            let places: [&Place; 2] = [&players.stage.host, &players.near];
            eventually("no table of it is left", PATIENCE, || {
                places.iter().all(|it| tables(it).0.is_empty())
            });
            assert_eq!(tables(&players.stage.host).1, before);
        };
        let start = |players: &Players| {
            let trace = Trace::start(&players.stage, "");
            let (own, _) = tables(&players.stage.host);
            assert_eq!(own.len(), 2, "{own:?}");
            assert_eq!(tables(&players.near).0.len(), 1);
            trace
        };
        // The first ones open what is kept for the next.
        for _ in 0..3 {
            start(&players).end();
            gone(&players);
        }
        let pid = players.stage.daemon.pid();
        let settled = || eventually("the daemon is at rest", PATIENCE, || held(pid).0 < 40);
        settled();
        let first = held(pid);
        for _ in 0..3 {
            start(&players).end();
            gone(&players);
        }
        let mut killed = start(&players);
        killed.process.kill().unwrap();
        gone(&players);
        killed.process.wait().unwrap();
        eventually("nothing more is held", PATIENCE, || {
            let now = held(pid);
            now.0 <= first.0 && now.1 <= first.1
        });

        // Healing and the look at other firewalls take no notice of it.
        let trace = start(&players);
        std::thread::sleep(Duration::from_millis(1200));
        let log = players.stage.daemon.log();
        assert!(!log.contains("trace") && !log.contains("in the way: nftables: table inet fairway"), "{log}");
        players.stage.daemon.kill9();
        gone(&players);
        let text = trace.rest();
        assert_eq!(text, "no packet was seen\n");
    });
}

#[test]
fn what_a_kernel_without_owners_keeps_goes_at_the_next_start() {
    fairway_lab::run(|lab| {
        let mut players = Players::new(lab, &[]);
        make(&players.stage.host, strangers(81));
        make(&players.stage.host, Table { name: "fairway-trace-7".to_owned(), ..strangers(81) });
        make(&players.stage.host, Table { name: "fairway-tracing".to_owned(), ..strangers(81) });
        players.stage.daemon.restart(&[]);
        let (own, others) = tables(&players.stage.host);
        assert_eq!(own, Vec::<String>::new());
        assert!(others.contains(&"inet strangers".to_owned()), "{others:?}");
        assert!(others.contains(&"inet fairway-tracing".to_owned()), "{others:?}");
    });
}

#[test]
fn a_sandbox_ends_while_it_is_watched() {
    fairway_lab::run(|lab| {
        let Players { stage, web, near, far: _far, _server } = Players::new(lab, &[]);
        let trace = Trace::start(&stage, "any any");
        stage.client().detach("near").unwrap();
        stage.remove_namespace(near);
        // One that comes later is watched too.
        let late = stage.sandbox("late", &["app"], &[]);
        eventually("it is seen inside the late one", PATIENCE, || {
            assert!(ask(&late, &format!("{}:80", web.address("app"))).starts_with("answered"));
            std::thread::sleep(Duration::from_millis(300));
            trace.printed.try_iter().any(|line| line.contains("  late  eth0"))
        });
        trace.end();
    });
}
