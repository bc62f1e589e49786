//! Steps and ends as records and as text.

use super::{TCP, address, tuple};
use crate::{
    Action, DiscardReason, End, EndKind, EndRecord, NamespaceId, PacketWalk, RuleHit, RuleRecord, Step,
    StepKind, StepRecord, Topology, Tuple, changes, empty_namespace,
};
use fairway_ruleset::{Family, Hook, Reject, Verdict};

const NAMESPACE: NamespaceId = NamespaceId(1);

fn topology() -> Topology {
    Topology { namespaces: vec![empty_namespace("host"), empty_namespace("web")] }
}

fn packet() -> Tuple {
    tuple(TCP, "10.0.0.1", "10.0.0.2")
}

/// A rule that was matched, without handle, comment and verdict.
pub fn hit(rule: &str) -> RuleHit {
    RuleHit {
        family: Family::Inet,
        legacy: false,
        table: "mine".to_owned(),
        chain: "in".to_owned(),
        rule: Some(rule.to_owned()),
        comment: None,
        handle: None,
        place: Some(0),
        element: None,
        actions: Vec::new(),
        verdict: None,
    }
}

fn policy() -> RuleHit {
    RuleHit { rule: None, place: None, verdict: Some(Verdict::Drop), ..hit("") }
}

fn chain(hits: Vec<RuleHit>) -> Step {
    Step::Chain {
        namespace: NAMESPACE,
        hook: Hook::Input,
        bridged: false,
        priority: -5,
        family: Family::Inet,
        table: "mine".to_owned(),
        legacy: false,
        chain: "in".to_owned(),
        hits,
    }
}

