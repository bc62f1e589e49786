//! Obtaining a lease: discover, offer, request, acknowledgement (RFC 2131, section 3.1).

use std::net::Ipv4Addr;

use thiserror::Error;

use super::frame::to_server;
use super::{Message, MessageType, SECOND};
use fairway_model::{Lease, LeaseIdentity, MacAddress};

/// The retransmission intervals of a message, in seconds. They are shorter and fewer than in RFC 2131, since a command
/// waits for the address. Servers that probe an address before they offer it take three seconds.
const PAUSES: [i64; 3] = [1, 2, 4];
/// The time to wait for servers, in seconds.
pub const TIMEOUT_SECONDS: i64 = 7;
/// The number of NAKs after offers before the client gives up.
const REFUSALS: u32 = 2;

/// The reason why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// No server answered, or the offering server stopped answering.
    #[error("no DHCP server answered within {TIMEOUT_SECONDS} s")]
    Silence,
    /// A server refuses its own offers.
    #[error("the DHCP server {0} refused what it had offered")]
    Refused(Ipv4Addr),
}

/// A client without a lease.
#[derive(Debug)]
pub struct Client {
    identity: LeaseIdentity,
    transaction: u32,
    /// The accepted offer.
    offer: Option<Message>,
    tries: usize,
    refusals: u32,
    next: i64,
}

impl Client {
    /// A client that starts now. `transaction` should be random.
    pub fn new(identity: LeaseIdentity, transaction: u32, now: i64) -> Self {
        Self { identity, transaction, offer: None, tries: 0, refusals: 0, next: now }
    }

    /// The time of the next call of [`Client::poll`].
    pub fn next_poll(&self) -> i64 {
        self.next
    }

    /// The frame to send now, if any.
    ///
    /// # Errors
    /// [`LeaseError`] after the last retransmission or refusal.
    pub fn poll(&mut self, now: i64) -> Result<Option<Vec<u8>>, LeaseError> {
        if let Some(Message { server: Some(server), .. }) = self.offer
            && self.refusals >= REFUSALS
        {
            return Err(LeaseError::Refused(server));
        }
        if now < self.next {
            return Ok(None);
        }
        let pause = *PAUSES.get(self.tries).ok_or(LeaseError::Silence)?;
        self.tries += 1;
        self.next = now + pause * SECOND;
        let message_type = if self.offer.is_some() { MessageType::Request } else { MessageType::Discover };
        let mut message = Message::new(&self.identity, message_type, self.transaction);
        message.broadcast = true;
        if let Some(offer) = &self.offer {
            (message.requested, message.server) = (Some(offer.your_address), offer.server);
        }
        Ok(Some(to_server(&message, None)))
    }

    /// Processes a received message from `from`, and returns the lease once it is acknowledged.
    pub fn receive(&mut self, from: MacAddress, message: &Message, now: i64) -> Option<Lease> {
        if message.transaction != self.transaction || message.mac != self.identity.mac {
            return None;
        }
        match (&self.offer, message.message_type) {
            (None, MessageType::Offer)
                if message.server.is_some() && !message.your_address.is_unspecified() =>
            {
                self.offer = Some(message.clone());
                (self.tries, self.next) = (0, now);
                None
            }
            (Some(offer), MessageType::Nak) if message.server == offer.server => {
                self.refusals += 1;
                if self.refusals < REFUSALS {
                    (self.offer, self.tries) = (None, 0);
                }
                self.next = now;
                None
            }
            (Some(offer), MessageType::Ack) if message.server == offer.server => {
                lease(&self.identity, offer.your_address, from, message, now)
            }
            _ => None,
        }
    }
}

/// The lease of a matching acknowledgement.
pub(super) fn lease(
    identity: &LeaseIdentity,
    address: Ipv4Addr,
    from: MacAddress,
    message: &Message,
    now: i64,
) -> Option<Lease> {
    let length = i64::from(message.lease_seconds.filter(|seconds| *seconds > 0)?) * SECOND;
    if message.message_type != MessageType::Ack || message.your_address != address {
        return None;
    }
    // The defaults of RFC 2131, section 4.4.5, for missing and invalid times.
    let after = |seconds: Option<u32>, least: i64, most: i64, default: i64| {
        let asked = seconds.map(|seconds| i64::from(seconds) * SECOND);
        asked.filter(|after| (least..=most).contains(after)).unwrap_or(default.clamp(least, most))
    };
    let rebind = after(message.rebinding_seconds, 1, length, length / 8 * 7);
    let renew = after(message.renewal_seconds, 1, rebind, length / 2);
    Some(Lease {
        address,
        netmask: message.netmask,
        mac: identity.mac,
        client: identity.client,
        server: message.server?,
        server_mac: from,
        renew_at: now + renew,
        rebind_at: now + rebind,
        expires_at: now + length,
        lost: false,
    })
}
