//! Observes the objects of a Plan, and objects of Fairway's that the Plan does not have.
//!
//! An object that is as planned is observed as planned. An unplanned object is observed as it is. An object that
//! differs from the Plan is not observed: the difference creates it again, and each step of applying is idempotent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fairway_core::object::{BridgeLink, Fragment, HostRoute, Key, Object, PortSocket, SocketUse, VethLink};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::parallel::in_parallel;
use fairway_kernel::route::{BUFFER_KIND, Link, Mark, NetnsState, RouteEntry, observe_netns_with_sysctls};
use fairway_kernel::{namespace, sysctl};
use fairway_model::{Namespace, NetworkId, ResolverAddresses, SandboxId};
use fairway_relay::table::Record;

use crate::ApplyError;
use crate::apply::relay_record;
use crate::reconcile::Reconciler;
use crate::reconcile::deviations::{adopted_deviations, bridge_deviations, file_deviation, veth_deviations};
use crate::reconcile::drift::Deviations;

pub(crate) mod netns_link;
mod traffic_limit;
mod uplink;

use netns_link::FoundLinks;

/// How much to observe.
pub(crate) enum Depth<'a> {
    /// What the host can see. The records of the relay and the namespaces of sandboxes are taken to be as left.
    Host,
    /// Also the links without an end on the host.
    HostAndNetnsLinks,
    /// Everything, as after a crash; with the records that the relay has.
    All(&'a [Record]),
}

/// The result of an observation.
pub(crate) struct Observation<'a> {
    pub(crate) wanted: &'a Fragment,
    pub(crate) found: Fragment,
    /// The settings in which existing objects differ from the Plan.
    pub(crate) deviations: Deviations,
}

impl Observation<'_> {
    /// Notes that a planned object is as planned.
    pub(crate) fn as_wanted(&mut self, key: &Key) {
        if let Some(object) = self.wanted.get(key) {
            self.found.insert(key.clone(), object.clone());
        }
    }

    /// Notes that a planned object exists, but for these deviations as planned.
    fn compared(&mut self, key: &Key, deviations: Vec<Deviation>) {
        match deviations.is_empty() {
            true => self.as_wanted(key),
            false => {
                self.deviations.insert(key.clone(), deviations);
            }
        }
    }

    /// Notes an orphan of an unknown network, even if the Plan has an object of its key.
    pub(crate) fn orphaned(&mut self, key: Key, object: Object) {
        self.found.insert(key, object);
    }

    /// Notes an object that the Plan does not have.
    pub(crate) fn unwanted(&mut self, key: Key, object: Object) {
        if !self.wanted.contains_key(&key) {
            self.found.insert(key, object);
        }
    }
}

