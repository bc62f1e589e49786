//! `POST /containers/create`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{or_empty, ordered, write_ordered};
use super::{EndpointSettings, HostConfig};

/// A sandbox that is to be made. Everything about images is neither read nor needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerCreate {
    pub hostname: String,
    /// `{"80/tcp": {}}`.
    #[serde(deserialize_with = "or_empty")]
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(deserialize_with = "or_empty")]
    pub env: Vec<String>,
    /// Words that come before `Cmd`.
    #[serde(deserialize_with = "or_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub cmd: Vec<String>,
    /// Where the command starts; empty: `/`.
    pub working_dir: String,
    #[serde(deserialize_with = "or_empty")]
    pub labels: BTreeMap<String, String>,
    /// That of the first network, where its own settings name none.
    pub mac_address: String,
    #[serde(deserialize_with = "or_empty")]
    pub host_config: HostConfig,
    #[serde(deserialize_with = "or_empty")]
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
