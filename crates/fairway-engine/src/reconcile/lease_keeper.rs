//! Renews the DHCP leases in use, and releases the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fairway_core::dhcp::{LeaseEvent, Renewal, parse_frame, release};
use fairway_core::world::{Command, World};
use fairway_kernel::dhcp::Socket;
use fairway_model::{EndpointId, Lease};

use super::Reconciler;
use crate::commit::leases::transaction;
use crate::{ApplyError, EngineError};

/// How often leases are compared with the World, and due messages are sent.
const LOOK: Duration = Duration::from_millis(200);

/// A lease in use, and the interface on which its server is.
struct Kept {
    parent: String,
    sandbox: String,
    renewal: Renewal,
    /// How often in a row no endpoint had it.
    missed: u32,
}

impl Kept {
    fn release(&self, reconciler: &Reconciler) {
        let lease = self.renewal.lease();
        tracing::info!(sandbox = self.sandbox, address = %lease.address, "released lease of {} of sandbox {}", lease.address, self.sandbox);
        reconciler.committer.notify_server(&self.parent, &release(lease, transaction()));
    }
}

/// The leases in use by endpoint: interface of the server, sandbox, lease.
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
    fn step(&mut self, reconciler: &Reconciler) {
        let used = reconciler.committer.read(in_use);
        for (id, kept) in &mut self.leases {
            kept.missed = if used.contains_key(id) { 0 } else { kept.missed + 1 };
        }
        // A lease that is missed once only is being given to the same endpoint by another try of the same command.
        let gone = self.leases.extract_if(.., |_, kept| kept.missed > 1);
        gone.for_each(|(_, kept)| kept.release(reconciler));
        for (id, (parent, sandbox, lease)) in used {
            let known = self.leases.get(&id).map(|kept| kept.renewal.lease());
            if known == Some(&lease) {
                continue;
            }
            let address = lease.address;
            let renewal = Renewal::new(lease, &sandbox, transaction(), reconciler.committer.now());
            let former = self.leases.insert(id, Kept { parent, sandbox, renewal, missed: 0 });
            // A restarted sandbox may have another address.
            former
                .filter(|former| former.renewal.lease().address != address)
                .iter()
                .for_each(|it| it.release(reconciler));
        }
        let leases = &self.leases;
        self.ports.retain(|parent, _| leases.values().any(|kept| kept.parent == *parent));
        self.exchange(reconciler);
    }

    /// Sends due messages, and reads the answers since the last time.
    fn exchange(&mut self, reconciler: &Reconciler) {
        let mut events = Vec::new();
        for (id, kept) in &mut self.leases {
            let (frame, lost) = kept.renewal.poll(reconciler.committer.now());
            events.extend(lost.map(|lost| (*id, kept.sandbox.clone(), lost)));
            if let Some(Err(error)) =
                frame.map(|frame| say(reconciler, &mut self.ports, &kept.parent, &frame))
            {
                tracing::debug!(%error, sandbox = kept.sandbox, "failed to renew the lease of sandbox {}: {error}", kept.sandbox);
            }
        }
        let heard = receive(&mut self.ports);
        for (from, message) in heard.iter().filter_map(|frame| parse_frame(frame)) {
            for (id, kept) in &mut self.leases {
                let outcome = kept.renewal.receive(from, &message, reconciler.committer.now());
                events.extend(outcome.map(|outcome| (*id, kept.sandbox.clone(), outcome)));
            }
        }
        for (id, sandbox, outcome) in events {
            reconciler.keep_lease(id, &sandbox, outcome);
        }
    }
}

/// Sends a frame on an interface, and opens a socket for the answers.
fn say(
    reconciler: &Reconciler,
    ports: &mut BTreeMap<String, Socket>,
    parent: &str,
    frame: &[u8],
) -> Result<(), ApplyError> {
    let index = reconciler.applier.links(|links| links.index(parent))?;
    // An interface that was unplugged has another index.
    let port = match ports.remove(parent).filter(|port| port.interface() == index) {
        Some(port) => port,
        None => Socket::open(index)?,
    };
    Ok(ports.entry(parent.to_owned()).or_insert(port).send(frame)?)
}

/// Reads all waiting frames; sockets that fail are closed.
fn receive(ports: &mut BTreeMap<String, Socket>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    ports.retain(|parent, port| {
        let until = Instant::now() + Duration::from_millis(1);
        loop {
            match port.receive(until) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return true,
                Err(error) => {
                    tracing::debug!(%error, parent, "failed to receive from the DHCP server on {parent}: {error}");
                    return false;
                }
            }
        }
    });
    frames
}

impl Reconciler {
    /// Commits and logs a renewed or expired lease.
    fn keep_lease(&self, endpoint: EndpointId, sandbox: &str, outcome: LeaseEvent) {
        let lease = match outcome {
            LeaseEvent::Renewed(lease) => {
                let seconds = (lease.expires_at - self.committer.now()) / 1_000_000_000;
                tracing::info!(sandbox, address = %lease.address, seconds, "renewed lease of {} of sandbox {sandbox} for {seconds} s", lease.address);
                lease
            }
            LeaseEvent::Lost(lease) => {
                tracing::error!(sandbox, address = %lease.address, server = %lease.server,
                    "lost lease of {} of sandbox {sandbox}: the DHCP server may lease the address to another host; still \
                     asking for it; disconnect and connect the sandbox for another address", lease.address);
                lease
            }
        };
        if let Err(error) = self.committer.execute(Command::LeaseRenewed { endpoint, lease: Box::new(lease) })
        {
            tracing::warn!(%error, "failed to record the lease of sandbox {sandbox}: {error}");
        }
    }
}

/// Starts the thread that renews leases. It ends with the Reconciler.
pub(crate) fn start(reconciler: &Arc<Reconciler>) -> Result<(), EngineError> {
    let weak = Arc::downgrade(reconciler);
    let thread = std::thread::Builder::new().name("leases".to_owned());
    thread.spawn(move || keep(&weak)).map(drop).map_err(EngineError::Thread)
}

fn keep(reconciler: &Weak<Reconciler>) {
    let mut keeper = Keeper::default();
    loop {
        let Some(strong) = reconciler.upgrade() else { return };
        keeper.step(&strong);
        drop(strong);
        std::thread::sleep(LOOK);
    }
}
