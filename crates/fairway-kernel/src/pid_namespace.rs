//! The pid namespaces of the peer of a unix socket.
//!
//! A process cannot move to an ancestor or sibling pid namespace, whatever capabilities it has (pid_namespaces(7)):
//! so they prove in which namespace a process was started.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::system;

/// A namespace, by device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }
}

/// The pid namespace of a process.
///
/// # Errors
/// As open(2) of `/proc/PID/ns/pid`: the process has ended.
pub fn pid_namespace(pid: u32) -> io::Result<NamespaceId> {
    NamespaceId::of(&open(pid)?)
}

fn open(pid: impl std::fmt::Display) -> io::Result<File> {
    File::open(format!("/proc/{pid}/ns/pid"))
}

/// The descendant pid namespaces that the peer of a socket is in, its own first; none for a peer in this process's
/// namespace, or outside of it.
///
/// # Errors
/// The peer has ended, or the kernel refuses.
pub fn pid_namespaces_of_peer(socket: impl AsFd) -> io::Result<Vec<NamespaceId>> {
    let ended = || io::Error::from(Errno::SRCH);
    let Some(process) = system::peer_process(socket)? else { return Ok(Vec::new()) };
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = match numbers(&information)[..] {
        [] => return Err(ended()),
        // In this process's namespace, or outside of it.
        [_] => return Ok(Vec::new()),
        [pid, ..] => pid,
    };
    let mut namespace = open(pid)?;
    // If the process still runs, the pid was its own when it was used.
    if has_ended(&process)? {
        return Err(ended());
    }
    let own = NamespaceId::of(&open("self")?)?;
    let mut found = Vec::new();
    loop {
        let id = NamespaceId::of(&namespace)?;
        if id == own {
            return Ok(found);
        }
        found.push(id);
        namespace = system::parent_namespace(&namespace)?.into();
    }
}

/// The process of the peer of a connected unix socket, which for a client is the process that listens; none for a
/// process outside of this pid namespace.
///
/// # Errors
/// The peer has ended, or the kernel refuses.
pub fn process_of_peer(socket: impl AsFd) -> io::Result<Option<u32>> {
    let Some(process) = system::peer_process(socket)? else { return Ok(None) };
    let information = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let line = information.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|pid| pid.trim().parse::<i64>().ok()) {
        Some(-1) | None => Err(Errno::SRCH.into()),
        Some(pid) => Ok(u32::try_from(pid).ok().filter(|pid| *pid != 0)),
    }
}

/// The numbers of a process in the pid namespaces that it is in, from this process's own inwards, by what
/// `/proc/PID/fdinfo` says of a descriptor of it; none when it has ended.
fn numbers(information: &str) -> Vec<u32> {
    let line = information.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.unwrap_or_default().split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| poll(&mut watched, Some(&at_once)))? > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_in_the_same_pid_namespace_has_no_descendant_namespaces() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(pid_namespaces_of_peer(&one).unwrap(), []);
        assert_eq!(process_of_peer(&one).unwrap(), Some(std::process::id()));
        assert_eq!(
            pid_namespace(std::process::id()).unwrap(),
            NamespaceId::of(&open("self").unwrap()).unwrap()
        );
    }

    #[test]
    fn pids_of_all_pid_namespaces_are_read() {
        assert_eq!(numbers("pos:\t0\nflags:\t02000002\nPid:\t7\nNSpid:\t7\t3\t1\n"), [7, 3, 1]);
        assert_eq!(numbers("Pid:\t7\nNSpid:\t7\n"), [7]);
        assert_eq!(numbers("Pid:\t0\nNSpid:\t0\n"), [0]);
        assert_eq!(numbers("Pid:\t-1\nNSpid:\t-1\n"), []);
    }
}
