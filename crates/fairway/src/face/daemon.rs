//! The daemon that a face asks: the one of its network namespace, which is started on demand where none runs.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fairway_api::types::{Attached, JoinRequest, LeaveRequest};
use fairway_api::{Client, ClientError};
use fairway_kernel::{namespace, pid_namespace};
use rustix::io::Errno;
use thiserror::Error;

use crate::daemon::on_demand::{Location, LockError, Precedence, StartError, StartLock, answering, start};

/// The directory of a daemon that is not at the system's place, below the directory that the caller names.
const DIRECTORY: &str = "fairway";
/// This program.
const PROGRAM: &str = "/proc/self/exe";
/// How long a daemon of the system that is restarted may take to come back.
const RETURN: Duration = Duration::from_secs(5);
/// How often it is tried.
const GLANCE: Duration = Duration::from_millis(50);
/// How often the daemon may end while a face connects to it.
const ATTEMPTS: usize = 3;
/// How long a daemon of another network namespace may take to end.
const STRANGER: Duration = Duration::from_secs(5);

/// Where the caller of a face says that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether the caller runs without root, in a user namespace.
    pub rootless: bool,
    /// A directory of the caller, which ends with the boot. A daemon that cannot be at the system's place has its files
    /// below it.
    pub directory: PathBuf,
}

/// Why a face has no daemon.
#[derive(Debug, Error)]
pub enum Error {
    /// No other process can be kept from starting a daemon too.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The daemon does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The daemon ended again and again.
    #[error("cannot connect to the Fairway daemon at {0}: it ended {ATTEMPTS} times meanwhile: see its log")]
    Ended(String),
    /// The daemon refused, or cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The text of an error with the words of the face's users in place of the engine's options.
pub fn in_words(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (option, word)| text.replace(option, word))
}

/// Connects to the daemon of this thread's network namespace, and starts one on demand where none runs. Of any number of
/// faces at the same time one starts it. It answers when this returns. `program` is `fairway`.
///
/// # Errors
/// See [`enum@Error`].
pub fn connect_by(program: &Path, place: &Place) -> Result<Client, Error> {
    connect_at(program, &place.location()?)
}

fn connect_at(program: &Path, location: &Location) -> Result<Client, Error> {
    let address = location.address();
    for _ in 0..ATTEMPTS {
        if let Some(client) = answering(&address)? {
            return Ok(client);
        }
        if let Some(client) = returned(location)? {
            return Ok(client);
        }
        // A daemon that ends holds the lock until it is gone, and a face until the daemon that it started answers.
        Precedence::respect(&location.exec_root);
        let lock = StartLock::take(&location.exec_root)?;
        if let Some(client) = answering(&address)? {
            return Ok(client);
        }
        match start(program, location, &lock) {
            // Another daemon answered, and ended.
            Err(StartError::Client(ClientError::Lost { .. })) => {}
            started => return Ok(started?),
        }
    }
    Err(Error::Ended(address))
}

/// Waits for a daemon of the system that was stopped a moment ago, and whose networks go on: it may be restarted.
fn returned(location: &Location) -> Result<Option<Client>, ClientError> {
    let since = Instant::now();
    while location.is_taken() && since.elapsed() < RETURN {
        std::thread::sleep(GLANCE);
        if let Some(client) = answering(&location.address())? {
            return Ok(Some(client));
        }
    }
    Ok(None)
}

