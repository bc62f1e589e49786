//! A host's networks as values to be drawn.

mod collapse;
mod engines;
mod network;
mod sandbox;
mod traffic;
mod uplink;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::walk::Walk;
use crate::topology::without_ours;
pub use collapse::{Collapse, UnknownCollapse};
use fairway_core::plan::{ObjectChange, Plan};
use fairway_core::world::World;
use fairway_model::{self as model, Driver, NetworkId, NetworkMode, SandboxId};
use fairway_walk::NetworkNamespace;
use serde::{Deserialize, Serialize};
pub use traffic::Traffic;

/// How many objects that differ from the Plan are named.
const DRIFT_LINES: usize = 5;

/// A host with its networks and sandboxes, and perhaps a walk through them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Picture {
    /// The host's name.
    pub host: String,
    /// What the host does with packets between networks, in sentences.
    pub rules: Vec<String>,
    /// What differs from the Plan, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
    /// The interfaces that lead out of the host.
    pub uplinks: Vec<Uplink>,
    /// The networks by name, those without a sandbox last.
    pub networks: Vec<Network>,
    /// The sandboxes, by name.
    pub sandboxes: Vec<Sandbox>,
    /// The walk of a packet.
    pub walk: Option<Walk>,
}

/// An interface that leads out of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// The subnets that are on its link.
    pub subnets: Vec<String>,
    /// The routers that the host's default routes lead to.
    pub routers: Vec<String>,
    /// Whether it is up.
    pub up: bool,
    /// Whether a network has taken it over, so that the host has its addresses there.
    pub taken: bool,
}

/// How a network is joined to the host's routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Way {
    /// Outgoing packets are masqueraded, and only published ports are reachable.
    Nat,
    /// Its addresses are routed without NAT.
    Open,
    /// Only the host reaches the network.
    HostOnly,
    /// The host's own network.
    Own,
}

/// The meaning of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Meaning {
    /// The option isolates.
    Apart,
    /// The option opens access.
    Open,
    /// The option does neither.
    Plain,
}

/// An option of a network that affects reachability.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mark {
    /// The meaning.
    pub meaning: Meaning,
    /// The option in a word or two.
    pub word: String,
    /// The option in a sentence.
    pub sentence: String,
}

/// A network, or the group of sandboxes without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its driver; empty for the group without a network.
    pub driver: String,
    /// The bridge or parent interface of its members, if any.
    pub bridge: Option<String>,
    /// The addresses that the host has on it.
    pub gateways: Vec<String>,
    /// Its subnets, in words.
    pub subnets: Vec<String>,
    /// What its sandboxes received and sent, if the host counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Its options that matter.
    pub marks: Vec<Mark>,
    /// How it is joined to the host's routing, if it is.
    pub way: Option<Way>,
    /// The interface that its members are on the link of, by place in [`Picture::uplinks`].
    pub uplink: Option<usize>,
    /// Whether its members reach one another.
    pub together: bool,
    /// Its members.
    pub members: Vec<Member>,
    /// The members that are drawn as one box, by their places in `members`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collapsed: Vec<usize>,
}

/// An endpoint of a sandbox on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// The index of the sandbox in [`Picture::sandboxes`].
    pub sandbox: usize,
    /// Its addresses there.
    pub addresses: Vec<String>,
    /// The name of its interface in the sandbox; empty while it does not run.
    pub interface: String,
    /// The name of the other end on the host; empty where there is none.
    pub port: String,
    /// Whether the sandbox is drawn here; it is drawn once.
    pub home: bool,
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Sandbox {
    /// Its identifier.
    pub id: SandboxId,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Its places, by the numbers of networks and their members: the first one is where it is drawn.
    pub places: Vec<(usize, usize)>,
    /// Its published ports.
    pub ports: Vec<Port>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// A published port, or several in a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// The host address and port: `*:8080`, `127.0.0.1:5300`; none where it is the sandbox's own address.
    pub host: Option<String>,
    /// The container port: `80/tcp`.
    pub inside: String,
}

/// The order in which people list names: `web-4` comes before `web-10`.
fn natural(one: &str, other: &str) -> Ordering {
    alphanumeric_sort::compare_str(one, other).then_with(|| one.cmp(other))
}

impl Network {
    /// Its subnets and its traffic, in words.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let traffic = self.traffic.as_ref().and_then(Traffic::text);
        self.subnets.iter().cloned().chain(traffic)
    }
}

