//! Owners of kernel objects.

use serde::{Deserialize, Serialize};

use crate::{EndpointId, NetworkId, SandboxId};

/// The owner of a fragment of the Plan. A change of an owner recomputes its fragment only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// The host: tables, base chains, sysctls.
    Host,
    /// A network.
    Network(NetworkId),
    /// A sandbox: files, resolver, default routes.
    Sandbox(SandboxId),
    /// An endpoint: link, guard elements, names.
    Endpoint(EndpointId),
    /// The published ports of a sandbox.
    Publications(SandboxId),
    /// The `--link`s of a sandbox, where the firewall must permit them.
    Links(SandboxId),
}
