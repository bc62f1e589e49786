//! Explains the path of a packet: walks it through the namespaces of the host and the sandboxes that it enters.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use fairway_core::policy::{BRIDGE_TABLE, TABLE};
use fairway_core::world::World;
use fairway_inspect::explain::{Capture, Query, QueryError, Resolved, advice, captures};
use fairway_inspect::topology::{planned_element, planned_listeners, planned_outline, without_ours};
use fairway_kernel::survey::Details;
use fairway_kernel::{namespace, port_holder, survey};
use fairway_model::{Namespace, Protocol};
use fairway_ruleset::{Element, Set, Table};
use fairway_walk::{
    ConnectionWalk, End, Listener, Proxy, StateSource, Step, Topology, Tuple, Walker, walk_connection_with,
};
use thiserror::Error;

use super::Inspector;
use crate::commit::State;

/// Why a packet cannot be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The query is invalid.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The kernel refuses to list its objects.
    #[error("cannot read what is there: {0}")]
    Survey(#[from] survey::Error),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

/// The path of a packet, with advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The walks.
    pub connection: ConnectionWalk,
    /// Where captures see it.
    pub captures: Vec<Capture>,
    /// The command that would let a dropped packet through.
    pub advice: Option<String>,
    /// The outcome by the Plan, where it differs.
    pub planned: Option<Planned>,
}

/// The outcome by the Plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its end, in words.
    pub end: String,
    /// The drift on the host and in the sandboxes that the packet enters.
    pub differences: Vec<String>,
}

impl Inspector {
    /// Walks a packet through the running host or, with `by_plan`, through the host as planned. Large sets are not
    /// listed: only the elements that the packet matches are looked up.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub fn explain(&self, from: &str, to: &str, by_plan: bool) -> Result<Explanation, ExplainError> {
        let outline = || Ok::<_, survey::Error>((survey::outline("host")?, Details::open()?));
        let (host, details) = self.applier.workers.run(self.applier.workers.initial(), outline)??;
        let (query, mut topology) = {
            let State { world, plan, .. } = &*self.committer.state();
            let query = Query::parse(world, plan, from, to)?;
            (query, planned_outline(world, plan, without_ours(&host.namespace, plan)))
        };
        let asked = |by_plan| Host { inspector: self, details: &details, by_plan };
        let should = self.walk(&query, &topology, &asked(true))?;
        if by_plan {
            return Ok(self.explanation(&query, &topology, &asked(true), should, None));
        }
        topology.read_host(host.namespace);
        let mut connection = self.walk_through_what_is(&query, &mut topology, &asked(false))?;
        connection.name_owners(&mut |namespace, tuple| self.holder(namespace, tuple));
        let differs = std::mem::discriminant(&should.first.end)
            != std::mem::discriminant(&connection.first.end)
            && !ends_by_own(&connection)
            && !ends_by_own(&should);
        let planned = differs.then(|| Planned {
            end: should.first.end.sentence(),
            differences: self.differences(&[&connection, &should]),
        });
        Ok(self.explanation(&query, &topology, &asked(false), connection, planned))
    }

    fn explanation(
        &self,
        query: &Query,
        topology: &Topology,
        contents: &Host<'_>,
        connection: ConnectionWalk,
        planned: Option<Planned>,
    ) -> Explanation {
        let waiting = waiting(topology, contents, &connection);
        let (captures, advice) = self
            .committer
            .read(|world| (captures(&connection, world), advice(world, query, &connection, &waiting)));
        // Drift needs a repair, not other networks or ports.
        let advice = match planned {
            Some(_) => Some("fairway doctor: it names the command that fixes this".to_owned()),
            None => advice,
        };
        Explanation { connection, captures, advice, planned }
    }

    /// The drift on the host and in the sandboxes that these walks enter.
    fn differences(&self, conversations: &[&ConnectionWalk]) -> Vec<String> {
        let mut differences = match self.reconciler.find_drift() {
            Ok(drift) => self.committer.read(|world| drift.present(world)),
            Err(error) => vec![format!("cannot observe drift of the host: {error}")],
        };
        let met: BTreeSet<&str> = conversations.iter().flat_map(|it| namespaces(it)).collect();
        let sandboxes: Vec<_> = self.committer.read(|world| {
            let met = world.sandboxes().filter(|it| it.running() && met.contains(it.name.as_str()));
            met.map(|it| (it.id, it.name.clone())).collect()
        });
        for (id, name) in sandboxes {
            let inside = self.reconciler.netns_deviations(id).unwrap_or_default();
            differences.extend(inside.iter().map(|difference| format!("in {name}, {}", difference.is())));
        }
        differences
    }

    /// Reads each sandbox that the packet enters and walks again, until the walk enters no other one.
    fn walk_through_what_is(
        &self,
        query: &Query,
        topology: &mut Topology,
        contents: &Host<'_>,
    ) -> Result<ConnectionWalk, ExplainError> {
        let mut read = BTreeSet::from([0]);
        loop {
            let connection = self.walk(query, topology, contents)?;
            let met = namespaces(&connection);
            let mut unread =
                topology.namespaces.iter().enumerate().filter(|(place, namespace)| {
                    !read.contains(place) && met.contains(namespace.name.as_str())
                });
            let Some((place, name)) = unread.next().map(|(place, namespace)| (place, namespace.name.clone()))
            else {
                return Ok(connection);
            };
            read.insert(place);
            // A sandbox that has stopped meanwhile stays as planned.
            if let Some(namespace) = self.committer.read(|world| namespace_of(world, &name)) {
                let inside =
                    self.applier.workers.run(&namespace::open(&namespace)?, || survey::survey(""))??;
                topology.read_inside(place, &inside);
            }
        }
    }

    fn walk(
        &self,
        query: &Query,
        topology: &Topology,
        contents: &Host<'_>,
    ) -> Result<ConnectionWalk, QueryError> {
        let (resolved, user) =
            self.committer.read(|world| (query.resolve(world, topology), world.settings().relay_user));
        let Resolved { origin, tuple } = resolved?;
        Ok(walk_connection_with(&mut Walker::with_source(topology, contents), origin, tuple, Proxy { user }))
    }

    /// The process with the socket for a packet in a namespace, if it is visible from here.
    fn holder(&self, namespace: &str, tuple: &Tuple) -> Option<String> {
        let handle = match self.committer.read(|world| namespace_of(world, namespace)) {
            Some(namespace) => namespace::open(&namespace).ok()?,
            None => self.applier.workers.initial().clone(),
        };
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == tuple.protocol)?;
        let address = SocketAddr::new(tuple.destination, tuple.destination_port);
        let found =
            self.applier.workers.run(&handle, move || port_holder::find(protocol, address)).ok()??;
        Some(found.to_string())
    }
}

