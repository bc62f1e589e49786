use fairway_core::plan::plan;
use fairway_core::world::Refusal;
use fairway_model::{DefaultBridge, Settings};

use super::*;
use crate::commit::tests::{FakeStore, attach, configure, connect, create, remove, stop, world};

struct Bench {
    state: State,
    store: Arc<FakeStore>,
}

/// How a command was met.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    Decided(u64),
    Refused(String),
    Behind(usize),
}

impl Bench {
    fn new(failing: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        let (world, rng) = world();
        let plan = plan(&world);
        Self { state: State::new(world, plan, rng), store: FakeStore::new(failing) }
    }

    fn waiting(&mut self, command: &Command, place: &mut Option<u64>) -> Met {
        match self.state.decide(command, &Findings::default(), 1, place, &*self.store) {
            Ok(decision) => Met::Decided(decision.number),
            Err(Deferred::Behind(others)) => Met::Behind(others.len()),
            Err(Deferred::Undecided(refusal)) => Met::Refused(refusal.to_string()),
            Err(Deferred::Failed(error)) => panic!("{error}"),
        }
    }

    fn decide(&mut self, command: &Command) -> Met {
        let mut place = None;
        let met = self.waiting(command, &mut place);
        self.state.leave(&mut place);
        met
    }

    fn decided(&mut self, command: &Command) -> u64 {
        match self.decide(command) {
            Met::Decided(number) => number,
            other => panic!("{command:?}: {other:?}"),
        }
    }

    fn submit(&mut self, number: u64) -> bool {
        self.state.submit(number, &*self.store).is_ok()
    }

    fn finish(&mut self, command: &Command) {
        let number = self.decided(command);
        self.submit(number);
        self.store.commit();
        self.state.make_visible(number);
    }

    fn visible(&self, network: &str) -> bool {
        self.state.durable().world.find_network(network).is_ok()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.state.durable().world.sandboxes().map(|it| it.name.clone()).collect();
        names.sort();
        names
    }
}

fn no_such(name: &str) -> Met {
    Met::Refused(Refusal::NoSuchNetwork(name.to_owned()).to_string())
}

#[test]
fn a_command_is_visible_when_it_is_durable() {
    let mut bench = Bench::new(|_| false);
    let x = bench.decided(&create("x"));
    assert!(!bench.visible("x"));
    assert!(bench.submit(x));
    bench.state.make_visible(x);
    assert!(!bench.visible("x"), "it is submitted, and not durable");
    bench.store.commit();
    bench.state.make_visible(x);
    assert!(bench.visible("x"));
    assert_eq!(plan(&bench.state.durable().world), bench.state.durable().plan);
}

#[test]
fn what_rests_on_a_command_waits_until_it_is_durable() {
    let mut bench = Bench::new(|_| false);
    bench.finish(&attach("box", "bridge", None));
    let x = bench.decided(&create("x"));
    for command in [connect("x", "box"), attach("other", "x", None), remove("x"), create("x")] {
        assert_eq!(bench.decide(&command), Met::Behind(1), "{command:?}");
    }
    assert!(matches!(bench.decide(&attach("other", "bridge", None)), Met::Decided(_)));
    bench.submit(x);
    bench.store.commit();
    bench.state.make_visible(x);
    assert!(matches!(bench.decide(&connect("x", "box")), Met::Decided(_)));
    assert!(matches!(bench.decide(&create("x")), Met::Refused(_)));
}

#[test]
fn a_refusal_that_holds_for_what_is_durable_is_given_at_once() {
    let mut bench = Bench::new(|_| false);
    bench.decided(&create("x"));
    assert_eq!(bench.decide(&connect("y", "box")), no_such("y"));
}

#[test]
fn what_a_command_frees_is_given_away_in_the_order_of_the_store() {
    let mut bench = Bench::new(|_| false);
    bench.finish(&create("x"));
    let old = bench.state.durable().world.find_network("x").unwrap().clone();
    let removed = bench.decided(&remove("x"));
    let created = bench.decided(&create("x"));
    assert!(bench.visible("x"), "the removal is not durable");
    bench.submit(created);
    bench.store.commit();
    bench.state.make_visible(created);
    let new = bench.state.durable().world.find_network("x").unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!(new.subnets[0].subnet, old.subnets[0].subnet);
    bench.state.make_visible(removed);
    assert!(bench.visible("x"), "the removal was made visible before");
    assert!(world_is_whole(&bench.state));
}

fn world_is_whole(state: &State) -> bool {
    state.entries.is_empty()
        && plan(&state.head.world) == state.head.plan
        && state.head.plan == state.durable.plan
}

#[test]
fn a_command_that_is_taken_back_leaves_nothing() {
    let mut bench = Bench::new(|_| false);
    let before = bench.state.head.clone();
    let web = bench.decided(&attach("web", "bridge", Some(Some(80))));
    let other = bench.decided(&attach("other", "bridge", None));
    assert_eq!(
        bench.decide(&attach("third", "bridge", Some(Some(80)))),
        Met::Behind(2),
        "the port may be free yet"
    );
    assert!(bench.state.take_back(web).is_empty());
    bench.submit(other);
    bench.store.commit();
    bench.state.make_visible(other);
    assert_eq!(bench.names(), ["other"]);
    assert!(world_is_whole(&bench.state));
    let third = bench.decided(&attach("third", "bridge", Some(Some(80))));
    let address = |bench: &Bench, name: &str| {
        let world = &bench.state.head.world;
        let id = world.find_sandbox(name).unwrap().id;
        world.endpoints_of_sandbox(id)[0].allocation.as_ref().unwrap().ipv4.unwrap()
    };
    assert!(address(&bench, "third") < address(&bench, "other"), "the address is free again");
    bench.state.take_back(third);
    assert!(before.world.host_state().next_order < bench.state.head.world.host_state().next_order);
}

