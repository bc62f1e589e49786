//! The messages of rtnetlink, from `<linux/rtnetlink.h>`, `<linux/if_link.h>`, `<linux/if_addr.h>`.

use std::net::{IpAddr, Ipv6Addr};

use fairway_model::MacAddress;
use ipnet::IpNet;

use super::broadcast;
use crate::netlink::{Batch, Message, MessageBuilder};

pub const IFINFO_LENGTH: usize = 16;
pub const IFADDR_LENGTH: usize = 8;
pub const RTMSG_LENGTH: usize = 12;

/// Flags: create, an error if the object exists.
pub const CREATE_NEW: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Flags: create or replace.
pub const CREATE_OR_REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
pub const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// Adds properties to a link: its alternative names.
const RTM_NEWLINKPROP: u16 = 108;
/// `VETH_INFO_PEER` of `<linux/veth.h>`.
pub const VETH_INFO_PEER: u16 = 1;
/// `IFLA_BRPORT_STATE`: the state of the port (`BR_STATE_*`).
pub(super) const IFLA_BRPORT_STATE: u16 = 1;
/// `IFLA_BRPORT_ISOLATED`: that the port takes no frames of other such ports.
pub(super) const IFLA_BRPORT_ISOLATED: u16 = 33;
/// `IFLA_BRPORT_MODE`: hairpin.
pub const IFLA_BRPORT_MODE: u16 = 4;
/// `IFLA_INET6_ADDR_GEN_MODE` and its value for no link-local address.
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: counters are half of an answer and not needed.
const SKIP_STATS: u32 = 1 << 3;

/// Fairway's mark on routes: the routing protocol (`rtm_protocol`), shown by `ip route` as `proto 70`. Numbers above
/// 4 mean nothing to the kernel; this one is not in `/etc/iproute2/rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 70;

const IFF_UP: u32 = libc::IFF_UP as u32;

/// `struct ifinfomsg`; `up` none leaves the flags alone.
pub fn ifinfo(index: u32, up: Option<bool>) -> [u8; IFINFO_LENGTH] {
    let mut header = [0; IFINFO_LENGTH];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        header[8..12].copy_from_slice(&(if up { IFF_UP } else { 0 }).to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

/// Adds a request for one link by name.
pub fn get_link(batch: &mut Batch, name: &str) {
    batch
        .message(libc::RTM_GETLINK, 0, format!("read the interface {name}"))
        .raw(&ifinfo(0, None))
        .u32(libc::IFLA_EXT_MASK, SKIP_STATS)
        .text(libc::IFLA_IFNAME, name);
}

/// Adds an alternative name to a link.
pub fn add_alternative_name(batch: &mut Batch, index: u32, interface: &str, name: &str) {
    batch
        .message(RTM_NEWLINKPROP, CREATE_NEW, format!("add the alternative name {name} to {interface}"))
        .raw(&ifinfo(index, None))
        .nest(libc::IFLA_PROP_LIST, |properties| {
            properties.text(libc::IFLA_ALT_IFNAME, name);
        });
}

/// Adds a request for one link by index.
pub fn get_link_by_index(batch: &mut Batch, index: u32) {
    batch
        .message(libc::RTM_GETLINK, 0, format!("read the interface with index {index}"))
        .raw(&ifinfo(index, None))
        .u32(libc::IFLA_EXT_MASK, SKIP_STATS);
}

/// A dump of all links.
pub fn dump_links() -> Batch {
    let mut batch = Batch::new();
    batch
        .message(libc::RTM_GETLINK, DUMP, "the list of interfaces")
        .raw(&ifinfo(0, None))
        .u32(libc::IFLA_EXT_MASK, SKIP_STATS);
    batch
}

/// Disables the automatic link-local IPv6 address of a link.
pub fn no_link_local(message: &mut MessageBuilder<'_>) {
    message.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET6 as u16, |ipv6| {
            ipv6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        });
    });
}

/// `struct ifaddrmsg`.
fn ifaddr(family: u8, prefix: u8, flags: u8, index: u32) -> [u8; IFADDR_LENGTH] {
    let [a, b, c, d] = index.to_ne_bytes();
    // Scope 0 is global.
    [family, prefix, flags, 0, a, b, c, d]
}

/// A dump of the addresses of one interface, or of all with index 0.
pub fn dump_addresses(index: u32) -> Batch {
    let mut batch = Batch::new();
    batch.message(libc::RTM_GETADDR, DUMP, "the list of addresses").raw(&ifaddr(0, 0, 0, index));
    batch
}

/// Adds an address without DAD (RFC 4862): it is unique by allocation, and usable at once.
pub fn add_address(batch: &mut Batch, index: u32, interface: &str, address: IpNet) {
    let flags = if address.addr().is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
    let mut message = batch.message(
        libc::RTM_NEWADDR,
        CREATE_OR_REPLACE,
        format!("add the address {address} to {interface}"),
    );
    message
        .raw(&ifaddr(family(address.addr()), address.prefix_len(), flags, index))
        .address(libc::IFA_LOCAL, address.addr())
        .address(libc::IFA_ADDRESS, address.addr());
    if let Some(broadcast) = broadcast(address) {
        message.address(libc::IFA_BROADCAST, broadcast);
    }
}

