//! The bound sockets of published ports: only a bind finds out whether a port is free.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, Once, PoisonError};

use fairway_core::object::{Difference, Key, Object, SocketUse};
use fairway_kernel::port_holder::{self, PortHolder};
use fairway_model::Protocol;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, getrlimit};
use thiserror::Error;

/// The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A host port that cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to bind host port {address}/{protocol}: {reason}")]
pub struct BindError {
    /// The address and port.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The reason, and the way out.
    pub reason: BindReason,
}

/// Why a host port cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BindReason {
    /// Another program has the port.
    #[error("address already in use by another program on the host: stop it, or publish another port")]
    InUse,
    /// This program has the port.
    #[error("address already in use by {0}: stop it, or publish another port")]
    InUseBy(PortHolder),
    /// A relay that does not answer may hold the port from an earlier publication.
    #[error(
        "address already in use, perhaps by the relay (process {0}), which does not answer and has ports that were \
         published before: let it go on (kill -CONT {0}), or replace it (fairway doctor --fix)"
    )]
    Relay(u32),
    /// The host has no such address.
    #[error("cannot assign requested address: no interface of the host has it")]
    NoSuchAddress,
    /// The daemon needs the remaining descriptors for everything else.
    #[error(
        "too many open files: the daemon may have {0}, and each published port takes one for each family: raise its limit (LimitNOFILE= of its unit, or ulimit -Hn), or publish fewer"
    )]
    Descriptors(u64),
    /// Another error of the kernel.
    #[error("{0}")]
    Other(Errno),
}

impl BindError {
    /// Adds the program that has the port, if it can be found.
    pub(crate) fn named(mut self) -> Self {
        if self.reason == BindReason::InUse
            && let Some(holder) = port_holder::find(self.protocol, self.address)
        {
            self.reason = BindReason::InUseBy(holder);
        }
        self
    }

    /// Adds that a relay which does not answer may have the port.
    pub(crate) fn with_late_relay(mut self, pid: u32) -> Self {
        // A bound socket that does not listen has no visible holder.
        if match &self.reason {
            BindReason::InUse => true,
            BindReason::InUseBy(holder) => holder.pid == pid,
            _ => false,
        } {
            self.reason = BindReason::Relay(pid);
        }
        self
    }
}

impl From<Errno> for BindReason {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ADDRINUSE => Self::InUse,
            Errno::ADDRNOTAVAIL => Self::NoSuchAddress,
            other => Self::Other(other),
        }
    }
}

/// Binds a port in the namespace of the calling thread. A port of the proxy listens; a reserved one does not, and so
/// refuses connections.
pub fn bind(protocol: Protocol, address: SocketAddr, listens: bool) -> Result<OwnedFd, BindError> {
    bind_socket(protocol, address, listens).map_err(|errno| BindError {
        address,
        protocol,
        reason: errno.into(),
    })
}

fn bind_socket(protocol: Protocol, address: SocketAddr, listens: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(rustix::net::ipproto::SCTP)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match rustix::net::socket_with(family, kind, flags, number) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(
                    "cannot bind published SCTP ports: the kernel has no SCTP sockets; only translating them"
                );
            });
            // No other program can bind the port either. An unbound socket represents it.
            return rustix::net::socket_with(family, SocketType::DGRAM, flags, None);
        }
        socket => socket?,
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of a former listener in TIME_WAIT must not prevent the bind.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    match (protocol, listens) {
        // The option is set already.
        (Protocol::Tcp, true) => rustix::net::listen(&socket, BACKLOG)?,
        (Protocol::Tcp, false) => listen(&socket, false)?,
        (Protocol::Udp | Protocol::Sctp, _) => {}
    }
    Ok(socket)
}

/// Makes a bound TCP port listen, or stop listening: it stays bound, and refuses connections (tcp(7) does not say so;
/// the kernel's `inet_shutdown` disconnects a listener, and leaves a port that was bound explicitly).
pub fn set_listening(socket: &OwnedFd, protocol: Protocol, listens: bool) -> Result<(), Errno> {
    if protocol != Protocol::Tcp || sockopt::socket_acceptconn(socket)? == listens {
        return Ok(());
    }
    if !listens {
        rustix::net::shutdown(socket, Shutdown::Read)?;
    }
    listen(socket, listens)
}

/// Makes a bound socket listen, or reserves its port exclusively: with SO_REUSEADDR another program could bind a port
/// without a listener. A listener keeps the option, which its connections inherit: else those in TIME_WAIT would hold
/// the port when the listener is gone.
fn listen(socket: &OwnedFd, listens: bool) -> Result<(), Errno> {
    sockopt::set_socket_reuseaddr(socket, listens)?;
    if listens { rustix::net::listen(socket, BACKLOG) } else { Ok(()) }
}

