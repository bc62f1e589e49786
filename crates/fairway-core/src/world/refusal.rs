//! Refusals of commands.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use crate::ipam::{IpamError, LostHostAddress};
use fairway_model::RefusalKind;
use fairway_model::parse::ParseError;
use fairway_model::{Driver, IPV6_MIN_MTU, MacAddress, MacvlanMode, PortRange, Protocol, UnpublishRequest};

/// The reason why a World refuses a command. The World is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum Refusal {
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    #[error(
        "network {network} not found: create it and connect container {sandbox} to it (fairway network connect {network} {sandbox}), or do without it (fairway network disconnect {network} {sandbox})"
    )]
    NetworkRemoved { network: String, sandbox: String },
    #[error(
        "endpoint {0} not found: it was never joined, or its container has ended: start the container again"
    )]
    NoSuchEndpoint(String),
    #[error("pool {0} not found: it was released, or is none of the IPAM driver fairway")]
    NoSuchPool(ipnet::IpNet),
    #[error("endpoint {0} already exists: disconnect its container first")]
    EndpointExists(String),
    #[error("No such container: {0}")]
    NoSuchSandbox(String),
    #[error("No such link: {sandbox}/{alias}")]
    NoSuchLink { sandbox: String, alias: String },
    #[error("network {reference} is ambiguous ({count} matches found on ID prefix)")]
    AmbiguousNetwork { reference: String, count: usize },
    #[error("container {reference} is ambiguous ({count} matches found on ID prefix)")]
    AmbiguousSandbox { reference: String, count: usize },
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    #[error("network {network} exists with another {part}: {way_out}, or give this one another name")]
    NetworkDiffers { network: String, part: &'static str, way_out: String },
    #[error("container {0} runs in another network namespace: stop it first")]
    OtherNamespace(String),
    #[error("{0:?} is not a name: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, up to 128 characters")]
    InvalidName(String),
    #[error("operation is not permitted on predefined {0} network")]
    PredefinedName(String),
    #[error("{0} is a pre-defined network and cannot be removed")]
    PredefinedNetwork(String),
    #[error("only one instance of \"{0}\" network is allowed")]
    SingleInstance(String),
    #[error("plugin {0:?} not found: the driver can be {drivers}", drivers = driver_names())]
    NoSuchDriver(String),
    #[error("invalid option {name}={value}: {reason}")]
    InvalidOption { name: String, value: String, reason: String },
    #[error("bridge name {name} is taken by network {holder}: choose another com.docker.network.bridge.name")]
    BridgeTaken { name: String, holder: String },
    #[error(
        "cannot add peer {destination}: the host has a route to it via {interface}: delete the route, or leave the peer out and keep the route"
    )]
    RouteTaken { destination: ipnet::IpNet, interface: String },
    #[error(
        "cannot use subnet {subnet} for network {network}: {taken}, and the host would lose it: choose another --subnet, or put containers on that LAN itself (-d lan -o parent=INTERFACE)"
    )]
    SubnetOfHost { network: String, subnet: ipnet::IpNet, taken: LostHostAddress },
    #[error("no such interface: {0}: choose another one with -o parent=NAME")]
    NoParent(String),
    #[error(
        "cannot use interface {parent}: network {holder} uses it: connect to that network, or remove it first"
    )]
    ParentTaken { parent: String, holder: String },
    #[error("cannot use interface {parent} as uplink: {reason}")]
    ParentUnfit { parent: String, reason: String },
    #[error("cannot use interface {parent}: it has no {what}")]
    LanUnknown { parent: String, what: &'static str },
    #[error("cannot use interface {parent} as macvlan parent: {reason}")]
    NotAParent { parent: String, reason: String },
    #[error(
        "cannot use {parent} in the mode {mode}: network {holder} uses it in the mode {held}: a passthru macvlan is the only one of its parent"
    )]
    ParentMode { parent: String, mode: MacvlanMode, holder: String, held: MacvlanMode },
    #[error("cannot use gateway {0}: a ptp network has no gateway: drop --gateway")]
    GatewayOnPair(IpAddr),
    #[error("cannot join network {network}: {limit}: {holders}: disconnect one first")]
    NetworkFull { network: String, limit: &'static str, holders: String },
    #[error(
        "cannot join network {network}: its bridge {bridge} has {most} ports, which is the limit of the kernel: stop or disconnect a container that is on it, or use another network"
    )]
    BridgeFull { network: String, bridge: String, most: usize },
    #[error(
        "cannot use MAC address {mac} on network {network}: in the mode passthru a container has that of the interface {parent}"
    )]
    MacOfParent { mac: MacAddress, network: String, parent: String },
    #[error(
        "cannot use IPv6 on network {network} with an MTU of {mtu}: IPv6 needs at least {IPV6_MIN_MTU} bytes (RFC 8200, section 5): choose a larger MTU (--mtu, -o com.docker.network.driver.mtu=BYTES, or that of -o parent=NAME), or disable IPv6"
    )]
    MtuWithoutIpv6 { network: String, mtu: u32 },
    #[error("at least one of IPv4 or IPv6 must be enabled")]
    NoFamily,
    #[error(
        "error while removing network: network {network} has active endpoints ({endpoints}): disconnect them first"
    )]
    ActiveEndpoints { network: String, endpoints: String },
    #[error(transparent)]
    Ipam(#[from] IpamError),
    #[error(transparent)]
    Text(#[from] ParseError),
    #[error("too many {what}: {count} where {limit} is the limit: ask for fewer")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("invalid port range {first}-{last}: ports go from 1 to 65535, the lower one first")]
    InvalidPorts { first: u16, last: u16 },
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    SandboxExists { name: String, holder: String },
    #[error("a configuration network cannot depend on another configuration network: drop --config-from")]
    ConfigurationOfConfiguration,
    #[error("network {0} is no configuration network: name one that was created with --config-only")]
    NoConfiguration(String),
    #[error(
        "network {network} has the configuration of network {from}: drop its own options, subnets, labels and families"
    )]
    OwnConfiguration { network: String, from: String },
    #[error("configuration network {network} is in use by network {user}: remove that one first")]
    ConfigurationInUse { network: String, user: String },
    #[error("network {0} holds a configuration and has no endpoints: create one with --config-from {0}")]
    ConfigurationOnly(String),
    #[error("cannot rename container {0}: it has that name: give another one")]
    SameName(String),
    #[error("endpoint with name {sandbox} already exists in network {network}")]
    AlreadyConnected { sandbox: String, network: String },
    #[error(
        "container {sandbox} is on network {network} already: a container has one interface on each network"
    )]
    AlreadyJoined { sandbox: String, network: String },
    #[error("container {sandbox} is not connected to network {network}")]
    NotConnected { sandbox: String, network: String },
    #[error("container {0} is already running: stop it first")]
    AlreadyRunning(String),
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error(
        "cannot stop container {0} for the end of an earlier process: it was started again: stop it by name"
    )]
    Restarted(String),
    #[error("cannot stop container {0}: its namespace has no process of its own: fairway sandbox rm {0}")]
    NoProcess(String),
    #[error(
        "cannot update sandbox {0}: Fairway started no command in it: limits and restart policies are for fairway run"
    )]
    NoCommand(String),
    #[error(
        "cannot record a failed start of sandbox {0}: Fairway starts no command in it: only those of fairway run are started"
    )]
    NeverStarted(String),
    #[error(
        "cannot create a sandbox without a command in network mode {0}: it would have no namespace of its own: give a network, or none"
    )]
    NoNamespace(&'static str),
    #[error("cannot remove container {0}: it is running: stop it first, or force the removal")]
    RemoveRunning(String),
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    SharedNamespace,
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )]
    NoneMode,
    #[error("container cannot be disconnected from host network or connected to host network")]
    HostMode,
    #[error(
        "invalid endpoint settings: user-specified IP address is supported on user-defined networks only: {0} is not one"
    )]
    AddressOnDefault(String),
    #[error(
        "invalid endpoint settings: network-scoped aliases are only supported for user-defined networks: {0} is not one"
    )]
    AliasOnDefault(String),
    #[error(
        "invalid endpoint settings: no configured subnet of network {network} contains IP address {address}"
    )]
    AddressOutside { address: IpAddr, network: String },
    #[error("Address already in use: {address} on network {network} is {holder}")]
    AddressInUse { address: IpAddr, network: String, holder: String },
    #[error("MAC address {mac} is already in use by container {holder}")]
    MacInUse { mac: String, holder: String },
    #[error(
        "Bind for {address}:{port} failed: port is already allocated: container {holder} publishes {port}/{protocol}"
    )]
    PortInUse { address: IpAddr, port: u16, protocol: Protocol, holder: String },
    #[error(
        "Bind for {address}:{port} failed: port is already allocated: the same container asks for {port}/{protocol} at {other} too: leave one of them out"
    )]
    PortTwice { port: u16, protocol: Protocol, address: IpAddr, other: IpAddr },
    #[error("No public port '{request}' published for {sandbox}: {published}")]
    NotPublished { request: UnpublishRequest, sandbox: String, published: String },
    #[error(
        "cannot publish ports of container {0}: it uses the host's own network: its ports are reached without publishing"
    )]
    PublishOnHost(String),
    #[error(
        "cannot publish ports of container {sandbox}: it shares the network of container {holder}: publish them there"
    )]
    PublishShared { sandbox: String, holder: String },
    #[error("all {protocol} host ports of {range} are in use")]
    NoFreePort { range: PortRange, protocol: Protocol },
    #[error("conflicting options: {option} and the {mode} type network mode")]
    ConflictingOptions { option: &'static str, mode: &'static str },
    #[error("conflicting options: cannot specify both --restart and --rm")]
    RestartAndRemove,
    #[error("{}", fairway_model::process::TOO_LITTLE_MEMORY)]
    TooLittleMemory,
    #[error(
        "sysctl {name:?} is not allowed with the {mode} type network mode: the network namespace is not the container's own"
    )]
    ForeignSysctl { name: String, mode: &'static str },
    #[error("cannot use address {address} from DHCP server {server} via {parent}: {reason}")]
    LeaseUnfit { server: Ipv4Addr, parent: String, address: Ipv4Addr, reason: String },
    #[error("links are only supported for user-defined networks")]
    LinkOnHost,
    #[error("could not get container for {target}: No such container: {target}")]
    LinkTarget { target: String },
    #[error(
        "Cannot link to /{target}, as it does not belong to the default network: connect it to {network}, or both to a network of your own"
    )]
    LinkOutside { target: String, network: String },
    #[error("Cannot link to a non running container: /{target} AS /{source_name}/{alias}")]
    LinkStopped { target: String, source_name: String, alias: String },
    #[error("cannot join network of a non running container: {0}")]
    JoinStopped(String),
    #[error("interface name {interface} is already used in container {sandbox}")]
    InterfaceTaken { interface: String, sandbox: String },
    #[error("--{flag} {wanted} does not fit running containers: {sandbox} has {address}: stop it first")]
    BridgeAddressInUse { flag: &'static str, wanted: String, sandbox: String, address: IpAddr },
    #[error(
        "cannot disable IPv6 on the default bridge: container {sandbox} has {address}: stop it first, or add --ipv6"
    )]
    Ipv6InUse { sandbox: String, address: IpAddr },
    #[error("cannot disable the default bridge: container {0} runs on it: stop it first")]
    DefaultBridgeInUse(String),
    #[error(
        "cannot use bridge {0}: it does not exist: create it (ip link add {0} type bridge), or drop --bridge"
    )]
    NoSuchBridge(String),
    #[error("cannot use bridge {name}: it has no {family} address: add one, or choose another --bridge")]
    BridgeWithoutAddress { name: String, family: &'static str },
}

