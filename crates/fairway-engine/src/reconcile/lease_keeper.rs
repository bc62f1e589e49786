//! Renews the DHCP leases in use, and releases the others.
//!
//! The leases of the World are dated by the wall clock, so that they can be read. They are renewed by the clock of the boot:
//! setting the wall clock neither delays a renewal nor lets a lease expire.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fairway_core::dhcp::{LeaseEvent, Renewal, parse_frame, release};
use fairway_core::world::{Command, World};
use fairway_kernel::clock;
use fairway_kernel::dhcp::Socket;
use fairway_model::{EndpointId, Lease};

use super::Reconciler;
use crate::ApplyError;
use crate::commit::leases::{notify_server, transaction};

/// A lease in use, and the interface on which its server is.
struct Kept {
    parent: String,
    sandbox: String,
    /// By the clock of the boot.
    renewal: Renewal,
    /// How often in a row no endpoint had it.
    missed: u32,
}

/// The leases in use, and the sockets to their servers.
#[derive(Default)]
pub(crate) struct Keeper {
    leases: BTreeMap<EndpointId, Kept>,
    ports: BTreeMap<String, Socket>,
    /// How much the wall clock is ahead of the clock of the boot.
    offset: i64,
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
    /// Compares the leases with the World, sends due messages, and reads the answers since the last call.
    pub fn step(&mut self, reconciler: &Reconciler) {
        let dated = self.follow_wall_clock(clock::offset());
        dated.into_iter().for_each(|(endpoint, lease)| reconciler.record_lease(endpoint, lease));
        let used = reconciler.committer.read(in_use);
        for kept in self.replace(used, clock::boot()) {
            let (lease, sandbox) = (kept.renewal.lease(), kept.sandbox);
            tracing::info!(sandbox, address = %lease.address, "released lease of {} of sandbox {sandbox}", lease.address);
            notify_server(&reconciler.applier, &kept.parent, &release(lease, transaction()));
        }
        self.exchange(reconciler);
    }

    /// Notes the wall clock; if it was set, returns all leases, dated by it.
    fn follow_wall_clock(&mut self, offset: i64) -> Vec<(EndpointId, Lease)> {
        if !clock::was_set(self.offset, offset) {
            return Vec::new();
        }
        self.offset = offset;
        self.leases.iter().map(|(id, kept)| (*id, kept.renewal.lease().by_clock(offset))).collect()
    }

    /// Keeps the leases in use, and returns those to be released.
    fn replace(&mut self, used: BTreeMap<EndpointId, (String, String, Lease)>, now: i64) -> Vec<Kept> {
        for (id, kept) in &mut self.leases {
            kept.missed = if used.contains_key(id) { 0 } else { kept.missed + 1 };
        }
        // A lease that is missed once only is being given to the same endpoint by another try of the same command.
        let gone = self.leases.extract_if(.., |_, kept| kept.missed > 1);
        let mut released: Vec<Kept> = gone.map(|(_, kept)| kept).collect();
        for (id, (parent, sandbox, lease)) in used {
            let lease = lease.by_clock(-self.offset);
            if self.leases.get(&id).is_some_and(|kept| *kept.renewal.lease() == lease) {
                continue;
            }
            let address = lease.address;
            let renewal = Renewal::new(lease, &sandbox, transaction(), now);
            let former = self.leases.insert(id, Kept { parent, sandbox, renewal, missed: 0 });
            // A restarted sandbox may have another address.
            released.extend(former.filter(|former| former.renewal.lease().address != address));
        }
        let leases = &self.leases;
        self.ports.retain(|parent, _| leases.values().any(|kept| kept.parent == *parent));
        released
    }

