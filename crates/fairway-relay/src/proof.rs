//! Proof that a connection comes from a daemon and not from a sandbox: an open file of the relay's pid namespace.
//!
//! A process in a descendant pid namespace cannot open that file, whatever capabilities it has there: the `/proc` of
//! its namespace does not show it, and NS_GET_PARENT leads only to what its own namespace spans (ioctl_nsfs(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// Opens the pid namespace file of this process, to send it to the relay.
pub(crate) fn open() -> io::Result<File> {
    File::open("/proc/self/ns/pid")
}

/// The identity of a pid namespace file: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    device: u64,
    inode: u64,
}

impl Proof {
    /// The proof that daemons in this process's pid namespace can give.
    pub(crate) fn expected() -> io::Result<Self> {
        Ok(Self::of(open()?)?)
    }

    /// Reads the identity of a received file.
    pub(crate) fn of(file: impl AsFd) -> Result<Self, Errno> {
        let found = rustix::fs::fstat(file)?;
        Ok(Self { device: found.st_dev, inode: found.st_ino })
    }
}
