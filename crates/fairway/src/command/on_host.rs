//! Answers without the daemon: reads this host, with the containers of all engines.

mod trace;

use fairway_api::types::Explained;
use fairway_api::{Client, ClientError};
use fairway_host::{Host, HostError};
use fairway_kernel::route::Links;
use fairway_walk::EndKind;

use super::engines::sandboxes;
use super::error::CommandError;
use super::print::warn;
pub(super) use trace::{TraceFailure, is_of_other_engine, trace};

/// Whether this program can answer what the daemon cannot: none runs, or it does not know what was named, which may be
/// a container of another engine.
pub(super) fn can_answer(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning { .. } | ClientError::Refused { status: 404, .. })
}

/// Whether the daemon's answer ends where a container of another engine may begin: at a veth of the host, whose other
/// end the daemon does not know. The host's own way out may be a veth too.
pub(super) fn goes_on(explained: &Explained) -> bool {
    if explained.answered.is_some() {
        return false;
    }
    let ends = explained.walks.iter().chain(explained.branches.iter().flat_map(|it| &it.walks));
    let left = ends.filter(|it| it.end.kind == EndKind::Leaves && it.end.namespace == "host");
    left.filter_map(|walk| walk.end.interface.as_deref()).any(|name| is_inner_veth(name).unwrap_or_default())
}

fn is_inner_veth(name: &str) -> Option<bool> {
    let links = Links::open().ok()?;
    let link = links.find(name).ok()??;
    let leads_out = links.default_routes().ok()?.iter().any(|route| route.interface == link.index);
    Some(link.kind.as_deref() == Some("veth") && !leads_out)
}

/// The same by what this host shows, if that can be read.
pub(super) fn explain_further(client: &mut Client, from: &str, to: &str) -> Option<Explained> {
    let host = Host::read(sandboxes(client).ok()?).ok()?;
    let found = host.explain(from, to).ok()?;
    Some(Explained::new(&found.branches, &found.topology, found.captures, found.advice))
}

/// Explains a packet by what this host shows. `failure` is the daemon's, which is reported where this program has no
/// right to read the host.
pub(super) fn explain(
    client: &mut Client,
    failure: ClientError,
    from: &str,
    to: &str,
) -> Result<Explained, CommandError> {
    let host = read(client, Some(failure))?;
    let found = host.explain(from, to)?;
    Ok(Explained::new(&found.branches, &found.topology, found.captures, found.advice))
}

/// Reads this host. `failure` is the daemon's, which is reported where this program has no right to read the host.
pub(super) fn read(client: &mut Client, failure: Option<ClientError>) -> Result<Host, CommandError> {
    let own = match sandboxes(client) {
        Ok(sandboxes) => sandboxes,
        Err(ClientError::NotRunning { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    match (Host::read(own), failure) {
        (Ok(host), _) => {
            host.notes().iter().for_each(|note| warn(note));
            Ok(host)
        }
        (Err(HostError::Rights { .. }), Some(failure @ ClientError::Refused { .. })) => Err(failure.into()),
        (Err(error), _) => Err(error.into()),
    }
}
