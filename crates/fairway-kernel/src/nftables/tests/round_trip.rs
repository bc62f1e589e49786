//! Every value comes back from its bytes.

use fairway_ruleset::{
    ByteOrder, Checksum, Comparison, Count, CtDirection, CtKey, Expression, ExtensionKind, Family, FibFlags,
    FibResult, LimitRate, LookupResult, MetaKey, NatFlags, NatKind, PayloadBase, Register, RegisterRange,
    Reject, Rule, SocketKey, Verdict,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::netlink::{Attributes, Batch, HEADER_LENGTH};
use crate::nftables::{decode, encode};

fn register() -> impl Strategy<Value = Register> {
    (0..Register::COUNT).prop_map(|slot| Register::at(slot).unwrap())
}

fn range() -> impl Strategy<Value = Option<RegisterRange>> {
    prop::option::of((register(), register()).prop_map(|(first, last)| RegisterRange { first, last }))
}

fn flags() -> impl Strategy<Value = NatFlags> {
    select(&[0, 4, 8, 16, 64, 12][..]).prop_map(NatFlags)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..64)
}

fn direction() -> impl Strategy<Value = Option<CtDirection>> {
    prop::option::of(select(CtDirection::ALL))
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let chain = "[a-z][a-z0-9_-]{0,30}";
    prop_oneof![
        select(&[Verdict::Accept, Verdict::Drop, Verdict::Continue, Verdict::Break, Verdict::Return][..]),
        chain.prop_map(Verdict::Jump),
        chain.prop_map(Verdict::Goto),
    ]
}

fn loads() -> impl Strategy<Value = Expression> {
    prop_oneof![
        (select(MetaKey::ALL), register()).prop_map(|(key, to)| Expression::Meta { key, to }),
        (select(MetaKey::ALL), register()).prop_map(|(key, from)| Expression::MetaSet { key, from }),
        (select(PayloadBase::ALL), 0u32..100, 1u32..16, register())
            .prop_map(|(base, offset, length, to)| Expression::Payload { base, offset, length, to }),
        (select(CtKey::ALL), direction(), register()).prop_map(|(key, direction, to)| Expression::Ct {
            key,
            direction,
            to
        }),
        (select(CtKey::ALL), direction(), register()).prop_map(|(key, direction, from)| Expression::CtSet {
            key,
            direction,
            from
        }),
        (select(FibResult::ALL), 0u32..64, register()).prop_map(|(result, flags, to)| Expression::Fib {
            result,
            flags: FibFlags(flags),
            to
        }),
        (select(SocketKey::ALL), register()).prop_map(|(key, to)| Expression::Socket { key, to }),
        (select(ExtensionKind::ALL), any::<u8>(), 0u32..100, 0u32..16, any::<bool>(), register()).prop_map(
            |(kind, number, offset, length, present, to)| Expression::Extension {
                kind,
                number,
                offset,
                length,
                present,
                to
            }
        ),
        (register(), value()).prop_map(|(to, value)| Expression::Immediate { to, value }),
    ]
}

fn steps() -> impl Strategy<Value = Expression> {
    let checksum = prop_oneof![
        Just(Checksum::None),
        Just(Checksum::Sctp),
        (0u32..40, any::<bool>())
            .prop_map(|(offset, pseudo_header)| Checksum::Internet { offset, pseudo_header }),
    ];
    let result = prop_oneof![
        select(&[LookupResult::Match, LookupResult::NoMatch, LookupResult::Verdict][..]),
        register().prop_map(LookupResult::Value),
    ];
    prop_oneof![
        (register(), select(Comparison::ALL), value())
            .prop_map(|(from, operator, value)| Expression::Compare { from, operator, value }),
        (register(), any::<bool>(), value(), value())
            .prop_map(|(from, inverted, first, last)| Expression::Range { from, inverted, first, last }),
        (register(), register(), value(), value()).prop_map(|(from, to, mask, xor)| Expression::Bitwise {
            from,
            to,
            mask,
            xor
        }),
        (register(), register(), select(ByteOrder::ALL), 1u32..16, select(&[2u32, 4, 8][..])).prop_map(
            |(from, to, order, length, size)| Expression::Byteorder { from, to, order, length, size }
        ),
        ("[a-z][a-z0-9_]{0,30}", register(), result).prop_map(|(set, from, result)| Expression::Lookup {
            set,
            from,
            result
        }),
        ("[a-z][a-z0-9_]{0,30}", register()).prop_map(|(set, from)| Expression::Update { set, from }),
        (register(), select(PayloadBase::ALL), 0u32..100, 1u32..16, checksum).prop_map(
            |(from, base, offset, length, checksum)| Expression::PayloadSet {
                from,
                base,
                offset,
                length,
                checksum
            }
        ),
    ]
}

fn ends() -> impl Strategy<Value = Expression> {
    let kind = select(&[NatKind::Source, NatKind::Destination][..]);
    let reject = prop_oneof![
        any::<u8>().prop_map(Reject::Unreachable),
        Just(Reject::TcpReset),
        any::<u8>().prop_map(Reject::AnyUnreachable),
    ];
    let limit = (any::<u64>(), any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(amount, seconds, burst, bytes, inverted)| LimitRate { amount, seconds, burst, bytes, inverted },
    );
    prop_oneof![
        verdict().prop_map(Expression::Verdict),
        (kind, select(&[Family::Ip, Family::Ip6][..]), range(), range(), flags()).prop_map(
            |(kind, family, address, port, flags)| Expression::Nat { kind, family, address, port, flags }
        ),
        (range(), flags()).prop_map(|(port, flags)| Expression::Masquerade { port, flags }),
        (range(), flags()).prop_map(|(port, flags)| Expression::Redirect { port, flags }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(packets, bytes)| Expression::Counter(Count { packets, bytes })),
        reject.prop_map(Expression::Reject),
        limit.prop_map(Expression::Limit),
        Just(Expression::Notrack),
        // Shifts are not known here.
        Just(Expression::Unknown {
            name: "bitwise".into(),
            attributes: vec![8, 0, 6, 0, 0, 0, 0, 1, 8, 0, 3, 0, 0, 0, 0, 4],
        }),
        Just(Expression::Unknown { name: "log".into(), attributes: vec![8, 0, 2, 0, 97, 98, 99, 0] }),
    ]
}

proptest! {
    #[test]
    fn rules(
        expressions in prop::collection::vec(prop_oneof![loads(), steps(), ends()], 0..8),
        comment in prop::option::of("[ -~]{1,127}"),
        chain in "[a-z]{1,20}",
    ) {
        let rule = Rule { expressions, comment, handle: Some(7), text: None };
        let mut batch = Batch::new();
        {
            let mut message = batch.message(0, 0, "");
            encode::rule(&mut message, "table", &chain, &rule);
            message.be64(crate::nftables::numbers::rule::HANDLE, 7);
        }
        let decoded = decode::rule(Attributes::new(&batch.bytes()[HEADER_LENGTH..]));
        prop_assert_eq!(decoded, Some((chain, rule)));
    }

    #[test]
    fn bytes_of_others_never_end_in_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let attributes = Attributes::new(&bytes);
        decode::expression(attributes);
        decode::rule(attributes);
        decode::chain(Family::Inet, attributes);
        if let Some(set) = decode::set(attributes) {
            decode::elements(&set, [attributes].into_iter());
        }
    }
}
