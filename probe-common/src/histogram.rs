//! Latency histograms kept in the kernel: powers of two, no floating point, no loss.

use crate::kernel_abi;

/// Buckets of a [`Histogram`]; the last one has no upper bound.
pub const BUCKETS: usize = 32;

/// The upper bound of bucket 0 is `1 << FIRST_BOUND_LOG2` nanoseconds (128 ns).
pub const FIRST_BOUND_LOG2: u32 = 7;

/// Counts per power-of-two bucket, and the sum of what was observed.
///
/// Bucket `i` counts observations in `(bound(i-1), bound(i)]` nanoseconds, as Prometheus' `le`
/// wants it; the number of observations is the sum of the buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram {
    /// Sum of all observations in nanoseconds; wraps after 584 years of observed time.
    pub sum_ns: u64,
    /// Observations per bucket, not cumulative.
    pub buckets: [u64; BUCKETS],
}
kernel_abi!(Histogram, 8 + 8 * BUCKETS);

impl Histogram {
    /// A histogram that has seen nothing.
    pub const EMPTY: Self = Self {
        sum_ns: 0,
        buckets: [0; BUCKETS],
    };

    /// Adds one observation. Inlined into kernel programs: no loop, no panic.
    #[inline(always)]
    pub fn observe(&mut self, ns: u64) {
        self.sum_ns = self.sum_ns.wrapping_add(ns);
        // The mask tells the verifier what the arithmetic already guarantees.
        if let Some(bucket) = self.buckets.get_mut(bucket_of(ns) & (BUCKETS - 1)) {
            *bucket = bucket.wrapping_add(1);
        }
    }

    /// Adds another CPU's or another moment's counts to these.
    pub fn merge(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine = mine.wrapping_add(*theirs);
        }
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The bucket that `ns` belongs to: the first whose bound is not below it.
///
/// Written as a binary search over comparisons: BPF has no count-leading-zeros instruction before
/// its version 4, and the emulation costs twice as much.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "what is left is 0 or 1; `usize::try_from` is not const"
)]
pub const fn bucket_of(ns: u64) -> usize {
    if ns == 0 {
        return 0;
    }
    // ceil(log2(ns)) - FIRST_BOUND_LOG2, clamped to the table.
    let mut rest = (ns - 1) >> FIRST_BOUND_LOG2;
    let mut bucket = 0;
    if rest >= 1 << (BUCKETS - 1) {
        return BUCKETS - 1;
    }
    if rest >= 1 << 16 {
        rest >>= 16;
        bucket += 16;
    }
    if rest >= 1 << 8 {
        rest >>= 8;
        bucket += 8;
    }
    if rest >= 1 << 4 {
        rest >>= 4;
        bucket += 4;
    }
    if rest >= 1 << 2 {
        rest >>= 2;
        bucket += 2;
    }
    if rest >= 2 {
        rest >>= 1;
        bucket += 1;
    }
    bucket + rest as usize
}

/// The upper bound of a bucket in nanoseconds, or `None` for the last one.
pub const fn bound_ns(bucket: usize) -> Option<u64> {
    if bucket + 1 < BUCKETS {
        Some(1 << (FIRST_BOUND_LOG2 as usize + bucket))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket_and_one_more_to_the_next() {
        for bucket in 0..BUCKETS - 1 {
            let bound = bound_ns(bucket).unwrap();
            assert_eq!(bucket_of(bound), bucket, "le is inclusive at {bound} ns");
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
    }

    #[test]
    fn the_ends_are_clamped() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(1), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bound_ns(BUCKETS - 1), None);
        assert_eq!(bound_ns(0), Some(128));
    }

    #[test]
    fn merging_keeps_count_and_sum() {
        let mut a = Histogram::EMPTY;
        let mut b = Histogram::EMPTY;
        for ns in [1, 128, 129, 5_000_000, u64::MAX / 4] {
            a.observe(ns);
            b.observe(ns / 3);
        }
        let sum = a.sum_ns + b.sum_ns;
        a.merge(&b);
        assert_eq!(a.count(), 10);
        assert_eq!(a.sum_ns, sum);
    }
}
