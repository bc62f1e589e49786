//! Configures the network namespace of a sandbox: links, addresses, routes, and the resolver's sockets and rules.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fairway_core::object::{Difference, Key, NetnsLink, Object, Phase, SandboxRoutes, VethLink};
use fairway_inspect::doctor::{Deviation, RESOLVER_TABLE};
use fairway_kernel::namespace::{self, Handle};
use fairway_kernel::nftables::{Reader, Transaction, Writer};
use fairway_kernel::parallel::{both, in_parallel};
use fairway_kernel::route::{self, Links, NetnsSetup, VethPair};
use fairway_model::{Namespace, Protocol, ResolverAddresses, SandboxId};
use fairway_relay::table::{Change as RelayChange, Record};
use fairway_ruleset::resolver::{ADDRESS, TABLE, resolver_range_table, resolver_table};
use fairway_ruleset::{Family, Table};

use super::Applier;
use super::progress::Progress;
use super::resolvers::{ResolverSockets, outgoing_sockets};
use crate::error::{ApplyError, Subject};
use crate::failpoint::failpoint;
use crate::port_sockets::bind;

/// What a difference changes in one network namespace.
#[derive(Debug)]
pub(crate) struct NetnsChanges {
    namespace: Namespace,
    /// The objects that are made or changed there.
    keys: Vec<Key>,
    /// The veth pairs to create.
    links: Vec<VethLink>,
    /// The links without an end on the host, to configure.
    netns_links: Vec<NetnsLink>,
    routes: Option<SandboxRoutes>,
    /// Whether routes may be there that `routes` does not have.
    replace_routes: bool,
    /// No routes, where the sandbox leaves and those that drop packets would stay: they are by no link.
    removed_routes: Option<SandboxRoutes>,
    /// Whether loopback is to be set up.
    loopback: bool,
    /// The sandbox whose resolver is to answer somewhere, or whose redirection is to be removed.
    resolver: Option<(SandboxId, Option<ResolverAddresses>)>,
}

impl NetnsChanges {
    /// The changes that objects of a difference make, grouped by namespace; and the resolvers to remove.
    fn all<'a>(difference: &Difference, ready: impl IntoIterator<Item = (&'a Key, &'a Object)>) -> Vec<Self> {
        let mut all: BTreeMap<(u64, u64), Self> = BTreeMap::new();
        for (key, object) in ready {
            let fresh = difference.added.contains_key(key);
            for link in object.netns_links() {
                changes_of(&mut all, &link.namespace, key).netns_links.push(link.clone());
            }
            match (key, object) {
                (_, Object::Veth(link)) => {
                    if let Some(namespace) = &link.namespace {
                        changes_of(&mut all, namespace, key).links.push(link.clone());
                    }
                }
                (_, Object::SandboxRoutes(routes)) => {
                    let nothing = fresh && routes.gateways.is_empty() && routes.others.is_empty();
                    if !nothing {
                        let changes = changes_of(&mut all, &routes.namespace, key);
                        changes.routes = Some(routes.clone());
                        let former = difference.changed.get(key).map(|(former, _)| former);
                        changes.replace_routes = former.is_some_and(leaves_routes);
                    }
                }
                (Key::Netns(sandbox), Object::Netns(namespace, resolver)) => {
                    let changes = changes_of(&mut all, namespace, key);
                    changes.loopback = true;
                    if resolver.is_some() || !fresh {
                        changes.resolver = Some((*sandbox, *resolver));
                    }
                }
                _ => {}
            }
        }
        for (key, object) in &difference.removed {
            match (key, object) {
                (Key::Netns(sandbox), Object::Netns(namespace, Some(_))) => {
                    changes_of(&mut all, namespace, key).resolver.get_or_insert((*sandbox, None));
                }
                (_, Object::SandboxRoutes(routes)) if drops_packets(routes) => {
                    changes_of(&mut all, &routes.namespace, key).removed_routes =
                        Some(SandboxRoutes { gateways: Vec::new(), others: Vec::new(), ..routes.clone() });
                }
                _ => {}
            }
        }
        all.into_values().collect()
    }

    /// Whether nothing is made or changed: the sandbox leaves.
    fn only_removes(&self) -> bool {
        !self.makes_something() && self.netns_links.is_empty()
    }

    /// Whether an object has to be created, so that a missing namespace is an error.
    fn makes_something(&self) -> bool {
        !self.links.is_empty() || self.routes.is_some() || self.loopback
    }
}

