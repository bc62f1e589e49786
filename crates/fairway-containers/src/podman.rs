//! Podman and CRI-O, which keep containers alike: the records of containers/storage, the files of each running
//! container, and conmon, which watches it.

mod held_port;
mod network;
mod record;

use std::collections::{BTreeMap, BTreeSet};

use crate::cni;
use crate::container::{Container, Engine, Mode, PublishedPort, State};
use crate::containerd::{kubernetes_container, kubernetes_pod};
use crate::oci::{self, Network};
use crate::process_list::Process;
use crate::reader::Reader;
use crate::users::{self, User};

/// Where the containers of one user are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Store {
    user: u32,
    /// What outlives the host: records and configuration.
    graph_root: String,
    /// What does not: process ids, names of networks.
    run_root: String,
}

/// A container before what is read of its process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    names: Vec<String>,
    /// The directory of `config.json`.
    bundle: String,
    /// The conmon of a running container.
    conmon: Option<u32>,
    pid_file: Option<String>,
}

/// What is found, by user and identifier: no user can say anything of the containers of another one.
type Containers = BTreeMap<(u32, String), Found>;

/// Lists the containers of root and of each user.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Container> {
    let users = users::list(reader);
    let mut found = Containers::new();
    for store in stores(reader, &users) {
        add_records(reader, &store, &mut found);
    }
    for process in reader.host.processes.iter().filter(|process| process.name == "conmon") {
        add_conmon(process, &mut found);
    }
    if found.is_empty() {
        return Vec::new();
    }
    let users_with_containers: BTreeSet<u32> = found.keys().map(|(user, _)| *user).collect();
    let mut results = BTreeMap::new();
    for user in users_with_containers {
        let mut known = network::read(reader, user);
        if user == 0 {
            for (id, attached) in cni::read(reader) {
                known.entry(id).or_insert(attached);
            }
        }
        results.insert(user, known);
    }
    let described: Vec<(Container, Option<u32>)> = found
        .iter()
        .map(|((user, id), found)| {
            let engine = Engine::Podman { user: users::scope(&users, *user) };
            let container = container(id, found, engine);
            describe(reader, container, found, *user, results.get(user).unwrap_or(&cni::Results::new()))
        })
        .collect();
    let ids: BTreeMap<u32, String> =
        described.iter().filter_map(|(container, _)| Some((container.pid?, container.id.clone()))).collect();
    let with_mode = |(mut container, shared): (Container, Option<u32>)| {
        if let Some(pid) = shared {
            container.mode = Mode::Shared(ids.get(&pid).cloned().unwrap_or_else(|| format!("pid:{pid}")));
        }
        container
    };
    described.into_iter().map(with_mode).collect()
}

/// Adds what the configuration and the process say; with the process whose namespace the container uses, if the
/// configuration names one.
fn describe(
    reader: &mut Reader<'_>,
    mut container: Container,
    found: &Found,
    user: u32,
    results: &cni::Results,
) -> (Container, Option<u32>) {
    let config = reader.json(&format!("{}/config.json", found.bundle));
    container.state = if config.is_some() { State::Exited } else { State::Created };
    let mut shared = None;
    match config.as_ref().map(oci::network) {
        Some(Network::Host) => container.mode = Mode::Host,
        Some(Network::New) => container.mode = Mode::None,
        Some(Network::Process(pid)) if container.mode == Mode::Own => shared = Some(pid),
        Some(Network::Process(_) | Network::Path(_)) | None => {}
    }
    if let Some(pid) = running(reader, found) {
        container.state = State::Running;
        container.pid = Some(pid);
        container.namespace = reader.namespace(pid);
    }
    if container.mode == Mode::Own && shared.is_none() {
        let id = container.id.clone();
        cni::add(&mut container, results, &id);
        if container.ports.is_empty() && container.pid.is_some() {
            let held = match &container.namespace {
                Some(namespace) if user != 0 => held_port::of_rootlessport(reader, namespace),
                _ => found.conmon.map(|conmon| held_port::of(reader, conmon)).unwrap_or_default(),
            };
            container.ports = PublishedPort::join(held);
        }
    }
    (container, shared)
}

