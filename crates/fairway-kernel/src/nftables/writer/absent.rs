//! Deletes objects that may be absent, on kernels without NFT_MSG_DESTROY*: their existence is checked first. No
//! other socket can change an owned table in between.

use std::collections::BTreeSet;

use crate::netlink::{Attributes, Batch, HEADER_LENGTH};
use crate::nftables::numbers::{self as n, message};
use crate::nftables::transaction::messages;
use crate::nftables::{Error, Reader, Transaction};

/// The kind of a message of a transaction, if it is one of nf_tables.
pub fn kind(transaction: &Transaction, index: usize) -> Option<u16> {
    let bytes = transaction.batch.bytes();
    kind_of(&bytes[messages(bytes).nth(index)?])
}

fn kind_of(message: &[u8]) -> Option<u16> {
    let kind = u16::from_ne_bytes([*message.get(4)?, *message.get(5)?]);
    (kind >> 8 == n::SUBSYSTEM).then_some(kind & 0xff)
}

/// Whether the transaction needs Linux 6.3.
pub fn removes_what_may_be_absent(transaction: &Transaction) -> bool {
    let bytes = transaction.batch.bytes();
    messages(bytes)
        .any(|own| matches!(kind_of(&bytes[own]), Some(message::DESTROY_ELEMENTS | message::DESTROY_TABLE)))
}

/// Converts the deletions to strict ones and drops those of absent objects.
pub fn leave_out(reader: &Reader, transaction: &mut Transaction) -> Result<(), Error> {
    let mut batch = Batch::new();
    let mut origins = Vec::new();
    let old = &transaction.batch;
    for (index, own) in messages(old.bytes()).enumerate() {
        let bytes = &old.bytes()[own];
        let payload = &bytes[HEADER_LENGTH..];
        let (kind, payload) = match kind_of(bytes) {
            Some(message::DESTROY_TABLE) => {
                if !absent(reader, message::GET_TABLE, &[payload.to_vec()])?.is_empty() {
                    continue;
                }
                (n::SUBSYSTEM << 8 | message::DELETE_TABLE, payload.to_vec())
            }
            Some(message::DESTROY_ELEMENTS) => {
                let Some(payload) = present(reader, payload)? else { continue };
                (n::SUBSYSTEM << 8 | message::DELETE_ELEMENTS, payload)
            }
            _ => (u16::from_ne_bytes([bytes[4], bytes[5]]), payload.to_vec()),
        };
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]);
        batch.message(kind, flags, old.label(index).to_owned()).raw(&payload);
        origins.push(index);
    }
    transaction.rebuild(batch, &origins);
    Ok(())
}

/// The payload with only the existing elements; none without any, since an empty list would mean all.
fn present(reader: &Reader, payload: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let entries = entries(payload);
    let queries: Vec<Vec<u8>> = entries.iter().map(|entry| query(payload, &[entry])).collect();
    let absent = absent(reader, message::GET_ELEMENTS, &queries)?;
    let numbered = entries.iter().enumerate();
    let present: Vec<&[u8]> =
        numbered.filter(|(position, _)| !absent.contains(position)).map(|(_, entry)| *entry).collect();
    Ok((!present.is_empty()).then(|| query(payload, &present)))
}

/// The entries of a list of elements, without their attribute's header.
fn entries(payload: &[u8]) -> Vec<&[u8]> {
    let attributes = Attributes::new(payload.get(n::HEADER_LENGTH..).unwrap_or_default());
    attributes.nested(n::element::LIST_ELEMENTS).map(|entry| entry.value).collect()
}

/// The payload of a message about these entries of the same set.
fn query(payload: &[u8], entries: &[&[u8]]) -> Vec<u8> {
    let attributes = Attributes::new(payload.get(n::HEADER_LENGTH..).unwrap_or_default());
    let mut batch = Batch::new();
    let mut message = batch.message(0, 0, "");
    message.raw(&payload[..n::HEADER_LENGTH.min(payload.len())]);
    for kind in [n::element::LIST_TABLE, n::element::LIST_SET] {
        if let Some(name) = attributes.find(kind) {
            message.attribute(kind, name.value);
        }
    }
    if !entries.is_empty() {
        message.nest(n::element::LIST_ELEMENTS, |list| {
            for entry in entries {
                list.nest(n::LIST_ELEMENT, |own| {
                    own.raw(entry);
                });
            }
        });
    }
    drop(message);
    batch.bytes()[HEADER_LENGTH..].to_vec()
}

/// The absent ones of these elements.
fn absent(reader: &Reader, kind: u16, queries: &[Vec<u8>]) -> Result<BTreeSet<usize>, Error> {
    // Each absent element is answered by a refusal, each present one by the element: both have to fit into the
    // receive buffer.
    const AT_ONCE: usize = 100;
    let mut missing = BTreeSet::new();
    for (part, queries) in queries.chunks(AT_ONCE).enumerate() {
        let mut batch = Batch::new();
        for payload in queries {
            batch.message(n::SUBSYSTEM << 8 | kind, 0, "an element to remove").raw(payload);
        }
        let outcome = reader.socket.transact_each(&mut batch)?;
        for refusal in outcome.refusals {
            if refusal.errno != rustix::io::Errno::NOENT {
                return Err(crate::netlink::Error::Refused(refusal).into());
            }
            missing.insert(part * AT_ONCE + refusal.index);
        }
    }
    Ok(missing)
}
