//! What a World has of Docker Engine compared with what its daemons say: which names and containers become known, and
//! what is to be removed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fairway_containers::{DockerDaemon, DockerEndpoint, DockerNetwork};
use fairway_core::world::{Command, World};
use fairway_model::{EndpointId, Network, NetworkId, PoolAddress, RequestedPool, Sandbox, SandboxId};
use ipnet::IpNet;

use super::NAME;
use super::describe::{endpoints_of_docker, is_of_docker};

/// The label of a network with the id of its dockerd: only this one is asked whether the network still exists.
const DAEMON_LABEL: &str = "io.fairway.docker-daemon";

/// How old something has to be before it is removed because dockerd does not list it, in nanoseconds: dockerd lists what
/// it creates a moment later.
const SETTLED: i64 = 10_000_000_000;

/// The answers of the daemons that run.
#[derive(Debug, Default)]
pub struct Answers {
    /// The daemons that answered.
    pub daemons: Vec<DockerDaemon>,
    /// Whether one did not answer.
    pub incomplete: bool,
    /// The endpoints that joined while or shortly before the daemons were asked.
    pub joining: BTreeSet<EndpointId>,
    /// The time when they were asked, in nanoseconds since 1970.
    pub asked: i64,
    /// Whether the wall clock was set shortly before: the age of something is not known then.
    pub clock_was_set: bool,
}

/// A sandbox whose container is known, and not its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlocated {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The socket of the dockerd to ask.
    pub socket: String,
    /// The id of the container.
    pub container: String,
    /// Its name.
    pub name: String,
}

/// What follows from the answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    /// The commands of the engine, in order.
    pub commands: Vec<Command>,
    /// The sandboxes whose process is to be asked for.
    pub unlocated: Vec<Unlocated>,
}

impl Answers {
    fn network(&self, id: NetworkId) -> Option<(&DockerDaemon, &DockerNetwork)> {
        let id = id.to_string();
        self.daemons
            .iter()
            .find_map(|daemon| Some((daemon, daemon.networks.iter().find(|network| network.id == id)?)))
    }

    fn network_of_pool(&self, subnet: IpNet) -> Option<(&DockerDaemon, &DockerNetwork)> {
        let has = |network: &&DockerNetwork| network.ipam_driver == NAME && network.subnets.contains(&subnet);
        self.daemons.iter().find_map(|daemon| Some((daemon, daemon.networks.iter().find(has)?)))
    }

    /// Whether a network that no daemon lists is gone: its own daemon answered, or, where that is not known, all did.
    fn is_gone(&self, network: &Network) -> bool {
        self.has_lost(network.created, network.labels.get(DAEMON_LABEL))
    }

    /// Whether something is so old that dockerd would list it. What is dated later is from before the clock was set back.
    fn is_settled(&self, created: i64) -> bool {
        !self.clock_was_set && !(0..=SETTLED).contains(&self.asked.saturating_sub(created))
    }

    fn has_lost(&self, created: i64, daemon: Option<&String>) -> bool {
        self.is_settled(created)
            && match daemon {
                Some(owner) => self.daemons.iter().any(|daemon| daemon.id == *owner),
                None => !self.daemons.is_empty() && !self.incomplete,
            }
    }
}

/// Compares a World with the answers.
pub fn compare(world: &World, answers: &Answers) -> Consequences {
    let mut consequences = Consequences::default();
    let mut containers: BTreeMap<SandboxId, (&DockerDaemon, &DockerEndpoint)> = BTreeMap::new();
    for network in world.networks().filter(|network| is_of_docker(&network.labels)) {
        let endpoints =
            endpoints_of_docker(world, network.id).map(|(endpoint, sandbox)| (endpoint.id, sandbox));
        match answers.network(network.id) {
            Some((daemon, listed)) => {
                consequences.commands.extend(identified(network, daemon, listed));
                for (endpoint, sandbox) in endpoints {
                    let id = endpoint.to_string();
                    match listed.endpoints.iter().find(|listed| listed.id == id) {
                        Some(listed) => drop(containers.entry(sandbox.id).or_insert((daemon, listed))),
                        None if is_settled(sandbox, endpoint, answers) => {
                            consequences.commands.push(Command::DeleteEndpoint { endpoint });
                        }
                        None => {}
                    }
                }
            }
            None if answers.is_gone(network) => {
                let removed = endpoints.map(|(endpoint, _)| Command::DeleteEndpoint { endpoint });
                consequences.commands.extend(removed);
                consequences.commands.push(Command::RemoveNetwork { network: network.id.to_string() });
            }
            None => {}
        }
    }
    for (id, (daemon, endpoint)) in containers {
        let (Some(sandbox), Some((container, name))) = (world.sandbox(id), &endpoint.container) else {
            continue;
        };
        if sandbox.namespace().is_none() {
            consequences.unlocated.push(Unlocated {
                sandbox: id,
                socket: daemon.socket.clone(),
                container: container.clone(),
                name: name.clone(),
            });
        } else if !has_name(&sandbox.name, name, &id.short()) {
            consequences.commands.push(Command::IdentifySandbox {
                sandbox: id,
                name: name.clone(),
                labels: BTreeMap::new(),
                process: None,
                namespace: None,
            });
        }
    }
    consequences.commands.extend(world.pools().flat_map(|pool| compare_pool(world, pool, answers)));
    consequences
}

/// What becomes known of a pool, and what of it is to be freed.
fn compare_pool(world: &World, pool: &RequestedPool, answers: &Answers) -> Vec<Command> {
    let subnet = pool.subnet;
    let Some((daemon, network)) = answers.network_of_pool(subnet) else {
        let gone = answers.has_lost(pool.created, pool.daemon.as_ref());
        return gone.then_some(Command::ReleasePool { pool: subnet }).into_iter().collect();
    };
    let known = pool.daemon.as_ref() == Some(&daemon.id);
    let identified = (!known).then(|| Command::IdentifyPool { pool: subnet, daemon: daemon.id.clone() });
    let held = |address: &PoolAddress| {
        let of_endpoint = network.endpoints.iter().any(|it| it.addresses.contains(&address.address));
        of_endpoint || address.gateway || network.reserved.contains(&address.address)
    };
    let settled = |address: &&PoolAddress| answers.is_settled(address.created);
    let addresses = world.addresses_of_pool(subnet);
    let free = addresses.filter(settled).filter(|address| !held(address));
    let freed = free.map(|it| Command::ReleaseAddress { pool: subnet, address: it.address });
    identified.into_iter().chain(freed).collect()
}

/// Whether an endpoint that its dockerd does not list is gone, and not about to be listed.
fn is_settled(sandbox: &Sandbox, endpoint: EndpointId, answers: &Answers) -> bool {
    answers.is_settled(sandbox.created) && !answers.joining.contains(&endpoint)
}

/// The command that records the name of a network, and its daemon; none if both are known.
fn identified(network: &Network, daemon: &DockerDaemon, listed: &DockerNetwork) -> Option<Command> {
    let known = network.labels.get(DAEMON_LABEL) == Some(&daemon.id)
        && has_name(&network.name, &listed.name, &network.id.short());
    (!known).then(|| Command::IdentifyNetwork {
        network: network.id,
        name: listed.name.clone(),
        labels: [(DAEMON_LABEL.to_owned(), daemon.id.clone())].into(),
    })
}

/// Whether something has a name, or that with its id because something else had the name first.
fn has_name(known: &str, name: &str, id: &str) -> bool {
    known == name || known.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')) == Some(id)
}

#[cfg(test)]
mod tests;
