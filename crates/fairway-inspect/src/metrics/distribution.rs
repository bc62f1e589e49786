//! Durations by buckets.

use std::time::Duration;

/// The upper bounds of the buckets in microseconds, and in seconds as text.
const BOUNDS: [(u64, &str); 13] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// How long something took, each time that it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    total: Duration,
}

impl Distribution {
    /// Adds one observation.
    pub fn observe(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        let fits = |bound: u64| took <= Duration::from_micros(bound);
        let place = BOUNDS.iter().position(|(bound, _)| fits(*bound));
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all observations in seconds.
    pub fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }

    /// The upper bound of each bucket in seconds, and how many observations were not above it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let buckets = BOUNDS.iter().zip(self.buckets).scan(0, |sum, ((_, bound), count)| {
            *sum += count;
            Some((*bound, *sum))
        });
        buckets.chain([("+Inf", self.count)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_in_all_buckets_that_are_not_below_it() {
        let mut distribution = Distribution::default();
        [1, 10, 11, 20_000].into_iter().for_each(|it| distribution.observe(Duration::from_millis(it)));
        let counts: Vec<(&str, u64)> = distribution.cumulative().collect();
        let of = |bound| counts.iter().find(|(at, _)| *at == bound).map(|(_, count)| *count);
        assert_eq!(counts.len(), BOUNDS.len() + 1);
        assert_eq!([of("0.001"), of("0.005"), of("0.01")], [Some(1), Some(1), Some(2)]);
        assert_eq!([of("0.025"), of("10"), of("+Inf")], [Some(3), Some(3), Some(4)]);
        assert_eq!((distribution.count(), distribution.seconds()), (4, 20.022));
    }

    #[test]
    fn bounds_are_the_same_as_text() {
        for (microseconds, text) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!((seconds * 1_000_000.0).round(), microseconds as f64, "{text}");
        }
    }
}
