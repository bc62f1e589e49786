//! Observes links, addresses and routes as plain values.

use std::net::IpAddr;

use fairway_model::MacAddress;
use ipnet::IpNet;

use super::link_detail::{IFLA_XDP, LinkDetail};
use super::message::{
    IFADDR_LENGTH, IFINFO_LENGTH, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_MODE, IFLA_BRPORT_STATE, RTMSG_LENGTH,
    dump_addresses, dump_links, dump_routes, get_link,
};
use super::{Error, Links, Mark, unless_gone};
use crate::netlink::{Attributes, Batch, Message};

/// An observed link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver (`veth`, `bridge`); none for hardware and loopback.
    pub kind: Option<String>,
    /// Its Ethernet address, where it has one.
    pub mac: Option<MacAddress>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Whether it is up (`IFF_UP`).
    pub up: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Hairpin mode; none if it is not a bridge port.
    pub hairpin: Option<bool>,
    /// The state of the bridge port (`BR_STATE_*`); none if it is not one.
    pub port_state: Option<u8>,
    /// As a bridge port: whether it takes no frames of other isolated ports.
    pub isolated: bool,
    /// Its alias.
    pub alias: Option<String>,
    /// Its alternative names.
    pub alternative_names: Vec<String>,
    /// Its link group.
    pub group: u32,
    /// The index of the other end of a veth pair, in that end's namespace.
    pub peer: Option<u32>,
    /// This namespace's id for that namespace (`IFLA_LINK_NETNSID`); none if it is the same.
    pub peer_namespace: Option<i32>,
    /// What its driver says of it.
    pub detail: LinkDetail,
    /// Its IPv4 sysctls; none if it has no IPv4.
    pub ipv4: Option<Ipv4Settings>,
}

/// IPv4 sysctls of an interface (`net.ipv4.conf.NAME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ipv4Settings {
    /// Whether packets that arrive there may be forwarded (`forwarding`).
    pub forwarding: bool,
    /// Reverse path filtering (`rp_filter`).
    pub reverse_path: u8,
    /// Whether 127.0.0.0/8 may be routed by it (`route_localnet`).
    pub route_localnet: bool,
}

/// Indexes in the list of sysctls (`IPV4_DEVCONF_*`, linux/ip.h), which begin at 1.
const FORWARDING: usize = 1;
const REVERSE_PATH: usize = 8;
const ROUTE_LOCALNET: usize = 26;
/// The attribute with the list of sysctls (linux/if_link.h).
const IFLA_INET_CONF: u16 = 1;

impl Ipv4Settings {
    /// Parses `IFLA_AF_SPEC`.
    fn parse(families: Attributes<'_>) -> Option<Self> {
        let list = families.nested(libc::AF_INET as u16).find(IFLA_INET_CONF)?.value;
        let setting = |place: usize| {
            let bytes = list.get((place - 1) * 4..place * 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            forwarding: setting(FORWARDING)? != 0,
            reverse_path: setting(REVERSE_PATH)?.try_into().ok()?,
            // Before Linux 3.6 there was none.
            route_localnet: setting(ROUTE_LOCALNET).unwrap_or_default() != 0,
        })
    }
}

impl Link {
    /// Fairway's mark on it.
    pub fn mark(&self) -> Option<Mark> {
        self.alias.as_deref().and_then(Mark::parse)
    }

    /// The uplink that a bridge enslaves, as its alias says.
    pub fn parent(&self) -> Option<&str> {
        self.mark()?;
        self.alias.as_deref()?.strip_prefix("fairway:network:")?.split_once(':').map(|(_, parent)| parent)
    }

    /// Parses `RTM_NEWLINK` and `RTM_DELLINK`.
    pub(crate) fn parse(message: &Message) -> Option<Self> {
        let header: &[u8; IFINFO_LENGTH] = message.payload.first_chunk()?;
        let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let mut link = Self {
            index: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            up: flags & libc::IFF_UP as u32 != 0,
            loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
            master: None,
            hairpin: None,
            port_state: None,
            isolated: false,
            alias: None,
            alternative_names: Vec::new(),
            group: 0,
            peer: None,
            peer_namespace: None,
            detail: LinkDetail::default(),
            ipv4: None,
        };
        for attribute in message.attributes(IFINFO_LENGTH) {
            match attribute.kind {
                libc::IFLA_IFNAME => link.name = attribute.text()?.to_owned(),
                libc::IFLA_ADDRESS => link.mac = attribute.value.try_into().ok().map(MacAddress),
                libc::IFLA_MTU => link.mtu = attribute.u32()?,
                libc::IFLA_MASTER => link.master = attribute.u32(),
                libc::IFLA_IFALIAS => link.alias = attribute.text().map(str::to_owned),
                libc::IFLA_PROP_LIST => {
                    let names = attribute.nested().filter(|property| property.kind == libc::IFLA_ALT_IFNAME);
                    link.alternative_names =
                        names.filter_map(|name| name.text().map(str::to_owned)).collect();
                }
                libc::IFLA_GROUP => link.group = attribute.u32()?,
                libc::IFLA_LINK => link.peer = attribute.u32(),
                libc::IFLA_LINK_NETNSID => link.peer_namespace = attribute.i32(),
                libc::IFLA_LINKINFO => link.read_info(attribute.nested()),
                IFLA_XDP => link.detail.read_programs(attribute.nested()),
                libc::IFLA_AF_SPEC => link.ipv4 = Ipv4Settings::parse(attribute.nested()),
                _ => {}
            }
        }
        Some(link)
    }

