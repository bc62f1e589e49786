//! Links, addresses and routes, by rtnetlink(7): applies the Plan's and observes the present ones.

mod bridge;
mod dummy_parent;
mod link_deletion;
mod link_detail;
mod macvlan;
mod message;
mod minimum_mtu;
mod netns;
mod netns_link;
mod netns_route;
mod observe;
mod ownership;
mod peer_route;
mod ptp;
mod traffic;
mod traffic_limit;
mod uplink;
mod veth;

use std::net::IpAddr;
use std::sync::LazyLock;

use fairway_model::{EndpointId, IPV6_MIN_MTU, MacvlanMode, NetworkId};
use rustix::io::Errno;
use thiserror::Error;

pub use link_deletion::{DeletedLinks, MAX_DELETED_TOGETHER, PendingDelete};
pub use link_detail::LinkDetail;
pub use message::ROUTE_PROTOCOL;
pub use netns::{NetnsSetup, NetnsState, observe_netns, observe_netns_with_sysctls};
pub use observe::{Address, DefaultRoute, Link, RouteEntry};
pub use traffic::LinkTraffic;
pub use traffic_limit::{BUFFER_KIND, Discipline};
pub use uplink::boot_id;
pub use veth::VethPair;

use crate::netlink::{self, Protocol, Socket};
use crate::{namespace, sysctl};

/// Why links, addresses or routes cannot be changed or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A netlink exchange failed.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// A sysctl cannot be set.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// The name belongs to a link that is not Fairway's, or to another link of Fairway's.
    #[error(
        "the interface {name} already exists and is not Fairway's ({what}); rename or delete it, or choose another name"
    )]
    Foreign {
        /// The interface's name.
        name: String,
        /// The kind of link.
        what: String,
    },
    /// Another program has a route to the same destination.
    #[error(
        "the host has a route to {destination} that is not Fairway's: delete it, or leave that peer out: then the route is yours to keep"
    )]
    RouteTaken {
        /// The destination.
        destination: ipnet::IpNet,
    },
    /// The host has an interface of that name.
    #[error("the host already has an interface {name}: choose another fairway.host_interface")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The sandbox already has an interface of that name.
    #[error(
        "the sandbox at {namespace} already has an interface {name}: detach the container that has it, or rename or delete it there"
    )]
    InterfaceTaken {
        /// The interface's name.
        name: String,
        /// The path of the sandbox's namespace.
        namespace: String,
    },
    /// There is no such interface.
    #[error("there is no interface {name}: {errno}")]
    NoInterface {
        /// The interface's name.
        name: String,
        /// The reason; `ENODEV` where there is none.
        errno: Errno,
    },
    /// The interface in the sandbox is not the peer of the host's veth end.
    #[error("the interface {name} in the sandbox is gone or was replaced")]
    NotInside {
        /// The interface's name.
        name: String,
    },
    /// The bridge that a network adopts does not exist.
    #[error("there is no bridge {0} to adopt: create it (ip link add {0} type bridge)")]
    NoBridge(String),
    /// The bridge has the most ports that the kernel allows, perhaps some of other programs.
    #[error(
        "cannot make a port of the bridge {bridge}: it has 1023 ports, and the kernel gives a bridge no more: stop or disconnect a container that is on it, or use another network"
    )]
    BridgeFull {
        /// The bridge.
        bridge: String,
    },
    /// A link cannot be the parent of a macvlan.
    #[error(
        "the kernel makes no macvlan in the mode {mode} on {parent} ({errno}): it is a port of something, or carries \
         a macvlan that cannot share the parent with this one"
    )]
    Parent {
        /// The link of the host.
        parent: String,
        /// The mode.
        mode: MacvlanMode,
        /// The reason: `EBUSY` or `EINVAL`.
        errno: Errno,
    },
    /// The kernel has no IPv6 on a link with such an MTU.
    #[error(
        "{name} cannot have IPv6 with an MTU of {mtu}: IPv6 needs at least {IPV6_MIN_MTU} bytes (RFC 8200, section 5): give it a larger MTU, or leave out IPv6"
    )]
    MtuWithoutIpv6 {
        /// The link.
        name: String,
        /// Its MTU.
        mtu: u32,
    },
    /// The kernel has no kind of link for a dummy parent.
    #[error(
        "cannot create the dummy parent {0}: this kernel has neither dummy nor ifb links: load the module dummy, or name a parent (-o parent=...)"
    )]
    NoDummyParent(String),
    /// The kernel lacks a part of traffic control.
    #[error(
        "failed to {action}: {errno}: this kernel lacks what limits traffic: load the modules ifb, sch_tbf, sch_ingress, cls_u32 and act_mirred, or leave the limit out"
    )]
    NoTrafficControl {
        /// What was tried.
        action: String,
        /// The reason.
        errno: Errno,
    },
    /// The kernel's answer does not describe the interface.
    #[error("the kernel did not describe the interface {0}")]
    Undescribed(String),
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Netlink(error) => error.errno(),
            Self::NoInterface { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// Fairway's mark on a link: its alias (`IFLA_IFALIAS`), shown by `ip link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// A bridge, or the end of a point-to-point pair whose second sandbox has not come yet.
    Network(NetworkId),
    /// The host's end of a veth pair, or a sandbox's interface without an end on the host.
    Endpoint(EndpointId),
}

