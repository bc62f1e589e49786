//! Another root directory for a command than the host's: an image, which is a directory.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};
use rustix::process::pivot_root;

/// What a command needs in its root directory to mount on.
const MOUNT_POINTS: [&str; 4] = ["proc", "sys", "dev", "etc"];

/// The host's root directory, which can be reached until it is closed.
#[derive(Debug)]
pub(super) struct HostRoot(OwnedFd);

impl HostRoot {
    /// Makes a directory the root of the calling process, in its own mount namespace, with the host's devices.
    ///
    /// # Errors
    /// As pivot_root(2).
    pub(super) fn leave_for(root: &Path) -> io::Result<Self> {
        mount_bind_recursive(root, root)?;
        for name in MOUNT_POINTS {
            match fs::create_dir(root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        mount_bind_recursive("/dev", root.join("dev"))?;
        let host = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::chdir(root)?;
        // The host's root is mounted over the other one then, where no absolute path leads (pivot_root(2), notes).
        pivot_root(".", ".")?;
        rustix::process::chdir("/")?;
        Ok(Self(host))
    }

    /// Unmounts it: no process of the sandbox may reach it.
    ///
    /// # Errors
    /// As umount(2).
    pub(super) fn close(self) -> io::Result<()> {
        Ok(unmount(self.path(Path::new("/")), UnmountFlags::DETACH)?)
    }

    /// A path of the host, as it is reached from the other root.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        Path::new("/proc/self/fd")
            .join(self.0.as_raw_fd().to_string())
            .join(path.strip_prefix("/").unwrap_or(path))
    }
}
