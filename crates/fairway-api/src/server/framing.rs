//! How the output of processes is sent to Docker's clients.

use fairway_model::Sandbox;
use hyper::body::Bytes;

/// The length of the head of a frame.
const HEAD: usize = 8;
/// The number of the stream of errors in it.
const ERRORS: u8 = 2;

/// How output is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// As it is: that of a terminal.
    Raw,
    /// In frames that name their stream, as Docker's `stdcopy` reads them.
    Multiplexed,
}

impl Framing {
    /// How a client expects what a container writes: as it is if it has a terminal.
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

/// Passes on the frames of some streams alone. Their bytes come in pieces of any size.
#[derive(Debug)]
pub(super) struct Selection {
    output: bool,
    errors: bool,
    /// The begun head of a frame.
    head: Vec<u8>,
    /// How much of the present frame is missing, and whether it is passed on.
    left: usize,
    passes: bool,
}

impl Selection {
    /// The frames of the output, and those of the errors, if they are wanted.
    pub(super) fn of([output, errors]: [bool; 2]) -> Self {
        Self { output, errors, head: Vec::new(), left: 0, passes: false }
    }

    /// What of a piece is passed on.
    pub(super) fn pass(&mut self, mut piece: &[u8]) -> Vec<u8> {
        let mut passed = Vec::new();
        while !piece.is_empty() {
            let missing = if self.left > 0 { self.left } else { HEAD - self.head.len() };
            let (part, rest) = piece.split_at(missing.min(piece.len()));
            piece = rest;
            if self.left > 0 {
                self.left -= part.len();
                passed.extend(part.iter().filter(|_| self.passes));
                continue;
            }
            self.head.extend(part);
            if let [stream, _, _, _, length @ ..] = self.head.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                self.passes = if *stream == ERRORS { self.errors } else { self.output };
                self.left = u32::from_be_bytes(length) as usize;
                passed.extend(self.head.drain(..).filter(|_| self.passes));
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_selected_whatever_their_pieces_are() {
        let frames = [(1, "out"), (2, "no"), (1, ""), (2, "never"), (1, "end")];
        let sent = |stream: &dyn Fn(u8) -> bool| {
            let sent = frames.iter().filter(|(number, _)| stream(*number));
            sent.flat_map(|(number, text)| Framing::Multiplexed.frame(*number, text.as_bytes()))
                .collect::<Vec<_>>()
        };
        let all = sent(&|_| true);
        for size in 1..=all.len() {
            for (wanted, number) in [([true, false], 1), ([false, true], 2)] {
                let mut selection = Selection::of(wanted);
                let passed: Vec<u8> = all.chunks(size).flat_map(|piece| selection.pass(piece)).collect();
                assert_eq!(passed, sent(&|it| it == number), "{size}");
            }
            let mut none = Selection::of([false, false]);
            assert!(all.chunks(size).all(|piece| none.pass(piece).is_empty()));
        }
    }

    #[test]
    fn frames_are_dockers() {
        assert_eq!(Framing::Multiplexed.frame(2, b"no\n"), &[2, 0, 0, 0, 0, 0, 0, 3, b'n', b'o', b'\n'][..]);
        assert_eq!(Framing::Raw.frame(2, b"no\n"), &b"no\n"[..]);
    }
}
