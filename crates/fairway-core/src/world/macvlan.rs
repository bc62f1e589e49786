//! Parent and mode of macvlan networks.

use super::{CreateNetwork, NetworkOptions, Refusal, World};
use fairway_model::{Macvlan, MacvlanMode, NetworkId, ParentFacts};

/// Checks that an interface can be a macvlan parent.
fn check_parent(parent: &str, facts: &ParentFacts) -> Result<(), Refusal> {
    let reason = if facts.loopback {
        "it is the loopback interface: use the interface of a LAN".to_owned()
    } else if let Some(master) = &facts.master {
        format!(
            "it is a port of {master}, which takes all its frames: use {master}, or remove the interface from it first"
        )
    } else {
        return Ok(());
    };
    Err(Refusal::NotAParent { parent: parent.to_owned(), reason })
}

impl World {
    /// The macvlan settings of a new network, checked against the host and other networks. Without a parent, and with
    /// `--internal`, the parent is a dummy link that Fairway creates, as in Docker.
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
            let reason = format!(
                "names that start with {} are reserved for dummy parents",
                Macvlan::DUMMY_PARENT_PREFIX
            );
            return Err(Refusal::NotAParent { parent: parent.clone(), reason });
        }
        let facts = request.parent.as_ref().ok_or_else(|| Refusal::NoParent(parent.clone()))?;
        self.check_others(parent, mode)?;
        check_parent(parent, facts)?;
        let mac = facts.mac.filter(|_| mode == MacvlanMode::Passthru);
        Ok(Macvlan { parent: parent.clone(), mode, mac })
    }

    /// Refuses a parent that is the uplink of a lan network, and a second network on a parent if one of the two is in
    /// passthru mode.
    fn check_others(&self, parent: &str, mode: MacvlanMode) -> Result<(), Refusal> {
        for network in self.networks() {
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
