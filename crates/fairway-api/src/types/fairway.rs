//! JSON bodies of requests that Docker's API does not have.

use std::collections::BTreeMap;

use fairway_inspect::doctor::Finding;
use fairway_inspect::explain::Capture;
use fairway_walk::WalkRecord;
use serde::{Deserialize, Serialize};

use super::{ContainerCreate, EndpointSettings, PortMap};

/// `POST /containers/{id}/attach-namespace`: the process of a sandbox that was created is there.
/// One of the two is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachNamespace {
    /// A process in the namespace, which ends with it; 0 for none.
    pub pid: u32,
    /// The path of the namespace; empty for none.
    pub path: String,
}

/// `POST /fairway/attach`: create and start in one request, for a namespace that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttachRequest {
    /// Empty: one is made up.
    pub name: String,
    /// A process in the namespace; 0 for none.
    pub pid: u32,
    /// The path of the namespace; empty for none.
    pub path: String,
    /// Who keeps the namespace: `attached` (the default) or `created`.
    pub kind: String,
    /// Networks, ports and names.
    pub container: ContainerCreate,
}

/// The reply to [`AttachRequest`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Attached {
    pub id: String,
    /// Without a slash.
    pub name: String,
    pub warnings: Vec<String>,
    /// By the networks' names.
    pub networks: BTreeMap<String, EndpointSettings>,
    pub ports: PortMap,
    pub resolv_conf_path: String,
    pub hosts_path: String,
    pub hostname_path: String,
}

/// `POST /containers/{id}/publish` and `/unpublish`: publications that change while the sandbox
/// exists.
///
/// To publish no more, whatever is left out means whichever: `{"/tcp": [{"HostPort": "8081"}]}` where it
/// leads, `{"80/tcp": null}` from where. Here both ports may be ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PublishPorts {
    pub port_bindings: PortMap,
}

/// The reply to [`PublishPorts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PublishedPorts {
    /// All that is published of the sandbox now; nothing while it does not run.
    pub ports: PortMap,
    pub warnings: Vec<String>,
}

/// `POST /fairway/detach`: the opposite of attach: the sandbox is gone, its namespace stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DetachRequest {
    /// Its name or id.
    pub container: String,
}

/// `POST /containers/{id}/exited`: its process ended, says who saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Exited {
    pub code: i32,
    /// Which process; 0: the one that the sandbox has. Of one that it had before nothing is taken.
    pub pid: u32,
}

/// The reply of `GET /fairway/explain?from=&to=&plan=`: where a packet goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Explained {
    /// The walks, in the order in which they happen.
    pub walks: Vec<WalkRecord>,
    /// Where captures see it.
    pub captures: Vec<Capture>,
    /// What comes of it, in a sentence.
    pub sentence: String,
    /// Whether it is answered, as far as can be known; none when it leaves for where nothing is known, or the end
    /// is not known.
    pub answered: Option<bool>,
    /// What would let it through.
    pub advice: Option<String>,
    /// How it would end by the Plan, where that is another end.
    pub planned: Option<String>,
    /// What is other than by the Plan, where that is another end.
    pub differences: Vec<String>,
}

/// The reply of `GET /fairway/doctor`, and of `POST /fairway/doctor/fix`: the findings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Diagnosis {
    /// The findings of all checks, also those without a problem.
    pub findings: Vec<Finding>,
    /// The applied fixes, described in text.
    pub done: Vec<String>,
}

/// `GET /fairway/stats`: what passed one network; `?network=` asks for one alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkStats {
    pub name: String,
    pub id: String,
    pub driver: String,
    /// Between its sandboxes and everybody else, the host among them; none where the host does not see it.
    pub traffic: Option<TrafficCount>,
    /// What passed published ports; of ranges those that anybody asked for.
    pub ports: Vec<PortStats>,
}

/// Packets and bytes, towards sandboxes and from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TrafficCount {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
}

/// What passed a published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What the kernel translated: whole packets.
    pub translated: TrafficCount,
    /// What the proxy carried: bytes of payload.
    pub proxied_bytes_in: u64,
    pub proxied_bytes_out: u64,
}

/// The reply to `POST /fairway/reload`: the configuration file was read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Reloaded {
    /// The settings that have changed, by the names of their flags.
    pub changed: Vec<String>,
    /// Those that differ in the file and stay as they are until the daemon is restarted.
    pub needs_restart: Vec<String>,
}
