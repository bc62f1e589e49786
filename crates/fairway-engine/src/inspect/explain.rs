//! Explains the path of a packet: walks it through the namespaces of the host and the sandboxes that it enters.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use fairway_core::plan::Plan;
use fairway_core::policy::{BRIDGE_TABLE, TABLE};
use fairway_core::world::World;
use fairway_inspect::explain::{Capture, Query, QueryError, Resolved, advice, captures};
use fairway_inspect::topology::{
    planned_element, planned_elements, planned_listeners, planned_outline, without_ours,
};
use fairway_kernel::survey::Details;
use fairway_kernel::{namespace, port_holder, survey};
use fairway_model::{Namespace, Protocol, SandboxId};
use fairway_ruleset::{Element, Set, Table};
use fairway_walk::{
    Branch, Branches, ConnectionWalk, End, Listener, NamespaceId, ObservedNamespace, Proxy, StateSource,
    Step, Topology, Tuple, Walker, walk_branches,
};
use thiserror::Error;

use super::Inspector;
use crate::commit::state::Snapshot;

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
    /// The walks in all branches; there is one at least.
    pub branches: Branches,
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
        let snapshot = self.committer.snapshot();
        let Snapshot { world, plan } = &snapshot;
        let query = Query::parse(world, plan, from, to)?;
        let mut topology = planned_outline(world, plan, without_ours(&host.namespace, plan));
        let source = |by_plan| Host { plan, details: &details, by_plan };
        let should = walk(world, &query, &topology, &source(true))?;
        if by_plan {
            return Ok(explanation(world, &query, topology, &source(true), should, None));
        }
        let planned_end = should.branches.first().map(|it| it.walk.first.end.sentence(&topology));
        topology.replace_host(host.namespace);
        let mut found = self.walk_through_kernel_state(world, &query, &mut topology, source(false))?;
        for branch in &mut found.branches {
            branch.walk.name_owners(&mut |id, tuple| self.socket_owner(world, &topology, id, tuple));
        }
        let planned = match (should.branches.as_slice(), found.branches.as_slice(), planned_end) {
            ([Branch { walk: should, .. }], [Branch { walk, .. }], Some(end)) if differ(should, walk) => {
                Some(Planned { end, differences: self.differences(world, &topology, &[walk, should]) })
            }
            _ => None,
        };
        Ok(explanation(world, &query, topology, &source(false), found, planned))
    }

    /// What differs from the Plan, on the host and in the sandboxes that these walks come to.
    fn differences(&self, world: &World, topology: &Topology, walks: &[&ConnectionWalk]) -> Vec<String> {
        let mut differences = match self.reconciler.find_drift() {
            Ok(drift) => drift.present(world),
            Err(error) => vec![format!("cannot observe drift of the host: {error}")],
        };
        let entered: BTreeSet<NamespaceId> = walks.iter().flat_map(|walk| namespaces(walk)).collect();
        let sandboxes = entered.into_iter().filter_map(|id| world.sandbox(topology[id].sandbox?));
        for sandbox in sandboxes.filter(|it| it.running()) {
            let inside = self.reconciler.netns_deviations(sandbox.id).unwrap_or_default();
            let name = &sandbox.name;
            differences.extend(inside.iter().map(|difference| format!("in {name}, {}", difference.is())));
        }
        differences
    }

    /// Walks through the observed host, and the sandboxes that the packets come to as they are observed then.
    fn walk_through_kernel_state(
        &self,
        world: &World,
        query: &Query,
        topology: &mut Topology,
        host: Host<'_>,
    ) -> Result<Branches, ExplainError> {
        // The query may have an address or interface of the sender that is not planned.
        let sender = query.sender(world, topology);
        if let Some(id) = sender
            && let Some(observed) = self.observe(world, topology, id)?
        {
            topology.replace_sandboxes([(id, observed)].into());
        }
        let observed = topology.iter().map(|(id, _)| match sender {
            Some(sender) if sender == id => OnceCell::from(None),
            _ => OnceCell::new(),
        });
        let source = Observed { inspector: self, world, topology, host, observed: observed.collect() };
        let walk = walk(world, query, topology, &source)?;
        let observed = source.observed.into_iter().enumerate();
        let observed = observed.filter_map(|(id, it)| Some((NamespaceId(id), it.into_inner()??))).collect();
        topology.replace_sandboxes(observed);
        Ok(walk)
    }

    /// Reads the namespace of a sandbox; none if it is the host's, or the sandbox has stopped meanwhile.
    fn observe(
        &self,
        world: &World,
        topology: &Topology,
        id: NamespaceId,
    ) -> Result<Option<ObservedNamespace>, ExplainError> {
        let Some(sandbox) = topology[id].sandbox else { return Ok(None) };
        let Some(namespace) = sandbox_namespace(world, sandbox) else { return Ok(None) };
        let handle = match namespace::open(namespace) {
            Ok(handle) => handle,
            Err(_) if self.committer.read(|world| sandbox_namespace(world, sandbox).is_none()) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let survey = self.applier.workers.run(&handle, || survey::survey(""))??;
        Ok(Some(topology.observe(id, &survey)))
    }

    /// The process that has the socket for a packet that arrives in a namespace, if it can be seen from here.
    fn socket_owner(
        &self,
        world: &World,
        topology: &Topology,
        id: NamespaceId,
        tuple: &Tuple,
    ) -> Option<String> {
        let handle = match topology[id].sandbox {
            Some(sandbox) => namespace::open(sandbox_namespace(world, sandbox)?).ok()?,
            None => self.applier.workers.initial().clone(),
        };
        let protocol = Protocol::from_number(tuple.protocol)?;
        let address = SocketAddr::new(tuple.destination, tuple.destination_port);
        let found =
            self.applier.workers.run(&handle, move || port_holder::find(protocol, address)).ok()??;
        Some(found.to_string())
    }
}

