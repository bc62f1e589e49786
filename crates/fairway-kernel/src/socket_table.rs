//! Reads the kernel's socket tables (proc(5), `/proc/net/tcp` and others).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `TCP_LISTEN` (`include/net/tcp_states.h`).
pub const LISTENING: u8 = 0x0a;
/// `TCP_CLOSE`: the state of an unconnected UDP socket.
pub const UNCONNECTED: u8 = 0x07;

/// An entry of a socket table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its own address.
    pub address: IpAddr,
    /// Its own port.
    pub port: u16,
    /// Its state, as a number of `include/net/tcp_states.h`.
    pub state: u8,
    /// Its inode; 0 for sockets without a process, such as in TIME_WAIT.
    pub inode: u64,
}

/// The sockets of a table (`tcp`, `udp6`) in the network namespace of the calling thread. Empty if there is no such
/// table.
pub(crate) fn entries(table: &str) -> Vec<Entry> {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    parse(&text).collect()
}

/// The sockets in the text of a table. Lines that cannot be read are passed over.
pub fn parse(text: &str) -> impl Iterator<Item = Entry> {
    text.lines().skip(1).filter_map(entry)
}

fn entry(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Entry {
        address: read_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
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
    use super::*;

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
        assert_eq!(read_address("0100007F"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(read_address("00000000000000000000000001000000"), Some("::1".parse().unwrap()));
        for broken in ["", "0A0B", "0100007G", "0000000000000000000000000100000", "ééééé"] {
            assert_eq!(read_address(broken), None, "{broken}");
        }
    }
}
