//! Static routes of endpoints.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The type of a route, as `ip route` and netavark's `route_type` name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteType {
    /// Packets leave by the endpoint's interface.
    #[default]
    Unicast,
    /// Packets are dropped silently.
    Blackhole,
    /// Packets are dropped, and the sender gets ICMP host unreachable.
    Unreachable,
    /// Packets are dropped, and the sender gets ICMP administratively prohibited.
    Prohibit,
}

impl RouteType {
    /// All types.
    pub const ALL: [Self; 4] = [Self::Unicast, Self::Blackhole, Self::Unreachable, Self::Prohibit];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        }
    }
}

/// A route in a sandbox by one of its endpoints: `DEST@GATEWAY`, `DEST`, `blackhole:DEST`, `unreachable:DEST` or
/// `prohibit:DEST`, each with an optional `#METRIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StaticRoute {
    /// The destination, host bits zero.
    pub destination: IpNet,
    /// The next hop; none for a destination on the network itself, and for types other than unicast.
    pub gateway: Option<IpAddr>,
    /// The type.
    #[serde(default)]
    pub kind: RouteType,
    /// The metric; none is the kernel's: 0 for IPv4, 1024 for IPv6.
    pub metric: Option<u32>,
}

/// The metric that the kernel gives a route: of IPv6 it is 1024 instead of 0 (`IP6_RT_PRIO_USER`, linux/ipv6_route.h).
pub const fn kernel_metric(metric: Option<u32>, ipv4: bool) -> u32 {
    match (metric, ipv4) {
        (None | Some(0), true) => 0,
        (None | Some(0), false) => 1024,
        (Some(metric), _) => metric,
    }
}

impl StaticRoute {
    /// The metric that the route has in the kernel.
    pub const fn kernel_metric(&self) -> u32 {
        kernel_metric(self.metric, self.destination_is_ipv4())
    }

    /// Whether it is a route of IPv4.
    pub const fn destination_is_ipv4(&self) -> bool {
        matches!(self.destination, IpNet::V4(_))
    }
}

/// The error of a text that is not a static route.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseRouteError {
    /// No known form.
    #[error(
        "invalid route {0:?}: DEST@GATEWAY, as 10.9.0.0/16@172.30.0.9, DEST for a destination on the network itself, \
         or blackhole:DEST, unreachable:DEST or prohibit:DEST is expected, each with an optional #METRIC"
    )]
    Shape(String),
    /// The destination has host bits.
    #[error("invalid destination {0}: it should be {expected}", expected = .0.trunc())]
    HostBits(IpNet),
    /// The metric is no 32-bit number.
    #[error("invalid metric {0:?}: 0 to 4294967295 is expected")]
    Metric(String),
    /// Destination and gateway are of different address families.
    #[error("invalid route {destination}@{gateway}: destination and gateway must be of one address family")]
    Families {
        /// The destination.
        destination: IpNet,
        /// The gateway.
        gateway: IpAddr,
    },
    /// A gateway that no host has.
    #[error("invalid gateway {0}: a unicast address of a host is expected")]
    NotAHost(IpAddr),
    /// A destination that is not a unicast one.
    #[error("invalid destination {0}: a route leads to unicast addresses of other hosts")]
    NotUnicast(IpNet),
    /// A gateway of a route that drops packets.
    #[error("invalid route {0:?}: packets to it are dropped, so that it has no gateway")]
    Needless(String),
}

impl FromStr for StaticRoute {
    type Err = ParseRouteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || ParseRouteError::Shape(text.to_owned());
        let (route, metric) = match text.split_once('#') {
            Some((route, metric)) => {
                let number = metric.parse().map_err(|_| ParseRouteError::Metric(metric.to_owned()))?;
                (route, Some(number))
            }
            None => (text, None),
        };
        let typed = RouteType::ALL.into_iter().find_map(|kind| {
            let rest = route.strip_prefix(kind.name())?.strip_prefix(':')?;
            Some((kind, rest))
        });
        let (kind, route) = typed.unwrap_or((RouteType::Unicast, route));
        let (destination, gateway) = match route.split_once('@') {
            Some((destination, gateway)) => {
                (destination, Some(gateway.parse::<IpAddr>().map_err(|_| shape())?))
            }
            None => (route, None),
        };
        let address = || destination.parse::<IpAddr>().map(IpNet::from);
        let destination: IpNet = destination.parse().or_else(|_| address()).map_err(|_| shape())?;
        if destination != destination.trunc() {
            return Err(ParseRouteError::HostBits(destination));
        }
        let first = destination.addr();
        if first.is_multicast() || first.is_loopback() || is_link_local(first) {
            return Err(ParseRouteError::NotUnicast(destination));
        }
        if let Some(gateway) = gateway {
            if kind != RouteType::Unicast {
                return Err(ParseRouteError::Needless(text.to_owned()));
            }
            if first.is_ipv4() != gateway.is_ipv4() {
                return Err(ParseRouteError::Families { destination, gateway });
            }
            if gateway.is_unspecified() || gateway.is_multicast() || gateway.is_loopback() {
                return Err(ParseRouteError::NotAHost(gateway));
            }
        }
        Ok(Self { destination, gateway, kind, metric })
    }
}