fn changes_of<'a>(
    all: &'a mut BTreeMap<(u64, u64), NetnsChanges>,
    namespace: &Namespace,
    key: &Key,
) -> &'a mut NetnsChanges {
    let changes = all.entry(namespace.identity()).or_insert_with(|| NetnsChanges {
        namespace: namespace.clone(),
        keys: Vec::new(),
        links: Vec::new(),
        netns_links: Vec::new(),
        routes: None,
        replace_routes: false,
        removed_routes: None,
        loopback: false,
        resolver: None,
    });
    changes.keys.push(key.clone());
    changes
}

/// Whether routes of this object stay when others are set, unless they are looked for.
fn leaves_routes(object: &Object) -> bool {
    let Object::SandboxRoutes(routes) = object else { return false };
    !routes.others.is_empty() || routes.gateways.iter().any(|gateway| gateway.metric.is_some())
}

/// Whether a sandbox has static routes that are by no link.
fn drops_packets(routes: &SandboxRoutes) -> bool {
    routes.others.iter().any(|other| other.interface.is_none())
}

/// Why a namespace was not configured: the host's end of a veth pair that could not be made, or none for the rest of it.
struct SetupError {
    link: Option<Box<str>>,
    error: ApplyError,
}

impl<E: Into<ApplyError>> From<E> for SetupError {
    fn from(error: E) -> Self {
        Self { link: None, error: error.into() }
    }
}

/// Why a namespace could not be configured.
enum Inside {
    Route(route::Error),
    Other(ApplyError),
}

impl Applier {
    /// Configures each network namespace in which something is made, several in parallel, each as a whole or not at all.
    /// Returns the changes for the relay.
    pub(crate) fn set_up_namespaces(&self, progress: &mut Progress<'_>) -> Vec<RelayChange> {
        let ready = progress.ready(&[Phase::NetnsLinks, Phase::Namespaces]);
        let mut all = NetnsChanges::all(progress.difference(), ready.iter().copied());
        all.retain(|changes| !changes.only_removes());
        let outcomes = in_parallel(&all, |changes| self.configure_namespace(changes));
        let mut resolvers = Vec::new();
        for (changes, outcome) in all.iter().zip(outcomes) {
            match outcome {
                Ok(made) => resolvers.extend(made),
                Err(SetupError { link, error }) => {
                    let namespace = || Subject::Namespace(changes.namespace.path.clone());
                    let veth = |link: Box<str>| Subject::Object(Key::Veth(link.into()));
                    let subject = link.map_or_else(namespace, veth);
                    progress.fail(subject.clone(), error);
                    changes.keys.iter().for_each(|key| progress.skip(key, subject.clone()));
                }
            }
        }
        self.make_handed_over(progress, &ready);
        self.settle_netns_links(ready.iter().flat_map(|(_, object)| object.netns_links()));
        resolvers
    }

    /// Makes the veth pairs whose end another engine moves into its container and configures.
    fn make_handed_over(&self, progress: &mut Progress<'_>, ready: &[(&Key, &Object)]) {
        for (key, object) in ready {
            let Object::Veth(link) = object else { continue };
            if link.namespace.is_some() {
                continue;
            }
            match self.links(|links| links.apply_veth(link, None)) {
                Ok(pair) => self.announce(&[(link.clone(), pair)]),
                Err(error) => progress.fail(Subject::Object((*key).clone()), error),
            }
        }
    }

