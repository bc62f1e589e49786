//! Parses DNS messages (RFC 1035 section 4, RFC 6891), as far as a forwarding resolver needs it.

use std::ops::Range;

/// The length of a message's header.
pub(crate) const HEADER: usize = 12;

/// The flag of a response (RFC 1035 section 4.1.1).
pub(crate) const QR: u16 = 0x8000;
/// The opcode; 0 is a standard query.
pub(crate) const OPCODE: u16 = 0x7800;
/// Truncated.
pub(crate) const TC: u16 = 0x0200;
/// Recursion desired.
pub(crate) const RD: u16 = 0x0100;
/// Recursion available.
pub(crate) const RA: u16 = 0x0080;
/// Authenticated data (RFC 6840 section 5.7).
pub(crate) const AD: u16 = 0x0020;
/// Checking disabled (RFC 4035 section 3.2.2).
pub(crate) const CD: u16 = 0x0010;

/// Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9).
pub(crate) mod code {
    /// No error.
    pub const NO_ERROR: u16 = 0;
    /// The query cannot be read.
    pub const FORMAT_ERROR: u16 = 1;
    /// The server failed.
    pub const SERVER_FAILURE: u16 = 2;
    /// There is no such name.
    pub const NO_SUCH_NAME: u16 = 3;
    /// Such a query is not supported.
    pub const NOT_IMPLEMENTED: u16 = 4;
    /// The server refuses.
    pub const REFUSED: u16 = 5;
    /// The version of EDNS is not supported.
    pub const BAD_VERSION: u16 = 16;
}

/// Record types (IANA).
pub(crate) mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Pointer.
    pub const PTR: u16 = 12;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// Zone transfers, which answer in many messages.
    pub const TRANSFERS: std::ops::RangeInclusive<u16> = 251..=252;
}

/// The class of the Internet.
pub(crate) const INTERNET: u16 = 1;

/// The EDNS record of a query (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The longest UDP message that the client takes, in bytes.
    pub payload: u16,
    /// The DO flag: the client wants DNSSEC records.
    pub dnssec: bool,
}

/// A parsed query header and question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query {
    /// Its identifier.
    pub id: u16,
    /// Its flags.
    pub flags: u16,
    /// The queried type.
    pub kind: u16,
    /// The queried class.
    pub class: u16,
    /// The offset of the question's end; it begins after the header.
    pub end: usize,
    /// Its EDNS part.
    pub edns: Option<Edns>,
}

/// Why a query is not answered normally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Not a query: no answer.
    Silent,
    /// Answered with this response code.
    Code(u16),
}

/// A message that is shorter than its counts and lengths say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Two bytes, in network order.
pub(crate) fn word(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let pair = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
    Ok(u16::from_be_bytes(*pair))
}

fn long(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    Ok(u32::from(word(bytes, at)?) << 16 | u32::from(word(bytes, at + 2)?))
}

/// Skips a name, compressed or not, and returns the offset of its end.
fn skip_name(bytes: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match *bytes.get(at).ok_or(Malformed)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return if at + 2 <= bytes.len() { Ok(at + 2) } else { Err(Malformed) },
            _ => return Err(Malformed),
        }
    }
}

/// Reads the uncompressed name at `at` into `text`: in lower case, labels joined by dots. A name that has no
/// unambiguous text (a label with a dot in it) leaves it empty.
fn read_name(bytes: &[u8], mut at: usize, text: &mut String) -> Result<usize, Malformed> {
    text.clear();
    let start = at;
    let mut plain = true;
    loop {
        let length = usize::from(*bytes.get(at).ok_or(Malformed)?);
        if length == 0 {
            break;
        }
        if length > 63 {
            return Err(Malformed);
        }
        if !text.is_empty() {
            text.push('.');
        }
        for byte in bytes.get(at + 1..at + 1 + length).ok_or(Malformed)? {
            plain &= byte.is_ascii_graphic() && *byte != b'.';
            text.push(char::from(byte.to_ascii_lowercase()));
        }
        at += 1 + length;
        // RFC 1035 section 3.1: 255 bytes with the last, empty label.
        if at - start > 254 {
            return Err(Malformed);
        }
    }
    if !plain {
        text.clear();
    }
    Ok(at + 1)
}

/// The header of a resource record.
struct RecordHead {
    kind: u16,
    class: u16,
    ttl: u32,
    /// The offset of the TTL.
    ttl_at: usize,
    data: Range<usize>,
}

fn record(bytes: &[u8], at: usize) -> Result<RecordHead, Malformed> {
    let name_end = skip_name(bytes, at)?;
    let start = name_end + 10;
    let end = start + usize::from(word(bytes, name_end + 8)?);
    if end > bytes.len() {
        return Err(Malformed);
    }
    Ok(RecordHead {
        kind: word(bytes, name_end)?,
        class: word(bytes, name_end + 2)?,
        ttl: long(bytes, name_end + 4)?,
        ttl_at: name_end + 4,
        data: start..end,
    })
}

