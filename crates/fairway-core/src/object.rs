//! The objects that a Plan is made of, and the difference between two sets of them.

mod description;
mod difference;
pub mod iptables;
mod phase;
mod set_name;
mod setting;
mod switches;
mod traffic_limit;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::names::{NameRecord, NameView};
pub use description::dotted;
pub use difference::Difference;
use fairway_model::{
    Advertising, EndpointId, MacAddress, MacvlanMode, NameServer, Namespace, NetworkId, Protocol,
    ResolverAddresses, SandboxId, StaticRoute, Uplink,
};
use fairway_ruleset::{Element, LimitRate, key};
use iptables::{Place, RuleChain};
pub use phase::Phase;
pub use set_name::{ElementKey, SETS, SetName};
pub use setting::Setting;
pub use switches::RulesetSwitches;
pub use traffic_limit::{TokenBucket, TrafficLimit, buffer_interface, interface_of_buffer};

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLink {
    /// Its interface name.
    pub name: String,
    /// The network, written into the link's alias as our mark.
    pub network: NetworkId,
    /// Its address; explicit, for otherwise the kernel changes it when ports join.
    pub mac: MacAddress,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The gateway addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Whether 127.0.0.0/8 may be a destination on it (`route_localnet`), which host loopback
    /// needs when ports are published without a proxy.
    pub route_localnet: bool,
    /// Whether IPv6 is on for it.
    pub ipv6: bool,
    /// The interface of the host that it takes over. Its addresses and settings are then those of the host's LAN,
    /// and others may change them.
    pub parent: Option<String>,
    /// Whether it is the user's own: it is neither made nor deleted, and keeps what it has. The
    /// addresses are those that it lacks.
    pub adopted: bool,
}

/// An interface of the host that a bridge of ours takes over: the interface is a port, and the bridge has its
/// addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkPort {
    /// The bridge.
    pub bridge: String,
    /// Its network.
    pub network: NetworkId,
    /// The interface as it was when it was taken over: what is restored if the bridge loses it.
    pub taken: Uplink,
}

/// A veth pair: one end is a port of a bridge, the other the sandbox's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VethLink {
    /// The end on the host.
    pub host_interface: String,
    /// The endpoint, written into the host end's alias as our mark.
    pub endpoint: EndpointId,
    /// The bridge.
    pub bridge: String,
    /// The sandbox's namespace; none if the end is handed over: it is made on the host, and another engine moves it into
    /// its container, renames it and configures it.
    pub namespace: Option<Namespace>,
    /// The end in the sandbox (`eth0`), or the name under which it is handed over.
    pub interface: String,
    /// The address of the end in the sandbox.
    pub mac: MacAddress,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The addresses in the sandbox with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Whether the bridge may send a frame back where it came from.
    pub hairpin: bool,
    /// Settings of the end in the sandbox, by their paths under `/proc/sys`.
    pub sysctls: Vec<(String, String)>,
    /// How its addresses are announced to neighbors when it is made.
    pub advertising: Advertising,
    /// Another name of the end on the host.
    pub alternative_name: Option<String>,
}

/// A route of the host to the subnet of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// The network that asks for it.
    pub network: NetworkId,
    /// The next hop.
    pub gateway: IpAddr,
}

/// A link in a sandbox's namespace alone: it has no end on the host, and its own alias is our mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsLink {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The endpoint, written into the link's alias as our mark.
    pub endpoint: EndpointId,
    /// The sandbox's namespace.
    pub namespace: Namespace,
    /// Its name there (`eth0`).
    pub interface: String,
    /// Its hardware address; none where it has that of the link below it.
    pub mac: Option<MacAddress>,
    /// The largest packet in bytes; none for as much as the link below it takes.
    pub mtu: Option<u32>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
}

/// A macvlan in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacvlanLink {
    /// The sandbox's interface.
    pub link: NetnsLink,
    /// The parent link on the host. The macvlan is made once its parent exists.
    pub parent: String,
    /// Which frames pass between it and others on the same parent.
    pub mode: MacvlanMode,
}

/// A dummy link of the host that is the parent of macvlans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DummyParent {
    /// Its interface name.
    pub name: String,
    /// The network, written into the link's alias as our mark.
    pub network: NetworkId,
    /// The largest packet in bytes; none for the kernel's choice.
    pub mtu: Option<u32>,
}

/// A veth pair with an end in each of two sandboxes; or in one, and then the other end waits on
/// the host, switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairLink {
    /// The network, written into the alias of the end that waits as our mark.
    pub network: NetworkId,
    /// The interface name of the end that waits, when there is one.
    pub waiting: String,
    /// The ends in sandboxes: one or two.
    pub ends: Vec<NetnsLink>,
}

/// A default route in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRoute {
    /// The gateway.
    pub gateway: IpAddr,
    /// The interface in the sandbox.
    pub interface: String,
    /// The metric; none is the kernel's.
    pub metric: Option<u32>,
}

/// A static route in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetnsRoute {
    /// The route.
    pub route: StaticRoute,
    /// The interface in the sandbox; none for a route that drops packets.
    pub interface: Option<String>,
}

/// The routes in a sandbox, but for those that the kernel makes of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRoutes {
    /// The sandbox's namespace.
    pub namespace: Namespace,
    /// The default routes, at most one of each family, IPv4 first. They replace other default routes.
    pub gateways: Vec<GatewayRoute>,
    /// The static routes, with the routing protocol that is our mark.
    pub others: Vec<NetnsRoute>,
}

