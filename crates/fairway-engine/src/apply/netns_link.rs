//! Interfaces of sandboxes that have no end on the host: macvlans, and pairs of two sandboxes. They
//! are made from the host and filled inside, in the visit that follows; the host cannot see them.

use std::collections::BTreeMap;

use fairway_core::object::{Difference, Fragment, Key, MacvlanLink, NetnsLink, Object, PairLink};
use fairway_kernel::monitor::Event;
use fairway_kernel::namespace::{self, Handle};
use fairway_kernel::route::{Link, Links, Mark, NetnsState, observe_netns};
use fairway_model::Owner;
use fairway_model::{EndpointId, MacvlanMode, Namespace, NetworkId, SandboxId};

use crate::failpoint::failpoint;
use crate::reconcile::observe::Observation;
use crate::{ApplyError, Engine};

/// The link of a sandbox that bears the mark, by whatever name.
pub(crate) fn find<'a>(link: &NetnsLink, inside: &'a NetnsState) -> Option<&'a Link> {
    inside.links.iter().find(|found| found.mark() == Some(Mark::Endpoint(link.endpoint)))
}

/// Whether a link of the host is the end of a pair that waits, as wanted.
pub(crate) fn waits(wanted: &Fragment, network: NetworkId, link: &Link) -> bool {
    let pair = wanted.get(&Key::Pair(network));
    matches!(pair, Some(Object::Pair(pair)) if pair.ends.len() == 1 && pair.waiting == link.name)
}

/// Whether a link of the host is one for macvlans to stand upon, as wanted.
pub(crate) fn is_dummy_parent(wanted: &Fragment, link: &Link) -> bool {
    let Some(Object::DummyParent(dummy_parent)) = wanted.get(&Key::DummyParent(link.name.clone())) else {
        return false;
    };
    link.mark() == Some(Mark::Network(dummy_parent.network))
        && link.up
        && dummy_parent.mtu.is_none_or(|mtu| link.mtu == mtu)
}

/// Whether two objects are the same links, if perhaps with other settings.
fn same_links(old: &Object, new: &Object) -> bool {
    let place = |link: &NetnsLink| (link.endpoint, link.namespace.clone(), link.interface.clone());
    let stands = |object: &Object| match object {
        Object::Macvlan(MacvlanLink { parent, mode, .. }) => Some((parent.clone(), *mode)),
        _ => None,
    };
    stands(old) == stands(new) && old.netns_links().iter().map(place).eq(new.netns_links().iter().map(place))
}