fn walk(
    world: &World,
    query: &Query,
    topology: &Topology,
    source: &dyn StateSource,
) -> Result<Branches, QueryError> {
    let Resolved { origin, tuple } = query.resolve(world, topology)?;
    let proxy = Proxy { user: world.settings().relay_user };
    Ok(walk_branches(&Walker::with_source(topology, source).with_any_source_port(), origin, tuple, proxy))
}

fn explanation(
    world: &World,
    query: &Query,
    topology: Topology,
    source: &Host<'_>,
    branches: Branches,
    planned: Option<Planned>,
) -> Explanation {
    let advise = |branch: &Branch| {
        advice(world, query, &topology, &branch.walk, &waiting(&topology, source, &branch.walk))
    };
    // A repair needs no other networks or ports.
    let advice = match planned {
        Some(_) => Some("fairway doctor: it names the command that fixes this".to_owned()),
        None => branches.branches.iter().find_map(advise),
    };
    // Of several branches, those of the longest way.
    let longest = branches.branches.iter().max_by_key(|it| it.walk.first.steps.len());
    let captures = longest.map(|it| captures(&it.walk, &topology, world));
    Explanation { captures: captures.unwrap_or_default(), branches, topology, advice, planned }
}

/// The namespace of a running sandbox.
fn sandbox_namespace(world: &World, id: SandboxId) -> Option<&Namespace> {
    world.sandbox(id).filter(|it| it.running())?.namespace()
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
    plan: &'e Plan,
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
            return Ok(planned_element(self.plan, table, &set.name, key));
        }
        self.details.element(table, set, key).map_err(unread)
    }

    fn elements(&self, _: NamespaceId, table: &Table, set: &Set) -> Result<Option<Vec<Element>>, String> {
        if self.by_plan && [TABLE, BRIDGE_TABLE].contains(&table.name.as_str()) {
            return Ok(Some(planned_elements(self.plan, table, &set.name)));
        }
        self.details.elements(table, set).map(Some).map_err(unread)
    }

    fn listeners(&self, _: NamespaceId, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
        let Some(protocol) = Protocol::from_number(protocol) else {
            return Ok(Vec::new());
        };
        let there = self.details.listeners_at(protocol, port).map_err(unread)?;
        let ours = planned_listeners(self.plan, protocol, port);
        let own = |other: &Listener| ours.iter().find(|own| own.address == other.address);
        if self.by_plan {
            let others = there.into_iter().filter(|it| own(it).is_none());
            return Ok(others.chain(ours.iter().cloned()).collect());
        }
        // Only the Plan knows the purpose of Fairway's sockets.
        Ok(there.into_iter().map(|it| own(&it).cloned().unwrap_or(it)).collect())
    }
}

/// The state of the host, and of each sandbox from when the first packet comes to it.
struct Observed<'e> {
    inspector: &'e Inspector,
    world: &'e World,
    topology: &'e Topology,
    host: Host<'e>,
    /// The namespaces that were read, by their ids; none for one that is as in the topology.
    observed: Vec<OnceCell<Option<ObservedNamespace>>>,
}

impl fmt::Debug for Observed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("host", &self.host).finish_non_exhaustive()
    }
}

impl StateSource for Observed<'_> {
    fn element(
        &self,
        id: NamespaceId,
        table: &Table,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, String> {
        self.host.element(id, table, set, key)
    }

    fn elements(&self, id: NamespaceId, table: &Table, set: &Set) -> Result<Option<Vec<Element>>, String> {
        self.host.elements(id, table, set)
    }

    fn listeners(&self, id: NamespaceId, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
        self.host.listeners(id, protocol, port)
    }

    fn namespace(&self, id: NamespaceId) -> Result<Option<&ObservedNamespace>, String> {
        let Some(cell) = self.observed.get(id.0) else { return Ok(None) };
        if let Some(known) = cell.get() {
            return Ok(known.as_ref());
        }
        let read = self.inspector.observe(self.world, self.topology, id).map_err(|it| it.to_string())?;
        Ok(cell.get_or_init(|| read).as_ref())
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

/// Whether a first packet ends otherwise than planned, by what a Plan has.
fn differ(should: &ConnectionWalk, walk: &ConnectionWalk) -> bool {
    std::mem::discriminant(&should.first.end) != std::mem::discriminant(&walk.first.end)
        && !ends_in_sandbox(walk)
        && !ends_in_sandbox(should)
}

/// Whether the first packet ends by a sandbox's own sockets or tables, which are not in a Plan.
fn ends_in_sandbox(walk: &ConnectionWalk) -> bool {
    let end = &walk.first.end;
    let inside = walk.first.steps.last().is_some_and(|step| step.namespace() != NamespaceId::HOST);
    inside && !matches!(end, End::NoRoute { .. } | End::NoNeighbor { .. } | End::Discarded { .. })
}
