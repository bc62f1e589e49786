//! Maps method and path of a request to a route.

use fairway_model::RefusalKind;
use hyper::Method;

use super::absent::Absent;
use super::call::decode;
use super::{API_VERSION, MINIMUM_API_VERSION};
use crate::engine_api::Failure;

/// A route of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/_ping`.
    Ping,
    /// Waiting for the exit code of a container.
    Wait(String),
    /// The stream of events.
    Events,
    /// The stream of traced packets.
    Trace,
    /// Stopping a container.
    Stop(String),
    /// The removal of a container, which may have to be stopped first.
    Remove(String),
    /// Starting a container.
    Start(String),
    /// Stopping and starting a container.
    Restart(String),
    /// Following what a container writes.
    Attach(String),
    /// The size of the terminal of a container.
    Resize(String),
    /// The log of a container.
    Logs(String),
    /// The counters of a container.
    Stats(String),
    /// The processes of a container.
    Top(String),
    /// A command in a container, to be started later.
    ExecCreate(String),
    /// The start of such a command.
    ExecStart(String),
    /// What is known of such a command.
    ExecInspect(String),
    /// The size of the terminal of such a command.
    ExecResize(String),
    /// The metrics for Prometheus.
    Metrics,
    /// What Docker has and Fairway has not.
    Absent(Absent),
    /// A task of the engine, which may block.
    Task(Task),
}

/// A task of the engine; the text is the name or id in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Version,
    Info,
    Networks,
    Network(String),
    NetworkCreate,
    NetworkConnect(String),
    NetworkDisconnect(String),
    NetworkRemove(String),
    NetworkUpdate(String),
    NetworksPrune,
    ContainersPrune,
    Containers,
    Container(String),
    ContainerCreate,
    ContainerKill(String),
    ContainerRename(String),
    ContainerUpdate(String),
    ContainerExited(String),
    ContainerStartFailed(String),
    AttachNamespace(String),
    Publish(String),
    Unpublish(String),
    Attach,
    Detach,
    Check,
    Join,
    Leave,
    Explain,
    Doctor { fix: bool },
    Plan,
    PlanDifference,
    Graph,
    Stats,
    Reload,
    End,
}

impl Task {
    /// Whether the task only reads the World.
    pub(super) fn is_look(&self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::Info
                | Self::Networks
                | Self::Network(_)
                | Self::Containers
                | Self::Container(_)
        )
    }
}

