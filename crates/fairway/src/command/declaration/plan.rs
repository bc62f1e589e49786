//! The decision what to do: a declaration and what there is give steps, notes, or refusals.

use std::collections::BTreeSet;

use fairway_api::types::{ContainerInspect, EndpointSettings, NetworkCreate, PortMap};

use super::declared::{Declaration, Sandbox, Service};
use super::difference;
use super::error::Refusal;
use super::present::{self, Present};
use super::step::{Action, Step};
use super::{APPLIED, PREDEFINED};

/// The reason of what is removed.
const FORGOTTEN: &str = "an earlier apply created it, and the file does not declare it";

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(in crate::command) struct Plan {
    pub(in crate::command) steps: Vec<Step>,
    /// What is left undone, and why.
    pub(in crate::command) notes: Vec<String>,
}

/// Decides what to do; `prune` says whether to remove what an earlier apply made and the file no longer has.
///
/// # Errors
/// All that cannot be done.
pub(in crate::command) fn plan(
    declaration: &Declaration,
    present: &Present,
    prune: bool,
) -> Result<Plan, Vec<Refusal>> {
    let mut planner = Planner { declaration, present, plan: Plan::default(), refusals: Vec::new() };
    planner.plan.notes.clone_from(&declaration.notes);
    // Sandboxes come first: networks are free of those that leave them.
    declaration.sandboxes.iter().for_each(|sandbox| planner.sandbox(sandbox));
    declaration.services.iter().for_each(|service| planner.service(service));
    planner.forgotten_sandboxes(prune);
    declaration.networks.iter().for_each(|network| planner.network(network));
    planner.external();
    planner.forgotten_networks(prune);
    let Planner { mut plan, refusals, .. } = planner;
    plan.steps.sort_by_key(|step| step.action.rank());
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

struct Planner<'a> {
    declaration: &'a Declaration,
    present: &'a Present,
    plan: Plan,
    refusals: Vec<Refusal>,
}