impl Reconciler {
    /// Observes the objects of `wanted`, and other objects of Fairway's.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub(crate) fn observe(
        &self,
        wanted: &Fragment,
        depth: &Depth<'_>,
    ) -> Result<(Fragment, Deviations), ApplyError> {
        self.applier.background.wait_for_all();
        let mut observation = Observation { wanted, found: Fragment::new(), deviations: Deviations::new() };
        observation.found = self.applier.firewall.observe(wanted)?;
        observe_sysctls(&mut observation);
        self.observe_links(&mut observation)?;
        self.observe_traffic_limits(&mut observation)?;
        self.observe_routes(&mut observation)?;
        self.observe_files(&mut observation);
        self.observe_sockets(&mut observation);
        match depth {
            Depth::Host => {
                self.netns_links_as_left(&mut observation);
                observe_as_left(&mut observation, self);
            }
            Depth::HostAndNetnsLinks => {
                self.observe_netns_links(&mut observation)?;
                observe_as_left(&mut observation, self);
            }
            Depth::All(known) => self.observe_all(&mut observation, known)?,
        }
        Ok((observation.found, observation.deviations))
    }

    fn observe_links(&self, observation: &mut Observation<'_>) -> Result<(), ApplyError> {
        let (links, addresses) = self.applier.links(|links| Ok((links.all()?, links.addresses(0)?)))?;
        uplink::observe(observation, &links, &addresses);
        let bridges: BTreeMap<u32, &str> =
            links.iter().map(|link| (link.index, link.name.as_str())).collect();
        for link in &links {
            match link.mark() {
                Some(Mark::Network(network)) if netns_link::waits(observation.wanted, network, link) => {}
                Some(Mark::Network(_)) if netns_link::is_dummy_parent(observation.wanted, link) => {
                    observation.as_wanted(&Key::DummyParent(link.name.clone()));
                }
                Some(Mark::Network(network)) => {
                    let key = Key::Bridge(link.name.clone());
                    match observation.wanted.get(&key) {
                        Some(Object::Bridge(wanted)) if wanted.network != network => {
                            observation.orphaned(key, stray_bridge(link, network));
                        }
                        Some(Object::Bridge(wanted)) => {
                            observation.compared(&key, bridge_deviations(wanted, link, &addresses));
                        }
                        _ => observation.unwanted(key, stray_bridge(link, network)),
                    }
                }
                // What a planned limit has is observed with the disciplines.
                Some(Mark::Endpoint(endpoint)) if link.kind.as_deref() == Some(BUFFER_KIND) => {
                    let (key, object) = traffic_limit::stray(&link.name, endpoint);
                    observation.unwanted(key, object);
                }
                Some(Mark::Endpoint(endpoint)) => {
                    let key = Key::Veth(link.name.clone());
                    let master = link.master.and_then(|index| bridges.get(&index)).copied();
                    match observation.wanted.get(&key) {
                        Some(Object::Veth(wanted)) => {
                            observation.compared(&key, veth_deviations(wanted, link, master));
                        }
                        _ => {
                            let object = Object::Veth(VethLink {
                                host_interface: link.name.clone(),
                                endpoint,
                                bridge: String::new(),
                                namespace: None,
                                interface: String::new(),
                                mac: fairway_model::MacAddress([0; 6]),
                                mtu: 0,
                                addresses: Vec::new(),
                                hairpin: false,
                                sysctls: Vec::new(),
                                advertising: Default::default(),
                                alternative_name: None,
                            });
                            observation.unwanted(key, object);
                        }
                    }
                }
                None => {
                    let key = Key::Bridge(link.name.clone());
                    if let Some(Object::Bridge(wanted)) = observation.wanted.get(&key)
                        && wanted.adopted
                    {
                        observation.compared(&key, adopted_deviations(wanted, link, &addresses));
                    }
                }
            }
        }
        Ok(())
    }

    fn observe_traffic_limits(&self, observation: &mut Observation<'_>) -> Result<(), ApplyError> {
        let limited = |(key, _): &(&Key, _)| matches!(key, Key::TrafficLimit(_));
        if !observation.wanted.iter().any(|it| limited(&it)) {
            return Ok(());
        }
        let (links, disciplines) = self.applier.links(|links| Ok((links.all()?, links.disciplines()?)))?;
        traffic_limit::observe(observation, &links, &disciplines);
        Ok(())
    }

    fn observe_routes(&self, observation: &mut Observation<'_>) -> Result<(), ApplyError> {
        for route in self.applier.links(|links| links.routes())?.into_iter().filter(RouteEntry::is_ours) {
            let key = Key::Route(route.destination);
            let Some(gateway) = route.gateway else { continue };
            match observation.wanted.get(&key) {
                Some(Object::Route(wanted)) => {
                    let deviation = Deviation::unless_equal("gateway", gateway, wanted.gateway);
                    observation.compared(&key, deviation.into_iter().collect());
                }
                _ => {
                    let unknown = NetworkId::new([0; 32]);
                    observation.unwanted(key, Object::Route(HostRoute { network: unknown, gateway }));
                }
            }
        }
        Ok(())
    }

    fn observe_files(&self, observation: &mut Observation<'_>) {
        for (sandbox, name, contents) in self.applier.files.all() {
            let (key, object) = (Key::File(sandbox, name), Object::File(contents));
            match (observation.wanted.get(&key), &object) {
                (Some(Object::File(wanted)), Object::File(contents)) => {
                    let deviation = file_deviation(contents, wanted);
                    observation.compared(&key, deviation.into_iter().collect());
                }
                _ => observation.unwanted(key, object),
            }
        }
    }

    /// Notes bound ports that the Plan does not have; whether the others are as planned depends on what the relay does
    /// with them.
    fn observe_sockets(&self, observation: &mut Observation<'_>) {
        for key in self.applier.ports.keys() {
            let unknown = SandboxId::new([0; 32]);
            let object = Object::Socket(PortSocket { sandbox: unknown, purpose: SocketUse::Reserve });
            observation.unwanted(key, object);
        }
    }

    fn observe_all(&self, observation: &mut Observation<'_>, known: &[Record]) -> Result<(), ApplyError> {
        let mut seen = FoundLinks::nothing_of(observation.wanted);
        let orphaned = self.orphaned_namespaces(known);
        let known: BTreeMap<_, _> = known.iter().map(|record| (record.key(), record)).collect();
        let mut planned = BTreeSet::new();
        for (key, object) in observation.wanted {
            if let Some(record) = relay_record(key, object) {
                planned.insert(record.key());
                if known.get(&record.key()) == Some(&&record) {
                    observation.as_wanted(key);
                }
            }
        }
        for record in known.values().filter(|record| !planned.contains(&record.key())) {
            match record {
                Record::Names(names) => {
                    observation.unwanted(Key::Names(names.endpoint), Object::Names((*names).clone()));
                }
                Record::View(view) => {
                    observation.unwanted(Key::View(view.sandbox), Object::View((*view).clone()));
                }
                Record::Resolver(sandbox) => {
                    // The World does not know its namespace any more; its sockets do.
                    let handle = self.applier.resolvers.namespace(*sandbox);
                    let nowhere = Namespace { path: String::new(), device: 0, inode: 0 };
                    let namespace = handle.map_or(nowhere, |handle| handle.namespace().clone());
                    let resolver = Some(ResolverAddresses::default());
                    observation.unwanted(Key::Netns(*sandbox), Object::Netns(namespace, resolver));
                }
                // No daemon has made a shared resolver.
                Record::Port { .. } | Record::SharedResolver { .. } | Record::HostServers(_) => {}
            }
        }
        let links = links_inside(observation.wanted);
        let wanted = configured_namespaces(observation.wanted);
        let looked = in_parallel(&wanted, |(_, namespace, _)| {
            let links = links.get(&namespace.inode).into_iter().flatten();
            let sysctls = links.flat_map(|(_, link)| &link.sysctls).map(|(path, _)| path.clone()).collect();
            let handle = namespace::open(namespace)?;
            Ok::<_, ApplyError>(observe_netns_with_sysctls(&self.applier.workers, &handle, sysctls)?)
        });
        for ((sandbox, namespace, resolver), inside) in wanted.iter().zip(looked) {
            match inside {
                Ok(inside) => {
                    let links = links.get(&namespace.inode).map(Vec::as_slice).unwrap_or_default();
                    self.observe_sandbox(observation, *sandbox, (namespace, links), *resolver, &inside);
                    seen.look(observation, *sandbox, namespace, &inside);
                }
                Err(error) => {
                    tracing::warn!(%error, sandbox = %sandbox.short(), "failed to observe the network namespace of sandbox {}: {error}", sandbox.short())
                }
            }
        }
        self.look_into_orphans(observation, &mut seen, &orphaned);
        self.judge_netns_links(observation, &seen)
    }

    /// Compares the namespace of one sandbox with the Plan.
    fn observe_sandbox(
        &self,
        observation: &mut Observation<'_>,
        sandbox: SandboxId,
        (namespace, links): (&Namespace, &[(&Key, &VethLink)]),
        resolver: Option<ResolverAddresses>,
        inside: &NetnsState,
    ) {
        let loopback = inside.links.iter().any(|link| link.index == 1 && link.up);
        let has_resolver = self.applier.resolvers.has(sandbox, resolver.is_some());
        if resolver.is_some() != has_resolver {
            let found = has_resolver.then(ResolverAddresses::default);
            let object = Object::Netns(namespace.clone(), found);
            observation.found.insert(Key::Netns(sandbox), object);
        } else if loopback {
            observation.as_wanted(&Key::Netns(sandbox));
        }
        for (key, link) in links {
            if !crate::reconcile::netns_diff::differences(*link, inside).is_empty() {
                observation.found.remove(*key);
            }
        }
        let routes = Key::SandboxRoutes(sandbox);
        if let Some(Object::SandboxRoutes(wanted)) = observation.wanted.get(&routes) {
            if crate::reconcile::netns_diff::route_differences(wanted, inside).is_empty() {
                observation.as_wanted(&routes);
            } else if let Some(found) = crate::reconcile::netns_diff::found_routes(wanted, inside) {
                observation.found.insert(routes, Object::SandboxRoutes(found));
            }
        }
    }
}

