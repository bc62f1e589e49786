//! Encodes DNS answers.

use std::net::IpAddr;

use super::wire::{AD, CD, HEADER, INTERNET, OPCODE, QR, Query, RA, RD, Reply, TC, code, kind};

/// The EDNS payload size that Fairway advertises: what DNS flag day 2020 recommends.
pub(crate) const PAYLOAD: u16 = 1_232;

/// The longest answer over UDP, whatever the client takes. Sandbox and resolver share a loopback interface, where
/// long datagrams are not lost.
const LONGEST_UDP: usize = 4_096;

/// The longest answer over TCP.
pub(crate) const LONGEST_TCP: usize = 65_535;

/// The longest answer that a query over UDP may have (RFC 6891 section 6.2.5).
pub(crate) fn udp_limit(query: &Query) -> usize {
    query.edns.map_or(512, |edns| usize::from(edns.payload).clamp(512, LONGEST_UDP))
}

/// Appends records to an answer, within a limit.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    ttl: u32,
    answers: u16,
    cut: bool,
}

impl Writer<'_> {
    /// Adds a record whose name is the question's.
    fn record(&mut self, kind: u16, data: &[&[u8]]) {
        let length: usize = data.iter().map(|part| part.len()).sum();
        if self.cut || self.out.len() + 12 + length > self.limit {
            self.cut = true;
            return;
        }
        // A pointer to the first name of the message (RFC 1035 section 4.1.4).
        self.out.extend_from_slice(&[0xc0, HEADER as u8]);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&INTERNET.to_be_bytes());
        self.out.extend_from_slice(&self.ttl.to_be_bytes());
        self.out.extend_from_slice(&(length as u16).to_be_bytes());
        data.iter().for_each(|part| self.out.extend_from_slice(part));
        self.answers += 1;
    }
}

/// The flags of an answer to a query with these flags.
fn flags(asked: u16) -> u16 {
    QR | RA | (asked & (OPCODE | RD | CD))
}

fn set(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Appends the EDNS record, if the query had one.
fn edns(out: &mut Vec<u8>, query: &Query, code: u16) {
    let Some(asked) = query.edns else { return };
    out.push(0);
    out.extend_from_slice(&kind::OPT.to_be_bytes());
    out.extend_from_slice(&PAYLOAD.to_be_bytes());
    out.extend_from_slice(&[(code >> 4) as u8, 0, if asked.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
}

/// Begins an answer of at most `limit` bytes: header and question, for `write` to add records with this TTL in seconds.
fn answer(
    out: &mut Vec<u8>,
    packet: &[u8],
    query: &Query,
    (limit, ttl): (usize, u32),
    write: impl FnOnce(&mut Writer<'_>),
) {
    out.clear();
    out.extend_from_slice(packet.get(..query.end).unwrap_or(packet));
    let reserved = if query.edns.is_some() { 11 } else { 0 };
    let mut writer = Writer { out, limit: limit - reserved, ttl, answers: 0, cut: false };
    write(&mut writer);
    let (answers, cut) = (writer.answers, writer.cut);
    set(out, 2, flags(query.flags) | if cut { TC } else { 0 });
    set(out, 6, answers);
    set(out, 8, 0);
    set(out, 10, u16::from(query.edns.is_some()));
    edns(out, query, code::NO_ERROR);
}

/// Answers with addresses of the queried family, within a limit and with a TTL.
pub(crate) fn addresses(
    out: &mut Vec<u8>,
    packet: &[u8],
    query: &Query,
    limit: (usize, u32),
    all: &[IpAddr],
) {
    answer(out, packet, query, limit, |writer| {
        for address in all {
            match address {
                IpAddr::V4(address) => writer.record(kind::A, &[&address.octets()]),
                IpAddr::V6(address) => writer.record(kind::AAAA, &[&address.octets()]),
            }
        }
    });
}

/// Answers with names, within a limit and with a TTL. A text that is no DNS name is left out.
pub(crate) fn names(out: &mut Vec<u8>, packet: &[u8], query: &Query, limit: (usize, u32), all: &[String]) {
    answer(out, packet, query, limit, |writer| {
        for name in all.iter().filter_map(|name| encoded(name)) {
            writer.record(kind::PTR, &[&name]);
        }
    });
}

/// Encodes a name (RFC 1035 section 3.1).
fn encoded(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= 255).then_some(bytes)
}

/// Answers a query with a response code only.
pub(crate) fn only_code(out: &mut Vec<u8>, packet: &[u8], query: &Query, code: u16) {
    answer(out, packet, query, (LONGEST_TCP, 0), |_| {});
    out.truncate(query.end);
    set(out, 2, flags(query.flags) | (code & 0xf));
    edns(out, query, code);
}

/// Answers an unreadable query with a response code.
pub(crate) fn unreadable(out: &mut Vec<u8>, packet: &[u8], code: u16) {
    out.clear();
    let Some([id @ .., flags_high, flags_low]) = packet.first_chunk::<4>() else { return };
    let asked = u16::from_be_bytes([*flags_high, *flags_low]);
    out.extend_from_slice(id);
    out.extend_from_slice(&(flags(asked) | (code & 0xf)).to_be_bytes());
    // No question, no records.
    out.resize(HEADER, 0);
}

/// Passes on a name server's answer, fresh or cached. `packet` is the query, whose spelling of the name the answer
/// repeats; `age` is how old the answer is in seconds.
pub(crate) fn relayed(
    out: &mut Vec<u8>,
    packet: &[u8],
    query: &Query,
    limit: usize,
    (bytes, reply): (&[u8], &Reply),
    age: u32,
) {
    let reserved = if query.edns.is_some() { 11 } else { 0 };
    let fits = reply.end + reserved <= limit;
    let kept = if fits { reply.end } else { query.end };
    out.clear();
    out.extend_from_slice(bytes.get(..kept).unwrap_or(bytes));
    if let (Some(place), Some(question)) = (out.get_mut(HEADER..query.end), packet.get(HEADER..query.end)) {
        place.copy_from_slice(question);
    }
    set(out, 0, query.id);
    let passed = reply.flags & (RA | AD | TC | 0x0400);
    set(out, 2, QR | (query.flags & (RD | CD)) | passed | (reply.code & 0xf) | if fits { 0 } else { TC });
    if fits {
        set(out, 10, reply.additional + u16::from(query.edns.is_some()));
        if age > 0 {
            for at in reply.ttls.iter().map(|at| usize::from(*at)) {
                if let Some(ttl) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                    *ttl = u32::from_be_bytes(*ttl).saturating_sub(age).to_be_bytes();
                }
            }
        }
    } else {
        set(out, 6, 0);
        set(out, 8, 0);
        set(out, 10, u16::from(query.edns.is_some()));
    }
    edns(out, query, reply.code);
}

/// Writes the query that goes to a name server: the question as it was asked, the flags that matter, and Fairway's
/// own EDNS record if the client sent one.
pub(crate) fn upstream_query(out: &mut Vec<u8>, question: &[u8], query: &Query, id: u16) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&(query.flags & (RD | AD | CD)).to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(query.edns.is_some())]);
    out.extend_from_slice(question);
    edns(out, query, code::NO_ERROR);
}
