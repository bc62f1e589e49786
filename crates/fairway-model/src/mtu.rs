//! Limits of MTUs, in bytes.

use std::ops::RangeInclusive;

/// The MTUs of networks: from the minimum of IPv4 (RFC 791) to the maximum packet size of IP.
pub const MTU_RANGE: RangeInclusive<u32> = 68..=65_535;
/// The minimum MTU of IPv6 (RFC 8200, section 5).
pub const IPV6_MIN_MTU: u32 = 1280;
