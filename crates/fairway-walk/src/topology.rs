//! Network namespaces as values: interfaces, routes, rules and sockets that decide the way of a packet.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Index, IndexMut};

use ipnet::IpNet;

use super::virtual_server::VirtualServer;
use fairway_model::{MacAddress, MacvlanMode, SandboxId};
use fairway_ruleset::{ChainKind, Expression, Family, Table, compat};

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The interface index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver's name (`bridge`, `veth`); empty for hardware and for loopback.
    pub kind: String,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Its IPv6 addresses that it cannot use: they are tentative, or duplicate address detection failed.
    pub tentative: Vec<IpAddr>,
    /// Its IPv6 addresses that are not the source of new connections if there is another one.
    pub deprecated: Vec<IpAddr>,
    /// The bridge that it is a port of, by index.
    pub bridge: Option<u32>,
    /// Its state as a port of a bridge.
    pub port_state: PortState,
    /// Whether its bridge may send a frame back through it.
    pub hairpin: bool,
    /// Whether its bridge sends no frames from it to other such ports.
    pub isolated: bool,
    /// The other end of a veth pair: the namespace, by place in the topology, and the index there.
    pub peer: Option<(NamespaceId, u32)>,
    /// The parent, if the interface is a macvlan.
    pub macvlan_parent: Option<MacvlanParent>,
    /// Whether 127.0.0.0/8 may be routed by it (`route_localnet`).
    pub route_localnet: bool,
    /// Whether packets that arrive at the interface may be forwarded, for IPv4 and IPv6.
    pub forwarding: (bool, bool),
    /// How strictly sources are checked (`rp_filter`, the larger of the interface's and `all`): 0, 1 or 2.
    pub reverse_path: u8,
    /// What carries packets that leave by it, in words (`VLAN 5 of eth0`); empty for a plain link.
    pub carrier: String,
    /// Programs at it that may change, delay or drop packets.
    pub programs: Vec<LinkProgram>,
}

/// The state of a bridge port (`BR_STATE_*`, linux/if_bridge.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PortState {
    /// It is down or has no carrier.
    Disabled,
    /// The spanning tree is being made.
    Listening,
    /// The port will forward soon.
    Learning,
    /// Frames pass.
    #[default]
    Forwarding,
    /// Another port leads to the same bridges.
    Blocking,
}

impl PortState {
    /// The state with a number of the kernel's; one that is not known forwards.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Disabled,
            1 => Self::Listening,
            2 => Self::Learning,
            4 => Self::Blocking,
            _ => Self::Forwarding,
        }
    }

    /// Its name, as `bridge link` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Listening => "listening",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
            Self::Blocking => "blocking",
        }
    }
}

/// A program at an interface, of which nothing but its name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkProgram {
    /// The program in words: `XDP program 7`.
    pub what: String,
    /// Whether packets that arrive at the interface meet it.
    pub input: bool,
    /// Whether packets that leave by the interface meet it.
    pub output: bool,
}

/// The parent of a macvlan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacvlanParent {
    /// The namespace of its parent, by place in the topology.
    pub namespace: NamespaceId,
    /// The parent's index there.
    pub parent: u32,
    /// The macvlan mode: which frames pass between macvlans of one parent.
    pub mode: MacvlanMode,
}

/// The kind of a route (`RTN_*`, linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Forwards the packet.
    Unicast,
    /// Forwards the packet to one of several next hops, of which the route has the first.
    Multipath,
    /// Delivers the packet locally.
    Local,
    /// Delivers a broadcast.
    Broadcast,
    /// Delivers a multicast.
    Multicast,
    /// Drops the packet silently.
    Blackhole,
    /// Drops the packet with an "unreachable" error.
    Unreachable,
    /// Drops the packet with a "prohibited" error.
    Prohibit,
    /// Continues with the next routing rule.
    Throw,
}

impl RouteKind {
    /// Whether it forwards packets.
    pub fn forwards(self) -> bool {
        matches!(self, Self::Unicast | Self::Multipath)
    }

    /// Its name, as `ip route` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Multipath => "multipath",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
        }
    }

    /// Whether packets by the route are discarded, with an error or without.
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Blackhole | Self::Unreachable | Self::Prohibit)
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The number of its table: 255 local, 254 main, 253 default.
    pub table: u32,
    /// The destination prefix.
    pub destination: IpNet,
    /// The kind of the route.
    pub kind: RouteKind,
    /// The next router; none when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The index of the output interface; 0 for none.
    pub interface: u32,
    /// The metric; the lowest wins.
    pub metric: u32,
    /// The preferred source address of local packets.
    pub source: Option<IpAddr>,
}

