//! Hardware addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text that is not a unicast hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid MAC address: {0}: six hexadecimal bytes joined by colons, the first one even, are expected")]
pub struct ParseMacError(pub String);

/// An Ethernet address (48 bits).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address that Docker 20.10 gives an IPv4 address: 02:42 and its four bytes.
    pub const fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// A locally administered unicast address made of six random bytes.
    pub const fn from_random(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }

    /// The link-local IPv6 address that follows from it (RFC 4291, appendix A), which the kernel gives an
    /// interface unless it is told otherwise.
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

    /// Reads six hexadecimal bytes joined by colons; group addresses are refused, for no
    /// interface can have one.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let error = || ParseMacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(error());
        }
        Ok(Self(bytes))
    }
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
    fn text_and_back() {
        let mac = MacAddress::from_ipv4(Ipv4Addr::new(172, 18, 0, 9));
        assert_eq!(mac.to_string(), "02:42:ac:12:00:09");
        assert_eq!("02:42:ac:12:00:09".parse(), Ok(mac));
    }

    #[test]
    fn random_addresses_are_local_and_unicast() {
        let mac = MacAddress::from_random([0xff; 6]);
        assert_eq!(mac.0[0] & 3, 2);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "02:42", "01:00:5e:00:00:01", "02:42:ac:12:00:09:00", "2:42:ac:12:0:9", "00:00:00:00:00:00"]
        {
            assert!(text.parse::<MacAddress>().is_err(), "{text:?}");
        }
    }
}
