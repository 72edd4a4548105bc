//! Quantiles of what was counted in buckets.

use probe_common::histogram::{Histogram, bound_ns};

use crate::traffic::{BOUNDS_NS, Timing};

/// A quantile, interpolated inside of its bucket; the last bound where there is no upper one, and
/// `None` when nothing was counted. `bounds` are the buckets' upper bounds, in any unit.
#[expect(
    clippy::cast_precision_loss,
    reason = "a quantile of buckets is no more exact than that"
)]
pub fn quantile(counts: &[u64], bounds: &[f64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().fold(0, |sum, n| sum.saturating_add(*n));
    if total == 0 {
        return None;
    }
    let last = bounds.last().copied()?;
    let mut rank = q.clamp(0.0, 1.0) * total as f64;
    let mut low = 0.0;
    for (bucket, count) in counts.iter().enumerate() {
        let Some(high) = bounds.get(bucket).copied() else {
            return Some(last);
        };
        let count = *count as f64;
        if count > 0.0 && rank <= count {
            return Some(low + (high - low) * (rank / count));
        }
        rank -= count;
        low = high;
    }
    Some(last)
}

/// In seconds.
pub(super) fn of_timing(timing: &Timing, q: f64) -> Option<f64> {
    quantile(&timing.counts, &BOUNDS_NS.map(seconds), q)
}

/// In seconds.
pub(super) fn of_histogram(histogram: &Histogram, q: f64) -> Option<f64> {
    let bounds = (0..histogram.buckets.len()).filter_map(bound_ns);
    let bounds: Vec<f64> = bounds.map(seconds).collect();
    quantile(&histogram.buckets, &bounds, q)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bounds are exact in a double, and sums need not be"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        assert_eq!(quantile(&[], &[1.0], 0.5), None);
        assert_eq!(quantile(&[0, 0], &[1.0, 2.0], 0.5), None);
        assert_eq!(quantile(&[10, 10], &[1.0, 2.0], 0.5), Some(1.0));
        assert_eq!(quantile(&[10, 10], &[1.0, 2.0], 0.75), Some(1.5));
        assert_eq!(quantile(&[0, 0, 5], &[1.0, 2.0], 0.99), Some(2.0));
        let mut timing = Timing::default();
        timing.observe(3_000_000);
        let p95 = of_timing(&timing, 0.95).unwrap();
        assert!((0.0025..=0.005).contains(&p95), "{p95}");
    }
}
