//! Parsers of user input: ports, names, hosts, addresses, sizes, options.
//!
//! Each function parses the value of one flag, from untrusted text. Values that are written to files
//! (names in hosts, search domains and options in resolv.conf) are checked to be one word, so that they
//! cannot add lines. Error messages start with Docker's words.

mod cidr;
mod host;
mod name;
mod option;
mod port;
mod size;

use thiserror::Error;

use super::ParseMacError;
use crate::RefusalKind;

pub use cidr::{cidr, expected_message};
pub use host::{HOST_GATEWAY, add_host, address, dns_option, dns_search, dns_server, ipv4, ipv6, link, mac};
pub use name::{alias, hostname, interface_name, is_alias, is_hostname, is_interface_name, is_name, name};
pub use option::{address_pool, checked_pool, driver_option, label, option, packet_mark};
pub use port::{expose, publish, unpublish};
pub use size::size;

/// The error of a text that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum ParseError {
    #[error("no port specified: {0}<empty>: the port in the container comes last, as in 8080:80")]
    NoPort(String),
    #[error("invalid containerPort: {0}: {PORT}")]
    ContainerPort(String),
    #[error("invalid hostPort: {0}: {PORT}")]
    HostPort(String),
    #[error("invalid port to expose: {0}: {PORT}, then /tcp, /udp or /sctp")]
    ExposedPort(String),
    #[error("invalid proto: {0}: it can be tcp, udp or sctp")]
    Protocol(String),
    #[error(
        "invalid ranges specified for container and host Ports: {container} and {host}: both must be of one length, or the first one port"
    )]
    Ranges { container: String, host: String },
    #[error("invalid {what}: {text}: an address such as {example} is expected")]
    Address { what: &'static str, text: String, example: &'static str },
    #[error(
        "invalid IP address: {0}: an IPv4 address or an IPv6 address in brackets is expected before the host port"
    )]
    HostAddress(String),
    #[error(transparent)]
    Mac(#[from] ParseMacError),
    #[error("{0:?} is not a name: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, up to 128 characters")]
    Name(String),
    #[error(
        "invalid {what}: {text:?}: letters, digits, '-', '_' and '.' are allowed, up to {limit} bytes, with no empty part"
    )]
    HostName { what: &'static str, text: String, limit: usize },
    #[error(
        "invalid interface name: {0:?}: 1 to 15 bytes are allowed, [a-zA-Z0-9_][a-zA-Z0-9_.@=+-]*, and not \"all\" or \"default\""
    )]
    Interface(String),
    #[error(
        "invalid mark {0:?}: MARK or MARK/MASK is expected, such as 0x2/0x3, within 32 bits and within the mask"
    )]
    Mark(String),
    #[error("bad format for add-host: {0:?}: name:address or name:host-gateway is expected")]
    ExtraHost(String),
    #[error("bad format for links: {0:?}: name or name:alias is expected")]
    Link(String),
    #[error("invalid {what}: {text:?}: {expected} is expected")]
    Pair { what: &'static str, text: String, expected: &'static str },
    #[error("invalid log option {name}={value}: {reason}")]
    LogOption { name: String, value: String, reason: String },
    #[error("invalid restart policy: {text}: {reason}")]
    Restart { text: String, reason: String },
    #[error("invalid {what}: {text:?}: {reason}")]
    Limit { what: &'static str, text: String, reason: &'static str },
    #[error("invalid sysctl {text:?}: {reason}")]
    Sysctl { text: String, reason: &'static str },
    #[error("invalid CIDR address: {text}: {reason}")]
    Cidr { text: String, reason: String },
    #[error("invalid DNS option: {0:?}: one word such as ndots:1 is expected")]
    DnsOption(String),
    #[error("invalid default address pool {text:?}: {reason}")]
    Pool { text: String, reason: String },
}

/// The expected form of a port.
const PORT: &str = "a port from 1 to 65535, or a range such as 8000-8010, is expected";

impl ParseError {
    /// The kind of the refusal.
    pub const fn kind(&self) -> RefusalKind {
        RefusalKind::Invalid
    }
}

#[cfg(test)]
mod tests;
