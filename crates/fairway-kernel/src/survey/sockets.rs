//! Sockets that wait for packets (proc(5), `/proc/net/tcp`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_core::path::Listener;

/// The tables, the number of their protocol, and the state of a socket that waits there: `TCP_LISTEN`, or for UDP
/// `TCP_CLOSE`, which is not connected.
const TABLES: [(&str, u8, &str); 4] =
    [("tcp", 6, "0A"), ("tcp6", 6, "0A"), ("udp", 17, "07"), ("udp6", 17, "07")];

/// The sockets of the namespace of the calling thread that wait. Those that cannot be read are left out.
pub(super) fn listeners() -> Vec<Listener> {
    let mut listeners = Vec::new();
    for (table, protocol, state) in TABLES {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        listeners.extend(text.lines().skip(1).filter_map(|line| listener(line, protocol, state)));
    }
    listeners
}

fn listener(line: &str, protocol: u8, state: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, found) = (fields.get(1)?, fields.get(3)?);
    if *found != state {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address = address_of(address)?;
    Some(Listener {
        protocol,
        address,
        port: u16::from_str_radix(port, 16).ok()?,
        both_families: address == IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        held: false,
        owner: format!("{}{}", Listener::UNNAMED, fields.get(9).unwrap_or(&"")),
        proxy: None,
    })
}

/// An address as the kernel prints it: groups of four bytes, each in the host's order.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..text.len()).step_by(8) {
        let group = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(group.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
    }
}
