//! Slow statements: those that took at least as long as their threshold.
//!
//! What one end of a connection saw is one record; both ends make two, which are never added up. A
//! statement of a request in flight waits with its request, because the route is known at the
//! request's end only; bounded in number and time, and what can't wait goes without its route.
//! A statement whose end was not seen has no duration: it is none, and counted as uncertain.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use super::RouteKey;
use crate::{
    sql::SqlInfo,
    wire::{
        postgres::{Outcome, SessionInfo, SqlState, Statement},
        stream::Side,
    },
};

/// Slow statements that may wait for the end of their requests, over all requests.
const WAITING: usize = 1_024;
/// Slow statements that may wait to be taken.
const READY: usize = 4_096;
/// How long one waits for the end of its request.
const PATIENCE_NS: u64 = 60_000_000_000;

/// From which time on a statement is slow. `None` is never, 0 always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// Unless one of the others is set, in nanoseconds.
    pub all: Option<u64>,
    /// Of services, by their ids.
    pub services: BTreeMap<u16, Option<u64>>,
    /// Of databases, by their names. The most specific: one service may ask several.
    pub databases: BTreeMap<String, Option<u64>>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            all: Some(100_000_000),
            services: BTreeMap::new(),
            databases: BTreeMap::new(),
        }
    }
}

impl Thresholds {
    /// Of a statement that a service ran in this database.
    fn get(&self, service: u16, database: Option<&str>) -> Option<u64> {
        let of_database = database.and_then(|database| self.databases.get(database));
        *of_database
            .or_else(|| self.services.get(&service))
            .unwrap_or(&self.all)
    }

    /// What is faster is certainly not slow.
    fn lowest(&self) -> Option<u64> {
        let specific = self.services.values().chain(self.databases.values());
        specific.chain([&self.all]).flatten().min().copied()
    }
}

/// Who is at the other end of a server's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// A process of this host, over a Unix socket.
    Local,
    /// Somebody with this address.
    Address(Ipv4Addr),
    /// Not known: the address of an IPv6 connection is not copied whole.
    Unknown,
}

/// One slow statement, as one end of its connection saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowStatement {
    /// Service id.
    pub service: u16,
    /// Which end the service is.
    pub side: Side,
    /// Without its literals; `None` when its text was never seen.
    pub sql: Option<Arc<SqlInfo>>,
    /// As it was sent, when that is captured.
    pub text: Option<Arc<str>>,
    /// Database, user and application, as far as they are known.
    pub session: Arc<SessionInfo>,
    /// Who asked, as the server sees it.
    pub client: Client,
    /// When it ended, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// How long it took in nanoseconds, without the client's pauses between fetches.
    pub duration_ns: u64,
    /// From its arrival to the first byte of its answer, in nanoseconds.
    pub first_byte_ns: Option<u64>,
    /// Rows returned or changed.
    pub rows: Option<u64>,
    /// Why it failed.
    pub error: Option<SqlState>,
    /// Whether the time is that of several statements that were sent together.
    pub shared_latency: bool,
    /// The trace that it, or its request, names.
    pub trace_id: Option<u128>,
    /// The request that it was certainly for.
    pub route: Option<RouteKey>,
}

/// A slow statement of a request in flight.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) statement: Box<SlowStatement>,
    /// Whether a trace tells its request, so that doubts about threads are none about it.
    pub(super) by_trace: bool,
}

/// Looks for slow statements, and holds them until they are taken.
#[derive(Debug, Default)]
pub(super) struct Slow {
    thresholds: Thresholds,
    lowest: Option<u64>,
    ready: Vec<SlowStatement>,
    waiting: usize,
    dropped: u64,
}