/// The places of root, and of the users who have one.
fn stores(reader: &mut Reader<'_>, users: &[User]) -> Vec<Store> {
    let root = Store {
        user: 0,
        graph_root: "/var/lib/containers/storage".to_owned(),
        run_root: "/run/containers/storage".to_owned(),
    };
    // A user without this directory runs no container: it is made when a session of the user begins.
    let sessions: BTreeSet<u32> =
        reader.names("/run/user").iter().filter_map(|name| name.parse().ok()).collect();
    let of_user = |user: &User| Store {
        user: user.number,
        graph_root: format!("{}/.local/share/containers/storage", user.home),
        run_root: format!("/run/user/{}/containers", user.number),
    };
    let rootless = users.iter().filter(|user| user.number != 0 && sessions.contains(&user.number));
    [root].into_iter().chain(rootless.map(of_user)).collect()
}

/// Adds the records of a store: one list for each storage driver that was used, and one of containers that do not
/// outlive the host.
fn add_records(reader: &mut Reader<'_>, store: &Store, found: &mut Containers) {
    let drivers = reader.names(&store.graph_root).into_iter().filter(|name| name.ends_with("-containers"));
    for driver in drivers.collect::<Vec<_>>() {
        let lists = [
            format!("{}/{driver}/containers.json", store.graph_root),
            format!("{}/{driver}/volatile-containers.json", store.run_root),
        ];
        for path in lists {
            let Some(list) = reader.json(&path) else { continue };
            for record in record::list(&list) {
                match record {
                    Ok((id, names)) => {
                        let place = |root: &str| format!("{root}/{driver}/{id}/userdata");
                        let bundle = place(&store.graph_root);
                        let pid_file = Some(format!("{}/pidfile", place(&store.run_root)));
                        found.insert((store.user, id), Found { names, bundle, conmon: None, pid_file });
                    }
                    Err(reason) => reader.broken(&path, reason),
                }
            }
        }
    }
}

/// Adds what the arguments of a conmon say.
fn add_conmon(process: &Process, found: &mut Containers) {
    let Some(id) = process.option("-c", "--cid") else { return };
    let found = found.entry((process.user, id.to_owned())).or_default();
    if let (true, Some(name)) = (found.names.is_empty(), process.option("-n", "--name")) {
        found.names.push(name.to_owned());
    }
    if let Some(bundle) = process.option("-b", "--bundle") {
        found.bundle = bundle.to_owned();
    }
    found.pid_file = process.option("-p", "--container-pidfile").map(str::to_owned).or(found.pid_file.take());
    found.conmon = Some(process.pid);
}

/// The first process of a container. A file may be left of a container that ended, and its user may write anything to
/// it: the process has to be a child of conmon.
fn running(reader: &mut Reader<'_>, found: &Found) -> Option<u32> {
    let conmon = found.conmon?;
    let pid = reader.pid_file(found.pid_file.as_deref()?)?;
    (reader.host.parent(pid) == Some(conmon)).then_some(pid)
}

/// A container of podman or, by the form of its name and if it is root's, of CRI-O.
fn container(id: &str, found: &Found, engine: Engine) -> Container {
    let name = found.names.first().map(String::as_str).unwrap_or_default();
    match record::kubernetes_name(name).filter(|_| engine.scope().is_none()) {
        Some(name) if name.container == "POD" => kubernetes_pod(name.namespace, name.pod, id),
        Some(name) => {
            let pod = format!("{}/{}", name.namespace, name.pod);
            kubernetes_container(name.namespace, name.pod, name.container, id, &pod)
        }
        None => Container::new(engine, found.names.clone(), id.to_owned()),
    }
}

#[cfg(test)]
mod tests;
