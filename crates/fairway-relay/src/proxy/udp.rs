//! UDP: each client of a port has a flow, a socket of its own towards the sandbox, so that
//! answers find back, and leave from the very address that the client asked.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use super::ProxyLimits;
use super::datagram::{self, Asked, Received};
use crate::poll::{Kind, Poller, READ, Token};
use crate::slab::{Place, Slab};
use crate::table::Carried;

/// How many datagrams one socket handles before others have their turn.
const DATAGRAMS: usize = 32;

/// The longest datagram (RFC 768: a 16-bit length).
const LONGEST: usize = 65_536;

/// The least time between two looks for idle flows.
const SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    target: SocketAddr,
    flows: HashMap<(SocketAddr, IpAddr), Place>,
    /// Flows and when they were last known to be in use; oldest first. A flow that was used
    /// since goes back to its place when its turn comes.
    silent: BinaryHeap<Reverse<(Instant, Place)>>,
    carried: Carried,
}

#[derive(Debug)]
struct Flow {
    listener: Place,
    client: SocketAddr,
    asked: Asked,
    socket: OwnedFd,
    used: Instant,
}

/// All UDP ports and their flows.
pub(crate) struct Udp {
    listeners: Slab<Listener>,
    flows: Slab<Flow>,
    buffer: Vec<u8>,
    ancillary: Vec<u8>,
    idle: Duration,
    flows_per_port: usize,
    limit: usize,
    /// When to look for flows that are idle.
    sweep: Option<Instant>,
}

impl Udp {
    /// Makes a proxy without ports.
    pub fn new(limits: &ProxyLimits) -> Self {
        Self {
            listeners: Slab::default(),
            flows: Slab::default(),
            buffer: vec![0; LONGEST],
            ancillary: datagram::space(),
            idle: limits.flow_idle,
            flows_per_port: limits.flows_per_port.max(1),
            limit: limits.flows,
            sweep: None,
        }
    }

