//! Duplicate address detection before an address on a LAN is used (RFC 5227, RFC 4862).

use std::net::IpAddr;

use fairway_core::object::{Difference, Object, VethLink};
use fairway_core::world::World;
use fairway_kernel::duplicate_address::{Holder, probe as probe_addresses};
use fairway_model::{EndpointId, Uplink};

use crate::apply::Applier;
use crate::{ApplyError, EngineError};

/// Probes the LANs of new endpoints for other hosts with their addresses. `world` has the endpoints.
pub(super) fn probe(applier: &Applier, difference: &Difference, world: &World) -> Result<(), EngineError> {
    for object in difference.added.values() {
        let Object::Veth(link) = object else { continue };
        let network = world.endpoint(link.endpoint).and_then(|endpoint| world.network(endpoint.network));
        if let Some((network, uplink)) = network.and_then(|it| Some((&it.name, it.uplink.as_ref()?))) {
            probe_for(applier, link, network, uplink, world)?;
        }
    }
    Ok(())
}

fn probe_for(
    applier: &Applier,
    link: &VethLink,
    network: &str,
    uplink: &Uplink,
    world: &World,
) -> Result<(), EngineError> {
    let addresses: Vec<IpAddr> = link.addresses.iter().map(|address| address.addr()).collect();
    let find = |name: &str| applier.links(|links| links.find(name));
    let interface = match find(&link.bridge)? {
        Some(bridge) => bridge,
        // The same change makes the bridge, so that the uplink is not its port yet.
        None => match find(&uplink.parent)?.filter(|parent| parent.up) {
            Some(parent) => parent,
            None => return Ok(()),
        },
    };
    match probe_addresses(interface.index, uplink.mac, &addresses).map_err(ApplyError::from)? {
        None => Ok(()),
        Some(Holder { address, mac }) => {
            let asked = is_asked_for(world, link.endpoint, address);
            Err(EngineError::AddressInUse { network: network.to_owned(), address, mac, asked })
        }
    }
}

/// Whether an endpoint asks for this address, or has it from a DHCP server: no other is allocated in its place here.
fn is_asked_for(world: &World, endpoint: EndpointId, address: IpAddr) -> bool {
    world.endpoint(endpoint).is_some_and(|endpoint| {
        let lease = endpoint.allocation.as_ref().and_then(|given| given.lease.as_ref());
        let (lent, request) = (lease.map(|lease| IpAddr::V4(lease.address)), &endpoint.request);
        [request.ipv4.map(IpAddr::V4), request.ipv6.map(IpAddr::V6), lent].contains(&Some(address))
    })
}
