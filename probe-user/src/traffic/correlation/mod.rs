//! Which request a statement was for.
//!
//! Of what a service does for a request, only its own side is known: the requests that it answers
//! and the statements that it sends. A statement belongs to a request when that is certain:
//!
//! - a comment in the statement names a trace (sqlcommenter), and exactly one request in flight
//!   has it; or
//! - the thread that sent the statement's first bytes had read exactly one request that was not
//!   answered yet, and that request was still in flight when the statement ended.
//!
//! Everything else is unattributed, with its reason ([`Unattributed`]), so that the share is
//! honest. That a thread works for the request that it read can be wrong, and is not believed
//! where it shows: of a process in which one thread answers what another has read, or receives
//! what another has asked for, nothing is attributed by thread. Nor is anything while the thread
//! may work for requests that nobody sees: behind an upgrade, after a loss, or after the client of
//! a request has gone. What can't be seen is work that no visible request caused, such as a timer,
//! on a thread that has one request in flight: it counts as that request's.
//!
//! Statements wait with their request, as a sum, because its route is known at its end only.

mod flight;
mod model_calls;
mod pools;
mod report;
mod sent;
mod statement_routes;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(super) use flight::RequestKey;
use flight::{Flights, InFlight};
pub use pools::PoolReport;
use pools::Pools;
pub use report::{DbReport, DbTally, Unattributed};
use rustc_hash::FxHashMap;
use sent::Connection;
use statement_routes::Routes;
pub use statement_routes::{RouteCount, StatementRoutes};

use super::{
    model_calls::{ModelCalls, ModelSettings, WaitingCall},
    n_plus_one::{Detector, Finding, Pattern, RouteKey, Settings},
    other, series,
    slow::{Slow, Thresholds, Waiting},
};
use crate::wire::http1::{Begun, End, Exchange};
use probe_common::payload::PayloadHeader;

/// A pause of the client that ends a burst of statements.
const BURST_GAP_NS: u64 = 250_000_000;
/// How often what has become quiet is looked for.
const SWEEP_NS: u64 = 1_000_000_000;

/// A call, as far as it matters who made it and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) stream: u64,
    pub(super) service: u16,
    pub(super) tgid: u32,
    pub(super) tid: u32,
    pub(super) started_ns: u64,
    pub(super) ended_ns: u64,
}

impl From<&PayloadHeader> for Call {
    fn from(header: &PayloadHeader) -> Self {
        Self {
            stream: header.stream,
            service: header.service,
            tgid: header.tgid,
            tid: header.tid,
            started_ns: header.started_ns,
            ended_ns: header.ended_ns,
        }
    }
}

#[derive(Debug, Default)]
struct ServiceDb {
    routes: BTreeMap<RouteKey, DbTally>,
    unattributed: BTreeMap<Unattributed, DbTally>,
    by_statement: Routes,
}

/// Requests in flight, clients' connections to Postgres, and what was attributed. Holds as many
/// requests and connections as the decoders do.
#[derive(Debug)]
pub(super) struct Correlation {
    flights: Flights,
    connections: FxHashMap<u64, Connection>,
    services: BTreeMap<u16, ServiceDb>,
    pools: Pools,
    detector: Detector,
    pub(super) slow: Slow,
    pub(super) models: ModelCalls,
    limit: usize,
    now_ns: u64,
    sweep_ns: u64,
}

impl Correlation {
    /// Nothing seen yet; `limit` bounds the routes of each service.
    pub(super) fn new(limit: usize, settings: Settings, models: Option<ModelSettings>) -> Self {
        Self {
            flights: Flights::new(),
            connections: FxHashMap::default(),
            services: BTreeMap::new(),
            pools: Pools::default(),
            detector: Detector::new(settings),
            slow: Slow::new(Thresholds::default()),
            models: ModelCalls::new(models),
            limit,
            now_ns: 0,
            sweep_ns: 0,
        }
    }

    /// A service has read the head of a request.
    pub(super) fn request_begins(&mut self, call: &Call, begun: &Begun) {
        let trace = begun.trace.map(|trace| u128::from_be_bytes(trace.trace_id));
        self.flights.begin(call, begun.serial, trace);
        self.requests_changed(call.tgid, call.ended_ns);
        let key = RequestKey {
            stream: call.stream,
            serial: begun.serial,
        };
        let saturated = self.pools.of_process(call.tgid, call.ended_ns);
        if let Some(request) = self.flights.get_mut(key) {
            request.saturated = saturated;
        }
    }

