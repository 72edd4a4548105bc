//! Numbers of Postgres: statements, transactions and connections.

mod conditions;
mod connections;
mod fingerprints;
mod statements;

use std::{collections::BTreeMap, sync::Arc};

use super::Counts;
use crate::{
    sql::SqlCache,
    wire::{
        postgres::{Event, SessionInfo, Statement},
        stream::Side,
    },
};
pub use conditions::{class, condition};
pub(super) use connections::Link;
pub use connections::{ConnectionReport, ConnectionState, Encryption};
pub use fingerprints::{Fingerprint, FingerprintReport, Totals};
pub use statements::{PostgresSeries, StatementKey, StatementOutcome, StatisticsDelta};

use connections::Connections;
use statements::{Databases, Statements};

/// Statement texts and their bytes that are kept to spare parsing them again.
const CACHED_TEXTS: usize = 4_096;
const CACHED_BYTES: usize = 4 << 20;

/// What else is told of one service's Postgres, as seen from one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseReport {
    /// Statements by fingerprint: the same as those by database, operation and outcome.
    pub fingerprints: FingerprintReport,
    /// Transactions by database and whether they were committed.
    pub transactions: BTreeMap<(Arc<str>, bool), u64>,
    /// By how much `pg_stat_statements` differs, by operation.
    pub statistics: BTreeMap<&'static str, StatisticsDelta>,
    /// Start-ups, errors, and connections now.
    pub connections: ConnectionReport,
    /// Slow statements by database.
    pub slow: BTreeMap<Arc<str>, u64>,
}

impl DatabaseReport {
    /// Adds another's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.fingerprints.merge(&other.fingerprints);
        for (key, count) in &other.transactions {
            let sum = self.transactions.entry(key.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (operation, difference) in &other.statistics {
            self.statistics
                .entry(operation)
                .or_default()
                .add(*difference);
        }
        self.connections.merge(&other.connections);
        for (database, count) in &other.slow {
            let sum = self.slow.entry(Arc::clone(database)).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

/// One service's Postgres.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) cache: SqlCache,
    databases: Databases,
    server: View,
    client: View,
}

/// What is seen from one side.
#[derive(Debug)]
struct View {
    statements: Statements,
    connections: Connections,
    slow: BTreeMap<Arc<str>, u64>,
}

impl Postgres {
    /// `limit` bounds the series, `fingerprints` the statements that have their own.
    pub(super) fn new(limit: usize, fingerprints: usize, capture_literals: bool) -> Self {
        let view = || View {
            statements: Statements::new(limit, fingerprints),
            connections: Connections::default(),
            slow: BTreeMap::new(),
        };
        Self {
            cache: SqlCache::new(CACHED_TEXTS, CACHED_BYTES).capturing(capture_literals),
            databases: Databases::default(),
            server: view(),
            client: view(),
        }
    }

    /// Takes what a connection's decoder said; the service is on this side of it.
    pub(super) fn event(
        &mut self,
        side: Side,
        event: &Event,
        session: &SessionInfo,
        link: &mut Link,
        counts: &mut Counts,
    ) {
        link.event(event);
        let view = match side {
            Side::Server => &mut self.server,
            Side::Client => &mut self.client,
        };
        let mut database = |session: &SessionInfo| {
            self.databases
                .name(session.database.as_deref().unwrap_or_default())
        };
        match event {
            Event::Statement(statement) => {
                let database = database(&statement.session);
                view.statements.observe(statement, database, counts);
            }
            Event::Transaction { committed, .. } => {
                view.statements.transaction(database(session), *committed);
            }
            Event::StatisticsDiffer(difference) => view.statements.statistics_differ(difference),
            Event::Connected {
                connect_to_ready_ns,
                ..
            } => view.connections.connected(link, *connect_to_ready_ns),
            Event::Refused { sqlstate, session } => {
                view.connections.refused(side, link, *sqlstate, session);
            }
            Event::ServerError { sqlstate } => view.connections.server_error(*sqlstate),
            Event::Cancel => view.connections.report.cancels += 1,
            Event::NotPostgres => counts.not_decoded += 1,
            // They change the connection alone, or end it.
            Event::Ready { .. }
            | Event::TlsNegotiated
            | Event::GssNegotiated
            | Event::Replication
            | Event::Terminated => {}
        }
    }

    /// Counts a slow statement.
    pub(super) fn slow(&mut self, side: Side, statement: &Statement) {
        let database = statement.session.database.as_deref();
        let database = self.databases.name(database.unwrap_or_default());
        let view = match side {
            Side::Server => &mut self.server,
            Side::Client => &mut self.client,
        };
        *view.slow.entry(database).or_default() += 1;
    }

    /// Statements by database, operation and outcome.
    pub(super) fn statements(&self, side: Side) -> BTreeMap<StatementKey, PostgresSeries> {
        self.view(side).statements.series.clone()
    }

    /// The rest; `states` are the connections now.
    pub(super) fn report(
        &self,
        side: Side,
        states: BTreeMap<ConnectionState, u64>,
    ) -> DatabaseReport {
        let View {
            statements,
            connections,
            slow,
        } = self.view(side);
        DatabaseReport {
            fingerprints: statements.fingerprints.report(),
            transactions: statements.transactions.clone(),
            statistics: statements.statistics.clone(),
            connections: ConnectionReport {
                states,
                ..connections.report.clone()
            },
            slow: slow.clone(),
        }
    }

    fn view(&self, side: Side) -> &View {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
        }
    }
}
