//! The commands that reverse a command whose objects could not be made.

use fairway_core::world::{Change, Command};
use fairway_model::{PortRange, Publication, UnpublishRequest};

/// The reverse of a command and its change. Commands that only remove objects have none: the Reconciler finishes
/// them.
pub(super) fn undo(command: &Command, change: &Change) -> Option<Command> {
    let sandbox = || change.sandbox.map(|id| id.to_string());
    let network = || change.network.map(|id| id.to_string());
    match command {
        Command::StartSandbox { .. } => sandbox().map(|sandbox| Command::CancelStart { sandbox }),
        // An attached sandbox is removed when it stops.
        Command::Attach { .. } => {
            sandbox().map(|sandbox| Command::StopSandbox { sandbox, exit: 0.into(), process: None })
        }
        Command::Join(request) => sandbox().map(|sandbox| Command::Leave {
            sandbox,
            networks: request.sandbox.network.names().map(str::to_owned).collect(),
        }),
        Command::RequestPool { .. } => change.allocated.map(|pool| Command::ReleasePool { pool }),
        Command::RequestAddress { pool, .. } => {
            let address = change.allocated.map(|address| address.addr());
            address.map(|address| Command::ReleaseAddress { pool: *pool, address })
        }
        Command::JoinEndpoint(request) => Some(Command::DeleteEndpoint { endpoint: request.id }),
        Command::ExternalConnectivity { endpoint, ports: Some(_) } => {
            Some(Command::ExternalConnectivity { endpoint: *endpoint, ports: None })
        }
        Command::Publish { .. } => sandbox().map(|sandbox| Command::Unpublish {
            sandbox,
            requests: change.published.iter().flat_map(exactly).collect(),
        }),
        // Not by names, which may be those of others by now.
        Command::Connect { .. } => {
            let (network, sandbox) = (network()?, sandbox()?);
            Some(Command::Disconnect { network, sandbox })
        }
        Command::CreateNetwork(_) => network().map(|network| Command::RemoveNetwork { network }),
        _ => None,
    }
}

/// The requests that unpublish one publication, port by port: single ports are looked up, ranges are compared.
fn exactly(publication: &Publication) -> impl Iterator<Item = UnpublishRequest> {
    let Publication { host_address, host_ports, protocol, .. } = *publication;
    host_ports.iter().map(move |port| UnpublishRequest {
        host_address: Some(host_address),
        host_ports: Some(PortRange::single(port)),
        container_ports: None,
        protocol,
    })
}
