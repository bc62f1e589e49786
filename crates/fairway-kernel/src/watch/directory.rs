//! Watches directories by inotify(7) for removed, replaced and written files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fairway_model::Namespace;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::{Error, Event, refused, split};
use crate::namespace;

/// The most symbolic links that are followed, as in the kernel (path_resolution(7)).
const LINKS: usize = 40;

/// One mask for all, since watching a directory again replaces the former one.
fn mask() -> WatchFlags {
    WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
}

/// Why a name in a directory is watched.
#[derive(Debug, Clone, PartialEq)]
pub enum Target<K> {
    /// It is a namespace with this key.
    Namespace(K, Namespace),
    /// It is this file, or a symbolic link on the way to it.
    File(PathBuf),
}

/// The watched directories by inotify's watch descriptors, and the names in them. The empty name means the watched
/// file itself.
#[derive(Debug)]
pub struct Directories<K> {
    names: HashMap<i32, BTreeMap<OsString, Vec<Target<K>>>>,
}

impl<K> Default for Directories<K> {
    fn default() -> Self {
        Self { names: HashMap::new() }
    }
}

impl<K: Clone + PartialEq> Directories<K> {
    /// Watches a name in a directory.
    pub fn add(
        &mut self,
        inotify: &OwnedFd,
        directory: &Path,
        name: OsString,
        target: Target<K>,
    ) -> Result<(), Error> {
        let number = inotify::add_watch(inotify, directory, mask()).map_err(refused("watch a directory"))?;
        self.names.entry(number).or_default().entry(name).or_default().push(target);
        Ok(())
    }

    /// Watches a file: each symbolic link on the way to it, and the present file itself, which may be a bind mount
    /// from another directory.
    pub fn follow(&mut self, inotify: &OwnedFd, path: &Path) -> Result<(), Error> {
        let mut step = path.to_owned();
        for _ in 0..LINKS {
            let (directory, name) = split(&step)?;
            match self.add(inotify, &directory, name, Target::File(path.to_owned())) {
                // A link into a missing directory: a change of the link is noticed.
                Err(Error::Refused { errno: Errno::NOENT, .. }) if step != path => break,
                result => result?,
            }
            match std::fs::read_link(&step) {
                Ok(next) => step = directory.join(next),
                Err(_) => break,
            }
        }
        if let Ok(number) = inotify::add_watch(inotify, path, WatchFlags::CLOSE_WRITE) {
            let names = self.names.entry(number).or_default();
            names.entry(OsString::new()).or_default().push(Target::File(path.to_owned()));
        }
        Ok(())
    }

    /// Stops watching the namespaces of a key, and directories without watched names. Returns whether any existed.
    pub fn forget(&mut self, inotify: &OwnedFd, key: &K) -> bool {
        let mut found = false;
        self.retain(inotify, |target| {
            let this = matches!(target, Target::Namespace(other, _) if other == key);
            found |= this;
            !this
        });
        found
    }

    fn retain(&mut self, inotify: &OwnedFd, mut keep: impl FnMut(&Target<K>) -> bool) {
        self.names.retain(|number, names| {
            names.retain(|_, targets| {
                targets.retain(&mut keep);
                !targets.is_empty()
            });
            if names.is_empty() {
                // This fails only for a removed directory, whose watch went with it.
                let _ = inotify::remove_watch(inotify, *number);
            }
            !names.is_empty()
        });
    }

    /// Reads inotify events and adds the resulting events, of which a failure is one: no other event is lost by it.
    pub fn read(&mut self, inotify: &OwnedFd, events: &mut Vec<Event<K>>) {
        let mut touched = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    self.touch(event.wd(), event.events(), name, &mut touched);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    events.push(Event::Failed(Error::Refused { action: "read from inotify", errno }));
                    break;
                }
            }
        }
        let mut files = BTreeSet::new();
        for target in touched {
            match target {
                Target::File(path) => {
                    files.insert(path);
                }
                Target::Namespace(key, namespace) => {
                    // Several inotify events may concern one name.
                    if namespace::is_gone(&namespace) && self.forget(inotify, &key) {
                        events.push(Event::NamespaceGone(key));
                    }
                }
            }
        }
        for path in files {
            if let Err(error) = self.renew(inotify, &path) {
                events.push(Event::Failed(error));
            }
            events.push(Event::FileChanged(path));
        }
    }

    /// Adds the targets of an inotify event.
    fn touch(&mut self, number: i32, what: ReadFlags, name: Option<&OsStr>, touched: &mut Vec<Target<K>>) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            touched.extend(self.names.values().flat_map(|names| names.values().flatten().cloned()));
            return;
        }
        let whole = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        match name {
            // The directory was removed with everything in it; or it is a watched file.
            None if what.intersects(whole) => {
                let names = self.names.get(&number).into_iter().flat_map(BTreeMap::values);
                touched.extend(names.flatten().cloned());
                if what.contains(ReadFlags::IGNORED) {
                    self.names.remove(&number);
                }
            }
            name => {
                let names = self.names.get(&number);
                let targets = names.and_then(|names| names.get(name.unwrap_or(OsStr::new(""))));
                touched.extend(targets.into_iter().flatten().cloned());
            }
        }
    }

    /// Watches a file anew: its links may lead elsewhere now, and it may be another file. After a failure it is watched
    /// where it was, too.
    fn renew(&mut self, inotify: &OwnedFd, path: &Path) -> Result<(), Error> {
        let old = std::mem::take(&mut self.names);
        let followed = self.follow(inotify, path);
        for (number, names) in old {
            for (name, targets) in names {
                let entry = self.names.entry(number).or_default().entry(name).or_default();
                for target in targets {
                    let renewed = followed.is_ok() && matches!(&target, Target::File(it) if it == path);
                    if !renewed && !entry.contains(&target) {
                        entry.push(target);
                    }
                }
            }
        }
        self.retain(inotify, |_| true);
        match followed {
            // The directory is missing for now.
            Err(Error::Refused { errno: Errno::NOENT, .. }) => Ok(()),
            result => result,
        }
    }
}
