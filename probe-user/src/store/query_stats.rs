//! The table of what statements did, by window of time.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, AnyPool, Row as _, any::AnyRow};

use super::{
    QueryStats, Record, Side, StoreError,
    buckets::{self, Counts},
    connections::Connections,
    error::Doing as _,
    now_ms,
    rows::{Insert, parse_fingerprint, unsigned},
};

const INSERT: Insert = Insert {
    table: "query_stats",
    columns: &[
        "from_ms",
        "to_ms",
        "host",
        "service",
        "side",
        "database_name",
        "fingerprint",
        "calls",
        "errors",
        "row_count",
        "busy_ns",
        "buckets",
        "hourly",
    ],
    on_conflict: "ON CONFLICT DO NOTHING",
};

/// Writes those of the records that belong here.
///
/// # Errors
/// As the database says.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    let stats: Vec<&QueryStats> = records
        .iter()
        .filter_map(|record| match record {
            Record::QueryStats(rows) => Some(rows),
            _ => None,
        })
        .flatten()
        .collect();
    insert_rows(connection, &stats, false).await
}

async fn insert_rows(
    connection: &mut AnyConnection,
    rows: &[&QueryStats],
    hourly: bool,
) -> Result<(), StoreError> {
    INSERT
        .run(connection, rows, |row, stats| {
            row.signed(stats.from_ms)
                .signed(stats.to_ms)
                .text(&stats.host)
                .text(&stats.service)
                .text(stats.side.as_str())
                .text(stats.database.as_deref().unwrap_or_default())
                .fingerprint(stats.fingerprint)
                .count(stats.calls)
                .count(stats.errors)
                .count(stats.rows)
                .count(stats.busy_ns)
                .bytes(&stats.buckets)
                .count(hourly.into());
        })
        .await
}

/// Sums per host, service, side, database and statement over the windows that begin in a range of
/// time.
///
/// # Errors
/// As the database says.
pub(super) async fn sums(
    readers: &AnyPool,
    from_ms: i64,
    to_ms: i64,
) -> Result<Vec<QueryStats>, StoreError> {
    const DOING: &str = "cannot read what statements did";
    let mut sums = Sums::default();
    let mut from = from_ms;
    // Hour by hour, so that a month is not in memory at once. An hour that is summed up meanwhile is
    // read before or after that, never in between.
    loop {
        let next = sqlx::query(
            "SELECT MIN(from_ms) FROM query_stats WHERE from_ms >= $1 AND from_ms < $2",
        )
        .bind(from)
        .bind(to_ms)
        .fetch_one(readers)
        .await
        .doing(DOING)?;
        let Some(next): Option<i64> = next.try_get(0).doing(DOING)? else {
            return Ok(sums.finish());
        };
        let hour_ends = next - next.rem_euclid(HOUR_MS) + HOUR_MS;
        let rows = sqlx::query(
            "SELECT q.from_ms, q.to_ms, q.host, q.service, q.side, q.database_name, q.fingerprint, \
             q.calls, q.errors, q.row_count, q.busy_ns, q.buckets, \
             COALESCE(s.operation, '') AS operation, COALESCE(s.sql, '') AS sql \
             FROM query_stats q LEFT JOIN statements s ON s.fingerprint = q.fingerprint \
             WHERE q.from_ms >= $1 AND q.from_ms < $2",
        )
        .bind(from)
        .bind(hour_ends.min(to_ms))
        .fetch_all(readers)
        .await
        .doing(DOING)?;
        for row in &rows {
            sums.add(read(row).doing(DOING)?);
        }
        from = hour_ends;
    }
}

