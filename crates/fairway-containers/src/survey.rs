//! Reads all engines at the same time.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use fairway_kernel::namespace;
use fairway_model::Namespace;
use rustix::thread::CapabilitySet;
use thiserror::Error;

use crate::container::{Container, Engine, Mode, State};
use crate::find::{Ambiguous, find, split};
use crate::note::{self, Note};
use crate::reader::{Host, Reader};
use crate::{containerd, docker, interfaces, lxc, named, nspawn, podman, process_list};

/// How long a socket may take. The files are read where it takes longer, so it is less than all may take.
const SOCKET_LIMIT: Duration = Duration::from_millis(900);
/// How long an engine may take: one whose files are on a file system that hangs is left out.
const ENGINE_LIMIT: Duration = Duration::from_millis(1000);

type Read = fn(&mut Reader<'_>) -> Vec<Container>;

const ENGINES: [(&str, Read); 6] = [
    ("docker", docker::read),
    ("podman", podman::read),
    ("containerd", containerd::read),
    ("lxc", lxc::read),
    ("systemd-nspawn", nspawn::read),
    ("ip netns", named::read),
];

/// The capabilities that reading takes without being root.
const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
];

/// The containers of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// All containers, sorted by engine and name.
    pub containers: Vec<Container>,
    /// What could not be read.
    pub notes: Vec<Note>,
    root: PathBuf,
}

/// Why a container cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// Several containers have the name.
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// It is no process id.
    #[error("invalid process id {0:?}: a number such as pid:1234 is expected")]
    ProcessId(String),
    /// There is no such process, or namespace, or it may not be opened.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
}

/// Reads the containers of all engines on the host whose root directory is given: `/`, or another one in tests. It
/// takes as long as the slowest engine, at most a second.
pub fn read(root: &Path) -> Survey {
    let started = Instant::now();
    let processes = process_list::list(root);
    let host = Host { root: root.to_owned(), processes, deadline: started + SOCKET_LIMIT };
    let (mut containers, notes) = gather(host, &ENGINES, started + ENGINE_LIMIT);
    let own = root.join("proc/self/ns/net").display().to_string();
    if let Ok(own) = namespace::identity(&own) {
        containers.iter_mut().for_each(|container| note_host_mode(container, &own));
    }
    let mut survey =
        Survey { containers: Vec::new(), notes: note::join(notes, &missing()), root: root.to_owned() };
    survey.add(containers);
    survey
}

/// Has each engine read by a thread of its own, and leaves out those that are not done at the deadline.
fn gather(host: Host, engines: &[(&'static str, Read)], deadline: Instant) -> (Vec<Container>, Vec<Note>) {
    let host = Arc::new(host);
    let (sender, receiver) = mpsc::channel();
    let (mut containers, mut notes) = (Vec::new(), Vec::new());
    let mut waiting: Vec<&'static str> = Vec::new();
    for (engine, read) in engines.iter().copied() {
        let (sender, host) = (sender.clone(), Arc::clone(&host));
        let work = move || {
            let mut reader = Reader::new(&host, engine);
            let found = read(&mut reader);
            // After the deadline the result is not wanted any more.
            let _ = sender.send((engine, found, reader.notes));
        };
        match std::thread::Builder::new().name(engine.to_owned()).spawn(work) {
            Ok(_) => waiting.push(engine),
            Err(error) => {
                notes.push(Note::Broken { engine, path: "a thread".to_owned(), reason: error.to_string() });
            }
        }
    }
    drop(sender);
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok((engine, found, mut said)) = receiver.recv_timeout(left) else { break };
        waiting.retain(|other| *other != engine);
        containers.extend(found);
        notes.append(&mut said);
    }
    notes.extend(waiting.into_iter().map(|engine| Note::LeftOut { engine }));
    (containers, notes)
}

/// A container whose namespace is this process's uses that of the host, also where no record says so.
fn note_host_mode(container: &mut Container, own: &Namespace) {
    let is_own = |it: &Namespace| it.identity() == own.identity();
    if container.mode == Mode::Own && container.namespace.as_ref().is_some_and(is_own) {
        container.mode = Mode::Host;
    }
}

/// The needed capabilities that this process does not have.
fn missing() -> Vec<&'static str> {
    let held = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    NEEDED.iter().filter(|(capability, _)| !held.contains(*capability)).map(|(_, name)| *name).collect()
}

