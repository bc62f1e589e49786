//! Traces real packets of sandboxes: the World says which, and `fairway-trace` watches them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use fairway_inspect::explain::{QueryError, shown_name};
use fairway_inspect::trace::{Filter, TraceMessage, TraceRequest, filter_of_world};
use fairway_model::{NetworkMode, SandboxId};
use fairway_trace::{Subject, Trace, Watched};
use thiserror::Error;

use super::Inspector;
use crate::ApplyError;

/// How many traces may run at once.
const AT_ONCE: usize = 8;

/// The number of running traces.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Receives trace messages; must not block. Returns whether it wants more.
pub type TraceSink = Box<dyn FnMut(TraceMessage) -> bool + Send>;

/// Why packets cannot be traced.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The request is invalid.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many traces run already.
    #[error("{AT_ONCE} traces run already: end one of them")]
    TooMany,
    /// The host's addresses cannot be read.
    #[error(transparent)]
    Host(#[from] ApplyError),
    /// The kernel refuses.
    #[error(transparent)]
    Trace(#[from] fairway_trace::TraceError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Counts a running trace.
struct Running;

impl Running {
    fn begin() -> Result<Self, TraceError> {
        let running = Self;
        if RUNNING.fetch_add(1, Ordering::AcqRel) < AT_ONCE { Ok(running) } else { Err(TraceError::TooMany) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The sandboxes of a request, by the World as it is.
struct Sandboxes {
    inspector: Weak<Inspector>,
    request: TraceRequest,
    /// What the places of the filter mean.
    ids: Vec<SandboxId>,
    _running: Running,
}

impl Inspector {
    /// Traces packets on a thread of its own, and sends messages to `sink`, until it wants no more or the request is
    /// satisfied. The tables of a trace are deleted then, and also when the daemon dies.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn trace(self: &Arc<Self>, request: TraceRequest, sink: TraceSink) -> Result<(), TraceError> {
        let running = Running::begin()?;
        let (filter, ids) = self.filter(&request)?;
        let inspector = Arc::downgrade(self);
        let subject = Sandboxes { inspector, request: request.clone(), ids, _running: running };
        let workers = self.applier.workers.clone();
        if let Some(trace) = Trace::begin(subject, workers, filter, request, sink)? {
            let thread = std::thread::Builder::new().name("trace".to_owned());
            thread.spawn(move || trace.run()).map_err(TraceError::Thread)?;
        }
        Ok(())
    }

    fn filter(&self, request: &TraceRequest) -> Result<(Filter, Vec<SandboxId>), TraceError> {
        let addresses = self.applier.links(|links| links.addresses(0))?;
        let host: Vec<IpAddr> = addresses.iter().map(|it| it.address.addr()).collect();
        let state = self.committer.snapshot();
        let (from, to) = (request.from.as_deref(), request.to.as_deref());
        Ok(filter_of_world(&state.world, &state.plan, host, from, to)?)
    }
}

impl Subject for Sandboxes {
    fn filter(&mut self) -> Option<Filter> {
        let (filter, ids) = self.inspector.upgrade()?.filter(&self.request).ok()?;
        self.ids = ids;
        Some(filter)
    }

    fn namespaces(&mut self, filter: &Filter) -> Option<Vec<Watched>> {
        let wanted = self.inspector.upgrade()?.committer.read(|world| {
            let found = filter.containers.iter().filter_map(|place| {
                let sandbox = world.sandbox(*self.ids.get(*place)?).filter(|sandbox| sandbox.running())?;
                let own = matches!(sandbox.mode, NetworkMode::Private | NetworkMode::None);
                let namespace = sandbox.namespace().filter(|_| own)?;
                Some(Watched { label: shown_name(&sandbox.name), namespace: namespace.clone() })
            });
            found.collect()
        });
        Some(wanted)
    }

    /// Whether Fairway's own rules enable conntrack.
    fn tracks(&self) -> bool {
        let inspector = self.inspector.upgrade();
        inspector.is_some_and(|it| {
            it.committer.read(|world| world.settings().iptables || world.settings().ip6tables)
        })
    }

    fn sweeps(&self) -> bool {
        true
    }
}
