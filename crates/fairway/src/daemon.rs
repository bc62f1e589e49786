//! `fairway daemon`: the engine behind a socket.

mod about;
mod arguments;
mod backend;
mod check;
mod configuration;
mod configuration_error;
mod endpoint;
mod engine_adapter;
mod file;
mod ignored;
mod images;
mod listen;
mod made_directories;
mod namespace_lock;
pub mod on_demand;
mod places;
mod plugin;
mod reload;
mod restart;
mod signal;
mod socket_group;
mod take_over;
mod tls;
mod usage;
mod watchdog;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fairway_api::{Clients, Limits};
use fairway_core::world::Exit;
use fairway_engine::{Engine, EngineError, Options, Removed};
use fairway_kernel::system::inherit::{close_on_exec_from, unblock_signals};
use fairway_kernel::trusted_directory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

pub use arguments::{DOCKER_PLUGIN_VARIABLE, DaemonArguments};
pub use configuration::{Configuration, EXEC_ROOT};
pub use configuration_error::ConfigurationError;
use engine_adapter::EngineAdapter;
use made_directories::MadeDirectories;
use on_demand::{OnDemand, OnDemandError};
pub use plugin::{Plugin, PluginEngine};
use reload::Reload;
use take_over::TakeOverError;

use crate::logging::{self, Level, Log, LogFormat};
use crate::{notify, relay};
use fairway_run::{Ending, cgroup};

/// The first descriptor that is not a standard one.
const FIRST_INHERITED: u32 = 3;
/// Enough for 100,000 published ports of two families.
const DESCRIPTORS: u64 = 1 << 18;
/// The descriptors that the table has place for from the start: 128 KiB of the kernel's memory.
const TABLE: u64 = 1 << 14;
/// How long calls of the plugin may go on when the API's clients have been answered.
const PLUGIN_DRAIN: Duration = Duration::from_secs(20);

