//! The objects of a Plan, grouped by owner, with names that users know.

use std::fmt;

use fairway_model::{NetworkId, Owner, SandboxId};
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::object::{Key, Object, Phase, RulesetSwitches, SetElement, SetName, Setting};
use crate::policy::ruleset;
use crate::world::World;

/// A planned object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedObject {
    /// Its kind and name: `bridge br-web`.
    pub object: String,
    /// Its settings.
    pub settings: Vec<Setting>,
}

impl fmt::Display for PlannedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)?;
        for (number, Setting { name, value }) in self.settings.iter().enumerate() {
            write!(f, "{} {name} {value}", if number == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// The planned objects of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PlannedFragment {
    /// The owner: `network web`.
    pub owner: String,
    /// The objects, in the order in which they are made.
    pub objects: Vec<PlannedObject>,
}

impl fmt::Display for PlannedFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.owner)?;
        self.objects.iter().try_for_each(|object| writeln!(f, "  {object}"))
    }
}

/// Lists the objects of a Plan, by owner.
pub fn list(plan: &Plan, world: &World) -> Vec<PlannedFragment> {
    let fragments = plan.fragments().map(|(owner, fragment)| {
        let mut objects: Vec<_> = fragment.iter().collect();
        objects.sort_by_key(|(key, _)| Phase::of_wanted(key));
        let planned = |(key, object): (&Key, &Object)| PlannedObject {
            object: name(key, object, world),
            settings: object.settings(),
        };
        PlannedFragment {
            owner: owner_name(*owner, world),
            objects: objects.into_iter().map(planned).collect(),
        }
    });
    fragments.collect()
}

fn sandbox_name(id: SandboxId, world: &World) -> String {
    world.sandbox(id).map_or_else(|| id.short(), |sandbox| sandbox.name.clone())
}

fn network_name(id: NetworkId, world: &World) -> String {
    world.network(id).map_or_else(|| id.short(), |network| network.name.clone())
}

/// Names an object as `ip`, `nft` and Docker name it, with the names of sandboxes and networks where they are known.
pub fn describe(key: &Key, world: &World) -> String {
    key.describe(|id| sandbox_name(id, world), |id| network_name(id, world))
}

/// As [`describe`], with the key of an element.
pub fn name(key: &Key, object: &Object, world: &World) -> String {
    match (key, object) {
        (Key::Element(set, bytes), Object::Element(element)) => {
            format!("element {} of the set {}", element_text(*set, bytes, element), set.text())
        }
        _ => describe(key, world),
    }
}

/// An element as `nft` prints it, without its comment.
pub fn element_text(name: SetName, bytes: &[u8], element: &SetElement) -> String {
    let tables = ruleset(&RulesetSwitches::default());
    let set = tables.iter().filter(|table| table.family == name.family()).find_map(|it| it.set(name.text()));
    let element = SetElement { comment: String::new(), ..element.clone() }.to_element(name, bytes);
    set.map_or_else(|| format!("{bytes:02x?}"), |set| set.element_text(&element))
}

/// Names an owner: `network web`, `endpoint of sandbox a on network web`.
pub fn owner_name(owner: Owner, world: &World) -> String {
    let sandbox = |id| sandbox_name(id, world);
    match owner {
        Owner::Host => "host".to_owned(),
        Owner::Network(id) => format!("network {}", network_name(id, world)),
        Owner::Sandbox(id) => format!("sandbox {}", sandbox(id)),
        Owner::Endpoint(id) => match world.endpoint(id) {
            Some(endpoint) => format!(
                "endpoint of sandbox {} on network {}",
                sandbox(endpoint.sandbox),
                network_name(endpoint.network, world)
            ),
            None => format!("endpoint {}", id.short()),
        },
        Owner::Publications(id) => format!("published ports of sandbox {}", sandbox(id)),
        Owner::Links(id) => format!("links of sandbox {}", sandbox(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    #[test]
    fn the_plan_is_listed_by_owner() {
        let world = crate::plan::tests::published();
        let listed = list(&plan(&world), &world);
        insta::assert_snapshot!(listed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
}
