//! What an engine that has ended left: its store, and the relay that goes on without it.

use std::path::Path;

use fairway_kernel::unix_socket;
use fairway_store::Store;
use rustix::net::SocketType;

use crate::commit::records::STORE;
use crate::engine::RELAY_SOCKET;

/// Whether there is a World below a data root.
pub fn has_store(data_root: &Path) -> bool {
    Store::exists(&data_root.join(STORE))
}

/// Whether a relay runs for an exec root.
pub fn has_relay(exec_root: &Path) -> bool {
    unix_socket::is_served(&exec_root.join(RELAY_SOCKET), SocketType::SEQPACKET)
}
