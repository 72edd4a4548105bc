//! Sessions as `pg_stat_activity` shows them, and how many more may come.

use serde::Serialize;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{connect::statement, statement::Statements};

/// Groups of sessions that are told apart; those with the most sessions.
const MAX_GROUPS: usize = 500;

/// Sessions of clients, but not our own: these ask, they are not what is asked about. Without the
/// right to see others' sessions their type is hidden, but not their database.
const GROUPS: &str = "
    SELECT coalesce(datname::text, '') AS datname, coalesce(usename::text, '') AS usename,
           coalesce(application_name, '') AS application_name,
           coalesce(state, 'unknown') AS state, wait_event_type, wait_event,
           count(*) AS sessions,
           extract(epoch FROM max(now() - xact_start))::float8 AS transaction_seconds,
           extract(epoch FROM max(now() - query_start) FILTER (WHERE state = 'active'))::float8
               AS statement_seconds,
           (sum(count(*)) OVER ())::int8 AS all_sessions
    FROM pg_catalog.pg_stat_activity
    WHERE (backend_type = 'client backend' OR backend_type IS NULL AND datname IS NOT NULL)
      AND application_name <> 'hostprobe'
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 7 DESC, 1, 2, 3, 4, 5, 6
    LIMIT 500";

/// Those that a person looks at first: the longest transactions and the longest statements.
const NOTABLE: &str = "
    WITH shown AS MATERIALIZED (
        SELECT * FROM pg_catalog.pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name <> 'hostprobe'
          AND state <> 'idle'),
    chosen AS (
        (SELECT pid FROM shown WHERE xact_start IS NOT NULL ORDER BY xact_start LIMIT 10)
        UNION
        (SELECT pid FROM shown WHERE state = 'active' ORDER BY query_start LIMIT 10))
    SELECT pid, datname::text, usename::text, application_name, client_addr::text, state,
           wait_event_type, wait_event,
           extract(epoch FROM now() - xact_start)::float8 AS transaction_seconds,
           extract(epoch FROM now() - query_start)::float8 AS statement_seconds,
           extract(epoch FROM now() - state_change)::float8 AS state_seconds,
           query
    FROM shown WHERE pid IN (SELECT pid FROM chosen)
    ORDER BY xact_start NULLS LAST, pid";

const LIMITS: &str = "
    SELECT current_setting('max_connections')::int8,
           current_setting('superuser_reserved_connections')::int8,
           coalesce(current_setting('reserved_connections', true), '0')::int8,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
            WHERE backend_type = 'client backend'
               OR backend_type IS NULL AND datname IS NOT NULL)";

/// Sessions of clients, without our own.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sessions {
    /// How many there are.
    pub count: u64,
    /// The sessions by what they have in common, at most 500 groups.
    pub groups: Vec<SessionGroup>,
    /// The longest transactions and statements, oldest transaction first.
    pub notable: Vec<Session>,
}

/// Sessions that have all of this in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SessionGroup {
    /// Database.
    pub datname: String,
    /// User.
    pub user: String,
    /// What the client calls itself.
    pub application: String,
    /// As Postgres spells it; `unknown` where it may not be seen.
    pub state: String,
    /// Kind of what is waited for.
    pub wait_event_type: Option<String>,
    /// What is waited for.
    pub wait_event: Option<String>,
    /// How many sessions.
    pub count: u64,
    /// Age of the oldest transaction, in seconds.
    pub transaction_seconds: Option<f64>,
    /// Age of the oldest statement that still runs, in seconds.
    pub statement_seconds: Option<f64>,
}

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Session {
    /// Process id of its backend.
    pub pid: i32,
    /// Database.
    pub datname: Option<String>,
    /// User.
    pub user: Option<String>,
    /// What the client calls itself; `None` when it has no name.
    pub application: Option<String>,
    /// Address of the client; `None` on a Unix socket.
    pub client: Option<String>,
    /// As Postgres spells it.
    pub state: Option<String>,
    /// Kind of what is waited for.
    pub wait_event_type: Option<String>,
    /// What is waited for.
    pub wait_event: Option<String>,
    /// Age of the transaction, in seconds.
    pub transaction_seconds: Option<f64>,
    /// Time since the latest statement began, in seconds.
    pub statement_seconds: Option<f64>,
    /// For how long it is in this state, in seconds.
    pub state_seconds: Option<f64>,
    /// The latest statement, without literals.
    pub sql: Option<String>,
}

/// How many connections the server takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Setting `max_connections`.
    pub max_connections: u64,
    /// Setting `superuser_reserved_connections`.
    pub superuser_reserved: u64,
    /// Setting `reserved_connections`, from Postgres 16 on; else 0.
    pub reserved: u64,
    /// Sessions of clients now, our own included.
    pub used: u64,
}

/// How close a server is to refusing clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Headroom {
    /// Less than 80 % of what ordinary users may take is taken.
    Enough,
    /// 80 % or more.
    Tight,
    /// None is left for ordinary users.
    None,
}

