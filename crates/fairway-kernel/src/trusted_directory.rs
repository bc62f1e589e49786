//! Directories that no other user can change: neither themselves, nor what leads to them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::Mode;
use thiserror::Error;

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Why a directory cannot be trusted.
#[derive(Debug, Error)]
pub enum Error {
    /// Another user owns it, something in it, or something that leads to it.
    #[error(
        "cannot use the directory {}: {} belongs to user {owner}, who could put other files in its place: give it to root (chown -h root), or choose another directory",
        directory.display(), path.display()
    )]
    Owner {
        /// The directory that was to be used.
        directory: PathBuf,
        /// What the user owns.
        path: PathBuf,
        /// The number of the user.
        owner: u32,
    },
    /// Other users may write to it, or to a directory that leads to it.
    #[error(
        "cannot use the directory {}: other users may write to {} (mode {mode:03o}): take that from them (chmod go-w), or choose another directory",
        directory.display(), path.display()
    )]
    Writable {
        /// The directory that was to be used.
        directory: PathBuf,
        /// The directory that others may write to.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be made or looked at.
    #[error("cannot use the directory {}: {}: {source}", directory.display(), path.display())]
    Io {
        /// The directory that was to be used.
        directory: PathBuf,
        /// What was looked at.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes a directory, with those that lead to it, if it is not there; what is in it has to belong to trusted users too.
///
/// Trusted are root, the user of this process, and the owner of `/`, who in a user namespace may be a user that it does not
/// know.
///
/// # Errors
/// Another user could change it: nothing was made then.
pub fn ensure(path: &Path) -> Result<(), Error> {
    let error = |at: &Path, source| Error::Io { directory: path.to_owned(), path: at.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(|source| error(path, source))?;
    let judge = Judge::new(path)?;
    judge.walk(&absolute)?;
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|source| error(path, source))?;
    judge.walk(&absolute)?;
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(|source| error(path, source))? {
        let found = fs::symlink_metadata(entry.path()).map_err(|source| error(&entry.path(), source))?;
        judge.entry(&entry.path(), &found)?;
        if found.is_dir() {
            judge.directory(&entry.path(), &found, false)?;
        }
    }
    Ok(())
}

/// Who is trusted with a directory.
struct Judge<'a> {
    directory: &'a Path,
    users: [u32; 3],
    groups: [u32; 2],
}

impl<'a> Judge<'a> {
    fn new(directory: &'a Path) -> Result<Self, Error> {
        let root = fs::metadata("/").map_err(|source| Error::Io {
            directory: directory.to_owned(),
            path: "/".into(),
            source,
        })?;
        Ok(Self {
            directory,
            users: [0, rustix::process::geteuid().as_raw(), root.uid()],
            groups: [0, rustix::process::getegid().as_raw()],
        })
    }

    /// Follows a path as the kernel does, as far as it is there.
    fn walk(&self, path: &Path) -> Result<(), Error> {
        let mut ahead: Vec<OsString> = components(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(name);
            let error =
                |source| Error::Io { directory: self.directory.to_owned(), path: next.clone(), source };
            let found = match fs::symlink_metadata(&next) {
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
                found => found.map_err(error)?,
            };
            self.entry(&next, &found)?;
            if found.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return Err(error(rustix::io::Errno::LOOP.into()));
                }
                let target = fs::read_link(&next).map_err(error)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                ahead.extend(components(&target));
            } else {
                self.directory(&next, &found, !ahead.is_empty())?;
                at = next;
            }
        }
        Ok(())
    }

    fn entry(&self, path: &Path, found: &Metadata) -> Result<(), Error> {
        if self.users.contains(&found.uid()) {
            return Ok(());
        }
        Err(Error::Owner { directory: self.directory.to_owned(), path: path.to_owned(), owner: found.uid() })
    }

    /// A directory that leads to others may have the sticky bit instead: others add to it, and change nothing in it.
    fn directory(&self, path: &Path, found: &Metadata, leads_on: bool) -> Result<(), Error> {
        let mode = Mode::from_raw_mode(found.mode());
        let others = mode.contains(Mode::WOTH);
        let group = mode.contains(Mode::WGRP) && !self.groups.contains(&found.gid());
        if !(others || group) || (leads_on && mode.contains(Mode::SVTX)) {
            return Ok(());
        }
        Err(Error::Writable {
            directory: self.directory.to_owned(),
            path: path.to_owned(),
            mode: found.mode() & 0o7777,
        })
    }
}

/// The names of a path, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests;
