//! The part of `/api/overview` that was decoded: requests, statements, and how well their
//! connections could be followed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use serde::Serialize;

use super::{
    Buckets,
    database::DatabaseNumbers,
    db::{self, DbNumbers},
};
use crate::{
    metrics::{collect::ServiceNames, metric::seconds},
    traffic::{
        BOUNDS_NS, Counts, HttpClientKey, HttpSeries, HttpServerKey, PostgresSeries, Report,
        ServiceReport, StatementKey, StatementOutcome, Timing,
    },
};

/// Upper bounds of the buckets of requests and statements.
pub(super) fn latency_bounds_seconds() -> Vec<f64> {
    BOUNDS_NS.into_iter().map(seconds).collect()
}

/// The decoded numbers of one service, as they are written.
#[derive(Serialize)]
pub(super) struct TrafficNumbers {
    http: HttpNumbers,
    http_client: Vec<ClientRequestNumbers>,
    postgres: Vec<StatementNumbers>,
    db_client: Vec<StatementNumbers>,
    database: DatabaseNumbers,
    db: DbNumbers,
}

#[derive(Serialize)]
struct HttpNumbers {
    active: u64,
    users: u64,
    requests: Vec<RequestNumbers>,
}

#[derive(Serialize)]
struct RequestNumbers {
    method: &'static str,
    route: String,
    #[serde(flatten)]
    answers: AnswerNumbers,
}

#[derive(Serialize)]
struct ClientRequestNumbers {
    method: &'static str,
    server: String,
    #[serde(flatten)]
    answers: AnswerNumbers,
}

#[derive(Serialize)]
struct AnswerNumbers {
    /// `None` when there was no response, or its status is not known.
    status: Option<u16>,
    calls: u64,
    aborted: u64,
    sum_seconds: f64,
    counts: Vec<u64>,
}

#[derive(Serialize)]
struct StatementNumbers {
    database: String,
    operation: &'static str,
    outcome: &'static str,
    sqlstate: Option<String>,
    calls: u64,
    rows: u64,
    sum_seconds: f64,
    counts: Vec<u64>,
}

/// What happened to the connections that are decoded, over all services.
#[derive(Serialize)]
pub(super) struct StreamNumbers {
    open: u64,
    records: u64,
    records_lost: u64,
    evicted: u64,
    not_decoded: u64,
    desynchronised: u64,
    uncertain: u64,
}

impl From<&Counts> for StreamNumbers {
    fn from(counts: &Counts) -> Self {
        Self {
            open: counts.streams,
            records: counts.records,
            records_lost: counts.records_lost,
            evicted: counts.streams_evicted,
            not_decoded: counts.not_decoded,
            desynchronised: counts.desynchronised,
            uncertain: counts.uncertain,
        }
    }
}

/// Reports by service name; several ids may share one, as in `/metrics`.
pub(in crate::api) fn by_name<'a>(
    report: &Report,
    names: &ServiceNames<'a>,
) -> BTreeMap<&'a str, Arc<ServiceReport>> {
    let mut reports: BTreeMap<&str, Arc<ServiceReport>> = BTreeMap::new();
    for (id, service) in &report.services {
        match reports.entry(names.get(*id)) {
            Entry::Vacant(free) => {
                free.insert(Arc::clone(service));
            }
            Entry::Occupied(mut known) => merge(Arc::make_mut(known.get_mut()), service),
        }
    }
    reports
}

fn merge(into: &mut ServiceReport, other: &ServiceReport) {
    into.http_active = into.http_active.saturating_add(other.http_active);
    into.active_users = into.active_users.saturating_add(other.active_users);
    into.database_server.merge(&other.database_server);
    into.database_client.merge(&other.database_client);
    merge_tables(&mut into.http_server, &other.http_server, add_requests);
    merge_tables(&mut into.http_client, &other.http_client, add_requests);
    merge_tables(
        &mut into.postgres_server,
        &other.postgres_server,
        add_statements,
    );
    merge_tables(
        &mut into.postgres_client,
        &other.postgres_client,
        add_statements,
    );
    merge_tables(&mut into.db.routes, &other.db.routes, db::add);
    for (fingerprint, routes) in &other.db.statement_routes {
        let known = into.db.statement_routes.entry(*fingerprint).or_default();
        db::add_routes(known, routes);
    }
    merge_tables(&mut into.db.unattributed, &other.db.unattributed, db::add);
}

