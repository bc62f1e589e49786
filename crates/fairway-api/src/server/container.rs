//! Requests to `/containers`: list, inspect, create, stop, wait, remove.

use std::sync::Weak;

use fairway_core::world::{Command, Refusal};
use fairway_model::RefusalKind;
use fairway_model::process::check_memory;
use fairway_model::{Sandbox, SandboxKind};
use hyper::StatusCode;
use hyper::body::Bytes;

use super::call::Call;
use super::reply::Reply;
use super::{look, network};
use crate::engine_api::{EngineApi, ExitListener, Failure, FailureKind};
use crate::image::{HOST_IMAGE, find_image};
use crate::types::{
    ContainerCreate, ContainerUpdate, ContainerUpdated, ContainersDeleted, Created, WaitReply,
};
use crate::{decode, encode};

pub(super) fn list(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let (filters, now) = (call.filters()?, engine.now());
    // As in Docker, `limit` selects the newest containers, running or not; 0 and less is no limit.
    let limit = usize::try_from(call.number::<i64>("limit")?.unwrap_or(0)).unwrap_or(0);
    let all = call.flag("all") || limit > 0;
    let mut listed = look(engine, |world| Ok(encode::list_containers(world, all, &filters, now)?))?;
    listed.truncate(if limit > 0 { limit } else { usize::MAX });
    Reply::json(&listed)
}

pub(super) fn inspect(engine: &dyn EngineApi, id: &str) -> Result<Reply, Failure> {
    let id = look(engine, |world| Ok(world.find_sandbox(id)?.id))?;
    let files = engine.files(id);
    Reply::json(&look(engine, |world| {
        let sandbox = world.find_sandbox(&id.to_string())?;
        Ok(encode::inspect_container(world, sandbox, files.clone()))
    })?)
}

pub(super) fn create(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let decode::Ignored { mut warnings, config_is_empty } = call.json()?;
    if config_is_empty {
        return Err(Failure::invalid("config cannot be empty in order to create a container"));
    }
    let mut request: ContainerCreate = call.json()?;
    find_image(|| engine.images(), &request.image)?;
    if request.image.is_empty() {
        request.image = HOST_IMAGE.to_owned();
    }
    check_cpus(engine, request.host_config.nano_cpus)?;
    let create = decode::container(call.parameter("name"), SandboxKind::Run, request)?;
    let applied = engine.execute(Command::CreateSandbox(Box::new(create))).map_err(not_an_image)?;
    let id = applied.sandbox.map(|id| id.to_string()).unwrap_or_default();
    warnings.splice(0..0, applied.warnings.into_iter().chain(warnings_of_start(engine, &id)));
    Reply::created(&Created { id, warning: None, warnings: Some(warnings) })
}

/// The warnings that the start of a container would have now: Docker's clients print only those of its creation.
fn warnings_of_start(engine: &dyn EngineApi, id: &str) -> Vec<String> {
    let Ok(world) = look(engine, |world| Ok(world.clone())) else { return Vec::new() };
    let start = Command::StartSandbox { sandbox: id.to_owned(), process: None, namespace: None };
    match engine.decide(&world, start) {
        Ok(draft) => draft.change.warnings,
        // The start itself says why it is refused.
        Err(_) => Vec::new(),
    }
}

/// Refuses more processors than the host has.
fn check_cpus(engine: &dyn EngineApi, nano_cpus: i64) -> Result<(), Failure> {
    match nano_cpus {
        0 => Ok(()),
        _ => decode::check_nano_cpus(nano_cpus, engine.about().processors),
    }
}

/// Turns a 404 into another failure: Docker's client takes a 404 for a missing image, and tries to pull it.
fn not_an_image(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Refused(RefusalKind::NotFound) => Failure::invalid(failure.message),
        _ => failure,
    }
}