/// Windows that are older than this are summed up, in milliseconds.
const MINUTES_KEPT_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Makes one hour of a host out of its windows, the oldest first; whether there was one. What comes
/// late for an hour that was summed up already is added to it.
///
/// # Errors
/// As the database says.
pub(super) async fn sum_up_an_hour(
    connections: &mut Connections,
    host: &str,
) -> Result<bool, StoreError> {
    const DOING: &str = "cannot sum up what statements did";
    let before = now_ms().saturating_sub(MINUTES_KEPT_MS);
    let before = before - before.rem_euclid(HOUR_MS);
    let oldest = sqlx::query(
        "SELECT MIN(from_ms) FROM query_stats WHERE host = $1 AND hourly = 0 AND from_ms < $2",
    )
    .bind(host)
    .bind(before)
    .fetch_one(&mut connections.writer)
    .await
    .doing(DOING)?;
    let Some(oldest): Option<i64> = oldest.try_get(0).doing(DOING)? else {
        return Ok(false);
    };
    let hour = oldest - oldest.rem_euclid(HOUR_MS);
    let begin = connections.dialect.begin();
    connections.execute(begin, DOING).await?;
    let done = replace_with_sum(&mut connections.writer, host, hour).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connections.execute(end, DOING).await;
    done.and(ended).map(|()| true)
}

async fn replace_with_sum(
    writer: &mut AnyConnection,
    host: &str,
    hour: i64,
) -> Result<(), StoreError> {
    const DOING: &str = "cannot sum up what statements did";
    let rows = sqlx::query(
        "SELECT from_ms, to_ms, host, service, side, database_name, fingerprint, calls, errors, \
         row_count, busy_ns, buckets, '' AS operation, '' AS sql \
         FROM query_stats WHERE host = $1 AND from_ms >= $2 AND from_ms < $3",
    )
    .bind(host)
    .bind(hour)
    .bind(hour + HOUR_MS)
    .fetch_all(&mut *writer)
    .await
    .doing(DOING)?;
    let mut sums = Sums::default();
    for row in &rows {
        sums.add(read(row).doing(DOING)?);
    }
    let mut hours = sums.finish();
    for sum in &mut hours {
        sum.from_ms = hour;
        sum.to_ms = sum.to_ms.max(hour + HOUR_MS);
    }
    sqlx::query("DELETE FROM query_stats WHERE host = $1 AND from_ms >= $2 AND from_ms < $3")
        .bind(host)
        .bind(hour)
        .bind(hour + HOUR_MS)
        .execute(&mut *writer)
        .await
        .doing(DOING)?;
    let hours: Vec<&QueryStats> = hours.iter().collect();
    insert_rows(writer, &hours, true).await
}

fn read(row: &AnyRow) -> Result<QueryStats, sqlx::Error> {
    let text = |name: &str| row.try_get::<String, _>(name);
    let number = |name: &str| row.try_get::<i64, _>(name);
    let count = |name: &str| number(name).map(unsigned);
    Ok(QueryStats {
        from_ms: number("from_ms")?,
        to_ms: number("to_ms")?,
        host: text("host")?,
        service: text("service")?,
        side: text("side")?.parse().unwrap_or(Side::Server),
        database: Some(text("database_name")?).filter(|name| !name.is_empty()),
        fingerprint: parse_fingerprint(&text("fingerprint")?),
        operation: text("operation")?,
        sql: text("sql")?,
        calls: count("calls")?,
        errors: count("errors")?,
        rows: count("row_count")?,
        busy_ns: count("busy_ns")?,
        buckets: row.try_get("buckets")?,
    })
}

type Key = (String, String, Side, Option<String>, u64);

/// Rows added up over time.
#[derive(Default)]
struct Sums(BTreeMap<Key, (QueryStats, Counts)>);

impl Sums {
    fn add(&mut self, row: QueryStats) {
        let key = (
            row.host.clone(),
            row.service.clone(),
            row.side,
            row.database.clone(),
            row.fingerprint,
        );
        let Some((sum, counts)) = self.0.get_mut(&key) else {
            let mut counts = Counts::new();
            buckets::add(&mut counts, &row.buckets);
            self.0.insert(key, (row, counts));
            return;
        };
        sum.from_ms = sum.from_ms.min(row.from_ms);
        sum.to_ms = sum.to_ms.max(row.to_ms);
        sum.calls = sum.calls.saturating_add(row.calls);
        sum.errors = sum.errors.saturating_add(row.errors);
        sum.rows = sum.rows.saturating_add(row.rows);
        sum.busy_ns = sum.busy_ns.saturating_add(row.busy_ns);
        buckets::add(counts, &row.buckets);
    }

    fn finish(self) -> Vec<QueryStats> {
        let sums = self.0.into_values();
        sums.map(|(mut sum, counts)| {
            sum.buckets = buckets::encode(&counts);
            sum
        })
        .collect()
    }
}
