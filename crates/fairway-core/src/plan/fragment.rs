//! What follows from a World for one owner.

mod gateway;
mod guard;
mod iptables;
mod lan;
mod routed;
mod routes;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::file;
use crate::names::{Convention, NameRecord, NameView, Upstreams};
use crate::object::{
    BridgeLink, ElementValue, FileName, Fragment, Key, Object, PortSocket, SetElement, SocketUse, VethLink,
};
use crate::object::{ElementKey, RulesetSwitches, SetName, TokenBucket, TrafficLimit};
use crate::world::World;
use fairway_model::Owner;
use fairway_model::{
    AliasAnswer, Allocation, Backend, Driver, Endpoint, EndpointId, MacAddress, NameServer, Network,
    NetworkId, NetworkMode, Publication, RateLimit, Sandbox, SandboxId, SandboxKind, Subnet,
};
use fairway_ruleset::Family;

/// The most name servers that the relay gets, of which it queries three.
const NAME_SERVERS: usize = 64;
const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";
const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";

impl World {
    /// Every owner that may have a fragment.
    pub fn owners(&self) -> Vec<Owner> {
        let mut owners = vec![Owner::Host];
        owners.extend(self.networks().map(|network| Owner::Network(network.id)));
        for sandbox in self.sandboxes() {
            let id = sandbox.id;
            owners.extend([Owner::Sandbox(id), Owner::Publications(id), Owner::Links(id)]);
        }
        owners.extend(self.endpoints().map(|endpoint| Owner::Endpoint(endpoint.id)));
        owners
    }
}

/// The objects of one owner; none when it is gone or does not run.
pub fn fragment(world: &World, owner: Owner) -> Fragment {
    let mut maker = Maker { world, objects: Fragment::new() };
    // An owner that is gone has no objects: that is how things are removed.
    let _gone = match owner {
        Owner::Host => maker.host(),
        Owner::Network(id) => maker.network(id),
        Owner::Sandbox(id) => maker.sandbox(id),
        Owner::Endpoint(id) => maker.endpoint(id),
        Owner::Publications(id) => maker.publications(id),
        Owner::Links(id) => maker.links(id),
    };
    maker.objects
}

/// The hardware address of a bridge: explicit, for the kernel would change it when ports join, and
/// the same whenever the bridge is made anew.
fn bridge_mac(network: &Network) -> MacAddress {
    let [a, b, c, d, e, f, ..] = *network.id.bytes();
    MacAddress::from_random([a, b, c, d, e, f])
}

/// The fragment in the making. Functions return none as soon as they find that there is nothing
/// (more) to say.
pub(super) struct Maker<'a> {
    pub(super) world: &'a World,
    objects: Fragment,
}

