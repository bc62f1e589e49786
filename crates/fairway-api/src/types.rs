//! The JSON bodies of the API: those of Docker's API, and a few of Fairway's own.
//!
//! Docker's clients omit fields and write `null` for empty values: the server parses every body as Go does. Fields
//! without meaning for Fairway are neither read nor written.

#![allow(missing_docs, reason = "fields are Docker's of the same names, unless their docs say more")]

mod container;
mod create;
mod event;
mod fairway;
mod json;
mod network;
mod process;
mod stats;
mod system;

pub use container::{
    ContainerConfig, ContainerInspect, ContainerState, ContainerSummary, GraphDriver, HostConfig, LogConfig,
    NetworkSettings, PortBinding, PortSummary, RestartPolicy, SummaryHostConfig, SummaryNetworks,
};
pub use create::{ContainerCreate, NetworkingConfig};
pub use event::{EventActor, EventMessage};
pub use fairway::{
    AttachNamespace, AttachRequest, Attached, AttachedInterface, CheckRequest, Checked, CheckedRequest,
    DetachRequest, Diagnosis, Exited, Explained, JoinRequest, LeaveRequest, NetworkStats, PlanDifference,
    Planned, PortStats, PublishPorts, PublishedPorts, Reloaded, StartFailed, TrafficCount, UpdateNetwork,
};
pub use network::{
    ConfigReference, ConnectRequest, Connected, DisconnectRequest, EndpointIpam, EndpointSettings, Ipam,
    IpamConfig, IpamStatus, NetworkContainer, NetworkCreate, NetworkInspect, NetworkObstacle, NetworkStatus,
    NetworkTroubles, SubnetStatus,
};
pub use process::{
    ContainerUpdate, ContainerUpdated, ContainersDeleted, ExecCreate, ExecInspect, ExecProcess, ExecStart,
    Top,
};
pub use stats::{ContainerStats, CpuStats, CpuUsage, InterfaceStats, MemoryStats, PidsStats};
pub use system::{
    Component, Created, ErrorMessage, FirewallBackend, Info, NetworksDeleted, Platform, Plugins, Swarm,
    Version, WaitReply,
};

/// The ports of a sandbox (`80/tcp`) with their publications; `None` for a port that is only exposed.
pub type PortMap = std::collections::BTreeMap<String, Option<Vec<PortBinding>>>;
