//! Defends the addresses of sandboxes on LANs against other hosts that use them (RFC 5227).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use fairway_core::world::Command;
use fairway_kernel::duplicate_address::{Holder, Listener};
use fairway_model::NetworkId;

use super::Reconciler;

/// How often an address is defended at most (`DEFEND_INTERVAL` of RFC 5227): two hosts that defend it at once would
/// flood the LAN.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// Listens on the LANs of sandboxes for other hosts that use their addresses.
#[derive(Debug, Default)]
pub(crate) struct Guardian {
    listeners: HashMap<NetworkId, (u32, Listener)>,
    /// When each address was defended, on the clock of the reconcile loop.
    defended: HashMap<IpAddr, Duration>,
}

impl Guardian {
    /// Reads the announcements heard since the last call, logs conflicts, and defends the addresses of sandboxes.
    pub fn step(&mut self, reconciler: &Reconciler, now: Duration) {
        let lans: Vec<_> = reconciler.committer.read(|world| {
            let lans =
                world.networks().filter_map(|it| Some((it.id, it.bridge.clone(), it.uplink.as_ref()?.mac)));
            lans.collect()
        });
        self.listeners.retain(|id, _| lans.iter().any(|(lan, ..)| lan == id));
        self.defended.retain(|_, at| now < *at + DEFEND_INTERVAL);
        for (id, bridge, own) in lans {
            let Ok(index) = reconciler.applier.links(|links| links.index(&bridge)) else { continue };
            let known = self.listeners.get(&id).filter(|(at, _)| *at == index);
            if known.is_none() {
                match Listener::open(index) {
                    Ok(listener) => drop(self.listeners.insert(id, (index, listener))),
                    Err(error) => {
                        tracing::warn!(%error, bridge, "failed to listen for address conflicts on {bridge}: {error}");
                        continue;
                    }
                }
            }
            let Some((_, listener)) = self.listeners.get(&id) else { continue };
            for heard in listener.heard(own) {
                self.hear(reconciler, (id, index), heard, now);
            }
        }
    }

    fn hear(
        &mut self,
        reconciler: &Reconciler,
        (network, bridge): (NetworkId, u32),
        heard: Holder,
        now: Duration,
    ) {
        let Holder { address, mac } = heard;
        let ours = reconciler.committer.read(|world| {
            let endpoints = world.endpoints_of_network(network);
            let given: Vec<_> =
                endpoints.filter_map(|it| Some((it.sandbox, it.allocation.as_ref()?))).collect();
            // A sandbox that uses the address of another one is handled by the source guard.
            if given.iter().any(|(_, given)| given.mac == mac) {
                return None;
            }
            let (sandbox, given) =
                given.iter().find(|(_, given)| given.addresses().any(|it| it == address))?;
            Some((world.sandbox(*sandbox)?.name.clone(), given.mac, world.network(network)?.name.clone()))
        });
        let Some((sandbox, own, name)) = ours else { return };
        if self.defended.contains_key(&address) {
            return;
        }
        self.defended.insert(address, now);
        tracing::warn!(sandbox, network = name, %address, %mac, "address conflict on the LAN of network {name}: {address} of sandbox {sandbox} held by {mac}; defending it");
        reconciler.applier.announcements.send(bridge, own, vec![address]);
        let held = Command::AddressInUse { network: name, address, mac };
        if let Err(error) = reconciler.committer.execute(held) {
            tracing::warn!(%error, "failed to record the address conflict: {error}");
        }
    }
}
