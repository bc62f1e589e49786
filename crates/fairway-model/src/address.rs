//! MAC addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The error of a text that is not a MAC address which an interface can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its field is")]
pub enum ParseMacError {
    #[error("invalid MAC address: {0}: six hexadecimal bytes such as 02:42:ac:11:00:02 are expected")]
    Syntax(String),
    #[error("invalid MAC address: {0}: an interface cannot have the address of zeros: choose another one")]
    Zero(String),
    #[error("invalid MAC address: {0}: an interface cannot have the broadcast address: choose another one")]
    Broadcast(String),
    #[error(
        "invalid MAC address: {0}: an interface cannot have a multicast address: choose one whose first byte is even"
    )]
    Multicast(String),
}

/// A MAC address (48 bits).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The MAC address of an endpoint with this IPv4 address, as in Docker 20.10: 02:42 and the four bytes.
    pub const fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A locally administered unicast address from six random bytes.
    pub const fn from_random(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }

    /// The link-local IPv6 address of an interface with this MAC address (EUI-64; RFC 4291, appendix A), which the
    /// kernel assigns by default.
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    /// Parses six hexadecimal bytes as Docker does: `02:42:ac:11:00:02`, `02-42-ac-11-00-02` or `0242.ac11.0002`.
    /// Rejects addresses that no interface can have.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let bytes = hexadecimal(text).ok_or_else(|| ParseMacError::Syntax(text.to_owned()))?;
        let refuse = match bytes {
            [0, 0, 0, 0, 0, 0] => ParseMacError::Zero,
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => ParseMacError::Broadcast,
            [first, ..] if first & 1 == 1 => ParseMacError::Multicast,
            _ => return Ok(Self(bytes)),
        };
        Err(refuse(text.to_owned()))
    }
}

/// Parses six bytes in groups of one or two.
fn hexadecimal(text: &str) -> Option<[u8; 6]> {
    let (separator, digits) = match text.as_bytes().get(2)? {
        b':' => (':', 2),
        b'-' => ('-', 2),
        _ => ('.', 4),
    };
    let groups: Vec<&str> = text.split(separator).collect();
    let right = |group: &&str| group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.len() * digits != 12 || !groups.iter().all(right) {
        return None;
    }
    let [_, _, bytes @ ..] = u64::from_str_radix(&groups.concat(), 16).ok()?.to_be_bytes();
    Some(bytes)
}

impl TryFrom<String> for MacAddress {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, ParseMacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_parsed_from_its_own_text() {
        let mac = MacAddress::from_ipv4(Ipv4Addr::new(172, 18, 0, 9));
        assert_eq!(mac.to_string(), "02:42:ac:12:00:09");
        assert_eq!("02:42:ac:12:00:09".parse(), Ok(mac));
    }

    #[test]
    fn random_mac_addresses_are_local_and_unicast() {
        let mac = MacAddress::from_random([0xff; 6]);
        assert_eq!(mac.0[0] & 3, 2);
    }

    #[test]
    fn the_three_notations_of_docker_are_parsed() {
        for text in ["02:42:AC:12:00:09", "02-42-ac-12-00-09", "0242.ac12.0009"] {
            assert_eq!(text.parse(), Ok(MacAddress([2, 0x42, 0xac, 0x12, 0, 9])), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected_with_the_reason() {
        let syntax = [
            "",
            "02:42",
            "02:42:ac:12:00:09:00",
            "2:42:ac:12:0:9",
            "+2:42:ac:12:00:09",
            "02:42-ac:12:00:09",
            "0242ac120009",
            "0242.ac12",
            "é:42:ac:12:00:09",
        ];
        for text in syntax {
            assert_eq!(text.parse::<MacAddress>(), Err(ParseMacError::Syntax(text.to_owned())), "{text:?}");
        }
        let zero = "00:00:00:00:00:00";
        assert_eq!(zero.parse::<MacAddress>(), Err(ParseMacError::Zero(zero.to_owned())));
        let broadcast = "ff:ff:ff:ff:ff:ff";
        assert_eq!(broadcast.parse::<MacAddress>(), Err(ParseMacError::Broadcast(broadcast.to_owned())));
        for text in ["01:00:5e:00:00:01", "33:33:00:00:00:01"] {
            assert_eq!(text.parse::<MacAddress>(), Err(ParseMacError::Multicast(text.to_owned())));
        }
    }
}
