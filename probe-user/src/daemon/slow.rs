//! Slow statements on their way from the decoder: named, kept, and said in the log.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;
use tokio::sync::mpsc::Receiver;
use tracing::warn;

use super::{Daemon, decoding::now_ns};
use crate::{
    store::{Record, Side, SlowQuery, now_ms},
    traffic::{Client, SlowStatement},
    wire::{self, postgres::SessionInfo},
};

/// Slow statements that may wait to be named.
pub const WAITING: usize = 4_096;

/// How long the log says nothing more of one statement of a service.
const QUIET: Duration = Duration::from_secs(60);
/// Statements whose latest warning is remembered.
const WARNED: usize = 1_024;
/// What is called slow when its text was never seen.
const UNKNOWN: &str = "unknown";

impl Daemon {
    /// Takes what comes, until the decoder is gone and everything it sent was taken.
    pub async fn keep_slow_statements(self: Arc<Self>, mut slow: Receiver<SlowStatement>) {
        let mut log = Log::default();
        let host = self.store.host();
        while let Some(statement) = slow.recv().await {
            let service = self.service_name(statement.service);
            let query = Box::new(query(statement, service, &host));
            log.say(&query);
            self.recent.push(&query);
            self.store.keep(Record::SlowQuery(query));
        }
    }
}

/// A slow statement as it is kept.
fn query(statement: SlowStatement, service: String, host: &str) -> SlowQuery {
    let ago_ms = now_ns().saturating_sub(statement.at_ns) / 1_000_000;
    let at_ms = now_ms().saturating_sub_unsigned(ago_ms);
    let sql = statement.sql.as_deref();
    let session: &SessionInfo = &statement.session;
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let (method, route) = match statement.route {
        Some(key) => (Some(key.method.to_owned()), Some(key.route.to_string())),
        None => (None, None),
    };
    SlowQuery {
        id: SlowQuery::new_id(at_ms),
        at_ms,
        host: host.to_owned(),
        service,
        side: match statement.side {
            wire::stream::Side::Server => Side::Server,
            wire::stream::Side::Client => Side::Client,
        },
        database: text(&session.database),
        user: text(&session.user),
        application_name: text(&session.application_name).filter(|name| !name.is_empty()),
        client: match (statement.side, statement.client) {
            (wire::stream::Side::Client, _) | (_, Client::Unknown) => None,
            // As Postgres writes it in its log.
            (_, Client::Local) => Some("[local]".to_owned()),
            (_, Client::Address(address)) => Some(address.to_string()),
        },
        fingerprint: sql.map_or(0, |sql| sql.fingerprint),
        operation: sql.map_or(UNKNOWN, |sql| sql.operation.as_str()).to_owned(),
        sql: sql.map_or(UNKNOWN, |sql| &*sql.text).to_owned(),
        text: statement.text.map(|text| text.to_string()),
        duration_ns: statement.duration_ns,
        ttfb_ns: statement.first_byte_ns,
        rows: statement.rows,
        sqlstate: statement.error.map(|state| state.as_str().to_owned()),
        method,
        route,
        trace_id: statement.trace_id.map(|trace| format!("{trace:032x}")),
        shared_latency: statement.shared_latency,
    }
}

type Seen = (String, Side, u64);

/// Warns of each statement of a service once, and of how many there were when it does so again.
struct Log {
    warned: LruCache<Seen, (Instant, u64)>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            warned: LruCache::new(NonZeroUsize::new(WARNED).unwrap_or(NonZeroUsize::MIN)),
        }
    }
}

impl Log {
    fn say(&mut self, query: &SlowQuery) {
        let seen = (query.service.clone(), query.side, query.fingerprint);
        if let Some(more) = self.is_due(seen, Instant::now()) {
            write(query, more);
        }
    }

    /// How many were not said since the last one that was, if it is time to say something.
    fn is_due(&mut self, seen: Seen, now: Instant) -> Option<u64> {
        match self.warned.get_mut(&seen) {
            Some((since, unsaid)) if now.duration_since(*since) < QUIET => {
                *unsaid += 1;
                None
            }
            Some((since, unsaid)) => {
                *since = now;
                Some(std::mem::take(unsaid))
            }
            None => {
                self.warned.put(seen, (now, 0));
                Some(0)
            }
        }
    }
}

/// One line; never with a literal, whatever is captured.
fn write(query: &SlowQuery, more: u64) {
    let milliseconds = query.duration_ns / 1_000_000;
    let place = query.route.as_deref().map(|route| {
        let method = query.method.as_deref().unwrap_or_default();
        format!("{method} {route}")
    });
    let since = match more {
        0 => String::new(),
        more => format!("; {more} more since the last warning"),
    };
    warn!(
        service = query.service,
        side = query.side.as_str(),
        database = query.database,
        user = query.user,
        place,
        sql = query.sql,
        fingerprint = format_args!("{:016x}", query.fingerprint),
        milliseconds,
        rows = query.rows,
        sqlstate = query.sqlstate,
        "slow query{since}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement that is slow a thousand times a minute must not fill the disk with its log, nor
    /// silence the others.
    #[test]
    fn the_log_has_each_statement_once_a_minute_and_how_often_it_was() {
        let mut log = Log::default();
        let (now, one) = (Instant::now(), ("web".to_owned(), Side::Client, 1));
        let mut due =
            |seen: &Seen, seconds| log.is_due(seen.clone(), now + Duration::from_secs(seconds));
        assert_eq!(due(&one, 0), Some(0));
        assert_eq!(due(&one, 0), None);
        assert_eq!(due(&one, 59), None);
        for other in [
            ("db".to_owned(), Side::Client, 1),
            ("web".to_owned(), Side::Server, 1),
            ("web".to_owned(), Side::Client, 2),
        ] {
            assert_eq!(due(&other, 1), Some(0));
        }
        assert_eq!(due(&one, 60), Some(2));
        assert_eq!(due(&one, 61), None);
    }

    #[test]
    fn what_was_never_seen_is_called_unknown_and_the_client_as_postgres_calls_it() {
        let statement = SlowStatement {
            service: 1,
            side: wire::stream::Side::Server,
            sql: None,
            text: None,
            session: Arc::default(),
            client: Client::Local,
            at_ns: now_ns(),
            duration_ns: 5,
            first_byte_ns: None,
            rows: None,
            error: None,
            shared_latency: false,
            trace_id: Some(0xabc),
            route: None,
        };
        let query = query(statement, "db".to_owned(), "host");
        assert_eq!(
            (query.sql.as_str(), query.operation.as_str()),
            (UNKNOWN, UNKNOWN)
        );
        assert_eq!(query.client.as_deref(), Some("[local]"));
        assert_eq!(
            query.trace_id.as_deref(),
            Some("00000000000000000000000000000abc")
        );
        assert!((now_ms() - query.at_ms).abs() < 60_000);
    }
}
