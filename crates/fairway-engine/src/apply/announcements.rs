//! Announces the MAC address of IP addresses to neighbors: gratuitous ARP and unsolicited neighbor advertisements.
//!
//! An announcement reaches every sandbox of a network, and its sender does the kernel's work in all of them: 2 to 3 ms
//! for 900. So a thread sends announcements, in the order of attaching, and an attach does not wait for them.
//! Announcements are repeated for neighbors that missed one, unless the endpoint has left by then: another one may have
//! its address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use fairway_kernel::announce::Announcer;
use fairway_model::{Advertising, EndpointId, MacAddress};

use crate::{ApplyError, EngineError};

/// The addresses to announce on one bridge.
#[derive(Debug)]
struct Announcement {
    bridge: u32,
    mac: MacAddress,
    addresses: Vec<IpAddr>,
}

impl Announcement {
    fn send(&self, announcer: &Announcer) {
        if let Err(error) = announcer.announce(self.bridge, self.mac, &self.addresses) {
            tracing::debug!(%error, mac = %self.mac, "failed to announce the addresses of {}: {error}", self.mac);
        }
    }
}

/// An announcement to repeat, and how often.
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
    /// Starts the thread in the namespace of the calling thread.
    pub fn start() -> Result<Self, EngineError> {
        let announcer = Announcer::open().map_err(ApplyError::from)?;
        let (queue, waiting) = channel();
        std::thread::Builder::new()
            .name("announcements".to_owned())
            .spawn(move || run(&announcer, &waiting))
            .map_err(EngineError::Thread)?;
        Ok(Self { queue })
    }

    /// Announces on a bridge, by its index, that each address is at `mac`. Returns at once.
    pub fn send(&self, bridge: u32, mac: MacAddress, addresses: Vec<IpAddr>) {
        self.enqueue(Message::Once(Announcement { bridge, mac, addresses }));
    }

    /// Announces the addresses of a new endpoint, as often as its options say.
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
        self.enqueue(Message::Repeat(Repeated { endpoint, announcement, left: advertising.count, interval }));
    }

    /// Stops repeating the announcements of an endpoint.
    pub fn withdraw(&self, endpoint: EndpointId) {
        self.enqueue(Message::Withdraw(endpoint));
    }

    fn enqueue(&self, message: Message) {
        // Without the thread, neighbors learn the address when they ask for it.
        let _ = self.queue.send(message);
    }
}

/// The announcements by due time; the number distinguishes those of the same instant.
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
                announcement.send(announcer);
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
        repeated.announcement.send(announcer);
        if left > 0 {
            number += 1;
            due.insert((Instant::now() + repeated.interval, number), Repeated { left, ..repeated });
        }
    }
}
