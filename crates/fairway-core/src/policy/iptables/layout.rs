//! Which chains there are, and what is in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::chain_name::{
    DIRECT, FORWARD, GUARD, ISOLATE_FALSE, ISOLATE_TRUE, POSTROUTING, PREROUTING, RELAY, STAGE_1, STAGE_2,
};
use super::direct_access::DirectAccess;
use crate::object::RulesetSwitches;
use crate::object::iptables::Place::{First, Last};
use crate::object::iptables::{OWN, RuleChain, RuleTable, Rules, USER};
use fairway_model::{Isolation, Protocol};

const ESTABLISHED: &str = "-m conntrack --ctstate RELATED,ESTABLISHED";
/// Translated to what is published: conntrack's status of the flow, for packets both ways.
const TRANSLATED: &str = "-m conntrack --ctstate DNAT";

/// The chains of a family, and the groups that are there whatever networks there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Our chains.
    pub chains: Vec<RuleChain>,
    /// The jumps to them, and what is fixed within them.
    pub rules: Vec<Rules>,
}

struct Family {
    ipv4: bool,
}

impl Family {
    fn raw(&self, name: &str) -> RuleChain {
        RuleChain::new(self.ipv4, RuleTable::Raw, name)
    }

    fn filter(&self, name: &str) -> RuleChain {
        RuleChain::new(self.ipv4, RuleTable::Filter, name)
    }

    fn nat(&self, name: &str) -> RuleChain {
        RuleChain::new(self.ipv4, RuleTable::Nat, name)
    }
}

/// What a family has for the host itself.
pub fn host(ipv4: bool, switches: &RulesetSwitches) -> Host {
    let of = Family { ipv4 };
    let (guard, bridged) = match ipv4 {
        true => (switches.drop_unrelated_forward_ipv4, switches.bridge_netfilter_ipv4),
        false => (switches.drop_unrelated_forward_ipv6, switches.bridge_netfilter_ipv6),
    };
    let mut chains: Vec<RuleChain> =
        [USER, STAGE_1, STAGE_2, ISOLATE_FALSE, ISOLATE_TRUE, FORWARD, OWN, DIRECT]
            .map(|name| of.filter(name))
            .into();
    chains.extend([OWN, PREROUTING, POSTROUTING].map(|name| of.nat(name)));
    let mut rules = Vec::new();

    let mut forward = vec![jump(USER), jump(STAGE_1), jump(FORWARD)];
    if guard {
        forward.push(jump(GUARD));
        chains.push(of.filter(GUARD));
        // Without br_netfilter no bridged packet comes here, and asking would load it.
        let passing = bridged.then_some("-m physdev --physdev-is-bridged -j RETURN");
        rules.push(Rules::new(of.filter(GUARD), Last, passing.into_iter().chain(["-j DROP"])));
    }
    rules.push(Rules::new(of.filter("FORWARD"), First, forward));

    if let Some(user) = switches.relay_user {
        chains.push(of.filter(RELAY));
        let owned = format!("-m owner --uid-owner {user} -j {RELAY}");
        rules.push(Rules::new(of.filter("OUTPUT"), First, [owned]));
        // Name servers that only the host reaches; others are asked from the sandboxes' own namespaces.
        let ways: &[&str] = if ipv4 { &["-o lo"] } else { &["-o lo", "-d fe80::/10"] };
        let dns = ways.iter().flat_map(|way| {
            ["udp", "tcp"].map(|protocol| format!("{way} -p {protocol} -m {protocol} --dport 53 -j RETURN"))
        });
        let established = format!("{ESTABLISHED} -j RETURN");
        // Only the first segment of a connection has no ACK: what answers is let out, tracked or not.
        let answers = "-p tcp -m tcp --tcp-flags ACK ACK -j RETURN".to_owned();
        let allowed = [established].into_iter().chain(dns).chain([answers, "-j DROP".to_owned()]);
        rules.push(Rules::new(of.filter(RELAY), Last, allowed));
    }

    // With the proxy loopback is its business. IPv6 has no route_localnet.
    let others = match (ipv4, switches.userland_proxy) {
        (true, true) => "! -d 127.0.0.0/8 ",
        (true, false) => "",
        (false, _) => "! -d ::1/128 ",
    };
    let local = |chain: &str| format!("-m addrtype --dst-type LOCAL -j {chain}");
    rules.push(Rules::new(of.nat("PREROUTING"), Last, [local(PREROUTING)]));
    rules.push(Rules::new(of.nat("OUTPUT"), Last, [format!("{others}{}", local(OWN))]));
    // Without a firewall nothing was tracked: a connection that the proxy carries since then is new to conntrack.
    let carried = "-p tcp -m tcp ! --tcp-flags SYN SYN -m socket -j RETURN".to_owned();
    if !ipv4 && switches.userland_proxy {
        // The kernel forwards nothing from a link-local address; the proxy answers it.
        let link_local = ["-s fe80::/10 -j RETURN", "-d fe80::/10 -j RETURN"];
        rules.push(Rules::new(of.nat(OWN), First, link_local));
    }
    rules.push(Rules::new(of.nat(PREROUTING), Last, [carried, jump(OWN)]));
    rules.push(Rules::new(of.nat("POSTROUTING"), First, [jump(POSTROUTING)]));

    if ipv4 {
        chains.push(of.raw(OWN));
        rules.push(Rules::new(of.raw("PREROUTING"), First, [jump(OWN)]));
        // From a wire or a sandbox; `route_localnet` would allow it.
        rules.push(Rules::new(of.raw(OWN), Last, ["-d 127.0.0.0/8 ! -i lo -j DROP"]));
    }
    Host { chains, rules }
}

