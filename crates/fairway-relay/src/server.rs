//! The relay's event loop: one thread, one epoll instance, one table.

mod protocol;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::confine::{self, User};
use crate::poll::{Kind, Poller, Token};
use crate::proof::Proof;
use crate::proxy::{Proxy, ProxyLimits};
use crate::resolver::{ResolverLimits, Resolvers};
use protocol::ControlSocket;

/// Why the relay cannot start or continue.
#[derive(Debug, Error)]
pub enum ServerError {
    /// epoll failed.
    #[error("cannot watch the relay's sockets by epoll: {0}")]
    Poll(#[source] Errno),
    /// The pid namespace of this process cannot be identified.
    #[error("cannot read /proc/self/ns/pid, which identifies daemons: {0}: mount /proc")]
    Namespace(#[source] std::io::Error),
    /// The control socket cannot be created.
    #[error("cannot listen at {path}: {errno}")]
    Listen {
        /// The path of the socket.
        path: String,
        /// What the kernel said.
        #[source]
        errno: Errno,
    },
    /// The given control socket cannot be used.
    #[error(
        "cannot use the relay's control socket: {0}: pass a SOCK_SEQPACKET socket that listens or is connected"
    )]
    ControlSocket(#[source] Errno),
}

/// The relay's settings.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The version that the relay reports to daemons.
    pub version: &'static str,
    /// The user and group to become, if the process may.
    pub user: Option<User>,
    /// The proxy's limits.
    pub proxy: ProxyLimits,
    /// The resolvers' limits.
    pub resolver: ResolverLimits,
}

impl Default for Configuration {
    fn default() -> Self {
        let (proxy, resolver) = (ProxyLimits::default(), ResolverLimits::default());
        Self { version: crate::VERSION, user: None, proxy, resolver }
    }
}

/// Creates the control socket for [`run`] at `path`; only the caller's user can connect to it.
///
/// # Errors
/// When a file exists at `path`: before a relay is started, the socket of one that does not answer is removed.
pub fn listen(path: &Path) -> Result<OwnedFd, ServerError> {
    let listen = || {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // The file gets the mode that the socket had before binding (unix_bind, net/unix).
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 8)?;
        Ok(socket)
    };
    listen().map_err(|errno| ServerError::Listen { path: path.display().to_string(), errno })
}

/// Runs the relay: serves the daemon that connected last to `control`, and all clients.
///
/// `control` is a unix socket of type SOCK_SEQPACKET that listens; a process of this pid namespace that can connect
/// to it commands the relay. Returns when a daemon asked the relay to hand over and the last connection ended, or on
/// a fatal error. If `control` is a connection, its other end commands the relay, which ends with it. Meant for a process of its own with one thread: the confinement is that of the calling thread and
/// stays.
pub fn run(control: OwnedFd, configuration: Configuration) -> Result<(), ServerError> {
    let descriptors = raise_descriptor_limit();
    let proof = Proof::expected().map_err(ServerError::Namespace)?;
    let confinement = confine::confine(configuration.user);
    for (part, reason) in &confinement.missing {
        // The daemon reports it each time that it starts.
        tracing::debug!(part, reason, "confinement of the relay is incomplete");
    }
    Relay {
        poller: Poller::new().map_err(ServerError::Poll)?,
        control: ControlSocket::new(control, confinement, proof).map_err(ServerError::ControlSocket)?,
        proxy: Proxy::new(&configuration.proxy.within(descriptors)),
        resolvers: Resolvers::new(configuration.resolver),
        version: configuration.version,
        descriptors,
        limits: configuration.proxy,
        handing_over: None,
        ends: None,
    }
    .serve()
}

/// Raises the limit of open files to its maximum, and returns it.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.and_then(|current| usize::try_from(current).ok()).unwrap_or(usize::MAX / 8)
}

/// The state of the relay.
struct Relay {
    /// The version that it reports.
    version: &'static str,
    poller: Poller,
    control: ControlSocket,
    proxy: Proxy,
    resolvers: Resolvers,
    /// The limit of open files.
    descriptors: usize,
    /// The proxy's limits if enough descriptors are free.
    limits: ProxyLimits,
    /// During a hand-over: once all is sent, the relay accepts nothing more and exits after this time at the latest.
    handing_over: Option<Duration>,
    /// When the relay exits at the latest, after a hand-over.
    ends: Option<Instant>,
}

impl Relay {
    fn serve(mut self) -> Result<(), ServerError> {
        self.control.watch(&self.poller).map_err(ServerError::ControlSocket)?;
        let mut ready = Vec::new();
        loop {
            let timeout = self.deadline(Instant::now());
            self.poller.wait(timeout, &mut ready).map_err(ServerError::Poll)?;
            let now = Instant::now();
            for (token, flags) in ready.iter().copied() {
                match token {
                    Token(Kind::ControlListener | Kind::Daemon, _) => self.command(token, flags, now),
                    Token(
                        Kind::ResolverUdp | Kind::ResolverTcp | Kind::ResolverClient | Kind::Upstream,
                        _,
                    ) => self.resolvers.ready(&self.poller, token, flags, now),
                    _ => self.proxy.ready(&self.poller, token, flags, now),
                }
            }
            self.proxy.turn(&self.poller, now);
            self.resolvers.turn(&self.poller, now);
            if self.ends.is_none() && self.control.is_abandoned() {
                return Ok(());
            }
            if let Some(ends) = self.ends
                && (ends <= now || self.is_idle())
                && self.control.is_quiet()
            {
                return Ok(());
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.proxy.connections() == 0 && self.resolvers.in_flight() == 0
    }

    fn deadline(&self, now: Instant) -> Option<Duration> {
        let ends = self.ends.map(|at| {
            // Short, since the end of the last connection may cause no event.
            at.saturating_duration_since(now).min(Duration::from_millis(50))
        });
        [self.proxy.deadline(now), self.resolvers.deadline(now), ends].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
