use hickory_proto::op::{Edns as HickoryEdns, Message, MessageType, OpCode, Query as HickoryQuery};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::*;
use crate::resolver::respond;

fn encoded(name: &str, kind: RecordType, edns: bool) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.add_query(HickoryQuery::query(Name::from_ascii(name).unwrap(), kind));
    if edns {
        let mut edns = HickoryEdns::new();
        edns.set_max_payload(1_400).set_dnssec_ok(true);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

#[test]
fn queries_of_another_encoder_are_read() {
    let mut text = String::new();
    let bytes = encoded("Web.Example.ORG.", RecordType::AAAA, true);
    let query = query(&bytes, &mut text).unwrap();
    assert_eq!(text, "web.example.org");
    assert_eq!((query.id, query.kind, query.class), (0x1234, kind::AAAA, INTERNET));
    assert_eq!(query.edns, Some(Edns { payload: 1_400, dnssec: true }));
    assert_eq!(query.flags & RD, RD);
    assert_eq!(edns_version(&bytes, &query), 0);
}

#[test]
fn malformed_queries_get_an_error_code_or_no_answer() {
    let mut text = String::new();
    let good = encoded("a.", RecordType::A, true);
    let mut ask = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        query(&bytes, &mut text)
    };
    assert!(ask(&|_| {}).is_ok());
    assert_eq!(ask(&|bytes| bytes.truncate(11)), Err(Unfit::Silent));
    assert_eq!(ask(&|bytes| bytes[2] |= 0x80), Err(Unfit::Silent), "a response");
    assert_eq!(ask(&|bytes| bytes[2] |= 0x28), Err(Unfit::Code(code::NOT_IMPLEMENTED)), "an update");
    assert_eq!(ask(&|bytes| bytes[5] = 2), Err(Unfit::Code(code::FORMAT_ERROR)), "two questions");
    assert_eq!(ask(&|bytes| bytes[5] = 0), Err(Unfit::Code(code::FORMAT_ERROR)), "no question");
    assert_eq!(ask(&|bytes| bytes[12] = 0xc0), Err(Unfit::Code(code::FORMAT_ERROR)), "a pointer");
    assert_eq!(ask(&|bytes| bytes.truncate(20)), Err(Unfit::Code(code::FORMAT_ERROR)));
    assert_eq!(ask(&|bytes| bytes[16] = 252), Err(Unfit::Code(code::NOT_IMPLEMENTED)), "a transfer");
    let twice = ask(&|bytes| {
        let opt = bytes[19..].to_vec();
        bytes.extend_from_slice(&opt);
        bytes[11] = 2;
    });
    assert_eq!(twice, Err(Unfit::Code(code::FORMAT_ERROR)), "EDNS twice");
}

#[test]
fn a_label_with_a_dot_is_not_two_labels() {
    let mut text = String::new();
    let mut bytes = encoded("web.app.", RecordType::A, false);
    let at = bytes.windows(3).position(|three| three == b"web").unwrap();
    // One label of seven bytes: `web.app`.
    bytes[at - 1] = 7;
    bytes[at + 3] = b'.';
    query(&bytes, &mut text).unwrap();
    assert_eq!(text, "");
}

#[test]
fn names_longer_than_allowed_are_refused() {
    let mut text = String::new();
    let mut bytes = encoded(".", RecordType::A, false);
    let question = bytes.split_off(HEADER);
    for _ in 0..4 {
        bytes.push(63);
        bytes.extend_from_slice(&[b'a'; 63]);
    }
    bytes.extend_from_slice(&question);
    assert_eq!(query(&bytes, &mut text), Err(Unfit::Code(code::FORMAT_ERROR)));
}

/// A reply with an answer of 100 s, an SOA that allows 30 s, and EDNS at this place of two.
fn upstream(answers: u8, response_code: u8, edns_last: bool) -> (Vec<u8>, usize) {
    let mut bytes = encoded("x.org.", RecordType::A, false);
    let end = bytes.len();
    bytes[2] = 0x81;
    bytes[3] = 0x80 | response_code;
    (bytes[7], bytes[9], bytes[11]) = (answers, 1, 2);
    for n in 0..answers {
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 100, 0, 4, 10, 0, 0, n]);
    }
    bytes.extend_from_slice(&[0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 50, 0, 22, 0, 0]);
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&30u32.to_be_bytes());
    let glue: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 70, 0, 4, 10, 9, 9, 9];
    let opt: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    let tail = if edns_last { [glue, opt] } else { [opt, glue] };
    tail.iter().for_each(|part| bytes.extend_from_slice(part));
    (bytes, end)
}

