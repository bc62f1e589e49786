//! Files that other users may have prepared: in a container, or below an engine's directory. Opening one waits for
//! nothing and acts on nothing, and reading one ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat, openat2};

/// The most that is read of one file. Records of containers, passwd(5) and hosts(5) have kilobytes.
const MOST_BYTES: u64 = 16 << 20;

/// A pipe or device must not block or act.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Reads a regular file, of which 16 MiB at most.
///
/// # Errors
/// As open(2), and for what is no regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    contents(regular(open(path, FLAGS, Mode::empty())?)?)
}

/// Opens a regular file below a root directory as a process with that root would: links lead where they lead inside,
/// never to files of the host.
///
/// # Errors
/// As openat2(2), and for what is no regular file. The root of another user's process, `/proc/PID/root`, takes
/// `CAP_SYS_PTRACE`.
pub fn open_below(root: &Path, path: &str) -> io::Result<File> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    regular(openat2(root, path, FLAGS, Mode::empty(), resolve)?)
}

/// Reads what [`open_below`] opens, of which 16 MiB at most.
///
/// # Errors
/// As [`open_below`] and read(2).
pub fn read_below(root: &Path, path: &str) -> io::Result<Vec<u8>> {
    contents(open_below(root, path)?)
}

fn contents(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere_else_and_pipes_are_not_waited_for() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "outside").unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("real"), "inside").unwrap();
        let etc = root.path().join("etc");
        symlink("/real", etc.join("absolute")).unwrap();
        symlink("../../../real", etc.join("above")).unwrap();
        symlink(&secret, etc.join("elsewhere")).unwrap();
        rustix::fs::mknodat(CWD, etc.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for name in ["absolute", "above"] {
            assert_eq!(read_below(root.path(), &format!("etc/{name}")).unwrap(), b"inside", "{name}");
        }
        assert_eq!(read(&etc.join("elsewhere")).unwrap(), b"outside");
        let kind = |path: &str| read_below(root.path(), path).unwrap_err().kind();
        assert_eq!(kind("etc/elsewhere"), io::ErrorKind::NotFound);
        assert_eq!(kind("etc/pipe"), io::ErrorKind::InvalidData);
        assert_eq!(kind("etc"), io::ErrorKind::InvalidData);
        assert_eq!(read(&etc.join("pipe")).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
