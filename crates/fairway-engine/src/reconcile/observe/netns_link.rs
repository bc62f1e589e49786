//! Observes interfaces that exist only inside sandboxes: macvlans and ptp veth pairs.

use std::collections::BTreeMap;

use fairway_core::object::{Fragment, Key, MacvlanLink, NetnsLink, Object};
use fairway_kernel::monitor::Event;
use fairway_kernel::namespace;
use fairway_kernel::route::{Link, Mark, NetnsState, observe_netns};
use fairway_model::{EndpointId, MacvlanMode, Namespace, NetworkId, Owner, SandboxId};

use super::Observation;
use crate::ApplyError;
use crate::reconcile::Reconciler;

/// The link of a sandbox with the mark, by whatever name.
pub(crate) fn find<'a>(link: &NetnsLink, inside: &'a NetnsState) -> Option<&'a Link> {
    inside.links.iter().find(|found| found.mark() == Some(Mark::Endpoint(link.endpoint)))
}

/// Whether a link of the host is the waiting end of a planned pair.
pub(crate) fn waits(wanted: &Fragment, network: NetworkId, link: &Link) -> bool {
    let pair = wanted.get(&Key::Pair(network));
    matches!(pair, Some(Object::Pair(pair)) if pair.ends.len() == 1 && pair.waiting == link.name)
}

/// Whether a link of the host is a dummy parent as planned.
pub(crate) fn is_dummy_parent(wanted: &Fragment, link: &Link) -> bool {
    let Some(Object::DummyParent(dummy_parent)) = wanted.get(&Key::DummyParent(link.name.clone())) else {
        return false;
    };
    link.mark() == Some(Mark::Network(dummy_parent.network))
        && link.up
        && dummy_parent.mtu.is_none_or(|mtu| link.mtu == mtu)
}

impl Reconciler {
    /// Takes links without an end on the host to be as left.
    pub(crate) fn netns_links_as_left(&self, observation: &mut Observation<'_>) {
        for (key, object) in observation.wanted {
            if !object.netns_links().is_empty() {
                observation.as_wanted(key);
            }
        }
    }

    /// Observes whether sandboxes have their links without an end on the host. Settings changed inside are not
    /// compared.
    pub(crate) fn observe_netns_links(&self, observation: &mut Observation<'_>) -> Result<(), ApplyError> {
        let mut seen = FoundLinks::default();
        for link in observation.wanted.values().flat_map(Object::netns_links) {
            let Ok(handle) = namespace::open(&link.namespace) else { continue };
            match observe_netns(&self.applier.workers, &handle) {
                Ok(inside) => seen.note(link, &inside),
                Err(error) => {
                    tracing::warn!(%error, "failed to observe the network namespace of a sandbox: {error}")
                }
            }
        }
        self.judge_netns_links(observation, &seen)
    }

    /// Observes the namespaces of unknown sandboxes: those that have a resolver, and `namespaces`.
    pub(crate) fn look_into_orphans(
        &self,
        observation: &mut Observation<'_>,
        seen: &mut FoundLinks,
        namespaces: &[Namespace],
    ) {
        let of_resolvers = self.applier.resolvers.all().into_iter().filter_map(|(sandbox, _)| {
            let wanted = observation.wanted.contains_key(&Key::Netns(sandbox));
            Some((sandbox, self.applier.resolvers.namespace(sandbox).filter(|_| !wanted)?))
        });
        let unknown = SandboxId::new([0; 32]);
        let others = namespaces.iter().filter_map(|it| Some((unknown, namespace::open(it).ok()?)));
        for (sandbox, handle) in of_resolvers.chain(others).collect::<Vec<_>>() {
            if let Ok(inside) = observe_netns(&self.applier.workers, &handle) {
                seen.look(observation, sandbox, handle.namespace(), &inside);
            }
        }
    }

    /// Notes which planned links are as planned. A macvlan without its parent waits for it.
    pub(crate) fn judge_netns_links(
        &self,
        observation: &mut Observation<'_>,
        seen: &FoundLinks,
    ) -> Result<(), ApplyError> {
        for (key, object) in observation.wanted {
            let right = match object {
                Object::Macvlan(macvlan) => {
                    seen.has(&macvlan.link) || self.waits_for_parent(observation.wanted, macvlan)?
                }
                Object::Pair(pair) => match &pair.ends[..] {
                    [one, other] => seen.joined(one, other),
                    [only] => self.applier.links(|links| links.find(&pair.waiting))?.is_some_and(|waiting| {
                        waiting.mark() == Some(Mark::Network(pair.network)) && seen.ends_at(only, &waiting)
                    }),
                    _ => false,
                },
                _ => false,
            };
            if right {
                observation.as_wanted(key);
            }
        }
        Ok(())
    }

    fn waits_for_parent(&self, wanted: &Fragment, macvlan: &MacvlanLink) -> Result<bool, ApplyError> {
        let parent = &macvlan.parent;
        if wanted.contains_key(&Key::DummyParent(parent.clone()))
            || self.applier.links(|links| links.find(parent))?.is_some()
        {
            return Ok(false);
        }
        if self.signals.add_missing_parent(parent) {
            tracing::warn!(
                parent,
                "macvlan parent {parent} does not exist; creating its macvlans when it appears"
            );
        }
        Ok(true)
    }

