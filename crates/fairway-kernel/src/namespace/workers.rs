//! Threads that go into namespaces and come back, so that no other thread ever has to.

use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Error, Handle, enter, own, thread_errno};

/// Does the work inside, comes home, and says whether it did; what it returns delivers the result.
type Job = Box<dyn FnOnce(&Handle) -> (bool, Delivery) + Send>;
type Delivery = Box<dyn FnOnce()>;

/// What a thread that went inside brings back.
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

/// A small pool of threads for work inside namespaces.
///
/// Threads start when there is more to do at a time than threads wait; at most `limit` of them
/// wait. One that cannot come home ends. All end when the pool is dropped.
#[derive(Debug, Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// A pool whose home is the namespace of the calling thread, which it keeps open.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn new(limit: usize) -> Result<Self, Error> {
        let shared = Shared { home: own()?, idle: Mutex::default(), limit };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The namespace that its threads come back to.
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
            // The caller waits for it; if it is gone, nobody wants the answer.
            let _ = answer.send(outcome);
        };
        (at_home, Box::new(deliver))
    })
}

fn live(shared: Arc<Shared>, mut job: Job) {
    // While it waits it must not keep the pool: the pool's end is what ends it.
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
        // It waits in the pool before the caller goes on, so that the next call finds it there.
        match next.flatten() {
            Some(receiver) => {
                deliver();
                match receiver.recv() {
                    Ok(given) => job = given,
                    Err(_) => return,
                }
            }
            // A thread that is not at home ends and lets its namespace go.
            None => return deliver(),
        }
    }
}
