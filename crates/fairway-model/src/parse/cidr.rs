//! Addresses with a prefix length.

use std::net::IpAddr;
use std::str::FromStr;

use super::ParseError;

/// Parses an address with a prefix length, of the family of the example (`172.17.0.1/16`).
///
/// # Errors
/// [`ParseError::Cidr`] with the missing part.
pub fn cidr<T: FromStr>(text: &str, example: &str) -> Result<T, ParseError> {
    text.parse().map_err(|_| ParseError::Cidr {
        text: text.to_owned(),
        reason: expected_message(text, &format!("one such as {example}")),
    })
}

/// The reason for an error about a text that should be an address with a prefix length.
pub fn expected_message(text: &str, expected: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(_) => format!("the prefix length is missing: {expected} is expected"),
        Err(_) => format!("{expected} is expected"),
    }
}

#[cfg(test)]
mod tests {
    use ipnet::{IpNet, Ipv4Net};

    use super::*;
    use crate::Peer;
    use crate::parse::address_pool;

    #[test]
    fn errors_name_a_missing_prefix_length() {
        let missing = "the prefix length is missing";
        let texts = [
            cidr::<Ipv4Net>("172.17.0.1", "172.17.0.1/16").unwrap_err().to_string(),
            cidr::<IpNet>("fd00::1", "fd00::1/64").unwrap_err().to_string(),
            address_pool("base=10.0.0.0,size=24").unwrap_err().to_string(),
            "172.30.2.0@10.10.50.98".parse::<Peer>().unwrap_err().to_string(),
        ];
        for text in texts {
            assert!(text.contains(missing), "{text}");
        }
        let other = cidr::<Ipv4Net>("fd00::1/64", "172.17.0.1/16").unwrap_err().to_string();
        assert_eq!(other, "invalid CIDR address: fd00::1/64: one such as 172.17.0.1/16 is expected");
    }
}
