//! The list of sandboxes, and its filters.

use std::collections::BTreeSet;

use fairway_core::world::{Refusal, World};
use fairway_model::{Protocol, Sandbox, SandboxState};
use thiserror::Error;

use super::container::{present_network_mode, status, summarize};
use crate::filter::{Filters, InvalidFilter};
use crate::types::{ContainerSummary, PortSummary};

/// Filters that Docker's clients may use, in the order of their names.
const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
/// What Docker calls the states; ours are the first three.
const STATES: [&str; 7] = ["created", "running", "exited", "paused", "restarting", "removing", "dead"];
/// What Docker calls the results of health checks, which no sandbox has.
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// A list that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum ListError {
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// A filter names a sandbox that is not there.
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

/// The sandboxes that pass Docker's filters, the newest first. Without `all` and a filter of states: those that run, or
/// wait to be restarted.
/// `now` is in nanoseconds since 1970.
///
/// # Errors
/// A filter is none of Docker's, or has a value that it cannot have.
pub fn list_containers(
    world: &World,
    all: bool,
    filters: &Filters,
    now: i64,
) -> Result<Vec<ContainerSummary>, ListError> {
    let chosen = Chosen::new(world, all, filters)?;
    let mut found: Vec<&Sandbox> = world.sandboxes().filter(|sandbox| chosen.passes(sandbox)).collect();
    found.sort_by_key(|sandbox| age(sandbox));
    let summaries = found.into_iter().map(|sandbox| summarize(world, sandbox, now));
    Ok(summaries.filter(|summary| chosen.passes_ports(&summary.ports)).collect())
}

/// The place of a sandbox in lists: the newest is the least.
fn age(sandbox: &Sandbox) -> impl Ord + use<> {
    (std::cmp::Reverse(sandbox.created), sandbox.id)
}

/// Filters, read once for all sandboxes.
struct Chosen<'a> {
    world: &'a World,
    filters: &'a Filters,
    all: bool,
    names: crate::filter::Patterns,
    older_than: Vec<&'a Sandbox>,
    newer_than: Vec<&'a Sandbox>,
    published: BTreeSet<(u16, Protocol)>,
    exposed: BTreeSet<(u16, Protocol)>,
}

impl<'a> Chosen<'a> {
    fn new(world: &'a World, all: bool, filters: &'a Filters) -> Result<Self, ListError> {
        filters.check(&FILTERS)?;
        filters.one_of("status", &STATES)?;
        filters.one_of("health", &HEALTH)?;
        filters.numbers("exited")?;
        filters.flag("is-task")?;
        let named = |filter| {
            let references = filters.values(filter).into_iter();
            references.map(|reference| world.find_sandbox(reference)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            world,
            filters,
            all: all || filters.has("status") || filters.has("exited"),
            names: filters.patterns("name"),
            older_than: named("before")?,
            newer_than: named("since")?,
            published: filters.ports("publish")?,
            exposed: filters.ports("expose")?,
        })
    }

    fn passes(&self, sandbox: &Sandbox) -> bool {
        let filters = self.filters;
        let code = match sandbox.state {
            SandboxState::Exited { code, .. } => code.to_string(),
            _ => String::new(),
        };
        (self.all || sandbox.runs_or_restarts())
            && filters.starts("id", &sandbox.id.to_string())
            && (self.names.pass(&sandbox.name) || self.names.pass(&format!("/{}", sandbox.name)))
            && filters.labels(&sandbox.options.labels)
            && filters.equals("status", status(sandbox))
            && filters.equals("exited", &code)
            && filters.equals("health", "none")
            && filters.flag("is-task") != Ok(Some(true))
            // There are no volumes, and isolation is Windows' alone.
            && !filters.has("volume")
            && filters.image("ancestor", &sandbox.options.image)
            && self.older_than.iter().all(|than| age(sandbox) > age(than))
            && self.newer_than.iter().all(|than| age(sandbox) < age(than))
            && (!filters.has("network") || self.on_network(sandbox))
    }

    /// Whether a sandbox is on one of the networks that the filter names, in whole or by the start of the id.
    fn on_network(&self, sandbox: &Sandbox) -> bool {
        let filters = self.filters;
        let endpoints = self.world.endpoints_of_sandbox(sandbox.id);
        let mut networks = endpoints.iter().filter_map(|endpoint| self.world.network(endpoint.network));
        filters.equals("network", &present_network_mode(self.world, sandbox))
            || networks.any(|network| {
                filters.equals("network", &network.name) || filters.starts("network", &network.id.to_string())
            })
    }

    /// Whether one of the ports is published or exposed as the filters say; as in Docker, one of both is enough.
    fn passes_ports(&self, ports: &[PortSummary]) -> bool {
        let asked = |wanted: &BTreeSet<(u16, Protocol)>, port: u16, kind: &str| {
            wanted.iter().any(|(wanted, protocol)| *wanted == port && protocol.to_string() == kind)
        };
        (self.published.is_empty() && self.exposed.is_empty())
            || ports.iter().any(|port| {
                asked(&self.published, port.public_port, &port.kind)
                    || asked(&self.exposed, port.private_port, &port.kind)
            })
    }
}
