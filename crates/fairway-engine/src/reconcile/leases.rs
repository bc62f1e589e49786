//! Addresses from the DHCP servers of LANs: had before a command is decided, kept while they are used, given back.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fairway_core::dhcp::{Client, LeaseEvent, Renewal, decline, parse_frame, release};
use fairway_core::world::{Command, World};
use fairway_kernel::dhcp::Socket;
use fairway_model::{EndpointId, Lease, LeaseRequest, NetworkId};

use crate::{ApplyError, Engine, EngineError};

/// How often it is looked which leases there are and what is due.
const LOOK: Duration = Duration::from_millis(200);
/// How often another address is asked for, when somebody has the one that was lent.
const DECLINES: usize = 3;

/// The leases that a command is carried out with.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    had: Vec<(NetworkId, Lease)>,
    /// Where each network's server is asked.
    parents: BTreeMap<NetworkId, String>,
    declined: usize,
}

impl Leases {
    /// As the World takes them.
    pub fn had(&self) -> &[(NetworkId, Lease)] {
        &self.had
    }
}

fn transaction() -> u32 {
    // Without randomness from the kernel the clock tells questions apart.
    getrandom::u32().unwrap_or_else(|_| std::process::id())
}

impl Engine {
    fn dhcp_port(&self, parent: &str) -> Result<Socket, ApplyError> {
        let interface = self.links(|links| links.index(parent))?;
        Ok(Socket::open(interface)?)
    }

    /// Does something about why a command failed. True if it should be tried again with the leases as they are now;
    /// else they are given back.
    ///
    /// # Errors
    /// When no server lends what the command needs.
    pub(crate) fn lease_after(
        &self,
        failure: &EngineError,
        leases: &mut Leases,
    ) -> Result<bool, EngineError> {
        use fairway_core::world::Refusal::LeaseNeeded;
        match failure {
            EngineError::Refused(LeaseNeeded(request))
                if !leases.had.iter().any(|(network, _)| *network == request.network) =>
            {
                let lease = self.ask_for_lease(request).inspect_err(|_| self.release_all(leases))?;
                leases.parents.insert(request.network, request.parent.clone());
                leases.had.push((request.network, lease));
                Ok(true)
            }
            EngineError::AddressInUse { address, mac, .. } if leases.declined < DECLINES => {
                let Some(at) = leases.had.iter().position(|(_, lease)| lease.address == *address) else {
                    self.release_all(leases);
                    return Ok(false);
                };
                let (network, lease) = leases.had.remove(at);
                leases.declined += 1;
                tracing::warn!(%address, %mac, server = %lease.server, "somebody on the LAN has what was lent; declined");
                if let Some(parent) = leases.parents.get(&network) {
                    self.tell_server(parent, &decline(&lease, transaction()));
                }
                Ok(true)
            }
            _ => {
                self.release_all(leases);
                Ok(false)
            }
        }
    }

    fn release_all(&self, leases: &mut Leases) {
        for (network, lease) in std::mem::take(&mut leases.had) {
            if let Some(parent) = leases.parents.get(&network) {
                self.tell_server(parent, &release(&lease, transaction()));
            }
        }
    }

    /// Tells a server something that it does not answer. If it is not heard the lease ends by itself.
    fn tell_server(&self, parent: &str, frame: &[u8]) {
        let told = self.dhcp_port(parent).and_then(|port| Ok(port.send(frame)?));
        if let Err(error) = told {
            tracing::debug!(%error, parent, "the DHCP server is not told; the lease will end by itself");
        }
    }

    fn ask_for_lease(&self, request: &LeaseRequest) -> Result<Lease, EngineError> {
        let port = self.dhcp_port(&request.parent)?;
        let mut client = Client::new(request.identity.clone(), transaction(), self.now());
        loop {
            let due = client.poll(self.now()).map_err(|failure| EngineError::NoLease {
                parent: request.parent.clone(),
                network: request.network_name.clone(),
                failure,
            })?;
            if let Some(frame) = due {
                port.send(&frame).map_err(ApplyError::from)?;
            }
            let left = u64::try_from(client.next_poll() - self.now()).unwrap_or(0);
            let heard =
                port.receive(Instant::now() + Duration::from_nanos(left)).map_err(ApplyError::from)?;
            let Some((from, message)) = heard.and_then(|frame| parse_frame(&frame)) else { continue };
            if let Some(lease) = client.receive(from, &message, self.now()) {
                tracing::info!(network = request.network_name, address = %lease.address, server = %lease.server,
                    "lent by DHCP");
                return Ok(lease);
            }
        }
    }
}

/// A lease that is kept, and where its server is.
struct Kept {
    parent: String,
    sandbox: String,
    renewal: Renewal,
    /// How often it was not found in use since it was.
    missed: u32,
}

impl Kept {
    fn release(&self, engine: &Engine) {
        let lease = self.renewal.lease();
        tracing::info!(sandbox = self.sandbox, address = %lease.address, "given back to the DHCP server");
        engine.tell_server(&self.parent, &release(lease, transaction()));
    }
}

/// Keeps the leases that are in use.
#[derive(Default)]
struct Keeper {
    leases: BTreeMap<EndpointId, Kept>,
    ports: BTreeMap<String, Socket>,
}

