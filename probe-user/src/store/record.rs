//! What is kept.

use std::sync::atomic::{AtomicU32, Ordering};
use std::{fmt, str::FromStr};

use super::{BrowserError, BrowserSum, WebVital};

/// Something to keep.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A statement that took long.
    SlowQuery(Box<SlowQuery>),
    /// What statements did in a window of time.
    QueryStats(Vec<QueryStats>),
    /// A value of a page life.
    WebVital(Box<WebVital>),
    /// Errors in browsers.
    BrowserErrors(Vec<BrowserError>),
    /// What is counted of pages in a window of time.
    BrowserSums(Vec<BrowserSum>),
}

/// Kinds of records, which are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Record::SlowQuery`].
    SlowQuery,
    /// [`Record::QueryStats`].
    QueryStats,
    /// [`Record::WebVital`].
    WebVital,
    /// [`Record::BrowserErrors`].
    BrowserError,
    /// [`Record::BrowserSums`].
    BrowserSum,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::SlowQuery,
        Self::QueryStats,
        Self::WebVital,
        Self::BrowserError,
        Self::BrowserSum,
    ];

    /// As it is called in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowQuery => "slow_query",
            Self::QueryStats => "query_stats",
            Self::WebVital => "web_vital",
            Self::BrowserError => "browser_error",
            Self::BrowserSum => "browser_sum",
        }
    }
}

impl Record {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SlowQuery(_) => Kind::SlowQuery,
            Self::QueryStats(_) => Kind::QueryStats,
            Self::WebVital(_) => Kind::WebVital,
            Self::BrowserErrors(_) => Kind::BrowserError,
            Self::BrowserSums(_) => Kind::BrowserSum,
        }
    }

    /// Rows that it becomes.
    pub fn rows(&self) -> u64 {
        match self {
            Self::SlowQuery(_) | Self::WebVital(_) => 1,
            Self::QueryStats(rows) => rows.len() as u64,
            Self::BrowserErrors(rows) => rows.len() as u64,
            Self::BrowserSums(rows) => rows.len() as u64,
        }
    }

    /// About how many bytes it takes while it waits.
    pub fn bytes(&self) -> usize {
        match self {
            Self::SlowQuery(query) => size_of::<SlowQuery>() + query.text_bytes(),
            Self::QueryStats(rows) => rows.iter().fold(0, |sum, row| {
                sum + size_of::<QueryStats>() + row.sql.len() + row.buckets.len()
            }),
            Self::WebVital(vital) => vital.bytes(),
            Self::BrowserErrors(rows) => rows.iter().map(BrowserError::bytes).sum(),
            Self::BrowserSums(rows) => rows.iter().map(BrowserSum::bytes).sum(),
        }
    }
}

/// Which end of the connection has seen it. The two views of one statement are two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The Postgres server.
    Server,
    /// The program that asked it.
    Client,
}

impl Side {
    /// As it is stored and called in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl FromStr for Side {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "server" => Ok(Self::Server),
            "client" => Ok(Self::Client),
            _ => Err("allowed are server, client"),
        }
    }
}

/// One statement that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowQuery {
    /// Made by [`SlowQuery::new_id`]. Beyond 2^53, so JSON needs it as text.
    pub id: i64,
    /// When it ended, in Unix milliseconds.
    pub at_ms: i64,
    /// The host that saw it.
    pub host: String,
    /// The service that saw it.
    pub service: String,
    /// From which end of the connection.
    pub side: Side,
    /// Database, when known.
    pub database: Option<String>,
    /// Role that it ran as, when known.
    pub user: Option<String>,
    /// What the client calls itself.
    pub application_name: Option<String>,
    /// Address of the client.
    pub client: Option<String>,
    /// Hash of `sql`.
    pub fingerprint: u64,
    /// Such as `SELECT`.
    pub operation: String,
    /// The statement without its literals.
    pub sql: String,
    /// The statement as it was sent; only with `sql.capture_literals`.
    pub text: Option<String>,
    /// From the request's first byte to the answer's last, in nanoseconds.
    pub duration_ns: u64,
    /// To the answer's first byte, in nanoseconds.
    pub ttfb_ns: Option<u64>,
    /// Rows returned or changed.
    pub rows: Option<u64>,
    /// Of the error that ended it.
    pub sqlstate: Option<String>,
    /// Method of the HTTP request that it was for.
    pub method: Option<String>,
    /// Route of the HTTP request that it was for.
    pub route: Option<String>,
    /// Trace that it belongs to, 32 hex digits.
    pub trace_id: Option<String>,
    /// Statements were sent together and answered together: the time is that of all of them.
    pub shared_latency: bool,
}

