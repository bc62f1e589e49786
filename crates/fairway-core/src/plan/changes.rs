//! What applying a difference does, object by object, with the reason for each.

use std::collections::BTreeMap;
use std::fmt;

use fairway_model::Owner;
use serde::{Deserialize, Serialize};

use super::Plan;
use super::listing::{name, owner_name};
use crate::object::{Difference, Key, Object, Phase, Setting};
use crate::world::World;

/// What becomes of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    #[default]
    Add,
    /// It exists, and gets other settings.
    Change,
    /// It is deleted.
    Remove,
}

impl Action {
    const fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }
}

/// A setting that changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SettingChange {
    /// Its name, such as `mtu`; empty where the object has but one.
    pub name: String,
    /// Its value before.
    pub old: String,
    /// Its value after; none where the value before says enough, as in `missing`.
    pub new: Option<String>,
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { String::new() } else { format!("{} ", self.name) };
        match &self.new {
            Some(new) => write!(f, "{name}{} -> {new}", self.old),
            None => write!(f, "{name}{}", self.old),
        }
    }
}

/// What becomes of one object, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectChange {
    /// What becomes of it.
    pub action: Action,
    /// Its kind and name: `bridge br-web`.
    pub object: String,
    /// Its settings that change.
    pub settings: Vec<SettingChange>,
    /// The owner whose object it is, and why it is made, changed or deleted: `network web: missing`.
    pub reason: String,
}

impl fmt::Display for ObjectChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action.sign(), self.object)?;
        for (number, setting) in self.settings.iter().enumerate() {
            write!(f, "{} {setting}", if number == 0 { ":" } else { "," })?;
        }
        write!(f, " ({})", self.reason)
    }
}

/// Lists what applying a difference between what exists and the Plan does, in the order of its phases. `deviations` are
/// the settings in which existing objects differ, as far as they are known otherwise than by the difference.
pub fn changes(
    difference: &Difference,
    plan: &Plan,
    world: &World,
    deviations: &BTreeMap<Key, Vec<SettingChange>>,
) -> Vec<ObjectChange> {
    let owners: BTreeMap<&Key, Owner> = plan
        .fragments()
        .flat_map(|(owner, fragment)| fragment.keys().map(|key| (key, *owner)))
        .filter(|(key, _)| difference.added.contains_key(key) || difference.changed.contains_key(key))
        .collect();
    let planned = |key: &Key, why: &str| match owners.get(key) {
        Some(owner) => format!("{}: {why}", owner_name(*owner, world)),
        None => why.to_owned(),
    };
    let mut all: Vec<(Phase, ObjectChange)> = Vec::new();
    for (key, object) in &difference.removed {
        let change = ObjectChange {
            action: Action::Remove,
            object: name(key, object, world),
            settings: Vec::new(),
            reason: removal_reason(key, object, world),
        };
        all.push((Phase::of_removed(key), change));
    }
    for (key, object) in &difference.added {
        let settings = deviations.get(key).cloned().unwrap_or_default();
        let (action, why) =
            if settings.is_empty() { (Action::Add, "missing") } else { (Action::Change, "differs") };
        let reason = planned(key, why);
        let object = name(key, object, world);
        all.push((Phase::of_wanted(key), ObjectChange { action, object, settings, reason }));
    }
    for (key, (old, new)) in &difference.changed {
        let settings = deviations.get(key).cloned().unwrap_or_else(|| differing(old, new));
        let reason = planned(key, "differs");
        let object = name(key, new, world);
        all.push((Phase::of_wanted(key), ObjectChange { action: Action::Change, object, settings, reason }));
    }
    // What is of one phase: deleted, made, changed.
    all.sort_by_key(|(phase, _)| *phase);
    all.into_iter().map(|(_, change)| change).collect()
}

/// The settings in which two objects of one key differ.
fn differing(old: &Object, new: &Object) -> Vec<SettingChange> {
    const NONE: &str = "none";
    let (old, new) = (old.settings(), new.settings());
    let value = |of: &[Setting], name: &str| {
        of.iter()
            .find(|setting| setting.name == name)
            .map_or(NONE.to_owned(), |setting| setting.value.clone())
    };
    let mut names: Vec<&str> = old.iter().map(|setting| setting.name.as_str()).collect();
    for setting in &new {
        if !names.contains(&setting.name.as_str()) {
            names.push(&setting.name);
        }
    }
    let change = |name: &str| SettingChange {
        name: name.to_owned(),
        old: value(&old, name),
        new: Some(value(&new, name)),
    };
    names.into_iter().map(change).filter(|change| Some(&change.old) != change.new.as_ref()).collect()
}

