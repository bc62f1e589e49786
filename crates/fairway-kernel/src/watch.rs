//! Watches processes, namespace paths and files, by pidfd, inotify and epoll.

mod directory;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_model::{Namespace, ProcessIdentity};
use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::io::Errno;
use thiserror::Error;

use crate::namespace;
use crate::process::{self, Process};
use directory::{Directories, Target};

/// Why a process, namespace or file cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The process cannot be watched.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The namespace is gone.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The path has no directory to watch.
    #[error("cannot watch {}: it is not an absolute path of a file", .0.display())]
    Path(PathBuf),
    /// The kernel refuses.
    #[error("cannot {action}: {errno}")]
    Refused {
        /// The attempted action.
        action: &'static str,
        /// The reason; `EMFILE` or `ENOSPC` when `fs.inotify` limits are reached.
        errno: Errno,
    },
}

/// An event. `K` is the caller's key of a watched object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<K> {
    /// The process has ended, and is not watched any more.
    ProcessEnded(K),
    /// The path does not lead to the namespace any more, and is not watched any more.
    NamespaceGone(K),
    /// The file was written, replaced, removed or created. It is still watched.
    FileChanged(PathBuf),
    /// [`Waker::wake`] was called.
    Woken,
    /// A file could not be watched anew after a change, which may hide the next one.
    Failed(Error),
}

/// The object of a descriptor in the epoll set.
const WAKE: u64 = 0;
const NOTIFY: u64 = 1;
const FIRST_PROCESS: u64 = 2;

struct Held<K> {
    key: K,
    process: Process,
    /// Whether it is watched for its namespace under `/proc`.
    namespace: bool,
}

struct State<K> {
    processes: HashMap<u64, Held<K>>,
    next: u64,
    directories: Directories<K>,
}

/// A set of watched objects. Any thread may add and remove; one thread waits.
pub struct Watch<K> {
    epoll: OwnedFd,
    inotify: OwnedFd,
    wake: Arc<OwnedFd>,
    state: Mutex<State<K>>,
}

impl<K> std::fmt::Debug for Watch<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// Makes the waiting thread return.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Makes [`Watch::wait`] return [`Event::Woken`], now or when it is called next.
    pub fn wake(&self) {
        // This fails only when the counter is full, and then the thread is woken already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl<K: Clone + PartialEq> Watch<K> {
    /// Creates a watch of nothing.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn new() -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused("create an epoll set"))?;
        let inotify = rustix::fs::inotify::init(
            rustix::fs::inotify::CreateFlags::CLOEXEC | rustix::fs::inotify::CreateFlags::NONBLOCK,
        )
        .map_err(refused("start inotify"))?;
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(refused("create an eventfd"))?;
        let watch = Self {
            epoll,
            inotify,
            wake: Arc::new(wake),
            state: Mutex::new(State {
                processes: HashMap::new(),
                next: FIRST_PROCESS,
                directories: Directories::default(),
            }),
        };
        watch.listen(&*watch.wake, WAKE)?;
        watch.listen(&watch.inotify, NOTIFY)?;
        Ok(watch)
    }

    /// A handle that wakes the waiting thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Watches for the end of a process.
    ///
    /// # Errors
    /// [`Error::Process`], also when the process has ended already.
    pub fn process(&self, key: K, process: ProcessIdentity) -> Result<(), Error> {
        self.hold(key, Process::open(process)?, false)
    }

    /// Watches for the removal or replacement of a namespace's path. For one under `/proc/PID` this is the end of the
    /// process.
    ///
    /// # Errors
    /// [`Error::Namespace`] when the path leads elsewhere already, [`Error::Process`], [`Error::Path`].
    pub fn namespace(&self, key: K, namespace: &Namespace) -> Result<(), Error> {
        if let Some(pid) = process_of(&namespace.path) {
            let held = Process::open(process::identity(pid)?)?;
            namespace::open(namespace)?;
            return self.hold(key, held, true);
        }
        let (directory, name) = split(Path::new(&namespace.path))?;
        let target = Target::Namespace(key.clone(), namespace.clone());
        self.state().directories.add(&self.inotify, &directory, name, target)?;
        // Checked after the watch began, so that an earlier change is noticed here.
        namespace::open(namespace).map(drop).map_err(|error| {
            self.forget(&key);
            error.into()
        })
    }

    /// Watches for changes of a file and of the target of a symbolic link. The file need not exist; its directory
    /// must.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Refused`].
    pub fn file(&self, path: &Path) -> Result<(), Error> {
        self.state().directories.follow(&self.inotify, path)
    }

    /// Stops watching the objects of a key. Events that were read already may still come.
    pub fn forget(&self, key: &K) {
        let mut state = self.state();
        state.processes.retain(|_, held| held.key != *key);
        state.directories.forget(&self.inotify, key);
    }

    /// Waits for events, at most `timeout`; returns none only after a timeout.
    ///
    /// # Errors
    /// [`Error::Refused`]; no event was taken then.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Event<K>>, Error> {
        let timeout = timeout
            .map(|timeout| Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
        let mut ready =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        loop {
            let count =
                rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, &mut ready[..], timeout.as_ref()))
                    .map_err(refused("wait for events"))?;
            let mut events = Vec::new();
            for event in &ready[..count] {
                // A copy: the field of a packed struct cannot be borrowed.
                let data = event.data;
                self.take(data.u64(), &mut events);
            }
            if count == 0 || !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn take(&self, token: u64, events: &mut Vec<Event<K>>) {
        match token {
            WAKE => {
                // Resets the counter; if another read did, nothing is lost.
                let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
                events.push(Event::Woken);
            }
            NOTIFY => self.state().directories.read(&self.inotify, events),
            token => {
                if let Some(held) = self.state().processes.remove(&token) {
                    // The descriptor may have a duplicate in a process being started.
                    let _ = epoll::delete(&self.epoll, &held.process);
                    events.push(if held.namespace {
                        Event::NamespaceGone(held.key)
                    } else {
                        Event::ProcessEnded(held.key)
                    });
                }
            }
        }
    }

    fn hold(&self, key: K, process: Process, namespace: bool) -> Result<(), Error> {
        let mut state = self.state();
        let token = state.next;
        state.next += 1;
        self.listen(&process, token)?;
        state.processes.insert(token, Held { key, process, namespace });
        Ok(())
    }

    fn listen(&self, descriptor: impl AsFd, token: u64) -> Result<(), Error> {
        epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
            .map_err(refused("add to an epoll set"))
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process whose `/proc` directory a path is in.
fn process_of(path: &str) -> Option<u32> {
    path.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}

/// Directory and name of a path.
fn split(path: &Path) -> Result<(PathBuf, OsString), Error> {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) if path.is_absolute() => Ok((directory.to_owned(), name.to_owned())),
        _ => Err(Error::Path(path.to_owned())),
    }
}

fn refused(action: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Refused { action, errno }
}

#[cfg(test)]
mod tests;
