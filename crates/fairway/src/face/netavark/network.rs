//! Networks of podman as networks of the engine.

use std::collections::BTreeMap;
use std::str::FromStr;

use fairway_api::types::{Ipam, IpamConfig, NetworkCreate};
use fairway_model::MacvlanMode;

use super::error::{CreateError, NetavarkError, RequestError};
use super::request::{Network, Route, Subnet};

/// Where names of podman's containers end, in each container's search list.
pub const SEARCH_DOMAIN: &str = "dns.podman";
/// Docker's option with the name of the bridge.
pub(super) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The metric of default routes on bridges, as netavark sets it.
const BRIDGE_METRIC: u32 = 100;
/// The metric of default routes by macvlan links, lower than that of bridges.
const MACVLAN_METRIC: u32 = 99;

/// How a network gives addresses to its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    /// Podman has chosen them.
    Chosen,
    /// A DHCP server on the LAN chooses them.
    Dhcp,
    /// The container itself does.
    None,
}

/// Reads options of a network by name.
pub(super) struct Options<'a>(pub &'a Network);

impl<'a> Options<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.options.as_ref()?.get(name).map(String::as_str)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, RequestError>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |value: &str| {
            value.parse().map_err(|reason: T::Err| RequestError::Option {
                name: name.to_owned(),
                value: value.to_owned(),
                reason: reason.to_string(),
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// The metric of the default routes.
    pub fn metric(&self) -> Result<u32, RequestError> {
        let default = if self.0.driver == "bridge" { BRIDGE_METRIC } else { MACVLAN_METRIC };
        Ok(self.parsed("metric")?.unwrap_or(default))
    }

    fn isolate(&self) -> Result<Option<&'a str>, RequestError> {
        match self.text("isolate") {
            // Netavark's default since 2.0.
            None => Ok(None),
            Some(value @ ("true" | "false" | "strict")) => Ok(Some(value)),
            Some(other) => Err(RequestError::Isolate(other.to_owned())),
        }
    }

    fn is_unmanaged(&self) -> Result<bool, RequestError> {
        match self.text("mode") {
            None | Some("" | "managed") => Ok(false),
            Some("unmanaged") => Ok(true),
            Some(other) => Err(RequestError::BridgeMode(other.to_owned())),
        }
    }

    fn unsupported(&self, name: &str, way_out: &'static str) -> RequestError {
        let value = self.text(name).unwrap_or_default();
        RequestError::Unsupported {
            network: self.0.name.clone(),
            what: format!("option {name}={value}"),
            way_out,
        }
    }

    fn refuse(&self, names: &[(&str, &'static str)]) -> Result<(), RequestError> {
        match names.iter().find(|(name, _)| self.text(name).is_some_and(|value| !value.is_empty())) {
            Some((name, way_out)) => Err(self.unsupported(name, way_out)),
            None => Ok(()),
        }
    }

    /// Checks the options of a new bridge, and says whether it may share subnet and bridge with other networks.
    pub fn check_bridge(&self) -> Result<bool, NetavarkError> {
        const KNOWN: [&str; 9] = [
            "mode",
            "mtu",
            "isolate",
            "metric",
            "no_default_route",
            "vrf",
            "vlan",
            "outbound_addr4",
            "outbound_addr6",
        ];
        self.check_names(&KNOWN)?;
        self.check_values()?;
        self.isolate()?;
        let vlan = self.parsed::<u16>("vlan")?;
        if vlan.is_some_and(|vlan| vlan > 4094) {
            return Err(CreateError::Vlan.into());
        }
        Ok(vlan.is_some() || self.is_unmanaged()?)
    }

    /// Checks the options of a new macvlan or ipvlan network.
    pub fn check_macvlan(&self) -> Result<(), NetavarkError> {
        self.check_names(&["mode", "mtu", "metric", "no_default_route", "bclim"])?;
        self.check_values()?;
        let mode = self.text("mode").unwrap_or_default();
        match self.0.driver != "macvlan" || mode.is_empty() || mode.parse::<MacvlanMode>().is_ok() {
            true => Ok(()),
            false => Err(CreateError::MacvlanMode(mode.to_owned()).into()),
        }
    }

    fn check_names(&self, known: &[&str]) -> Result<(), CreateError> {
        let names = self.0.options.iter().flatten().map(|(name, _)| name);
        match names.into_iter().find(|name| !known.contains(&name.as_str())) {
            Some(option) => {
                Err(CreateError::UnknownOption { driver: self.0.driver.clone(), option: option.clone() })
            }
            None => Ok(()),
        }
    }

    fn check_values(&self) -> Result<(), RequestError> {
        self.parsed::<u32>("mtu")?;
        self.parsed::<u32>("metric")?;
        self.parsed::<GoBool>("no_default_route").map(drop)
    }

    /// How the network gives addresses.
    pub fn addresses(&self) -> Result<Addresses, RequestError> {
        let driver = self.0.ipam_options.as_ref().and_then(|options| options.get("driver"));
        match driver.map_or("", String::as_str) {
            "" | "host-local" => Ok(Addresses::Chosen),
            "dhcp" if self.0.driver == "bridge" && !self.is_unmanaged()? => Err(RequestError::DhcpManaged),
            "dhcp" if self.0.driver == "macvlan" => Ok(Addresses::Dhcp),
            "none" => Ok(Addresses::None),
            other => Err(RequestError::Unsupported {
                network: self.0.name.clone(),
                what: format!("ipam driver {other} with driver {}", self.0.driver),
                way_out: "give the network a subnet",
            }),
        }
    }
}

/// The network that the engine makes. `default_parent` is the host's interface with the default route.
pub(super) fn network(
    network: &Network,
    default_parent: Option<&str>,
) -> Result<NetworkCreate, RequestError> {
    let read = Options(network);
    let addresses = read.addresses()?;
    let mut options = match network.driver.as_str() {
        "bridge" => bridge_options(network, &read)?,
        _ => macvlan_options(network, &read, addresses, default_parent)?,
    };
    if addresses == Addresses::None {
        options.extend(pair("fairway.addresses", "false"));
    }
    options.extend(name_options(network));
    options.extend(pair("fairway.routes", &routes(network.routes.as_deref().unwrap_or_default())?));
    if read.parsed::<GoBool>("no_default_route")?.is_some_and(|it| it.0) {
        options.extend(pair("fairway.default_route", "false"));
    } else {
        options.extend(pair("fairway.metric", &read.metric()?.to_string()));
    }
    if let Some(mtu) = read.parsed::<u32>("mtu")?.filter(|mtu| *mtu > 0) {
        options.extend(pair("com.docker.network.driver.mtu", &mtu.to_string()));
    }
    let subnets = network.subnets.as_deref().unwrap_or_default();
    check_subnets(network, subnets)?;
    let has = |ipv6: bool| subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6() == ipv6);
    Ok(NetworkCreate {
        name: network.name.clone(),
        driver: network.driver.clone(),
        internal: network.internal,
        ipam: Some(Ipam { config: subnets.iter().map(subnet_config).collect(), ..Ipam::default() }),
        enable_ipv4: Some(has(false) || addresses == Addresses::Dhcp),
        enable_ipv6: Some(has(true)),
        options,
        labels: network.labels.clone().unwrap_or_default(),
        ..NetworkCreate::default()
    })
}

/// The engine has one subnet of each family in a network.
fn check_subnets(network: &Network, subnets: &[Subnet]) -> Result<(), RequestError> {
    for ipv6 in [false, true] {
        if subnets.iter().filter(|subnet| subnet.subnet.addr().is_ipv6() == ipv6).count() > 1 {
            return Err(RequestError::Unsupported {
                network: network.name.clone(),
                what: format!("a second {} subnet", if ipv6 { "IPv6" } else { "IPv4" }),
                way_out: "use one subnet of each family in a network",
            });
        }
    }
    Ok(())
}

fn bridge_options(network: &Network, read: &Options<'_>) -> Result<BTreeMap<String, String>, RequestError> {
    let bridge = network.network_interface.as_deref().filter(|name| !name.is_empty());
    let bridge = bridge.ok_or(RequestError::NoBridge)?;
    read.refuse(&[
        ("vrf", "leave the option out"),
        ("vlan", "leave the option out, or put the containers on the LAN (macvlan)"),
    ])?;
    let mut options = BTreeMap::new();
    options.extend(pair(BRIDGE_NAME, bridge));
    options.extend(pair("fairway.isolate", read.isolate()?.unwrap_or_default()));
    for (name, ours) in [
        ("outbound_addr4", "com.docker.network.host_ipv4"),
        ("outbound_addr6", "com.docker.network.host_ipv6"),
    ] {
        options.extend(pair(ours, read.text(name).unwrap_or_default()));
    }
    if read.is_unmanaged()? {
        options.extend(pair("com.docker.network.bridge.inhibit_ipv4", "true"));
        options.extend(pair("com.docker.network.bridge.enable_ip_masquerade", "false"));
        options.extend(pair("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected"));
        options.extend(pair("com.docker.network.bridge.gateway_mode_ipv6", "nat-unprotected"));
    }
    Ok(options)
}

fn macvlan_options(
    network: &Network,
    read: &Options<'_>,
    addresses: Addresses,
    default_parent: Option<&str>,
) -> Result<BTreeMap<String, String>, RequestError> {
    read.refuse(&[("bclim", "leave the option out")])?;
    let given = network.network_interface.as_deref().filter(|name| !name.is_empty());
    let mut options = BTreeMap::new();
    options.extend(pair("parent", given.or(default_parent).unwrap_or_default()));
    options.extend(pair("macvlan_mode", read.text("mode").unwrap_or_default()));
    if addresses == Addresses::Dhcp {
        options.extend(pair("fairway.dhcp", "true"));
    }
    Ok(options)
}

/// How the names of the network's containers are resolved.
fn name_options(network: &Network) -> BTreeMap<String, String> {
    if !network.dns_enabled {
        return pair("fairway.names", "false").into_iter().collect();
    }
    let servers = network.network_dns_servers.as_deref().unwrap_or_default();
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    pair("fairway.domain", SEARCH_DOMAIN).into_iter().chain(pair("fairway.dns", &servers.join(","))).collect()
}

/// The routes in the notation of the engine's option.
fn routes(routes: &[Route]) -> Result<String, RequestError> {
    Ok(routes.iter().map(route_text).collect::<Result<Vec<_>, _>>()?.join(","))
}

/// A route in the notation of the engine's option.
pub(super) fn route_text(route: &Route) -> Result<String, RequestError> {
    let destination = route.destination.trunc();
    let metric = route.metric.map(|metric| format!("#{metric}")).unwrap_or_default();
    let text = match (route.route_type.as_deref().unwrap_or_default(), route.gateway) {
        ("" | "unicast", Some(gateway)) => format!("{destination}@{gateway}"),
        ("" | "unicast", None) => return Err(RequestError::RouteWithoutGateway(destination.to_string())),
        (kind @ ("blackhole" | "unreachable" | "prohibit"), None) => format!("{kind}:{destination}"),
        (kind @ ("blackhole" | "unreachable" | "prohibit"), Some(_)) => {
            let route_type = kind.to_owned();
            return Err(RequestError::RouteWithGateway { destination: destination.to_string(), route_type });
        }
        (other, _) => return Err(RequestError::RouteType(other.to_owned())),
    };
    Ok(format!("{text}{metric}"))
}

/// Podman's own IPAM has chosen addresses of the lease range already.
fn subnet_config(subnet: &Subnet) -> IpamConfig {
    IpamConfig {
        subnet: subnet.subnet.trunc().to_string(),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        ..IpamConfig::default()
    }
}

/// An option, unless it is empty.
fn pair(name: &str, value: &str) -> Option<(String, String)> {
    (!value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// A boolean as netavark reads it.
struct GoBool(bool);

impl FromStr for GoBool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "true" | "1" => Ok(Self(true)),
            "false" | "0" => Ok(Self(false)),
            _ => Err("provided string was not `true` or `false`"),
        }
    }
}
