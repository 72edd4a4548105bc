//! Durations in narrow buckets, for quantiles that can be trusted.
//!
//! The buckets of [`Timing`](super::Timing) are those that dashboards share; a quantile out of them
//! may be wrong by a factor of two. These are *log-linear*, as HdrHistogram's: each power of two is
//! divided into sixteen, so that the middle of a bucket is within [`ERROR`] of everything in it.
//! Only buckets that hold something take room: one statement's durations fill some thirty of them,
//! and many hundred statements are copied with each report.

/// Most that a quantile differs from the exact one, as a part of it; for durations under a
/// microsecond, up to 32 nanoseconds.
pub const ERROR: f64 = 1.0 / 32.0;

/// Bits that tell the buckets within one power of two.
const LINEAR_BITS: u32 = 4;
const LINEAR: u64 = 1 << LINEAR_BITS;
/// Durations are counted in units of 64 ns.
const UNIT_BITS: u32 = 6;
/// Durations from here on, an hour and more, share the last bucket.
const MAX_UNITS: u64 = 1 << 36;

/// Durations of one statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Buckets that hold something, in order, and how many they hold.
    buckets: Vec<(u16, u64)>,
}

impl Latencies {
    /// Adds one observation.
    pub fn observe(&mut self, ns: u64) {
        self.observe_many(ns, 1);
    }

    /// Adds the same observation so many times.
    pub fn observe_many(&mut self, ns: u64, times: u64) {
        if times > 0 {
            self.add_to(bucket_of(ns), times);
        }
    }

    /// Adds another's observations.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add_to(*bucket, *count);
        }
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(at) => {
                if let Some((_, sum)) = self.buckets.get_mut(at) {
                    *sum = sum.saturating_add(count);
                }
            }
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// What was observed since an earlier copy of the same series; `None` when that is no earlier
    /// one of it.
    pub fn since(&self, before: &Self) -> Option<Self> {
        let mut rest = self.clone();
        for (bucket, count) in &before.buckets {
            let at = rest
                .buckets
                .binary_search_by_key(bucket, |(at, _)| *at)
                .ok()?;
            let (_, sum) = rest.buckets.get_mut(at)?;
            *sum = sum.checked_sub(*count)?;
        }
        rest.buckets.retain(|(_, count)| *count > 0);
        Some(rest)
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The duration in nanoseconds that this part of all observations (0 to 1) does not exceed,
    /// within [`ERROR`]; `None` when there is none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = part.clamp(0.0, 1.0) * count as f64;
        let mut passed = 0u64;
        for (bucket, count) in &self.buckets {
            passed = passed.saturating_add(*count);
            if passed as f64 >= wanted {
                return Some(middle_of(*bucket));
            }
        }
        self.buckets.last().map(|(bucket, _)| middle_of(*bucket))
    }

    /// Buckets that hold something, in order, and how many they hold.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        self.buckets.iter().copied()
    }

    /// From what [`Self::iter`] gave; `None` when that is nothing of the kind.
    pub fn from_buckets(buckets: impl IntoIterator<Item = (u16, u64)>) -> Option<Self> {
        let mut latencies = Self::default();
        for (bucket, count) in buckets {
            if bucket > bucket_of(u64::MAX) {
                return None;
            }
            latencies.add_to(bucket, count);
        }
        Some(latencies)
    }
}

/// Numbers up to [`LINEAR`] have a bucket each; from there on the highest bits tell.
fn bucket_of(ns: u64) -> u16 {
    let units = (ns >> UNIT_BITS).min(MAX_UNITS - 1);
    if units < LINEAR {
        return u16::try_from(units).unwrap_or(u16::MAX);
    }
    let power = units.ilog2() - LINEAR_BITS;
    let within = (units >> power) - LINEAR;
    u16::try_from(u64::from(power + 1) * LINEAR + within).unwrap_or(u16::MAX)
}

/// The middle of a bucket, in nanoseconds.
fn middle_of(bucket: u16) -> u64 {
    let (power, within) = (u64::from(bucket) / LINEAR, u64::from(bucket) % LINEAR);
    let (low, width) = match power.checked_sub(1) {
        None => (within, 1),
        Some(power) => ((LINEAR + within) << power, 1 << power),
    };
    (low << UNIT_BITS) + (width << UNIT_BITS) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: &[u64]) -> Latencies {
        let mut latencies = Latencies::default();
        for ns in durations {
            latencies.observe(*ns);
        }
        latencies
    }

    proptest! {
        /// What the API promises of its quantiles.
        #[test]
        fn a_quantile_is_within_the_error_of_the_exact_one(
            mut durations in prop::collection::vec(1_000u64..3_600_000_000_000, 1..300),
            which in any::<prop::sample::Index>(),
        ) {
            let latencies = of(&durations);
            durations.sort_unstable();
            let which = which.index(durations.len());
            let exact = durations[which] as f64;
            let part = (which as f64 + 0.5) / durations.len() as f64;
            let found = latencies.quantile(part).unwrap() as f64;
            prop_assert!((found - exact).abs() <= exact * ERROR + 64.0, "{found} for {exact}");
            prop_assert_eq!(latencies.count(), durations.len() as u64);
        }

        /// What a window of time shows is what happened in it.
        #[test]
        fn what_is_observed_later_is_the_difference(
            first in prop::collection::vec(any::<u64>(), 0..100),
            second in prop::collection::vec(any::<u64>(), 0..100),
        ) {
            let (before, later) = (of(&first), of(&second));
            let mut all = before.clone();
            all.add(&later);
            prop_assert_eq!(all.since(&before), Some(later.clone()));
            prop_assert_eq!(Latencies::from_buckets(later.iter()), Some(later));
        }
    }

    #[test]
    fn buckets_are_in_order_without_gaps() {
        let mut last = 0;
        for ns in (0..200_000).step_by(32) {
            let bucket = bucket_of(ns);
            assert!(bucket == last || bucket == last + 1, "{ns}");
            last = bucket;
        }
        // 36 bits of units: 32 powers of two above the linear part.
        assert_eq!(bucket_of(u64::MAX), 32 * 16 + 15);
    }

    #[test]
    fn buckets_of_another_kind_are_refused() {
        assert_eq!(Latencies::from_buckets([(528, 1)]), None);
    }

    #[test]
    fn a_series_that_began_again_has_no_difference() {
        assert_eq!(of(&[1_000]).since(&of(&[1_000, 1_000])), None);
        assert_eq!(of(&[1_000]).since(&of(&[5_000_000])), None);
    }
}
