//! The text exposition format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

use super::distribution::Distribution;

/// The media type of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number that only grows, until the process that counts ends.
    Counter,
    /// A number that may fall.
    Gauge,
    /// Observations by buckets, with their sum and count.
    Histogram,
    /// Observations with their sum and count.
    Summary,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Metrics as text.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a metric. The text of help is one line without a backslash.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> Metric<'_> {
        let kind = kind.text();
        line(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        Metric { text: &mut self.0, name }
    }

    /// The text of all metrics.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A metric whose samples are being written.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Metric<'_> {
    /// Writes the only sample of a metric without labels.
    pub fn value(&mut self, value: impl Display) {
        self.sample("", &[], value);
    }

    /// Writes the sample with these labels.
    pub fn labelled(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, value);
    }

    /// Writes the buckets, sum and count of a histogram.
    pub fn distribution(&mut self, distribution: &Distribution) {
        for (bound, count) in distribution.cumulative() {
            self.sample("_bucket", &[("le", bound)], count);
        }
        self.sum_and_count(distribution.seconds(), distribution.count());
    }

    /// Writes the sum and count of observations.
    pub fn sum_and_count(&mut self, sum: f64, count: u64) {
        self.sample("_sum", &[], sum);
        self.sample("_count", &[], count);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let pairs = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        let pairs = pairs.collect::<Vec<_>>().join(",");
        let name = self.name;
        match pairs.is_empty() {
            true => line(self.text, format_args!("{name}{suffix} {value}")),
            false => line(self.text, format_args!("{name}{suffix}{{{pairs}}} {value}")),
        }
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(content);
    text.push('\n');
}

/// The value of a label: backslash, quote and line break are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_have_no_exponent() {
        let mut exposition = Exposition::default();
        let mut metric = exposition.metric("fairway_networks", Kind::Gauge, "Networks");
        metric.labelled(&[("name", "a\"b\\c\nd"), ("driver", "é")], 3);
        metric.value(0.000_001);
        metric.value(u64::MAX);
        assert_eq!(
            exposition.into_text(),
            "# HELP fairway_networks Networks\n# TYPE fairway_networks gauge\n\
             fairway_networks{name=\"a\\\"b\\\\c\\nd\",driver=\"é\"} 3\n\
             fairway_networks 0.000001\nfairway_networks 18446744073709551615\n"
        );
    }
}
