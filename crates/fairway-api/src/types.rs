//! The JSON texts of the API: Docker's, field for field, and a few of our own.
//!
//! Docker's clients leave fields out at will and write `null` for empty values: the server reads every body as Go
//! does. Fields that Fairway has no use for are neither read nor written.

#![allow(missing_docs, reason = "fields are Docker's of the same names, unless their docs say more")]

mod container;
mod create;
mod event;
mod fairway;
mod json;
mod network;
mod system;

pub use container::{
    ContainerConfig, ContainerInspect, ContainerState, ContainerSummary, HostConfig, LogConfig,
    NetworkSettings, PortBinding, PortSummary, SummaryHostConfig, SummaryNetworks,
};
pub use create::{ContainerCreate, NetworkingConfig};
pub use event::{EventActor, EventMessage};
pub use fairway::{
    AttachNamespace, AttachRequest, Attached, DetachRequest, Diagnosis, Exited, Explained, NetworkStats,
    PortStats, PublishPorts, PublishedPorts, Reloaded, TrafficCount,
};
pub use network::{
    ConfigReference, ConnectRequest, DisconnectRequest, EndpointIpam, EndpointSettings, Ipam, IpamConfig,
    IpamStatus, NetworkContainer, NetworkCreate, NetworkInspect, NetworkObstacle, NetworkStatus,
    NetworkTroubles, SubnetStatus,
};
pub use system::{
    Component, Created, ErrorMessage, FirewallBackend, Info, NetworksDeleted, Platform, Plugins, Swarm,
    Version, WaitReply,
};

/// Ports of a sandbox (`80/tcp`) and where each is published; `None` where it only is exposed.
pub type PortMap = std::collections::BTreeMap<String, Option<Vec<PortBinding>>>;
