//! What can be asked of a World.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_model::{
    EndpointId, EndpointRequest, HostFacts, Lease, MacAddress, Namespace, ParentFacts, ProcessIdentity,
    PublishRequest, SandboxKind, SandboxOptions, Settings, SubnetRequest, UnpublishRequest, Uplink,
};

/// A network that is to be created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// Its driver's name; empty means `bridge`.
    pub driver: String,
    /// `--subnet` and what belongs to it; empty means that the engine chooses.
    pub subnets: Vec<SubnetRequest>,
    /// `--ipv4`; none means yes.
    pub enable_ipv4: Option<bool>,
    /// `--ipv6`; none means no, unless a subnet says so.
    pub enable_ipv6: Option<bool>,
    /// `--internal`.
    pub internal: bool,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// The interface that the option `parent` of a lan network names, as it is now; none if there is none of that
    /// name.
    pub uplink: Option<Box<Uplink>>,
    /// What was seen of the link that the option `parent` of a macvlan network names; none likewise.
    pub parent: Option<ParentFacts>,
}

/// The network that a sandbox is created for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkChoice {
    /// Networks by name or id, each with what is asked there; an empty list means `bridge`, or, without that (`--bridge none`), no network.
    Networks(Vec<(String, EndpointRequest)>),
    /// `host`.
    Host,
    /// `none`.
    None,
    /// `container:NAME`.
    Container(String),
}

/// A sandbox that is to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSandbox {
    /// Its name; none means that one is made up.
    pub name: Option<String>,
    /// Who keeps its namespace.
    pub kind: SandboxKind,
    /// Its networks.
    pub network: NetworkChoice,
    /// Everything else.
    pub options: SandboxOptions,
}

/// What can be asked of a World. Networks and sandboxes are named by full id, full name, or a
/// prefix of the id that only one has, in this order, as in Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The daemon started, its settings changed, or something that was observed did. The first one
    /// makes the networks that exist from the start.
    Configure {
        /// The settings in force from now on.
        settings: Box<Settings>,
        /// The host as it is.
        host: Box<HostFacts>,
    },
    /// Make a network.
    CreateNetwork(CreateNetwork),
    /// Remove a network that no endpoint is on.
    RemoveNetwork {
        /// Which.
        network: String,
    },
    /// Make a sandbox, not yet started.
    CreateSandbox(Box<CreateSandbox>),
    /// The sandbox's namespace exists: allocate, publish, connect.
    StartSandbox {
        /// Which.
        sandbox: String,
        /// The process that keeps it.
        process: Option<ProcessIdentity>,
        /// The namespace; none in host mode.
        namespace: Option<Namespace>,
        /// Host ports that turned out to be held by others, so that a random one is chosen anew.
        avoid: Vec<u16>,
    },
    /// Make a sandbox and start it in a namespace that exists, as one change.
    Attach {
        /// What to make.
        create: Box<CreateSandbox>,
        /// The process that keeps the namespace.
        process: Option<ProcessIdentity>,
        /// The namespace.
        namespace: Option<Namespace>,
        /// As in `StartSandbox`.
        avoid: Vec<u16>,
    },
    /// The sandbox's process ended, or its namespace went.
    StopSandbox {
        /// Which.
        sandbox: String,
        /// The exit code.
        code: i32,
    },
    /// A start could not be carried out: as if it had never been asked for.
    CancelStart {
        /// Which.
        sandbox: String,
    },
    /// Forget a sandbox that does not run.
    RemoveSandbox {
        /// Which.
        sandbox: String,
    },
    /// Publish more ports of a sandbox: now if it runs, and at each start from now on.
    Publish {
        /// Which.
        sandbox: String,
        /// The ports.
        requests: Vec<PublishRequest>,
        /// As in `StartSandbox`.
        avoid: Vec<u16>,
    },
    /// Publish some ports of a sandbox no more: neither now nor at its next start.
    Unpublish {
        /// Which.
        sandbox: String,
        /// The ports; each must mean some that are published.
        requests: Vec<UnpublishRequest>,
    },
    /// Somebody on the LAN of a network has an address: it is passed over for a while.
    AddressInUse {
        /// The network.
        network: String,
        /// The address.
        address: IpAddr,
        /// Who has it.
        mac: MacAddress,
    },
    /// A DHCP server has extended a lease of an endpoint, or it is lost.
    LeaseRenewed {
        /// The endpoint.
        endpoint: EndpointId,
        /// The lease as it is now.
        lease: Box<Lease>,
    },
    /// Remove a link of the default bridge; both its ends stay.
    Unlink {
        /// The sandbox that has the link.
        sandbox: String,
        /// The name that the link gives its target.
        alias: String,
    },
    /// Put a sandbox on one more network.
    Connect {
        /// Which network.
        network: String,
        /// Which sandbox.
        sandbox: String,
        /// What is asked there.
        request: EndpointRequest,
    },
    /// Take a sandbox off a network.
    Disconnect {
        /// Which network.
        network: String,
        /// Which sandbox.
        sandbox: String,
    },
}
