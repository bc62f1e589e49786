//! The default network `bridge`: on Fairway's bridge, on an existing bridge, or disabled.

use std::net::IpAddr;

use ipnet::IpNet;

use super::configure::predefined;
use super::{Change, Context, RecordKey, Refusal, World};
use crate::ipam;
use fairway_model::Owner;
use fairway_model::Rng;
use fairway_model::{DefaultBridge, Driver, HostFacts, Network, Settings, Subnet};

/// The name of the default network.
const DEFAULT: &str = "bridge";

/// The interface name of the default bridge; Docker's is `docker0`.
pub const DEFAULT_BRIDGE: &str = "fairway0";

/// An existing bridge of the host: its name and its addresses.
struct Adopted<'a> {
    name: &'a str,
    addresses: Vec<IpNet>,
}

impl<'a> Adopted<'a> {
    fn find(settings: &'a Settings, host: &HostFacts, world: &World) -> Result<Option<Self>, Refusal> {
        let DefaultBridge::Named(name) = &settings.bridge else { return Ok(None) };
        if name == DEFAULT_BRIDGE {
            return Ok(None);
        }
        let mut others = world.networks().filter(|network| network.name != DEFAULT);
        if let Some(holder) = others.find(|network| network.bridge == *name) {
            return Err(Refusal::BridgeTaken { name: name.clone(), holder: holder.name.clone() });
        }
        if !host.bridges.contains(name) {
            return Err(Refusal::NoSuchBridge(name.clone()));
        }
        Ok(Some(Self { name, addresses: host.addresses_of(name).collect() }))
    }

    /// The bridge's address of a family.
    fn address(&self, v6: bool) -> Result<IpNet, Refusal> {
        let own = self.addresses.iter().find(|address| address.addr().is_ipv6() == v6);
        let family = if v6 { "IPv6" } else { "IPv4" };
        own.copied().ok_or_else(|| Refusal::BridgeWithoutAddress { name: self.name.to_owned(), family })
    }
}

impl World {
    /// The default network by the settings; none if they disable it.
    pub(super) fn default_network(
        &self,
        settings: &Settings,
        host: &HostFacts,
        context: &mut Context<'_>,
    ) -> Result<Option<Network>, Refusal> {
        let existing = self.index.network_names.get(DEFAULT).and_then(|id| self.network(*id));
        if settings.bridge == DefaultBridge::Disabled {
            if let Some(network) = existing {
                self.check_no_running_endpoints(network)?;
            }
            return Ok(None);
        }
        let adopted = Adopted::find(settings, host, self)?;
        let mut subnets = vec![self.default_subnet(settings, adopted.as_ref(), host, false, context.rng)?];
        if settings.ipv6 {
            subnets.push(self.default_subnet(settings, adopted.as_ref(), host, true, context.rng)?);
        }
        let mut network = match existing {
            Some(network) => {
                self.check_running_fit(network, &subnets)?;
                Network::clone(network)
            }
            None => predefined(context.rng.network_id(), DEFAULT, Driver::Bridge, context.now),
        };
        network.subnets = subnets;
        network.enable_ipv6 = settings.ipv6;
        network.bridge = adopted.as_ref().map_or(DEFAULT_BRIDGE, |adopted| adopted.name).to_owned();
        network.adopted = adopted.map(|adopted| adopted.addresses);
        Ok(Some(network))
    }

    /// The subnet of the default network of one family: the present one, unless the settings specify another.
    fn default_subnet(
        &self,
        settings: &Settings,
        adopted: Option<&Adopted<'_>>,
        host: &HostFacts,
        v6: bool,
        rng: &mut Rng,
    ) -> Result<Subnet, Refusal> {
        let bridge = self.index.network_names.get(DEFAULT).and_then(|id| self.network(*id));
        let mut taken = self.taken_subnets(None);
        taken.retain(|(_, holder)| holder != DEFAULT);
        let mut settings = settings.clone();
        if let Some(adopted) = adopted {
            set_address(&mut settings, adopted.address(v6)?);
            return Ok(ipam::default_bridge_subnet(&settings, host, &taken, v6, rng)?);
        }
        let (named, range) = match v6 {
            true => (settings.bridge_address_ipv6.is_some(), settings.fixed_cidr_ipv6.map(IpNet::V6)),
            false => (settings.bridge_address.is_some(), settings.fixed_cidr.map(IpNet::V4)),
        };
        let old = bridge.and_then(|bridge| if v6 { bridge.ipv6() } else { bridge.ipv4() });
        let in_use = bridge.is_some_and(|bridge| self.running_on(bridge).next().is_some());
        let lost_host_address = |subnet: &Subnet| ipam::lost_host_address(subnet, host, DEFAULT_BRIDGE);
        let fits = |old: &&Subnet| {
            let free = in_use || lost_host_address(old).is_none();
            !named && !old.chosen && range.is_none_or(|it| old.subnet.contains(&it)) && free
        };
        let kept = old.filter(fits).and_then(|old| IpNet::new(old.gateway, old.subnet.prefix_len()).ok());
        let Some(address) = kept else {
            let subnet = ipam::default_bridge_subnet(&settings, host, &taken, v6, rng)?;
            // The present subnet was accepted before, and running sandboxes may be on it.
            let is_new = old.is_none_or(|old| old.subnet != subnet.subnet || old.gateway != subnet.gateway);
            return match lost_host_address(&subnet).filter(|_| is_new) {
                Some(taken) => Err(ipam::flag_error(&subnet, v6, &taken).into()),
                None => Ok(subnet),
            };
        };
        set_address(&mut settings, address);
        let mut subnet = ipam::default_bridge_subnet(&settings, host, &taken, v6, rng)?;
        (subnet.chosen, subnet.gateway_chosen) = (false, old.is_some_and(|old| old.gateway_chosen));
        Ok(subnet)
    }

