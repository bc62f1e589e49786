//! The counters of a container, as Docker shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The reply to `GET /containers/{id}/stats`, a line for each second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ContainerStats {
    pub id: String,
    pub name: String,
    /// When it was read, in RFC 3339; and the time before.
    pub read: String,
    pub preread: String,
    pub pids_stats: PidsStats,
    pub num_procs: u32,
    pub cpu_stats: CpuStats,
    /// Those of the time before.
    pub precpu_stats: CpuStats,
    pub memory_stats: MemoryStats,
    /// By the names of interfaces in the sandbox.
    pub networks: BTreeMap<String, InterfaceStats>,
}

/// The number of processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PidsStats {
    pub current: u64,
    /// The limit; the greatest number if there is none.
    pub limit: u64,
}

/// The use of processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CpuStats {
    pub cpu_usage: CpuUsage,
    /// The time that all processors of the host had, in nanoseconds.
    pub system_cpu_usage: u64,
    pub online_cpus: usize,
}

/// The time of processors that was used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CpuUsage {
    /// Nanoseconds.
    pub total_usage: u64,
}

/// The use of memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct MemoryStats {
    pub usage: u64,
    /// The limit, or the memory of the host.
    pub limit: u64,
}

/// The counters of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InterfaceStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
