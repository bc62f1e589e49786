//! The choices of one walk: what chance or the state of a moment decides.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::probability::Probability;

/// A condition of a branch that has no probability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The rule that it is a condition of, with its table and chain.
    pub rule: String,
    /// The condition, as `while below the limit of 3/minute`.
    pub text: String,
}

/// An option of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// Its probability, if chance decides.
    pub probability: Option<Probability>,
    /// When it is taken, if something else decides.
    pub condition: Option<Condition>,
}

/// A choice that a walk made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The number of the option that was taken.
    pub taken: usize,
    /// How many options there were.
    pub count: usize,
    /// The option that was taken.
    pub option: Alternative,
}

/// Decides the choices of one walk: as prescribed, and then the first option of each.
#[derive(Debug, Default)]
pub struct Choices(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    script: Vec<usize>,
    made: Vec<Made>,
    /// The answers that hold for the whole walk, by the question.
    known: HashMap<String, u32>,
    tried: usize,
}

impl Choices {
    /// Choices that take these options, in this order.
    pub fn following(script: Vec<usize>) -> Self {
        Self(RefCell::new(State { script, ..State::default() }))
    }

    /// Takes an option of `count`, and returns its number. `describe` is called with the option that is taken.
    pub fn take(&self, count: usize, describe: impl FnOnce(usize) -> Alternative) -> usize {
        let mut state = self.0.borrow_mut();
        let taken = state.script.get(state.made.len()).copied().unwrap_or_default();
        state.made.push(Made { taken, count, option: describe(taken) });
        taken
    }

    /// The answer to a question in this walk.
    pub fn known(&self, name: &str) -> Option<u32> {
        self.0.borrow().known.get(name).copied()
    }

    /// Gives the answer to a question that may be asked again in this walk.
    pub fn know(&self, name: String, answer: u32) {
        self.0.borrow_mut().known.insert(name, answer);
    }

    /// Counts rules that were tried.
    pub fn spend(&self, rules: usize) {
        self.0.borrow_mut().tried += rules;
    }

    /// The choices that were made, and how many rules were tried.
    pub fn finish(&self) -> (Vec<Made>, usize) {
        let mut state = self.0.borrow_mut();
        (std::mem::take(&mut state.made), state.tried)
    }
}