/// Parses a query and puts its name into `text`.
pub(crate) fn query(bytes: &[u8], text: &mut String) -> Result<Query, Unfit> {
    let flags = word(bytes, 2).map_err(|_| Unfit::Silent)?;
    if bytes.len() < HEADER || flags & QR != 0 {
        return Err(Unfit::Silent);
    }
    if flags & OPCODE != 0 {
        return Err(Unfit::Code(code::NOT_IMPLEMENTED));
    }
    let query = read_query(bytes, flags, text).map_err(|Malformed| Unfit::Code(code::FORMAT_ERROR))?;
    if kind::TRANSFERS.contains(&query.kind) {
        return Err(Unfit::Code(code::NOT_IMPLEMENTED));
    }
    Ok(query)
}

fn read_query(bytes: &[u8], flags: u16, text: &mut String) -> Result<Query, Malformed> {
    if word(bytes, 4)? != 1 {
        return Err(Malformed);
    }
    let name_end = read_name(bytes, HEADER, text)?;
    let mut query = Query {
        id: word(bytes, 0)?,
        flags,
        kind: word(bytes, name_end)?,
        class: word(bytes, name_end + 2)?,
        end: name_end + 4,
        edns: None,
    };
    let others = usize::from(word(bytes, 6)?) + usize::from(word(bytes, 8)?);
    let additional = usize::from(word(bytes, 10)?);
    let mut at = query.end;
    for place in 0..others + additional {
        let head = record(bytes, at)?;
        if head.kind == kind::OPT {
            // RFC 6891 section 6.1.1: at most one, at the root, in the additional section.
            if query.edns.is_some() || bytes.get(at) != Some(&0) || place < others {
                return Err(Malformed);
            }
            query.edns = Some(Edns { payload: head.class, dnssec: head.ttl & 0x8000 != 0 });
        }
        at = head.data.end;
    }
    Ok(query)
}

/// The EDNS version of a query that has an EDNS record.
pub(crate) fn edns_version(bytes: &[u8], query: &Query) -> u8 {
    let mut at = query.end;
    while let Ok(head) = record(bytes, at) {
        if head.kind == kind::OPT {
            return (head.ttl >> 16) as u8;
        }
        at = head.data.end;
    }
    0
}

/// A parsed answer of a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its flags.
    pub flags: u16,
    /// The response code, with the upper bits that EDNS adds.
    pub code: u16,
    /// The length that is passed on: all but EDNS, which is hop-by-hop.
    pub end: usize,
    /// How many additional records are within that length.
    pub additional: u16,
    /// The offsets of all TTLs.
    pub ttls: Vec<u16>,
    /// For how many seconds the answer may be cached (RFC 1035, RFC 2308).
    pub lasts: Option<u32>,
}

/// Parses an answer to a question that ends at `question_end`.
pub(crate) fn reply(bytes: &[u8], question_end: usize) -> Result<Reply, Malformed> {
    let flags = word(bytes, 2)?;
    let counts = [word(bytes, 6)?, word(bytes, 8)?, word(bytes, 10)?];
    let mut reply = Reply {
        flags,
        code: flags & 0xf,
        end: bytes.len(),
        additional: counts[2],
        ttls: Vec::new(),
        lasts: None,
    };
    let mut at = question_end;
    let mut shortest = u32::MAX;
    let mut negative = None;
    let mut additional_start = at;
    let mut edns: Option<(usize, u16)> = None;
    for (section, count) in counts.into_iter().enumerate() {
        additional_start = at;
        for place in 0..count {
            let head = record(bytes, at)?;
            if head.kind == kind::OPT {
                edns = Some((at, place));
                reply.code |= (head.ttl >> 20) as u16 & 0xff0;
            } else {
                shortest = shortest.min(head.ttl);
                reply.ttls.push(u16::try_from(head.ttl_at).map_err(|_| Malformed)?);
                if section == 1 && head.kind == kind::SOA && head.data.len() >= 4 {
                    // RFC 2308 section 5: the lesser of the SOA's own life and its last field.
                    negative = Some(head.ttl.min(long(bytes, head.data.end - 4)?));
                }
            }
            at = head.data.end;
        }
    }
    reply.end = at;
    if let Some((start, place)) = edns {
        // Compression pointers lead back to what precedes them, so only the tail can be cut.
        let last = place + 1 == counts[2];
        reply.end = if last { start } else { additional_start };
        reply.additional = if last { place } else { 0 };
        reply.ttls.retain(|at| usize::from(*at) < reply.end);
    }
    reply.lasts = match reply.code {
        code::NO_ERROR if counts[0] > 0 => Some(shortest),
        code::NO_ERROR | code::NO_SUCH_NAME => negative.map(|negative| negative.min(shortest)),
        _ => None,
    };
    Ok(reply)
}

/// Whether `reply` answers the question in `question` (the bytes after the header): the same name
/// without ASCII case, type and class.
pub(crate) fn answers(reply: &[u8], question: &[u8]) -> bool {
    let Some(theirs) = reply.get(HEADER..HEADER + question.len()) else { return false };
    let name_length = question.len().saturating_sub(4);
    let (name, kind_and_class) = question.split_at(name_length);
    let (their_name, their_kind_and_class) = theirs.split_at(name_length);
    word(reply, 4) == Ok(1) && their_name.eq_ignore_ascii_case(name) && their_kind_and_class == kind_and_class
}

#[cfg(test)]
mod tests;
