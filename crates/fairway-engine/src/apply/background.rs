//! Work that goes on when the command that caused it has been answered: no caller needs to wait for the kernel to
//! free a link, or for the relay to get the sockets of a thousand ports.
//!
//! Later changes wait for the work that touches what they touch: they find everything done.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use fairway_core::object::{Difference, Key, Object};
use fairway_model::Namespace;

/// So much work goes on at once. With more, callers do their own: else it would pile up.
const AT_ONCE: usize = 64;

/// What some work touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    keys: HashSet<Key>,
    /// The addresses whose connections are forgotten.
    addresses: HashSet<IpAddr>,
    /// The network namespaces that are cleared, by device and inode.
    namespaces: HashSet<(u64, u64)>,
}

fn addresses(object: &Object) -> impl Iterator<Item = IpAddr> {
    let link = if let Object::Veth(link) = object { Some(link) } else { None };
    link.into_iter().flat_map(|link| &link.addresses).map(|address| address.addr())
}

fn namespaces(object: &Object) -> impl Iterator<Item = (u64, u64)> {
    object.namespaces().into_iter().map(Namespace::identity)
}

impl Claim {
    /// Claims objects, with the addresses and namespaces that they have.
    pub fn of<'a>(objects: impl IntoIterator<Item = (&'a Key, &'a Object)>) -> Self {
        let mut claim = Self::default();
        for (key, object) in objects {
            claim.keys.insert(key.clone());
            claim.addresses.extend(addresses(object));
            claim.namespaces.extend(namespaces(object));
        }
        claim
    }

    /// Whether a difference touches something of it.
    fn meets(&self, difference: &Difference) -> bool {
        difference.keys().any(|key| self.keys.contains(key))
            || difference.wanted().any(|(_, object)| {
                namespaces(object).any(|it| self.namespaces.contains(&it))
                    || addresses(object).any(|it| self.addresses.contains(&it))
            })
    }
}

/// Work that goes on, and what it touches.
#[derive(Debug, Default)]
pub(crate) struct Background {
    running: Mutex<Running>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    claims: Vec<(u64, Claim)>,
    /// The number of the last work.
    last: u64,
}

/// Gives up a claim when its work has ended, also by a panic.
struct Held {
    background: Arc<Background>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.background.running().claims.retain(|(number, _)| *number != self.number);
        self.background.ended.notify_all();
    }
}

type Job = Box<dyn FnOnce() + Send>;

fn perform(job: &Mutex<Option<Job>>) {
    let taken = job.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(job) = taken {
        job();
    }
}

impl Background {
    /// Runs work on a thread of its own. The claim holds from when this returns until the work has ended.
    pub fn run(self: &Arc<Self>, claim: Claim, work: impl FnOnce() + Send + 'static) {
        let (number, many) = {
            let mut running = self.running();
            running.last += 1;
            let number = running.last;
            running.claims.push((number, claim));
            (number, running.claims.len() > AT_ONCE)
        };
        let held = Held { background: Arc::clone(self), number };
        let job: Job = Box::new(move || {
            let _held = held;
            work();
        });
        let job = Arc::new(Mutex::new(Some(job)));
        let elsewhere = Arc::clone(&job);
        let thread = std::thread::Builder::new().name("background".to_owned());
        // Without a thread the caller does it.
        if many || thread.spawn(move || perform(&elsewhere)).is_err() {
            perform(&job);
        }
    }

    /// Waits for the work that touches what a difference touches.
    pub fn wait_for(&self, difference: &Difference) {
        self.wait(|_, claim| claim.meets(difference));
    }

    /// Waits for all work that goes on now.
    pub fn wait_for_all(&self) {
        let last = self.running().last;
        self.wait(|number, _| number <= last);
    }

    fn wait(&self, concerns: impl Fn(u64, &Claim) -> bool) {
        let concerned =
            |running: &mut Running| running.claims.iter().any(|(number, it)| concerns(*number, it));
        drop(self.ended.wait_while(self.running(), concerned).unwrap_or_else(PoisonError::into_inner));
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
