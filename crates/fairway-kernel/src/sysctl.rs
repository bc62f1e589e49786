//! Sysctls, as files under `/proc/sys`. Network sysctls are those of the calling thread's namespace.

mod tree;

use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

pub use tree::Tree;

/// Why a sysctl could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The path leaves `/proc/sys` or is empty.
    #[error("invalid sysctl {0:?}: a path under /proc/sys is expected, such as net/ipv4/ip_forward")]
    Path(String),
    /// The kernel has no such sysctl: a module is not loaded, or the interface is gone.
    #[error("this kernel has no sysctl {0}")]
    Missing(String),
    /// It cannot be read.
    #[error("cannot read the sysctl {path}: {errno}")]
    Read {
        /// The path under `/proc/sys`.
        path: String,
        /// The reason.
        errno: Errno,
    },
    /// It cannot be written.
    #[error("cannot set the sysctl {path} to {value}: {errno}")]
    Write {
        /// The path under `/proc/sys`.
        path: String,
        /// The value.
        value: String,
        /// The reason; `EACCES` or `EROFS` without rights over the namespace.
        errno: Errno,
    },
}

/// The effect of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The sysctl had that value already.
    Unchanged,
    /// The former value.
    From(String),
}

const ROOT: &str = "/proc/sys";

/// Reads a sysctl, without the final line break. Values of several parts have tabs between them.
///
/// # Errors
/// [`Error::Path`], [`Error::Missing`], [`Error::Read`].
pub fn read(path: &str) -> Result<String, Error> {
    read_at(CWD, ROOT, checked(path)?)
}

/// Sets a sysctl, unless it has the value.
///
/// # Errors
/// [`Error::Path`], [`Error::Missing`], [`Error::Read`], [`Error::Write`].
pub fn write(path: &str, value: &str) -> Result<Change, Error> {
    let before = read(path)?;
    if before == value {
        return Ok(Change::Unchanged);
    }
    set(path, value)?;
    Ok(Change::From(before))
}

/// Sets a sysctl without reading it first.
///
/// # Errors
/// [`Error::Path`], [`Error::Missing`], [`Error::Write`].
pub fn set(path: &str, value: &str) -> Result<(), Error> {
    set_at(CWD, ROOT, checked(path)?, value)
}

fn read_at(root: BorrowedFd<'_>, prefix: &str, path: &str) -> Result<String, Error> {
    let error = |errno| match errno {
        Errno::NOENT => Error::Missing(path.to_owned()),
        errno => Error::Read { path: path.to_owned(), errno },
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, format!("{prefix}/{path}"), flags, Mode::empty()).map_err(error)?;
    // Network sysctls are at most a page long, and read at once.
    let mut buffer = [0; 4096];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer)).map_err(error)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
}

fn set_at(root: BorrowedFd<'_>, prefix: &str, path: &str, value: &str) -> Result<(), Error> {
    let error = |errno| match errno {
        Errno::NOENT => Error::Missing(path.to_owned()),
        errno => Error::Write { path: path.to_owned(), value: value.to_owned(), errno },
    };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, format!("{prefix}/{path}"), flags, Mode::empty()).map_err(error)?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes())).map(drop).map_err(error)
}

fn checked(path: &str) -> Result<&str, Error> {
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") || path.contains('\0') {
        return Err(Error::Path(path.to_owned()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_new_namespace;

    #[test]
    fn a_value_is_set_once_and_in_its_namespace_only() {
        let path = "net/ipv4/conf/lo/route_localnet";
        in_new_namespace(|| {
            assert_eq!(read(path).as_deref(), Ok("0"));
            assert_eq!(write(path, "1"), Ok(Change::From("0".into())));
            assert_eq!(write(path, "1"), Ok(Change::Unchanged));
            assert_eq!(read(path).as_deref(), Ok("1"));
            in_new_namespace(|| assert_eq!(read(path).as_deref(), Ok("0")));
        });
    }

    #[test]
    fn errors_name_the_setting() {
        in_new_namespace(|| {
            let missing = "net/ipv4/conf/nowhere/forwarding";
            assert_eq!(read(missing), Err(Error::Missing(missing.into())));
            assert_eq!(set(missing, "1"), Err(Error::Missing(missing.into())));
            let error = set("net/ipv4/ip_forward", "yes").unwrap_err();
            assert!(matches!(&error, Error::Write { errno: Errno::INVAL, .. }), "{error}");
            for path in ["", "/net", "../self", "net//ipv4", "net/./ipv4"] {
                assert_eq!(read(path), Err(Error::Path(path.into())));
            }
        });
    }
}
