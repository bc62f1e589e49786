//! Sandboxes, shown as Docker shows containers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::ignored;
use super::{EndpointSettings, PortMap};

/// `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerInspect {
    pub id: String,
    /// RFC 3339, in nanoseconds.
    pub created: String,
    /// The program of the command.
    pub path: String,
    /// The arguments of the command.
    pub args: Vec<String>,
    pub state: ContainerState,
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    /// With Docker's leading slash.
    pub name: String,
    pub restart_count: u32,
    /// `host`: the files are the host's.
    pub driver: String,
    pub platform: String,
    pub graph_driver: GraphDriver,
    pub mount_label: String,
    pub process_label: String,
    pub app_armor_profile: String,
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// Always empty.
    pub mounts: Vec<BTreeMap<String, String>>,
    /// How the namespace was created: `run`, `attached` or `created`. Docker's API has no such key.
    pub kind: String,
    /// The directory that is its root; empty for the host's root. Docker's API has no such key.
    pub root_directory: String,
    pub host_config: HostConfig,
    pub config: ContainerConfig,
    pub network_settings: NetworkSettings,
}

impl ContainerInspect {
    /// Whether the host name is the short id, which it is where none was asked for.
    pub fn has_default_hostname(&self) -> bool {
        self.id.get(..12) == Some(self.config.hostname.as_str())
    }
}

/// Where the files of a container come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct GraphDriver {
    /// `host`: the files are the host's.
    pub name: String,
    /// Always `null`.
    pub data: Option<BTreeMap<String, String>>,
}

/// The state of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerState {
    /// `created`, `running`, `restarting` or `exited`.
    pub status: String,
    /// Whether it runs, or waits to be restarted.
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    /// The process of the sandbox; 0 for none.
    pub pid: u32,
    pub exit_code: i32,
    /// Why the last start failed; empty if it did not.
    pub error: String,
    /// When it was last started; Go's zero time before.
    pub started_at: String,
    /// When it last exited; Go's zero time before.
    pub finished_at: String,
}

impl ContainerState {
    /// Whether the sandbox runs at this moment, and does not wait to be restarted.
    pub fn runs_now(&self) -> bool {
        self.running && !self.restarting
    }
}

/// The requested host configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `bridge`, `host`, `none`, `container:NAME` or a network.
    pub network_mode: String,
    pub port_bindings: PortMap,
    pub publish_all_ports: bool,
    pub auto_remove: bool,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    /// Each `name:address`.
    pub extra_hosts: Vec<String>,
    /// The links of the first network, each `name:alias`.
    pub links: Vec<String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub log_config: LogConfig,
    pub restart_policy: RestartPolicy,
    pub binds: Option<Vec<String>>,
    /// In bytes; 0 for no limit.
    pub memory: i64,
    /// In thousand-millionths of a processor; 0 for no limit.
    pub nano_cpus: i64,
    /// The number of processes and threads; none, 0 and -1 for no limit.
    pub pids_limit: Option<i64>,
    /// The first size of the terminal: rows and columns.
    pub console_size: Option<[u16; 2]>,
    pub init: Option<bool>,
    pub sysctls: BTreeMap<String, String>,
    pub group_add: Vec<String>,
    pub readonly_rootfs: bool,
    pub ipc_mode: String,
    pub pid_mode: String,
    pub runtime: String,
    /// What follows is always empty: Fairway has none of it, and programs look for the keys.
    #[serde(deserialize_with = "ignored")]
    pub cgroup_parent: String,
    #[serde(deserialize_with = "ignored")]
    pub cgroupns_mode: String,
    #[serde(deserialize_with = "ignored")]
    pub cpu_period: i64,
    #[serde(deserialize_with = "ignored")]
    pub cpu_quota: i64,
    #[serde(deserialize_with = "ignored")]
    pub cpu_shares: i64,
    #[serde(deserialize_with = "ignored")]
    pub cpuset_cpus: String,
    #[serde(deserialize_with = "ignored")]
    pub cpuset_mems: String,
    #[serde(deserialize_with = "ignored")]
    pub device_requests: Option<Vec<String>>,
    #[serde(deserialize_with = "ignored")]
    pub devices: Vec<String>,
    #[serde(deserialize_with = "ignored")]
    pub memory_reservation: i64,
    #[serde(deserialize_with = "ignored")]
    pub memory_swap: i64,
    #[serde(deserialize_with = "ignored")]
    pub memory_swappiness: Option<i64>,
    #[serde(deserialize_with = "ignored")]
    pub oom_kill_disable: Option<bool>,
    #[serde(deserialize_with = "ignored")]
    pub oom_score_adj: i64,
    #[serde(deserialize_with = "ignored")]
    pub security_opt: Option<Vec<String>>,
    #[serde(deserialize_with = "ignored")]
    pub shm_size: i64,
    #[serde(deserialize_with = "ignored")]
    pub ulimits: Vec<String>,
    #[serde(deserialize_with = "ignored")]
    pub userns_mode: String,
    #[serde(deserialize_with = "ignored")]
    pub volume_driver: String,
    #[serde(deserialize_with = "ignored")]
    pub volumes_from: Option<Vec<String>>,
    #[serde(rename = "UTSMode", deserialize_with = "ignored")]
    pub uts_mode: String,
}