    /// Removes the redirection of queries from the namespaces in which nothing else changes, and meanwhile runs `work`:
    /// both wait for the kernel.
    pub(crate) fn remove_resolvers_while(
        &self,
        progress: &mut Progress<'_>,
        work: impl FnOnce(&mut Progress<'_>),
    ) {
        let ready = progress.ready(&[Phase::NetnsLinks, Phase::Namespaces]);
        let mut all = NetnsChanges::all(progress.difference(), ready);
        all.retain(NetnsChanges::only_removes);
        if all.is_empty() {
            return work(progress);
        }
        let remove = || in_parallel(&all, |changes| self.configure_namespace(changes).err());
        let (failures, ()) = both(remove, || work(progress));
        for (changes, failure) in all.iter().zip(failures) {
            if let Some(SetupError { error, .. }) = failure {
                progress.fail(Subject::Namespace(changes.namespace.path.clone()), error);
            }
        }
    }

    /// Creates links and configures the namespace once. Returns the changes for the relay.
    fn configure_namespace(&self, changes: &NetnsChanges) -> Result<Vec<RelayChange>, SetupError> {
        let handle = match namespace::open(&changes.namespace) {
            Ok(handle) => handle,
            Err(error) if changes.makes_something() || !error.is_gone() => return Err(error.into()),
            // Its path is gone, but an open socket may keep the namespace.
            Err(_) => match changes.resolver.and_then(|(sandbox, _)| self.resolvers.namespace(sandbox)) {
                Some(handle) => handle,
                None => return Ok(Vec::new()),
            },
        };
        let mut pairs = self.make_pairs(&changes.links, &handle)?;
        failpoint("links");
        let (resolver, sockets) = loop {
            match self.configure_inside(changes, &handle, pairs.clone()) {
                Ok(sockets) => break (changes.resolver, sockets),
                Err(Inside::Route(route::Error::NotInside { .. }))
                    if pairs.iter().any(|(_, pair)| !pair.fresh) =>
                {
                    for (link, pair) in pairs.iter().filter(|(_, pair)| !pair.fresh) {
                        tracing::info!(
                            interface = link.host_interface,
                            "recreating veth pair {}: its other end left the sandbox",
                            link.host_interface
                        );
                        self.links(|links| links.delete(pair.host, &link.host_interface))?;
                    }
                    pairs = self.make_pairs(&changes.links, &handle)?;
                }
                Err(Inside::Route(error)) => {
                    self.delete_fresh(&pairs);
                    return Err(error.into());
                }
                Err(Inside::Other(error)) => {
                    self.delete_fresh(&pairs);
                    return Err(error.into());
                }
            }
        };
        failpoint("inside");
        self.announce(&pairs);
        let Some((sandbox, Some(_))) = resolver else { return Ok(Vec::new()) };
        let Some(sockets) = sockets else { return Ok(Vec::new()) };
        self.resolvers.keep(sandbox, sockets.clone());
        Ok(vec![RelayChange::Insert { record: Record::Resolver(sandbox), sockets }])
    }

    /// Makes new links carry frames at once, and announces the MAC address of their addresses to neighbors.
    fn announce(&self, pairs: &[(VethLink, VethPair)]) {
        for (link, pair) in pairs {
            if let Err(error) = self.links(|links| links.activate_port(link, pair)) {
                tracing::debug!(
                    %error,
                    interface = link.host_interface,
                    "failed to read the carrier of {}: {error}; its first frames may be lost",
                    link.host_interface
                );
            }
            let addresses: Vec<_> = link.addresses.iter().map(|address| address.addr()).collect();
            match self.links(|links| links.index(&link.bridge)) {
                Ok(bridge) => {
                    self.announcements.repeat(link.endpoint, bridge, link.mac, addresses, link.advertising)
                }
                Err(error) => tracing::debug!(
                    %error,
                    mac = %link.mac,
                    "failed to announce the addresses of {}: {error}",
                    link.mac
                ),
            }
        }
    }

    fn make_pairs(
        &self,
        wanted: &[VethLink],
        handle: &Handle,
    ) -> Result<Vec<(VethLink, VethPair)>, SetupError> {
        let mut pairs: Vec<(VethLink, VethPair)> = Vec::with_capacity(wanted.len());
        for link in wanted {
            match self.links(|links| links.apply_veth(link, Some(handle))) {
                Ok(pair) => pairs.push((link.clone(), pair)),
                Err(error) => {
                    self.delete_fresh(&pairs);
                    return Err(SetupError { link: Some(link.host_interface.as_str().into()), error });
                }
            }
        }
        Ok(pairs)
    }

    fn delete_fresh(&self, pairs: &[(VethLink, VethPair)]) {
        for (link, pair) in pairs.iter().filter(|(_, pair)| pair.fresh) {
            if let Err(error) = self.links(|links| links.delete(pair.host, &link.host_interface)) {
                tracing::warn!(
                    %error,
                    interface = link.host_interface,
                    "failed to delete veth pair {}: {error}; the next reconcile run deletes it",
                    link.host_interface
                );
            }
        }
    }

    fn configure_inside(
        &self,
        changes: &NetnsChanges,
        handle: &Handle,
        pairs: Vec<(VethLink, VethPair)>,
    ) -> Result<Option<ResolverSockets>, Inside> {
        let resolver = changes.resolver.map(|(_, wanted)| wanted);
        let (loopback, netns_links) = (changes.loopback, changes.netns_links.clone());
        let routes = changes.routes.clone().or_else(|| changes.removed_routes.clone());
        let replace_routes = changes.replace_routes || changes.removed_routes.is_some();
        let work = NetnsSetup { loopback, pairs, netns_links, routes, replace_routes };
        let inside = move || -> Result<Option<ResolverSockets>, Inside> {
            let links = Links::open().map_err(Inside::Route)?;
            links.apply_netns_setup(&work).map_err(Inside::Route)?;
            let sockets = resolver.map(redirect_queries).transpose().map_err(Inside::Other)?.flatten();
            Ok(sockets)
        };
        self.workers.run(handle, inside).map_err(|error| Inside::Other(error.into()))?
    }
}

/// The nf_tables table that redirects DNS queries to these sockets of a resolver, for the addresses that follow from the
/// one that they are bound to.
fn table_of(sockets: &[Arc<OwnedFd>]) -> Result<Table, ApplyError> {
    let local = |socket: &OwnedFd| -> Result<SocketAddr, ApplyError> {
        let address = rustix::net::getsockname(socket).and_then(SocketAddr::try_from);
        address.map_err(|errno| ApplyError::Resolver(io::Error::from(errno)))
    };
    let [udp, tcp, ..] = sockets else { return Err(ApplyError::Resolver(io::ErrorKind::NotFound.into())) };
    let (udp, tcp) = (local(udp)?, local(tcp)?);
    Ok(match udp.ip() == ADDRESS {
        true => resolver_table(udp.port(), tcp.port()),
        false => resolver_range_table(udp.port(), tcp.port()),
    })
}

impl Applier {
    /// How the table that redirects DNS queries to the resolver differs from the planned one; none if it does not, if
    /// there is no resolver, or if the namespace cannot be read.
    pub(crate) fn resolver_deviation(&self, sandbox: SandboxId, handle: &Handle) -> Option<Deviation> {
        let wanted = table_of(&self.resolvers.of(sandbox)?).ok()?;
        let read = || Reader::open()?.table(Family::Ip, TABLE);
        let found = self.workers.run(handle, read).ok()?.ok()?;
        match found.map(|found| found.at_rest() == wanted.at_rest()) {
            None => Some(Deviation::missing(RESOLVER_TABLE)),
            Some(true) => None,
            Some(false) => Some(Deviation::new(RESOLVER_TABLE, "changed", "as made")),
        }
    }

