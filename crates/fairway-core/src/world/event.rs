//! Events in Docker's words (`fairway events`).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use super::{Change, Command, Exit, World};
use fairway_model::{EndpointId, NetworkId, Protocol, Publication, Sandbox, SandboxId};

/// The number of ports that an event lists. Recent events are stored, and sent to each client.
const LISTED_PORTS: usize = 64;

/// The attributes of the process that a change was requested by.
const REQUESTER_UID: &str = "fairway.uid";
const REQUESTER_PID: &str = "fairway.pid";

/// The type of the object of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A sandbox, which Docker calls a container.
    Container,
    /// A network.
    Network,
    /// The daemon itself.
    Daemon,
}

impl Subject {
    /// Docker's name of the type.
    pub fn text(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Daemon => "daemon",
        }
    }
}

/// The process that a change was requested by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// Its user.
    pub uid: u32,
    /// Its process id; 0 if it is in no pid namespace that the daemon sees.
    pub pid: u32,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The type of the object.
    pub subject: Subject,
    /// The action, with Docker's name if Docker has the event.
    pub action: Cow<'static, str>,
    /// The identifier of the object; for the daemon the host name.
    pub id: String,
    /// The attributes, by Docker's names.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event of the daemon.
    pub fn of_daemon(action: &'static str, hostname: &str, attributes: &[(&str, String)]) -> Self {
        let (action, id) = (action.into(), hostname.to_owned());
        let mut event = Self { subject: Subject::Daemon, action, id, attributes: named(hostname) };
        event.add(attributes);
        event
    }

    /// An event of a sandbox.
    pub fn of_sandbox(
        sandbox: &Sandbox,
        action: impl Into<Cow<'static, str>>,
        attributes: &[(&str, String)],
    ) -> Self {
        let (id, known) = (sandbox.id.to_string(), described(sandbox));
        let mut event = Self { subject: Subject::Container, action: action.into(), id, attributes: known };
        event.add(attributes);
        event
    }

    /// Adds the process that the change was requested by, if it was one. A label of the same name is left out.
    pub fn requested_by(mut self, requester: Option<Requester>) -> Self {
        [REQUESTER_UID, REQUESTER_PID].iter().for_each(|name| drop(self.attributes.remove(*name)));
        if let Some(Requester { uid, pid }) = requester {
            self.add(&[(REQUESTER_UID, uid.to_string()), (REQUESTER_PID, pid.to_string())]);
        }
        self
    }

    fn add(&mut self, attributes: &[(&str, String)]) {
        let pairs = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.attributes.extend(pairs);
    }
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedEvent {
    /// The event.
    pub event: Event,
    /// The time, in nanoseconds since 1970.
    pub at: i64,
}

fn named(name: &str) -> BTreeMap<String, String> {
    [("name".to_owned(), name.to_owned())].into()
}

/// The attributes of events of a sandbox, as in Docker: the labels, overridden by image and name.
fn described(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut attributes = sandbox.options.labels.clone();
    if !sandbox.options.image.is_empty() {
        attributes.insert("image".to_owned(), sandbox.options.image.clone());
    }
    attributes.extend(named(&sandbox.name));
    attributes
}

/// The state of a sandbox that events depend on.
#[derive(Debug, Clone)]
struct SandboxSnapshot {
    id: SandboxId,
    attributes: BTreeMap<String, String>,
    running: bool,
    /// The running endpoints, with their networks.
    endpoints: Vec<(EndpointId, NetworkId)>,
    publications: Vec<Publication>,
}

impl SandboxSnapshot {
    fn find(world: &World, reference: &str) -> Option<Self> {
        let sandbox = world.find_sandbox(reference).ok()?;
        let endpoints = world.endpoints_of_sandbox(sandbox.id).into_iter();
        let up = endpoints.filter(|endpoint| endpoint.allocation.is_some());
        Some(Self {
            id: sandbox.id,
            attributes: described(sandbox),
            running: sandbox.running(),
            endpoints: up.map(|endpoint| (endpoint.id, endpoint.network)).collect(),
            publications: sandbox.publications.clone(),
        })
    }

    fn event(&self, action: &'static str, attributes: &[(&str, String)]) -> Event {
        let (id, known) = (self.id.to_string(), self.attributes.clone());
        let mut event = Event { subject: Subject::Container, action: action.into(), id, attributes: known };
        event.add(attributes);
        event
    }

    fn on_network(&self, action: &'static str, network: &(String, String, String)) -> Event {
        let (id, name, driver) = network.clone();
        let mut event =
            Event { subject: Subject::Network, action: action.into(), id, attributes: named(&name) };
        event.add(&[("type", driver), ("container", self.id.to_string())]);
        event
    }

    /// The published ports of this state that the other state lacks, as text: the first ports, and the number of the
    /// others.
    fn ports_beyond(&self, other: &Self) -> Option<String> {
        let others: HashSet<_> = ports(&other.publications).collect();
        let mut new = ports(&self.publications).filter(|port| !others.contains(port));
        let first: Vec<String> = new
            .by_ref()
            .take(LISTED_PORTS)
            .map(|(protocol, at, container)| format!("{at}->{container}/{protocol}"))
            .collect();
        match (first.is_empty(), new.count()) {
            (true, _) => None,
            (false, 0) => Some(first.join(", ")),
            (false, more) => Some(format!("{} and {more} more", first.join(", "))),
        }
    }
}

/// The published ports: protocol, host address with port, and container port.
fn ports(publications: &[Publication]) -> impl Iterator<Item = (Protocol, SocketAddr, u16)> {
    publications.iter().flat_map(|publication| {
        let at = |port| SocketAddr::new(publication.host_address, port);
        publication.pairs().map(move |(host, container)| (publication.protocol, at(host), container))
    })
}

