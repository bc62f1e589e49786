//! Decodes expressions from attributes.

use fairway_ruleset::{
    ByteOrder, Checksum, Comparison, Count, CtDirection, CtKey, Expression, ExtensionKind, Family, FibFlags,
    FibResult, LookupResult, MetaKey, NatFlags, NatKind, NumberSource, PayloadBase, Register, RegisterRange,
    Reject, SocketKey,
};

use super::limit::{limit, number, undecided};
use super::{bytes, verdict};
use crate::netlink::Attributes;
use crate::nftables::numbers as n;

/// Decodes an expression. An unknown one, or one with unsupported attributes, is kept as bytes.
pub fn expression(entry: Attributes<'_>) -> Expression {
    let name = entry.find(n::expression::NAME).and_then(|name| name.text()).unwrap_or_default();
    let data = entry.find(n::expression::DATA).map_or(&[][..], |data| data.value);
    known(name, Attributes::new(data))
        .unwrap_or_else(|| Expression::Unknown { name: name.to_owned(), attributes: data.to_vec() })
}

fn register(data: Attributes<'_>, kind: u16) -> Option<Register> {
    Register::from_number(number(data, kind)?)
}

fn registers(data: Attributes<'_>, first: u16, last: u16) -> Option<RegisterRange> {
    let first = register(data, first)?;
    Some(RegisterRange { first, last: register(data, last).unwrap_or(first) })
}

fn flags(data: Attributes<'_>, kind: u16) -> NatFlags {
    NatFlags(number(data, kind).unwrap_or(0) & !n::nat::IMPLIED_FLAGS)
}

fn known(name: &str, data: Attributes<'_>) -> Option<Expression> {
    Some(match name {
        "meta" => {
            let key = MetaKey::from_number(number(data, n::meta::KEY)?)?;
            match register(data, n::meta::TO) {
                Some(to) => Expression::Meta { key, to },
                None => Expression::MetaSet { key, from: register(data, n::meta::FROM)? },
            }
        }
        "payload" => payload(data)?,
        "exthdr" => Expression::Extension {
            kind: ExtensionKind::from_number(number(data, n::extension::KIND).unwrap_or(0))?,
            number: data.find(n::extension::NUMBER)?.u8()?,
            offset: number(data, n::extension::OFFSET)?,
            length: number(data, n::extension::LENGTH)?,
            present: number(data, n::extension::FLAGS).unwrap_or(0) & n::extension::PRESENT != 0,
            to: register(data, n::extension::TO)?,
        },
        "cmp" => Expression::Compare {
            from: register(data, n::compare::FROM)?,
            operator: Comparison::from_number(number(data, n::compare::OPERATOR)?)?,
            value: bytes(data, n::compare::DATA)?,
        },
        "range" => Expression::Range {
            from: register(data, n::range::FROM)?,
            inverted: number(data, n::range::OPERATOR)? == n::range::OUTSIDE,
            first: bytes(data, n::range::FIRST)?,
            last: bytes(data, n::range::LAST)?,
        },
        // Other operations than masking are shifts and such.
        "bitwise" if number(data, n::bitwise::OPERATION).unwrap_or(0) == 0 => Expression::Bitwise {
            from: register(data, n::bitwise::FROM)?,
            to: register(data, n::bitwise::TO)?,
            mask: bytes(data, n::bitwise::MASK)?,
            xor: bytes(data, n::bitwise::XOR)?,
        },
        "byteorder" => Expression::Byteorder {
            from: register(data, n::byteorder::FROM)?,
            to: register(data, n::byteorder::TO)?,
            order: ByteOrder::from_number(number(data, n::byteorder::ORDER)?)?,
            length: number(data, n::byteorder::LENGTH)?,
            size: number(data, n::byteorder::SIZE)?,
        },
        "lookup" => lookup(data)?,
        // Only statements that the set declares itself are supported.
        "dynset" if only_updates(data) => Expression::Update {
            set: data.find(n::dynamic::SET)?.text()?.to_owned(),
            from: register(data, n::dynamic::FROM)?,
        },
        "immediate" => match number(data, n::immediate::TO)? {
            n::REGISTER_VERDICT => Expression::Verdict(verdict(data.nested(n::immediate::DATA))?),
            to => Expression::Immediate {
                to: Register::from_number(to)?,
                value: bytes(data, n::immediate::DATA)?,
            },
        },
        "ct" => {
            let key = CtKey::from_number(number(data, n::ct::KEY)?)?;
            let direction = match data.find(n::ct::DIRECTION) {
                Some(direction) => Some(CtDirection::from_number(direction.u8()?)?),
                None => None,
            };
            match register(data, n::ct::TO) {
                Some(to) => Expression::Ct { key, direction, to },
                None => Expression::CtSet { key, direction, from: register(data, n::ct::FROM)? },
            }
        }
        "fib" => Expression::Fib {
            result: FibResult::from_number(number(data, n::fib::RESULT)?)?,
            flags: FibFlags(number(data, n::fib::FLAGS)?),
            to: register(data, n::fib::TO)?,
        },
        "socket" => Expression::Socket {
            key: SocketKey::from_number(number(data, n::socket::KEY)?)?,
            to: register(data, n::socket::TO)?,
        },
        "nat" => Expression::Nat {
            kind: match number(data, n::nat::KIND)? {
                n::nat::SOURCE => NatKind::Source,
                n::nat::DESTINATION => NatKind::Destination,
                _ => return None,
            },
            family: u8::try_from(number(data, n::nat::FAMILY)?).ok().and_then(Family::from_number)?,
            address: registers(data, n::nat::ADDRESS_FIRST, n::nat::ADDRESS_LAST),
            port: registers(data, n::nat::PORT_FIRST, n::nat::PORT_LAST),
            flags: flags(data, n::nat::FLAGS),
        },
        "masq" => Expression::Masquerade {
            port: registers(data, n::masquerade::PORT_FIRST, n::masquerade::PORT_LAST),
            flags: flags(data, n::masquerade::FLAGS),
        },
        "redir" => Expression::Redirect {
            port: registers(data, n::redirect::PORT_FIRST, n::redirect::PORT_LAST),
            flags: flags(data, n::redirect::FLAGS),
        },
        "counter" => Expression::Counter(count(data)),
        "reject" => {
            let code = data.find(n::reject::CODE).and_then(|code| code.u8()).unwrap_or(0);
            Expression::Reject(match number(data, n::reject::TYPE)? {
                n::reject::UNREACHABLE => Reject::Unreachable(code),
                n::reject::TCP_RESET => Reject::TcpReset,
                n::reject::ANY_UNREACHABLE => Reject::AnyUnreachable(code),
                _ => return None,
            })
        }
        "limit" => Expression::Limit(limit(data)?),
        "notrack" => Expression::Notrack,
        "quota" | "connlimit" | "dynset" => undecided(name, data)?,
        "numgen" => Expression::NumberGenerator {
            source: match number(data, n::number_generator::TYPE)? {
                n::number_generator::INCREMENTAL => NumberSource::InTurn,
                n::number_generator::RANDOM => NumberSource::Random,
                _ => return None,
            },
            modulus: number(data, n::number_generator::MODULUS)?,
            offset: number(data, n::number_generator::OFFSET).unwrap_or(0),
            to: register(data, n::number_generator::TO)?,
        },
        "hash" => Expression::NumberGenerator {
            source: NumberSource::Hash,
            modulus: number(data, n::hash::MODULUS)?,
            offset: number(data, n::hash::OFFSET).unwrap_or(0),
            to: register(data, n::hash::TO)?,
        },
        _ => return None,
    })
}

