//! Numbers of Postgres statements.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Counts, Timing, other, series};
use crate::{
    sql::SqlCache,
    wire::{
        postgres::{Event, Outcome, Statement},
        stream::Side,
    },
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
    /// Failed with this SQLSTATE.
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
}

/// One service's Postgres.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) cache: SqlCache,
    databases: BTreeSet<Arc<str>>,
    limit: usize,
    pub(super) server: BTreeMap<StatementKey, PostgresSeries>,
    pub(super) client: BTreeMap<StatementKey, PostgresSeries>,
}

/// Statement texts and their bytes that are kept to spare parsing them again.
const CACHED_TEXTS: usize = 4_096;
const CACHED_BYTES: usize = 4 << 20;

/// Databases that are told apart.
const DATABASES: usize = 200;

impl Postgres {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            cache: SqlCache::new(CACHED_TEXTS, CACHED_BYTES),
            databases: BTreeSet::new(),
            limit,
            server: BTreeMap::new(),
            client: BTreeMap::new(),
        }
    }

    /// Takes what a connection's decoder said; the service is on this side of it.
    pub(super) fn event(&mut self, side: Side, event: &Event, counts: &mut Counts) {
        if let Event::Statement(statement) = event {
            self.statement(side, statement, counts);
        }
    }

    fn statement(&mut self, side: Side, statement: &Statement, counts: &mut Counts) {
        let outcome = match statement.outcome {
            Outcome::Ok => StatementOutcome::Ok,
            Outcome::Error(state) => StatementOutcome::Error(state.0),
            Outcome::Unknown => StatementOutcome::Unknown,
        };
        if outcome == StatementOutcome::Unknown || statement.sql.is_none() {
            counts.uncertain += 1;
        }
        let key = StatementKey {
            database: self.database(statement.session.database.as_deref().unwrap_or_default()),
            operation: statement
                .sql
                .as_ref()
                .map_or("unknown", |sql| sql.operation.as_str()),
            outcome,
        };
        let table = match side {
            Side::Server => &mut self.server,
            Side::Client => &mut self.client,
        };
        let series = series(table, self.limit, key, |key| StatementKey {
            database: other(),
            ..key
        });
        series.calls += 1;
        series.rows += statement.rows.unwrap_or(0);
        let Some(started_ns) = statement.started_ns else {
            return;
        };
        if let Some(finished_ns) = statement.finished_ns {
            series
                .duration
                .observe(finished_ns.saturating_sub(started_ns));
        }
        if let Some(first_byte_ns) = statement.first_byte_ns {
            series
                .first_byte
                .observe(first_byte_ns.saturating_sub(started_ns));
        }
    }

    /// The one copy of a database's name.
    fn database(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.databases.get(name) {
            return Arc::clone(known);
        }
        if self.databases.len() >= DATABASES {
            return other();
        }
        let name: Arc<str> = name.into();
        self.databases.insert(Arc::clone(&name));
        name
    }
}