/// How many descriptors must remain free: the API, the store and work in namespaces take some for moments, and so does
/// the relay, which has as many ports and the same limit, for connections.
pub(crate) const SPARE_DESCRIPTORS: u64 = 256;

/// From so many ports on, a second thread binds half of them: about a millisecond's work.
const SHARED_FROM: usize = 256;

/// A newly bound port.
type Bound = ((Protocol, SocketAddr), Arc<OwnedFd>);

fn bind_each(wanted: &[(Protocol, SocketAddr, bool)], limit: u64) -> Result<Vec<Bound>, BindError> {
    let one = |&(protocol, address, listens): &(Protocol, SocketAddr, bool)| {
        let reason = BindReason::Descriptors(limit);
        let socket = match bind_socket(protocol, address, listens) {
            Err(Errno::MFILE) => return Err(BindError { address, protocol, reason }),
            bound => bound.map_err(|errno| BindError { address, protocol, reason: errno.into() })?,
        };
        // The kernel gives the lowest number that is free.
        let number = u64::try_from(socket.as_raw_fd()).unwrap_or(0);
        if number.saturating_add(SPARE_DESCRIPTORS) >= limit {
            return Err(BindError { address, protocol, reason });
        }
        Ok(((protocol, address), Arc::new(socket)))
    };
    wanted.iter().map(one).collect()
}

/// How many ports are bound at once; where one is in use, these are bound one by one.
const BOUND_AT_ONCE: usize = 1024;

/// The ports that a difference needs to be bound.
pub(crate) fn sockets(difference: &Difference) -> impl Iterator<Item = (Protocol, SocketAddr, &SocketUse)> {
    difference.wanted().filter_map(|(key, object)| port_of(key, object))
}

fn port_of<'a>(key: &Key, object: &'a Object) -> Option<(Protocol, SocketAddr, &'a SocketUse)> {
    match (key, object) {
        (Key::Socket(protocol, address), Object::Socket(socket)) => {
            Some((*protocol, *address, &socket.purpose))
        }
        _ => None,
    }
}

/// The sockets of published ports, by address.
#[derive(Debug, Default)]
pub struct PortSockets {
    held: Mutex<HashMap<(Protocol, SocketAddr), Arc<OwnedFd>>>,
}

impl PortSockets {
    /// The socket bound to an address.
    pub fn get(&self, protocol: Protocol, address: SocketAddr) -> Option<Arc<OwnedFd>> {
        self.lock().get(&(protocol, address)).cloned()
    }

    /// Stores a socket that is bound already.
    pub fn insert(&self, protocol: Protocol, address: SocketAddr, socket: Arc<OwnedFd>) {
        self.lock().insert((protocol, address), socket);
    }

    /// Closes a port.
    pub fn remove(&self, protocol: Protocol, address: SocketAddr) {
        self.lock().remove(&(protocol, address));
    }

    /// The keys of all stored ports.
    pub fn keys(&self) -> Vec<Key> {
        self.lock().keys().map(|(protocol, address)| Key::Socket(*protocol, *address)).collect()
    }

    /// All addresses that are bound.
    pub fn published(&self) -> Vec<(Protocol, SocketAddr)> {
        self.lock().keys().copied().collect()
    }

    /// Binds the planned ports that are not bound yet, as many as are free. Returns the others, with the reasons.
    pub fn bind_free(&self, planned: &[(&Key, &Object)]) -> Vec<(Key, BindError)> {
        let wanted: Vec<_> = planned.iter().filter_map(|(key, object)| port_of(key, object)).collect();
        let mut failed = Vec::new();
        for some in wanted.chunks(BOUND_AT_ONCE) {
            if self.bind_all(some.iter().copied()).is_ok() {
                continue;
            }
            for (protocol, address, purpose) in some {
                if let Err(error) = self.bind_all([(*protocol, *address, *purpose)]) {
                    failed.push((Key::Socket(*protocol, *address), error));
                }
            }
        }
        failed
    }

