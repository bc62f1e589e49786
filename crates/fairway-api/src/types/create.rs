//! `POST /containers/create`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{ordered, words, write_ordered};
use super::{EndpointSettings, HostConfig};

/// A sandbox that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerCreate {
    /// Kept and shown, and not used: the command runs on the host's files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    pub hostname: String,
    /// `{"80/tcp": {}}`.
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    pub env: Vec<String>,
    /// Words that come before `Cmd`.
    #[serde(deserialize_with = "words")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    pub cmd: Vec<String>,
    /// Where the command starts; empty: `/`.
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    /// That of the first network, where its own settings name none.
    pub mac_address: String,
    pub host_config: HostConfig,
    pub networking_config: NetworkingConfig,
}

/// What is asked of each network, in the order of their interfaces; that of
/// [`HostConfig::network_mode`] is the first all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkingConfig {
    #[serde(deserialize_with = "ordered", serialize_with = "write_ordered")]
    pub endpoints_config: Vec<(String, EndpointSettings)>,
}
