//! Reading a log: `fairway logs`.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock, inotify};
use rustix::io::Errno;

use super::files::newer;
use super::{Line, Stream};

/// How a log is to be printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// `--follow`: goes on while there is a writer.
    pub follow: bool,
    /// `--tail`: how many of the lines that are there; all when none is given.
    pub tail: Option<usize>,
    /// `--timestamps`: each line begins with its time.
    pub timestamps: bool,
    /// `--since`: no lines that are older.
    pub since: Option<Timestamp>,
    /// `--until`: no lines that are newer.
    pub until: Option<Timestamp>,
    /// Waits for the next writer, of a log that may not be there yet.
    pub next: bool,
    /// Begins with an empty line, which says that nothing will be missed, also if the log is removed from then on.
    pub announce: bool,
}

impl LogOptions {
    /// Whether lines that are written from now on are too new.
    fn are_over(&self) -> bool {
        self.until.is_some_and(|until| Timestamp::now() > until)
    }

    /// Whether a line is to be printed by its time. One without a time is.
    fn takes(&self, line: &Line) -> bool {
        let at: Option<Timestamp> = line.time.parse().ok();
        at.is_none_or(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
        })
    }
}

/// Why a log could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no log.
    #[error("there is no log at {path}: only what runs detached (run -d, start) has one")]
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the log {path}: {source}")]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be printed, perhaps because the reader has closed the pipe.
    #[error("cannot print the log: {0}")]
    Output(io::Error),
}

/// Prints a log, what the command wrote to its standard error to `err` and all else to `out`.
///
/// # Errors
/// That there is none, or that it cannot be read or printed.
pub fn print_log(
    path: &Path,
    options: &LogOptions,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), LogError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LogError::Absent { path: path.to_owned() },
        _ => LogError::Unreadable { path: path.to_owned(), source },
    };
    if options.next {
        create(path).map_err(unreadable)?;
    }
    let mut files = newer(path, None).map_err(unreadable)?.into_iter();
    let Some(first) = files.next() else { return Err(unreadable(io::ErrorKind::NotFound.into())) };
    let newest = files.as_slice().last().unwrap_or(&first);
    let watch = options.next.then(|| watch(newest)).transpose().map_err(unreadable)?;
    if options.announce {
        writeln!(out).and_then(|()| out.flush()).map_err(LogError::Output)?;
    }
    if let Some(watch) = watch {
        while no_writer(newest).map_err(unreadable)? {
            if wait(&watch).map_err(|errno| unreadable(errno.into()))? {
                break;
            }
        }
    }
    let mut reader = LineReader::new(path, first);
    let mut last = VecDeque::new();
    loop {
        while let Some(line) = reader.next()? {
            if !options.takes(&line) {
                continue;
            }
            match options.tail {
                None => print(&line, options, out, err)?,
                Some(0) => {}
                Some(most) => {
                    if last.len() == most {
                        last.pop_front();
                    }
                    last.push_back(line);
                }
            }
        }
        match files.next() {
            Some(next) => reader = LineReader::new(path, next),
            None => break,
        }
    }
    for line in &last {
        print(line, options, out, err)?;
    }
    if options.follow {
        follow(path, reader, options, out, err)?;
    }
    flush(out, err)
}

/// Prints what is added, also to files that are begun after this one, until there is no writer, or the time is over.
fn follow<'a>(
    path: &'a Path,
    mut reader: LineReader<'a>,
    options: &LogOptions,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), LogError> {
    let unreadable = |source| LogError::Unreadable { path: path.to_owned(), source };
    loop {
        // Watched from before the next line is read, so that none is missed.
        let watch = watch(reader.reader.get_ref()).map_err(unreadable)?;
        loop {
            flush(out, err)?;
            let over = no_writer(reader.reader.get_ref()).map_err(unreadable)? || options.are_over();
            while let Some(line) = reader.next()? {
                if options.takes(&line) {
                    print(&line, options, out, err)?;
                }
            }
            if over {
                break;
            }
            wait(&watch).map_err(|errno| unreadable(errno.into()))?;
        }
        let newer = newer(path, Some(reader.reader.get_ref())).map_err(unreadable)?;
        match newer.into_iter().next() {
            Some(next) => reader = LineReader::new(path, next),
            None => return Ok(()),
        }
    }
}

struct LineReader<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    partial: Vec<u8>,
    number: usize,
}

impl<'a> LineReader<'a> {
    fn new(path: &'a Path, file: File) -> Self {
        Self { path, reader: BufReader::new(file), partial: Vec::new(), number: 0 }
    }

