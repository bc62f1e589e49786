//! The supervisor's half: it accepts clients, sends them output, and takes their input.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcsetwinsize};

use super::listener::Listener;
use super::{Purpose, socket_of};
use crate::log::Stream;

/// How many clients a command has at once; further ones wait.
const MOST_CLIENTS: usize = 128;
/// How much output waits for a client before the command has to wait, as in Docker.
const MOST_OUTPUT: usize = 1_000_000;
/// How much input waits for the command before clients have to wait.
const MOST_INPUT: usize = 64 << 10;
/// How much is read at once.
const PIECE: usize = 16 << 10;
/// How long clients have to take the rest of the output when the command has ended, all together: its end is reported then.
const LAST: Duration = Duration::from_secs(10);

/// The clients of one command.
#[derive(Debug)]
pub(crate) struct Attachments {
    listener: Listener,
    path: PathBuf,
    clients: Vec<Client>,
    input: Option<Input>,
    /// Whether the command has a terminal: its output is not framed.
    terminal: Option<File>,
}

/// The input of the command.
#[derive(Debug)]
pub(crate) struct Input {
    file: File,
    pending: VecDeque<u8>,
    /// Whether it ends with the first client that ends its own.
    once: bool,
    ended: bool,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// The first bytes, until they are complete.
    greeting: Vec<u8>,
    purpose: Option<Purpose>,
    output: VecDeque<u8>,
    /// Whether it may still send.
    sends: bool,
    gone: bool,
}

impl Input {
    /// The input by this end of a pipe or terminal, which does not block.
    pub(crate) fn new(file: File, once: bool) -> Self {
        Self { file, pending: VecDeque::new(), once, ended: false }
    }

    /// Writes what waits; returns whether the input goes on.
    fn write(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.file.write(self.pending.as_slices().0) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The command has closed its input.
                Err(_) => return false,
            }
        }
        !self.ended
    }
}

impl Attachments {
    /// Listens at the socket of a log. `terminal` is the supervisor's end of the command's terminal.
    pub(crate) fn listen(log: &Path, input: Option<Input>, terminal: Option<File>) -> io::Result<Self> {
        let path = socket_of(log);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Listener::bind(&path)?;
        Ok(Self { listener, path, clients: Vec::new(), input, terminal })
    }

    /// How many clients are attached.
    pub(crate) fn count(&self) -> usize {
        let attached = |client: &&Client| matches!(client.purpose, Some(Purpose::Output | Purpose::Both));
        self.clients.iter().filter(attached).count()
    }

    /// Whether the command has to wait with its output.
    pub(crate) fn is_full(&self) -> bool {
        self.clients.iter().any(|client| client.output.len() > MOST_OUTPUT)
    }

    /// What there is to wait for.
    pub(crate) fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        if self.clients.len() < MOST_CLIENTS {
            watched.push(self.listener.watched());
        }
        let takes_input = self.input.as_ref().is_none_or(|input| input.pending.len() < MOST_INPUT);
        for client in &self.clients {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, client.sends && takes_input);
            flags.set(PollFlags::OUT, !client.output.is_empty());
            // One that may send and is not read from now would be reported when it hangs up, again and again.
            if !flags.is_empty() || !client.sends {
                watched.push(PollFd::new(&client.stream, flags));
            }
        }
        let writes = self.input.iter().filter(|input| !input.pending.is_empty());
        watched.extend(writes.map(|input| PollFd::new(&input.file, PollFlags::OUT)));
    }

    /// Does what can be done without waiting.
    pub(crate) fn turn(&mut self) {
        while self.clients.len() < MOST_CLIENTS
            && let Some(stream) = self.listener.accept()
        {
            let (greeting, output) = (Vec::new(), VecDeque::new());
            self.clients.push(Client { stream, greeting, purpose: None, output, sends: true, gone: false });
        }
        for client in &mut self.clients {
            client.receive(&mut self.input, self.terminal.as_ref());
            client.send();
            client.gone |= !client.sends && client.hung_up();
            if client.gone && client.sends {
                client.end(&mut self.input);
            }
        }
        self.clients.retain(|client| !client.gone);
        if self.input.as_mut().is_some_and(|input| !input.write()) {
            self.input = None;
        }
    }

    /// Sends clients what the command wrote.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for client in &mut self.clients {
            if matches!(client.purpose, None | Some(Purpose::Resize)) {
                continue;
            }
            if self.terminal.is_none() {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
                client.output.extend([stream.number(), 0, 0, 0]);
                client.output.extend(length);
            }
            client.output.extend(bytes);
            client.send();
        }
    }

    /// Sends the rest, when the command has ended.
    pub(crate) fn finish(mut self) {
        let _ = fs::remove_file(&self.path);
        let deadline = Instant::now() + LAST;
        loop {
            self.clients.iter_mut().for_each(Client::send);
            self.clients.retain(|client| !client.gone && !client.output.is_empty());
            let left = deadline.saturating_duration_since(Instant::now());
            if self.clients.is_empty() || left.is_zero() {
                return;
            }
            let mut watched: Vec<_> =
                self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::OUT)).collect();
            let timeout = Timespec::try_from(left).ok();
            if rustix::io::retry_on_intr(|| poll(&mut watched, timeout.as_ref())).is_err() {
                return;
            }
        }
    }
}

