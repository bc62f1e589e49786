//! Decides requests on a copy of the World: which of them would be refused.

use fairway_core::world::{Command, Draft, NetworkChoice, World};
use fairway_model::{Namespace, RefusalKind, SandboxKind};
use hyper::Method;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::reply::Reply;
use super::route::{Route, Task};
use super::{fairway, look, network};
use crate::engine_api::{EngineApi, Failure, FailureKind, Located, NamespaceReference};
use crate::types::{
    AttachRequest, CheckRequest, Checked, CheckedRequest, DetachRequest, DisconnectRequest, PublishPorts,
    UpdateNetwork,
};
use crate::{decode, json};

pub(super) fn check(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let request: CheckRequest = call.json()?;
    let mut world = look(engine, |world| Ok(world.clone()))?;
    let (mut refusals, mut refused) = (Vec::new(), false);
    for (number, request) in request.requests.into_iter().enumerate() {
        match after(engine, &world, request, number as u64) {
            Ok(draft) => world = draft.world,
            // What an earlier one would have made is missing.
            Err(failure) if refused && failure.kind == RefusalKind::NotFound.into() => {}
            Err(failure) => {
                refused = true;
                refusals.resize(number, String::new());
                refusals.push(failure.message);
            }
        }
    }
    Reply::json(&Checked { refusals })
}

/// Decides a request.
fn after(
    engine: &dyn EngineApi,
    world: &World,
    request: CheckedRequest,
    number: u64,
) -> Result<Draft, Failure> {
    let CheckedRequest { method, path, body } = request;
    let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    let command = match Route::of(&method, &path)? {
        Route::Task(Task::NetworkCreate) => Command::CreateNetwork(decode::network(read(&body)?)?.0),
        Route::Task(Task::NetworkRemove(network)) => Command::RemoveNetwork { network },
        Route::Task(Task::NetworkUpdate(network)) => {
            Command::UpdateNetwork { network, options: read::<UpdateNetwork>(&body)?.options }
        }
        Route::Task(Task::NetworkConnect(network)) => network::connecting(network, read(&body)?)?,
        Route::Task(Task::NetworkDisconnect(network)) => {
            Command::Disconnect { network, sandbox: read::<DisconnectRequest>(&body)?.container }
        }
        Route::Task(Task::Publish(sandbox)) => {
            let requests = decode::publications(read::<PublishPorts>(&body)?.port_bindings)?;
            Command::Publish { sandbox, requests }
        }
        Route::Task(Task::Unpublish(sandbox)) => {
            let requests = decode::unpublications(read::<PublishPorts>(&body)?.port_bindings)?;
            Command::Unpublish { sandbox, requests }
        }
        Route::Task(Task::Detach) => fairway::detaching(world, &read::<DetachRequest>(&body)?.container)?,
        Route::Task(Task::Attach) => attaching(engine, read(&body)?, number)?,
        _ => {
            let message = format!("cannot check {method} {path}: send it, and see what it says");
            return Err(Failure::new(FailureKind::Unsupported, message));
        }
    };
    engine.decide(world, command)
}

/// The command to attach a namespace. One that is still to be created gets an identity that no other has.
fn attaching(engine: &dyn EngineApi, request: AttachRequest, number: u64) -> Result<Command, Failure> {
    let (create, reference) = fairway::read_attach(request)?;
    let located =
        match (fairway::locate(engine, &reference, create.network == NetworkChoice::Host), reference) {
            (Err(_), NamespaceReference::Path(path)) if create.kind == SandboxKind::Created => {
                Located { process: None, namespace: Some(Namespace { path, device: 0, inode: number }) }
            }
            (located, _) => located?,
        };
    let Located { process, namespace } = located;
    Ok(Command::Attach { create: Box::new(create), process, namespace })
}

fn read<T: DeserializeOwned>(body: &serde_json::Value) -> Result<T, Failure> {
    json::from_slice(body.to_string().as_bytes())
        .map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
}
