//! The directories of a daemon that did not start.

use std::path::{Path, PathBuf};

use fairway_kernel::trusted_directory;

/// Directories that this daemon made. What of them is empty is removed when this is dropped.
#[derive(Debug)]
pub(super) struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    /// Makes the directories that are not there, for root alone to write in.
    ///
    /// # Errors
    /// One of them cannot be made, or others can write in it.
    pub(super) fn ensure(directories: [&Path; 2]) -> Result<Self, trusted_directory::Error> {
        let missing = directories.into_iter().filter(|directory| !directory.exists());
        let made = Self(missing.map(Path::to_owned).collect());
        directories.into_iter().try_for_each(trusted_directory::ensure)?;
        Ok(made)
    }

    /// The daemon starts: they stay.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        // One that is used stays.
        self.0.iter().for_each(|directory| drop(std::fs::remove_dir(directory)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_goes_again_unless_it_is_kept_or_used() {
        let root = tempfile::tempdir().unwrap();
        let [data, exec] = ["data", "exec"].map(|name| root.path().join(name));
        std::fs::create_dir(&exec).unwrap();
        let ensure = || MadeDirectories::ensure([&data, &exec]).unwrap();
        drop(ensure());
        assert_eq!((data.exists(), exec.exists()), (false, true), "one was there before");
        ensure().keep();
        assert!(data.exists());
        std::fs::remove_dir(&data).unwrap();
        let made = ensure();
        std::fs::write(data.join("file"), "").unwrap();
        drop(made);
        assert!(data.join("file").exists());
    }
}
