//! The settings of objects as text.

use std::fmt::Display;

use fairway_model::Namespace;
use serde::{Deserialize, Serialize};

use super::iptables::Place;
use super::{ElementValue, NetnsLink, Object, SocketUse};
use crate::names::Upstreams;

/// A setting of an object, as `ip`, `nft` or Docker names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Setting {
    /// Its name, such as `mtu`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The settings in the making.
#[derive(Default)]
struct Settings(Vec<Setting>);

impl Settings {
    fn add(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.0.push(Setting { name: name.to_owned(), value: value.to_string() });
        self
    }

    fn maybe<T: Display>(&mut self, name: &str, value: Option<T>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.maybe(name, value.then_some("on"))
    }

    fn each<T: Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) -> &mut Self {
        let all: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.maybe(name, (!all.is_empty()).then(|| all.join(" ")))
    }

    fn namespace(&mut self, namespace: &Namespace) -> &mut Self {
        self.add("namespace", &namespace.path)
    }

    fn netns_link(&mut self, link: &NetnsLink) {
        self.add("interface", &link.interface).namespace(&link.namespace).maybe("MAC address", link.mac);
        self.maybe("mtu", link.mtu).each("address", &link.addresses);
    }
}

impl Object {
    /// The settings of the object, in a fixed order. What is off or empty is left out.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Settings::default();
        match self {
            Self::Bridge(bridge) => {
                settings.add("MAC address", bridge.mac).add("mtu", bridge.mtu);
                settings.each("address", &bridge.addresses);
                settings.flag("route_localnet", bridge.route_localnet).flag("IPv6", bridge.ipv6);
                settings.maybe("uplink", bridge.parent.as_ref()).flag("adopted", bridge.adopted);
            }
            Self::Route(route) => drop(settings.add("via", route.gateway)),
            Self::Uplink(port) => drop(settings.add("bridge", &port.bridge)),
            Self::Veth(link) => {
                settings.add("bridge", &link.bridge).add("interface", &link.interface);
                settings.maybe("namespace", link.namespace.as_ref().map(|namespace| &namespace.path));
                settings.add("MAC address", link.mac).add("mtu", link.mtu);
                settings.each("address", &link.addresses).flag("hairpin", link.hairpin);
                settings.maybe("alternative name", link.alternative_name.as_ref());
                let sysctls =
                    link.sysctls.iter().map(|(path, value)| format!("{}={value}", super::dotted(path)));
                settings.each("sysctl", sysctls);
            }
            Self::TrafficLimit(limit) => {
                settings.maybe("ingress", limit.ingress).maybe("egress", limit.egress);
            }
            Self::DummyParent(link) => drop(settings.maybe("mtu", link.mtu)),
            Self::Macvlan(macvlan) => {
                settings.add("parent", &macvlan.parent).add("mode", macvlan.mode);
                settings.netns_link(&macvlan.link);
            }
            Self::Pair(pair) => pair.ends.iter().for_each(|end| settings.netns_link(end)),
            Self::Netns(namespace, resolver) => {
                settings.namespace(namespace).maybe("resolver", *resolver);
            }
            Self::SandboxRoutes(routes) => {
                settings.namespace(&routes.namespace);
                for route in &routes.gateways {
                    let family = if route.gateway.is_ipv4() { "IPv4" } else { "IPv6" };
                    let metric = route.metric.map(|metric| format!(" metric {metric}")).unwrap_or_default();
                    settings.add(family, format!("via {} dev {}{metric}", route.gateway, route.interface));
                }
                settings.each("static", routes.others.iter().map(|other| other.route));
            }
            Self::Rules(place) => drop(settings.add(
                "place",
                match place {
                    Place::First => "first",
                    Place::Last => "last",
                    Place::Misplaced(_) => "misplaced",
                },
            )),
            Self::Element(element) => {
                match element.value {
                    ElementValue::None => {}
                    ElementValue::Target(to) => drop(settings.add("to", to)),
                    ElementValue::Address(to) => drop(settings.add("to", to)),
                    ElementValue::Over(packets) => drop(settings.add("over packets/second", packets)),
                }
                settings.maybe("comment", Some(&element.comment).filter(|text| !text.is_empty()));
            }
            Self::Socket(socket) => drop(match socket.purpose {
                SocketUse::Proxy(to) => settings.add("proxy to", to),
                SocketUse::Reserve => settings.flag("reserved", true),
            }),
            Self::Sysctl(value) => drop(settings.add("value", value)),
            Self::File(contents) => drop(settings.add("bytes", contents.len())),
            Self::Names(names) => {
                settings.each("names", &names.names).maybe("IPv4", names.ipv4).maybe("IPv6", names.ipv6);
            }
            Self::View(view) => {
                settings.each("networks", view.networks.iter().map(|network| network.short()));
                let links = view.links.iter().map(|(_, alias, target)| format!("{target}:{alias}"));
                settings.each("links", links);
                match &view.upstreams {
                    Upstreams::Host => drop(settings.add("name servers", "host")),
                    Upstreams::Servers(servers) => drop(settings.each("name servers", servers)),
                    Upstreams::None => {}
                }
            }
            Self::HostServers(servers) => drop(settings.each("name servers", servers)),
            Self::Ruleset(_) | Self::Chain => {}
        }
        settings.0
    }
}
