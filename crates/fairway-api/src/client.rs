//! A blocking client of the daemon's API: one connection, one request at a time.

mod connection;
mod error;
mod events;
mod send;
mod trace;

use std::path::PathBuf;

use fairway_inspect::graph::{Collapse, Format, Picture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::filter::Filters;
use crate::types::{
    AttachNamespace, AttachRequest, Attached, CheckRequest, Checked, CheckedRequest, ConnectRequest,
    Connected, ContainerCreate, ContainerInspect, ContainerSummary, ContainerUpdate, ContainersDeleted,
    Created, DetachRequest, Diagnosis, DisconnectRequest, Exited, Explained, Info, JoinRequest, LeaveRequest,
    NetworkCreate, NetworkInspect, NetworkStats, NetworksDeleted, PlanDifference, Planned, PortMap,
    PublishPorts, PublishedPorts, Reloaded, StartFailed, UpdateNetwork, Version, WaitReply,
};
use connection::{Connection, Response};
pub use error::ClientError;

/// A client of the daemon. The connection is made by the first request and kept.
#[derive(Debug)]
pub struct Client {
    address: String,
    path: PathBuf,
    connection: Option<Connection>,
}

impl Client {
    /// A client for an address such as `unix:///run/fairway.sock`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(address: &str) -> Result<Self, ClientError> {
        match address.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => {
                Ok(Self { address: address.to_owned(), path: path.into(), connection: None })
            }
            _ => Err(ClientError::Address(address.to_owned())),
        }
    }

    /// A client of the same daemon with a connection of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { address: self.address.clone(), path: self.path.clone(), connection: None }
    }

    /// `GET /_ping`: returns when the daemon has started, and everything is as it was asked for.
    ///
    /// # Errors
    /// As of every method here: the daemon is not there, or refuses.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.send("GET", "/_ping", None).map(drop)
    }

    /// `GET /version`.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn version(&mut self) -> Result<Version, ClientError> {
        self.get("/version")
    }

    /// `GET /info`.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn info(&mut self) -> Result<Info, ClientError> {
        self.get("/info")
    }

    /// The networks that pass the filters.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn networks(&mut self, filters: &Filters) -> Result<Vec<NetworkInspect>, ClientError> {
        self.get(&format!("/networks?filters={}", encode(&filters.text())))
    }

    /// A network by name or id.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn network(&mut self, network: &str) -> Result<NetworkInspect, ClientError> {
        self.get(&format!("/networks/{}", encode(network)))
    }

    /// Walks a packet through the kernel's rules; with `plan`, through the planned ones.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn explain(&mut self, from: &str, to: &str, plan: bool) -> Result<Explained, ClientError> {
        let plan = if plan { "1" } else { "0" };
        self.get(&format!("/fairway/explain?from={}&to={}&plan={plan}", encode(from), encode(to)))
    }

    /// All planned objects.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn plan(&mut self) -> Result<Planned, ClientError> {
        self.get("/fairway/plan")
    }

    /// What the daemon would do now to make the kernel equal to the Plan.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn plan_difference(&mut self) -> Result<PlanDifference, ClientError> {
        self.get("/fairway/plan/diff")
    }

    /// Diagnoses the host; with `fix`, after fixing what Fairway owns.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn doctor(&mut self, fix: bool) -> Result<Diagnosis, ClientError> {
        if !fix {
            return self.get("/fairway/doctor");
        }
        let response = self.send("POST", "/fairway/doctor/fix", None)?;
        self.read(&response)
    }

    /// The networks of those names, or all, as a picture, and where a packet goes from one to another.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn graph(
        &mut self,
        format: Format,
        networks: &[String],
        path: Option<(&str, &str)>,
        collapse: Collapse,
    ) -> Result<String, ClientError> {
        let (from, to) = path.unwrap_or_default();
        let query = [
            ("network", networks.join(",")),
            ("from", from.to_owned()),
            ("to", to.to_owned()),
            ("collapse", collapse.to_string()),
        ];
        let query: String = query.iter().map(|(name, value)| format!("&{name}={}", encode(value))).collect();
        let response = self.send("GET", &format!("/fairway/graph?format={format}{query}"), None)?;
        String::from_utf8(response.body).map_err(|error| self.malformed(error))
    }

    /// All networks as values to be drawn, and where a packet goes from one to another.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn picture(&mut self, path: Option<(&str, &str)>) -> Result<Picture, ClientError> {
        let text = self.graph(Format::Json, &[], path, Collapse::Never)?;
        serde_json::from_str(&text).map_err(|error| self.malformed(error))
    }

    /// The counters of one or all networks and their published ports.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn stats(&mut self, network: Option<&str>) -> Result<Vec<NetworkStats>, ClientError> {
        self.get(&format!("/fairway/stats?network={}", encode(network.unwrap_or_default())))
    }

    /// Creates a network.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn create_network(&mut self, request: &NetworkCreate) -> Result<Created, ClientError> {
        self.post("/networks/create", request)
    }

    /// Removes a network.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn remove_network(&mut self, network: &str) -> Result<(), ClientError> {
        self.send("DELETE", &format!("/networks/{}", encode(network)), None).map(drop)
    }

    /// Removes the networks that no sandbox uses.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn prune_networks(&mut self, filters: &Filters) -> Result<NetworksDeleted, ClientError> {
        let response =
            self.send("POST", &format!("/networks/prune?filters={}", encode(&filters.text())), None)?;
        self.read(&response)
    }

    /// Connects a sandbox to a network.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn connect(&mut self, network: &str, request: &ConnectRequest) -> Result<Connected, ClientError> {
        self.post(&format!("/networks/{}/connect", encode(network)), request)
    }

    /// Disconnects a sandbox from a network.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn disconnect(
        &mut self,
        network: &str,
        request: &DisconnectRequest,
    ) -> Result<Connected, ClientError> {
        self.post(&format!("/networks/{}/disconnect", encode(network)), request)
    }

    /// The sandboxes that pass the filters: those that run, or all.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn containers(&mut self, all: bool, filters: &Filters) -> Result<Vec<ContainerSummary>, ClientError> {
        self.get(&format!("/containers/json?all={}&filters={}", u8::from(all), encode(&filters.text())))
    }

    /// A sandbox by name or id.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn container(&mut self, container: &str) -> Result<ContainerInspect, ClientError> {
        self.get(&format!("/containers/{}/json", encode(container)))
    }

    /// Makes a sandbox, not yet started; an empty name is made up.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn create_container(
        &mut self,
        name: &str,
        request: &ContainerCreate,
    ) -> Result<Created, ClientError> {
        self.post(&format!("/containers/create?name={}", encode(name)), request)
    }

    /// Starts a sandbox in the namespace that the caller made for it.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn attach_namespace(
        &mut self,
        container: &str,
        request: &AttachNamespace,
    ) -> Result<ContainerInspect, ClientError> {
        self.post(&format!("/containers/{}/attach-namespace", encode(container)), request)
    }

    /// Says that the process of a sandbox ended. If the sandbox has another one by now, nothing is
    /// done.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn exited(&mut self, container: &str, exited: Exited) -> Result<(), ClientError> {
        self.send_json(&format!("/containers/{}/exited", encode(container)), &exited)
    }

    /// Reports why a sandbox could not be started.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn start_failed(&mut self, container: &str, error: String) -> Result<(), ClientError> {
        self.send_json(&format!("/containers/{}/start-failed", encode(container)), &StartFailed { error })
    }

    /// Waits for a sandbox to stop, and brings its exit code. The condition is `not-running`,
    /// `next-exit` or `removed`.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn wait(&mut self, container: &str, condition: &str) -> Result<i32, ClientError> {
        let path = format!("/containers/{}/wait?condition={}", encode(container), encode(condition));
        let response = self.send("POST", &path, None)?;
        self.read::<WaitReply>(&response).map(|reply| reply.status_code)
    }

    /// Stops a sandbox: with its signal, and after `timeout` seconds with SIGKILL.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn stop(
        &mut self,
        container: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ClientError> {
        let mut path =
            format!("/containers/{}/stop?signal={}", encode(container), encode(signal.unwrap_or("")));
        if let Some(seconds) = timeout {
            path.push_str(&format!("&t={seconds}"));
        }
        self.send("POST", &path, None).map(drop)
    }

    /// Sends a signal to the process of a sandbox.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn kill(&mut self, container: &str, signal: &str) -> Result<(), ClientError> {
        let path = format!("/containers/{}/kill?signal={}", encode(container), encode(signal));
        self.send("POST", &path, None).map(drop)
    }

    /// Changes limits and the restart policy of a sandbox.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn update_container(&mut self, container: &str, update: &ContainerUpdate) -> Result<(), ClientError> {
        self.send_json(&format!("/containers/{}/update", encode(container)), update)
    }

    /// Gives a sandbox another name.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn rename(&mut self, container: &str, name: &str) -> Result<(), ClientError> {
        let path = format!("/containers/{}/rename?name={}", encode(container), encode(name));
        self.send("POST", &path, None).map(drop)
    }

    /// Removes the sandboxes that do not run; returns their ids.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn prune_containers(&mut self, filters: &Filters) -> Result<ContainersDeleted, ClientError> {
        let response =
            self.send("POST", &format!("/containers/prune?filters={}", encode(&filters.text())), None)?;
        self.read(&response)
    }

    /// Removes a sandbox; with `force`, kills a running one first.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn remove_container(&mut self, container: &str, force: bool) -> Result<(), ClientError> {
        let path = format!("/containers/{}?force={}", encode(container), u8::from(force));
        self.send("DELETE", &path, None).map(drop)
    }

    /// Attaches an existing namespace as a sandbox.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn attach(&mut self, request: &AttachRequest) -> Result<Attached, ClientError> {
        self.post("/fairway/attach", request)
    }

    /// Removes an attached sandbox; its namespace stays.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn detach(&mut self, container: &str) -> Result<(), ClientError> {
        self.send_json("/fairway/detach", &DetachRequest { container: container.to_owned() })
    }

    /// Asks which requests would be refused, if they were sent in this order.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn check(&mut self, requests: Vec<CheckedRequest>) -> Result<Checked, ClientError> {
        self.post("/fairway/check", &CheckRequest { requests })
    }

    /// Connects a container of another engine to networks that the engine describes.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn join(&mut self, request: &JoinRequest) -> Result<Attached, ClientError> {
        self.post("/fairway/join", request)
    }

    /// Disconnects a container of another engine.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn leave(&mut self, request: &LeaveRequest) -> Result<(), ClientError> {
        self.send_json("/fairway/leave", request)
    }

    /// Changes options of a network in place.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn update_network(&mut self, network: &str, request: &UpdateNetwork) -> Result<(), ClientError> {
        self.send_json(&format!("/networks/{}/update", encode(network)), request)
    }

    /// Publishes more ports of a sandbox, also while it runs.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn publish(&mut self, container: &str, ports: PortMap) -> Result<PublishedPorts, ClientError> {
        let request = PublishPorts { port_bindings: ports };
        self.post(&format!("/containers/{}/publish", encode(container)), &request)
    }

    /// Removes published ports of a sandbox, also while it runs.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn unpublish(&mut self, container: &str, ports: PortMap) -> Result<PublishedPorts, ClientError> {
        let request = PublishPorts { port_bindings: ports };
        self.post(&format!("/containers/{}/unpublish", encode(container)), &request)
    }

    /// Has the daemon read its configuration file again.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn reload(&mut self) -> Result<Reloaded, ClientError> {
        let response = self.send("POST", "/fairway/reload", None)?;
        self.read(&response)
    }

    /// Has an on-demand daemon end, and remove what it made. One that has sandboxes refuses with status 409, and a
    /// daemon that was not started on demand with 501.
    ///
    /// # Errors
    /// See [`Client::ping`].
    pub fn end(&mut self) -> Result<(), ClientError> {
        self.send("POST", "/fairway/end", None).map(drop)
    }

    fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let response = self.send("GET", path, None)?;
        self.read(&response)
    }

    fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let text = self.text(body)?;
        let response = self.send("POST", path, Some(&text))?;
        self.read(&response)
    }

    fn send_json(&mut self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        let text = self.text(body)?;
        self.send("POST", path, Some(&text)).map(drop)
    }

    fn text(&self, body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
        serde_json::to_vec(body).map_err(|error| self.malformed(error))
    }

    fn read<T: DeserializeOwned>(&self, response: &Response) -> Result<T, ClientError> {
        serde_json::from_slice(&response.body).map_err(|error| self.malformed(error))
    }

    fn malformed(&self, reason: impl ToString) -> ClientError {
        ClientError::Malformed { address: self.address.clone(), reason: reason.to_string() }
    }
}

impl CheckedRequest {
    /// A request with the parts of its path and its body. One whose body cannot be written has none, and is refused.
    pub fn new(method: &str, path: &[&str], body: &impl Serialize) -> Self {
        let path = path.iter().map(|part| format!("/{}", encode(part))).collect();
        Self { method: method.to_owned(), path, body: serde_json::to_value(body).unwrap_or_default() }
    }
}

/// Percent-encodes all that is not unreserved (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
