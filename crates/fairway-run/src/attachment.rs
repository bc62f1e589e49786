//! Clients at the streams of a supervised command.
//!
//! The supervisor of a command listens at a socket next to the log. A connection begins
//! with one byte that says what the client is there for ([`Purpose`]). One that attaches gets all that the command writes
//! from then on, as Docker frames it (`moby/api`, "Stream format"): as it is from a terminal, else in frames with the
//! number of the stream and a length. What it sends is input, until it ends its direction.

mod listener;
pub(super) mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What a client is there for: the first byte of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Output alone.
    Output,
    /// Output and input.
    Both,
    /// A new size of the terminal: rows and columns follow, two bytes each in network order.
    Resize,
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Output => b'o',
            Self::Both => b'b',
            Self::Resize => b'r',
        }
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Output, Self::Both, Self::Resize].into_iter().find(|purpose| purpose.byte() == byte)
    }
}

/// The socket of the supervisor that writes a log.
pub(super) fn socket_of(log: &Path) -> PathBuf {
    log.with_extension("attach")
}

/// Attaches to the command whose output goes to a log: its streams; none if no supervisor listens.
///
/// # Errors
/// As connect(2).
pub fn attach(log: &Path, with_input: bool) -> io::Result<Option<UnixStream>> {
    let purpose = if with_input { Purpose::Both } else { Purpose::Output };
    connect(log, &[purpose.byte()])
}

/// Sets the size in characters of the terminal of the command whose output goes to a log. Returns whether a supervisor
/// listens.
///
/// # Errors
/// As connect(2).
pub fn resize(log: &Path, rows: u16, columns: u16) -> io::Result<bool> {
    let message = [&[Purpose::Resize.byte()][..], &rows.to_be_bytes(), &columns.to_be_bytes()].concat();
    Ok(connect(log, &message)?.is_some())
}

fn connect(log: &Path, first: &[u8]) -> io::Result<Option<UnixStream>> {
    let connected = with_short_path(&socket_of(log), UnixStream::connect);
    let mut stream = match connected {
        Ok(stream) => stream,
        // There is none, or it is that of a supervisor that was killed.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match io::Write::write_all(&mut stream, first) {
        // Its command ended just now.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        sent => sent.map(|()| Some(stream)),
    }
}

/// Uses the path of a socket by an open directory: that of a socket may have 108 bytes at most (unix(7)).
pub(super) fn with_short_path<T>(
    path: &Path,
    use_path: impl FnOnce(PathBuf) -> io::Result<T>,
) -> io::Result<T> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(directory)?;
    use_path(Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}