impl Planner<'_> {
    fn step(&mut self, action: Action, reason: impl Into<String>) {
        self.plan.steps.push(Step { action, reason: reason.into() });
    }

    fn network(&mut self, declared: &NetworkCreate) {
        let Some(there) = self.present.network(&declared.name) else {
            return self.step(Action::CreateNetwork(Box::new(declared.clone())), "it does not exist");
        };
        let defaults = self.present.default_options.get(&there.driver);
        let found = difference::network(declared, there, defaults);
        if !found.fixed.is_empty() {
            let reason = found.fixed.join("; ");
            match self.users(&declared.name) {
                Some(users) => {
                    self.refusals.push(Refusal::InUse { network: declared.name.clone(), reason, users });
                }
                None => {
                    let reason = [&found.fixed[..], &found.changes].concat().join("; ");
                    let reason = format!("{reason} (removed and created again)");
                    self.step(Action::ReplaceNetwork(Box::new(declared.clone())), reason);
                }
            }
        } else if !found.options.is_empty() {
            let name = declared.name.clone();
            self.step(Action::UpdateNetwork { name, options: found.options }, found.changes.join("; "));
        }
    }

    /// The sandboxes that stay on a network, as text; none without any.
    fn users(&self, network: &str) -> Option<String> {
        let leaves = |sandbox: &ContainerInspect| {
            let (name, mut leaves) = (present::name(sandbox), false);
            for step in &self.plan.steps {
                match &step.action {
                    Action::RemoveSandbox { name: left } | Action::Detach { name: left } if left == name => {
                        leaves = true;
                    }
                    Action::Disconnect { sandbox, network: left } if sandbox == name && left == network => {
                        leaves = true;
                    }
                    Action::Connect { sandbox, network: back, .. } if sandbox == name && back == network => {
                        leaves = false;
                    }
                    Action::AttachAgain(again) if again.name == name => {
                        leaves = !again.networks().into_iter().flatten().any(|(back, _)| back == network);
                    }
                    _ => {}
                }
            }
            leaves
        };
        let stays = |sandbox: &&ContainerInspect| !leaves(sandbox);
        let names: Vec<&str> = self.present.users(network).filter(stays).map(present::name).collect();
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("sandbox {one} is on it")),
            several => Some(format!("sandboxes {} are on it", several.join(", "))),
        }
    }

    fn external(&mut self) {
        for name in &self.declaration.external {
            if self.present.network(name).is_none() {
                self.refusals.push(Refusal::NoExternal(name.clone()));
            }
        }
    }

    fn sandbox(&mut self, declared: &Sandbox) {
        let Some(there) = self.present.sandbox(&declared.name) else {
            return self.step(Action::CreateSandbox(Box::new(declared.clone())), "it does not exist");
        };
        if !matches!(there.kind.as_str(), "attached" | "created") {
            let kind = if there.kind == "run" { "made by fairway run" } else { "made by Docker" };
            let (sandbox, kind) = (declared.name.clone(), kind.to_owned());
            return self.refusals.push(Refusal::Kind { sandbox, kind });
        }
        if let Some(reason) = difference::sandbox(declared, there) {
            self.step(Action::Detach { name: declared.name.clone() }, format!("{reason} (detached)"));
            // A namespace that was there before stays its owner's.
            let keeps = there.network_settings.sandbox_key == declared.path && there.kind != "created";
            let again = Sandbox { created: declared.created && !keeps, ..declared.clone() };
            let action = Action::AttachAgain(Box::new(again));
            return self.step(action, format!("{reason} (attached again)"));
        }
        if let Some(networks) = declared.networks() {
            self.endpoints(there, networks);
        }
        self.ports(there, &declared.request.host_config.port_bindings);
    }

    fn service(&mut self, declared: &Service) {
        let Some(there) = self.present.sandbox(&declared.name) else {
            return self.plan.notes.push(not_started(declared));
        };
        let mode = there.host_config.network_mode.as_str();
        let declares = declared.networks.is_some() || declared.ports.is_some();
        if declares && (mode == "host" || mode.starts_with("container:")) {
            let (sandbox, mode) = (declared.name.clone(), mode.to_owned());
            return self.refusals.push(Refusal::Mode { sandbox, mode });
        }
        if let Some(networks) = &declared.networks {
            self.endpoints(there, networks);
        }
        if let Some(ports) = &declared.ports {
            self.ports(there, ports);
        }
    }

    fn endpoints(&mut self, there: &ContainerInspect, declared: &[(String, EndpointSettings)]) {
        let sandbox = present::name(there).to_owned();
        for (network, settings) in present::endpoints(there) {
            let (sandbox, network) = (sandbox.clone(), network.clone());
            match declared.iter().find(|(name, _)| *name == network) {
                None => {
                    let reason = format!("disconnect from network {network}, which is not declared");
                    self.step(Action::Disconnect { sandbox, network }, reason);
                }
                Some((_, wanted)) => {
                    if let Some(reason) = difference::endpoint(wanted, settings) {
                        let reason = format!("{reason} on network {network}");
                        let leave = Action::Disconnect { sandbox: sandbox.clone(), network: network.clone() };
                        self.step(leave, format!("{reason} (disconnected)"));
                        let settings = Box::new(wanted.clone());
                        let join = Action::Connect { sandbox, network, settings };
                        self.step(join, format!("{reason} (connected again)"));
                    }
                }
            }
        }
        for (network, settings) in declared {
            if !present::endpoints(there).any(|(name, _)| name == network) {
                let (sandbox, settings) = (sandbox.clone(), Box::new(settings.clone()));
                let reason = format!("connect to network {network}");
                self.step(Action::Connect { sandbox, network: network.clone(), settings }, reason);
            }
        }
    }

    fn ports(&mut self, there: &ContainerInspect, declared: &PortMap) {
        let sandbox = present::name(there).to_owned();
        let (removed, added) = difference::ports(declared, &there.host_config.port_bindings);
        let text = |ports: &PortMap| difference::published(ports).join(", ");
        if !removed.is_empty() {
            let reason = format!("unpublish {}", text(&removed));
            self.step(Action::Unpublish { sandbox: sandbox.clone(), ports: removed }, reason);
        }
        if !added.is_empty() {
            let reason = format!("publish {}", text(&added));
            self.step(Action::Publish { sandbox, ports: added }, reason);
        }
    }

    fn forgotten_sandboxes(&mut self, prune: bool) {
        let declaration = self.declaration;
        let declared: BTreeSet<&str> = declaration
            .sandboxes
            .iter()
            .map(|it| it.name.as_str())
            .chain(declaration.services.iter().map(|it| it.name.as_str()))
            .collect();
        for sandbox in &self.present.sandboxes {
            let name = present::name(sandbox);
            let ours = sandbox.config.labels.get(APPLIED) == Some(&declaration.owner);
            if ours && !declared.contains(name) {
                match prune {
                    true => self.step(Action::RemoveSandbox { name: name.to_owned() }, FORGOTTEN),
                    false => self.plan.notes.push(kept("sandbox", name)),
                }
            }
        }
    }

    /// Whether another network has the configuration of this one.
    fn is_configuration(&self, network: &str) -> bool {
        self.present.networks.iter().any(|other| other.config_from.network == network)
    }

    fn forgotten_networks(&mut self, prune: bool) {
        let declaration = self.declaration;
        let created = declaration.networks.iter().map(|it| it.name.as_str());
        let declared: BTreeSet<&str> =
            created.chain(declaration.external.iter().map(String::as_str)).chain(PREDEFINED).collect();
        for network in &self.present.networks {
            let ours = network.labels.get(APPLIED) == Some(&declaration.owner);
            if !ours || declared.contains(network.name.as_str()) {
                continue;
            }
            let name = network.name.clone();
            // One with the configuration of another has the labels of that, also if a user created it.
            if !network.config_from.network.is_empty() || self.is_configuration(&name) {
                self.plan
                    .notes
                    .push(format!("left network {name}: remove it with: fairway network rm {name}"));
                continue;
            }
            match (prune, self.users(&name)) {
                (false, _) => self.plan.notes.push(kept("network", &name)),
                (true, Some(users)) => self.refusals.push(Refusal::Wanted { network: name, users }),
                (true, None) => self.step(Action::RemoveNetwork { name }, FORGOTTEN),
            }
        }
    }
}

