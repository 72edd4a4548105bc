//! From records of socket calls to numbers: connections, their decoders, and what was decoded,
//! added up per service.
//!
//! Runs on one thread that owns all of it, so that nothing on the way of a record takes a lock. A
//! scrape asks that thread for a [`Report`].

mod clients;
mod correlation;
mod exemplars;
mod http;
mod latencies;
mod n_plus_one;
mod postgres;
mod slow;
mod streams;
#[cfg(test)]
mod tests;
mod timing;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use probe_common::payload::PayloadKind;

pub(crate) use clients::{Clients, Salt};
pub use clients::{LIMIT as EXACT_CLIENTS, WINDOW_NS as CLIENT_WINDOW_NS};
use correlation::Correlation;
pub use correlation::{DbReport, DbTally, PoolReport, RouteCount, StatementRoutes, Unattributed};
pub use exemplars::{Exemplar, Exemplars};
pub use http::{HttpClientKey, HttpSeries, HttpServerKey};
pub use latencies::{ERROR as QUANTILE_ERROR, Latencies};
pub use n_plus_one::{
    Confidence, Finding, FindingCounts, Pattern, RouteKey, Settings as NPlusOneSettings,
};
pub use postgres::{
    ConnectionReport, ConnectionState, DatabaseReport, Encryption, Fingerprint, FingerprintReport,
    PostgresSeries, StatementKey, StatementOutcome, StatisticsDelta, Totals, class, condition,
};
pub use slow::{Client, SlowStatement, Thresholds};
use streams::Streams;
pub use timing::{BOUNDS_NS, Timing};

use crate::{
    kernel::payload::PayloadRecord,
    routes::{self, Templates},
    wire::{http1, postgres as protocol, stream::Side},
};

/// Bounds of memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are decoded at once; the one that was silent longest makes room.
    pub streams: usize,
    /// Series of each kind and service; what is beyond goes to `other`.
    pub series: usize,
    /// Statements of a service that have numbers of their own, on each side.
    pub fingerprints: usize,
    /// Of learned routes.
    pub routes: routes::Limits,
    /// Of a connection that speaks HTTP/1.
    pub http: http1::Limits,
    /// Of a connection that speaks Postgres.
    pub postgres: protocol::Limits,
    /// When statements look like a loop around a query.
    pub n_plus_one: NPlusOneSettings,
    /// Whether slow statements are handed out as they were sent, with their literals.
    pub capture_literals: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 16_384,
            series: 2_000,
            fingerprints: 100,
            routes: routes::Limits::default(),
            http: http1::Limits::default(),
            postgres: protocol::Limits::default(),
            n_plus_one: NPlusOneSettings::default(),
            capture_literals: false,
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
    /// Different clients whose requests it answered in the last five minutes.
    pub active_users: u64,
    /// Statements that the service executed as a server.
    pub postgres_server: BTreeMap<StatementKey, PostgresSeries>,
    /// Statements that the service sent as a client.
    pub postgres_client: BTreeMap<StatementKey, PostgresSeries>,
    /// What else is known of it as a server.
    pub database_server: DatabaseReport,
    /// What else is known of it as a client.
    pub database_client: DatabaseReport,
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

/// Everything that a scrape wants to know. Cheap to copy.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// By service id. What did not change since the report before is shared with it.
    pub services: BTreeMap<u16, Arc<ServiceReport>>,
    /// Over all services.
    pub counts: Counts,
    /// What to add to a time of the records' clock for nanoseconds since the epoch.
    pub epoch_offset_ns: u64,
    /// Loops around queries, newest first.
    pub findings: Vec<Finding>,
    /// Statements that were not compared with others for lack of room.
    pub not_compared: u64,
    /// Slow statements that were counted, but not handed on for lack of room.
    pub slow_dropped: u64,
    /// When this was so, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
}

/// The decoders and their numbers.
#[derive(Debug)]
pub struct Traffic {
    streams: Streams,
    services: BTreeMap<u16, ServiceTraffic>,
    templates: BTreeMap<u16, Arc<Templates>>,
    correlation: Correlation,
    limits: Limits,
    counts: Counts,
}

#[derive(Debug)]
struct ServiceTraffic {
    http: http::Http,
    postgres: postgres::Postgres,
    /// The latest report, as long as nothing happened since.
    reported: Option<Arc<ServiceReport>>,
    tls_connections: u64,
    tls_decoded: u64,
}

impl ServiceTraffic {
    fn new(limits: &Limits, templates: Arc<Templates>) -> Self {
        Self {
            http: http::Http::new(limits.series, limits.routes, templates),
            postgres: postgres::Postgres::new(
                limits.series,
                limits.fingerprints,
                limits.capture_literals,
            ),
            reported: None,
            tls_connections: 0,
            tls_decoded: 0,
        }
    }
}

