//! Starts a program as root of its own user, network, mount, pid, IPC and UTS namespaces.
//!
//! Between fork and exec the child becomes three processes:
//!
//! ```text
//! caller -- gate -- init (pid 1 of the new pid namespace) -- the program (pid 2)
//! ```
//!
//! The gate passes on the program's exit status. Init reaps orphans and ends when the program ends. Each dies
//! with the one to its left, whatever kills that one, and the death of init makes the kernel kill every process
//! of the pid namespace: nothing in it can outlive the caller.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getppid, set_parent_process_death_signal, wait, waitpid,
};
use rustix::thread::{CapabilitySet, UnshareFlags};

/// The users of the new user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// Only root, mapped to the caller. Needs no privilege.
    OnlyRoot,
    /// Every user of the caller's namespace, with the same id. Needs root with CAP_SETUID, CAP_SETGID and CAP_SETFCAP
    /// (user_namespaces(7)).
    All,
}

impl Users {
    /// The larger of the two that the calling thread may create.
    #[must_use]
    pub fn allowed() -> Users {
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETFCAP;
        let held = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
        if held && rustix::process::geteuid().is_root() { Users::All } else { Users::OnlyRoot }
    }
}

/// Why a program could not be started in new namespaces.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The caller's user map could not be read.
    #[error("cannot read the user map {path}: {source}")]
    ReadMap {
        /// The file under /proc.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// unshare(2) was refused.
    #[error("the kernel refuses new namespaces: {0}")]
    Unshare(io::Error),
    /// The namespaces were created, but their user map was refused.
    #[error("the kernel refuses to map users into the new user namespace: {0}")]
    MapUsers(io::Error),
    /// A pipe or process of the gate or init could not be created.
    #[error("cannot start the processes that hold the new namespaces: {0}")]
    Processes(io::Error),
    /// The program itself could not be executed.
    #[error("cannot start the program: {0}")]
    Program(io::Error),
}

/// The step at which the child failed. `Command` passes only one number to the caller: the step is encoded above the
/// 16 bits of the error number.
#[derive(Clone, Copy)]
enum Step {
    Processes = 1,
    Unshare = 2,
    MapUsers = 3,
}

impl Step {
    fn failed(self, errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(((self as i32) << 16) | errno.raw_os_error())
    }
}

fn decode(error: io::Error) -> SpawnError {
    let Some(code) = error.raw_os_error() else { return SpawnError::Program(error) };
    let source = io::Error::from_raw_os_error(code & 0xffff);
    match code >> 16 {
        1 => SpawnError::Processes(source),
        2 => SpawnError::Unshare(source),
        3 => SpawnError::MapUsers(source),
        _ => SpawnError::Program(error),
    }
}

/// What the child needs, prepared before the fork, since nothing may be allocated after it.
struct Entry {
    users: Users,
    user_map: Vec<u8>,
    group_map: Vec<u8>,
    caller: Option<Pid>,
}

/// Starts `command` as root of new namespaces; the returned child is the gate, which has its exit status (128 +
/// signal, if a signal ended it).
///
/// Everything dies with the **thread** that called this (PR_SET_PDEATHSIG, prctl(2)): call it from one that lives
/// as long as the program should.
///
/// # Errors
/// Names the step that the kernel refused; [`SpawnError::Unshare`] and [`SpawnError::MapUsers`] are the errors of a
/// system that forbids unprivileged user namespaces.
pub fn spawn_in_new_namespaces(command: &mut Command, users: Users) -> Result<Child, SpawnError> {
    let entry = Entry {
        users,
        user_map: map_of(users, "/proc/self/uid_map", rustix::process::geteuid().as_raw())?,
        group_map: map_of(users, "/proc/self/gid_map", rustix::process::getegid().as_raw())?,
        caller: Some(rustix::process::getpid()),
    };
    // SAFETY: the closure runs in the forked child, which has one thread. It makes system calls only: it takes
    // no lock and does not allocate, so it cannot meet a lock that another thread held at the fork.
    unsafe { command.pre_exec(move || enter(&entry)) };
    command.spawn().map_err(decode)
}

fn map_of(users: Users, path: &'static str, own: u32) -> Result<Vec<u8>, SpawnError> {
    match users {
        Users::OnlyRoot => Ok(format!("0 {own} 1\n").into_bytes()),
        Users::All => {
            let existing =
                std::fs::read_to_string(path).map_err(|source| SpawnError::ReadMap { path, source })?;
            Ok(identity_map(&existing).into_bytes())
        }
    }
}

