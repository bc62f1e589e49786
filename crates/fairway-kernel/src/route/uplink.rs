//! Uplinks: interfaces of the host that a bridge enslaves. The host's addresses and routes move between the two.
//!
//! Each step is idempotent, and between any two steps the host has every address and every route at one of both: they
//! are added at the destination before they are removed at the source. Both have the same MAC address, so that peers
//! of the host notice nothing.

use fairway_model::{MacAddress, Uplink, UplinkRoute};
use ipnet::IpNet;
use rustix::io::Errno;

use super::message::{
    CREATE_NEW, IFADDR_LENGTH, RTMSG_LENGTH, add_address, dump_addresses, dump_routes, family, ifinfo,
};
use super::observe::hop_indexes;
use super::{Address, Error, Link, Links, RouteEntry, unless_gone};
use crate::netlink::{self, Batch, Message};
use crate::sysctl;

/// The flags of an address that are configuration (`IFA_F_*`): home address, managed temporary addresses, no prefix
/// route, joined groups. The others are state.
const CHOSEN_FLAGS: u32 = 0x10 | 0x100 | 0x200 | 0x400;
/// `RTNH_F_ONLINK`: the next hop is on this link, whatever the addresses.
const ONLINK: u32 = 4;
/// Flags: add to the routes of the same destination.
const CREATE_APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;
/// `IFA_PROTO`, `RTA_EXPIRES`, `RTA_NH_ID` of the kernel's headers.
const RTA_EXPIRES: u16 = 23;
const RTA_NH_ID: u16 = 30;
/// Clock ticks per second, the unit of route lifetimes (`USER_HZ`).
const TICKS: u32 = 100;
/// Kinds of links that receive every frame of the link below them.
const CLAIMING: [&str; 4] = ["macvlan", "macvtap", "ipvlan", "ipvtap"];

/// The sysctls of an interface that move with the host's addresses.
const SETTINGS: [&str; 16] = [
    "ipv4/conf/{}/rp_filter",
    "ipv4/conf/{}/arp_ignore",
    "ipv4/conf/{}/arp_announce",
    "ipv4/conf/{}/arp_filter",
    "ipv4/conf/{}/accept_redirects",
    "ipv4/conf/{}/send_redirects",
    "ipv4/conf/{}/secure_redirects",
    "ipv4/conf/{}/accept_source_route",
    "ipv4/conf/{}/log_martians",
    "ipv4/conf/{}/proxy_arp",
    "ipv6/conf/{}/accept_ra",
    "ipv6/conf/{}/autoconf",
    "ipv6/conf/{}/accept_redirects",
    "ipv6/conf/{}/accept_dad",
    "ipv6/conf/{}/use_tempaddr",
    "ipv6/conf/{}/disable_ipv6",
];

/// The id of the current boot.
///
/// # Errors
/// [`Error::Sysctl`].
pub fn boot_id() -> Result<String, Error> {
    Ok(sysctl::read("kernel/random/boot_id")?)
}