/// Each sandbox whose namespace Fairway configures, and where its resolver answers.
fn configured_namespaces(wanted: &Fragment) -> Vec<(SandboxId, Namespace, Option<ResolverAddresses>)> {
    let inside = |(key, object): (&Key, &Object)| match (key, object) {
        (Key::Netns(sandbox), Object::Netns(namespace, resolver)) => {
            Some((*sandbox, namespace.clone(), *resolver))
        }
        _ => None,
    };
    wanted.iter().filter_map(inside).collect()
}

/// The veth pairs by the inode of the namespace of their inner end.
fn links_inside(wanted: &Fragment) -> HashMap<u64, Vec<(&Key, &VethLink)>> {
    let mut links: HashMap<u64, Vec<(&Key, &VethLink)>> = HashMap::new();
    for (key, object) in wanted {
        if let Object::Veth(link) = object
            && let Some(namespace) = &link.namespace
        {
            links.entry(namespace.inode).or_default().push((key, link));
        }
    }
    links
}

fn observe_sysctls(observation: &mut Observation<'_>) {
    for (key, object) in observation.wanted {
        if let (Key::Sysctl(path), Object::Sysctl(value)) = (key, object)
            && let Ok(found) = sysctl::read(path)
        {
            observation
                .compared(key, Deviation::unless_equal("", found, value.clone()).into_iter().collect());
        }
    }
}