fn merge_tables<K: Ord + Clone, V: Default>(
    into: &mut BTreeMap<K, V>,
    other: &BTreeMap<K, V>,
    add: impl Fn(&mut V, &V),
) {
    for (key, series) in other {
        add(into.entry(key.clone()).or_default(), series);
    }
}

/// Only what is shown: times to the first byte and bytes are in `/metrics`.
fn add_requests(into: &mut HttpSeries, other: &HttpSeries) {
    into.aborted = into.aborted.saturating_add(other.aborted);
    into.duration.add(&other.duration);
}

fn add_statements(into: &mut PostgresSeries, other: &PostgresSeries) {
    into.calls = into.calls.saturating_add(other.calls);
    into.rows = into.rows.saturating_add(other.rows);
    into.duration.add(&other.duration);
}

impl From<&ServiceReport> for TrafficNumbers {
    fn from(report: &ServiceReport) -> Self {
        Self {
            http: HttpNumbers {
                active: report.http_active,
                users: report.active_users,
                requests: report
                    .http_server
                    .iter()
                    .map(RequestNumbers::from)
                    .collect(),
            },
            http_client: report
                .http_client
                .iter()
                .map(ClientRequestNumbers::from)
                .collect(),
            postgres: report
                .postgres_server
                .iter()
                .map(StatementNumbers::from)
                .collect(),
            db_client: report
                .postgres_client
                .iter()
                .map(StatementNumbers::from)
                .collect(),
            database: DatabaseNumbers::from(report),
            db: DbNumbers::from(&report.db),
        }
    }
}

impl From<(&HttpServerKey, &HttpSeries)> for RequestNumbers {
    fn from((key, series): (&HttpServerKey, &HttpSeries)) -> Self {
        Self {
            method: key.method,
            route: key.route.to_string(),
            answers: AnswerNumbers::new(key.status, series),
        }
    }
}

impl From<(&HttpClientKey, &HttpSeries)> for ClientRequestNumbers {
    fn from((key, series): (&HttpClientKey, &HttpSeries)) -> Self {
        Self {
            method: key.method,
            server: key.server.to_string(),
            answers: AnswerNumbers::new(key.status, series),
        }
    }
}

impl AnswerNumbers {
    fn new(status: u16, series: &HttpSeries) -> Self {
        let Buckets {
            count,
            sum_seconds,
            counts,
        } = Buckets::from(&series.duration);
        Self {
            status: (status != 0).then_some(status),
            calls: count,
            aborted: series.aborted,
            sum_seconds,
            counts,
        }
    }
}

impl From<(&StatementKey, &PostgresSeries)> for StatementNumbers {
    fn from((key, series): (&StatementKey, &PostgresSeries)) -> Self {
        let (outcome, sqlstate) = match &key.outcome {
            StatementOutcome::Ok => ("ok", None),
            StatementOutcome::Error(state) => {
                ("error", Some(String::from_utf8_lossy(state).into_owned()))
            }
            StatementOutcome::Unknown => ("unknown", None),
        };
        // Not every statement is timed: the buckets may hold fewer than the calls.
        let timed = Buckets::from(&series.duration);
        Self {
            database: key.database.to_string(),
            operation: key.operation,
            outcome,
            sqlstate,
            calls: series.calls,
            rows: series.rows,
            sum_seconds: timed.sum_seconds,
            counts: timed.counts,
        }
    }
}

impl From<&Timing> for Buckets {
    fn from(timing: &Timing) -> Self {
        Self::new(timing.count(), timing.sum_ns, &timing.counts)
    }
}
