//! The sandbox's own `/etc`: an overlay over the host's, in which some files are the sandbox's.
//!
//! The kernel detaches a bind mount on a file, in every mount namespace, when another file is renamed over it or it is
//! unlinked; hosts do both to `/etc/resolv.conf` and `/etc/hosts`. In the overlay the mount points are files of its upper
//! layer, which no other mount shows, so nothing that the host does to its own files reaches them. The upper layer is a
//! file system in memory that is mounted nowhere else: it goes with the last mount namespace that has the overlay.
//!
//! Directories below `/etc` are the host's own: what is written there is written on the host, and seen at once by both.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};

use super::Files;

/// A directory that is covered while the layers are put together in it.
const SCAFFOLD: &str = "/dev";
/// The size limit of the upper layer is that of `/dev/shm` in Docker.
const UPPER_LAYER: &std::ffi::CStr = c"mode=755,size=64m";
/// The flags of both file systems: neither devices nor set-user-ID programs belong into `/etc`.
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
/// The files that are the sandbox's own.
const OWN: [&str; 3] = ["resolv.conf", "hosts", "hostname"];

/// Mounts the overlay on `/etc`.
///
/// # Errors
/// The kernel has no overlayfs, or refuses it on this file system. `/etc` is the host's then.
pub(super) fn overlay() -> io::Result<()> {
    mount("tmpfs", SCAFFOLD, "tmpfs", FLAGS, UPPER_LAYER)?;
    let mounted = mount_layers();
    unmount(SCAFFOLD, UnmountFlags::DETACH)?;
    mounted
}

fn mount_layers() -> io::Result<()> {
    let scaffold = Path::new(SCAFFOLD);
    for layer in ["lower", "upper", "work"] {
        fs::create_dir(scaffold.join(layer))?;
    }
    // The overlay's own directory has the mode of the upper one.
    fs::set_permissions(scaffold.join("upper"), fs::metadata("/etc")?.permissions())?;
    let lower = scaffold.join("lower");
    mount_bind_recursive("/etc", &lower)?;
    mount("overlay", "/etc", "overlay", FLAGS, c"lowerdir=/dev/lower,upperdir=/dev/upper,workdir=/dev/work")?;
    for entry in fs::read_dir(&lower)? {
        let (source, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        if is_directory_or_mount(&source)? {
            // What cannot be mounted is seen through the overlay.
            let _ = mount_bind_recursive(&source, Path::new("/etc").join(name));
        }
    }
    Ok(())
}

/// Whether a name is that of a directory, or something is mounted on it, which an overlay would not show.
fn is_directory_or_mount(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE)?;
    let is_directory = rustix::fs::FileType::from_raw_mode(found.stx_mode.into()).is_dir();
    Ok(is_directory || found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Mounts the sandbox's files in `/etc`, which is the overlay if `overlaid`. Without it, a symbolic link is followed:
/// the mount is on the file that it leads to.
///
/// # Errors
/// The file that could not be mounted, and why.
pub(super) fn mount_files(
    files: &Files,
    overlaid: bool,
    notes: &mut Vec<String>,
) -> Result<(), (String, io::Error)> {
    let sources = [&files.resolv_conf, &files.hosts, &files.hostname];
    for (source, name) in
        sources.into_iter().zip(OWN).filter_map(|(source, name)| Some((source.as_ref()?, name)))
    {
        let target = Path::new("/etc").join(name);
        let ready = if overlaid { mount_point(&target) } else { fs::metadata(&target).map(drop) };
        if let Err(error) = ready {
            notes.push(format!("cannot mount the sandbox's file on {}: {error}", target.display()));
            continue;
        }
        mount_bind(source, &target).map_err(|errno| {
            (format!("mount {} on {}", source.display(), target.display()), io::Error::from(errno))
        })?;
    }
    Ok(())
}

/// Puts a plain file of this name into the upper layer, in place of the host's. That cannot be copied up where the user
/// who owns it is not one of the user namespace.
fn mount_point(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(path).map(drop)
}
