//! The server process: reads the directory, binds sockets, and hands names and sockets to a relay, at the start and at
//! each SIGHUP. It ends when no network is left.

mod directory;
mod relayed;
mod sockets;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};

use fairway_kernel::host_facts::{RESOLV_CONF, read_resolv_conf};
use fairway_kernel::system::inherit::block_signals;
use fairway_kernel::watch::{Event, Waker, Watch};
use fairway_run::named;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};

use super::error::AardvarkError;
use super::log;
use super::pid_file::{Claim, PidFile, claim};
use super::table::{Settings, Table};
use relayed::Relayed;
use sockets::Sockets;

/// What the server writes to its standard input when it serves; another text is the reason why it does not.
pub(super) const READY: &str = "ready\n";

/// `sizeof(struct signalfd_siginfo)` (signalfd(2)); it begins with the signal's number.
const SIGNAL_RECORD: usize = 128;

/// What the server runs with.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The directory of network files.
    pub directory: PathBuf,
    /// The port to listen at.
    pub port: u16,
    /// The search domain as given.
    pub search_domain: String,
}

/// Serves until no network is left or a signal ends the process. The standard input is a pipe to the process that
/// waits until this one serves.
pub(super) fn main(options: &Options) -> Result<(), AardvarkError> {
    let refused =
        |action: &'static str| move |source: std::io::Error| AardvarkError::Refused { action, source };
    let pipe = std::io::stdin().as_fd().try_clone_to_owned().map_err(refused("keep the pipe"))?;
    let null = File::open("/dev/null").map_err(refused("open /dev/null"))?;
    rustix::stdio::dup2_stdin(null).map_err(|errno| refused("close the pipe")(errno.into()))?;
    // It fails only where the process has a session of its own already.
    let _ = rustix::process::setsid();
    log::start();
    let mut pipe = File::from(pipe);
    match named(c"aardvark-dns", || Server::start(options)) {
        Ok(server) => {
            // Where the starter does not wait any more, the server serves all the same.
            let _ = pipe.write_all(READY.as_bytes());
            drop(pipe);
            server.map_or(Ok(()), Server::run)
        }
        Err(error) => {
            tracing::error!(%error, "failed to start: {error}");
            let _ = write!(pipe, "{error}");
            Err(error)
        }
    }
}

struct Server {
    directory: PathBuf,
    settings: Settings,
    table: Table,
    sockets: Sockets,
    relayed: Relayed,
    watch: Watch<()>,
    signals: Receiver<Signal>,
    /// Released last.
    _pid_file: PidFile,
}

impl Server {
    /// Starts to serve; `None` if there is nothing to serve, or another server serves the directory and was asked to
    /// read it again.
    fn start(options: &Options) -> Result<Option<Self>, AardvarkError> {
        let refused =
            |errno: Errno| AardvarkError::Refused { action: "handle signals", source: errno.into() };
        // First, while there is one thread only. netavark may send SIGHUP as soon as the pid is known.
        let signals =
            block_signals(&[Signal::HUP, Signal::TERM, Signal::INT].map(Signal::as_raw)).map_err(refused)?;
        // Before the claim, which would create a file in it.
        let networks = directory::read(&options.directory)?;
        let pid_file = match claim(&options.directory)? {
            Claim::Ours(file) => file,
            Claim::Runs(pid) => {
                kill_process(pid, Signal::HUP).map_err(refused)?;
                return Ok(None);
            }
        };
        if networks.is_empty() {
            return Ok(None);
        }
        let settings = Settings {
            port: options.port,
            domain: Settings::domain(&options.search_domain),
            forwards: forwards(),
            host_servers: Vec::new(),
        };
        let watch = Watch::new().map_err(watching)?;
        let signals = listen(signals, watch.waker())?;
        if let Err(error) = watch.file(Path::new(RESOLV_CONF)) {
            tracing::warn!(%error, "failed to watch {RESOLV_CONF}: {error}; changed name servers go unnoticed");
        }
        let server = Self::begin(options, settings, pid_file, watch, signals)?;
        Ok(Some(server))
    }

