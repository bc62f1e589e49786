//! Answers without the daemon: reads this host, with the containers of all engines.

use fairway_api::types::Explained;
use fairway_api::{Client, ClientError};
use fairway_host::{Host, HostError};

use super::engines::sandboxes;
use super::error::CommandError;
use super::print::warn;

/// Whether this program can answer what the daemon cannot: none runs, or it does not know what was named, which may be
/// a container of another engine.
pub(super) fn can_answer(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning { .. } | ClientError::Refused { status: 404, .. })
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