impl Traffic {
    /// Nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            streams: Streams::new(&limits),
            services: BTreeMap::new(),
            templates: BTreeMap::new(),
            correlation: Correlation::new(limits.series, limits.n_plus_one),
            limits,
            counts: Counts::default(),
        }
    }

    /// Takes one record.
    pub fn record(&mut self, record: &PayloadRecord<'_>) {
        let header = &record.header;
        self.correlation.pass_time(header.ended_ns);
        let (limits, templates) = (&self.limits, &self.templates);
        let service = self.services.entry(header.service).or_insert_with(|| {
            let templates = templates.get(&header.service).cloned();
            ServiceTraffic::new(limits, templates.unwrap_or_default())
        });
        service.reported = None;
        if header.kind == PayloadKind::Closed as u8 {
            if let Some(mut stream) = self.streams.remove(header.stream) {
                stream.close(
                    header.ended_ns,
                    service,
                    &mut self.correlation,
                    &mut self.counts,
                );
                self.changed(stream.service);
            }
            return;
        }
        if header.kind == PayloadKind::Encrypted as u8 {
            service.tls_connections += 1;
            return;
        }
        self.counts.records += 1;
        let (stream, mut evicted) = self.streams.get(record);
        service.tls_decoded += u64::from(stream.takes_clear_text(record, &self.limits));
        let owner = stream.service;
        if let Some(evicted) = &mut evicted {
            self.counts.streams_evicted += 1;
            evicted.forget(&mut self.correlation, &mut self.counts);
        }
        stream.feed(record, service, &mut self.correlation, &mut self.counts);
        if owner != header.service {
            self.changed(owner);
        }
        if let Some(evicted) = evicted {
            self.changed(evicted.service);
        }
    }

    /// It is that late, `CLOCK_MONOTONIC` nanoseconds, though no record may tell.
    pub fn pass_time(&mut self, now_ns: u64) {
        self.correlation.pass_time(now_ns);
    }

    /// Loops around queries that are worth a warning, since the last call.
    pub fn take_warnings(&mut self) -> Vec<Finding> {
        self.correlation.take_warnings()
    }

    /// Says from which time on statements are slow.
    pub fn set_slow(&mut self, thresholds: Thresholds) {
        self.correlation.slow.set_thresholds(thresholds);
    }

    /// Slow statements of which nothing more will be known, since the last call.
    pub fn take_slow(&mut self) -> Vec<SlowStatement> {
        self.correlation.slow.take()
    }

    /// So many slow statements were taken, but not handed on for lack of room.
    pub fn slow_dropped(&mut self, number: u64) {
        self.correlation.slow.drop_more(number);
    }

    /// Lets slow statements go that wait for the end of their requests: it will not be seen.
    pub fn release_slow(&mut self) {
        self.correlation.release_slow();
    }

    /// A connection of this service changed its state.
    fn changed(&mut self, service: u16) {
        if let Some(service) = self.services.get_mut(&service) {
            service.reported = None;
        }
    }

    /// Takes the routes that are configured, by service id; they replace all former ones.
    pub fn set_templates(&mut self, templates: BTreeMap<u16, Arc<Templates>>) {
        for (id, service) in &mut self.services {
            let templates = templates.get(id).cloned().unwrap_or_default();
            service.http.set_templates(templates);
        }
        self.templates = templates;
    }

    /// Forgets services whose ids are about to be given to others, with all of their connections.
    pub fn forget(&mut self, services: &[u16]) {
        for mut stream in self.streams.take_of_services(services) {
            stream.forget(&mut self.correlation, &mut self.counts);
        }
        self.correlation.forget(services);
        for id in services {
            self.services.remove(id);
        }
    }

    /// These processes have ended, and with them the connections whose end no record tells.
    pub fn exited(&mut self, processes: &HashSet<u32>, at_ns: u64) {
        for mut stream in self.streams.take_of_processes(processes) {
            if let Some(service) = self.services.get_mut(&stream.service) {
                service.reported = None;
                stream.close(at_ns, service, &mut self.correlation, &mut self.counts);
            }
        }
    }

    /// Numbers since the start, at a time of the records' clock. Copies what changed since the
    /// last report, so that the caller may take its time.
    pub fn report(&mut self, now_ns: u64) -> Report {
        let mut now = self.streams.now();
        let correlation = &mut self.correlation;
        let services = self.services.iter_mut().map(|(id, service)| {
            // Both change with the time alone.
            let active_users = service.http.clients.count(now_ns);
            let db = correlation.report(*id);
            if let Some(known) = &service.reported
                && known.active_users == active_users
                && known.db == db
            {
                return (*id, Arc::clone(known));
            }
            let now = now.remove(id).unwrap_or_default();
            let report = Arc::new(ServiceReport {
                http_server: service.http.server.clone(),
                http_client: service.http.client.clone(),
                http_active: now.requests,
                active_users,
                postgres_server: service.postgres.statements(Side::Server),
                postgres_client: service.postgres.statements(Side::Client),
                database_server: service.postgres.report(Side::Server, now.server),
                database_client: service.postgres.report(Side::Client, now.client),
                tls_connections: service.tls_connections,
                tls_decoded: service.tls_decoded,
                db,
            });
            service.reported = Some(Arc::clone(&report));
            (*id, report)
        });
        Report {
            services: services.collect(),
            counts: Counts {
                streams: self.streams.len() as u64,
                ..self.counts
            },
            epoch_offset_ns: 0,
            findings: self.correlation.findings(),
            not_compared: self.correlation.not_compared(),
            slow_dropped: self.correlation.slow.dropped(),
            at_ns: self.correlation.now_ns(),
        }
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