    /// Binds the ports of `wanted` that are not bound yet, all or none.
    pub fn bind_all<'a>(
        &self,
        wanted: impl IntoIterator<Item = (Protocol, SocketAddr, &'a SocketUse)>,
    ) -> Result<(), BindError> {
        let missing: Vec<(Protocol, SocketAddr, bool)> = {
            let held = self.lock();
            let missing =
                wanted.into_iter().filter(|(protocol, at, _)| !held.contains_key(&(*protocol, *at)));
            missing
                .map(|(protocol, at, purpose)| (protocol, at, matches!(purpose, SocketUse::Proxy(_))))
                .collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.check_descriptors(&missing, limit)?;
        let (first, second) = missing.split_at(missing.len() / 2);
        let bound = if missing.len() < SHARED_FROM {
            vec![bind_each(&missing, limit)]
        } else {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| bind_each(second, limit));
                let own = bind_each(first, limit);
                vec![own, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
            })
        };
        let bound = bound.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.lock().extend(bound.into_iter().flatten());
        Ok(())
    }

    /// Refuses more ports than there are descriptors for, before any is bound.
    fn check_descriptors(
        &self,
        missing: &[(Protocol, SocketAddr, bool)],
        limit: u64,
    ) -> Result<(), BindError> {
        let wanted = u64::try_from(self.lock().len().saturating_add(missing.len())).unwrap_or(u64::MAX);
        match missing.first() {
            Some((protocol, address, _)) if wanted.saturating_add(SPARE_DESCRIPTORS) >= limit => {
                let reason = BindReason::Descriptors(limit);
                Err(BindError { address: *address, protocol: *protocol, reason })
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Protocol, SocketAddr), Arc<OwnedFd>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn a_port_is_had_once() {
        let first = bind(Protocol::Tcp, any_port(), true).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&first).unwrap()).unwrap();
        let error = bind(Protocol::Tcp, address, true).unwrap_err();
        assert_eq!(error.reason, BindReason::InUse);
        assert!(
            error
                .to_string()
                .starts_with(&format!("failed to bind host port {address}/tcp: address already in use"))
        );
    }

    #[test]
    fn a_port_is_had_again_while_its_connections_linger() {
        let first = bind(Protocol::Tcp, any_port(), true).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&first).unwrap()).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let mut accepted = rustix::net::accept(&first);
        while matches!(accepted, Err(Errno::AGAIN)) {
            accepted = rustix::net::accept(&first);
        }
        // The end that closes first is in TIME_WAIT: this one.
        drop(accepted.unwrap());
        drop((client, first));
        bind(Protocol::Tcp, address, true).unwrap();
    }

    #[test]
    fn a_held_port_refuses_and_keeps_others_out() {
        let held = bind(Protocol::Tcp, any_port(), false).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&held).unwrap()).unwrap();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(bind(Protocol::Tcp, address, true).is_err());
    }

    #[test]
    fn a_port_can_stop_listening_and_start_again() {
        let found = bind(Protocol::Tcp, SocketAddr::from(([127, 9, 9, 9], 0)), false).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&found).unwrap()).unwrap();
        drop(found);
        // Only a port that was chosen by number stays bound.
        let socket = bind(Protocol::Tcp, address, true).unwrap();
        let connect = || std::net::TcpStream::connect(address).map(drop).map_err(|error| error.kind());
        assert_eq!(connect(), Ok(()));
        set_listening(&socket, Protocol::Tcp, false).unwrap();
        assert_eq!(connect(), Err(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(bind(Protocol::Tcp, address, true).unwrap_err().reason, BindReason::InUse);
        set_listening(&socket, Protocol::Tcp, true).unwrap();
        assert_eq!(connect(), Ok(()));
    }

    #[test]
    fn an_address_that_the_host_lacks_is_named() {
        let error = bind(Protocol::Udp, "192.0.2.1:53".parse().unwrap(), false).unwrap_err();
        assert_eq!(error.reason, BindReason::NoSuchAddress);
    }

    #[test]
    fn several_ports_are_bound_all_or_none() {
        let holder = bind(Protocol::Udp, any_port(), false).unwrap();
        let taken = SocketAddr::try_from(rustix::net::getsockname(&holder).unwrap()).unwrap();
        let ports = PortSockets::default();
        let wanted =
            [(Protocol::Udp, any_port(), &SocketUse::Reserve), (Protocol::Udp, taken, &SocketUse::Reserve)];
        assert!(ports.bind_all(wanted).is_err());
        assert!(ports.keys().is_empty());
    }

    #[test]
    fn more_ports_than_descriptors_are_refused_before_any_is_bound() {
        let (ports, wanted) = (PortSockets::default(), vec![(Protocol::Udp, any_port(), false); 1000]);
        let error = ports.check_descriptors(&wanted, 1000 + SPARE_DESCRIPTORS).unwrap_err();
        assert_eq!(error.reason, BindReason::Descriptors(1000 + SPARE_DESCRIPTORS));
        ports.check_descriptors(&wanted, 1001 + SPARE_DESCRIPTORS).unwrap();
    }

    #[test]
    fn descriptors_are_left_for_everything_else() {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let wanted = [(Protocol::Udp, any_port(), false)];
        let error = bind_each(&wanted, SPARE_DESCRIPTORS + 1).unwrap_err();
        assert_eq!(error.reason, BindReason::Descriptors(SPARE_DESCRIPTORS + 1));
        assert!(error.to_string().contains("LimitNOFILE="), "{error}");
        assert_eq!(bind_each(&wanted, limit).unwrap().len(), 1);
    }
}
