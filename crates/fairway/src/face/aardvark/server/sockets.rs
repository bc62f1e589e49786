//! The sockets of the resolvers: bound here, and kept, so that a relay that starts again gets them too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_relay::table::{Record, RecordKey};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::face::aardvark::error::AardvarkError;
use crate::face::aardvark::table::Table;

/// How long the relay of a server that was killed may hold its sockets.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause between attempts to bind.
const PAUSE: Duration = Duration::from_millis(10);

/// The queue of TCP clients that are not accepted yet.
const BACKLOG: i32 = 128;

/// A resolver's sockets: UDP, bound; TCP, listening.
type Pair = [Arc<OwnedFd>; 2];

/// Sockets by address.
#[derive(Debug, Default)]
pub(super) struct Sockets(BTreeMap<SocketAddr, Pair>);

impl Sockets {
    /// The sockets at an address.
    pub fn get(&self, address: SocketAddr) -> Option<&Pair> {
        self.0.get(&address)
    }

    /// Binds the sockets of all resolvers of a table.
    ///
    /// # Errors
    /// The first that cannot be bound.
    pub fn bind_all(&mut self, table: &Table) -> Result<(), AardvarkError> {
        let started = Instant::now();
        for address in addresses(table) {
            let pair = loop {
                match bind_pair(address) {
                    Err(AardvarkError::Bind { errno: Errno::ADDRINUSE, .. })
                        if started.elapsed() < PATIENCE =>
                    {
                        std::thread::sleep(PAUSE);
                    }
                    outcome => break outcome?,
                }
            };
            self.0.insert(address, pair);
        }
        Ok(())
    }

    /// Binds the sockets that are new in a table, and takes resolvers out of it whose sockets cannot be bound.
    pub fn bind_possible(&mut self, table: &mut Table) -> Vec<AardvarkError> {
        let mut errors = Vec::new();
        for address in addresses(table) {
            if self.0.contains_key(&address) {
                continue;
            }
            match bind_pair(address) {
                Ok(pair) => drop(self.0.insert(address, pair)),
                Err(error) => {
                    table.records.remove(&RecordKey::SharedResolver(address));
                    errors.push(error);
                }
            }
        }
        errors
    }

    /// Closes the sockets that no resolver of a table has.
    pub fn keep(&mut self, table: &Table) {
        self.0.retain(|address, _| table.records.contains_key(&RecordKey::SharedResolver(*address)));
    }
}

fn addresses(table: &Table) -> Vec<SocketAddr> {
    let all = table.records.values().filter_map(|record| match record {
        Record::SharedResolver { address, .. } => Some(*address),
        _ => None,
    });
    all.collect()
}

fn bind_pair(address: SocketAddr) -> Result<Pair, AardvarkError> {
    let failed = |protocol| move |errno| AardvarkError::Bind { protocol, address, errno };
    let udp = bind(address, SocketType::DGRAM).map_err(failed("udp"))?;
    let tcp = bind(address, SocketType::STREAM).map_err(failed("tcp"))?;
    rustix::net::listen(&tcp, BACKLOG).map_err(failed("tcp"))?;
    Ok([Arc::new(udp), Arc::new(tcp)])
}

/// Binds a socket, also to an address that is not there: an IPv6 address is not until it was found to be unique, and
/// the bridge of a file that was left behind never is.
fn bind(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    set_freebind(socket.as_fd(), address)?;
    if kind == SocketType::STREAM {
        // Else connections that ended a moment ago keep a server from starting again.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn set_freebind(socket: impl AsFd, address: SocketAddr) -> Result<(), Errno> {
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(socket, true),
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(socket, true),
    }
}
