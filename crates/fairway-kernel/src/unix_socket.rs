//! Listening unix sockets, created with their final mode.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Creates a listening socket with this mode, in place of a socket or symbolic link at the path.
///
/// # Errors
/// A file of another kind exists (`AlreadyExists`), or the kernel refuses.
pub fn listen(path: &Path, kind: SocketType, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    remove(path)?;
    let socket = bind(path, kind, mode)?;
    // The umask may have reduced the mode.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Whether a process listens at a socket of this kind.
pub fn is_served(path: &Path, kind: SocketType) -> bool {
    let connected = || -> io::Result<()> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?)
    };
    connected().is_ok()
}

/// Binds a socket; the file's mode is at no time wider than `mode`.
fn bind(path: &Path, kind: SocketType, mode: u32) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // The file gets the mode of the socket, less the umask.
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Removes a socket or a symbolic link, if it exists.
///
/// # Errors
/// A file of another kind exists (`AlreadyExists`), or the kernel refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(found) if !found.file_type().is_socket() && !found.is_symlink() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there: move it away",
        )),
        found => found.and_then(|_| fs::remove_file(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_socket_is_at_no_time_open_to_other_users() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _bound = bind(&path, SocketType::STREAM, 0o600).unwrap();
        assert_eq!(mode(&path), 0o600, "before its mode was set");
        let socket = listen(&path, SocketType::STREAM, 0o660, 4).unwrap();
        assert_eq!(mode(&path), 0o660);
        UnixStream::connect(&path).unwrap();
        assert!(is_served(&path, SocketType::STREAM));
        assert!(!is_served(&path, SocketType::SEQPACKET), "of another kind");
        drop(socket);
        assert!(!is_served(&path, SocketType::STREAM), "left by a process that has ended");
    }

    #[test]
    fn only_sockets_and_links_make_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        drop(listen(&path, SocketType::SEQPACKET, 0o600, 4).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        let refused = listen(&path, SocketType::SEQPACKET, 0o600, 4).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
