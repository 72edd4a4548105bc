//! Observations that a trace is known of, the latest of each bucket.

use super::timing::BOUNDS_NS;

/// One observation and the trace that it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace (W3C Trace Context), never 0.
    pub trace_id: u128,
    /// What was observed, in nanoseconds.
    pub ns: u64,
    /// When, in nanoseconds of the records' clock.
    pub at_ns: u64,
}

/// The latest observation of each bucket of [`BOUNDS_NS`] that has a trace. Takes no memory until
/// there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemplars(Vec<Exemplar>);

impl Exemplars {
    /// Keeps an observation instead of the one before in its bucket.
    pub fn observe(&mut self, new: Exemplar) {
        let bucket = bucket_of(new.ns);
        match self.0.iter_mut().find(|old| bucket_of(old.ns) == bucket) {
            Some(old) if old.at_ns > new.at_ns => {}
            Some(old) => *old = new,
            None => self.0.push(new),
        }
    }

    /// Takes over what another has of later date.
    pub fn merge(&mut self, other: &Self) {
        for exemplar in &other.0 {
            self.observe(*exemplar);
        }
    }

    /// At most one per bucket, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Exemplar> {
        self.0.iter()
    }
}

fn bucket_of(ns: u64) -> usize {
    BOUNDS_NS.partition_point(|bound| *bound < ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_keeps_its_latest_and_there_are_no_more_than_buckets() {
        let mut exemplars = Exemplars::default();
        for at_ns in 0..1_000 {
            exemplars.observe(Exemplar {
                trace_id: u128::from(at_ns) + 1,
                ns: at_ns * 40_000_000,
                at_ns,
            });
        }
        assert!(exemplars.iter().count() <= BOUNDS_NS.len() + 1);
        let first = exemplars.iter().find(|exemplar| exemplar.ns == 0).unwrap();
        assert_eq!(first.trace_id, 1);
        let last = exemplars.iter().max_by_key(|exemplar| exemplar.ns).unwrap();
        assert_eq!(last.trace_id, 1_000);
        // Records of two connections may come in the wrong order.
        exemplars.observe(Exemplar {
            trace_id: 9_999,
            ns: last.ns,
            at_ns: 3,
        });
        assert!(exemplars.iter().all(|exemplar| exemplar.trace_id != 9_999));
    }
}