fn only(step: Step) -> StepRecord {
    let mut records = step.records(&topology());
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

#[test]
fn each_step_has_a_kind_a_location_and_a_text() {
    let namespace = NAMESPACE;
    let interface = "eth0".to_owned();
    let to = Tuple { destination: address("10.1.0.2"), destination_port: 8080, ..packet() };
    let translated = |now| Step::Translated { namespace, from: packet(), to, now };
    let shown = "tcp 10.0.0.1:40000 > 10.0.0.2:80";
    let change = "destination 10.0.0.2:80 -> 10.1.0.2:8080";
    for (step, kind, captured, location, text) in [
        (
            Step::Made { namespace, tuple: packet() },
            StepKind::Program,
            false,
            "program",
            format!("makes {shown}"),
        ),
        (
            Step::Arrives { namespace, interface: interface.clone(), tuple: packet() },
            StepKind::In,
            true,
            "eth0",
            format!("in   {shown}"),
        ),
        (
            Step::Leaves { namespace, interface, tuple: packet() },
            StepKind::Out,
            true,
            "eth0",
            format!("out  {shown}"),
        ),
        (
            Step::Tracked { namespace, state: "new" },
            StepKind::Conntrack,
            false,
            "conntrack",
            "new".to_owned(),
        ),
        (translated(true), StepKind::Translate, false, "translate", change.to_owned()),
        (
            translated(false),
            StepKind::Translate,
            false,
            "conntrack",
            format!("{change} (as it was for the first)"),
        ),
        (
            Step::Routed { namespace, route: "default dev eth0".to_owned(), why: "a reason".to_owned() },
            StepKind::Route,
            false,
            "route",
            "default dev eth0 (a reason)".to_owned(),
        ),
        (
            Step::Bridged { namespace, bridge: "br0".to_owned(), to: Some("port1".to_owned()) },
            StepKind::Bridge,
            false,
            "br0",
            "to its port port1".to_owned(),
        ),
        (
            Step::Bridged { namespace, bridge: "br0".to_owned(), to: None },
            StepKind::Bridge,
            false,
            "br0",
            "up to the host".to_owned(),
        ),
        (
            chain(Vec::new()),
            StepKind::Chain,
            false,
            "input",
            "inet mine -5: in: no rule is for it".to_owned(),
        ),
        (
            chain(vec![hit("counter accept")]),
            StepKind::Rule,
            false,
            "input",
            "inet mine -5: in: counter accept".to_owned(),
        ),
    ] {
        assert_eq!(step.namespace(), NAMESPACE);
        let record = only(step);
        assert_eq!((record.kind, record.is_captured()), (kind, captured), "{record:?}");
        assert_eq!((record.location(), record.text()), (location, text), "{record:?}");
        assert_eq!(record.namespace, "web");
    }
}

#[test]
fn changes_name_the_sides_that_changed() {
    let source = Tuple { source_port: 1025, ..packet() };
    let both = Tuple { destination: address("10.1.0.2"), ..source };
    assert_eq!(changes(packet(), packet()), [""; 0]);
    assert_eq!(changes(packet(), source), ["source 10.0.0.1:40000 -> 10.0.0.1:1025"]);
    assert_eq!(
        changes(packet(), both),
        ["destination 10.0.0.2:80 -> 10.1.0.2:80", "source 10.0.0.1:40000 -> 10.0.0.1:1025"]
    );
}

#[test]
fn rules_are_shown_with_handle_element_and_the_verdict_of_a_map() {
    let text = |hit: RuleHit| only(chain(vec![hit])).text().replace("inet mine -5: in: ", "");
    let drop = |rule| RuleHit { verdict: Some(Verdict::Drop), ..hit(rule) };
    let handle = |hit| RuleHit { handle: Some(9), ..hit };
    let element = |hit| RuleHit { element: Some("ports 80".to_owned()), ..hit };
    assert_eq!(text(handle(drop("tcp dport 80 drop"))), "tcp dport 80 drop  # handle 9");
    assert_eq!(text(drop("tcp dport vmap @ports")), "tcp dport vmap @ports -> drop");
    assert_eq!(
        text(element(handle(drop("tcp dport vmap @ports")))),
        "tcp dport vmap @ports  # handle 9  [ports 80]"
    );
    // The statement of a translation or reject stands for its verdict.
    for statement in [
        "ip daddr 10.0.0.2 dnat to 10.1.0.2",
        "snat to 10.1.0.2",
        "masquerade",
        "redirect",
        "reject",
        "-j NAME",
        "-g NAME",
    ] {
        assert_eq!(text(drop(statement)), statement);
    }
    assert_eq!(text(hit("meta mark set 0x1")), "meta mark set 0x1");
    assert_eq!(text(policy()), "its policy drop");
    assert_eq!(text(handle(policy())), "a rule that is gone  # handle 9");
    let legacy = RuleHit { legacy: true, ..handle(drop("-j DROP")) };
    assert_eq!(only(chain(vec![legacy])).text(), "legacy inet mine -5: in: -j DROP  # number 9");
}

#[test]
fn each_matched_rule_of_a_chain_is_a_record() {
    let refused = RuleHit {
        actions: vec![Action::Mark(1), Action::Refuse(Reject::TcpReset)],
        verdict: Some(Verdict::Drop),
        comment: Some("no".to_owned()),
        ..hit("reject with tcp reset")
    };
    let jump = RuleHit { verdict: Some(Verdict::Jump("on".to_owned())), ..hit("jump on") };
    let records = chain(vec![jump, refused]).records(&topology());
    let verdicts: Vec<_> = records.iter().map(|it| it.rule.verdict.as_deref()).collect();
    assert_eq!(verdicts, [Some("jump on"), Some("reject")]);
    let record = &records[1];
    assert_eq!((record.priority, record.hook.as_deref()), (Some(-5), Some("input")));
    assert_eq!((record.rule.comment.as_deref(), record.rule.chain.as_deref()), (Some("no"), Some("in")));
    assert_eq!(record.rule.table_text(), "inet mine");
    let Step::Chain { namespace, hook, priority, .. } = chain(Vec::new()) else { unreachable!() };
    let bridged = Step::Chain {
        namespace,
        hook,
        bridged: true,
        priority,
        family: Family::Bridge,
        table: "mine".to_owned(),
        legacy: true,
        chain: "in".to_owned(),
        hits: Vec::new(),
    };
    let record = only(bridged);
    assert_eq!(record.location(), "bridge input");
    assert_eq!(record.rule.table_text(), "legacy bridge mine");
}

#[test]
fn each_end_has_a_kind_and_a_sentence() {
    let namespace = NAMESPACE;
    let by = Box::new(RuleHit { handle: Some(9), comment: Some("no".to_owned()), ..hit("drop") });
    let interface = "eth0".to_owned();
    let next = address("10.0.0.254");
    let owner = "nginx".to_owned();
    let reason = "a reason".to_owned();
    let how = Reject::TcpReset;
    let proxy = Some("10.1.0.2:80".parse().unwrap());
    for (end, kind, sentence) in [
        (
            End::Delivered { namespace, owner: owner.clone(), tuple: packet(), proxy: None },
            EndKind::Delivered,
            "delivered on web to nginx, which sees tcp 10.0.0.1:40000 > 10.0.0.2:80",
        ),
        (
            End::Delivered { namespace, owner, tuple: packet(), proxy },
            EndKind::Delivered,
            "delivered on web to nginx, which forwards it to 10.1.0.2:80 by a connection of its own",
        ),
        (
            End::NoListener { namespace, tuple: packet() },
            EndKind::NoListener,
            "refused: no socket on web listens at 10.0.0.2:80",
        ),
        (
            End::Dropped { namespace, by: by.clone() },
            EndKind::Dropped,
            "dropped on web by inet mine in: \"no\" (handle 9)",
        ),
        (
            End::Rejected { namespace, by, how },
            EndKind::Rejected,
            "refused on web by inet mine in: \"no\" (handle 9): its sender gets a TCP reset",
        ),
        (
            End::Discarded { namespace, reason: DiscardReason::Blackhole },
            EndKind::Discarded,
            "lost on web: a blackhole route",
        ),
        (
            End::NoRoute { namespace, destination: next, by: None },
            EndKind::NoRoute,
            "refused on web: there is no route to 10.0.0.254",
        ),
        (
            End::NoNeighbor { namespace, interface: interface.clone(), next, silence: None },
            EndKind::NoNeighbor,
            "lost on web: no neighbor on eth0 has 10.0.0.254",
        ),
        (
            End::Leaves { namespace, interface, next, tuple: packet() },
            EndKind::Leaves,
            "leaves web by eth0 for 10.0.0.254, where a capture sees tcp 10.0.0.1:40000 > 10.0.0.2:80",
        ),
        (End::Unknown { namespace, reason }, EndKind::Unknown, "unknown from here on web: a reason"),
    ] {
        assert_eq!(end.namespace(), NAMESPACE);
        let record = end.record(&topology());
        assert_eq!((record.kind, record.text.as_str()), (kind, sentence));
        assert_eq!(record.namespace, "web");
        let walk = PacketWalk { steps: vec![chain(Vec::new())], counted: Vec::new(), end };
        let walk = walk.record("a title".to_owned(), &topology());
        assert_eq!((walk.title.as_str(), walk.steps.len(), walk.end), ("a title", 1, record));
    }
}

#[test]
fn a_rule_is_named_by_its_comment_or_its_text() {
    let commented = RuleHit { comment: Some("no".to_owned()), ..hit("drop") };
    assert_eq!(commented.in_words(), "inet mine in: \"no\"");
    assert_eq!(RuleHit { handle: Some(9), ..hit("drop") }.in_words(), "inet mine in: drop (handle 9)");
    assert_eq!(policy().in_words(), "the policy of inet mine in");
    let legacy = RuleHit { legacy: true, handle: Some(9), ..hit("-j DROP") };
    assert_eq!(legacy.in_words(), "legacy inet mine in: -j DROP (number 9)");
}

#[test]
fn each_end_has_its_facts_in_fields() {
    let namespace = NAMESPACE;
    let by = || Box::new(RuleHit { handle: Some(9), verdict: Some(Verdict::Drop), ..hit("drop") });
    let interface = || "eth0".to_owned();
    let next = address("10.0.0.254");
    let reason = || "a reason".to_owned();
    let new = |kind, end: &End| EndRecord {
        kind,
        namespace: "web".to_owned(),
        text: end.sentence(&topology()),
        ..EndRecord::default()
    };
    let of_rule = RuleRecord {
        family: Some("inet".to_owned()),
        table: Some("mine".to_owned()),
        chain: Some("in".to_owned()),
        rule: Some("drop".to_owned()),
        handle: Some(9),
        verdict: Some("drop".to_owned()),
        ..RuleRecord::default()
    };
    let tuple = packet();
    let packet = Some(tuple);
    let proxied_to = Some("10.1.0.2:80".parse().unwrap());
    let check = |end: End, kind, expected: &dyn Fn(EndRecord) -> EndRecord| {
        assert_eq!(end.record(&topology()), expected(new(kind, &end)));
    };
    let owner = Some("nginx".to_owned());
    check(
        End::Delivered { namespace, owner: "nginx".to_owned(), tuple, proxy: proxied_to },
        EndKind::Delivered,
        &|record| EndRecord { packet, owner: owner.clone(), proxied_to, ..record },
    );
    check(End::NoListener { namespace, tuple }, EndKind::NoListener, &|record| EndRecord {
        packet,
        ..record
    });
    check(End::Dropped { namespace, by: by() }, EndKind::Dropped, &|record| EndRecord {
        rule: of_rule.clone(),
        ..record
    });
    check(End::Rejected { namespace, by: by(), how: Reject::TcpReset }, EndKind::Rejected, &|record| {
        EndRecord { rule: of_rule.clone(), reject_with: Some("a TCP reset".to_owned()), ..record }
    });
    check(End::Discarded { namespace, reason: DiscardReason::Blackhole }, EndKind::Discarded, &|record| {
        EndRecord { reason: Some("a blackhole route".to_owned()), ..record }
    });
    check(End::NoRoute { namespace, destination: next, by: None }, EndKind::NoRoute, &|record| EndRecord {
        next_hop: Some(next),
        ..record
    });
    check(
        End::NoNeighbor { namespace, interface: interface(), next, silence: None },
        EndKind::NoNeighbor,
        &|record| EndRecord { interface: Some(interface()), next_hop: Some(next), ..record },
    );
    check(End::Leaves { namespace, interface: interface(), next, tuple }, EndKind::Leaves, &|record| {
        EndRecord { interface: Some(interface()), next_hop: Some(next), packet, ..record }
    });
    check(End::Unknown { namespace, reason: reason() }, EndKind::Unknown, &|record| EndRecord {
        reason: Some(reason()),
        ..record
    });
}