    /// Creates the rules that redirect DNS queries to a sandbox's resolver again. Its sockets stay.
    pub(crate) fn restore_resolver_rules(&self, sandbox: SandboxId) -> Result<(), ApplyError> {
        let (Some(sockets), Some(handle)) = (self.resolvers.of(sandbox), self.resolvers.namespace(sandbox))
        else {
            return Ok(());
        };
        let table = table_of(&sockets)?;
        let make = move || {
            let mut transaction = Transaction::new();
            transaction.destroy_table(Family::Ip, TABLE);
            transaction.create(&table);
            Writer::open()?.commit(transaction)
        };
        Ok(self.workers.run(&handle, make)??)
    }
}

/// Binds the sockets of the resolver in the namespace of the calling thread and redirects port 53 to them; or removes
/// the redirection.
fn redirect_queries(wanted: Option<ResolverAddresses>) -> Result<Option<ResolverSockets>, ApplyError> {
    let mut writer = Writer::open()?;
    let mut transaction = Transaction::new();
    transaction.destroy_table(Family::Ip, TABLE);
    let address = match wanted {
        Some(ResolverAddresses::One) => ADDRESS,
        Some(ResolverAddresses::Range) => ResolverAddresses::RANGE.addr(),
        None => {
            writer.commit(transaction)?;
            return Ok(None);
        }
    };
    let any_port = SocketAddr::from((address, 0));
    let (udp, tcp) = (bind(Protocol::Udp, any_port, true)?, bind(Protocol::Tcp, any_port, true)?);
    let outgoing = outgoing_sockets().map_err(|errno| ApplyError::Resolver(io::Error::from(errno)))?;
    let sockets: ResolverSockets = [udp, tcp].into_iter().chain(outgoing).map(Arc::new).collect();
    transaction.create(&table_of(&sockets)?);
    writer.commit(transaction)?;
    Ok(Some(sockets))
}
