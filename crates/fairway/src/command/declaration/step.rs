//! The steps from what there is to what is declared.

use std::collections::BTreeMap;
use std::fmt;

use fairway_api::types::{EndpointSettings, NetworkCreate, PortMap};

use super::declared::Sandbox;

/// One change and its reason.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::command) struct Step {
    pub(in crate::command) action: Action,
    pub(in crate::command) reason: String,
}

/// What is done, in the order of the steps.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::command) enum Action {
    RemoveSandbox {
        name: String,
    },
    /// Detaches a sandbox that [`Self::AttachAgain`] attaches.
    Detach {
        name: String,
    },
    Disconnect {
        sandbox: String,
        network: String,
    },
    Unpublish {
        sandbox: String,
        ports: PortMap,
    },
    RemoveNetwork {
        name: String,
    },
    ReplaceNetwork(Box<NetworkCreate>),
    UpdateNetwork {
        name: String,
        options: BTreeMap<String, Option<String>>,
    },
    CreateNetwork(Box<NetworkCreate>),
    AttachAgain(Box<Sandbox>),
    CreateSandbox(Box<Sandbox>),
    Connect {
        sandbox: String,
        network: String,
        settings: Box<EndpointSettings>,
    },
    Publish {
        sandbox: String,
        ports: PortMap,
    },
}

impl Action {
    /// The place in the order: what frees names, addresses and ports comes first.
    pub(in crate::command) fn rank(&self) -> u8 {
        match self {
            Self::RemoveSandbox { .. } | Self::Detach { .. } => 0,
            Self::Disconnect { .. } => 1,
            Self::Unpublish { .. } => 2,
            Self::RemoveNetwork { .. } => 3,
            Self::ReplaceNetwork(_) => 4,
            Self::UpdateNetwork { .. } => 5,
            Self::CreateNetwork(_) => 6,
            Self::AttachAgain(_) => 7,
            Self::CreateSandbox(_) => 8,
            Self::Connect { .. } => 9,
            Self::Publish { .. } => 10,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.reason)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, kind, name) = match self {
            Self::RemoveSandbox { name } => ("remove", "sandbox", name),
            Self::RemoveNetwork { name } => ("remove", "network", name),
            Self::CreateNetwork(network) => ("create", "network", &network.name),
            Self::CreateSandbox(sandbox) => ("create", "sandbox", &sandbox.name),
            Self::ReplaceNetwork(network) => ("change", "network", &network.name),
            Self::UpdateNetwork { name, .. } => ("change", "network", name),
            Self::Detach { name } => ("change", "sandbox", name),
            Self::AttachAgain(sandbox) => ("change", "sandbox", &sandbox.name),
            Self::Disconnect { sandbox, .. }
            | Self::Unpublish { sandbox, .. }
            | Self::Connect { sandbox, .. }
            | Self::Publish { sandbox, .. } => ("change", "sandbox", sandbox),
        };
        write!(f, "{verb} {kind} {name}")
    }
}
