//! Traces packets of this host without the daemon, or where the daemon does not know what was named.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use fairway_api::{Client, ClientError};
use fairway_containers::{Container, Engine};
use fairway_host::HostError;
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use thiserror::Error;

use super::{CommandError, can_answer, sandboxes};

/// Why packets are not traced.
#[derive(Debug, Error)]
pub(in crate::command) enum TraceFailure {
    /// The daemon refuses, or went away.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// This host cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<TraceFailure> for CommandError {
    fn from(failure: TraceFailure) -> Self {
        match failure {
            TraceFailure::Daemon(error) => error.into(),
            TraceFailure::Host(error) => error.into(),
        }
    }
}

/// Traces packets: by the daemon if the question concerns its sandboxes alone, else by this program. With `chosen` the
/// user has named a daemon.
pub(in crate::command) fn trace(
    client: &mut Client,
    chosen: bool,
    request: &TraceRequest,
    show: &mut dyn FnMut(TraceMessage) -> bool,
) -> Result<(), TraceFailure> {
    if !chosen && concerns_others(client, request) {
        return Ok(by_host(client, request, show)?);
    }
    match client.trace(request, &mut *show) {
        Err(error @ ClientError::NotRunning { .. }) if chosen => Err(error.into()),
        Err(error) if can_answer(&error) => match by_host(client, request, show) {
            Err(HostError::TraceRights { .. }) if matches!(error, ClientError::Refused { .. }) => {
                Err(error.into())
            }
            traced => Ok(traced?),
        },
        traced => Ok(traced?),
    }
}

fn by_host(
    client: &mut Client,
    request: &TraceRequest,
    show: &mut dyn FnMut(TraceMessage) -> bool,
) -> Result<(), HostError> {
    // A daemon that does not run has no sandboxes.
    fairway_host::trace(&mut || sandboxes(client).unwrap_or_default(), request, show)
}

/// Whether containers of engines that the daemon does not know may be part of the answer, and this program may trace
/// them.
fn concerns_others(client: &mut Client, request: &TraceRequest) -> bool {
    if fairway_host::check_rights_to_trace().is_err() {
        return false;
    }
    // Without its daemon the host is read anyway.
    let Ok(own) = sandboxes(client) else { return false };
    let mut survey = fairway_containers::read(Path::new("/"));
    survey.containers.retain(is_of_other_engine);
    if survey.containers.is_empty() {
        return false;
    }
    survey.read_interfaces();
    let ends: Vec<&str> = [&request.from, &request.to].into_iter().flatten().map(String::as_str).collect();
    concerns(&ends, &own, &survey.containers)
}

/// Whether it is a container that runs by an engine other than Fairway.
pub(in crate::command) fn is_of_other_engine(container: &Container) -> bool {
    let own = matches!(container.engine, Engine::Fairway | Engine::NamedNamespace | Engine::Process);
    container.state.exists() && !own
}

/// Whether a question concerns others than the daemon's sandboxes: it names none of them, or an address of another
/// container.
fn concerns(ends: &[&str], own: &[Container], others: &[Container]) -> bool {
    let is_own = |text: &str| own.iter().any(|it| it.id == text || it.names.iter().any(|name| name == text));
    let addresses: BTreeSet<IpAddr> = others.iter().flat_map(Container::addresses).collect();
    let is_others = |text: &str| text.parse().is_ok_and(|address| addresses.contains(&address));
    let any = |is: &dyn Fn(&str) -> bool| ends.iter().any(|end| readings(end).any(is));
    any(&is_others) || !any(&is_own)
}

/// The names that an end may mean: all of it, or what is before its port, without what makes it a container's or an
/// address of the LAN.
fn readings(end: &str) -> impl Iterator<Item = &str> {
    let end = ["container:", "fairway:", "lan:"].iter().find_map(|it| end.strip_prefix(it)).unwrap_or(end);
    let before = end.rsplit_once(':').map(|(name, _)| name);
    [Some(end), before].into_iter().flatten().map(|it| it.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use fairway_containers::{Attachment, State};

    use super::*;

    fn container(engine: Engine, name: &str, address: &str) -> Container {
        let mut container = Container::new(engine, vec![name.to_owned()], format!("id-{name}"));
        container.state = State::Running;
        container.attachments = vec![Attachment {
            network: "net".to_owned(),
            interface: None,
            addresses: vec![address.parse().unwrap()],
            mac: None,
        }];
        container
    }

    #[test]
    fn the_daemon_answers_for_its_sandboxes_alone() {
        let own = [container(Engine::Fairway, "web", "172.18.0.2")];
        let others = [
            container(Engine::Docker { user: None }, "db", "172.17.0.2"),
            container(Engine::Podman { user: None }, "six", "fd00::2"),
        ];
        let concerns = |ends: &[&str]| concerns(ends, &own, &others);
        for ends in [
            &["web"][..],
            &["lan", "web:80"],
            &["container:web"],
            &["id-web", "10.0.0.1"],
            &["any", "fairway:web:53/udp"],
        ] {
            assert!(!concerns(ends), "{ends:?}");
        }
        for ends in [
            &[][..],
            &["db"],
            &["lan", "host:8080"],
            &["web", "172.17.0.2:80"],
            &["web", "[fd00::2]:80"],
            &["lan:172.17.0.2", "web"],
        ] {
            assert!(concerns(ends), "{ends:?}");
        }
    }

    #[test]
    fn only_a_running_container_of_another_engine_is_one() {
        let is = |engine, state| {
            let mut container = Container::new(engine, vec!["web".to_owned()], String::new());
            container.state = state;
            is_of_other_engine(&container)
        };
        let docker = || Engine::Docker { user: None };
        assert!(is(docker(), State::Running) && is(Engine::Nspawn, State::Paused));
        assert!(!is(docker(), State::Exited) && !is(Engine::Fairway, State::Running));
        assert!(!is(Engine::NamedNamespace, State::Running));
    }
}
