//! Virtual servers of IPVS, which send connections on to real servers.

use std::net::{IpAddr, SocketAddr};

use super::packet::Tuple;

/// A virtual server of IPVS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualServer {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 for all.
    pub port: u16,
    /// The scheduler: `rr`, `wrr`, `lc`, `sh` and so on.
    pub scheduler: String,
    /// Whether a client keeps its real server for some time.
    pub persistent: bool,
    /// The real servers.
    pub servers: Vec<RealServer>,
}

/// A real server of a virtual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealServer {
    /// Its address and port.
    pub address: SocketAddr,
    /// How packets get there: `Masq`, `Route`, `Tunnel`, `Local`.
    pub forwarding: String,
    /// Its weight; of 0 it gets no new connections.
    pub weight: u32,
}

impl VirtualServer {
    /// Whether a packet is for it.
    pub(crate) fn takes(&self, tuple: &Tuple) -> bool {
        self.protocol == tuple.protocol
            && self.address == tuple.destination
            && (self.port == 0 || self.port == tuple.destination_port)
    }

    /// The real servers that get new connections.
    pub(crate) fn available(&self) -> impl Iterator<Item = &RealServer> {
        self.servers.iter().filter(|server| server.weight > 0)
    }

    /// The share of a real server of new connections, of how many shares; none if it depends on other connections or on
    /// the client.
    pub(crate) fn share(&self, server: &RealServer) -> Option<(u64, u64)> {
        let weight = |server: &RealServer| match self.scheduler.as_str() {
            "rr" => Some(1),
            "wrr" => Some(u64::from(server.weight)),
            _ => None,
        };
        if self.persistent {
            return None;
        }
        Some((weight(server)?, self.available().filter_map(weight).sum()))
    }
}
