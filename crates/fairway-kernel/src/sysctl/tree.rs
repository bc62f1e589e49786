//! Sysctls of many namespaces, at a cost that does not grow with their number.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{Change, Error, checked};

/// How many lookups a mount serves before a new one replaces it.
const USES: u32 = 64;

/// A private mount of `/proc/sys`, renewed from time to time.
///
/// In the shared `/proc`, the kernel keeps a dentry of the same name for each network namespace that ever looked, in
/// one hash chain: with 900 sandboxes a first lookup takes 1 ms. A private mount costs 0.1 ms and starts empty. Where
/// it is not allowed (a user namespace without a pid namespace), the shared one serves.
#[derive(Debug, Default)]
pub struct Tree {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unmounted,
    Mounted(Arc<OwnedFd>, u32),
    Refused,
}

impl Tree {
    /// As [`super::write`], in the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`super::write`].
    pub fn write(&self, path: &str, value: &str) -> Result<Change, Error> {
        let path = checked(path)?;
        self.with_root(|root, prefix| {
            let before = super::read_at(root, prefix, path)?;
            if before == value {
                return Ok(Change::Unchanged);
            }
            super::set_at(root, prefix, path, value)?;
            Ok(Change::From(before))
        })
    }

    /// As [`super::read`], in the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`super::read`].
    pub fn read(&self, path: &str) -> Result<String, Error> {
        let path = checked(path)?;
        self.with_root(|root, prefix| super::read_at(root, prefix, path))
    }

    /// As [`super::set`], in the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`super::set`].
    pub fn set(&self, path: &str, value: &str) -> Result<(), Error> {
        let path = checked(path)?;
        self.with_root(|root, prefix| super::set_at(root, prefix, path, value))
    }

    fn with_root<T>(&self, work: impl FnOnce(rustix::fd::BorrowedFd<'_>, &str) -> T) -> T {
        match self.root() {
            Some(root) => work(root.as_fd(), "sys"),
            None => work(CWD, super::ROOT),
        }
    }

    fn root(&self) -> Option<Arc<OwnedFd>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Refused => return None,
            State::Mounted(root, uses) if *uses < USES => {
                *uses += 1;
                return Some(Arc::clone(root));
            }
            State::Mounted(..) | State::Unmounted => {}
        }
        match mount() {
            Ok(root) => {
                let root = Arc::new(root);
                *state = State::Mounted(Arc::clone(&root), 1);
                Some(root)
            }
            Err(errno) => {
                tracing::debug!(%errno, "cannot mount a private /proc; using the shared one");
                *state = State::Refused;
                None
            }
        }
    }
}

fn mount() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let root = rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    // Files hidden in the shared `/proc` by mounts over it stay hidden.
    rustix::fs::openat(&root, "sys/net", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_new_namespace;

    #[test]
    fn each_namespace_has_its_own_values_beyond_many_uses() {
        let tree = Tree::default();
        for round in 0..USES {
            in_new_namespace(|| {
                let path = "net/ipv4/conf/lo/route_localnet";
                assert_eq!(tree.write(path, "1"), Ok(Change::From("0".into())), "round {round}");
                assert_eq!(crate::sysctl::read(path).as_deref(), Ok("1"));
                assert_eq!(tree.write(path, "1"), Ok(Change::Unchanged));
                tree.set(path, "0").unwrap();
                assert_eq!(crate::sysctl::read(path).as_deref(), Ok("0"));
            });
        }
        assert_eq!(tree.set("../self", "1"), Err(Error::Path("../self".into())));
    }
}
