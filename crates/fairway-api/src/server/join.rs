//! Requests of the faces: containers of other engines, and networks that those engines describe.

use fairway_core::world::{Command, Join};
use fairway_model::{NetworkMode, RefusalKind, ResolverAddresses, SandboxId, SandboxKind};
use hyper::StatusCode;

use super::call::Call;
use super::reply::Reply;
use super::{fairway, look};
use crate::engine_api::{EngineApi, Failure, FailureKind};
use crate::types::{JoinRequest, LeaveRequest, UpdateNetwork};
use crate::{decode, encode};

pub(super) fn join(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let request: JoinRequest = call.json()?;
    let id: SandboxId = request.id.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let (mut networks, mut warnings) = (Vec::new(), Vec::new());
    for network in request.networks {
        let (network, of_network) = decode::network(network)?;
        networks.push(network);
        warnings.extend(of_network);
    }
    let mut sandbox = decode::container(&request.name, SandboxKind::Attached, request.container)?;
    sandbox.options.ports_held_by_engine = request.ports_held;
    if request.resolver_range {
        sandbox.options.resolver_addresses = ResolverAddresses::Range;
    }
    let located = fairway::locate(engine, &decode::namespace(0, request.path)?, false)?;
    let namespace = located.namespace;
    let process = located.process;
    let applied =
        engine.execute(Command::Join(Box::new(Join { id, networks, sandbox, process, namespace })))?;
    warnings.extend(applied.warnings);
    let files = engine.files(id);
    Reply::created(&look(engine, |world| {
        let sandbox = world.sandbox(id).ok_or_else(|| gone(&id))?;
        Ok(encode::attached(world, sandbox, files.clone(), warnings.clone()))
    })?)
}

/// Its namespace may end before the reply.
fn gone(id: &SandboxId) -> Failure {
    Failure::new(FailureKind::Internal, format!("container {} is gone: its namespace has ended", id.short()))
}

/// A container that is gone already has left.
pub(super) fn leave(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let request: LeaveRequest = call.json()?;
    let id: SandboxId = request.id.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let known = look(engine, |world| {
        Ok(world.sandbox(id).map(|sandbox| (sandbox.kind.clone(), sandbox.mode.clone())))
    })?;
    match known {
        None => return Ok(Reply::empty(StatusCode::NO_CONTENT)),
        Some((SandboxKind::Attached, NetworkMode::Private)) => {}
        Some(_) => {
            let text = format!(
                "cannot disconnect container {}: Fairway made it: stop and remove it instead",
                id.short()
            );
            return Err(Failure::new(RefusalKind::Conflict, text));
        }
    }
    match engine.execute(Command::Leave { sandbox: id.to_string(), networks: request.networks }) {
        Err(failure) if failure.kind == RefusalKind::NotFound.into() => {}
        result => drop(result?),
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn update_network(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    let request: UpdateNetwork = call.json()?;
    engine.execute(Command::UpdateNetwork { network: id.to_owned(), options: request.options })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
