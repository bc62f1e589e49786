//! JSON bodies of requests that Docker's API does not have.

use std::collections::BTreeMap;

use fairway_core::plan::{ObjectChange, PlannedFragment};
use fairway_inspect::doctor::Finding;
use fairway_inspect::explain::Capture;
use fairway_walk::{BranchRecord, Branches, Topology, WalkRecord};
use serde::{Deserialize, Serialize};

use super::{ContainerCreate, EndpointSettings, NetworkCreate, PortMap};

/// The body of `POST /containers/{id}/attach-namespace`: the network namespace of a created sandbox. Either the process
/// or the path is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachNamespace {
    /// A process in the namespace, with whose end the sandbox stops; 0 for none.
    pub pid: u32,
    /// The path of the namespace; empty for none.
    pub path: String,
}

/// The body of `POST /fairway/attach`: creates and starts a sandbox for an existing namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachRequest {
    /// The name; empty for a generated one.
    pub name: String,
    /// A process in the namespace; 0 for none.
    pub pid: u32,
    /// The path of the namespace; empty for none.
    pub path: String,
    /// How the namespace was created: `attached` (the default) or `created`.
    pub kind: String,
    /// Networks, ports and names.
    pub container: ContainerCreate,
}

/// The reply to [`AttachRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Attached {
    pub id: String,
    /// The name, without Docker's leading slash.
    pub name: String,
    pub warnings: Vec<String>,
    /// The endpoints, by the names of their networks.
    pub networks: BTreeMap<String, EndpointSettings>,
    pub ports: PortMap,
    /// The interfaces, by the names of their networks.
    pub interfaces: BTreeMap<String, AttachedInterface>,
    pub resolv_conf_path: String,
    pub hosts_path: String,
    pub hostname_path: String,
}

/// The interface of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachedInterface {
    /// The name in the sandbox.
    pub name: String,
    /// The name of the veth peer on the host; empty without one.
    pub host_name: String,
    /// The bridge; empty without one.
    pub bridge: String,
    /// The address of the resolver in resolv.conf for this network, with `ResolverRange`; else empty.
    pub resolver: String,
}

/// The body of `POST /fairway/join`: connects a container of another engine to networks that the engine describes. The
/// reply is [`Attached`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct JoinRequest {
    /// The id of the sandbox, 64 hexadecimal digits, by which later requests find it.
    pub id: String,
    /// The name; another sandbox that has it makes this one's longer.
    pub name: String,
    /// The path of the namespace.
    pub path: String,
    /// The networks. Each exists while a container is on it.
    pub networks: Vec<NetworkCreate>,
    /// Whether the engine holds the host ports itself, as podman does, so that none is bound here.
    pub ports_held: bool,
    /// Whether the resolver answers at a range of addresses: the engine writes resolv.conf, with one for each network.
    pub resolver_range: bool,
    /// The new endpoints, the ports and the names. Ports that the sandbox publishes are left out.
    pub container: ContainerCreate,
}

/// The body of `POST /fairway/leave`: disconnects a container of another engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct LeaveRequest {
    /// The id of the sandbox.
    pub id: String,
    /// The networks by name; empty means all.
    pub networks: Vec<String>,
}

/// The body of `POST /networks/{id}/update`: options that change in place; null removes an option.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateNetwork {
    pub options: BTreeMap<String, Option<String>>,
}

/// The body of `POST /containers/{id}/publish` and `/unpublish`: published ports of an existing sandbox.
///
/// In `/unpublish` an omitted part matches any value: `{"/tcp": [{"HostPort": "8081"}]}` any container port,
/// `{"80/tcp": null}` any host port. Both ports may be ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct PublishPorts {
    pub port_bindings: PortMap,
}

/// The reply to [`PublishPorts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct PublishedPorts {
    /// All published ports of the sandbox; empty while it does not run.
    pub ports: PortMap,
    pub warnings: Vec<String>,
}

/// The body of `POST /fairway/detach`: removes an attached sandbox, and keeps its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct DetachRequest {
    /// The name or id of the sandbox.
    pub container: String,
}

/// The body of `POST /fairway/check`: requests that are decided in their order, and not carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckRequest {
    pub requests: Vec<CheckedRequest>,
}

