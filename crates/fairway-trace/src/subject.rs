//! What a trace asks of the program that knows the containers.

use std::time::Duration;

use fairway_inspect::trace::Filter;
use fairway_model::Namespace;

/// How often the names of a request are resolved again by default.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// A network namespace to be traced, other than the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name in texts.
    pub label: String,
    /// The namespace.
    pub namespace: Namespace,
}

/// Knows which packets and namespaces a trace concerns, as containers start and stop.
pub trait Subject {
    /// The filter, as the names of the request resolve now; none if they do not resolve now.
    fn filter(&mut self) -> Option<Filter>;

    /// The namespaces that a filter concerns and that exist now, in the order of the filter. None ends the trace.
    fn namespaces(&mut self, filter: &Filter) -> Option<Vec<Watched>>;

    /// How long until the names are resolved again.
    fn pause(&self) -> Duration {
        RENEWAL
    }

    /// Whether conntrack is known to be on in the host's namespace, whatever its rules show.
    fn tracks(&self) -> bool {
        false
    }

    /// Whether tables that a killed process has left on the host are deleted later. Without it none is made where they
    /// can be left: before Linux 5.12 tables have no owners.
    fn sweeps(&self) -> bool {
        false
    }
}