impl Client {
    /// Takes what the client has sent.
    fn receive(&mut self, input: &mut Option<Input>, terminal: Option<&File>) {
        let mut piece = [0; PIECE];
        while self.sends && input.as_ref().is_none_or(|input| input.pending.len() < MOST_INPUT) {
            // Of a client that is only now known, no more than its first bytes is read.
            let most = match self.purpose {
                None if self.greeting.is_empty() => 1,
                None => 5 - self.greeting.len(),
                Some(_) => PIECE,
            };
            match self.stream.read(&mut piece[..most]) {
                Ok(0) => self.end(input),
                Ok(read) => self.take(&piece[..read], input, terminal),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.gone = true,
            }
            if self.gone {
                return;
            }
        }
    }

    fn take(&mut self, bytes: &[u8], input: &mut Option<Input>, terminal: Option<&File>) {
        match self.purpose {
            Some(Purpose::Both) => {
                if let Some(input) = input.as_mut().filter(|input| !input.ended) {
                    input.pending.extend(bytes);
                }
            }
            Some(_) => {}
            None => {
                self.greeting.extend_from_slice(bytes);
                match (self.greeting.first().copied().and_then(Purpose::of), self.greeting.as_slice()) {
                    (Some(Purpose::Resize), [_, size @ ..]) => {
                        if let Some(&[rows, rows_low, columns, columns_low]) = size.first_chunk::<4>() {
                            let size = [[rows, rows_low], [columns, columns_low]].map(u16::from_be_bytes);
                            terminal.iter().for_each(|terminal| set_size(terminal, size));
                            self.gone = true;
                        }
                    }
                    (Some(purpose), _) => self.purpose = Some(purpose),
                    (None, _) => self.gone = true,
                }
            }
        }
    }

    /// The client ended its direction.
    fn end(&mut self, input: &mut Option<Input>) {
        self.sends = false;
        match self.purpose {
            Some(Purpose::Both) => {
                if let Some(input) = input.as_mut().filter(|input| input.once) {
                    input.ended = true;
                }
            }
            Some(_) => {}
            None => self.gone = true,
        }
    }

    /// Whether the client receives no more either.
    fn hung_up(&self) -> bool {
        let mut watched = [PollFd::new(&self.stream, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut watched, Some(&at_once)).is_ok() && watched[0].revents().contains(PollFlags::HUP)
    }

    /// Sends what waits.
    fn send(&mut self) {
        while !self.output.is_empty() && !self.gone {
            match self.stream.write(self.output.as_slices().0) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What it has sent before is still input.
                Err(_) => self.output.clear(),
            }
        }
    }
}

/// Sets the size of a terminal.
pub(crate) fn set_size(terminal: impl AsFd, [rows, columns]: [u16; 2]) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // A command that has ended needs no size.
    let _ = tcsetwinsize(terminal, size);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::{attach, resize};

    fn server(log: &Path, once: bool) -> (Attachments, File) {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        (Attachments::listen(log, Some(Input::new(writer.into(), once)), None).unwrap(), reader.into())
    }

    #[test]
    fn output_is_framed_and_input_ends_with_the_client() {
        let directory = tempfile::tempdir().unwrap();
        // Longer than the path of a socket may be.
        let long = directory.path().join("d".repeat(120));
        fs::create_dir(&long).unwrap();
        let log = long.join("web.log");
        assert!(attach(&log, true).unwrap().is_none());
        let (mut server, mut input) = server(&log, true);
        let mut client = attach(&log, true).unwrap().unwrap();
        let watcher = attach(&log, false).unwrap().unwrap();
        server.turn();
        assert_eq!(server.count(), 2);
        client.write_all(b"typed").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        watcher.shutdown(std::net::Shutdown::Write).unwrap();
        server.turn();
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        assert_eq!(text, "typed");
        server.write(Stream::Stderr, b"no");
        server.finish();
        for mut stream in [client, watcher] {
            let mut output = Vec::new();
            stream.read_to_end(&mut output).unwrap();
            assert_eq!(output, [2, 0, 0, 0, 0, 0, 0, 2, b'n', b'o']);
        }
        assert!(attach(&log, true).unwrap().is_none());
    }

    #[test]
    fn a_client_that_takes_nothing_holds_the_command_up_and_no_other_client() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let (mut server, mut input) = server(&log, false);
        let idle = attach(&log, true).unwrap().unwrap();
        server.turn();
        while !server.is_full() {
            server.write(Stream::Stdout, &[b'x'; 10_000]);
        }
        assert!(resize(&log, 24, 80).unwrap());
        let mut other = attach(&log, true).unwrap().unwrap();
        other.write_all(b"in").unwrap();
        server.turn();
        let mut piece = [0; 9];
        assert_eq!(input.read(&mut piece).unwrap(), 2);
        // The input stays open for the next client.
        drop((idle, other));
        server.turn();
        server.turn();
        assert!(!server.is_full());
        assert_eq!(input.read(&mut piece).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    #[test]
    fn clients_wait_for_a_place() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let (mut server, _input) = server(&log, false);
        let first: Vec<_> = (0..MOST_CLIENTS).map(|_| attach(&log, false).unwrap().unwrap()).collect();
        let mut next = attach(&log, false).unwrap().unwrap();
        server.turn();
        assert_eq!(server.count(), MOST_CLIENTS);
        drop(first);
        server.turn();
        server.turn();
        assert_eq!(server.count(), 1);
        server.write(Stream::Stdout, b"x");
        server.finish();
        let mut output = Vec::new();
        next.read_to_end(&mut output).unwrap();
        assert_eq!(output.last(), Some(&b'x'));
    }
}
