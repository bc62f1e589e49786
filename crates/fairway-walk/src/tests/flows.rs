//! Conntrack flows and their NAT bindings.

use super::{ICMP, TCP, address, tuple};
use crate::{Flow, Tuple};
use fairway_ruleset::CtDirection::{Original, Reply};

/// Bits of `ct status` (`IPS_*`, linux/netfilter/nf_conntrack_common.h).
const SEEN_REPLY: u32 = 2;
const CONFIRMED: u32 = 8;
const SOURCE_TRANSLATED: u32 = 16;
const DESTINATION_TRANSLATED: u32 = 32;

fn flow() -> Flow {
    Flow::new(tuple(TCP, "10.0.0.1", "10.0.0.2"))
}

#[test]
fn a_flow_without_nat_has_packets_both_ways() {
    let flow = flow();
    let first = tuple(TCP, "10.0.0.1", "10.0.0.2");
    assert_eq!(flow.direction(first), Some(Original));
    assert_eq!(flow.direction(first.reversed()), Some(Reply));
    assert_eq!(flow.direction(Tuple { source_port: 40_001, ..first }), None);
    assert!(!flow.is_translated());
    assert_eq!(flow.status(), 0);
}

#[test]
fn both_ends_may_be_translated_and_replies_are_translated_back() {
    let mut flow = flow();
    let first = flow.original;
    flow.translate_destination(Some(address("10.1.0.2")), Some(8080));
    assert!(flow.is_translated() && flow.destination_decided && !flow.source_decided);
    assert_eq!(flow.status(), DESTINATION_TRANSLATED);
    flow.translate_source(Some(address("10.1.0.1")), Some(1025));
    assert!(flow.source_decided);
    assert_eq!(flow.status(), DESTINATION_TRANSLATED | SOURCE_TRANSLATED);

    let onward = flow.destination_of(first, Original);
    assert_eq!(onward.to_string(), "tcp 10.0.0.1:40000 > 10.1.0.2:8080");
    let sent = flow.source_of(onward, Original);
    assert_eq!(sent.to_string(), "tcp 10.1.0.1:1025 > 10.1.0.2:8080");
    let reply = sent.reversed();
    assert_eq!(flow.direction(reply), Some(Reply));
    assert_eq!(flow.direction(first.reversed()), None);
    let back = flow.destination_of(reply, Reply);
    assert_eq!(back.to_string(), "tcp 10.1.0.2:8080 > 10.0.0.1:40000");
    assert_eq!(flow.source_of(back, Reply), first.reversed());
}

#[test]
fn a_binding_may_keep_address_or_port() {
    let mut flow = flow();
    flow.translate_destination(None, Some(8080));
    flow.translate_source(Some(address("10.1.0.1")), None);
    assert_eq!(flow.translated.to_string(), "tcp 10.1.0.1:40000 > 10.0.0.2:8080");
    // An echo request has an identifier in the place of ports.
    let mut flow = Flow::new(tuple(ICMP, "10.0.0.1", "10.0.0.2"));
    flow.translate_destination(Some(address("10.1.0.2")), Some(8080));
    flow.translate_source(Some(address("10.1.0.1")), Some(1025));
    assert_eq!(flow.translated, tuple(ICMP, "10.1.0.1", "10.1.0.2"));
}

#[test]
fn the_status_has_a_bit_for_each_fact() {
    for port in [false, true] {
        let mut flow = flow();
        match port {
            true => flow.translate_source(None, Some(1025)),
            false => flow.translate_source(Some(address("10.1.0.1")), None),
        }
        assert_eq!(flow.status(), SOURCE_TRANSLATED);
        let mut flow = self::flow();
        match port {
            true => flow.translate_destination(None, Some(8080)),
            false => flow.translate_destination(Some(address("10.1.0.2")), None),
        }
        assert_eq!(flow.status(), DESTINATION_TRANSLATED);
    }
    assert_eq!(Flow { answered: true, ..flow() }.status(), SEEN_REPLY);
    assert_eq!(Flow { answered: true, confirmed: true, ..flow() }.status(), SEEN_REPLY | CONFIRMED);
}
