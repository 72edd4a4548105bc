//! Keeping the store within its bounds: old records go, minutes become hours, the file shrinks.
//!
//! All of it in steps that take a moment each, so that records are written in between.

use std::time::Duration;

use sqlx::{Executor as _, Row as _};
use tokio::time::Instant;

use super::{
    StoreError,
    connections::{Connections, Dialect, trusted},
    error::Doing as _,
    now_ms,
    place::file_bytes,
    query_stats,
};

/// From one look at the size to the next; also how long a store that went away is believed to be
/// there while nothing is written.
const LOOK: Duration = Duration::from_secs(5);
/// From one round of everything to the next.
const ROUND: Duration = Duration::from_secs(600);
/// Rows that one step deletes.
const STEP_ROWS: u64 = 2_000;
/// Pages that one step gives back to the file system.
const STEP_PAGES: u64 = 2_000;
/// What is deleted down to when the store is too large, in percent of the bound: far enough that
/// not each look finds it too large again.
const TARGET_PERCENT: u64 = 90;
/// A text that nothing refers to goes once it was not written for so long. More than the time after
/// which writing it says so in the store.
const TEXT_UNUSED_MS: i64 = 2 * 3_600_000;
/// Bytes that a row takes in the indexes of Postgres, about.
const INDEX_ROW_BYTES: u64 = 230;

/// Tables of records, and the column that says when each was.
const TABLES: [(&str, &str); 6] = [
    ("slow_queries", "at_ms"),
    ("query_stats", "from_ms"),
    ("web_vitals", "at_ms"),
    ("browser_errors", "at_ms"),
    ("browser_sums", "from_ms"),
    ("gemini_calls", "at_ms"),
];

const DOING: &str = "cannot delete old records";
const SHRINKING: &str = "cannot shrink the file";

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Look,
    SumUp,
    /// Of the table with this number.
    DeleteOld(usize),
    DeleteTooMuch,
    DeleteTexts,
    DeleteSamples,
    GiveBack,
}

/// Bounds of the store, and how far the current round has come.
#[derive(Debug)]
pub(super) struct Retention {
    keep_ms: i64,
    max_bytes: u64,
    step: Step,
    /// When the next step is due.
    due: Instant,
    next_round: Instant,
    /// Rows to delete yet, so that they are counted once.
    excess: Option<u64>,
}

impl Retention {
    pub(super) fn new(retention_days: u32, max_bytes: u64) -> Self {
        let now = Instant::now();
        Self {
            keep_ms: i64::from(retention_days) * 86_400_000,
            max_bytes,
            step: Step::Look,
            due: now,
            next_round: now,
            excess: None,
        }
    }

    /// When [`Self::step`] wants to be called.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Begins again, with connections that are new.
    pub(super) fn restart(&mut self) {
        self.step = Step::Look;
        self.due = Instant::now();
        self.excess = None;
    }

    /// Does the next bit; the size of the store in bytes when that was looked at.
    ///
    /// # Errors
    /// The store can't be used.
    pub(super) async fn step(
        &mut self,
        connections: &mut Connections,
        host: &str,
    ) -> Result<Option<u64>, StoreError> {
        let now = Instant::now();
        let mut size = None;
        let next = match self.step {
            Step::Look => {
                connections.check_file()?;
                let bytes = size_bytes(connections).await?;
                size = Some(bytes);
                // Postgres keeps the room of what was deleted, so there the size alone says little.
                let too_large = bytes > self.max_bytes && connections.dialect == Dialect::Sqlite;
                (now >= self.next_round || too_large).then_some(Step::SumUp)
            }
            Step::SumUp => match query_stats::sum_up_an_hour(connections, host).await? {
                true => Some(Step::SumUp),
                false => Some(Step::DeleteOld(0)),
            },
            Step::DeleteOld(table) => match TABLES.get(table) {
                Some(table_and_time) => {
                    let deleted = self.delete_old(connections, *table_and_time, host).await?;
                    Some(Step::DeleteOld(table + usize::from(deleted < STEP_ROWS)))
                }
                None => Some(Step::DeleteTooMuch),
            },
            Step::DeleteTooMuch => match self.delete_too_much(connections).await? {
                true => Some(Step::DeleteTooMuch),
                false => Some(Step::DeleteTexts),
            },
            Step::DeleteTexts => match delete_texts(connections).await? {
                STEP_ROWS.. => Some(Step::DeleteTexts),
                _ => Some(Step::DeleteSamples),
            },
            Step::DeleteSamples => match delete_samples(connections).await? {
                STEP_ROWS.. => Some(Step::DeleteSamples),
                _ => Some(Step::GiveBack),
            },
            Step::GiveBack => match give_back(connections).await? {
                true => Some(Step::GiveBack),
                false => {
                    self.next_round = now + ROUND;
                    None
                }
            },
        };
        self.step = next.unwrap_or(Step::Look);
        self.due = match next {
            Some(_) => now,
            // The size after a round is worth knowing at once.
            None if size.is_none() => now,
            None => now + LOOK,
        };
        Ok(size)
    }

