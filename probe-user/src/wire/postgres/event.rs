//! What the decoder tells.

use std::sync::Arc;

use crate::sql::{SqlInfo, Traceparent};

/// Something that happened on a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A statement ended, or an attempt at one failed.
    Statement(Statement),
    /// The server waits for the next request (ReadyForQuery).
    Ready {
        /// The state of the transaction.
        status: TransactionStatus,
        /// When.
        at_ns: u64,
    },
    /// The start-up succeeded.
    Connected {
        /// From the first request (negotiation included) to the first ReadyForQuery.
        connect_to_ready_ns: u64,
        /// Who connected to what.
        session: Arc<SessionInfo>,
    },
    /// The server refused the start-up.
    Refused {
        /// Why.
        sqlstate: SqlState,
        /// Who tried, as far as it came to that.
        session: Arc<SessionInfo>,
    },
    /// The connection asks to cancel a query of another one.
    Cancel,
    /// From here on the bytes are encrypted. The decoder expects the clear text, which starts with
    /// the StartupMessage.
    TlsNegotiated,
    /// From here on the bytes are encrypted by GSSAPI; otherwise the same.
    GssNegotiated,
    /// The client said goodbye.
    Terminated,
    /// A transaction ended.
    Transaction {
        /// Whether it was committed.
        committed: bool,
        /// Whether by COMMIT or ROLLBACK, not by the end of a statement outside of a block.
        explicit: bool,
    },
    /// An error that no statement of this connection caused: a shutdown, a time-out while idle, a
    /// constraint that was deferred to the end of a pipeline.
    ServerError {
        /// Which.
        sqlstate: SqlState,
    },
    /// `pg_stat_statements` will differ from the statements reported, for a reason that is known.
    StatisticsDiffer(StatisticsDifference),
    /// The connection became a stream of replication; it is left alone from here on.
    Replication,
    /// This is not Postgres; nothing more is decoded.
    NotPostgres,
}

/// How busy a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Not known.
    Unknown,
    /// The start-up is under way.
    Connecting,
    /// The client waits for an answer.
    Working,
    /// Everything that was seen is answered; the latest [`Event::Ready`] says in which state.
    Waiting,
    /// Nothing more is decoded.
    Left,
}

/// By how much `pg_stat_statements` (as of PostgreSQL 15) differs from the events. It counts a
/// `SELECT` when its portal is closed: not at all when the transaction fails before that, with the
/// rows of the last fetch only, and also when it was bound but never executed. A command such as
/// `BEGIN` that was prepared is counted when it runs for the first time only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsDifference {
    /// Of which statement.
    pub sql: Option<Arc<SqlInfo>>,
    /// To be added to the calls reported.
    pub calls: i64,
    /// To be added to the rows reported.
    pub rows: i64,
}

/// One execution of one statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The statement without its literals; `None` when it was prepared or sent unseen.
    pub sql: Option<Arc<SqlInfo>>,
    /// The trace that a comment in the statement names.
    pub traceparent: Option<Traceparent>,
    /// The statement as it was sent, when that is captured. The parameters of a prepared statement
    /// are no part of it.
    pub text: Option<Arc<str>>,
    /// On whose behalf.
    pub session: Arc<SessionInfo>,
    /// How it was sent.
    pub kind: Kind,
    /// How far it came.
    pub phase: Phase,
    /// When its Query, Bind or (for a portal bound earlier) Execute message changed hands.
    pub started_ns: Option<u64>,
    /// When the answer to that began.
    pub first_byte_ns: Option<u64>,
    /// When it ended: CommandComplete, ErrorResponse or the last PortalSuspended.
    pub finished_ns: Option<u64>,
    /// Time that it really took: `finished - started` but for the pauses between fetches.
    pub busy_ns: Option<u64>,
    /// Rows returned or affected; `None` for commands without rows, and where unknown.
    pub rows: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The state of the transaction once the whole batch had been answered.
    pub transaction_status: Option<TransactionStatus>,
    /// Statements that were answered under the same ReadyForQuery, this one included.
    pub batch: u32,
    /// Whether it was sent together with others: its own latency can't be known, only theirs.
    pub shared_latency: bool,
    /// Hash of the parameters or literals, to tell calls apart; `None` when not all were at hand.
    pub parameters: Option<u64>,
    /// Whether data was copied, and which way.
    pub copy: Option<CopyDirection>,
    /// Execute messages that it took; 1 for a simple query.
    pub fetches: u32,
}

/// The protocol's two ways to run a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Query.
    Simple,
    /// Parse, Bind, Execute.
    Extended,
    /// The request was not seen.
    Unknown,
}

/// The step at which a statement ended. Only [`Phase::Execute`] is an execution; in the others it
/// failed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Parse.
    Parse,
    /// Bind.
    Bind,
    /// Describe or Close.
    Describe,
    /// Execute, or a simple query.
    Execute,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It succeeded.
    Ok,
    /// It failed.
    Error(SqlState),
    /// Its answer was not seen; it may not even have run, after an error of one before it.
    Unknown,
}

/// Which way a COPY went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyDirection {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// An error code (PostgreSQL documentation, appendix A): five digits or upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// What is reported when the code was not at hand.
    pub const UNKNOWN: Self = Self(*b"?????");

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }

    /// The first two characters: the class.
    pub fn class(&self) -> &str {
        self.as_str().get(..2).unwrap_or("??")
    }
}

/// As ReadyForQuery tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// No transaction block.
    Idle,
    /// In a block.
    InTransaction,
    /// In a block that failed.
    Failed,
}

impl TransactionStatus {
    /// The byte in ReadyForQuery.
    pub fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }
}

/// What is known of a session; `None` where the decoder came too late.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionInfo {
    /// The role that was asked for.
    pub user: Option<Box<str>>,
    /// The database; that of the user's name unless given.
    pub database: Option<Box<str>>,
    /// The latest the server reported.
    pub application_name: Option<Box<str>>,
    /// As the server reports it.
    pub server_version: Option<Box<str>>,
    /// Major and minor version of the protocol.
    pub protocol: Option<(u16, u16)>,
    /// The server process, which has the same id in the server's process namespace.
    pub backend_pid: Option<u32>,
}
