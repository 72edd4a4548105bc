//! Durations in buckets with fixed bounds.

/// Upper and inclusive bounds in nanoseconds. They begin at 50 µs, because most statements and many
/// requests take less than a millisecond, and hold the bounds that OpenTelemetry recommends for
/// requests and database calls, so that dashboards made for those still work.
pub const BOUNDS_NS: [u64; 18] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Durations in the buckets of [`BOUNDS_NS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing {
    /// Observations per bucket, not cumulative; the last one has no upper bound.
    pub counts: [u64; BOUNDS_NS.len() + 1],
    /// Sum of all observations in nanoseconds.
    pub sum_ns: u64,
}

impl Timing {
    /// Adds one observation.
    pub fn observe(&mut self, ns: u64) {
        self.sum_ns = self.sum_ns.saturating_add(ns);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    /// Adds another's observations.
    pub fn add(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_own_bucket_and_more_in_the_next() {
        let mut timing = Timing::default();
        for ns in [0, 50_000, 50_001, 30_000_000_000, u64::MAX] {
            timing.observe(ns);
        }
        assert_eq!((timing.counts[0], timing.counts[1]), (2, 1));
        assert_eq!((timing.counts[17], timing.counts[18]), (1, 1));
        assert_eq!(timing.count(), 5);
    }
}