    /// Deletes what is older than configured. In a store that several hosts share each deletes its
    /// own, because each has its own idea of what is old; in a file all is ours, also from before
    /// the host had this name.
    async fn delete_old(
        &self,
        connections: &mut Connections,
        (table, time): (&str, &str),
        host: &str,
    ) -> Result<u64, StoreError> {
        let before = now_ms().saturating_sub(self.keep_ms);
        let whose = match connections.dialect {
            Dialect::Sqlite => format!("{time} < {before}"),
            Dialect::Postgres => format!("host = $1 AND {time} < {before}"),
        };
        let sql = trusted(delete(connections.dialect, table, &whose, time, STEP_ROWS));
        let mut question = sqlx::query(sql);
        if connections.dialect == Dialect::Postgres {
            question = question.bind(host);
        }
        let deleted = question.execute(&mut connections.writer).await;
        Ok(deleted.doing(DOING)?.rows_affected())
    }

    /// Deletes some of the oldest rows of all while the store is too large; whether there is more to
    /// do.
    async fn delete_too_much(&mut self, connections: &mut Connections) -> Result<bool, StoreError> {
        let excess = match self.excess {
            Some(excess) => excess,
            None => self.excess_rows(connections).await?,
        };
        if excess == 0 {
            return Ok(false);
        }
        let deleted = delete_oldest(connections, excess.min(STEP_ROWS)).await?;
        let left = match deleted {
            0 => 0,
            deleted => excess.saturating_sub(deleted),
        };
        self.excess = Some(left).filter(|left| *left > 0);
        if left == 0 && connections.dialect == Dialect::Postgres {
            sweep_lock(connections, "pg_advisory_unlock").await?;
            for (table, _) in TABLES {
                // So that the room is used again soon.
                let vacuum = trusted(format!("VACUUM {table}"));
                connections.writer.execute(vacuum).await.doing(DOING)?;
            }
        }
        Ok(left > 0)
    }

    /// Rows that have to go, by the bytes of the average row.
    async fn excess_rows(&self, connections: &mut Connections) -> Result<u64, StoreError> {
        let bytes = match connections.dialect {
            Dialect::Sqlite => sqlite_used_bytes(connections).await?,
            Dialect::Postgres => size_bytes(connections).await?,
        };
        if bytes <= self.max_bytes {
            return Ok(0);
        }
        if connections.dialect == Dialect::Sqlite {
            let rows = count_rows(connections).await?;
            return Ok(self.share_of(rows, bytes));
        }
        // One host at a time, or each would delete what is too much.
        if !sweep_lock(connections, "pg_try_advisory_lock").await? {
            return Ok(0);
        }
        let rows = count_rows(connections).await?;
        let bytes = postgres_used_bytes(connections, rows).await?;
        let excess = self.share_of(rows, bytes);
        if excess == 0 {
            sweep_lock(connections, "pg_advisory_unlock").await?;
        }
        Ok(excess)
    }

    /// So many of the rows that the target is met.
    fn share_of(&self, rows: u64, bytes: u64) -> u64 {
        if bytes <= self.max_bytes {
            return 0;
        }
        let excess = u128::from(bytes - self.target());
        let share = u128::from(rows) * excess / u128::from(bytes);
        u64::try_from(share).unwrap_or(rows).max(1)
    }

    fn target(&self) -> u64 {
        self.max_bytes / 100 * TARGET_PERCENT
    }
}

/// Deletes at most so many rows, oldest first.
fn delete(dialect: Dialect, table: &str, condition: &str, time: &str, rows: u64) -> String {
    let row = row_id(dialect);
    format!(
        "DELETE FROM {table} WHERE {row} IN \
         (SELECT {row} FROM {table} WHERE {condition} ORDER BY {time} LIMIT {rows})"
    )
}

fn row_id(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "rowid",
        Dialect::Postgres => "ctid",
    }
}

/// Deletes from the table that goes back furthest.
async fn delete_oldest(connections: &mut Connections, rows: u64) -> Result<u64, StoreError> {
    let mut oldest: Option<(i64, &str, &str)> = None;
    for (table, time) in TABLES {
        let sql = trusted(format!("SELECT MIN({time}) FROM {table}"));
        let row = sqlx::query(sql).fetch_one(&mut connections.writer).await;
        let begin: Option<i64> = row.doing(DOING)?.try_get(0).doing(DOING)?;
        if let Some(begin) = begin
            && oldest.is_none_or(|(earliest, ..)| begin < earliest)
        {
            oldest = Some((begin, table, time));
        }
    }
    let Some((_, table, time)) = oldest else {
        return Ok(0);
    };
    let sql = trusted(delete(connections.dialect, table, "true", time, rows));
    let deleted = connections.writer.execute(sql).await.doing(DOING)?;
    Ok(deleted.rows_affected())
}