/// Takes what the host cannot see to be as left, unless a link of the sandbox is gone: its default routes went with it.
fn observe_as_left(observation: &mut Observation<'_>, reconciler: &Reconciler) {
    let missing: BTreeSet<u64> = observation
        .wanted
        .iter()
        .filter(|(key, _)| !observation.found.contains_key(*key))
        .filter_map(|(_, object)| match object {
            Object::Veth(link) => link.namespace.as_ref().map(|namespace| namespace.inode),
            Object::Macvlan(macvlan) => Some(macvlan.link.namespace.inode),
            _ => None,
        })
        .collect();
    for (key, object) in observation.wanted {
        let left = match (key, object) {
            (Key::SandboxRoutes(_), Object::SandboxRoutes(routes)) => {
                !missing.contains(&routes.namespace.inode)
            }
            (Key::Socket(protocol, address), _) => {
                reconciler.applier.ports.get(*protocol, *address).is_some()
            }
            (Key::Netns(sandbox), Object::Netns(_, resolver)) => {
                resolver.is_some() == reconciler.applier.resolvers.has(*sandbox, resolver.is_some())
            }
            (Key::Names(_) | Key::View(_) | Key::HostServers, _) => true,
            _ => false,
        };
        if left {
            observation.as_wanted(key);
        }
    }
}

/// An unplanned bridge: its name and mark are enough to delete it.
fn stray_bridge(link: &Link, network: NetworkId) -> Object {
    Object::Bridge(BridgeLink {
        name: link.name.clone(),
        network,
        mac: fairway_model::MacAddress([0; 6]),
        mtu: 0,
        addresses: Vec::new(),
        route_localnet: false,
        ipv6: false,
        parent: None,
        adopted: false,
    })
}
