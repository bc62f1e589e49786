//! Reading of one engine's files below a root directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fairway_kernel::namespace;
use fairway_kernel::process::{PARENT, StatFields};
use fairway_kernel::untrusted_file;
use fairway_model::Namespace;
use rustix::io::Errno;
use serde_json::Value;

use crate::note::Note;
use crate::process_list::Process;

/// What the readers of engines share: the host's root directory and its processes.
#[derive(Debug)]
pub(crate) struct Host {
    /// The root directory: `/` but in tests.
    pub(crate) root: PathBuf,
    /// The processes that may belong to engines.
    pub(crate) processes: Vec<Process>,
    /// When a socket has to have answered.
    pub(crate) deadline: Instant,
}

impl Host {
    /// The place of an absolute path below the root directory.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The parent of a process that runs. A zombie does not.
    pub(crate) fn parent(&self, pid: u32) -> Option<u32> {
        let text = std::fs::read(self.path(&format!("/proc/{pid}/stat"))).ok()?;
        let stat = StatFields::parse(&text).filter(|stat| !stat.has_ended())?;
        stat.number(PARENT)?.try_into().ok()
    }
}

/// Reads the records of one engine. What cannot be read becomes a note.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) host: &'a Host,
    engine: &'static str,
    pub(crate) notes: Vec<Note>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(host: &'a Host, engine: &'static str) -> Self {
        Self { host, engine, notes: Vec::new() }
    }

    /// The names in a directory, sorted; none if there is no such directory.
    pub(crate) fn names(&mut self, directory: &str) -> Vec<String> {
        let entries = match std::fs::read_dir(self.host.path(directory)) {
            Ok(entries) => entries,
            Err(error) => {
                self.failed(directory, &error);
                return Vec::new();
            }
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Where the symbolic links in a directory lead.
    pub(crate) fn links(&mut self, directory: &str) -> Vec<String> {
        let names = self.names(directory);
        let target = |name: &String| std::fs::read_link(self.host.path(directory).join(name)).ok();
        names.iter().filter_map(|name| target(name)?.into_os_string().into_string().ok()).collect()
    }

    /// The bytes of a regular file, if there is one.
    pub(crate) fn bytes(&mut self, path: &str) -> Option<Vec<u8>> {
        match untrusted_file::read(&self.host.path(path)) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.failed(path, &error);
                None
            }
        }
    }

    /// The text of a file, if there is one.
    pub(crate) fn text(&mut self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        String::from_utf8(bytes).map_err(|_| self.broken(path, "it is not UTF-8")).ok()
    }

    /// The JSON of a file, if there is one.
    pub(crate) fn json(&mut self, path: &str) -> Option<Value> {
        let bytes = self.bytes(path)?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(path, error)).ok()
    }

    /// The pid in a file, if the process runs.
    pub(crate) fn pid_file(&mut self, path: &str) -> Option<u32> {
        let text = self.text(path)?;
        let Ok(pid) = text.trim().parse() else {
            self.broken(path, "it holds no process id");
            return None;
        };
        self.host.parent(pid).map(|_| pid)
    }

    /// The network namespace of a process.
    pub(crate) fn namespace(&mut self, pid: u32) -> Option<Namespace> {
        self.namespace_at(&format!("/proc/{pid}/ns/net"))
    }

    /// The network namespace at a path.
    pub(crate) fn namespace_at(&mut self, path: &str) -> Option<Namespace> {
        match namespace::identity(&self.host.path(path).display().to_string()) {
            Ok(namespace) => Some(namespace),
            Err(namespace::Error::Open { errno, .. }) => {
                self.failed(path, &errno.into());
                None
            }
            // A name whose namespace was unmounted has a file all the same; a process that ends has none.
            Err(_) => None,
        }
    }

    /// Notes that a record is not as expected.
    pub(crate) fn broken(&mut self, path: &str, reason: impl ToString) {
        self.notes.push(Note::Broken {
            engine: self.engine,
            path: path.to_owned(),
            reason: reason.to_string(),
        });
    }

    /// Notes that a socket did not answer in time.
    pub(crate) fn silent(&mut self, socket: &str) {
        self.notes.push(Note::NoAnswer { engine: self.engine, socket: socket.to_owned() });
    }

    /// Notes that a file or socket cannot be used. One that is absent, or whose process ended, is no note.
    pub(crate) fn failed(&mut self, path: &str, error: &io::Error) {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::SRCH) => {}
            Some(Errno::ACCESS | Errno::PERM) => {
                self.notes.push(Note::Denied { path: path.to_owned(), others: 0, missing: Vec::new() });
            }
            _ => self.broken(path, error),
        }
    }
}

/// Opens a file of a process's file system as the process sees it, such as `/etc/resolv.conf`: links lead where they
/// lead inside, never to files of the host. It blocks on nothing that the container may have put there.
///
/// # Errors
/// The file does not exist, is not a regular one, or may not be read: root of another user's process takes
/// `CAP_SYS_PTRACE`.
pub fn open_inside(pid: u32, path: &str) -> io::Result<File> {
    untrusted_file::open_below(&Path::new("/proc").join(pid.to_string()).join("root"), path)
}

#[cfg(test)]
mod tests;
