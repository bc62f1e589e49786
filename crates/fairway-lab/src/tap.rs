//! Sending and capturing whole frames at an interface.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fairway_kernel::system::packet::packet_socket;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags};

use crate::error::{LabError, Trying};
use crate::frame::Mac;
use crate::place::Place;
use crate::wire::index;

/// Sends whole frames out of an interface, with whatever addresses they claim.
#[derive(Debug)]
pub struct FrameSender {
    socket: OwnedFd,
    interface: String,
}

impl FrameSender {
    /// For an interface of a place.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(place: &Place, interface: &str) -> Result<FrameSender, LabError> {
        let socket = open(place, interface)?;
        Ok(FrameSender { socket, interface: interface.to_owned() })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the interface is down, or the frame longer than it takes.
    pub fn send(&self, frame: &[u8]) -> Result<(), LabError> {
        rustix::net::send(&self.socket, frame, SendFlags::empty())
            .map(|_| ())
            .trying(|| format!("send a frame of {} bytes out of {}", frame.len(), self.interface))
    }
}

/// Frames that arrive at or leave an interface, as long as it exists.
#[derive(Debug)]
pub struct Capture {
    caught: Arc<Caught>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Caught {
    frames: Mutex<Vec<Vec<u8>>>,
    more: Condvar,
}

impl Caught {
    fn frames(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    /// Keeps the frames that `wanted` says yes to, from the moment this returns. Checksums of what leaves may be
    /// unfinished: they are left to the device.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn start(
        place: &Place,
        interface: &str,
        mut wanted: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Capture, LabError> {
        let socket = open(place, interface)?;
        let (watched, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .trying(|| format!("capture at {interface}"))?;
        let caught = Arc::new(Caught::default());
        let sink = Arc::clone(&caught);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            loop {
                let mut both = [
                    PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(watched.as_fd(), PollFlags::IN),
                ];
                if poll(&mut both, None).is_err() || !both[1].revents().is_empty() {
                    return;
                }
                // ENETDOWN is told once when the interface goes down, and is no end.
                let Ok((_, length)) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) else {
                    continue;
                };
                if wanted(&buffer[..length]) {
                    sink.frames().push(buffer[..length].to_vec());
                    sink.more.notify_all();
                }
            }
        });
        Ok(Capture { caught, stop: Some(held), thread: Some(thread) })
    }

    /// The frames so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.caught.frames().clone()
    }

    /// Waits until there are so many frames, and returns all; those that came when `patience` is over.
    #[must_use]
    pub fn wait_for(&self, count: usize, patience: Duration) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut frames = self.caught.frames();
        while frames.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            frames = self.caught.more.wait_timeout(frames, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        frames.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // If the filter panicked, its thread has told so.
            let _ = thread.join();
        }
    }
}

impl Place {
    /// The MAC address of an interface here.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<Mac, LabError> {
        self.run_in(|| crate::wire::Wire::open()?.mac(interface))?
    }
}

fn open(place: &Place, interface: &str) -> Result<OwnedFd, LabError> {
    place
        .run_in(|| index(interface).map(packet_socket))??
        .trying(|| format!("open a packet socket at {interface} of {}", place.name()))
}
