//! JSON bodies of `/version`, `/info` and of errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The body of every error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ErrorMessage {
    pub message: String,
}

/// The reply to a request that creates an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Created {
    pub id: String,
    /// The warning for a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The warnings for a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Vec<String>>,
}

/// The reply to `POST /networks/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworksDeleted {
    /// The names of the removed networks; `null` for none, as in Docker.
    pub networks_deleted: Option<Vec<String>>,
}

/// The reply to `POST /containers/{id}/wait`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitReply {
    pub status_code: i32,
}

/// The reply to `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    pub platform: Platform,
    pub components: Vec<Component>,
    pub version: String,
    pub api_version: String,
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    pub os: String,
    /// The architecture in Go's terms: `amd64`.
    pub arch: String,
    pub kernel_version: String,
}

/// The name of the product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    pub name: String,
}

/// A part of the server, with its version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    pub name: String,
    pub version: String,
    pub details: BTreeMap<String, String>,
}

/// The reply to `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// The id of the daemon, which is kept in the data root.
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub server_version: String,
    pub containers: usize,
    pub containers_running: usize,
    pub containers_paused: usize,
    pub containers_stopped: usize,
    pub images: usize,
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// The name of the host's distribution.
    pub operating_system: String,
    /// The architecture in the kernel's terms: `x86_64`.
    pub architecture: String,
    pub kernel_version: String,
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    /// The host's memory in bytes.
    pub mem_total: u64,
    /// Whether the memory of a container can be limited.
    pub memory_limit: bool,
    /// Whether its time of processors can be limited; always the same as [`Info::cpu_cfs_quota`].
    pub cpu_cfs_period: bool,
    pub cpu_cfs_quota: bool,
    /// Whether the number of its processes can be limited.
    pub pids_limit: bool,
    /// Always `json-file`.
    pub logging_driver: String,
    /// RFC 3339.
    pub system_time: String,
    pub docker_root_dir: String,
    pub plugins: Plugins,
    pub swarm: Swarm,
    pub labels: Vec<String>,
    pub experimental_build: bool,
    /// Always true: sandboxes keep running when the daemon stops.
    pub live_restore_enabled: bool,
    pub firewall_backend: FirewallBackend,
    /// The options that new networks get by default, by driver. Docker's API has no such key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default_network_options: BTreeMap<String, BTreeMap<String, String>>,
    pub warnings: Vec<String>,
}

/// The drivers, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Plugins {
    pub volume: Vec<String>,
    pub network: Vec<String>,
    pub authorization: Option<Vec<String>>,
    pub log: Vec<String>,
}

/// The state of the swarm: Fairway has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Always `inactive`.
    pub local_node_state: String,
    pub control_available: bool,
}

/// The firewall backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct FirewallBackend {
    /// `nftables` or `none`.
    pub driver: String,
}
