//! Adopts the sockets of a running relay. Each socket is checked: the relay reads untrusted packets, and may have been
//! compromised.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use fairway_core::object::{Key, Object, SocketUse};
use fairway_core::plan::Plan;
use fairway_core::traffic;
use fairway_kernel::namespace::{self, Handle};
use fairway_model::{Protocol, ResolverAddresses, SandboxId};
use fairway_relay::table::{Change, Record, RecordKey, RecordWithSockets};
use fairway_ruleset::resolver::ADDRESS;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};

use crate::ApplyError;
use crate::apply::resolvers::Resolvers;
use crate::port_sockets::{PortSockets, set_listening};

/// The identity of a namespace: device and inode.
type Identity = (u64, u64);

fn identity(handle: &Handle) -> Identity {
    handle.namespace().identity()
}

/// The result of adopting the sockets of a relay.
#[derive(Debug, Default)]
pub(crate) struct Adopted {
    /// The records whose sockets are as the relay says.
    pub known: Vec<Record>,
    /// The removals of the other records, for the relay.
    pub dropped: Vec<Change>,
}

/// The namespaces that sockets may belong to.
pub(crate) struct Namespaces {
    host: Identity,
    sandboxes: HashMap<SandboxId, Identity>,
}

impl Namespaces {
    /// The namespace of the host, which is that of the calling thread, and those of a Plan's sandboxes.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn of(plan: &Plan) -> Result<Self, ApplyError> {
        let inside = |(key, object): (&Key, &Object)| match (key, object) {
            (Key::Netns(sandbox), Object::Netns(namespace, _)) => Some((*sandbox, namespace.identity())),
            _ => None,
        };
        let sandboxes = plan.objects().filter_map(inside).collect();
        Ok(Self { host: identity(&namespace::own()?), sandboxes })
    }

    /// Whether a resolver of a sandbox may be in a namespace: in that of the sandbox or, for an unknown sandbox, in an
    /// unknown namespace.
    fn may_have_resolver(&self, sandbox: SandboxId, of: Identity) -> bool {
        match self.sandboxes.get(&sandbox) {
            Some(own) => *own == of,
            None => of != self.host && self.sandboxes.values().all(|other| *other != of),
        }
    }
}

/// Adopts the sockets that are what the relay says.
pub(crate) fn adopt_relay_sockets(
    held: Vec<RecordWithSockets>,
    namespaces: &Namespaces,
    ports: &PortSockets,
    resolvers: &Resolvers,
) -> Adopted {
    let mut adopted = Adopted::default();
    for RecordWithSockets { record, sockets } in held {
        let sockets: Vec<Arc<OwnedFd>> = sockets.into_iter().map(Arc::new).collect();
        let outcome = match (&record, &sockets[..]) {
            (Record::Port { protocol, address, purpose }, [socket]) => {
                is_port(socket, *protocol, *address, namespaces).map(|()| {
                    // The last daemon may have died between the update of the relay and the change of the socket.
                    let listens = matches!(purpose, SocketUse::Proxy(_));
                    if let Err(errno) = set_listening(socket, *protocol, listens) {
                        tracing::warn!(%address, %errno, listens, "failed to set whether {address} listens to {listens}: {errno}");
                    }
                    ports.insert(*protocol, *address, Arc::clone(socket));
                })
            }
            (Record::Resolver(sandbox), [udp, tcp, outgoing @ ..]) => {
                is_resolver(udp, tcp, outgoing, *sandbox, namespaces)
                    .map(|()| resolvers.keep(*sandbox, sockets.clone()))
            }
            (Record::Port { .. } | Record::Resolver(_), _) => {
                Err("its sockets did not come with it".to_owned())
            }
            _ => Ok(()),
        };
        match outcome {
            Ok(()) => adopted.known.push(record),
            Err(reason) => {
                let key: RecordKey = record.key();
                tracing::error!(%key, reason, "dropped the relay's sockets of {key}: {reason}; creating them again");
                adopted.dropped.push(Change::Remove(key));
            }
        }
    }
    adopted
}

/// Whether a socket is that of a published port.
fn is_port(
    socket: &OwnedFd,
    protocol: Protocol,
    address: SocketAddr,
    namespaces: &Namespaces,
) -> Result<(), String> {
    if namespace_of(socket)? != namespaces.host {
        return Err("its socket is in another network namespace".to_owned());
    }
    match protocol {
        Protocol::Tcp => is(socket, SocketType::STREAM, ipproto::TCP, address),
        Protocol::Udp => is(socket, SocketType::DGRAM, ipproto::UDP, address),
        Protocol::Sctp => is(socket, SocketType::STREAM, ipproto::SCTP, address).or_else(|reason| {
            // On a kernel without SCTP, an unbound socket is kept instead.
            let nowhere = traffic::wildcard(SocketAddr::new(address.ip(), 0));
            is(socket, SocketType::DGRAM, ipproto::UDP, nowhere).map_err(|_| reason)
        }),
    }
}

/// Whether sockets are those of a sandbox's resolver.
fn is_resolver(
    udp: &OwnedFd,
    tcp: &OwnedFd,
    outgoing: &[Arc<OwnedFd>],
    sandbox: SandboxId,
    namespaces: &Namespaces,
) -> Result<(), String> {
    for socket in [udp, tcp].into_iter().chain(outgoing.iter().map(Arc::as_ref)) {
        if !namespaces.may_have_resolver(sandbox, namespace_of(socket)?) {
            return Err("its socket is in another network namespace".to_owned());
        }
    }
    let range = SocketAddr::from((ResolverAddresses::RANGE.addr(), 0)).ip();
    let bound = |socket| {
        let of_kind = |at: SocketAddr| if at.ip() == range { range } else { ADDRESS.into() };
        bound_to(socket).map(|at| SocketAddr::new(of_kind(at), at.port()))
    };
    is(udp, SocketType::DGRAM, ipproto::UDP, bound(udp)?)?;
    is(tcp, SocketType::STREAM, ipproto::TCP, bound(tcp)?)?;
    if sockopt::socket_acceptconn(tcp).map_err(unreadable)? {
        Ok(())
    } else {
        Err("its TCP socket does not listen".to_owned())
    }
}

fn is(
    socket: &OwnedFd,
    kind: SocketType,
    protocol: rustix::net::Protocol,
    address: SocketAddr,
) -> Result<(), String> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let found = (
        sockopt::socket_domain(socket).map_err(unreadable)?,
        sockopt::socket_type(socket).map_err(unreadable)?,
        sockopt::socket_protocol(socket).map_err(unreadable)?,
    );
    if found != (family, kind, Some(protocol)) {
        return Err(format!("its socket is of another kind ({found:?})"));
    }
    match bound_to(socket)? {
        bound if bound == address => Ok(()),
        bound => Err(format!("its socket is bound to {bound}")),
    }
}

fn bound_to(socket: &OwnedFd) -> Result<SocketAddr, String> {
    rustix::net::getsockname(socket).and_then(SocketAddr::try_from).map_err(unreadable)
}

fn namespace_of(socket: &OwnedFd) -> Result<Identity, String> {
    namespace::of_socket(socket.as_fd()).map(|handle| identity(&handle)).map_err(|error| error.to_string())
}

fn unreadable(errno: Errno) -> String {
    format!("its socket cannot be looked at: {errno}")
}

#[cfg(test)]
mod tests;
