//! Requests, statements and the connections that they came on.

use super::{ServiceNames, correlation, metric, postgres};
use crate::{
    metrics::{
        families::{Exemplar, Families},
        metric::{Distribution, HistogramOf, seconds},
    },
    traffic::{CallProblem, Counts, Exemplars, Report, ServiceReport},
};

pub(super) fn collect(families: &mut Families, report: &Report, names: &ServiceNames<'_>) {
    let offset_ns = report.epoch_offset_ns;
    for (id, service) in &report.services {
        let name = names.get(*id);
        if service.tls_connections + service.tls_decoded > 0 {
            families.counter(&metric::TLS_CONNECTIONS, [name], service.tls_connections);
            families.counter(&metric::TLS_DECODED, [name], service.tls_decoded);
        }
        if service.tls_not_decoded > 0 {
            families.counter(&metric::TLS_NOT_DECODED, [name], service.tls_not_decoded);
        }
        for (outcome, calls) in &service.model_calls {
            families.counter(&metric::GEMINI_WIRE_CALLS, [name, outcome], *calls);
        }
        http_server(families, name, service, offset_ns);
        http_client(families, name, service, offset_ns);
        postgres::collect(families, name, service, offset_ns);
        correlation::collect(families, name, &service.db);
    }
    postgres::fingerprint_texts(families, report);
    counts(families, &report.counts);
    families.counter(
        &metric::STREAM_PROBLEMS,
        ["not_compared"],
        report.not_compared,
    );
    families.counter(&metric::SLOW_QUERIES_DROPPED, [], report.slow_dropped);
    for (problem, times) in CallProblem::ALL.iter().zip(report.call_problems) {
        families.counter(&metric::GEMINI_WIRE_PROBLEMS, [problem.as_str()], times);
    }
}

fn http_server(families: &mut Families, service: &str, report: &ServiceReport, offset_ns: u64) {
    if report.http_server.is_empty() && report.http_active == 0 {
        return;
    }
    families.gauge(&metric::HTTP_SERVER_ACTIVE, [service], report.http_active);
    families.gauge(&metric::ACTIVE_USERS, [service], report.active_users);
    for (key, series) in &report.http_server {
        let status = key.status.to_string();
        let labels = [service, key.method, &key.route, &status];
        families.histogram(
            &metric::HTTP_SERVER_DURATION,
            labels,
            Distribution::from_timing(&series.duration),
        );
        exemplars(
            families,
            &metric::HTTP_SERVER_DURATION,
            labels,
            &series.exemplars,
            offset_ns,
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

fn http_client(families: &mut Families, service: &str, report: &ServiceReport, offset_ns: u64) {
    for (key, series) in &report.http_client {
        let status = key.status.to_string();
        let labels = [service, key.method, &key.server, &status];
        families.histogram(
            &metric::HTTP_CLIENT_DURATION,
            labels,
            Distribution::from_timing(&series.duration),
        );
        exemplars(
            families,
            &metric::HTTP_CLIENT_DURATION,
            labels,
            &series.exemplars,
            offset_ns,
        );
        families.histogram(
            &metric::HTTP_CLIENT_FIRST_BYTE,
            [service, key.method, &key.server],
            Distribution::from_timing(&series.first_byte),
        );
        let server = [service, &*key.server];
        for (counter, count) in [
            (&metric::HTTP_CLIENT_REQUEST_BYTES, series.request_bytes),
            (&metric::HTTP_CLIENT_RESPONSE_BYTES, series.response_bytes),
            (&metric::HTTP_CLIENT_ABORTED, series.aborted),
        ] {
            families.counter(counter, server, count);
        }
    }
}

/// Ties the traces that are known to a histogram's buckets. `offset_ns` makes a time since the
/// epoch of a time of the records' clock.
pub(super) fn exemplars<const L: usize>(
    families: &mut Families,
    metric: &'static HistogramOf<L>,
    labels: [&str; L],
    exemplars: &Exemplars,
    offset_ns: u64,
) {
    for exemplar in exemplars.iter() {
        let at_ns = exemplar.at_ns.saturating_add(offset_ns);
        families.exemplar(
            metric,
            labels,
            Exemplar {
                labels: vec![("trace_id", format!("{:032x}", exemplar.trace_id))],
                value: seconds(exemplar.ns),
                // Milliseconds: a float of today's time has no more than that to trust.
                timestamp_seconds: (at_ns / 1_000_000) as f64 / 1e3,
            },
        );
    }
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
