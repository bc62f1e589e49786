//! A directory that looks like the root of a host.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::note::Note;
use crate::process_list::{self, Process};
use crate::reader::{Host, Reader};
use crate::{Container, Survey};

/// A host's files. Each of its processes is in the network namespace of the test.
#[derive(Debug)]
pub(crate) struct Fixture(tempfile::TempDir);

impl Fixture {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, with the directories that it is in.
    pub(crate) fn file(&self, path: &str, contents: impl AsRef<[u8]>) -> &Self {
        let path = self.root().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        self
    }

    /// Makes a process with its arguments, split at spaces; the first is the program.
    pub(crate) fn process(&self, pid: u32, parent: u32, line: &str) -> &Self {
        let name = line.split(' ').next().unwrap().rsplit('/').next().unwrap();
        let name: String = name.chars().take(15).collect();
        let directory = format!("/proc/{pid}");
        self.file(&format!("{directory}/comm"), format!("{name}\n"));
        self.file(&format!("{directory}/cmdline"), line.replace(' ', "\0") + "\0");
        self.file(&format!("{directory}/stat"), format!("{pid} ({name}) S {parent} 1 1"));
        self.link(&format!("{directory}/ns/net"), "/proc/self/ns/net")
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.root().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    /// What the reader of one engine finds.
    pub(crate) fn read(
        &self,
        read: impl Fn(&mut Reader<'_>) -> Vec<Container>,
    ) -> (Vec<Container>, Vec<Note>) {
        // Also where the test does not run as root.
        self.read_as(0, read)
    }

    /// What the reader of one engine finds when all processes are a user's.
    pub(crate) fn read_as(
        &self,
        user: u32,
        read: impl Fn(&mut Reader<'_>) -> Vec<Container>,
    ) -> (Vec<Container>, Vec<Note>) {
        self.read_with(|process| process.user = user, read)
    }

    /// What the reader of one engine finds after a change of each process.
    pub(crate) fn read_with(
        &self,
        change: impl FnMut(&mut Process),
        read: impl Fn(&mut Reader<'_>) -> Vec<Container>,
    ) -> (Vec<Container>, Vec<Note>) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut processes = process_list::list(self.root());
        processes.iter_mut().for_each(change);
        let host = Host { root: self.root().to_owned(), processes, deadline };
        let mut reader = Reader::new(&host, "engine");
        let found = read(&mut reader);
        (found, reader.notes)
    }

    /// What all engines find.
    pub(crate) fn survey(&self) -> Survey {
        crate::read(self.root())
    }
}

/// One line for each container: qualified name, state, pid, networks with addresses, ports.
pub(crate) fn lines(containers: &[Container]) -> Vec<String> {
    let line = |it: &Container| {
        let mut line = format!("{} {}", it.qualified(), it.state);
        if let Some(pid) = it.pid {
            line.push_str(&format!(" pid={pid}"));
        }
        if it.mode != crate::Mode::Own {
            line.push_str(&format!(" {:?}", it.mode));
        }
        for attachment in &it.attachments {
            line.push_str(&format!(" {}", attachment.network));
            line.extend(attachment.addresses.iter().map(|address| format!("={address}")));
        }
        line.extend(it.ports.iter().map(|port| format!(" {port}")));
        line
    };
    containers.iter().map(line).collect()
}
