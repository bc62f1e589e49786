//! Connection tracking: lists and deletes the kernel's flows.
//!
//! A flow keeps the NAT of its first packet. When the address behind a published port changes, packets of old UDP
//! flows would still go to the old address; so the flows are deleted and the next packet is evaluated anew. The
//! format is that of
//! `<linux/netfilter/nfnetlink_conntrack.h>`.

#![warn(clippy::indexing_slicing)]

mod events;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use fairway_core::traffic;
use fairway_model::Protocol;
use rustix::io::Errno;

use crate::netlink::{self, Attributes, Batch, Error, Socket};

pub use events::{FlowEvent, FlowEvents, matching_flows};

/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
const GET: u16 = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | 1;
const DELETE: u16 = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | 2;
/// `IPCTNL_MSG_CT_GET_STATS`.
const GET_STATISTICS: u16 = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | 5;
/// `CTA_STATS_GLOBAL_ENTRIES`.
const FLOW_COUNT: u16 = 1;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const TUPLE_ZONE: u16 = 3;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;
const IPV6_SOURCE: u16 = 3;
const IPV6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// How many deletions are sent at once: the refusals have to fit into the receive buffer.
const MAX_DELETED_TOGETHER: usize = 256;

/// One direction of a flow. Ports are zero for protocols without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The IP protocol's number.
    pub protocol: u8,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
}

/// A flow of the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The original direction: its first packet before NAT.
    pub original: Tuple,
    /// The reply direction.
    pub reply: Tuple,
    /// The kernel's id for it.
    pub id: u32,
    /// Its zone; zero by default.
    pub zone: u16,
    /// Whether the zone is part of the original tuple only (`CTA_TUPLE_ZONE`).
    zone_of_original: bool,
}

/// Selects flows. In a destination, the unspecified address means every address of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Flows to a port.
    OriginalDestination(Protocol, SocketAddr),
    /// Of these, the flows with DNAT: another address answers. A flow through this host to the same port of another
    /// host is not included.
    Translated(Protocol, SocketAddr),
    /// Of these, the flows without DNAT.
    Untranslated(Protocol, SocketAddr),
    /// Flows that have an address at either end, before or after NAT.
    Address(IpAddr),
}

impl Selector {
    /// The selectors that can match a flow: few, so that a lookup in a large set is cheap.
    fn of(flow: &Flow) -> impl Iterator<Item = Self> {
        let Tuple { destination, destination_port, protocol, .. } = flow.original;
        let at = SocketAddr::new(destination, destination_port);
        let protocol = Protocol::from_number(protocol);
        let translated = destination != flow.reply.source;
        let sent = protocol.into_iter().flat_map(move |protocol| {
            [at, traffic::wildcard(at)].into_iter().flat_map(move |at| {
                let plain = Self::OriginalDestination(protocol, at);
                match translated {
                    true => [plain, Self::Translated(protocol, at)],
                    false => [plain, Self::Untranslated(protocol, at)],
                }
            })
        });
        let ends = [flow.original, flow.reply].map(|tuple| [tuple.source, tuple.destination]);
        sent.chain(ends.into_iter().flatten().map(Self::Address))
    }
}

