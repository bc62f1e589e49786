//! Commits commands: decides them on the World, makes the change durable, and has it applied.

mod address_probe;
pub(crate) mod effects;
pub(crate) mod events;
pub(crate) mod exit_waiters;
pub(crate) mod host;
pub(crate) mod leases;
pub(crate) mod ordering;
pub(crate) mod pipeline;
mod reconfigure;
pub(crate) mod records;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;
mod undo;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use fairway_core::world::{
    Change, Command, Context, CreateNetwork, Draft, Event, PARENT_OPTION, Requester, Subject, World,
};
use fairway_inspect::metrics::CommandMeasurements;
use fairway_kernel::{clock, namespace};
use fairway_model::{Rng, SandboxKind, SandboxState};
use fairway_store::Store;

use crate::apply::{Applier, etc_netns};
use crate::signals::Signals;
use crate::{ApplyError, EngineError};
use events::Events;
use exit_waiters::ExitWaiters;
use pipeline::{Committed, Pipeline};
use state::Snapshot;

/// Decides commands, makes them durable and has them applied.
pub(crate) struct Committer {
    pub pipeline: Pipeline,
    pub store: Arc<Store>,
    pub applier: Arc<Applier>,
    pub signals: Arc<Signals>,
    pub exit_waiters: ExitWaiters,
    pub events: Events,
    /// The routes of the host that were reported to overlap a network: network and route.
    pub overlapping_routes: Mutex<BTreeSet<(String, String)>>,
    /// How long commands took, and how many were not carried out.
    pub measured: Mutex<CommandMeasurements>,
}

/// The seed of random numbers.
pub(crate) fn seed() -> u64 {
    // Without randomness from the kernel, identifiers are as good as the clock.
    getrandom::u64().unwrap_or_else(|_| clock::wall() as u64)
}

/// Logs which process requested a change. Networks change rarely, sandboxes may change hundreds of times a second.
fn log_request(requester: Requester, command: &Command, events: &[Event]) {
    let of_network = matches!(
        command,
        Command::CreateNetwork(_) | Command::RemoveNetwork { .. } | Command::UpdateNetwork { .. }
    );
    if !of_network && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let Requester { uid, pid } = requester;
    let text = |event: &Event| {
        let name = event.attributes.get("name").unwrap_or(&event.id);
        format!("{} {name}: {}", event.subject.text(), event.action)
    };
    let changes = match (events, command) {
        ([], Command::Join(join)) => format!("sandbox {}: join", join.id.short()),
        ([], Command::Leave { sandbox, .. }) => format!("sandbox {sandbox}: leave"),
        ([], Command::UpdateNetwork { network, .. }) => format!("network {network}: update"),
        ([], _) => return,
        _ => events.iter().map(text).collect::<Vec<_>>().join(", "),
    };
    if of_network {
        tracing::info!(uid, pid, "changed {changes}; requested by process {pid} of user {uid}");
    } else {
        tracing::debug!(uid, pid, "changed {changes}; requested by process {pid} of user {uid}");
    }
}

/// What a command did with the endpoints of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attachment {
    Attached,
    Detached,
}

/// Whether a command connected a sandbox to networks or disconnected it.
fn attachment(command: &Command, events: &[Event]) -> Option<Attachment> {
    let has = |action| events.iter().any(|it| it.subject == Subject::Network && it.action == action);
    match command {
        Command::Join(_) => Some(Attachment::Attached),
        Command::Leave { .. } => Some(Attachment::Detached),
        _ if has("connect") => Some(Attachment::Attached),
        _ if has("disconnect") => Some(Attachment::Detached),
        _ => None,
    }
}

