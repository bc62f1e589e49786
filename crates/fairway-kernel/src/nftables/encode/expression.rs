//! Encodes expressions as attributes.

use fairway_ruleset::{
    Checksum, Expression, LimitRate, LookupResult, NatKind, Register, RegisterRange, Reject,
};

use super::{length, value, verdict_data};
use crate::netlink::MessageBuilder;
use crate::nftables::numbers as n;

/// Encodes an expression.
pub fn expression(message: &mut MessageBuilder<'_>, expression: &Expression) {
    message.text(n::expression::NAME, name(expression));
    if *expression != Expression::Notrack {
        message.nest(n::expression::DATA, |data| body(data, expression));
    }
}

fn name(expression: &Expression) -> &str {
    match expression {
        Expression::Meta { .. } | Expression::MetaSet { .. } => "meta",
        Expression::Payload { .. } | Expression::PayloadSet { .. } => "payload",
        Expression::Extension { .. } => "exthdr",
        Expression::Compare { .. } => "cmp",
        Expression::Range { .. } => "range",
        Expression::Bitwise { .. } => "bitwise",
        Expression::Byteorder { .. } => "byteorder",
        Expression::Lookup { .. } => "lookup",
        Expression::Update { .. } => "dynset",
        Expression::Immediate { .. } | Expression::Verdict(_) => "immediate",
        Expression::Ct { .. } | Expression::CtSet { .. } => "ct",
        Expression::Fib { .. } => "fib",
        Expression::Socket { .. } => "socket",
        Expression::Nat { .. } => "nat",
        Expression::Masquerade { .. } => "masq",
        Expression::Redirect { .. } => "redir",
        Expression::Counter(_) => "counter",
        Expression::Reject(_) => "reject",
        Expression::Limit(_) => "limit",
        Expression::Notrack => "notrack",
        Expression::Unknown { name, .. } => name,
        // Without a body the kernel refuses it.
        Expression::OneOf { .. }
        | Expression::BridgePort { .. }
        | Expression::ExclusiveOr { .. }
        | Expression::NumberGenerator { .. }
        | Expression::Chance { .. }
        | Expression::Undecided { .. }
        | Expression::MovedPort { .. } => "match",
    }
}

fn register(data: &mut MessageBuilder<'_>, kind: u16, register: Register) {
    data.be32(kind, register.number());
}

fn registers(data: &mut MessageBuilder<'_>, first: u16, last: u16, range: Option<RegisterRange>) {
    if let Some(range) = range {
        register(data, first, range.first);
        register(data, last, range.last);
    }
}

fn optional(data: &mut MessageBuilder<'_>, kind: u16, bits: u32) {
    if bits != 0 {
        data.be32(kind, bits);
    }
}

