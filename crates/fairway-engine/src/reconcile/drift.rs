//! Drift, in words for the log.

use std::collections::BTreeMap;

use fairway_core::object::iptables::RuleChain;
use fairway_core::object::{Difference, Key, Object, SetElement};
use fairway_core::object::{RulesetSwitches, SetName};
use fairway_core::policy::ruleset;
use fairway_inspect::doctor::Deviation;
use fairway_model::HostFacts;

/// What is other than the Plan, and of objects that are there but other, in which properties.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    pub(crate) difference: Difference,
    pub(crate) deviations: Deviations,
}

/// The properties in which objects that are there are other than expected.
pub(crate) type Deviations = BTreeMap<Key, Vec<Deviation>>;

/// A sysctl's name, by its path under `/proc/sys`.
pub(crate) fn dotted(path: &str) -> String {
    if path.contains('.') { path.to_owned() } else { path.replace('/', ".") }
}

/// Says what an object is.
fn describe(key: &Key) -> String {
    match key {
        Key::Ruleset => "nf_tables tables".to_owned(),
        Key::Sysctl(path) => format!("sysctl {}", dotted(path)),
        Key::Bridge(name) => format!("bridge {name}"),
        Key::Route(destination) => format!("route to {destination}"),
        Key::Uplink(name) => format!("interface {name} of a LAN"),
        Key::Veth(name) => format!("interface {name}"),
        Key::DummyParent(name) => format!("parent {name}"),
        Key::Macvlan(endpoint) => format!("macvlan of endpoint {}", endpoint.short()),
        Key::Pair(network) => format!("pair of network {}", network.short()),
        Key::Netns(sandbox) => format!("inside of sandbox {}", sandbox.short()),
        Key::DefaultRoutes(sandbox) => format!("default routes of sandbox {}", sandbox.short()),
        Key::Chain(chain) => {
            format!("{} chain {} {}", program(chain), chain.table.text(), chain.name)
        }
        Key::Rules(chain, rules) => {
            let (program, table) = (program(chain), chain.table.text());
            format!(
                "rule {:?} of the {program} chain {table} {}",
                rules.lines().next().unwrap_or_default(),
                chain.name
            )
        }
        Key::Element(set, _) => format!("element of the set {}", SetName::text(*set)),
        Key::Socket(protocol, address) => format!("port {address}/{protocol}"),
        Key::File(sandbox, name) => format!("file {name:?} of sandbox {}", sandbox.short()),
        Key::Names(endpoint) => format!("names of endpoint {}", endpoint.short()),
        Key::View(sandbox) => format!("view of sandbox {}", sandbox.short()),
        Key::HostServers => "host's name servers".to_owned(),
    }
}

fn program(chain: &RuleChain) -> &'static str {
    if chain.ipv4 { "iptables" } else { "ip6tables" }
}

/// How many kinds of drift an event names.
const NAMED: usize = 8;
/// So many elements of one set are named; of more only their number.
const ELEMENTS: usize = 3;

impl Drift {
    /// What is other, a line for each property, in the past (`was`) or the present (`is`).
    fn lines(&self, verb: &str, concerns: impl Fn(&Key) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut elements: BTreeMap<(SetName, &str), Vec<String>> = BTreeMap::new();
        let Difference { removed, added, changed } = &self.difference;
        let gone = removed.iter().map(|(key, object)| (key, object, "not expected"));
        let new = added.iter().map(|(key, object)| (key, object, "missing"));
        let other = changed.iter().map(|(key, (old, _))| (key, old, "other than expected"));
        for (key, object, what) in gone.chain(new).chain(other).filter(|(key, ..)| concerns(key)) {
            match (key, object, self.deviations.get(key)) {
                (Key::Element(set, bytes), Object::Element(element), _) => {
                    elements.entry((*set, what)).or_default().push(element_text(*set, bytes, element));
                }
                (_, _, Some(found)) => lines.extend(found.iter().map(|it| property(key, it, verb))),
                (_, _, None) => lines.push(format!("{} {verb} {what}", describe(key))),
            }
        }
        for ((set, what), named) in elements {
            let set = set.text();
            match named.len() > ELEMENTS {
                true => lines.push(format!("{} elements of the set {set}: {verb} {what}", named.len())),
                false => lines
                    .extend(named.iter().map(|it| format!("element {it} of the set {set} {verb} {what}"))),
            }
        }
        lines
    }

    /// What is there otherwise than expected, or is missing, but for ports, which others may have.
    pub(crate) fn present(&self) -> Vec<String> {
        let gone = &self.difference.removed;
        self.lines("is", |key| !matches!(key, Key::Socket(..)) && !gone.contains_key(key))
    }

    /// Logs what had drifted, and returns the first few lines.
    pub(crate) fn report(&self) -> String {
        let lines = self.lines("was", |_| true);
        for line in &lines {
            tracing::warn!("drift: {line}; repaired");
        }
        lines.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

/// One property of an object, with its actual and its expected value.
fn property(key: &Key, deviation: &Deviation, verb: &str) -> String {
    let text = if verb == "was" { deviation.was() } else { deviation.is() };
    let colon = if deviation.what.is_empty() { "" } else { ":" };
    format!("{}{colon} {text}", describe(key))
}

/// An element as `nft` prints it.
fn element_text(name: SetName, bytes: &[u8], element: &SetElement) -> String {
    let tables = ruleset(&RulesetSwitches::default());
    let set = tables.iter().filter(|table| table.family == name.family()).find_map(|it| it.set(name.text()));
    let element = SetElement { comment: String::new(), ..element.clone() }.to_element(name, bytes);
    set.map_or_else(|| format!("{bytes:02x?}"), |set| set.element_text(&element))
}

/// What is there and belongs to nothing.
pub(crate) fn left(difference: &Difference) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for key in difference.removed.keys() {
        let line = format!("the {} is there and belongs to nothing", describe(key));
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => lines.push((line, 1)),
        }
    }
    let counted = |(line, count)| if count == 1 { line } else { format!("{line} ({count} of them)") };
    lines.into_iter().map(counted).collect()
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