/// Whether an address is one of `fe80::/10`, whose routes the kernel makes.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(&address))
}

impl fmt::Display for StaticRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteType::Unicast {
            write!(f, "{}:", self.kind.name())?;
        }
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, "@{gateway}")?;
        }
        match self.metric {
            Some(metric) => write!(f, "#{metric}"),
            None => Ok(()),
        }
    }
}

/// The options of an endpoint's routes; on a network, those of its endpoints that do not have the option.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteOptions {
    /// `fairway.metric`: the metric of the default route by the endpoint.
    pub metric: Option<u32>,
    /// `fairway.default_route`: whether the default route may be by the endpoint.
    pub default_route: Option<bool>,
    /// `fairway.routes`: the static routes by the endpoint.
    pub routes: Option<Vec<StaticRoute>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_a_destination_a_gateway_a_type_and_a_metric() {
        for text in [
            "10.9.0.0/16@172.30.0.9",
            "10.9.0.0/16@172.30.0.9#50",
            "10.9.0.0/16",
            "0.0.0.0/0@172.30.0.9#200",
            "blackhole:10.9.0.0/16",
            "unreachable:fd09::/48#7",
            "prohibit:fd09::/48",
            "fd09::/48@fd00::9#4294967295",
        ] {
            assert_eq!(text.parse::<StaticRoute>().map(|route| route.to_string()), Ok(text.to_owned()));
        }
        let parsed = |text: &str| text.parse::<StaticRoute>().unwrap().to_string();
        assert_eq!(parsed("unicast:10.9.0.0/16@172.30.0.9"), "10.9.0.0/16@172.30.0.9");
        assert_eq!(parsed("10.9.0.7"), "10.9.0.7/32");
        assert_eq!(parsed("blackhole:fd09::7"), "blackhole:fd09::7/128");
    }

    #[test]
    fn what_is_no_route_is_refused_with_the_reason() {
        let refused = |text: &str| text.parse::<StaticRoute>().expect_err(text).to_string();
        for text in ["", "@", "10.9.0.0/16@", "@10.0.0.1", "10.9.0.0/33", "throw:10.9.0.0/16", "blackhole:"] {
            assert!(refused(text).contains("DEST@GATEWAY"), "{text}");
        }
        assert_eq!(refused("10.9.0.1/16"), "invalid destination 10.9.0.1/16: it should be 10.9.0.0/16");
        for metric in ["", "-1", "4294967296", "1#2"] {
            assert!(refused(&format!("10.9.0.0/16#{metric}")).starts_with("invalid metric"), "{metric}");
        }
        assert!(refused("10.9.0.0/16@fd00::1").contains("one address family"));
        for gateway in ["0.0.0.0", "224.0.0.1", "127.0.0.1"] {
            assert!(
                refused(&format!("10.9.0.0/16@{gateway}")).contains("unicast address of a host"),
                "{gateway}"
            );
        }
        for destination in ["224.0.0.0/4", "127.0.0.0/8", "fe80::/64", "ff00::/8"] {
            assert!(refused(destination).contains("unicast addresses of other hosts"), "{destination}");
        }
        assert!(refused("blackhole:10.9.0.0/16@10.0.0.1").contains("no gateway"));
    }

    #[test]
    fn the_kernel_gives_ipv6_routes_a_metric() {
        let metric = |text: &str| text.parse::<StaticRoute>().unwrap().kernel_metric();
        assert_eq!((metric("10.9.0.0/16"), metric("fd09::/48"), metric("fd09::/48#0")), (0, 1024, 1024));
        assert_eq!((metric("10.9.0.0/16#5"), metric("fd09::/48#5")), (5, 5));
    }
}
