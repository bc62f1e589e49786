//! What follows from networks that are on a LAN of the host.

use std::net::IpAddr;

use super::Maker;
use crate::object::ElementKey;
use crate::object::{BridgeLink, ElementValue, Key, Object, UplinkPort};
use fairway_model::{Allocation, Network, Uplink};

impl Maker<'_> {
    /// The bridge of a LAN, and the interface that it takes over. To the firewall of the host it is what the
    /// interface was: a LAN, and none of the networks that are kept apart.
    pub(super) fn lan(&mut self, network: &Network, uplink: &Uplink) {
        let bridge = BridgeLink {
            name: network.bridge.clone(),
            network: network.id,
            mac: uplink.mac,
            mtu: uplink.mtu,
            addresses: Vec::new(),
            route_localnet: false,
            ipv6: true,
            parent: Some(uplink.parent.clone()),
            adopted: false,
        };
        let port = UplinkPort { bridge: bridge.name.clone(), network: network.id, taken: uplink.clone() };
        self.add(Key::Uplink(uplink.parent.clone()), Object::Uplink(port));
        self.add(Key::Bridge(bridge.name.clone()), Object::Bridge(bridge));
        // Neither the host nor the router can be played by a sandbox.
        self.member(ElementKey::assigned_mac(uplink.mac));
        for subnet in &network.subnets {
            let reserved = subnet.auxiliary.values().chain([&subnet.gateway]);
            for address in reserved.filter(|address| subnet.subnet.contains(*address)) {
                self.member(ElementKey::assigned_ip(*address));
            }
            if let IpAddr::V4(router) = subnet.gateway {
                self.member(ElementKey::lan_router(router));
            }
        }
    }

    /// A sandbox on a LAN speaks for itself alone, hears only what is asked of it, and does not flood the others.
    pub(super) fn lan_port(&mut self, network: &Network, given: &Allocation) {
        let port = &given.host_interface;
        self.member(ElementKey::lan_port(port));
        let limit = network.bridge_options.storm_limit;
        if limit > 0 {
            self.element(ElementKey::storm_limit(port), ElementValue::Over(limit), "");
        }
    }
}
