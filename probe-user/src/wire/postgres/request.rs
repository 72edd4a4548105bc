//! What the client asks, and the answer to it as far as it has come.

use std::sync::Arc;

use super::body::Tag;
use super::event::{CopyDirection, SqlState};
use crate::sql::Parsed;

/// A request that the server answers.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Parse {
        name: Option<u64>,
        text: Option<Arc<Parsed>>,
        at: u64,
    },
    Bind {
        portal: Option<u64>,
        statement: Option<u64>,
        parameters: Option<u64>,
        at: u64,
    },
    DescribeStatement {
        name: Option<u64>,
        at: u64,
    },
    DescribePortal {
        name: Option<u64>,
        at: u64,
    },
    Execute {
        portal: Option<u64>,
        shared: bool,
        at: u64,
    },
    CloseStatement {
        name: Option<u64>,
        at: u64,
    },
    ClosePortal {
        name: Option<u64>,
        at: u64,
    },
    Query {
        text: Option<Arc<Parsed>>,
        next: usize,
        failed: bool,
        shared: bool,
        at: u64,
    },
    Function,
    Sync,
    /// Copied data, which ends the messages that a COPY ignores; has no answer.
    CopyData,
    /// Requests that were not seen, any number of them. Silent when what is known of them has been
    /// reported already.
    Hidden {
        silent: bool,
    },
}

impl Request {
    /// Whether ReadyForQuery ends its answer.
    pub(super) fn ends_batch(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::Function | Self::Sync)
    }

    pub(super) fn is_statement(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::Execute { .. })
    }
}

/// The answer to the first request, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Answering {
    /// Whether it was seen to begin, not to go on with a portal.
    pub(super) begun: bool,
    pub(super) first_byte: Option<u64>,
    pub(super) rows: u64,
    pub(super) copy: Option<CopyDirection>,
}

/// How an answer ended, of which the middle is missing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Complete(Tag),
    Suspended,
    Empty,
    Error(SqlState),
}
