//! Notifies systemd that the daemon is ready, and that it still answers (sd_notify(3)).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The variable that names the service manager's socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that the daemon serves requests, if a service manager waits for it.
///
/// # Errors
/// The socket that it names cannot be reached.
pub fn ready() -> io::Result<()> {
    send(b"READY=1")
}

/// Reports to the watchdog of the service manager that the daemon answers.
///
/// # Errors
/// As of [`ready`].
pub fn alive() -> io::Result<()> {
    send(b"WATCHDOG=1")
}

/// The time after which the service manager ends a daemon that has not reported; none if it does not watch this process
/// (sd_watchdog_enabled(3)).
#[expect(clippy::disallowed_methods, reason = "systemd passes the watchdog's time by the environment")]
pub fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let watched = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|time| watched && *time > 0).map(Duration::from_micros)
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd passes the notification socket by the environment (sd_notify(3))"
)]
fn send(message: &[u8]) -> io::Result<()> {
    let Some(name) = env::var_os(VARIABLE) else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}
