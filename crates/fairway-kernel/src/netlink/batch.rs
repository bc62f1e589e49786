//! Builds netlink messages: several in one buffer, sent at once.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{HEADER_LENGTH, align};

const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
const NLA_F_NESTED: u16 = libc::NLA_F_NESTED as u16;

#[derive(Debug, Clone)]
struct Record {
    start: usize,
    label: Cow<'static, str>,
}

/// Messages that are sent at once, each with a label for error messages.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// The first message that holds an attribute longer than 65,535 bytes.
    oversized: Option<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a message of type `kind`. `NLM_F_REQUEST` is added to `flags`. It is complete when the builder is
    /// dropped.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        label: impl Into<Cow<'static, str>>,
    ) -> MessageBuilder<'_> {
        let start = self.bytes.len();
        self.records.push(Record { start, label: label.into() });
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        MessageBuilder { batch: self, start }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The messages as they are sent; sequence numbers are zero until a socket sends them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The label of a message.
    pub fn label(&self, index: usize) -> &str {
        self.records.get(index).map_or("", |record| record.label.as_ref())
    }

    /// The first message with an attribute that is too long.
    pub(super) fn oversized(&self) -> Option<usize> {
        self.oversized
    }

    /// Sets the sequence numbers, beginning with `first`.
    pub(super) fn number(&mut self, first: u32) {
        let mut sequence = first;
        for record in &self.records {
            self.bytes[record.start + 8..record.start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        }
    }

    /// The type of a message.
    pub(super) fn kind(&self, index: usize) -> u16 {
        let start = self.records[index].start;
        u16::from_ne_bytes([self.bytes[start + 4], self.bytes[start + 5]])
    }

    /// Requests an acknowledgment of a message.
    pub(super) fn acknowledge(&mut self, index: usize) {
        let at = self.records[index].start + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | NLM_F_ACK;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }
}

/// Appends to one message, and maintains lengths and padding.
#[derive(Debug)]
pub struct MessageBuilder<'a> {
    batch: &'a mut Batch,
    start: usize,
}

impl MessageBuilder<'_> {
    /// Appends bytes as they are, padded to four: the header of a family.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.batch.bytes.extend_from_slice(bytes);
        self.pad()
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.batch.bytes.extend_from_slice(value);
        self.close(start)
    }

    /// Appends a flag: an attribute without a value.
    pub fn flag(&mut self, kind: u16) -> &mut Self {
        self.attribute(kind, &[])
    }

    /// Appends a byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.attribute(kind, &[value])
    }

    /// Appends two bytes in the machine's order.
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends four bytes in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends eight bytes in the machine's order.
    pub fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends two bytes in network order.
    pub fn be16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends four bytes in network order.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends eight bytes in network order.
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends text and a zero byte.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.batch.bytes.extend_from_slice(value.as_bytes());
        self.batch.bytes.push(0);
        self.close(start)
    }

    /// Appends the four or sixteen bytes of an address.
    pub fn address(&mut self, kind: u16, value: IpAddr) -> &mut Self {
        match value {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// Appends an attribute with `NLA_F_NESTED` that holds what `fill` appends.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest_plain(kind | NLA_F_NESTED, fill)
    }

    /// Like [`Self::nest`] without `NLA_F_NESTED`, as a few old attributes need it.
    pub fn nest_plain(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open(kind);
        fill(self);
        self.close(start)
    }

    /// How many bytes the message has so far.
    pub fn size(&self) -> usize {
        self.batch.bytes.len() - self.start
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.batch.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) -> &mut Self {
        match u16::try_from(self.batch.bytes.len() - start) {
            Ok(length) => self.batch.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => {
                let index = self.batch.records.len() - 1;
                self.batch.oversized.get_or_insert(index);
            }
        }
        self.pad()
    }

    fn pad(&mut self) -> &mut Self {
        // Messages begin aligned, so the padding follows from the buffer's length.
        let length = align(self.batch.bytes.len());
        self.batch.bytes.resize(length, 0);
        self
    }
}

impl Drop for MessageBuilder<'_> {
    fn drop(&mut self) {
        debug_assert!(self.batch.bytes.len() - self.start >= HEADER_LENGTH);
        // No message comes near 4 GiB; the kernel refuses a wrong length as malformed.
        let length = u32::try_from(self.batch.bytes.len() - self.start).unwrap_or(u32::MAX);
        self.batch.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}
