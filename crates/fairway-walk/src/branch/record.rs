//! Branches as records and as text.

use serde::{Deserialize, Serialize};

use super::{Branch, Branches};
use crate::connection::Outcome;
use crate::probability::Probability;
use crate::record::{EndKind, EndRecord, WalkRecord};
use crate::topology::Topology;

/// How many results a sentence about branches names.
const MOST_NAMED: usize = 6;

/// A branch of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BranchRecord {
    /// The probability as a fraction, `1/3`; none where chance decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<String>,
    /// What holds in this branch, each with the rule that it matters to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionRecord>,
    /// Probability and conditions as text.
    pub text: String,
    /// The walks of the packets in order.
    pub walks: Vec<WalkRecord>,
    /// The result in one sentence.
    pub sentence: String,
    /// Whether the connection is answered; none if that is not known.
    pub answered: Option<bool>,
}

/// A condition of a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConditionRecord {
    /// The rule, with its table and chain.
    pub rule: String,
    /// The condition.
    pub text: String,
}

impl Branch {
    /// Probability and conditions as text: `1 of 3`, `while below the limit of 3/minute`.
    pub fn label(&self) -> String {
        let conditions = self.conditions.iter().map(|it| it.text.clone());
        conditions.chain(self.probability.map(|it| it.to_string())).collect::<Vec<_>>().join(", ")
    }

    fn record(&self, topology: &Topology) -> BranchRecord {
        let conditions = self.conditions.iter();
        BranchRecord {
            probability: self.probability.map(Probability::fraction),
            conditions: conditions
                .map(|it| ConditionRecord { rule: it.rule.clone(), text: it.text.clone() })
                .collect(),
            text: self.label(),
            walks: self.walk.records(topology),
            sentence: self.walk.sentence(topology),
            answered: self.walk.outcome().answered(),
        }
    }
}

impl Branches {
    /// The walks of a connection that does not branch. Of one that does, the first packet as far as all branches share
    /// its steps, and the branches.
    pub fn records(&self, topology: &Topology) -> (Vec<WalkRecord>, Vec<BranchRecord>) {
        let [first, _, ..] = self.branches.as_slice() else {
            return (self.branches.iter().flat_map(|it| it.walk.records(topology)).collect(), Vec::new());
        };
        let shared = first.walk.first.steps.iter().take(self.shared());
        let namespace = first.walk.first.end.namespace();
        let more = if self.not_walked > 0 { "more than " } else { "" };
        let text = format!("{more}{} branches from here", self.branches.len());
        let walk = WalkRecord {
            title: "the first packet, in all branches".to_owned(),
            steps: shared.flat_map(|step| step.records(topology)).collect(),
            end: EndRecord {
                kind: EndKind::Branches,
                namespace: topology.name(namespace).to_owned(),
                text,
                ..EndRecord::default()
            },
        };
        (vec![walk], self.branches.iter().map(|branch| branch.record(topology)).collect())
    }

    /// Whether the connection is answered; none if that is not known, or differs between branches.
    pub fn answered(&self) -> Option<bool> {
        let mut all = self.branches.iter().map(|branch| branch.walk.outcome().answered());
        let first = all.next().flatten().filter(|_| self.not_walked == 0);
        first.filter(|first| all.all(|it| it == Some(*first)))
    }

    /// What else may happen: the branches that were not walked, in words; none if all were.
    pub fn not_walked_text(&self) -> Option<String> {
        if self.not_walked == 0 {
            return None;
        }
        let walked = self.branches.iter().try_fold(Probability::new(0, 1), |all, branch| {
            branch.probability.filter(|_| branch.conditions.is_empty()).map(|own| all.or(own))
        });
        let left = walked.map(|it| Probability::new(it.denominator() - it.numerator(), it.denominator()));
        let share = left.map(|left| format!(" (together {left})")).unwrap_or_default();
        let s = if self.not_walked == 1 { " was" } else { "es were" };
        Some(format!("at least {} more branch{s} not walked{share}", self.not_walked))
    }

    /// The result in a sentence: what is the same in all branches, or the result of each.
    pub fn sentence(&self, topology: &Topology) -> String {
        let mut results: Vec<(String, Vec<&Branch>)> = Vec::new();
        for branch in &self.branches {
            let sentence = branch.walk.sentence(topology);
            match results.iter_mut().find(|(known, _)| *known == sentence) {
                Some((_, branches)) => branches.push(branch),
                None => results.push((sentence, vec![branch])),
            }
        }
        let count = self.branches.len();
        let mut text = match results.as_slice() {
            [(sentence, _)] if count == 1 => sentence.clone(),
            [(sentence, _)] => format!("In all {count} branches: {sentence}"),
            _ if self.branches.iter().all(|it| matches!(it.walk.outcome(), Outcome::Answered(_))) => {
                format!("It is answered in all {count} branches.")
            }
            _ => {
                let named = results.iter().take(MOST_NAMED).map(|(sentence, branches)| {
                    format!("{}: {}", labels(branches), sentence.trim_end_matches('.'))
                });
                let more = results.len().saturating_sub(MOST_NAMED);
                let more = (more > 0).then(|| format!("{more} other results"));
                format!("It depends. {}.", named.chain(more).collect::<Vec<_>>().join("; "))
            }
        };
        if let Some(more) = self.not_walked_text() {
            let (first, rest) = more.split_at(1);
            text.push_str(&format!(" {}{rest}.", first.to_uppercase()));
        }
        text
    }
}

/// The probability of several branches, or their conditions.
fn labels(branches: &[&Branch]) -> String {
    let sum = branches.iter().try_fold(Probability::new(0, 1), |all, branch| {
        branch.probability.filter(|_| branch.conditions.is_empty()).map(|own| all.or(own))
    });
    match (sum, branches) {
        (Some(sum), _) => sum.to_string(),
        (None, [one]) => one.label(),
        (None, [one, others @ ..]) => format!("{}, and {} other branches", one.label(), others.len()),
        (None, []) => String::new(),
    }
}
