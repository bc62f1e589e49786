//! A strict reader of the text exposition format of Prometheus (version 0.0.4).

use std::collections::{BTreeMap, BTreeSet};

/// The samples by name and labels, as they are written: `fairway_sandboxes{state="running"}`.
pub type Samples = BTreeMap<String, f64>;

/// Reads a text.
///
/// # Panics
/// When it is not in the format.
pub fn read(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut samples, mut metrics) = (Samples::new(), BTreeSet::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')).expect(line);
        assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
        assert!(metrics.insert(name.to_owned()), "a metric is there once: {name}");
        let line = lines.next().expect("a type follows");
        let (typed, kind) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')).expect(line);
        assert_eq!(typed, name);
        assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        let mut found = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let value: f64 = value.parse().expect(line);
            let base = series.split_once('{').map_or(series, |(base, labels)| {
                check_labels(labels.strip_suffix('}').expect(line));
                base
            });
            let suffix = base.strip_prefix(name).expect(line);
            assert!(suffixes(kind).contains(&suffix), "{line}");
            assert!(kind == "gauge" || value >= 0.0, "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "a sample is there once: {line}");
            found.push((series, value));
        }
        if kind == "histogram" {
            check_histogram(name, &found);
        }
    }
    samples
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["_sum", "_count"],
        _ => &[""],
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
}

/// `name="value",name="value"`, with escapes in values.
fn check_labels(mut rest: &str) {
    let mut names = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label has a value");
        assert!(is_name(name) && names.insert(name), "{rest}");
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next().expect("a value ends") {
                (_, '\\') => assert!(matches!(letters.next(), Some((_, '\\' | '"' | 'n'))), "{rest}"),
                (at, '"') => break at,
                _ => {}
            }
        };
        match value[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => return assert_eq!(&value[end + 1..], ""),
        }
    }
}

/// Buckets have growing bounds and counts, and the last one has everything.
fn check_histogram(name: &str, samples: &[(&str, f64)]) {
    let bucket = |(series, count): &(&str, f64)| {
        let bound = series.strip_prefix(&format!("{name}_bucket{{le=\""))?.strip_suffix("\"}")?;
        Some((bound.parse::<f64>().unwrap(), *count))
    };
    let buckets: Vec<(f64, f64)> = samples.iter().filter_map(bucket).collect();
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{buckets:?}");
    let count = samples.iter().find(|(series, _)| *series == format!("{name}_count")).unwrap().1;
    assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count));
}