/// Records the state of the objects of a command before it is applied, and derives the events from the difference
/// afterwards.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    sandbox: Option<SandboxSnapshot>,
    networks: BTreeMap<NetworkId, (String, String, String)>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Sandbox { exit: Option<Exit> },
    Update,
    Other,
}

/// Identifier, name and driver of the networks of a sandbox's endpoints.
fn networks(
    world: &World,
    sandbox: Option<&SandboxSnapshot>,
) -> BTreeMap<NetworkId, (String, String, String)> {
    let of = |id: NetworkId| {
        let network = world.network(id)?;
        Some((id, (id.to_string(), network.name.clone(), network.driver.to_string())))
    };
    sandbox
        .into_iter()
        .flat_map(|sandbox| &sandbox.endpoints)
        .filter_map(|(_, network)| of(*network))
        .collect()
}

impl EventRecorder {
    /// Records the state before a command.
    pub fn before(world: &World, command: &Command) -> Self {
        let (reference, kind) = match command {
            Command::CreateNetwork(_) | Command::RemoveNetwork { .. } => (None, Kind::Network),
            Command::StopSandbox { sandbox, exit, .. } => {
                (Some(sandbox), Kind::Sandbox { exit: Some(*exit) })
            }
            Command::StartSandbox { sandbox, .. }
            | Command::RemoveSandbox { sandbox }
            | Command::Rename { sandbox, .. }
            | Command::CancelStart { sandbox }
            | Command::Publish { sandbox, .. }
            | Command::Unpublish { sandbox, .. }
            | Command::Connect { sandbox, .. }
            | Command::Disconnect { sandbox, .. } => (Some(sandbox), Kind::Sandbox { exit: None }),
            Command::UpdateSandbox { sandbox, .. } => (Some(sandbox), Kind::Update),
            Command::CreateSandbox(_) | Command::Attach { .. } => (None, Kind::Sandbox { exit: None }),
            _ => (None, Kind::Other),
        };
        let sandbox = reference.and_then(|reference| SandboxSnapshot::find(world, reference));
        let mut networks = networks(world, sandbox.as_ref());
        if let Command::RemoveNetwork { network } = command
            && let Ok(found) = world.find_network(network)
        {
            networks.insert(found.id, (found.id.to_string(), found.name.clone(), found.driver.to_string()));
        }
        Self { sandbox, networks, kind }
    }

    /// The events of the applied command.
    pub fn events(self, world: &World, change: &Change) -> Vec<Event> {
        match self.kind {
            Kind::Network => self.of_network(world, change),
            Kind::Sandbox { exit } => self.of_sandbox(world, change, exit),
            Kind::Update => self.sandbox.iter().map(|sandbox| sandbox.event("update", &[])).collect(),
            Kind::Other => Vec::new(),
        }
    }

    fn of_network(self, world: &World, change: &Change) -> Vec<Event> {
        let made = change.network.and_then(|id| world.network(id)).map(|network| {
            let entry = (network.id.to_string(), network.name.clone(), network.driver.to_string());
            (entry, "create")
        });
        let gone = self.networks.into_values().map(|entry| (entry, "destroy"));
        let all = made.into_iter().chain(gone);
        let event = |((id, name, driver), action): ((String, String, String), &'static str)| {
            let mut event =
                Event { subject: Subject::Network, action: action.into(), id, attributes: named(&name) };
            event.add(&[("type", driver)]);
            event
        };
        all.map(event).collect()
    }

    fn of_sandbox(self, world: &World, change: &Change, exit: Option<Exit>) -> Vec<Event> {
        let id = change.sandbox.or(self.sandbox.as_ref().map(|sandbox| sandbox.id));
        let Some(id) = id else { return Vec::new() };
        let after = SandboxSnapshot::find(world, &id.to_string());
        let known = networks(world, after.as_ref());
        let stopped = |sandbox: &SandboxSnapshot| SandboxSnapshot {
            running: false,
            endpoints: Vec::new(),
            publications: Vec::new(),
            ..sandbox.clone()
        };
        let Some(was) = self.sandbox.clone().or_else(|| after.as_ref().map(stopped)) else {
            return Vec::new();
        };
        let is = after.clone().unwrap_or_else(|| stopped(&was));
        let mut events = Vec::new();
        if self.sandbox.is_none() {
            events.push(is.event("create", &[]));
        }
        let name = |of: &SandboxSnapshot| of.attributes.get("name").cloned().unwrap_or_default();
        if name(&was) != name(&is) {
            events.push(is.event("rename", &[("oldName", format!("/{}", name(&was)))]));
        }
        let (stops, starts) = (was.running && !is.running, !was.running && is.running);
        if stops {
            let exit = exit.unwrap_or(0.into());
            events.extend(exit.oom_killed.then(|| was.event("oom", &[])));
            events.push(was.event("die", &[("exitCode", exit.code.to_string())]));
        }
        for (_, network) in was.endpoints.iter().filter(|it| !is.endpoints.contains(it)) {
            let entry = self.networks.get(network).into_iter();
            events.extend(entry.map(|entry| was.on_network("disconnect", entry)));
        }
        for (_, network) in is.endpoints.iter().filter(|it| !was.endpoints.contains(it)) {
            events.extend(known.get(network).into_iter().map(|entry| is.on_network("connect", entry)));
        }
        if starts {
            events.push(is.event("start", &[]));
        }
        if !starts && !stops {
            for (action, ports) in [("publish", is.ports_beyond(&was)), ("unpublish", was.ports_beyond(&is))]
            {
                events.extend(ports.map(|ports| is.event(action, &[("ports", ports)])));
            }
        }
        if after.is_none() {
            events.push(was.event("destroy", &[]));
        }
        events
    }
}

#[cfg(test)]
mod tests;
