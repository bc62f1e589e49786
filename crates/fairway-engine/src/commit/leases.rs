//! Exchanges with the DHCP servers of LANs.

use std::time::{Duration, Instant};

use fairway_core::dhcp::{Client, parse_frame};
use fairway_kernel::clock;
use fairway_kernel::dhcp::Socket;
use fairway_model::{Lease, LeaseRequest};

use crate::apply::Applier;
use crate::{ApplyError, EngineError};

pub(crate) fn transaction() -> u32 {
    // Without randomness from the kernel the process number tells clients apart.
    getrandom::u32().unwrap_or_else(|_| std::process::id())
}

fn dhcp_port(applier: &Applier, parent: &str) -> Result<Socket, ApplyError> {
    let interface = applier.links(|links| links.index(parent))?;
    Ok(Socket::open(interface)?)
}

/// Sends a message that the server does not answer. If the message is lost the lease expires on its own.
pub(crate) fn notify_server(applier: &Applier, parent: &str, frame: &[u8]) {
    let sent = dhcp_port(applier, parent).and_then(|port| Ok(port.send(frame)?));
    if let Err(error) = sent {
        tracing::debug!(%error, parent, "failed to notify the DHCP server on {parent}: {error}; the lease expires on its own");
    }
}

/// Gets a lease from the DHCP server on a LAN. No lock is held meanwhile.
pub(super) fn ask(applier: &Applier, request: &LeaseRequest) -> Result<Lease, EngineError> {
    let port = dhcp_port(applier, &request.parent)?;
    let mut client = Client::new(request.identity.clone(), transaction(), clock::boot());
    loop {
        let due = client.poll(clock::boot()).map_err(|failure| EngineError::NoLease {
            parent: request.parent.clone(),
            network: request.network.clone(),
            failure,
        })?;
        if let Some(frame) = due {
            port.send(&frame).map_err(ApplyError::from)?;
        }
        let left = u64::try_from(client.next_poll() - clock::boot()).unwrap_or(0);
        let heard = port.receive(Instant::now() + Duration::from_nanos(left)).map_err(ApplyError::from)?;
        let Some((from, message)) = heard.and_then(|frame| parse_frame(&frame)) else { continue };
        if let Some(lease) = client.receive(from, &message, clock::boot()) {
            tracing::info!(network = request.network, address = %lease.address, server = %lease.server,
                    "leased {} for network {} from DHCP server {}", lease.address, request.network, lease.server);
            return Ok(lease.by_clock(clock::offset()));
        }
    }
}