impl Survey {
    /// Adds containers, such as Fairway's own. A namespace that `ip netns` names is then no longer a container of its
    /// own, if it is that of an added one. A sandbox of Fairway's that another engine asked for is that engine's container.
    pub fn add(&mut self, containers: Vec<Container>) {
        self.containers.extend(containers);
        let is_fairways =
            |container: &Container| container.engine == Engine::Fairway && container.mode == Mode::Own;
        let identity = |container: &Container| container.namespace.as_ref().map(Namespace::identity);
        let by_name = |container: &Container| container.engine == Engine::NamedNamespace;
        let others = self.containers.iter().filter(|it| !is_fairways(it) && !by_name(it));
        let theirs: HashSet<_> = others.filter_map(identity).collect();
        self.containers
            .retain(|it| !is_fairways(it) || identity(it).is_none_or(|own| !theirs.contains(&own)));
        self.containers = named::join(std::mem::take(&mut self.containers));
        self.containers.sort_by(|one, other| {
            (&one.engine, one.name(), &one.id).cmp(&(&other.engine, other.name(), &other.id))
        });
    }

    /// Adds the interfaces and addresses of running containers of which the engines record no address. It enters their
    /// namespaces.
    pub fn read_interfaces(&mut self) {
        let host = Host { root: self.root.clone(), processes: Vec::new(), deadline: Instant::now() };
        let mut reader = Reader::new(&host, "podman");
        let bridges = interfaces::bridges(&mut reader);
        let mut notes = std::mem::take(&mut self.notes);
        notes.append(&mut reader.notes);
        notes.append(&mut interfaces::add(&mut self.containers, &bridges));
        self.notes = note::join(notes, &missing());
    }

    /// Finds a container by name, as [`find`] does, or a process or namespace as [`namespace_of`] does.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve(&self, name: &str) -> Result<Option<Container>, ResolveError> {
        match find(&self.containers, name)? {
            Some(container) => Ok(Some(container.clone())),
            None => namespace_of(&self.root, name),
        }
    }
}

/// The process or namespace that `pid:1234`, `netns:/path` or `netns:NAME` means, whatever engine it is of. Other names
/// mean none. No engine is read for it.
///
/// # Errors
/// All but [`ResolveError::Ambiguous`].
pub fn namespace_of(root: &Path, name: &str) -> Result<Option<Container>, ResolveError> {
    let (engine, pid, path) = match split(name) {
        (Some("pid"), text) => {
            let pid: u32 = text.parse().map_err(|_| ResolveError::ProcessId(text.to_owned()))?;
            (Engine::Process, Some(pid), format!("/proc/{pid}/ns/net"))
        }
        (Some("netns"), path) if path.starts_with('/') => (Engine::NamedNamespace, None, path.to_owned()),
        (Some("netns"), name) if !name.contains('/') && ![".", ".."].contains(&name) => {
            (Engine::NamedNamespace, None, format!("{}/{name}", namespace::NAMED_DIRECTORY))
        }
        _ => return Ok(None),
    };
    let path = root.join(path.trim_start_matches('/'));
    let found = namespace::identity(&path.display().to_string())?;
    let (_, name) = split(name);
    let mut container = Container::new(engine, vec![name.to_owned()], String::new());
    container.state = State::Running;
    container.pid = pid;
    container.namespace = Some(found);
    Ok(Some(container))
}

#[cfg(test)]
mod tests;
