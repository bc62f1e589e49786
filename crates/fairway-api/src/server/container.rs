//! `/containers`.

use std::time::Duration;

use fairway_core::model::{SandboxKind, SandboxState};
use fairway_core::world::{Command, Refusal};
use hyper::StatusCode;
use hyper::body::Bytes;

use super::call::Call;
use super::look;
use super::reply::Reply;
use crate::control::{Control, Failure, FailureKind};
use crate::types::{ContainerCreate, Created, WaitReply};
use crate::{ask, show};

pub(super) fn list(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let (filters, all, now) = (call.filters()?, call.flag("all"), control.now());
    Reply::json(&look(control, |world| Ok(show::list_containers(world, all, &filters, now)?))?)
}

pub(super) fn inspect(control: &dyn Control, id: &str) -> Result<Reply, Failure> {
    let id = look(control, |world| Ok(world.find_sandbox(id)?.id))?;
    let files = control.files(id);
    Reply::json(&look(control, |world| {
        let sandbox = world.find_sandbox(&id.to_string())?;
        Ok(show::inspect_container(world, sandbox, files.clone()))
    })?)
}

pub(super) fn create(control: &dyn Control, call: &Call) -> Result<Reply, Failure> {
    let request: ContainerCreate = call.json()?;
    let create = ask::container(call.parameter("name"), SandboxKind::Run, request)?;
    let applied = control.execute(Command::CreateSandbox(Box::new(create)))?;
    Reply::created(&Created {
        id: applied.sandbox.map(|id| id.to_string()).unwrap_or_default(),
        warning: None,
        warnings: Some(applied.warnings),
    })
}

pub(super) fn remove(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let (id, running) = look(control, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.id.to_string(), sandbox.running()))
    })?;
    let forced = running && call.flag("force");
    if forced {
        control.stop(&id, Some("SIGKILL"), Some(Duration::ZERO))?;
    }
    match control.execute(Command::RemoveSandbox { sandbox: id }) {
        // The World forgets one that was attached, or run with `--rm`, when it stops.
        Err(failure) if forced && failure.kind == FailureKind::NotFound => {}
        result => drop(result?),
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn stop(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let timeout = match call.parameter("t") {
        "" => None,
        text => {
            let seconds: i64 = text.parse().map_err(|_| {
                Failure::invalid(format!("invalid timeout {text}: a number of seconds is expected as t"))
            })?;
            // Docker's -1: as long as it takes.
            Some(u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs))
        }
    };
    let (id, running) = look(control, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.id.to_string(), sandbox.running()))
    })?;
    if !running {
        return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
    }
    let signal = Some(call.parameter("signal")).filter(|signal| !signal.is_empty());
    control.stop(&id, signal, timeout)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

pub(super) fn kill(control: &dyn Control, id: &str, call: &Call) -> Result<Reply, Failure> {
    let signal = match call.parameter("signal") {
        "" => "SIGKILL",
        signal => signal,
    };
    control.kill(id, signal)?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Whether a wait is for the next exit, also of a sandbox that does not run now.
pub(super) fn waits_for_next(call: &Call) -> Result<bool, Failure> {
    match call.parameter("condition") {
        "" | "not-running" => Ok(false),
        // What is removed has exited before.
        "next-exit" | "removed" => Ok(true),
        other => Err(Failure::invalid(format!(
            "invalid condition: {other:?}: it can be not-running, next-exit or removed"
        ))),
    }
}

/// The exit code of a sandbox that does not run, or none, and `tell` is told when it stops.
pub(super) fn exit_code_or_watch(
    control: &dyn Control,
    id: &str,
    next: bool,
    tell: Box<dyn FnOnce(i32) + Send>,
) -> Result<Option<i32>, Failure> {
    let (id, was_running) = look(control, |world| {
        let sandbox = world.find_sandbox(id)?;
        Ok((sandbox.id, sandbox.running()))
    })?;
    // Watched before it is looked at again, so that an exit between the two is not missed.
    control.on_exit(id, tell);
    if next {
        return Ok(None);
    }
    look(control, |world| match world.sandbox(id).map(|sandbox| &sandbox.state) {
        Some(SandboxState::Exited { code, .. }) => Ok(Some(*code)),
        Some(SandboxState::Created) => Ok(Some(0)),
        Some(_) => Ok(None),
        // It exited and was forgotten by that.
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
