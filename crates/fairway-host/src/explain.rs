//! Explains the path of a packet through this host.

use fairway_inspect::explain::{
    ByTopology, Capture, CapturePlaces, KnownContainer, Resolved, captures, engine_advice,
};
use fairway_model::Protocol;
use fairway_walk::{
    Branches, ConnectionWalk, End, Listener, NamespaceId, Proxy, Topology, Walker, walk_branches,
};

use crate::error::HostError;
use crate::host::Host;
use crate::known::known;
use crate::source::Source;

/// The user that proxies of engines run as.
const ROOT: u32 = 0;

/// The path of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The walks in all branches; there is one at least.
    pub branches: Branches,
    /// The topology that they go through.
    pub topology: Topology,
    /// Where captures see it.
    pub captures: Vec<Capture>,
    /// What would let a lost packet through.
    pub advice: Option<String>,
}

impl Host {
    /// Walks a packet through this host, and through the namespaces that it comes to.
    ///
    /// # Errors
    /// The question is invalid ([`HostError::is_misuse`]), or a namespace cannot be read.
    pub fn explain(mut self, from: &str, to: &str) -> Result<Explanation, HostError> {
        let query = self.question(from, to)?;
        let Resolved { origin, tuple } = query.resolve(&ByTopology, &self.topology)?;
        let source = Source::new(&self);
        let proxy = Proxy { user: Some(ROOT) };
        let walker = Walker::with_source(&self.topology, &source).with_any_source_port();
        let branches = walk_branches(&walker, origin, tuple, proxy);
        let waiting: Vec<Vec<Listener>> =
            branches.branches.iter().map(|it| waiting(&source, &it.walk)).collect();
        let visited = source.into_visited();
        let known = self.known();
        // The host's rules may be very many, and are not copied.
        self.topology.replace_sandboxes(visited);
        let topology = &self.topology;
        let mut ends = branches.branches.iter().zip(&waiting);
        let advice =
            ends.find_map(|(it, waiting)| engine_advice(&known, topology, &query, &it.walk, waiting));
        // Of several branches, those of the longest way.
        let longest = branches.branches.iter().max_by_key(|it| it.walk.first.steps.len());
        let captures = longest.map(|it| captures(&it.walk, topology, &self)).unwrap_or_default();
        Ok(Explanation { branches, topology: self.topology, captures, advice })
    }
}

impl Host {
    /// The containers, as advice and pictures need them.
    pub(crate) fn known(&self) -> Vec<KnownContainer> {
        self.containers.containers.iter().map(|it| known(it, self.place_of(it))).collect()
    }
}

/// The sockets of the namespace in which no socket listened.
fn waiting(source: &Source<'_>, walk: &ConnectionWalk) -> Vec<Listener> {
    let End::NoListener { namespace, tuple } = walk.last_end() else { return Vec::new() };
    Protocol::from_number(tuple.protocol).map(|it| source.all_listeners(*namespace, it)).unwrap_or_default()
}

impl CapturePlaces for Host {
    fn path(&self, _: &Topology, namespace: NamespaceId) -> Option<String> {
        Some(self.listed.get(namespace.0)?.namespace.path.clone())
    }

    fn purpose(&self, interface: &str) -> String {
        let Some(found) = self.topology.host().interface_named(interface) else { return String::new() };
        match found.peer {
            Some((namespace, _)) if namespace != NamespaceId::HOST => {
                format!("the host's end, towards {}", self.topology.name(namespace))
            }
            _ if found.kind == "bridge" => "a bridge of the host".to_owned(),
            _ => "the host's own".to_owned(),
        }
    }
}
