//! Sets of `ipset`: lists them with their entries. The format is that of `<linux/netfilter/ipset/ip_set.h>`.

#![warn(clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_model::MacAddress;
use fairway_ruleset::iptables_save::{IpSet, IpSetMember};

use crate::netlink::{self, Attribute, Attributes, Batch, Error, Socket};

/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// `IPSET_CMD_LIST`.
const LIST: u16 = ((libc::NFNL_SUBSYS_IPSET as u16) << 8) | 7;
/// `IPSET_PROTOCOL_MIN`: what this version of the protocol has is in all later ones.
const VERSION: u8 = 6;
/// `IPSET_ATTR_*` of a set.
const PROTOCOL: u16 = 1;
const NAME: u16 = 2;
const TYPE: u16 = 3;
const DATA: u16 = 7;
const ENTRIES: u16 = 8;
/// `IPSET_ATTR_*` of an entry.
const ADDRESS: u16 = 1;
const LAST_ADDRESS: u16 = 2;
const PREFIX: u16 = 3;
const PORT: u16 = 4;
const LAST_PORT: u16 = 5;
const TIMEOUT: u16 = 6;
const TRANSPORT: u16 = 7;
const FLAGS: u16 = 8;
const ETHER: u16 = 17;
const SECOND_ADDRESS: u16 = 20;
const SECOND_PREFIX: u16 = 21;
const INTERFACE: u16 = 23;
/// `IPSET_FLAG_PHYSDEV`, `IPSET_FLAG_NOMATCH`, `IPSET_FLAG_IFACE_WILDCARD`.
const SPECIAL: u32 = 2 | 4 | 128;

/// The sets of the namespace of the calling thread.
///
/// # Errors
/// [`Error::Refused`] where the kernel has no `ip_set`.
pub fn sets() -> Result<Vec<IpSet>, Error> {
    let socket = Socket::open(netlink::Protocol::Netfilter)?;
    let mut request = Batch::new();
    let mut message = request.message(LIST, libc::NLM_F_DUMP as u16, "the list of ipsets");
    message.raw(&[libc::AF_INET as u8, 0, 0, 0]).u8(PROTOCOL, VERSION);
    drop(message);
    let mut sets: Vec<IpSet> = Vec::new();
    for part in socket.dump(&mut request)? {
        let attributes = part.attributes(HEADER);
        let Some(name) = attributes.find(NAME).and_then(|it| it.text()) else { continue };
        // A set with many entries comes in several parts.
        let place = sets.iter().position(|set| set.name == name).unwrap_or(sets.len());
        if place == sets.len() {
            sets.push(IpSet {
                name: name.to_owned(),
                kind: String::new(),
                vanishes: false,
                members: Vec::new(),
            });
        }
        let Some(set) = sets.get_mut(place) else { continue };
        if let Some(kind) = attributes.find(TYPE).and_then(|it| it.text()) {
            set.kind = kind.to_owned();
            set.vanishes = attributes.nested(DATA).find(TIMEOUT).is_some();
        }
        set.members.extend(attributes.nested(ENTRIES).map(|entry| member(entry.nested())));
    }
    Ok(sets)
}

fn member(data: Attributes<'_>) -> IpSetMember {
    let prefix = |kind| data.find(kind).and_then(|it| it.u8());
    let last = data.find(LAST_ADDRESS).and_then(address);
    let range = |kind, length: Option<u8>, last: Option<IpAddr>| {
        let first = data.find(kind).and_then(address)?;
        Some((first, last.or_else(|| last_of(first, length?)).unwrap_or(first)))
    };
    let ranges = [range(ADDRESS, prefix(PREFIX), last), range(SECOND_ADDRESS, prefix(SECOND_PREFIX), None)];
    let port = |kind| data.find(kind).and_then(|it| it.be16());
    let flags = data.find(FLAGS).and_then(|it| it.be32()).unwrap_or_default();
    // 0 is an entry that stays.
    let seconds = data.find(TIMEOUT).and_then(|it| it.be32()).filter(|seconds| *seconds != 0);
    IpSetMember {
        addresses: ranges.into_iter().flatten().collect(),
        protocol: data.find(TRANSPORT).and_then(|it| it.u8()),
        ports: port(PORT).map(|first| (first, port(LAST_PORT).unwrap_or(first))),
        mac: data.find(ETHER).and_then(|it| Some(MacAddress(it.value.try_into().ok()?))),
        interface: data.find(INTERFACE).and_then(|it| it.text()).map(str::to_owned),
        is_special: flags & SPECIAL != 0,
        expires: seconds.map(|seconds| u64::from(seconds) * 1_000),
    }
}

fn address(attribute: Attribute<'_>) -> Option<IpAddr> {
    attribute.nested().next()?.address()
}

/// The last address of a prefix.
fn last_of(first: IpAddr, length: u8) -> Option<IpAddr> {
    Some(match first {
        IpAddr::V4(first) => {
            let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(first) | host).into()
        }
        IpAddr::V6(first) => {
            let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(first) | host).into()
        }
    })
}