/// Copies the sysctls of an uplink to its bridge.
pub(super) fn copy_settings(parent: &str, bridge: &str) -> Result<(), Error> {
    for setting in SETTINGS {
        let path = |name: &str| format!("net/{}", setting.replace("{}", name));
        match sysctl::read(&path(parent)).and_then(|value| sysctl::write(&path(bridge), &value)) {
            // The kernel has no IPv6, at least not with this MTU, or the interface is not there now.
            Ok(_) | Err(sysctl::Error::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Address {
    /// Whether the address moves from an uplink to its bridge: not link-local addresses, which both have, nor
    /// temporary addresses (RFC 8981), which the kernel generates anew.
    pub fn moves(&self) -> bool {
        let temporary = self.flags & libc::IFA_F_TEMPORARY != 0;
        self.address.addr().is_ipv4() || (self.scope < libc::RT_SCOPE_LINK && !temporary)
    }
}

impl Links {
    /// Reads the state of an interface before it is enslaved; none if there is no interface of that name.
    ///
    /// # Errors
    /// [`Error::Netlink`], [`Error::Sysctl`].
    pub fn uplink(&self, name: &str) -> Result<Option<Uplink>, Error> {
        let all = self.all()?;
        let Some(link) = all.iter().find(|link| link.name == name) else { return Ok(None) };
        let addresses = self.addresses(link.index)?;
        let moving = addresses.iter().filter(|address| address.interface == link.index && address.moves());
        let routes = self.routes()?;
        let by_it = routes.iter().filter(|route| {
            route.interface == link.index
                && route.table == u32::from(libc::RT_TABLE_MAIN)
                && route.kind == libc::RTN_UNICAST
        });
        let known = by_it.map(|route| UplinkRoute {
            destination: route.destination,
            gateway: route.gateway,
            metric: route.metric,
        });
        Ok(Some(Uplink {
            parent: name.to_owned(),
            mac: link.mac.unwrap_or(MacAddress([0; 6])),
            mtu: link.mtu,
            addresses: moving.map(|address| address.address).collect(),
            routes: known.collect(),
            boot: boot_id()?,
            unusable: unusable(link, &all),
        }))
    }

    /// Adds the addresses of `from` to `to`.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub fn copy_addresses(&self, from: &str, to: &str) -> Result<(), Error> {
        let (source, target) = (self.index(from)?, self.index(to)?);
        let mut batch = Batch::new();
        for message in self.socket.dump(&mut dump_addresses(source))? {
            let moving = Address::parse(&message).filter(|it| it.interface == source && it.moves());
            if let Some(address) = moving {
                copy_address(&mut batch, &message, &address, target, to);
            }
        }
        self.make_what_is_missing(&mut batch)
    }

    /// Sends a batch that creates objects; existing ones are no error.
    fn make_what_is_missing(&self, batch: &mut Batch) -> Result<(), Error> {
        let refusals = self.socket.transact_each(batch)?.refusals;
        match refusals.into_iter().find(|refusal| refusal.errno != Errno::EXIST) {
            Some(refusal) => Err(netlink::Error::Refused(refusal).into()),
            None => Ok(()),
        }
    }

    /// Enslaves an interface to a bridge, and sets it up.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub fn enslave(&self, parent: &str, bridge: &str) -> Result<(), Error> {
        let (port, master) = (self.index(parent)?, self.index(bridge)?);
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_NEWLINK, 0, format!("make {parent} a port of {bridge}"))
            .raw(&ifinfo(port, Some(true)))
            .u32(libc::IFLA_MASTER, master);
        self.socket.transact(&mut batch)?;
        // A link request makes the kernel report the port's carrier to the bridge now and not by a work queue.
        self.find(parent)?;
        self.find(bridge)?;
        Ok(())
    }

    /// Releases an interface from its bridge.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub fn release(&self, parent: &str) -> Result<(), Error> {
        let port = self.index(parent)?;
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_NEWLINK, 0, format!("make {parent} a port of nothing"))
            .raw(&ifinfo(port, None))
            .u32(libc::IFLA_MASTER, 0);
        self.socket.transact(&mut batch).map(drop).map_err(Error::from)
    }

    /// Moves the routes of interface `from` to `to`, of all protocols and tables. The kernel's routes for addresses
    /// come and go with these.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`] with the first route that could not be added; all others were.
    pub fn move_routes(&self, from: &str, to: &str) -> Result<(), Error> {
        let (source, target) = (self.index(from)?, self.index(to)?);
        let (mut made, mut removed) = (Batch::new(), Batch::new());
        let mut moving = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let messages = self.socket.dump(&mut dump_routes(family as u8))?;
            let all: Vec<_> =
                messages.iter().filter_map(|it| Some((RouteEntry::parse(it)?, it.clone()))).collect();
            let there: Vec<_> = all.iter().filter(|(route, _)| route.interface == target).map(same).collect();
            let is_made =
                |route: &RouteEntry| route.protocol == libc::RTPROT_KERNEL && there.contains(&of(route));
            moving.extend(all.into_iter().filter(|(route, message)| {
                leads_by(message, route, source) && is_meant(route) && !is_made(route)
            }));
        }
        // Next hops must be on-link before routes via them are added.
        moving.sort_by_key(|(route, _)| {
            (route.gateway.is_some(), 128 - route.destination.prefix_len().min(128))
        });
        for (route, message) in &moving {
            let label = |what: &str| format!("{what} the route to {} by {to}", route.destination);
            put_route(&mut made, message, label("make"), libc::RTM_NEWROUTE, (source, target));
            put_route(
                &mut removed,
                message,
                label("remove the former of"),
                libc::RTM_DELROUTE,
                (source, source),
            );
        }
        let outcome = self.make_what_is_missing(&mut made);
        unless_gone(self.socket.transact_each(&mut removed)?)?;
        outcome
    }

    /// Removes the addresses of `from` that `to` has.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub fn remove_addresses(&self, from: &str, to: &str) -> Result<(), Error> {
        let (source, target) = (self.index(from)?, self.index(to)?);
        let there = self.addresses(target)?;
        let mut batch = Batch::new();
        for message in self.socket.dump(&mut dump_addresses(source))? {
            let Some(found) = Address::parse(&message).filter(|it| it.interface == source && it.moves())
            else {
                continue;
            };
            if there.iter().any(|it| it.interface == target && it.address == found.address) {
                let mut removal = batch.message(
                    libc::RTM_DELADDR,
                    0,
                    format!("remove the address {} from {from}", found.address),
                );
                removal.raw(&message.payload[..IFADDR_LENGTH]);
                for attribute in message.attributes(IFADDR_LENGTH) {
                    if [libc::IFA_LOCAL, libc::IFA_ADDRESS].contains(&attribute.kind) {
                        removal.attribute(attribute.kind, attribute.value);
                    }
                }
            }
        }
        unless_gone(self.socket.transact_each(&mut batch)?).map(drop)
    }

    /// Restores on a bridge the addresses and routes that its uplink had before it was enslaved: for when another
    /// program deleted the bridge and with it these.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub fn restore(&self, bridge: &str, taken: &Uplink) -> Result<(), Error> {
        let index = self.index(bridge)?;
        if self.addresses(index)?.iter().any(|it| it.interface == index && it.moves()) {
            return Ok(());
        }
        let mut batch = Batch::new();
        taken.addresses.iter().for_each(|address| add_address(&mut batch, index, bridge, *address));
        let mut routes: Vec<_> = taken.routes.iter().collect();
        routes.sort_by_key(|route| route.gateway.is_some());
        for route in routes {
            let mut header = [0; RTMSG_LENGTH];
            header[0] = family(route.destination.addr());
            header[1] = route.destination.prefix_len();
            header[4] = libc::RT_TABLE_MAIN;
            header[5] = libc::RTPROT_BOOT;
            header[6] = if route.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
            header[7] = libc::RTN_UNICAST;
            let label = format!("restore the route to {}", route.destination);
            let mut message = batch.message(libc::RTM_NEWROUTE, CREATE_NEW, label);
            message
                .raw(&header)
                .address(libc::RTA_DST, route.destination.network())
                .u32(libc::RTA_OIF, index)
                .u32(libc::RTA_PRIORITY, route.metric);
            if let Some(gateway) = route.gateway {
                message.address(libc::RTA_GATEWAY, gateway);
            }
        }
        self.make_what_is_missing(&mut batch)
    }
}

