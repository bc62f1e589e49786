//! Ending the process of a sandbox.

use std::time::{Duration, Instant};

use fairway_core::model::{SandboxId, SandboxKind};
use fairway_core::plan::{FileName, Key};
use fairway_core::world::{Command, Event, UNKNOWN_EXIT_CODE};
use fairway_kernel::process::{self, Process};
use rustix::process::Signal;

use crate::{Engine, EngineError};

/// How long whoever started a process may take to tell its exit code.
const REPORT: Duration = Duration::from_secs(2);

impl Engine {
    /// Ends a running sandbox: its process gets `signal`, and SIGKILL when it is still there after
    /// `timeout`. Processes that Fairway did not start are not touched: such a sandbox only loses
    /// its endpoints. Returns when it has stopped.
    ///
    /// # Errors
    /// There is no such sandbox, or it does not run, or it cannot be signalled.
    pub fn stop(&self, sandbox: &str, signal: Signal, timeout: Duration) -> Result<(), EngineError> {
        let (id, kind, process) = self.read(|world| {
            world.find_sandbox(sandbox).map(|found| (found.id, found.kind.clone(), found.process()))
        })?;
        let told = self.about(sandbox, "stop", &[]);
        let stop = || Command::StopSandbox { sandbox: id.to_string(), code: UNKNOWN_EXIT_CODE };
        let Some(process) = process.filter(|_| kind == SandboxKind::Run) else {
            self.execute(stop())?;
            self.events.tell(told, self.now());
            return Ok(());
        };
        if let Ok(process) = Process::open(process) {
            match process.signal(signal) {
                Ok(()) | Err(process::Error::Gone(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if !process.wait(timeout)? {
                process.kill()?;
                process.wait(REPORT)?;
            }
        }
        self.await_report(id);
        let stopped = match self.execute(stop()) {
            Err(EngineError::Refused(_)) => {
                self.await_changes(id);
                Ok(())
            }
            outcome => outcome.map(drop),
        };
        self.events.tell(if stopped.is_ok() { told } else { Vec::new() }, self.now());
        stopped
    }

    /// An event of a sandbox that there is now.
    fn about(&self, sandbox: &str, action: &'static str, attributes: &[(&str, String)]) -> Vec<Event> {
        let event = self.read(|world| {
            let found = world.find_sandbox(sandbox).ok()?;
            Some(Event::of_sandbox(found, action, attributes))
        });
        event.into_iter().collect()
    }

    /// Waits until what was decided about a sandbox has been carried out.
    fn await_changes(&self, id: SandboxId) {
        let touched = [Key::Inside(id), Key::File(id, FileName::Hosts)];
        let mut turn = self.state().ordering.turn([], &touched);
        turn.wait();
    }

    /// Waits for whoever started the process to tell how it ended.
    fn await_report(&self, id: SandboxId) {
        let since = Instant::now();
        let running = || self.read(|world| world.sandbox(id).is_some_and(|sandbox| sandbox.running()));
        while running() && since.elapsed() < REPORT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal to the process of a running sandbox.
    ///
    /// # Errors
    /// There is no such sandbox, it has no process, or the kernel refuses.
    pub fn kill(&self, sandbox: &str, signal: Signal) -> Result<(), EngineError> {
        let process = self.read(|world| {
            let found = world.find_sandbox(sandbox)?;
            found.process().ok_or_else(|| fairway_core::world::Refusal::NotRunning(found.name.clone()))
        })?;
        let told = self.about(sandbox, "kill", &[("signal", signal.as_raw().to_string())]);
        Process::open(process)?.signal(signal)?;
        self.events.tell(told, self.now());
        Ok(())
    }
}
