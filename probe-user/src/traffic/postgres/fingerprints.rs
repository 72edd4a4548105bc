//! Statements by what they look like: the few that take most of the time each on their own, all
//! others as one, so that the sum over all is the sum over all statements.
//!
//! A statement gets a series of its own as long as there is room. When there is none, it is a
//! *candidate*: its numbers go to `other`, its time is followed. Once that is clearly more than the
//! least of those that have a series, the two change places: the one that goes leaves its numbers to
//! `other`, the one that comes begins at zero, since what it had before is in `other` already. So
//! every series, `other` included, only ever grows while it exists.
//!
//! Candidates are bounded as well, by the scheme of *Space-Saving* (Metwally and others, 2005): the
//! one with the least time makes room, and the newcomer inherits that time as its possible error.
//! Only what is certainly a candidate's own counts against those that have a series.

use std::{collections::HashMap, sync::Arc};

use super::super::{Latencies, Timing};
use crate::sql::SqlInfo;

/// Statements without a series whose time is followed.
const CANDIDATES: usize = 256;

/// How much more time than the least of those with a series a candidate needs: by this many
/// quarters. Two that take turns in being the larger one must not change places all the time.
const CLEARLY: u64 = 5;

/// What was observed of one fingerprint, or of several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Statements, whatever their outcome.
    pub calls: u64,
    /// Of these, those that failed.
    pub errors: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// Time that they took, in nanoseconds. Statements that were answered together share theirs.
    pub busy_ns: u64,
}

impl Totals {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.rows = self.rows.saturating_add(other.rows);
        self.busy_ns = self.busy_ns.saturating_add(other.busy_ns);
    }

    /// What was added since an earlier copy; `None` when that is no earlier one of it.
    pub fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            calls: self.calls.checked_sub(before.calls)?,
            errors: self.errors.checked_sub(before.errors)?,
            rows: self.rows.checked_sub(before.rows)?,
            busy_ns: self.busy_ns.checked_sub(before.busy_ns)?,
        })
    }
}

/// One fingerprint that has a series of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The statement without its literals.
    pub sql: Arc<SqlInfo>,
    /// The database that it ran in last, as far as that is known; empty when it never was.
    pub database: Arc<str>,
    /// Its numbers since it has a series.
    pub totals: Totals,
    /// Durations of its calls since then, as far as they are known.
    pub duration: Timing,
    /// The same durations, for quantiles.
    pub latencies: Latencies,
    /// All time that is certainly its own, by which it is ranked.
    rank_ns: u64,
}

impl Fingerprint {
    fn new(sql: Arc<SqlInfo>, rank_ns: u64) -> Self {
        Self {
            sql,
            database: Arc::default(),
            totals: Totals::default(),
            duration: Timing::default(),
            latencies: Latencies::default(),
            rank_ns,
        }
    }

    /// Takes note of where it ran.
    fn ran_in(&mut self, database: &Arc<str>) {
        if !database.is_empty() && self.database != *database {
            self.database = Arc::clone(database);
        }
    }

    /// A fingerprint with these numbers, for those who make up a report.
    pub fn with(sql: Arc<SqlInfo>, database: Arc<str>, totals: Totals, duration: Timing) -> Self {
        Self {
            rank_ns: totals.busy_ns,
            sql,
            database,
            totals,
            duration,
            latencies: Latencies::default(),
        }
    }
}

/// A fingerprint without a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    /// Time since it is followed, and what it inherited.
    ns: u64,
    /// Of this, what may be the time of those that it took the place of.
    inherited_ns: u64,
}

/// One service's statements by fingerprint, as seen from one side.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprints {
    limit: usize,
    top: HashMap<u64, Fingerprint>,
    candidates: HashMap<u64, Candidate>,
    /// At most the least rank among `top`: ranks only grow, so it is looked for seldom.
    least_ns: u64,
    other: Totals,
    unknown: Totals,
}

/// One execution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation<'a> {
    /// The statement; `None` when its text was never seen.
    pub(super) sql: Option<&'a Arc<SqlInfo>>,
    /// Empty when it is not known.
    pub(super) database: &'a Arc<str>,
    pub(super) failed: bool,
    pub(super) rows: u64,
    /// Its share of the time, if that is known.
    pub(super) busy_ns: Option<u64>,
    /// From its start to its end, if that is known.
    pub(super) duration_ns: Option<u64>,
}

