//! Suggests what to change on a host of several engines, in the words of the engine or the firewall that decides.

mod engine;
mod rule_owner;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use engine::{EngineWords, KnownContainer, KnownNetwork, KnownPort};
use rule_owner::{RuleOwner, owner_of};

use super::ends::Peer;
use super::query::Query;
use super::refusing_route::{delete_route, refusing_route};
use fairway_model::Protocol;
use fairway_model::shell::{quote, set_sysctl};
use fairway_ruleset::Hook;
use fairway_walk::{
    ConnectionWalk, DiscardReason, End, Listener, NamespaceId, Outcome, PacketWalk, RuleHit, Step, Topology,
    Tuple, echo_sysctl, forwarding_sysctl,
};

/// A walk that ends without an answer, and what is known around it.
struct Case<'a> {
    containers: &'a [KnownContainer],
    topology: &'a Topology,
    query: &'a Query,
    walk: &'a PacketWalk,
}

/// The change that lets a connection succeed; none if it succeeds already, or if no remedy is known. `waiting` are the
/// sockets of the namespace where no socket listened.
pub fn engine_advice(
    containers: &[KnownContainer],
    topology: &Topology,
    query: &Query,
    connection: &ConnectionWalk,
    waiting: &[Listener],
) -> Option<String> {
    if matches!(connection.outcome(), Outcome::Answered(_) | Outcome::LeavesHost) {
        return None;
    }
    let walk = connection.last_walk();
    let case = Case { containers, topology, query, walk };
    match &walk.end {
        End::Dropped { namespace, by } | End::Rejected { namespace, by, .. } => case.dropped(*namespace, by),
        End::NoListener { namespace: NamespaceId::HOST, tuple } => {
            Some(case.no_listener_on_host(tuple, waiting))
        }
        End::NoListener { namespace, tuple } => {
            let name = topology.name(*namespace);
            Some(super::advice::no_listener_in_sandbox(name, tuple, waiting))
        }
        End::Discarded { namespace, reason } => case.discarded(*namespace, reason),
        End::NoRoute { by: Some(_), .. } => case.without_route(),
        End::NoRoute { namespace, destination, by: None } => Some(case.no_route(*namespace, *destination)),
        End::NoNeighbor { next, silence: None, .. } => case.no_neighbor(*next),
        _ => None,
    }
}

