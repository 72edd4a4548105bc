//! The schema, step by step. A step that was released is never changed; a new one is added.

use sqlx::{AnyConnection, Executor as _, Row as _};

use super::{
    StoreError,
    connections::{Dialect, trusted},
    error::Doing as _,
    now_ms,
    place::Place,
};

/// The steps; the version of a store is the number of those that were done.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_slow_queries_and_query_stats.sql"),
    include_str!("migrations/0002_browsers.sql"),
    include_str!("migrations/0003_gemini.sql"),
];

/// The newest version that this program knows.
pub(super) fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Several hosts may start at once; the number only has to be one that nobody else takes.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7145012830219)";

const DOING: &str = "cannot bring the schema to this version";

/// Brings the store to this program's version: all of it or nothing.
///
/// # Errors
/// It is newer, it is no store, or the database refuses.
pub(super) async fn run(
    connection: &mut AnyConnection,
    dialect: Dialect,
    place: &Place,
) -> Result<(), StoreError> {
    // Reading suffices nearly always, and needs no lock.
    if version(connection, dialect, place).await? == newest() {
        return Ok(());
    }
    connection.execute(dialect.begin()).await.doing(DOING)?;
    let done = steps(connection, dialect, place).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute(end).await.doing(DOING);
    done.and(ended.map(drop))
}

async fn steps(
    connection: &mut AnyConnection,
    dialect: Dialect,
    place: &Place,
) -> Result<(), StoreError> {
    if dialect == Dialect::Postgres {
        connection.execute(LOCK).await.doing(DOING)?;
    }
    // Another one may have done it while this one waited.
    let done = version(connection, dialect, place).await?;
    if done == 0 {
        // The right to make schemas is needed only where the administrator has not made this one.
        let there = dialect == Dialect::Sqlite || schema_exists(connection).await?;
        if !there {
            let made = connection.execute("CREATE SCHEMA hostprobe").await;
            made.doing("cannot make the schema hostprobe")?;
        }
        let table = "CREATE TABLE hostprobe_migrations \
                     (version BIGINT NOT NULL PRIMARY KEY, applied_ms BIGINT NOT NULL)";
        connection.execute(table).await.doing(DOING)?;
    }
    let bytes = match dialect {
        Dialect::Sqlite => "BLOB",
        Dialect::Postgres => "BYTEA",
    };
    let missing = usize::try_from(done).unwrap_or(usize::MAX);
    for (version, step) in (1_i64..).zip(STEPS).skip(missing) {
        let text = trusted(step.replace("{bytes}", bytes));
        connection.execute(text).await.doing(DOING)?;
        sqlx::query("INSERT INTO hostprobe_migrations (version, applied_ms) VALUES ($1, $2)")
            .bind(version)
            .bind(now_ms())
            .execute(&mut *connection)
            .await
            .doing(DOING)?;
    }
    Ok(())
}

/// Version of the store; 0 when there is none yet.
///
/// # Errors
/// It is newer, it is no store, or the database refuses.
pub(super) async fn version(
    connection: &mut AnyConnection,
    dialect: Dialect,
    place: &Place,
) -> Result<i64, StoreError> {
    let doing = "cannot read the version of the schema";
    let tables = match dialect {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Dialect::Postgres => {
            "SELECT CAST(tablename AS TEXT) AS name FROM pg_tables WHERE schemaname = 'hostprobe'"
        }
    };
    let rows = sqlx::query(tables).fetch_all(&mut *connection).await;
    let names = rows.doing(doing)?;
    let is_store = |row: &sqlx::any::AnyRow| {
        row.try_get::<String, _>(0)
            .is_ok_and(|name| name == "hostprobe_migrations")
    };
    if names.is_empty() {
        return Ok(0);
    }
    let location = place.to_string();
    if !names.iter().any(is_store) {
        return Err(StoreError::NotAStore { location });
    }
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) FROM hostprobe_migrations")
        .fetch_one(&mut *connection)
        .await
        .doing(doing)?;
    let found = row.try_get(0).doing(doing)?;
    if found > newest() {
        return Err(StoreError::Newer {
            location,
            found,
            known: newest(),
            program: env!("CARGO_PKG_VERSION"),
        });
    }
    Ok(found)
}

async fn schema_exists(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = 'hostprobe'")
        .fetch_optional(&mut *connection)
        .await;
    Ok(found.doing(DOING)?.is_some())
}

/// Writes down that this host is there.
pub(super) async fn say_hello(
    connection: &mut AnyConnection,
    host: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO hosts (host, version, seen_ms) VALUES ($1, $2, $3) ON CONFLICT (host) \
         DO UPDATE SET version = excluded.version, seen_ms = excluded.seen_ms",
    )
    .bind(host)
    .bind(env!("CARGO_PKG_VERSION"))
    .bind(now_ms())
    .execute(connection)
    .await
    .doing("cannot write")
    .map(drop)
}
