//! Stops the processes of containers. Waiting for the end of a process takes no thread, so that many stops at once do
//! not delay other requests.

use std::sync::Arc;
use std::time::Duration;

use fairway_core::world::Command;
use fairway_model::{RestartPolicy, Sandbox, SandboxId};
use hyper::StatusCode;

use super::call::Call;
use super::known::find;
use super::reply::Reply;
use super::{Server, blocking, container, exit_listener, turn};
use crate::engine_api::{EngineApi, Failure, Stopping};

/// How long a process has to end after the signal, as in Docker.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the report of a killed process's end.
const KILL_TIMEOUT: Duration = Duration::from_secs(4);

impl Server {
    /// Stops a container, if it runs.
    pub(super) async fn stop(self, id: String, call: Call) -> Result<Reply, Failure> {
        let (timeout, signal) = stop_parameters(&call)?;
        let sandbox = self.command(move |engine| asked_to_stop(engine, &id)).await?;
        if sandbox.is_restarting() {
            return Ok(Reply::empty(StatusCode::NO_CONTENT));
        }
        if !sandbox.running() {
            return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
        }
        let process = sandbox.options.process;
        let timeout = timeout.or_else(|| process.stop_timeout.map(stop_timeout)).unwrap_or(TIMEOUT);
        let signal = signal.or(Some(process.stop_signal).filter(|signal| !signal.is_empty()));
        self.end(sandbox.id, signal, timeout).await?;
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// Removes a container, with `force` after stopping it; with `link`, removes only a link.
    pub(super) async fn remove(self, id: String, call: Call) -> Result<Reply, Failure> {
        if call.flag("link") {
            return self.command(move |engine| container::unlink(engine, &id)).await;
        }
        let force = call.flag("force");
        let (id, running) = self
            .command(move |engine| {
                let sandbox = if force { asked_to_stop(engine, &id)? } else { find(engine, &id)? };
                Ok((sandbox.id, sandbox.running()))
            })
            .await?;
        let forced = running && force;
        if forced {
            self.end(id, Some("SIGKILL".to_owned()), Duration::ZERO).await?;
        }
        self.command(move |engine| container::remove(engine, id.to_string(), forced)).await
    }

    /// Ends the process of a running container, and returns when it has stopped.
    async fn end(&self, id: SandboxId, signal: Option<String>, timeout: Duration) -> Result<(), Failure> {
        let (listener, mut exited) = exit_listener();
        let weak = Arc::downgrade(&listener);
        let begin = move |engine: &dyn EngineApi| {
            engine.on_exit(id, weak);
            engine.begin_stop(&id.to_string(), signal.as_deref())
        };
        let Some(stopping) = self.command(begin).await? else { return Ok(()) };
        let stopping: Arc<dyn Stopping> = stopping.into();
        if tokio::time::timeout(timeout, &mut exited).await.is_err() {
            let killed = Arc::clone(&stopping);
            self.command(move |_| killed.kill()).await?;
            // Without a report of its end, the process is treated as ended.
            let _ = tokio::time::timeout(KILL_TIMEOUT, exited).await;
        }
        let _turn = turn(&self.endings).await?;
        blocking(move || stopping.finish()).await
    }
}

/// A container that a user stops.
fn asked_to_stop(engine: &dyn EngineApi, id: &str) -> Result<Sandbox, Failure> {
    let sandbox = find(engine, id)?;
    request_stop(engine, &sandbox)?;
    Ok(sandbox)
}

/// Has the restart policy of a container not start it again.
fn request_stop(engine: &dyn EngineApi, sandbox: &Sandbox) -> Result<(), Failure> {
    if sandbox.options.process.restart == RestartPolicy::No || sandbox.stopped_by_user {
        return Ok(());
    }
    engine.execute(Command::RequestStop { sandbox: sandbox.id.to_string() }).map(drop)
}

/// How long a process has to end, of Docker's seconds, where less than 0 is for ever.
fn stop_timeout(seconds: i64) -> Duration {
    u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs)
}

/// The parameters of a stop: the timeout and the signal, if given.
pub(super) fn stop_parameters(call: &Call) -> Result<(Option<Duration>, Option<String>), Failure> {
    let timeout = call.number("t")?.map(stop_timeout);
    Ok((timeout, Some(call.parameter("signal")).filter(|signal| !signal.is_empty()).map(str::to_owned)))
}

/// Sends a signal to a container.
pub(super) fn kill(engine: &dyn EngineApi, id: &str, call: &Call) -> Result<Reply, Failure> {
    let signal = match call.parameter("signal") {
        "" => "SIGKILL",
        signal => signal,
    };
    let sandbox = find(engine, id)?;
    if ends(&sandbox, signal) {
        request_stop(engine, &sandbox)?;
    }
    // As in Docker, one that waits for its restart runs, without a process that gets the signal.
    if !sandbox.is_restarting() {
        engine.kill(id, signal)?;
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Whether a user who sends a signal wants the container to end: the restart policy does not start it again.
fn ends(sandbox: &Sandbox, signal: &str) -> bool {
    let plain = |signal: &str| signal.to_ascii_uppercase().trim_start_matches("SIG").to_owned();
    let own = &sandbox.options.process.stop_signal;
    ["KILL", "9", "TERM", "15"].contains(&&*plain(signal)) || plain(signal) == plain(own)
}