/// Why an interface cannot be enslaved to a bridge.
fn unusable(link: &Link, all: &[Link]) -> Option<String> {
    let above = |other: &&Link| {
        other.peer == Some(link.index)
            && other.peer_namespace.is_none()
            && other.kind.as_deref().is_some_and(|kind| CLAIMING.contains(&kind))
    };
    if link.mark().is_some() {
        return Some("it is Fairway's own".to_owned());
    }
    if link.loopback || link.mac.is_none() {
        return Some("it is no Ethernet interface".to_owned());
    }
    if let Some(master) = link.master {
        let name =
            all.iter().find(|other| other.index == master).map_or("another one", |it| it.name.as_str());
        return Some(format!(
            "it is a port of {name}: take it out there first (ip link set {} nomaster)",
            link.name
        ));
    }
    if link.kind.as_deref() == Some("bridge") {
        return Some("it is a bridge itself: name the interface that leads to the LAN".to_owned());
    }
    let child = all.iter().find(above)?;
    let kind = child.kind.as_deref().unwrap_or_default();
    Some(format!(
        "the {kind} {} is on it, and gets its frames: delete that one, or use a macvlan network",
        child.name
    ))
}

fn copy_address(batch: &mut Batch, message: &Message, found: &Address, target: u32, name: &str) {
    let Address { address, flags, .. } = found;
    let ipv6 = address.addr().is_ipv6();
    let Some(mut header) = message.payload.first_chunk::<IFADDR_LENGTH>().copied() else { return };
    header[2] = 0;
    header[4..8].copy_from_slice(&target.to_ne_bytes());
    let label = format!("add the address {address} to {name}");
    let mut copy = batch.message(libc::RTM_NEWADDR, CREATE_NEW, label);
    copy.raw(&header);
    for attribute in message.attributes(IFADDR_LENGTH) {
        match attribute.kind {
            // Labels begin with the interface's name. The lifetime of IPv4 addresses is not copied: a DHCP client
            // does not renew the lease here, and an expired address would cut the host off.
            libc::IFA_LABEL | libc::IFA_FLAGS => {}
            libc::IFA_CACHEINFO if !ipv6 => {}
            kind => {
                copy.attribute(kind, attribute.value);
            }
        }
    }
    // No DAD: the address is the host's already.
    let no_detection = if ipv6 { libc::IFA_F_NODAD } else { 0 };
    copy.u32(libc::IFA_FLAGS, flags & CHOSEN_FLAGS | no_detection);
}

