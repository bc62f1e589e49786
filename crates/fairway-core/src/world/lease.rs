//! DHCP leases of endpoints.

use std::sync::Arc;

use super::{Change, Context, RecordKey, Refusal, Undecided, World};
use fairway_model::Rng;
use fairway_model::{
    Allocation, Endpoint, EndpointId, Lease, LeaseIdentity, LeaseRequest, MacAddress, Network,
};

impl World {
    /// Whether the IPv4 address of an endpoint is leased: it is not allocated by IPAM.
    pub(super) fn needs_lease(network: &Network, endpoint: &Endpoint) -> bool {
        network.bridge_options.dhcp && endpoint.request.ipv4.is_none()
    }

    /// The lease of an endpoint's IPv4 address; none if IPAM allocates the address.
    pub(super) fn lease_for(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        context: &mut Context<'_>,
    ) -> Result<Option<Lease>, Undecided> {
        let (true, Some(subnet), Some(uplink)) =
            (Self::needs_lease(network, endpoint), network.ipv4(), &network.uplink)
        else {
            return Ok(None);
        };
        let Some((_, lease)) = context.leases.iter().find(|(of, _)| *of == network.name) else {
            let sandbox = self.sandbox(endpoint.sandbox);
            let identity = LeaseIdentity {
                client: endpoint.id,
                mac: self.mac_to_lease_with(endpoint, context.rng)?,
                hostname: sandbox.map(|sandbox| sandbox.name.clone()).unwrap_or_default(),
            };
            return Err(Undecided::LeaseNeeded(Box::new(LeaseRequest {
                network: network.name.clone(),
                parent: uplink.parent.clone(),
                identity,
            })));
        };
        let unfit = |reason: String| Refusal::LeaseUnfit {
            server: lease.server,
            parent: uplink.parent.clone(),
            address: lease.address,
            reason,
        };
        if let Some(mask) = lease.netmask
            && std::net::IpAddr::V4(mask) != subnet.subnet.netmask()
        {
            return Err(unfit(format!(
                "the server's mask is {mask}, but network {} has subnet {}",
                network.name, subnet.subnet
            ))
            .into());
        }
        let address = lease.address.into();
        let free = self.check_address(network, address);
        free.and_then(|()| self.check_no_other_has(network, endpoint, address))
            .map_err(|refusal| unfit(refusal.to_string()))?;
        match self.index.macs.get(&lease.mac) {
            Some(holder) if *holder != endpoint.id => {
                Err(unfit(format!("another endpoint took MAC address {} meanwhile: try again", lease.mac))
                    .into())
            }
            _ => Ok(Some(lease.clone())),
        }
    }

    /// The MAC address of a DHCP client: as requested, else derived from the endpoint's id, so that the server recognizes
    /// the endpoint at each start.
    fn mac_to_lease_with(&self, endpoint: &Endpoint, rng: &mut Rng) -> Result<MacAddress, Refusal> {
        let [a, b, c, d, e, f, ..] = *endpoint.id.bytes();
        let own = MacAddress::from_random([a, b, c, d, e, f]);
        let is_free = self.index.macs.get(&own).is_none_or(|holder| *holder == endpoint.id);
        if endpoint.request.mac.is_none() && is_free { Ok(own) } else { self.mac_for(endpoint, None, rng) }
    }

    /// Records the renewal or loss of a lease, if the endpoint still has it.
    pub(super) fn lease_renewed(&mut self, id: EndpointId, lease: Lease) -> Change {
        let mut change = Change::default();
        let Some(endpoint) = self.endpoints.get_mut(&id).map(Arc::make_mut) else { return change };
        if let Some(Allocation { lease: Some(kept), .. }) = &mut endpoint.allocation
            && (kept.address, kept.client) == (lease.address, lease.client)
        {
            *kept = lease;
            change.record(RecordKey::Endpoint(id));
        }
        change
    }
}

#[cfg(test)]
mod tests;
