//! Events in any order yield the same timelines.

mod filters;
mod scenarios;

use proptest::prelude::*;
use proptest::sample::Index;

use super::flow::Flows;
use super::*;
use fairway_walk::Tuple;
use scenarios::{Scene, dropped, published, scenes};

/// The timelines that a joiner returns for events in this order.
fn timelines(scene: &Scene, events: &[Event]) -> String {
    let mut joiner = Joiner::new(scene.filter.clone());
    events.iter().for_each(|event| joiner.receive(event.clone(), 5));
    assert_eq!(joiner.take_messages(6, false), [], "more may come");
    let mut text = String::new();
    for message in joiner.take_messages(1_000_000_000, false) {
        let TraceMessage::Packet(timeline) = message else { panic!("{message:?}") };
        let FlowSummary { number, carries, outcome, packets, translated, .. } = &timeline.flow;
        text += &format!(
            "{number} {} {carries:?} {}\n",
            if timeline.back { "back" } else { "forth" },
            timeline.title
        );
        for entry in &timeline.entries {
            let step = &entry.step;
            text += &format!("  {} {:5} {:12} {}\n", entry.at, step.namespace, step.location(), entry.text());
        }
        text += &format!(
            "  = {}\n  {outcome} {packets:?} {:?}\n\n",
            timeline.end.text,
            translated.map(|it| it.to_string())
        );
    }
    text
}

#[test]
fn a_rewritten_conversation() {
    let scene = published();
    insta::assert_snapshot!(timelines(&scene, &scene.events));
}

#[test]
fn a_drop() {
    let scene = dropped();
    insta::assert_snapshot!(timelines(&scene, &scene.events));
}

/// The same events in another order; the trace messages of rules keep their order.
fn shuffled(scene: &Scene, picks: &[Index]) -> Vec<Event> {
    let is_rule = |event: &Event| matches!(event.kind, EventKind::Rule(_));
    let (rules, mut others): (Vec<Event>, Vec<Event>) = scene.events.iter().cloned().partition(is_rule);
    let mut list: Vec<Event> = Vec::new();
    let mut picks = picks.iter();
    while let Some(pick) = picks.next().filter(|_| !others.is_empty()) {
        list.push(others.remove(pick.index(others.len())));
    }
    let mut least = 0;
    for rule in rules {
        let Some(pick) = picks.next() else { break };
        least += pick.index(list.len() + 1 - least);
        list.insert(least, rule);
        least += 1;
    }
    assert_eq!(list.len(), scene.events.len());
    list
}

proptest! {
    #[test]
    fn any_order_yields_the_same_timelines(picks in prop::collection::vec(any::<Index>(), 100)) {
        for scene in scenes() {
            let shuffled = shuffled(&scene, &picks);
            prop_assert_eq!(timelines(&scene, &shuffled), timelines(&scene, &scene.events));
        }
    }

    #[test]
    fn arbitrary_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), cut in 0usize..60) {
        let _ = ObservedPacket::of_packet(&bytes);
        let _ = ObservedPacket::of_headers(&bytes[..cut.min(bytes.len())], &bytes[cut.min(bytes.len())..]);
    }
}

/// When the packets that are due began.
fn due(joiner: &mut Joiner, milliseconds: u64) -> Vec<u64> {
    let messages = joiner.take_messages(milliseconds * 1_000_000, false);
    let time = |message: TraceMessage| match message {
        TraceMessage::Packet(timeline) => timeline.at,
        other => panic!("{other:?}"),
    };
    messages.into_iter().map(time).collect()
}

#[test]
fn a_packet_is_reported_after_those_before_it() {
    let scene = published();
    let packet = |at, sequence| {
        let observed = scenarios::tcp("10.10.50.1:40000", "10.10.50.99:8080", 16, sequence);
        scenarios::seen(at, "host", "eth0", false, observed)
    };
    let mut joiner = Joiner::new(scene.filter.clone());
    let mut receive = |event, milliseconds: u64| joiner.receive(event, milliseconds * 1_000_000);
    receive(packet(1, 1), 1);
    receive(packet(2, 2), 2);
    receive(packet(3, 1), 100);
    assert!(due(&mut joiner, 180).is_empty(), "the first one may go on");
    assert_eq!(due(&mut joiner, 230), [1, 2]);

    // One that goes on and on delays others for a while only.
    let mut receive = |event, milliseconds: u64| joiner.receive(event, milliseconds * 1_000_000);
    receive(packet(4, 3), 300);
    receive(packet(5, 4), 300);
    receive(packet(6, 3), 400);
    receive(packet(7, 3), 500);
    assert!(due(&mut joiner, 500).is_empty());
    assert_eq!(due(&mut joiner, 550), [5]);
    assert_eq!(due(&mut joiner, 620), [4]);
}

#[test]
fn packets_that_the_filter_does_not_match_are_not_reported() {
    let mut scene = published();
    scene.filter = Filter::default();
    assert_eq!(timelines(&scene, &scene.events), "");
}

#[test]
fn a_new_connection_between_the_same_ports_is_another_flow() {
    let observed = |flags, sequence| scenarios::tcp("10.0.0.1:1000", "10.0.0.2:80", flags, sequence);
    let mut flows = Flows::default();
    let first = flows.of(&[&observed(2, 1)], 1).unwrap().0;
    flows.get(first).unwrap().see(&observed(2, 1), fairway_ruleset::CtDirection::Original, "a", None);
    assert_eq!(flows.of(&[&observed(2, 1)], 2).unwrap().0, first, "sent again");
    assert_ne!(flows.of(&[&observed(2, 7)], 3).unwrap().0, first);
}

