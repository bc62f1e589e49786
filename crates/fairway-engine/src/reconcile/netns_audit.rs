//! Looking into sandboxes, one after the other: what is done inside is told, not undone.

use std::collections::HashMap;
use std::sync::PoisonError;

use fairway_core::object::{DefaultRoutes, Key, NetnsLink, Object, VethLink};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::namespace;
use fairway_kernel::route::{NetnsState, observe_netns_with_sysctls};
use fairway_model::Owner;
use fairway_model::{Namespace, SandboxId};

use crate::Engine;
use crate::reconcile::netns_diff;

/// In how many turns all sandboxes are looked into, as long as they are not too many.
const TURNS: usize = 5;
/// How many are looked into in one turn at most: each look takes a fifth of a millisecond.
const MOST: usize = 20;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct NetnsAudit {
    /// The sandbox that was looked into last.
    last: Option<SandboxId>,
    /// What was told of sandboxes that are not as they were made.
    told: HashMap<SandboxId, Vec<Deviation>>,
}

/// What is to be inside one sandbox.
struct Wanted {
    namespace: Namespace,
    links: Vec<VethLink>,
    /// Those that no end on the host tells of, and whose parents are there.
    netns_links: Vec<NetnsLink>,
    routes: Option<DefaultRoutes>,
}

impl Wanted {
    fn differences(&self, found: &NetnsState) -> Vec<Deviation> {
        let links = self.links.iter().flat_map(|link| netns_diff::differences(link, found));
        let there =
            self.netns_links.iter().filter(|link| crate::apply::netns_link::find(link, found).is_some());
        let netns_links = there.flat_map(|link| netns_diff::differences(link, found));
        let routes = self.routes.iter().flat_map(|routes| netns_diff::other_routes(routes, found));
        links.chain(netns_links).chain(routes).collect()
    }
}

impl NetnsAudit {
    /// Looks into the next few sandboxes.
    pub fn step(&mut self, engine: &Engine) {
        let mut all: Vec<SandboxId> = engine.read(|world| {
            world.sandboxes().filter(|sandbox| sandbox.running()).map(|sandbox| sandbox.id).collect()
        });
        all.sort_unstable();
        self.told.retain(|id, _| all.binary_search(id).is_ok());
        let next = self.last.map_or(0, |last| all.partition_point(|id| *id <= last));
        let few = all.len().div_ceil(TURNS).min(MOST);
        for id in all.iter().cycle().skip(next).take(few) {
            self.look_into(engine, *id);
            self.last = Some(*id);
        }
    }

    fn look_into(&mut self, engine: &Engine, id: SandboxId) {
        let known = self.told.get(&id).cloned().unwrap_or_default();
        let Some(found) = engine.netns_deviations(id) else { return };
        if found == known {
            return;
        }
        // Perhaps it is being changed by us: then it is as wanted as soon as nobody works on it.
        let found = {
            let _exclusive = engine.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
            engine.netns_deviations(id)
        };
        match found {
            Some(found) if found.is_empty() && !known.is_empty() => {
                self.told.remove(&id);
                tracing::info!(sandbox = %id.short(), "its inside is again as it was made");
            }
            Some(found) if found != known => {
                let what = found.iter().map(Deviation::is).collect::<Vec<_>>().join("; ");
                tracing::warn!(sandbox = %id.short(), "changed inside the sandbox, and left so: {what}");
                self.told.insert(id, found);
            }
            _ => {}
        }
    }
}

impl Engine {
    /// What inside a sandbox is other than it was made; none if it cannot be known, or has no inside of ours.
    pub(crate) fn netns_deviations(&self, id: SandboxId) -> Option<Vec<Deviation>> {
        let wanted = self.wanted_in_netns(id)?;
        let handle = namespace::open(&wanted.namespace).ok()?;
        let sysctls = wanted.links.iter().flat_map(|link| &link.sysctls).map(|(path, _)| path.clone());
        let found = observe_netns_with_sysctls(&self.workers, &handle, sysctls.collect()).ok()?;
        if wanted.netns_links.iter().any(|link| crate::apply::netns_link::find(link, &found).is_none()) {
            // Nobody else would notice: it may have gone with the end in another sandbox.
            self.request_netns_heal();
        }
        let mut differences = wanted.differences(&found);
        differences.extend(self.resolver_deviation(id, &handle));
        Some(differences)
    }

    fn wanted_in_netns(&self, id: SandboxId) -> Option<Wanted> {
        let state = self.state();
        let fragment = state.plan.get(&Owner::Sandbox(id))?;
        let Some(Object::Netns(namespace, _)) = fragment.get(&Key::Netns(id)) else { return None };
        let routes = match fragment.get(&Key::DefaultRoutes(id)) {
            Some(Object::DefaultRoutes(routes)) => Some(routes.clone()),
            _ => None,
        };
        let endpoints = state.world.endpoints_of_sandbox(id).into_iter();
        let owners = endpoints.flat_map(|it| [Owner::Endpoint(it.id), Owner::Network(it.network)]);
        let objects =
            owners.filter_map(|owner| state.plan.get(&owner)).flat_map(|fragment| fragment.values());
        let (mut links, mut netns_links) = (Vec::new(), Vec::new());
        for object in objects {
            match object {
                Object::Veth(link) => links.push(link.clone()),
                Object::Macvlan(macvlan) if self.signals.is_missing_parent(&macvlan.parent) => {}
                _ => {
                    netns_links.extend(object.netns_links().iter().filter(|link| link.sandbox == id).cloned())
                }
            }
        }
        Some(Wanted { namespace: namespace.clone(), links, netns_links, routes })
    }
}
