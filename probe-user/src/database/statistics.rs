//! Counters that Postgres keeps: databases, checkpoints, replication, tables.

use serde::{Serialize, Serializer};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{activity::whole, connect::statement};

/// Databases of a server that are told apart, those with the most transactions.
const DATABASES: &str = "
    SELECT s.datname::text, s.numbackends::int8, s.xact_commit, s.xact_rollback, s.blks_read,
           s.blks_hit, s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated,
           s.tup_deleted, s.conflicts, s.temp_files, s.temp_bytes, s.deadlocks
    FROM pg_catalog.pg_stat_database s JOIN pg_catalog.pg_database d ON d.oid = s.datid
    WHERE NOT d.datistemplate
    ORDER BY s.xact_commit DESC, 1
    LIMIT 100";

/// Reads the size of every file of a database: not at each look.
const SIZES: &str = "
    SELECT datname::text, pg_catalog.pg_database_size(oid)
    FROM pg_catalog.pg_database
    WHERE NOT datistemplate
      AND (pg_catalog.has_database_privilege(oid, 'CONNECT')
           OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'))
    LIMIT 100";

const CHECKPOINTS: &str =
    "SELECT num_timed AS timed, num_requested AS requested FROM pg_catalog.pg_stat_checkpointer";
const CHECKPOINTS_BEFORE_17: &str = "
    SELECT checkpoints_timed AS timed, checkpoints_req AS requested
    FROM pg_catalog.pg_stat_bgwriter";

/// Who follows us. What a follower has not sent back yet is unknown.
const FOLLOWERS: &str = "
    SELECT coalesce(application_name, '') AS application_name, client_addr::text, state,
           sync_state,
           pg_catalog.pg_wal_lsn_diff(
               CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                    ELSE pg_catalog.pg_current_wal_lsn() END, replay_lsn)::float8 AS behind_bytes,
           extract(epoch FROM replay_lag)::float8 AS behind_seconds
    FROM pg_catalog.pg_stat_replication ORDER BY 1, pid LIMIT 50";

const SLOTS: &str = "
    SELECT slot_name::text, active,
           pg_catalog.pg_wal_lsn_diff(
               CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                    ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::float8 AS kept_bytes
    FROM pg_catalog.pg_replication_slots ORDER BY 1 LIMIT 50";

/// How far behind we are ourselves. Nothing to replay is no lag, however long ago the last change.
const STANDBY: &str = "
    SELECT CASE WHEN pg_catalog.pg_last_wal_receive_lsn() = pg_catalog.pg_last_wal_replay_lsn()
                THEN 0
                ELSE extract(epoch FROM clock_timestamp()
                             - pg_catalog.pg_last_xact_replay_timestamp()) END::float8 AS behind_seconds";

const TABLES: &str = "
    SELECT schemaname::text, relname::text, n_live_tup, n_dead_tup,
           extract(epoch FROM greatest(last_vacuum, last_autovacuum))::float8 AS vacuumed_at_seconds,
           extract(epoch FROM greatest(last_analyze, last_autoanalyze))::float8 AS analyzed_at_seconds
    FROM pg_catalog.pg_stat_user_tables
    WHERE n_dead_tup > 0
    ORDER BY n_dead_tup DESC, 1, 2
    LIMIT 10";

/// Counters of one database since its statistics were reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DatabaseCounts {
    /// Its name.
    pub datname: String,
    /// Backends that are connected to it now.
    pub backends: u64,
    /// Transactions committed.
    pub committed: u64,
    /// Transactions rolled back.
    pub rolled_back: u64,
    /// Blocks read from the system.
    pub blocks_read: u64,
    /// Blocks found in shared buffers.
    pub blocks_hit: u64,
    /// Rows read by scans.
    pub rows_returned: u64,
    /// Rows fetched by index scans.
    pub rows_fetched: u64,
    /// Rows inserted.
    pub rows_inserted: u64,
    /// Rows updated.
    pub rows_updated: u64,
    /// Rows deleted.
    pub rows_deleted: u64,
    /// Statements cancelled on a standby because replay had to go on.
    pub conflicts: u64,
    /// Temporary files.
    pub temp_files: u64,
    /// Bytes written to them.
    pub temp_bytes: u64,
    /// Deadlocks.
    pub deadlocks: u64,
    /// Bytes on disk; `None` when not known.
    pub size_bytes: Option<u64>,
}

/// Checkpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checkpoints {
    /// Because of `checkpoint_timeout`.
    pub timed: u64,
    /// Because much was written, or because somebody asked: too many say that `max_wal_size` is
    /// small.
    pub requested: u64,
}

/// Replication in both directions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replication {
    /// On a standby: seconds since the last transaction that was replayed was committed, 0 when
    /// all that was received is replayed; `None` on a primary, and when nothing was replayed yet.
    pub behind_seconds: Option<f64>,
    /// Who follows.
    pub followers: Vec<Follower>,
    /// Places that are kept for followers.
    pub slots: Vec<Slot>,
}

/// Somebody who follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Follower {
    /// What it calls itself.
    pub application: String,
    /// Its address; `None` on a Unix socket, or when it may not be seen.
    pub client: Option<String>,
    /// Such as `streaming` or `catchup`.
    pub state: Option<String>,
    /// Such as `async` or `sync`.
    pub sync_state: Option<String>,
    /// Bytes of WAL that it has not replayed.
    pub behind_bytes: Option<f64>,
    /// Seconds from writing here to replaying there; `None` when it is idle and up to date.
    pub behind_seconds: Option<f64>,
}

