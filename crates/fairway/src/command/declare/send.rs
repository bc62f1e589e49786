//! Carries steps out: each is one or two requests to the daemon.

use fairway_api::Client;
use fairway_api::filter::Filters;
use fairway_api::types::{AttachRequest, ConnectRequest, DisconnectRequest, NetworkCreate, UpdateNetwork};
use fairway_kernel::namespace;

use crate::command::declaration::{Action, Present, Sandbox};
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

/// Carries out one step.
pub(super) fn send(client: &mut Client, action: Action) -> Result<(), CommandError> {
    match action {
        Action::RemoveSandbox { name } => remove_sandbox(client, &name),
        Action::Disconnect { sandbox, network } => {
            client.disconnect(&network, &DisconnectRequest { container: sandbox, force: false })?;
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
            Ok(client.connect(&network, &request)?)
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

/// Attaches a sandbox, in a new namespace if that is to be made.
fn create_sandbox(client: &mut Client, sandbox: Sandbox, make: bool) -> Result<(), CommandError> {
    let Sandbox { name, path, created, request: container } = sandbox;
    let kind = if created { "created" } else { "attached" }.to_owned();
    let attached = match make {
        true => attach_new(client, name, container)?,
        false => client.attach(&AttachRequest { name, pid: 0, path, kind, container })?,
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