    /// Whether an object waits for a macvlan whose parent does not exist.
    pub(crate) fn rests_on_missing_parent(&self, wanted: &Fragment, object: &Object) -> bool {
        let Object::SandboxRoutes(routes) = object else { return false };
        wanted.values().any(|object| match object {
            Object::Macvlan(macvlan) => {
                macvlan.link.namespace == routes.namespace && self.signals.is_missing_parent(&macvlan.parent)
            }
            _ => false,
        })
    }

    /// Whether an event on the host concerns links inside sandboxes: the parent of macvlans is back, or the waiting end
    /// of a pair is gone.
    pub(crate) fn concerns_netns_links(&self, event: &Event) -> bool {
        match event {
            Event::Link(link) => self.signals.remove_missing_parent(&link.name),
            Event::LinkGone(link) => match link.mark() {
                Some(Mark::Endpoint(_)) => false,
                Some(Mark::Network(id)) if self.waited(id, link) => true,
                _ => {
                    self.note_missing_parent(link);
                    false
                }
            },
            Event::Lost => true,
            _ => false,
        }
    }

    fn waited(&self, network: NetworkId, link: &Link) -> bool {
        self.committer
            .snapshot()
            .plan
            .fragment(Owner::Network(network))
            .is_some_and(|fragment| waits(fragment, network, link))
    }

    fn note_missing_parent(&self, link: &Link) {
        let carried: Vec<String> = self.committer.read(|world| {
            let on_it = |network: &&fairway_model::Network| {
                network.macvlan.as_ref().is_some_and(|macvlan| macvlan.parent == link.name)
            };
            world.networks().filter(on_it).map(|network| network.name.clone()).collect()
        });
        if !carried.is_empty() && self.signals.add_missing_parent(&link.name) {
            let networks = carried.join(", ");
            tracing::warn!(
                parent = link.name,
                networks,
                "macvlan parent {} of networks {networks} was deleted; creating its macvlans again when it returns",
                link.name
            );
        }
    }
}

/// The observed links without an end on the host.
#[derive(Debug, Default)]
pub(crate) struct FoundLinks {
    /// The planned ones, by the inode of their namespace.
    wanted: BTreeMap<u64, Vec<NetnsLink>>,
    /// The index of each observed one, and that of its peer.
    found: BTreeMap<EndpointId, (u32, Option<u32>)>,
}

impl FoundLinks {
    /// Starts with nothing observed.
    pub fn nothing_of(wanted: &Fragment) -> Self {
        let mut seen = Self::default();
        for link in wanted.values().flat_map(Object::netns_links) {
            seen.wanted.entry(link.namespace.inode).or_default().push(link.clone());
        }
        seen
    }

    /// Notes the links of one sandbox that are exactly as planned, and unplanned ones.
    pub fn look(
        &mut self,
        observation: &mut Observation<'_>,
        sandbox: SandboxId,
        namespace: &Namespace,
        inside: &NetnsState,
    ) {
        let wanted = self.wanted.get(&namespace.inode).cloned().unwrap_or_default();
        for link in &wanted {
            if crate::reconcile::netns_diff::differences(link, inside).is_empty() {
                self.note(link, inside);
            }
        }
        for found in &inside.links {
            let Some(Mark::Endpoint(endpoint)) = found.mark() else { continue };
            if wanted.iter().any(|link| link.endpoint == endpoint) {
                continue;
            }
            let link = NetnsLink {
                sandbox,
                endpoint,
                namespace: namespace.clone(),
                interface: found.name.clone(),
                mac: found.mac,
                mtu: Some(found.mtu),
                addresses: Vec::new(),
            };
            let (parent, mode) = (String::new(), MacvlanMode::default());
            let object = Object::Macvlan(MacvlanLink { link, parent, mode });
            observation.unwanted(Key::Macvlan(endpoint), object);
        }
    }

    /// Notes a link that exists.
    fn note(&mut self, link: &NetnsLink, inside: &NetnsState) {
        if let Some(found) = find(link, inside) {
            self.found.insert(link.endpoint, (found.index, found.peer));
        }
    }

    fn has(&self, link: &NetnsLink) -> bool {
        self.found.contains_key(&link.endpoint)
    }

    /// Whether two links are the ends of one pair.
    fn joined(&self, one: &NetnsLink, other: &NetnsLink) -> bool {
        match (self.found.get(&one.endpoint), self.found.get(&other.endpoint)) {
            (Some(one), Some(other)) => one.1 == Some(other.0) && other.1 == Some(one.0),
            _ => false,
        }
    }

    /// Whether the peer of a link is this link of the host.
    fn ends_at(&self, link: &NetnsLink, host: &Link) -> bool {
        self.found
            .get(&link.endpoint)
            .is_some_and(|(index, peer)| *peer == Some(host.index) && host.peer == Some(*index))
    }
}
