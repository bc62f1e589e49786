//! Stops the process of a sandbox.

use fairway_core::object::{FileName, Key};
use fairway_core::world::{Command, Event, Refusal, Requester, UNKNOWN_EXIT_CODE};
use fairway_kernel::process::Process;
use fairway_model::{ProcessIdentity, SandboxId, SandboxKind};
use rustix::process::Signal;
use std::borrow::Cow;

use super::Committer;
use crate::EngineError;

fn stopped(id: SandboxId, process: Option<ProcessIdentity>) -> Command {
    Command::StopSandbox { sandbox: id.to_string(), exit: UNKNOWN_EXIT_CODE.into(), process }
}

/// A running sandbox whose process was signaled to end.
#[derive(Debug)]
pub struct Stopping {
    id: SandboxId,
    identity: ProcessIdentity,
    /// None if it has ended already.
    process: Option<Process>,
    requester: Option<Requester>,
    events: Vec<Event>,
}

impl Stopping {
    /// Kills the process.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&self) -> Result<(), EngineError> {
        Ok(self.process.as_ref().map_or(Ok(()), Process::kill)?)
    }
}

impl Committer {
    /// Begins to end a running sandbox: its process gets `signal`. A process that Fairway did not start is not
    /// touched: such a sandbox only loses its endpoints, and has stopped when this returns none.
    ///
    /// # Errors
    /// There is no such sandbox, or it does not run, or it cannot be signalled, or its namespace is one that Fairway made
    /// without a process, which would be left.
    pub fn begin_stop(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        signal: Signal,
    ) -> Result<Option<Stopping>, EngineError> {
        let (id, kind, process) = self.read(|world| {
            let found = world.find_sandbox(sandbox)?;
            match found.kind {
                SandboxKind::Created => Err(Refusal::NoProcess(found.name.clone())),
                _ => Ok((found.id, found.kind.clone(), found.process())),
            }
        })?;
        let events = self.about(requester, sandbox, "stop", &[]);
        let signaled = self.signaled(requester, sandbox, signal);
        let Some(identity) = process.filter(|_| kind == SandboxKind::Run) else {
            self.execute_for(requester, stopped(id, None))?;
            self.events.emit(events, self.now());
            return Ok(None);
        };
        let process = match Process::open(identity) {
            Err(error) if error.is_end() => None,
            opened => Some(opened?),
        };
        match process.as_ref().map_or(Ok(()), |process| process.signal(signal)) {
            Err(error) if !error.is_end() => Err(error.into()),
            _ => {
                self.events.emit(signaled, self.now());
                Ok(Some(Stopping { id, identity, process, requester, events }))
            }
        }
    }

    /// Stops the sandbox of a process that has ended, unless that was done already, or it was started again. Returns
    /// when the sandbox has stopped.
    ///
    /// # Errors
    /// Those of [`Committer::execute`].
    pub fn finish_stop(&self, stopping: &Stopping) -> Result<(), EngineError> {
        match self.execute_for(stopping.requester, stopped(stopping.id, Some(stopping.identity))) {
            Err(EngineError::Refused(_)) => self.await_changes(stopping.id),
            outcome => drop(outcome?),
        }
        self.events.emit(stopping.events.clone(), self.now());
        Ok(())
    }

    /// Emits an event of what a client does with a sandbox.
    pub fn emit(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        action: String,
        attributes: &[(&str, String)],
    ) {
        self.events.emit(self.about(requester, sandbox, action, attributes), self.now());
    }

    /// An event of an existing sandbox.
    fn about(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        action: impl Into<Cow<'static, str>>,
        attributes: &[(&str, String)],
    ) -> Vec<Event> {
        let event = self.read(|world| {
            let found = world.find_sandbox(sandbox).ok()?;
            Some(Event::of_sandbox(found, action, attributes).requested_by(requester))
        });
        event.into_iter().collect()
    }

    /// Waits until all decided changes of a sandbox are applied.
    fn await_changes(&self, id: SandboxId) {
        let touched = [Key::Netns(id), Key::File(id, FileName::Hosts)];
        let mut turn = self.pipeline.state().turn(&touched);
        turn.wait();
    }

    /// Sends a signal to the process of a running sandbox.
    ///
    /// # Errors
    /// There is no such sandbox, it has no process, or the kernel refuses.
    pub fn kill(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        signal: Signal,
    ) -> Result<(), EngineError> {
        let process = self.read(|world| {
            let found = world.find_sandbox(sandbox)?;
            found.process().ok_or_else(|| Refusal::NotRunning(found.name.clone()))
        })?;
        let events = self.signaled(requester, sandbox, signal);
        Process::open(process)?.signal(signal)?;
        self.events.emit(events, self.now());
        Ok(())
    }

    /// The event of a signal to the process of a sandbox, which may be gone after it.
    fn signaled(&self, requester: Option<Requester>, sandbox: &str, signal: Signal) -> Vec<Event> {
        self.about(requester, sandbox, "kill", &[("signal", signal.as_raw().to_string())])
    }
}
