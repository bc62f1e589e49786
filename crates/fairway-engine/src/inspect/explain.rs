//! Explains the path of a packet: walks it through the namespaces of the host and the sandboxes that it enters.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use fairway_core::policy::{BRIDGE_TABLE, TABLE};
use fairway_inspect::explain::{Capture, Query, QueryError, Resolved, advice, captures};
use fairway_inspect::topology::{planned_element, planned_listeners, planned_outline, without_ours};
use fairway_kernel::survey::Details;
use fairway_kernel::{namespace, port_holder, survey};
use fairway_model::{Namespace, Protocol, SandboxId};
use fairway_ruleset::{Element, Set, Table};
use fairway_walk::{
    ConnectionWalk, End, Listener, NamespaceId, Proxy, StateSource, Step, Topology, Tuple, Walker,
    walk_connection_with,
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
    pub walk: ConnectionWalk,
    /// The topology that they go through.
    pub topology: Topology,
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
            return Ok(self.explanation(&query, topology, &asked(true), should, None));
        }
        let planned_end = should.first.end.sentence(&topology);
        topology.replace_host(host.namespace);
        let mut walk = self.walk_through_kernel_state(&query, &mut topology, &asked(false))?;
        walk.name_owners(&mut |namespace, tuple| self.socket_owner(&topology, namespace, tuple));
        let differs = std::mem::discriminant(&should.first.end) != std::mem::discriminant(&walk.first.end)
            && !ends_in_sandbox(&walk)
            && !ends_in_sandbox(&should);
        let planned = differs.then(|| Planned {
            end: planned_end,
            differences: self.differences(&topology, &[&walk, &should]),
        });
        Ok(self.explanation(&query, topology, &asked(false), walk, planned))
    }

    fn explanation(
        &self,
        query: &Query,
        topology: Topology,
        source: &Host<'_>,
        walk: ConnectionWalk,
        planned: Option<Planned>,
    ) -> Explanation {
        let waiting = waiting(&topology, source, &walk);
        let (captures, advice) = self.committer.read(|world| {
            (captures(&walk, &topology, world), advice(world, query, &topology, &walk, &waiting))
        });
        // A repair needs no other networks or ports.
        let advice = match planned {
            Some(_) => Some("fairway doctor: it names the command that fixes this".to_owned()),
            None => advice,
        };
        Explanation { walk, topology, captures, advice, planned }
    }

    /// What differs from the Plan, on the host and in the sandboxes that these walks come to.
    fn differences(&self, topology: &Topology, walks: &[&ConnectionWalk]) -> Vec<String> {
        let mut differences = match self.reconciler.find_drift() {
            Ok(drift) => self.committer.read(|world| drift.present(world)),
            Err(error) => vec![format!("cannot observe drift of the host: {error}")],
        };
        let entered: BTreeSet<NamespaceId> = walks.iter().flat_map(|walk| namespaces(walk)).collect();
        let entered: Vec<SandboxId> = entered.into_iter().filter_map(|id| topology[id].sandbox).collect();
        let sandboxes: Vec<_> = self.committer.read(|world| {
            let running = entered.iter().filter_map(|id| world.sandbox(*id)).filter(|it| it.running());
            running.map(|it| (it.id, it.name.clone())).collect()
        });
        for (id, name) in sandboxes {
            let inside = self.reconciler.netns_deviations(id).unwrap_or_default();
            differences.extend(inside.iter().map(|difference| format!("in {name}, {}", difference.is())));
        }
        differences
    }

    /// Reads every sandbox that the packet comes to, and walks again, until no other one is entered.
    fn walk_through_kernel_state(
        &self,
        query: &Query,
        topology: &mut Topology,
        source: &Host<'_>,
    ) -> Result<ConnectionWalk, ExplainError> {
        let mut read = BTreeSet::from([NamespaceId::HOST]);
        loop {
            let walk = self.walk(query, topology, source)?;
            let Some(id) = namespaces(&walk).into_iter().find(|id| !read.contains(id)) else {
                return Ok(walk);
            };
            read.insert(id);
            // One that has stopped meanwhile stays as it was planned.
            let namespace = topology[id].sandbox.and_then(|sandbox| self.sandbox_namespace(sandbox));
            if let Some(namespace) = namespace {
                let survey =
                    self.applier.workers.run(&namespace::open(&namespace)?, || survey::survey(""))??;
                topology.replace_sandbox(id, &survey);
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

    /// The process that has the socket for a packet that arrives in a namespace, if it can be seen from here.
    fn socket_owner(&self, topology: &Topology, id: NamespaceId, tuple: &Tuple) -> Option<String> {
        let handle = match topology[id].sandbox {
            Some(sandbox) => namespace::open(&self.sandbox_namespace(sandbox)?).ok()?,
            None => self.applier.workers.initial().clone(),
        };
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == tuple.protocol)?;
        let address = SocketAddr::new(tuple.destination, tuple.destination_port);
        let found =
            self.applier.workers.run(&handle, move || port_holder::find(protocol, address)).ok()??;
        Some(found.to_string())
    }

    /// The namespace of a running sandbox.
    fn sandbox_namespace(&self, id: SandboxId) -> Option<Namespace> {
        self.committer.read(|world| world.sandbox(id).filter(|it| it.running())?.namespace().cloned())
    }
}

/// The sockets of the namespace in which no socket listened: of the host those at the port alone.
fn waiting(topology: &Topology, source: &Host<'_>, walk: &ConnectionWalk) -> Vec<Listener> {
    let End::NoListener { namespace, tuple } = walk.last_end() else { return Vec::new() };
    match &topology[*namespace] {
        // Without them the advice is less exact; that they cannot be read was reported before.
        it if it.on_demand => {
            source.listeners(*namespace, tuple.protocol, tuple.destination_port).unwrap_or_default()
        }
        it => it.listeners.clone(),
    }
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
    fn element(
        &self,
        _: NamespaceId,
        table: &Table,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, String> {
        if self.by_plan && [TABLE, BRIDGE_TABLE].contains(&table.name.as_str()) {
            return Ok(planned_element(&self.inspector.committer.state().plan, table, &set.name, key));
        }
        self.details.element(table, set, key).map_err(unread)
    }

    fn listeners(&self, _: NamespaceId, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
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

/// The namespaces that a connection's packets come to.
fn namespaces(walk: &ConnectionWalk) -> BTreeSet<NamespaceId> {
    let ConnectionWalk { first, reply, established, next_reply, .. } = walk;
    let walks = [Some(first), reply.as_ref(), established.as_ref(), next_reply.as_ref()];
    let mut found = BTreeSet::new();
    for walk in walks.into_iter().flatten() {
        // A program without a route makes no step.
        found.extend(walk.steps.iter().map(Step::namespace).chain([walk.end.namespace()]));
    }
    if let Some(second) = &walk.proxied {
        found.extend(namespaces(second));
    }
    found
}

/// Whether the first packet ends by a sandbox's own sockets or tables, which are not in a Plan.
fn ends_in_sandbox(walk: &ConnectionWalk) -> bool {
    let end = &walk.first.end;
    let inside = walk.first.steps.last().is_some_and(|step| step.namespace() != NamespaceId::HOST);
    inside && !matches!(end, End::NoRoute { .. } | End::NoNeighbor { .. } | End::Discarded { .. })
}
