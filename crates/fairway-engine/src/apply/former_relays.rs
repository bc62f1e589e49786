//! The relays that were replaced and still carry connections. No daemon speaks to them any more; they are recorded, so that
//! the daemon's removal ends them.

use std::io;
use std::path::{Path, PathBuf};

use fairway_kernel::process::{self, Process};
use fairway_model::ProcessIdentity;
use fairway_relay::PROCESS_NAME;
use rustix::process::Signal;

/// Their directory in the exec root: for each a file by its process id, with its start time.
const DIRECTORY: &str = "former-relays";

/// The relays that were replaced.
pub(crate) struct FormerRelays {
    directory: PathBuf,
}

impl FormerRelays {
    /// Those of an exec root.
    pub fn under(exec_root: &Path) -> Self {
        Self { directory: exec_root.join(DIRECTORY) }
    }

    /// Records a relay, and forgets those that have ended.
    pub fn record(&self, pid: u32) {
        self.forget_ended();
        let write = |relay: ProcessIdentity| {
            std::fs::create_dir_all(&self.directory)?;
            std::fs::write(self.directory.join(relay.pid.to_string()), relay.start_time.to_string())
        };
        // One that has ended carries nothing. In another PID namespace, the number is that of another process.
        let relay = process::identity(pid).ok().filter(|_| is_relay(pid));
        if let Some(Err(error)) = relay.map(write) {
            tracing::warn!(%error, pid, "failed to record the former relay {pid}: {error}; it outlives the daemon's removal");
        }
    }

    /// Ends all.
    pub fn end(&self) {
        for relay in self.recorded() {
            let ended = Process::open(relay).and_then(|process| process.signal(Signal::TERM));
            if let Err(error @ process::Error::Refused { .. }) = ended {
                tracing::error!("failed to end the former relay {}: {error}", relay.pid);
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("failed to delete {}: {error}", self.directory.display());
        }
    }

    fn forget_ended(&self) {
        for relay in self.recorded().into_iter().filter(|relay| process::has_ended(*relay)) {
            // It is looked at again at the next upgrade.
            let _ = std::fs::remove_file(self.directory.join(relay.pid.to_string()));
        }
    }

    fn recorded(&self) -> Vec<ProcessIdentity> {
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let relay = |file: std::fs::DirEntry| {
            let pid = file.file_name().to_str()?.parse().ok()?;
            let start_time = std::fs::read_to_string(file.path()).ok()?.parse().ok()?;
            Some(ProcessIdentity { pid, start_time })
        };
        files.filter_map(relay).collect()
    }
}

/// Whether a process has the name of a relay.
pub(super) fn is_relay(pid: u32) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).next() == Some(PROCESS_NAME.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the relay is another program")]
    fn recorded_relays_are_ended_and_no_other_process() {
        let root = tempfile::tempdir().unwrap();
        let former = FormerRelays::under(root.path());
        let spawn = |name: &str| Command::new("sleep").arg0(name).arg("60").spawn().unwrap();
        let [mut gone, mut carrying, mut other] = [PROCESS_NAME, PROCESS_NAME, "other"].map(spawn);
        former.record(gone.id());
        gone.kill().unwrap();
        gone.wait().unwrap();
        former.record(carrying.id());
        former.record(other.id());
        assert_eq!(former.recorded().iter().map(|relay| relay.pid).collect::<Vec<_>>(), [carrying.id()]);
        // The number of a relay that has ended is that of another process now.
        std::fs::write(former.directory.join(other.id().to_string()), "1").unwrap();
        former.end();
        assert_eq!(carrying.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
