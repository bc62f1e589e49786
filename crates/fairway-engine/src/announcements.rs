//! Telling neighbours which hardware address an address has now.
//!
//! An announcement reaches every sandbox of a network, and the one who sends it does the kernel's work
//! in all of them: 2 to 3 ms where there are 900. So it is sent by a thread of its own, in the order of
//! attaching, and whoever attaches does not wait for it.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use fairway_core::model::MacAddress;
use fairway_kernel::announce::Announcer;

use crate::{ApplyError, EngineError};

/// What is to be told on one bridge.
#[derive(Debug)]
struct Announcement {
    bridge: u32,
    mac: MacAddress,
    addresses: Vec<IpAddr>,
}

/// Sends announcements in the background.
#[derive(Debug)]
pub(crate) struct Announcements {
    queue: Sender<Announcement>,
}

impl Announcements {
    /// Starts it in the namespace of the calling thread.
    pub fn start() -> Result<Self, EngineError> {
        let announcer = Announcer::open().map_err(ApplyError::from)?;
        let (queue, waiting) = channel();
        std::thread::Builder::new()
            .name("announcements".to_owned())
            .spawn(move || run(&announcer, &waiting))
            .map_err(EngineError::Thread)?;
        Ok(Self { queue })
    }

    /// Says on a bridge, by its index, that each address is at `mac`: soon, and after all that was
    /// said before.
    pub fn send(&self, bridge: u32, mac: MacAddress, addresses: Vec<IpAddr>) {
        // Without the thread, neighbours learn it when they ask.
        let _ = self.queue.send(Announcement { bridge, mac, addresses });
    }
}

fn run(announcer: &Announcer, waiting: &Receiver<Announcement>) {
    while let Ok(Announcement { bridge, mac, addresses }) = waiting.recv() {
        if let Err(error) = announcer.announce(bridge, mac, &addresses) {
            tracing::debug!(%error, "neighbours learn the address when they ask");
        }
    }
}