fn body(data: &mut MessageBuilder<'_>, expression: &Expression) {
    match expression {
        Expression::Meta { key, to } => {
            data.be32(n::meta::KEY, key.number());
            register(data, n::meta::TO, *to);
        }
        Expression::MetaSet { key, from } => {
            data.be32(n::meta::KEY, key.number());
            register(data, n::meta::FROM, *from);
        }
        Expression::Payload { base, offset, length, to } => {
            register(data, n::payload::TO, *to);
            data.be32(n::payload::BASE, base.number());
            data.be32(n::payload::OFFSET, *offset).be32(n::payload::LENGTH, *length);
        }
        Expression::PayloadSet { from, base, offset, length, checksum } => {
            register(data, n::payload::FROM, *from);
            data.be32(n::payload::BASE, base.number());
            data.be32(n::payload::OFFSET, *offset).be32(n::payload::LENGTH, *length);
            checksum_body(data, *checksum);
        }
        Expression::Extension { kind, number, offset, length, present, to } => {
            register(data, n::extension::TO, *to);
            data.u8(n::extension::NUMBER, *number);
            data.be32(n::extension::OFFSET, *offset).be32(n::extension::LENGTH, *length);
            data.be32(n::extension::FLAGS, if *present { n::extension::PRESENT } else { 0 });
            data.be32(n::extension::KIND, kind.number());
        }
        Expression::Compare { from, operator, value: bytes } => {
            register(data, n::compare::FROM, *from);
            data.be32(n::compare::OPERATOR, operator.number());
            value(data, n::compare::DATA, bytes);
        }
        Expression::Range { from, inverted, first, last } => {
            register(data, n::range::FROM, *from);
            data.be32(n::range::OPERATOR, if *inverted { n::range::OUTSIDE } else { 0 });
            value(data, n::range::FIRST, first);
            value(data, n::range::LAST, last);
        }
        Expression::Bitwise { from, to, mask, xor } => {
            register(data, n::bitwise::FROM, *from);
            register(data, n::bitwise::TO, *to);
            data.be32(n::bitwise::LENGTH, length(mask.len()));
            value(data, n::bitwise::MASK, mask);
            value(data, n::bitwise::XOR, xor);
        }
        Expression::Update { set, from } => {
            data.text(n::dynamic::SET, set).be32(n::dynamic::OPERATION, n::dynamic::UPDATE);
            register(data, n::dynamic::FROM, *from);
        }
        Expression::Byteorder { from, to, order, length, size } => {
            register(data, n::byteorder::FROM, *from);
            register(data, n::byteorder::TO, *to);
            data.be32(n::byteorder::ORDER, order.number());
            data.be32(n::byteorder::LENGTH, *length).be32(n::byteorder::SIZE, *size);
        }
        Expression::Lookup { set, from, result } => {
            data.text(n::lookup::SET, set);
            register(data, n::lookup::FROM, *from);
            match result {
                LookupResult::Match => {}
                LookupResult::NoMatch => {
                    data.be32(n::lookup::FLAGS, n::lookup::INVERTED);
                }
                LookupResult::Value(to) => register(data, n::lookup::TO, *to),
                LookupResult::Verdict => {
                    data.be32(n::lookup::TO, n::REGISTER_VERDICT);
                }
            }
        }
        Expression::Immediate { to, value: bytes } => {
            register(data, n::immediate::TO, *to);
            value(data, n::immediate::DATA, bytes);
        }
        Expression::Verdict(verdict) => {
            data.be32(n::immediate::TO, n::REGISTER_VERDICT);
            verdict_data(data, n::immediate::DATA, verdict);
        }
        Expression::Ct { key, direction, to } => {
            register(data, n::ct::TO, *to);
            data.be32(n::ct::KEY, key.number());
            if let Some(direction) = direction {
                data.u8(n::ct::DIRECTION, direction.number());
            }
        }
        Expression::CtSet { key, direction, from } => {
            register(data, n::ct::FROM, *from);
            data.be32(n::ct::KEY, key.number());
            if let Some(direction) = direction {
                data.u8(n::ct::DIRECTION, direction.number());
            }
        }
        Expression::Fib { result, flags, to } => {
            register(data, n::fib::TO, *to);
            data.be32(n::fib::RESULT, result.number()).be32(n::fib::FLAGS, flags.0);
        }
        Expression::Socket { key, to } => {
            data.be32(n::socket::KEY, key.number());
            register(data, n::socket::TO, *to);
        }
        Expression::Nat { kind, family, address, port, flags } => {
            let kind = match kind {
                NatKind::Source => n::nat::SOURCE,
                NatKind::Destination => n::nat::DESTINATION,
            };
            data.be32(n::nat::KIND, kind).be32(n::nat::FAMILY, family.number().into());
            registers(data, n::nat::ADDRESS_FIRST, n::nat::ADDRESS_LAST, *address);
            registers(data, n::nat::PORT_FIRST, n::nat::PORT_LAST, *port);
            optional(data, n::nat::FLAGS, flags.0);
        }
        Expression::Masquerade { port, flags } => {
            optional(data, n::masquerade::FLAGS, flags.0);
            registers(data, n::masquerade::PORT_FIRST, n::masquerade::PORT_LAST, *port);
        }
        Expression::Redirect { port, flags } => {
            registers(data, n::redirect::PORT_FIRST, n::redirect::PORT_LAST, *port);
            optional(data, n::redirect::FLAGS, flags.0);
        }
        Expression::Counter(count) => {
            data.be64(n::counter::BYTES, count.bytes).be64(n::counter::PACKETS, count.packets);
        }
        Expression::Reject(reject) => reject_body(data, *reject),
        Expression::Limit(limit) => limit_body(data, *limit),
        Expression::Notrack
        | Expression::OneOf { .. }
        | Expression::BridgePort { .. }
        | Expression::ExclusiveOr { .. }
        | Expression::NumberGenerator { .. }
        | Expression::Chance { .. }
        | Expression::Undecided { .. }
        | Expression::MovedPort { .. } => {}
        Expression::Unknown { attributes, .. } => {
            data.raw(attributes);
        }
    }
}

fn checksum_body(data: &mut MessageBuilder<'_>, checksum: Checksum) {
    match checksum {
        Checksum::None => {
            data.be32(n::payload::CHECKSUM_TYPE, n::payload::CHECKSUM_NONE);
        }
        Checksum::Internet { offset, pseudo_header } => {
            data.be32(n::payload::CHECKSUM_TYPE, n::payload::CHECKSUM_INTERNET);
            data.be32(n::payload::CHECKSUM_OFFSET, offset);
            optional(
                data,
                n::payload::CHECKSUM_FLAGS,
                if pseudo_header { n::payload::PSEUDO_HEADER } else { 0 },
            );
        }
        Checksum::Sctp => {
            data.be32(n::payload::CHECKSUM_TYPE, n::payload::CHECKSUM_SCTP);
        }
    }
}

fn reject_body(data: &mut MessageBuilder<'_>, reject: Reject) {
    let (kind, code) = match reject {
        Reject::Unreachable(code) => (n::reject::UNREACHABLE, Some(code)),
        Reject::TcpReset => (n::reject::TCP_RESET, None),
        Reject::AnyUnreachable(code) => (n::reject::ANY_UNREACHABLE, Some(code)),
    };
    data.be32(n::reject::TYPE, kind);
    if let Some(code) = code {
        data.u8(n::reject::CODE, code);
    }
}

fn limit_body(data: &mut MessageBuilder<'_>, limit: LimitRate) {
    data.be64(n::limit::RATE, limit.amount).be64(n::limit::UNIT, limit.seconds);
    data.be32(n::limit::BURST, limit.burst);
    data.be32(n::limit::TYPE, if limit.bytes { n::limit::OF_BYTES } else { 0 });
    data.be32(n::limit::FLAGS, if limit.inverted { n::limit::INVERTED } else { 0 });
}
