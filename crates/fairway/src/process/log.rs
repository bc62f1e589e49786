//! What a detached command wrote, in the lines of Docker's `json-file` log driver.

mod print;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub use print::{LogError, LogOptions, print_log};

/// The most bytes of one line of output in one line of the log, as in Docker: what is longer goes
/// into several, of which only the last has the line feed.
const LONGEST: usize = 16 * 1024;

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The text, with its line feed if it had one.
    log: String,
    /// Which stream it was written to.
    stream: Stream,
    /// When it was read, RFC 3339 in UTC with nine digits of the second.
    time: String,
}

/// Where a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A log that is being written. While it is, its file is locked: so readers know that there may
/// be more.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    out: Cutter,
    err: Cutter,
}

impl Log {
    /// Opens a log to write to its end. Waits for another writer to be done with it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        Ok(Self { file, out: Cutter::default(), err: Cutter::default() })
    }

    /// Writes what a stream has brought; keeps back what is not a whole line.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let lines = self.cutter(stream).cut(bytes);
        self.record(stream, &lines)
    }

    /// Writes what was kept back, and lets readers know that this is all.
    pub(super) fn finish(mut self) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.cutter(stream).kept);
            if !rest.is_empty() {
                self.record(stream, &[rest])?;
            }
        }
        Ok(flock(&self.file, FlockOperation::Unlock)?)
    }

    fn cutter(&mut self, stream: Stream) -> &mut Cutter {
        match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        }
    }

    fn record(&mut self, stream: Stream, lines: &[Vec<u8>]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            let log = String::from_utf8_lossy(line).into_owned();
            let time = format!("{:.9}", Timestamp::now());
            serde_json::to_writer(&mut text, &Line { log, stream, time })?;
            text.push(b'\n');
        }
        self.file.write_all(&text)
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Cutter {
    kept: Vec<u8>,
}

impl Cutter {
    /// The lines that are complete, or as long as they may be, with these bytes.
    fn cut(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let room = (LONGEST - self.kept.len()).min(bytes.len());
            let end = bytes[..room].iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(room));
            self.kept.extend_from_slice(piece);
            bytes = rest;
            if end.is_some() || self.kept.len() == LONGEST {
                lines.push(std::mem::take(&mut self.kept));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_they_end_or_where_they_are_too_long() {
        let mut cutter = Cutter::default();
        assert_eq!(cutter.cut(b"one\ntw"), [b"one\n"]);
        assert_eq!(cutter.cut(b"o\n\nthree"), [b"two\n".to_vec(), b"\n".to_vec()]);
        assert_eq!(cutter.kept, b"three");
        let mut cutter = Cutter::default();
        let mut long = vec![b'x'; LONGEST * 2 + 5];
        long.push(b'\n');
        let lengths: Vec<usize> = cutter.cut(&long).iter().map(Vec::len).collect();
        assert_eq!(lengths, [LONGEST, LONGEST, 6]);
        assert!(cutter.kept.is_empty());
    }

    #[test]
    fn the_file_holds_dockers_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path).unwrap();
        log.write(Stream::Stdout, b"say \"hi\"\n").unwrap();
        log.write(Stream::Stderr, b"no end").unwrap();
        log.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (first, second) = text.split_once('\n').unwrap();
        assert!(first.starts_with(r#"{"log":"say \"hi\"\n","stream":"stdout","time":"2"#), "{first}");
        assert!(second.starts_with(r#"{"log":"no end","stream":"stderr","time":"2"#), "{second}");
        let line: Line = serde_json::from_str(first).unwrap();
        assert_eq!(line.time.len(), "2026-01-01T00:00:00.000000000Z".len());
        assert!(line.time.parse::<Timestamp>().is_ok());
    }
}
