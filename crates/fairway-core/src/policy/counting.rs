//! Counts the packets of published ports.
//!
//! A counter on each element of the map of published ports would triple the cost of publishing. So packets are counted
//! elsewhere: as they leave the host's network stack, rules add the original destination of their flow to a set whose
//! elements count, and only for flows that were translated on their way to one of our networks.

use std::net::{IpAddr, SocketAddr};

use crate::object::SetName;
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, CtDirection, CtKey, Datatype, Family, Hook, Load, Set, rule};

/// After source NAT, where no rule drops any more.
const LAST: i32 = 300;
/// The most ports and host addresses that are counted.
const SIZE: u32 = 262_144;
const COUNT: &str = "count";
const COUNT_PUBLISHED: &str = "count-published";

/// The set that counts the packets of a family.
pub const fn set_name(ipv4: bool) -> &'static str {
    if ipv4 { "traffic4" } else { "traffic6" }
}

/// The sets that count.
pub(super) fn sets() -> [Set; 2] {
    use Datatype::{CtDirection, InetProtocol, InetService, Ipv4Address, Ipv6Address};
    [
        Set::new(set_name(true), [InetProtocol, Ipv4Address, InetService, CtDirection]),
        Set::new(set_name(false), [InetProtocol, Ipv6Address, InetService, CtDirection]),
    ]
    .map(|set| set.counted().filled_by_rules(SIZE))
}

/// The chains that count: packets that leave, forwarded or not, and replies to the host itself.
pub(super) fn chains() -> [Chain; 4] {
    let original = |key| Load::Ct(key, Some(CtDirection::Original));
    let direction = Load::Ct(CtKey::Direction, None);
    let families = [(Family::Ip, CtKey::DestinationIpv4), (Family::Ip6, CtKey::DestinationIpv6)];
    let published = families.into_iter().fold(Chain::regular(COUNT_PUBLISHED), |chain, (family, address)| {
        let key = [
            Load::Ct(CtKey::TransportProtocol, None),
            original(address),
            original(CtKey::DestinationPort),
            direction,
        ];
        chain.with([rule().family(family).count_in(&key, set_name(family == Family::Ip))])
    });
    let ours = |name| rule().is_in(&[name], SetName::Bridges.text()).goto(COUNT_PUBLISHED);
    let translated = || rule().ct_status_dnat().jump(COUNT);
    let base = |name, hook| Chain::base(name, ChainKind::Filter, hook, LAST).with([translated()]);
    [
        base("count-postrouting", Hook::Postrouting),
        base("count-input", Hook::Input),
        Chain::regular(COUNT).with([ours(Load::OUTPUT_NAME), ours(Load::INPUT_NAME)]),
        published,
    ]
}

/// The packets that an element of these sets counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The original destination of the flow: an address and a published port of the host.
    pub at: SocketAddr,
    /// Whether they are replies.
    pub answers: bool,
}

impl Counted {
    /// Reads the key of an element; none for protocols that are not published.
    pub fn of(key: &[u8]) -> Option<Self> {
        const PART: usize = 4;
        let length = key.len().checked_sub(3 * PART)?;
        let (protocol, rest) = key.split_at_checked(PART)?;
        let (address, rest) = rest.split_at_checked(length)?;
        let address = match length {
            4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        };
        let protocol = *protocol.first()?;
        let port = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        Some(Self {
            protocol: Protocol::from_number(protocol)?,
            at: SocketAddr::new(address, port),
            answers: *rest.get(PART)? == CtDirection::Reply.number(),
        })
    }

    /// The key of the element.
    pub fn key(&self) -> Vec<u8> {
        let direction = if self.answers { CtDirection::Reply } else { CtDirection::Original };
        let key = fairway_ruleset::key().protocol(self.protocol).address(self.at.ip()).port(self.at.port());
        key.part([direction.number()]).bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_made() {
        for at in ["10.1.2.3:8080", "[fd00::1]:53"] {
            for protocol in Protocol::ALL {
                for answers in [false, true] {
                    let counted = Counted { protocol, at: at.parse().unwrap(), answers };
                    assert_eq!(Counted::of(&counted.key()), Some(counted));
                }
            }
        }
        assert_eq!(Counted::of(&[0; 3]), None);
    }
}