impl Engine {
    /// Takes away the links that left, and makes those that are new.
    pub(crate) fn apply_netns_links(&self, difference: &Difference) -> Result<(), ApplyError> {
        let other = difference.changed.values().filter(|(old, new)| !same_links(old, new));
        for object in difference.removed.values().chain(other.clone().map(|(old, _)| old)) {
            self.take_away(object);
        }
        failpoint("netns links deleted");
        for object in difference.added.values().chain(other.map(|(_, new)| new)) {
            match object {
                Object::Macvlan(macvlan) => {
                    let handle = namespace::open(&macvlan.link.namespace)?;
                    self.links(|links| links.create_macvlan(macvlan, &handle))?;
                }
                Object::Pair(pair) => self.make_pair_of(pair, object)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a pair anew: an end that is there already goes, for its other end is elsewhere. An end
    /// whose sandbox has just ended is left out; that it ended is about to be noticed.
    fn make_pair_of(&self, pair: &PairLink, object: &Object) -> Result<(), ApplyError> {
        self.take_away(object);
        failpoint("no pair");
        let mut ends = Vec::with_capacity(pair.ends.len());
        for end in &pair.ends {
            match namespace::open(&end.namespace) {
                Ok(handle) => ends.push((end, handle)),
                Err(error) if pair.ends.len() == 1 => return Err(error.into()),
                Err(error) => tracing::debug!(%error, "the other end waits"),
            }
        }
        let mut ends = ends.iter().map(|(end, handle)| (*end, handle));
        let Some(first) = ends.next() else { return Ok(()) };
        self.links(|links| links.create_ptp_pair(pair.network, &pair.waiting, first, ends.next()))
    }

    /// Makes links that were switched on carry frames at once. The kernel tells their queues of a carrier by a
    /// deferred work (linkwatch), up to a second later, and drops frames until then; being asked about a link, it
    /// does so at once (since 6.8). An end of a pair has a carrier only when the other one is on as well.
    pub(crate) fn settle_netns_links(&self, difference: &Difference) {
        for link in difference.wanted().flat_map(|(_, object)| object.netns_links()) {
            let Some(handle) = self.namespace_of(link) else { continue };
            let name = link.interface.clone();
            let asked = self.workers.run(&handle, move || Links::open()?.find(&name));
            if !matches!(asked, Ok(Ok(_))) {
                tracing::debug!(interface = link.interface, "its first frames may be lost");
            }
        }
    }

    /// Deletes the links of an object wherever they are.
    fn take_away(&self, object: &Object) {
        for link in object.netns_links() {
            let Some(handle) = self.namespace_of(link) else { continue };
            let pending = link.clone();
            let deleted = self.workers.run(&handle, move || Links::open()?.delete_netns_link(&pending));
            let error = match deleted {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => ApplyError::from(error),
                Err(error) => error.into(),
            };
            tracing::warn!(%error, interface = link.interface, "left behind in the sandbox");
        }
        if let Object::Pair(pair) = object {
            let mark = Mark::Network(pair.network);
            if let Err(error) = self.links(|links| links.delete_pending_end(&pair.waiting, mark)) {
                tracing::warn!(%error, interface = pair.waiting, "left behind");
            }
        }
    }

    /// The namespace that a link is in; none if it is gone, and the link with it. Its path may be
    /// gone while it lives on.
    fn namespace_of(&self, link: &NetnsLink) -> Option<Handle> {
        namespace::open(&link.namespace).ok().or_else(|| self.resolvers.namespace(link.sandbox))
    }

    /// Takes what no end on the host tells of to be as it was left.
    pub(crate) fn netns_links_as_left(&self, observation: &mut Observation<'_>) {
        for (key, object) in observation.wanted {
            if !object.netns_links().is_empty() {
                observation.as_wanted(key);
            }
        }
    }

    /// Looks whether sandboxes have the links that no end on the host tells of. What they did to
    /// them is their own matter.
    pub(crate) fn observe_netns_links(&self, observation: &mut Observation<'_>) -> Result<(), ApplyError> {
        let mut seen = Seen::default();
        for link in observation.wanted.values().flat_map(Object::netns_links) {
            let Ok(handle) = namespace::open(&link.namespace) else { continue };
            match observe_netns(&self.workers, &handle) {
                Ok(inside) => seen.note(link, &inside),
                Err(error) => tracing::warn!(%error, "a sandbox cannot be looked into"),
            }
        }
        self.judge_netns_links(observation, &seen)
    }

    /// Looks into the sandboxes that are in no World: those that have a resolver still, and `namespaces`.
    pub(crate) fn look_into_orphans(
        &self,
        observation: &mut Observation<'_>,
        seen: &mut Seen,
        namespaces: &[Namespace],
    ) {
        let of_resolvers = self.resolvers.all().into_iter().filter_map(|(sandbox, _)| {
            let wanted = observation.wanted.contains_key(&Key::Netns(sandbox));
            Some((sandbox, self.resolvers.namespace(sandbox).filter(|_| !wanted)?))
        });
        let unknown = SandboxId::new([0; 32]);
        let others = namespaces.iter().filter_map(|it| Some((unknown, namespace::open(it).ok()?)));
        for (sandbox, handle) in of_resolvers.chain(others).collect::<Vec<_>>() {
            if let Ok(inside) = observe_netns(&self.workers, &handle) {
                seen.look(observation, sandbox, handle.namespace(), &inside);
            }
        }
    }

    /// Says which of the wanted ones are there as wanted. A macvlan whose parent is gone waits for it.
    pub(crate) fn judge_netns_links(
        &self,
        observation: &mut Observation<'_>,
        seen: &Seen,
    ) -> Result<(), ApplyError> {
        for (key, object) in observation.wanted {
            let right = match object {
                Object::Macvlan(macvlan) => {
                    seen.has(&macvlan.link) || self.waits_for_parent(observation.wanted, macvlan)?
                }
                Object::Pair(pair) => match &pair.ends[..] {
                    [one, other] => seen.joined(one, other),
                    [only] => self.links(|links| links.find(&pair.waiting))?.is_some_and(|waiting| {
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
            || self.links(|links| links.find(parent))?.is_some()
        {
            return Ok(false);
        }
        if self.signals.add_missing_parent(parent) {
            tracing::warn!(parent, "the interface is not there; macvlans upon it are made when it is");
        }
        Ok(true)
    }

    /// Whether an event on the host tells of links inside sandboxes: the parent of macvlans is
    /// back, or the end of a pair that waited is gone.
    pub(crate) fn bears_on_insides(&self, event: &Event) -> bool {
        match event {
            Event::Link(link) => self.signals.remove_missing_parent(&link.name),
            Event::LinkGone(link) => match link.mark() {
                Some(Mark::Endpoint(_)) => false,
                Some(Mark::Network(id)) if self.waited(id, link) => true,
                _ => {
                    self.parent_went(link);
                    false
                }
            },
            Event::Lost => true,
            _ => false,
        }
    }

    fn waited(&self, network: NetworkId, link: &Link) -> bool {
        self.state().plan.get(&Owner::Network(network)).is_some_and(|fragment| waits(fragment, network, link))
    }

    fn parent_went(&self, link: &Link) {
        let carried: Vec<String> = self.read(|world| {
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
                "the interface is gone, and all macvlans upon it with it; they are made anew when it is back"
            );
        }
    }
}

/// What was seen of netns link.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Those that are wanted, by the inode of their namespace.
    wanted: BTreeMap<u64, Vec<NetnsLink>>,
    /// The index of each that was seen, and that of what it is joined to.
    found: BTreeMap<EndpointId, (u32, Option<u32>)>,
}

impl Seen {
    /// Nothing seen yet of what is wanted.
    pub fn nothing_of(wanted: &Fragment) -> Self {
        let mut seen = Self::default();
        for link in wanted.values().flat_map(Object::netns_links) {
            seen.wanted.entry(link.namespace.inode).or_default().push(link.clone());
        }
        seen
    }

    /// Notes those of one sandbox that are exactly as wanted, and those that nobody wants.
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

    /// Notes one that is there.
    fn note(&mut self, link: &NetnsLink, inside: &NetnsState) {
        if let Some(found) = find(link, inside) {
            self.found.insert(link.endpoint, (found.index, found.peer));
        }
    }

    fn has(&self, link: &NetnsLink) -> bool {
        self.found.contains_key(&link.endpoint)
    }

    /// Whether two are the ends of one pair.
    fn joined(&self, one: &NetnsLink, other: &NetnsLink) -> bool {
        match (self.found.get(&one.endpoint), self.found.get(&other.endpoint)) {
            (Some(one), Some(other)) => one.1 == Some(other.0) && other.1 == Some(one.0),
            _ => false,
        }
    }

    /// Whether one is joined to a link of the host.
    fn ends_at(&self, link: &NetnsLink, host: &Link) -> bool {
        self.found
            .get(&link.endpoint)
            .is_some_and(|(index, peer)| *peer == Some(host.index) && host.peer == Some(*index))
    }
}