impl Mark {
    /// Parses an alias; none if it is not Fairway's mark.
    pub fn parse(alias: &str) -> Option<Self> {
        let (kind, id) = alias.strip_prefix("fairway:")?.split_once(':')?;
        match kind {
            // The bridge of an uplink has the interface's name after its network.
            "network" => id.split(':').next()?.parse().ok().map(Self::Network),
            "endpoint" => id.parse().ok().map(Self::Endpoint),
            _ => None,
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(id) => write!(f, "fairway:network:{id}"),
            Self::Endpoint(id) => write!(f, "fairway:endpoint:{id}"),
        }
    }
}

/// Whether the kernel has IPv6. The same for all namespaces, so read once.
static KERNEL_HAS_IPV6: LazyLock<bool> =
    LazyLock::new(|| rustix::fs::access("/proc/sys/net/ipv6", rustix::fs::Access::EXISTS).is_ok());

/// The links of one namespace, through a socket that was opened there.
///
/// For one thread at a time; the kernel serializes changes anyway.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
    /// Whether the kernel has IPv6 at all: without it, its attributes are refused.
    ipv6: bool,
}

impl Links {
    /// Opens a socket in the namespace of the calling thread, and keeps that namespace alive.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Protocol::Route)?, ipv6: *KERNEL_HAS_IPV6 })
    }

    /// The index of the interface of that name.
    ///
    /// # Errors
    /// [`Error::NoInterface`].
    pub fn index(&self, name: &str) -> Result<u32, Error> {
        rustix::net::netdevice::name_to_index(&self.socket, name)
            .map_err(|errno| Error::NoInterface { name: name.to_owned(), errno })
    }
}

/// Whether a refusal means that the object is gone already.
fn is_gone(refusal: &netlink::Refusal) -> bool {
    matches!(refusal.errno, Errno::NODEV | Errno::NOENT | Errno::SRCH | Errno::ADDRNOTAVAIL | Errno::NXIO)
}

/// The first refusal that does not mean that the object is gone.
fn unless_gone(outcome: netlink::Outcome) -> Result<Vec<netlink::Message>, Error> {
    match outcome.refusals.into_iter().find(|refusal| !is_gone(refusal)) {
        Some(refusal) => Err(netlink::Error::Refused(refusal).into()),
        None => Ok(outcome.replies),
    }
}

/// A directly connected IPv4 subnet's broadcast address, where it has one (RFC 3021: /31 has none).
fn broadcast(address: ipnet::IpNet) -> Option<IpAddr> {
    match address {
        ipnet::IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
