//! The page and the dashboard name the metrics that there are.

use std::collections::{BTreeMap, BTreeSet};

use fairway_core::traffic::SharedResource;

use super::*;

const PAGE: &str = include_str!("../../../../docs/reference/metrics.md");
const DASHBOARD: &str = include_str!("../../../../docs/reference/grafana.json");

fn measured() -> Measurements {
    let share = SharedResource { open: 1, limit: 2, begun: 3, evicted: 4 };
    let relay = RelayCounters { connections: share, unanswered: 5, ..RelayCounters::default() };
    let mut measured = Measurements {
        relay_up: true,
        relay: Some(relay),
        conntrack: Some((7, 8)),
        ..Measurements::default()
    };
    measured.commands.attaches.observe(Duration::from_millis(30));
    measured.repairs.repaired.insert("bridge", 2);
    measured.api.replies.insert(404, 3);
    measured.store =
        StoreMeasurements { committing: Duration::from_millis(1_500), commits: 2, ..measured.store };
    measured
}

/// The types of the metrics of a text, by name.
fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn the_page_has_each_metric_with_its_type() {
    let text = text(&World::default(), &measured());
    let rows = PAGE.lines().filter_map(|line| {
        let mut columns = line.strip_prefix("| `")?.split(" | ");
        Some((columns.next()?.trim_end_matches('`'), columns.next()?))
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), types(&text));
}

#[test]
fn each_metric_of_the_dashboard_exists() {
    let text = text(&World::default(), &measured());
    let known = types(&text);
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let named: BTreeSet<&str> =
        DASHBOARD.split(|letter| !is_part(letter)).filter(|word| word.starts_with("fairway_")).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        assert!(known.contains_key(name) || base.is_some_and(|base| known.contains_key(base)), "{name}");
    }
}

#[test]
fn a_relay_that_does_not_answer_has_no_counters() {
    let with = text(&World::default(), &measured());
    assert!(with.contains("\nfairway_relay_up 1\n") && with.contains("\nfairway_relay_open_connections 1\n"));
    let without = text(&World::default(), &Measurements { relay_up: false, relay: None, ..measured() });
    assert!(without.contains("\nfairway_relay_up 0\n"), "{without}");
    assert!(!without.contains("\nfairway_relay_open_connections 1\n"), "{without}");
    assert_eq!(types(&with), types(&without));
}

#[test]
fn sums_are_in_seconds_and_labels_say_what_is_counted() {
    let text = text(&World::default(), &measured());
    for line in [
        "fairway_attach_duration_seconds_bucket{le=\"0.025\"} 0",
        "fairway_attach_duration_seconds_bucket{le=\"0.05\"} 1",
        "fairway_attach_duration_seconds_sum 0.03",
        "fairway_store_commit_duration_seconds_sum 1.5",
        "fairway_store_commit_duration_seconds_count 2",
        "fairway_drift_repaired_objects_total{kind=\"bridge\"} 2",
        "fairway_api_requests_total{code=\"404\"} 3",
        "fairway_relay_evictions_total{resource=\"connections\"} 4",
        "fairway_conntrack_entries_limit 8",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
}
