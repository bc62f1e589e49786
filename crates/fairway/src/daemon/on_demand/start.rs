//! Starting an on-demand daemon.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fairway_api::{Client, ClientError};
use fairway_kernel::system::inherit::close_on_exec_from;
use fairway_kernel::trusted_directory;
use thiserror::Error;

use super::{FLAG, Location, StartLock};
use crate::daemon::FIRST_INHERITED;
use crate::notify;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(1);

/// Why an on-demand daemon does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another user could change what the daemon keeps.
    #[error("cannot start an on-demand daemon: {0}")]
    Directory(#[from] trusted_directory::Error),
    /// The log cannot be written.
    #[error("cannot start an on-demand daemon: cannot write {}: {source}", path.display())]
    Log {
        /// Its path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error("cannot start an on-demand daemon: cannot execute {}: {source}", program.display())]
    Execute {
        /// The program.
        program: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The daemon ended.
    #[error("cannot start an on-demand daemon: {reason}: its log is {}", log.display())]
    Ended {
        /// The last line that it logged.
        reason: String,
        /// Its log.
        log: PathBuf,
    },
    /// The daemon does not answer.
    #[error(
        "cannot start an on-demand daemon: it does not answer within {} seconds: its log is {}",
        PATIENCE.as_secs(),
        log.display()
    )]
    Silent {
        /// Its log.
        log: PathBuf,
    },
    /// The daemon's socket cannot be used.
    #[error(transparent)]
    Client(ClientError),
}

/// Starts the on-demand daemon of a place by executing `program`, and returns a client when the daemon answers. The
/// daemon outlives this process, and inherits none of its descriptors. All descriptors of this process above the
/// standard ones are closed in programs that it executes from now on.
///
/// # Errors
/// See [`StartError`].
pub fn start(program: &Path, location: &Location, _lock: &StartLock) -> Result<Client, StartError> {
    trusted_directory::ensure(&location.data_root())?;
    let path = location.log();
    let opened = || -> io::Result<(File, u64)> {
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        let length = log.metadata()?.len();
        Ok((log, length))
    };
    let (log, length) = opened().map_err(|source| StartError::Log { path: path.clone(), source })?;
    let mut child = execute(program, location, log)
        .map_err(|source| StartError::Execute { program: program.to_owned(), source })?;
    let since = Instant::now();
    let mut ended = false;
    while since.elapsed() < PATIENCE {
        // Also when it has ended: where another daemon listens, that one answers.
        if let Some(client) = answering(&location.address()).map_err(StartError::Client)? {
            reap(child);
            return Ok(client);
        }
        if ended {
            return Err(StartError::Ended { reason: last_line(&path, length), log: path });
        }
        ended = matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        std::thread::sleep(GLANCE);
    }
    // Else it would answer later, when this process waits no more.
    let _ = child.kill();
    let _ = child.wait();
    Err(StartError::Silent { log: path })
}

/// A client of the daemon at an address; none if no daemon answers there, or it ends.
///
/// # Errors
/// The socket cannot be used.
pub fn answering(address: &str) -> Result<Option<Client>, ClientError> {
    let mut client = Client::new(address)?;
    match client.ping() {
        Ok(()) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. } | ClientError::Lost { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[expect(clippy::disallowed_methods, reason = "the daemon is this program, executed again")]
fn execute(program: &Path, location: &Location, log: File) -> io::Result<Child> {
    // Before Linux 5.11 the daemon keeps what this process inherited.
    let _ = close_on_exec_from(FIRST_INHERITED);
    let mut command = Command::new(program);
    command.args(["--host", &location.address(), "daemon", FLAG, "--exec-root"]).arg(&location.exec_root);
    // It is not the program that a service manager waits for.
    command.env_remove(notify::VARIABLE).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()
}

/// Waits for the end of a daemon on a thread: a process that lives longer than its daemon would keep a zombie.
fn reap(mut daemon: Child) {
    let _ = std::thread::Builder::new().name("daemon-reaper".to_owned()).spawn(move || daemon.wait());
}

/// The last line of a log from an offset on.
fn last_line(log: &Path, offset: u64) -> String {
    let mut text = String::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_string(&mut text)
    });
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    match (read, line) {
        (Ok(_), Some(line)) => line.trim().trim_start_matches("fairway: ").to_owned(),
        _ => "it ended without a reason".to_owned(),
    }
}