/// Gives a container another name.
pub(super) fn rename(engine: &dyn EngineApi, sandbox: String, call: &Call) -> Result<Reply, Failure> {
    let name = call.parameter("name");
    let name = name.strip_prefix('/').unwrap_or(name).to_owned();
    engine.execute(Command::Rename { sandbox, name })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Changes limits and the restart policy of a container.
pub(super) fn update(engine: &dyn EngineApi, sandbox: &str, call: &Call) -> Result<Reply, Failure> {
    let decode::IgnoredLimits(ignored) = call.json()?;
    if let Some(ignored) = ignored.first() {
        let reason = format!("cannot update container {sandbox}: {ignored}");
        return Err(Failure::new(FailureKind::Unsupported, reason));
    }
    let asked: ContainerUpdate = call.json()?;
    let restart = match asked.restart_policy.name.as_str() {
        "" => None,
        _ => Some(decode::restart_policy(&asked.restart_policy)?),
    };
    check_cpus(engine, asked.nano_cpus)?;
    let limits = decode::limit_changes(asked.memory, asked.nano_cpus, asked.pids_limit);
    // Before the kernel does, in its own words.
    if !limits.memory.is_none_or(check_memory) {
        return Err(Refusal::TooLittleMemory.into());
    }
    let (id, running) = look(engine, |world| {
        world.find_sandbox(sandbox).map(|it| (it.id, it.running())).map_err(Failure::from)
    })?;
    let update = Command::UpdateSandbox { sandbox: id.to_string(), restart, limits };
    if running {
        // What would be refused must not be limited before.
        engine.decide(&look(engine, |world| Ok(world.clone()))?, update.clone())?;
        engine.limit(id, limits)?;
    }
    engine.execute(update)?;
    Reply::json(&ContainerUpdated::default())
}

/// Removes the containers that do not run.
pub(super) fn prune(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let filters = call.filters()?;
    filters.check(&["label", "label!", "until"])?;
    let until = network::until(&filters, engine.now())?;
    let stopped = look(engine, |world| {
        let is_meant = |sandbox: &&Sandbox| {
            !sandbox.runs_or_restarts()
                && sandbox.kind == SandboxKind::Run
                && sandbox.created <= until
                && filters.labels(&sandbox.options.labels)
                && filters.without_labels(&sandbox.options.labels)
        };
        Ok(world.sandboxes().filter(is_meant).map(|sandbox| sandbox.id.to_string()).collect::<Vec<_>>())
    })?;
    let removals = stopped.into_iter().map(|id| (Command::RemoveSandbox { sandbox: id.clone() }, id));
    let containers_deleted = network::remove_each(engine, removals, RefusalKind::Conflict)?;
    Reply::json(&ContainersDeleted { containers_deleted, space_reclaimed: 0 })
}

/// Removes a link of the default bridge (`web/db`) and nothing else.
pub(super) fn unlink(engine: &dyn EngineApi, link: &str) -> Result<Reply, Failure> {
    let (sandbox, alias) = link.trim_matches('/').rsplit_once('/').ok_or_else(|| {
        Failure::new(
            RefusalKind::Conflict,
            format!("cannot remove link {link}: that is the name of a container: name a link as in web/db"),
        )
    })?;
    engine.execute(Command::Unlink { sandbox: sandbox.to_owned(), alias: alias.to_owned() })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Removes a container. Stopping it may have removed it already.
pub(super) fn remove(engine: &dyn EngineApi, id: String, forced: bool) -> Result<Reply, Failure> {
    match engine.execute(Command::RemoveSandbox { sandbox: id }) {
        // A container that was attached, or run with `--rm`, is removed when it stops.
        Err(failure) if forced && failure.kind == RefusalKind::NotFound.into() => {}
        result => drop(result?),
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Whether a wait is for the next exit, also of a sandbox that does not run now.
pub(super) fn waits_for_next(call: &Call) -> Result<bool, Failure> {
    match call.parameter("condition") {
        "" | "not-running" => Ok(false),
        // A removed container has exited before.
        "next-exit" | "removed" => Ok(true),
        other => Err(Failure::invalid(format!(
            "invalid condition: {other:?}: it can be not-running, next-exit or removed"
        ))),
    }
}

/// The exit code of a stopped sandbox; none for a running one, whose exit code `listener` receives.
pub(super) fn exit_code_or_watch(
    engine: &dyn EngineApi,
    id: &str,
    next: bool,
    listener: Weak<ExitListener>,
) -> Result<Option<i32>, Failure> {
    let (id, was_running) = look(engine, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.id, sandbox.running()))
    })?;
    // The listener is set before the second look, so that no exit between the two is missed.
    engine.on_exit(id, listener);
    if next {
        return Ok(None);
    }
    look(engine, |world| match world.sandbox(id) {
        // As in Docker, one that waits for its restart runs.
        Some(sandbox) if sandbox.runs_or_restarts() => Ok(None),
        Some(sandbox) => Ok(Some(sandbox.exit_code().unwrap_or_default())),
        // The sandbox exited and was removed.
        None if was_running => Ok(None),
        None => Err(Refusal::NoSuchSandbox(id.to_string()).into()),
    })
}

pub(super) fn wait_reply(code: i32) -> Reply {
    Reply::later(std::future::ready(Some(wait_text(code))))
}

pub(super) fn wait_text(code: i32) -> Bytes {
    serde_json::to_vec(&WaitReply { status_code: code }).unwrap_or_default().into()
}
