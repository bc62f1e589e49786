use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use fairway_core::object::Fragment;
use fairway_core::plan::plan;
use fairway_core::world::RecordKey;
use fairway_model::{NetworkMode, Rng, SandboxId};

use super::*;
use crate::commit::tests::{
    Disk, FakeHost, FakeStore, attach, connect, create, disconnect, remove, stop, world, world_on,
};

struct Bench {
    pipeline: Pipeline,
    store: Arc<FakeStore>,
    host: Arc<FakeHost>,
}

fn objects(plan: &fairway_core::plan::Plan) -> Fragment {
    plan.objects().map(|(key, object)| (key.clone(), object.clone())).collect()
}

fn keys(world: &World) -> Vec<RecordKey> {
    let networks = world.networks().map(|it| RecordKey::Network(it.id));
    let sandboxes = world.sandboxes().map(|it| RecordKey::Sandbox(it.id));
    networks.chain(sandboxes).chain(world.endpoints().map(|it| RecordKey::Endpoint(it.id))).collect()
}

impl Bench {
    fn new(store: Arc<FakeStore>, host: FakeHost) -> Self {
        let (world, rng) = world();
        let plan = plan(&world);
        host.set(objects(&plan));
        store.fill(&world, keys(&world));
        let host = Arc::new(host);
        let pipeline = Pipeline {
            state: Mutex::new(State::new(world, plan, rng)),
            reconcile_lock: RwLock::default(),
            store: Arc::clone(&store) as Arc<dyn RecordStore>,
            effects: Arc::clone(&host) as Arc<dyn Effects>,
        };
        Self { pipeline, store, host }
    }

    fn run(&self, command: &Command) -> Result<Change, EngineError> {
        self.pipeline.run(command).map(|committed| committed.change)
    }

    fn world(&self) -> World {
        self.pipeline.durable().world
    }

    /// What is visible, durable, planned and made is the same.
    fn assert_whole(&self) {
        let Snapshot { world, plan: durable } = self.pipeline.durable();
        let stored = world_on(&self.store.disk());
        for key in keys(&world) {
            assert_eq!(world.record(key), stored.record(key));
        }
        assert_eq!(keys(&world), keys(&stored));
        assert_eq!(durable, plan(&world));
        assert_eq!(self.pipeline.state().plan(), &durable);
        assert_eq!(self.host.objects(), objects(&durable));
        let sockets = self.host.objects().into_keys().filter(|key| matches!(key, Key::Socket(..)));
        assert_eq!(self.host.ports(), sockets.collect());
    }
}

#[test]
fn a_random_port_of_another_program_is_left_out() {
    let taken = (40_000..40_060).collect();
    let bench = Bench::new(FakeStore::new(|_| false), FakeHost { taken, ..FakeHost::default() });
    bench.run(&attach("web", "bridge", Some(None))).unwrap();
    let port = bench.world().find_sandbox("web").unwrap().publications[0].host_ports.first;
    assert!((40_060..40_064).contains(&port), "{port}");
    bench.assert_whole();
    let error = bench.run(&attach("other", "bridge", Some(Some(40_001)))).unwrap_err();
    assert!(error.to_string().contains("failed to bind host port 0.0.0.0:40001/tcp"), "{error}");
    assert!(bench.world().find_sandbox("other").is_err());
    bench.assert_whole();
}

#[test]
fn random_ports_are_tried_so_often_and_not_for_ever() {
    let taken = (1..=65_535).collect();
    let bench = Bench::new(FakeStore::new(|_| false), FakeHost { taken, ..FakeHost::default() });
    bench.run(&attach("web", "bridge", Some(None))).unwrap_err();
    assert_eq!(bench.store.history().len(), 0, "nothing was written");
    bench.assert_whole();
}

#[test]
fn what_cannot_be_made_is_rolled_back_and_what_cannot_be_removed_is_reconciled() {
    let failing = |number| number == 1 || number == 4;
    let host = FakeHost { failing: Some(Box::new(failing)), ..FakeHost::default() };
    let bench = Bench::new(FakeStore::new(|_| false), host);
    bench.run(&create("x")).unwrap();
    bench.run(&attach("web", "x", Some(Some(80)))).unwrap_err();
    assert_eq!(bench.world().sandboxes().count(), 0);
    bench.assert_whole();
    bench.run(&attach("web", "x", None)).unwrap();
    assert_eq!(bench.host.reconciles.load(Ordering::SeqCst), 0);
    bench.run(&stop("web")).unwrap();
    assert_eq!(bench.world().sandboxes().count(), 0, "it has ended whatever the kernel says");
    assert_eq!(bench.host.reconciles.load(Ordering::SeqCst), 1);
}

