//! Statements, transactions and connections of Postgres, as its server and as its clients see them.

use std::collections::BTreeMap;

use super::{metric, traffic::exemplars};
use crate::{
    metrics::{
        families::Families,
        metric::{Counter, Distribution, seconds},
    },
    routes::OTHER,
    sql::SqlInfo,
    traffic::{
        ConnectionReport, ConnectionState, DatabaseReport, PostgresSeries, Report, ServiceReport,
        StatementKey, StatementOutcome, Totals, class,
    },
};

/// Characters of a statement that are exported: dashboards show no more.
const MAX_TEXT: usize = 500;

/// The fingerprint of statements whose text was never seen.
const UNKNOWN: &str = "unknown";

pub(super) fn collect(
    families: &mut Families,
    service: &str,
    report: &ServiceReport,
    offset_ns: u64,
) {
    for (key, series) in &report.postgres_server {
        server(families, service, key, series, offset_ns);
    }
    for (key, series) in &report.postgres_client {
        client(families, service, key, series, offset_ns);
    }
    if !report.postgres_server.is_empty() {
        fingerprints(families, &SERVER, service, &report.database_server);
    }
    if !report.postgres_client.is_empty() {
        fingerprints(families, &CLIENT, service, &report.database_client);
    }
    for (side, database) in [
        ("server", &report.database_server),
        ("client", &report.database_client),
    ] {
        for (name, count) in &database.slow {
            families.counter(&metric::SLOW_QUERIES, [service, side, name], *count);
        }
    }
    for (metric, database) in [
        (&metric::POSTGRES_TRANSACTIONS, &report.database_server),
        (&metric::DB_CLIENT_TRANSACTIONS, &report.database_client),
    ] {
        for ((name, committed), count) in &database.transactions {
            let outcome = if *committed {
                "committed"
            } else {
                "rolled_back"
            };
            families.counter(metric, [service, name, outcome], *count);
        }
    }
    // What a client sees does not tell what the server's statistics count.
    for (operation, difference) in &report.database_server.statistics {
        for (of, number) in [("calls", difference.calls), ("rows", difference.rows)] {
            families.gauge_float(
                &metric::POSTGRES_STATISTICS_DIFFERENCE,
                [service, operation, of],
                number as f64,
            );
        }
    }
    connections(
        families,
        [service, "server"],
        !report.postgres_server.is_empty(),
        &report.database_server.connections,
    );
    connections(
        families,
        [service, "client"],
        !report.postgres_client.is_empty(),
        &report.database_client.connections,
    );
}

fn outcome_of(key: &StatementKey) -> &'static str {
    match key.outcome {
        StatementOutcome::Ok => "ok",
        StatementOutcome::Error(_) => "error",
        StatementOutcome::Unknown => "unknown",
    }
}

fn server(
    families: &mut Families,
    service: &str,
    key: &StatementKey,
    series: &PostgresSeries,
    offset_ns: u64,
) {
    let labels = [service, &*key.database, key.operation, outcome_of(key)];
    families.histogram(
        &metric::POSTGRES_STATEMENT_DURATION,
        labels,
        Distribution::from_timing(&series.duration),
    );
    exemplars(
        families,
        &metric::POSTGRES_STATEMENT_DURATION,
        labels,
        &series.exemplars,
        offset_ns,
    );
    families.histogram(
        &metric::POSTGRES_STATEMENT_TTFB,
        labels,
        Distribution::from_timing(&series.first_byte),
    );
    families.counter(&metric::POSTGRES_STATEMENTS, labels, series.calls);
    families.counter(
        &metric::POSTGRES_ROWS,
        [service, &*key.database, key.operation],
        series.rows,
    );
    if let StatementOutcome::Error(state) = &key.outcome {
        families.counter(
            &metric::POSTGRES_ERRORS,
            [
                service,
                &*key.database,
                &String::from_utf8_lossy(state),
                class(state),
            ],
            series.calls,
        );
    }
}