/// Deletes texts that nothing refers to any more.
async fn delete_texts(connections: &mut Connections) -> Result<u64, StoreError> {
    let before = now_ms().saturating_sub(TEXT_UNUSED_MS);
    // The time is asked a second time outside: a text that another host writes in this moment is
    // looked at again before it is deleted, and has a new time by then.
    let sql = format!(
        "DELETE FROM statements WHERE seen_ms < {before} AND fingerprint IN \
         (SELECT s.fingerprint FROM statements s WHERE s.seen_ms < {before} \
         AND NOT EXISTS (SELECT 1 FROM slow_queries q WHERE q.fingerprint = s.fingerprint) \
         AND NOT EXISTS (SELECT 1 FROM query_stats q WHERE q.fingerprint = s.fingerprint) \
         LIMIT {STEP_ROWS})"
    );
    let deleted = connections.writer.execute(trusted(sql)).await;
    Ok(deleted.doing(DOING)?.rows_affected())
}

/// Deletes samples of errors that did not occur any more. That of an old release stays while the
/// error occurs in another one, since it knows when that was seen first.
async fn delete_samples(connections: &mut Connections) -> Result<u64, StoreError> {
    let before = now_ms().saturating_sub(TEXT_UNUSED_MS);
    let row = row_id(connections.dialect);
    // As above.
    let sql = format!(
        "DELETE FROM browser_error_samples WHERE seen_ms < {before} AND {row} IN \
         (SELECT s.{row} FROM browser_error_samples s WHERE s.seen_ms < {before} \
         AND NOT EXISTS (SELECT 1 FROM browser_errors e \
         WHERE e.app = s.app AND e.fingerprint = s.fingerprint) LIMIT {STEP_ROWS})"
    );
    let deleted = connections.writer.execute(trusted(sql)).await;
    Ok(deleted.doing(DOING)?.rows_affected())
}

/// Gives pages that are free back to the file system when they are many; whether there are more.
async fn give_back(connections: &mut Connections) -> Result<bool, StoreError> {
    if connections.dialect == Dialect::Postgres {
        return Ok(false);
    }
    let pages = pragma(connections, "PRAGMA page_count").await?;
    let free = pragma(connections, "PRAGMA freelist_count").await?;
    // A few are used again sooner than the file grows.
    if free > pages / 16 {
        let sql = trusted(format!("PRAGMA incremental_vacuum({STEP_PAGES})"));
        connections.writer.execute(sql).await.doing(SHRINKING)?;
        let left = pragma(connections, "PRAGMA freelist_count").await?;
        // Without progress the file was made without this ability.
        return Ok(left < free && left > 0);
    }
    // The log is as long as it ever was; readers that keep it from being emptied are no failure.
    let emptied = connections
        .writer
        .execute("PRAGMA wal_checkpoint(TRUNCATE)");
    emptied.await.doing(SHRINKING)?;
    Ok(false)
}

/// Bytes on the disk.
async fn size_bytes(connections: &mut Connections) -> Result<u64, StoreError> {
    if let Some((path, _)) = &connections.file {
        return Ok(file_bytes(path).unwrap_or_default());
    }
    // Of all tables, whatever later versions add.
    let sql = "SELECT CAST(COALESCE(SUM(pg_total_relation_size(c.oid)), 0) AS BIGINT) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'hostprobe' AND c.relkind = 'r'";
    number(connections, sql).await
}

/// Bytes of the pages of the file that hold something.
async fn sqlite_used_bytes(connections: &mut Connections) -> Result<u64, StoreError> {
    let pages = pragma(connections, "PRAGMA page_count").await?;
    let free = pragma(connections, "PRAGMA freelist_count").await?;
    let bytes = pragma(connections, "PRAGMA page_size").await?;
    Ok(pages.saturating_sub(free).saturating_mul(bytes))
}

/// Rows of all tables of records.
async fn count_rows(connections: &mut Connections) -> Result<u64, StoreError> {
    let mut rows = 0;
    for (table, _) in TABLES {
        let sql = trusted(format!("SELECT COUNT(*) FROM {table}"));
        rows += number(connections, sql).await?;
    }
    Ok(rows)
}

/// Bytes that so many rows take without the room that is free. Reads all of them.
async fn postgres_used_bytes(connections: &mut Connections, rows: u64) -> Result<u64, StoreError> {
    let mut bytes = rows * INDEX_ROW_BYTES;
    for (table, _) in TABLES {
        let sql = trusted(format!(
            "SELECT CAST(COALESCE(SUM(pg_column_size(t.*)), 0) AS BIGINT) FROM {table} t"
        ));
        bytes += number(connections, sql).await?;
    }
    Ok(bytes)
}

/// Takes or gives back the lock of the host that deletes for all of them.
async fn sweep_lock(connections: &mut Connections, function: &str) -> Result<bool, StoreError> {
    let sql = trusted(format!("SELECT {function}(7145012830220)"));
    let row = sqlx::query(sql).fetch_one(&mut connections.writer).await;
    row.doing(DOING)?.try_get(0).doing(DOING)
}

async fn pragma(connections: &mut Connections, sql: &'static str) -> Result<u64, StoreError> {
    number(connections, sql).await
}

async fn number(
    connections: &mut Connections,
    sql: impl sqlx::SqlSafeStr,
) -> Result<u64, StoreError> {
    let row = sqlx::query(sql).fetch_one(&mut connections.writer).await;
    let value: i64 = row.doing(DOING)?.try_get(0).doing(DOING)?;
    Ok(super::rows::unsigned(value))
}
