//! The names of networks and sandboxes that the daemon knows, for what is like a name that it does not know, and for
//! completions.

use fairway_api::Client;
use fairway_api::filter::Filters;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Network,
    Sandbox,
    /// Either.
    Any,
}

/// The names of that kind; none if the daemon does not answer.
pub(super) fn names(client: &mut Client, kind: Kind) -> Vec<String> {
    let mut names = Vec::new();
    if kind != Kind::Sandbox {
        let networks = client.networks(&Filters::default()).unwrap_or_default();
        names.extend(networks.into_iter().map(|network| network.name));
    }
    if kind != Kind::Network {
        let sandboxes = client.containers(true, &Filters::default()).unwrap_or_default();
        let named = sandboxes.into_iter().flat_map(|sandbox| sandbox.names);
        names.extend(named.map(|name| name.trim_start_matches('/').to_owned()));
    }
    names
}
