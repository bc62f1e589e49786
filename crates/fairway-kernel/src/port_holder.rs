//! Finds the process that holds a port, for error messages.

use std::fmt;
use std::fs;
use std::net::SocketAddr;

use fairway_model::Protocol;

use crate::socket_table::{Entry, entries};

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its number.
    pub pid: u32,
    /// Its name, as `/proc/PID/comm` has it: at most 15 bytes.
    pub name: String,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Finds a process whose socket prevents binding `address` in the network namespace of the calling thread. None when
/// there is none, or it is invisible, as in another pid namespace. This reads the descriptors of all processes, and
/// so takes milliseconds.
#[must_use]
pub fn find(protocol: Protocol, address: SocketAddr) -> Option<PortHolder> {
    find_except(protocol, address, &[])
}

/// As [`find`], without these processes: an IPv6 socket at the same port looks as if it prevented binding IPv4.
#[must_use]
pub fn find_except(protocol: Protocol, address: SocketAddr, known: &[u32]) -> Option<PortHolder> {
    let tables = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        // Its table has ports only (`/proc/net/sctp/eps`).
        Protocol::Sctp => return None,
    };
    let sockets = tables.iter().flat_map(|table| entries(table));
    let sockets: Vec<Entry> = sockets.filter(|socket| is_in_the_way(socket, address)).collect();
    if sockets.is_empty() {
        return None;
    }
    let wanted: Vec<String> = sockets.iter().map(|socket| link_to(socket.inode)).collect();
    holder_of(&wanted, known)
}

/// Finds a process of the network namespace of the calling thread, or else of another, that has the socket with this
/// inode number. None when it is invisible.
#[must_use]
pub fn of_socket(inode: u64) -> Option<PortHolder> {
    holder_of(&[link_to(inode)], &[])
}

/// The target of the link of a socket in `/proc/PID/fd`.
fn link_to(inode: u64) -> String {
    format!("socket:[{inode}]")
}

/// Finds a process that has one of these sockets, except for known ones.
fn holder_of(wanted: &[String], known: &[u32]) -> Option<PortHolder> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.collect();
    // Most processes have few descriptors, and sockets of their own namespace; relays may have ten thousands.
    let here = fs::read_link("/proc/thread-self/ns/net").ok();
    pids.sort_by_cached_key(|pid| {
        let elsewhere = fs::read_link(format!("/proc/{pid}/ns/net")).ok() != here;
        // How many there are (Linux 6.2).
        (elsewhere, fs::metadata(format!("/proc/{pid}/fd")).map_or(u64::MAX, |directory| directory.len()))
    });
    pids.into_iter().filter(|pid| !known.contains(pid)).find(|pid| has_one_of(*pid, wanted)).map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        PortHolder { pid, name: name.trim_end().to_owned() }
    })
}

fn has_one_of(pid: u32, wanted: &[String]) -> bool {
    // The process may have ended since, or be inaccessible.
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|descriptor| {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        wanted.iter().any(|socket| target.as_os_str() == socket.as_str())
    })
}

/// Whether a socket prevents binding `address`.
fn is_in_the_way(socket: &Entry, address: SocketAddr) -> bool {
    let everywhere = socket.address.is_unspecified() || address.ip().is_unspecified();
    // A socket of IPv6 on all addresses may take IPv4 as well.
    let family = socket.address.is_ipv4() == address.is_ipv4()
        || (socket.address.is_ipv6() && socket.address.is_unspecified());
    socket.inode != 0
        && socket.port == address.port()
        && family
        && (socket.address == address.ip() || everywhere)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::testing::in_new_namespace;

    fn pid_at(protocol: Protocol, address: &str) -> Option<u32> {
        find(protocol, address.parse().unwrap()).map(|holder| holder.pid)
    }

    #[test]
    fn the_holder_of_a_port_is_found() {
        in_new_namespace(|| {
            let own = Some(std::process::id());
            assert_eq!(pid_at(Protocol::Tcp, "0.0.0.0:8080"), None);
            let _listener = TcpListener::bind("0.0.0.0:8080").unwrap();
            let _socket = UdpSocket::bind("[::]:5353").unwrap();
            for address in ["0.0.0.0:8080", "127.0.0.1:8080", "10.0.0.1:8080"] {
                assert_eq!(pid_at(Protocol::Tcp, address), own, "{address}");
            }
            let known = [std::process::id()];
            assert_eq!(find_except(Protocol::Tcp, "0.0.0.0:8080".parse().unwrap(), &known), None);
            for address in ["0.0.0.0:5353", "[::]:5353", "[fd00::1]:5353"] {
                assert_eq!(pid_at(Protocol::Udp, address), own, "{address}");
            }
            for (protocol, address) in [
                (Protocol::Udp, "0.0.0.0:8080"),
                (Protocol::Tcp, "[::]:8080"),
                (Protocol::Tcp, "0.0.0.0:8081"),
            ] {
                assert_eq!(pid_at(protocol, address), None, "{address}");
            }
        });
    }
}