impl Case<'_> {
    /// The container at an end of the query.
    fn container(&self, peer: &Peer) -> Option<&KnownContainer> {
        let place = match peer {
            Peer::Namespace(place) => *place,
            Peer::Address(address) => {
                self.topology.iter().skip(1).find(|(_, it)| it.holder(*address).is_some())?.0
            }
            _ => return None,
        };
        let mut inside = self.containers.iter().filter(|it| it.namespace == Some(place));
        inside.by_ref().next()
    }

    /// The container that a rule keeps from sending or receiving: of the original query, or of what it was led to.
    fn receiver(&self) -> Option<&KnownContainer> {
        let destination = self.walk.steps.iter().rev().find_map(|step| match step {
            Step::Arrives { tuple, .. } | Step::Leaves { tuple, .. } | Step::Made { tuple, .. } => {
                Some(tuple.destination)
            }
            Step::Translated { to, .. } => Some(to.destination),
            _ => None,
        });
        self.container(&self.query.to).or_else(|| self.container(&Peer::Address(destination?)))
    }

    fn dropped(&self, namespace: NamespaceId, by: &RuleHit) -> Option<String> {
        let hook = self.walk.steps.iter().rev().find_map(|step| match step {
            Step::Chain { hook, hits, .. } if !hits.is_empty() => Some(*hook),
            _ => None,
        });
        let forwarded = hook == Some(Hook::Forward);
        let tuple = self.tuple()?;
        if namespace != NamespaceId::HOST {
            let at = self.topology.name(namespace);
            return Some(format!("that is a rule in {at} itself: {}", delete(by)));
        }
        match owner_of(by) {
            RuleOwner::Fairway => Some(format!("Fairway opens only published ports: {}", self.let_in(tuple)?)),
            RuleOwner::Docker => Some(format!("Docker keeps its networks apart, and opens only published ports: {}", self.let_in(tuple)?)),
            RuleOwner::Netavark => Some(format!("podman keeps isolated networks apart: {}", self.let_in(tuple)?)),
            RuleOwner::Cni => Some(format!("CNI's firewall keeps networks apart: {}", self.let_in(tuple)?)),
            RuleOwner::Ufw if forwarded => Some(format!("ufw drops what is forwarded: ufw route allow {}", ufw(tuple))),
            RuleOwner::Ufw => Some(format!("ufw drops what comes to the host: ufw allow {}", ufw(tuple))),
            RuleOwner::Firewalld => Some(self.firewalld(tuple, forwarded)),
            RuleOwner::Kubernetes => Some("kube-proxy or a network policy of Kubernetes drops it: kubectl get networkpolicy --all-namespaces".to_owned()),
            RuleOwner::ForwardPolicy => Some(self.forward_policy(by, tuple)),
            RuleOwner::Other => Some(format!("that is a rule of this host's firewall: {}", delete(by))),
        }
    }

    /// The packet as it was last seen.
    fn tuple(&self) -> Option<&Tuple> {
        self.walk.steps.iter().rev().find_map(|step| match step {
            Step::Arrives { tuple, .. } | Step::Leaves { tuple, .. } | Step::Made { tuple, .. } => {
                Some(tuple)
            }
            Step::Translated { to, .. } => Some(to),
            _ => None,
        })
    }

    /// What an engine offers, so that a packet may enter a network of its own.
    fn let_in(&self, tuple: &Tuple) -> Option<String> {
        let (from, to) = (self.container(&self.query.from), self.receiver());
        let Some(to) = to else {
            let from = from?;
            let network = "NETWORK";
            let connect = from.engine.connect(network, &from.name)?;
            return Some(format!(
                "all networks of {} are internal: {connect}, with one that leads out",
                from.name
            ));
        };
        let mut ways = Vec::new();
        if let Some(from) = from {
            let shared = from.networks.iter().find(|it| to.is_on(&it.name) && from.engine == to.engine);
            if let Some(shared) = shared {
                let both = |network: &str| {
                    Some(format!(
                        "{} && {}",
                        from.engine.connect(network, &from.name)?,
                        to.engine.connect(network, &to.name)?
                    ))
                };
                ways.extend(both("NETWORK").map(|both| {
                    format!(
                        "the containers of {} are kept from one another: put both on another network: {both}",
                        shared.name
                    )
                }));
            } else if from.engine == to.engine {
                let network = to.networks.first()?;
                ways.extend(from.engine.connect(&network.name, &from.name));
            }
        }
        ways.push(self.published(to, tuple));
        Some(ways.join("; or "))
    }

    /// Where a port of a container is published, or how to publish it.
    fn published(&self, to: &KnownContainer, tuple: &Tuple) -> String {
        if !tuple.has_ports() {
            return "only published ports are reached from elsewhere, and an echo request has none"
                .to_owned();
        }
        match to.published_at(tuple.protocol, tuple.destination_port) {
            Some(at) if at.ip().is_unspecified() => {
                format!(
                    "its port {} is published: ask the host's address, port {}",
                    tuple.destination_port,
                    at.port()
                )
            }
            Some(at) if at.ip().is_loopback() => format!(
                "its port {} is published at {at} alone, which only the host itself reaches",
                tuple.destination_port
            ),
            Some(at) => format!("its port {} is published: ask {at}", tuple.destination_port),
            None => to.engine.publish(&to.name, tuple.destination_port, protocol(tuple)),
        }
    }

    /// The advice for a packet that no rule accepts, where the policy of FORWARD is to drop.
    fn forward_policy(&self, by: &RuleHit, tuple: &Tuple) -> String {
        if let Some(to) = self.receiver().filter(|it| it.engine.filters_forwarding()) {
            return format!("no rule lets it forward to {}: {}", to.name, self.published(to, tuple));
        }
        let has = |chain: &str| {
            let tables = &self.topology.host().tables;
            let legacy = &self.topology.host().iptables_legacy;
            tables
                .iter()
                .chain(legacy)
                .any(|it| it.family == by.family && it.chains.iter().any(|it| it.name == chain))
        };
        let chain = if has("DOCKER-USER") { "DOCKER-USER" } else { "FORWARD" };
        let program = rule_owner::program(by).unwrap_or("iptables");
        let who = if chain == "DOCKER-USER" { "Docker has set" } else { "this host has set" };
        let address = |address: IpAddr| address.to_string();
        let port = match protocol(tuple) {
            Some(protocol) => format!(" -p {protocol} --dport {}", tuple.destination_port),
            None => String::new(),
        };
        let to = address(tuple.destination);
        format!(
            "{who} the policy of FORWARD to DROP, and no rule accepts it: {program} -I {chain} -d {to}{port} -j ACCEPT && {program} -I {chain} -s {to} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
        )
    }

    fn firewalld(&self, tuple: &Tuple, forwarded: bool) -> String {
        let port = protocol(tuple).map(|it| format!("{}/{it}", tuple.destination_port));
        match (port, forwarded) {
            (Some(port), false) => {
                format!("firewalld drops what comes to the host: firewall-cmd --add-port={port}")
            }
            (None, false) => {
                "firewalld drops what comes to the host: firewall-cmd --remove-icmp-block=echo-request"
                    .to_owned()
            }
            (_, true) => {
                let family = if tuple.destination.is_ipv4() { "ipv4" } else { "ipv6" };
                let to = tuple.destination;
                format!(
                    "firewalld drops what is forwarded: firewall-cmd --direct --add-rule {family} filter FORWARD 0 -d {to} -j ACCEPT; or put the bridge into a zone that accepts: firewall-cmd --zone=trusted --change-interface=BRIDGE"
                )
            }
        }
    }

    fn no_listener_on_host(&self, tuple: &Tuple, waiting: &[Listener]) -> String {
        let port = tuple.destination_port;
        let at = |it: &KnownContainer| Some((it.name.clone(), it.publishes(tuple.protocol, port)?));
        if let Some((name, at)) = self.containers.iter().find_map(at) {
            return match at.ip() {
                ip if ip.is_unspecified() || ip == tuple.destination => format!(
                    "port {port} is published for {name}, and neither a rule nor a proxy forwards it: restart the container, or its engine"
                ),
                ip => format!(
                    "port {port} is published for {name} {}publish it at all addresses",
                    super::advice::only_at(ip, self.query)
                ),
            };
        }
        if let Some(address) = super::advice::elsewhere(waiting, tuple) {
            return format!(
                "what listens at port {port} of the host does so {}have it listen at {} or at all addresses",
                super::advice::only_at(address, self.query),
                tuple.destination
            );
        }
        let engines = self.containers.iter().map(|it| it.engine).collect::<std::collections::BTreeSet<_>>();
        let publish = engines.iter().find_map(|it| it.publish_any(port));
        let publish =
            publish.map_or(String::new(), |command| format!(", or publish a container's port: {command}"));
        format!("start something that listens there{publish}")
    }

    fn discarded(&self, namespace: NamespaceId, reason: &DiscardReason) -> Option<String> {
        use DiscardReason as Reason;
        let inside =
            (namespace != NamespaceId::HOST).then(|| format!("in {}: ", self.topology.name(namespace)));
        let at = inside.unwrap_or_default();
        match reason {
            Reason::LoopbackSourceLeaves { interface, .. }
            | Reason::LoopbackArrives { address: IpAddr::V4(_), interface, .. } => Some(format!(
                "use another address of the host; or {at}{}",
                set_sysctl(&format!("net/ipv4/conf/{interface}/route_localnet"), 1)
            )),
            Reason::NotForwarding { destination, interface } => {
                let sysctl = forwarding_sysctl(*destination, interface.as_deref());
                Some(format!("{at}{}", set_sysctl(&sysctl, 1)))
            }
            Reason::EchoIgnored { ipv4 } => Some(format!("{at}{}", set_sysctl(echo_sysctl(*ipv4), 0))),
            Reason::HairpinOff { port, .. } => Some(format!(
                "ask by the container's own address; or ip link set dev {} type bridge_slave hairpin on, which Docker does with userland-proxy=false",
                quote(port)
            )),
            Reason::ReversePath { interface, .. } => Some(format!(
                "the kernel expects that source elsewhere: give it a route by {interface}, or {at}{}",
                set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), 2)
            )),
            Reason::OutputDown(interface) => Some(format!("{at}ip link set dev {} up", quote(interface))),
            Reason::Blackhole => self.without_route(),
            _ => None,
        }
    }

    /// The advice for a route that refuses packets.
    fn without_route(&self) -> Option<String> {
        let route = refusing_route(self.topology, self.walk)?;
        let namespace = self.walk.end.namespace();
        let name = self.topology.name(namespace);
        let inside = if namespace == NamespaceId::HOST { String::new() } else { format!("in {name}: ") };
        Some(format!("that is a route of {name} itself: {inside}{}", delete_route(route)))
    }

    fn no_route(&self, namespace: NamespaceId, destination: IpAddr) -> String {
        let asking = self.containers.iter().find(|it| it.namespace == Some(namespace));
        let network =
            self.receiver().and_then(|it| it.networks.first()).map_or("NETWORK", |it| it.name.as_str());
        let connect = asking.and_then(|it| {
            Some(format!("{} has no route there: {}", it.name, it.engine.connect(network, &it.name)?))
        });
        connect.unwrap_or_else(|| match namespace {
            NamespaceId::HOST => format!("ip route add {destination} via ROUTER"),
            _ => format!("in {}: ip route add {destination} via ROUTER", self.topology.name(namespace)),
        })
    }

    /// The advice for an address that no neighbor has: that of a container on a macvlan, which the host does not reach, or one
    /// that no container has now.
    fn no_neighbor(&self, next: IpAddr) -> Option<String> {
        let is_above = |place: NamespaceId| {
            self.topology[place].holder(next).is_some_and(|it| it.macvlan_parent.is_some())
        };
        if let Some(it) = self.containers.iter().find(|it| it.namespace.is_some_and(is_above)) {
            let connect = it.engine.connect("NETWORK", &it.name);
            let connect = connect.map(|command| format!(": {command}, with one that has a bridge"));
            return Some(format!(
                "{} is on a macvlan, and the host and macvlans on its interfaces do not reach each other{}",
                it.name,
                connect.unwrap_or_default()
            ));
        }
        let recorded =
            self.containers.iter().find(|it| it.networks.iter().any(|it| it.addresses.contains(&next)));
        Some(match recorded {
            Some(it) => format!(
                "{next} is recorded for {}, whose namespace does not have it: restart {}",
                it.name, it.name
            ),
            None => format!(
                "no container has {next} now: ask by name, or list the addresses: fairway ps --all-engines"
            ),
        })
    }
}

