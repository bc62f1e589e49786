//! A network namespace as values: all that decides where a packet goes.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Index, IndexMut};

use ipnet::IpNet;

use fairway_model::{MacAddress, MacvlanMode, SandboxId};
use fairway_ruleset::{ChainKind, Expression, Family, Table, compat};

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its number in the namespace.
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
    /// The bridge that it is a port of, by index.
    pub bridge: Option<u32>,
    /// Whether its bridge may send a frame back through it.
    pub hairpin: bool,
    /// The other end of a veth pair: the namespace, by place in the topology, and the index there.
    pub peer: Option<(NamespaceId, u32)>,
    /// What it stands upon, if it is a macvlan.
    pub macvlan_parent: Option<MacvlanParent>,
    /// Whether 127.0.0.0/8 may be routed by it (`route_localnet`).
    pub route_localnet: bool,
    /// Whether what arrives at it may be forwarded, for IPv4 and IPv6.
    pub forwarding: (bool, bool),
    /// How strictly sources are checked (`rp_filter`, the larger of its own and that of all): 0, 1 or 2.
    pub reverse_path: u8,
}

/// What a macvlan stands upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacvlanParent {
    /// The namespace of its parent, by place in the topology.
    pub namespace: NamespaceId,
    /// The parent's index there.
    pub parent: u32,
    /// Which frames pass between it and others on the same parent.
    pub mode: MacvlanMode,
}

/// What a route does (`RTN_*`, linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Delivers it here.
    Local,
    /// Delivers it here, as to all.
    Broadcast,
    /// Delivers it to a group.
    Multicast,
    /// Drops it.
    Blackhole,
    /// Drops it and says that there is no way.
    Unreachable,
    /// Drops it and says that it is forbidden.
    Prohibit,
    /// Goes on with the next rule.
    Throw,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The number of its table: 255 local, 254 main, 253 default.
    pub table: u32,
    /// Where it leads.
    pub destination: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// The next router; none when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface that it leaves by, by index; 0 for none.
    pub interface: u32,
    /// The lower, the better.
    pub metric: u32,
    /// The source that packets get which have none yet.
    pub source: Option<IpAddr>,
}

/// A rule of the routing policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteRule {
    /// The lower, the earlier.
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
    /// Whether it is for all packets but those.
    pub inverted: bool,
    /// The table that it looks into.
    pub table: u32,
    /// Routes of the table with no longer prefix than this are passed over.
    pub suppressed: Option<u8>,
    /// What it says that is not known here: what comes after it cannot be known.
    pub unknown: Option<String>,
}

/// A socket that waits for packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The number of the transport protocol.
    pub protocol: u8,
    /// The address that it is bound to; unspecified for all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether it takes packets of the other family too (`::` without `IPV6_V6ONLY`).
    pub both_families: bool,
    /// Whether it is only bound, so that TCP is refused.
    pub held: bool,
    /// Whose it is, in words.
    pub owner: String,
    /// Where it carries what it gets, if it is a proxy's.
    pub proxy: Option<SocketAddr>,
}

impl Listener {
    /// What the owner of a socket begins with of which no more is known than its number.
    pub const UNNAMED: &str = "the socket ";
}

/// A network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkNamespace {
    /// What it is called: `host`, or a sandbox's name.
    pub name: String,
    /// The sandbox whose namespace it is; none for the host and for what is not a sandbox.
    pub sandbox: Option<SandboxId>,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// The rules of its routing policy, in their order.
    pub rules: Vec<RouteRule>,
    /// Its nf_tables.
    pub tables: Vec<Table>,
    /// The tables of iptables' older kind, which nf_tables does not show.
    pub iptables_legacy: Vec<Table>,
    /// Its sockets that wait.
    pub listeners: Vec<Listener>,
    /// Whether bridged packets meet the IP hooks, for IPv4 and IPv6 (`bridge-nf-call-iptables`, `-ip6tables`).
    pub bridge_netfilter: (bool, bool),
    /// Whether what its sets of exact keys hold, and its sockets, is not here but asked for ([`super::StateSource`]).
    pub on_demand: bool,
    /// Why rules that packets meet here are not among the tables, if there are any.
    pub unreadable_rules: Option<String>,
}

impl NetworkNamespace {
    /// The interface of that number.
    pub fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    /// Whether a table of this namespace is one of iptables' older kind.
    pub fn is_legacy(&self, table: &Table) -> bool {
        self.iptables_legacy.iter().any(|iptables_legacy| std::ptr::eq(iptables_legacy, table))
    }

    /// The interface of that name.
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

    /// The socket that gets what is for `address` and `port`: the one bound to the address rather than to all.
    pub fn listener(&self, protocol: u8, address: IpAddr, port: u16) -> Option<&Listener> {
        listener_of(&self.listeners, protocol, address, port)
    }
}

/// The socket of these that gets what is for `address` and `port`.
pub(super) fn listener_of(
    listeners: &[Listener],
    protocol: u8,
    address: IpAddr,
    port: u16,
) -> Option<&Listener> {
    let takes = |listener: &&Listener| {
        let all = listener.address.is_unspecified()
            && (listener.both_families || listener.address.is_ipv4() == address.is_ipv4());
        listener.protocol == protocol && listener.port == port && (all || listener.address == address)
    };
    listeners.iter().filter(takes).min_by_key(|listener| {
        (listener.address.is_unspecified(), listener.address.is_ipv4() != address.is_ipv4())
    })
}

fn needs_conntrack(expression: &Expression) -> bool {
    match expression {
        Expression::Ct { .. } | Expression::CtSet { .. } => true,
        Expression::OneOf { ways, .. } => ways.iter().flatten().any(needs_conntrack),
        // Objects may be helpers and time-outs of flows.
        Expression::Unknown { name, attributes } => match name.as_str() {
            "match" | "target" => compat::name(attributes).is_some_and(|name| {
                ["CONN", "CT", "SYNPROXY", "conn", "helper", "cluster"].iter().any(|it| name.starts_with(it))
            }),
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

    /// What a namespace is called in texts.
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

/// A namespace as it is, read from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// It. The other ends of veth_pairs are not filled in: they are in other namespaces.
    pub namespace: NetworkNamespace,
    /// For each end of a pair: its index, and that of the other end in the other namespace.
    pub veth_pairs: Vec<(u32, u32)>,
}
