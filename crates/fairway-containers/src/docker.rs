//! Docker Engine: its API if a daemon runs, else its files.

mod api;
mod networks;
mod record;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::container::{Container, Engine, State};
use crate::reader::{Host, Reader};
use crate::{task, users};

pub use networks::{
    DockerDaemon, DockerEndpoint, DockerNetwork, SilentDaemon, docker_networks, docker_process,
};

/// The namespace of containerd that Docker has for itself.
pub(crate) const NAMESPACE: &str = "moby";

/// Where Docker keeps its files by default.
const DATA_ROOT: &str = "/var/lib/docker";

/// A daemon that runs, or files that one left.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Daemon {
    /// The number of its user.
    user: u32,
    /// Its socket; none if it does not run.
    socket: Option<String>,
    /// Where its files are, if that is known.
    data_root: Option<String>,
}

/// Lists the containers of each daemon. A socket is asked only if its daemon runs, for systemd starts a daemon whose
/// socket is connected to.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let users = users::list(reader);
    let mut containers: Vec<Container> = Vec::new();
    for daemon in daemons(reader.host) {
        let engine = Engine::Docker { user: users::scope(&users, daemon.user) };
        let answer = daemon.socket.as_deref().and_then(|socket| ask(reader, socket, &engine));
        let found = answer.unwrap_or_else(|| {
            daemon.data_root.map(|data_root| read_files(reader, &data_root, &engine)).unwrap_or_default()
        });
        // A daemon in a container may be started with the path of the host's socket.
        let known: BTreeSet<String> = containers.iter().map(|container| container.id.clone()).collect();
        containers.extend(found.into_iter().filter(|container| !known.contains(&container.id)));
    }
    containers
}

/// The sockets of the daemons that run.
fn sockets(host: &Host) -> BTreeSet<String> {
    daemons(host).into_iter().filter_map(|daemon| daemon.socket).collect()
}

fn daemons(host: &Host) -> BTreeSet<Daemon> {
    let running = host.processes.iter().filter(|process| process.name == "dockerd");
    let mut daemons: BTreeSet<Daemon> = running
        .map(|process| {
            let user = process.user;
            let (socket, data_root) = match user {
                0 => ("/run/docker.sock".to_owned(), Some(DATA_ROOT)),
                _ => (format!("/run/user/{user}/docker.sock"), None),
            };
            let named = process.options("-H", "--host").find_map(|host| host.strip_prefix("unix://"));
            let data_root = process.option("-g", "--data-root").or(data_root).map(str::to_owned);
            Daemon { user, socket: Some(named.map_or(socket, str::to_owned)), data_root }
        })
        .collect();
    // Next to a daemon of root with another data root they are of the past.
    if daemons.iter().all(|daemon| daemon.user != 0) {
        daemons.insert(Daemon { user: 0, socket: None, data_root: Some(DATA_ROOT.to_owned()) });
    }
    daemons
}

/// The containers that the API lists; none if it does not answer.
fn ask(reader: &mut Reader<'_>, socket: &str, engine: &Engine) -> Option<Vec<Container>> {
    let list = get(reader, socket, "/containers/json?all=true")?;
    let Some(list) = list.as_array() else {
        reader.broken(socket, "the answer is not a list of containers");
        return None;
    };
    let mut containers = Vec::new();
    for value in list {
        match record::summary(value, engine) {
            Ok(container) => containers.push(container),
            Err(reason) => reader.broken(socket, reason),
        }
    }
    for container in containers.iter_mut().filter(|container| container.state.exists()) {
        // A file of containerd is read in microseconds; an answer of the daemon takes a millisecond.
        container.pid = task::pid(reader, NAMESPACE, &container.id).or_else(|| {
            let value = get(reader, socket, &format!("/containers/{}/json", container.id))?;
            record::pid(&value).filter(|pid| reader.host.parent(*pid).is_some())
        });
        container.namespace = container.pid.and_then(|pid| reader.namespace(pid));
    }
    Some(containers)
}

fn get(reader: &mut Reader<'_>, socket: &str, path: &str) -> Option<Value> {
    match api::get(&reader.host.path(socket), path, reader.host.deadline) {
        Ok(value) => Some(value),
        Err(api::Error::Silent) => {
            reader.silent(socket);
            None
        }
        Err(api::Error::Connection(error)) => {
            reader.failed(socket, &error);
            None
        }
        Err(error) => {
            reader.broken(socket, error);
            None
        }
    }
}

/// The containers that the files below a data root describe.
fn read_files(reader: &mut Reader<'_>, data_root: &str, engine: &Engine) -> Vec<Container> {
    let directory = format!("{data_root}/containers");
    let mut containers = Vec::new();
    for id in reader.names(&directory) {
        let path = format!("{directory}/{id}/config.v2.json");
        let Some(config) = reader.json(&path) else { continue };
        let host_config = reader.json(&format!("{directory}/{id}/hostconfig.json")).unwrap_or_default();
        match record::config(&config, &host_config, engine) {
            Ok((mut container, pid)) => {
                // After the host crashed, the file is as before.
                container.pid = task::pid(reader, NAMESPACE, &container.id)
                    .or(pid.filter(|pid| reader.host.parent(*pid).is_some()));
                container.namespace = container.pid.and_then(|pid| reader.namespace(pid));
                if container.pid.is_none() && container.state.exists() {
                    container.state = State::Exited;
                }
                containers.push(container);
            }
            Err(reason) => reader.broken(&path, reason),
        }
    }
    containers
}

#[cfg(test)]
mod tests;