impl Slow {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self {
            lowest: thresholds.lowest(),
            thresholds,
            ..Self::default()
        }
    }

    pub(super) fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.lowest = thresholds.lowest();
        self.thresholds = thresholds;
    }

    /// The statement, if it is slow.
    pub(super) fn look(
        &self,
        service: u16,
        side: Side,
        client: impl FnOnce() -> Client,
        statement: &Statement,
    ) -> Option<Box<SlowStatement>> {
        let (began_ns, at_ns) = (statement.started_ns?, statement.finished_ns?);
        let duration_ns = statement
            .busy_ns
            .unwrap_or_else(|| at_ns.saturating_sub(began_ns));
        if duration_ns < self.lowest? {
            return None;
        }
        let database = statement.session.database.as_deref();
        if duration_ns < self.thresholds.get(service, database)? {
            return None;
        }
        Some(Box::new(SlowStatement {
            service,
            side,
            sql: statement.sql.clone(),
            text: statement.text.clone(),
            session: Arc::clone(&statement.session),
            client: match side {
                Side::Server => client(),
                Side::Client => Client::Unknown,
            },
            at_ns,
            duration_ns,
            first_byte_ns: statement
                .first_byte_ns
                .map(|first_ns| first_ns.saturating_sub(began_ns)),
            rows: statement.rows,
            error: match statement.outcome {
                Outcome::Error(state) => Some(state),
                Outcome::Ok | Outcome::Unknown => None,
            },
            shared_latency: statement.shared_latency,
            trace_id: statement.traceparent.map(|trace| trace.trace_id),
            route: None,
        }))
    }

    /// Whether one more may wait for its request; if so, it does.
    pub(super) fn may_wait(&mut self) -> bool {
        let may = self.waiting < WAITING;
        self.waiting += usize::from(may);
        may
    }

    /// Whether any waits for its request.
    pub(super) fn any_waits(&self) -> bool {
        self.waiting > 0
    }

    /// One that waited waits no longer.
    pub(super) fn waited(&mut self, statement: SlowStatement) {
        self.waiting = self.waiting.saturating_sub(1);
        self.hand_out(statement);
    }

    /// Nothing more will be known of it.
    pub(super) fn hand_out(&mut self, statement: SlowStatement) {
        if self.ready.len() < READY {
            self.ready.push(statement);
        } else {
            self.dropped += 1;
        }
    }

    /// Those of which nothing more will be known, in the order of that.
    pub(super) fn take(&mut self) -> Vec<SlowStatement> {
        std::mem::take(&mut self.ready)
    }

    /// So many were taken, but not handed on.
    pub(super) fn drop_more(&mut self, number: u64) {
        self.dropped += number;
    }

    /// Slow statements that were counted, but not handed on for lack of room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets those of services whose ids are about to be given to others.
    pub(super) fn forget(&mut self, services: &[u16]) {
        let before = self.ready.len();
        self.ready
            .retain(|statement| !services.contains(&statement.service));
        self.dropped += (before - self.ready.len()) as u64;
    }
}

impl Waiting {
    /// Whether it has waited long enough.
    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.statement.at_ns) > PATIENCE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// An operator who allows reports a second must not lose sight of everything else.
    #[test]
    fn the_most_specific_threshold_counts() {
        let thresholds = Thresholds {
            all: Some(100 * MS),
            services: [(1, Some(10 * MS)), (2, None)].into(),
            databases: [
                ("reporting".to_owned(), Some(1_000 * MS)),
                ("every".to_owned(), Some(0)),
                ("none".to_owned(), None),
            ]
            .into(),
        };
        for (service, database, expected) in [
            (7, None, Some(100)),
            (7, Some("shop"), Some(100)),
            (1, Some("shop"), Some(10)),
            (2, Some("shop"), None),
            (1, Some("reporting"), Some(1_000)),
            (2, Some("reporting"), Some(1_000)),
            (1, Some("every"), Some(0)),
            (1, Some("none"), None),
        ] {
            let found = thresholds.get(service, database);
            assert_eq!(found, expected.map(|ms| ms * MS), "{service} {database:?}");
        }
        assert_eq!(thresholds.lowest(), Some(0));
        let never = Thresholds {
            all: None,
            ..Thresholds::default()
        };
        assert_eq!(never.lowest(), None);
    }
}
