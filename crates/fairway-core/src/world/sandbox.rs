//! Creation, start, stop and removal of sandboxes.

use super::host_interface::check_has_host_interface;
use super::option::{check_can_be_limited, endpoint_options};
use super::{
    Change, Context, CreateSandbox, Exit, NetworkChoice, RecordKey, Refusal, Undecided, World,
    command_options, limit,
};
use fairway_model::Owner;
use fairway_model::Rng;
use fairway_model::parse;
use fairway_model::{
    Driver, Endpoint, EndpointOptions, EndpointRequest, LogLimits, Namespace, NetworkId, NetworkMode,
    ProcessIdentity, Sandbox, SandboxId, SandboxKind, SandboxOptions, SandboxState,
};

/// The network mode and the endpoints of a new sandbox.
struct Choice {
    mode: NetworkMode,
    endpoints: Vec<(NetworkId, EndpointRequest, EndpointOptions)>,
    warnings: Vec<String>,
}

/// Refuses options that conflict with the namespace of another sandbox.
fn check_shared(options: &SandboxOptions) -> Result<(), Refusal> {
    let conflicts = [
        (!options.publish.is_empty() || options.publish_all, "port publishing"),
        (!options.hostname.is_empty(), "hostname"),
        (!options.dns.is_empty() || !options.dns_search.is_empty(), "dns"),
        (!options.extra_hosts.is_empty(), "custom host-to-IP mapping"),
        (!options.exposed.is_empty(), "port exposing"),
    ];
    match conflicts.into_iter().find(|(present, _)| *present) {
        Some((_, option)) => Err(Refusal::ConflictingOptions { option, mode: "container" }),
        None => Ok(()),
    }
}

/// Checks the options that are written to a sandbox's files or published: a word must not become a line.
fn check_options(options: &SandboxOptions) -> Result<(), Refusal> {
    limit::check_options(options)?;
    if !options.hostname.is_empty() {
        parse::hostname(&options.hostname)?;
    }
    options.dns_search.iter().try_for_each(|text| parse::dns_search(text).map(drop))?;
    options.dns_options.iter().try_for_each(|text| parse::dns_option(text).map(drop))?;
    LogLimits::parse(&options.log_options)?;
    command_options::check(options)?;
    options.extra_hosts.iter().try_for_each(|(name, _)| parse::alias(name).map(drop))?;
    Ok(())
}

impl World {
    fn choose(&self, request: &CreateSandbox) -> Result<Choice, Refusal> {
        let plain = |mode| Choice { mode, endpoints: Vec::new(), warnings: Vec::new() };
        let created = request.kind == SandboxKind::Created;
        let asked = match &request.network {
            NetworkChoice::Networks(asked) => asked,
            NetworkChoice::Host if created => return Err(Refusal::NoNamespace("host")),
            NetworkChoice::Container(_) if created => return Err(Refusal::NoNamespace("container")),
            NetworkChoice::Host => {
                command_options::check_namespace(&request.options, "host")?;
                let publishes = !request.options.publish.is_empty() || request.options.publish_all;
                let warning = "Published ports are discarded when using host network mode".to_owned();
                return Ok(Choice {
                    warnings: publishes.then_some(warning).into_iter().collect(),
                    ..plain(NetworkMode::Host)
                });
            }
            NetworkChoice::None => return Ok(plain(NetworkMode::None)),
            NetworkChoice::Container(target) => {
                check_shared(&request.options)?;
                command_options::check_namespace(&request.options, "container")?;
                let target = self.find_sandbox(target)?;
                return Ok(plain(match &target.mode {
                    NetworkMode::Private | NetworkMode::None => NetworkMode::Shared(target.id),
                    other => other.clone(),
                }));
            }
        };
        if asked.is_empty() && !self.has_default_network() {
            return Ok(plain(NetworkMode::None));
        }
        let default = [("bridge".to_owned(), EndpointRequest::default())];
        let asked = if asked.is_empty() { default.as_slice() } else { asked.as_slice() };
        let mut choice = plain(NetworkMode::Private);
        for (reference, endpoint) in asked {
            let network = self.find_network(reference)?;
            match network.driver {
                Driver::Bridge | Driver::Routed | Driver::Lan | Driver::Macvlan | Driver::Ptp => {
                    self.check_endpoint_limit(network)?;
                }
                Driver::Host => return Err(Refusal::HostMode),
                Driver::Null if network.configuration.is_some() => {
                    return Err(Refusal::ConfigurationOnly(network.name.clone()));
                }
                Driver::Null => return Err(Refusal::NoneMode),
            }
            if choice.endpoints.iter().any(|(id, ..)| *id == network.id) {
                let sandbox = request.name.clone().unwrap_or_default();
                return Err(Refusal::AlreadyConnected { sandbox, network: network.name.clone() });
            }
            self.check_request(network, endpoint)?;
            let (options, warnings) = endpoint_options(&endpoint.driver_options)?;
            let others = choice.endpoints.iter();
            let others = others.filter_map(|(id, _, options)| Some((self.network(*id)?, options)));
            self.check_static_routes(network, &options, others)?;
            check_has_host_interface(network, &options)?;
            check_can_be_limited(network, &options)?;
            choice.warnings.extend(warnings);
            choice.endpoints.push((network.id, self.link_by_id(network, endpoint.clone())?, options));
        }
        limit::check_endpoints(choice.endpoints.iter().map(|(_, request, _)| request))?;
        Ok(choice)
    }

