//! The owners of the fragments of a Plan.

use serde::{Deserialize, Serialize};

use crate::{EndpointId, NetworkId, SandboxId};

/// Who an object belongs to. When the owner changes, its fragment is made anew, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// What exists once: tables, fixed rules, sysctls.
    Host,
    /// A network.
    Network(NetworkId),
    /// A sandbox: its files, its resolver, its default routes.
    Sandbox(SandboxId),
    /// An endpoint: its link, its guard elements, its names.
    Endpoint(EndpointId),
    /// The published ports of a sandbox.
    Publications(SandboxId),
    /// The links of a sandbox to others, where nothing else lets it reach them.
    Links(SandboxId),
}
