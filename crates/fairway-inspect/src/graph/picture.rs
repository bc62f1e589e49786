//! What is there to be drawn.

mod network;
mod sandbox;
mod uplink;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::walk::Walk;
use fairway_core::plan::Plan;
use fairway_core::world::World;
use fairway_model::{self as model, Driver, NetworkId, NetworkMode};
use fairway_walk::NetworkNamespace;

/// A host with its networks and sandboxes, and perhaps a walk through them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The host's name.
    pub host: String,
    /// What the host does with packets between networks, in sentences.
    pub rules: Vec<String>,
    /// The interfaces that lead out of the host.
    pub uplinks: Vec<Uplink>,
    /// The networks, those with most sandboxes first.
    pub networks: Vec<Network>,
    /// The sandboxes, by name.
    pub sandboxes: Vec<Sandbox>,
    /// Where a packet goes.
    pub walk: Option<Walk>,
}

/// An interface that leads out of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What leaves has the host's address, and only what is published comes in.
    Nat,
    /// Its addresses are seen as they are.
    Open,
    /// The host reaches it, and nobody else.
    HostOnly,
    /// It is the host's own network.
    Own,
}

/// What a mark of a network means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// Something is kept apart.
    Apart,
    /// Something is open that otherwise is not.
    Open,
    /// Neither.
    Plain,
}

/// An option of a network that bears on who reaches it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// What it means.
    pub meaning: Meaning,
    /// It, in a word or two.
    pub word: String,
    /// It, in a sentence.
    pub sentence: String,
}

/// A network, or those who are on none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its driver; empty for those who are on none.
    pub driver: String,
    /// What joins its members: a bridge, a parent. None where nothing does.
    pub bridge: Option<String>,
    /// The addresses that the host has on it.
    pub gateways: Vec<String>,
    /// Its subnets, in words.
    pub subnets: Vec<String>,
    /// Its options that matter.
    pub marks: Vec<Mark>,
    /// How it is joined to the host's routing, if it is.
    pub way: Option<Way>,
    /// The interface that its members are on the link of, by place in [`Picture::uplinks`].
    pub uplink: Option<usize>,
    /// Whether its members reach one another.
    pub together: bool,
    /// Who is on it, by name.
    pub members: Vec<Member>,
}

/// A sandbox's place on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Whose, by place in [`Picture::sandboxes`].
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Its places, by the numbers of networks and their members: the first one is where it is drawn.
    pub places: Vec<(usize, usize)>,
    /// What is published of it.
    pub ports: Vec<Port>,
    /// What else there is to say of it.
    pub notes: Vec<String>,
}

/// A published port, or several in a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Where it is asked for: `*:8080`, `127.0.0.1:5300`; none where it is the sandbox's own address.
    pub host: Option<String>,
    /// Where it leads to: `80/tcp`.
    pub inside: String,
}

impl Member {
    /// Somebody who is on no network.
    fn nowhere(sandbox: usize) -> Self {
        Self { sandbox, addresses: Vec::new(), interface: String::new(), port: String::new(), home: true }
    }
}

impl Port {
    /// It in words.
    pub fn text(&self) -> String {
        match &self.host {
            Some(host) => format!("{host} → {}", self.inside),
            None => format!("open: {}", self.inside),
        }
    }
}

impl Picture {
    /// What a World asks for, on a host that was read. `only` are the networks to be shown; none means all.
    pub fn new(world: &World, plan: &Plan, host: &NetworkNamespace, only: &[NetworkId]) -> Self {
        let drawn = |network: &&model::Network| {
            let predefined = matches!(network.driver, Driver::Host | Driver::Null);
            !predefined && (only.is_empty() || only.contains(&network.id))
        };
        let asked: Vec<&model::Network> = world.networks().filter(drawn).collect();
        let uplinks = uplink::uplinks(world, plan, host);
        let numbers: BTreeMap<NetworkId, usize> =
            asked.iter().enumerate().map(|(number, network)| (network.id, number)).collect();
        let mut networks: Vec<Network> =
            asked.iter().map(|network| network::network(world, network, &uplinks)).collect();
        networks.extend([network::of_the_host(), network::of_nobody()]);
        let (hosts, nobodys) = (networks.len() - 2, networks.len() - 1);
        let mut people: Vec<&model::Sandbox> = world
            .sandboxes()
            .filter(|it| {
                only.is_empty()
                    || world.endpoints_of_sandbox(it.id).iter().any(|at| only.contains(&at.network))
            })
            // Who shares another's namespace is told of there.
            .filter(|it| !matches!(it.mode, NetworkMode::Shared(_)) || world.namespace_owner(it).is_none())
            .collect();
        people.sort_by(|one, other| one.name.cmp(&other.name));
        let mut sandboxes = Vec::new();
        for asked in people {
            let number = sandboxes.len();
            sandboxes.push(sandbox::sandbox(world, asked, &numbers));
            let found = sandbox::members(world, asked, number, &numbers);
            if found.is_empty() {
                let group = if asked.mode == NetworkMode::Host { hosts } else { nobodys };
                networks[group].members.push(Member::nowhere(number));
            }
            for (network, member) in found {
                networks[network].members.push(member);
            }
        }
        networks.retain(|network| !network.driver.is_empty() || !network.members.is_empty());
        networks.sort_by(|one, other| {
            let rank = |it: &Network| (it.driver.is_empty(), Reverse(it.members.len()));
            rank(one).cmp(&rank(other)).then_with(|| one.name.cmp(&other.name))
        });
        let host = world.host().hostname.clone();
        let mut picture =
            Self { host, rules: network::rules(world), uplinks, networks, sandboxes, walk: None };
        picture.find_places();
        picture
    }

    /// Orders members, and says of each sandbox where it is.
    pub(super) fn find_places(&mut self) {
        let mut places: Vec<usize> = vec![0; self.sandboxes.len()];
        self.networks.iter().flat_map(|it| &it.members).for_each(|member| places[member.sandbox] += 1);
        for network in &mut self.networks {
            // Who is elsewhere too comes last, so that what joins both places does not pass others.
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