    /// The next whole line; none when there is not yet one. A damaged one, of a writer that was killed or without space on
    /// the disk, is replaced by a note.
    fn next(&mut self) -> Result<Option<Line>, LogError> {
        self.reader
            .read_until(b'\n', &mut self.partial)
            .map_err(|source| LogError::Unreadable { path: self.path.to_owned(), source })?;
        if self.partial.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.number += 1;
        let line = serde_json::from_slice(&self.partial).unwrap_or_else(|error| {
            let (number, path) = (self.number, self.path.display());
            let log =
                format!("fairway: left out line {number} of the log {path}, which is damaged: {error}\n");
            Line { log, stream: Stream::Stderr, time: String::new() }
        });
        self.partial.clear();
        Ok(Some(line))
    }
}

fn print(
    line: &Line,
    options: &LogOptions,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), LogError> {
    let time = if options.timestamps { format!("{} ", line.time) } else { String::new() };
    match line.stream {
        Stream::Stdout => write!(out, "{time}{}", line.log),
        Stream::Stderr => write!(err, "{time}{}", line.log),
    }
    .map_err(LogError::Output)
}

fn flush(out: &mut impl Write, err: &mut impl Write) -> Result<(), LogError> {
    out.flush().and_then(|()| err.flush()).map_err(LogError::Output)
}

/// Watches a file, whatever it is called by now.
fn watch(file: &File) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    // Its attributes change when its last name goes.
    let changes =
        inotify::WatchFlags::MODIFY | inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::ATTRIB;
    inotify::add_watch(&watch, path, changes)?;
    Ok(watch)
}

