//! Links, addresses and routes of a lab, by rtnetlink(7).

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use fairway_kernel::netlink::{Batch, Message, MessageBuilder, Protocol, Socket};
use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketType};

use crate::error::{LabError, Trying};

/// Length of `struct ifinfomsg`.
const LINK_HEADER: usize = size_of::<libc::ifinfomsg>();
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
const UP: u32 = libc::IFF_UP as u32;
/// `IFLA_BR_MCAST_SNOOPING` of `<linux/if_link.h>`.
const BRIDGE_MULTICAST_SNOOPING: u16 = 23;
/// `VETH_INFO_PEER` of `<linux/veth.h>`.
const VETH_PEER: u16 = 1;
/// `IFA_F_NODAD`: the address is used at once, without asking whether a neighbour has it.
const NO_DUPLICATE_DETECTION: u32 = 0x02;

/// `RTEXT_FILTER_SKIP_STATS` of `<linux/rtnetlink.h>`.
const SKIP_STATISTICS: u32 = 1 << 3;
/// `IF_OPER_UP` of `<linux/if.h>`.
const OPERATION_UP: u8 = 6;
/// `IFLA_BRPORT_STATE` of `<linux/if_link.h>`, and `BR_STATE_FORWARDING` of `<linux/if_bridge.h>`.
const PORT_STATE: u16 = 1;
const PORT_FORWARDING: u8 = 3;
/// How long a cable may take to carry frames.
const CARRIER_PATIENCE: Duration = Duration::from_secs(20);

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
                        peer.raw(&link_header(0, 0, UP))
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

    /// Waits until an interface carries frames. The kernel informs the queues of a link and the bridge of its carrier
    /// by a deferred work that may come up to a second later (linkwatch); until then frames are dropped.
    pub(crate) fn wait_until_running(&self, interface: &str) -> Result<(), LabError> {
        let deadline = Instant::now() + CARRIER_PATIENCE;
        while !self.is_running(interface)? {
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut).trying(|| format!("see the carrier of {interface}"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The MAC address of an interface.
    pub(crate) fn mac(&self, interface: &str) -> Result<[u8; 6], LabError> {
        let answers = self.observe(interface)?;
        let mac = answers.iter().find_map(|answer| {
            answer.attributes(LINK_HEADER).find(libc::IFLA_ADDRESS)?.value.try_into().ok()
        });
        mac.ok_or(ErrorKind::NotFound).trying(|| format!("read the MAC address of {interface}"))
    }

    fn is_running(&self, interface: &str) -> Result<bool, LabError> {
        Ok(self.observe(interface)?.iter().any(|answer| {
            let link = answer.attributes(LINK_HEADER);
            let up = link.find(libc::IFLA_OPERSTATE).and_then(|state| state.u8()) == Some(OPERATION_UP);
            let port = link.nested(libc::IFLA_LINKINFO).nested(libc::IFLA_INFO_SLAVE_DATA);
            let blocked = port.find(PORT_STATE).is_some_and(|state| state.u8() != Some(PORT_FORWARDING));
            // Until the carrier is dealt with, what is sent is dropped by the queue of that name.
            let queue = link.find(libc::IFLA_QDISC).and_then(|name| name.text());
            up && !blocked && queue != Some("noop")
        }))
    }

    fn observe(&self, interface: &str) -> Result<Vec<Message>, LabError> {
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_GETLINK, 0, "the link")
            .raw(&link_header(index(interface)?, 0, 0))
            .u32(libc::IFLA_EXT_MASK, SKIP_STATISTICS);
        let answers = self.socket.transact(&mut batch);
        answers.map_err(|source| LabError::Netlink { action: format!("observe {interface}"), source })
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
        self.send(batch, || format!("give {interface} the address {address}"))?;
        match address.addr() {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(address) => wait_until_found(interface, address),
        }
    }

    /// Routes a destination by way of a gateway, in place of the route that may be there.
    pub(crate) fn add_route(&self, destination: IpNet, gateway: IpAddr) -> Result<(), LabError> {
        let mut batch = Batch::new();
        route(&mut batch, libc::RTM_NEWROUTE, REPLACE, destination).address(libc::RTA_GATEWAY, gateway);
        self.send(batch, || format!("route {destination} by way of {gateway}"))
    }

    /// Removes the route to a destination.
    pub(crate) fn remove_route(&self, destination: IpNet) -> Result<(), LabError> {
        let mut batch = Batch::new();
        route(&mut batch, libc::RTM_DELROUTE, 0, destination);
        self.send(batch, || format!("remove the route to {destination}"))
    }

    fn send(&self, mut batch: Batch, action: impl FnOnce() -> String) -> Result<(), LabError> {
        match self.socket.transact(&mut batch) {
            Ok(_) => Ok(()),
            Err(source) => Err(LabError::Netlink { action: action(), source }),
        }
    }
}

/// Waits until neighbours can find an IPv6 address: the kernel joins its solicited-node group (RFC 4291, 2.7.1) by a
/// deferred work, and who asked before asks again only after a second.
fn wait_until_found(interface: &str, address: Ipv6Addr) -> Result<(), LabError> {
    let [.., a, b, c] = address.octets();
    let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
    let path = "/proc/thread-self/net/igmp6";
    let deadline = Instant::now() + CARRIER_PATIENCE;
    loop {
        let groups = std::fs::read_to_string(path).trying(|| format!("read {path}"))?;
        let joined = groups.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next() == Some(interface) && fields.next() == Some(group.as_str())
        });
        if joined {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut).trying(|| format!("make {address} known on {interface}"));
        }
        std::thread::sleep(Duration::from_micros(200));
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
    message.raw(&link_header(index, set, UP));
    message
}

fn route(batch: &mut Batch, kind: u16, flags: u16, destination: IpNet) -> MessageBuilder<'_> {
    // struct rtmsg: source length and type of service 0, main table, static, for everywhere, unicast.
    let header = [
        family(destination.addr()),
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
    let mut message = batch.message(kind, flags, "the route");
    message.raw(&header).address(libc::RTA_DST, destination.network());
    message
}

/// `struct ifinfomsg`, with the flags and which of them are meant.
fn link_header(index: u32, flags: u32, mask: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&mask.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    family.as_raw() as u8
}
