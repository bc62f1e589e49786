//! Named namespaces: bind mounts in `/run/netns`, as in ip-netns(8).

use fairway_model::Namespace;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

use super::{Error, OWN, identity, open_any, thread_errno};
use crate::system;

/// The directory of named namespaces.
pub const NAMED_DIRECTORY: &str = "/run/netns";

/// Creates a network namespace that `ip netns exec NAME` can enter. Its loopback interface is down.
///
/// # Errors
/// [`Error::Name`], [`Error::Exists`], [`Error::Mount`], [`Error::Enter`] when the kernel refuses a new namespace.
pub fn create_named(name: &str) -> Result<Namespace, Error> {
    let path = path_of(name)?;
    prepare_directory()?;
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => drop(file),
        Err(Errno::EXIST) => return Err(Error::Exists { name: name.to_owned(), path }),
        Err(errno) => return Err(Error::Mount { action: "create", path, errno }),
    }
    let made = mount_new_namespace(&path).and_then(|()| open_any(&path));
    match made {
        Ok(handle) => Ok(handle.namespace().clone()),
        Err(error) => {
            // The empty file is not a namespace, and not in use.
            let _ = rustix::fs::unlink(&path);
            Err(error)
        }
    }
}

/// Removes the name of a namespace, which ends with its last process and socket. A missing name is no error.
///
/// # Errors
/// [`Error::Replaced`] when the path leads to another namespace, which is left alone;
/// [`Error::Mount`].
pub fn remove_named(namespace: &Namespace) -> Result<(), Error> {
    let path = &namespace.path;
    match identity(path) {
        Ok(found) if found.identity() == namespace.identity() => {
            match rustix::mount::unmount(path.as_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::Mount { action: "unmount", path: path.clone(), errno }),
            }
        }
        Ok(found) => {
            return Err(Error::Replaced {
                path: path.clone(),
                expected: namespace.inode,
                found: found.inode,
            });
        }
        Err(Error::Open { errno: Errno::NOENT, .. }) => return Ok(()),
        // The empty file remains when only the mount is gone; it has mode 0, so only root can open it.
        Err(Error::NotNetwork { .. } | Error::Open { errno: Errno::ACCESS, .. }) => {}
        Err(error) => return Err(error),
    }
    match rustix::fs::unlink(path.as_str()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::Mount { action: "remove", path: path.clone(), errno }),
    }
}

fn path_of(name: &str) -> Result<String, Error> {
    if name.is_empty() || name == "." || name == ".." || name.len() > 255 || name.contains(['/', '\0']) {
        return Err(Error::Name(name.to_owned()));
    }
    Ok(format!("{NAMED_DIRECTORY}/{name}"))
}

/// Creates the directory and makes it a shared mount: otherwise copies in other mount namespaces keep unmounted
/// namespaces alive.
fn prepare_directory() -> Result<(), Error> {
    let error = |action| move |errno| Error::Mount { action, path: NAMED_DIRECTORY.to_owned(), errno };
    match rustix::fs::mkdir(NAMED_DIRECTORY, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(error("create")(errno)),
    }
    let share = || {
        rustix::mount::mount_change(
            NAMED_DIRECTORY,
            MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        )
    };
    match share() {
        Ok(()) => Ok(()),
        // Only a mount point can be shared: mount the directory on itself.
        Err(Errno::INVAL) => {
            rustix::mount::mount_bind_recursive(NAMED_DIRECTORY, NAMED_DIRECTORY)
                .map_err(error("mount on itself"))?;
            share().map_err(error("share"))
        }
        Err(errno) => Err(error("share")(errno)),
    }
}

/// Creates the namespace on a thread of its own, which ends afterwards.
fn mount_new_namespace(path: &str) -> Result<(), Error> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .spawn_scoped(scope, || {
                system::unshare(UnshareFlags::NEWNET)
                    .map_err(|errno| Error::Enter { path: path.to_owned(), errno })?;
                rustix::mount::mount_bind(OWN, path).map_err(|errno| Error::Mount {
                    action: "mount a namespace at",
                    path: path.to_owned(),
                    errno,
                })
            })
            .map_err(|error| Error::Thread(thread_errno(&error)))?
            .join()
            .unwrap_or(Err(Error::Thread(Errno::CANCELED)))
    })
}
