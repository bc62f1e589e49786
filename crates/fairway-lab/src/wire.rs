//! Links, addresses and routes of a lab, by rtnetlink(7).

use std::net::IpAddr;

use fairway_kernel::netlink::{Batch, MessageBuilder, Protocol, Socket};
use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketType};

use crate::error::{LabError, Trying};

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
const UP: u32 = libc::IFF_UP as u32;
/// `IFLA_BR_MCAST_SNOOPING` of `<linux/if_link.h>`.
const BRIDGE_MULTICAST_SNOOPING: u16 = 23;
/// `VETH_INFO_PEER` of `<linux/veth.h>`.
const VETH_PEER: u16 = 1;
/// `IFA_F_NODAD`: the address is used at once, without asking whether a neighbour has it.
const NO_DUPLICATE_DETECTION: u32 = 0x02;

/// The kernel's links, addresses and routes in the namespace of the thread that opened it.
pub(crate) struct Wire {
    socket: Socket,
}

impl Wire {
    pub(crate) fn open() -> Result<Wire, LabError> {
        let action = || "speak to the kernel about links".to_owned();
        let socket =
            Socket::open(Protocol::Route).map_err(|source| LabError::Netlink { action: action(), source })?;
        Ok(Wire { socket })
    }

    /// A bridge, up, that floods multicast as a simple switch does.
    pub(crate) fn add_bridge(&self, name: &str, mac: [u8; 6]) -> Result<(), LabError> {
        let mut batch = Batch::new();
        link(&mut batch, CREATE, 0, UP)
            .text(libc::IFLA_IFNAME, name)
            .attribute(libc::IFLA_ADDRESS, &mac)
            .nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "bridge").nest(libc::IFLA_INFO_DATA, |data| {
                    data.u8(BRIDGE_MULTICAST_SNOOPING, 0);
                });
            });
        self.send(batch, || format!("create the bridge {name}"))
    }

    /// A cable: `port` here, up and in the bridge, and its other end in another namespace, down.
    pub(crate) fn add_cable(&self, port: &str, bridge: &str, far: FarEnd<'_>) -> Result<(), LabError> {
        let bridge_index = index(bridge)?;
        let mut batch = Batch::new();
        link(&mut batch, CREATE, 0, 0)
            .text(libc::IFLA_IFNAME, port)
            .u32(libc::IFLA_MASTER, bridge_index)
            .nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                    data.nest(VETH_PEER, |peer| {
                        peer.raw(&link_header(0, 0))
                            .text(libc::IFLA_IFNAME, far.name)
                            .attribute(libc::IFLA_ADDRESS, &far.mac)
                            .u32(libc::IFLA_NET_NS_FD, far.namespace);
                    });
                });
            });
        link(&mut batch, 0, 0, UP).text(libc::IFLA_IFNAME, port);
        self.send(batch, || format!("plug {} into {bridge}", far.name))
    }

    /// Sets an interface up.
    pub(crate) fn set_up(&self, interface: &str) -> Result<(), LabError> {
        let mut batch = Batch::new();
        link(&mut batch, 0, index(interface)?, UP);
        self.send(batch, || format!("set {interface} up"))
    }

    /// Sets an interface down.
    pub(crate) fn set_down(&self, interface: &str) -> Result<(), LabError> {
        let mut batch = Batch::new();
        link(&mut batch, 0, index(interface)?, 0);
        self.send(batch, || format!("set {interface} down"))
    }

    /// Gives an interface an address, in use at once.
    pub(crate) fn add_address(&self, interface: &str, address: IpNet) -> Result<(), LabError> {
        let mut batch = Batch::new();
        let mut message = batch.message(libc::RTM_NEWADDR, CREATE, "the address");
        let [a, b, c, d] = index(interface)?.to_ne_bytes();
        message
            .raw(&[family(address.addr()), address.prefix_len(), 0, 0, a, b, c, d])
            .address(libc::IFA_LOCAL, address.addr())
            .address(libc::IFA_ADDRESS, address.addr());
        if let IpNet::V4(prefix) = address {
            message.attribute(libc::IFA_BROADCAST, &prefix.broadcast().octets());
        } else {
            message.u32(libc::IFA_FLAGS, NO_DUPLICATE_DETECTION);
        }
        drop(message);
        self.send(batch, || format!("give {interface} the address {address}"))
    }

    /// Routes a destination by way of a gateway, in place of the route that may be there.
    pub(crate) fn add_route(&self, destination: IpNet, gateway: IpAddr) -> Result<(), LabError> {
        let mut batch = Batch::new();
        // struct rtmsg: source length and type of service 0, main table, static, for everywhere, unicast.
        let header = [
            family(gateway),
            destination.prefix_len(),
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        batch
            .message(libc::RTM_NEWROUTE, REPLACE, "the route")
            .raw(&header)
            .address(libc::RTA_DST, destination.network())
            .address(libc::RTA_GATEWAY, gateway);
        self.send(batch, || format!("route {destination} by way of {gateway}"))
    }

    fn send(&self, mut batch: Batch, action: impl FnOnce() -> String) -> Result<(), LabError> {
        match self.socket.transact(&mut batch) {
            Ok(_) => Ok(()),
            Err(source) => Err(LabError::Netlink { action: action(), source }),
        }
    }
}

/// The end of a cable that is put into another namespace.
pub(crate) struct FarEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
    /// The descriptor of the namespace.
    pub(crate) namespace: u32,
}

/// The number of an interface in the namespace of the calling thread.
pub(crate) fn index(interface: &str) -> Result<u32, LabError> {
    rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|socket| rustix::net::netdevice::name_to_index(&socket, interface))
        .trying(|| format!("find the interface {interface}"))
}

fn link(batch: &mut Batch, flags: u16, index: u32, set: u32) -> MessageBuilder<'_> {
    let mut message = batch.message(libc::RTM_NEWLINK, flags, "the link");
    message.raw(&link_header(index, set));
    message
}

/// `struct ifinfomsg`: up or down is what changes, the other flags are left alone.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&UP.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    family.as_raw() as u8
}
