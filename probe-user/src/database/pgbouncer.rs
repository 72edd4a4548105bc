//! What PgBouncer says on its admin console.
//!
//! The console takes simple queries only, and answers with columns that differ from version to
//! version: they are read by name, and those that are missing are `None`.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{Column as _, PgConnection, Row as _, ValueRef as _, postgres::PgRow};

use super::connect::{ConnectError, establish, options};
use crate::config;

/// Pools that are told apart, and databases with counters.
const MAX_ROWS: usize = 200;

/// All that it says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pooler {
    /// Its version, such as `1.18.0`; empty when it does not say.
    pub version: String,
    /// Its pools: one for each pair of database and user.
    pub pools: Vec<Pool>,
    /// Counters of its databases.
    pub databases: Vec<PooledDatabase>,
}

/// One pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pool {
    /// Database, as clients name it.
    pub datname: String,
    /// User.
    pub user: String,
    /// `session`, `transaction` or `statement`.
    pub mode: String,
    /// Clients that are linked to a server connection, or idle.
    pub clients_active: Option<u64>,
    /// Clients that wait for a server connection.
    pub clients_waiting: Option<u64>,
    /// Server connections that are linked to a client.
    pub servers_active: Option<u64>,
    /// Server connections that may be used at once.
    pub servers_idle: Option<u64>,
    /// Server connections that were idle for long, and are checked before they are used.
    pub servers_used: Option<u64>,
    /// Server connections that are being checked or reset.
    pub servers_tested: Option<u64>,
    /// Server connections that are logging in.
    pub servers_login: Option<u64>,
    /// For how long the client that waits longest has waited, in seconds.
    pub maxwait_seconds: Option<f64>,
}

/// Counters of one database since PgBouncer started.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PooledDatabase {
    /// Its name.
    pub datname: String,
    /// Transactions.
    pub transactions: Option<u64>,
    /// Statements.
    pub statements: Option<u64>,
    /// Bytes from clients.
    pub received_bytes: Option<u64>,
    /// Bytes to clients.
    pub sent_bytes: Option<u64>,
    /// Time that server connections spent in transactions, in seconds.
    pub transaction_seconds: Option<f64>,
    /// Time that server connections spent on statements, in seconds.
    pub statement_seconds: Option<f64>,
    /// Time that clients waited for a server connection, in seconds.
    pub wait_seconds: Option<f64>,
    /// Mean duration of a statement in the latest period, in seconds.
    pub mean_statement_seconds: Option<f64>,
    /// Mean wait for a server connection in the latest period, in seconds.
    pub mean_wait_seconds: Option<f64>,
}

/// Opens a connection to an admin console.
pub(super) async fn connect(url: &config::DatabaseUrl) -> Result<PgConnection, ConnectError> {
    // It refuses parameters of a session that it does not know.
    establish(&options(url)?.extra_float_digits(None)).await
}

pub(super) async fn look(connection: &mut PgConnection) -> Result<Pooler, sqlx::Error> {
    let version = rows(connection, "SHOW VERSION").await?;
    let pools = rows(connection, "SHOW POOLS").await?;
    let stats = rows(connection, "SHOW STATS").await?;
    let version = version.first().and_then(|row| row.0.get("version"));
    Ok(Pooler {
        version: version.map(|text| version_number(text)).unwrap_or_default(),
        pools: pools.iter().take(MAX_ROWS).map(pool).collect(),
        databases: stats.iter().take(MAX_ROWS).map(database).collect(),
    })
}

/// The number in `PgBouncer 1.18.0`.
fn version_number(text: &str) -> String {
    text.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// A row by the names of its columns.
struct Named(BTreeMap<String, String>);

async fn rows(
    connection: &mut PgConnection,
    statement: &'static str,
) -> Result<Vec<Named>, sqlx::Error> {
    let rows = sqlx::raw_sql(statement).fetch_all(connection).await?;
    rows.iter().map(named).collect()
}

/// Simple queries are answered in text, whatever the type.
fn named(row: &PgRow) -> Result<Named, sqlx::Error> {
    let mut values = BTreeMap::new();
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        if !value.is_null() {
            let text = value.as_str().map_err(sqlx::Error::Decode)?;
            values.insert(column.name().to_owned(), text.to_owned());
        }
    }
    Ok(Named(values))
}

impl Named {
    fn text(&self, column: &str) -> String {
        self.0.get(column).cloned().unwrap_or_default()
    }

    fn whole(&self, column: &str) -> Option<u64> {
        self.0.get(column)?.parse().ok()
    }

    fn microseconds(&self, column: &str) -> Option<f64> {
        let us: f64 = self.0.get(column)?.parse().ok()?;
        Some(us / 1e6)
    }
}

fn pool(row: &Named) -> Pool {
    // Whole seconds, and the rest in microseconds.
    let seconds = row
        .0
        .get("maxwait")
        .and_then(|text| text.parse::<f64>().ok());
    let rest = row.microseconds("maxwait_us").unwrap_or(0.0);
    Pool {
        datname: row.text("database"),
        user: row.text("user"),
        mode: row.text("pool_mode"),
        clients_active: row.whole("cl_active"),
        clients_waiting: row.whole("cl_waiting"),
        servers_active: row.whole("sv_active"),
        servers_idle: row.whole("sv_idle"),
        servers_used: row.whole("sv_used"),
        servers_tested: row.whole("sv_tested"),
        servers_login: row.whole("sv_login"),
        maxwait_seconds: seconds.map(|seconds| seconds + rest),
    }
}

fn database(row: &Named) -> PooledDatabase {
    PooledDatabase {
        datname: row.text("database"),
        transactions: row.whole("total_xact_count"),
        statements: row.whole("total_query_count"),
        received_bytes: row.whole("total_received"),
        sent_bytes: row.whole("total_sent"),
        transaction_seconds: row.microseconds("total_xact_time"),
        statement_seconds: row.microseconds("total_query_time"),
        wait_seconds: row.microseconds("total_wait_time"),
        mean_statement_seconds: row.microseconds("avg_query_time"),
        mean_wait_seconds: row.microseconds("avg_wait_time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions add, rename and drop columns; what is not there must not become 0.
    #[test]
    fn columns_are_read_by_name_and_missing_ones_are_unknown() {
        let columns = [
            ("database", "shop"),
            ("user", "app"),
            ("cl_waiting", "7"),
            ("maxwait", "2"),
            ("maxwait_us", "500000"),
            ("something_new", "x"),
        ];
        let columns = columns.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pool = pool(&Named(columns.into()));
        assert_eq!(pool.clients_waiting, Some(7));
        assert_eq!(pool.maxwait_seconds, Some(2.5));
        assert_eq!(pool.servers_used, None);
        assert_eq!(version_number("PgBouncer 1.18.0"), "1.18.0");
    }
}
