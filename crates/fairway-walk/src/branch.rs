//! Branches of a connection: what may happen to it, where chance or the state of a moment decides.
//!
//! A walk that comes to a choice takes its first option, and says so ([`Choices`]); then the connection is
//! walked again with the next option, depth first, until all are walked or a bound is reached. Branches that end alike
//! are one.

mod merge;
mod record;

use std::rc::Rc;

use super::choice::{Choices, Condition, Made};
use super::connection::{ConnectionWalk, Origin, Proxy, walk_connection_with};
use super::packet::Tuple;
use super::probability::Probability;
use super::walk::Walker;
pub use record::{BranchRecord, ConditionRecord};

/// How many branches of one connection are walked.
pub const MOST_BRANCHES: usize = 128;
/// How many rules are tried in all branches of one connection before no further one is begun.
const MOST_RULES: usize = 4_000_000;

/// One of several ways of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// How probable it is, under its conditions; none where chance decides nothing.
    pub probability: Option<Probability>,
    /// What holds in this branch, in the order in which it matters.
    pub conditions: Vec<Condition>,
    /// The walk of the connection.
    pub walk: ConnectionWalk,
}

/// All ways of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branches {
    /// The branches, those first whose conditions hold as far as is known; one if nothing is left to chance.
    pub branches: Vec<Branch>,
    /// How many branches more there are at least, which were not walked.
    pub not_walked: usize,
}

impl Branches {
    /// The only branch, of a connection that does not branch.
    pub fn only(walk: ConnectionWalk) -> Self {
        Self { branches: vec![Branch { probability: None, conditions: Vec::new(), walk }], not_walked: 0 }
    }

    /// How many steps of the first packet all branches share, from the first on.
    pub fn shared(&self) -> usize {
        let Some((one, others)) = self.branches.split_first() else { return 0 };
        let steps = &one.walk.first.steps;
        let alike = |other: &Branch| {
            steps.iter().zip(&other.walk.first.steps).take_while(|(one, other)| one == other).count()
        };
        others.iter().map(alike).min().unwrap_or(steps.len())
    }
}

/// Walks a connection in all branches. Flows that the walker knows are known in each branch; it learns none of them.
pub fn walk_branches(walker: &Walker<'_>, origin: Origin, tuple: Tuple, proxy: Proxy) -> Branches {
    let mut leaves: Vec<(Vec<Made>, ConnectionWalk)> = Vec::new();
    let (mut script, mut tried) = (Vec::new(), 0);
    let not_walked = loop {
        let choices = Rc::new(Choices::following(std::mem::take(&mut script)));
        let mut own = walker.with_choices(Rc::clone(&choices));
        let walk = walk_connection_with(&mut own, origin, tuple, proxy);
        let (made, work) = choices.finish();
        tried += work;
        let left = |made: &Made| made.count.saturating_sub(made.taken + 1);
        let open: usize = made.iter().map(left).sum();
        if let Some(last) = made.iter().rposition(|it| left(it) > 0) {
            script = made.iter().take(last).map(|it| it.taken).collect();
            script.extend(made.get(last).map(|it| it.taken + 1));
        }
        leaves.push((made, walk));
        if open == 0 || leaves.len() >= MOST_BRANCHES || tried > MOST_RULES {
            break open;
        }
    };
    Branches { branches: merge::merged(leaves, not_walked > 0), not_walked }
}
