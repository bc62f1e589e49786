//! Joins branches that end alike.

use super::{Branch, ConnectionWalk};
use crate::choice::{Alternative, Made};
use crate::step::{PacketWalk, Step};

/// The branches of walks with their choices, in the order in which they were walked. A choice on which nothing depends
/// is no branch. `is_cut` is whether further walks would follow the last.
pub fn merged(leaves: Vec<(Vec<Made>, ConnectionWalk)>, is_cut: bool) -> Vec<Branch> {
    merge(leaves.into_iter().map(|(made, walk)| Leaf { made, walk }).collect(), 0, is_cut)
}

struct Leaf {
    made: Vec<Made>,
    walk: ConnectionWalk,
}

/// The branches of walks that made the first `depth` choices alike.
fn merge(leaves: Vec<Leaf>, depth: usize, is_cut: bool) -> Vec<Branch> {
    let Some(count) = leaves.first().and_then(|leaf| leaf.made.get(depth)).map(|made| made.count) else {
        let branch = |leaf: Leaf| Branch { probability: None, conditions: Vec::new(), walk: leaf.walk };
        return leaves.into_iter().map(branch).collect();
    };
    let mut options: Vec<(Made, Vec<Leaf>)> = Vec::new();
    for leaf in leaves {
        let Some(made) = leaf.made.get(depth).cloned() else { continue };
        match options.last_mut() {
            Some((last, leaves)) if last.taken == made.taken => leaves.push(leaf),
            _ => options.push((made, vec![leaf])),
        }
    }
    let last = options.len().saturating_sub(1);
    let options: Vec<(Alternative, Vec<Branch>)> = options
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
    let mut all: Vec<Branch> = Vec::new();
    for (option, branches) in options {
        for mut branch in branches {
            branch.probability = match (option.probability, branch.probability) {
                (Some(one), Some(other)) => Some(one.and(other)),
                (one, other) => one.or(other),
            };
            branch.conditions.splice(0..0, option.condition.clone());
            add(&mut all, branch);
        }
    }
    all
}

/// Adds a branch, or its probability to that of one that ends alike.
fn add(all: &mut Vec<Branch>, branch: Branch) {
    let same = all.iter_mut().find(|it| {
        it.probability.is_some() && it.conditions == branch.conditions && is_alike(&it.walk, &branch.walk)
    });
    match (same, branch.probability) {
        (Some(same), Some(own)) => same.probability = same.probability.map(|it| it.or(own)),
        _ => all.push(branch),
    }
}

fn are_alike(one: &[Branch], other: &[Branch]) -> bool {
    let same = |(one, other): (&Branch, &Branch)| {
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
