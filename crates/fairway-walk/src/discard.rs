//! The reasons for which the kernel discards a packet without a rule.

use std::fmt;
use std::net::IpAddr;

use crate::topology::PortState;

/// Why the kernel discards a packet without a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscardReason {
    /// The packet changes namespaces without end.
    RoutingLoop,
    /// Its sender has no address of the family.
    NoSourceAddress,
    /// Its source is of 127.0.0.0/8, and `route_localnet` of the output interface is off.
    LoopbackSourceLeaves {
        /// The source.
        source: IpAddr,
        /// The output interface.
        interface: String,
    },
    /// An address of it is loopback, and it arrived at another interface; of 127.0.0.0/8 with `route_localnet` off.
    LoopbackArrives {
        /// The address.
        address: IpAddr,
        /// Whether it is the source; otherwise it is the destination.
        is_source: bool,
        /// The interface where the packet arrived.
        interface: String,
    },
    /// The namespace does not forward, and the destination is another one's.
    NotForwarding {
        /// The destination.
        destination: IpAddr,
        /// The interface where the packet arrived, if packets that arrive at others are forwarded.
        interface: Option<String>,
    },
    /// Its hop limit (TTL) has run out.
    HopLimit,
    /// It asks for an echo, and the namespace answers none (`icmp_echo_ignore_all`).
    EchoIgnored {
        /// Whether it is IPv4.
        ipv4: bool,
    },
    /// Its route is a blackhole.
    Blackhole,
    /// The destination is a broadcast address, and no socket takes it.
    Broadcast(IpAddr),
    /// The source is an address of the namespace, and the packet arrived from elsewhere.
    OwnSource {
        /// The source.
        source: IpAddr,
        /// The interface where the packet arrived.
        interface: String,
    },
    /// `rp_filter`: the route to the source is by another interface.
    ReversePath {
        /// The source.
        source: IpAddr,
        /// The interface where the packet arrived.
        interface: String,
        /// The value of the sysctl.
        rp_filter: u8,
    },
    /// The source is link-local, and the packet would be forwarded.
    LinkLocalSource(IpAddr),
    /// It is a reply or an ICMP error to a packet that the namespace did not send.
    Unsolicited,
    /// The owner of the socket only holds the port.
    HeldPort(String),
    /// The interface of the route does not exist any more.
    RouteInterfaceGone,
    /// The parent of the macvlan does not exist any more.
    MacvlanParentGone,
    /// The output interface is down.
    OutputDown(String),
    /// The interface where the packet arrives is down.
    InputDown,
    /// The bridge port has no peer.
    NoPeer,
    /// No route leads to the destination of a bridged packet after NAT.
    NoRoute(IpAddr),
    /// No port of the bridge leads to the destination's MAC address.
    NoPort {
        /// The bridge.
        bridge: String,
    },
    /// The bridge port does not forward, by its state.
    PortState {
        /// The port.
        port: String,
        /// Its state.
        state: PortState,
    },
    /// The bridge port may not send a frame back to where it came from.
    HairpinOff {
        /// The bridge.
        bridge: String,
        /// The port.
        port: String,
    },
    /// The bridge sends no frames from one isolated port to another.
    IsolatedPorts {
        /// The bridge.
        bridge: String,
        /// The port where the frame would leave.
        port: String,
    },
    /// The reply leaves by an interface that does not lead to the sender of the request.
    ReplyAstray {
        /// The interface.
        interface: String,
        /// The next hop.
        next: IpAddr,
        /// The namespace of the sender.
        origin: String,
    },
}

/// The path below /proc/sys of the switch with which packets to a destination are forwarded: that of an interface, or of
/// all.
pub fn forwarding_sysctl(destination: IpAddr, interface: Option<&str>) -> String {
    match (destination, interface) {
        (IpAddr::V4(_), Some(interface)) => format!("net/ipv4/conf/{interface}/forwarding"),
        (IpAddr::V4(_), None) => "net/ipv4/ip_forward".to_owned(),
        (IpAddr::V6(_), _) => "net/ipv6/conf/all/forwarding".to_owned(),
    }
}

/// The path below /proc/sys of the switch with which echo requests are not answered.
pub fn echo_sysctl(ipv4: bool) -> &'static str {
    if ipv4 { "net/ipv4/icmp_echo_ignore_all" } else { "net/ipv6/icmp/echo_ignore_all" }
}

impl fmt::Display for DiscardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoutingLoop => f.write_str("a routing loop"),
            Self::NoSourceAddress => f.write_str("it has no address to send from"),
            Self::LoopbackSourceLeaves { source, interface } => write!(
                f,
                "its source {source} may not leave by {interface}: net.ipv4.conf.{interface}.route_localnet is 0"
            ),
            Self::LoopbackArrives { address, is_source, interface } => {
                let what = if *is_source { "source" } else { "destination" };
                write!(f, "its {what} {address} is loopback and it arrived at {interface}")?;
                if address.is_ipv4() { f.write_str(", where route_localnet is 0") } else { Ok(()) }
            }
            Self::NotForwarding { destination, interface } => {
                let sysctl = forwarding_sysctl(*destination, interface.as_deref()).replace('/', ".");
                write!(f, "{destination} is not its own and it does not forward: the sysctl {sysctl} is 0")
            }
            Self::HopLimit => f.write_str("its hop limit (TTL) has run out"),
            Self::EchoIgnored { ipv4 } => {
                write!(f, "the sysctl {} is 1", echo_sysctl(*ipv4).replace('/', "."))
            }
            Self::Blackhole => f.write_str("a blackhole route"),
            Self::Broadcast(address) => {
                write!(f, "{address} is a broadcast address, and nothing answers there")
            }
            Self::OwnSource { source, interface } => {
                write!(f, "its source {source} is this namespace's own, and it arrived at {interface}")
            }
            Self::ReversePath { source, interface, rp_filter } => write!(
                f,
                "the way back to its source {source} is not by {interface}: its rp_filter is {rp_filter}"
            ),
            Self::LinkLocalSource(source) => {
                write!(f, "its source {source} is link-local, and such packets are not forwarded")
            }
            Self::Unsolicited => f.write_str("it is a reply or an error to no packet that was sent here"),
            Self::HeldPort(owner) => write!(f, "{owner} only holds the port, and sends no replies"),
            Self::RouteInterfaceGone => f.write_str("the interface of the route is gone"),
            Self::MacvlanParentGone => f.write_str("the parent of the macvlan is gone"),
            Self::OutputDown(interface) => write!(f, "{interface} is down"),
            Self::InputDown => f.write_str("the interface is down"),
            Self::NoPeer => f.write_str("the port leads nowhere"),
            Self::NoRoute(destination) => write!(f, "there is no route to {destination}"),
            Self::NoPort { bridge } => {
                write!(f, "no port of {bridge} leads to its destination MAC address")
            }
            Self::PortState { port, state } => write!(f, "the bridge port {port} is {}", state.name()),
            Self::HairpinOff { bridge, port } => {
                write!(f, "{bridge} may not send it back by {port}: hairpin is off")
            }
            Self::IsolatedPorts { bridge, port } => {
                write!(f, "{bridge} sends nothing from one isolated port to another, as {port} is")
            }
            Self::ReplyAstray { interface, next, origin } => {
                write!(f, "the reply leaves by {interface} for {next}, which does not lead to {origin}")
            }
        }
    }
}
