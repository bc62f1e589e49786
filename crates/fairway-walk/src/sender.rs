//! The program that sends a packet.

use super::topology::NamespaceId;

/// The user and the group of programs of which nothing else is known.
pub const ROOT: u32 = 0;

/// A program that sends packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its namespace, by place in the topology.
    pub namespace: NamespaceId,
    /// The number of its user; none is root.
    pub user: Option<u32>,
    /// The interface that it sends by, as in `fe80::1%eth0`; none when the route decides.
    pub interface: Option<u32>,
}

impl Sender {
    /// A program in a namespace, without user and interface.
    pub fn of(namespace: NamespaceId) -> Self {
        Self { namespace, user: None, interface: None }
    }
}