    /// Warnings about subnets of the default bridge that overlap new addresses or routes of the host.
    pub(super) fn default_bridge_warnings(&self, bridge: &Network, host: &HostFacts) -> Vec<String> {
        if bridge.adopted.is_some() {
            return Vec::new();
        }
        let overlaps = |host: &HostFacts| -> Vec<String> {
            let of = |subnet| ipam::host_overlap_warnings(&bridge.name, subnet, host, &bridge.bridge);
            bridge.subnets.iter().flat_map(of).collect()
        };
        let known = overlaps(&self.host);
        let old = self.index.network_names.get(DEFAULT).and_then(|id| self.network(*id));
        let left = old.iter().flat_map(|old| &old.subnets).filter(|old| !bridge.subnets.contains(old));
        let moved = left.filter_map(|old| {
            let taken = ipam::lost_host_address(old, host, &bridge.bridge)?;
            Some(format!("the default bridge leaves subnet {}: {taken}", old.subnet))
        });
        moved.chain(overlaps(host).into_iter().filter(|warning| !known.contains(warning))).collect()
    }

    fn running_on(&self, network: &Network) -> impl Iterator<Item = (String, IpAddr)> {
        self.endpoints_of_network(network.id).flat_map(|endpoint| {
            let sandbox = self.sandbox(endpoint.sandbox);
            let name = sandbox.map(|sandbox| sandbox.name.clone()).unwrap_or_default();
            let allocation = endpoint.allocation.iter();
            allocation.flat_map(|it| it.addresses()).map(move |address| (name.clone(), address))
        })
    }

    fn check_no_running_endpoints(&self, network: &Network) -> Result<(), Refusal> {
        match self.running_on(network).next() {
            Some((sandbox, _)) => Err(Refusal::DefaultBridgeInUse(sandbox)),
            None => Ok(()),
        }
    }

    /// Refuses subnets of the default bridge that do not contain the addresses of running sandboxes.
    fn check_running_fit(&self, network: &Network, subnets: &[Subnet]) -> Result<(), Refusal> {
        for (sandbox, address) in self.running_on(network) {
            let same = |subnet: &&Subnet| subnet.subnet.addr().is_ipv6() == address.is_ipv6();
            let subnet = subnets.iter().find(same);
            if subnet.is_some_and(|it| it.subnet.contains(&address) && it.gateway != address) {
                continue;
            }
            return Err(match subnet {
                Some(Subnet { subnet, gateway, .. }) => Refusal::BridgeAddressInUse {
                    flag: if address.is_ipv6() { "bip6" } else { "bip" },
                    wanted: format!("{gateway}/{}", subnet.prefix_len()),
                    sandbox,
                    address,
                },
                None => Refusal::Ipv6InUse { sandbox, address },
            });
        }
        Ok(())
    }

    /// Replaces the default network. If it is disabled, stopped sandboxes are disconnected from it.
    pub(super) fn put_default_network(&mut self, network: Option<Network>, change: &mut Change) {
        let existing = self.index.network_names.get(DEFAULT).copied();
        if let Some(network) = network {
            if existing.is_none_or(|id| self.network(id) != Some(&network)) {
                change.record(RecordKey::Network(network.id));
            }
            self.put_network(network);
            return;
        }
        let Some(id) = existing else { return };
        let left: Vec<_> = self.endpoints_of_network(id).map(|it| (it.id, it.sandbox)).collect();
        for (endpoint, sandbox) in left {
            self.drop_endpoint(endpoint);
            change.record(RecordKey::Endpoint(endpoint)).owner(Owner::Endpoint(endpoint));
            change.owner(Owner::Sandbox(sandbox)).owner(Owner::Publications(sandbox));
        }
        self.drop_network(id);
        change.record(RecordKey::Network(id)).owner(Owner::Network(id));
    }

    /// Whether there is a default network.
    pub(super) fn has_default_network(&self) -> bool {
        self.index.network_names.contains_key(DEFAULT)
    }
}

/// Sets the bridge address flag of the address's family.
fn set_address(settings: &mut Settings, address: IpNet) {
    match address {
        IpNet::V4(address) => settings.bridge_address = Some(address),
        IpNet::V6(address) => settings.bridge_address_ipv6 = Some(address),
    }
}

#[cfg(test)]
mod tests;
