//! What Docker has no words for: namespaces that somebody else made, and publications that change.

use fairway_core::world::{Command, NetworkChoice};
use fairway_inspect::graph::{Format, UnknownFormat, draw};
use fairway_model::{NetworkMode, SandboxKind};
use hyper::StatusCode;

use super::call::Call;
use super::reply::Reply;
use super::{container, look};
use crate::control::{Control, Failure, FailureKind, Located, NamespaceReference};
use crate::types::{AttachNamespace, AttachRequest, DetachRequest, Exited, PublishPorts, PublishedPorts};
use crate::{ask, show};

pub(super) fn attach_namespace(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let request: AttachNamespace = call.json()?;
    let reference = ask::namespace(request.pid, request.path)?;
    let (id, host) = look(control, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.id.to_string(), sandbox.mode == NetworkMode::Host))
    })?;
    let located = locate(control, &reference, host)?;
    control.execute(Command::StartSandbox {
        sandbox: id.clone(),
        process: located.process,
        namespace: located.namespace,
        avoid: Vec::new(),
    })?;
    container::inspect(control, &id)
}

/// Finds the namespace; one in host mode has none of its own, any other must.
fn locate(control: &dyn Control, reference: &NamespaceReference, host: bool) -> Result<Located, Failure> {
    let located = control.locate(reference)?;
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

pub(super) fn exited(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let request: Exited = call.json()?;
    let process = look(control, |world| Ok(world.find_sandbox(id)?.process()))?;
    // Who tells late tells of a process that another one has followed already.
    if request.pid == 0 || process.is_none_or(|process| process.pid == request.pid) {
        control.exited(id, request.code)?;
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn attach(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let request: AttachRequest = call.json()?;
    let kind = match request.kind.as_str() {
        "" | "attached" => SandboxKind::Attached,
        "created" => SandboxKind::Created,
        other => {
            return Err(Failure::invalid(format!("invalid kind {other:?}: it can be attached or created")));
        }
    };
    let reference = ask::namespace(request.pid, request.path)?;
    let create = ask::container(&request.name, kind, request.container)?;
    let located = locate(control, &reference, create.network == NetworkChoice::Host)?;
    let applied = control.attach(create, located)?;
    let id = applied.sandbox.ok_or_else(|| Failure::new(FailureKind::Internal, "attached no sandbox"))?;
    let files = control.files(id);
    Reply::created(&look(control, |world| {
        let sandbox = world.find_sandbox(&id.to_string())?;
        Ok(show::attached(world, sandbox, files.clone(), applied.warnings.clone()))
    })?)
}

pub(super) fn publish(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let requests = ask::publications(call.json::<PublishPorts>()?.port_bindings)?;
    refuse_nothing(requests.len())?;
    republish(control, id, |sandbox| Command::Publish { sandbox, requests, avoid: Vec::new() })
}

pub(super) fn unpublish(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let requests = ask::unpublications(call.json::<PublishPorts>()?.port_bindings)?;
    refuse_nothing(requests.len())?;
    republish(control, id, |sandbox| Command::Unpublish { sandbox, requests })
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
    control: &dyn Control,
    id: &str,
    command: impl FnOnce(String) -> Command,
) -> Result<Reply, Failure> {
    // The reply is of the one that was meant, whatever has its name by then.
    let id = look(control, |world| Ok(world.find_sandbox(id)?.id.to_string()))?;
    let warnings = control.execute(command(id.clone()))?.warnings;
    Reply::json(&look(control, |world| {
        let mut ports = show::published(world.find_sandbox(&id)?);
        ports.retain(|_, bindings| bindings.is_some());
        Ok(PublishedPorts { ports, warnings: warnings.clone() })
    })?)
}

pub(super) fn detach(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let request: DetachRequest = call.json()?;
    control.detach(&request.container)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn explain(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let (from, to) = (call.parameter("from"), call.parameter("to"));
    Reply::json(&control.explain(from, to, call.flag("plan"))?)
}

pub(super) fn doctor(control: &dyn Control, fix: bool) -> Result<Reply, Failure> {
    Reply::json(&control.doctor(fix)?)
}

pub(super) fn reload(control: &dyn Control) -> Result<Reply, Failure> {
    Reply::json(&control.reload()?)
}

/// The picture itself, not JSON, so that it can be looked at.
pub(super) fn graph(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let format = match call.parameter("format") {
        "" => Format::Svg,
        name => name.parse().map_err(|error: UnknownFormat| Failure::invalid(error.to_string()))?,
    };
    let networks: Vec<&str> = call.parameter("network").split(',').filter(|name| !name.is_empty()).collect();
    let path = match (call.parameter("from"), call.parameter("to")) {
        ("", "") => None,
        ("", _) | (_, "") => {
            return Err(Failure::invalid("a path has two ends: give both from and to, or neither"));
        }
        ends => Some(ends),
    };
    Ok(Reply::document(format.media_type(), draw(&control.graph(&networks, path)?, format)))
}

pub(super) fn stats(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let name = call.parameter("network");
    let only = match name {
        "" => None,
        name => Some(look(control, |world| Ok(world.find_network(name)?.id))?),
    };
    let counters = control.counters()?;
    Reply::json(&look(control, |world| Ok(show::stats(world, &counters, only)))?)
}
