//! Why a command failed, in Docker's words where Docker has them, and with its exit codes.

use std::io;

use fairway_api::{Client, ClientError};
use fairway_core::ipam::IpamError;
use fairway_engine::EngineError;
use fairway_host::HostError;
use fairway_kernel::namespace;
use fairway_model::parse::ParseError;
use thiserror::Error;

use super::declaration::DeclareError;
use super::image::ImageError;
use super::known::{self, Kind};
use super::near;
use super::template::{TemplateError, Unshowable};
use crate::daemon::DaemonError;
use crate::install::InstallError;
use fairway_run::cgroup::LimitError;
use fairway_run::{Failure as ProcessFailure, LaunchError, LogError, UnknownCapability, UserError};

/// Why a command failed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub(super) enum CommandError {
    #[error("Error response from daemon: {message}")]
    Refused { status: u16, message: String },
    #[error(transparent)]
    Client(ClientError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("cannot {action}: {source}: what was done before stays, and the next apply goes on from there")]
    Step { action: String, source: Box<CommandError> },
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Store(#[from] EngineError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Pool(#[from] IpamError),
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Unshowable(#[from] Unshowable),
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error(
        "cannot choose a format for {0}: unknown extension: use .svg, .png, .pdf, .dot or .mmd, or --format"
    )]
    Extension(String),
    #[error("cannot draw a {format}: {source}")]
    Image { format: &'static str, source: ImageError },
    #[error("cannot print a {format} to a terminal: name a file, as in -o networks.{format}")]
    BinaryOnTerminal { format: &'static str },
    #[error("cannot print: {0}")]
    Print(#[source] io::Error),
    /// What was named is not there, and something with a name like it is.
    #[error("{error}{near}")]
    Near { error: Box<CommandError>, near: String },
    #[error("Error: No such {kind}: {name}")]
    NotFound { kind: &'static str, name: String },
    #[error("invalid filter {0:?}: name=value is expected, as in name=web")]
    Filter(String),
    #[error(
        "invalid time {0:?}: one such as 2026-11-22T10:00:00Z, seconds since 1970, or how long ago (10m) is expected"
    )]
    Moment(String),
    #[error("conflicting options: cannot specify both {first} and {second}")]
    Conflict { first: &'static str, second: &'static str },
    #[error("conflicting options: {0}")]
    NetworkConflict(String),
    #[error("cannot read the environment file {path}: {source}")]
    EnvironmentFile { path: String, source: io::Error },
    #[error("poorly formatted environment: {text:?} in {path}: {reason}")]
    Environment { text: String, path: String, reason: &'static str },
    #[error("Error: No public port '{port}' published for {name}")]
    NotPublished { port: String, name: String },
    #[error("Error response from daemon: Container {0} is not running: start it first")]
    NotRunning(String),
    #[error(
        "container {name} was {kind}, not run: Fairway cannot start it: attach it again in a namespace that exists"
    )]
    NotStartable { name: String, kind: String },
    #[error("container {name} was {kind}, not made by fairway sandbox create: use fairway {}", remover(kind))]
    NotCreated { name: String, kind: String },
    #[error(
        "cannot start container {name}: image {image} is gone: put its files back below DATA_ROOT/images"
    )]
    NoImage { name: String, image: String },
    #[error("cannot join network of a non running container: {0}: start it first")]
    TargetNotRunning(String),
    #[error(
        "you must provide one or more flags when using this command: --memory, --cpus, --pids-limit or --restart"
    )]
    NothingToUpdate,
    #[error("you cannot start and attach multiple containers at once")]
    AttachSeveral,
    #[error("cannot list the processes of container {name}: {source}")]
    Processes { name: String, source: io::Error },
    #[error("cannot take the terminal: {0}")]
    Terminal(#[source] io::Error),
    #[error("cannot wait for the command: {0}")]
    Wait(#[source] io::Error),
    #[error("cannot find the log of {0}: the daemon sent no path: use the daemon of this version")]
    NoLog(String),
    #[error("cannot write packets to {path}: {source}")]
    PacketFile { path: String, source: io::Error },
    #[error("cannot listen at {place}: {source}: give another address with --listen")]
    Listen { place: String, source: io::Error },
    #[error("cannot serve the page: {0}")]
    Serve(#[source] io::Error),
    #[error("cannot make a token: the kernel has no random numbers: {0}")]
    Token(#[source] fairway_ui::RandomError),
    #[error(transparent)]
    Url(#[from] fairway_ui::InvalidUrl),
    #[error("cannot make the directory {path} for logs: {source}")]
    LogDirectory { path: String, source: io::Error },
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { status, message } => Self::Refused { status, message },
            other => Self::Client(other),
        }
    }
}

/// How a program of this host is run.
const EXAMPLE: &str = "fairway run -p 8080:80 -- python3 -m http.server 80";

/// Whether it is rights that were missing.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let denied =
        error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::PermissionDenied);
    denied || error.source().is_some_and(is_denied)
}

