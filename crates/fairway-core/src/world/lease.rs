//! Addresses that the DHCP server of a LAN lends endpoints.

use super::{Change, Command, RecordKey, Refusal, World};
use fairway_model::Rng;
use fairway_model::{
    Allocation, Endpoint, EndpointId, Lease, LeaseIdentity, LeaseRequest, MacAddress, Network, NetworkId,
};

impl World {
    /// Applies a command with the leases that it has turned out to need ([`Refusal::LeaseNeeded`]), each with its
    /// network.
    ///
    /// # Errors
    /// As [`World::apply`].
    pub fn apply_with(
        &mut self,
        command: Command,
        leases: &[(NetworkId, Lease)],
        now: i64,
        rng: &mut Rng,
    ) -> Result<Change, Refusal> {
        self.offered = leases.to_vec();
        let outcome = self.apply(command, now, rng);
        self.offered.clear();
        outcome
    }

    /// The lease that an endpoint gets its IPv4 address by; none where that is chosen here.
    pub(super) fn lease_for(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        rng: &mut Rng,
    ) -> Result<Option<Lease>, Refusal> {
        let (true, None, Some(subnet), Some(uplink)) =
            (network.bridge_options.dhcp, endpoint.request.ipv4, network.ipv4(), &network.uplink)
        else {
            return Ok(None);
        };
        let Some((_, lease)) = self.offered.iter().find(|(of, _)| *of == network.id) else {
            let sandbox = self.sandboxes.get(&endpoint.sandbox);
            let identity = LeaseIdentity {
                client: endpoint.id,
                mac: self.mac_to_lease_with(endpoint, rng)?,
                hostname: sandbox.map(|sandbox| sandbox.name.clone()).unwrap_or_default(),
            };
            return Err(Refusal::LeaseNeeded(Box::new(LeaseRequest {
                network: network.id,
                network_name: network.name.clone(),
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
                "the server's mask is {mask}, network {} is {}",
                network.name, subnet.subnet
            )));
        }
        self.check_address(network, lease.address.into()).map_err(|refusal| unfit(refusal.to_string()))?;
        match self.index.macs.get(&lease.mac) {
            Some(holder) if *holder != endpoint.id => {
                Err(unfit(format!("{} was taken meanwhile: try again", lease.mac)))
            }
            _ => Ok(Some(lease.clone())),
        }
    }

    /// The hardware address that a server is told: as asked, else one that the endpoint has at each start, so that
    /// the server knows it again.
    fn mac_to_lease_with(&self, endpoint: &Endpoint, rng: &mut Rng) -> Result<MacAddress, Refusal> {
        let [a, b, c, d, e, f, ..] = *endpoint.id.bytes();
        let own = MacAddress::from_random([a, b, c, d, e, f]);
        let is_free = self.index.macs.get(&own).is_none_or(|holder| *holder == endpoint.id);
        if endpoint.request.mac.is_none() && is_free { Ok(own) } else { self.mac_for(endpoint, None, rng) }
    }

    /// Remembers what has become of a lease. Of an endpoint that has it no more nothing is remembered.
    pub(super) fn lease_renewed(&mut self, id: EndpointId, lease: Lease) -> Change {
        let mut change = Change::default();
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return change };
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
