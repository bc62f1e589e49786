//! The log: to syslog, as the original's.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use super::NAME;

/// The socket of syslog (syslog(3)).
const SOCKET: &str = "/dev/log";

/// Facility `user`, severity `info` (RFC 3164 section 4.1.1).
const PRIORITY: u8 = 1 << 3 | 6;

/// Logs to syslog, from the level on that `RUST_LOG` names, else from `info` on. Without syslog nothing is logged.
#[expect(clippy::disallowed_methods, reason = "the original takes its level from RUST_LOG")]
pub(super) fn start() {
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse::<LevelFilter>().ok());
    let lines = fmt().with_max_level(level.unwrap_or(LevelFilter::INFO)).without_time().with_ansi(false);
    // This fails only if the process logs already.
    let _ = lines.with_target(false).with_writer(Syslog::open).try_init();
}

/// A writer of one line.
struct Syslog(Option<UnixDatagram>);

impl Syslog {
    fn open() -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.connect(SOCKET).map(|()| socket));
        Self(socket.ok())
    }
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(socket) = &self.0 {
            let head = format!("<{PRIORITY}>{NAME}[{}]: ", std::process::id());
            // A line that syslog does not take is lost.
            let _ = socket.send(&[head.as_bytes(), line.trim_ascii_end()].concat());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
