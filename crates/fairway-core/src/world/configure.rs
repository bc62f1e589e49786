//! Settings and host facts, and the networks that exist from the start.

use std::collections::BTreeMap;

use super::{Change, RecordKey, Refusal, World};
use crate::Draw;
use crate::ipam;
use crate::model::{BridgeOptions, Driver, HostFacts, Network, NetworkId, Settings, Subnet};
use crate::plan::Owner;

/// The interface name of the default bridge; Docker's is `docker0`.
const DEFAULT_BRIDGE: &str = "fairway0";

fn predefined(id: NetworkId, name: &str, driver: Driver, now: i64) -> Network {
    Network {
        id,
        name: name.to_owned(),
        created: now,
        driver,
        predefined: true,
        bridge: String::new(),
        enable_ipv4: true,
        enable_ipv6: false,
        subnets: Vec::new(),
        internal: false,
        masquerade: None,
        icc: None,
        mtu: None,
        host_binding: None,
        bridge_options: BridgeOptions::default(),
        peers: Vec::new(),
        uplink: None,
        held: BTreeMap::new(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

impl World {
    /// The subnet of the default bridge: the one that it has, unless the settings name another.
    fn default_subnet(
        &self,
        settings: &Settings,
        host: &HostFacts,
        draw: &mut Draw,
    ) -> Result<Subnet, Refusal> {
        let bridge = self.index.network_names.get("bridge").and_then(|id| self.networks.get(id));
        let mut taken = self.taken_subnets();
        taken.retain(|(_, holder)| holder != "bridge");
        let mut settings = settings.clone();
        if let (None, Some(old)) = (settings.bridge_address, bridge.and_then(|bridge| bridge.ipv4())) {
            let automatic = !old.chosen;
            if let (true, ipnet::IpNet::V4(subnet), std::net::IpAddr::V4(gateway)) =
                (automatic, old.subnet, old.gateway)
            {
                settings.bridge_address = ipnet::Ipv4Net::new(gateway, subnet.prefix_len()).ok();
                let mut subnet = ipam::default_bridge(&settings, host, &taken, draw)?;
                subnet.chosen = false;
                subnet.gateway_chosen = old.gateway_chosen;
                return Ok(subnet);
            }
        }
        Ok(ipam::default_bridge(&settings, host, &taken, draw)?)
    }

    /// Refuses a subnet for the default bridge that sandboxes which run now are not in.
    fn check_running_fit(&self, id: NetworkId, subnet: &Subnet) -> Result<(), Refusal> {
        for endpoint in self.endpoints_of_network(id) {
            let addresses = endpoint.allocation.iter().flat_map(|allocation| allocation.addresses());
            for address in addresses.filter(|address| address.is_ipv4()) {
                if !subnet.subnet.contains(&address) || subnet.gateway == address {
                    let sandbox = self.sandboxes.get(&endpoint.sandbox);
                    return Err(Refusal::BridgeAddressInUse {
                        wanted: format!("{}/{}", subnet.gateway, subnet.subnet.prefix_len()),
                        sandbox: sandbox.map(|sandbox| sandbox.name.clone()).unwrap_or_default(),
                        address,
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn configure(
        &mut self,
        settings: Settings,
        host: HostFacts,
        now: i64,
        draw: &mut Draw,
    ) -> Result<Change, Refusal> {
        let subnet = self.default_subnet(&settings, &host, draw)?;
        let mut change = Change::default();
        let existing = self.index.network_names.get("bridge").copied();
        let mut bridge = match existing.and_then(|id| self.networks.get(&id)) {
            Some(bridge) => {
                self.check_running_fit(bridge.id, &subnet)?;
                bridge.clone()
            }
            None => predefined(draw.network_id(), "bridge", Driver::Bridge, now),
        };
        bridge.bridge = DEFAULT_BRIDGE.to_owned();
        bridge.subnets = vec![subnet];
        if existing.is_none_or(|id| self.networks.get(&id) != Some(&bridge)) {
            change.record(RecordKey::Network(bridge.id));
        }
        self.put_network(bridge);
        for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
            if !self.index.network_names.contains_key(name) {
                let network = predefined(draw.network_id(), name, driver, now);
                change.record(RecordKey::Network(network.id));
                self.put_network(network);
            }
        }
        if !settings.ip_forward
            && (self.journal.switched_forwarding_ipv4 || self.journal.switched_forwarding_ipv6)
        {
            self.journal.switched_forwarding_ipv4 = false;
            self.journal.switched_forwarding_ipv6 = false;
            change.record(RecordKey::Journal);
        }
        self.settings = settings;
        self.host = host;
        self.index = super::index::Index::of(self);
        self.switch_forwarding(&mut change);
        change.owners.extend(self.owners());
        Ok(change)
    }

    /// Records that forwarding is to be switched on, for each family that has a network, unless it
    /// was on already or is not wanted.
    pub(super) fn switch_forwarding(&mut self, change: &mut Change) {
        if !self.settings.ip_forward {
            return;
        }
        let bridges = || {
            self.networks.values().filter(|network| network.driver.has_bridge() && network.uplink.is_none())
        };
        let (has_ipv4, has_ipv6) = (
            bridges().any(|network| network.ipv4().is_some()),
            bridges().any(|network| network.ipv6().is_some()),
        );
        let mut journal = self.journal.clone();
        journal.switched_forwarding_ipv4 |= has_ipv4 && !self.host.forwarding.0;
        journal.switched_forwarding_ipv6 |= has_ipv6 && !self.host.forwarding.1;
        if journal != self.journal {
            self.journal = journal;
            change.record(RecordKey::Journal).owner(Owner::Host);
        }
    }
}