/// The leases in use: endpoint, interface that leads to the server, sandbox.
fn in_use(world: &World) -> BTreeMap<EndpointId, (String, String, Lease)> {
    let lans = world.networks().filter(|network| network.bridge_options.dhcp);
    let uplinks = lans.filter_map(|network| Some((network.id, network.uplink.as_ref()?.parent.clone())));
    let endpoints = uplinks.flat_map(|(id, parent)| {
        world.endpoints_of_network(id).map(move |endpoint| (endpoint, parent.clone()))
    });
    let leased = endpoints.filter_map(|(endpoint, parent)| {
        let lease = endpoint.allocation.as_ref()?.lease.clone()?;
        Some((endpoint.id, (parent, world.sandbox(endpoint.sandbox)?.name.clone(), lease)))
    });
    leased.collect()
}

impl Keeper {
    fn step(&mut self, engine: &Engine) {
        let used = engine.read(in_use);
        for (id, kept) in &mut self.leases {
            kept.missed = if used.contains_key(id) { 0 } else { kept.missed + 1 };
        }
        // One that is missed once only is being given to the same endpoint by another try of the same command.
        let gone = self.leases.extract_if(.., |_, kept| kept.missed > 1);
        gone.for_each(|(_, kept)| kept.release(engine));
        for (id, (parent, sandbox, lease)) in used {
            let known = self.leases.get(&id).map(|kept| kept.renewal.lease());
            if known == Some(&lease) {
                continue;
            }
            let address = lease.address;
            let renewal = Renewal::new(lease, &sandbox, transaction(), engine.now());
            let former = self.leases.insert(id, Kept { parent, sandbox, renewal, missed: 0 });
            // A sandbox that was started again may have another address.
            former
                .filter(|former| former.renewal.lease().address != address)
                .iter()
                .for_each(|it| it.release(engine));
        }
        let leases = &self.leases;
        self.ports.retain(|parent, _| leases.values().any(|kept| kept.parent == *parent));
        self.speak(engine);
    }

    /// Says what is due, and hears what was answered since the last time.
    fn speak(&mut self, engine: &Engine) {
        let mut told = Vec::new();
        for (id, kept) in &mut self.leases {
            let (frame, lost) = kept.renewal.poll(engine.now());
            told.extend(lost.map(|lost| (*id, kept.sandbox.clone(), lost)));
            if let Some(Err(error)) = frame.map(|frame| say(engine, &mut self.ports, &kept.parent, &frame)) {
                tracing::debug!(%error, sandbox = kept.sandbox, "its lease is renewed later");
            }
        }
        let heard = receive(&mut self.ports);
        for (from, message) in heard.iter().filter_map(|frame| parse_frame(frame)) {
            for (id, kept) in &mut self.leases {
                let outcome = kept.renewal.receive(from, &message, engine.now());
                told.extend(outcome.map(|outcome| (*id, kept.sandbox.clone(), outcome)));
            }
        }
        for (id, sandbox, outcome) in told {
            engine.keep_lease(id, &sandbox, outcome);
        }
    }
}

/// Sends a frame at an interface, where answers are heard from then on.
fn say(
    engine: &Engine,
    ports: &mut BTreeMap<String, Socket>,
    parent: &str,
    frame: &[u8],
) -> Result<(), ApplyError> {
    let index = engine.links(|links| links.index(parent))?;
    // An interface that was away has another index.
    let port = match ports.remove(parent).filter(|port| port.interface() == index) {
        Some(port) => port,
        None => Socket::open(index)?,
    };
    Ok(ports.entry(parent.to_owned()).or_insert(port).send(frame)?)
}

/// All that waits at the ports; those that are heard no more are closed.
fn receive(ports: &mut BTreeMap<String, Socket>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    ports.retain(|parent, port| {
        let until = Instant::now() + Duration::from_millis(1);
        loop {
            match port.receive(until) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return true,
                Err(error) => {
                    tracing::debug!(%error, parent, "answers of the DHCP server may be missed");
                    return false;
                }
            }
        }
    });
    frames
}

impl Engine {
    /// Remembers and tells what has become of a lease.
    fn keep_lease(&self, endpoint: EndpointId, sandbox: &str, outcome: LeaseEvent) {
        let lease = match outcome {
            LeaseEvent::Renewed(lease) => {
                let seconds = (lease.expires_at - self.now()) / 1_000_000_000;
                tracing::info!(sandbox, address = %lease.address, seconds, "its lease is renewed");
                lease
            }
            LeaseEvent::Lost(lease) => {
                tracing::error!(sandbox, address = %lease.address, server = %lease.server,
                    "its lease is lost, and the server may lend the address to somebody else: it goes on with it \
                     and asks for it; disconnect and connect it for another one");
                lease
            }
        };
        if let Err(error) = self.execute(Command::LeaseRenewed { endpoint, lease: Box::new(lease) }) {
            tracing::warn!(%error, "what became of the lease is not remembered");
        }
    }
}

/// Starts the thread that keeps leases. It ends when the engine does.
pub(crate) fn start(engine: &Arc<Engine>) -> Result<(), EngineError> {
    let weak = Arc::downgrade(engine);
    let thread = std::thread::Builder::new().name("leases".to_owned());
    thread.spawn(move || keep(&weak)).map(drop).map_err(EngineError::Thread)
}

fn keep(engine: &Weak<Engine>) {
    let mut keeper = Keeper::default();
    loop {
        let Some(strong) = engine.upgrade() else { return };
        keeper.step(&strong);
        drop(strong);
        std::thread::sleep(LOOK);
    }
}
