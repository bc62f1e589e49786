//! Containers of Docker Engine on networks of Fairway's plugin. dockerd makes their namespaces, moves their links there and
//! configures them; it decides their addresses and which endpoint has the default route.

use std::collections::BTreeMap;

use super::host_interface::check_has_host_interface;
use super::option::endpoint_options;
use super::{Change, Context, JoinEndpoint, RecordKey, Refusal, Undecided, World};
use fairway_model::parse;
use fairway_model::{
    Allocation, Driver, Endpoint, EndpointId, HANDED_OVER_PREFIX, HOST_INTERFACE_PREFIX, Namespace,
    NetworkId, NetworkMode, Owner, ProcessIdentity, PublishRequest, Sandbox, SandboxId, SandboxKind,
    SandboxOptions, SandboxState,
};

impl World {
    /// The endpoint has no default route until [`World::external_connectivity`] gives it one.
    pub(super) fn join_endpoint(
        &mut self,
        join: JoinEndpoint,
        context: &mut Context<'_>,
    ) -> Result<Change, Undecided> {
        if self.endpoint(join.id).is_some() {
            return Err(Refusal::EndpointExists(join.id.short()).into());
        }
        let network = self.find_network(&join.network.to_string())?.clone();
        if network.driver != Driver::Bridge {
            return Err(Refusal::NoSuchDriver(network.driver.to_string()).into());
        }
        let sandbox =
            self.sandbox(join.sandbox).cloned().unwrap_or_else(|| self.new_container(&join, context.now));
        if self.endpoint_on(sandbox.id, network.id).is_some() {
            return Err(Refusal::AlreadyConnected { sandbox: sandbox.name, network: network.name }.into());
        }
        self.check_request(&network, &join.request)?;
        self.check_endpoints(sandbox.id, &join.request)?;
        let (mut options, warnings) = endpoint_options(&join.request.driver_options)?;
        let others = self.endpoints_of_sandbox(sandbox.id).into_iter();
        let others = others.filter_map(|it| Some((self.network(it.network)?, &it.options)));
        self.check_static_routes(&network, &options, others)?;
        check_has_host_interface(&network, &options)?;
        options.routes.default_route = Some(false);
        let new = self.new_endpoint(network.id, sandbox.id, join.request, options, context.rng);
        let mut endpoint = Endpoint { id: join.id, ..new };
        endpoint.allocation = Some(handed_over(self.allocate(&endpoint, context)?));
        let mut change = Change { warnings, network: Some(network.id), ..Change::default() };
        change.record(RecordKey::Host);
        self.touch_sandbox(sandbox, &mut change);
        self.touch_endpoint(&endpoint, &mut change);
        self.put_endpoint(endpoint);
        Ok(change)
    }

    fn new_container(&self, join: &JoinEndpoint, now: i64) -> Sandbox {
        Sandbox {
            id: join.sandbox,
            name: self.free_sandbox_name(&join.name, join.sandbox),
            created: now,
            kind: SandboxKind::Docker,
            mode: NetworkMode::Private,
            options: SandboxOptions { labels: join.labels.clone(), ..SandboxOptions::default() },
            state: SandboxState::Running { process: None, namespace: None, since: now },
            publications: Vec::new(),
            first_network: String::new(),
            resolver: false,
            removed_networks: Vec::new(),
            stopped_by_user: false,
            restarts: 0,
            last_start: Some(now),
            last_exit: None,
            oom_killed: false,
            start_error: String::new(),
        }
    }

