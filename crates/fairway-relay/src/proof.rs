//! How a daemon shows the relay that no process of a sandbox speaks: by an open file of the relay's own pid namespace.
//!
//! A process in a pid namespace below cannot open that file, whatever capabilities it has there: the `/proc` of its
//! namespace does not show it, and NS_GET_PARENT leads only to what its own namespace spans (ioctl_nsfs(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// Opens the file.
pub(crate) fn open() -> io::Result<File> {
    File::open("/proc/self/ns/pid")
}

/// Which file it is, by device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    device: u64,
    inode: u64,
}

impl Proof {
    /// The one that daemons of this process's pid namespace have.
    pub(crate) fn expected() -> io::Result<Self> {
        Ok(Self::of(open()?)?)
    }

    /// The one that a file is.
    pub(crate) fn of(file: impl AsFd) -> Result<Self, Errno> {
        let found = rustix::fs::fstat(file)?;
        Ok(Self { device: found.st_dev, inode: found.st_ino })
    }
}