impl SandboxRoutes {
    /// The default route of a family.
    pub fn gateway(&self, ipv4: bool) -> Option<&GatewayRoute> {
        self.gateways.iter().find(|route| route.gateway.is_ipv4() == ipv4)
    }
}

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElementValue {
    /// Nothing: an element of a set.
    None,
    /// An address and port to rewrite to.
    Target(SocketAddr),
    /// An address to rewrite to.
    Address(IpAddr),
    /// Nothing, and it is found only for what exceeds so many packets a second.
    Over(u32),
}

/// An element of one of our sets or maps, by the raw bytes of its key (each part padded to four
/// bytes, in network order unless the part is a host-order type).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetElement {
    /// What it leads to.
    pub value: ElementValue,
    /// The comment that `nft list` shows; may be empty.
    pub comment: String,
}

impl SetElement {
    /// The element of nf_tables that stands for it, by the key that the Plan has it under.
    pub fn to_element(&self, set: SetName, bytes: &[u8]) -> Element {
        let made = match self.value {
            ElementValue::None if set.has_ranges() => {
                let (first, last) = bytes.split_at(bytes.len() / 2);
                Element::new(first).up_to(last)
            }
            ElementValue::None => Element::new(bytes),
            ElementValue::Over(packets) => Element::new(bytes).with_limit(LimitRate {
                amount: packets.into(),
                seconds: 1,
                // Those of one second may come at once.
                burst: packets,
                bytes: false,
                inverted: true,
            }),
            ElementValue::Target(to) => Element::to_value(bytes, key().address(to.ip()).port(to.port())),
            ElementValue::Address(to) => Element::to_value(bytes, key().address(to)),
        };
        made.with_comment(self.comment.as_str())
    }
}

/// What a bound port is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketUse {
    /// The relay accepts there and carries bytes to this address.
    Proxy(SocketAddr),
    /// Bound and not listening, so that no other program gets the port: the kernel translates packets to it.
    // The relay of the version before reads and writes this name.
    #[serde(rename = "Hold")]
    Reserve,
}

/// A port of the host that is bound for a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSocket {
    /// Whose publication it is.
    pub sandbox: SandboxId,
    /// What it is for.
    pub purpose: SocketUse,
}

/// A file that a sandbox sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileName {
    /// `/etc/resolv.conf`.
    ResolvConf,
    /// `/etc/hosts`.
    Hosts,
    /// `/etc/hostname`.
    Hostname,
}

impl FileName {
    /// The name below `/etc`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::ResolvConf => "resolv.conf",
            Self::Hosts => "hosts",
            Self::Hostname => "hostname",
        }
    }
}

/// The identity of an object. Two fragments never hold the same key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The fixed part of the ruleset: tables, chains, rules, set declarations.
    Ruleset,
    /// A sysctl of the host, by its path under `/proc/sys`.
    Sysctl(String),
    /// A bridge, by interface name.
    Bridge(String),
    /// A route of the host, by its destination.
    Route(IpNet),
    /// An interface of the host that is taken over, by its name.
    Uplink(String),
    /// A veth pair, by the name of the host's end.
    Veth(String),
    /// The limits of an endpoint's traffic, by the name of the host's end of its veth pair.
    TrafficLimit(String),
    /// A dummy parent of macvlans, by interface name.
    DummyParent(String),
    /// A macvlan, by the endpoint.
    Macvlan(EndpointId),
    /// The pair of a network.
    Pair(NetworkId),
    /// The loopback interface and resolver rewrite in a sandbox's namespace.
    Netns(SandboxId),
    /// The default and static routes in a sandbox.
    SandboxRoutes(SandboxId),
    /// A chain of iptables that is ours.
    Chain(RuleChain),
    /// Rules of iptables that follow one another in a chain, one a line, as `iptables-save` writes them.
    Rules(RuleChain, String),
    /// An element: set and raw key.
    Element(SetName, Vec<u8>),
    /// A port of the host.
    Socket(Protocol, SocketAddr),
    /// A file of a sandbox.
    File(SandboxId, FileName),
    /// The names of an endpoint.
    Names(EndpointId),
    /// What a sandbox can see of names.
    View(SandboxId),
    /// The host's name servers, as the relay knows them.
    HostServers,
}

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// The fixed part of the ruleset follows from these switches alone.
    Ruleset(RulesetSwitches),
    /// The value a sysctl has.
    Sysctl(String),
    /// A bridge.
    Bridge(BridgeLink),
    /// A route of the host.
    Route(HostRoute),
    /// An interface of the host that is taken over.
    Uplink(UplinkPort),
    /// A veth pair.
    Veth(VethLink),
    /// Limits of an endpoint's traffic.
    TrafficLimit(TrafficLimit),
    /// A dummy parent of macvlans.
    DummyParent(DummyParent),
    /// A macvlan.
    Macvlan(MacvlanLink),
    /// A pair of two sandboxes.
    Pair(PairLink),
    /// A namespace in which loopback is up, and where its resolver answers; none without one.
    Netns(Namespace, Option<ResolverAddresses>),
    /// Default and static routes.
    SandboxRoutes(SandboxRoutes),
    /// A chain.
    Chain,
    /// Rules, and where in their chain.
    Rules(Place),
    /// An element of a set or map.
    Element(SetElement),
    /// A port.
    Socket(PortSocket),
    /// The contents of a file.
    File(String),
    /// Names.
    Names(NameRecord),
    /// A view of names.
    View(NameView),
    /// Servers.
    HostServers(Vec<NameServer>),
}

impl Object {
    /// The links in sandboxes' namespaces, without an end on the host, that the object consists of.
    pub fn netns_links(&self) -> &[NetnsLink] {
        match self {
            Self::Macvlan(macvlan) => std::slice::from_ref(&macvlan.link),
            Self::Pair(pair) => &pair.ends,
            _ => &[],
        }
    }
}

/// The objects of one owner.
pub type Fragment = BTreeMap<Key, Object>;