impl Committer {
    /// Reads the durable World. No lock is held meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.snapshot().world)
    }

    /// The durable World and its Plan.
    pub fn snapshot(&self) -> Snapshot {
        self.pipeline.durable()
    }

    /// Nanoseconds since 1970.
    pub fn now(&self) -> i64 {
        clock::wall()
    }

    /// Forgets the files of sandboxes that are no longer in the World.
    pub fn tidy_files(&self) {
        let world = self.snapshot().world;
        let mut gone = self.applier.files.sandboxes();
        gone.retain(|id| world.sandbox(*id).is_none());
        gone.into_iter().for_each(|id| self.applier.files.forget(id));
        etc_netns::tidy();
    }

    /// Completes a request with the state of the interface that it names.
    fn with_parent(&self, mut request: CreateNetwork) -> Result<CreateNetwork, ApplyError> {
        let Some(parent) = request.options.get(PARENT_OPTION) else { return Ok(request) };
        match request.driver.as_str() {
            "lan" => request.uplink = self.applier.links(|links| links.uplink(parent))?.map(Box::new),
            "macvlan" => request.parent = self.applier.links(|links| links.macvlan_parent(parent))?,
            _ => {}
        }
        Ok(request)
    }

    /// Completes a command with the states of the interfaces that its networks name.
    fn with_parents(&self, command: Command) -> Result<Command, ApplyError> {
        Ok(match command {
            Command::CreateNetwork(request) => Command::CreateNetwork(self.with_parent(request)?),
            Command::Join(mut request) => {
                let networks = std::mem::take(&mut request.networks).into_iter();
                request.networks = networks.map(|it| self.with_parent(it)).collect::<Result<_, _>>()?;
                Command::Join(request)
            }
            other => other,
        })
    }

    /// Decides a command on a World without carrying it out. No DHCP server is asked: endpoints get no address where one
    /// would lease it.
    pub fn decide(&self, world: &World, command: Command) -> Result<Draft, EngineError> {
        let command = self.with_parents(command)?;
        let mut rng = Rng::new(seed());
        let mut context = Context { leases_unknown: true, ..Context::new(self.now(), &mut rng) };
        Ok(world.decide(command, &mut context)?)
    }

    /// Runs a command of the daemon itself, as [`Committer::execute_for`] does.
    pub fn execute(&self, command: Command) -> Result<Change, EngineError> {
        self.execute_for(None, command)
    }

    /// Runs a command that a process requested. When this returns it is durable and applied, or it has changed nothing.
    pub fn execute_for(&self, requester: Option<Requester>, command: Command) -> Result<Change, EngineError> {
        let since = Instant::now();
        let outcome = self.carry_out(requester, command);
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok((_, Some(Attachment::Attached))) => measured.attaches.observe(since.elapsed()),
            Ok((_, Some(Attachment::Detached))) => measured.detaches.observe(since.elapsed()),
            Ok((_, None)) => {}
            Err(error) if error.kind().is_some() => measured.refused += 1,
            Err(_) => measured.failed += 1,
        }
        outcome.map(|(change, _)| change)
    }

    fn carry_out(
        &self,
        requester: Option<Requester>,
        command: Command,
    ) -> Result<(Change, Option<Attachment>), EngineError> {
        let is_new = |it: &CreateNetwork| self.read(|world| world.find_network(&it.name).is_err());
        let new: Vec<&CreateNetwork> = match &command {
            Command::CreateNetwork(request) => vec![request],
            Command::Join(request) => request.networks.iter().filter(|it| is_new(it)).collect(),
            _ => Vec::new(),
        };
        if new.iter().any(|it| it.options.contains_key(PARENT_OPTION)) {
            // A network that was removed a moment ago may not have given the interface back yet.
            self.applier.background.wait_for_all();
        }
        if !new.is_empty() {
            // Its subnet must not meet a route that the host has had for a moment only, and a bridge of a user that it
            // names may be as new.
            self.follow_host();
        }
        let command = self.with_parents(command)?;
        let exit_code = match &command {
            Command::StopSandbox { exit, .. } => Some(exit.code),
            // Also one that never ran may be waited for.
            Command::RemoveSandbox { .. } | Command::Leave { .. } => Some(0),
            Command::RequestStop { sandbox } | Command::UpdateSandbox { sandbox, .. } => {
                self.code_before_restart(sandbox)
            }
            _ => None,
        };
        let Committed { change, events } = self.pipeline.run(&command)?;
        let attachment = attachment(&command, &events);
        let events: Vec<Event> = events.into_iter().map(|event| event.requested_by(requester)).collect();
        requester.iter().for_each(|requester| log_request(*requester, &command, &events));
        self.events.emit(events, self.now());
        self.watch_sandbox(&change);
        let is_end = matches!(command, Command::StopSandbox { .. });
        let restarts = || change.sandbox.and_then(|id| self.code_before_restart(&id.to_string())).is_some();
        self.notify_exit(&change, exit_code.filter(|_| is_end || !restarts()));
        Ok((change, attachment))
    }

    /// The last exit code of a sandbox that waits for its restart.
    fn code_before_restart(&self, sandbox: &str) -> Option<i32> {
        self.read(|world| match world.find_sandbox(sandbox) {
            Ok(found) if found.is_restarting() => found.exit_code(),
            _ => None,
        })
    }

    /// Sends the exit code to the waiters of the sandbox.
    fn notify_exit(&self, change: &Change, code: Option<i32>) {
        if let (Some(sandbox), Some(code)) = (change.sandbox, code) {
            self.exit_waiters.notify(sandbox, code);
        }
    }

    /// Watches the sandbox of a change while it runs.
    fn watch_sandbox(&self, change: &Change) {
        let Some(id) = change.sandbox else { return };
        // No other thread may change the watch between the read of the state and the watch.
        let _exclusive = self.signals.exclusive();
        let running = self.read(|world| {
            world.sandbox(id).and_then(|sandbox| match &sandbox.state {
                SandboxState::Running { process, namespace: place, .. } => {
                    let created = place.as_ref().filter(|_| sandbox.kind == SandboxKind::Created);
                    // A sandbox may be renamed, its namespace keeps its name.
                    let named = created.and_then(|it| namespace::name(&it.path)).map(ToOwned::to_owned);
                    Some((*process, place.clone(), named))
                }
                _ => None,
            })
        });
        match running {
            Some((process, place, named)) => {
                self.signals.watch(id, process, place.as_ref());
                let published = named.map(|name| etc_netns::publish(&name, id, &self.applier.files));
                if let Some(Err(error)) = published {
                    tracing::warn!(%error, "failed to link /etc/netns files: {error}; `ip netns exec` shows the host's own");
                }
            }
            None => {
                self.signals.forget(id);
                if self.read(|world| world.sandbox(id).is_none()) {
                    self.applier.files.forget(id);
                    etc_netns::tidy();
                }
            }
        }
    }
}
