//! Directories that no other user can change, neither themselves nor their parents.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::Mode;
use thiserror::Error;

/// The most symbolic links that are followed, as in the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Why a directory cannot be trusted.
#[derive(Debug, Error)]
pub enum Error {
    /// Another user owns the directory, a file in it, or a parent.
    #[error(
        "cannot use the directory {}: {} belongs to user {owner}, who could put other files in its place: give it to root (chown -h root), or choose another directory",
        directory.display(), path.display()
    )]
    Owner {
        /// The directory.
        directory: PathBuf,
        /// The file that the user owns.
        path: PathBuf,
        /// The number of the user.
        owner: u32,
    },
    /// Other users may write to the directory, or to a parent.
    #[error(
        "cannot use the directory {}: other users may write to {} (mode {mode:03o}): take that from them (chmod go-w), or choose another directory",
        directory.display(), path.display()
    )]
    Writable {
        /// The directory.
        directory: PathBuf,
        /// The directory that others may write to.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The directory cannot be created or read.
    #[error("cannot use the directory {}: {}: {source}", directory.display(), path.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// The path that failed.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Creates a directory with its parents, and checks that it, its parents and its entries belong to trusted users.
///
/// Trusted are root, the user of this process, and the owner of `/`, who may be unmapped in a user namespace.
///
/// # Errors
/// Another user could change the directory: then nothing was created.
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

/// Checks files on the way to a directory.
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

    /// Follows a path as the kernel does, as far as it exists.
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

    /// A parent may have the sticky bit instead: other users can add files, but change none.
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

/// The components of a path, the first one last.
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