#[test]
fn a_store_that_fails_takes_back_all_that_is_not_durable() {
    let mut bench = Bench::new(|commit| commit == 1);
    bench.finish(&create("x"));
    let before = bench.state.head.clone();
    let removed = bench.decided(&remove("x"));
    let created = bench.decided(&create("x"));
    let waits = bench.decided(&attach("web", "bridge", None));
    assert!(bench.submit(created));
    bench.store.commit();
    bench.state.store_failed(removed, &*bench.store);
    assert!(world_is_whole(&bench.state));
    assert!(bench.state.head.world.networks().eq(before.world.networks()));
    assert!(!bench.submit(waits), "it was decided on what failed");
    // The others find out too, and take nothing else back.
    let again = bench.decided(&remove("x"));
    bench.state.store_failed(created, &*bench.store);
    bench.store.commit();
    bench.state.make_visible(again);
    assert!(!bench.visible("x"));
}

#[test]
fn a_change_that_comes_after_a_failure_rests_on_nothing_that_failed() {
    let mut bench = Bench::new(|commit| commit == 1);
    bench.finish(&create("x"));
    let removed = bench.decided(&remove("x"));
    bench.store.commit();
    // The failure is not known here yet.
    let created = bench.decided(&create("x"));
    assert!(bench.submit(created));
    bench.store.commit();
    bench.state.make_visible(created);
    bench.state.store_failed(removed, &*bench.store);
    assert_eq!(bench.state.durable().world.networks().filter(|it| it.name == "x").count(), 1);
    assert!(bench.store.disk().keys().filter(|key| key.starts_with("network/")).count() == 1);
}

#[test]
fn who_waits_for_all_is_not_overtaken() {
    let mut bench = Bench::new(|_| false);
    let one = bench.decided(&create("one"));
    let settings = configure(Settings { icc: false, ..Settings::default() });
    let mut place = None;
    assert_eq!(bench.waiting(&settings, &mut place), Met::Behind(1));
    assert_eq!(bench.decide(&attach("web", "bridge", None)), Met::Behind(1), "the settings came first");
    bench.submit(one);
    bench.store.commit();
    bench.state.make_visible(one);
    let Met::Decided(number) = bench.waiting(&settings, &mut place) else { panic!("nothing is in progress") };
    assert_eq!(place, None);
    assert_eq!(bench.decide(&attach("web", "bridge", None)), Met::Behind(1));
    bench.submit(number);
    bench.store.commit();
    bench.state.make_visible(number);
    assert!(!bench.state.durable().world.settings().icc);
    assert!(matches!(bench.decide(&attach("web", "bridge", None)), Met::Decided(_)));
}

#[test]
fn a_change_of_settings_is_taken_back_whole() {
    let mut bench = Bench::new(|commit| commit == 0);
    let off = configure(Settings { bridge: DefaultBridge::Disabled, ..Settings::default() });
    let number = bench.decided(&off);
    bench.store.commit();
    bench.state.store_failed(number, &*bench.store);
    assert_eq!(bench.state.head.world.settings(), bench.state.durable().world.settings());
    assert!(bench.visible("bridge"));
    assert!(world_is_whole(&bench.state));
}

#[test]
fn the_record_of_the_host_keeps_what_others_have_written_there() {
    let mut bench = Bench::new(|_| false);
    let web = bench.decided(&attach("web", "bridge", None));
    let other = bench.decided(&attach("other", "bridge", None));
    assert!(bench.submit(other) && bench.submit(web));
    bench.store.commit();
    bench.state.make_visible(web);
    let stored = crate::commit::tests::world_on(&bench.store.disk());
    assert_eq!(stored.host_state(), bench.state.head.world.host_state());
    assert_eq!(stored.host_state().next_order, 2);
    assert!(stored.host_state().switched_forwarding_ipv4, "as configured");
    assert_eq!(bench.names(), ["other", "web"]);
    assert!(matches!(bench.decide(&stop("web")), Met::Decided(_)));
}

#[test]
fn a_port_that_a_sandbox_has_still_is_not_given_back() {
    let mut bench = Bench::new(|commit| commit == 1);
    bench.finish(&attach("web", "bridge", Some(Some(80))));
    let stopped = bench.decided(&stop("web"));
    let decide = |bench: &mut Bench, name: &str, port: u16| {
        let command = attach(name, "bridge", Some(Some(port)));
        match bench.state.decide(&command, &Findings::default(), 1, &mut None, &*bench.store) {
            Ok(decision) => decision,
            Err(_) => panic!("{name} is not decided"),
        }
    };
    let [same, other] = [("same", 80), ("other", 81)].map(|(name, port)| decide(&mut bench, name, port));
    bench.store.commit();
    bench.state.store_failed(stopped, &*bench.store);
    assert_eq!(bench.state.unwanted(&same), [], "web runs on and has it");
    let of_other: Vec<u16> = bench.state.unwanted(&other).iter().map(|(_, at)| at.port()).collect();
    assert_eq!(of_other, [81, 81]);
}
