//! Where a packet goes: the host and the sandboxes concerned are read, and a packet is walked through them.

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

use crate::{Engine, State};

/// Why nothing can be explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The query makes no sense.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The kernel cannot be asked.
    #[error("cannot read what is there: {0}")]
    Survey(#[from] survey::Error),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The walks.
    pub connection: ConnectionWalk,
    /// Where captures see it.
    pub captures: Vec<Capture>,
    /// What would let it through that does not get through.
    pub advice: Option<String>,
    /// What the Plan would have come of it, where that is another outcome.
    pub planned: Option<Planned>,
}

/// What should come of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its end, in words.
    pub end: String,
    /// What is other than by the Plan, on the host and in the sandboxes that it comes to.
    pub differences: Vec<String>,
}

impl Engine {
    /// Walks a packet from one to another, through what the kernel has or, with `by_plan`, through what it should
    /// have. Of what there may be very much, only what the packet meets is asked for.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub fn explain(&self, from: &str, to: &str, by_plan: bool) -> Result<Explanation, ExplainError> {
        let outline = || Ok::<_, survey::Error>((survey::outline("host")?, Details::open()?));
        let (host, details) = self.workers.run(self.workers.initial(), outline)??;
        let (query, mut topology) = {
            let State { world, plan, .. } = &*self.state();
            let query = Query::parse(world, plan, from, to)?;
            (query, planned_outline(world, plan, without_ours(&host.namespace, plan)))
        };
        let asked = |by_plan| Host { engine: self, details: &details, by_plan };
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
        let (captures, advice) =
            self.read(|world| (captures(&connection, world), advice(world, query, &connection, &waiting)));
        // What only has to be mended needs no other networks or ports.
        let advice = match planned {
            Some(_) => Some("fairway doctor: it names the command that mends this".to_owned()),
            None => advice,
        };
        Explanation { connection, captures, advice, planned }
    }

    /// What is other than by the Plan, on the host and in the sandboxes that these come to.
    fn differences(&self, conversations: &[&ConnectionWalk]) -> Vec<String> {
        let mut differences = match self.find_drift() {
            Ok(drift) => drift.present(),
            Err(error) => vec![format!("what else is other cannot be told: {error}")],
        };
        let met: BTreeSet<&str> = conversations.iter().flat_map(|it| namespaces(it)).collect();
        let sandboxes: Vec<_> = self.read(|world| {
            let met = world.sandboxes().filter(|it| it.running() && met.contains(it.name.as_str()));
            met.map(|it| (it.id, it.name.clone())).collect()
        });
        for (id, name) in sandboxes {
            let inside = self.netns_deviations(id).unwrap_or_default();
            differences.extend(inside.iter().map(|difference| format!("in {name}, {}", difference.is())));
        }
        differences
    }

    /// Reads every sandbox that the packet comes to, and walks again, until no other one is met.
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
            // One that has stopped meanwhile stays as it was planned.
            if let Some(namespace) = self.read(|world| namespace_of(world, &name)) {
                let inside = self.workers.run(&namespace::open(&namespace)?, || survey::survey(""))??;
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
            self.read(|world| (query.resolve(world, topology), world.settings().relay_user));
        let Resolved { origin, tuple } = resolved?;
        Ok(walk_connection_with(&mut Walker::with_source(topology, contents), origin, tuple, Proxy { user }))
    }

    /// The process that has the socket for what arrives on a namespace, if it can be seen from here.
    fn holder(&self, namespace: &str, tuple: &Tuple) -> Option<String> {
        let handle = match self.read(|world| namespace_of(world, namespace)) {
            Some(namespace) => namespace::open(&namespace).ok()?,
            None => self.workers.initial().clone(),
        };
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == tuple.protocol)?;
        let address = SocketAddr::new(tuple.destination, tuple.destination_port);
        let found = self.workers.run(&handle, move || port_holder::find(protocol, address)).ok()??;
        Some(found.to_string())
    }
}

/// The sockets of the namespace where nobody listened: of the host those at the port alone.
fn waiting(topology: &Topology, contents: &Host<'_>, connection: &ConnectionWalk) -> Vec<Listener> {
    let End::NoListener { namespace, tuple } = connection.last_end() else { return Vec::new() };
    let place = topology.namespaces.iter().position(|it| it.name == *namespace).unwrap_or_default();
    match topology.namespaces.get(place) {
        // What cannot be read helps nobody; that it cannot was told before.
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

/// What the host holds, asked of the kernel or, for what is ours, of the Plan.
struct Host<'e> {
    engine: &'e Engine,
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
            return Ok(planned_element(&self.engine.state().plan, table, &set.name, key));
        }
        self.details.element(table, set, key).map_err(unread)
    }

    fn listeners(&self, _: usize, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
        let Some(protocol) = Protocol::ALL.into_iter().find(|it| it.number() == protocol) else {
            return Ok(Vec::new());
        };
        let there = self.details.listeners_at(protocol, port).map_err(unread)?;
        let ours = planned_listeners(&self.engine.state().plan, protocol, port);
        let own = |other: &Listener| ours.iter().find(|own| own.address == other.address);
        if self.by_plan {
            let others = there.into_iter().filter(|it| own(it).is_none());
            return Ok(others.chain(ours.iter().cloned()).collect());
        }
        // Of a socket that is ours, only the Plan tells what for.
        Ok(there.into_iter().map(|it| own(&it).cloned().unwrap_or(it)).collect())
    }
}

/// The names of the namespaces that a connection's packets come to.
fn namespaces(connection: &ConnectionWalk) -> BTreeSet<&str> {
    let ConnectionWalk { first, reply, established, next_reply, .. } = connection;
    let paths = [Some(first), reply.as_ref(), established.as_ref(), next_reply.as_ref()];
    // Who has no route makes no step.
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for path in paths.into_iter().flatten() {
        names.extend(path.steps.iter().map(Step::namespace).chain([path.end.namespace()]));
    }
    if let Some(second) = &connection.proxied {
        names.extend(namespaces(second));
    }
    names
}

/// Whether the first packet ends by a sandbox's own sockets or tables, which are not in a Plan.
fn ends_by_own(connection: &ConnectionWalk) -> bool {
    let end = &connection.first.end;
    let inside =
        connection.first.steps.last().map(Step::namespace).is_some_and(|namespace| namespace != "host");
    inside && !matches!(end, End::NoRoute { .. } | End::NoNeighbor { .. } | End::Discarded { .. })
}
