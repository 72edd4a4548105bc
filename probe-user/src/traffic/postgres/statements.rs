//! Statements by database, kind and outcome; transactions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::fingerprints::{Fingerprints, Observation};
use crate::{
    sql::SqlInfo,
    traffic::{Counts, Exemplar, Exemplars, Timing, other, series},
    wire::postgres::{Outcome, Statement, StatisticsDifference},
};

/// A series of statements.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatementKey {
    /// Database, empty when the connection was open before it was seen.
    pub database: Arc<str>,
    /// Kind of statement, such as `SELECT`; `unknown` when its text was never seen.
    pub operation: &'static str,
    /// How it ended.
    pub outcome: StatementOutcome,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementOutcome {
    /// Completed.
    Ok,
    /// Failed with this SQLSTATE; `other` for those beyond the limit of series.
    Error([u8; 5]),
    /// Its answer was not seen.
    Unknown,
}

/// What was observed of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostgresSeries {
    /// Statements, timed or not.
    pub calls: u64,
    /// From the statement's arrival to its completion.
    pub duration: Timing,
    /// From the statement's arrival to the first byte of its answer.
    pub first_byte: Timing,
    /// Rows returned or changed.
    pub rows: u64,
    /// Durations whose statement names its trace.
    pub exemplars: Exemplars,
}

/// By how much `pg_stat_statements` differs for a reason that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatisticsDelta {
    /// To be added to the calls reported.
    pub calls: i64,
    /// To be added to the rows reported.
    pub rows: i64,
}

impl StatisticsDelta {
    /// Adds another's numbers.
    pub fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.rows = self.rows.saturating_add(other.rows);
    }
}

/// One service's statements as seen from one side.
#[derive(Debug)]
pub(super) struct Statements {
    limit: usize,
    pub(super) series: BTreeMap<StatementKey, PostgresSeries>,
    pub(super) fingerprints: Fingerprints,
    /// Transactions by database and whether they were committed.
    pub(super) transactions: BTreeMap<(Arc<str>, bool), u64>,
    /// By operation.
    pub(super) statistics: BTreeMap<&'static str, StatisticsDelta>,
}

/// Databases that are told apart.
const DATABASES: usize = 200;

/// The one copy of each database's name.
#[derive(Debug, Default)]
pub(super) struct Databases(BTreeSet<Arc<str>>);

impl Databases {
    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() >= DATABASES {
            return other();
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

impl Statements {
    pub(super) fn new(limit: usize, fingerprints: usize) -> Self {
        Self {
            limit,
            series: BTreeMap::new(),
            fingerprints: Fingerprints::new(fingerprints),
            transactions: BTreeMap::new(),
            statistics: BTreeMap::new(),
        }
    }

    /// Takes one execution. Each is in exactly one series, and in exactly one fingerprint's.
    pub(super) fn observe(
        &mut self,
        statement: &Statement,
        database: Arc<str>,
        counts: &mut Counts,
    ) {
        let outcome = match statement.outcome {
            Outcome::Ok => StatementOutcome::Ok,
            Outcome::Error(state) => StatementOutcome::Error(state.0),
            Outcome::Unknown => StatementOutcome::Unknown,
        };
        if outcome == StatementOutcome::Unknown || statement.sql.is_none() {
            counts.uncertain += 1;
        }
        let since_start = |at: Option<u64>| Some(at?.saturating_sub(statement.started_ns?));
        let duration_ns = since_start(statement.finished_ns);
        self.fingerprints.observe(&Observation {
            sql: statement.sql.as_ref(),
            database: &database,
            failed: matches!(outcome, StatementOutcome::Error(_)),
            rows: statement.rows.unwrap_or(0),
            busy_ns: busy_ns(statement),
            duration_ns,
        });
        let key = StatementKey {
            database,
            operation: operation(statement.sql.as_ref()),
            outcome,
        };
        let series = series(&mut self.series, self.limit, key, |key| StatementKey {
            database: other(),
            // Any code can be raised by any function.
            outcome: match key.outcome {
                StatementOutcome::Error(_) => StatementOutcome::Error(*b"other"),
                known => known,
            },
            ..key
        });
        series.calls += 1;
        series.rows = series.rows.saturating_add(statement.rows.unwrap_or(0));
        if let Some(ns) = since_start(statement.first_byte_ns) {
            series.first_byte.observe(ns);
        }
        let Some(ns) = duration_ns else {
            return;
        };
        series.duration.observe(ns);
        // What is not sampled cannot be looked up.
        let trace = statement.traceparent.filter(|trace| trace.flags & 1 == 1);
        if let (Some(trace), Some(at_ns)) = (trace, statement.finished_ns) {
            series.exemplars.observe(Exemplar {
                trace_id: trace.trace_id,
                ns,
                at_ns,
            });
        }
    }

    pub(super) fn transaction(&mut self, database: Arc<str>, committed: bool) {
        *self.transactions.entry((database, committed)).or_default() += 1;
    }

    pub(super) fn statistics_differ(&mut self, difference: &StatisticsDifference) {
        let operation = operation(difference.sql.as_ref());
        self.statistics
            .entry(operation)
            .or_default()
            .add(StatisticsDelta {
                calls: difference.calls,
                rows: difference.rows,
            });
    }
}

fn operation(sql: Option<&Arc<SqlInfo>>) -> &'static str {
    sql.map_or("unknown", |sql| sql.operation.as_str())
}

/// The time that an execution took, as its part of the sum over all: statements that were sent and
/// answered together share their time equally, since nobody can know more.
fn busy_ns(statement: &Statement) -> Option<u64> {
    let sharing = if statement.shared_latency {
        u64::from(statement.batch.max(1))
    } else {
        1
    };
    Some(statement.busy_ns? / sharing)
}