/// A policy routing rule, as in `ip rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteRule {
    /// The priority; the lowest is evaluated first.
    pub priority: u32,
    /// Whether it is for IPv4.
    pub ipv4: bool,
    /// Only packets from here; none is all.
    pub from: Option<IpNet>,
    /// Only packets to here; none is all.
    pub to: Option<IpNet>,
    /// Only packets that arrived at this interface.
    pub input: Option<String>,
    /// Only packets of sockets that are bound to this interface.
    pub output: Option<String>,
    /// Only packets with this mark under this mask.
    pub mark: Option<(u32, u32)>,
    /// Only packets of this transport protocol, by number.
    pub protocol: Option<u8>,
    /// Only packets from these ports, the first and the last.
    pub source_ports: Option<(u16, u16)>,
    /// Only packets to these ports, the first and the last.
    pub destination_ports: Option<(u16, u16)>,
    /// Whether the selectors are inverted.
    pub inverted: bool,
    /// The table to look up.
    pub table: u32,
    /// Routes with a prefix no longer than this are ignored (`suppress_prefixlength`).
    pub suppressed: Option<u8>,
    /// An attribute that the walker does not know; the result of the rule and of later rules is then not known.
    pub unknown: Option<String>,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// The address that it is bound to; unspecified for all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether the socket accepts packets of the other family too (`::` without `IPV6_V6ONLY`).
    pub both_families: bool,
    /// The index of the interface that it is bound to (`SO_BINDTODEVICE`); none for all.
    pub interface: Option<u32>,
    /// Whether the socket is only bound and does not listen, so that TCP is refused.
    pub held: bool,
    /// The owner of the socket as text.
    pub owner: String,
    /// The target of the proxy, if the socket is a proxy's.
    pub proxy: Option<SocketAddr>,
}

impl Interface {
    /// Whether frames pass it as a port of a bridge.
    pub fn forwards_frames(&self) -> bool {
        self.port_state == PortState::Forwarding
    }
}

impl Listener {
    /// The beginning of the owner text of a socket whose inode number alone is known.
    pub const UNNAMED: &str = "the socket ";
}

/// A network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkNamespace {
    /// The name: `host`, or a sandbox's name.
    pub name: String,
    /// The sandbox of the namespace; none for the host and for other namespaces.
    pub sandbox: Option<SandboxId>,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// The policy routing rules, in their order.
    pub rules: Vec<RouteRule>,
    /// The tables of nf_tables.
    pub tables: Vec<Table>,
    /// The tables of iptables-legacy, which nf_tables does not show.
    pub iptables_legacy: Vec<Table>,
    /// The listening sockets.
    pub listeners: Vec<Listener>,
    /// The virtual servers of IPVS.
    pub virtual_servers: Vec<VirtualServer>,
    /// Whether bridged packets meet the IP hooks, for IPv4 and IPv6 (`bridge-nf-call-iptables`, `-ip6tables`).
    pub bridge_netfilter: (bool, bool),
    /// Whether it answers no echo requests, of IPv4 and IPv6 (`icmp_echo_ignore_all`).
    pub ignores_echo: (bool, bool),
    /// Whether elements of sets with exact keys, and sockets, are read on demand ([`super::StateSource`]).
    pub on_demand: bool,
    /// The ports that it gives to programs that ask for none, the first and the last (`ip_local_port_range`), if known.
    pub local_ports: Option<(u16, u16)>,
    /// The reason why rules that packets meet are missing from the tables, if some are.
    pub unreadable_rules: Option<String>,
}

impl NetworkNamespace {
    /// The interface with that index.
    pub fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    /// Whether a table of this namespace is one of iptables-legacy.
    pub fn is_legacy(&self, table: &Table) -> bool {
        self.iptables_legacy.iter().any(|iptables_legacy| std::ptr::eq(iptables_legacy, table))
    }

    /// The interface with that name.
    pub fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The interface that has an address.
    pub fn holder(&self, address: IpAddr) -> Option<&Interface> {
        let has = |interface: &&Interface| interface.addresses.iter().any(|own| own.addr() == address);
        self.interfaces.iter().find(has)
    }

    /// Whether bridged packets of a family meet the IP hooks.
    pub fn sees_bridged(&self, family: Family) -> bool {
        if family == Family::Ip { self.bridge_netfilter.0 } else { self.bridge_netfilter.1 }
    }

