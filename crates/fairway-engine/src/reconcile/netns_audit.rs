//! Audits the network namespaces of sandboxes in turn. Changes made inside are logged, not reverted.

use std::collections::HashMap;
use std::sync::PoisonError;

use fairway_core::object::{Key, NetnsLink, Object, SandboxRoutes, VethLink};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::namespace;
use fairway_kernel::route::{NetnsState, observe_netns_with_sysctls};
use fairway_model::Owner;
use fairway_model::{Namespace, SandboxId};

use crate::reconcile::Reconciler;
use crate::reconcile::netns_diff;

/// In how many steps all sandboxes are audited, unless they are too many.
const TURNS: usize = 5;
/// How many sandboxes one step audits at most: each takes a fifth of a millisecond.
const MOST: usize = 20;

/// The state of the audit.
#[derive(Debug, Default)]
pub(crate) struct NetnsAudit {
    /// The sandbox that was audited last.
    last: Option<SandboxId>,
    /// The reported deviations of sandboxes.
    reported: HashMap<SandboxId, Vec<Deviation>>,
}

/// The planned objects in one namespace.
struct Wanted {
    namespace: Namespace,
    links: Vec<VethLink>,
    /// Links without an end on the host whose parents exist.
    netns_links: Vec<NetnsLink>,
    routes: Option<SandboxRoutes>,
}

impl Wanted {
    fn differences(&self, found: &NetnsState) -> Vec<Deviation> {
        let links = self.links.iter().flat_map(|link| netns_diff::differences(link, found));
        let there = self
            .netns_links
            .iter()
            .filter(|link| crate::reconcile::observe::netns_link::find(link, found).is_some());
        let netns_links = there.flat_map(|link| netns_diff::differences(link, found));
        let routes = self.routes.iter().flat_map(|routes| netns_diff::route_differences(routes, found));
        links.chain(netns_links).chain(routes).collect()
    }
}

impl NetnsAudit {
    /// Audits the next few sandboxes.
    pub fn step(&mut self, reconciler: &Reconciler) {
        let mut all: Vec<SandboxId> = reconciler.committer.read(|world| {
            world.sandboxes().filter(|sandbox| sandbox.running()).map(|sandbox| sandbox.id).collect()
        });
        all.sort_unstable();
        self.reported.retain(|id, _| all.binary_search(id).is_ok());
        let next = self.last.map_or(0, |last| all.partition_point(|id| *id <= last));
        let few = all.len().div_ceil(TURNS).min(MOST);
        for id in all.iter().cycle().skip(next).take(few) {
            self.audit(reconciler, *id);
            self.last = Some(*id);
        }
    }

    fn audit(&mut self, reconciler: &Reconciler, id: SandboxId) {
        let known = self.reported.get(&id).cloned().unwrap_or_default();
        let Some(found) = reconciler.netns_deviations(id) else { return };
        if found == known {
            return;
        }
        // A command may be changing the namespace: under the lock none is.
        let found = {
            let _exclusive =
                reconciler.committer.pipeline.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
            reconciler.netns_deviations(id)
        };
        match found {
            Some(found) if found.is_empty() && !known.is_empty() => {
                self.reported.remove(&id);
                tracing::info!(sandbox = %id.short(), "network namespace of sandbox {} is as planned again", id.short());
            }
            Some(found) if found != known => {
                let what = found.iter().map(Deviation::is).collect::<Vec<_>>().join("; ");
                tracing::warn!(sandbox = %id.short(), "network namespace of sandbox {} was changed inside, not reverting: {what}", id.short());
                self.reported.insert(id, found);
            }
            _ => {}
        }
    }
}

impl Reconciler {
    /// How the namespace of a sandbox differs from the Plan; none if it cannot be read, or if Fairway does not
    /// configure it.
    pub(crate) fn netns_deviations(&self, id: SandboxId) -> Option<Vec<Deviation>> {
        let wanted = self.wanted_in_netns(id)?;
        let handle = namespace::open(&wanted.namespace).ok()?;
        let sysctls = wanted.links.iter().flat_map(|link| &link.sysctls).map(|(path, _)| path.clone());
        let found = observe_netns_with_sysctls(&self.applier.workers, &handle, sysctls.collect()).ok()?;
        if wanted
            .netns_links
            .iter()
            .any(|link| crate::reconcile::observe::netns_link::find(link, &found).is_none())
        {
            // Only the audit notices: the link may have gone with its end in another sandbox.
            self.signals.request_netns_heal();
        }
        let mut differences = wanted.differences(&found);
        differences.extend(self.applier.resolver_deviation(id, &handle));
        Some(differences)
    }

    fn wanted_in_netns(&self, id: SandboxId) -> Option<Wanted> {
        let state = self.committer.snapshot();
        let fragment = state.plan.fragment(Owner::Sandbox(id))?;
        let Some(Object::Netns(namespace, _)) = fragment.get(&Key::Netns(id)) else { return None };
        let routes = match fragment.get(&Key::SandboxRoutes(id)) {
            Some(Object::SandboxRoutes(routes)) => Some(routes.clone()),
            _ => None,
        };
        let endpoints = state.world.endpoints_of_sandbox(id).into_iter();
        let owners = endpoints.flat_map(|it| [Owner::Endpoint(it.id), Owner::Network(it.network)]);
        let objects =
            owners.filter_map(|owner| state.plan.fragment(owner)).flat_map(|fragment| fragment.values());
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
