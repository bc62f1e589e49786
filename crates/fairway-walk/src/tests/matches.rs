//! What rules match: bytes and the values of registers.

use super::routed::{CLIENT, ROUTER, filter, routed};
use super::{TCP, tuple};
use crate::{End, FlowPosition, Sender, Topology, Tuple, Walker};
use fairway_ruleset::{
    ByteOrder, Comparison, Expression, Hook, MetaKey, PayloadBase, Register, RuleBuilder, rule,
};

pub fn at(slot: u8) -> Register {
    Register::at(slot).unwrap()
}

/// What becomes of a packet at a rule.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Matches,
    No,
    Unknown(String),
}

/// Evaluates a rule, with `drop` behind it, for the client's packet at a hook of the router.
pub fn evaluated_in(mut topology: Topology, hook: Hook, matched: RuleBuilder, packet: Tuple) -> Found {
    filter(&mut topology, ROUTER, hook, [matched.drop()]);
    let walk = Walker::new(&topology).walk_from_program(Sender::of(CLIENT), packet, FlowPosition::First);
    match walk.end {
        End::Dropped { .. } => Found::Matches,
        End::Delivered { .. } | End::NoListener { .. } => Found::No,
        End::Unknown { reason, .. } => Found::Unknown(reason),
        end => panic!("{end:?}"),
    }
}

pub fn evaluated(matched: RuleBuilder) -> Found {
    evaluated_in(routed(), Hook::Forward, matched, tuple(TCP, "10.1.0.2", "10.2.0.2"))
}

pub fn value(bytes: &[u8]) -> RuleBuilder {
    rule().expression(Expression::Immediate { to: at(0), value: bytes.to_vec() })
}

pub fn compared(rule: RuleBuilder, from: Register, operator: Comparison, value: &[u8]) -> Found {
    evaluated(rule.expression(Expression::Compare { from, operator, value: value.to_vec() }))
}

fn is(rule: RuleBuilder, from: Register, value: &[u8]) -> bool {
    compared(rule, from, Comparison::Equal, value) == Found::Matches
}

pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

#[test]
fn values_are_compared_from_the_first_byte_to_the_last() {
    use Comparison as C;
    for (held, expected) in [
        ([0, 80], [false, true, true, true, false, false]),
        ([0, 81], [true, false, false, true, false, true]),
        ([1, 80], [false, true, false, false, true, true]),
    ] {
        for (operator, matches) in
            [C::Equal, C::NotEqual, C::Less, C::LessOrEqual, C::Greater, C::GreaterOrEqual]
                .into_iter()
                .zip(expected)
        {
            let found = compared(value(&held), at(0), operator, &[0, 81]);
            assert_eq!(found == Found::Matches, matches, "{held:?} {operator}");
        }
    }
}

#[test]
fn ranges_include_both_ends() {
    for (port, within) in [(79_u16, false), (80, true), (85, true), (90, true), (91, false)] {
        for inverted in [false, true] {
            let (first, last) = (80_u16.to_be_bytes().to_vec(), 90_u16.to_be_bytes().to_vec());
            let range = Expression::Range { from: at(0), inverted, first, last };
            let found = evaluated(value(&port.to_be_bytes()).expression(range));
            assert_eq!(found == Found::Matches, within != inverted, "{port}");
        }
    }
}

#[test]
fn arithmetic_leaves_its_result_in_another_register() {
    let bitwise = |mask: &[u8], xor: &[u8]| Expression::Bitwise {
        from: at(0),
        to: at(4),
        mask: mask.to_vec(),
        xor: xor.to_vec(),
    };
    let two = |one: &[u8], other: &[u8]| {
        value(one).expression(Expression::Immediate { to: at(1), value: other.to_vec() })
    };
    assert!(is(
        value(&[0b1100, 0xff]).expression(bitwise(&[0b1010, 0x0f], &[0b0110, 0])),
        at(4),
        &[0b1110, 0x0f]
    ));
    let exclusive_or = Expression::ExclusiveOr { one: at(0), other: at(1), to: at(4), length: 2 };
    assert!(is(two(&[0b1100, 1], &[0b1010, 3]).expression(exclusive_or), at(4), &[0b0110, 2]));
    let turn = |length, size| Expression::Byteorder {
        from: at(0),
        to: at(4),
        order: ByteOrder::HostToNetwork,
        length,
        size,
    };
    let turned = |size: usize| -> Vec<u8> {
        let mut bytes = vec![1, 2, 3, 4];
        if cfg!(target_endian = "little") {
            bytes.chunks_mut(size).for_each(<[u8]>::reverse);
        }
        bytes
    };
    for size in [2, 4] {
        assert!(is(value(&[1, 2, 3, 4]).expression(turn(4, size as u32)), at(4), &turned(size)));
    }
}

