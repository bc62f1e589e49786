//! Checks steps and carries them out: each is one or two requests to the daemon.

use fairway_api::Client;
use fairway_api::filter::Filters;
use fairway_api::types::{
    AttachRequest, CheckedRequest, ConnectRequest, DetachRequest, DisconnectRequest, EndpointSettings,
    NetworkCreate, PublishPorts, UpdateNetwork,
};
use fairway_kernel::namespace;

use crate::command::declaration::{Action, Present, Refusal, Sandbox, Step};
use crate::command::error::CommandError;
use crate::command::print::warn;
use crate::command::sandbox::{attach_new, detach_and_remove};

/// The networks and sandboxes of the daemon.
pub(super) fn read(client: &mut Client) -> Result<Present, CommandError> {
    let mut networks = client.networks(&Filters::default())?;
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    let mut sandboxes = Vec::new();
    for summary in client.containers(true, &Filters::default())? {
        match client.container(&summary.id).map_err(CommandError::from) {
            Ok(sandbox) => sandboxes.push(sandbox),
            // It is gone since it was listed.
            Err(error) if error.not_found() => {}
            Err(error) => return Err(error),
        }
    }
    sandboxes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Present { networks, sandboxes, default_options: client.info()?.default_network_options })
}

/// Asks the daemon what of these steps it would refuse.
pub(super) fn check(client: &mut Client, steps: &[Step]) -> Result<Vec<Refusal>, CommandError> {
    let requests: Vec<(String, CheckedRequest)> = steps
        .iter()
        .flat_map(|step| requests(&step.action).into_iter().map(|request| (step.action.to_string(), request)))
        .collect();
    let (actions, requests): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
    let reasons = client.check(requests)?.refusals.into_iter();
    let refused = actions.into_iter().zip(reasons).filter(|(_, reason)| !reason.is_empty());
    Ok(refused.map(|(action, reason)| Refusal::Step { action, reason }).collect())
}

/// The requests of a step, to be checked.
fn requests(action: &Action) -> Vec<CheckedRequest> {
    let remove = |network: &str| CheckedRequest::new("DELETE", &["networks", network], &());
    let create = |network: &NetworkCreate| CheckedRequest::new("POST", &["networks", "create"], network);
    let one = match action {
        Action::RemoveSandbox { name } | Action::Detach { name } => {
            let request = DetachRequest { container: name.clone() };
            CheckedRequest::new("POST", &["fairway", "detach"], &request)
        }
        Action::Disconnect { sandbox, network } => {
            let request = DisconnectRequest { container: sandbox.clone(), force: false };
            CheckedRequest::new("POST", &["networks", network, "disconnect"], &request)
        }
        Action::Unpublish { sandbox, ports } => {
            let request = PublishPorts { port_bindings: ports.clone() };
            CheckedRequest::new("POST", &["containers", sandbox, "unpublish"], &request)
        }
        Action::RemoveNetwork { name } => remove(name),
        Action::ReplaceNetwork(network) => return vec![remove(&network.name), create(network)],
        Action::UpdateNetwork { name, options } => {
            let request = UpdateNetwork { options: options.clone() };
            CheckedRequest::new("POST", &["networks", name, "update"], &request)
        }
        Action::CreateNetwork(network) => create(network),
        Action::AttachAgain(sandbox) | Action::CreateSandbox(sandbox) => {
            CheckedRequest::new("POST", &["fairway", "attach"], &attaching(Sandbox::clone(sandbox)))
        }
        Action::Connect { sandbox, network, settings } => {
            let endpoint_config = Some(EndpointSettings::clone(settings));
            let request = ConnectRequest { container: sandbox.clone(), endpoint_config };
            CheckedRequest::new("POST", &["networks", network, "connect"], &request)
        }
        Action::Publish { sandbox, ports } => {
            let request = PublishPorts { port_bindings: ports.clone() };
            CheckedRequest::new("POST", &["containers", sandbox, "publish"], &request)
        }
    };
    vec![one]
}

/// Carries out one step.
pub(super) fn send(client: &mut Client, action: Action) -> Result<(), CommandError> {
    match action {
        Action::RemoveSandbox { name } => remove_sandbox(client, &name),
        Action::Disconnect { sandbox, network } => {
            let request = DisconnectRequest { container: sandbox, force: false };
            client.disconnect(&network, &request)?.warnings.iter().for_each(|text| warn(text));
            Ok(())
        }
        Action::Unpublish { sandbox, ports } => {
            client.unpublish(&sandbox, ports)?.warnings.iter().for_each(|text| warn(text));
            Ok(())
        }
        Action::RemoveNetwork { name } => Ok(client.remove_network(&name)?),
        Action::ReplaceNetwork(network) => {
            client.remove_network(&network.name)?;
            create_network(client, &network)
        }
        Action::UpdateNetwork { name, options } => {
            Ok(client.update_network(&name, &UpdateNetwork { options })?)
        }
        Action::CreateNetwork(network) => create_network(client, &network),
        Action::Detach { name } => Ok(client.detach(&name)?),
        Action::AttachAgain(sandbox) => {
            // A namespace that is still there keeps its processes.
            let missing = sandbox.created && namespace::identity(&sandbox.path).is_err();
            create_sandbox(client, *sandbox, missing)
        }
        Action::CreateSandbox(mut sandbox) => {
            // A namespace that is there is not Fairway's to remove.
            sandbox.created = sandbox.created && namespace::identity(&sandbox.path).is_err();
            let created = sandbox.created;
            create_sandbox(client, *sandbox, created)
        }
        Action::Connect { sandbox, network, settings } => {
            let request = ConnectRequest { container: sandbox, endpoint_config: Some(*settings) };
            client.connect(&network, &request)?.warnings.iter().for_each(|text| warn(text));
            Ok(())
        }
        Action::Publish { sandbox, ports } => {
            client.publish(&sandbox, ports)?.warnings.iter().for_each(|text| warn(text));
            Ok(())
        }
    }
}

fn create_network(client: &mut Client, network: &NetworkCreate) -> Result<(), CommandError> {
    client.create_network(network)?.warning.iter().flat_map(|text| text.lines()).for_each(warn);
    Ok(())
}

fn attaching(sandbox: Sandbox) -> AttachRequest {
    let Sandbox { name, path, created, request: container } = sandbox;
    let kind = if created { "created" } else { "attached" }.to_owned();
    AttachRequest { name, pid: 0, path, kind, container }
}

/// Attaches a sandbox, in a new namespace if that is to be made.
fn create_sandbox(client: &mut Client, sandbox: Sandbox, make: bool) -> Result<(), CommandError> {
    let attached = match make {
        true => attach_new(client, sandbox.name, sandbox.request)?,
        false => client.attach(&attaching(sandbox))?,
    };
    attached.warnings.iter().for_each(|text| warn(text));
    Ok(())
}

/// Detaches a sandbox, and removes its namespace if Fairway created it.
fn remove_sandbox(client: &mut Client, name: &str) -> Result<(), CommandError> {
    let known = client.container(name)?;
    match known.kind.as_str() {
        "created" => detach_and_remove(client, &known),
        _ => Ok(client.detach(name)?),
    }
}