/// The key of a route among those to the same destination.
type Same = (IpNet, u32, u32, bool);

fn of(route: &RouteEntry) -> Same {
    (route.destination, route.metric, route.table, route.gateway.is_some())
}

fn same((route, _): &(RouteEntry, Message)) -> Same {
    of(route)
}

/// Whether a route moves with the host: the kernel manages local and link-local routes itself.
fn is_meant(route: &RouteEntry) -> bool {
    let special = match route.destination.addr() {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    route.table != u32::from(libc::RT_TABLE_LOCAL) && route.kind == libc::RTN_UNICAST && !special
}

/// Whether a route, or one of its next hops, leaves by an interface.
fn leads_by(message: &Message, route: &RouteEntry, interface: u32) -> bool {
    let hops = message.attributes(RTMSG_LENGTH).find(libc::RTA_MULTIPATH);
    route.interface == interface
        || hops.is_some_and(|hops| hop_indexes(hops.value).any(|(_, it)| it == interface))
}

/// The message that adds an observed route with another interface.
fn put_route(batch: &mut Batch, message: &Message, label: String, kind: u16, (from, to): (u32, u32)) {
    let Some(mut header) = message.payload.first_chunk::<RTMSG_LENGTH>().copied() else { return };
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) & ONLINK;
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    let ipv4 = i32::from(header[0]) == libc::AF_INET;
    let making = kind == libc::RTM_NEWROUTE;
    let how = match (making, ipv4) {
        (true, true) => CREATE_APPEND,
        (true, false) => libc::NLM_F_CREATE as u16,
        (false, _) => 0,
    };
    let mut copy = batch.message(kind, how, label);
    copy.raw(&header);
    for attribute in message.attributes(RTMSG_LENGTH) {
        match attribute.kind {
            libc::RTA_OIF => drop(copy.u32(libc::RTA_OIF, to)),
            libc::RTA_MULTIPATH => {
                let mut hops = attribute.value.to_vec();
                for (at, index) in hop_indexes(attribute.value) {
                    if index == from {
                        hops[at..at + 4].copy_from_slice(&to.to_ne_bytes());
                    }
                }
                copy.attribute(libc::RTA_MULTIPATH, &hops);
            }
            libc::RTA_CACHEINFO => {
                // struct rta_cacheinfo: the remaining lifetime is the third number.
                let left = attribute
                    .value
                    .get(8..12)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(i32::from_ne_bytes);
                if let Some(left) = left.filter(|left| making && !ipv4 && *left > 0) {
                    copy.u32(RTA_EXPIRES, left.cast_unsigned() / TICKS);
                }
            }
            RTA_NH_ID => {}
            other => drop(copy.attribute(other, attribute.value)),
        }
    }
}

#[cfg(test)]
mod tests;
