//! Reads namespaces when a packet comes to them, and their set elements and sockets one by one.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use fairway_kernel::namespace;
use fairway_kernel::survey::{self, Details};
use fairway_model::Protocol;
use fairway_ruleset::{Element, Set, Table};
use fairway_walk::{Listener, NamespaceId, ObservedNamespace, StateSource};

use crate::error::HostError;
use crate::host::Host;
use crate::socket_owner;

/// A namespace that a packet came to.
#[derive(Debug)]
struct Visited {
    observed: ObservedNamespace,
    details: Details,
}

/// The state of the host and of its other namespaces, each from when the first packet comes to it.
#[derive(Debug)]
pub struct Source<'h> {
    host: &'h Host,
    /// By [`NamespaceId`]; the host's own was read before.
    visited: Vec<OnceCell<Visited>>,
    /// The sockets at ports that were looked up: finding their processes takes milliseconds.
    sockets: RefCell<BTreeMap<(NamespaceId, u8, u16), Vec<Listener>>>,
}

impl<'h> Source<'h> {
    /// A source that has read nothing but the host's own namespace.
    pub fn new(host: &'h Host) -> Self {
        let visited = host.listed.iter().map(|_| OnceCell::new()).collect();
        Self { host, visited, sockets: RefCell::default() }
    }

    /// The namespaces that were read.
    pub fn into_visited(self) -> BTreeMap<NamespaceId, ObservedNamespace> {
        let read = self.visited.into_iter().enumerate();
        read.filter_map(|(id, it)| Some((NamespaceId(id), it.into_inner()?.observed))).collect()
    }

    fn details(&self, id: NamespaceId) -> Result<&Details, String> {
        if id == NamespaceId::HOST {
            return Ok(&self.host.details);
        }
        let visited = self.visited.get(id.0).and_then(OnceCell::get);
        Ok(&visited.ok_or("it was not read")?.details)
    }

    fn read(&self, id: NamespaceId) -> Result<Visited, HostError> {
        let listed = self
            .host
            .listed
            .get(id.0)
            .ok_or_else(|| HostError::Unseen(self.host.topology.name(id).to_owned()))?;
        let handle = namespace::open(&listed.namespace)?;
        let look = || Ok::<_, survey::Error>((survey::outline("")?, Details::open()?));
        let (survey, details) = self.host.workers.run(&handle, look)??;
        Ok(Visited { observed: self.host.topology.with_ties(id, survey.namespace), details })
    }

    /// All sockets of a namespace that listen, of one transport protocol.
    pub fn all_listeners(&self, id: NamespaceId, protocol: Protocol) -> Vec<Listener> {
        const EVERY_PORT: u16 = 0;
        let found = self.details(id).ok().map(|it| it.listeners_at(protocol, EVERY_PORT));
        found.and_then(Result::ok).unwrap_or_default()
    }
}

impl StateSource for Source<'_> {
    fn element(
        &self,
        id: NamespaceId,
        table: &Table,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, String> {
        self.details(id)?.element(table, set, key).map_err(|error| error.to_string())
    }

    fn elements(&self, id: NamespaceId, table: &Table, set: &Set) -> Result<Option<Vec<Element>>, String> {
        self.details(id)?.elements(table, set).map(Some).map_err(|error| error.to_string())
    }

    fn listeners(&self, id: NamespaceId, number: u8, port: u16) -> Result<Vec<Listener>, String> {
        if let Some(known) = self.sockets.borrow().get(&(id, number, port)) {
            return Ok(known.clone());
        }
        let Some(protocol) = Protocol::from_number(number) else {
            return Ok(Vec::new());
        };
        let mut found = self.details(id)?.listeners_at(protocol, port).map_err(|error| error.to_string())?;
        let containers = &self.host.containers.containers;
        found.iter_mut().for_each(|it| socket_owner::identify(it, containers));
        self.sockets.borrow_mut().insert((id, number, port), found.clone());
        Ok(found)
    }

    fn namespace(&self, id: NamespaceId) -> Result<Option<&ObservedNamespace>, String> {
        if id == NamespaceId::HOST {
            return Ok(None);
        }
        let Some(cell) = self.visited.get(id.0) else { return Ok(None) };
        if let Some(known) = cell.get() {
            return Ok(Some(&known.observed));
        }
        let read = self.read(id).map_err(|error| error.to_string())?;
        Ok(Some(&cell.get_or_init(|| read).observed))
    }
}
