//! Parsing of the options of networks and endpoints, once at their creation.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Refusal;
use fairway_model::HOST_INTERFACE_PREFIX;
use fairway_model::parse::interface_name;
use fairway_model::{
    AliasAnswer, BridgeOptions, Driver, EndpointOptions, GatewayMode, InterfaceSysctl, Isolation,
    MacvlanMode, NameOptions, ParsePeerError, ParseRouteError, Peer, RouteOptions, StaticRoute,
};

/// The highest `fairway.storm_limit`: a gigabit link carries 1.5 million minimum-size frames a second.
const STORM_LIMIT: u32 = 1_500_000;
/// Docker's range of `advertise_addr_nmsgs`.
const ADVERTISE_COUNT: RangeInclusive<u8> = 0..=3;
/// Docker's range of `advertise_addr_ms`.
const ADVERTISE_INTERVAL: RangeInclusive<u16> = 100..=2000;
/// The maximum length of `container_iface_prefix`: interface names have 15 bytes, and three are left for the number.
const PREFIX_LIMIT: usize = 12;
/// The maximum number of entries of a list option: peers are compared with one another, sysctls written one by one.
const LIST_LIMIT: usize = 1000;

/// The maximum length of `fairway.domain`: a name has at most 253 bytes (RFC 1035), of which a label before it takes 64.
const DOMAIN_LIMIT: usize = 189;

/// The parsed options of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// `com.docker.network.bridge.name`.
    pub bridge_name: Option<String>,
    /// `com.docker.network.bridge.enable_ip_masquerade`.
    pub masquerade: Option<bool>,
    /// `com.docker.network.bridge.enable_icc`.
    pub icc: Option<bool>,
    /// `com.docker.network.bridge.host_binding_ipv4`.
    pub host_binding: Option<IpAddr>,
    /// `com.docker.network.driver.mtu`.
    pub mtu: Option<u32>,
    /// `com.docker.network.enable_ipv4`, without `--ipv4`.
    pub enable_ipv4: Option<bool>,
    /// `com.docker.network.enable_ipv6`, without `--ipv6`.
    pub enable_ipv6: Option<bool>,
    /// `fairway.addresses=false`.
    pub without_addresses: bool,
    /// `com.docker.network.internal`.
    pub internal: bool,
    /// `fairway.peers`.
    pub peers: Vec<Peer>,
    /// `fairway.metric`, `fairway.default_route` and `fairway.routes`.
    pub routes: RouteOptions,
    /// `fairway.names`, `fairway.domain` and `fairway.dns`.
    pub names: NameOptions,
    /// `fairway.alias_answer`.
    pub alias_answer: AliasAnswer,
    /// `parent`: the uplink or macvlan parent.
    pub parent: Option<String>,
    /// `macvlan_mode`.
    pub macvlan_mode: Option<MacvlanMode>,
    /// The options of bridge networks.
    pub bridge: BridgeOptions,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// An option as specified.
#[derive(Debug, Clone, Copy)]
struct Given<'a> {
    name: &'a str,
    value: &'a str,
}

