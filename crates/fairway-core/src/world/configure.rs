//! Application of settings and host facts, and the predefined networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Change, Context, RecordKey, Refusal, World};
use fairway_model::Owner;
use fairway_model::{BridgeOptions, Driver, HostFacts, Network, NetworkId, Settings};

pub(super) fn predefined(id: NetworkId, name: &str, driver: Driver, now: i64) -> Network {
    Network {
        id,
        name: name.to_owned(),
        created: now,
        driver,
        predefined: true,
        transient: false,
        bridge: String::new(),
        enable_ipv4: true,
        enable_ipv6: false,
        subnets: Vec::new(),
        internal: false,
        masquerade: None,
        icc: None,
        mtu: None,
        host_binding: None,
        adopted: None,
        bridge_options: BridgeOptions::default(),
        peers: Vec::new(),
        name_options: Default::default(),
        routes: Default::default(),
        alias_answer: Default::default(),
        uplink: None,
        addresses_in_use: BTreeMap::new(),
        macvlan: None,
        ipam_options: BTreeMap::new(),
        configuration: None,
        config_from: None,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

impl World {
    pub(super) fn configure(
        &mut self,
        settings: Settings,
        host: HostFacts,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let bridge = self.default_network(&settings, &host, context)?;
        let mut change = Change::default();
        if let Some(bridge) = &bridge {
            change.warnings = self.default_bridge_warnings(bridge, &host);
        }
        self.put_default_network(bridge, &mut change);
        for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
            if !self.index.network_names.contains_key(name) {
                let network = predefined(context.rng.network_id(), name, driver, context.now);
                change.record(RecordKey::Network(network.id));
                self.put_network(network);
            }
        }
        if !settings.ip_forward
            && (self.host_state.switched_forwarding_ipv4 || self.host_state.switched_forwarding_ipv6)
        {
            self.host_state.switched_forwarding_ipv4 = false;
            self.host_state.switched_forwarding_ipv6 = false;
            self.host_state.router_advertisements.clear();
            change.record(RecordKey::Host);
        }
        self.settings = Arc::new(settings);
        self.host = Arc::new(host);
        self.index = super::index::Index::of(self);
        self.check_mtu_of_settings()?;
        self.switch_forwarding(&mut change);
        change.owners.extend(self.owners());
        Ok(change)
    }

    /// Refuses a `--mtu` with which a network could not have its IPv6.
    fn check_mtu_of_settings(&self) -> Result<(), Refusal> {
        let by_settings = |network: &&Network| {
            network.mtu.is_none() && network.uplink.is_none() && network.configuration.is_none()
        };
        self.networks().filter(by_settings).try_for_each(|network| self.check_mtu(network, None))
    }

    /// Records that an earlier daemon enabled forwarding of these families, after the loss of its state.
    pub fn record_enabled_forwarding(&mut self, ipv4: bool, ipv6: bool) {
        self.host_state.switched_forwarding_ipv4 |= ipv4;
        self.host_state.switched_forwarding_ipv6 |= ipv6;
    }

    /// Records that Fairway enables forwarding, for each family of a bridge network, unless the host forwards already or
    /// the settings forbid it.
    pub(super) fn switch_forwarding(&mut self, change: &mut Change) {
        if !self.settings.ip_forward {
            return;
        }
        let bridges =
            || self.networks().filter(|network| network.driver.has_bridge() && network.uplink.is_none());
        let (has_ipv4, has_ipv6) = (
            bridges().any(|network| network.ipv4().is_some()),
            bridges().any(|network| network.ipv6().is_some()),
        );
        let mut host_state = self.host_state.clone();
        host_state.switched_forwarding_ipv4 |= has_ipv4 && !self.host.forwarding.0;
        host_state.switched_forwarding_ipv6 |= has_ipv6 && !self.host.forwarding.1;
        if host_state.switched_forwarding_ipv6 && !self.host_state.switched_forwarding_ipv6 {
            host_state.router_advertisements = self.host.router_advertisements.clone();
        }
        if host_state != self.host_state {
            self.host_state = host_state;
            change.record(RecordKey::Host).owner(Owner::Host);
        }
    }
}

#[cfg(test)]
mod tests;