/// Bits of an id below the milliseconds: enough years and enough records in one of them.
const ID_BITS: u32 = 21;

impl SlowQuery {
    /// An id that is greater than those of earlier times, for a record of this time in Unix
    /// milliseconds. The low bits count from a place that is this process's own.
    pub fn new_id(at_ms: i64) -> i64 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static START: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        // The standard library seeds its hashers from the kernel.
        let start = START.get_or_init(|| {
            use std::hash::{BuildHasher as _, RandomState};
            let seed = RandomState::new().hash_one(std::process::id());
            u32::try_from(seed & u64::from(u32::MAX)).unwrap_or_default()
        });
        let low = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (1 << ID_BITS);
        (at_ms.clamp(0, (1 << 42) - 1) << ID_BITS) | i64::from(low)
    }

    pub(super) fn text_bytes(&self) -> usize {
        let optional = [
            &self.database,
            &self.user,
            &self.application_name,
            &self.client,
            &self.text,
            &self.sqlstate,
            &self.method,
            &self.route,
            &self.trace_id,
        ];
        let optional: usize = optional.into_iter().flatten().map(String::len).sum();
        self.host.len() + self.service.len() + self.operation.len() + self.sql.len() + optional
    }
}

/// What one statement did in a window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryStats {
    /// Begin of the window, in Unix milliseconds.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// The host that saw it.
    pub host: String,
    /// The service that saw it.
    pub service: String,
    /// From which end of the connection.
    pub side: Side,
    /// Database, when known.
    pub database: Option<String>,
    /// Hash of `sql`.
    pub fingerprint: u64,
    /// Such as `SELECT`.
    pub operation: String,
    /// The statement without its literals.
    pub sql: String,
    /// Executions.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// Time of all executions, in nanoseconds.
    pub busy_ns: u64,
    /// Durations as [`buckets`](super::buckets) writes them; empty when not known.
    pub buckets: Vec<u8>,
}

/// Which slow statements are asked for; what is not set takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlowQueryFilter {
    /// Of this service.
    pub service: Option<String>,
    /// In this database.
    pub database: Option<String>,
    /// Of this role.
    pub user: Option<String>,
    /// With this fingerprint.
    pub fingerprint: Option<u64>,
    /// For requests of this route.
    pub route: Option<String>,
    /// Seen from this end.
    pub side: Option<Side>,
    /// That failed with this SQLSTATE.
    pub sqlstate: Option<String>,
    /// Only those that failed.
    pub only_errors: bool,
    /// That took at least so long, in nanoseconds.
    pub min_duration_ns: Option<u64>,
    /// That ended at this time in Unix milliseconds or later.
    pub from_ms: Option<i64>,
    /// That ended before this time.
    pub to_ms: Option<i64>,
    /// Only what comes after this place in the order, which is from new to old.
    pub before: Option<Cursor>,
    /// At most so many; 0 means [`DEFAULT_LIMIT`], and [`MAX_LIMIT`] is the most.
    pub limit: u32,
}

/// Records of a page when nothing else is asked for.
pub const DEFAULT_LIMIT: u32 = 100;
/// The most records of a page.
pub const MAX_LIMIT: u32 = 1_000;

/// A place in the order of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Time of the record at that place.
    pub at_ms: i64,
    /// Its id.
    pub id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once('-')
            .and_then(|(at_ms, id)| Some((at_ms.parse().ok()?, id.parse().ok()?)));
        let (at_ms, id) = parsed.ok_or("allowed is the cursor that an answer gave")?;
        Ok(Self { at_ms, id })
    }
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The records, newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_time_and_never_repeat_within_a_millisecond() {
        let (early, late) = (SlowQuery::new_id(1_000), SlowQuery::new_id(1_001));
        assert!(early < late);
        let many: std::collections::HashSet<i64> =
            (0..100_000).map(|_| SlowQuery::new_id(7)).collect();
        assert_eq!(many.len(), 100_000);
        assert!(SlowQuery::new_id(i64::MAX) > 0);
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor { at_ms: 17, id: 4 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!("17".parse::<Cursor>().is_err());
    }
}