impl Given<'_> {
    fn refused(self, reason: impl Into<String>) -> Refusal {
        Refusal::InvalidOption {
            name: self.name.to_owned(),
            value: self.value.to_owned(),
            reason: reason.into(),
        }
    }

    /// Parses a boolean in Go's notation, as Docker does.
    fn flag(self) -> Result<bool, Refusal> {
        match self.value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.refused("true or false is expected")),
        }
    }

    fn parsed<T: FromStr>(self, expected: &str) -> Result<T, Refusal> {
        self.value.parse().map_err(|_| self.refused(format!("{expected} is expected")))
    }

    fn within<T: FromStr + PartialOrd + Display>(
        self,
        range: &RangeInclusive<T>,
        unit: &str,
    ) -> Result<T, Refusal> {
        let number = self.value.parse().ok().filter(|number| range.contains(number));
        let reason = || format!("{} to {} {unit} are expected", range.start(), range.end());
        number.ok_or_else(|| self.refused(reason()))
    }

    fn interface(self) -> Result<String, Refusal> {
        interface_name(self.value).map_err(|error| self.refused(error.to_string()))
    }

    /// Parses another name of an interface of the host. The firewall guards interfaces by their names with the prefix.
    fn host_interface(self) -> Result<String, Refusal> {
        match self.interface()? {
            name if name.starts_with(HOST_INTERFACE_PREFIX) => Err(self.refused(format!(
                "names with {HOST_INTERFACE_PREFIX} are those of the interfaces themselves"
            ))),
            name => Ok(name),
        }
    }

    fn macvlan_mode(self) -> Result<MacvlanMode, Refusal> {
        let expected = "bridge, private, vepa or passthru is expected";
        self.value.parse().map_err(|()| self.refused(expected))
    }

    fn gateway_mode(self) -> Result<GatewayMode, Refusal> {
        let expected = "nat, nat-unprotected, routed or isolated is expected";
        GatewayMode::from_name(self.value).ok_or_else(|| self.refused(expected))
    }

    /// Parses a source address.
    fn source<A: FromStr + Into<IpAddr> + Copy>(self, expected: &str) -> Result<A, Refusal> {
        let address: A = self.parsed(expected)?;
        let ip: IpAddr = address.into();
        match ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
            true => Err(self.refused("a unicast address of this host is expected")),
            false => Ok(address),
        }
    }

    /// Refuses a list with too many entries.
    fn check_entries(self, separator: char) -> Result<(), Refusal> {
        match self.value.split(separator).count() > LIST_LIMIT {
            true => Err(self.refused(format!("at most {LIST_LIMIT} entries are allowed"))),
            false => Ok(()),
        }
    }

    fn interfaces(self) -> Result<Vec<String>, Refusal> {
        self.check_entries(':')?;
        let mut names: Vec<String> = Vec::new();
        for name in self.value.split(':').filter(|name| !name.is_empty()) {
            let name = interface_name(name).map_err(|error| self.refused(error.to_string()))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn peers(self) -> Result<Vec<Peer>, Refusal> {
        self.check_entries(',')?;
        let texts = self.value.split(',').map(str::trim).filter(|text| !text.is_empty());
        texts
            .map(|text| text.parse().map_err(|error: ParsePeerError| self.refused(error.to_string())))
            .collect()
    }

    fn routes(self) -> Result<Vec<StaticRoute>, Refusal> {
        self.check_entries(',')?;
        let mut routes: Vec<StaticRoute> = Vec::new();
        for text in self.value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let route: StaticRoute =
                text.parse().map_err(|error: ParseRouteError| self.refused(error.to_string()))?;
            if let Some(other) = routes.iter().find(|other| same_place(other, &route)) {
                return Err(self.refused(format!(
                    "{other} and {route} are routes to one destination with one metric: give one another #METRIC"
                )));
            }
            routes.push(route);
        }
        Ok(routes)
    }

    fn metric(self) -> Result<u32, Refusal> {
        self.parsed("a metric from 0 to 4294967295")
    }

    fn name_servers(self) -> Result<Vec<IpAddr>, Refusal> {
        self.check_entries(',')?;
        let mut servers: Vec<IpAddr> = Vec::new();
        for text in self.value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let server: IpAddr =
                text.parse().map_err(|_| self.refused(format!("{text:?} is no IP address")))?;
            if server.is_unspecified() || server.is_multicast() {
                return Err(self.refused(format!("{server} is no address of a name server")));
            }
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        Ok(servers)
    }

    /// Parses a domain (RFC 1035 section 2.3.1), in lower case and without dots around it; none if it is empty.
    fn domain(self) -> Result<Option<String>, Refusal> {
        let domain = self.value.trim_matches('.').to_ascii_lowercase();
        let is_label = |label: &str| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.len() <= 63 && label.bytes().all(byte) && !label.starts_with('-')
        };
        match domain.is_empty() || (domain.len() <= DOMAIN_LIMIT && domain.split('.').all(is_label)) {
            true => Ok(Some(domain).filter(|domain| !domain.is_empty())),
            false => Err(self.refused("a domain of letters, digits and hyphens is expected, as dns.podman")),
        }
    }

    fn prefix(self) -> Result<String, Refusal> {
        match interface_name(&format!("{}0", self.value)) {
            Ok(_) if !self.value.is_empty() && self.value.len() <= PREFIX_LIMIT => Ok(self.value.to_owned()),
            Ok(_) => {
                Err(self.refused(format!("1 to {PREFIX_LIMIT} bytes are expected, since a number follows")))
            }
            Err(error) => Err(self.refused(error.to_string())),
        }
    }

    fn isolation(self) -> Result<Isolation, Refusal> {
        match (self.value, self.flag()) {
            ("strict", _) => Ok(Isolation::Strict),
            (_, Ok(true)) => Ok(Isolation::True),
            (_, Ok(false)) => Ok(Isolation::False),
            _ => Err(self.refused("strict, true or false is expected")),
        }
    }

    fn strict(self) -> Result<bool, Refusal> {
        match self.value {
            "strict" => Ok(true),
            "" => Ok(false),
            _ => Err(self.refused("strict is expected")),
        }
    }

    fn alias_answer(self) -> Result<AliasAnswer, Refusal> {
        match self.value {
            "all" => Ok(AliasAnswer::All),
            "first" => Ok(AliasAnswer::First),
            _ => Err(self.refused("first or all is expected")),
        }
    }

    fn sysctls(self) -> Result<Vec<InterfaceSysctl>, Refusal> {
        self.check_entries(',')?;
        let mut sysctls: BTreeMap<(String, String), String> = BTreeMap::new();
        for text in self.value.split(',') {
            let (directory, name, value) = sysctl(text.trim()).ok_or_else(|| {
                self.refused(format!(
                    "unrecognised network interface sysctl '{}'; represent 'net.X.Y.ethN.Z=V' as \
                     'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'",
                    text.trim()
                ))
            })?;
            sysctls.insert((directory, name), value);
        }
        let typed = |((directory, name), value)| InterfaceSysctl { directory, name, value };
        Ok(sysctls.into_iter().map(typed).collect())
    }
}

