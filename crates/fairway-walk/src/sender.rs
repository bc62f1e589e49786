//! The program that sends a packet.

use super::topology::NamespaceId;

/// A program that makes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its namespace, by place in the topology.
    pub namespace: NamespaceId,
    /// The number of its user, if that is known.
    pub user: Option<u32>,
    /// The interface that it asks by, as in `fe80::1%eth0`; none when the route decides.
    pub interface: Option<u32>,
}

impl Sender {
    /// A program on a namespace of which no more is known.
    pub fn of(namespace: NamespaceId) -> Self {
        Self { namespace, user: None, interface: None }
    }
}