#[test]
fn a_value_fills_its_slots_and_clears_the_rest_of_the_last() {
    let long = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let short = |to, bytes: &[u8]| Expression::Immediate { to, value: bytes.to_vec() };
    assert!(is(value(&long), at(1), &[5, 6, 7, 8]));
    assert!(is(
        value(&long).expression(short(at(1), &[0xaa])),
        at(0),
        &[1, 2, 3, 4, 0xaa, 0, 0, 0, 9, 10, 11, 12]
    ));
    assert!(is(value(&long).expression(short(at(0), &[1, 2, 3, 4, 0xbb])), at(1), &[0xbb, 0, 0, 0, 9]));
    // Beyond the last register there is nothing.
    let last = rule().expression(short(at(15), &[1, 2, 3, 4, 5, 6]));
    assert!(is(last, at(15), &[1, 2, 3, 4, 0, 0]));
}

/// A value that is not known makes only those comparisons unknown that use it.
#[test]
fn an_unknown_value_spreads_with_its_slots() {
    let random = || Expression::Meta { key: MetaKey::Random, to: at(4) };
    let unknown = |matched: RuleBuilder, from: u8| {
        let found = compared(matched, at(from), Comparison::Equal, &[9, 9, 9, 9]);
        match found {
            Found::Unknown(reason) => {
                assert!(reason.ends_with("meta random of a simulated packet"), "{reason}");
                true
            }
            _ => false,
        }
    };
    let lost = || value(&[1, 2, 3, 4]).expression(random());
    for (slot, expected) in [(0, false), (3, false), (4, true), (7, true), (8, false)] {
        assert_eq!(unknown(lost(), slot), expected, "{slot}");
    }
    // Overwritten values are known again, each slot for itself.
    let partly = || lost().expression(Expression::Immediate { to: at(5), value: vec![0; 8] });
    for (slot, expected) in [(4, true), (5, false), (6, false), (7, true)] {
        assert_eq!(unknown(partly(), slot), expected, "{slot}");
    }
    let bitwise = |from, to| Expression::Bitwise { from, to, mask: vec![0xff; 4], xor: vec![0; 4] };
    let turn =
        |from, to| Expression::Byteorder { from, to, order: ByteOrder::NetworkToHost, length: 4, size: 4 };
    for expression in [
        bitwise as fn(Register, Register) -> Expression,
        turn,
        |from, to| Expression::ExclusiveOr { one: from, other: at(0), to, length: 4 },
        |from, to| Expression::ExclusiveOr { one: at(0), other: from, to, length: 4 },
    ] {
        assert!(unknown(lost().expression(expression(at(4), at(9))), 9));
        assert!(!unknown(lost().expression(expression(at(4), at(9))), 10));
        assert!(!unknown(lost().expression(expression(at(0), at(9))), 9));
        assert!(!unknown(lost().expression(expression(at(0), at(4))), 4));
        assert!(unknown(lost().expression(expression(at(0), at(4))), 5));
    }
    let range = |from| Expression::Range { from, inverted: false, first: vec![9; 4], last: vec![9; 4] };
    assert!(matches!(evaluated(lost().expression(range(at(4)))), Found::Unknown(_)));
    assert_eq!(evaluated(lost().expression(range(at(0)))), Found::No);
    // All values are lost after an expression that may load any register.
    let loads = Expression::Unknown { name: "hash".to_owned(), attributes: Vec::new() };
    let Found::Unknown(reason) = compared(value(&[1]).expression(loads), at(15), Comparison::Equal, &[1])
    else {
        panic!("a value of an expression that is not known was compared");
    };
    assert!(reason.ends_with("the value of the expression \"hash\" is not known"), "{reason}");
}

#[test]
fn bytes_are_loaded_where_the_packet_has_them() {
    let payload =
        |base, offset, length| rule().expression(Expression::Payload { base, offset, length, to: at(0) });
    assert!(is(payload(PayloadBase::Transport, 2, 2), at(0), &[0, 80]));
    assert!(is(payload(PayloadBase::Network, 12, 8), at(0), &[10, 1, 0, 2, 10, 2, 0, 2]));
    assert!(is(payload(PayloadBase::Link, 12, 2), at(0), &[8, 0]));
    for outside in [payload(PayloadBase::Transport, 19, 2), payload(PayloadBase::Inner, 0, 1)] {
        assert_eq!(evaluated(outside), Found::No);
    }
}
