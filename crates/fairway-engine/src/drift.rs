//! Drift, in words for the log.

use fairway_core::model::HostFacts;
use fairway_core::plan::{Difference, Key};
use fairway_core::policy::SetName;
use fairway_core::policy::iptables::RuleChain;

/// Says what an object is.
fn describe(key: &Key) -> String {
    match key {
        Key::Ruleset => "the nf_tables tables".to_owned(),
        Key::Sysctl(path) => format!("the sysctl {path}"),
        Key::Bridge(name) => format!("the bridge {name}"),
        Key::Route(destination) => format!("the route to {destination}"),
        Key::Uplink(name) => format!("the interface {name} of a LAN"),
        Key::Veth(name) => format!("the interface {name}"),
        Key::StandIn(name) => format!("the parent {name}"),
        Key::Macvlan(endpoint) => format!("the macvlan of endpoint {}", endpoint.short()),
        Key::Pair(network) => format!("the pair of network {}", network.short()),
        Key::Inside(sandbox) => format!("the inside of sandbox {}", sandbox.short()),
        Key::Routes(sandbox) => format!("the default routes of sandbox {}", sandbox.short()),
        Key::Chain(chain) => {
            format!("the {} chain {} {}", program(chain), chain.table.text(), chain.name)
        }
        Key::Rules(chain, _) => {
            format!("a rule of the {} chain {} {}", program(chain), chain.table.text(), chain.name)
        }
        Key::Element(set, _) => format!("an element of the set {}", SetName::text(*set)),
        Key::Socket(protocol, address) => format!("the port {address}/{protocol}"),
        Key::File(sandbox, name) => format!("the file {name:?} of sandbox {}", sandbox.short()),
        Key::Names(endpoint) => format!("the names of endpoint {}", endpoint.short()),
        Key::View(sandbox) => format!("the view of sandbox {}", sandbox.short()),
        Key::HostServers => "the host's name servers".to_owned(),
    }
}

fn program(chain: &RuleChain) -> &'static str {
    if chain.ipv4 { "iptables" } else { "ip6tables" }
}

/// How many kinds of drift an event names.
const NAMED: usize = 8;

/// What is other than wanted, in words, once for things of a kind and with how many they are.
fn lines<'a>(keys: impl IntoIterator<Item = (&'a Key, &'static str)>) -> Vec<(String, usize)> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for (key, what) in keys {
        let line = format!("{} {what}", describe(key));
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    lines
}

fn all(difference: &Difference) -> Vec<(String, usize)> {
    let gone = difference.gone.keys().map(|key| (key, "was there and not wanted"));
    let missing = difference.new.keys().map(|key| (key, "was missing or other than wanted"));
    let other = difference.other.keys().map(|key| (key, "was other than wanted"));
    lines(gone.chain(missing).chain(other))
}

fn counted((line, count): (String, usize)) -> String {
    if count == 1 { line } else { format!("{line} ({count} of them)") }
}

/// What is there and not wanted.
pub(crate) fn left(difference: &Difference) -> Vec<String> {
    lines(difference.gone.keys().map(|key| (key, "is there and belongs to nothing")))
        .into_iter()
        .map(counted)
        .collect()
}

/// What is not there as wanted, but for ports, which others may have.
pub(crate) fn missing(difference: &Difference) -> Vec<String> {
    let keys = difference.new.keys().chain(difference.other.keys());
    let keys = keys.filter(|key| !matches!(key, Key::Socket(..)));
    lines(keys.map(|key| (key, "is missing or other than it shall be"))).into_iter().map(counted).collect()
}

/// Logs what had drifted, once for things of a kind, and says the first few.
pub(crate) fn report(difference: &Difference) -> String {
    let lines = all(difference);
    for (line, count) in &lines {
        tracing::warn!(count, "drift: {line}; mended");
    }
    let named = lines.iter().take(NAMED).map(|(line, _)| line.as_str());
    named.collect::<Vec<_>>().join("; ")
}

/// Says what of the host is other than it was; forwarding, which we may have switched ourselves, is
/// told where it is mended.
pub(crate) fn of_host(before: &HostFacts, now: &HostFacts) -> Vec<&'static str> {
    let nf = |facts: &HostFacts| (facts.bridge_netfilter_ipv4, facts.bridge_netfilter_ipv6);
    let resolver =
        |facts: &HostFacts| (facts.nameservers.clone(), facts.search.clone(), facts.resolver_options.clone());
    let changes = [
        (before.mtu != now.mtu, "the MTU of its default route"),
        (before.default_interface != now.default_interface, "the interface of its default route"),
        (before.addresses != now.addresses, "its addresses"),
        (before.routes != now.routes, "its routes"),
        (resolver(before) != resolver(now), "its resolv.conf"),
        (nf(before) != nf(now), "whether bridged packets meet the firewall (bridge-nf-call)"),
        (before.ephemeral_ports != now.ephemeral_ports, "its ephemeral ports"),
        (before.hostname != now.hostname, "its name"),
    ];
    changes.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what).collect()
}