impl Fingerprints {
    /// Nothing seen yet; up to `limit` fingerprints get a series.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes one execution.
    pub(super) fn observe(&mut self, seen: &Observation<'_>) {
        let busy_ns = seen.busy_ns.unwrap_or(0);
        let totals = Totals {
            calls: 1,
            errors: u64::from(seen.failed),
            rows: seen.rows,
            busy_ns,
        };
        let Some(sql) = seen.sql else {
            self.unknown.add(&totals);
            return;
        };
        match self.series(sql, busy_ns) {
            Some(series) => {
                series.totals.add(&totals);
                series.ran_in(seen.database);
                if let Some(ns) = seen.duration_ns {
                    series.duration.observe(ns);
                    series.latencies.observe(ns);
                }
            }
            None => self.other.add(&totals),
        }
    }

    /// The series of a statement that took so much time now; `None` when it has none.
    fn series(&mut self, sql: &Arc<SqlInfo>, ns: u64) -> Option<&mut Fingerprint> {
        let key = sql.fingerprint;
        if !self.top.contains_key(&key) {
            let rank_ns = if self.top.len() < self.limit {
                0
            } else {
                self.displace_for(key, ns)?.saturating_sub(ns)
            };
            self.top
                .insert(key, Fingerprint::new(Arc::clone(sql), rank_ns));
        }
        let series = self.top.get_mut(&key)?;
        series.rank_ns = series.rank_ns.saturating_add(ns);
        Some(series)
    }

    /// Follows a candidate; once it deserves a series, makes room and returns its rank.
    fn displace_for(&mut self, key: u64, ns: u64) -> Option<u64> {
        let candidate = self.candidate(key);
        candidate.ns = candidate.ns.saturating_add(ns);
        let certain_ns = candidate.ns.saturating_sub(candidate.inherited_ns);
        let deserves = |least: u64| certain_ns > least / 4 * CLEARLY;
        if !deserves(self.least_ns) {
            return None;
        }
        let (least, series) = self.top.iter().min_by_key(|(_, series)| series.rank_ns)?;
        let (least, least_ns) = (*least, series.rank_ns);
        self.least_ns = least_ns;
        if !deserves(least_ns) {
            return None;
        }
        self.candidates.remove(&key);
        if let Some(gone) = self.top.remove(&least) {
            self.other.add(&gone.totals);
            let candidate = Candidate {
                ns: gone.rank_ns,
                inherited_ns: 0,
            };
            self.candidates.insert(least, candidate);
        }
        Some(certain_ns)
    }

    fn candidate(&mut self, key: u64) -> &mut Candidate {
        let mut inherited_ns = 0;
        if self.candidates.len() >= CANDIDATES && !self.candidates.contains_key(&key) {
            let least = self.candidates.iter().min_by_key(|(_, of)| of.ns);
            if let Some((least, of)) = least.map(|(key, of)| (*key, *of)) {
                self.candidates.remove(&least);
                inherited_ns = of.ns;
            }
        }
        self.candidates.entry(key).or_insert(Candidate {
            ns: inherited_ns,
            inherited_ns,
        })
    }

    /// What a scrape wants to know.
    pub(super) fn report(&self) -> FingerprintReport {
        FingerprintReport {
            top: self.top.values().cloned().collect(),
            other: self.other.clone(),
            unknown: self.unknown.clone(),
        }
    }
}

/// Statements by fingerprint; the sum over all is the sum over all statements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FingerprintReport {
    /// Those that take most of the time, in no order.
    pub top: Vec<Fingerprint>,
    /// All others that have a fingerprint.
    pub other: Totals,
    /// Those whose text was never seen.
    pub unknown: Totals,
}

impl FingerprintReport {
    /// Over all statements.
    pub fn sum(&self) -> Totals {
        let mut sum = self.other.clone();
        sum.add(&self.unknown);
        for series in &self.top {
            sum.add(&series.totals);
        }
        sum
    }