#[test]
fn edns_stays_between_neighbours() {
    for (edns_last, left) in [(true, 1), (false, 0)] {
        let (bytes, end) = upstream(2, 0, edns_last);
        let reply = reply(&bytes, end).unwrap();
        assert_eq!(reply.additional, left);
        assert_eq!(reply.ttls.len(), 3 + usize::from(left));
        let plain = encoded("X.org.", RecordType::A, false);
        let asked = query(&plain, &mut String::new()).unwrap();
        let mut out = Vec::new();
        respond::relayed(&mut out, &plain, &asked, 512, (&bytes, &reply), 40);
        let message = Message::from_vec(&out).unwrap();
        assert_eq!(message.answers.len(), 2);
        assert_eq!(message.answers[0].ttl, 60);
        assert_eq!(message.additionals.len(), usize::from(left));
        assert!(message.edns.is_none());
        assert_eq!(message.metadata.id, 0x1234);
    }
}

#[test]
fn how_long_an_answer_lasts() {
    let lasts = |answers, response_code| {
        let (bytes, end) = upstream(answers, response_code, true);
        reply(&bytes, end).unwrap().lasts
    };
    assert_eq!(lasts(1, 0), Some(50), "the shortest of all records");
    assert_eq!(lasts(0, 0), Some(30), "the last field of the SOA");
    assert_eq!(lasts(0, 3), Some(30));
    assert_eq!(lasts(0, 2), None);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = String::new();
        let _ = query(&bytes, &mut text);
        let _ = reply(&bytes, HEADER);
    }

    /// Real messages with some bytes changed come further than garbage does.
    #[test]
    fn damaged_messages_never_panic(
        changes in prop::collection::vec((0usize..140, any::<u8>()), 1..6),
        cut in 0usize..140,
        kept in any::<bool>(),
    ) {
        let mut text = String::new();
        let (mut bytes, _) = upstream(2, 0, kept);
        let mut asked = encoded("x.org.", RecordType::A, true);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            if let Some(byte) = asked.get_mut(at) { *byte = value; }
        }
        if !kept {
            bytes.truncate(cut);
        }
        if let Ok(query) = query(&asked, &mut text) {
            let mut out = Vec::new();
            respond::addresses(&mut out, &asked, &query, (512, 1), &[std::net::Ipv4Addr::LOCALHOST.into()]);
            prop_assert!(Message::from_vec(&out).is_ok());
            respond::only_code(&mut out, &asked, &query, code::BAD_VERSION);
            if answers(&bytes, &asked[HEADER..query.end]) && let Ok(reply) = reply(&bytes, query.end) {
                respond::relayed(&mut out, &asked, &query, 512, (&bytes, &reply), 7);
                prop_assert!(out.len() <= 512);
            }
        } else if asked.len() >= HEADER {
            let mut out = Vec::new();
            respond::unreadable(&mut out, &asked, code::FORMAT_ERROR);
            prop_assert_eq!(out.len(), HEADER);
        }
    }

    #[test]
    fn the_same_as_another_decoder(labels in prop::collection::vec("[a-zA-Z0-9]([a-zA-Z0-9_-]{0,18}[a-zA-Z0-9])?", 1..8), edns in any::<bool>()) {
        let name = labels.join(".") + ".";
        let bytes = encoded(&name, RecordType::TXT, edns);
        let mut text = String::new();
        let query = query(&bytes, &mut text).unwrap();
        prop_assert_eq!(text + ".", name.to_ascii_lowercase());
        let mut out = Vec::new();
        respond::only_code(&mut out, &bytes, &query, code::REFUSED);
        let message = Message::from_vec(&out).unwrap();
        prop_assert_eq!(message.metadata.message_type, MessageType::Response);
        prop_assert_eq!(message.metadata.op_code, OpCode::Query);
        prop_assert_eq!(message.edns.is_some(), edns);
        prop_assert_eq!(message.queries[0].name().to_ascii(), name);
    }
}
