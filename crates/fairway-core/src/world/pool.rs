//! Pools and addresses that Docker Engine requests from Fairway's IPAM driver.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Change, Context, RecordKey, Refusal, World};
use crate::ipam::{self, IpamError};
use fairway_model::{IpRange, PoolAddress, RequestedPool, SubnetRequest};

/// Who has the subnet of a pool, in refusals.
const HOLDER: &str = "docker (a pool of its IPAM driver fairway)";

impl World {
    /// The pools, in the order of their subnets.
    pub fn pools(&self) -> impl Iterator<Item = &RequestedPool> {
        self.pools.values().map(|it| &**it)
    }

    /// A pool by its subnet.
    pub fn pool(&self, subnet: IpNet) -> Option<&RequestedPool> {
        self.pools.get(&subnet).map(|it| &**it)
    }

    /// The addresses of all pools that dockerd has.
    pub fn pool_addresses(&self) -> impl Iterator<Item = &PoolAddress> {
        self.pool_addresses.values().map(|it| &**it)
    }

    /// The addresses of a pool that dockerd has.
    pub fn addresses_of_pool(&self, subnet: IpNet) -> impl Iterator<Item = &PoolAddress> {
        self.pool_addresses().filter(move |address| address.pool == subnet)
    }

    /// The subnets of pools, as those that a network must not overlap.
    pub(super) fn taken_pools(&self) -> impl Iterator<Item = (IpNet, String)> {
        self.pools.keys().map(|subnet| (*subnet, HOLDER.to_owned()))
    }

    pub(super) fn request_pool(
        &mut self,
        subnet: Option<IpNet>,
        range: Option<IpNet>,
        ipv6: bool,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let request =
            SubnetRequest { subnet, ip_range: range.map(IpRange::Part), ..SubnetRequest::default() };
        let taken: Vec<_> = self.taken_subnets(None).into_iter().chain(self.taken_pools()).collect();
        let (settings, host) = (&self.settings, &self.host);
        let subnets =
            ipam::allocate_subnets("docker", &[request], !ipv6, ipv6, settings, host, &taken, context.rng)?;
        let mut change = Change::default();
        for chosen in subnets {
            let (subnet, range) = (chosen.subnet, chosen.ip_range);
            self.put_pool(RequestedPool { subnet, range, created: context.now, daemon: None });
            change.record(RecordKey::Pool(subnet));
            change.allocated = Some(subnet);
        }
        Ok(change)
    }

    pub(super) fn identify_pool(&mut self, subnet: IpNet, daemon: String) -> Result<Change, Refusal> {
        let known = self.pool(subnet).cloned().ok_or(Refusal::NoSuchPool(subnet))?;
        self.put_pool(RequestedPool { daemon: Some(daemon), ..known });
        let mut change = Change::default();
        change.record(RecordKey::Pool(subnet));
        Ok(change)
    }

    /// Removes a pool, and all of its addresses.
    pub(super) fn release_pool(&mut self, subnet: IpNet) -> Result<Change, Refusal> {
        self.pool(subnet).ok_or(Refusal::NoSuchPool(subnet))?;
        let mut change = Change::default();
        let addresses: Vec<_> = self.addresses_of_pool(subnet).map(|it| it.address).collect();
        for address in addresses {
            self.drop_pool_address(subnet, address);
            change.record(RecordKey::PoolAddress(subnet, address));
        }
        self.drop_pool(subnet);
        change.record(RecordKey::Pool(subnet));
        Ok(change)
    }

    /// Allocates an address: the asked one, or the first free one; as a gateway that of the whole subnet.
    pub(super) fn request_address(
        &mut self,
        subnet: IpNet,
        asked: Option<IpAddr>,
        gateway: bool,
        now: i64,
    ) -> Result<Change, Refusal> {
        let pool = self.pool(subnet).ok_or(Refusal::NoSuchPool(subnet))?;
        let taken = self.index.pool_addresses.get(&subnet).cloned().unwrap_or_default();
        let whole = IpRange::Part(subnet);
        let range = if gateway { whole } else { pool.range.unwrap_or(whole) };
        let address = match asked {
            Some(address) => {
                ipam::check_address("address", address, subnet)?;
                if taken.contains(address) {
                    let (network, holder) =
                        (subnet.to_string(), "another container or the gateway".to_owned());
                    return Err(Refusal::AddressInUse { address, network, holder });
                }
                address
            }
            None => taken
                .first_free(range, subnet)
                .ok_or_else(|| IpamError::Full { network: subnet.to_string(), range })?,
        };
        self.put_pool_address(PoolAddress { pool: subnet, address, created: now, gateway });
        let mut change = Change::default();
        change.record(RecordKey::PoolAddress(subnet, address));
        change.allocated = IpNet::new(address, subnet.prefix_len()).ok();
        Ok(change)
    }

    pub(super) fn release_address(&mut self, subnet: IpNet, address: IpAddr) -> Result<Change, Refusal> {
        if !self.pool_addresses.contains_key(&(subnet, address)) {
            return Err(Refusal::NoSuchPool(subnet));
        }
        self.drop_pool_address(subnet, address);
        let mut change = Change::default();
        change.record(RecordKey::PoolAddress(subnet, address));
        Ok(change)
    }
}

#[cfg(test)]
mod tests;