    /// Adds another's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.other.add(&other.other);
        self.unknown.add(&other.unknown);
        for series in &other.top {
            let key = series.sql.fingerprint;
            match self.top.iter_mut().find(|one| one.sql.fingerprint == key) {
                Some(known) => {
                    known.ran_in(&series.database);
                    known.totals.add(&series.totals);
                    known.duration.add(&series.duration);
                    known.latencies.add(&series.latencies);
                }
                None => self.top.push(series.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::LazyLock};

    use proptest::prelude::*;

    use super::*;
    use crate::sql::Operation;

    fn sql(fingerprint: u64) -> Arc<SqlInfo> {
        Arc::new(SqlInfo {
            text: format!("select {fingerprint}").into(),
            fingerprint,
            operation: Operation::Select,
            complete: true,
        })
    }

    static NOT_KNOWN: LazyLock<Arc<str>> = LazyLock::new(Arc::default);

    fn seen(sql: Option<&Arc<SqlInfo>>, ns: u64) -> Observation<'_> {
        Observation {
            sql,
            database: &NOT_KNOWN,
            failed: ns.is_multiple_of(7),
            rows: ns % 5,
            busy_ns: Some(ns),
            duration_ns: Some(ns),
        }
    }

    fn calls(table: &Fingerprints) -> BTreeMap<u64, u64> {
        let report = table.report();
        let top = report.top.iter();
        top.map(|series| (series.sql.fingerprint, series.totals.calls))
            .collect()
    }

    #[test]
    fn a_statement_that_becomes_heavy_gets_the_place_of_the_lightest() {
        let mut table = Fingerprints::new(2);
        for (key, ns) in [(1, 1_000), (2, 100), (3, 10)] {
            table.observe(&seen(Some(&sql(key)), ns));
        }
        assert_eq!(calls(&table), BTreeMap::from([(1, 1), (2, 1)]));
        assert_eq!(table.report().other.calls, 1);
        // Not yet: 125 are needed to be clearly more than 100.
        table.observe(&seen(Some(&sql(3)), 115));
        assert_eq!(calls(&table), BTreeMap::from([(1, 1), (2, 1)]));
        table.observe(&seen(Some(&sql(3)), 1));
        // The newcomer begins with the call that brought it in; what it had is in `other`.
        assert_eq!(calls(&table), BTreeMap::from([(1, 1), (3, 1)]));
        assert_eq!(table.report().other.calls, 3);
        // And what was displaced can come back.
        table.observe(&seen(Some(&sql(2)), 100));
        assert_eq!(calls(&table), BTreeMap::from([(1, 1), (2, 1)]));
    }

    /// Advice connects to the database that a statement ran in.
    #[test]
    fn a_statement_keeps_the_latest_database_that_is_known() {
        let mut table = Fingerprints::new(2);
        let (shop, stock): (Arc<str>, Arc<str>) = ("shop".into(), "stock".into());
        for (database, wanted) in [
            (&*NOT_KNOWN, ""),
            (&shop, "shop"),
            (&*NOT_KNOWN, "shop"),
            (&stock, "stock"),
        ] {
            table.observe(&Observation {
                database,
                ..seen(Some(&sql(1)), 1)
            });
            assert_eq!(&*table.report().top[0].database, wanted);
        }
    }

    /// A generator of one-off statements must not push out what takes the time.
    #[test]
    fn a_flood_of_statements_that_come_once_displaces_none_that_is_heavier() {
        let mut table = Fingerprints::new(10);
        for key in 0..10 {
            table.observe(&seen(Some(&sql(key)), 1_000));
        }
        for key in 100..20_100 {
            table.observe(&seen(Some(&sql(key)), 900));
        }
        assert_eq!(
            calls(&table).into_keys().collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
        assert_eq!(table.candidates.len(), CANDIDATES);
        assert_eq!(table.report().other.calls, 20_000);
    }

    proptest! {
        /// What dashboards rely on: nothing is counted twice or lost, nothing goes down.
        #[test]
        fn the_sum_is_that_of_all_statements_and_no_series_goes_down(
            limit in 1usize..6,
            executions in prop::collection::vec((0u64..600, 0u64..5_000), 1..2_000),
        ) {
            let mut table = Fingerprints::new(limit);
            let mut all = Totals::default();
            let mut before = table.report();
            for (key, ns) in executions {
                // Some keys are frequent, most are rare; 0 stands for an unknown text.
                let key = if key > 300 { key % 8 } else { key };
                let sql = (key > 0).then(|| sql(key));
                let seen = seen(sql.as_ref(), ns);
                table.observe(&seen);
                all.add(&Totals { calls: 1, errors: u64::from(seen.failed), rows: seen.rows, busy_ns: ns });
                let now = table.report();
                prop_assert_eq!(&now.sum(), &all);
                prop_assert!(now.top.len() <= limit);
                prop_assert!(table.candidates.len() <= CANDIDATES);
                prop_assert!(now.other.calls >= before.other.calls);
                prop_assert!(now.other.busy_ns >= before.other.busy_ns);
                for series in &now.top {
                    let old = before.top.iter().find(|old| old.sql.fingerprint == series.sql.fingerprint);
                    if let Some(old) = old {
                        prop_assert!(series.totals.calls >= old.totals.calls);
                        prop_assert!(series.totals.busy_ns >= old.totals.busy_ns);
                    }
                    prop_assert_eq!(series.duration.count(), series.totals.calls);
                    prop_assert_eq!(series.latencies.count(), series.totals.calls);
                }
                before = now;
            }
        }
    }
}