/// The names of the drivers as text.
fn driver_names() -> String {
    let names = Driver::CREATABLE.map(|(driver, _)| driver.name());
    let [first @ .., last] = names;
    format!("{} or {last}", first.join(", "))
}

impl Refusal {
    /// The kind of the refusal.
    pub fn kind(&self) -> RefusalKind {
        use RefusalKind::{Conflict, Forbidden, Invalid, NotFound};
        match self {
            Self::NoSuchNetwork(_)
            | Self::NetworkRemoved { .. }
            | Self::NoSuchSandbox(_)
            | Self::NoSuchEndpoint(_)
            | Self::NoSuchPool(_)
            | Self::NoSuchLink { .. }
            | Self::LinkTarget { .. }
            | Self::NotPublished { .. }
            | Self::NoParent(_)
            | Self::NoSuchDriver(_) => NotFound,
            Self::NetworkExists(_)
            | Self::EndpointExists(_)
            | Self::NetworkDiffers { .. }
            | Self::OtherNamespace(_)
            | Self::ParentMode { .. }
            | Self::NetworkFull { .. }
            | Self::BridgeFull { .. }
            | Self::SandboxExists { .. }
            | Self::AlreadyRunning(_)
            | Self::NotRunning(_)
            | Self::Restarted(_)
            | Self::NoProcess(_)
            | Self::NoCommand(_)
            | Self::NeverStarted(_)
            | Self::RemoveRunning(_)
            | Self::JoinStopped(_)
            | Self::LinkStopped { .. }
            | Self::BridgeTaken { .. }
            | Self::RouteTaken { .. }
            | Self::ParentTaken { .. }
            | Self::ParentUnfit { .. }
            | Self::InterfaceTaken { .. }
            | Self::PublishOnHost(_)
            | Self::PublishShared { .. }
            | Self::BridgeAddressInUse { .. }
            | Self::Ipv6InUse { .. }
            | Self::DefaultBridgeInUse(_)
            | Self::MacInUse { .. } => Conflict,
            Self::PredefinedName(_)
            | Self::PredefinedNetwork(_)
            | Self::SingleInstance(_)
            | Self::NoConfiguration(_)
            | Self::OwnConfiguration { .. }
            | Self::ConfigurationInUse { .. }
            | Self::ConfigurationOnly(_)
            | Self::ActiveEndpoints { .. }
            | Self::AddressInUse { .. }
            | Self::SubnetOfHost { .. }
            | Self::PortInUse { .. }
            | Self::PortTwice { .. }
            | Self::NoFreePort { .. }
            | Self::AlreadyConnected { .. }
            | Self::AlreadyJoined { .. }
            | Self::LeaseUnfit { .. }
            | Self::NotConnected { .. } => Forbidden,
            Self::Ipam(error) => error.kind(),
            _ => Invalid,
        }
    }
}
