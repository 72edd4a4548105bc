//! What is told of a service's statements: for which requests they were, and why for none.

use std::collections::BTreeMap;

use super::{
    super::n_plus_one::{FindingCounts, RouteKey},
    PoolReport, StatementRoutes,
};

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
    pub(super) fn add(&mut self, other: Self) {
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