    /// Sends due messages, and reads the answers since the last time.
    fn exchange(&mut self, reconciler: &Reconciler) {
        let mut events = Vec::new();
        for (id, kept) in &mut self.leases {
            let (frame, lost) = kept.renewal.poll(clock::boot());
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
                let outcome = kept.renewal.receive(from, &message, clock::boot());
                events.extend(outcome.map(|outcome| (*id, kept.sandbox.clone(), outcome)));
            }
        }
        for (id, sandbox, outcome) in events {
            reconciler.record_lease(id, log_change(&sandbox, outcome).by_clock(self.offset));
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

/// Logs a renewed or lost lease, and returns it.
fn log_change(sandbox: &str, change: LeaseEvent) -> Lease {
    match change {
        LeaseEvent::Renewed(lease) => {
            let seconds = (lease.expires_at - clock::boot()) / 1_000_000_000;
            tracing::info!(sandbox, address = %lease.address, seconds, "renewed lease of {} of sandbox {sandbox} for {seconds} s", lease.address);
            lease
        }
        LeaseEvent::Lost(lease) => {
            tracing::error!(sandbox, address = %lease.address, server = %lease.server,
                "lost lease of {} of sandbox {sandbox}: the DHCP server may lease the address to another host; still \
                 asking for it; disconnect and connect the sandbox for another address", lease.address);
            lease
        }
    }
}

impl Reconciler {
    /// Commits a lease of an endpoint.
    fn record_lease(&self, endpoint: EndpointId, lease: Lease) {
        if let Err(error) = self.committer.execute(Command::LeaseRenewed { endpoint, lease: Box::new(lease) })
        {
            tracing::warn!(%error, endpoint = %endpoint.short(), "failed to record the lease of endpoint {}: {error}", endpoint.short());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use fairway_model::MacAddress;

    use super::*;

    const CLIENT: EndpointId = EndpointId::new([1; 32]);
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const NONE: [u8; 0] = [];

    fn lease(last: u8, expires_at: i64) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 0, last),
            netmask: None,
            mac: MAC,
            client: CLIENT,
            server: Ipv4Addr::new(10, 0, 0, 1),
            server_mac: MAC,
            renew_at: expires_at / 2,
            rebind_at: expires_at * 7 / 8,
            expires_at,
            lost: false,
        }
    }

    /// Compares with a World in which the endpoint has this lease, and returns the released addresses.
    fn compare(keeper: &mut Keeper, lease: Option<Lease>) -> Vec<u8> {
        let used = lease.map(|lease| (CLIENT, ("eth0".to_owned(), "one".to_owned(), lease)));
        let released = keeper.replace(used.into_iter().collect(), 0);
        released.iter().map(|kept| kept.renewal.lease().address.octets()[3]).collect()
    }

    #[test]
    fn a_lease_is_released_when_it_is_missing_twice_in_a_row() {
        let mut keeper = Keeper::default();
        for used in [Some(lease(5, 100)), None, Some(lease(5, 100)), None] {
            assert_eq!(
                compare(&mut keeper, used),
                NONE,
                "a command that is tried again drops it for a moment"
            );
        }
        assert_eq!(compare(&mut keeper, None), [5]);
        assert_eq!(compare(&mut keeper, None), NONE, "once");
    }

    #[test]
    fn the_wall_clock_dates_leases_and_does_not_end_them() {
        let mut keeper = Keeper::default();
        let ahead = |seconds: i64| seconds * 1_000_000_000;
        assert_eq!(keeper.follow_wall_clock(ahead(1000)), []);
        compare(&mut keeper, Some(lease(5, 100).by_clock(ahead(1000))));
        assert_eq!(keeper.leases[&CLIENT].renewal.lease(), &lease(5, 100));
        assert_eq!(keeper.follow_wall_clock(ahead(1000) + 9), [], "it is adjusted");
        let dated = lease(5, 100).by_clock(ahead(5));
        assert_eq!(keeper.follow_wall_clock(ahead(5)), [(CLIENT, dated.clone())]);
        compare(&mut keeper, Some(dated));
        assert_eq!(keeper.leases[&CLIENT].renewal.lease(), &lease(5, 100));
    }

    #[test]
    fn another_address_releases_the_former_one_and_a_renewal_none() {
        let mut keeper = Keeper::default();
        assert_eq!(compare(&mut keeper, Some(lease(5, 100))), NONE);
        assert_eq!(compare(&mut keeper, Some(lease(5, 200))), NONE);
        assert_eq!(compare(&mut keeper, Some(lease(6, 200))), [5]);
        assert_eq!(keeper.leases[&CLIENT].renewal.lease(), &lease(6, 200));
    }
}
