use proptest::prelude::*;

use super::*;
use crate::world::histories::{Step, TestWorld, step};
use crate::world::tests::{network, run, sandbox, start, world};
use crate::world::{Command, Context, CreateNetwork};
use fairway_model::{EndpointRequest, Rng, SandboxOptions};

fn decided(world: &World, rng: &mut Rng, command: Command) -> Draft {
    world.decide(command, &mut Context::new(2, rng)).unwrap()
}

fn footprint(world: &World, rng: &mut Rng, command: Command) -> Footprint {
    Footprint::of(&decided(world, rng, command), world)
}

fn connect(network: &str, sandbox: &str) -> Command {
    let (network, sandbox) = (network.to_owned(), sandbox.to_owned());
    Command::Connect { network, sandbox, request: EndpointRequest::default() }
}

fn remove(network: &str) -> Command {
    Command::RemoveNetwork { network: network.to_owned() }
}

#[test]
fn commands_conflict_when_one_writes_what_the_other_writes_or_rests_on() {
    let (mut world, mut rng) = world();
    let rng = &mut rng;
    let none = SandboxOptions::default;
    let on_x = [("x", EndpointRequest::default())];
    run(
        &mut world,
        rng,
        [
            network("x", None),
            network("y", None),
            sandbox("a", &on_x, none()),
            sandbox("b", &[("y", EndpointRequest::default())], none()),
            sandbox("c", &on_x, none()),
        ],
    );
    let joined = Command::CreateSandbox(Box::new(crate::world::CreateSandbox {
        name: None,
        kind: fairway_model::SandboxKind::Run,
        network: crate::world::NetworkChoice::Container("a".to_owned()),
        options: none(),
    }));
    let gone = |name: &str| Command::RemoveSandbox { sandbox: name.to_owned() };
    let cases = [
        (start("a"), start("c"), false),
        (start("a"), start("a"), true),
        (start("a"), connect("y", "a"), true),
        (start("a"), connect("y", "c"), false),
        (remove("x"), connect("x", "b"), true),
        (remove("x"), connect("y", "a"), true),
        (remove("y"), connect("x", "b"), true),
        (remove("y"), start("a"), false),
        (sandbox("d", &on_x, none()), remove("x"), true),
        (sandbox("d", &on_x, none()), sandbox("e", &on_x, none()), false),
        (joined.clone(), gone("a"), true),
        (joined, gone("b"), false),
        (network("z", None), network("w", None), false),
    ];
    for (one, other, conflict) in cases {
        let footprints = [&one, &other].map(|command| footprint(&world, rng, command.clone()));
        let [first, second] = &footprints;
        assert_eq!(first.conflicts_with(second), conflict, "{one:?} and {other:?}");
        assert_eq!(second.conflicts_with(first), conflict, "{other:?} and {one:?}");
    }
}

#[test]
fn the_first_network_that_makes_the_host_forward_is_waited_for() {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let host = fairway_model::HostFacts { forwarding: (false, true), ..Default::default() };
    let settings = Box::new(fairway_model::Settings {
        bridge: fairway_model::DefaultBridge::Disabled,
        ..Default::default()
    });
    run(&mut world, &mut rng, [Command::Configure { settings, host: Box::new(host) }]);
    let first = footprint(&world, &mut rng, network("x", None));
    assert!(first.conflicts_with(&footprint(&world, &mut rng, network("y", None))));
    let six = Command::CreateNetwork(CreateNetwork {
        name: "z".to_owned(),
        enable_ipv4: Some(false),
        enable_ipv6: Some(true),
        ..CreateNetwork::default()
    });
    assert!(first.conflicts_with(&footprint(&world, &mut rng, six)));
}

#[test]
fn a_change_of_the_settings_runs_alone() {
    let (world, mut rng) = world();
    let configure = Command::Configure { settings: Box::default(), host: Box::default() };
    let configure = footprint(&world, &mut rng, configure);
    assert!(configure.conflicts_with(&footprint(&world, &mut rng, network("x", None))));
    assert!(configure.conflicts_with(&Footprint::default()));
    assert!(!Footprint::default().conflicts_with(&Footprint::default()));
    assert!(Footprint::default().alone().conflicts_with(&Footprint::default()));
}

#[test]
fn removals_release_and_additions_do_not() {
    let (mut world, mut rng) = world();
    let rng = &mut rng;
    let published = crate::world::tests::publish(Some(80), 80);
    run(
        &mut world,
        rng,
        [
            network("x", None),
            network("y", None),
            network("z", None),
            sandbox("a", &[("x", EndpointRequest::default())], published),
            sandbox("b", &[("y", EndpointRequest::default())], SandboxOptions::default()),
            start("a"),
        ],
    );
    let stop = Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None };
    let unpublish = Command::Unpublish {
        sandbox: "a".to_owned(),
        requests: vec![fairway_model::UnpublishRequest {
            host_address: None,
            host_ports: Some(fairway_model::PortRange::single(80)),
            container_ports: None,
            protocol: fairway_model::Protocol::Tcp,
        }],
    };
    let disconnect = Command::Disconnect { network: "x".to_owned(), sandbox: "a".to_owned() };
    let cases = [
        (stop, true),
        (unpublish, true),
        (disconnect, true),
        (remove("z"), true),
        (Command::RemoveSandbox { sandbox: "b".to_owned() }, true),
        (start("b"), false),
        (connect("y", "a"), false),
        (network("w", None), false),
    ];
    for (command, releases) in cases {
        assert_eq!(decided(&world, rng, command.clone()).releases(&world), releases, "{command:?}");
    }
}

/// Whether both Worlds have the same records, and decide alike from here on.
fn assert_same(one: &World, other: &World, then: &Command) {
    let keys = |world: &World| {
        let networks = world.networks().map(|it| RecordKey::Network(it.id));
        let sandboxes = world.sandboxes().map(|it| RecordKey::Sandbox(it.id));
        let endpoints = world.endpoints().map(|it| RecordKey::Endpoint(it.id));
        networks.chain(sandboxes).chain(endpoints).chain([RecordKey::Host]).collect::<Vec<_>>()
    };
    assert_eq!(keys(one), keys(other));
    for key in keys(one).into_iter().filter(|key| *key != RecordKey::Host) {
        assert_eq!(one.record(key), other.record(key));
    }
    assert!(!one.host_state.differs_in_sysctls(&other.host_state));
    let decide = |world: &World| {
        let mut rng = Rng::new(7);
        let draft = world.decide(then.clone(), &mut Context::new(3, &mut rng));
        draft.map(|draft| (draft.change, keys(&draft.world)))
    };
    assert_eq!(decide(one), decide(other));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What is durable follows record by record, and what fails is taken back record by record.
    #[test]
    fn records_that_are_taken_over_make_the_same_world(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 2..40),
    ) {
        let mut rng = Rng::new(seed);
        let mut test = TestWorld::new(&mut rng);
        let mut follower = test.world().clone();
        for pair in steps.windows(2) {
            let (now, next): (&Step, &Step) = (&pair[0], &pair[1]);
            let before = test.world().clone();
            let Ok(change) = test.apply(now, &mut rng) else { continue };
            let after = test.world().clone();
            if !Arc::ptr_eq(&before.settings, &after.settings) {
                follower = after;
                continue;
            }
            let then = test.command(next);
            follower.take_records(&change.records, &after);
            assert_same(&follower, &after, &then);
            let mut back = after;
            back.take_records(&change.records, &before);
            assert_eq!(back.host_state.next_order, test.world().host_state.next_order, "the counter stays");
            assert_same(&back, &before, &then);
        }
    }
}
