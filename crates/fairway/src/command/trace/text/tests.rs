use fairway_inspect::trace::{Lost, PacketTimeline, TimelineEntry};
use fairway_walk::{RuleRecord, StepRecord};

use super::*;

fn rule(text: Option<&str>, verdict: Option<&str>) -> TimelineEntry {
    let owned = |text: &str| text.to_owned();
    let rule = RuleRecord {
        family: Some(owned("inet")),
        table: Some(owned("t")),
        chain: Some(owned("c")),
        rule: text.map(owned),
        handle: Some(7),
        verdict: verdict.map(owned),
        ..RuleRecord::default()
    };
    let step =
        StepRecord { kind: StepKind::Rule, rule, hook: Some(owned("forward")), ..StepRecord::default() };
    TimelineEntry { step, ..TimelineEntry::default() }
}

#[test]
fn rules_without_effect_are_counted_and_not_shown() {
    let without = [
        rule(Some("counter packets 1 bytes 60"), None),
        rule(Some("jump other"), Some("jump other")),
        rule(Some("-j DOCKER-USER"), Some("jump DOCKER-USER")),
        rule(Some("return"), Some("return")),
    ];
    let with = [
        rule(Some("meta mark set 0x1"), None),
        rule(Some("-j MARK --set-xmark 0x1"), None),
        rule(None, None),
        rule(Some("accept"), Some("accept")),
        rule(Some("tcp dport 80 drop"), Some("drop")),
    ];
    let (none, all) = (without.len(), without.len() + with.len());
    let timeline =
        PacketTimeline { entries: without.into_iter().chain(with).collect(), ..Default::default() };
    let lines = |text: &mut Text| text.timeline(&timeline).trim_end().lines().count();
    let mut short = Text::new(Paint::plain(false), false);
    assert_eq!(lines(&mut short), all - none);
    let end = short.summaries(std::iter::empty(), &Lost::default());
    assert!(
        end.contains("4 rules without effect on their packets are not shown: --all shows them\n"),
        "{end}"
    );
    let mut long = Text::new(Paint::plain(false), true);
    assert_eq!(lines(&mut long), all);
    assert!(!long.summaries(std::iter::empty(), &Lost::default()).contains("--all"));
}

#[test]
fn drops_are_red() {
    let entries = vec![rule(Some("tcp dport 80 drop"), Some("drop")), rule(Some("accept"), Some("accept"))];
    let timeline = PacketTimeline { entries, ..PacketTimeline::default() };
    let text = Text::new(Paint::plain(true), false).timeline(&timeline);
    assert_eq!(text.matches("\x1b[31m").count(), 1, "{text}");
}