/// The flows of one namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(netlink::Protocol::Netfilter)? })
    }

    /// Lists the flows that any of the selectors matches, IPv4 and IPv6.
    ///
    /// # Errors
    /// [`Error::Refused`] where the kernel has no `nf_conntrack_netlink`.
    pub fn flows(&self, selectors: &HashSet<Selector>) -> Result<Vec<Flow>, Error> {
        let mut request = Batch::new();
        // AF_UNSPEC: all families.
        request.message(GET, libc::NLM_F_DUMP as u16, "the list of tracked flows").raw(&[0; HEADER]);
        self.socket.dump_map(&mut request, |_, payload| {
            parse(payload).filter(|flow| Selector::of(flow).any(|selector| selectors.contains(&selector)))
        })
    }

    /// Lists the flows of a protocol whose destination is translated, IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`Self::flows`].
    pub fn translated(&self, protocol: Protocol) -> Result<Vec<Flow>, Error> {
        if self.count()? == 0 {
            return Ok(Vec::new());
        }
        let mut request = Batch::new();
        request.message(GET, libc::NLM_F_DUMP as u16, "the list of tracked flows").raw(&[0; HEADER]);
        let is_translated = |flow: &Flow| {
            flow.original.protocol == protocol.number() && flow.original.destination != flow.reply.source
        };
        self.socket.dump_map(&mut request, |_, payload| parse(payload).filter(is_translated))
    }

    /// The number of flows, at no cost. Listing them walks a table that is large however few it holds.
    ///
    /// # Errors
    /// As [`Self::flows`].
    pub fn count(&self) -> Result<usize, Error> {
        let mut request = Batch::new();
        request.message(GET_STATISTICS, 0, "the count of tracked flows").raw(&[0; HEADER]);
        let replies = self.socket.transact(&mut request)?;
        let count = replies.first().and_then(|reply| reply.attributes(HEADER).find(FLOW_COUNT)?.be32());
        Ok(count.map_or(usize::MAX, |count| count as usize))
    }

    /// Deletes the flows that any of the selectors matches, and returns their number.
    ///
    /// # Errors
    /// As [`Self::flows`].
    pub fn delete(&self, selectors: &HashSet<Selector>) -> Result<usize, Error> {
        if selectors.is_empty() || self.count()? == 0 {
            return Ok(0);
        }
        let flows = self.flows(selectors)?;
        let mut deleted = 0;
        for chunk in flows.chunks(MAX_DELETED_TOGETHER) {
            let mut batch = Batch::new();
            chunk.iter().for_each(|flow| forget(&mut batch, flow));
            let refusals = self.socket.transact_each(&mut batch)?.refusals;
            deleted += chunk.len() - refusals.len();
            // A flow that ended meanwhile is gone as well.
            if let Some(refusal) = refusals.into_iter().find(|refusal| refusal.errno != Errno::NOENT) {
                return Err(Error::Refused(refusal));
            }
        }
        Ok(deleted)
    }
}

fn forget(batch: &mut Batch, flow: &Flow) {
    let tuple = flow.original;
    let family = if tuple.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let mut message = batch.message(DELETE, 0, "forget a tracked flow");
    message.raw(&[family, 0, 0, 0]);
    message.nest(TUPLE_ORIGINAL, |attributes| {
        attributes.nest(TUPLE_IP, |ip| {
            let ipv4 = tuple.source.is_ipv4();
            ip.address(if ipv4 { IPV4_SOURCE } else { IPV6_SOURCE }, tuple.source)
                .address(if ipv4 { IPV4_DESTINATION } else { IPV6_DESTINATION }, tuple.destination);
        });
        attributes.nest(TUPLE_PROTOCOL, |protocol| {
            protocol
                .u8(PROTOCOL_NUMBER, tuple.protocol)
                .be16(SOURCE_PORT, tuple.source_port)
                .be16(DESTINATION_PORT, tuple.destination_port);
        });
        if flow.zone_of_original {
            attributes.be16(TUPLE_ZONE, flow.zone);
        }
    });
    if flow.zone != 0 && !flow.zone_of_original {
        message.be16(ZONE, flow.zone);
    }
    // The id, so that a new flow with the same tuple stays.
    message.be32(ID, flow.id);
}

fn parse(payload: &[u8]) -> Option<Flow> {
    let attributes = Attributes::new(payload.get(HEADER..)?);
    let original = attributes.nested(TUPLE_ORIGINAL);
    let own_zone = original.find(TUPLE_ZONE).and_then(|zone| zone.be16());
    let zone = attributes.find(ZONE).and_then(|zone| zone.be16());
    Some(Flow {
        original: tuple(original)?,
        reply: tuple(attributes.nested(TUPLE_REPLY))?,
        id: attributes.find(ID)?.be32()?,
        zone: zone.or(own_zone).unwrap_or(0),
        zone_of_original: zone.is_none() && own_zone.is_some(),
    })
}

/// Parses a tuple; none for protocols without ports, such as ICMP: their flows are not needed here and end soon.
fn tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let ip = attributes.nested(TUPLE_IP);
    let address = |ipv4, ipv6| ip.find(ipv4).or_else(|| ip.find(ipv6))?.address();
    let protocol = attributes.nested(TUPLE_PROTOCOL);
    Some(Tuple {
        source: address(IPV4_SOURCE, IPV6_SOURCE)?,
        destination: address(IPV4_DESTINATION, IPV6_DESTINATION)?,
        protocol: protocol.find(PROTOCOL_NUMBER)?.u8()?,
        source_port: protocol.find(SOURCE_PORT)?.be16()?,
        destination_port: protocol.find(DESTINATION_PORT)?.be16()?,
    })
}

#[cfg(test)]
mod tests;