fn kept(kind: &str, name: &str) -> String {
    format!("left {kind} {name}: {FORGOTTEN}: remove it with --prune")
}

/// How to start the program of a service.
fn not_started(service: &Service) -> String {
    let mut command = format!("fairway run -d --name {}", service.name);
    for (network, settings) in service.networks.iter().flatten() {
        let ipam = settings.ipam_config.clone().unwrap_or_default();
        let mut fields = vec![format!("name={network}")];
        fields.extend(settings.aliases.iter().flatten().map(|alias| format!("alias={alias}")));
        for (key, value) in [
            ("ip", ipam.ipv4_address),
            ("ip6", ipam.ipv6_address),
            ("mac-address", settings.mac_address.clone()),
        ] {
            fields.extend((!value.is_empty()).then(|| format!("{key}={value}")));
        }
        command.push_str(&format!(" --network {}", fields.join(",")));
    }
    for port in difference::published(&service.ports.clone().unwrap_or_default()) {
        command.push_str(&format!(" --publish {port}"));
    }
    let keys = match service.not_applied.as_slice() {
        [] => String::new(),
        keys => format!(" ({} not applied)", keys.join(", ")),
    };
    format!(
        "left service {}: apply starts no programs{keys}: start one with: {command} -- PROGRAM",
        service.name
    )
}