/// Parses `net.X.Y.IFNAME.Z=V` into directory, name and value.
fn sysctl(text: &str) -> Option<(String, String, String)> {
    let (key, value) = text.split_once('=')?;
    let parts: Vec<&str> = key.trim().split('.').collect();
    let [net, family, group, interface, name @ ..] = parts.as_slice() else { return None };
    let word = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    let value = value.trim();
    let readable = !value.is_empty() && !value.contains(char::is_control);
    let known = *net == "net"
        && matches!(*family, "ipv4" | "ipv6" | "mpls")
        && interface.eq_ignore_ascii_case("IFNAME");
    (known && readable && word(group) && !name.is_empty() && name.iter().all(word))
        .then(|| (format!("net/{family}/{group}"), name.join("/"), value.to_owned()))
}

/// Whether two routes have one place in the routing table.
pub(super) fn same_place(one: &StaticRoute, other: &StaticRoute) -> bool {
    one.destination == other.destination && one.kernel_metric() == other.kernel_metric()
}

/// The warning about an unknown option with a prefix of Docker's or Fairway's.
fn unknown(name: &str) -> Option<String> {
    let ours = name.starts_with("com.docker.network.") || name.starts_with("fairway.");
    ours.then(|| format!("the option {name} is unknown and has no effect"))
}

