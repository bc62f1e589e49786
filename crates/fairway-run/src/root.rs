//! Another root directory for a command than the host's: an image, which is a directory.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};
use rustix::process::{pivot_root, umask};

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

/// Makes a directory and those above it where they are missing, in the image that is the root directory. Links lead where
/// they lead in the image, and nothing is made in what is mounted in it, such as the host's `/dev`.
///
/// # Errors
/// As openat2(2) and mkdir(2). What is there and is no directory is no error.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    let open = |path: &Path, resolve| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)
    };
    let is_missing = |path: &&Path| matches!(open(path, ResolveFlags::empty()), Err(Errno::NOENT));
    let path = Path::new("/").join(path);
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    // So far it is the caller's.
    umask(Mode::from_raw_mode(0o022));
    for path in missing.into_iter().rev() {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let parent = open(parent, ResolveFlags::NO_XDEV)?;
            match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                // Another command of the image has made it meanwhile, or it is a link that leads nowhere.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}