/// What happens when a container ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `no`, `on-failure`, `always` or `unless-stopped`; empty in a request means `no`.
    pub name: String,
    /// Of `on-failure`; 0 for no limit.
    pub maximum_retry_count: i64,
}

/// The log of a detached command's output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// The log driver: `json-file`, or empty for the same.
    #[serde(rename = "Type")]
    pub driver: String,
    /// The options `max-size` and `max-file`.
    pub config: BTreeMap<String, String>,
}

/// A host address and port that a port is published at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// The host address; empty for the default address.
    pub host_ip: String,
    /// The host port: a port, a range to choose one from, or empty for any.
    pub host_port: String,
}

/// The requested configuration of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// The image, as it was asked for.
    pub image: String,
    pub hostname: String,
    /// Always empty, as the fields of the same kind below: Fairway has none of them.
    pub domainname: String,
    /// As asked for: `USER[:GROUP]`.
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub entrypoint: Option<Vec<String>>,
    pub volumes: Option<BTreeMap<String, BTreeMap<String, String>>>,
    pub on_build: Option<Vec<String>>,
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    pub env: Vec<String>,
    /// The environment variables of its links, which Docker does not show.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_env: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
}

/// The network settings of a sandbox: addresses, ports, networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// The fields up to the MAC address describe the endpoint on the default bridge; they are empty without one.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    pub mac_address: String,
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// The path of the sandbox's network namespace.
    pub sandbox_key: String,
    /// The published and exposed ports; empty while the sandbox does not run.
    pub ports: PortMap,
    /// The endpoints, by the names of their networks.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A sandbox in the list of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSummary {
    pub id: String,
    /// With Docker's leading slash.
    pub names: Vec<String>,
    pub image: String,
    #[serde(rename = "ImageID")]
    pub image_id: String,
    pub command: String,
    /// Seconds since 1970.
    pub created: i64,
    pub ports: Vec<PortSummary>,
    pub labels: BTreeMap<String, String>,
    /// `created`, `running`, `restarting` or `exited`.
    pub state: String,
    /// The state as text: `Up 5 minutes`.
    pub status: String,
    pub host_config: SummaryHostConfig,
    pub network_settings: SummaryNetworks,
}

/// A port of a sandbox in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PortSummary {
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    #[serde(rename = "PrivatePort")]
    pub private_port: u16,
    /// The host port; 0, and left out, for a port that is only exposed.
    #[serde(rename = "PublicPort", skip_serializing_if = "is_zero")]
    pub public_port: u16,
    /// The protocol: `tcp`, `udp` or `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// The part of [`HostConfig`] that is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryHostConfig {
    pub network_mode: String,
}

/// The part of [`NetworkSettings`] that is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryNetworks {
    pub networks: BTreeMap<String, EndpointSettings>,
}
