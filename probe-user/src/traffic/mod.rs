//! From records of socket calls to numbers: connections, their decoders, and what was decoded,
//! added up per service.
//!
//! Runs on one thread that owns all of it, so that nothing on the way of a record takes a lock. A
//! scrape asks that thread for a [`Report`].

mod correlation;
mod http;
mod n_plus_one;
mod postgres;
mod streams;
mod timing;

use std::{collections::BTreeMap, sync::Arc};

use probe_common::payload::{PayloadKind, Role, StreamClass};

use correlation::Correlation;
pub use correlation::{DbReport, DbTally, Unattributed};
pub use http::{HttpClientKey, HttpSeries, HttpServerKey};
pub use n_plus_one::{
    Confidence, Finding, FindingCounts, Pattern, RouteKey, Settings as NPlusOneSettings,
};
pub use postgres::{PostgresSeries, StatementKey, StatementOutcome};
use streams::Streams;
pub use timing::{BOUNDS_NS, Timing};

use crate::kernel::payload::PayloadRecord;

/// Bounds of memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are decoded at once; the one that was silent longest makes room.
    pub streams: usize,
    /// Series of each kind and service; what is beyond goes to `other`.
    pub series: usize,
    /// When statements look like a loop around a query.
    pub n_plus_one: NPlusOneSettings,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 16_384,
            series: 2_000,
            n_plus_one: NPlusOneSettings::default(),
        }
    }
}

/// What was decoded of one service's traffic.
#[derive(Debug, Default, Clone)]
pub struct ServiceReport {
    /// Requests that the service answered.
    pub http_server: BTreeMap<HttpServerKey, HttpSeries>,
    /// Requests that the service made.
    pub http_client: BTreeMap<HttpClientKey, HttpSeries>,
    /// Requests that the service is answering now.
    pub http_active: u64,
    /// Statements that the service executed as a server.
    pub postgres_server: BTreeMap<StatementKey, PostgresSeries>,
    /// Statements that the service sent as a client.
    pub postgres_client: BTreeMap<StatementKey, PostgresSeries>,
    /// Connections of the service whose sockets turned out to carry TLS.
    pub tls_connections: u64,
    /// Connections of a TLS library whose clear text is decoded.
    pub tls_decoded: u64,
    /// For which requests the service sent its statements.
    pub db: DbReport,
}

/// What happened to connections on the way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records that were decoded.
    pub records: u64,
    /// Records that were lost before they arrived, as their sequence numbers tell.
    pub records_lost: u64,
    /// Connections that were dropped to make room.
    pub streams_evicted: u64,
    /// Connections that turned out to be something else.
    pub not_decoded: u64,
    /// Connections that are decoded now.
    pub streams: u64,
    /// Times that a decoder lost its place and had to look for a certain boundary.
    pub desynchronised: u64,
    /// Requests and statements that were seen, but not well enough to name or time them.
    pub uncertain: u64,
}

/// Everything that a scrape wants to know.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// By service id.
    pub services: BTreeMap<u16, ServiceReport>,
    /// Over all services.
    pub counts: Counts,
    /// Loops around queries, newest first.
    pub findings: Vec<Finding>,
    /// Statements that were not compared with others for lack of room.
    pub not_compared: u64,
    /// When this was so, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
}

/// The decoders and their numbers.
#[derive(Debug)]
pub struct Traffic {
    streams: Streams,
    services: BTreeMap<u16, ServiceTraffic>,
    correlation: Correlation,
    limits: Limits,
    counts: Counts,
}

#[derive(Debug)]
struct ServiceTraffic {
    http: http::Http,
    postgres: postgres::Postgres,
    tls_connections: u64,
    tls_decoded: u64,
}