    fn requests_changed(&mut self, tgid: u32, at_ns: u64) {
        let requests = self.flights.of_process(tgid);
        self.pools.requests(tgid, requests, at_ns);
    }

    /// A service is about to send a part of the answer to the request of this number.
    pub(super) fn request_answered(&mut self, call: &Call, serial: u64) {
        let key = RequestKey {
            stream: call.stream,
            serial,
        };
        self.flights.answers(call, key);
    }

    /// A request of a service is over, and its route is known.
    pub(super) fn request_ends(&mut self, stream: u64, exchange: &Exchange, route: RouteKey) {
        let serial = exchange.serial;
        let Some(mut request) = self.flights.end(RequestKey { stream, serial }) else {
            return;
        };
        self.requests_changed(request.tgid, exchange.finished_ns);
        if exchange.aborted {
            self.flights.lingers(request.tid, self.now_ns);
        } else {
            match exchange.end {
                End::Exact => self.flights.sees(stream),
                End::Inferred => {}
                End::Unknown => self.flights.blinds(stream, request.tid),
            }
        }
        // After the last bytes that were seen of its answer, the thread may have done anything.
        let too_late = exchange.end == End::Inferred && request.latest_ns > exchange.finished_ns;
        let doubt = request
            .doubt()
            .or((exchange.end == End::Unknown && !exchange.aborted)
                .then_some(Unattributed::RequestUnknown))
            .or(too_late.then_some(Unattributed::RequestOver));
        let service = request.service;
        self.release(&mut request, |waiting| {
            (waiting.by_trace || doubt.is_none()).then_some(&route)
        });
        self.release_calls(&mut request, |waiting| {
            (waiting.by_trace || doubt.is_none()).then_some(&route)
        });
        self.models
            .request_over(RequestKey { stream, serial }, self.now_ns, |started_ns| {
                let in_time = exchange.end != End::Inferred || started_ns <= exchange.finished_ns;
                (doubt.is_none() && in_time).then_some(&route)
            });
        if let Some(waited_ns) = request.waited_ns.filter(|_| doubt.is_none()) {
            self.pools.waited(service, waited_ns);
        }
        let mut certain = request.by_trace;
        match doubt {
            Some(why) if request.by_thread.statements > 0 => {
                self.unattributed(service, why, request.by_thread);
                self.detector.discard(&mut request.scope);
            }
            _ => {
                certain.add(request.by_thread);
                self.detector
                    .close(&mut request.scope, service, Some(&route));
            }
        }
        if certain.statements > 0 {
            let db = self.services.entry(service).or_default();
            // What is doubted of some statements is not known of which.
            if doubt.is_none() {
                db.by_statement.add(&request.executed, &route);
            }
            series(&mut db.routes, self.limit, route, |key| RouteKey {
                route: other(),
                ..key
            })
            .add(certain);
        }
    }

    /// A request of a service was not seen, or records were lost in which one may have been.
    pub(super) fn requests_lost(&mut self, call: &Call) {
        self.flights
            .doubt_thread(call.tid, Unattributed::RecordsLost);
        self.flights.blinds(call.stream, call.tid);
    }

    /// A connection on which a service answered requests has become something else.
    pub(super) fn requests_hidden(&mut self, call: &Call) {
        self.flights.blinds(call.stream, call.tid);
    }

