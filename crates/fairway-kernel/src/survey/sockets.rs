//! Sockets that wait for packets.

use std::net::{IpAddr, Ipv6Addr};

use fairway_core::model::Protocol;
use fairway_core::path::Listener;

use crate::socket_table::{Entry, entries};

/// `TCP_LISTEN`.
const LISTENING: u8 = 0x0a;
/// `TCP_CLOSE`: of a UDP socket, that it is not connected.
const UNCONNECTED: u8 = 0x07;
/// The tables, their protocol, and the state of a socket that waits there.
const TABLES: [(&str, Protocol, u8); 4] = [
    ("tcp", Protocol::Tcp, LISTENING),
    ("tcp6", Protocol::Tcp, LISTENING),
    ("udp", Protocol::Udp, UNCONNECTED),
    ("udp6", Protocol::Udp, UNCONNECTED),
];

/// The sockets of the namespace of the calling thread that wait.
pub(super) fn listeners() -> Vec<Listener> {
    let waiting = |(table, protocol, state): (&str, Protocol, u8)| {
        let waiting = entries(table).into_iter().filter(move |socket| socket.state == state);
        waiting.map(move |socket| listener(&socket, protocol))
    };
    TABLES.into_iter().flat_map(waiting).collect()
}

fn listener(socket: &Entry, protocol: Protocol) -> Listener {
    Listener {
        protocol: protocol.number(),
        address: socket.address,
        port: socket.port,
        both_families: socket.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        held: false,
        owner: format!("{}{}", Listener::UNNAMED, socket.inode),
        proxy: None,
    }
}