/// The command that deletes a rule of a user, or changes a policy of theirs.
fn delete(hit: &RuleHit) -> String {
    let (table, chain) = (quote(&hit.table), quote(&hit.chain));
    let of_table = if table == "filter" { String::new() } else { format!("-t {table} ") };
    match (rule_owner::program(hit), hit.place, hit.handle) {
        (Some(program), None, _) => format!("{program} {of_table}-P {chain} ACCEPT"),
        (Some(program), Some(place), _) => format!("{program} {of_table}-D {chain} {}", place + 1),
        (None, None, _) => {
            format!("nft {}", quote(&format!("chain {} {table} {chain} {{ policy accept; }}", hit.family)))
        }
        (None, Some(_), Some(handle)) => {
            format!("nft delete rule {} {table} {chain} handle {handle}", hit.family)
        }
        (None, Some(_), None) => format!("nft -a list chain {} {table} {chain}, and delete it", hit.family),
    }
}

fn protocol(tuple: &Tuple) -> Option<Protocol> {
    Protocol::from_number(tuple.protocol)
}

/// What ufw allows: `proto tcp from any to 172.17.0.2 port 80`.
fn ufw(tuple: &Tuple) -> String {
    match protocol(tuple) {
        Some(protocol) => {
            format!("proto {protocol} from any to {} port {}", tuple.destination, tuple.destination_port)
        }
        None => format!("from any to {}", tuple.destination),
    }
}