    /// Whether conntrack is on: the kernel switches it on for a namespace whose rules need it.
    pub fn tracks(&self) -> bool {
        let chains = self.tables.iter().chain(&self.iptables_legacy).flat_map(|table| &table.chains);
        chains.into_iter().any(|chain| {
            chain.base.as_ref().is_some_and(|base| base.kind == ChainKind::Nat)
                || chain.rules.iter().any(|rule| rule.expressions.iter().any(needs_conntrack))
        })
    }

    /// The socket that gets packets to `address` and `port`: one bound to the address before one bound to all.
    /// By an interface that is not known, any may get them.
    pub fn listener(
        &self,
        protocol: u8,
        address: IpAddr,
        port: u16,
        interface: Option<u32>,
    ) -> Option<&Listener> {
        listener_of(&self.listeners, protocol, (address, port), interface)
    }
}

/// The socket among `listeners` that gets packets to an address and port by an interface, if that is known.
pub(super) fn listener_of(
    listeners: &[Listener],
    protocol: u8,
    (address, port): (IpAddr, u16),
    interface: Option<u32>,
) -> Option<&Listener> {
    let takes = |listener: &&Listener| {
        let all = listener.address.is_unspecified()
            && (listener.both_families || listener.address.is_ipv4() == address.is_ipv4());
        let fits = all || listener.address == address;
        let by = listener.interface.zip(interface).is_none_or(|(bound, by)| bound == by);
        listener.protocol == protocol && listener.port == port && fits && by
    };
    listeners.iter().filter(takes).min_by_key(|listener| {
        let is_other = listener.address.is_ipv4() != address.is_ipv4();
        (listener.address.is_unspecified(), is_other, listener.interface.is_none())
    })
}

fn needs_conntrack(expression: &Expression) -> bool {
    let is_such = |name: &str| {
        ["CONN", "CT", "SYNPROXY", "conn", "helper", "cluster"].iter().any(|it| name.starts_with(it))
    };
    match expression {
        Expression::Undecided { name, .. } => is_such(name),
        Expression::Ct { .. } | Expression::CtSet { .. } => true,
        Expression::OneOf { ways, .. } => ways.iter().flatten().any(needs_conntrack),
        // Objects may be conntrack helpers and timeouts.
        Expression::Unknown { name, attributes } => match name.as_str() {
            "match" | "target" => compat::name(attributes).is_some_and(|name| is_such(&name)),
            name => ["connlimit", "flow_offload", "objref", "synproxy"].contains(&name),
        },
        _ => false,
    }
}

/// The identity of a namespace: its position in [`Topology::namespaces`]. Names are only shown: a sandbox may have any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub usize);

impl NamespaceId {
    /// The host's namespace.
    pub const HOST: Self = Self(0);
}

/// The network namespaces that packets are walked through, and the links between them. The first is the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// The namespaces, by [`NamespaceId`].
    pub namespaces: Vec<NetworkNamespace>,
}

impl Topology {
    /// The host's namespace.
    pub fn host(&self) -> &NetworkNamespace {
        &self[NamespaceId::HOST]
    }

    /// The namespaces with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NamespaceId, &NetworkNamespace)> {
        self.namespaces.iter().enumerate().map(|(number, namespace)| (NamespaceId(number), namespace))
    }

    /// The namespace of a running sandbox.
    pub fn of_sandbox(&self, sandbox: SandboxId) -> Option<NamespaceId> {
        self.iter().find(|(_, namespace)| namespace.sandbox == Some(sandbox)).map(|(id, _)| id)
    }

    /// The name of a namespace in texts.
    pub fn name(&self, id: NamespaceId) -> &str {
        self.namespaces.get(id.0).map_or("", |namespace| namespace.name.as_str())
    }
}

impl Index<NamespaceId> for Topology {
    type Output = NetworkNamespace;

    fn index(&self, id: NamespaceId) -> &NetworkNamespace {
        &self.namespaces[id.0]
    }
}

impl IndexMut<NamespaceId> for Topology {
    fn index_mut(&mut self, id: NamespaceId) -> &mut NetworkNamespace {
        &mut self.namespaces[id.0]
    }
}

/// A namespace as observed in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The namespace. Veth peers in other namespaces are not filled in.
    pub namespace: NetworkNamespace,
    /// For each veth interface: its index, and the index of its peer in the peer's namespace.
    pub veth_pairs: Vec<(u32, u32)>,
}
