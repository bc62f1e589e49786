//! `fairway daemon`: the engine behind a socket.

mod arguments;
mod backend;
mod configuration;
mod control;
mod file;
mod ignored;
mod listen;
mod reload;

use std::path::Path;
use std::sync::Arc;

use fairway_engine::{Engine, EngineError, Options};
use fairway_kernel::system::inherit::close_on_exec_from;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

pub use arguments::DaemonArguments;
pub use configuration::{ConfigurationError, EXEC_ROOT};
use control::EngineControl;
use reload::Reload;

use crate::process::Ending;
use crate::relay;

/// The first descriptor that is not a standard one.
const FIRST_INHERITED: u32 = 3;
/// Enough for 100,000 published ports of two families.
const DESCRIPTORS: u64 = 1 << 18;

/// Why the daemon does not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Flags or the configuration file make no sense.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The engine does not start.
    #[error("failed to start daemon: {0}")]
    Engine(#[from] EngineError),
    /// Another daemon runs, or a file stands in the way.
    #[error("{0}")]
    Listen(#[from] listen::ListenError),
    /// The pid file cannot be written.
    #[error("cannot write the pid file {path}: {source}")]
    PidFile {
        /// Its path.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The server fails.
    #[error("cannot serve: {0}")]
    Serve(#[source] std::io::Error),
}

/// Runs the daemon until it is told to end. What it made stays: networks, published ports, names.
///
/// # Errors
/// It cannot start.
pub fn main(arguments: DaemonArguments) -> Result<(), DaemonError> {
    let flags = arguments.clone();
    let configuration = arguments.configuration()?;
    raise_descriptor_limit();
    if let Err(error) = close_on_exec_from(FIRST_INHERITED) {
        tracing::debug!(%error, "the relay may keep files open that were open here");
    }
    let socket = listen::listen(&configuration.socket, &configuration.exec_root)?;
    let user = configuration.settings.relay_user;
    let engine = Engine::open(Options {
        data_root: configuration.data_root.clone(),
        exec_root: configuration.exec_root.clone(),
        settings: configuration.settings.clone(),
        iptables: configuration.iptables,
        start_relay: Box::new(move |control| relay::start(control, user)),
        exit_record: Box::new(|log, process| {
            Ending::read(&log.with_extension("exit"), process).map(|ending| ending.code)
        }),
    })?;
    say_what_is_missing(&engine);
    if let Some(path) = &configuration.pid_file {
        write_pid(path)?;
    }
    let reload = Arc::new(Reload::new(flags, configuration.clone(), Arc::clone(&engine)));
    let control = Arc::new(EngineControl::new(engine, &configuration.data_root));
    tracing::info!(socket = %configuration.socket.display(), "ready");
    fairway_api::serve(socket, control, told_to_end(reload)).map_err(DaemonError::Serve)?;
    if let Some(path) = &configuration.pid_file {
        // It is ours; that it is gone already harms nobody.
        let _ = std::fs::remove_file(path);
    }
    tracing::info!("ended; networks, published ports and names stay");
    Ok(())
}

/// Allows as many descriptors as can be had, for us and the relay: each published port takes one for
/// each family, in both.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Some(limit.maximum.map_or(DESCRIPTORS, |hard| hard.max(DESCRIPTORS)));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    // Without the right to raise the hard limit it is what there is.
    if raised.or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })).is_err() {
        tracing::warn!(?limit, "few ports can be published at once");
    }
}

fn say_what_is_missing(engine: &Engine) {
    let relay = engine.relay();
    tracing::debug!(confinement = ?relay.confinement, "the relay is confined");
    for (part, reason) in relay.missing {
        tracing::warn!(part, reason, "the relay goes without a part of its confinement");
    }
}

fn write_pid(path: &Path) -> Result<(), DaemonError> {
    std::fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|source| DaemonError::PidFile { path: path.display().to_string(), source })
}

/// Resolves when the daemon is asked to end, and until then reloads whenever it is asked to.
async fn told_to_end(reload: Arc<Reload>) {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
        // Without handlers the signals end the process by themselves, which is as good.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => {
                let reload = Arc::clone(&reload);
                // It waits for the kernel; whoever asks for another one meanwhile comes after it.
                drop(tokio::task::spawn_blocking(move || reload.reload()));
            }
        }
    }
}