impl Route {
    /// Finds the route of a request. The version prefix is optional.
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, Failure> {
        let mut parts: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect();
        if let Some(version) = parts.first().and_then(|part| version(part)) {
            check_version(version)?;
            parts.remove(0);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let own = |id: &&str| (*id).to_owned();
        Ok(Self::Task(match (method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", ["_ping"]) => return Ok(Self::Ping),
            ("GET", ["events"]) => return Ok(Self::Events),
            ("GET", ["fairway", "trace"]) => return Ok(Self::Trace),
            ("GET", ["version"]) => Task::Version,
            ("GET", ["info"]) => Task::Info,
            ("GET", ["networks"]) => Task::Networks,
            ("POST", ["networks", "create"]) => Task::NetworkCreate,
            ("POST", ["networks", "prune"]) => Task::NetworksPrune,
            ("GET", ["networks", id]) => Task::Network(own(id)),
            ("DELETE", ["networks", id]) => Task::NetworkRemove(own(id)),
            ("POST", ["networks", id, "update"]) => Task::NetworkUpdate(own(id)),
            ("POST", ["networks", id, "connect"]) => Task::NetworkConnect(own(id)),
            ("POST", ["networks", id, "disconnect"]) => Task::NetworkDisconnect(own(id)),
            ("GET", ["containers", "json"]) => Task::Containers,
            ("POST", ["containers", "create"]) => Task::ContainerCreate,
            ("GET", ["containers", id, "json"]) => Task::Container(own(id)),
            // The name of a link has two parts: `web/db`.
            ("DELETE", ["containers", name @ ..]) if !name.is_empty() => {
                return Ok(Self::Remove(name.join("/")));
            }
            ("POST", ["containers", id, "start"]) => return Ok(Self::Start(own(id))),
            ("POST", ["containers", id, "restart"]) => return Ok(Self::Restart(own(id))),
            ("POST", ["containers", id, "attach"]) => return Ok(Self::Attach(own(id))),
            ("GET", ["containers", id, "logs"]) => return Ok(Self::Logs(own(id))),
            ("GET", ["containers", id, "stats"]) => return Ok(Self::Stats(own(id))),
            ("GET", ["containers", id, "top"]) => return Ok(Self::Top(own(id))),
            ("POST", ["containers", "prune"]) => Task::ContainersPrune,
            ("POST", ["containers", id, "exec"]) => return Ok(Self::ExecCreate(own(id))),
            ("POST", ["exec", id, "start"]) => return Ok(Self::ExecStart(own(id))),
            ("GET", ["exec", id, "json"]) => return Ok(Self::ExecInspect(own(id))),
            ("POST", ["exec", id, "resize"]) => return Ok(Self::ExecResize(own(id))),
            ("POST", ["containers", id, "stop"]) => return Ok(Self::Stop(own(id))),
            ("POST", ["containers", id, "resize"]) => return Ok(Self::Resize(own(id))),
            ("POST", ["containers", id, "update"]) => Task::ContainerUpdate(own(id)),
            ("POST", ["containers", id, "rename"]) => Task::ContainerRename(own(id)),
            ("POST", ["containers", id, "kill"]) => Task::ContainerKill(own(id)),
            ("POST", ["containers", id, "wait"]) => return Ok(Self::Wait(own(id))),
            ("POST", ["containers", id, "exited"]) => Task::ContainerExited(own(id)),
            ("POST", ["containers", id, "start-failed"]) => Task::ContainerStartFailed(own(id)),
            ("POST", ["containers", id, "attach-namespace"]) => Task::AttachNamespace(own(id)),
            ("POST", ["containers", id, "publish"]) => Task::Publish(own(id)),
            ("POST", ["containers", id, "unpublish"]) => Task::Unpublish(own(id)),
            ("GET", ["metrics"]) => return Ok(Self::Metrics),
            ("POST", ["fairway", "attach"]) => Task::Attach,
            ("POST", ["fairway", "detach"]) => Task::Detach,
            ("POST", ["fairway", "check"]) => Task::Check,
            ("POST", ["fairway", "join"]) => Task::Join,
            ("POST", ["fairway", "leave"]) => Task::Leave,
            ("GET", ["fairway", "explain"]) => Task::Explain,
            ("GET", ["fairway", "plan"]) => Task::Plan,
            ("GET", ["fairway", "plan", "diff"]) => Task::PlanDifference,
            ("GET", ["fairway", "doctor"]) => Task::Doctor { fix: false },
            ("POST", ["fairway", "doctor", "fix"]) => Task::Doctor { fix: true },
            ("GET", ["fairway", "graph"]) => Task::Graph,
            ("GET", ["fairway", "stats"]) => Task::Stats,
            ("POST", ["fairway", "reload"]) => Task::Reload,
            ("POST", ["fairway", "end"]) => Task::End,
            (_, parts) => {
                return Absent::of(method, parts).map(Self::Absent).ok_or_else(|| {
                    let reason = format!(
                        "page not found: Fairway has Docker's API for networks and containers: /{}",
                        parts.join("/")
                    );
                    Failure::new(RefusalKind::NotFound, reason)
                });
            }
        }))
    }
}

/// A version as the first part of a path: `v1.47`.
fn version(part: &str) -> Option<(u32, u32)> {
    let (major, minor) = part.strip_prefix('v')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn check_version(asked: (u32, u32)) -> Result<(), Failure> {
    let known = |text: &str| version(&format!("v{text}")).unwrap_or_default();
    let (major, minor) = asked;
    if asked < known(MINIMUM_API_VERSION) {
        return Err(Failure::invalid(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {MINIMUM_API_VERSION}, please upgrade your client to a newer version"
        )));
    }
    if asked > known(API_VERSION) {
        return Err(Failure::invalid(format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_and_a_slash_at_the_end_may_be_left_out() {
        for path in ["/networks", "/networks/", "/v1.47/networks", "/v1.24/networks/"] {
            assert_eq!(Route::of(&Method::GET, path), Ok(Route::Task(Task::Networks)), "{path}");
        }
        assert_eq!(
            Route::of(&Method::GET, "/v1.40/networks/a%20b"),
            Ok(Route::Task(Task::Network("a b".into())))
        );
    }

    #[test]
    fn other_versions_are_refused_with_those_that_are_known() {
        let message = |path| Route::of(&Method::GET, path).unwrap_err().message;
        assert_eq!(
            message("/v1.99/info"),
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        );
        assert!(message("/v1.9/info").starts_with("client version 1.9 is too old."));
    }

    #[test]
    fn unknown_routes_are_not_found() {
        for (method, path) in [(Method::GET, "/pages"), (Method::PUT, "/networks"), (Method::GET, "/")] {
            let failure = Route::of(&method, path).unwrap_err();
            assert_eq!(failure.kind, RefusalKind::NotFound.into());
            assert!(failure.message.starts_with("page not found: Fairway has"), "{}", failure.message);
        }
    }
}
