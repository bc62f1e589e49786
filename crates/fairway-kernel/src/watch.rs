//! Waiting for things to end or change: processes, namespace paths, files.

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

/// Why something cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The process cannot be watched.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The namespace is not there any more.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The path has no directory to watch.
    #[error("cannot watch {}: it is not an absolute path of a file", .0.display())]
    Path(PathBuf),
    /// The kernel refuses.
    #[error("cannot {action}: {errno}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The reason; `EMFILE` or `ENOSPC` when `fs.inotify` limits are reached.
        errno: Errno,
    },
}

/// What happened. `K` is what the caller calls the things that it watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<K> {
    /// The process has ended. It is watched no longer.
    ProcessEnded(K),
    /// The path leads to that namespace no longer. It is watched no longer.
    NamespaceGone(K),
    /// The file was written, replaced, removed or made. It is still watched.
    FileChanged(PathBuf),
    /// Somebody called [`Waker::wake`].
    Woken,
}

/// What a descriptor in the epoll set stands for.
const WAKE: u64 = 0;
const NOTIFY: u64 = 1;
const FIRST_PROCESS: u64 = 2;

struct Held<K> {
    key: K,
    process: Process,
    /// Whether it stands for its namespace under `/proc`.
    namespace: bool,
}

struct State<K> {
    processes: HashMap<u64, Held<K>>,
    next: u64,
    directories: Directories<K>,
}

/// Watches many things. Any thread may add and forget; one thread waits.
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
        // It fails only when the counter is full, and then the thread is woken already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl<K: Clone + PartialEq> Watch<K> {
    /// Watches nothing yet.
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

    /// What wakes the waiting thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// Reports when a process ends.
    ///
    /// # Errors
    /// [`Error::Process`], so also when it has ended already.
    pub fn process(&self, key: K, process: ProcessIdentity) -> Result<(), Error> {
        self.hold(key, Process::open(process)?, false)
    }

    /// Reports when the path of a namespace leads there no longer. For one under `/proc/PID` that
    /// is when the process ends.
    ///
    /// # Errors
    /// [`Error::Namespace`] when it leads elsewhere already, [`Error::Process`], [`Error::Path`].
    pub fn namespace(&self, key: K, namespace: &Namespace) -> Result<(), Error> {
        if let Some(pid) = process_of(&namespace.path) {
            let held = Process::open(process::identity(pid)?)?;
            namespace::open(namespace)?;
            return self.hold(key, held, true);
        }
        let (directory, name) = split(Path::new(&namespace.path))?;
        let target = Target::Namespace(key.clone(), namespace.clone());
        self.state().directories.add(&self.inotify, &directory, name, target)?;
        // Looked at after the watch began: what went before is noticed here.
        namespace::open(namespace).map(drop).map_err(|error| {
            self.forget(&key);
            error.into()
        })
    }

    /// Reports when a file changes, also when it is a symbolic link whose target does, or is
    /// replaced. It need not exist; its directory must.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Refused`].
    pub fn file(&self, path: &Path) -> Result<(), Error> {
        self.state().directories.follow(&self.inotify, path)
    }

    /// Watches nothing of that name any more. Events that were found already may still come.
    pub fn forget(&self, key: &K) {
        let mut state = self.state();
        state.processes.retain(|_, held| held.key != *key);
        state.directories.forget(&self.inotify, key);
    }

    /// Waits until something happens, or for `timeout`; returns nothing only then.
    ///
    /// # Errors
    /// [`Error::Refused`].
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
                self.take(data.u64(), &mut events)?;
            }
            if count == 0 || !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn take(&self, token: u64, events: &mut Vec<Event<K>>) -> Result<(), Error> {
        match token {
            WAKE => {
                // Sets the counter to zero; when another read did, nothing is lost.
                let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
                events.push(Event::Woken);
            }
            NOTIFY => self.state().directories.read(&self.inotify, events)?,
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
        Ok(())
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
