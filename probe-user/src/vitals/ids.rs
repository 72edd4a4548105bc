//! Values that may still grow.
//!
//! A browser tells a value under one id again when it has grown. A histogram cannot take an
//! observation back, so a value waits until nothing came for a while, and is observed once. What
//! comes later under its id is known to be late.

use std::{
    collections::{BTreeSet, HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    num::NonZeroUsize,
    time::Duration,
};

use lru::LruCache;

/// How long after its last report a value is final.
pub(super) const QUIET: Duration = Duration::from_millis(2_500);
/// Longest wait from its first report on.
const LONGEST: Duration = Duration::from_secs(30);
/// Values that wait; more make the one go that is due next.
const WAITING: usize = 20_000;
/// Ids of values that were observed and are remembered; about 5 MiB.
const OBSERVED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(49_999);

/// Values by id, `T` being what is observed in the end. Bounded in every way.
#[derive(Debug)]
pub(super) struct Ids<T> {
    key: RandomState,
    waiting: HashMap<u64, Waiting<T>>,
    /// When each is due.
    due: BTreeSet<(Duration, u64)>,
    observed: LruCache<u64, ()>,
}

#[derive(Debug)]
struct Waiting<T> {
    first: Duration,
    due: Duration,
    value: T,
}

/// What became of a report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told<T> {
    /// It waits.
    Waits,
    /// It waits, and this one must be observed now to make room.
    Displaced(T),
    /// Its id was observed before.
    Late,
}

impl<T> Default for Ids<T> {
    fn default() -> Self {
        Self {
            key: RandomState::new(),
            waiting: HashMap::new(),
            due: BTreeSet::new(),
            observed: LruCache::new(OBSERVED),
        }
    }
}

impl<T> Ids<T> {
    /// A value was reported at `now`, by a clock that never goes back.
    pub(super) fn report(&mut self, name: &str, id: &str, value: T, now: Duration) -> Told<T> {
        let hash = self.key.hash_one((name, id));
        if self.observed.get(&hash).is_some() {
            return Told::Late;
        }
        let first = match self.waiting.remove(&hash) {
            Some(before) => {
                self.due.remove(&(before.due, hash));
                before.first
            }
            None => now,
        };
        let due = (now + QUIET).min(first + LONGEST);
        self.due.insert((due, hash));
        self.waiting.insert(hash, Waiting { first, due, value });
        if self.waiting.len() <= WAITING {
            return Told::Waits;
        }
        match self.take_first() {
            Some(value) => Told::Displaced(value),
            None => Told::Waits,
        }
    }

    /// The next value that is final at `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<T> {
        let (due, _) = self.due.first()?;
        if *due > now {
            return None;
        }
        self.take_first()
    }

    fn take_first(&mut self) -> Option<T> {
        let (_, hash) = self.due.pop_first()?;
        self.observed.put(hash, ());
        self.waiting.remove(&hash).map(|waiting| waiting.value)
    }

    /// All that wait.
    pub(super) fn waiting_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.values_mut().map(|waiting| &mut waiting.value)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_growing_value_is_observed_once_with_its_last_value() {
        let mut ids = Ids::default();
        assert_eq!(ids.report("CLS", "a", 1, MS), Told::Waits);
        assert_eq!(ids.report("CLS", "a", 2, MS * 2_000), Told::Waits);
        assert_eq!(ids.report("INP", "a", 7, MS * 2_000), Told::Waits);
        assert_eq!(ids.take_due(MS * 4_499), None);
        let due: Vec<_> = std::iter::from_fn(|| ids.take_due(MS * 4_500)).collect();
        assert_eq!(due.len(), 2);
        assert!(due.contains(&2) && due.contains(&7));
        assert_eq!(ids.report("CLS", "a", 3, MS * 5_000), Told::Late);
        assert_eq!(ids.take_due(MS * 60_000), None);
    }

    /// A page that tells every second would never be counted otherwise.
    #[test]
    fn a_value_that_never_rests_is_observed_after_half_a_minute() {
        let mut ids = Ids::default();
        for second in 0..=29u32 {
            assert_eq!(
                ids.report("INP", "a", second, MS * 1_000 * second),
                Told::Waits
            );
            assert_eq!(ids.take_due(MS * 1_000 * second), None);
        }
        assert_eq!(ids.take_due(MS * 30_000), Some(29));
    }

    #[test]
    fn a_flood_of_ids_is_bounded_and_loses_nothing() {
        let mut ids = Ids::default();
        let mut observed = 0u32;
        for n in 0..100_000u32 {
            if let Told::Displaced(_) = ids.report("LCP", &n.to_string(), n, MS) {
                observed += 1;
            }
        }
        assert_eq!((ids.len(), ids.due.len()), (WAITING, WAITING));
        assert_eq!(ids.observed.len(), OBSERVED.get());
        while ids.take_due(MS * 10_000).is_some() {
            observed += 1;
        }
        assert_eq!(observed, 100_000);
    }

    proptest! {
        /// Whatever comes when: each id is observed exactly once.
        #[test]
        fn each_id_is_observed_exactly_once(reports in proptest::collection::vec((0u8..20, 0u64..4_000), 1..200)) {
            let mut ids = Ids::default();
            let mut now = Duration::ZERO;
            let mut observed = Vec::new();
            for (id, pause) in &reports {
                now += MS * u32::try_from(*pause).unwrap();
                observed.extend(std::iter::from_fn(|| ids.take_due(now)));
                ids.report("LCP", &id.to_string(), *id, now);
            }
            observed.extend(std::iter::from_fn(|| ids.take_due(now + LONGEST)));
            observed.sort_unstable();
            let mut expected: Vec<u8> = reports.iter().map(|(id, _)| *id).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(observed, expected);
            prop_assert!(ids.due.is_empty() && ids.waiting.is_empty());
        }
    }
}
