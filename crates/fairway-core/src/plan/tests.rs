//! The property worth ten others: for any history of commands, the fold of the fragments that each
//! command touched equals the whole Plan of the World that it led to.

use proptest::prelude::*;

use super::{Plan, plan, refresh};
use crate::world::history::{Step, World as Rehearsal, step};
use crate::world::{Change, World};
use fairway_model::Draw;

/// No two fragments hold the same key, else one would take the other's object away.
fn assert_disjoint(plan: &Plan) {
    let mut owners = std::collections::BTreeMap::new();
    for (owner, fragment) in plan {
        for key in fragment.keys() {
            if let Some(other) = owners.insert(key.clone(), *owner) {
                panic!("{key:?} is of both {other:?} and {owner:?}");
            }
        }
    }
}

fn rehearse(steps: &[Step]) {
    let mut draw = Draw::new(7);
    let mut rehearsal = Rehearsal::new(&mut draw);
    let mut folded = plan(rehearsal.world());
    for step in steps {
        let before = rehearsal.world().clone();
        match rehearsal.take(step, &mut draw) {
            Ok(Change { owners, records, .. }) => {
                refresh(&mut folded, rehearsal.world(), owners);
                rehearsal.remember(&records);
            }
            Err(_) => assert_same_records(&before, rehearsal.world()),
        }
        assert_disjoint(&folded);
    }
    assert_eq!(folded, plan(rehearsal.world()));
    let mut reborn = rehearsal.reborn();
    let configure = rehearsal.configure();
    reborn.apply(configure, 0, &mut draw).expect("the same settings are accepted again");
    assert_eq!(plan(&reborn), folded, "a World read back from its records has the same Plan");
}

/// A refusal changes nothing.
fn assert_same_records(before: &World, after: &World) {
    assert_eq!(before.journal(), after.journal());
    assert!(before.networks().eq(after.networks()));
    assert!(before.sandboxes().eq(after.sandboxes()));
    assert!(before.endpoints().eq(after.endpoints()));
    assert_eq!(plan(before), plan(after));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_of_fragments_is_the_plan(steps in prop::collection::vec(step(), 1..40)) {
        rehearse(&steps);
    }
}