fn jump(chain: &str) -> String {
    format!("-j {chain}")
}

/// What the rules of a network follow from, for one family.
#[derive(Debug, Clone, Copy)]
pub struct NetworkRules<'a> {
    /// Its bridge.
    pub bridge: &'a str,
    /// Its subnet of the family.
    pub subnet: Option<IpNet>,
    /// Whether its sandboxes may talk to one another.
    pub icc: bool,
    /// Whether it has no way out.
    pub internal: bool,
    /// Its isolation from other networks.
    pub isolation: Isolation,
    /// Whether what leaves it gets the host's address.
    pub masquerade: bool,
    /// The address that it gets, where it is a certain one.
    pub source: Option<IpAddr>,
    /// What may enter it untranslated.
    pub entry: DirectAccess<'a>,
    /// What is so on the host.
    pub switches: &'a RulesetSwitches,
}

/// The rules of a network, in one family.
pub fn network(ipv4: bool, network: &NetworkRules<'_>) -> Vec<Rules> {
    let of = Family { ipv4 };
    let NetworkRules { bridge, switches, .. } = *network;
    let to_others = format!("-i {bridge} ! -o {bridge}");
    let apart = match network.internal {
        true => vec![format!("{to_others} -j DROP"), format!("! -i {bridge} -o {bridge} -j DROP")],
        false => {
            let lenient = isolation_chain(network.isolation);
            let lenient = lenient.map(|chain| format!("{to_others} -m conntrack --ctstate NEW -j {chain}"));
            lenient.into_iter().chain([format!("{to_others} -j {STAGE_2}")]).collect()
        }
    };
    // What is published everybody may ask for, as with the proxy, and what was let in is answered.
    let strange = format!("-o {bridge} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT");
    let enters = !network.internal && network.entry.admits_networks(switches);
    let judged = enters.then(|| format!("{strange} -j {OWN}"));
    let mut into = vec![format!("-o {bridge} {TRANSLATED} -j ACCEPT")];
    if !network.internal {
        into.extend(network.entry.lines(ipv4, bridge, switches));
    }
    let mut rules = vec![
        Rules::new(of.filter(STAGE_1), Last, apart),
        Rules::new(of.filter(STAGE_2), Last, judged.into_iter().chain([format!("{strange} -j DROP")])),
        Rules::new(of.filter(FORWARD), Last, forward(ipv4, network)),
        Rules::new(of.filter(OWN), Last, into),
    ];
    for other in [Isolation::False, Isolation::True] {
        if let Some(chain) = isolation_chain(other).filter(|_| network.isolation.lets_pass(other)) {
            rules.push(Rules::new(of.filter(chain), Last, [format!("-o {bridge} -j ACCEPT")]));
        }
    }
    if switches.relay_user.is_some() {
        rules.push(Rules::new(of.filter(RELAY), First, [format!("-o {bridge} -j RETURN")]));
    }
    if switches.userland_proxy {
        rules.push(Rules::new(of.nat(OWN), First, [format!("-i {bridge} -j RETURN")]));
    }
    if let (Some(subnet), Some(peers)) =
        (network.subnet, network.entry.peers.filter(|peers| !peers.is_empty()))
    {
        let kept = peers.iter().map(|peer| format!("-s {subnet} -d {peer} -j RETURN"));
        rules.push(Rules::new(of.nat(POSTROUTING), First, kept));
    }
    let sources = sources(ipv4, network);
    if !sources.is_empty() {
        rules.push(Rules::new(of.nat(POSTROUTING), Last, sources));
    }
    rules
}

/// The chain with what new connections from networks of an isolation may reach; none if that is none.
const fn isolation_chain(isolation: Isolation) -> Option<&'static str> {
    match isolation {
        Isolation::False => Some(ISOLATE_FALSE),
        Isolation::True => Some(ISOLATE_TRUE),
        Isolation::Strict => None,
    }
}