impl Member {
    /// The member of a sandbox that is on no network.
    fn nowhere(sandbox: usize) -> Self {
        Self { sandbox, addresses: Vec::new(), interface: String::new(), port: String::new(), home: true }
    }
}

impl Port {
    /// The port as text.
    pub fn text(&self) -> String {
        match &self.host {
            Some(host) => format!("{host} → {}", self.inside),
            None => format!("open: {}", self.inside),
        }
    }
}

impl Picture {
    /// The picture of a World's networks on a host. `only` selects networks; empty means all.
    pub fn new(world: &World, plan: &Plan, host: &NetworkNamespace, only: &[NetworkId]) -> Self {
        let drawn = |network: &&model::Network| {
            let predefined = matches!(network.driver, Driver::Host | Driver::Null);
            !predefined && (only.is_empty() || only.contains(&network.id))
        };
        let asked: Vec<&model::Network> = world.networks().filter(drawn).collect();
        let others = without_ours(host, plan);
        let uplinks = uplink::uplinks(world, host, &others);
        let numbers: BTreeMap<NetworkId, usize> =
            asked.iter().enumerate().map(|(number, network)| (network.id, number)).collect();
        let mut networks: Vec<Network> = asked
            .iter()
            .map(|network| network::network(world, network, uplink::parent(network, &others), &uplinks))
            .collect();
        networks.extend([network::of_the_host(), network::without_network()]);
        let (hosts, unconnected) = (networks.len() - 2, networks.len() - 1);
        let mut people: Vec<&model::Sandbox> = world
            .sandboxes()
            .filter(|it| {
                only.is_empty()
                    || world.endpoints_of_sandbox(it.id).iter().any(|at| only.contains(&at.network))
            })
            // A sandbox that shares a namespace is a note of the namespace's owner.
            .filter(|it| !matches!(it.mode, NetworkMode::Shared(_)) || world.namespace_owner(it).is_none())
            .collect();
        people.sort_by(|one, other| natural(&one.name, &other.name));
        let mut sandboxes = Vec::new();
        for asked in people {
            let number = sandboxes.len();
            sandboxes.push(sandbox::sandbox(world, asked, &numbers));
            let found = sandbox::members(world, asked, number, &numbers);
            if found.is_empty() {
                let group = if asked.mode == NetworkMode::Host { hosts } else { unconnected };
                networks[group].members.push(Member::nowhere(number));
            }
            for (network, member) in found {
                networks[network].members.push(member);
            }
        }
        networks.retain(|network| !network.driver.is_empty() || !network.members.is_empty());
        networks.sort_by(|one, other| {
            let rank = |it: &Network| (it.members.is_empty(), it.driver.is_empty());
            rank(one).cmp(&rank(other)).then_with(|| natural(&one.name, &other.name))
        });
        let host = world.host().hostname.clone();
        let mut picture =
            Self { host, rules: network::rules(world), uplinks, networks, sandboxes, ..Self::default() };
        picture.find_places();
        picture
    }

    /// Adds the first objects that differ from the Plan.
    pub fn add_drift(&mut self, changes: &[ObjectChange]) {
        let line = |change: &ObjectChange| format!("drift: {change}");
        self.drift = changes.iter().take(DRIFT_LINES).map(line).collect();
        if let Some(more @ 1..) = changes.len().checked_sub(DRIFT_LINES) {
            self.drift.push(format!("drift: {more} more: fairway plan --diff"));
        }
    }

    /// The picture without what changes all the time, for pages that are drawn anew when something changes.
    pub fn without_traffic(mut self) -> Self {
        self.networks.iter_mut().for_each(|network| network.traffic = None);
        self
    }

    /// Orders the members, and records the places of each sandbox.
    pub(super) fn find_places(&mut self) {
        let mut places: Vec<usize> = vec![0; self.sandboxes.len()];
        self.networks.iter().flat_map(|it| &it.members).for_each(|member| places[member.sandbox] += 1);
        for network in &mut self.networks {
            // Sandboxes on several networks come last, so that the wires between their places do not pass others.
            network.members.sort_by_key(|it| (!it.home, places[it.sandbox] > 1));
        }
        for (number, network) in self.networks.iter().enumerate() {
            for (place, member) in network.members.iter().enumerate() {
                let found = &mut self.sandboxes[member.sandbox].places;
                found.insert(if member.home { 0 } else { found.len() }, (number, place));
            }
        }
    }
}
