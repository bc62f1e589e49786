//! Joins branches that end alike.

use super::{Branch, ConnectionWalk};
use crate::choice::{Alternative, Condition, Made};
use crate::probability::Probability;
use crate::step::{PacketWalk, Step};

/// The branches of walks with their choices, in the order in which they were walked. A choice on which nothing depends
/// is no branch. `is_cut` is whether further walks would follow the last.
pub fn merged(leaves: Vec<(Vec<Made>, ConnectionWalk)>, is_cut: bool) -> Vec<Branch> {
    let leaves = leaves.into_iter().map(|(made, walk)| Leaf { made, walk: Box::new(walk) }).collect();
    let branch =
        |part: Part| Branch { probability: part.probability, conditions: part.conditions, walk: *part.walk };
    merge(leaves, 0, is_cut).into_iter().map(branch).collect()
}

struct Leaf {
    made: Vec<Made>,
    walk: Box<ConnectionWalk>,
}

/// A branch from some choice on.
struct Part {
    probability: Option<Probability>,
    conditions: Vec<Condition>,
    walk: Box<ConnectionWalk>,
}

impl Part {
    /// The same, from an option of the choice before.
    fn after(mut self, option: &Alternative) -> Self {
        self.probability = match (option.probability, self.probability) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        self.conditions.splice(0..0, option.condition.clone());
        self
    }
}

/// The branches of walks that made the first `depth` choices alike. It calls itself as often as ways part, which is less
/// than the number of walks.
fn merge(mut leaves: Vec<Leaf>, mut depth: usize, is_cut: bool) -> Vec<Part> {
    let begin = depth;
    let taken = |leaf: &Leaf, depth: usize| leaf.made.get(depth).map(|made| made.taken);
    while let (Some(first), Some(last)) = (leaves.first(), leaves.last())
        && taken(first, depth).is_some()
        && taken(first, depth) == taken(last, depth)
    {
        depth += 1;
    }
    let Some(first) = leaves.first() else { return Vec::new() };
    let shared: Vec<Alternative> =
        first.made.get(begin..depth).unwrap_or_default().iter().map(|it| it.option.clone()).collect();
    let parts = match first.made.get(depth).map(|made| made.count) {
        Some(count) => parted(leaves, depth, count, is_cut),
        None => {
            let part = |leaf: Leaf| Part { probability: None, conditions: Vec::new(), walk: leaf.walk };
            leaves.drain(..).map(part).collect()
        }
    };
    let after = |part: Part| shared.iter().rev().fold(part, Part::after);
    parts.into_iter().map(after).collect()
}

/// The branches of walks that made a choice differently.
fn parted(leaves: Vec<Leaf>, depth: usize, count: usize, is_cut: bool) -> Vec<Part> {
    let mut options: Vec<(Made, Vec<Leaf>)> = Vec::new();
    for leaf in leaves {
        let Some(made) = leaf.made.get(depth).cloned() else { continue };
        match options.last_mut() {
            Some((last, leaves)) if last.taken == made.taken => leaves.push(leaf),
            _ => options.push((made, vec![leaf])),
        }
    }
    let last = options.len().saturating_sub(1);
    let options: Vec<(Alternative, Vec<Part>)> = options
        .into_iter()
        .enumerate()
        .map(|(place, (made, leaves))| (made.option, merge(leaves, depth + 1, is_cut && place == last)))
        .collect();
    if let [(_, one), others @ ..] = options.as_slice()
        && !is_cut
        && options.len() == count
        && others.iter().all(|(_, other)| are_alike(one, other))
    {
        return options.into_iter().next().map(|(_, one)| one).unwrap_or_default();
    }
    let mut all: Vec<Part> = Vec::new();
    for (option, parts) in options {
        for part in parts {
            add(&mut all, part.after(&option));
        }
    }
    all
}

/// Adds a branch, or its probability to that of one that ends alike.
fn add(all: &mut Vec<Part>, part: Part) {
    let same = all.iter_mut().find(|it| {
        it.probability.is_some() && it.conditions == part.conditions && is_alike(&it.walk, &part.walk)
    });
    match (same, part.probability) {
        (Some(same), Some(own)) => same.probability = same.probability.map(|it| it.or(own)),
        _ => all.push(part),
    }
}

fn are_alike(one: &[Part], other: &[Part]) -> bool {
    let same = |(one, other): (&Part, &Part)| {
        one.probability == other.probability
            && one.conditions == other.conditions
            && is_alike(&one.walk, &other.walk)
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Whether packets of two connections take the same ways to the same ends, whatever rules let them. Where there is no
/// connection, later packets decide nothing.
fn is_alike(one: &ConnectionWalk, other: &ConnectionWalk) -> bool {
    let second = match (&one.proxied, &other.proxied) {
        (Some(one), Some(other)) => is_alike(one, other),
        (None, None) => true,
        _ => false,
    };
    let optional = |one: &Option<PacketWalk>, other: &Option<PacketWalk>| match (one, other) {
        (Some(one), Some(other)) => goes_alike(one, other),
        (None, None) => true,
        _ => false,
    };
    second
        && goes_alike(&one.first, &other.first)
        && optional(&one.reply, &other.reply)
        && (!one.is_tcp()
            || optional(&one.established, &other.established) && optional(&one.next_reply, &other.next_reply))
        && optional(&one.refusal, &other.refusal)
}

fn goes_alike(one: &PacketWalk, other: &PacketWalk) -> bool {
    let is_way = |step: &&Step| !matches!(step, Step::Chain { .. });
    one.end == other.end && one.steps.iter().filter(is_way).eq(other.steps.iter().filter(is_way))
}