/// What is forwarded to and from a network.
fn forward(ipv4: bool, network: &NetworkRules<'_>) -> Vec<String> {
    let NetworkRules { bridge, icc, masquerade, switches, .. } = *network;
    let within = format!("-i {bridge} -o {bridge}");
    let out = format!("-i {bridge} ! -o {bridge}");
    let mut lines = Vec::new();
    lines.push(match icc {
        true => format!("-o {bridge} {ESTABLISHED} -j ACCEPT"),
        // A flow within must not outlive the link that let it begin.
        false => format!("! -i {bridge} -o {bridge} {ESTABLISHED} -j ACCEPT"),
    });
    lines.push(format!("-o {bridge} -j {OWN}"));
    if masquerade {
        // It would leave with the sandbox's own address.
        lines.push(format!("{out} -m conntrack --ctstate INVALID -j DROP"));
    }
    lines.push(format!("{out} -j ACCEPT"));
    match icc {
        true => lines.push(format!("{within} -j ACCEPT")),
        false => {
            lines.push(format!("{within} -m conntrack --ctstate RELATED -j ACCEPT"));
            if !ipv4 && switches.bridge_netfilter_ipv6 {
                // Neighbour solicitations and advertisements, without which no two could be linked.
                let discovery = [135, 136]
                    .map(|kind| format!("{within} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"));
                lines.extend(discovery);
            }
            lines.push(format!("{within} -j DROP"));
        }
    }
    // Straight to a sandbox's address, from outside.
    lines.push(format!("-o {bridge} -j DROP"));
    lines
}

/// Whose source becomes another.
fn sources(ipv4: bool, network: &NetworkRules<'_>) -> Vec<String> {
    let NetworkRules { bridge, switches, .. } = *network;
    let mut lines = Vec::new();
    let Some(subnet) = network.subnet else { return lines };
    let bridged = if ipv4 { switches.bridge_netfilter_ipv4 } else { switches.bridge_netfilter_ipv6 };
    if !switches.userland_proxy {
        lines.push(format!("-o {bridge} -m addrtype --src-type LOCAL -j MASQUERADE"));
        if !bridged {
            // The answer would pass the bridge untranslated.
            lines.push(format!("-s {subnet} -o {bridge} {TRANSLATED} -j MASQUERADE"));
        }
    }
    match (network.masquerade, network.source) {
        (true, Some(source)) => lines.push(format!("-s {subnet} ! -o {bridge} -j SNAT --to-source {source}")),
        (true, None) => lines.push(format!("-s {subnet} ! -o {bridge} -j MASQUERADE")),
        (false, _) => {}
    }
    lines
}

/// A port of the host that leads to a sandbox; both addresses are of one family.
pub fn published(protocol: Protocol, at: SocketAddr, to: SocketAddr) -> Rules {
    let there = match at.ip().is_unspecified() {
        true => String::new(),
        false => format!("-d {} ", IpNet::from(at.ip())),
    };
    let port = at.port();
    let line = format!("{there}-p {protocol} -m {protocol} --dport {port} -j DNAT --to-destination {to}");
    Rules::new(Family { ipv4: at.is_ipv4() }.nat(OWN), Last, [line])
}

/// The port of the host that a rule of [`published`] is about; none of others.
pub fn published_port(chain: &RuleChain, text: &str) -> Option<(Protocol, SocketAddr)> {
    let words: Vec<&str> = text.split(' ').collect();
    let (address, rest) = match &words[..] {
        ["-d", address, rest @ ..] => (address.parse::<IpNet>().ok()?.addr(), rest),
        rest if chain.ipv4 => (Ipv4Addr::UNSPECIFIED.into(), rest),
        rest => (Ipv6Addr::UNSPECIFIED.into(), rest),
    };
    let ["-p", protocol, "-m", _, "--dport", port, "-j", "DNAT", ..] = rest else { return None };
    Some((Protocol::from_name(protocol)?, SocketAddr::new(address, port.parse().ok()?)))
}

/// A sandbox that may reach its own published ports: its answers would not leave it.
pub fn hairpin(of: IpAddr) -> Rules {
    let own = IpNet::from(of);
    Rules::new(
        Family { ipv4: of.is_ipv4() }.nat(POSTROUTING),
        Last,
        [format!("-s {own} -d {own} -j MASQUERADE")],
    )
}

/// A link on a network whose sandboxes may not talk to one another; none when the addresses are of two families.
pub fn link(bridge: &str, from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> Option<Rules> {
    let (one, other) = (IpNet::from(from), IpNet::from(to));
    let within = format!("-i {bridge} -o {bridge} -p {protocol} -m {protocol}");
    let lines = [
        format!("-s {one} -d {other} {within} --dport {port} -j ACCEPT"),
        format!("-s {other} -d {one} {within} --sport {port} {ESTABLISHED} -j ACCEPT"),
    ];
    let chain = Family { ipv4: from.is_ipv4() }.filter(OWN);
    (from.is_ipv4() == to.is_ipv4()).then(|| Rules::new(chain, Last, lines))
}
