//! Requests and statements.

use super::{ServiceNames, correlation, metric};
use crate::{
    metrics::{families::Families, metric::Distribution},
    traffic::{Counts, PostgresSeries, Report, ServiceReport, StatementKey, StatementOutcome},
};

pub(super) fn collect(families: &mut Families, report: &Report, names: &ServiceNames<'_>) {
    for (id, service) in &report.services {
        let name = names.get(*id);
        if service.tls_connections + service.tls_decoded > 0 {
            families.counter(&metric::TLS_CONNECTIONS, [name], service.tls_connections);
            families.counter(&metric::TLS_DECODED, [name], service.tls_decoded);
        }
        http_server(families, name, service);
        http_client(families, name, service);
        for (key, series) in &service.postgres_server {
            postgres_server(families, name, key, series);
        }
        for (key, series) in &service.postgres_client {
            postgres_client(families, name, key, series);
        }
        correlation::collect(families, name, &service.db);
    }
    counts(families, &report.counts);
    families.counter(
        &metric::STREAM_PROBLEMS,
        ["not_compared"],
        report.not_compared,
    );
}

fn http_server(families: &mut Families, service: &str, report: &ServiceReport) {
    if report.http_server.is_empty() && report.http_active == 0 {
        return;
    }
    families.gauge(&metric::HTTP_SERVER_ACTIVE, [service], report.http_active);
    for (key, series) in &report.http_server {
        let status = key.status.to_string();
        families.histogram(
            &metric::HTTP_SERVER_DURATION,
            [service, key.method, &key.route, &status],
            Distribution::from_timing(&series.duration),
        );
        families.histogram(
            &metric::HTTP_SERVER_FIRST_BYTE,
            [service, key.method, &key.route],
            Distribution::from_timing(&series.first_byte),
        );
        let route = [service, &*key.route];
        for (counter, count) in [
            (&metric::HTTP_SERVER_REQUEST_BYTES, series.request_bytes),
            (&metric::HTTP_SERVER_RESPONSE_BYTES, series.response_bytes),
            (&metric::HTTP_SERVER_ABORTED, series.aborted),
        ] {
            families.counter(counter, route, count);
        }
    }
}

fn http_client(families: &mut Families, service: &str, report: &ServiceReport) {
    for (key, series) in &report.http_client {
        families.histogram(
            &metric::HTTP_CLIENT_DURATION,
            [service, key.method, &key.server, &key.status.to_string()],
            Distribution::from_timing(&series.duration),
        );
    }
}

fn postgres_server(
    families: &mut Families,
    service: &str,
    key: &StatementKey,
    series: &PostgresSeries,
) {
    let outcome = match key.outcome {
        StatementOutcome::Ok => "ok",
        StatementOutcome::Error(_) => "error",
        StatementOutcome::Unknown => "unknown",
    };
    let labels = [service, &*key.database, key.operation, outcome];
    families.histogram(
        &metric::POSTGRES_STATEMENT_DURATION,
        labels,
        Distribution::from_timing(&series.duration),
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
        let state = String::from_utf8_lossy(state);
        families.counter(
            &metric::POSTGRES_ERRORS,
            [service, &*key.database, &*state],
            series.calls,
        );
    }
}

fn postgres_client(
    families: &mut Families,
    service: &str,
    key: &StatementKey,
    series: &PostgresSeries,
) {
    let error = match &key.outcome {
        StatementOutcome::Ok => "".into(),
        StatementOutcome::Error(state) => String::from_utf8_lossy(state),
        StatementOutcome::Unknown => "unknown".into(),
    };
    families.histogram(
        &metric::DB_CLIENT_DURATION,
        [
            service,
            "postgresql",
            &*key.database,
            key.operation,
            &*error,
        ],
        Distribution::from_timing(&series.duration),
    );
}

fn counts(families: &mut Families, counts: &Counts) {
    families.gauge(&metric::STREAMS, [], counts.streams);
    families.counter(&metric::STREAM_RECORDS, [], counts.records);
    for (problem, count) in [
        ("record_lost", counts.records_lost),
        ("evicted", counts.streams_evicted),
        ("not_decoded", counts.not_decoded),
        ("desynchronised", counts.desynchronised),
        ("uncertain", counts.uncertain),
    ] {
        families.counter(&metric::STREAM_PROBLEMS, [problem], count);
    }
}
