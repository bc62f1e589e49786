//! Duplicate address detection before an address on a LAN is used (RFC 5227, RFC 4862).

use std::net::IpAddr;

use fairway_core::object::{Difference, Object, VethLink};
use fairway_kernel::duplicate_address::{Holder, probe};
use fairway_model::MacAddress;

use super::Committer;
use crate::{ApplyError, EngineError};

impl Committer {
    /// Probes the LANs of new endpoints for other hosts with their addresses.
    pub fn probe(&self, difference: &Difference) -> Result<(), EngineError> {
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
        let bridge = self.applier.links(|links| links.index(&link.bridge))?;
        match probe(bridge, own, &addresses) {
            Ok(None) => Ok(()),
            Ok(Some(Holder { address, mac })) => {
                let asked = self.read(|world| {
                    world.endpoint(link.endpoint).is_some_and(|endpoint| {
                        // An address leased by DHCP is not chosen here either.
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