fn payload(data: Attributes<'_>) -> Option<Expression> {
    let base = PayloadBase::from_number(number(data, n::payload::BASE)?)?;
    let offset = number(data, n::payload::OFFSET)?;
    let length = number(data, n::payload::LENGTH)?;
    if let Some(to) = register(data, n::payload::TO) {
        return Some(Expression::Payload { base, offset, length, to });
    }
    let from = register(data, n::payload::FROM)?;
    let checksum = match number(data, n::payload::CHECKSUM_TYPE).unwrap_or(0) {
        n::payload::CHECKSUM_NONE => Checksum::None,
        n::payload::CHECKSUM_INTERNET => Checksum::Internet {
            offset: number(data, n::payload::CHECKSUM_OFFSET)?,
            pseudo_header: number(data, n::payload::CHECKSUM_FLAGS).unwrap_or(0) & n::payload::PSEUDO_HEADER
                != 0,
        },
        n::payload::CHECKSUM_SCTP => Checksum::Sctp,
        _ => return None,
    };
    Some(Expression::PayloadSet { from, base, offset, length, checksum })
}

fn only_updates(data: Attributes<'_>) -> bool {
    let more = [n::dynamic::DATA, n::dynamic::EXPRESSION, n::dynamic::EXPRESSIONS];
    number(data, n::dynamic::OPERATION) == Some(n::dynamic::UPDATE)
        && number(data, n::dynamic::FLAGS).unwrap_or(0) == 0
        && data.find(n::dynamic::TIMEOUT).and_then(|timeout| timeout.be64()).unwrap_or(0) == 0
        && more.iter().all(|kind| data.find(*kind).is_none())
}

fn lookup(data: Attributes<'_>) -> Option<Expression> {
    let set = data.find(n::lookup::SET)?.text()?.to_owned();
    let from = register(data, n::lookup::FROM)?;
    let inverted = number(data, n::lookup::FLAGS).unwrap_or(0) & n::lookup::INVERTED != 0;
    let result = match number(data, n::lookup::TO) {
        None if inverted => LookupResult::NoMatch,
        None => LookupResult::Match,
        Some(n::REGISTER_VERDICT) => LookupResult::Verdict,
        Some(to) => LookupResult::Value(Register::from_number(to)?),
    };
    Some(Expression::Lookup { set, from, result })
}

/// Decodes the data of a counter.
pub fn count(data: Attributes<'_>) -> Count {
    let number = |kind| data.find(kind).and_then(|found| found.be64()).unwrap_or(0);
    Count { packets: number(n::counter::PACKETS), bytes: number(n::counter::BYTES) }
}
