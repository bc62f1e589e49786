//! What passes published ports, counted.
//!
//! A counter on each element that publishes would triple the cost of publishing. So nothing is counted there:
//! packets themselves put the port that their flow asked for into a set whose elements count, as they leave the host's
//! network stack, and only those of flows that were translated on their way to one of our networks.

use std::net::{IpAddr, SocketAddr};

use crate::object::SetName;
use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, CtDirection, CtKey, Datatype, Family, Hook, Load, Set, rule};

/// After translation of the source, when nothing drops any more.
const LAST: i32 = 300;
/// How many ports and host addresses are counted; beyond, packets are not.
const SIZE: u32 = 262_144;
const COUNT: &str = "count";
const INTO: &str = "count-published";

/// The set of a family.
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

/// The chains that put packets there: those that leave, forwarded or not, and those that the host itself gets as
/// answers.
pub(super) fn chains() -> [Chain; 4] {
    let asked = |key| Load::Ct(key, Some(CtDirection::Original));
    let direction = Load::Ct(CtKey::Direction, None);
    let families = [(Family::Ip, CtKey::DestinationIpv4), (Family::Ip6, CtKey::DestinationIpv6)];
    let into = families.into_iter().fold(Chain::regular(INTO), |chain, (family, address)| {
        let key = [
            Load::Ct(CtKey::TransportProtocol, None),
            asked(address),
            asked(CtKey::DestinationPort),
            direction,
        ];
        chain.with([rule().family(family).count_in(&key, set_name(family == Family::Ip))])
    });
    let ours = |name| rule().is_in(&[name], SetName::Bridges.text()).goto(INTO);
    let translated = || rule().ct_status_dnat().jump(COUNT);
    let base = |name, hook| Chain::base(name, ChainKind::Filter, hook, LAST).with([translated()]);
    [
        base("count-leaving", Hook::Postrouting),
        base("count-arriving", Hook::Input),
        Chain::regular(COUNT).with([ours(Load::OUTPUT_NAME), ours(Load::INPUT_NAME)]),
        into,
    ]
}

/// Whose packets an element counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// The protocol.
    pub protocol: Protocol,
    /// The address and port of the host that the flow asked for.
    pub at: SocketAddr,
    /// Whether they are answers.
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
            protocol: Protocol::ALL.into_iter().find(|known| known.number() == protocol)?,
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