#[test]
fn a_store_that_fails_refuses_changes_and_recovers() {
    let bench = Bench::new(FakeStore::new(|commit| (2..5).contains(&commit)), FakeHost::default());
    bench.run(&create("x")).unwrap();
    bench.run(&attach("web", "x", Some(Some(80)))).unwrap();
    let failing = [disconnect("x", "web"), stop("web"), attach("other", "x", Some(Some(81)))];
    for command in failing {
        let error = bench.run(&command).unwrap_err();
        assert!(matches!(error, EngineError::Store(_)), "{command:?}: {error}");
        bench.assert_whole();
        assert_eq!(bench.world().sandboxes().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["web"]);
    }
    bench.run(&stop("web")).unwrap();
    bench.assert_whole();
}

#[test]
fn a_command_that_rests_on_another_waits_for_it() {
    let bench = Bench::new(FakeStore::new(|_| false), FakeHost::default());
    bench.host.gate.close();
    std::thread::scope(|scope| {
        let created = scope.spawn(|| bench.run(&create("x")));
        let is_decided = || {
            let state = bench.pipeline.state();
            *state.plan() != state.durable().plan
        };
        while !is_decided() {
            std::thread::yield_now();
        }
        let again = scope.spawn(|| bench.run(&create("x")));
        let attached = scope.spawn(|| bench.run(&attach("web", "x", None)));
        assert!(bench.world().find_network("x").is_err(), "it is not durable");
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!again.is_finished() && !attached.is_finished());
        bench.host.gate.open();
        created.join().unwrap().unwrap();
        again.join().unwrap().unwrap_err();
        attached.join().unwrap().unwrap();
    });
    bench.assert_whole();
}

#[test]
fn a_panic_takes_the_command_back_and_others_go_on() {
    let bench = Bench::new(FakeStore::new(|_| false), FakeHost::default());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let decided = bench.pipeline.decide(&create("x"), &Findings::default());
            assert!(decided.is_err(), "a fault after the decision");
        });
        thread.join().unwrap_err();
    });
    bench.run(&create("x")).unwrap();
    bench.assert_whole();
}

/// No record on a disk rests on one that is not there, and nothing is given away twice.
fn assert_consistent(disk: &Disk) {
    let world = world_on(disk);
    let endpoints = disk.keys().filter(|key| key.starts_with("endpoint/")).count();
    assert_eq!(world.endpoints().count(), endpoints, "an endpoint without network or sandbox");
    let unique = |what: &str, all: Vec<String>| {
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{what}: {all:?}");
    };
    unique("network names", world.networks().map(|it| it.name.clone()).collect());
    unique("sandbox names", world.sandboxes().map(|it| it.name.clone()).collect());
    let subnets = world.networks().flat_map(|it| it.subnets.iter().map(|it| it.subnet.to_string()));
    unique("subnets", subnets.collect());
    let allocations = || world.endpoints().filter_map(|it| Some((it.network, it.allocation.as_ref()?)));
    unique("addresses", allocations().map(|(of, it)| format!("{of} {:?}", it.ipv4)).collect());
    let ports = world.sandboxes().flat_map(|it| &it.publications);
    unique("ports", ports.map(|it| format!("{} {:?}", it.host_address, it.host_ports)).collect());
    for sandbox in world.sandboxes() {
        let connected = !world.endpoints_of_sandbox(sandbox.id).is_empty();
        assert!(connected || sandbox.mode != NetworkMode::Private || sandbox.publications.is_empty());
    }
}