impl Limits {
    /// What ordinary users may take.
    pub fn usable(&self) -> u64 {
        let kept = self.superuser_reserved.saturating_add(self.reserved);
        self.max_connections.saturating_sub(kept)
    }

    /// What ordinary users may still take.
    pub fn available(&self) -> u64 {
        self.usable().saturating_sub(self.used)
    }

    /// The same in one sentence.
    pub fn verdict(&self) -> String {
        let (used, usable) = (self.used, self.usable());
        match self.headroom() {
            Headroom::Enough => format!("{used} of {usable} connections are used"),
            Headroom::Tight => format!(
                "{used} of {usable} connections are used: before they run out, look for idle ones, \
                 put a pooler before it, or raise max_connections"
            ),
            Headroom::None => format!(
                "all {usable} connections are used: ordinary users are refused now; look for idle \
                 ones, put a pooler before it, or raise max_connections"
            ),
        }
    }

    /// How close it is.
    pub fn headroom(&self) -> Headroom {
        if self.available() == 0 {
            Headroom::None
        } else if self.used.saturating_mul(5) >= self.usable().saturating_mul(4) {
            Headroom::Tight
        } else {
            Headroom::Enough
        }
    }
}

impl Headroom {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enough => "enough",
            Self::Tight => "tight",
            Self::None => "none",
        }
    }
}

pub(super) async fn sessions(
    connection: &mut PgConnection,
    statements: &mut Statements,
) -> Result<Sessions, sqlx::Error> {
    let rows = statement(GROUPS).fetch_all(&mut *connection).await?;
    let count = match rows.first() {
        Some(row) => whole(row, "all_sessions")?,
        None => 0,
    };
    let groups = rows
        .iter()
        .take(MAX_GROUPS)
        .map(group)
        .collect::<Result<_, _>>()?;
    let notable = statement(NOTABLE).fetch_all(connection).await?;
    let notable = notable.iter().map(|row| session(row, statements));
    Ok(Sessions {
        count,
        groups,
        notable: notable.collect::<Result<_, _>>()?,
    })
}

pub(super) async fn limits(connection: &mut PgConnection) -> Result<Limits, sqlx::Error> {
    let (max_connections, superuser_reserved, reserved, used): (i64, i64, i64, i64) =
        sqlx::query_as(LIMITS)
            .persistent(false)
            .fetch_one(connection)
            .await?;
    Ok(Limits {
        max_connections: count(max_connections),
        superuser_reserved: count(superuser_reserved),
        reserved: count(reserved),
        used: count(used),
    })
}

fn group(row: &PgRow) -> Result<SessionGroup, sqlx::Error> {
    Ok(SessionGroup {
        datname: row.try_get("datname")?,
        user: row.try_get("usename")?,
        application: row.try_get("application_name")?,
        state: row.try_get("state")?,
        wait_event_type: row.try_get("wait_event_type")?,
        wait_event: row.try_get("wait_event")?,
        count: whole(row, "sessions")?,
        transaction_seconds: age(row, "transaction_seconds")?,
        statement_seconds: age(row, "statement_seconds")?,
    })
}

/// A session from the columns that [`NOTABLE`] has.
pub(super) fn session(row: &PgRow, statements: &mut Statements) -> Result<Session, sqlx::Error> {
    let application: Option<String> = row.try_get("application_name")?;
    let query: Option<String> = row.try_get("query")?;
    Ok(Session {
        pid: row.try_get("pid")?,
        datname: row.try_get("datname")?,
        user: row.try_get("usename")?,
        application: application.filter(|name| !name.is_empty()),
        client: row.try_get("client_addr")?,
        state: row.try_get("state")?,
        wait_event_type: row.try_get("wait_event_type")?,
        wait_event: row.try_get("wait_event")?,
        transaction_seconds: age(row, "transaction_seconds")?,
        statement_seconds: age(row, "statement_seconds")?,
        state_seconds: age(row, "state_seconds")?,
        sql: query.and_then(|query| statements.without_literals(&query)),
    })
}

/// A time since something that may have begun after our own statement did.
fn age(row: &PgRow, column: &str) -> Result<Option<f64>, sqlx::Error> {
    let seconds: Option<f64> = row.try_get(column)?;
    Ok(seconds.map(|seconds| seconds.max(0.0)))
}

/// A count, which Postgres has signed.
pub(super) fn whole(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get(column).map(count)
}

/// A count, which Postgres has signed.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The alert that everybody has: 80 % of what is left beside the reserved ones.
    #[test]
    fn headroom_is_what_ordinary_users_have() {
        let with = |used| Limits {
            max_connections: 100,
            superuser_reserved: 3,
            reserved: 2,
            used,
        };
        assert_eq!(with(75).headroom(), Headroom::Enough);
        assert_eq!(with(76).headroom(), Headroom::Tight);
        assert_eq!(
            (with(94).headroom(), with(94).available()),
            (Headroom::Tight, 1)
        );
        assert_eq!(with(95).headroom(), Headroom::None);
        assert_eq!(
            (with(100).headroom(), with(100).available()),
            (Headroom::None, 0)
        );
    }
}
