//! Links that are leaving.
//!
//! Deleting a veth pair waits for every reader of the network stack: 15 to 30 ms. Links that leave at the
//! same time are deleted as one group. Whoever asked sees them switched off at once, and waits only
//! until they are out of sight, which is when the kernel has taken their names: early in a deletion.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_kernel::route::{Links, MAX_DELETED_TOGETHER, Mark, PendingDelete};
use fairway_model::Rng;

/// How long to wait for a link to be out of sight. A deletion in the middle of many takes a while.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_LOOK: Duration = Duration::from_micros(200);

/// Deletes links in the background.
#[derive(Debug)]
pub(crate) struct Sweeper {
    queue: Sender<Vec<PendingDelete>>,
    sight: Mutex<Links>,
}

impl Sweeper {
    /// Starts it in the namespace of the calling thread.
    pub fn start(mut rng: Rng) -> Result<Self, crate::EngineError> {
        let links = Links::open().map_err(crate::ApplyError::from)?;
        let sight = Mutex::new(Links::open().map_err(crate::ApplyError::from)?);
        let (queue, pending) = channel();
        std::thread::Builder::new()
            .name("sweeper".to_owned())
            .spawn(move || run(&links, &pending, &mut rng))
            .map_err(crate::EngineError::Thread)?;
        Ok(Self { queue, sight })
    }

    /// Deletes links that bear these marks, and returns when they are out of sight.
    pub fn sweep(&self, leaving: Vec<(String, Mark)>) {
        let pending: Vec<_> = leaving
            .into_iter()
            .filter_map(|(name, mark)| Some((PendingDelete { index: self.owned(&name, mark)?, mark }, name)))
            .collect();
        if pending.is_empty() {
            return;
        }
        for (pending, name) in &pending {
            let off = self.sight().set_down(pending.index, name);
            if let Err(error) = off {
                tracing::debug!(%error, interface = name, "it is deleted as it is");
            }
        }
        if self.queue.send(pending.iter().map(|(pending, _)| *pending).collect()).is_err() {
            return;
        }
        let (since, mut pause) = (Instant::now(), FIRST_LOOK);
        for (pending, name) in pending {
            while self.index(&name) == Some(pending.index) && since.elapsed() < PATIENCE {
                std::thread::sleep(pause);
                pause = (pause * 5 / 4).min(Duration::from_millis(5));
            }
        }
    }

    /// The index of the link of that name, if it is ours.
    fn owned(&self, name: &str, mark: Mark) -> Option<u32> {
        match mark {
            // The name was drawn at random: nobody else has it, and looking would wait for the kernel's lock.
            Mark::Endpoint(_) => self.index(name),
            // The name may be a user's choice, and that of somebody's link: why the network was not made.
            Mark::Network(_) => {
                let link = self.sight().find(name).ok().flatten()?;
                (link.mark() == Some(mark)).then_some(link.index)
            }
        }
    }

    fn index(&self, name: &str) -> Option<u32> {
        self.sight().index(name).ok()
    }

    fn sight(&self) -> MutexGuard<'_, Links> {
        self.sight.lock().unwrap_or_else(PoisonError::into_inner)
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
        // The high bits keep clear of the small numbers that people give to groups.
        let group = 0x8000_0000 | (rng.below(1 << 31) as u32);
        if let Err(error) = links.delete_links(&waiting, group) {
            tracing::warn!(%error, "links are left behind; they are swept later");
        }
        waiting = rest;
    }
}
