//! Who has a port of the host: asked when it cannot be bound, so that the refusal can say.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fairway_core::model::Protocol;

/// A process that has a port.
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

/// Finds a process with a socket that stands in the way of binding `address` in the network namespace of the calling
/// thread. None when there is none, or it cannot be seen from here: it may be in another pid namespace. This looks
/// at the descriptors of all processes, and so takes milliseconds.
#[must_use]
pub fn find(protocol: Protocol, address: SocketAddr) -> Option<PortHolder> {
    let tables = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        // Its table tells ports and no more (`/proc/net/sctp/eps`).
        Protocol::Sctp => return None,
    };
    let sockets: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok())
        .flat_map(|text| in_the_way(&text, address))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let wanted: Vec<String> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid| has_one_of(*pid, &wanted)).map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        PortHolder { pid, name: name.trim_end().to_owned() }
    })
}

fn has_one_of(pid: u32, wanted: &[String]) -> bool {
    // It may have ended since, or not be ours to look at.
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|descriptor| {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        wanted.iter().any(|socket| target.as_os_str() == socket.as_str())
    })
}

/// The inodes of those sockets of a table (proc(5), `/proc/net/tcp`) whose own address meets `address`.
fn in_the_way(table: &str, address: SocketAddr) -> Vec<u64> {
    let sockets = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (own, port) = fields.get(1)?.split_once(':')?;
        let (own, port) = (read_address(own)?, u16::from_str_radix(port, 16).ok()?);
        let everywhere = own.is_unspecified() || address.ip().is_unspecified();
        // A socket of IPv6 on all addresses may take IPv4 as well.
        let family = own.is_ipv4() == address.is_ipv4() || (own.is_ipv6() && own.is_unspecified());
        let meets = port == address.port() && family && (own == address.ip() || everywhere);
        meets.then(|| fields.get(9)?.parse().ok()).flatten()
    });
    // Those that no process has any more, such as in TIME_WAIT, have none.
    sockets.filter(|inode| *inode != 0).collect()
}

/// An address as the tables have it: words of 32 bits in the machine's order, in hexadecimal digits.
fn read_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut octets = [0; 16];
    for (number, four) in octets.chunks_mut(4).enumerate() {
        four.copy_from_slice(&word(number * 8)?);
    }
    Some(Ipv6Addr::from(octets).to_canonical())
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

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let four = format!("{:08X}", u32::from_ne_bytes([10, 1, 2, 3]));
        assert_eq!(read_address(&four), Some("10.1.2.3".parse().unwrap()));
        let address: Ipv6Addr = "fd00::12:3456".parse().unwrap();
        let words = address.octets();
        let six: String = words
            .chunks(4)
            .map(|four| format!("{:08X}", u32::from_ne_bytes([four[0], four[1], four[2], four[3]])))
            .collect();
        assert_eq!(read_address(&six), Some(address.into()));
        assert_eq!(read_address("0A0B"), None);
    }
}