    /// Receives at a bound socket, and carries to `target`.
    pub fn listen(&mut self, poller: &Poller, socket: OwnedFd, target: SocketAddr) -> Result<Place, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        datagram::tell_address(&socket)?;
        let listener = Listener {
            socket,
            target,
            flows: HashMap::new(),
            silent: BinaryHeap::new(),
            carried: Carried::default(),
        };
        let place = self.listeners.insert(listener);
        if let Some(listener) = self.listeners.get(place)
            && let Err(errno) = poller.add(&listener.socket, Token(Kind::UdpListener, place), READ)
        {
            self.listeners.remove(place);
            return Err(errno);
        }
        Ok(place)
    }

    /// Carries to another address; flows to the old one end, so that clients reach the new one
    /// with their next datagram.
    pub fn retarget(&mut self, place: Place, target: SocketAddr) {
        let Some(listener) = self.listeners.get_mut(place) else { return };
        if listener.target == target {
            return;
        }
        listener.target = target;
        listener.silent = BinaryHeap::new();
        for flow in std::mem::take(&mut listener.flows).into_values() {
            self.flows.remove(flow);
        }
    }

    /// Closes a port and its flows.
    pub fn close(&mut self, poller: &Poller, place: Place) {
        let Some(listener) = self.listeners.remove(place) else { return };
        poller.remove(&listener.socket);
        for flow in listener.flows.into_values() {
            self.flows.remove(flow);
        }
    }

    /// The port's socket.
    pub fn listener(&self, place: Place) -> Option<BorrowedFd<'_>> {
        self.listeners.get(place).map(|listener| listener.socket.as_fd())
    }

    /// Where a port leads to.
    pub fn target(&self, place: Place) -> Option<SocketAddr> {
        self.listeners.get(place).map(|listener| listener.target)
    }

    /// What was carried through a port.
    pub fn carried(&self, place: Place) -> Carried {
        self.listeners.get(place).map(|listener| listener.carried).unwrap_or_default()
    }

    /// A port has another socket; what was carried through the old one still counts.
    pub fn inherit(&mut self, old: Place, new: Place) {
        let carried = self.carried(old);
        if let Some(listener) = self.listeners.get_mut(new) {
            listener.carried.add(carried);
        }
    }

    /// Carries what clients sent to a port.
    pub fn carry_in(&mut self, poller: &Poller, place: Place, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..DATAGRAMS {
            let Some(listener) = self.listeners.get(place) else { break };
            match datagram::receive(&listener.socket, &mut buffer, &mut self.ancillary) {
                Ok(Some(Received { length, client, asked })) => {
                    self.pass_on(poller, place, client, asked, &buffer[..length], now);
                }
                // A datagram whose sender or destination is not told cannot be answered.
                Ok(None) => {}
                Err(Errno::AGAIN) => break,
                // An ICMP error of an earlier answer: the client is gone, its flow will be.
                Err(_) => {}
            }
        }
        self.buffer = buffer;
    }

    fn pass_on(
        &mut self,
        poller: &Poller,
        place: Place,
        client: SocketAddr,
        asked: Asked,
        datagram: &[u8],
        now: Instant,
    ) {
        let Some(listener) = self.listeners.get(place) else { return };
        let flow = match listener.flows.get(&(client, asked.address)) {
            Some(flow) => *flow,
            // Datagrams may be lost, and are when no flow can be made.
            None => match self.open(poller, place, client, asked, now) {
                Ok(flow) => flow,
                Err(_) => return,
            },
        };
        let Some(flow) = self.flows.get_mut(flow) else { return };
        flow.used = now;
        if let Some(listener) = self.listeners.get_mut(place) {
            listener.carried.bytes_in += datagram.len() as u64;
        }
        if let Err(Errno::CONNREFUSED) = rustix::net::send(&flow.socket, datagram, SendFlags::NOSIGNAL) {
            // That was the refusal of an earlier datagram (ICMP); this one was not sent yet.
            let _ = rustix::net::send(&flow.socket, datagram, SendFlags::NOSIGNAL);
        }
    }

    fn open(
        &mut self,
        poller: &Poller,
        place: Place,
        client: SocketAddr,
        asked: Asked,
        now: Instant,
    ) -> Result<Place, Errno> {
        let port_is_full =
            self.listeners.get(place).is_some_and(|listener| listener.flows.len() >= self.flows_per_port);
        if port_is_full {
            self.evict(place);
        }
        if self.flows.len() >= self.limit {
            return Err(Errno::MFILE);
        }
        let listener = self.listeners.get_mut(place).ok_or(Errno::BADF)?;
        let target = listener.target;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        rustix::net::connect(&socket, &target)?;
        let flow = self.flows.insert(Flow { listener: place, client, asked, socket, used: now });
        if let Some(opened) = self.flows.get(flow)
            && let Err(errno) = poller.add(&opened.socket, Token(Kind::UdpFlow, flow), READ)
        {
            self.flows.remove(flow);
            return Err(errno);
        }
        listener.flows.insert((client, asked.address), flow);
        listener.silent.push(Reverse((now, flow)));
        self.sweep.get_or_insert(now + self.idle);
        Ok(flow)
    }

    /// Ends the flow of a port that was silent longest.
    fn evict(&mut self, place: Place) {
        let Some(listener) = self.listeners.get_mut(place) else { return };
        while let Some(Reverse((seen, flow))) = listener.silent.pop() {
            match self.flows.get(flow) {
                Some(used) if used.used > seen => listener.silent.push(Reverse((used.used, flow))),
                Some(used) => {
                    listener.flows.remove(&(used.client, used.asked.address));
                    self.flows.remove(flow);
                    return;
                }
                None => {}
            }
        }
    }

    /// Carries what the sandbox answered to the flow's client.
    pub fn carry_back(&mut self, place: Place, now: Instant) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        let Some(listener) = self.listeners.get_mut(flow.listener) else { return };
        for _ in 0..DATAGRAMS {
            match rustix::net::recv(&flow.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => {
                    flow.used = now;
                    let datagram = &self.buffer[..length.min(LONGEST)];
                    listener.carried.bytes_out += datagram.len() as u64;
                    // A client that is not reachable any more loses its answer.
                    let _ = datagram::send(&listener.socket, datagram, flow.client, flow.asked);
                }
                Err(Errno::AGAIN) => return,
                // Nobody listens in the sandbox (ICMP); the client hears nothing, as on a lossy way.
                Err(_) => {}
            }
        }
    }

    /// Ends flows that were silent too long.
    pub fn expire(&mut self, now: Instant) {
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        let places: Vec<Place> =
            self.listeners.iter().filter(|(_, l)| !l.flows.is_empty()).map(|(place, _)| place).collect();
        let mut next: Option<Instant> = None;
        for place in places {
            let Some(listener) = self.listeners.get_mut(place) else { continue };
            while let Some(Reverse((seen, flow))) = listener.silent.peek().copied() {
                if seen + self.idle > now {
                    next = Some(next.map_or(seen + self.idle, |next| next.min(seen + self.idle)));
                    break;
                }
                listener.silent.pop();
                match self.flows.get(flow) {
                    Some(used) if used.used > seen => listener.silent.push(Reverse((used.used, flow))),
                    Some(used) => {
                        listener.flows.remove(&(used.client, used.asked.address));
                        self.flows.remove(flow);
                    }
                    None => {}
                }
            }
        }
        // Looking costs a little for each port, so it is not done for each flow.
        self.sweep = next.map(|next| next.max(now + SWEEP));
    }

    /// When `expire` wants to be called next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        self.sweep.map(|at| at.saturating_duration_since(now))
    }
}
