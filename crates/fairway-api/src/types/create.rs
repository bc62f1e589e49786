//! The body of `POST /containers/create`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{ordered, words, write_ordered};
use super::{EndpointSettings, HostConfig};

/// The body of a request to create a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerCreate {
    /// The image: `host`, or the name of a directory; empty for the host's files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Whether the command has a terminal, unless it has that of the client.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Whether clients can attach to the input of the command.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub open_stdin: bool,
    /// Whether the input ends with that of the first client.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin_once: bool,
    /// `USER[:GROUP]`, by name or number; empty for root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The signal that asks the command to end; empty for SIGTERM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How long the command has to end, in seconds; negative for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    pub hostname: String,
    /// `{"80/tcp": {}}`.
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    pub env: Vec<String>,
    /// The words of the command before `Cmd`.
    #[serde(deserialize_with = "words")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub cmd: Vec<String>,
    /// The working directory of the command; empty for `/`.
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    /// The MAC address on the first network, if that network's own settings have none.
    pub mac_address: String,
    pub host_config: HostConfig,
    pub networking_config: NetworkingConfig,
}

/// The requested endpoints, in the order of their interfaces; the network of [`HostConfig::network_mode`] is always the
/// first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkingConfig {
    #[serde(deserialize_with = "ordered", serialize_with = "write_ordered")]
    #[cfg_attr(feature = "schema", schemars(with = "std::collections::BTreeMap<String, EndpointSettings>"))]
    pub endpoints_config: Vec<(String, EndpointSettings)>,
}