impl Traffic {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            streams: Streams::new(limits.streams),
            services: BTreeMap::new(),
            correlation: Correlation::new(limits.series, limits.n_plus_one),
            limits,
            counts: Counts::default(),
        }
    }

    /// Takes one record.
    pub fn record(&mut self, record: &PayloadRecord<'_>) {
        let header = &record.header;
        let limits = self.limits;
        self.correlation.pass_time(header.ended_ns);
        let service = self
            .services
            .entry(header.service)
            .or_insert_with(|| ServiceTraffic {
                http: http::Http::new(limits.series),
                postgres: postgres::Postgres::new(limits.series),
                tls_connections: 0,
                tls_decoded: 0,
            });
        if header.kind == PayloadKind::Closed as u8 {
            if let Some(mut stream) = self.streams.remove(header.stream) {
                stream.close(
                    header.ended_ns,
                    service,
                    &mut self.correlation,
                    &mut self.counts,
                );
            }
            return;
        }
        if header.kind == PayloadKind::Encrypted as u8 {
            service.tls_connections += 1;
            return;
        }
        self.counts.records += 1;
        let (stream, evicted) = self.streams.get(record);
        service.tls_decoded += u64::from(stream.takes_clear_text(record));
        if let Some(mut evicted) = evicted {
            self.counts.streams_evicted += 1;
            evicted.forget(&mut self.correlation, &mut self.counts);
        }
        stream.feed(record, service, &mut self.correlation, &mut self.counts);
    }

    /// It is that late, `CLOCK_MONOTONIC` nanoseconds, though no record may tell.
    pub fn pass_time(&mut self, now_ns: u64) {
        self.correlation.pass_time(now_ns);
    }

    /// Loops around queries that are worth a warning, since the last call.
    pub fn take_warnings(&mut self) -> Vec<Finding> {
        self.correlation.take_warnings()
    }

    /// Numbers since the start. Copies them, so that the caller may take its time.
    pub fn report(&self) -> Report {
        let mut active: BTreeMap<u16, u64> = BTreeMap::new();
        for (service, requests) in self.streams.in_flight() {
            *active.entry(service).or_default() += requests;
        }
        let services = self.services.iter().map(|(id, service)| {
            let report = ServiceReport {
                http_server: service.http.server.clone(),
                http_client: service.http.client.clone(),
                http_active: active.get(id).copied().unwrap_or(0),
                postgres_server: service.postgres.server.clone(),
                postgres_client: service.postgres.client.clone(),
                tls_connections: service.tls_connections,
                tls_decoded: service.tls_decoded,
                db: self.correlation.report(*id),
            };
            (*id, report)
        });
        Report {
            services: services.collect(),
            counts: Counts {
                streams: self.streams.len() as u64,
                ..self.counts
            },
            findings: self.correlation.findings(),
            not_compared: self.correlation.not_compared(),
            at_ns: self.correlation.now_ns(),
        }
    }
}

/// The class that the kernel side gave a stream, as one that is decoded.
fn class_of(byte: u8) -> Option<StreamClass> {
    match byte {
        b if b == StreamClass::Http1 as u8 => Some(StreamClass::Http1),
        b if b == StreamClass::Postgres as u8 => Some(StreamClass::Postgres),
        _ => None,
    }
}

/// The end that the traced process has, if the kernel side knows.
fn role_of(byte: u8) -> Option<Role> {
    match byte {
        b if b == Role::Client as u8 => Some(Role::Client),
        b if b == Role::Server as u8 => Some(Role::Server),
        _ => None,
    }
}

/// Finds or makes a series; when there are too many, the one that stands for the rest.
fn series<K: Ord + Clone, V: Default>(
    table: &mut BTreeMap<K, V>,
    limit: usize,
    key: K,
    other: impl FnOnce(K) -> K,
) -> &mut V {
    let key = if table.len() < limit || table.contains_key(&key) {
        key
    } else {
        other(key)
    };
    table.entry(key).or_default()
}

/// The name of everything beyond a limit.
fn other() -> Arc<str> {
    Arc::from(crate::routes::OTHER)
}