impl NetworkOptions {
    /// Parses the options of a network.
    ///
    /// # Errors
    /// [`Refusal::InvalidOption`] with the name of the option.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut read = Self::default();
        for (name, value) in options {
            let given = Given { name, value };
            match NETWORK_OPTIONS.iter().find(|option| option.name == name) {
                Some(option) => (option.read)(&mut read, given)?,
                None => read.warnings.extend(unknown(name)),
            }
        }
        Ok(read)
    }

    /// Refuses an isolation from other bridge networks for a driver whose networks have rules of their own.
    pub(super) fn check_isolation(&self, driver: Driver) -> Result<(), Refusal> {
        match self.bridge.isolation {
            Isolation::Strict => Ok(()),
            _ if driver == Driver::Bridge => Ok(()),
            other => {
                Err(Given { name: ISOLATE, value: if other == Isolation::True { "true" } else { "false" } }
                    .refused(format!("it is an option of the driver bridge, not of {driver}")))
            }
        }
    }

    /// Refuses the gateway mode `isolated` for a network that is not internal.
    pub(super) fn check_gateway_modes(&self, internal: bool) -> Result<(), Refusal> {
        let modes = [
            (GATEWAY_MODE_IPV4, self.bridge.gateway_mode_ipv4),
            (GATEWAY_MODE_IPV6, self.bridge.gateway_mode_ipv6),
        ];
        match modes.into_iter().find(|(_, mode)| *mode == GatewayMode::Isolated && !internal) {
            Some((name, _)) => Err(Given { name, value: "isolated" }
                .refused("gateway mode 'isolated' can only be used for an internal network: add --internal")),
            None => Ok(()),
        }
    }
}

/// The option with the uplink of a lan network or the parent of a macvlan network.
pub const PARENT: &str = "parent";
/// The option that leaves the addresses of a network to its endpoints.
pub(super) const ADDRESSES: &str = "fairway.addresses";
/// The option that takes IPv4 addresses from the LAN's DHCP server.
pub(super) const DHCP: &str = "fairway.dhcp";
/// The option with the peers of a routed network: `SUBNET@HOST`, separated by commas.
pub(super) const PEERS: &str = "fairway.peers";
/// The option with the metric of the default route.
pub(super) const METRIC: &str = "fairway.metric";
/// The option that keeps the default route from an endpoint.
pub(super) const DEFAULT_ROUTE: &str = "fairway.default_route";
/// The option with static routes.
pub(super) const ROUTES: &str = "fairway.routes";
/// The option with another name of the host's end of a veth pair.
pub(super) const HOST_INTERFACE: &str = "fairway.host_interface";
/// The option with the isolation from other bridge networks.
pub(super) const ISOLATE: &str = "fairway.isolate";
const GATEWAY_MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY_MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const COUNT: &str = "com.docker.network.advertise_addr_nmsgs";
const INTERVAL: &str = "com.docker.network.advertise_addr_ms";

/// Parses the driver options of an endpoint; returns warnings too.
///
/// # Errors
/// [`Refusal::InvalidOption`] with the name of the option.
pub(super) fn endpoint_options(
    options: &BTreeMap<String, String>,
) -> Result<(EndpointOptions, Vec<String>), Refusal> {
    let (mut read, mut warnings) = (EndpointOptions::default(), Vec::new());
    for (name, value) in options {
        let given = Given { name, value };
        match name.as_str() {
            "com.docker.network.endpoint.ifname" => read.interface = Some(given.interface()?),
            "com.docker.network.endpoint.sysctls" => read.sysctls = given.sysctls()?,
            COUNT => read.advertise_count = Some(given.within(&ADVERTISE_COUNT, "announcements")?),
            METRIC => read.routes.metric = Some(given.metric()?),
            DEFAULT_ROUTE => read.routes.default_route = Some(given.flag()?),
            ROUTES => read.routes.routes = Some(given.routes()?),
            HOST_INTERFACE => read.host_interface = Some(given.host_interface()?),
            INTERVAL => read.advertise_interval = Some(given.within(&ADVERTISE_INTERVAL, "milliseconds")?),
            other if rate::is_option(other) => {}
            other => warnings.extend(unknown(other)),
        }
    }
    (read.ingress, read.egress) = rate::limits(options)?;
    Ok((read, warnings))
}

mod rate;
mod table;

pub(super) use rate::check_can_be_limited;
pub use table::{NETWORK_OPTIONS, NetworkOption};

#[cfg(test)]
mod tests;
