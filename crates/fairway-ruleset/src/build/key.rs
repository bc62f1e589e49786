//! The bytes of keys and values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_model::{MacAddress, Protocol};

/// A key or value in the making, part by part.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct KeyBuilder(Vec<Vec<u8>>);

/// Begins a key or value.
pub fn key() -> KeyBuilder {
    KeyBuilder::default()
}

impl KeyBuilder {
    /// A part of these bytes.
    pub fn part(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push(bytes.into());
        self
    }

    /// An address of either family.
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.ipv4(address),
            IpAddr::V6(address) => self.ipv6(address),
        }
    }

    /// An IPv4 address.
    pub fn ipv4(self, address: Ipv4Addr) -> Self {
        self.part(address.octets())
    }

    /// An IPv6 address.
    pub fn ipv6(self, address: Ipv6Addr) -> Self {
        self.part(address.octets())
    }

    /// A hardware address.
    pub fn ether(self, address: MacAddress) -> Self {
        self.part(address.0)
    }

    /// A transport protocol.
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.part([protocol.number()])
    }

    /// A port.
    pub fn port(self, port: u16) -> Self {
        self.part(port.to_be_bytes())
    }

    /// The name of an interface.
    pub fn interface(self, name: &str) -> Self {
        self.part(super::interface_name(name))
    }

    /// A number in the host's order: a mark, a user, the index of an interface.
    pub fn number(self, number: u32) -> Self {
        self.part(number.to_ne_bytes())
    }

    /// The bytes: those of the only part, or of all, each padded to four bytes.
    pub fn bytes(mut self) -> Vec<u8> {
        if self.0.len() > 1 {
            for part in &mut self.0 {
                part.resize(part.len().next_multiple_of(4), 0);
            }
        }
        self.0.concat()
    }
}

impl From<KeyBuilder> for Vec<u8> {
    fn from(builder: KeyBuilder) -> Self {
        builder.bytes()
    }
}
