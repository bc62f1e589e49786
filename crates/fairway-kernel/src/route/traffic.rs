//! Packet and byte counters of links.

use super::message::{IFINFO_LENGTH, ifinfo};
use super::{Error, Link, Links, unless_gone};
use crate::netlink::{Batch, Message};

/// `IFLA_STATS64` of `<linux/if_link.h>`.
const IFLA_STATS64: u16 = 23;
/// How many links are read at once: the answers have to fit into the receive buffer.
const AT_ONCE: usize = 64;

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
    /// Reads the counters of these links by name; missing links are left out.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn traffic(&self, names: &[String]) -> Result<Vec<(String, LinkTraffic)>, Error> {
        let mut found = Vec::new();
        for names in names.chunks(AT_ONCE) {
            let mut batch = Batch::new();
            for name in names {
                batch
                    .message(libc::RTM_GETLINK, 0, format!("read the counters of {name}"))
                    .raw(&ifinfo(0, None))
                    .text(libc::IFLA_IFNAME, name);
            }
            let replies = unless_gone(self.socket.transact_each(&mut batch)?)?;
            let read = |reply| Some((Link::parse(reply)?.name, LinkTraffic::parse(reply)?));
            found.extend(replies.iter().filter_map(read));
        }
        Ok(found)
    }
}