/// A replication slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody uses it.
    pub active: bool,
    /// Bytes of WAL that are kept for it.
    pub kept_bytes: Option<f64>,
}

/// A table with dead rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Rows, as the statistics estimate.
    pub live_rows: u64,
    /// Dead rows, as the statistics estimate.
    pub dead_rows: u64,
    #[serde(rename = "vacuumed_at", serialize_with = "rfc3339")]
    /// Last vacuum, in seconds since the epoch; `None` when never.
    pub vacuumed_at_seconds: Option<f64>,
    #[serde(rename = "analyzed_at", serialize_with = "rfc3339")]
    /// Last analyze, in seconds since the epoch; `None` when never.
    pub analyzed_at_seconds: Option<f64>,
}

/// A time for people: RFC 3339, UTC, with milliseconds.
fn rfc3339<S: Serializer>(seconds: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let time = seconds.and_then(|seconds| jiff::SignedDuration::try_from_secs_f64(seconds).ok());
    let time = time.and_then(|time| jiff::Timestamp::from_duration(time).ok());
    match time {
        Some(time) => serializer.collect_str(&format_args!("{time:.3}")),
        None => serializer.serialize_none(),
    }
}

pub(super) async fn databases(
    connection: &mut PgConnection,
) -> Result<Vec<DatabaseCounts>, sqlx::Error> {
    let rows = statement(DATABASES).fetch_all(connection).await?;
    rows.iter().map(database).collect()
}

fn database(row: &PgRow) -> Result<DatabaseCounts, sqlx::Error> {
    let whole = |column| whole(row, column);
    Ok(DatabaseCounts {
        datname: row.try_get("datname")?,
        backends: whole("numbackends")?,
        committed: whole("xact_commit")?,
        rolled_back: whole("xact_rollback")?,
        blocks_read: whole("blks_read")?,
        blocks_hit: whole("blks_hit")?,
        rows_returned: whole("tup_returned")?,
        rows_fetched: whole("tup_fetched")?,
        rows_inserted: whole("tup_inserted")?,
        rows_updated: whole("tup_updated")?,
        rows_deleted: whole("tup_deleted")?,
        conflicts: whole("conflicts")?,
        temp_files: whole("temp_files")?,
        temp_bytes: whole("temp_bytes")?,
        deadlocks: whole("deadlocks")?,
        size_bytes: None,
    })
}

/// Sizes in bytes by name.
pub(super) async fn sizes(
    connection: &mut PgConnection,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(SIZES)
        .persistent(false)
        .fetch_all(connection)
        .await
}

pub(super) async fn checkpoints(
    connection: &mut PgConnection,
    version_number: i32,
) -> Result<Checkpoints, sqlx::Error> {
    let query = if version_number >= 170_000 {
        CHECKPOINTS
    } else {
        CHECKPOINTS_BEFORE_17
    };
    let row = statement(query).fetch_one(connection).await?;
    Ok(Checkpoints {
        timed: whole(&row, "timed")?,
        requested: whole(&row, "requested")?,
    })
}

pub(super) async fn replication(
    connection: &mut PgConnection,
    is_standby: bool,
) -> Result<Replication, sqlx::Error> {
    let behind_seconds = if is_standby {
        let (seconds,): (Option<f64>,) = sqlx::query_as(STANDBY)
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
        seconds.map(|seconds| seconds.max(0.0))
    } else {
        None
    };
    let followers = statement(FOLLOWERS).fetch_all(&mut *connection).await?;
    let slots = statement(SLOTS).fetch_all(connection).await?;
    Ok(Replication {
        behind_seconds,
        followers: followers.iter().map(follower).collect::<Result<_, _>>()?,
        slots: slots.iter().map(slot).collect::<Result<_, _>>()?,
    })
}

fn follower(row: &PgRow) -> Result<Follower, sqlx::Error> {
    let behind: Option<f64> = row.try_get("behind_bytes")?;
    Ok(Follower {
        application: row.try_get("application_name")?,
        client: row.try_get("client_addr")?,
        state: row.try_get("state")?,
        sync_state: row.try_get("sync_state")?,
        behind_bytes: behind.map(|bytes| bytes.max(0.0)),
        behind_seconds: row.try_get("behind_seconds")?,
    })
}

fn slot(row: &PgRow) -> Result<Slot, sqlx::Error> {
    let kept: Option<f64> = row.try_get("kept_bytes")?;
    Ok(Slot {
        name: row.try_get("slot_name")?,
        active: row.try_get("active")?,
        kept_bytes: kept.map(|bytes| bytes.max(0.0)),
    })
}

pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
    let rows = statement(TABLES).fetch_all(connection).await?;
    let table = |row: &PgRow| {
        Ok(Table {
            schema: row.try_get("schemaname")?,
            name: row.try_get("relname")?,
            live_rows: whole(row, "n_live_tup")?,
            dead_rows: whole(row, "n_dead_tup")?,
            vacuumed_at_seconds: row.try_get("vacuumed_at_seconds")?,
            analyzed_at_seconds: row.try_get("analyzed_at_seconds")?,
        })
    };
    rows.iter().map(table).collect()
}
