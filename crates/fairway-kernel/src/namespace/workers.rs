//! A pool of threads that run work in other network namespaces.

use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Error, Handle, enter, own, thread_errno};

/// A job: does its work, and returns whether the thread came back to its own namespace; the returned closure delivers
/// the result.
type Job = Box<dyn FnOnce(&Handle) -> (bool, Delivery) + Send>;
type Delivery = Box<dyn FnOnce()>;

/// The result of a job.
type Outcome<T> = Result<Result<T, Box<dyn Any + Send>>, Errno>;

#[derive(Debug)]
struct Shared {
    home: Handle,
    idle: Mutex<Vec<Sender<Job>>>,
    limit: usize,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Sender<Job>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A small pool of threads that run work in network namespaces.
///
/// A thread is started when none is idle; at most `limit` stay idle. A thread that cannot return to its own namespace
/// ends. All end when the pool is dropped.
#[derive(Debug, Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// Creates a pool whose threads return to the namespace of the calling thread, which stays open.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn new(limit: usize) -> Result<Self, Error> {
        let shared = Shared { home: own()?, idle: Mutex::default(), limit };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The namespace that its threads return to.
    pub fn initial(&self) -> &Handle {
        &self.shared.home
    }

    /// Runs `work` on a thread inside `namespace` and returns what it returned. By then the
    /// thread has left the namespace; only what `work` opened and kept still holds it.
    ///
    /// # Errors
    /// [`Error::Enter`], [`Error::Thread`].
    ///
    /// # Panics
    /// With what `work` panicked with.
    pub fn run<T: Send + 'static>(
        &self,
        namespace: &Handle,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = sync_channel(1);
        self.give(job(namespace.clone(), work, answer))?;
        match answered.recv() {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(panic))) => resume_unwind(panic),
            Ok(Err(errno)) => Err(Error::Enter { path: namespace.namespace().path.clone(), errno }),
            Err(_) => Err(Error::Thread(Errno::CANCELED)),
        }
    }

    fn give(&self, mut job: Job) -> Result<(), Error> {
        loop {
            let waiting = self.shared.idle().pop();
            let Some(worker) = waiting else { break };
            match worker.send(job) {
                Ok(()) => return Ok(()),
                Err(returned) => job = returned.0,
            }
        }
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || live(shared, job))
            .map(drop)
            .map_err(|error| Error::Thread(thread_errno(&error)))
    }
}

fn job<T: Send + 'static>(
    namespace: Handle,
    work: impl FnOnce() -> T + Send + 'static,
    answer: SyncSender<Outcome<T>>,
) -> Job {
    Box::new(move |home| {
        let entered = enter(namespace.as_fd());
        drop(namespace);
        let (at_home, outcome) = match entered {
            Ok(()) => {
                let result = catch_unwind(AssertUnwindSafe(work));
                (enter(home.as_fd()).is_ok(), Ok(result))
            }
            Err(errno) => (true, Err(errno)),
        };
        let deliver = move || {
            // The caller waits for the result; if it has ended, the result is not needed.
            let _ = answer.send(outcome);
        };
        (at_home, Box::new(deliver))
    })
}

fn live(shared: Arc<Shared>, mut job: Job) {
    // An idle thread must not keep the pool alive, since it ends with the pool.
    let pool = Arc::downgrade(&shared);
    let mut shared = Some(shared);
    loop {
        let Some(alive) = shared.take().or_else(|| pool.upgrade()) else { return };
        let (at_home, deliver) = job(&alive.home);
        let next = at_home.then(|| {
            let (sender, receiver) = channel();
            let mut idle = alive.idle();
            (idle.len() < alive.limit).then(|| {
                idle.push(sender);
                receiver
            })
        });
        drop(alive);
        // The thread is idle in the pool before the caller continues, so that the next call finds it.
        match next.flatten() {
            Some(receiver) => {
                deliver();
                match receiver.recv() {
                    Ok(given) => job = given,
                    Err(_) => return,
                }
            }
            // A thread in a foreign namespace ends, and releases it.
            None => return deliver(),
        }
    }
}
