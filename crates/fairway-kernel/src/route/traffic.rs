//! Packet and byte counters of links.

use super::message::{DUMP, IFINFO_LENGTH, ifinfo};
use super::{Error, Link, Links};
use crate::netlink::{Batch, Message};

/// `IFLA_STATS64` of `<linux/if_link.h>`.
const IFLA_STATS64: u16 = 23;

/// The counters of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkTraffic {
    /// Received packets.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Sent packets.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

impl LinkTraffic {
    /// Parses the beginning of `struct rtnl_link_stats64`.
    fn parse(message: &Message) -> Option<Self> {
        let found = message.attributes(IFINFO_LENGTH).find(IFLA_STATS64)?;
        let number = |position: usize| {
            let bytes = found.value.get(position * 8..position * 8 + 8)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            received_packets: number(0)?,
            sent_packets: number(1)?,
            received_bytes: number(2)?,
            sent_bytes: number(3)?,
        })
    }
}

impl Links {
    /// Reads the counters of all bridges, by name.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn bridge_traffic(&self) -> Result<Vec<(String, LinkTraffic)>, Error> {
        let mut batch = Batch::new();
        batch.message(libc::RTM_GETLINK, DUMP, "read the counters of bridges").raw(&ifinfo(0, None)).nest(
            libc::IFLA_LINKINFO,
            |info| {
                info.text(libc::IFLA_INFO_KIND, "bridge");
            },
        );
        let read = |kind, payload: &[u8]| {
            let reply = Message { kind, flags: 0, port: 0, payload: payload.to_vec() };
            Some((Link::parse(&reply)?.name, LinkTraffic::parse(&reply)?))
        };
        Ok(self.socket.dump_map(&mut batch, read)?)
    }
}