/// What takes a sandbox away that came to be this way.
fn remover(kind: &str) -> &'static str {
    if kind == "attached" { "detach" } else { "rm" }
}

impl CommandError {
    /// Whether the daemon does not know what was named.
    pub(super) fn not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. } | Self::NotFound { .. })
    }

    /// The kind and the name of what there is none of, if that is why the command failed.
    pub(super) fn unknown(&self) -> Option<(Kind, &str)> {
        match self {
            Self::NotFound { kind: "network", name } => Some((Kind::Network, name)),
            Self::NotFound { kind: "container", name } => Some((Kind::Sandbox, name)),
            Self::Host(HostError::NotFound { text, .. }) => Some((Kind::Sandbox, text)),
            Self::NotFound { name, .. } => Some((Kind::Any, name)),
            // A network that a new sandbox names is another status, which Docker's client does not take for an image.
            Self::Refused { message, .. } => {
                let sandbox = message.strip_prefix("No such container: ").map(|name| (Kind::Sandbox, name));
                let end = || message.strip_prefix("cannot find \"")?.split('"').next();
                let network = || message.strip_prefix("network ")?.strip_suffix(" not found");
                let network = || network().map(|name| (Kind::Network, name));
                sandbox.or_else(network).or_else(|| end().map(|name| (Kind::Sandbox, name)))
            }
            _ => None,
        }
    }

    /// A question for the name that is most like an unknown one, to be put behind the error; empty if there is none.
    pub(super) fn near(&self, client: &mut Client) -> String {
        let near = self.unknown().map(|(kind, name)| near::question(name, &known::names(client, kind)));
        near.unwrap_or_default()
    }

    /// This error with that question behind it, if there is one.
    pub(super) fn with_near(self, client: &mut Client) -> Self {
        match self.near(client) {
            near if near.is_empty() => self,
            near => Self::Near { error: Box::new(self), near },
        }
    }

    /// Whether it is the request that makes no sense, as far as this program knows without the daemon: then
    /// Docker points to the help.
    pub(super) fn misuse(&self) -> bool {
        matches!(
            self,
            Self::Parse(_)
                | Self::Capability(_)
                | Self::Conflict { .. }
                | Self::NetworkConflict(_)
                | Self::EnvironmentFile { .. }
                | Self::Environment { .. }
        )
    }

    /// What to do about it, where the error itself cannot know: `launches` says that it is `run` that failed.
    pub(super) fn hint(&self, launches: bool) -> Option<String> {
        match self {
            Self::Launch(LaunchError::Failed(ProcessFailure::NotFound { command, .. }))
                if launches && !command.starts_with(['/', '.']) =>
            {
                Some(format!("\nFairway has no images, it runs programs of this host: {EXAMPLE}"))
            }
            _ if is_denied(self) && !rustix::process::geteuid().is_root() => {
                Some(": run this as root".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the reader of the output has closed the pipe, which is no failure.
    pub(super) fn unheard(&self) -> bool {
        let error = match self {
            Self::Print(error) | Self::Log(LogError::Output(error)) => error,
            _ => return false,
        };
        error.kind() == io::ErrorKind::BrokenPipe
    }

    /// The exit code of all other commands.
    pub(super) fn plain_code(&self) -> i32 {
        match self {
            Self::Launch(error) => error.exit_code(),
            _ => 1,
        }
    }

    /// The exit code where a command was to be run: 125, or 126 or 127 by the reason.
    pub(super) fn launch_code(&self) -> i32 {
        match self {
            Self::Launch(error) => error.exit_code(),
            _ => 125,
        }
    }
}
