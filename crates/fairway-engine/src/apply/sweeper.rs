//! Deletes links in the background, in groups.
//!
//! The deletion of a veth pair waits for every reader of the network stack: 15 to 30 ms. Links that are deleted at the
//! same time are deleted as one group. The caller sees them set down at once, and waits only until they are unlinked,
//! which is when the kernel has removed their names: early in a deletion.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_kernel::route::{Links, MAX_DELETED_TOGETHER, Mark, PendingDelete};
use fairway_model::Rng;

/// How long to wait for a link to be unlinked. A deletion among many takes a while.
const UNLINK_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_POLL: Duration = Duration::from_micros(200);

/// Deletes links in the background.
#[derive(Debug)]
pub(crate) struct Sweeper {
    queue: Sender<Vec<PendingDelete>>,
    lookup: Mutex<Links>,
}

impl Sweeper {
    /// Starts the thread in the namespace of the calling thread.
    pub fn start(mut rng: Rng) -> Result<Self, crate::EngineError> {
        let links = Links::open().map_err(crate::ApplyError::from)?;
        let lookup = Mutex::new(Links::open().map_err(crate::ApplyError::from)?);
        let (queue, pending) = channel();
        std::thread::Builder::new()
            .name("sweeper".to_owned())
            .spawn(move || run(&links, &pending, &mut rng))
            .map_err(crate::EngineError::Thread)?;
        Ok(Self { queue, lookup })
    }

    /// Deletes links with these marks, and returns when they are unlinked.
    pub fn sweep(&self, leaving: Vec<(String, Mark)>) {
        let pending: Vec<_> = leaving
            .into_iter()
            .filter_map(|(name, mark)| Some((PendingDelete { index: self.owned(&name, mark)?, mark }, name)))
            .collect();
        if pending.is_empty() {
            return;
        }
        for (pending, name) in &pending {
            self.set_down(pending.index, name);
        }
        if self.queue.send(pending.iter().map(|(pending, _)| *pending).collect()).is_err() {
            return;
        }
        let (since, mut pause) = (Instant::now(), FIRST_POLL);
        for (pending, name) in pending {
            while self.index(&name) == Some(pending.index) && since.elapsed() < UNLINK_TIMEOUT {
                std::thread::sleep(pause);
                pause = (pause * 5 / 4).min(Duration::from_millis(5));
            }
        }
    }

    /// Sets the host's end of an endpoint's link down: what is behind it reaches nothing from then on.
    pub fn set_endpoint_down(&self, name: &str) {
        if let Some(index) = self.index(name) {
            self.set_down(index, name);
        }
    }

    fn set_down(&self, index: u32, name: &str) {
        if let Err(error) = self.lookup().set_down(index, name) {
            tracing::debug!(%error, interface = name, "failed to set interface {name} down before its deletion: {error}");
        }
    }

    /// The index of the link of that name, if it is Fairway's.
    fn owned(&self, name: &str, mark: Mark) -> Option<u32> {
        match mark {
            // The name is random: no other link has it, and reading the mark would wait for the kernel's lock.
            Mark::Endpoint(_) => self.index(name),
            // The name may be the user's choice, and that of a foreign link: the reason why the network was not
            // created.
            Mark::Network(_) => {
                let link = self.lookup().find(name).ok().flatten()?;
                (link.mark() == Some(mark)).then_some(link.index)
            }
        }
    }

    fn index(&self, name: &str) -> Option<u32> {
        self.lookup().index(name).ok()
    }

    fn lookup(&self) -> MutexGuard<'_, Links> {
        self.lookup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(links: &Links, queue: &Receiver<Vec<PendingDelete>>, rng: &mut Rng) {
    let mut waiting: Vec<PendingDelete> = Vec::new();
    loop {
        if waiting.is_empty() {
            match queue.recv() {
                Ok(pending) => waiting.extend(pending),
                Err(_) => return,
            }
        }
        waiting.extend(queue.try_iter().flatten());
        let rest = waiting.split_off(waiting.len().min(MAX_DELETED_TOGETHER));
        // The high bit avoids the small numbers that people give to groups.
        let group = 0x8000_0000 | (rng.below(1 << 31) as u32);
        if let Err(error) = links.delete_links(&waiting, group) {
            tracing::warn!(%error, "failed to delete links: {error}; the next reconcile run deletes them");
        }
        waiting = rest;
    }
}