/// Has a daemon at the place end that serves another network namespace, as after podman made a user's networks anew. One
/// with sandboxes refuses.
fn end_stranger(location: &Location) -> Result<(), ClientError> {
    let since = Instant::now();
    loop {
        let stream = UnixStream::connect(&location.socket).ok();
        if stream.as_ref().is_none_or(serves_own_namespace) || since.elapsed() > STRANGER {
            return Ok(());
        }
        match Client::new(&location.address())?.end() {
            Ok(()) | Err(ClientError::NotRunning { .. } | ClientError::Lost { .. }) => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(GLANCE);
    }
}

/// Asks the daemon that [`connect_by`] finds or starts. If it ends before it answers, as by a kill, the question is asked
/// once more, of the next daemon: `ask` has to accept that its first question was obeyed.
///
/// # Errors
/// See [`enum@Error`].
pub fn ask<T>(place: &Place, ask: impl FnMut(&mut Client) -> Result<T, ClientError>) -> Result<T, Error> {
    ask_by(Path::new(PROGRAM), place, ask)
}

/// As [`ask`], by a program that is `fairway` where this one is not.
///
/// # Errors
/// See [`enum@Error`].
pub fn ask_by<T>(
    program: &Path,
    place: &Place,
    ask: impl FnMut(&mut Client) -> Result<T, ClientError>,
) -> Result<T, Error> {
    ask_first(connect_by(program, place)?, program, place, ask)
}

/// Asks as [`ask`], unless no daemon runs and nothing of one is left.
///
/// # Errors
/// See [`enum@Error`].
pub fn ask_if_any<T>(
    place: &Place,
    ask: impl FnMut(&mut Client) -> Result<T, ClientError>,
) -> Result<Option<T>, Error> {
    let program = Path::new(PROGRAM);
    let location = place.location()?;
    let client = match answering(&location.address())? {
        Some(client) => client,
        None if location.has_remains() => connect_at(program, &location)?,
        None => return Ok(None),
    };
    ask_first(client, program, place, ask).map(Some)
}

/// Asks as [`ask`], a daemon that answered a moment ago first.
fn ask_first<T>(
    mut client: Client,
    program: &Path,
    place: &Place,
    mut ask: impl FnMut(&mut Client) -> Result<T, ClientError>,
) -> Result<T, Error> {
    match ask(&mut client) {
        Err(ClientError::NotRunning { .. } | ClientError::Lost { .. }) => {
            Ok(ask(&mut connect_by(program, place)?)?)
        }
        answer => Ok(answer?),
    }
}

/// Asks for a container to be connected. `leave` undoes the request, if a daemon ends before it says whether it obeyed.
///
/// # Errors
/// See [`enum@Error`].
pub fn join(place: &Place, request: &JoinRequest, leave: &LeaveRequest) -> Result<Attached, Error> {
    let mut asked = false;
    ask(place, |client| {
        if std::mem::replace(&mut asked, true) {
            client.leave(leave)?;
        }
        client.join(request)
    })
}

impl Place {
    /// Where the caller of this process runs. A caller that is root has its files in a directory of its own.
    #[must_use]
    pub fn of_caller(directory: &str) -> Self {
        let uid_map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "rootless programs have their files there by this variable"
        )]
        let runtime_directory = std::env::var_os("XDG_RUNTIME_DIR");
        Self::of(directory, runtime_directory, &uid_map)
    }

    fn of(directory: &str, runtime_directory: Option<OsString>, uid_map: &str) -> Self {
        // The whole range of users in the initial user namespace (user_namespaces(7)).
        let words: Vec<_> = uid_map.split_ascii_whitespace().collect();
        let rootless = words != ["0", "0", "4294967295"];
        let users = runtime_directory.filter(|directory| rootless && !directory.is_empty());
        Self { rootless, directory: users.map_or_else(|| PathBuf::from(directory), PathBuf::from) }
    }

    /// Where the daemon is: at the system's place, unless the caller cannot use that, or the daemon there serves another
    /// network namespace. One that does so at the caller's own place ends.
    fn location(&self) -> Result<Location, ClientError> {
        let system = Location::system();
        let is_usable = || match UnixStream::connect(&system.socket) {
            Ok(stream) => serves_own_namespace(&stream),
            Err(error) => error.kind() != std::io::ErrorKind::PermissionDenied,
        };
        if !self.rootless && is_usable() {
            return Ok(system);
        }
        let own = Location::of(&self.directory.join(DIRECTORY));
        end_stranger(&own)?;
        Ok(own)
    }
}

/// Whether the process that listens is in this thread's network namespace; not if that cannot be found out. One that has
/// just ended was, and one that is about to: its socket is closed before or after it has left its namespaces.
fn serves_own_namespace(stream: &UnixStream) -> bool {
    let Ok(found) = pid_namespace::process_of_peer(stream) else { return true };
    let Some(process) = found else { return false };
    let theirs = namespace::identity(&format!("/proc/{process}/ns/net"));
    let own = namespace::own();
    match (theirs, own) {
        (Err(namespace::Error::Open { errno: Errno::NOENT | Errno::SRCH, .. }), _) => true,
        (Ok(theirs), Ok(own)) => theirs.identity() == own.namespace().identity(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn a_daemon_that_ends_is_of_this_namespace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let mut daemon = Command::new("python3");
        daemon.args(["-c", "import socket; socket.socket(fileno=0).listen()"]);
        let mut daemon = daemon.stdin(Stdio::from(socket.try_clone().unwrap())).spawn().unwrap();
        // It stays as a zombie, and its socket open here.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&daemon)), options).unwrap();
        assert!(serves_own_namespace(&UnixStream::connect(&path).unwrap()));
        assert!(daemon.wait().unwrap().success());
        assert!(serves_own_namespace(&UnixStream::connect(&path).unwrap()));
    }

    #[test]
    fn callers_in_a_user_namespace_have_their_files_with_the_users() {
        let of = |variable: Option<&str>, uid_map: &str| {
            Place::of("/run/oci", variable.map(OsString::from), uid_map)
        };
        let place = |rootless, directory: &str| Place { rootless, directory: PathBuf::from(directory) };
        let whole = "         0          0 4294967295\n";
        assert_eq!(of(Some("/run/user/0"), whole), place(false, "/run/oci"));
        let part = "         0       1000          1\n";
        assert_eq!(of(Some("/run/user/1000"), part), place(true, "/run/user/1000"));
        assert_eq!(of(Some(""), part), place(true, "/run/oci"));
        assert_eq!(of(None, part), place(true, "/run/oci"));
    }
}
