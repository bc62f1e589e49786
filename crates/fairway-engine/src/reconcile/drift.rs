//! Drift: the difference between observed and planned objects, as lines for logs and findings.

use std::collections::BTreeMap;
use std::fmt;

use fairway_core::object::{Difference, Key, Object, SetName};
use fairway_core::plan::{self, ObjectChange, Plan, SettingChange, describe, element_text};
use fairway_core::world::World;
use fairway_inspect::doctor::Deviation;

/// The objects that differ from the Plan and, where they exist, the settings in which they differ.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    pub(crate) difference: Difference,
    pub(crate) deviations: Deviations,
}

/// The settings in which existing objects differ from the Plan.
pub(crate) type Deviations = BTreeMap<Key, Vec<Deviation>>;

impl Drift {
    /// What repairing the drift does, object by object, in order.
    pub(crate) fn changes(&self, plan: &Plan, world: &World) -> Vec<ObjectChange> {
        let setting = |deviation: &Deviation| SettingChange {
            name: deviation.what.clone(),
            old: deviation.actual.clone(),
            new: deviation.expected.clone(),
        };
        let deviations = self.deviations.iter();
        let deviations = deviations.map(|(key, all)| (key.clone(), all.iter().map(setting).collect()));
        plan::changes(&self.difference, plan, world, &deviations.collect())
    }
}

/// One setting of one object, or one whole object, that differs from the Plan.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DriftLine {
    object: String,
    /// None for a whole object.
    setting: Option<String>,
    expected: String,
    found: String,
}

impl DriftLine {
    fn whole(object: String, (expected, found): (&str, &str)) -> Self {
        Self { object, setting: None, expected: expected.to_owned(), found: found.to_owned() }
    }

    fn of(object: String, deviation: &Deviation) -> Self {
        Self {
            object,
            setting: Some(deviation.what.clone()).filter(|what| !what.is_empty()),
            expected: deviation.expected.clone().unwrap_or_else(|| PRESENT.to_owned()),
            found: deviation.actual.clone(),
        }
    }

    /// The line in the present tense: `bridge br0: mtu is 1300, expected 1500`.
    fn present(&self) -> String {
        let setting = self.setting.as_ref().map(|setting| format!(": {setting}")).unwrap_or_default();
        let expected = match self.expected.as_str() {
            PRESENT => String::new(),
            expected => format!(", expected {expected}"),
        };
        format!("{}{setting} is {}{expected}", self.object, self.found)
    }
}

impl fmt::Display for DriftLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(setting) = &self.setting {
            write!(f, "{setting} of ")?;
        }
        write!(f, "{}: expected {}, found {}", self.object, self.expected, self.found)
    }
}

/// What is expected of an object, or of a part of it, that is missing.
const PRESENT: &str = "present";
const MISSING: (&str, &str) = (PRESENT, "missing");
const UNEXPECTED: (&str, &str) = ("none", "present");
const CHANGED: (&str, &str) = ("as planned", "changed");

/// How many lines of drift an event holds.
const MAX_LINES: usize = 8;
/// So many elements of one set are named; of more only their number.
const MAX_ELEMENTS: usize = 3;

