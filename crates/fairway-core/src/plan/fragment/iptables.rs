//! What follows for the firewall where iptables is the backend: chains and rules in place of elements.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Maker;
use super::routed::open_to;
use crate::object::RulesetSwitches;
use crate::object::iptables::Rules;
use crate::object::{Key, Object};
use crate::policy::iptables::{self, DirectAccess};
use fairway_model::{Backend, Driver, Network, Protocol};

impl Maker<'_> {
    fn has_rules(&self, ipv4: bool) -> bool {
        self.world.settings().firewall_backend(ipv4) == Some(Backend::Iptables)
    }

    fn rules(&mut self, rules: impl IntoIterator<Item = Rules>) {
        for rules in rules {
            let text = rules.text();
            if self.has_rules(rules.chain.ipv4) {
                self.add(Key::Rules(rules.chain, text), Object::Rules(rules.place));
            }
        }
    }

    pub(super) fn host_rules(&mut self, switches: &RulesetSwitches) {
        for ipv4 in [true, false] {
            if self.has_rules(ipv4) {
                let host = iptables::host(ipv4, switches);
                for chain in host.chains {
                    self.add(Key::Chain(chain), Object::Chain);
                }
                self.rules(host.rules);
            }
        }
    }

    pub(super) fn network_rules(&mut self, network: &Network) {
        let switches = self.switches();
        for ipv4 in [true, false] {
            if self.has_rules(ipv4) {
                let subnet = if ipv4 { network.ipv4() } else { network.ipv6() };
                let peers = open_to(network).into_iter().filter(|peer| peer.addr().is_ipv4() == ipv4);
                let peers: Vec<IpNet> = peers.collect();
                self.rules(iptables::network(
                    ipv4,
                    &iptables::NetworkRules {
                        bridge: &network.bridge,
                        subnet: subnet.map(|subnet| subnet.subnet),
                        icc: self.world.icc(network),
                        internal: network.internal,
                        isolation: self.world.isolation(network),
                        masquerade: self.world.is_masqueraded(network, ipv4),
                        source: self.world.outbound_source(network, ipv4),
                        entry: DirectAccess {
                            unprotected: self.world.is_unprotected(network, ipv4),
                            routed: self.world.is_routed(network, ipv4),
                            peers: (network.driver == Driver::Routed).then_some(&peers[..]),
                            trusted: &network.bridge_options.trusted_interfaces,
                        },
                        switches: &switches,
                    },
                ));
            }
        }
    }

    pub(super) fn direct_rules(&mut self, to: IpAddr, protocol: Protocol, port: u16) {
        self.rules([iptables::direct(to, protocol, port)]);
    }

    pub(super) fn hairpin_rules(&mut self, target: IpAddr) {
        if !self.world.settings().userland_proxy {
            self.rules([iptables::hairpin(target)]);
        }
    }

    pub(super) fn published_rules(&mut self, protocol: Protocol, at: SocketAddr, to: SocketAddr) {
        self.rules([iptables::published(protocol, at, to)]);
    }

    pub(super) fn link_rules(
        &mut self,
        network: &Network,
        from: IpAddr,
        to: IpAddr,
        protocol: Protocol,
        port: u16,
    ) {
        self.rules(iptables::link(&network.bridge, from, to, protocol, port));
    }
}
