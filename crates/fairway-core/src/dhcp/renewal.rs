//! Renewal and release of leases (RFC 2131, sections 4.4.5 and 4.4.6).

use super::client::lease;
use super::frame::to_server;
use super::{Message, MessageType, SECOND};
use fairway_model::{Lease, LeaseIdentity, MacAddress};

/// The minimum interval between two requests.
const SHORTEST: i64 = SECOND / 2;
/// The interval between requests while a lease is lost.
const LOST: i64 = 60 * SECOND;

/// A change of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The lease was renewed.
    Renewed(Lease),
    /// The lease expired or its renewal was refused. Requests continue.
    Lost(Lease),
}

/// The renewal of a lease.
#[derive(Debug)]
pub struct Renewal {
    identity: LeaseIdentity,
    lease: Lease,
    transaction: u32,
    next: i64,
}

fn identity(lease: &Lease, hostname: &str) -> LeaseIdentity {
    LeaseIdentity { client: lease.client, mac: lease.mac, hostname: hostname.to_owned() }
}

impl Renewal {
    /// Renews a lease from now on, of any age. `transaction` should be random.
    pub fn new(lease: Lease, hostname: &str, transaction: u32, now: i64) -> Self {
        let identity = identity(&lease, hostname);
        let next = if lease.lost { now } else { lease.renew_at };
        Self { identity, lease, transaction, next }
    }

    /// The current lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The frame to send now, and the change of the lease, if any.
    pub fn poll(&mut self, now: i64) -> (Option<Vec<u8>>, Option<LeaseEvent>) {
        if now < self.next {
            return (None, None);
        }
        let ended = !self.lease.lost && now >= self.lease.expires_at;
        self.lease.lost |= ended;
        let until = if now < self.lease.rebind_at { self.lease.rebind_at } else { self.lease.expires_at };
        self.next = match self.lease.lost {
            true => now + LOST,
            // Half of the remaining time, as in the RFC, but not past the expiry.
            false => (now + ((until - now) / 2).max(SHORTEST)).min(self.lease.expires_at),
        };
        let mut message = Message::new(&self.identity, MessageType::Request, self.transaction);
        message.client_address = self.lease.address;
        let server = (self.lease.server_mac, self.lease.server);
        let event = ended.then(|| LeaseEvent::Lost(self.lease.clone()));
        (Some(to_server(&message, Some(server).filter(|_| now < self.lease.rebind_at))), event)
    }

    /// Processes a received message from `from`.
    pub fn receive(&mut self, from: MacAddress, message: &Message, now: i64) -> Option<LeaseEvent> {
        // Unsolicited messages are ignored.
        let asked = self.lease.lost || now >= self.lease.renew_at;
        if !asked || message.transaction != self.transaction || message.mac != self.identity.mac {
            return None;
        }
        if message.message_type == MessageType::Nak && !self.lease.lost {
            self.lease.lost = true;
            self.next = now + LOST;
            return Some(LeaseEvent::Lost(self.lease.clone()));
        }
        self.lease = lease(&self.identity, self.lease.address, from, message, now)?;
        self.next = self.lease.renew_at;
        Some(LeaseEvent::Renewed(self.lease.clone()))
    }
}

/// The frame that releases a lease.
pub fn release(lease: &Lease, transaction: u32) -> Vec<u8> {
    let mut message = Message::new(&identity(lease, ""), MessageType::Release, transaction);
    (message.client_address, message.server) = (lease.address, Some(lease.server));
    to_server(&message, Some((lease.server_mac, lease.server)))
}

/// The frame that declines a lease, since another host uses the address.
pub fn decline(lease: &Lease, transaction: u32) -> Vec<u8> {
    let mut message = Message::new(&identity(lease, ""), MessageType::Decline, transaction);
    (message.requested, message.server) = (Some(lease.address), Some(lease.server));
    to_server(&message, None)
}