    /// Hands out the slow statements of a request, with its route where that is certain.
    fn release<'a>(
        &mut self,
        request: &mut InFlight,
        route: impl Fn(&Waiting) -> Option<&'a RouteKey>,
    ) {
        for waiting in std::mem::take(&mut request.slow) {
            let route = route(&waiting).cloned();
            let mut statement = *waiting.statement;
            if route.is_some() {
                statement.trace_id = statement.trace_id.or(request.trace());
                statement.route = route;
            }
            self.slow.waited(statement);
        }
    }

    /// Hands out all slow statements and calls of models that wait for their requests.
    pub(super) fn release_waiting(&mut self) {
        self.release_late(u64::MAX);
    }

    fn release_late(&mut self, now_ns: u64) {
        for request in self.flights.all_mut() {
            let is_late = |waiting: &mut Waiting| waiting.is_late(now_ns);
            for waiting in request.slow.extract_if(.., is_late) {
                self.slow.waited(*waiting.statement);
            }
            let is_late = |waiting: &mut WaitingCall| waiting.is_late(now_ns);
            for waiting in request.calls.extract_if(.., is_late) {
                self.models.waited(*waiting.call);
            }
        }
    }

    fn unattributed(&mut self, service: u16, why: Unattributed, tally: DbTally) {
        let service = self.services.entry(service).or_default();
        service.unattributed.entry(why).or_default().add(tally);
    }

    /// A connection has ended, or is not followed any more; `serials` are the requests on it that
    /// were in flight.
    pub(super) fn stream_gone(&mut self, stream: u64, serials: impl Iterator<Item = u64>) {
        for serial in serials {
            let key = RequestKey { stream, serial };
            self.model_call_lost(key);
            let Some(mut request) = self.flights.end(key) else {
                continue;
            };
            self.requests_changed(request.tgid, self.now_ns);
            self.flights.lingers(request.tid, self.now_ns);
            self.lose(&mut request);
        }
        self.flights.sees(stream);
        if let Some(mut connection) = self.connections.remove(&stream) {
            if let Some((key, it)) = connection.pool {
                let requests = self.flights.of_process(key.tgid);
                let change = (Some(it), None);
                self.pools
                    .change(connection.service, key, change, requests, self.now_ns);
            }
            self.detector
                .close(&mut connection.burst, connection.service, None);
        }
    }

    /// The end of a request will not be seen, and with it its route.
    fn lose(&mut self, request: &mut InFlight) {
        let mut lost = request.by_thread;
        lost.add(request.by_trace);
        if lost.statements > 0 {
            self.unattributed(request.service, Unattributed::RequestUnknown, lost);
        }
        self.detector.discard(&mut request.scope);
        self.release(request, |_| None);
        self.release_calls(request, |_| None);
    }

    /// It is that late; what has become quiet is over.
    pub(super) fn pass_time(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        if self.now_ns < self.sweep_ns {
            return;
        }
        self.sweep_ns = self.now_ns.saturating_add(SWEEP_NS);
        self.flights.pass_time(self.now_ns);
        self.give_up_model_calls();
        if self.slow.any_waits() || self.models.any_waits() {
            self.release_late(self.now_ns);
        }
        for connection in self.connections.values_mut() {
            let quiet_ns = self.now_ns.saturating_sub(connection.burst.ended_ns());
            let holds = connection.burst.len() > 0 && !connection.is_waiting();
            if holds && quiet_ns > BURST_GAP_NS {
                self.detector
                    .close(&mut connection.burst, connection.service, None);
            }
        }
    }

    /// Forgets the numbers of services whose ids are about to be given to others.
    pub(super) fn forget(&mut self, services: &[u16]) {
        for id in services {
            self.services.remove(id);
        }
        self.pools.forget(services);
        self.detector.forget(services);
        self.slow.forget(services);
        self.models.forget(services);
    }

    /// The latest time that is known.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The numbers of one service.
    pub(super) fn report(&mut self, service: u16) -> DbReport {
        let (routes, unattributed, statement_routes) = self
            .services
            .get(&service)
            .map(|db| {
                let by_statement = db.by_statement.report();
                (db.routes.clone(), db.unattributed.clone(), by_statement)
            })
            .unwrap_or_default();
        DbReport {
            routes,
            unattributed,
            statement_routes,
            n_plus_one: self.detector.counts(service, Pattern::NPlusOne),
            repeated: self.detector.counts(service, Pattern::RepeatedQuery),
            pools: self.pools.report(service, self.now_ns),
        }
    }

    /// The latest findings, newest first.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.detector.findings()
    }

    /// Findings to warn of since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<Finding> {
        self.detector.take_warnings()
    }

    /// Statements that were not compared for lack of room.
    pub(super) fn not_compared(&self) -> u64 {
        self.detector.not_compared()
    }
}