/// One request: to create, update or remove a network, to connect, disconnect, attach or detach a sandbox, or to publish or
/// unpublish its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckedRequest {
    pub method: String,
    pub path: String,
    /// The body; null without one. A namespace that is still to be created is attached with the kind `created`.
    pub body: serde_json::Value,
}

/// The reply to [`CheckRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Checked {
    /// Why each request would be refused; empty for one that would not, or only because of an earlier refusal.
    pub refusals: Vec<String>,
}

/// The body of `POST /containers/{id}/exited`: reports that the process of a sandbox ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Exited {
    pub code: i32,
    /// The process; 0 for the current one. The report of an earlier process of the sandbox is ignored.
    pub pid: u32,
    /// Whether the kernel killed a process of the sandbox for lack of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
}

/// The body of `POST /containers/{id}/start-failed`: reports that the command of a sandbox could not be started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct StartFailed {
    /// The reason, for `State.Error`.
    pub error: String,
}

/// The reply of `GET /fairway/explain?from=&to=&plan=`: the path and the end of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Explained {
    /// The walks of the packets in order; of a connection that branches, the first packet as far as all branches share
    /// its steps.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub walks: Vec<WalkRecord>,
    /// The branches, if there are several: each with its own walks from the beginning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub branches: Vec<BranchRecord>,
    /// How many branches more there are at least, which were not walked.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_walked: usize,
    /// The places where a capture shows the packet.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub captures: Vec<Capture>,
    /// The result in one sentence.
    pub sentence: String,
    /// Whether the connection is answered; none if that is not known, because the packet leaves the host or its end is
    /// unknown.
    pub answered: Option<bool>,
    /// A change that would let the packet through.
    pub advice: Option<String>,
    /// The result by the Plan, if it differs.
    pub planned: Option<String>,
    /// The differences from the Plan, if the result differs.
    pub differences: Vec<String>,
}

impl Explained {
    /// The path of a packet, without a comparison with a Plan.
    pub fn new(
        branches: &Branches,
        topology: &Topology,
        captures: Vec<Capture>,
        advice: Option<String>,
    ) -> Self {
        let (walks, records) = branches.records(topology);
        Self {
            walks,
            branches: records,
            not_walked: branches.not_walked,
            captures,
            sentence: branches.sentence(topology),
            answered: branches.answered(),
            advice,
            ..Self::default()
        }
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The reply of `GET /fairway/doctor`, and of `POST /fairway/doctor/fix`: the findings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Diagnosis {
    /// The findings of all checks, also those without a problem.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub findings: Vec<Finding>,
    /// The applied fixes, described in text.
    pub done: Vec<String>,
}

/// The reply of `GET /fairway/plan`: all planned objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Planned {
    /// The objects of each owner.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub owners: Vec<PlannedFragment>,
}

/// The reply of `GET /fairway/plan/diff`: what the daemon would do now to make the kernel equal to the Plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct PlanDifference {
    /// The objects to make, change and remove, in order; none if the kernel is as planned.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Value>"))]
    pub changes: Vec<ObjectChange>,
}

/// The traffic of one network in the reply of `GET /fairway/stats`; `?network=` selects one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkStats {
    pub name: String,
    pub id: String,
    pub driver: String,
    /// The traffic between its sandboxes and all other hosts, including this one; none if the host cannot count it.
    pub traffic: Option<TrafficCount>,
    /// The traffic of published ports; of a range only the ports that had traffic.
    pub ports: Vec<PortStats>,
}

/// Packets and bytes, to sandboxes and from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct TrafficCount {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
}

/// The traffic of a published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct PortStats {
    /// The sandbox's name.
    pub container: String,
    #[serde(rename = "HostIP")]
    pub host_ip: String,
    pub host_port: u16,
    pub container_port: u16,
    /// `tcp`, `udp`.
    pub protocol: String,
    /// The traffic that the kernel translated, in whole packets.
    pub translated: TrafficCount,
    /// The traffic that the proxy carried, in bytes of payload.
    pub proxied_bytes_in: u64,
    pub proxied_bytes_out: u64,
}

/// The reply to `POST /fairway/reload`, which reads the configuration file again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Reloaded {
    /// The settings that have changed, by the names of their flags.
    pub changed: Vec<String>,
    /// The settings that differ in the file and change only when the daemon is restarted.
    pub needs_restart: Vec<String>,
}