    /// Serves for the first time. The directory is read after the pid is written: a program that changes a file later
    /// sends a signal.
    fn begin(
        options: &Options,
        settings: Settings,
        mut pid_file: PidFile,
        watch: Watch<()>,
        signals: Receiver<Signal>,
    ) -> Result<Self, AardvarkError> {
        pid_file.write()?;
        let networks = directory::read(&options.directory)?;
        let mut server = Self {
            directory: options.directory.clone(),
            settings,
            table: Table::default(),
            sockets: Sockets::default(),
            relayed: Relayed::start(&watch)?,
            watch,
            signals,
            _pid_file: pid_file,
        };
        server.read_host_servers();
        let next = server.table.next(&networks, &server.settings);
        server.sockets.bind_all(&next)?;
        server.apply(next)?;
        Ok(server)
    }

    fn read_host_servers(&mut self) {
        match read_resolv_conf(Path::new(RESOLV_CONF)) {
            Ok(found) => self.settings.host_servers = found.nameservers,
            Err(error) => tracing::error!(%error, "failed to read name servers: {error}"),
        }
    }

    /// Waits for signals, changed name servers and the end of the relay.
    fn run(mut self) -> Result<(), AardvarkError> {
        loop {
            let mut reload = false;
            for event in self.watch.wait(None).map_err(watching)? {
                match event {
                    Event::ProcessEnded(()) | Event::NamespaceGone(()) => self.relayed.lost(),
                    Event::FileChanged(_) => {
                        self.read_host_servers();
                        reload = true;
                    }
                    Event::Woken => {}
                    Event::Failed(error) => tracing::error!(%error, "failed to watch {RESOLV_CONF}: {error}"),
                }
            }
            while let Ok(signal) = self.signals.try_recv() {
                if signal != Signal::HUP {
                    return Ok(());
                }
                self.read_host_servers();
                reload = true;
            }
            if reload && !self.reload() {
                return Ok(());
            }
            if let Err(error) = self.relayed.ensure(&self.watch, &self.table, &self.sockets) {
                tracing::error!(%error, "failed to restart the relay: {error}; retrying at the next signal");
            }
        }
    }

    /// Reads the directory again; returns whether a network is left.
    fn reload(&mut self) -> bool {
        let networks = match directory::read(&self.directory) {
            Ok(networks) => networks,
            Err(error) => {
                tracing::error!(%error, "failed to reload: {error}; all names stay");
                return true;
            }
        };
        if networks.is_empty() {
            tracing::info!("no network is left; the server ends");
            return false;
        }
        let mut next = self.table.next(&networks, &self.settings);
        for error in self.sockets.bind_possible(&mut next) {
            tracing::error!(%error, "{error}; retrying at the next signal");
        }
        if let Err(error) = self.apply(next) {
            tracing::error!(%error, "failed to reload: {error}");
        }
        true
    }

    /// Puts a table into force.
    fn apply(&mut self, next: Table) -> Result<(), AardvarkError> {
        let applied = self.relayed.apply(&self.table, &next, &self.sockets);
        self.sockets.keep(&next);
        self.table = next;
        applied
    }
}

/// Whether queries about other names are forwarded.
#[expect(clippy::disallowed_methods, reason = "the original is set so by AARDVARK_NO_PROXY")]
fn forwards() -> bool {
    std::env::var_os("AARDVARK_NO_PROXY").is_none()
}

fn watching(error: fairway_kernel::watch::Error) -> AardvarkError {
    AardvarkError::Refused { action: "watch files and processes", source: std::io::Error::other(error) }
}

/// Receives signals on a thread, and wakes the server for each.
fn listen(signals: OwnedFd, waker: Waker) -> Result<Receiver<Signal>, AardvarkError> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let mut record = [0; SIGNAL_RECORD];
        loop {
            let waited = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
            if let Err(errno) = waited
                && errno != Errno::INTR
            {
                return;
            }
            if rustix::io::read(&signals, &mut record) != Ok(SIGNAL_RECORD) {
                continue;
            }
            let number = record.first_chunk().copied().map(i32::from_ne_bytes);
            let signal = number.and_then(Signal::from_named_raw);
            if signal.is_some_and(|signal| sender.send(signal).is_err()) {
                return;
            }
            waker.wake();
        }
    };
    let failed = |source| AardvarkError::Start { what: "the thread of signals", source };
    std::thread::Builder::new().name("signals".to_owned()).spawn(work).map_err(failed)?;
    Ok(receiver)
}
