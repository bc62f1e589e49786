//! Events of new and destroyed flows.

use std::os::fd::{AsFd, BorrowedFd};

use fairway_walk::Tuple;

use super::{
    GET, HEADER, ID, IPV4_DESTINATION, IPV4_SOURCE, IPV6_DESTINATION, IPV6_SOURCE, PROTOCOL_NUMBER,
    SOURCE_PORT, TUPLE_IP, TUPLE_ORIGINAL, TUPLE_PROTOCOL, TUPLE_REPLY,
};
use crate::conntrack::DESTINATION_PORT;
use crate::netlink::{Attributes, Batch, Error, Message, Protocol, Socket};

/// `NFNLGRP_CONNTRACK_NEW` and `NFNLGRP_CONNTRACK_DESTROY`.
const GROUPS: [u32; 2] = [1, 3];
/// `IPCTNL_MSG_CT_NEW` and `IPCTNL_MSG_CT_DELETE`.
const NEW: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const DELETED: u16 = NEW | 2;
/// `CTA_PROTO_ICMP_ID` and `CTA_PROTO_ICMPV6_ID`.
const IDENTIFIERS: [u16; 2] = [4, 7];
const RECEIVE_BUFFER: usize = 4 << 20;

/// A new or destroyed flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEvent {
    /// Whether it was destroyed.
    pub is_gone: bool,
    /// The kernel's id for it.
    pub id: u32,
    /// The original direction: its first packet before NAT.
    pub original: Tuple,
    /// The reply direction.
    pub reply: Tuple,
}

/// Receives the events of flows of one namespace. Its descriptor is readable when events wait.
#[derive(Debug)]
pub struct FlowEvents {
    socket: Socket,
}

impl FlowEvents {
    /// Subscribes in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Protocol::Netfilter)?;
        socket.grow_receive_buffer(RECEIVE_BUFFER)?;
        GROUPS.into_iter().try_for_each(|group| socket.join(group))?;
        Ok(Self { socket })
    }

    /// Passes waiting events to `take`, in order. Does not wait. Returns whether none was lost.
    ///
    /// # Errors
    /// [`Error::Receive`], [`Error::Malformed`].
    pub fn drain(&self, take: &mut dyn FnMut(FlowEvent)) -> Result<bool, Error> {
        let taken = self.socket.take_notifications(&mut |message: Message| {
            let is_gone = message.kind == DELETED;
            if (is_gone || message.kind == NEW)
                && let Some(event) = read(&message.payload, is_gone)
            {
                take(event);
            }
        });
        match taken {
            Ok(()) => Ok(true),
            Err(Error::Overrun) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for FlowEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lists the flows of the calling thread's namespace for which `wanted` is true, of all protocols.
///
/// # Errors
/// [`Error::Refused`] where the kernel has no `nf_conntrack_netlink`.
pub fn matching_flows(wanted: impl Fn(&FlowEvent) -> bool) -> Result<Vec<FlowEvent>, Error> {
    let socket = Socket::open(Protocol::Netfilter)?;
    let mut request = Batch::new();
    request.message(GET, libc::NLM_F_DUMP as u16, "the list of tracked flows").raw(&[0; HEADER]);
    socket.dump_map(&mut request, |_, payload| read(payload, false).filter(&wanted))
}

fn read(payload: &[u8], is_gone: bool) -> Option<FlowEvent> {
    let attributes = Attributes::new(payload.get(HEADER..)?);
    Some(FlowEvent {
        is_gone,
        id: attributes.find(ID)?.be32()?,
        original: tuple(attributes.nested(TUPLE_ORIGINAL))?,
        reply: tuple(attributes.nested(TUPLE_REPLY))?,
    })
}

fn tuple(attributes: Attributes<'_>) -> Option<Tuple> {
    let ip = attributes.nested(TUPLE_IP);
    let address = |ipv4, ipv6| ip.find(ipv4).or_else(|| ip.find(ipv6))?.address();
    let protocol = attributes.nested(TUPLE_PROTOCOL);
    let number = |kind| protocol.find(kind).and_then(|found| found.be16());
    let identifier = || IDENTIFIERS.into_iter().find_map(number);
    Some(Tuple {
        source: address(IPV4_SOURCE, IPV6_SOURCE)?,
        destination: address(IPV4_DESTINATION, IPV6_DESTINATION)?,
        protocol: protocol.find(PROTOCOL_NUMBER)?.u8()?,
        source_port: number(SOURCE_PORT).or_else(identifier).unwrap_or_default(),
        destination_port: number(DESTINATION_PORT).unwrap_or_default(),
    })
}
