//! Who sent what on a client's connection to Postgres.

use std::collections::VecDeque;

use super::{
    Call, Unattributed,
    flight::RequestKey,
    pools::{PoolKey, Use},
};
use crate::{traffic::n_plus_one::Scope, wire::postgres::Statement};

/// Spans of calls that one connection remembers. Calls in a row for the same request are one span,
/// so that a deep pipeline for many requests at once is needed to exceed it.
const SPANS: usize = 32;

/// Whom a call was for, or why that is not certain.
type Owner = Result<RequestKey, Unattributed>;

/// Calls in a row for the same request.
#[derive(Debug, Clone, Copy)]
struct Span {
    first_ns: u64,
    last_ns: u64,
    owner: Owner,
}

/// What correlation knows of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) service: u16,
    /// In the order of the calls.
    sent: VecDeque<Span>,
    /// Whether spans were dropped for lack of room.
    dropped: bool,
    /// Thread of the latest call that sent something.
    sender: u32,
    /// When the latest statement ended that was counted.
    busy_until_ns: u64,
    /// Statements that belong to no request for certain.
    pub(super) burst: Scope,
    /// Its pool, and what it means for it; `None` while it is not there for statements.
    pub(super) pool: Option<(PoolKey, Use)>,
    /// For how long the pool had been saturated when somebody took this connection.
    pub(super) taken_ns: u64,
}

impl Connection {
    pub(super) fn new(service: u16) -> Self {
        Self {
            service,
            sent: VecDeque::new(),
            dropped: false,
            sender: 0,
            busy_until_ns: 0,
            burst: Scope::default(),
            pool: None,
            taken_ns: 0,
        }
    }

    /// Notes whom a call is for that sends something.
    pub(super) fn sends(&mut self, call: &Call, owner: Owner) {
        self.sender = call.tid;
        if let Some(last) = self.sent.back_mut().filter(|last| last.owner == owner) {
            last.last_ns = last.last_ns.max(call.started_ns);
            return;
        }
        if self.sent.len() >= SPANS {
            self.sent.pop_front();
            self.dropped = true;
        }
        self.sent.push_back(Span {
            first_ns: call.started_ns,
            last_ns: call.started_ns,
            owner,
        });
    }

    /// Whether another thread than the one that asked receives the answer.
    pub(super) fn receives_for_another(&self, call: &Call) -> bool {
        self.sender != 0 && self.sender != call.tid
    }

    /// Whether something was sent since the latest statement of the burst ended.
    pub(super) fn is_waiting(&self) -> bool {
        let sent = self.sent.back();
        sent.is_some_and(|span| span.last_ns > self.burst.ended_ns())
    }

    /// Whom the statement is for, as its first bytes tell.
    pub(super) fn owner(&self, statement: &Statement) -> Owner {
        let Some(began_ns) = statement.started_ns else {
            return Err(Unattributed::RequestUnknown);
        };
        let span = self
            .sent
            .iter()
            .rev()
            .find(|span| span.first_ns <= began_ns && began_ns <= span.last_ns);
        match span {
            Some(span) => span.owner,
            None if self.dropped && self.sent.front().is_some_and(|s| began_ns < s.first_ns) => {
                Err(Unattributed::Overflow)
            }
            None => Err(Unattributed::RequestUnknown),
        }
    }

    /// The time that a statement took and no other on this connection before it: of what is
    /// answered together, each moment counts once.
    pub(super) fn share_ns(&mut self, statement: &Statement) -> u64 {
        let (Some(began_ns), Some(ended_ns)) = (statement.started_ns, statement.finished_ns) else {
            return 0;
        };
        let own_ns = ended_ns.saturating_sub(began_ns.max(self.busy_until_ns));
        self.busy_until_ns = self.busy_until_ns.max(ended_ns);
        statement
            .busy_ns
            .map_or(own_ns, |busy_ns| own_ns.min(busy_ns))
    }
}
