//! A terminal for a command in a container (pty(7)).

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hyper::body::Bytes;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::sync::{mpsc, oneshot};

use super::hijack::PIECE;

/// The daemon's end of a terminal.
#[derive(Debug)]
pub(super) struct Terminal(File);

impl Terminal {
    /// Makes a terminal.
    ///
    /// # Errors
    /// The kernel has no more of them.
    pub(super) fn open() -> io::Result<Self> {
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&end)?;
        unlockpt(&end)?;
        Ok(Self(end.into()))
    }

    /// The command's end, as its three streams.
    pub(super) fn streams(&self) -> io::Result<[OwnedFd; 3]> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let first = ioctl_tiocgptpeer(&self.0, flags)?;
        let (second, third) = (first.try_clone()?, first.try_clone()?);
        Ok([first, second, third])
    }

    /// Sets the size in characters; 0 leaves it unknown.
    pub(super) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.0, size)?)
    }

    /// Writes what `input` receives, and sends what the command prints. The future ends when the command's end is closed
    /// and all was sent.
    ///
    /// # Errors
    /// There are no more threads.
    pub(super) fn copy(
        self: &Arc<Self>,
        mut input: mpsc::Receiver<Bytes>,
        output: mpsc::Sender<Bytes>,
    ) -> io::Result<impl Future<Output = ()> + use<>> {
        let (terminal, reader) = (Arc::clone(self), Arc::clone(self));
        let (done, copied) = oneshot::channel();
        let thread = || std::thread::Builder::new().name("terminal".to_owned());
        thread().spawn(move || {
            let mut piece = vec![0; PIECE];
            // EIO says that the command's end is closed.
            while let Ok(read @ 1..) = (&reader.0).read(&mut piece) {
                // Read on for a client that is gone: else the command would wait.
                let read = piece.get(..read).unwrap_or_default();
                let _ = output.blocking_send(Bytes::copy_from_slice(read));
            }
            let _ = done.send(());
        })?;
        thread().spawn(move || {
            while let Some(piece) = input.blocking_recv() {
                if (&terminal.0).write_all(&piece).is_err() {
                    return;
                }
            }
        })?;
        Ok(async move { drop(copied.await) })
    }
}
