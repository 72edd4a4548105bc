//! The official thresholds, what is plausible, and the buckets that hold the thresholds.
//!
//! Thresholds are inclusive and meant for the 75th percentile of page loads
//! (<https://web.dev/articles/defining-core-web-vitals-thresholds>).

use super::beacon::{Rating, VitalName};

/// Upper bounds of LCP's buckets, in seconds.
pub const LCP_BOUNDS: &[f64] = &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0];
/// Of INP's.
pub const INP_BOUNDS: &[f64] = &[0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.5, 3.0];
/// Of CLS', which has no unit.
pub const CLS_BOUNDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0];
/// Of FCP's.
pub const FCP_BOUNDS: &[f64] = &[0.25, 0.5, 1.0, 1.5, 1.8, 2.4, 3.0, 5.0, 10.0];
/// Of TTFB's.
pub const TTFB_BOUNDS: &[f64] = &[0.1, 0.2, 0.4, 0.6, 0.8, 1.2, 1.8, 3.0, 5.0];
/// Of FID's.
pub const FID_BOUNDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0];

impl VitalName {
    /// The last value that is good, and the last that is not poor: milliseconds, of CLS no unit.
    pub const fn thresholds(self) -> (f64, f64) {
        match self {
            Self::Lcp => (2_500.0, 4_000.0),
            Self::Inp => (200.0, 500.0),
            Self::Cls => (0.1, 0.25),
            Self::Fcp => (1_800.0, 3_000.0),
            Self::Ttfb => (800.0, 1_800.0),
            Self::Fid => (100.0, 300.0),
        }
    }

    /// The largest value that is believed, in the same unit.
    pub const fn most(self) -> f64 {
        match self {
            Self::Cls => 10.0,
            _ => 60_000.0,
        }
    }

    /// Upper bounds of its buckets, in seconds; of CLS, no unit.
    pub const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Lcp => LCP_BOUNDS,
            Self::Inp => INP_BOUNDS,
            Self::Cls => CLS_BOUNDS,
            Self::Fcp => FCP_BOUNDS,
            Self::Ttfb => TTFB_BOUNDS,
            Self::Fid => FID_BOUNDS,
        }
    }

    /// How a value is judged: milliseconds, of CLS no unit.
    pub fn rate(self, value: f64) -> Rating {
        let (good, fair) = self.thresholds();
        if value <= good {
            Rating::Good
        } else if value <= fair {
            Rating::NeedsImprovement
        } else {
            Rating::Poor
        }
    }

    /// A value of a beacon in the unit of its metric: seconds; of CLS, no unit.
    pub fn exported(self, value: f64) -> f64 {
        match self {
            Self::Cls => value,
            _ => value / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise no dashboard could tell the share of good page loads.
    #[test]
    fn each_threshold_is_a_bound_of_a_bucket() {
        for name in VitalName::ALL.iter().copied() {
            let (good, fair) = name.thresholds();
            let bounds = name.bounds();
            for threshold in [good, fair] {
                assert!(bounds.contains(&name.exported(threshold)), "{name:?}");
            }
            assert!(bounds.is_sorted() && name.exported(name.most()) > *bounds.last().unwrap());
        }
    }

    #[test]
    fn the_thresholds_themselves_are_on_the_good_side() {
        assert_eq!(VitalName::Lcp.rate(2_500.0), Rating::Good);
        assert_eq!(VitalName::Lcp.rate(2_500.1), Rating::NeedsImprovement);
        assert_eq!(VitalName::Inp.rate(500.0), Rating::NeedsImprovement);
        assert_eq!(VitalName::Cls.rate(0.250_1), Rating::Poor);
    }
}
