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
mod pools;
mod sent;
mod statement_routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

pub(super) use flight::RequestKey;
use flight::{Flights, InFlight};
pub use pools::PoolReport;
use pools::{PoolKey, Pools, Use};
use rustc_hash::FxHashMap;
use sent::Connection;
use statement_routes::Routes;
pub use statement_routes::{RouteCount, StatementRoutes};

use super::{
    ConnectionState,
    model_calls::{Ended, ModelCalls, ModelSettings, WaitingCall},
    n_plus_one::{Detector, Finding, FindingCounts, Pattern, RouteKey, Settings},
    other, series,
    slow::{Slow, SlowStatement, Thresholds, Waiting},
};
use crate::{
    sql::Operation,
    wire::{
        http1::{Begun, End, Exchange, Wanted},
        postgres::Statement,
    },
};
use probe_common::payload::PayloadHeader;

/// A pause of the client that ends a burst of statements.
const BURST_GAP_NS: u64 = 250_000_000;
/// Executions of a burst that are further apart are not compared.
const BURST_WINDOW_NS: u64 = 10_000_000_000;
/// How often what has become quiet is looked for.
const SWEEP_NS: u64 = 1_000_000_000;

/// Why a statement belongs to no request for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unattributed {
    /// No request was in flight in the process.
    NoRequest,
    /// Only other threads of the process had requests in flight.
    OtherThread,
    /// The thread, or the trace, had several requests in flight.
    SeveralRequests,
    /// In this process one thread goes on with what another has begun.
    ThreadChanged,
    /// The request was over before the statement was.
    RequestOver,
    /// The statement was sent unseen, or names the trace of another request, or the request's
    /// connection could not be followed to its end.
    RequestUnknown,
    /// While the request was in flight, records of the thread's connections were lost, or it answered
    /// a request that was not seen.
    RecordsLost,
    /// More statements for different requests were under way on the connection than are remembered.
    Overflow,
}

impl Unattributed {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoRequest,
        Self::OtherThread,
        Self::SeveralRequests,
        Self::ThreadChanged,
        Self::RequestOver,
        Self::RequestUnknown,
        Self::RecordsLost,
        Self::Overflow,
    ];

    /// Value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no_request",
            Self::OtherThread => "other_thread",
            Self::SeveralRequests => "several_requests",
            Self::ThreadChanged => "thread_changed",
            Self::RequestOver => "request_over",
            Self::RequestUnknown => "request_unknown",
            Self::RecordsLost => "records_lost",
            Self::Overflow => "overflow",
        }
    }
}

/// Statements, and the time for which at least one of them was under way on its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DbTally {
    /// Statements.
    pub statements: u64,
    /// Nanoseconds.
    pub ns: u64,
}

impl DbTally {
    fn add(&mut self, other: Self) {
        self.statements = self.statements.saturating_add(other.statements);
        self.ns = self.ns.saturating_add(other.ns);
    }
}