#[test]
fn outcomes() {
    use fairway_ruleset::CtDirection::{Original, Reply};
    let (syn, ack, rst, fin) = (2, 16, 4, 1);
    let outcome = |packets: &[(u8, bool, Option<&str>)]| {
        let mut flows = Flows::default();
        let first = scenarios::tcp("10.0.0.1:1000", "10.0.0.2:80", syn, 1);
        let key = flows.of(&[&first], 1).unwrap().0;
        let flow = flows.get(key).unwrap();
        for (flags, back, dropped) in packets {
            let (from, to) = ("10.0.0.1:1000", "10.0.0.2:80");
            let (from, to) = if *back { (to, from) } else { (from, to) };
            let direction = if *back { Reply } else { Original };
            flow.see(&scenarios::tcp(from, to, *flags, 1), direction, "web", *dropped);
        }
        let summary = flow.summary();
        (summary.outcome, summary.answered)
    };
    let is = |text: &str, answered| (text.to_owned(), answered);
    let open = [(syn, false, None), (syn | ack, true, None), (ack, false, None)];
    assert_eq!(outcome(&open), is("established", Some(true)));
    assert_eq!(
        outcome(&[&open[..], &[(fin | ack, true, None)]].concat()),
        is("established, and closed", Some(true))
    );
    assert_eq!(outcome(&open[..1]), is("no answer seen", Some(false)));
    assert_eq!(outcome(&[open[0], (rst | ack, true, None)]), is("refused by web: a TCP reset", Some(false)));
    assert_eq!(outcome(&[(syn, false, Some("dropped"))]), is("dropped", Some(false)));
    assert_eq!(outcome(&[(syn, false, Some("dropped")), open[1], open[2]]), is("established", Some(true)));
    // The reply is dropped.
    assert_eq!(outcome(&[open[0], (syn | ack, true, Some("dropped"))]), is("dropped", Some(false)));
    assert_eq!(outcome(&[(ack, false, None)]), is("seen one way only; it began before", None));
    assert_eq!(outcome(&[(ack, false, None), (ack, true, None)]).1, Some(true));
}

#[test]
fn the_fingerprint_of_a_packet_survives_nat() {
    let print = |bytes: Vec<u8>| ObservedPacket::of_packet(&bytes).unwrap().fingerprint;
    let one = scenarios::packet("10.0.0.1", "10.0.0.2", 17, &[0x10, 0, 0, 53, 0, 12, 1, 2, 9, 9, 9, 9]);
    let rewritten =
        scenarios::packet("172.18.0.1", "172.18.0.2", 17, &[0x20, 1, 0, 80, 0, 12, 7, 8, 9, 9, 9, 9]);
    let other = scenarios::packet("10.0.0.1", "10.0.0.2", 17, &[0x10, 0, 0, 53, 0, 12, 1, 2, 9, 9, 9, 8]);
    assert_eq!(print(one.clone()), print(rewritten));
    assert_ne!(print(one.clone()), print(other));
    // The headers of a trace message suffice.
    let headers = ObservedPacket::of_headers(&one[..20], &one[20..]);
    assert_eq!(headers, ObservedPacket::of_packet(&one));
}

#[test]
fn an_icmp_error_belongs_to_the_flow_that_it_quotes() {
    let quoted = scenarios::packet("10.0.0.1", "10.0.0.2", 17, &[0x10, 0, 0, 53, 0, 12, 1, 2]);
    let error = [&[3, 3, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
    let error = ObservedPacket::of_packet(&scenarios::packet("10.0.0.2", "10.0.0.1", 1, &error)).unwrap();
    assert_eq!(error.segment.to_string(), "port unreachable");
    let asked = scenarios::observed(quoted).tuple;
    assert_eq!((error.about, error.belongs_to()), (Some(asked), asked.reversed()));
    let mut flows = Flows::default();
    let key = flows.of(&[&error], 1).unwrap();
    assert_eq!(key.1, fairway_ruleset::CtDirection::Reply);
    assert_eq!(flows.get(key.0).unwrap().original(), Some(asked));
}

#[test]
fn ipv6_options_are_skipped() {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 28, 0, 64];
    bytes.extend([0xfd; 16]);
    bytes.extend([0xfc; 16]);
    bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    let Tuple { protocol, source_port, destination_port, .. } =
        ObservedPacket::of_packet(&bytes).unwrap().tuple;
    assert_eq!((protocol, source_port, destination_port), (6, 80, 81));
}

#[test]
fn neighbor_discovery_belongs_to_no_flow() {
    let icmpv6 = |kind: u8| {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 8, 58, 255];
        bytes.extend([0xfd; 32]);
        bytes.extend([kind, 0, 0, 0, 0, 1, 0, 1]);
        ObservedPacket::of_packet(&bytes)
    };
    assert_eq!([135, 136, 133, 143].map(icmpv6), [None, None, None, None]);
    assert_eq!(icmpv6(128).unwrap().segment, Segment::Echo { reply: false, sequence: 1 });
}
