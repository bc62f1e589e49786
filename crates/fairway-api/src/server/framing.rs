//! How the output of processes is sent to Docker's clients.

use fairway_model::Sandbox;
use hyper::body::Bytes;

/// How output is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// As it is: that of a terminal.
    Raw,
    /// In frames that name their stream, as Docker's `stdcopy` reads them.
    Multiplexed,
}

impl Framing {
    /// How a client expects what a container writes: as it is if it asked for a terminal, which Fairway's have not.
    pub(super) fn of(sandbox: &Sandbox) -> Self {
        if sandbox.options.tty { Self::Raw } else { Self::Multiplexed }
    }

    /// The type of a body.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Raw => "application/vnd.docker.raw-stream",
            Self::Multiplexed => "application/vnd.docker.multiplexed-stream",
        }
    }

    /// A piece of output as it is sent: with the number of its stream and its length before it.
    pub(super) fn frame(self, stream: u8, piece: &[u8]) -> Bytes {
        match self {
            Self::Raw => Bytes::copy_from_slice(piece),
            Self::Multiplexed => {
                let length = u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes();
                [&[stream, 0, 0, 0], &length[..], piece].concat().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_dockers() {
        assert_eq!(Framing::Multiplexed.frame(2, b"no\n"), &[2, 0, 0, 0, 0, 0, 0, 3, b'n', b'o', b'\n'][..]);
        assert_eq!(Framing::Raw.frame(2, b"no\n"), &b"no\n"[..]);
    }
}
