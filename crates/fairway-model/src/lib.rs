//! The vocabulary of container networking: identifiers, addresses, ports, requests, settings and their parsing.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test asks a shell")
)]

mod address;
pub mod address_range;
mod endpoint;
mod host;
mod id;
mod ip_range;
mod lease;
mod log;
mod macvlan;
mod mtu;
mod name_server;
mod network;
mod network_option;
mod owner;
pub mod parse;
mod peer;
mod port;
pub mod process;
mod refusal;
mod requested_pool;
mod resolv_conf;
mod rng;
mod sandbox;
mod settings;
pub mod shell;
mod static_route;
mod subnet_request;
mod uplink;

pub use address::{MacAddress, ParseMacError};
pub use endpoint::{
    Allocation, Endpoint, EndpointRequest, HANDED_OVER_PREFIX, HOST_INTERFACE_DIGITS, HOST_INTERFACE_PREFIX,
};
pub use host::{HostFacts, HostRoute, NextHop};
pub use id::{EndpointId, NetworkId, ParseIdError, SandboxId};
pub use ip_range::{IpRange, ParseIpRangeError};
pub use lease::{Lease, LeaseIdentity, LeaseRequest};
pub use log::{LOG_DRIVER, LogLimits};
pub use macvlan::{Macvlan, MacvlanMode, ParentFacts};
pub use mtu::{IPV6_MIN_MTU, MTU_RANGE};
pub use name_server::{NameServer, NameServerError};
pub use network::{AliasAnswer, Driver, Network, NetworkConfiguration, Subnet};
pub use network_option::{
    Advertising, BridgeOptions, EndpointOptions, GatewayMode, InterfaceSysctl, Isolation, NameOptions,
    RateLimit,
};
pub use owner::Owner;
pub use peer::{ParsePeerError, Peer};
pub use port::{PortRange, Protocol, Publication, PublishRequest, UnpublishRequest};
pub use process::{ProcessOptions, ResourceLimits, RestartPolicy};
pub use refusal::RefusalKind;
pub use requested_pool::{PoolAddress, RequestedPool};
pub use resolv_conf::ResolvConf;
pub use rng::Rng;
pub use sandbox::{
    ENGINE_LABEL, Namespace, NetworkMode, ProcessIdentity, ResolverAddresses, Sandbox, SandboxKind,
    SandboxOptions, SandboxState,
};
pub use settings::{AddressPool, Backend, DefaultBridge, PacketMark, Settings};
pub use static_route::{ParseRouteError, RouteOptions, RouteType, StaticRoute, kernel_metric};
pub use subnet_request::SubnetRequest;
pub use uplink::{AddressInUse, Uplink, UplinkRoute};
