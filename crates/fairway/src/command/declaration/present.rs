//! The networks and sandboxes that the daemon lists.

use std::collections::BTreeMap;

use fairway_api::types::{ContainerInspect, EndpointSettings, NetworkInspect};

/// What there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::command) struct Present {
    pub(in crate::command) networks: Vec<NetworkInspect>,
    pub(in crate::command) sandboxes: Vec<ContainerInspect>,
    /// The daemon's default options of new networks, by driver.
    pub(in crate::command) default_options: BTreeMap<String, BTreeMap<String, String>>,
}

impl Present {
    pub(in crate::command) fn network(&self, name: &str) -> Option<&NetworkInspect> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub(in crate::command) fn sandbox(&self, name: &str) -> Option<&ContainerInspect> {
        self.sandboxes.iter().find(|sandbox| self::name(sandbox) == name)
    }

    /// The sandboxes that are on a network, running or not.
    pub(in crate::command) fn users(&self, network: &str) -> impl Iterator<Item = &ContainerInspect> {
        self.sandboxes.iter().filter(move |sandbox| endpoints(sandbox).any(|(name, _)| name == network))
    }
}

/// The name of a sandbox, without Docker's leading slash.
pub(in crate::command) fn name(sandbox: &ContainerInspect) -> &str {
    sandbox.name.trim_start_matches('/')
}

/// The endpoints of a sandbox by the names of their networks. The mode `none` or `host` is no endpoint.
pub(in crate::command) fn endpoints(
    sandbox: &ContainerInspect,
) -> impl Iterator<Item = (&String, &EndpointSettings)> {
    let mode = |name: &str| matches!(name, "none" | "host");
    sandbox.network_settings.networks.iter().filter(move |(name, _)| !mode(name))
}

/// The host name that was asked for; empty where it is the short id.
pub(in crate::command) fn hostname(sandbox: &ContainerInspect) -> &str {
    if sandbox.has_default_hostname() { "" } else { &sandbox.config.hostname }
}
