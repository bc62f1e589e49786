//! A file's place on the disk: looked at, written, emptied.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Found, InstallError};

/// All may read, root writes.
const MODE: u32 = 0o644;

/// Where a file is or shall be.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// The place of an absolute path below a root.
    pub(super) fn new(root: &Path, path: &str) -> Self {
        Self(root.join(path.trim_start_matches('/')))
    }

    /// The place of an absolute path below a root.
    pub(super) fn below(root: &Path, path: &Path) -> Self {
        Self(root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// The place in the same directory whose name has a suffix more.
    pub(super) fn with_suffix(&self, suffix: &str) -> Self {
        let mut path = self.0.clone().into_os_string();
        path.push(suffix);
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What is there. Links are not followed.
    pub(super) fn find(&self) -> Result<Found, InstallError> {
        let found = match fs::symlink_metadata(&self.0) {
            Ok(metadata) if metadata.is_file() => fs::read(&self.0).map(Found::File),
            Ok(metadata) if metadata.is_symlink() => fs::read_link(&self.0).map(Found::Link),
            Ok(_) => Ok(Found::Other),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        };
        found.map_err(self.failure("read"))
    }

    /// Replaces the file's text atomically: a reader sees the former text or this one, whole.
    pub(super) fn write(&self, text: &str) -> Result<(), InstallError> {
        self.put(|draft| write_new(draft, text))
    }

    /// Makes a symbolic link, or replaces one atomically.
    pub(super) fn link(&self, target: &Path) -> Result<(), InstallError> {
        self.put(|draft| {
            remove_old(draft)?;
            symlink(target, draft)
        })
    }

    /// Makes something under another name, and renames it.
    fn put(&self, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), InstallError> {
        let (Some(directory), Some(name)) = (self.0.parent(), self.0.file_name()) else {
            return Err(self.failure("write")(ErrorKind::InvalidInput.into()));
        };
        fs::create_dir_all(directory).map_err(self.failure("make the directory of"))?;
        // None of the programs reads files whose names end like this.
        let draft = directory.join(format!(".{}.fairway-new", name.to_string_lossy()));
        let written = make(&draft).and_then(|()| fs::rename(&draft, &self.0));
        written.map_err(|error| {
            // What is left of it is removed before the next one is written, too.
            let _ = fs::remove_file(&draft);
            self.failure("write")(error)
        })
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> Result<(), InstallError> {
        fs::remove_file(&self.0).map_err(self.failure("remove"))
    }

    /// Moves what is here to another place, and replaces what is there.
    pub(super) fn rename(&self, to: &Self) -> Result<(), InstallError> {
        fs::rename(&self.0, &to.0).map_err(self.failure("rename"))
    }

    /// Removes the directory, which must be empty.
    pub(super) fn remove_directory(&self) -> Result<(), InstallError> {
        fs::remove_dir(&self.0).map_err(self.failure("remove"))
    }

    fn failure(&self, verb: &'static str) -> impl FnOnce(io::Error) -> InstallError {
        let path = self.0.clone();
        move |source| InstallError::File { verb, path, source }
    }
}

/// Removes the draft that an earlier run left.
fn remove_old(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    remove_old(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    // Whatever the umask.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.sync_all()
}
