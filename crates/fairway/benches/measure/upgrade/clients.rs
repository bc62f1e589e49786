//! Clients that go on after a failure, and count.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fairway_api::{Client, ClientError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Failure;
use crate::figures::{Times, milliseconds};
use crate::load::{self, askers};
use crate::stage::request;

/// How many clients connect at the same time.
pub const CONNECTING: usize = 16;
/// How many questions are in flight, as with dnsperf's default.
const ASKING: usize = 100;
/// How long a client waits for an answer, as dnsperf does.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a client looks for the daemon.
const GLANCE: Duration = Duration::from_millis(2);

/// What came of a load.
#[derive(Default)]
pub struct Counts {
    times: Vec<Duration>,
    failures: BTreeMap<String, usize>,
    length: Duration,
}

impl Counts {
    fn fail(&mut self, reason: impl ToString) {
        *self.failures.entry(reason.to_string()).or_default() += 1;
    }

    fn add(&mut self, other: Counts) {
        self.times.extend(other.times);
        for (reason, count) in other.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        self.length = self.length.max(other.length);
    }

    /// So many a second, how many failed, and the times.
    pub fn cells(&self) -> [String; 4] {
        let rate = self.times.len() as f64 / self.length.as_secs_f64();
        let failed: usize = self.failures.values().sum();
        let times: Times = self.times.iter().copied().collect();
        let percentiles = [99, 100].map(|hundredths| milliseconds(times.percentile(hundredths)));
        let [most, longest] = percentiles;
        [format!("{rate:.0}"), failed.to_string(), most, longest]
    }

    /// Prints why requests failed.
    pub fn print_failures(&self) {
        for (reason, count) in &self.failures {
            eprintln!("{count} failed: {reason}");
        }
    }
}

/// Waits until the next of so many a second may begin.
fn pace(begun: Instant, number: usize, rate: f64) {
    let due = Duration::from_secs_f64(number as f64 / rate);
    std::thread::sleep(due.saturating_sub(begun.elapsed()));
}

/// Connects, asks one byte, gets one and sees the end, at most `rate` times a second in all.
pub fn connect(target: SocketAddr, rate: u32, stop: &AtomicBool) -> Counts {
    let one = || -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[load::REPLY])?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        if reply == [load::REPLY] { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    let client = || {
        let (begun, mut counts) = (Instant::now(), Counts::default());
        for number in 0.. {
            pace(begun, number, f64::from(rate) / CONNECTING as f64);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let since = Instant::now();
            match one() {
                Ok(()) => counts.times.push(since.elapsed()),
                Err(error) => counts.fail(error),
            }
        }
        counts.length = begun.elapsed();
        counts
    };
    together((0..CONNECTING).map(|_| client))
}

/// Runs clients at the same time, and adds up what came of them.
fn together<C: FnOnce() -> Counts + Send>(clients: impl Iterator<Item = C>) -> Counts {
    std::thread::scope(|scope| {
        let workers: Vec<_> = clients.map(|client| scope.spawn(client)).collect();
        let mut all = Counts::default();
        for worker in workers {
            match worker.join() {
                Ok(counts) => all.add(counts),
                Err(_) => all.fail("a client panicked"),
            }
        }
        all
    })
}

/// Asks a server for a name at most `rate` times a second.
pub fn ask(server: SocketAddr, name: &str, rate: u32, stop: &AtomicBool) -> Result<Counts, Failure> {
    let sockets = askers(server, ASKING)?;
    let mut asked: Vec<Option<(u16, Instant)>> = vec![None; ASKING];
    let (begun, mut sent, mut counts) = (Instant::now(), 0_usize, Counts::default());
    let (mut bytes, patience) = ([0; 512], Timespec { tv_sec: 0, tv_nsec: 500_000 });
    while !(stop.load(Ordering::Relaxed) && asked.iter().all(Option::is_none)) {
        let allowed = if stop.load(Ordering::Relaxed) {
            sent
        } else {
            (begun.elapsed().as_secs_f64() * f64::from(rate)) as usize
        };
        for (socket, asked) in sockets.iter().zip(&mut asked) {
            if asked.is_some_and(|(_, since)| since.elapsed() > PATIENCE) {
                counts.fail("no answer");
                *asked = None;
            }
            if asked.is_none() && sent < allowed {
                sent += 1;
                let number = (sent & 0xffff) as u16;
                *asked = Some((number, Instant::now()));
                if let Err(error) = socket.send(&load::question(number, name)) {
                    counts.fail(error);
                    *asked = None;
                }
            }
        }
        let mut ready: Vec<_> =
            sockets.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)).collect();
        poll(&mut ready, Some(&patience))?;
        let ready: Vec<bool> = ready.iter().map(|it| !it.revents().is_empty()).collect();
        for ((socket, asked), _) in sockets.iter().zip(&mut asked).zip(ready).filter(|(_, ready)| *ready) {
            let count = match socket.recv(&mut bytes) {
                Ok(count) => count,
                Err(error) => {
                    counts.fail(error);
                    *asked = None;
                    continue;
                }
            };
            // The answer to a question that was given up is none to the next one.
            if let Some((_, since)) = asked.take_if(|(number, _)| bytes[..2] == number.to_be_bytes()) {
                match load::answers(u16::from_be_bytes([bytes[0], bytes[1]]), &bytes[..count]) {
                    true => counts.times.push(since.elapsed()),
                    false => counts.fail("an answer without an address"),
                }
            }
        }
    }
    counts.length = begun.elapsed();
    Ok(counts)
}

/// Detaches what may be attached, as soon as a daemon answers.
fn undo(address: &str, name: &str) {
    let is_undone = || {
        let detached = Client::new(address).and_then(|mut client| client.detach(name));
        matches!(detached, Ok(_) | Err(ClientError::Refused { status: 404, .. }))
    };
    while !is_undone() {
        std::thread::sleep(GLANCE);
    }
}

/// Sends a request as soon as there is a daemon, as a user would.
fn ask_daemon<T>(
    address: &str,
    ask: impl Fn(&mut Client) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    loop {
        match Client::new(address).and_then(|mut client| ask(&mut client)) {
            Err(ClientError::NotRunning { .. }) => std::thread::sleep(GLANCE),
            answered => return answered,
        }
    }
}

/// Attaches and detaches each namespace. A request that the daemon's end cut off is undone, and counts as failed.
pub fn attach(address: &str, namespaces: &[String], stop: &AtomicBool) -> Result<Counts, Failure> {
    let client = |name: &String| {
        let (name, request) = (name.clone(), request(name, "app", 0, 0));
        move || {
            let (begun, mut counts) = (Instant::now(), Counts::default());
            while !stop.load(Ordering::Relaxed) {
                let since = Instant::now();
                let attached = ask_daemon(address, |client| client.attach(&request))
                    .and_then(|_| ask_daemon(address, |client| client.detach(&name)));
                match attached {
                    Ok(_) => counts.times.push(since.elapsed()),
                    Err(error) => {
                        counts.fail(error);
                        undo(address, &name);
                    }
                }
            }
            counts.length = begun.elapsed();
            counts
        }
    };
    Ok(together(namespaces.iter().map(client)))
}
