//! Reads netlink attributes: type, length, value.

#![warn(clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::align;

/// `NLA_TYPE_MASK`: without the flags for nesting and byte order.
const TYPE_MASK: u16 = 0x3fff;

/// One attribute of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without flags.
    pub kind: u16,
    /// Its bytes.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as one byte.
    pub fn u8(&self) -> Option<u8> {
        self.value.first().copied()
    }

    /// The value as two bytes in the machine's order.
    pub fn u16(&self) -> Option<u16> {
        self.value.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
    }

    /// The value as four bytes in the machine's order.
    pub fn u32(&self) -> Option<u32> {
        self.value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    /// The value as eight bytes in the machine's order.
    pub fn u64(&self) -> Option<u64> {
        self.value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    /// The value as four signed bytes in the machine's order.
    pub fn i32(&self) -> Option<i32> {
        self.value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
    }

    /// The value as two bytes in network order.
    pub fn be16(&self) -> Option<u16> {
        self.value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// The value as four bytes in network order.
    pub fn be32(&self) -> Option<u32> {
        self.value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The value as eight bytes in network order.
    pub fn be64(&self) -> Option<u64> {
        self.value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// The value as text, up to its first zero byte; none if it is not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        let text = self.value.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()
    }

    /// The value as an address: four bytes are IPv4, sixteen IPv6.
    pub fn address(&self) -> Option<IpAddr> {
        match self.value.len() {
            4 => <[u8; 4]>::try_from(self.value).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
            16 => <[u8; 16]>::try_from(self.value).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
            _ => None,
        }
    }

    /// The attributes within the value.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// The attributes in a range of bytes. It ends at the first invalid length.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads attributes from `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first attribute of that type.
    pub fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |attribute| attribute.kind == kind)
    }

    /// The attributes nested in the first attribute of that type; none if there is none.
    pub fn nested(self, kind: u16) -> Attributes<'a> {
        self.find(kind).map_or(Self::new(&[]), |attribute| attribute.nested())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [a, b, c, d] = *self.rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let kind = u16::from_ne_bytes([c, d]) & TYPE_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}
