//! Requests that Docker's API does not have: attached namespaces, changes of published ports, diagnosis.

use fairway_core::world::{Command, CreateSandbox, Exit, NetworkChoice, World};
use fairway_inspect::graph::{Collapse, Format, UnknownCollapse, UnknownFormat, draw};
use fairway_model::{NetworkMode, ProcessIdentity, RefusalKind, SandboxKind};
use hyper::StatusCode;

use super::call::Call;
use super::reply::Reply;
use super::{container, look};
use crate::engine_api::{EngineApi, Failure, FailureKind, Located, NamespaceReference};
use crate::types::{
    AttachNamespace, AttachRequest, DetachRequest, Exited, PublishPorts, PublishedPorts, StartFailed,
};
use crate::{decode, encode};

/// The longest error of a failed start that is kept, in characters.
const LONGEST_ERROR: usize = 2000;

pub(super) fn attach_namespace(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    let request: AttachNamespace = call.json()?;
    let reference = decode::namespace(request.pid, request.path)?;
    let (id, host) = look(engine, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.id.to_string(), sandbox.mode == NetworkMode::Host))
    })?;
    let located = locate(engine, &reference, host)?;
    let started = engine.execute(Command::StartSandbox {
        sandbox: id.clone(),
        process: located.process,
        namespace: located.namespace,
    })?;
    started.warnings.iter().for_each(|warning| tracing::warn!(sandbox = id, "{warning}"));
    container::inspect(engine, &id)
}

/// Finds the namespace of a sandbox. In host mode that is the host's; otherwise the host's is refused.
pub(super) fn locate(
    engine: &dyn EngineApi,
    reference: &NamespaceReference,
    host: bool,
) -> Result<Located, Failure> {
    let located = engine.locate(reference)?;
    if host {
        return Ok(Located { namespace: None, ..located });
    }
    if located.namespace.is_none() {
        let what = match reference {
            NamespaceReference::Pid(pid) => format!("process {pid} is in"),
            NamespaceReference::Path(path) => format!("{path} is"),
        };
        return Err(Failure::invalid(format!(
            "{what} the host's own network namespace: give it one of its own (unshare -n, ip netns add), or use the host network"
        )));
    }
    Ok(located)
}