/// What one service asked its databases, and for which requests. The statements of both tables are
/// all that it sent, but for those of requests that are still in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbReport {
    /// By request.
    pub routes: BTreeMap<RouteKey, DbTally>,
    /// What belongs to no request for certain.
    pub unattributed: BTreeMap<Unattributed, DbTally>,
    /// The requests that statements were for, by fingerprint.
    pub statement_routes: StatementRoutes,
    /// Times that an N+1 was found.
    pub n_plus_one: FindingCounts,
    /// Times that a repeated query was found.
    pub repeated: FindingCounts,
    /// Its pools; `None` when it never had a connection.
    pub pools: Option<PoolReport>,
}

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

    /// A client of Postgres has sent something.
    pub(super) fn statement_sent(&mut self, call: &Call) {
        let owner = self.flights.of_thread(call);
        let connection = self
            .connections
            .entry(call.stream)
            .or_insert_with(|| Connection::new(call.service));
        connection.sends(call, owner);
        if let Some((key, Use::Free | Use::Unknown)) = connection.pool {
            let saturated_ns = self.pools.saturated_ns(key, call.started_ns);
            connection.taken_ns = saturated_ns.unwrap_or(0);
        }
    }

    /// A client's connection to Postgres is in this state now; `None` when it is over.
    pub(super) fn connection_is(&mut self, call: &Call, peer: u32, state: Option<ConnectionState>) {
        let connection = self
            .connections
            .entry(call.stream)
            .or_insert_with(|| Connection::new(call.service));
        let before = connection.pool;
        // The process may change, as when a worker inherits a connection.
        let key = PoolKey {
            tgid: call.tgid,
            peer,
        };
        let now = Use::of(state).map(|it| (key, it));
        if before == now {
            return;
        }
        connection.pool = now;
        let service = connection.service;
        if let Some((old, it)) = before.filter(|(old, _)| *old != key) {
            let requests = self.flights.of_process(old.tgid);
            let change = (Some(it), None);
            self.pools
                .change(service, old, change, requests, call.ended_ns);
        }
        let stayed = before.filter(|(old, _)| *old == key).map(|(_, it)| it);
        let requests = self.flights.of_process(key.tgid);
        let change = (stayed, now.map(|(_, it)| it));
        self.pools
            .change(service, key, change, requests, call.ended_ns);
    }

    /// A client of Postgres has received something.
    pub(super) fn answer_received(&mut self, call: &Call) {
        let connection = self.connections.get(&call.stream);
        if connection.is_some_and(|connection| connection.receives_for_another(call)) {
            self.flights.moves(call.tgid);
        }
    }

    /// A statement of a client has ended; `slow` if it was.
    pub(super) fn statement(
        &mut self,
        stream: u64,
        service: u16,
        statement: &Statement,
        slow: Option<Box<SlowStatement>>,
    ) {
        let connection = self
            .connections
            .entry(stream)
            .or_insert_with(|| Connection::new(service));
        let tally = DbTally {
            statements: 1,
            ns: connection.share_ns(statement),
        };
        let by_thread = connection.owner(statement);
        let pool = connection.pool.map(|(key, _)| key);
        let taken = pool.map(|key| (key.peer, connection.taken_ns));
        let trace = statement.traceparent.map(|trace| trace.trace_id);
        match self.owner(service, trace, statement.started_ns, by_thread) {
            Ok(owner) => {
                self.attributed(owner, tally, statement, taken);
                if let Some(slow) = slow {
                    self.wait(owner, slow);
                }
            }
            Err(why) => {
                if let Some(slow) = slow {
                    self.slow.hand_out(*slow);
                }
                self.unattributed(service, why, tally);
                self.in_burst(stream, statement);
            }
        }
    }

    /// A call of a model begins.
    pub(super) fn model_called(&mut self, call: &Call, wanted: Box<Wanted>) {
        let by_thread = self.flights.of_thread(call);
        self.models.begin(call, wanted, by_thread);
    }

    /// A client is about to receive a part of the answer to its request of this number.
    pub(super) fn model_answers(&mut self, call: &Call, serial: u64) {
        if self.models.receives_for_another(call, serial) {
            self.flights.moves(call.tgid);
        }
    }

    /// A request of a client is over, which may have been a call of a model.
    pub(super) fn model_call_ends(&mut self, stream: u64, exchange: &Exchange) {
        let serial = exchange.serial;
        let key = RequestKey { stream, serial };
        if let Some(ended) = self.models.end(key, exchange) {
            self.model_call(ended);
        }
    }

    /// A call of a model is over: it waits for the route of the request that it was made for.
    fn model_call(&mut self, ended: Ended) {
        let Ended {
            call,
            trace,
            by_thread,
        } = ended;
        let owner = self.owner(call.service, trace, Some(call.started_ns), by_thread);
        let Ok(owner) = owner else {
            return self.models.hand_out(*call);
        };
        let (Owner::Thread(key) | Owner::Trace(key)) = owner;
        match self.flights.get_mut(key) {
            Some(request) if self.models.may_wait() => {
                let by_trace = matches!(owner, Owner::Trace(_));
                if !by_trace {
                    request.latest_ns = request.latest_ns.max(call.started_ns);
                }
                request.calls.push(WaitingCall { call, by_trace });
            }
            _ => self.models.hand_out(*call),
        }
    }

    /// Nothing more will be seen of calls of models: of those of processes that have ended, or of any.
    pub(super) fn lose_model_calls(&mut self, of: Option<&HashSet<u32>>) {
        for ended in self.models.lose_all(of) {
            self.model_call(ended);
        }
    }

    /// The request of a statement or call that began then, and whether its trace or its thread tells.
    fn owner(
        &self,
        service: u16,
        trace: Option<u128>,
        started_ns: Option<u64>,
        by_thread: Result<RequestKey, Unattributed>,
    ) -> Result<Owner, Unattributed> {
        let by_thread = by_thread.and_then(|key| {
            let over = !self.flights.contains(key);
            if over {
                Err(Unattributed::RequestOver)
            } else {
                Ok(key)
            }
        });
        let Some(trace) = trace else {
            return by_thread.map(Owner::Thread);
        };
        match self.flights.of_trace(service, trace) {
            Ok(Some(key)) if self.flights.began_before(key, started_ns) => {
                Ok(Owner::Trace(key))
            }
            // What the program says counts more than what its threads do.
            Ok(Some(_)) => Err(Unattributed::RequestUnknown),
            Ok(None) => match by_thread {
                Ok(key) if self.flights.trace_of(key).is_some() => {
                    Err(Unattributed::RequestUnknown)
                }
                by_thread => by_thread.map(Owner::Thread),
            },
            Err(why) => match by_thread {
                Ok(key) if self.flights.trace_of(key) == Some(trace) => Ok(Owner::Thread(key)),
                _ => Err(why),
            },
        }
    }

    /// `taken`: the server, and for how long its pool had been saturated when the connection was
    /// taken.
    fn attributed(
        &mut self,
        owner: Owner,
        tally: DbTally,
        statement: &Statement,
        taken: Option<(u32, u64)>,
    ) {
        let (Owner::Thread(key) | Owner::Trace(key)) = owner;
        let Some(request) = self.flights.get_mut(key) else {
            return;
        };
        // Only the first statement tells; a request has no more than one first.
        for (peer, saturated_ns) in std::mem::take(&mut request.saturated) {
            if let Some((_, taken_ns)) = taken.filter(|(to, _)| *to == peer) {
                request.waited_ns = taken_ns.checked_sub(saturated_ns).filter(|ns| *ns > 0);
            }
        }
        if let Some(sql) = &statement.sql {
            request.executed.add(sql.fingerprint);
        }
        match owner {
            Owner::Thread(_) => {
                request.by_thread.add(tally);
                let began_ns = statement.started_ns.unwrap_or(0);
                request.latest_ns = request.latest_ns.max(began_ns);
            }
            Owner::Trace(_) => request.by_trace.add(tally),
        }
        self.detector
            .observe(&mut request.scope, request.service, statement, u64::MAX);
    }

    /// A slow statement waits for the route of its request.
    fn wait(&mut self, owner: Owner, statement: Box<SlowStatement>) {
        let (Owner::Thread(key) | Owner::Trace(key)) = owner;
        match self.flights.get_mut(key) {
            Some(request) if self.slow.may_wait() => request.slow.push(Waiting {
                statement,
                by_trace: matches!(owner, Owner::Trace(_)),
            }),
            _ => self.slow.hand_out(*statement),
        }
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

    /// Hands out the calls of models of a request, with its route where that is certain.
    fn release_calls<'a>(
        &mut self,
        request: &mut InFlight,
        route: impl Fn(&WaitingCall) -> Option<&'a RouteKey>,
    ) {
        for waiting in std::mem::take(&mut request.calls) {
            let route = route(&waiting).cloned();
            let mut call = *waiting.call;
            call.route = route;
            self.models.waited(call);
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

    /// Compares what belongs to no request with its neighbours on the connection.
    fn in_burst(&mut self, stream: u64, statement: &Statement) {
        let Some(connection) = self.connections.get_mut(&stream) else {
            return;
        };
        let (service, burst) = (connection.service, &mut connection.burst);
        let began_ns = statement.started_ns.unwrap_or(0);
        if began_ns.saturating_sub(burst.ended_ns()) > BURST_GAP_NS {
            self.detector.close(burst, service, None);
        }
        self.detector
            .observe(burst, service, statement, BURST_WINDOW_NS);
        let operation = statement.sql.as_ref().map(|sql| sql.operation);
        if let Some(Operation::Commit | Operation::Rollback | Operation::Discard) = operation {
            self.detector.close(burst, service, None);
        }
    }

    /// A connection has ended, or is not followed any more; `serials` are the requests on it that
    /// were in flight.
    pub(super) fn stream_gone(&mut self, stream: u64, serials: impl Iterator<Item = u64>) {
        for serial in serials {
            let key = RequestKey { stream, serial };
            if let Some(ended) = self.models.lose(key) {
                self.model_call(ended);
            }
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

/// What tells a statement's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Thread(RequestKey),
    Trace(RequestKey),
}
