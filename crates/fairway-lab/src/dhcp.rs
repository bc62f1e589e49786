//! A small DHCP server (RFC 2131), which says what it was asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{LabError, Trying};
use crate::frame::{self, Ethernet, Mac};
use crate::place::Place;
use crate::tap::FrameSender;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const PATIENCE: Duration = Duration::from_millis(50);

/// What a client said to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The kind of the message: `discover`, `request`, `decline`, `release`.
    pub kind: &'static str,
    /// The client's hardware address.
    pub mac: Mac,
    /// The address that the client has already, or 0.0.0.0.
    pub address: Ipv4Addr,
    /// The name that it says.
    pub hostname: String,
    /// The address that the IP packet came from.
    pub source: Ipv4Addr,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    refuses: AtomicBool,
    ends: AtomicBool,
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that lends addresses from a pool; it ends when it is dropped.
#[derive(Debug)]
pub struct DhcpServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the server's thread works with.
struct Worker {
    shared: Arc<Shared>,
    sender: FrameSender,
    mac: Mac,
    address: Ipv4Addr,
    pool: Vec<Ipv4Addr>,
    seconds: u32,
    lent: BTreeMap<Vec<u8>, Ipv4Addr>,
}

/// The value of an option of a message.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message.get(240..)?;
    loop {
        let (number, after) = rest.split_first()?;
        if *number == 0 {
            rest = after;
            continue;
        }
        let (length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        if *number == wanted {
            return Some(value);
        }
        rest = after;
    }
}

impl DhcpServer {
    /// Lends the addresses of `pool` for so many seconds, at an interface of a place that has `address`.
    ///
    /// # Errors
    /// When there is no such interface, or the port is taken.
    pub fn start(
        place: &Place,
        interface: &str,
        address: Ipv4Addr,
        pool: &[Ipv4Addr],
        seconds: u32,
    ) -> Result<DhcpServer, LabError> {
        let socket = place
            .run_in(|| UdpSocket::bind("0.0.0.0:67"))?
            .and_then(|socket| socket.set_read_timeout(Some(PATIENCE)).map(|()| socket))
            .trying(|| "serve DHCP".to_owned())?;
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            sender: FrameSender::open(place, interface)?,
            mac: place.mac(interface)?,
            address,
            pool: pool.to_vec(),
            seconds,
            lent: BTreeMap::new(),
        };
        let serve = move || {
            let mut buffer = [0; 1500];
            while !worker.shared.ends.load(Ordering::Acquire) {
                if let Ok((length, SocketAddr::V4(from))) = socket.recv_from(&mut buffer) {
                    worker.answer(&buffer[..length], *from.ip());
                }
            }
        };
        Ok(DhcpServer { shared, thread: Some(std::thread::spawn(serve)) })
    }

    /// What was heard until now.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard().clone()
    }

    /// Refuses requests from now on, or no more.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Release);
    }
}

impl Drop for DhcpServer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        // One that panicked has told so.
        self.thread.take().map(JoinHandle::join);
    }
}

impl Worker {
    fn answer(&mut self, message: &[u8], source: Ipv4Addr) -> Option<()> {
        let four = |at: usize| <[u8; 4]>::try_from(message.get(at..at + 4)?).ok();
        let kind = *option(message, 53)?.first()?;
        let names =
            [(DISCOVER, "discover"), (REQUEST, "request"), (DECLINE, "decline"), (RELEASE, "release")];
        let mac: Mac = message.get(28..34)?.try_into().ok()?;
        let address = Ipv4Addr::from(four(12)?);
        self.shared.heard().push(Heard {
            kind: names.iter().find(|(number, _)| *number == kind)?.1,
            mac,
            address,
            hostname: String::from_utf8_lossy(option(message, 12).unwrap_or_default()).into_owned(),
            source,
        });
        let client = option(message, 61)?.to_vec();
        let (lent, pool) = (&self.lent, &self.pool);
        match kind {
            DISCOVER => {
                let free = || pool.iter().copied().find(|it| lent.values().all(|lent| lent != it));
                let offered = lent.get(&client).copied().or_else(free)?;
                self.lent.insert(client, offered);
                self.send(message, mac, OFFER, offered)
            }
            REQUEST => match lent.get(&client).copied() {
                Some(lent) if !self.shared.refuses.load(Ordering::Acquire) => {
                    self.send(message, mac, ACK, lent)
                }
                _ => self.send(message, mac, NAK, Ipv4Addr::UNSPECIFIED),
            },
            RELEASE => self.lent.remove(&client).map(drop),
            // Nobody gets that one any more.
            _ => {
                let declined = self.lent.remove(&client);
                self.pool.retain(|it| Some(*it) != declined);
                Some(())
            }
        }
    }

    fn send(&self, question: &[u8], client: Mac, kind: u8, given: Ipv4Addr) -> Option<()> {
        let mut reply = question.get(..240)?.to_vec();
        reply[0] = 2;
        reply[16..20].copy_from_slice(&given.octets());
        reply[236..240].copy_from_slice(&COOKIE);
        reply.extend([53, 1, kind, 54, 4]);
        reply.extend(self.address.octets());
        if kind != NAK {
            reply.extend([1, 4, 255, 255, 255, 0, 51, 4]);
            reply.extend(self.seconds.to_be_bytes());
        }
        reply.push(255);
        // Who has an address already is answered there, as the RFC has it, and others by broadcast.
        let has = Ipv4Addr::from(<[u8; 4]>::try_from(question.get(12..16)?).ok()?);
        let (destination, to) = match has.is_unspecified() {
            true => (frame::BROADCAST, Ipv4Addr::BROADCAST),
            false => (client, has),
        };
        let ethernet = Ethernet { source: self.mac, destination };
        let frame = frame::udp(ethernet, (self.address, 67).into(), (to, 68).into(), &reply)?;
        self.sender.send(&frame).ok()
    }
}
