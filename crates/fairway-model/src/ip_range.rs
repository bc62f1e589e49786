//! The range of a subnet that addresses are allocated from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::address_range::{AddressRange, key};

/// The range of a subnet that addresses are allocated from: a part with a prefix length, as `--ip-range` of Docker, or all
/// addresses from one to another, as netavark's `lease_range` and CNI's `rangeStart` and `rangeEnd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpRange {
    /// The addresses of a part of the subnet.
    Part(IpNet),
    /// The addresses from the first to the last, both of one family.
    Between(IpAddr, IpAddr),
}

/// The error of a text that is not a range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseIpRangeError {
    /// No known form.
    #[error(
        "an address and a prefix length (10.1.0.128/25) or two addresses (10.1.0.10-10.1.0.50) are expected"
    )]
    Shape,
    /// The addresses are of different families.
    #[error("{0} and {1} must be of one address family")]
    Families(IpAddr, IpAddr),
    /// The last address is before the first one.
    #[error("{1} is before {0}")]
    Backwards(IpAddr, IpAddr),
}

impl IpRange {
    /// The addresses.
    pub fn addresses(self) -> AddressRange {
        match self {
            Self::Part(part) => AddressRange::of(part),
            Self::Between(first, last) => AddressRange { first: key(first), last: key(last) },
        }
    }

    /// Whether it is a range of IPv4 addresses.
    pub const fn is_ipv4(self) -> bool {
        matches!(self, Self::Part(IpNet::V4(_)) | Self::Between(IpAddr::V4(_), _))
    }

    /// Whether it contains an address.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && self.addresses().contains(key(address))
    }

    /// Whether all of its addresses are in a subnet.
    pub fn is_within(self, subnet: IpNet) -> bool {
        let (own, whole) = (self.addresses(), AddressRange::of(subnet));
        self.is_ipv4() == subnet.addr().is_ipv4() && whole.contains(own.first) && whole.contains(own.last)
    }

    /// The number of addresses, at most 2^64 - 1.
    pub fn size(self) -> u64 {
        let AddressRange { first, last } = self.addresses();
        u64::try_from((last - first).saturating_add(1)).unwrap_or(u64::MAX)
    }
}

impl From<IpNet> for IpRange {
    fn from(part: IpNet) -> Self {
        Self::Part(part)
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) => part.fmt(f),
            Self::Between(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for IpRange {
    type Err = ParseIpRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = |_| ParseIpRangeError::Shape;
        let Some((first, last)) = text.split_once('-') else {
            return text.parse().map(Self::Part).map_err(|_| ParseIpRangeError::Shape);
        };
        let (first, last): (IpAddr, IpAddr) =
            (first.trim().parse().map_err(shape)?, last.trim().parse().map_err(shape)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(ParseIpRangeError::Families(first, last));
        }
        match key(first) <= key(last) {
            true => Ok(Self::Between(first, last)),
            false => Err(ParseIpRangeError::Backwards(first, last)),
        }
    }
}

impl TryFrom<String> for IpRange {
    type Error = ParseIpRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IpRange> for String {
    fn from(range: IpRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_a_part_of_a_subnet_or_goes_from_one_address_to_another() {
        for text in ["10.1.0.128/25", "fd00::/112", "10.1.0.10-10.1.0.50", "fd00::9-fd00::9"] {
            assert_eq!(range(text).to_string(), text);
            let json = format!("{text:?}");
            assert_eq!(serde_json::to_string(&range(text)).unwrap(), json);
            assert_eq!(serde_json::from_str::<IpRange>(&json).unwrap(), range(text));
        }
        let refused = |text: &str| text.parse::<IpRange>().unwrap_err();
        for text in ["", "10.1.0.1", "10.1.0.1-", "-10.1.0.9", "10.1.0.1-9", "10.1.0.0/24-10.1.1.0/24"] {
            assert_eq!(refused(text), ParseIpRangeError::Shape, "{text}");
        }
        assert_eq!(
            refused("10.1.0.1-fd00::1").to_string(),
            "10.1.0.1 and fd00::1 must be of one address family"
        );
        assert_eq!(refused("10.1.0.9-10.1.0.1").to_string(), "10.1.0.1 is before 10.1.0.9");
    }

    #[test]
    fn a_range_has_addresses_of_one_family() {
        let between = range("10.1.0.10-10.1.0.50");
        let contains = |address: &str| between.contains(address.parse().unwrap());
        assert!(contains("10.1.0.10") && contains("10.1.0.50"));
        assert!(!contains("10.1.0.9") && !contains("10.1.0.51") && !contains("::ffff:10.1.0.10"));
        assert_eq!((between.size(), range("10.1.0.128/25").size()), (41, 128));
        assert_eq!((range("fd00::/64").size(), range("::/0").size()), (u64::MAX, u64::MAX));
        let within = |range: IpRange, subnet: &str| range.is_within(subnet.parse().unwrap());
        assert!(within(between, "10.1.0.0/26") && !within(between, "10.1.0.0/27"));
        assert!(
            within(range("10.1.0.128/25"), "10.1.0.0/24") && !within(range("10.1.0.0/23"), "10.1.0.0/24")
        );
        assert!(!within(between, "::ffff:0:0/96"));
    }
}