    fn read_info(&mut self, info: Attributes<'_>) {
        self.kind = info.find(libc::IFLA_INFO_KIND).and_then(|kind| kind.text()).map(str::to_owned);
        let slave = info.find(libc::IFLA_INFO_SLAVE_KIND).and_then(|kind| kind.text());
        if slave == Some("bridge") {
            let port = info.nested(libc::IFLA_INFO_SLAVE_DATA);
            let flag = |number| Some(port.find(number)?.u8()? != 0);
            self.hairpin = flag(IFLA_BRPORT_MODE);
            self.port_state = port.find(IFLA_BRPORT_STATE).and_then(|state| state.u8());
            self.isolated = flag(IFLA_BRPORT_ISOLATED).unwrap_or_default();
        }
        let kind = self.kind.as_deref().unwrap_or_default();
        self.detail.read_driver(kind, info.nested(libc::IFLA_INFO_DATA));
    }
}

/// An observed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The index of its interface.
    pub interface: u32,
    /// The address with its prefix length.
    pub address: IpNet,
    /// `RT_SCOPE_UNIVERSE` (0) for global ones; link-local and host-only ones are higher.
    pub scope: u8,
    /// `IFA_F_*` flags.
    pub flags: u32,
}

impl Address {
    /// Whether nothing is sent from it and nothing received: it is tentative, also where duplicate address detection
    /// failed. An optimistic address is used (RFC 4429).
    pub fn is_unusable(&self) -> bool {
        self.flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC) == libc::IFA_F_TENTATIVE
    }

    /// Whether other addresses are preferred as the source of new connections.
    pub fn is_deprecated(&self) -> bool {
        self.flags & libc::IFA_F_DEPRECATED != 0
    }

    /// Parses `RTM_NEWADDR` and `RTM_DELADDR`.
    pub(crate) fn parse(message: &Message) -> Option<Self> {
        let [_, prefix, flags, scope, a, b, c, d]: [u8; IFADDR_LENGTH] = *message.payload.first_chunk()?;
        let attributes = message.attributes(IFADDR_LENGTH);
        // Of a point-to-point address IFA_ADDRESS is the other side; IPv6 may leave IFA_LOCAL out.
        let address = attributes.find(libc::IFA_LOCAL).or_else(|| attributes.find(libc::IFA_ADDRESS))?;
        Some(Self {
            interface: u32::from_ne_bytes([a, b, c, d]),
            address: IpNet::new(address.address()?, prefix).ok()?,
            scope,
            flags: attributes.find(libc::IFA_FLAGS).and_then(|f| f.u32()).unwrap_or(flags.into()),
        })
    }
}

/// An observed route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// The destination; a prefix of length 0 for default routes.
    pub destination: IpNet,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The index of the interface that it leaves by; 0 for one without, such as a blackhole.
    /// Of several next hops it is the first one's.
    pub interface: u32,
    /// How many next hops it has that are not dead, if it has a list of them.
    pub next_hops: usize,
    /// The metric: lower ones are preferred.
    pub metric: u32,
    /// The routing table; 254 is the main one.
    pub table: u32,
    /// `RTN_*`: 1 is unicast, 2 local.
    pub kind: u8,
    /// `RTPROT_*`: 2 is the kernel itself.
    pub protocol: u8,
    /// The source of packets that have none yet (`RTA_PREFSRC`).
    pub source: Option<IpAddr>,
}

/// A default route in the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The next hop; none for an interface without neighbors.
    pub gateway: Option<IpAddr>,
    /// The index of the interface.
    pub interface: u32,
    /// The metric: lower ones are preferred.
    pub metric: u32,
    /// Whether it is IPv6.
    pub ipv6: bool,
}

impl From<&RouteEntry> for DefaultRoute {
    fn from(route: &RouteEntry) -> Self {
        Self {
            gateway: route.gateway,
            interface: route.interface,
            metric: route.metric,
            ipv6: route.destination.addr().is_ipv6(),
        }
    }
}