    pub(super) fn delete_endpoint(&mut self, id: EndpointId) -> Result<Change, Refusal> {
        let (endpoint, mut sandbox) = self.endpoint_of_docker(id)?;
        if self.endpoints_of_sandbox(sandbox.id).len() == 1 {
            return Ok(self.forget_sandbox(sandbox.id));
        }
        let mut change = Change { network: Some(endpoint.network), ..Change::default() };
        if endpoint.options.routes.default_route == Some(true) {
            sandbox.options.publish.clear();
            sandbox.publications.clear();
        }
        self.drop_endpoint(id);
        self.touch_endpoint(&endpoint, &mut change);
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    pub(super) fn external_connectivity(
        &mut self,
        id: EndpointId,
        ports: Option<Vec<PublishRequest>>,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let (_, mut sandbox) = self.endpoint_of_docker(id)?;
        let mut change = Change::default();
        let endpoints: Vec<_> = self.endpoints_of_sandbox(sandbox.id).into_iter().cloned().collect();
        for mut endpoint in endpoints {
            endpoint.options.routes.default_route = Some(endpoint.id == id && ports.is_some());
            self.touch_endpoint(&endpoint, &mut change);
            self.put_endpoint(endpoint);
        }
        sandbox.options.publish = ports.unwrap_or_default();
        sandbox.publications.clear();
        self.put_sandbox(sandbox.clone());
        super::limit::check_ports(&[], &sandbox.options.publish)?;
        let decided = self.decide_publications(&sandbox, context.avoided_ports, context.rng)?;
        (sandbox.publications, change.warnings) = decided;
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    pub(super) fn identify_sandbox(
        &mut self,
        id: SandboxId,
        name: &str,
        labels: BTreeMap<String, String>,
        process: Option<ProcessIdentity>,
        namespace: Option<Namespace>,
    ) -> Result<Change, Refusal> {
        let known = self.sandbox(id).filter(|sandbox| sandbox.kind == SandboxKind::Docker);
        let mut sandbox = known.cloned().ok_or_else(|| Refusal::NoSuchSandbox(id.to_string()))?;
        if parse::name(name).is_ok() {
            sandbox.name = self.free_sandbox_name(name, id);
        }
        sandbox.options.labels.extend(labels);
        if let SandboxState::Running { process: known, namespace: at, .. } = &mut sandbox.state {
            (*known, *at) = (process.or(*known), namespace.or(at.take()));
        }
        let mut change = Change::default();
        for endpoint in self.endpoints_of_sandbox(id) {
            change.owner(Owner::Endpoint(endpoint.id));
        }
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    pub(super) fn identify_network(
        &mut self,
        id: NetworkId,
        name: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Change, Refusal> {
        let known = self.network(id).cloned();
        let mut network = known.ok_or_else(|| Refusal::NoSuchNetwork(id.to_string()))?;
        if parse::name(name).is_ok() {
            let taken = self.index.network_names.get(name).is_some_and(|holder| *holder != id);
            network.name = free_name(name, taken, &id.short());
        }
        network.labels.extend(labels);
        let mut change = Change { network: Some(id), ..Change::default() };
        change.record(RecordKey::Network(id)).owner(Owner::Network(id));
        for endpoint in self.endpoints_of_network(id) {
            change.owner(Owner::Endpoint(endpoint.id));
        }
        self.put_network(network);
        Ok(change)
    }

    fn endpoint_of_docker(&self, id: EndpointId) -> Result<(Endpoint, Sandbox), Refusal> {
        let found = self.endpoint(id).and_then(|endpoint| {
            let sandbox = self.sandbox(endpoint.sandbox).filter(|it| it.kind == SandboxKind::Docker)?;
            Some((endpoint.clone(), sandbox.clone()))
        });
        found.ok_or_else(|| Refusal::NoSuchEndpoint(id.short()))
    }

    /// A name, or with the sandbox's id behind it where another sandbox has the name.
    fn free_sandbox_name(&self, name: &str, id: SandboxId) -> String {
        let taken = self.index.sandbox_names.get(name).is_some_and(|holder| *holder != id);
        free_name(name, taken, &id.short())
    }

    /// Whether the options of an endpoint, or of its network, leave it a default route if dockerd chooses it for that.
    pub fn is_left_a_default_route(&self, endpoint: &Endpoint) -> bool {
        // Its own option is read again: the endpoint's settings say which one has the route now.
        let own = endpoint_options(&endpoint.request.driver_options).ok();
        let own = own.and_then(|(options, _)| options.routes.default_route);
        self.leaves_default_route(own, endpoint.network)
    }
}

/// A name, with an id behind it where it is taken.
fn free_name(name: &str, taken: bool, id: &str) -> String {
    if taken { format!("{name}-{id}") } else { name.to_owned() }
}

/// The allocation with the name under which the link is handed over: of no other link, as the host's end has none.
fn handed_over(allocation: Allocation) -> Allocation {
    let interface = allocation.host_interface.replacen(HOST_INTERFACE_PREFIX, HANDED_OVER_PREFIX, 1);
    Allocation { interface, ..allocation }
}

#[cfg(test)]
mod tests;
