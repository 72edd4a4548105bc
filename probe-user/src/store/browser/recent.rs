//! The latest of what browsers said in memory, for when there is no store, or it is down.

use std::collections::{HashMap, VecDeque};

use super::{
    BrowserError, BrowserSum, ErrorFilter, PageSum, SumFilter, VitalFilter, WebVital, errors, sums,
    vitals,
};
use crate::store::Record;

/// The most rows and bytes of each kind.
const VITALS: (usize, usize) = (10_000, 6 << 20);
const ERRORS: (usize, usize) = (1_000, 4 << 20);
const SUMS: (usize, usize) = (10_000, 3 << 20);

/// The latest of what browsers said; the oldest make room.
#[derive(Debug)]
pub(in crate::store) struct RecentBeacons {
    vitals: Bounded<WebVital>,
    /// Where each vital is, counted from the first that was ever kept.
    places: HashMap<(String, String), u64>,
    errors: Bounded<BrowserError>,
    sums: Bounded<BrowserSum>,
}

impl Default for RecentBeacons {
    fn default() -> Self {
        Self {
            vitals: Bounded::new(VITALS),
            places: HashMap::new(),
            errors: Bounded::new(ERRORS),
            sums: Bounded::new(SUMS),
        }
    }
}

impl RecentBeacons {
    /// Remembers what the record holds of browsers.
    pub(in crate::store) fn push(&mut self, record: &Record) {
        match record {
            Record::WebVital(vital) => self.push_vital(vital),
            Record::BrowserErrors(errors) => {
                for error in errors {
                    self.errors.push(error.clone(), BrowserError::bytes);
                }
            }
            Record::BrowserSums(sums) => {
                for sum in sums {
                    self.sums.push(sum.clone(), BrowserSum::bytes);
                }
            }
            _ => {}
        }
    }

    fn push_vital(&mut self, vital: &WebVital) {
        let key = (vital.id.clone(), vital.name.clone());
        if let Some(place) = self.places.get(&key) {
            self.vitals.replace(*place, vital, WebVital::bytes);
            return;
        }
        self.places.insert(key, self.vitals.end());
        for old in self.vitals.push(vital.clone(), WebVital::bytes) {
            self.places.remove(&(old.id, old.name));
        }
    }

    pub(in crate::store) fn vitals(&self, filter: &VitalFilter) -> vitals::Groups {
        vitals::groups_of(self.vitals.rows.iter(), filter)
    }

    pub(in crate::store) fn errors(&self, filter: &ErrorFilter) -> errors::Groups {
        errors::groups_of(self.errors.rows.iter(), filter)
    }

    pub(in crate::store) fn sums(&self, filter: &SumFilter) -> Vec<PageSum> {
        sums::sums_of(self.sums.rows.iter(), filter)
    }
}

/// Rows that are bounded in number and bytes.
#[derive(Debug)]
struct Bounded<T> {
    rows: VecDeque<T>,
    bytes: usize,
    /// Rows that went.
    gone: u64,
    most: (usize, usize),
}

impl<T: Clone> Bounded<T> {
    fn new(most: (usize, usize)) -> Self {
        Self {
            rows: VecDeque::new(),
            bytes: 0,
            gone: 0,
            most,
        }
    }

    /// Where the next row will be.
    fn end(&self) -> u64 {
        self.gone + self.rows.len() as u64
    }

    /// Adds a row; those that made room for it.
    fn push(&mut self, row: T, bytes: fn(&T) -> usize) -> Vec<T> {
        self.bytes += bytes(&row);
        self.rows.push_back(row);
        let mut old = Vec::new();
        while self.rows.len() > self.most.0 || self.bytes > self.most.1 {
            let Some(oldest) = self.rows.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(bytes(&oldest));
            self.gone += 1;
            old.push(oldest);
        }
        old
    }

    fn replace(&mut self, place: u64, row: &T, bytes: fn(&T) -> usize) {
        let at = usize::try_from(place.wrapping_sub(self.gone)).unwrap_or(usize::MAX);
        if let Some(slot) = self.rows.get_mut(at) {
            self.bytes = (self.bytes + bytes(row)).saturating_sub(bytes(slot));
            *slot = row.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::browser::{error, vital};

    /// A flood of beacons while the store is down must not fill the memory.
    #[test]
    fn a_flood_keeps_the_newest_within_the_bounds() {
        let mut recent = RecentBeacons::default();
        for n in 0..12_000 {
            let vital = WebVital {
                id: format!("v{n}"),
                ..vital(n)
            };
            recent.push(&Record::WebVital(Box::new(vital)));
        }
        assert!(recent.vitals.rows.len() <= VITALS.0 && recent.vitals.bytes <= VITALS.1);
        assert_eq!(recent.places.len(), recent.vitals.rows.len());
        assert_eq!(recent.vitals.rows.back().unwrap().id, "v11999");
        for n in 0..100 {
            let error = BrowserError {
                stack: Some("x".repeat(1 << 17)),
                ..error(n)
            };
            recent.push(&Record::BrowserErrors(vec![error]));
        }
        assert!(recent.errors.bytes <= ERRORS.1 && recent.errors.rows.len() > 10);
    }

    /// A value that grows counts once, also when others came in between.
    #[test]
    fn a_later_value_replaces_the_one_before() {
        let mut recent = RecentBeacons::default();
        for (id, value_micro) in [("a", 1), ("b", 5), ("a", 2), ("a", 3)] {
            let vital = WebVital {
                id: id.into(),
                value_micro,
                ..vital(0)
            };
            recent.push(&Record::WebVital(Box::new(vital)));
        }
        let (groups, _) = recent.vitals(&VitalFilter::default());
        assert_eq!(
            (groups[0].samples, groups[0].p50_micro, groups[0].p95_micro),
            (2, 3, 5)
        );
        let bytes: usize = recent.vitals.rows.iter().map(WebVital::bytes).sum();
        assert_eq!(recent.vitals.bytes, bytes);
    }
}
