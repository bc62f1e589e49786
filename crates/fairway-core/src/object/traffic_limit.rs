//! Limits of the traffic of an endpoint, as the kernel's token bucket filter (tc-tbf(8)) has them.

use std::fmt;

use fairway_model::{EndpointId, HOST_INTERFACE_PREFIX, RateLimit};
use serde::{Deserialize, Serialize};

/// How long a packet waits at most, in milliseconds: the reference plugin `bandwidth` of CNI has the same.
const LONGEST_WAIT: u64 = 25;
/// The burst is that of so many milliseconds where none is given.
const DEFAULT_BURST: u64 = 10;
/// The lowest such burst in bytes: what one system call sends, so that segments are not sent one by one.
const LOWEST_DEFAULT_BURST: u64 = 64 * 1024;
/// What an Ethernet frame has besides its packet, with a VLAN tag.
const FRAME_HEADER: u32 = 18;

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// The rate in bytes a second.
    pub rate: u64,
    /// How many bytes may pass at once.
    pub burst: u32,
}

impl TokenBucket {
    /// The bucket of a limit, for packets of at most `mtu` bytes: the largest one fits in.
    pub fn new(limit: RateLimit, mtu: u32) -> Self {
        let rate = limit.rate / 8;
        let default = (rate / 1000).saturating_mul(DEFAULT_BURST).max(LOWEST_DEFAULT_BURST);
        let burst = limit.burst.map_or(default, |bits| bits / 8);
        let burst = u32::try_from(burst).unwrap_or(u32::MAX);
        Self { rate, burst: burst.max(mtu.saturating_add(FRAME_HEADER)) }
    }

    /// How many bytes may be there, the waiting ones with them.
    pub fn limit(&self) -> u32 {
        let waiting = self.rate.saturating_mul(LONGEST_WAIT) / 1000;
        u32::try_from(waiting.saturating_add(self.burst.into())).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for TokenBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit/s, burst {} bytes", self.rate.saturating_mul(8), self.burst)
    }
}

/// The limits of an endpoint's traffic, at the host's end of its veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficLimit {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The host's end of its veth pair.
    pub host_interface: String,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The limit of what goes to the sandbox.
    pub ingress: Option<TokenBucket>,
    /// The limit of what comes from the sandbox.
    pub egress: Option<TokenBucket>,
}

impl TrafficLimit {
    /// The name of the `ifb` link in which packets from the sandbox wait. The kernel queues only what an interface
    /// sends, so that they are sent through another one.
    pub fn buffer_interface(&self) -> String {
        buffer_interface(&self.host_interface)
    }
}

/// The prefix of the names of `ifb` links; the rest is that of the interface's name.
const BUFFER_PREFIX: &str = "fi";

/// The name of the `ifb` link of an interface.
pub fn buffer_interface(host_interface: &str) -> String {
    format!("{BUFFER_PREFIX}{}", host_interface.strip_prefix(HOST_INTERFACE_PREFIX).unwrap_or(host_interface))
}

/// The interface whose `ifb` link has this name.
pub fn interface_of_buffer(name: &str) -> String {
    format!("{HOST_INTERFACE_PREFIX}{}", name.strip_prefix(BUFFER_PREFIX).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_at_least_one_packet() {
        let of = |rate, burst, mtu| TokenBucket::new(RateLimit { rate, burst }, mtu);
        assert_eq!(of(8_000_000, Some(80_000), 1500), TokenBucket { rate: 1_000_000, burst: 10_000 });
        assert_eq!(of(8_000_000, Some(8), 1500).burst, 1518);
        assert_eq!(of(8_000_000, None, 1500).burst, 65_536);
        assert_eq!(of(80_000_000_000, None, 1500).burst, 100_000_000);
        assert_eq!(of(u64::MAX, Some(u64::MAX), u32::MAX).burst, u32::MAX);
    }

    #[test]
    fn the_buffer_and_its_interface_name_one_another() {
        assert_eq!(buffer_interface("fw0e1b250c6a04"), "fi0e1b250c6a04");
        assert_eq!(interface_of_buffer("fi0e1b250c6a04"), "fw0e1b250c6a04");
    }

    #[test]
    fn what_waits_is_gone_in_25_milliseconds() {
        let bucket = TokenBucket { rate: 1_000_000, burst: 10_000 };
        assert_eq!(bucket.limit(), 35_000);
        assert_eq!(TokenBucket { rate: u64::MAX, burst: 1 }.limit(), u32::MAX);
    }
}
