//! Notifies systemd that the daemon is ready (sd_notify(3)).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the service manager's socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that the daemon serves requests, if a service manager waits for it.
///
/// # Errors
/// The socket that it names cannot be reached.
#[expect(
    clippy::disallowed_methods,
    reason = "systemd passes the notification socket by the environment (sd_notify(3))"
)]
pub fn ready() -> io::Result<()> {
    let Some(name) = env::var_os(VARIABLE) else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}
