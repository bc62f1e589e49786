//! The commands of a World.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_model::{
    EndpointId, EndpointRequest, HostFacts, Lease, MacAddress, Namespace, NetworkId, ParentFacts,
    ProcessIdentity, PublishRequest, ResourceLimits, RestartPolicy, SandboxId, SandboxKind, SandboxOptions,
    Settings, SubnetRequest, UnpublishRequest, Uplink,
};
use ipnet::IpNet;

use super::Exit;

/// The request to create a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateNetwork {
    /// The id that another engine gave the network; none means a random one.
    pub id: Option<NetworkId>,
    /// The name.
    pub name: String,
    /// The name of the driver; empty means `bridge`.
    pub driver: String,
    /// `--subnet`, `--gateway`, `--ip-range` and `--aux-address`; empty means a subnet from a pool.
    pub subnets: Vec<SubnetRequest>,
    /// `--ipv4`; none means yes.
    pub enable_ipv4: Option<bool>,
    /// `--ipv6`; none means no, unless there is an IPv6 subnet.
    pub enable_ipv6: Option<bool>,
    /// `--internal`.
    pub internal: bool,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--ipam-opt`.
    pub ipam_options: BTreeMap<String, String>,
    /// `--config-only`.
    pub config_only: bool,
    /// `--config-from`.
    pub config_from: Option<String>,
    /// The observed interface of the option `parent` of a lan network; none if there is no such interface.
    pub uplink: Option<Box<Uplink>>,
    /// The observed interface of the option `parent` of a macvlan network; none if there is no such interface.
    pub parent: Option<ParentFacts>,
}

/// The networks of a new sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkChoice {
    /// Networks by name or id, each with the request of an endpoint. An empty list means `bridge`, or no network if there
    /// is no default network (`--bridge none`).
    Networks(Vec<(String, EndpointRequest)>),
    /// `host`.
    Host,
    /// `none`.
    None,
    /// `container:NAME`.
    Container(String),
}

impl NetworkChoice {
    /// The networks by name or id, of a choice that lists them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let listed = match self {
            Self::Networks(networks) => networks.as_slice(),
            _ => &[],
        };
        listed.iter().map(|(network, _)| network.as_str())
    }
}

/// The request to create a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSandbox {
    /// The name; none means a random name.
    pub name: Option<String>,
    /// The origin of the namespace.
    pub kind: SandboxKind,
    /// The networks.
    pub network: NetworkChoice,
    /// The options.
    pub options: SandboxOptions,
}

/// The request of another engine to connect a container's namespace to networks that the engine describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The sandbox of the container: made by the first request for it, and found again by later ones.
    pub id: SandboxId,
    /// The networks, each created with its first endpoint. One that exists is compared: what can be changed in place is
    /// changed, anything else refused.
    pub networks: Vec<CreateNetwork>,
    /// The sandbox with its new endpoints and published ports. Published ports that the sandbox has are left out.
    pub sandbox: CreateSandbox,
    /// The process of the namespace.
    pub process: Option<ProcessIdentity>,
    /// The namespace.
    pub namespace: Option<Namespace>,
}

/// The request to connect a container of Docker Engine to a network of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinEndpoint {
    /// The endpoint, by Docker's id.
    pub id: EndpointId,
    /// The network, by Docker's id.
    pub network: NetworkId,
    /// The sandbox: made by the first endpoint of a container, and found again by the others.
    pub sandbox: SandboxId,
    /// The name of a new sandbox, until the name of its container is known.
    pub name: String,
    /// The labels of a new sandbox.
    pub labels: BTreeMap<String, String>,
    /// The addresses and options of the endpoint.
    pub request: EndpointRequest,
}

/// A command of a World. As in Docker, networks and sandboxes are found by full id, name or unique prefix of the id, in
/// this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Applies the daemon's settings and the observed state of the host. The first one creates the predefined
    /// networks.
    Configure {
        /// The settings.
        settings: Box<Settings>,
        /// The observed host.
        host: Box<HostFacts>,
    },
    /// Creates a network.
    CreateNetwork(CreateNetwork),
    /// Removes a network without running endpoints.
    RemoveNetwork {
        /// The network.
        network: String,
    },
    /// Creates a sandbox without starting it.
    CreateSandbox(Box<CreateSandbox>),
    /// Starts a sandbox whose namespace exists: allocates addresses and ports.
    StartSandbox {
        /// The sandbox.
        sandbox: String,
        /// The process of the namespace.
        process: Option<ProcessIdentity>,
        /// The namespace; none in host mode.
        namespace: Option<Namespace>,
    },
    /// Creates a sandbox and starts it in an existing namespace, in one change.
    Attach {
        /// The sandbox.
        create: Box<CreateSandbox>,
        /// The process of the namespace.
        process: Option<ProcessIdentity>,
        /// The namespace.
        namespace: Option<Namespace>,
    },
    /// Connects a container of another engine, all or nothing.
    Join(Box<Join>),
    /// Disconnects a container of another engine from those of the networks that it is on. Without an endpoint left the
    /// sandbox is removed, and so are the transient networks that no endpoint is on.
    Leave {
        /// The sandbox.
        sandbox: String,
        /// The networks; an empty list means all.
        networks: Vec<String>,
    },
    /// Connects a container of Docker Engine to a network of the plugin.
    JoinEndpoint(Box<JoinEndpoint>),
    /// Removes an endpoint of a container of Docker Engine. Without an endpoint left the sandbox is removed.
    DeleteEndpoint {
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// Records whether a container of Docker Engine has its default route by an endpoint, and publishes its ports there.
    ExternalConnectivity {
        /// The endpoint.
        endpoint: EndpointId,
        /// The published ports; none if the default route is no longer by the endpoint.
        ports: Option<Vec<PublishRequest>>,
    },
    /// Records which container of Docker Engine a sandbox is.
    IdentifySandbox {
        /// The sandbox.
        sandbox: SandboxId,
        /// The name of the container.
        name: String,
        /// Labels to add.
        labels: BTreeMap<String, String>,
        /// The process of the namespace.
        process: Option<ProcessIdentity>,
        /// The namespace.
        namespace: Option<Namespace>,
    },
    /// Records which network of Docker Engine a network is.
    IdentifyNetwork {
        /// The network.
        network: NetworkId,
        /// Its name.
        name: String,
        /// Labels to add.
        labels: BTreeMap<String, String>,
    },
    /// Allocates a pool of addresses for Docker Engine.
    RequestPool {
        /// The subnet; none for a free one.
        subnet: Option<IpNet>,
        /// The range that addresses are allocated from.
        range: Option<IpNet>,
        /// Whether it is a pool of IPv6 addresses.
        ipv6: bool,
    },
    /// Records which dockerd has a pool.
    IdentifyPool {
        /// The subnet of the pool.
        pool: IpNet,
        /// The id of the dockerd.
        daemon: String,
    },
    /// Removes a pool of Docker Engine.
    ReleasePool {
        /// The subnet of the pool.
        pool: IpNet,
    },
    /// Allocates an address of a pool.
    RequestAddress {
        /// The subnet of the pool.
        pool: IpNet,
        /// The address; none for a free one.
        address: Option<IpAddr>,
        /// Whether it is to be a gateway.
        gateway: bool,
    },
    /// Frees an address of a pool.
    ReleaseAddress {
        /// The subnet of the pool.
        pool: IpNet,
        /// The address.
        address: IpAddr,
    },
    /// Changes options of a network in place.
    UpdateNetwork {
        /// The network.
        network: String,
        /// The options, each with its new value; none removes the option.
        options: BTreeMap<String, Option<String>>,
    },
    /// Records the exit of a sandbox's process, or the removal of its namespace.
    StopSandbox {
        /// The sandbox.
        sandbox: String,
        /// How it ended.
        exit: Exit,
        /// The process that ended: the command is refused if the sandbox runs another one by now. None stops
        /// whichever runs.
        process: Option<ProcessIdentity>,
    },
    /// Records that a user stops a sandbox: its restart policy does not start it again. A sandbox without such a policy
    /// is left unchanged.
    RequestStop {
        /// The sandbox.
        sandbox: String,
    },
    /// Records how often the restart policy of a sandbox started it.
    CountRestarts {
        /// The sandbox.
        sandbox: String,
        /// The number, since a user started it.
        restarts: u32,
    },
    /// Changes the restart policy and the limits of a sandbox.
    UpdateSandbox {
        /// The sandbox.
        sandbox: String,
        /// The restart policy; none leaves it unchanged.
        restart: Option<RestartPolicy>,
        /// The limits; one that is none is left unchanged, and 0 processes take the limit away.
        limits: ResourceLimits,
    },
    /// Records why the start of a sandbox of `fairway run` failed. One that runs is left unchanged: a later start succeeded.
    FailStart {
        /// The sandbox.
        sandbox: String,
        /// The reason, as users read it.
        error: String,
    },
    /// Takes back a start that could not be carried out.
    CancelStart {
        /// The sandbox.
        sandbox: String,
    },
    /// Removes a sandbox that does not run.
    RemoveSandbox {
        /// The sandbox.
        sandbox: String,
    },
    /// Publishes ports of a sandbox: now if it runs, and at each later start.
    Publish {
        /// The sandbox.
        sandbox: String,
        /// The ports.
        requests: Vec<PublishRequest>,
    },
    /// Unpublishes ports of a sandbox, now and at later starts.
    Unpublish {
        /// The sandbox.
        sandbox: String,
        /// The ports; each request must select published ports.
        requests: Vec<UnpublishRequest>,
    },
    /// Records that another host on a network's LAN uses an address, which is not allocated for an hour.
    AddressInUse {
        /// The network.
        network: String,
        /// The address.
        address: IpAddr,
        /// The MAC address of that host.
        mac: MacAddress,
    },
    /// Records that a DHCP server renewed an endpoint's lease, or that the lease is lost.
    LeaseRenewed {
        /// The endpoint.
        endpoint: EndpointId,
        /// The new state of the lease.
        lease: Box<Lease>,
    },
    /// Gives a sandbox another name.
    Rename {
        /// The sandbox.
        sandbox: String,
        /// The new name.
        name: String,
    },
    /// Removes a `--link` of the default bridge; both sandboxes stay.
    Unlink {
        /// The sandbox that has the link.
        sandbox: String,
        /// The alias of the link.
        alias: String,
    },
    /// Connects a sandbox to a network.
    Connect {
        /// The network.
        network: String,
        /// The sandbox.
        sandbox: String,
        /// The request of the endpoint.
        request: EndpointRequest,
    },
    /// Disconnects a sandbox from a network.
    Disconnect {
        /// The network.
        network: String,
        /// The sandbox.
        sandbox: String,
    },
}
