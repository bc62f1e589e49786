//! The property worth ten others: for any history of commands, the fold of the fragments that each
//! command touched equals the whole Plan of the World that it led to.

use proptest::prelude::*;

use super::{Plan, plan};
use crate::world::histories::{Step, TestWorld, step};
use crate::world::tests::{network, publish, run, sandbox, start, world};
use crate::world::{Change, World};
use fairway_model::Rng;

/// A network with a sandbox that publishes a port.
pub(super) fn published() -> World {
    let (mut world, mut rng) = world();
    let endpoint = [("web", fairway_model::EndpointRequest::default())];
    let commands =
        [network("web", Some("10.9.0.0/24")), sandbox("a", &endpoint, publish(Some(8080), 80)), start("a")];
    run(&mut world, &mut rng, commands);
    world
}

/// No two fragments hold the same key, else one would take the other's object away.
fn assert_disjoint(plan: &Plan) {
    let mut owners = std::collections::BTreeMap::new();
    for (owner, fragment) in plan.fragments() {
        for key in fragment.keys() {
            if let Some(other) = owners.insert(key.clone(), *owner) {
                panic!("{key:?} is of both {other:?} and {owner:?}");
            }
        }
    }
}

fn rehearse(steps: &[Step]) {
    let mut rng = Rng::new(7);
    let mut test_world = TestWorld::new(&mut rng);
    let mut folded = plan(test_world.world());
    for step in steps {
        let before = test_world.world().clone();
        match test_world.apply(step, &mut rng) {
            Ok(Change { owners, records, .. }) => {
                folded.refresh(test_world.world(), owners);
                test_world.store(&records);
            }
            Err(_) => assert_same_records(&before, test_world.world()),
        }
        assert_disjoint(&folded);
    }
    assert_eq!(folded, plan(test_world.world()));
    let mut reborn = test_world.reload();
    let configure = test_world.configure();
    reborn.apply(configure, 0, &mut rng).expect("the same settings are accepted again");
    assert_eq!(plan(&reborn), folded, "a World read back from its records has the same Plan");
}

/// A refusal changes nothing.
fn assert_same_records(before: &World, after: &World) {
    assert_eq!(before.host_state(), after.host_state());
    assert!(before.networks().eq(after.networks()));
    assert!(before.sandboxes().eq(after.sandboxes()));
    assert!(before.endpoints().eq(after.endpoints()));
    assert_eq!(plan(before), plan(after));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_of_fragments_is_the_plan(steps in prop::collection::vec(step(), 1..40)) {
        rehearse(&steps);
    }
}
