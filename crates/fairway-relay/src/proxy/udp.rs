//! The UDP proxy: each client of a port has a flow, a socket of its own towards the sandbox, so that answers reach
//! the client from the local address that it used.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_core::traffic::SharedResource;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use super::ProxyLimits;
use super::datagram::{self, Asked, Received};
use crate::poll::{Kind, Poller, READ, Token};
use crate::shares::{Shares, source};
use crate::slab::{Slab, SlabKey};
use crate::table::ProxiedBytes;

/// How many datagrams one socket handles before other sockets get their turn.
const DATAGRAMS: usize = 32;

/// The longest datagram (RFC 768: a 16-bit length).
const LONGEST: usize = 65_536;

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    target: SocketAddr,
    flows: HashMap<(SocketAddr, IpAddr), SlabKey>,
    carried: ProxiedBytes,
}

#[derive(Debug)]
struct Flow {
    listener: SlabKey,
    client: SocketAddr,
    asked: Asked,
    socket: OwnedFd,
}

/// All UDP ports and their flows.
pub(crate) struct Udp {
    listeners: Slab<Listener>,
    flows: Slab<Flow>,
    buffer: Vec<u8>,
    ancillary: Vec<u8>,
    idle: Duration,
    /// Flows by the sandbox that they lead to and their client.
    shares: Shares<IpAddr, IpAddr, SlabKey>,
    /// How many flows have begun.
    begun: u64,
    /// How many were ended for others.
    evicted: u64,
}

impl Udp {
    /// Creates a proxy without ports.
    pub fn new(limits: &ProxyLimits) -> Self {
        Self {
            listeners: Slab::default(),
            flows: Slab::default(),
            buffer: vec![0; LONGEST],
            ancillary: datagram::space(),
            idle: limits.flow_idle,
            shares: Shares::new(limits.flows),
            begun: 0,
            evicted: 0,
        }
    }

    /// Changes the limit of flows.
    pub fn set_limit(&mut self, flows: usize) {
        self.shares.set_limit(flows);
        self.end_greediest();
    }

    /// Ends flows of the greediest until the others fit.
    fn end_greediest(&mut self) {
        while let Some(flow) = self.shares.excess() {
            self.evicted += 1;
            self.end(flow);
        }
    }

    /// The flows as a shared resource.
    pub fn resource(&self) -> SharedResource {
        let (open, limit) = (self.flows.len() as u64, self.shares.limit() as u64);
        SharedResource { open, limit, begun: self.begun, evicted: self.evicted }
    }

    /// Ends a flow.
    fn end(&mut self, place: SlabKey) {
        self.shares.remove(place);
        let Some(flow) = self.flows.remove(place) else { return };
        if let Some(listener) = self.listeners.get_mut(flow.listener) {
            listener.flows.remove(&(flow.client, flow.asked.address));
        }
    }

