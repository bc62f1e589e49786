//! Listening sockets, by sock_diag(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_model::Protocol;
use fairway_walk::Listener;

use crate::netlink::{Batch, Error, Message, Protocol as Kind, Socket};
use crate::socket_table::{Entry, LISTENING, UNCONNECTED};

/// The listening sockets of the namespace of the calling thread. Unlike `/proc/net`, sock_diag does not walk all
/// connections.
///
/// # Errors
/// A netlink exchange failed.
pub fn listeners() -> Result<Vec<Listener>, Error> {
    let waiting = Waiting::open()?;
    let mut found = waiting.at(Protocol::Tcp, ANY)?;
    found.extend(waiting.at(Protocol::Udp, ANY)?);
    Ok(found)
}

fn listener(socket: &Entry, protocol: Protocol) -> Listener {
    Listener {
        protocol: protocol.number(),
        address: socket.address,
        port: socket.port,
        both_families: socket.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        interface: None,
        held: false,
        owner: format!("{}{}", Listener::UNNAMED, socket.inode),
        proxy: None,
    }
}

const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// `SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// The lengths of `struct inet_diag_req_v2` and `struct inet_diag_msg`, linux/inet_diag.h.
const REQUEST: usize = 56;
const ANSWER: usize = 72;
/// Port 0, which no listening socket has: all ports.
const ANY: u16 = 0;
/// `INET_DIAG_SKV6ONLY`: that a socket of IPv6 takes no IPv4.
const IPV6_ONLY: u16 = 11;

/// Finds sockets by port; the kernel filters, since its tables may be long.
#[derive(Debug)]
pub(super) struct Waiting {
    socket: Socket,
}

impl Waiting {
    /// Opens the namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Kind::Sockets)? })
    }

    /// The sockets that listen at a port, or at [`ANY`].
    pub(super) fn at(&self, protocol: Protocol, port: u16) -> Result<Vec<Listener>, Error> {
        let state = match protocol {
            Protocol::Tcp => LISTENING,
            Protocol::Udp => UNCONNECTED,
            // Their table has ports only (`/proc/net/sctp/eps`).
            Protocol::Sctp => return Ok(Vec::new()),
        };
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut request = [0; REQUEST];
            request[..2].copy_from_slice(&[family as u8, protocol.number()]);
            request[4..8].copy_from_slice(&(1_u32 << state).to_ne_bytes());
            request[8..10].copy_from_slice(&port.to_be_bytes());
            let mut batch = Batch::new();
            batch.message(BY_FAMILY, DUMP, format!("the sockets at port {port}/{protocol}")).raw(&request);
            let replies = self.socket.dump(&mut batch)?;
            found.extend(replies.iter().filter_map(|reply| waiting(reply, protocol)));
        }
        // An old kernel does not filter.
        found.retain(|listener| port == ANY || listener.port == port);
        Ok(found)
    }
}

/// Parses `struct inet_diag_msg`.
fn waiting(message: &Message, protocol: Protocol) -> Option<Listener> {
    let bytes: &[u8; ANSWER] = message.payload.first_chunk()?;
    let source: [u8; 16] = bytes[8..24].try_into().ok()?;
    let address = match i32::from(bytes[0]) {
        libc::AF_INET => Ipv4Addr::from(*source.first_chunk()?).into(),
        _ => Ipv6Addr::from(source).to_canonical(),
    };
    let only = message.attributes(ANSWER).find(IPV6_ONLY).and_then(|found| found.u8());
    let inode = u32::from_ne_bytes(bytes[68..72].try_into().ok()?);
    let interface = u32::from_ne_bytes(bytes[40..44].try_into().ok()?);
    Some(Listener {
        interface: (interface != 0).then_some(interface),
        both_families: address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && only.is_none_or(|only| only == 0),
        ..listener(
            &Entry {
                address,
                port: u16::from_be_bytes([bytes[4], bytes[5]]),
                state: bytes[1],
                inode: inode.into(),
            },
            protocol,
        )
    })
}