/// Why an object is deleted: its owner is gone, or needs it no longer.
fn removal_reason(key: &Key, object: &Object, world: &World) -> String {
    let Some(owner) = former_owner(key, object) else { return "not planned".to_owned() };
    let name = owner_name(owner, world);
    if exists(owner, world) { format!("{name}: not planned") } else { format!("{name}: does not exist") }
}

/// The owner that an object bears the mark of; none where an object bears none.
fn former_owner(key: &Key, object: &Object) -> Option<Owner> {
    match (key, object) {
        (_, Object::Bridge(bridge)) => Some(Owner::Network(bridge.network)),
        (_, Object::Uplink(port)) => Some(Owner::Network(port.network)),
        (_, Object::DummyParent(link)) => Some(Owner::Network(link.network)),
        (_, Object::Pair(pair)) => Some(Owner::Network(pair.network)),
        (_, Object::Veth(link)) => Some(Owner::Endpoint(link.endpoint)),
        (_, Object::TrafficLimit(limit)) => Some(Owner::Endpoint(limit.endpoint)),
        (Key::Macvlan(endpoint) | Key::Names(endpoint), _) => Some(Owner::Endpoint(*endpoint)),
        (Key::Netns(id) | Key::SandboxRoutes(id) | Key::File(id, _) | Key::View(id), _) => {
            Some(Owner::Sandbox(*id))
        }
        _ => None,
    }
}

fn exists(owner: Owner, world: &World) -> bool {
    match owner {
        Owner::Host => true,
        Owner::Network(id) => world.network(id).is_some(),
        Owner::Sandbox(id) | Owner::Publications(id) | Owner::Links(id) => world.sandbox(id).is_some(),
        Owner::Endpoint(id) => world.endpoint(id).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ElementValue, Fragment, SetElement};
    use crate::plan::plan;

    fn scene() -> (World, Plan, Fragment) {
        let world = crate::plan::tests::published();
        let plan = plan(&world);
        let objects = plan.objects().map(|(key, object)| (key.clone(), object.clone())).collect();
        (world, plan, objects)
    }

    fn text(changes: &[ObjectChange]) -> String {
        changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn all_is_made_in_the_order_of_phases() {
        let (world, plan, objects) = scene();
        let difference = Difference::between(Fragment::new(), objects);
        insta::assert_snapshot!(text(&changes(&difference, &plan, &world, &BTreeMap::new())));
    }

    #[test]
    fn drift_names_what_differs_and_what_belongs_to_nothing() {
        let (world, plan, objects) = scene();
        let (mut actual, mut deviations) = (objects.clone(), BTreeMap::new());
        for (key, object) in &objects {
            match (key, object) {
                // Observed with other settings.
                (Key::Bridge(name), _) if name.starts_with("br-") => {
                    actual.remove(key);
                    let change = |name: &str, old: &str, new: &str| SettingChange {
                        name: name.to_owned(),
                        old: old.to_owned(),
                        new: Some(new.to_owned()),
                    };
                    let all = vec![change("mtu", "1300", "1500"), change("state", "down", "up")];
                    deviations.insert(key.clone(), all);
                }
                // Those of an endpoint and a network of no World.
                (Key::Veth(_), Object::Veth(link)) => {
                    let mut other = link.clone();
                    other.host_interface = "fw0102".to_owned();
                    other.endpoint = fairway_model::EndpointId::new([9; 32]);
                    actual.insert(Key::Veth("fw0102".to_owned()), Object::Veth(other));
                }
                (Key::Socket(..), _) => drop(actual.remove(key)),
                (Key::Element(..), Object::Element(element)) => {
                    if let ElementValue::Target(_) = element.value {
                        let value = ElementValue::Target("10.9.0.77:80".parse().unwrap());
                        actual.insert(key.clone(), Object::Element(SetElement { value, ..element.clone() }));
                    }
                }
                (Key::Names(_), _) => {
                    let id = fairway_model::EndpointId::new([8; 32]);
                    actual.insert(Key::Names(id), object.clone());
                }
                _ => {}
            }
        }
        actual.insert(Key::Route("10.77.0.0/16".parse().unwrap()), Object::Chain);
        let difference = Difference::between(actual, objects);
        insta::assert_snapshot!(text(&changes(&difference, &plan, &world, &deviations)));
        assert_eq!(changes(&Difference::default(), &plan, &world, &deviations), []);
    }
}
