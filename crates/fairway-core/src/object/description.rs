//! The names of objects in logs, errors and findings: as `ip`, `nft` and Docker name them.

use std::fmt;

use fairway_model::{NetworkId, SandboxId};

use super::Key;
use super::iptables::RuleChain;

/// The name of a sysctl, by its path under `/proc/sys`.
pub fn dotted(path: &str) -> String {
    if path.contains('.') { path.to_owned() } else { path.replace('/', ".") }
}

const fn program(chain: &RuleChain) -> &'static str {
    if chain.ipv4 { "iptables" } else { "ip6tables" }
}

impl Key {
    /// The kind of the object, in one word for a label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ruleset => "ruleset",
            Self::Sysctl(_) => "sysctl",
            Self::Bridge(_) => "bridge",
            Self::Route(_) => "route",
            Self::Uplink(_) => "uplink",
            Self::Veth(_) => "interface",
            Self::TrafficLimit(_) => "traffic_limit",
            Self::DummyParent(_) => "dummy_parent",
            Self::Macvlan(_) => "macvlan",
            Self::Pair(_) => "ptp_pair",
            Self::Netns(_) => "namespace",
            Self::SandboxRoutes(_) => "sandbox_routes",
            Self::Chain(_) => "chain",
            Self::Rules(..) => "rule",
            Self::Element(..) => "set_element",
            Self::Socket(..) => "port",
            Self::File(..) => "file",
            Self::Names(_) | Self::View(_) | Self::HostServers => "names",
        }
    }

    /// Names the object, with the names of sandboxes and networks that `sandbox` and `network` return.
    pub fn describe(
        &self,
        sandbox: impl Fn(SandboxId) -> String,
        network: impl Fn(NetworkId) -> String,
    ) -> String {
        match self {
            Self::Ruleset => "nf_tables tables".to_owned(),
            Self::Sysctl(path) => format!("sysctl {}", dotted(path)),
            Self::Bridge(name) => format!("bridge {name}"),
            Self::Route(destination) => format!("route to {destination}"),
            Self::Uplink(name) => format!("uplink {name}"),
            Self::Veth(name) => format!("interface {name}"),
            Self::TrafficLimit(name) => format!("traffic limit of interface {name}"),
            Self::DummyParent(name) => format!("dummy parent {name}"),
            Self::Macvlan(endpoint) => format!("macvlan of endpoint {}", endpoint.short()),
            Self::Pair(id) => format!("ptp pair of network {}", network(*id)),
            Self::Netns(id) => format!("network namespace of sandbox {}", sandbox(*id)),
            Self::SandboxRoutes(id) => format!("routes of sandbox {}", sandbox(*id)),
            Self::Chain(chain) => {
                format!("{} chain {} {}", program(chain), chain.table.text(), chain.name)
            }
            Self::Rules(chain, rules) => format!(
                "rule {:?} of the {} chain {} {}",
                rules.lines().next().unwrap_or_default(),
                program(chain),
                chain.table.text(),
                chain.name
            ),
            Self::Element(set, _) => format!("element of the set {}", set.text()),
            Self::Socket(protocol, address) => format!("port {address}/{protocol}"),
            Self::File(id, name) => format!("file {} of sandbox {}", name.text(), sandbox(*id)),
            Self::Names(endpoint) => format!("names of endpoint {}", endpoint.short()),
            Self::View(id) => format!("resolver names of sandbox {}", sandbox(*id)),
            Self::HostServers => "name servers of the host".to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(|sandbox| sandbox.short(), |network| network.short()))
    }
}
