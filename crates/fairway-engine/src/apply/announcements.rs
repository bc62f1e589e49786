//! Telling neighbours which hardware address an address has now.
//!
//! An announcement reaches every sandbox of a network, and the one who sends it does the kernel's work
//! in all of them: 2 to 3 ms where there are 900. So it is sent by a thread of its own, in the order of
//! attaching, and whoever attaches does not wait for it. It is said again for who did not hear it, unless the
//! endpoint has left by then: somebody else may have its address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use fairway_kernel::announce::Announcer;
use fairway_model::{Advertising, EndpointId, MacAddress};

use crate::{ApplyError, EngineError};

/// What is to be told on one bridge.
#[derive(Debug)]
struct Announcement {
    bridge: u32,
    mac: MacAddress,
    addresses: Vec<IpAddr>,
}

impl Announcement {
    fn say(&self, announcer: &Announcer) {
        if let Err(error) = announcer.announce(self.bridge, self.mac, &self.addresses) {
            tracing::debug!(%error, "neighbours learn the address when they ask");
        }
    }
}

/// What is said again, and how often.
#[derive(Debug)]
struct Repeated {
    endpoint: EndpointId,
    announcement: Announcement,
    left: u8,
    interval: Duration,
}

#[derive(Debug)]
enum Message {
    Once(Announcement),
    Repeat(Repeated),
    Withdraw(EndpointId),
}

/// Sends announcements in the background.
#[derive(Debug)]
pub(crate) struct Announcements {
    queue: Sender<Message>,
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
        self.tell(Message::Once(Announcement { bridge, mac, addresses }));
    }

    /// Says it of an endpoint that has joined, as often as asked.
    pub fn repeat(
        &self,
        endpoint: EndpointId,
        bridge: u32,
        mac: MacAddress,
        addresses: Vec<IpAddr>,
        advertising: Advertising,
    ) {
        let announcement = Announcement { bridge, mac, addresses };
        let interval = Duration::from_millis(advertising.interval_milliseconds.into());
        self.tell(Message::Repeat(Repeated { endpoint, announcement, left: advertising.count, interval }));
    }

    /// Says no more of an endpoint that leaves.
    pub fn withdraw(&self, endpoint: EndpointId) {
        self.tell(Message::Withdraw(endpoint));
    }

    fn tell(&self, message: Message) {
        // Without the thread, neighbours learn it when they ask.
        let _ = self.queue.send(message);
    }
}

/// What is due, first what is due first; the number tells those of one instant apart.
type Due = BTreeMap<(Instant, u64), Repeated>;

fn run(announcer: &Announcer, waiting: &Receiver<Message>) {
    let (mut due, mut number) = (Due::new(), 0);
    loop {
        let message = match due.first_key_value() {
            Some(((when, _), _)) => {
                match waiting.recv_timeout(when.saturating_duration_since(Instant::now())) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            None => match waiting.recv() {
                Ok(message) => Some(message),
                Err(_) => return,
            },
        };
        let repeated = match message {
            Some(Message::Once(announcement)) => {
                announcement.say(announcer);
                continue;
            }
            Some(Message::Withdraw(endpoint)) => {
                due.retain(|_, repeated| repeated.endpoint != endpoint);
                continue;
            }
            Some(Message::Repeat(repeated)) => repeated,
            None => match due.pop_first() {
                Some((_, repeated)) => repeated,
                None => continue,
            },
        };
        let Some(left) = repeated.left.checked_sub(1) else { continue };
        repeated.announcement.say(announcer);
        if left > 0 {
            number += 1;
            due.insert((Instant::now() + repeated.interval, number), Repeated { left, ..repeated });
        }
    }
}
