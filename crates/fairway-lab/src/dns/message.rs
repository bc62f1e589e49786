//! DNS messages (RFC 1035), as far as a client needs them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::DnsFailure;

const CLASS_INTERNET: u16 = 1;
const RECURSION_DESIRED: u16 = 0x0100;
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
/// The pseudo record of EDNS.
const OPT: u16 = 41;
/// A name may not be longer, so following more pointers than this is going in circles.
const MOST_POINTERS: usize = 128;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address, asked by its reverse name.
    Ptr,
    /// Any other type, by number.
    Other(u16),
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Ptr => 12,
            Kind::Aaaa => 28,
            Kind::Other(number) => number,
        }
    }

    fn of(number: u16) -> Kind {
        match number {
            1 => Kind::A,
            12 => Kind::Ptr,
            28 => Kind::Aaaa,
            other => Kind::Other(other),
        }
    }

    /// The name under which the names of an address are asked for (RFC 1035 3.5, RFC 3596 2.5).
    #[must_use]
    pub fn reverse_name(address: IpAddr) -> String {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
            }
        }
    }
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An address, of A and AAAA.
    Address(IpAddr),
    /// A name, of PTR and CNAME.
    Name(String),
    /// Anything else, as it is.
    Bytes(Vec<u8>),
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is, without the last dot.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// How many seconds it may be kept.
    pub ttl: u32,
    /// What it holds.
    pub data: Data,
}

/// What a name server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// 0 is no error, 2 server failure, 3 no such name, 5 refused (RFC 1035 4.1.1).
    pub code: u8,
    /// Whether the server speaks for the name itself.
    pub authoritative: bool,
    /// Whether there was more than fit.
    pub truncated: bool,
    /// How many bytes the message had.
    pub size: usize,
    /// The largest UDP message that the server takes, if it speaks EDNS.
    pub edns: Option<u16>,
    /// The records of the answer section, in their order.
    pub records: Vec<Record>,
}

impl DnsAnswer {
    /// The addresses among the records, in their order.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |record: &Record| match record.data {
            Data::Address(address) => Some(address),
            _ => None,
        };
        self.records.iter().filter_map(address).collect()
    }

    /// The names among the records, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names = self.records.iter().filter_map(|record| match &record.data {
            Data::Name(name) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }
}

/// A question; none if the name cannot be written.
pub(super) fn question(id: u16, name: &str, kind: Kind, edns: Option<u16>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    for field in [id, RECURSION_DESIRED, 1, 0, 0, u16::from(edns.is_some())] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    if let Some(size) = edns {
        // The root's name, then where a class would be the size, and an empty TTL and content.
        message.push(0);
        message.extend_from_slice(&OPT.to_be_bytes());
        message.extend_from_slice(&size.to_be_bytes());
        message.extend_from_slice(&[0; 6]);
    }
    Some(message)
}

/// Reads the answer to the question of this id.
pub(super) fn read(id: u16, bytes: &[u8]) -> Result<DnsAnswer, DnsFailure> {
    let mut reader = Reader { bytes, at: 0 };
    let mut header = [0; 6];
    for field in &mut header {
        *field = reader.u16()?;
    }
    let [own_id, flags, questions, answers, authorities, additionals] = header;
    if own_id != id {
        return Err(DnsFailure::Malformed("the id is not that of the question"));
    }
    if flags & RESPONSE == 0 {
        return Err(DnsFailure::Malformed("it is a question"));
    }
    for _ in 0..questions {
        reader.name()?;
        reader.take(4)?;
    }
    let records = (0..answers).map(|_| reader.record()).collect::<Result<Vec<_>, _>>()?;
    let mut edns = None;
    for _ in 0..u32::from(authorities) + u32::from(additionals) {
        let Raw { kind, class, .. } = reader.raw()?;
        if kind == OPT {
            edns = Some(class);
        }
    }
    Ok(DnsAnswer {
        code: (flags & 15) as u8,
        authoritative: flags & AUTHORITATIVE != 0,
        truncated: flags & TRUNCATED != 0,
        size: bytes.len(),
        edns,
        records,
    })
}

struct Raw {
    name: String,
    kind: u16,
    class: u16,
    ttl: u32,
    start: usize,
    length: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DnsFailure> {
        let taken = self.bytes.get(self.at..self.at + length);
        self.at += length;
        taken.ok_or(DnsFailure::Malformed("it is cut short"))
    }