/// What a thread of a random history asks for next.
fn random_command(
    rng: &mut Rng,
    prefix: &str,
    step: usize,
    networks: &[String],
    sandboxes: &[String],
) -> Command {
    let pick = |rng: &mut Rng, of: &[String]| {
        let at = usize::from(rng.bytes()[0]) % of.len().max(1);
        of.get(at).cloned().unwrap_or_else(|| "bridge".to_owned())
    };
    let kind = rng.bytes()[0] % 16;
    let (mut network, mut sandbox) = (pick(rng, networks), pick(rng, sandboxes));
    if rng.bytes()[0].is_multiple_of(2) {
        // What another thread asks for at the same time, perhaps.
        let other = rng.bytes()[0] % 4;
        (network, sandbox) = (format!("t{other}-n{step}"), format!("t{other}-s{step}"));
    }
    match kind {
        0..3 => create(&format!("{prefix}-n{step}")),
        3..5 => remove(&network),
        5 => create(&network),
        6..9 => attach(&format!("{prefix}-s{step}"), &network, None),
        9..11 => attach(&format!("{prefix}-s{step}"), &network, Some(None)),
        11 => attach(&format!("{prefix}-s{step}"), &network, Some(Some(80 + u16::from(rng.bytes()[0] % 3)))),
        12 => connect(&network, &sandbox),
        13 => disconnect(&network, &sandbox),
        _ => stop(&sandbox),
    }
}

/// What was seen of sandboxes while a history ran.
#[derive(Default)]
struct Seen {
    acknowledged: Mutex<BTreeMap<SandboxId, bool>>,
    refused: Mutex<BTreeSet<String>>,
}

/// Runs random commands side by side, and compares what was acknowledged, refused and seen with what was durable at
/// each moment at which the daemon could have been killed.
fn random_history(seed: u64, failing: impl Fn(usize) -> bool + Send + Sync + 'static) {
    let taken = (40_000..40_030).collect();
    let delay = std::time::Duration::from_micros(200);
    let bench = Bench::new(FakeStore::new(failing), FakeHost { taken, delay, ..FakeHost::default() });
    let (seen, ended) = (Seen::default(), AtomicBool::new(false));
    let was_durable = |id: SandboxId| bench.store.had(&RecordKey::Sandbox(id).text());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let world = bench.world();
                assert!(world.sandboxes().all(|it| was_durable(it.id)), "seen before it was durable");
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..4_u64)
            .map(|thread| {
                let (bench, seen) = (&bench, &seen);
                scope.spawn(move || {
                    let (mut rng, prefix) = (Rng::new(seed * 8 + thread), format!("t{thread}"));
                    for step in 0..12 {
                        let world = bench.world();
                        let networks: Vec<_> = world
                            .networks()
                            .filter(|it| it.driver.has_bridge())
                            .map(|it| it.name.clone())
                            .collect();
                        let sandboxes: Vec<_> = world.sandboxes().map(|it| it.name.clone()).collect();
                        let command = random_command(&mut rng, &prefix, step, &networks, &sandboxes);
                        let outcome = bench.run(&command);
                        match (&command, outcome) {
                            (Command::Attach { .. }, Ok(change)) => {
                                seen.acknowledged.lock().unwrap().insert(change.sandbox.unwrap(), true);
                            }
                            (Command::StopSandbox { .. }, Ok(change)) => {
                                seen.acknowledged.lock().unwrap().insert(change.sandbox.unwrap(), false);
                            }
                            (Command::Attach { create, .. }, Err(_)) => {
                                seen.refused.lock().unwrap().extend(create.name.clone());
                            }
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ended.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    let history = bench.store.history();
    history.iter().for_each(assert_consistent);
    let refused = seen.refused.lock().unwrap();
    for disk in &history {
        assert!(
            !world_on(disk).sandboxes().any(|it| refused.contains(&it.name)),
            "a refused command was durable"
        );
    }
    let world = bench.world();
    for (id, runs) in &*seen.acknowledged.lock().unwrap() {
        assert!(was_durable(*id), "acknowledged, and never durable");
        assert!(*runs || world.sandbox(*id).is_none(), "its end was acknowledged");
    }
    bench.assert_whole();
}

#[test]
fn killed_at_any_point_nothing_acknowledged_is_lost_and_nothing_refused_is_kept() {
    (0..24).for_each(|seed| random_history(seed, |_| false));
}

#[test]
fn with_a_store_that_fails_at_any_commit_nothing_acknowledged_is_lost_and_nothing_refused_is_kept() {
    (100..124)
        .for_each(|seed| random_history(seed, move |commit| (commit as u64).wrapping_mul(seed) % 5 == 1));
}
