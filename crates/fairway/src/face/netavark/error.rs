//! Why a command of netavark fails. Texts are netavark's where it has one.

use std::net::IpAddr;
use std::path::PathBuf;

use fairway_api::ClientError;
use ipnet::IpNet;
use thiserror::Error;

use crate::face::daemon;

/// Why a command of netavark fails.
#[derive(Debug, Error)]
pub enum NetavarkError {
    /// The namespace cannot be opened.
    #[error("invalid namespace path: IO error: {0}")]
    Namespace(#[source] std::io::Error),
    /// The configuration cannot be read.
    #[error("failed to load network options: IO error: {0}")]
    Load(#[source] std::io::Error),
    /// The configuration is not what netavark takes.
    #[error("failed to load network options: {0}")]
    Json(#[from] serde_json::Error),
    /// `--config` is missing.
    #[error("--config not specified but required for netavark {0}")]
    NoConfig(&'static str),
    /// The request cannot be carried out as it is.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A new network cannot be as it is described.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The daemon would refuse a new network.
    #[error("{0}")]
    Unusable(String),
    /// A plugin fails.
    #[error("plugin {plugin:?} failed: {reason}")]
    Plugin {
        /// Its name, which is that of the driver.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// Files of aardvark-dns, or the program.
    #[error("error while applying dns entries: {what} {path}: {source}")]
    Aardvark {
        /// What was done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The daemon cannot be reached or started.
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    /// The daemon refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The reply of the daemon makes no sense.
    #[error("the Fairway daemon answered without network {0}: is it of another version?")]
    Reply(String),
    /// The links of the host cannot be read.
    #[error("cannot read the links of the host: {0}")]
    Links(#[source] fairway_kernel::route::Error),
    /// The kernel has no random numbers.
    #[error("cannot choose a random subnet: {0}")]
    Random(#[source] getrandom::Error),
    /// Nothing can be printed.
    #[error("cannot print: {0}")]
    Print(#[source] std::io::Error),
    /// A service that podman needs with netavark only.
    #[error("{0}")]
    NotNeeded(&'static str),
    /// Several errors of a teardown.
    #[error("netavark encountered multiple errors:\n\t- {}", .0.join("\n\t- "))]
    Several(Vec<String>),
}

/// Why a request cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A network without its description.
    #[error("network info for network {0} not found")]
    NoNetworkInfo(String),
    /// A bridge network without a bridge.
    #[error("no bridge interface name given")]
    NoBridge,
    /// An endpoint without an interface.
    #[error("no container interface name given")]
    NoInterface,
    /// No addresses, where netavark chooses none.
    #[error("no static ips provided")]
    NoAddresses,
    /// Addresses outside the subnets.
    #[error("not all static IPs matched a subnet: expected {expected}, got {got}")]
    AddressOutside {
        /// How many addresses there are.
        expected: usize,
        /// How many are in a subnet.
        got: usize,
    },
    /// An option that cannot be read.
    #[error("unable to parse {name:?}: {reason}: {value:?}")]
    Option {
        /// The option.
        name: String,
        /// Its value.
        value: String,
        /// What is expected.
        reason: String,
    },
    /// A value of `isolate`.
    #[error("invalid isolate option {0:?}")]
    Isolate(String),
    /// A value of `mode`.
    #[error("invalid bridge mode {0:?}")]
    BridgeMode(String),
    /// A type of a route.
    #[error("invalid route type {0:?}")]
    RouteType(String),
    /// A unicast route without a gateway.
    #[error("route {0} requires a gateway for type unicast")]
    RouteWithoutGateway(String),
    /// A route that discards, with a gateway.
    #[error("route {destination} must not have a gateway for type {route_type}")]
    RouteWithGateway {
        /// The destination.
        destination: String,
        /// The type.
        route_type: String,
    },
    /// A driver that is neither built in nor a plugin.
    #[error("unknown network driver {0:?}")]
    Driver(String),
    /// DHCP on a bridge that netavark manages.
    #[error("cannot use dhcp ipam driver without using the option mode=unmanaged")]
    DhcpManaged,
    /// What Fairway does not do.
    #[error("network {network}: {what} is not supported by Fairway: {way_out}")]
    Unsupported {
        /// The network.
        network: String,
        /// The option with its value.
        what: String,
        /// What to do.
        way_out: &'static str,
    },
    /// A protocol of a published port.
    #[error("unknown protocol {0:?} of a port mapping: tcp, udp or sctp is expected")]
    Protocol(String),
    /// Ports beyond the last one.
    #[error("port range {first} to {last} of a port mapping exceeds 65535")]
    PortRange {
        /// The first port.
        first: u16,
        /// The last one.
        last: u32,
    },
}

/// Why a new network cannot be as it is described.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum CreateError {
    #[error("Network name must be supplied")]
    NoName,
    #[error("Invalid characters in network name {0:?}: must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")]
    Name(String),
    #[error("network already exists {0}")]
    Exists(String),
    #[error("Network id must be supplied")]
    NoId,
    #[error("Network id must be a hexadecimal string of 64 characters: {0:?}")]
    Id(String),
    #[error("Interface name is too long: interface names must be 15 characters or less: {0}")]
    LongInterface(String),
    #[error("Interface name cannot be . or ..")]
    Dots,
    #[error("Interface name cannot contain {0:?}")]
    InterfaceLetter(char),
    #[error("Unsupported ipam driver: {0}")]
    IpamDriver(String),
    #[error("None ipam driver is set but subnets are given")]
    SubnetsWithoutIpam,
    #[error("unsupported {driver} network option: {option}")]
    UnknownOption { driver: String, option: String },
    #[error("vlan must be between 0 and 4094")]
    Vlan,
    #[error("bridge name {0} already in use")]
    BridgeInUse(String),
    #[error("bridge name {0} is invalid")]
    Bridge(String),
    #[error("default interface name is not set")]
    NoDefaultInterface,
    #[error("could not find a free device name")]
    NoFreeInterface,
    #[error("could not find free subnet from subnet pools")]
    NoFreeSubnet,
    #[error("parent interface {0} does not exist")]
    NoParent(String),
    #[error("ipam driver dhcp is not supported with ipvlan")]
    DhcpOnIpvlan,
    #[error("{0} driver needs at least one subnet specified when the host-local ipam driver is set")]
    SubnetNeeded(String),
    #[error("ipam driver dhcp set but subnets are set")]
    SubnetsWithDhcp,
    #[error("invalid macvlan mode {0:?}: bridge, private, vepa or passthru is expected")]
    MacvlanMode(String),
    #[error("plugin for driver {0:?} not found in plugin directories")]
    NoPlugin(String),
    #[error("cannot set NetworkDNSServers if DNS is not enabled for the network")]
    DnsServersWithoutDns,
    #[error("subnet {0} is already used on the host or by another config")]
    SubnetInUse(IpNet),
    #[error("overlapping subnets: {0} and {1}")]
    SubnetsOverlap(IpNet, IpNet),
    #[error("duplicate subnet defined: {0}")]
    SubnetTwice(IpNet),
    #[error("gateway {gateway} not in subnet {subnet}")]
    GatewayOutside { gateway: IpAddr, subnet: IpNet },
    #[error(
        "could not create gateway for subnet {subnet} because it has a {longest} or greater subnet prefix"
    )]
    NoGateway { subnet: IpNet, longest: u8 },
    #[error("lease range {end} {address} not in subnet {subnet}")]
    LeaseRange { end: &'static str, address: IpAddr, subnet: IpNet },
    #[error("lease range start_ip {first} must be less than or equal to end_ip {last}")]
    LeaseRangeOrder { first: IpAddr, last: IpAddr },
    #[error("route destination invalid")]
    RouteDestination,
}