    fn u16(&mut self) -> Result<u16, DnsFailure> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn raw(&mut self) -> Result<Raw, DnsFailure> {
        let name = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let length = usize::from(self.u16()?);
        let start = self.at;
        self.take(length)?;
        Ok(Raw { name, kind, class, ttl, start, length })
    }

    fn record(&mut self) -> Result<Record, DnsFailure> {
        const NAMED: [u16; 3] = [2, 5, 12];
        let raw = self.raw()?;
        let content = &self.bytes[raw.start..raw.start + raw.length];
        let data = match (raw.kind, content.len()) {
            (1, 4) => Data::Address(Ipv4Addr::from([content[0], content[1], content[2], content[3]]).into()),
            (28, 16) => {
                let octets: [u8; 16] =
                    content.try_into().map_err(|_| DnsFailure::Malformed("an address is cut short"))?;
                Data::Address(Ipv6Addr::from(octets).into())
            }
            (kind, _) if NAMED.contains(&kind) => {
                Data::Name(Reader { bytes: self.bytes, at: raw.start }.name()?)
            }
            _ => Data::Bytes(content.to_vec()),
        };
        Ok(Record { name: raw.name, kind: Kind::of(raw.kind), ttl: raw.ttl, data })
    }

    /// A name, which may go on elsewhere (RFC 1035 4.1.4).
    fn name(&mut self) -> Result<String, DnsFailure> {
        let mut labels = Vec::new();
        let mut after = None;
        for _ in 0..MOST_POINTERS {
            let length = self.take(1)?[0];
            match length {
                0 => {
                    self.at = after.unwrap_or(self.at);
                    return Ok(labels.join("."));
                }
                1..=63 => labels.push(String::from_utf8_lossy(self.take(usize::from(length))?).into_owned()),
                192.. => {
                    let low = self.take(1)?[0];
                    after.get_or_insert(self.at);
                    self.at = usize::from(length & 63) << 8 | usize::from(low);
                }
                _ => return Err(DnsFailure::Malformed("a label has a length that has no meaning")),
            }
        }
        Err(DnsFailure::Malformed("a name goes in circles"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as BIND writes it: the name of each record points to the question's.
    fn answer(id: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question(id, "web.example", Kind::A, None).unwrap();
        message[2] |= 0x84;
        message[7] = records.len() as u8;
        for (kind, content) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1, 0, 0, 0, 7, 0, content.len() as u8]);
            message.extend_from_slice(content);
        }
        message
    }

    #[test]
    fn records_are_read_in_their_order() {
        let six: [u8; 16] = "fd00::2".parse::<Ipv6Addr>().unwrap().octets();
        let answer = read(9, &answer(9, &[(1, &[10, 0, 0, 2]), (28, &six), (12, &[1, b'x', 0xc0, 12])]));
        let answer = answer.unwrap();
        assert_eq!((answer.code, answer.authoritative, answer.truncated), (0, true, false));
        assert_eq!(answer.addresses(), ["10.0.0.2", "fd00::2"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(answer.names(), ["x.web.example"]);
        assert!(answer.records.iter().all(|record| record.ttl == 7 && record.name == "web.example"));
    }

    #[test]
    fn the_offer_of_edns_is_written_and_read() {
        let mut message = question(1, "a.", Kind::Aaaa, Some(1232)).unwrap();
        message[2] |= 0x80;
        assert_eq!(read(1, &message).unwrap().edns, Some(1232));
    }

    #[test]
    fn nonsense_is_no_answer() {
        let good = answer(1, &[(1, &[10, 0, 0, 2])]);
        assert!(read(2, &good).is_err());
        assert!((0..good.len()).all(|length| read(1, &good[..length]).is_err()));
        assert!(read(1, &question(1, "a", Kind::A, None).unwrap()).is_err());
        let mut circle = answer(1, &[(12, &[0xc0, 12])]);
        let last = circle.len() - 1;
        circle[last] = (last - 1) as u8;
        assert_eq!(read(1, &circle), Err(DnsFailure::Malformed("a name goes in circles")));
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        assert_eq!(question(1, "a..b", Kind::A, None), None);
        assert_eq!(question(1, &"a".repeat(64), Kind::A, None), None);
    }

    #[test]
    fn reverse_names() {
        assert_eq!(Kind::reverse_name("10.1.2.3".parse().unwrap()), "3.2.1.10.in-addr.arpa");
        let six = Kind::reverse_name("fd00::2".parse().unwrap());
        assert!(six.starts_with("2.0.0.0.") && six.ends_with(".0.0.d.f.ip6.arpa"), "{six}");
    }
}
