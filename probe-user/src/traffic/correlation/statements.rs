//! Statements that clients send: whose they are, and what follows from that.

use super::{
    super::{
        ConnectionState,
        slow::{SlowStatement, Waiting},
    },
    Call, Correlation, DbTally, Unattributed,
    flight::RequestKey,
    pools::{PoolKey, Use},
    sent::Connection,
};
use crate::{sql::Operation, wire::postgres::Statement};

/// Executions of a burst that are further apart are not compared.
const BURST_WINDOW_NS: u64 = 10_000_000_000;

impl Correlation {
    /// A client of Postgres has sent something.
    pub(in crate::traffic) fn statement_sent(&mut self, call: &Call) {
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
    pub(in crate::traffic) fn connection_is(
        &mut self,
        call: &Call,
        peer: u32,
        state: Option<ConnectionState>,
    ) {
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
    pub(in crate::traffic) fn answer_received(&mut self, call: &Call) {
        let connection = self.connections.get(&call.stream);
        if connection.is_some_and(|connection| connection.receives_for_another(call)) {
            self.flights.moves(call.tgid);
        }
    }

    /// A statement of a client has ended; `slow` if it was.
    pub(in crate::traffic) fn statement(
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

    /// The request of a statement or call that began then, and whether its trace or its thread tells.
    pub(super) fn owner(
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
            Ok(Some(key)) if self.flights.began_before(key, started_ns) => Ok(Owner::Trace(key)),
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

    /// Compares what belongs to no request with its neighbours on the connection.
    fn in_burst(&mut self, stream: u64, statement: &Statement) {
        let Some(connection) = self.connections.get_mut(&stream) else {
            return;
        };
        let (service, burst) = (connection.service, &mut connection.burst);
        let began_ns = statement.started_ns.unwrap_or(0);
        if began_ns.saturating_sub(burst.ended_ns()) > super::BURST_GAP_NS {
            self.detector.close(burst, service, None);
        }
        self.detector
            .observe(burst, service, statement, BURST_WINDOW_NS);
        let operation = statement.sql.as_ref().map(|sql| sql.operation);
        if let Some(Operation::Commit | Operation::Rollback | Operation::Discard) = operation {
            self.detector.close(burst, service, None);
        }
    }
}

/// What tells a statement's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Thread(RequestKey),
    Trace(RequestKey),
}
