//! What a detached command wrote, in the lines and files of Docker's `json-file` log driver: when the file is as large
//! as it may be, it becomes `.1`, `.1` becomes `.2`, and another one is begun.

mod files;
mod print;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fairway_model::LogLimits;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use files::{place, same};
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

impl Stream {
    /// Its number, as that of its file descriptor.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// A log that is being written. While it is, its file is locked: so readers know that there may
/// be more.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    limits: LogLimits,
    file: File,
    /// Of the file, all whole lines.
    size: u64,
    out: Cutter,
    err: Cutter,
}

impl Log {
    /// Opens a log to write to its end. Waits for another writer to be done with it.
    pub(super) fn open(path: &Path, limits: LogLimits) -> io::Result<Self> {
        loop {
            let mut file = open_locked(path)?;
            // The other writer may have begun another file before it was done.
            if same(&file, path)? {
                let size = end_last_line(&mut file)?;
                let (out, err) = (Cutter::default(), Cutter::default());
                return Ok(Self { path: path.to_owned(), limits, file, size, out, err });
            }
        }
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
            self.add(&text)?;
            text.clear();
        }
        Ok(())
    }

    /// Adds a line, to another file if this one would be too large.
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let size = self.size + line.len() as u64;
        if self.size > 0 && self.limits.max_size.is_some_and(|most| size > most) {
            self.rotate()?;
        }
        let written = self.file.write_all(line);
        match written {
            Ok(()) => self.size += line.len() as u64,
            // A part of a line, where the disk is full, could not be read.
            Err(_) => self.file.set_len(self.size)?,
        }
        written
    }

    /// Begins another file. There is a file at the log's path at any time, and it is locked while there is a writer.
    fn rotate(&mut self) -> io::Result<()> {
        let next = self.path.with_added_extension("next");
        remove(&next)?;
        let file = open_locked(&next)?;
        let oldest = self.limits.max_files - 1;
        // A number that is missing, of a rotation that was interrupted, is filled.
        let free = (1..oldest).find(|number| !place(&self.path, *number).exists()).unwrap_or(oldest);
        for number in (1..free).rev() {
            fs::rename(place(&self.path, number), place(&self.path, number + 1))?;
        }
        if oldest > 0 {
            let first = place(&self.path, 1);
            remove(&first)?;
            fs::hard_link(&self.path, first)?;
        }
        fs::rename(next, &self.path)?;
        (self.file, self.size) = (file, 0);
        Ok(())
    }
}

/// Ends a line that its writer could not end, so that the next one is a line of its own. Returns the size of the file.
fn end_last_line(file: &mut File) -> io::Result<u64> {
    let size = file.metadata()?.size();
    let mut last = [b'\n'];
    file.read_at(&mut last, size.saturating_sub(1))?;
    if last == [b'\n'] {
        return Ok(size);
    }
    file.write_all(b"\n")?;
    Ok(size + 1)
}

fn open_locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    Ok(file)
}

fn remove(path: &Path) -> io::Result<()> {
    found(fs::remove_file(path))
}

/// That there is no such file is fine.
fn found(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
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
    fn a_number_that_is_missing_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path, LogLimits { max_size: Some(1), max_files: 6 }).unwrap();
        let mut write = |text: &str| log.write(Stream::Stdout, text.as_bytes()).unwrap();
        ["a\n", "b\n", "c\n", "d\n"].into_iter().for_each(&mut write);
        std::fs::remove_file(place(&path, 2)).unwrap();
        ["e\n", "f\n"].into_iter().for_each(&mut write);
        let texts: Vec<_> = (0..5).map(|number| std::fs::read_to_string(place(&path, number))).collect();
        let lines = texts.into_iter().map(|text| text.unwrap()[8..9].to_owned());
        assert_eq!(lines.collect::<String>(), "fedca");
    }

    #[test]
    fn the_file_holds_dockers_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path, LogLimits::default()).unwrap();
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
