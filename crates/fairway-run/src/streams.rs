//! The streams of a supervised command: pipes or a terminal, which go to the log and to the clients that are attached.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use super::attachment::server::{Attachments, Input, set_size};
use super::launch::Output;
use super::log::{Log, Stream};
use super::{Identity, Launch, Running};

/// How long a command waits for clients that said they would attach.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much output is read at once.
const PIECE: usize = 16 << 10;
/// How many pieces a stream has before clients and the other stream have their turn.
const PIECES_IN_TURN: usize = 16;

/// The ends of the streams that the command gets, and the supervisor's end of its input or terminal.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) input: OwnedFd,
    pub(super) output: Output,
    ours: Option<OwnedFd>,
}

impl Ends {
    /// Makes a terminal, or pipes and an input that is empty unless clients can write to it.
    pub(super) fn open(launch: &Launch) -> io::Result<Self> {
        if let Some(size) = launch.terminal {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let ours = openpt(flags)?;
            grantpt(&ours)?;
            unlockpt(&ours)?;
            set_size(&ours, size);
            let input = ioctl_tiocgptpeer(&ours, flags)?;
            give(&input, launch.identity.as_ref());
            let output = Output::Terminal(input.try_clone()?);
            return Ok(Self { input, output, ours: Some(ours) });
        }
        if launch.input {
            let (input, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            give(&input, launch.identity.as_ref());
            return Ok(Self { input, output: Output::Piped, ours: Some(ours) });
        }
        Ok(Self { input: File::open("/dev/null")?.into(), output: Output::Piped, ours: None })
    }
}

/// Gives a stream to the user that the command runs as, which opens `/dev/stdout` else in vain.
pub(super) fn give(stream: impl AsFd, identity: Option<&Identity>) {
    if let Some(identity) = identity {
        // Where that is refused the command can use the stream that it has.
        let _ = fchown(stream, Some(Uid::from_raw(identity.user)), Some(Gid::from_raw(identity.group)));
    }
}

/// The supervisor's ends of the streams.
#[derive(Debug)]
pub(super) struct Streams {
    out: Option<File>,
    err: Option<File>,
    attachments: Attachments,
}

impl Streams {
    /// Begins to listen for clients.
    pub(super) fn listen(log: &Path, launch: &Launch, ends: &Ends) -> io::Result<Self> {
        ends.ours.as_ref().map(nonblocking).transpose()?;
        let file = |wanted: bool| {
            let ours = ends.ours.as_ref().filter(|_| wanted);
            ours.map(|ours| ours.try_clone().map(File::from)).transpose()
        };
        // A terminal stays when a client leaves it.
        let once = launch.input_once && launch.terminal.is_none();
        let input = file(launch.input)?.map(|file| Input::new(file, once));
        let has_terminal = launch.terminal.is_some();
        let attachments = Attachments::listen(log, input, file(has_terminal)?)?;
        Ok(Self { out: file(has_terminal)?, err: None, attachments })
    }

    /// Waits until so many clients are attached, but not for ever.
    pub(super) fn await_clients(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let attachments = &mut self.attachments;
        while attachments.count() < count {
            attachments.turn();
            let left = deadline.saturating_duration_since(Instant::now());
            if attachments.count() >= count || left.is_zero() {
                return;
            }
            let mut watched = Vec::new();
            attachments.watch(&mut watched);
            let timeout = Timespec::try_from(left).ok();
            // What it fails with here it fails with again.
            let _ = rustix::io::retry_on_intr(|| poll(&mut watched, timeout.as_ref()));
        }
    }

    /// Takes the pipes of a command that runs.
    pub(super) fn take_output(&mut self, running: &mut Running) {
        let Some((out, err)) = running.take_output() else { return };
        let [out, err] = [OwnedFd::from(out), OwnedFd::from(err)];
        for pipe in [&out, &err] {
            // A pipe that blocks delays the supervisor, and loses nothing.
            let _ = nonblocking(pipe);
        }
        (self.out, self.err) = (Some(out.into()), Some(err.into()));
    }

    /// Does what can be done without waiting, for clients and each stream in turn; `all` takes all output, also what
    /// clients are too slow for.
    pub(super) fn turn(&mut self, log: &mut Log, all: bool) {
        let Self { out, err, attachments } = self;
        attachments.turn();
        drain(out, Stream::Stdout, log, attachments, all);
        drain(err, Stream::Stderr, log, attachments, all);
    }

    /// What there is to wait for.
    pub(super) fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        self.attachments.watch(watched);
        if !self.attachments.is_full() {
            let pipes = self.out.iter().chain(&self.err);
            watched.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        }
    }

    /// Sends clients the rest of the output.
    pub(super) fn finish(self) {
        self.attachments.finish();
    }
}

fn nonblocking(stream: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_setfl(stream, OFlags::NONBLOCK)?)
}

/// Moves what is in a pipe to the log and the clients, as [`Streams::turn`] says, and forgets the pipe at its end.
fn drain(pipe: &mut Option<File>, stream: Stream, log: &mut Log, attachments: &mut Attachments, all: bool) {
    let (mut buffer, mut pieces) = ([0; PIECE], 0);
    while let Some(reader) = pipe {
        if !all && (pieces == PIECES_IN_TURN || attachments.is_full()) {
            return;
        }
        pieces += 1;
        match reader.read(&mut buffer) {
            Ok(length) if length > 0 => {
                let piece = &buffer[..length];
                // What a full disk refuses is lost: the command must not be held up by it.
                let _ = log.write(stream, piece);
                attachments.write(stream, piece);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The end, which is EIO of a terminal.
            Ok(_) | Err(_) => *pipe = None,
        }
    }
}
