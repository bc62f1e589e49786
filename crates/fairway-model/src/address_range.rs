//! Ranges of IP addresses of both families, as ranges of numbers.

use std::net::IpAddr;

use ipnet::IpNet;

/// The number of an address. IPv4 addresses are mapped into IPv6 (RFC 4291, section 2.5.5.2), so that addresses of
/// both families have distinct numbers.
pub fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of a number.
pub fn address(key: u128) -> IpAddr {
    IpAddr::V6(key.into()).to_canonical()
}

/// A range of addresses, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    /// The first address.
    pub first: u128,
    /// The last address.
    pub last: u128,
}

impl AddressRange {
    /// All addresses of a subnet.
    pub fn of(subnet: IpNet) -> Self {
        Self { first: key(subnet.network()), last: key(subnet.broadcast()) }
    }

    /// The addresses of a subnet that an interface can have: in IPv4 all but the network address and the broadcast
    /// address, and both of a /31 (RFC 3021); in IPv6 all but the subnet-router anycast address (RFC 4291, section
    /// 2.6.1), and both of a /127 (RFC 6164).
    pub fn usable(subnet: IpNet) -> Self {
        let Self { first, last } = Self::of(subnet);
        if last - first < 2 {
            Self { first, last }
        } else if subnet.addr().is_ipv4() {
            Self { first: first + 1, last: last - 1 }
        } else {
            Self { first: first + 1, last }
        }
    }

    /// Whether the range contains an address.
    pub const fn contains(self, key: u128) -> bool {
        self.first <= key && key <= self.last
    }

    /// Whether two ranges share an address.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The addresses that two ranges have in common; none if there are none.
    pub fn intersection(self, other: Self) -> Option<Self> {
        self.overlaps(other)
            .then(|| Self { first: self.first.max(other.first), last: self.last.min(other.last) })
    }
}

/// Whether two subnets share an address. Subnets of different families do not.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    one.addr().is_ipv4() == other.addr().is_ipv4() && AddressRange::of(one).overlaps(AddressRange::of(other))
}

/// The reason why no endpoint can have addresses of a subnet; none if no part of the subnet is reserved.
pub fn reserved_reason(subnet: IpNet) -> Option<&'static str> {
    const RESERVED: [(&str, &str); 8] = [
        ("127.0.0.0/8", "127.0.0.0/8 is loopback"),
        ("169.254.0.0/16", "169.254.0.0/16 is link-local"),
        ("224.0.0.0/4", "224.0.0.0/4 is multicast"),
        ("255.255.255.255/32", "255.255.255.255 is broadcast"),
        ("::1/128", "::1 is loopback"),
        ("::ffff:0:0/96", "::ffff:0:0/96 is IPv4-mapped IPv6"),
        ("fe80::/10", "fe80::/10 is link-local"),
        ("ff00::/8", "ff00::/8 is multicast"),
    ];
    RESERVED
        .into_iter()
        .find(|(reserved, _)| reserved.parse().is_ok_and(|reserved| overlap(subnet, reserved)))
        .map(|(_, reason)| reason)
}
