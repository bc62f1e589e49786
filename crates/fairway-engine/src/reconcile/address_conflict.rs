//! Addresses on LANs: each is asked for before it is used, and defended while it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fairway_core::object::{Difference, Object, VethLink};
use fairway_core::world::Command;
use fairway_kernel::duplicate_address::{Holder, Listener, probe};
use fairway_model::{MacAddress, NetworkId};

use crate::{ApplyError, Engine, EngineError};

/// How often an address is defended at most (`DEFEND_INTERVAL` of RFC 5227): two who defend it at once would fill the
/// LAN.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Engine {
    /// Asks the LANs that a difference puts sandboxes on whether somebody there has their addresses.
    pub(crate) fn probe(&self, difference: &Difference) -> Result<(), EngineError> {
        for object in difference.added.values() {
            if let Object::Veth(link) = object
                && let Some(network) = self.read(|world| {
                    let network = world.network(world.endpoint(link.endpoint)?.network)?;
                    network.uplink.as_ref().map(|uplink| (network.name.clone(), uplink.mac))
                })
            {
                self.probe_for(link, &network.0, network.1)?;
            }
        }
        Ok(())
    }

    fn probe_for(&self, link: &VethLink, network: &str, own: MacAddress) -> Result<(), EngineError> {
        let addresses: Vec<IpAddr> = link.addresses.iter().map(|address| address.addr()).collect();
        let bridge = self.links(|links| links.index(&link.bridge))?;
        match probe(bridge, own, &addresses) {
            Ok(None) => Ok(()),
            Ok(Some(Holder { address, mac })) => {
                let asked = self.read(|world| {
                    world.endpoint(link.endpoint).is_some_and(|endpoint| {
                        // What a server lends is not chosen here either.
                        let lease = endpoint.allocation.as_ref().and_then(|given| given.lease.as_ref());
                        let (lent, it) = (lease.map(|lease| IpAddr::V4(lease.address)), &endpoint.request);
                        [it.ipv4.map(IpAddr::V4), it.ipv6.map(IpAddr::V6), lent].contains(&Some(address))
                    })
                });
                Err(EngineError::AddressInUse { network: network.to_owned(), address, mac, asked })
            }
            Err(error) => Err(ApplyError::from(error).into()),
        }
    }
}

/// Listens on the LANs that sandboxes are on, for others that use their addresses.
#[derive(Debug, Default)]
pub(crate) struct Guardian {
    listeners: HashMap<NetworkId, (u32, Listener)>,
    defended: HashMap<IpAddr, Instant>,
}

impl Guardian {
    /// Looks at what was heard since the last time, tells of conflicts and defends addresses of sandboxes.
    pub fn step(&mut self, engine: &Engine) {
        let lans: Vec<_> = engine.read(|world| {
            let lans =
                world.networks().filter_map(|it| Some((it.id, it.bridge.clone(), it.uplink.as_ref()?.mac)));
            lans.collect()
        });
        self.listeners.retain(|id, _| lans.iter().any(|(lan, ..)| lan == id));
        self.defended.retain(|_, at| at.elapsed() < DEFEND_INTERVAL);
        for (id, bridge, own) in lans {
            let Ok(index) = engine.links(|links| links.index(&bridge)) else { continue };
            let known = self.listeners.get(&id).filter(|(at, _)| *at == index);
            if known.is_none() {
                match Listener::open(index) {
                    Ok(listener) => drop(self.listeners.insert(id, (index, listener))),
                    Err(error) => {
                        tracing::warn!(%error, "conflicts of addresses go unnoticed");
                        continue;
                    }
                }
            }
            let Some((_, listener)) = self.listeners.get(&id) else { continue };
            for heard in listener.heard(own) {
                self.hear(engine, id, index, heard);
            }
        }
    }

    fn hear(&mut self, engine: &Engine, network: NetworkId, bridge: u32, heard: Holder) {
        let Holder { address, mac } = heard;
        let ours = engine.read(|world| {
            let endpoints = world.endpoints_of_network(network);
            let given: Vec<_> =
                endpoints.filter_map(|it| Some((it.sandbox, it.allocation.as_ref()?))).collect();
            // A sandbox of ours that uses another's address is the guard's business.
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
        self.defended.insert(address, Instant::now());
        tracing::warn!(sandbox, network = name, %address, %mac, "somebody else on the LAN uses its address; it is defended");
        engine.announcements.send(bridge, own, vec![address]);
        let held = Command::AddressInUse { network: name, address, mac };
        if let Err(error) = engine.execute(held) {
            tracing::warn!(%error, "the conflict is not remembered");
        }
    }
}