/// Whether the log has no writer: a writer holds it locked.
fn no_writer(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            flock(file, FlockOperation::Unlock)?;
            Ok(true)
        }
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes an empty log if there is none.
fn create(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// Waits for a change; returns whether there was one. The kernel reports a writer that was killed before it frees the lock
/// (`__fput`): hence the second look after a while.
fn wait(watch: &OwnedFd) -> Result<bool, Errno> {
    let a_while = Timespec { tv_sec: 1, tv_nsec: 0 };
    let mut watched = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
    let changed = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&a_while)))? > 0;
    let mut events = [0_u8; 4096];
    loop {
        match rustix::io::read(watch, &mut events) {
            Err(Errno::AGAIN) => return Ok(changed),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use fairway_model::LogLimits;

    use super::super::Log;
    use super::*;

    fn shown(path: &Path, options: &LogOptions) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print_log(path, options, &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn written(text: &[(Stream, &str)]) -> (tempfile::TempDir, PathBuf, Log) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(&path, LogLimits::default()).unwrap();
        for (stream, text) in text {
            log.write(*stream, text.as_bytes()).unwrap();
        }
        (directory, path, log)
    }

    #[test]
    fn streams_are_kept_apart_and_the_tail_counts_both() {
        let (_directory, path, log) =
            written(&[(Stream::Stdout, "one\ntwo\n"), (Stream::Stderr, "bad\n"), (Stream::Stdout, "end")]);
        log.finish().unwrap();
        assert_eq!(shown(&path, &LogOptions::default()), ("one\ntwo\nend".into(), "bad\n".into()));
        let tail = |tail| shown(&path, &LogOptions { tail: Some(tail), ..LogOptions::default() });
        assert_eq!(tail(3), ("two\nend".into(), "bad\n".into()));
        assert_eq!(tail(0), (String::new(), String::new()));
        assert_eq!(tail(9).0, "one\ntwo\nend");
        let (out, _) = shown(&path, &LogOptions { timestamps: true, ..LogOptions::default() });
        let (time, text) = out.lines().next().unwrap().split_once(' ').unwrap();
        assert_eq!((time.len(), text), (30, "one"));
    }

    #[test]
    fn a_line_that_was_not_ended_damages_no_other() {
        let (_directory, path, log) = written(&[(Stream::Stdout, "one\n")]);
        log.finish().unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"log":"cut o"#).unwrap();
        let mut log = Log::open(&path, LogLimits::default()).unwrap();
        log.write(Stream::Stdout, b"two\n").unwrap();
        log.finish().unwrap();
        let (out, err) = shown(&path, &LogOptions::default());
        assert_eq!(out, "one\ntwo\n");
        let expected = format!("fairway: left out line 2 of the log {}, which is damaged: ", path.display());
        assert!(err.starts_with(&expected) && err.lines().count() == 1, "{err}");
    }

    #[test]
    fn following_ends_with_its_time() {
        let (_directory, path, log) = written(&[(Stream::Stdout, "before\n")]);
        let until = Timestamp::now().checked_add(jiff::SignedDuration::from_millis(50)).unwrap();
        let options = LogOptions { follow: true, until: Some(until), ..LogOptions::default() };
        assert_eq!(shown(&path, &options).0, "before\n");
        log.finish().unwrap();
    }

    #[test]
    fn following_ends_with_the_writer_and_misses_nothing() {
        let (_directory, path, mut log) = written(&[(Stream::Stdout, "before\n")]);
        let (reader, mut pipe) = io::pipe().unwrap();
        let follower = std::thread::spawn(move || {
            print_log(
                &path,
                &LogOptions { follow: true, ..LogOptions::default() },
                &mut pipe,
                &mut io::sink(),
            )
        });
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "before");
        log.write(Stream::Stdout, b"during\nlast").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "during");
        log.finish().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "last");
        assert!(lines.next().is_none());
        follower.join().unwrap().unwrap();
    }

    #[test]
    fn a_log_is_as_large_as_it_may_be_and_read_from_the_oldest_line_on() {
        for (max_files, kept) in [(1, 2), (2, 4), (4, 8)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let limits = LogLimits { max_size: Some(200), max_files };
            let mut log = Log::open(&path, limits).unwrap();
            let lines: Vec<String> = (0..30).map(|number| format!("line {number:02}\n")).collect();
            for line in &lines {
                log.write(Stream::Stdout, line.as_bytes()).unwrap();
            }
            log.finish().unwrap();
            let files: Vec<u64> = std::fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .collect();
            assert_eq!(files.len(), max_files as usize);
            assert!(files.iter().all(|size| *size <= 200), "{files:?}");
            assert_eq!(shown(&path, &LogOptions::default()).0, lines[30 - kept..].concat());
            let tail = LogOptions { tail: Some(1), ..LogOptions::default() };
            assert_eq!(shown(&path, &tail).0, lines[29]);
        }
    }

    #[test]
    fn following_loses_nothing_where_another_file_is_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let limits = LogLimits { max_size: Some(4000), max_files: 50 };
        let mut log = Log::open(&path, limits).unwrap();
        let (reader, mut pipe) = io::pipe().unwrap();
        let followed = path.clone();
        let follower = std::thread::spawn(move || {
            let options = LogOptions { follow: true, ..LogOptions::default() };
            print_log(&followed, &options, &mut pipe, &mut io::sink())
        });
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();
        let written = lines.clone();
        std::thread::spawn(move || {
            for line in written {
                log.write(Stream::Stdout, format!("{line}\n").as_bytes()).unwrap();
            }
            log.finish().unwrap();
        });
        let read: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(read, lines);
        follower.join().unwrap().unwrap();
        assert!(path.with_extension("10").exists());
    }

    #[test]
    fn lines_are_chosen_by_their_time() {
        let (_directory, path, mut log) = written(&[(Stream::Stdout, "one\n")]);
        std::thread::sleep(std::time::Duration::from_millis(5));
        let between = Timestamp::now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        log.write(Stream::Stdout, b"two\n").unwrap();
        log.finish().unwrap();
        let since = LogOptions { since: Some(between), ..LogOptions::default() };
        let until = LogOptions { until: Some(between), ..LogOptions::default() };
        assert_eq!((shown(&path, &since).0, shown(&path, &until).0), ("two\n".into(), "one\n".into()));
        let both = LogOptions { since: Some(between), ..until };
        assert_eq!(shown(&path, &both).0, "");
    }

    #[test]
    fn the_next_writer_is_waited_for_and_nothing_of_it_is_missed() {
        for removed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("later/log");
            let (reader, mut pipe) = io::pipe().unwrap();
            let followed = path.clone();
            let follower = std::thread::spawn(move || {
                let options =
                    LogOptions { follow: true, next: true, announce: true, ..LogOptions::default() };
                print_log(&followed, &options, &mut pipe, &mut io::sink())
            });
            let mut lines = BufReader::new(reader).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "");
            if !removed {
                let mut log = Log::open(&path, LogLimits::default()).unwrap();
                log.write(Stream::Stdout, b"short\n").unwrap();
                log.finish().unwrap();
            }
            // Its directory may go with its sandbox before it is read.
            fs::remove_file(&path).unwrap();
            let expected: &[&str] = if removed { &[] } else { &["short"] };
            assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), expected);
            follower.join().unwrap().unwrap();
        }
    }

    #[test]
    fn what_is_not_there_is_said_to_be_so() {
        let path = Path::new("/nonexistent/log");
        let told = print_log(path, &LogOptions::default(), &mut io::sink(), &mut io::sink());
        assert_eq!(
            told.unwrap_err().to_string(),
            "there is no log at /nonexistent/log: only what runs detached (run -d, start) has one"
        );
    }
}