/// The offsets and values of interface indexes in a list of next hops (`struct rtnexthop`).
pub(super) fn hop_indexes(hops: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let [a, b, ..] = *hops.get(at..at + 8)?.first_chunk::<8>()?;
        let length = usize::from(u16::from_ne_bytes([a, b])).max(8);
        let index = hops.get(at + 4..at + 8)?.try_into().ok().map(u32::from_ne_bytes)?;
        let found = (at + 4, index);
        at += length.next_multiple_of(4);
        Some(found)
    })
}

/// Whether the next hop whose interface index is at an offset can be used (`rtnh_flags` of `struct rtnexthop`).
fn is_alive(hops: &[u8], index_at: usize) -> bool {
    /// `RTNH_F_DEAD`.
    const DEAD: u8 = 1;
    index_at.checked_sub(2).and_then(|at| hops.get(at)).is_some_and(|flags| flags & DEAD == 0)
}

impl RouteEntry {
    /// Parses `RTM_NEWROUTE` and `RTM_DELROUTE`; none for cached and multicast routes.
    pub(crate) fn parse(message: &Message) -> Option<Self> {
        let header: &[u8; RTMSG_LENGTH] = message.payload.first_chunk()?;
        let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        /// `RTM_F_CLONED`: made for one destination.
        const CLONED: u32 = 0x200;
        let any = match i32::from(header[0]) {
            libc::AF_INET => IpAddr::from([0; 4]),
            libc::AF_INET6 => IpAddr::from([0; 16]),
            _ => return None,
        };
        if flags & CLONED != 0 {
            return None;
        }
        let attributes = message.attributes(RTMSG_LENGTH);
        let destination = attributes.find(libc::RTA_DST).and_then(|found| found.address()).unwrap_or(any);
        // struct rtnexthop: length, flags, hops, index; then attributes.
        let hops = attributes.find(libc::RTA_MULTIPATH).map_or(&[][..], |found| found.value);
        let inner = Attributes::new(hops.get(8..).unwrap_or_default());
        let hop_interface = hops.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        Some(Self {
            destination: IpNet::new(destination, header[1]).ok()?,
            gateway: attributes
                .find(libc::RTA_GATEWAY)
                .or_else(|| inner.find(libc::RTA_GATEWAY))
                .and_then(|found| found.address()),
            interface: attributes
                .find(libc::RTA_OIF)
                .and_then(|found| found.u32())
                .or(hop_interface)
                .unwrap_or(0),
            next_hops: hop_indexes(hops).filter(|(at, _)| is_alive(hops, *at)).count(),
            metric: attributes.find(libc::RTA_PRIORITY).and_then(|found| found.u32()).unwrap_or(0),
            table: attributes.find(libc::RTA_TABLE).and_then(|found| found.u32()).unwrap_or(header[4].into()),
            kind: header[7],
            protocol: header[5],
            source: attributes.find(libc::RTA_PREFSRC).and_then(|found| found.address()),
        })
    }
}

impl Links {
    /// All links of the namespace.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn all(&self) -> Result<Vec<Link>, Error> {
        Ok(self.socket.dump(&mut dump_links())?.iter().filter_map(Link::parse).collect())
    }

    /// The link of that name, if there is one.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn find(&self, name: &str) -> Result<Option<Link>, Error> {
        let mut batch = Batch::new();
        get_link(&mut batch, name);
        let replies = unless_gone(self.socket.transact_each(&mut batch)?)?;
        Ok(replies.iter().find_map(Link::parse))
    }

    /// The addresses of one interface, or of all with index 0.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>, Error> {
        match self.socket.dump(&mut dump_addresses(index)) {
            Ok(replies) => Ok(replies.iter().filter_map(Address::parse).collect()),
            // The interface has gone, and its addresses with it.
            Err(error) if error.errno() == Some(rustix::io::Errno::NODEV) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// All routes of both families, in all tables.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn routes(&self) -> Result<Vec<RouteEntry>, Error> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            if family == libc::AF_INET6 && !self.ipv6 {
                continue;
            }
            let replies = self.socket.dump(&mut dump_routes(family as u8))?;
            routes.extend(replies.iter().filter_map(RouteEntry::parse));
        }
        Ok(routes)
    }

    /// The default routes of both families in the main table.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn default_routes(&self) -> Result<Vec<DefaultRoute>, Error> {
        let defaults = self.routes()?.into_iter().filter(|route| {
            route.destination.prefix_len() == 0
                && route.table == u32::from(libc::RT_TABLE_MAIN)
                && route.kind == libc::RTN_UNICAST
        });
        Ok(defaults.map(|route| DefaultRoute::from(&route)).collect())
    }
}