impl Maker<'_> {
    pub(super) fn add(&mut self, key: Key, object: Object) {
        self.objects.insert(key, object);
    }

    /// Whether there is a table to put elements of a set into, and anything of the set's family is to be
    /// filtered or translated.
    fn has_set(&self, set: SetName) -> bool {
        let settings = self.world.settings();
        let table = set.family() == Family::Bridge || settings.backend == Backend::Nftables;
        let family = match set.of_ipv4() {
            Some(ipv4) => settings.firewall_backend(ipv4).is_some(),
            None => settings.has_firewall(),
        };
        table && family
    }

    fn element(&mut self, key: ElementKey, value: ElementValue, comment: &str) {
        if self.has_set(key.set) {
            let element = SetElement { value, comment: comment.to_owned() };
            self.add(Key::Element(key.set, key.bytes), Object::Element(element));
        }
    }

    fn member(&mut self, key: ElementKey) {
        self.element(key, ElementValue::None, "");
    }

    /// What the fixed part of the firewall follows from.
    fn switches(&self) -> RulesetSwitches {
        let (settings, host, host_state) =
            (self.world.settings(), self.world.host(), self.world.host_state());
        RulesetSwitches {
            userland_proxy: settings.userland_proxy,
            bridge_netfilter_ipv4: host.bridge_netfilter_ipv4,
            bridge_netfilter_ipv6: host.bridge_netfilter_ipv6,
            drop_unrelated_forward_ipv4: host_state.switched_forwarding_ipv4 && !settings.ip_forward_no_drop,
            drop_unrelated_forward_ipv6: host_state.switched_forwarding_ipv6 && !settings.ip_forward_no_drop,
            allow_direct_routing: settings.allow_direct_routing,
            accept_mark: settings.accept_mark,
            ipv4_disabled: !settings.iptables,
            ipv6_disabled: !settings.ip6tables,
            bridge_table_only: settings.backend == Backend::Iptables,
            relay_user: settings.relay_user,
        }
    }

    fn host(&mut self) -> Option<()> {
        let (settings, host, host_state) =
            (self.world.settings(), self.world.host(), self.world.host_state());
        if host_state.switched_forwarding_ipv4 {
            self.add(Key::Sysctl(IPV4_FORWARDING.to_owned()), Object::Sysctl("1".to_owned()));
        }
        if host_state.switched_forwarding_ipv6 {
            self.add(Key::Sysctl(IPV6_FORWARDING.to_owned()), Object::Sysctl("1".to_owned()));
        }
        let servers = host.nameservers.iter().take(NAME_SERVERS).copied().collect();
        self.add(Key::HostServers, Object::HostServers(servers));
        if settings.has_firewall() {
            let switches = self.switches();
            self.add(Key::Ruleset, Object::Ruleset(switches));
            self.host_rules(&switches);
        }
        Some(())
    }

    fn network(&mut self, id: NetworkId) -> Option<()> {
        let network = self.world.network(id)?;
        match network.driver {
            Driver::Bridge | Driver::Routed | Driver::Lan => {}
            Driver::Macvlan => return self.dummy_parent(network),
            Driver::Ptp => return self.pair(network),
            Driver::Host | Driver::Null => return None,
        }
        if let Some(uplink) = &network.uplink {
            self.lan(network, uplink);
            return Some(());
        }
        let settings = self.world.settings();
        let addresses = network.subnets.iter();
        let has_address = |s: &&Subnet| self.world.bridge_has_address(network, s.subnet.addr().is_ipv4());
        let addresses =
            addresses.filter(has_address).filter_map(|s| IpNet::new(s.gateway, s.subnet.prefix_len()).ok());
        let own = network.adopted.as_deref().unwrap_or_default();
        let addresses = addresses.filter(|address| !own.contains(address));
        let bridge = BridgeLink {
            name: network.bridge.clone(),
            network: id,
            mac: bridge_mac(network),
            mtu: self.world.mtu(network),
            addresses: addresses.collect(),
            route_localnet: settings.iptables
                && (!settings.userland_proxy || network.transient || self.world.has_held_ports(id))
                && network.enable_ipv4
                && network.bridge_options.route_localnet,
            ipv6: self.world.bridge_has_ipv6(network),
            parent: None,
            adopted: network.adopted.is_some(),
        };
        self.member(ElementKey::bridge(&bridge.name));
        self.member(ElementKey::same_network(&bridge.name));
        if !self.world.icc(network) {
            self.member(ElementKey::icc_off(&bridge.name));
        }
        if network.internal {
            self.member(ElementKey::internal_bridge(&bridge.name));
        }
        self.isolation(network);
        if !bridge.adopted {
            self.member(ElementKey::assigned_mac(bridge.mac));
            if bridge.ipv6 {
                self.member(ElementKey::assigned_ip(bridge.mac.link_local().into()));
            }
        }
        for subnet in network.subnets.iter().filter(|subnet| network.reserves_gateway(subnet)) {
            self.member(ElementKey::assigned_ip(subnet.gateway));
        }
        self.peers(network);
        self.network_rules(network);
        self.gateway_rules(network);
        self.add(Key::Bridge(bridge.name.clone()), Object::Bridge(bridge));
        Some(())
    }

    fn sandbox(&mut self, id: SandboxId) -> Option<()> {
        let sandbox = self.world.sandbox(id).filter(|sandbox| sandbox.running())?;
        if !matches!(sandbox.mode, NetworkMode::Private | NetworkMode::None) {
            return None;
        }
        if sandbox.kind == SandboxKind::Docker {
            self.own_on_other_ports(id);
            return Some(());
        }
        self.files(sandbox);
        let namespace = sandbox.namespace()?;
        let resolver = sandbox.resolver.then_some(sandbox.options.resolver_addresses);
        self.add(Key::Netns(id), Object::Netns(namespace.clone(), resolver));
        self.sandbox_routes(id, namespace);
        self.own_on_other_ports(id);
        if sandbox.resolver {
            self.add(Key::View(id), Object::View(self.view(sandbox)));
        }
        Some(())
    }

    fn files(&mut self, sandbox: &Sandbox) {
        let files = [
            (FileName::ResolvConf, file::resolv_conf(self.world, sandbox)),
            (FileName::Hosts, file::hosts(self.world, sandbox)),
            (FileName::Hostname, file::hostname(sandbox)),
        ];
        for (name, contents) in files {
            self.add(Key::File(sandbox.id, name), Object::File(contents));
        }
    }

    fn view(&self, sandbox: &Sandbox) -> NameView {
        let endpoints = self.world.endpoints_of_sandbox(sandbox.id);
        let mut view = NameView {
            sandbox: sandbox.id,
            networks: Vec::new(),
            links: Vec::new(),
            upstreams: Upstreams::None,
            convention: Convention::Docker,
            source: None,
        };
        let mut way_out = false;
        for endpoint in endpoints {
            let Some(network) = self.world.network(endpoint.network) else { continue };
            way_out |= !network.internal;
            if network.resolves_names() {
                view.networks.push(network.id);
                let links = endpoint.request.links.iter();
                view.links.extend(links.map(|(target, alias)| (network.id, alias.clone(), target.clone())));
            }
        }
        let chosen = file::chosen_servers(self.world, sandbox);
        let servers = chosen.iter().map(|address| NameServer::from(*address));
        // A server of the host's own asks others, which a sandbox without a way out may not.
        let servers = servers.filter(|server| way_out || !server.queried_from_host());
        let servers: Vec<_> = servers.take(NAME_SERVERS).collect();
        view.upstreams = match (chosen.is_empty(), servers.is_empty()) {
            (true, _) if way_out => Upstreams::Host,
            (_, true) => Upstreams::None,
            (_, false) => Upstreams::Servers(servers),
        };
        view
    }

    fn endpoint(&mut self, id: EndpointId) -> Option<()> {
        let endpoint = self.world.endpoint(id)?;
        let network = self.world.network(endpoint.network)?;
        let sandbox = self.world.sandbox(endpoint.sandbox)?;
        let settings = self.world.settings();
        let allocation = endpoint.allocation.as_ref()?;
        let handed_over = sandbox.kind == SandboxKind::Docker;
        let namespace = if handed_over { None } else { Some(sandbox.namespace()?.clone()) };
        // The resolver of dockerd answers its containers, and no sandbox of another kind is on its networks.
        if network.resolves_names() && !handed_over {
            let record = name_record(endpoint, network, sandbox, allocation);
            self.add(Key::Names(id), Object::Names(record));
        }
        if !network.driver.has_bridge() {
            return self.macvlan(network, endpoint, sandbox);
        }
        let addresses = allocation.addresses().filter_map(|address| {
            let subnet = network.subnet_for(address)?;
            IpNet::new(address, subnet.subnet.prefix_len()).ok()
        });
        let sysctls = endpoint.options.sysctls.iter().filter(|_| !handed_over);
        let link = VethLink {
            host_interface: allocation.host_interface.clone(),
            endpoint: id,
            bridge: network.bridge.clone(),
            namespace,
            interface: allocation.interface.clone(),
            mac: allocation.mac,
            mtu: self.world.mtu(network),
            addresses: addresses.collect(),
            hairpin: network.uplink.is_none()
                && settings.has_firewall()
                && (!settings.userland_proxy || sandbox.options.ports_held_by_engine),
            sysctls: sysctls.map(|it| (it.path(&allocation.interface), it.value.clone())).collect(),
            advertising: endpoint.options.advertising(network.bridge_options.advertising),
            alternative_name: endpoint.options.host_interface.clone(),
        };
        self.limit_traffic(endpoint, &link);
        self.add(Key::Veth(link.host_interface.clone()), Object::Veth(link));
        self.guard(network, allocation);
        if network.uplink.is_some() {
            self.lan_port(network, allocation);
        }
        if !self.world.icc(network) {
            self.member(ElementKey::icc_off_port(&allocation.host_interface));
        }
        Some(())
    }

    fn limit_traffic(&mut self, endpoint: &Endpoint, link: &VethLink) {
        let bucket = |limit: Option<RateLimit>| limit.map(|limit| TokenBucket::new(limit, link.mtu));
        let limit = TrafficLimit {
            endpoint: link.endpoint,
            host_interface: link.host_interface.clone(),
            mtu: link.mtu,
            ingress: bucket(endpoint.options.ingress),
            egress: bucket(endpoint.options.egress),
        };
        if limit.ingress.is_some() || limit.egress.is_some() {
            self.add(Key::TrafficLimit(link.host_interface.clone()), Object::TrafficLimit(limit));
        }
    }

    /// What a sandbox may open on those that it links to: by the ports of the bridge, and, where the
    /// IP hooks decide, by the addresses.
    fn links(&mut self, id: SandboxId) -> Option<()> {
        let endpoint = self.world.default_endpoint(id)?;
        let network = self.world.network(endpoint.network)?;
        let own = endpoint.allocation.as_ref().filter(|_| !self.world.icc(network))?;
        let mut seen = HashSet::new();
        for link in self.world.links(id).into_iter().filter(|link| seen.insert(link.target.id)) {
            for (port, protocol) in link.ports() {
                let (from, to) = (&own.host_interface, &link.given.host_interface);
                self.member(ElementKey::linked_ports(from, to, protocol, port));
                for (from, to) in own.addresses().flat_map(|a| link.given.addresses().map(move |b| (a, b))) {
                    ElementKey::link(from, to, protocol, port).into_iter().for_each(|key| self.member(key));
                    self.link_rules(network, from, to, protocol, port);
                }
            }
        }
        Some(())
    }

    fn publications(&mut self, id: SandboxId) -> Option<()> {
        let sandbox = self.world.sandbox(id).filter(|sandbox| !sandbox.publications.is_empty())?;
        for ipv4 in [true, false] {
            let published = |p: &&Publication| p.host_address.is_ipv4() == ipv4 && !p.routed;
            let mut publications = sandbox.publications.iter().filter(published).peekable();
            let direct = self.world.publication_target(id, ipv4).map(|(_, address)| address);
            let other = self.world.publication_target(id, !ipv4).map(|(_, address)| address);
            if let (Some(target), Some(_)) = (direct, publications.peek()) {
                self.member(ElementKey::hairpin(target));
                self.hairpin_rules(target);
            }
            for publication in publications {
                self.publish(sandbox, publication, direct, other);
            }
            self.published_directly(sandbox, ipv4);
        }
        Some(())
    }

    /// One run of ports. `direct` is the target in the family of the host address, `other` the one
    /// in the other family, which only the proxy can reach.
    fn publish(
        &mut self,
        sandbox: &Sandbox,
        publication: &Publication,
        direct: Option<IpAddr>,
        other: Option<IpAddr>,
    ) {
        let proxy = self.world.is_proxied(sandbox, publication);
        let Some(target) = direct.or(other.filter(|_| proxy)) else { return };
        for (host_port, container_port) in publication.pairs() {
            let at = SocketAddr::new(publication.host_address, host_port);
            let to = SocketAddr::new(target, container_port);
            let purpose = if proxy { SocketUse::Proxy(to) } else { SocketUse::Reserve };
            let socket = PortSocket { sandbox: sandbox.id, purpose };
            if !sandbox.options.ports_held_by_engine {
                self.add(Key::Socket(publication.protocol, at), Object::Socket(socket));
            }
            if direct.is_some() {
                let key = ElementKey::published(publication.protocol, at);
                self.element(key, ElementValue::Target(to), &sandbox.name);
                if sandbox.options.ports_held_by_engine && self.world.settings().userland_proxy {
                    let key = ElementKey::engine_published(publication.protocol, at);
                    self.element(key, ElementValue::Target(to), &sandbox.name);
                }
                self.published_rules(publication.protocol, at, to);
            }
        }
    }
}

fn name_record(
    endpoint: &Endpoint,
    network: &Network,
    sandbox: &Sandbox,
    allocation: &Allocation,
) -> NameRecord {
    let own = [sandbox.name.clone(), sandbox.id.short(), sandbox.hostname()];
    let names = without_repeats(own.into_iter().chain(endpoint.request.aliases.iter().cloned()));
    NameRecord {
        endpoint: endpoint.id,
        network: network.id,
        network_name: network.name.clone(),
        domain: network.name_options.domain.clone(),
        order: endpoint.order,
        names,
        first_only: network.alias_answer == AliasAnswer::First,
        ipv4: allocation.ipv4,
        ipv6: allocation.ipv6,
    }
}

/// Names in their order, each once.
fn without_repeats(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}
