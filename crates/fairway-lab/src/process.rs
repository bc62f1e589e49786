//! Programs that run in a place.

use std::io;
use std::ops::{Deref, DerefMut};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{LabError, Trying};

/// A program that was started in a place: killed when dropped. Its pid is that of the lab's pid namespace.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
}

impl Process {
    pub(crate) fn new(program: String, child: Child) -> Process {
        Process { program, child }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended and been waited for.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .map_or(Err(io::Error::from(io::ErrorKind::NotFound)), |pid| Ok(kill_process(pid, signal)?))
            .trying(|| format!("signal {}", self.program))
    }

    /// Waits for the end; none if it still runs after `timeout`.
    ///
    /// # Errors
    /// When the kernel does not report it.
    pub fn wait_within(&mut self, timeout: Duration) -> Result<Option<ExitStatus>, LabError> {
        let deadline = Instant::now() + timeout;
        loop {
            let status = self.child.try_wait().trying(|| format!("wait for {}", self.program))?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