pub(super) fn exited(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    let request: Exited = call.json()?;
    let (running, current) = look(engine, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.running(), sandbox.process()))
    })?;
    let process = match current {
        _ if request.pid == 0 => None,
        // A late report may concern a process that a new one has replaced.
        Some(current) if current.pid != request.pid => return Ok(Reply::empty(StatusCode::NO_CONTENT)),
        // The end was noticed before: a process that starts meanwhile is another.
        None if !running => Some(ProcessIdentity { pid: request.pid, start_time: 0 }),
        current => current,
    };
    let exit = Exit { code: request.code, oom_killed: request.oom_killed };
    engine.execute(Command::StopSandbox { sandbox: id.to_owned(), exit, process })?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn start_failed(engine: &dyn EngineApi, sandbox: String, call: &Call) -> Result<Reply, Failure> {
    let StartFailed { error } = call.json()?;
    fail_start(engine, sandbox, &error)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Records why a start failed.
pub(super) fn fail_start(engine: &dyn EngineApi, sandbox: String, error: &str) -> Result<(), Failure> {
    let error = error.chars().take(LONGEST_ERROR).collect();
    engine.execute(Command::FailStart { sandbox, error }).map(drop)
}

/// The sandbox that a request asks for, and its namespace.
pub(super) fn read_attach(request: AttachRequest) -> Result<(CreateSandbox, NamespaceReference), Failure> {
    let kind = match request.kind.as_str() {
        "" | "attached" => SandboxKind::Attached,
        "created" => SandboxKind::Created,
        other => {
            return Err(Failure::invalid(format!("invalid kind {other:?}: it can be attached or created")));
        }
    };
    let reference = decode::namespace(request.pid, request.path)?;
    Ok((decode::container(&request.name, kind, request.container)?, reference))
}

pub(super) fn attach(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let request: AttachRequest = call.json()?;
    let (create, reference) = read_attach(request)?;
    let located = locate(engine, &reference, create.network == NetworkChoice::Host)?;
    let applied = engine.execute(Command::Attach {
        create: Box::new(create),
        process: located.process,
        namespace: located.namespace,
    })?;
    let id = applied.sandbox.ok_or_else(|| Failure::new(FailureKind::Internal, "attached no sandbox"))?;
    let files = engine.files(id);
    Reply::created(&look(engine, |world| {
        let sandbox = world.find_sandbox(&id.to_string())?;
        Ok(encode::attached(world, sandbox, files.clone(), applied.warnings.clone()))
    })?)
}

pub(super) fn publish(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    let requests = decode::publications(call.json::<PublishPorts>()?.port_bindings)?;
    refuse_nothing(requests.len())?;
    republish(engine, id, |sandbox| Command::Publish { sandbox, requests })
}

pub(super) fn unpublish(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    let requests = decode::unpublications(call.json::<PublishPorts>()?.port_bindings)?;
    refuse_nothing(requests.len())?;
    republish(engine, id, |sandbox| Command::Unpublish { sandbox, requests })
}

fn refuse_nothing(count: usize) -> Result<(), Failure> {
    match count {
        0 => Err(Failure::invalid(
            "no port given: one such as {\"80/tcp\": [{\"HostPort\": \"8080\"}]} is expected as PortBindings",
        )),
        _ => Ok(()),
    }
}

fn republish(
    engine: &dyn EngineApi,
    id: &str,
    command: impl FnOnce(String) -> Command,
) -> Result<Reply, Failure> {
    // Another sandbox may have the name after the change, so the reply uses the id.
    let id = look(engine, |world| Ok(world.find_sandbox(id)?.id.to_string()))?;
    let warnings = engine.execute(command(id.clone()))?.warnings;
    Reply::json(&look(engine, |world| {
        let mut ports = encode::published(world, world.find_sandbox(&id)?);
        ports.retain(|_, bindings| bindings.is_some());
        Ok(PublishedPorts { ports, warnings: warnings.clone() })
    })?)
}

/// Stops and removes a sandbox whose namespace another program created.
pub(super) fn detach(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let request: DetachRequest = call.json()?;
    engine.execute(look(engine, |world| detaching(world, &request.container))?)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// The command that removes a sandbox whose namespace another program created; stopping it removes it.
pub(super) fn detaching(world: &World, name: &str) -> Result<Command, Failure> {
    let sandbox = world.find_sandbox(name)?;
    if sandbox.kind == SandboxKind::Run {
        return Err(Failure::new(
            RefusalKind::Conflict,
            format!("cannot detach container: {name} was run, not attached: stop and remove it instead"),
        ));
    }
    let id = sandbox.id.to_string();
    Ok(match sandbox.running() {
        true => Command::StopSandbox { sandbox: id, exit: 0.into(), process: None },
        false => Command::RemoveSandbox { sandbox: id },
    })
}

pub(super) fn explain(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let (from, to) = (call.parameter("from"), call.parameter("to"));
    Reply::json(&engine.explain(from, to, call.flag("plan"))?)
}

pub(super) fn plan(engine: &dyn EngineApi) -> Result<Reply, Failure> {
    Reply::json(&engine.plan())
}

pub(super) fn plan_difference(engine: &dyn EngineApi) -> Result<Reply, Failure> {
    Reply::json(&engine.plan_difference()?)
}

pub(super) fn doctor(engine: &dyn EngineApi, fix: bool) -> Result<Reply, Failure> {
    Reply::json(&engine.doctor(fix)?)
}

pub(super) fn reload(engine: &dyn EngineApi) -> Result<Reply, Failure> {
    Reply::json(&engine.reload()?)
}

pub(super) fn end(engine: &dyn EngineApi) -> Result<Reply, Failure> {
    engine.end()?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Sends the picture itself instead of JSON, for a browser.
pub(super) fn graph(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let format = match call.parameter("format") {
        "" => Format::Svg,
        name => name.parse().map_err(|error: UnknownFormat| Failure::invalid(error.to_string()))?,
    };
    let networks: Vec<&str> = call.parameter("network").split(',').filter(|name| !name.is_empty()).collect();
    let path = match (call.parameter("from"), call.parameter("to")) {
        ("", "") => None,
        ("", _) | (_, "") => {
            return Err(Failure::invalid("invalid query: from or to is missing: give both or neither"));
        }
        ends => Some(ends),
    };
    let collapse = match call.parameter("collapse") {
        "" => Collapse::default(),
        name => name.parse().map_err(|error: UnknownCollapse| Failure::invalid(error.to_string()))?,
    };
    let mut picture = engine.graph(&networks, path)?;
    // A program gets all of it, and asks for the drift where it wants to know it.
    if format != Format::Json {
        picture.collapse(collapse);
        if networks.is_empty() {
            match engine.plan_difference() {
                Ok(difference) => picture.add_drift(&difference.changes),
                Err(error) => tracing::warn!(%error, "failed to read the drift for a picture: {error}"),
            }
        }
    }
    Ok(Reply::document(format.media_type(), draw(&picture, format)))
}

pub(super) fn stats(engine: &dyn EngineApi, call: &Call) -> Result<Reply, Failure> {
    let name = call.parameter("network");
    let only = match name {
        "" => None,
        name => Some(look(engine, |world| Ok(world.find_network(name)?.id))?),
    };
    let counters = engine.counters()?;
    Reply::json(&look(engine, |world| Ok(encode::stats(world, &counters, only)))?)
}