/// The map under which every id of a namespace keeps its number in a child namespace, from the text of that
/// namespace's own map (lines of "inside outside count").
fn identity_map(own: &str) -> String {
    let extents = own.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (inside, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    extents.collect()
}

/// Runs in the child. Returns in the process that is to execute the program, and nowhere else.
fn enter(entry: &Entry) -> io::Result<()> {
    let processes = |errno| Step::Processes.failed(errno);
    default_child_signal();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(processes)?;
    if getppid() != entry.caller {
        exit(1);
    }
    match entry.users {
        Users::OnlyRoot => {
            unshare_all().map_err(|errno| Step::Unshare.failed(errno))?;
            let own = open_own_directory().map_err(processes)?;
            write_maps(own.as_fd(), entry).map_err(|errno| Step::MapUsers.failed(errno))?;
        }
        Users::All => enter_with_all_users(entry)?,
    }
    // The change of credentials may have cleared it.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(processes)?;

    let (alive, gate_end) = pipe_with(PipeFlags::CLOEXEC).map_err(processes)?;
    if let Some(init) = fork().map_err(processes)? {
        stand_by(init, gate_end.as_fd());
    }
    drop(gate_end);
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(processes)?;
    if has_hung_up(alive.as_fd()) {
        exit(1);
    }
    drop(alive);
    if let Some(program) = fork().map_err(processes)? {
        reap_until(program);
    }
    Ok(())
}

/// A map of more users than the caller must be written by a process with the caller's privileges, forked before
/// unshare.
fn enter_with_all_users(entry: &Entry) -> io::Result<()> {
    let processes = |errno| Step::Processes.failed(errno);
    let own = open_own_directory().map_err(processes)?;
    let (ready, signal) = pipe_with(PipeFlags::CLOEXEC).map_err(processes)?;
    let Some(mapper) = fork().map_err(processes)? else {
        drop(signal);
        let read = rustix::io::read(&ready, &mut [0u8; 1]);
        if read != Ok(1) {
            exit(0);
        }
        // An exit status has 8 bits; the error numbers of interest are far below 255.
        exit(write_maps(own.as_fd(), entry).map_or_else(|errno| errno.raw_os_error() & 0xff, |()| 0));
    };
    unshare_all().map_err(|errno| Step::Unshare.failed(errno))?;
    rustix::io::write(&signal, &[1]).map_err(processes)?;
    let status = wait_for(mapper).map_err(processes)?;
    if status == 0 { Ok(()) } else { Err(Step::MapUsers.failed(Errno::from_raw_os_error(status))) }
}

fn unshare_all() -> rustix::io::Result<()> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    // SAFETY: the table of file descriptors is not among what is unshared.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

fn open_own_directory() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(c"/proc/self", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn write_maps(process: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
    if entry.users == Users::OnlyRoot {
        // Without it a process could drop a group that forbids it something (user_namespaces(7)).
        match write_file(process, c"setgroups", b"deny") {
            Err(Errno::NOENT) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
    }
    write_file(process, c"uid_map", &entry.user_map)?;
    write_file(process, c"gid_map", &entry.group_map)
}

fn write_file(directory: BorrowedFd<'_>, name: &CStr, content: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(|_| ())
}

/// The gate: closes all descriptors, waits for init and exits with its status.
fn stand_by(init: Pid, keep: BorrowedFd<'_>) -> ! {
    block_all_signals();
    let keep = keep.as_raw_fd().unsigned_abs();
    close_range(0, keep.saturating_sub(1));
    close_range(keep + 1, u32::MAX);
    exit(wait_for(init).unwrap_or(1))
}

/// Init: reaps orphans of the pid namespace and exits with the program's status.
fn reap_until(program: Pid) -> ! {
    block_all_signals();
    close_range(0, u32::MAX);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => exit(exit_code(status)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => exit(1),
        }
    }
}

fn wait_for(pid: Pid) -> rustix::io::Result<i32> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(exit_code(status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn has_hung_up(pipe: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&at_once)).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

/// Forks the calling process so that the new process is a child of its parent, in the pid namespace for the caller's
/// children. Returns its pid, and `None` in the new process.
///
/// # Errors
/// As clone(2); `EINVAL` when the process has other threads, whose locks the new process could never get.
pub fn fork_sibling() -> Result<Option<Pid>, Errno> {
    // SAFETY: in a process of one thread the flag changes nothing, in others it is refused (unshare(2)).
    if unsafe { libc::unshare(libc::CLONE_VM) } != 0 {
        return Err(super::last_errno());
    }
    fork_with(libc::CLONE_PARENT | libc::SIGCHLD)
}

/// Forks the calling process: `None` in the child.
fn fork() -> rustix::io::Result<Option<Pid>> {
    fork_with(libc::SIGCHLD)
}

/// Forks by the bare system call, so that no handler of libc's runs.
fn fork_with(flags: i32) -> rustix::io::Result<Option<Pid>> {
    // SAFETY: no flag of the callers shares memory, files or a stack with the child, and this process has one thread,
    // so the child finds no lock taken.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(Pid::from_raw(pid)),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: _exit ends the process at once and runs nothing of the copied program.
    unsafe { libc::_exit(code) }
}

fn close_range(first: u32, last: u32) {
    // SAFETY: the callers never execute code again that uses a descriptor of the closed range.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// With SIGCHLD ignored, as it may be inherited, there would be no exit status to wait for.
fn default_child_signal() {
    // SAFETY: only resets the disposition of a signal in a process of one thread.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

fn block_all_signals() {
    let mut every = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set that sigprocmask then reads; both are async-signal-safe.
    unsafe {
        libc::sigfillset(every.as_mut_ptr());
        libc::sigprocmask(libc::SIG_BLOCK, every.as_ptr(), std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_keeps_its_number() {
        assert_eq!(identity_map("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(identity_map("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_program_is_root_and_the_second_process_and_its_status_comes_back() {
        for users in [Users::OnlyRoot, Users::allowed()] {
            let mut command = shell("[ $$ = 2 ] && [ $(id -u) = 0 ] && exit 42");
            let status = spawn_in_new_namespaces(&mut command, users).unwrap().wait().unwrap();
            assert_eq!(status.code(), Some(42), "{users:?}");
        }
    }

    #[test]
    fn a_program_ended_by_a_signal_gives_the_status_of_a_shell() {
        let mut command = shell("kill -TERM $$");
        let status = spawn_in_new_namespaces(&mut command, Users::OnlyRoot).unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(128 + libc::SIGTERM));
    }

    #[test]
    fn a_missing_program_is_an_error_of_its_own() {
        let refused = spawn_in_new_namespaces(&mut Command::new("/nonexistent/program"), Users::OnlyRoot);
        assert!(
            matches!(refused, Err(SpawnError::Program(error)) if error.kind() == io::ErrorKind::NotFound)
        );
    }
}