    fn sandbox_name_for(&self, asked: Option<&str>, rng: &mut Rng) -> Result<String, Refusal> {
        let Some(asked) = asked else {
            return Ok(super::sandbox_name::random_name(rng, |name| {
                self.index.sandbox_names.contains_key(name)
            }));
        };
        fairway_model::parse::name(asked).map_err(|_| Refusal::InvalidName(asked.to_owned()))?;
        match self.index.sandbox_names.get(asked) {
            Some(holder) => {
                Err(Refusal::SandboxExists { name: asked.to_owned(), holder: holder.to_string() })
            }
            None => Ok(asked.to_owned()),
        }
    }

    /// Gives a sandbox another name, by which others find it from then on.
    pub(super) fn rename(&mut self, reference: &str, name: &str, rng: &mut Rng) -> Result<Change, Refusal> {
        let mut sandbox = self.find_sandbox(reference)?.clone();
        if sandbox.name == name {
            return Err(Refusal::SameName(name.to_owned()));
        }
        sandbox.name = self.sandbox_name_for(Some(name), rng)?;
        let mut change = Change::default();
        for endpoint in self.endpoints_of_sandbox(sandbox.id) {
            change.owner(Owner::Endpoint(endpoint.id));
        }
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    /// Creates a sandbox and starts it.
    pub(super) fn attach(
        &mut self,
        id: SandboxId,
        create: CreateSandbox,
        process: Option<ProcessIdentity>,
        namespace: Option<Namespace>,
        context: &mut Context<'_>,
    ) -> Result<Change, Undecided> {
        let mut change = self.create_sandbox(id, create, context)?;
        change.append(self.start_sandbox(&id.to_string(), process, namespace, context)?);
        Ok(change)
    }

    pub(super) fn create_sandbox(
        &mut self,
        id: SandboxId,
        request: CreateSandbox,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let name = self.sandbox_name_for(request.name.as_deref(), context.rng)?;
        check_options(&request.options)?;
        let choice = self.choose(&request)?;
        let mut options = request.options;
        for (name, value) in &self.settings.log_options {
            options.log_options.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let first = choice.endpoints.first().filter(|_| request.kind == SandboxKind::Run);
        let first = first.and_then(|(network, ..)| self.network(*network));
        let sandbox = Sandbox {
            id,
            name,
            created: context.now,
            kind: request.kind,
            mode: choice.mode,
            first_network: first.map(|network| network.name.clone()).unwrap_or_default(),
            options,
            state: SandboxState::Created,
            publications: Vec::new(),
            resolver: false,
            removed_networks: Vec::new(),
            stopped_by_user: false,
            restarts: 0,
            last_start: None,
            last_exit: None,
            oom_killed: false,
            start_error: String::new(),
        };
        let mut change = Change { warnings: choice.warnings, ..Change::default() };
        self.touch_sandbox(sandbox, &mut change);
        for (network, request, options) in choice.endpoints {
            let endpoint = self.new_endpoint(network, id, request, options, context.rng);
            change.record(RecordKey::Host);
            self.touch_endpoint(&endpoint, &mut change);
            self.put_endpoint(endpoint);
        }
        Ok(change)
    }

    fn check_may_start(&self, sandbox: &Sandbox) -> Result<(), Refusal> {
        if sandbox.running() {
            return Err(Refusal::AlreadyRunning(sandbox.name.clone()));
        }
        if let Some(network) = sandbox.removed_networks.first() {
            return Err(Refusal::NetworkRemoved { network: network.clone(), sandbox: sandbox.name.clone() });
        }
        match &sandbox.mode {
            NetworkMode::Shared(target) => match self.sandbox(*target) {
                Some(target) if target.running() => Ok(()),
                Some(target) => Err(Refusal::JoinStopped(target.name.clone())),
                None => Err(Refusal::NoSuchSandbox(target.to_string())),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn start_sandbox(
        &mut self,
        reference: &str,
        process: Option<ProcessIdentity>,
        namespace: Option<Namespace>,
        context: &mut Context<'_>,
    ) -> Result<Change, Undecided> {
        let mut sandbox = self.find_sandbox(reference)?.clone();
        self.check_may_start(&sandbox)?;
        let before: Vec<Endpoint> = self.endpoints_of_sandbox(sandbox.id).into_iter().cloned().collect();
        before.iter().try_for_each(|endpoint| self.check_links(&sandbox, endpoint))?;
        self.allocate_all(&before, context)?;
        sandbox.state = SandboxState::Running { process, namespace, since: context.now };
        let (publications, warnings) =
            self.decide_publications(&sandbox, context.avoided_ports, context.rng)?;
        sandbox.publications = publications;
        sandbox.resolver |= before
            .iter()
            .filter_map(|endpoint| self.network(endpoint.network))
            .any(|network| network.resolves_names());
        sandbox.stopped_by_user = false;
        sandbox.restarts = 0;
        sandbox.last_start = Some(context.now);
        sandbox.oom_killed = false;
        sandbox.start_error.clear();
        let mut change = Change { warnings, ..Change::default() };
        before.iter().for_each(|endpoint| self.touch_endpoint(endpoint, &mut change));
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    fn allocate_all(&mut self, endpoints: &[Endpoint], context: &mut Context<'_>) -> Result<(), Undecided> {
        for endpoint in endpoints {
            let allocation = Some(self.allocate(endpoint, context)?);
            self.put_endpoint(Endpoint { allocation, ..endpoint.clone() });
        }
        Ok(())
    }

    /// Records the exit of a sandbox. With `ended` a sandbox that runs another process is refused.
    pub(super) fn stop_sandbox(
        &mut self,
        reference: &str,
        exit: Exit,
        ended: Option<ProcessIdentity>,
        now: i64,
    ) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(reference)?.clone();
        match sandbox.state {
            SandboxState::Running { process, .. } if ended.is_some() && process != ended => {
                return Err(Refusal::Restarted(sandbox.name));
            }
            // With an unknown code, the exit was noticed before the waiter of the process reported it.
            SandboxState::Running { .. } | SandboxState::Exited { code: super::UNKNOWN_EXIT_CODE, .. } => {}
            _ => return Err(Refusal::NotRunning(sandbox.name)),
        }
        if sandbox.running() && (sandbox.kind != SandboxKind::Run || sandbox.options.auto_remove) {
            return Ok(self.forget_sandbox(sandbox.id));
        }
        let state = SandboxState::Exited { code: exit.code, at: now };
        Ok(self.release(Sandbox { state, last_exit: Some(now), oom_killed: exit.oom_killed, ..sandbox }))
    }

    /// Takes back the start of a sandbox that could not be applied.
    pub(super) fn cancel_start(&mut self, reference: &str) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(reference)?.clone();
        match sandbox.state {
            SandboxState::Running { .. } | SandboxState::Exited { code: super::UNKNOWN_EXIT_CODE, .. } => {
                Ok(self.release(Sandbox { state: SandboxState::Created, ..sandbox }))
            }
            _ => Err(Refusal::NotRunning(sandbox.name)),
        }
    }

    /// Takes from a sandbox that does not run what only a running one has.
    fn release(&mut self, sandbox: Sandbox) -> Change {
        let mut change = Change::default();
        let endpoints: Vec<Endpoint> = self.endpoints_of_sandbox(sandbox.id).into_iter().cloned().collect();
        for endpoint in endpoints {
            self.touch_endpoint(&endpoint, &mut change);
            self.put_endpoint(Endpoint { allocation: None, ..endpoint });
        }
        let released = Sandbox { publications: Vec::new(), resolver: false, ..sandbox };
        self.touch_sandbox(released, &mut change);
        change
    }

    pub(super) fn remove_sandbox(&mut self, reference: &str) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(reference)?;
        if sandbox.runs_or_restarts() {
            return Err(Refusal::RemoveRunning(sandbox.name.clone()));
        }
        Ok(self.forget_sandbox(sandbox.id))
    }

    /// Removes a sandbox and its endpoints, in any state, and transient networks that no endpoint is on after it.
    pub(super) fn forget_sandbox(&mut self, id: SandboxId) -> Change {
        let mut change = Change { sandbox: Some(id), ..Change::default() };
        let endpoints: Vec<Endpoint> = self.endpoints_of_sandbox(id).into_iter().cloned().collect();
        for endpoint in &endpoints {
            self.drop_endpoint(endpoint.id);
            self.touch_endpoint(endpoint, &mut change);
        }
        self.drop_sandbox(id);
        change.record(RecordKey::Sandbox(id));
        change.owner(Owner::Sandbox(id)).owner(Owner::Publications(id));
        change.owners.extend(self.link_owners(id));
        endpoints.iter().for_each(|endpoint| self.forget_transient(endpoint.network, &mut change));
        change
    }
}
