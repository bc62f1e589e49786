//! The pid file, which netavark signals the server by. The server holds a lock on it, so that one server at a time
//! serves a directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::Pid;

use super::error::AardvarkError;

/// The name of the file in the directory.
const NAME: &str = "aardvark.pid";

/// How often a file is opened again whose server has just begun or ended.
const ATTEMPTS: usize = 100;

/// How often a server is found to run before it is believed: one that was killed holds its lock for a moment.
const SIGHTINGS: usize = 5;

/// How long to wait between attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// The pid file of this server, which removes it when it ends.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

/// The outcome of claiming a directory.
#[derive(Debug)]
pub(super) enum Claim {
    /// The directory is this server's.
    Ours(PidFile),
    /// Another server serves it.
    Runs(Pid),
}

/// Claims a directory.
///
/// # Errors
/// The file cannot be written.
pub(super) fn claim(directory: &Path) -> Result<Claim, AardvarkError> {
    let path = directory.join(NAME);
    let failed = |source| AardvarkError::PidFile { path: path.clone(), source };
    let mut sightings = 0;
    for _ in 0..ATTEMPTS {
        match attempt(&path).map_err(failed)? {
            Some(Claim::Runs(_)) if sightings < SIGHTINGS => sightings += 1,
            Some(claim) => return Ok(claim),
            None => {}
        }
        std::thread::sleep(PAUSE);
    }
    Err(failed(io::Error::other("another server has locked it and does not write its pid: end that process")))
}

fn attempt(path: &Path) -> io::Result<Option<Claim>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            return Ok(text.trim().parse().ok().and_then(Pid::from_raw).map(Claim::Runs));
        }
        Err(errno) => return Err(errno.into()),
    }
    // The server that ended meanwhile has removed the file that was opened.
    let is_there = std::fs::metadata(path).is_ok_and(|there| {
        file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    });
    Ok(is_there.then(|| Claim::Ours(PidFile { path: path.to_owned(), file })))
}

impl PidFile {
    /// Writes the pid of this process.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self) -> Result<(), AardvarkError> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(std::process::id().to_string().as_bytes())
        };
        write(&mut self.file).map_err(|source| AardvarkError::PidFile { path: self.path.clone(), source })
    }
}

impl Drop for PidFile {
    /// Removes the file, while it is locked.
    fn drop(&mut self) {
        // Without it netavark finds a pid without a process, and starts another server.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "failed to remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_server_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let Claim::Ours(mut first) = claim(directory.path()).unwrap() else { panic!("none runs") };
        first.write().unwrap();
        let own = std::process::id().to_string();
        assert_eq!(std::fs::read_to_string(directory.path().join(NAME)).unwrap(), own);
        let Claim::Runs(pid) = claim(directory.path()).unwrap() else { panic!("the first one runs") };
        assert_eq!(pid, rustix::process::getpid());
        drop(first);
        assert!(!directory.path().join(NAME).exists());
        assert!(matches!(claim(directory.path()).unwrap(), Claim::Ours(_)));
    }

    #[test]
    fn a_file_of_a_killed_server_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), "4194304999").unwrap();
        let Claim::Ours(mut ours) = claim(directory.path()).unwrap() else { panic!("none runs") };
        ours.write().unwrap();
        let text = std::fs::read_to_string(directory.path().join(NAME)).unwrap();
        assert_eq!(text, std::process::id().to_string());
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let error = claim(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all/aardvark.pid"), "{error}");
    }
}