    /// Receives datagrams at a bound socket and forwards them to `target`.
    pub fn listen(&mut self, poller: &Poller, socket: OwnedFd, target: SocketAddr) -> Result<SlabKey, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        datagram::enable_packet_info(&socket)?;
        let listener = Listener { socket, target, flows: HashMap::new(), carried: ProxiedBytes::default() };
        let place = self.listeners.insert(listener);
        if let Some(listener) = self.listeners.get(place)
            && let Err(errno) = poller.add(&listener.socket, Token(Kind::UdpListener, place), READ)
        {
            self.listeners.remove(place);
            return Err(errno);
        }
        Ok(place)
    }

    /// Forwards to another address; flows to the old one end, so that clients reach the new one with their next
    /// datagram.
    pub fn retarget(&mut self, place: SlabKey, target: SocketAddr) {
        let Some(listener) = self.listeners.get_mut(place) else { return };
        if listener.target == target {
            return;
        }
        listener.target = target;
        for flow in std::mem::take(&mut listener.flows).into_values() {
            self.end(flow);
        }
    }

    /// Closes a port and its flows.
    pub fn close(&mut self, poller: &Poller, place: SlabKey) {
        let Some(listener) = self.listeners.remove(place) else { return };
        poller.remove(&listener.socket);
        for flow in listener.flows.into_values() {
            self.end(flow);
        }
    }

    /// The port's socket.
    pub fn listener(&self, place: SlabKey) -> Option<BorrowedFd<'_>> {
        self.listeners.get(place).map(|listener| listener.socket.as_fd())
    }

    /// The target of a port.
    pub fn target(&self, place: SlabKey) -> Option<SocketAddr> {
        self.listeners.get(place).map(|listener| listener.target)
    }

    /// The bytes proxied through a port.
    pub fn proxied_bytes(&self, place: SlabKey) -> ProxiedBytes {
        self.listeners.get(place).map(|listener| listener.carried).unwrap_or_default()
    }

    /// Adds the byte counts of a port's old socket to those of its new one.
    pub fn inherit(&mut self, old: SlabKey, new: SlabKey) {
        let carried = self.proxied_bytes(old);
        if let Some(listener) = self.listeners.get_mut(new) {
            listener.carried.add(carried);
        }
    }

    /// Forwards clients' datagrams to the sandbox.
    pub fn forward_to_sandbox(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..DATAGRAMS {
            let Some(listener) = self.listeners.get(place) else { break };
            match datagram::receive(&listener.socket, &mut buffer, &mut self.ancillary) {
                Ok(Some(Received { length, client, asked })) => {
                    self.forward_datagram(
                        poller,
                        place,
                        client,
                        asked,
                        buffer.get(..length).unwrap_or_default(),
                        now,
                    );
                }
                // A datagram without sender or destination cannot be answered.
                Ok(None) => {}
                Err(Errno::AGAIN) => break,
                // An ICMP error of an earlier answer: the client has gone, and its flow will time out.
                Err(_) => {}
            }
        }
        self.buffer = buffer;
    }

    fn forward_datagram(
        &mut self,
        poller: &Poller,
        place: SlabKey,
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
        self.shares.touch(flow, now);
        let Some(flow) = self.flows.get(flow) else { return };
        if let Some(listener) = self.listeners.get_mut(place) {
            listener.carried.bytes_in += datagram.len() as u64;
        }
        if let Err(Errno::CONNREFUSED) = rustix::net::send(&flow.socket, datagram, SendFlags::NOSIGNAL) {
            // An ICMP error of an earlier datagram; this one was not sent yet.
            let _ = rustix::net::send(&flow.socket, datagram, SendFlags::NOSIGNAL);
        }
    }

    fn open(
        &mut self,
        poller: &Poller,
        place: SlabKey,
        client: SocketAddr,
        asked: Asked,
        now: Instant,
    ) -> Result<SlabKey, Errno> {
        let listener = self.listeners.get_mut(place).ok_or(Errno::BADF)?;
        let target = listener.target;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        rustix::net::connect(&socket, &target)?;
        let flow = self.flows.insert(Flow { listener: place, client, asked, socket });
        if let Some(opened) = self.flows.get(flow)
            && let Err(errno) = poller.add(&opened.socket, Token(Kind::UdpFlow, flow), READ)
        {
            self.flows.remove(flow);
            return Err(errno);
        }
        listener.flows.insert((client, asked.address), flow);
        self.begun += 1;
        self.shares.insert(flow, target.ip(), source(client.ip()), 1, self.idle, now);
        self.end_greediest();
        Ok(flow)
    }

    /// Forwards the sandbox's answers to the flow's client.
    pub fn forward_to_client(&mut self, place: SlabKey, now: Instant) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        let Some(listener) = self.listeners.get_mut(flow.listener) else { return };
        for _ in 0..DATAGRAMS {
            match rustix::net::recv(&flow.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => {
                    self.shares.touch(place, now);
                    let datagram = self.buffer.get(..length).unwrap_or(&self.buffer);
                    listener.carried.bytes_out += datagram.len() as u64;
                    // The answer to an unreachable client is lost.
                    let _ = datagram::send(&listener.socket, datagram, flow.client, flow.asked);
                }
                Err(Errno::AGAIN) => return,
                // No socket listens in the sandbox (ICMP); the client gets no answer.
                Err(_) => {}
            }
        }
    }

    /// Ends flows that reached their idle timeout.
    pub fn expire(&mut self, now: Instant) {
        while let Some(flow) = self.shares.idle(now) {
            self.end(flow);
        }
    }

    /// When to call `expire` next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        self.shares.deadline().map(|at| at.saturating_duration_since(now))
    }
}
