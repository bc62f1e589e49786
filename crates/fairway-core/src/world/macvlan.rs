//! Networks of macvlans: on which link of the host, and in which mode.

use super::{CreateNetwork, NetworkOptions, Refusal, World};
use fairway_model::{Macvlan, MacvlanMode, NetworkId, ParentFacts};

/// Whether a link can be a parent.
fn check_parent(parent: &str, facts: &ParentFacts) -> Result<(), Refusal> {
    let reason = if facts.loopback {
        "it is the loopback interface: name the interface of a LAN".to_owned()
    } else if let Some(master) = &facts.master {
        format!("it belongs to {master}, which takes all its frames: name {master}, or take it out first")
    } else {
        return Ok(());
    };
    Err(Refusal::NotAParent { parent: parent.to_owned(), reason })
}

impl World {
    /// What the options of a network say, as far as they fit the host and the other networks.
    /// Without a parent, and for `--internal` whatever it says, its links stand upon one of ours
    /// that leads nowhere, as in Docker.
    pub(super) fn macvlan(
        &self,
        request: &CreateNetwork,
        options: &NetworkOptions,
        id: NetworkId,
    ) -> Result<Macvlan, Refusal> {
        let mode = options.macvlan_mode.unwrap_or_default();
        let internal = request.internal || options.internal;
        let Some(parent) = options.parent.as_ref().filter(|_| !internal) else {
            let parent = format!("{}{}", Macvlan::DUMMY_PARENT_PREFIX, id.short());
            return Ok(Macvlan { parent, mode, mac: None });
        };
        if parent.starts_with(Macvlan::DUMMY_PARENT_PREFIX) {
            let reason =
                format!("names that begin with {} are those of our own", Macvlan::DUMMY_PARENT_PREFIX);
            return Err(Refusal::NotAParent { parent: parent.clone(), reason });
        }
        let facts = request.parent.as_ref().ok_or_else(|| Refusal::NoParent(parent.clone()))?;
        self.check_others(parent, mode)?;
        check_parent(parent, facts)?;
        let mac = facts.mac.filter(|_| mode == MacvlanMode::Passthru);
        Ok(Macvlan { parent: parent.clone(), mode, mac })
    }

    /// Refuses a parent that another network has taken over, and a second network on one where one of
    /// the two is in the mode passthru.
    fn check_others(&self, parent: &str, mode: MacvlanMode) -> Result<(), Refusal> {
        for network in self.networks.values() {
            if network.uplink.as_ref().is_some_and(|uplink| uplink.parent == parent) {
                let holder = network.name.clone();
                return Err(Refusal::ParentTaken { parent: parent.to_owned(), holder });
            }
            let Some(other) = network.macvlan.as_ref().filter(|other| other.parent == parent) else {
                continue;
            };
            if mode == MacvlanMode::Passthru || other.mode == MacvlanMode::Passthru {
                return Err(Refusal::ParentMode {
                    parent: parent.to_owned(),
                    mode,
                    holder: network.name.clone(),
                    held: other.mode,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