/// Removes an address.
pub fn delete_address(batch: &mut Batch, index: u32, interface: &str, address: IpNet) {
    batch
        .message(libc::RTM_DELADDR, 0, format!("remove the address {address} from {interface}"))
        .raw(&ifaddr(family(address.addr()), address.prefix_len(), 0, index))
        .address(libc::IFA_LOCAL, address.addr());
}

/// A dump of the routes of a family in all tables.
pub fn dump_routes(family: u8) -> Batch {
    let mut batch = Batch::new();
    let mut header = [0; RTMSG_LENGTH];
    header[0] = family;
    batch.message(libc::RTM_GETROUTE, DUMP, "the list of routes").raw(&header);
    batch
}

/// Adds a route lookup for an IPv6 address.
pub fn get_route6(batch: &mut Batch, destination: Ipv6Addr) {
    let mut header = [0; RTMSG_LENGTH];
    header[0] = libc::AF_INET6 as u8;
    header[1] = 128;
    batch
        .message(libc::RTM_GETROUTE, 0, format!("find the route to {destination}"))
        .raw(&header)
        .address(libc::RTA_DST, destination.into());
}

/// Whether the answer to [`get_route6`] is a local route: the address is the namespace's own.
pub fn is_local_route(reply: &Message) -> bool {
    reply.kind == libc::RTM_NEWROUTE && reply.payload.get(7) == Some(&libc::RTN_LOCAL)
}

/// `struct rtmsg` of a default route in the main table.
fn default_route(family: u8) -> [u8; RTMSG_LENGTH] {
    let mut header = [0; RTMSG_LENGTH];
    header[0] = family;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = RTPROT_BOOT;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = libc::RTN_UNICAST;
    header
}

/// The default protocol of ip-route(8).
const RTPROT_BOOT: u8 = 3;

/// Sets the default route of the gateway's family; without a metric it is the kernel's.
pub fn set_default_route(
    batch: &mut Batch,
    gateway: IpAddr,
    index: u32,
    interface: &str,
    metric: Option<u32>,
) {
    let label = format!("set the default route by {gateway} on {interface}");
    let mut message = batch.message(libc::RTM_NEWROUTE, CREATE_OR_REPLACE, label);
    message
        .raw(&default_route(family(gateway)))
        .address(libc::RTA_GATEWAY, gateway)
        .u32(libc::RTA_OIF, index);
    if let Some(metric) = metric {
        message.u32(libc::RTA_PRIORITY, metric);
    }
}

/// The beginning of the labels of messages that remove routes.
pub const REMOVE_ROUTE: &str = "remove the ";

/// Removes the default route that [`set_default_route`] created, whatever its gateway.
pub fn delete_any_default_route(batch: &mut Batch, family: u8) {
    batch.message(libc::RTM_DELROUTE, 0, format!("{REMOVE_ROUTE}default route")).raw(&default_route(family));
}

/// `struct rtmsg` of a route of Fairway's in the main table, of a type `RTN_*`.
pub fn route_header(destination: IpNet, kind: u8) -> [u8; RTMSG_LENGTH] {
    let mut header = default_route(family(destination.addr()));
    header[1] = destination.prefix_len();
    header[5] = ROUTE_PROTOCOL;
    header[7] = kind;
    header
}

/// A message about Fairway's route to a peer's subnet, in the main table.
pub fn peer_route<'a>(
    batch: &'a mut Batch,
    kind: u16,
    flags: u16,
    label: String,
    destination: IpNet,
) -> MessageBuilder<'a> {
    let mut message = batch.message(kind, flags, label);
    message.raw(&route_header(destination, libc::RTN_UNICAST)).address(libc::RTA_DST, destination.network());
    message
}

/// `struct ndmsg`.
fn neighbour(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let [a, b, c, d] = index.to_ne_bytes();
    let [low, high] = state.to_ne_bytes();
    [family, 0, 0, 0, a, b, c, d, low, high, flags, 0]
}

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_REACHABLE: u16 = 2;
const NUD_STALE: u16 = 4;
/// The entry belongs to the bridge, not to the port.
const NTF_MASTER: u8 = 4;

/// Adds an FDB entry: the bridge port behind which a MAC is.
pub fn add_fdb_entry(batch: &mut Batch, port: u32, mac: MacAddress) {
    batch
        .message(libc::RTM_NEWNEIGH, CREATE_OR_REPLACE, format!("learn the MAC {mac}"))
        .raw(&neighbour(libc::AF_BRIDGE as u8, port, NUD_REACHABLE, NTF_MASTER))
        .attribute(NDA_LLADDR, &mac.0);
}

/// Corrects the MAC of an existing neighbor entry. New entries are not added: one for every sandbox would fill the
/// table (`net.ipv4.neigh.default.gc_thresh3`).
pub fn replace_neighbor(batch: &mut Batch, index: u32, address: IpAddr, mac: MacAddress) {
    batch
        .message(libc::RTM_NEWNEIGH, libc::NLM_F_REPLACE as u16, format!("correct the neighbour {address}"))
        .raw(&neighbour(family(address), index, NUD_STALE, 0))
        .address(NDA_DST, address)
        .attribute(NDA_LLADDR, &mac.0);
}

/// The number of an address family.
pub fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}
