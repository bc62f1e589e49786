//! This host: its network namespaces, joined by their links, and the containers that they belong to.

use std::path::Path;

use fairway_containers::{Container, Survey as Containers};
use fairway_kernel::namespace::{self, ListedNamespace, Workers};
use fairway_kernel::survey::{self, Details};
use fairway_walk::{NamespaceId, NetworkNamespace, Observation, Topology};

use crate::error::HostError;
use crate::glances::Glances;
use crate::label::labels;
use crate::rights;

/// How many threads for other namespaces are kept.
const WORKERS: usize = 4;

/// This host as it was read: the host's own namespace as a whole, and of all others links and addresses.
#[derive(Debug)]
pub struct Host {
    pub(crate) workers: Workers,
    /// Where namespaces were found, by [`NamespaceId`].
    pub(crate) listed: Vec<ListedNamespace>,
    pub(crate) topology: Topology,
    /// Reads what was left out of the host's own namespace.
    pub(crate) details: Details,
    pub(crate) containers: Containers,
    pub(crate) notes: Vec<String>,
    /// The number of namespaces that could not be read.
    pub(crate) unread: usize,
}

impl Host {
    /// Reads the host that this process is on. `own` are containers that no record of an engine has: Fairway's
    /// sandboxes.
    ///
    /// # Errors
    /// [`HostError::Rights`], [`HostError::Namespace`], [`HostError::Survey`].
    pub fn read(own: Vec<Container>) -> Result<Self, HostError> {
        Self::read_with(own, || Ok(survey::outline("host")?.namespace))
    }

    /// As [`Self::read`], without rules.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_without_rules(own: Vec<Container>) -> Result<Self, HostError> {
        Self::read_with(own, || survey::without_rules("host"))
    }

    fn read_with(
        own: Vec<Container>,
        look: impl FnOnce() -> Result<NetworkNamespace, survey::Error> + Send + 'static,
    ) -> Result<Self, HostError> {
        rights::check()?;
        let workers = Workers::new(WORKERS)?;
        let (containers, glances, host) = std::thread::scope(|scope| {
            let containers = scope.spawn(|| fairway_containers::read(Path::new("/")));
            let host = scope.spawn(|| {
                let look = move || Ok::<_, survey::Error>((look()?, Details::open()?));
                workers.run(workers.initial(), look)
            });
            let listed = namespace::list()?;
            let glances = Glances::of(&workers, listed);
            let panicked = |_| namespace::Error::Thread(rustix::io::Errno::CANCELED);
            let host = host.join().map_err(panicked)??;
            Ok::<_, HostError>((containers.join().map_err(panicked)?, glances, host?))
        })?;
        let mut containers = containers;
        containers.add(own);
        let (own_namespace, details) = host;
        let mut notes: Vec<String> = containers.notes.iter().map(ToString::to_string).collect();
        if let Some(first) = glances.unread.first() {
            let count = glances.unread.len();
            notes.push(format!("cannot look into {count} network namespaces; the first is {first}"));
        }
        let listed: Vec<ListedNamespace> = glances.read.iter().map(|it| it.listed.clone()).collect();
        let names = labels(&listed, &containers.containers);
        let observations = glances.read.into_iter().zip(names).enumerate();
        let observations = observations.map(|(place, (it, name))| Observation {
            namespace: match place {
                0 => own_namespace.clone(),
                _ => {
                    NetworkNamespace { name, interfaces: it.glance.interfaces, ..NetworkNamespace::default() }
                }
            },
            ties: it.glance.ties,
            ids: it.ids,
        });
        let topology = Topology::of_observations(observations.collect());
        Ok(Self { workers, listed, topology, details, containers, notes, unread: glances.unread.len() })
    }

    /// What could not be read, so that the picture of the host may lack something.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The place of a container's namespace; none if the container has none that can be seen.
    pub(crate) fn place_of(&self, container: &Container) -> Option<NamespaceId> {
        let wanted = container.namespace.as_ref()?;
        let place = self.listed.iter().position(|it| it.namespace.identity() == wanted.identity())?;
        Some(NamespaceId(place))
    }

    /// The containers whose programs run in a namespace.
    pub(crate) fn containers_in(&self, id: NamespaceId) -> impl Iterator<Item = &Container> {
        self.containers.containers.iter().filter(move |it| self.place_of(it) == Some(id))
    }

    /// A process in a namespace, whose files are those that programs there see.
    pub(crate) fn process_in(&self, id: NamespaceId) -> Option<u32> {
        let listed = self.listed.get(id.0)?.process;
        self.containers_in(id).find_map(|it| it.pid).or(listed)
    }
}
