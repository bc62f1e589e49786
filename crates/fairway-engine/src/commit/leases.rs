//! Addresses from the DHCP servers of LANs: leased before a command is decided, released when it fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fairway_core::dhcp::{Client, decline, parse_frame, release};
use fairway_kernel::dhcp::Socket;
use fairway_model::{Lease, LeaseRequest, NetworkId};

use super::Committer;
use crate::{ApplyError, EngineError};

/// How often another lease is requested when another host has the leased address.
const DECLINES: usize = 3;

/// The leases of a command.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    had: Vec<(NetworkId, Lease)>,
    /// The interface on which each network's DHCP server is.
    parents: BTreeMap<NetworkId, String>,
    declined: usize,
}

impl Leases {
    /// The leases, as the World takes them.
    pub fn had(&self) -> &[(NetworkId, Lease)] {
        &self.had
    }
}

pub(crate) fn transaction() -> u32 {
    // Without randomness from the kernel the process number tells clients apart.
    getrandom::u32().unwrap_or_else(|_| std::process::id())
}

impl Committer {
    fn dhcp_port(&self, parent: &str) -> Result<Socket, ApplyError> {
        let interface = self.applier.links(|links| links.index(parent))?;
        Ok(Socket::open(interface)?)
    }

    /// Handles the failure of a command: requests or declines a lease. Returns true if the command is to be retried
    /// with the leases as they are now; releases them otherwise.
    ///
    /// # Errors
    /// No server leases an address that the command needs.
    pub fn lease_after(&self, failure: &EngineError, leases: &mut Leases) -> Result<bool, EngineError> {
        match failure {
            EngineError::LeaseNeeded(request)
                if !leases.had.iter().any(|(network, _)| *network == request.network) =>
            {
                let lease = self.ask_for_lease(request).inspect_err(|_| self.release_all(leases))?;
                leases.parents.insert(request.network, request.parent.clone());
                leases.had.push((request.network, lease));
                Ok(true)
            }
            EngineError::AddressInUse { address, mac, .. } if leases.declined < DECLINES => {
                let Some(at) = leases.had.iter().position(|(_, lease)| lease.address == *address) else {
                    self.release_all(leases);
                    return Ok(false);
                };
                let (network, lease) = leases.had.remove(at);
                leases.declined += 1;
                tracing::warn!(%address, %mac, server = %lease.server, "declined lease of {address}: {mac} on the LAN has the address");
                if let Some(parent) = leases.parents.get(&network) {
                    self.notify_server(parent, &decline(&lease, transaction()));
                }
                Ok(true)
            }
            _ => {
                self.release_all(leases);
                Ok(false)
            }
        }
    }

    fn release_all(&self, leases: &mut Leases) {
        for (network, lease) in std::mem::take(&mut leases.had) {
            if let Some(parent) = leases.parents.get(&network) {
                self.notify_server(parent, &release(&lease, transaction()));
            }
        }
    }

    /// Sends a message that the server does not answer. If the message is lost the lease expires on its own.
    pub fn notify_server(&self, parent: &str, frame: &[u8]) {
        let sent = self.dhcp_port(parent).and_then(|port| Ok(port.send(frame)?));
        if let Err(error) = sent {
            tracing::debug!(%error, parent, "failed to notify the DHCP server on {parent}: {error}; the lease expires on its own");
        }
    }

    fn ask_for_lease(&self, request: &LeaseRequest) -> Result<Lease, EngineError> {
        let port = self.dhcp_port(&request.parent)?;
        let mut client = Client::new(request.identity.clone(), transaction(), self.now());
        loop {
            let due = client.poll(self.now()).map_err(|failure| EngineError::NoLease {
                parent: request.parent.clone(),
                network: request.network_name.clone(),
                failure,
            })?;
            if let Some(frame) = due {
                port.send(&frame).map_err(ApplyError::from)?;
            }
            let left = u64::try_from(client.next_poll() - self.now()).unwrap_or(0);
            let heard =
                port.receive(Instant::now() + Duration::from_nanos(left)).map_err(ApplyError::from)?;
            let Some((from, message)) = heard.and_then(|frame| parse_frame(&frame)) else { continue };
            if let Some(lease) = client.receive(from, &message, self.now()) {
                tracing::info!(network = request.network_name, address = %lease.address, server = %lease.server,
                    "leased {} for network {} from DHCP server {}", lease.address, request.network_name, lease.server);
                return Ok(lease);
            }
        }
    }
}
