//! The part of `/api/overview` that tells of Postgres: connections, transactions, and the
//! statements that take most of the time.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::Buckets;
use crate::{
    metrics::metric::seconds,
    routes::OTHER,
    traffic::{ConnectionState, DatabaseReport, Fingerprint, ServiceReport, Timing, Totals},
};

/// Characters of a statement that are sent: what does not fit the page, and no more.
const MAX_TEXT: usize = 2_000;

/// Postgres as both sides see it.
#[derive(Serialize)]
pub(super) struct DatabaseNumbers {
    server: SideNumbers,
    client: SideNumbers,
}

#[derive(Serialize)]
struct SideNumbers {
    /// Connections now by state; empty when there never was one.
    connections: BTreeMap<&'static str, u64>,
    connect: Buckets,
    connection_errors: BTreeMap<String, u64>,
    session_errors: BTreeMap<String, u64>,
    cancels: u64,
    committed: u64,
    rolled_back: u64,
    /// Most time first; `other` and `unknown` last.
    statements: Vec<FingerprintNumbers>,
}

#[derive(Serialize)]
struct FingerprintNumbers {
    fingerprint: String,
    operation: Option<&'static str>,
    text: Option<String>,
    calls: u64,
    errors: u64,
    rows: u64,
    sum_seconds: f64,
    counts: Vec<u64>,
}

impl From<&ServiceReport> for DatabaseNumbers {
    fn from(report: &ServiceReport) -> Self {
        Self {
            server: SideNumbers::new(&report.database_server, !report.postgres_server.is_empty()),
            client: SideNumbers::new(&report.database_client, !report.postgres_client.is_empty()),
        }
    }
}

impl SideNumbers {
    fn new(report: &DatabaseReport, has_statements: bool) -> Self {
        let connections = &report.connections;
        let transactions = |wanted: bool| {
            let transactions = report.transactions.iter();
            transactions
                .filter(|((_, committed), _)| *committed == wanted)
                .fold(0u64, |sum, (_, count)| sum.saturating_add(*count))
        };
        let known = has_statements || !connections.is_empty();
        let state = |state: ConnectionState| {
            let count = connections.states.get(&state).copied().unwrap_or(0);
            known.then_some((state.as_str(), count))
        };
        Self {
            connections: ConnectionState::ALL.into_iter().filter_map(state).collect(),
            connect: Buckets::from(&connections.connect),
            connection_errors: by_reason(&connections.refused),
            session_errors: by_reason(&connections.server_errors),
            cancels: connections.cancels,
            committed: transactions(true),
            rolled_back: transactions(false),
            statements: statements(report),
        }
    }
}

fn by_reason(reasons: &BTreeMap<Arc<str>, u64>) -> BTreeMap<String, u64> {
    let reasons = reasons.iter();
    reasons
        .map(|(reason, count)| (reason.to_string(), *count))
        .collect()
}

fn statements(report: &DatabaseReport) -> Vec<FingerprintNumbers> {
    let report = &report.fingerprints;
    let mut top: Vec<&Fingerprint> = report.top.iter().collect();
    top.sort_by_key(|series| std::cmp::Reverse(series.totals.busy_ns));
    let rest = [(OTHER, &report.other), ("unknown", &report.unknown)];
    let rest = rest.into_iter().filter(|(_, totals)| totals.calls > 0);
    top.into_iter()
        .map(|series| FingerprintNumbers {
            operation: Some(series.sql.operation.as_str()),
            text: Some(series.sql.short_text(MAX_TEXT).into_owned()),
            ..FingerprintNumbers::new(
                series.sql.fingerprint_hex(),
                &series.totals,
                &series.duration,
            )
        })
        .chain(rest.map(|(name, totals)| {
            FingerprintNumbers::new(name.to_owned(), totals, &Timing::default())
        }))
        .collect()
}

impl FingerprintNumbers {
    fn new(fingerprint: String, totals: &Totals, duration: &Timing) -> Self {
        Self {
            fingerprint,
            operation: None,
            text: None,
            calls: totals.calls,
            errors: totals.errors,
            rows: totals.rows,
            sum_seconds: seconds(totals.busy_ns),
            counts: Buckets::from(duration).counts,
        }
    }
}