/// The sockets of the namespace that refused the packet: of the host only those at the port.
fn waiting(topology: &Topology, contents: &Host<'_>, connection: &ConnectionWalk) -> Vec<Listener> {
    let End::NoListener { namespace, tuple } = connection.last_end() else { return Vec::new() };
    let place = topology.namespaces.iter().position(|it| it.name == *namespace).unwrap_or_default();
    match topology.namespaces.get(place) {
        // A failure to list them was reported by the walk.
        Some(namespace) if namespace.on_demand => {
            contents.listeners(place, tuple.protocol, tuple.destination_port).unwrap_or_default()
        }
        Some(namespace) => namespace.listeners.clone(),
        None => Vec::new(),
    }
}

/// The namespace of the sandbox of that name.
fn namespace_of(world: &World, name: &str) -> Option<Namespace> {
    let sandbox = world.sandboxes().find(|sandbox| sandbox.name == name && sandbox.running())?;
    sandbox.namespace().cloned()
}

/// The state of the host: from the kernel or, for Fairway's objects, from the Plan.
struct Host<'e> {
    inspector: &'e Inspector,
    details: &'e Details,
    by_plan: bool,
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("by_plan", &self.by_plan).finish_non_exhaustive()
    }
}

fn unread(error: survey::Error) -> String {
    ExplainError::Survey(error).to_string()
}

impl StateSource for Host<'_> {
    fn element(&self, _: usize, table: &Table, set: &Set, key: &[u8]) -> Result<Option<Element>, String> {
        if self.by_plan && [TABLE, BRIDGE_TABLE].contains(&table.name.as_str()) {
            return Ok(planned_element(&self.inspector.committer.state().plan, table, &set.name, key));
        }
        self.details.element(table, set, key).map_err(unread)
    }

    fn listeners(&self, _: usize, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
        let Some(protocol) = Protocol::ALL.into_iter().find(|it| it.number() == protocol) else {
            return Ok(Vec::new());
        };
        let there = self.details.listeners_at(protocol, port).map_err(unread)?;
        let ours = planned_listeners(&self.inspector.committer.state().plan, protocol, port);
        let own = |other: &Listener| ours.iter().find(|own| own.address == other.address);
        if self.by_plan {
            let others = there.into_iter().filter(|it| own(it).is_none());
            return Ok(others.chain(ours.iter().cloned()).collect());
        }
        // Only the Plan knows the purpose of Fairway's sockets.
        Ok(there.into_iter().map(|it| own(&it).cloned().unwrap_or(it)).collect())
    }
}

/// The names of the namespaces that a connection enters.
fn namespaces(connection: &ConnectionWalk) -> BTreeSet<&str> {
    let ConnectionWalk { first, reply, established, next_reply, .. } = connection;
    let paths = [Some(first), reply.as_ref(), established.as_ref(), next_reply.as_ref()];
    // A packet without a route makes no step.
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for path in paths.into_iter().flatten() {
        names.extend(path.steps.iter().map(Step::namespace).chain([path.end.namespace()]));
    }
    if let Some(second) = &connection.proxied {
        names.extend(namespaces(second));
    }
    names
}

/// Whether the first packet ends at a sandbox's own sockets or tables, which are not in the Plan.
fn ends_by_own(connection: &ConnectionWalk) -> bool {
    let end = &connection.first.end;
    let inside =
        connection.first.steps.last().map(Step::namespace).is_some_and(|namespace| namespace != "host");
    inside && !matches!(end, End::NoRoute { .. } | End::NoNeighbor { .. } | End::Discarded { .. })
}