fn client(
    families: &mut Families,
    service: &str,
    key: &StatementKey,
    series: &PostgresSeries,
    offset_ns: u64,
) {
    let error = match &key.outcome {
        StatementOutcome::Ok => "".into(),
        StatementOutcome::Error(state) => String::from_utf8_lossy(state),
        StatementOutcome::Unknown => UNKNOWN.into(),
    };
    let (database, operation) = (&*key.database, key.operation);
    let labels = [service, "postgresql", database, operation, &*error];
    families.histogram(
        &metric::DB_CLIENT_DURATION,
        labels,
        Distribution::from_timing(&series.duration),
    );
    exemplars(
        families,
        &metric::DB_CLIENT_DURATION,
        labels,
        &series.exemplars,
        offset_ns,
    );
    let labels = [service, database, operation, outcome_of(key)];
    families.histogram(
        &metric::DB_CLIENT_FIRST_BYTE,
        labels,
        Distribution::from_timing(&series.first_byte),
    );
    families.counter(&metric::DB_CLIENT_STATEMENTS, labels, series.calls);
    families.counter(
        &metric::DB_CLIENT_ROWS,
        [service, database, operation],
        series.rows,
    );
}

/// The metrics of fingerprints as one side sees them.
struct ByFingerprint {
    calls: &'static Counter<2>,
    errors: &'static Counter<2>,
    rows: &'static Counter<2>,
    seconds: &'static Counter<2>,
}

static SERVER: ByFingerprint = ByFingerprint {
    calls: &metric::POSTGRES_FINGERPRINT_CALLS,
    errors: &metric::POSTGRES_FINGERPRINT_ERRORS,
    rows: &metric::POSTGRES_FINGERPRINT_ROWS,
    seconds: &metric::POSTGRES_FINGERPRINT_SECONDS,
};

static CLIENT: ByFingerprint = ByFingerprint {
    calls: &metric::DB_CLIENT_FINGERPRINT_CALLS,
    errors: &metric::DB_CLIENT_FINGERPRINT_ERRORS,
    rows: &metric::DB_CLIENT_FINGERPRINT_ROWS,
    seconds: &metric::DB_CLIENT_FINGERPRINT_SECONDS,
};

/// `other` and `unknown` are there from the first statement on, so that a statement that loses its
/// series does not make a series appear with its whole past.
fn fingerprints(
    families: &mut Families,
    metrics: &ByFingerprint,
    service: &str,
    report: &DatabaseReport,
) {
    let report = &report.fingerprints;
    let mut add = |fingerprint: &str, totals: &Totals| {
        let labels = [service, fingerprint];
        families.counter(metrics.calls, labels, totals.calls);
        families.counter(metrics.errors, labels, totals.errors);
        families.counter(metrics.rows, labels, totals.rows);
        families.counter_float(metrics.seconds, labels, seconds(totals.busy_ns));
    };
    for series in &report.top {
        add(&series.sql.fingerprint_hex(), &series.totals);
    }
    add(OTHER, &report.other);
    add(UNKNOWN, &report.unknown);
}

/// What each fingerprint stands for, once: two services may have seen the same statement written in
/// two ways, and a join on the fingerprint must find one.
pub(super) fn fingerprint_texts(families: &mut Families, report: &Report) {
    let mut texts: BTreeMap<u64, &SqlInfo> = BTreeMap::new();
    for service in report.services.values() {
        for database in [&service.database_server, &service.database_client] {
            for series in &database.fingerprints.top {
                texts.entry(series.sql.fingerprint).or_insert(&series.sql);
            }
        }
    }
    for sql in texts.into_values() {
        families.info(
            &metric::SQL_FINGERPRINT_INFO,
            [
                &sql.fingerprint_hex(),
                sql.operation.as_str(),
                &sql.short_text(MAX_TEXT),
            ],
        );
    }
}

fn connections(
    families: &mut Families,
    [service, side]: [&str; 2],
    has_statements: bool,
    report: &ConnectionReport,
) {
    if !has_statements && report.is_empty() {
        return;
    }
    // All states, so that a graph goes down to zero instead of ending.
    for state in ConnectionState::ALL {
        let connections = report.states.get(&state).copied().unwrap_or(0);
        families.gauge(
            &metric::DB_CONNECTIONS,
            [service, side, state.as_str()],
            connections,
        );
    }
    families.histogram(
        &metric::DB_CONNECT_DURATION,
        [service, side],
        Distribution::from_timing(&report.connect),
    );
    for (encryption, count) in &report.connected {
        families.counter(
            &metric::DB_CONNECTS,
            [service, side, encryption.as_str()],
            *count,
        );
    }
    for (metric, reasons) in [
        (&metric::DB_CONNECTION_ERRORS, &report.refused),
        (&metric::DB_SESSION_ERRORS, &report.server_errors),
    ] {
        for (reason, count) in reasons {
            families.counter(metric, [service, side, reason], *count);
        }
    }
    families.counter(&metric::DB_CANCELS, [service, side], report.cancels);
}