/// Why the daemon does not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Flags or the configuration file make no sense.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A daemon runs, whose work is not to be removed.
    #[error(
        "cannot remove the daemon's objects: a daemon runs at {0}: stop it first: systemctl stop fairway.socket fairway"
    )]
    Running(PathBuf),
    /// Another daemon serves this network namespace.
    #[error("failed to start daemon: {0}")]
    Namespace(#[from] namespace_lock::NamespaceLockError),
    /// Another daemon serves this network namespace, whose work is not to be removed.
    #[error("cannot remove the daemon's objects: {0}")]
    OtherDaemon(#[source] namespace_lock::NamespaceLockError),
    /// What the daemon made cannot be removed.
    #[error("{0}")]
    Remove(#[source] EngineError),
    /// The engine does not start.
    #[error("failed to start daemon: {0}")]
    Engine(#[from] EngineError),
    /// Another user could change what the daemon keeps.
    #[error("failed to start daemon: {0}")]
    Directory(#[from] trusted_directory::Error),
    /// Another daemon runs, or a file occupies the path of the socket.
    #[error("{0}")]
    Listen(#[from] listen::ListenError),
    /// The API cannot be served at TCP.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// Metrics cannot be served at their address.
    #[error(
        "cannot serve metrics at {address}: {source}: choose another port with --metrics-addr, or stop its program"
    )]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An on-demand daemon is in the way.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// It cannot be one that runs on demand.
    #[error(transparent)]
    OnDemand(#[from] OnDemandError),
    /// The pid file cannot be written.
    #[error("cannot write the pid file {path}: {source}")]
    PidFile {
        /// Its path.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The server fails.
    #[error("cannot serve: {0}")]
    Serve(#[source] std::io::Error),
}

/// Runs the daemon until a signal ends it, and returns the exit code. Networks, published ports and names go on without it.
/// An on-demand daemon also ends by itself, and nothing goes on then.
///
/// # Errors
/// It cannot start, unless that is logged as JSON.
pub fn main(arguments: DaemonArguments, plugin: &Arc<dyn Plugin>) -> Result<i32, DaemonError> {
    // What is wrong with the file is logged before the file can say from which level on.
    let format = arguments.log_format.or(file::readable_keys(&arguments, &["log-format"]).log_format);
    let log = logging::start(arguments.level.unwrap_or(Level::Info), format.unwrap_or_default());
    match run(arguments, plugin, &log) {
        Err(error) if log.format() == LogFormat::Json => {
            tracing::error!("{error}");
            Ok(1)
        }
        outcome => outcome.map(|()| 0),
    }
}

fn run(arguments: DaemonArguments, plugin: &Arc<dyn Plugin>, log: &Log) -> Result<(), DaemonError> {
    if arguments.on_demand {
        on_demand::detach();
    }
    let runtime = fairway_api::runtime().map_err(DaemonError::Serve)?;
    let signals = Signals::handle(&runtime).map_err(DaemonError::Signals)?;
    let flags = arguments.clone();
    let configuration = arguments.configuration()?;
    log.set_level(configuration.log_level);
    log.set_format(configuration.log_format);
    let activated = listen::activated();
    raise_descriptor_limit();
    grow_descriptor_table();
    if let Err(error) = close_on_exec_from(FIRST_INHERITED) {
        tracing::debug!(%error, "failed to close inherited descriptors; the relay may keep them open");
    }
    let made = MadeDirectories::ensure([&configuration.data_root, &configuration.exec_root])?;
    let lock = match configuration.on_demand {
        true => on_demand::check_exec_root(&configuration).map(|()| None)?,
        false => Some(take_over::take_over(&configuration)?),
    };
    namespace_lock::take()?;
    let sockets = listen::listen_everywhere(&configuration, activated)?;
    made.keep();
    drop(lock);
    cgroup::sweep();
    let (engine, started) = start(options(&configuration))?;
    if let Some(path) = &configuration.pid_file {
        write_pid(path)?;
    }
    let reload = Arc::new(Reload::new(flags, configuration.clone(), Arc::clone(&engine), log.clone()));
    let mut control = EngineAdapter::new(
        Arc::clone(&engine),
        &configuration.data_root,
        &configuration.socket,
        Arc::clone(&reload),
        Arc::clone(plugin),
    );
    let clients = Clients::new(api_limits());
    let mut on_demand = configuration.on_demand.then(|| OnDemand::new(Arc::clone(&engine), clients.clone()));
    if let Some(on_demand) = &on_demand {
        control = control.ended_by(on_demand.request());
    }
    let control = Arc::new(control);
    restart::follow(&runtime, Arc::clone(&control) as _);
    let plugin_end = watch::Sender::new(false);
    match (configuration.docker_plugin, configuration.on_demand) {
        (true, _) => {
            serve_plugin(&runtime, &**plugin, &control, &configuration.exec_root, plugin_end.subscribe())?
        }
        (false, true) => {}
        (false, false) => plugin.forget(&configuration.exec_root),
    }
    if let Some(address) = configuration.metrics {
        serve_metrics(&runtime, address, &control, &clients)?;
    }
    let mut end = pin!(async {
        let failed = tokio::select! {
            () = signals.until_end(reload) => None,
            error = failure(started, &configuration.socket) => Some(error),
        };
        // At once: what dockerd asks from now on is for the next daemon.
        plugin_end.send_replace(true);
        failed
    });
    let failed = loop {
        let mut ended = None;
        let until = async {
            tokio::select! {
                failed = &mut end => ended = Some(failed),
                () = until_idle(on_demand.as_mut()) => {}
            }
        };
        fairway_api::serve(&runtime, &sockets, Arc::clone(&control) as _, &clients, until)
            .map_err(DaemonError::Serve)?;
        match (ended, &on_demand) {
            (Some(failed), _) => break failed,
            (None, Some(on_demand)) if on_demand.end(&configuration.exec_root)? => break None,
            (None, _) => {}
        }
    };
    plugin_end.send_replace(true);
    let answered = async { tokio::time::timeout(PLUGIN_DRAIN, plugin_end.closed()).await };
    // Where the start has failed, calls wait for it in vain.
    if failed.is_none() && runtime.block_on(answered).is_err() {
        tracing::warn!("cut off calls of the plugin that took too long");
    }
    runtime.shutdown_background();
    engine.finish_background_work();
    if let Some(path) = &configuration.pid_file {
        // It is ours; that it is gone already harms nobody.
        let _ = std::fs::remove_file(path);
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    tracing::info!("daemon stopped; networks, published ports and names remain");
    Ok(())
}

/// Serves metrics at an address while the runtime runs.
fn serve_metrics(
    runtime: &Runtime,
    address: SocketAddr,
    control: &Arc<EngineAdapter>,
    clients: &Clients,
) -> Result<(), DaemonError> {
    let served = TcpListener::bind(address).and_then(|listener| {
        fairway_api::serve_metrics(runtime, listener, Arc::clone(control) as _, clients)
    });
    served.map_err(|source| DaemonError::Metrics { address, source })?;
    tracing::info!(%address, "serving metrics at http://{address}/metrics");
    Ok(())
}

/// Serves a plugin until `end` is true.
fn serve_plugin(
    runtime: &Runtime,
    plugin: &dyn Plugin,
    control: &Arc<EngineAdapter>,
    exec_root: &Path,
    end: watch::Receiver<bool>,
) -> Result<(), DaemonError> {
    let path = || plugin.socket().to_owned();
    let served = plugin.serve(runtime, Arc::clone(control) as _, exec_root, end);
    Ok(served.map_err(|source| listen::ListenError::Refused { path: path(), source })?)
}

/// Resolves when an on-demand daemon has had nothing to do for long enough.
async fn until_idle(on_demand: Option<&mut OnDemand>) {
    match on_demand {
        Some(on_demand) => on_demand.until_idle().await,
        None => std::future::pending().await,
    }
}

/// Removes what a daemon with these flags made of the host, and leaves what is durable, unless the daemon was an
/// on-demand one. Sandboxes that run are refused, unless `force` ends them.
///
/// # Errors
/// A daemon runs, or sandboxes do, or the kernel refuses.
pub fn remove(
    configuration: &Configuration,
    plugin: &dyn Plugin,
    force: bool,
) -> Result<Removed, DaemonError> {
    let socket = &configuration.socket;
    // The lock that an on-demand daemon has for this process is for no other program.
    let _ = close_on_exec_from(FIRST_INHERITED);
    if UnixStream::connect(socket).is_ok() {
        return Err(DaemonError::Running(socket.clone()));
    }
    namespace_lock::take().map_err(DaemonError::OtherDaemon)?;
    let removed = Engine::remove(options(configuration), force).map_err(DaemonError::Remove)?;
    listen::remove(configuration);
    on_demand::Precedence::forget(&configuration.exec_root);
    relay::forget();
    plugin.forget(&configuration.exec_root);
    on_demand::delete_files(configuration);
    // What others put there stays, and the directory with it.
    let _ = std::fs::remove_dir(&configuration.exec_root);
    Ok(removed)
}

/// Deletes networks and logs from the data root.
///
/// # Errors
/// A file that cannot be deleted.
pub fn purge(configuration: &Configuration) -> Result<(), DaemonError> {
    fairway_engine::purge(&configuration.data_root).map_err(DaemonError::Remove)
}

fn options(configuration: &Configuration) -> Options {
    let (user, log_format) = (configuration.settings.relay_user, configuration.log_format);
    Options {
        data_root: configuration.data_root.clone(),
        exec_root: configuration.exec_root.clone(),
        settings: configuration.settings.clone(),
        iptables: configuration.iptables,
        start_relay: Box::new(move |control| relay::start(control, user, log_format)),
        exit_record: Box::new(|log, process| {
            let Ending { code, oom_killed, .. } = Ending::read(&log.with_extension("exit"), process)?;
            Some(Exit { code, oom_killed })
        }),
    }
}

/// Reads flags and file for a command that is not the daemon, and logs no more than warnings unless asked to.
///
/// # Errors
/// They make no sense.
pub fn configuration(arguments: DaemonArguments) -> Result<Configuration, DaemonError> {
    log_warnings(&arguments);
    Ok(arguments.configuration()?)
}

/// As [`configuration`], for commands that need no more than to know where a daemon's objects are: what else makes no
/// sense is only logged.
///
/// # Errors
/// The file that a flag names cannot be read.
pub fn configuration_of_places(arguments: DaemonArguments) -> Result<Configuration, DaemonError> {
    log_warnings(&arguments);
    Ok(places::configuration(arguments)?)
}

fn log_warnings(arguments: &DaemonArguments) {
    let level = match arguments.debug {
        Some(true) => Level::Debug,
        _ => arguments.level.unwrap_or(Level::Warn),
    };
    logging::start(level, LogFormat::Text);
}

/// What comes of a start.
type Started = oneshot::Receiver<Result<(), EngineError>>;

/// Opens the engine on a thread, and returns it as soon as the World can be read: requests that only read are answered
/// while everything is made to follow, and those that change something wait for it.
fn start(options: Options) -> Result<(Arc<Engine>, Started), EngineError> {
    let (readable, engine) = mpsc::channel();
    let (say, started) = oneshot::channel();
    let open = move || {
        let outcome = Engine::open(options, |engine| drop(readable.send(Arc::clone(engine))));
        // Where the daemon has ended already there is no more to be said.
        let _ = say.send(outcome.map(|engine| say_what_is_missing(&engine)));
    };
    std::thread::Builder::new().name("start".to_owned()).spawn(open).map_err(EngineError::Thread)?;
    match engine.recv() {
        Ok(engine) => Ok((engine, started)),
        // It failed before, or panicked, which was logged.
        Err(_) => Err(match started.blocking_recv() {
            Ok(Err(error)) => error,
            _ => EngineError::Thread(std::io::ErrorKind::Other.into()),
        }),
    }
}

/// Resolves when the start has failed; says so when it has succeeded.
async fn failure(started: Started, socket: &Path) -> EngineError {
    match started.await {
        Ok(Ok(())) => {
            tracing::info!(socket = %socket.display(), "ready");
            if let Err(error) = notify::ready() {
                tracing::warn!(%error, "failed to notify the service manager");
            }
            watchdog::report(socket).await;
            std::future::pending().await
        }
        Ok(Err(error)) => error,
        Err(_) => EngineError::Thread(std::io::ErrorKind::Other.into()),
    }
}

/// How much the clients of the API may take: of the descriptors, a quarter.
fn api_limits() -> Limits {
    let limits = Limits::default();
    let quarter = getrlimit(Resource::Nofile).current.map_or(u64::MAX, |limit| limit / 4);
    Limits { connections: limits.connections.min(usize::try_from(quarter).unwrap_or(usize::MAX)), ..limits }
}

/// Allows as many descriptors as can be had, for us and the relay: each published port takes one for
/// each family, in both.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Some(limit.maximum.map_or(DESCRIPTORS, |hard| hard.max(DESCRIPTORS)));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    // Without the right to raise the hard limit it is what there is.
    if raised.or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })).is_err() {
        tracing::warn!(?limit, "failed to raise the limit of open files; few ports can be published at once");
    }
}

/// Has the kernel make the table of descriptors large while this process has one thread. Of a process with several, the
/// kernel waits for all readers each time when it makes the table larger (`expand_fdtable` in linux/fs/file.c): 30 to 50
/// ms for the first 1,000 published ports.
fn grow_descriptor_table() {
    let last = getrlimit(Resource::Nofile).current.map_or(TABLE, |limit| limit.min(TABLE)).saturating_sub(1);
    let grown = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), i32::try_from(last).unwrap_or(0));
    if let Err(error) = grown {
        tracing::debug!(%error, "failed to grow the table of descriptors: {error}; it grows when it is needed");
    }
}

fn say_what_is_missing(engine: &Engine) {
    let relay = engine.relay();
    tracing::debug!(confinement = ?relay.confinement, "relay confined");
    for (part, reason) in relay.missing {
        tracing::warn!(part, reason, "failed to confine the relay completely");
    }
}

fn write_pid(path: &Path) -> Result<(), DaemonError> {
    std::fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|source| DaemonError::PidFile { path: path.display().to_string(), source })
}

/// The signals that a daemon is asked by.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Handles them from now on, also those that were held since the program started.
    fn handle(runtime: &Runtime) -> std::io::Result<Self> {
        let _context = runtime.enter();
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        unblock_signals()?;
        Ok(signals)
    }

    /// Resolves when the daemon is asked to end, and until then reloads whenever it is asked to.
    async fn until_end(mut self, reload: Arc<Reload>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    let reload = Arc::clone(&reload);
                    // It waits for the kernel; a second one waits for the first.
                    drop(tokio::task::spawn_blocking(move || reload.reload_or_log()));
                }
            }
        }
    }
}