impl Drift {
    /// Keeps the objects whose keys `keep` accepts.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Key) -> bool) {
        self.difference.removed.retain(|key, _| keep(key));
        self.difference.added.retain(|key, _| keep(key));
        self.difference.changed.retain(|key, _| keep(key));
    }

    /// One line for each setting or object that differs.
    fn lines(&self, world: &World, concerns: impl Fn(&Key) -> bool) -> Vec<DriftLine> {
        let mut lines = Vec::new();
        let mut elements: BTreeMap<(SetName, (&str, &str)), Vec<String>> = BTreeMap::new();
        let Difference { removed, added, changed } = &self.difference;
        let removed = removed.iter().map(|(key, object)| (key, object, UNEXPECTED));
        let added = added.iter().map(|(key, object)| (key, object, MISSING));
        let changed = changed.iter().map(|(key, (old, _))| (key, old, CHANGED));
        for (key, object, state) in removed.chain(added).chain(changed).filter(|(key, ..)| concerns(key)) {
            match (key, object, self.deviations.get(key)) {
                (Key::Element(set, bytes), Object::Element(element), _) => {
                    elements.entry((*set, state)).or_default().push(element_text(*set, bytes, element));
                }
                (_, _, Some(found)) => {
                    lines.extend(found.iter().map(|it| DriftLine::of(describe(key, world), it)));
                }
                (_, _, None) => lines.push(DriftLine::whole(describe(key, world), state)),
            }
        }
        for ((set, state), texts) in elements {
            let set = set.text();
            if texts.len() > MAX_ELEMENTS {
                let object = format!("{} elements of the set {set}", texts.len());
                lines.push(DriftLine::whole(object, state));
            } else {
                let named = texts.iter().map(|text| format!("element {text} of the set {set}"));
                lines.extend(named.map(|object| DriftLine::whole(object, state)));
            }
        }
        lines
    }

    /// The objects that are missing or differ now, one line each. Ports are left out: another program may have them.
    pub(crate) fn present(&self, world: &World) -> Vec<String> {
        let unexpected = &self.difference.removed;
        let lines = self.lines(world, |key| !matches!(key, Key::Socket(..)) && !unexpected.contains_key(key));
        lines.iter().map(DriftLine::present).collect()
    }

    /// Logs each repaired setting with its expected and found value, and returns the first lines.
    pub(crate) fn report(&self, world: &World) -> String {
        let lines = self.lines(world, |_| true);
        for line in &lines {
            let DriftLine { object, setting, expected, found } = line;
            tracing::warn!(object, setting, expected, found, "drift repaired: {line}");
        }
        lines.iter().take(MAX_LINES).map(DriftLine::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// The objects with Fairway's mark that no network or sandbox has, one line for each kind and name.
pub(crate) fn leaked(difference: &Difference, world: &World) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for key in difference.removed.keys() {
        let line = format!("the {} is there and belongs to nothing", describe(key, world));
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    let counted = |(line, count)| if count == 1 { line } else { format!("{line} ({count} of them)") };
    lines.into_iter().map(counted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(key: Key, deviations: Vec<Deviation>) -> Drift {
        let mut drift = Drift::default();
        drift.difference.added.insert(key.clone(), Object::Sysctl("1".to_owned()));
        if !deviations.is_empty() {
            drift.deviations.insert(key, deviations);
        }
        drift
    }

    #[test]
    fn drift_names_setting_expected_and_found_value() {
        let world = World::default();
        let bridge = || Key::Bridge("br0".to_owned());
        let mtu = drift(bridge(), vec![Deviation::new("mtu", 1400, 1500)]);
        assert_eq!(mtu.report(&world), "mtu of bridge br0: expected 1500, found 1400");
        assert_eq!(mtu.present(&world), ["bridge br0: mtu is 1400, expected 1500"]);
        let address = drift(bridge(), vec![Deviation::missing("address 10.0.0.1/24")]);
        assert_eq!(
            address.report(&world),
            "address 10.0.0.1/24 of bridge br0: expected present, found missing"
        );
        assert_eq!(address.present(&world), ["bridge br0: address 10.0.0.1/24 is missing"]);
        let missing = drift(bridge(), Vec::new());
        assert_eq!(missing.report(&world), "bridge br0: expected present, found missing");
        assert_eq!(missing.present(&world), ["bridge br0 is missing"]);
        let sysctl = drift(Key::Sysctl("net/ipv4/ip_forward".to_owned()), vec![Deviation::new("", 0, 1)]);
        assert_eq!(sysctl.report(&world), "sysctl net.ipv4.ip_forward: expected 1, found 0");
        assert_eq!(sysctl.present(&world), ["sysctl net.ipv4.ip_forward is 0, expected 1"]);
    }

    #[test]
    fn ports_of_other_programs_are_no_present_drift() {
        let port = Key::Socket(fairway_model::Protocol::Tcp, "0.0.0.0:80".parse().unwrap());
        assert!(drift(port, Vec::new()).present(&World::default()).is_empty());
    }
}
