//! Addresses of name servers.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The address of a name server, with the scope of a link-local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NameServer {
    /// The address.
    pub address: IpAddr,
    /// The index of the host's interface (RFC 4007), as in `fe80::1%2`; 0 for an address without a scope.
    pub scope: u32,
}

impl NameServer {
    /// Parses a name server of resolv.conf, such as `192.0.2.1` or `fe80::1%eth0`. `index` looks up the index of an
    /// interface by name.
    pub fn parse(text: &str, index: impl FnOnce(&str) -> Option<u32>) -> Option<Self> {
        let Some((address, zone)) = text.split_once('%') else { return text.parse().ok() };
        let address: Ipv6Addr = address.parse().ok()?;
        let scope = zone.parse().ok().or_else(|| index(zone))?;
        Some(Self { address: address.into(), scope })
    }

    /// Whether the resolver must query this server from the host's network namespace, since it has a loopback address
    /// or one with a scope. Other servers are queried from the sandbox's namespace.
    pub fn queried_from_host(&self) -> bool {
        self.address.is_loopback() || self.scope != 0
    }
}

impl From<IpAddr> for NameServer {
    fn from(address: IpAddr) -> Self {
        Self { address, scope: 0 }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            0 => write!(f, "{}", self.address),
            scope => write!(f, "{}%{scope}", self.address),
        }
    }
}

/// The error of a text that is not a name server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameServerError {
    /// Invalid address.
    #[error("invalid address of a name server: {0}")]
    Address(#[from] std::net::AddrParseError),
    /// Invalid scope.
    #[error("invalid scope of a name server: {0}: the index of an interface is expected")]
    Scope(#[from] ParseIntError),
}

impl FromStr for NameServer {
    type Err = NameServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('%') {
            Some((address, scope)) => Ok(Self { address: address.parse()?, scope: scope.parse()? }),
            None => Ok(Self::from(text.parse::<IpAddr>()?)),
        }
    }
}

impl TryFrom<String> for NameServer {
    type Error = NameServerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NameServer> for String {
    fn from(server: NameServer) -> Self {
        server.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_scoped_servers_are_queried_from_the_host() {
        let eth0 = |name: &str| (name == "eth0").then_some(2);
        for (text, from_host) in [
            ("192.0.2.1", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
            ("127.0.0.53", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("fe80::1%eth0", true),
            ("fe80::1%7", true),
        ] {
            let server = NameServer::parse(text, eth0).unwrap();
            assert_eq!(server.queried_from_host(), from_host, "{text}");
            assert_eq!(server.to_string().parse(), Ok(server), "{text}");
        }
        assert_eq!(NameServer::parse("fe80::1%eth0", eth0).map(|server| server.scope), Some(2));
        for text in ["fe80::1%eth1", "192.0.2.1%eth0", "example", ""] {
            assert_eq!(NameServer::parse(text, eth0), None, "{text}");
        }
    }

    #[test]
    fn a_server_without_a_scope_is_stored_as_an_address() {
        let server = NameServer::from(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(String::from(server), "192.0.2.1");
        assert_eq!(NameServer::try_from("fe80::1%3".to_owned()).map(|server| server.scope), Ok(3));
    }
}
