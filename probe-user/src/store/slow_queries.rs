//! The table of slow statements.

use sqlx::{AnyConnection, AnyPool, Row as _, any::AnyRow};

use super::{
    Cursor, Page, Record, Side, SlowQuery, SlowQueryFilter, StoreError,
    connections::trusted,
    error::Doing as _,
    record::{DEFAULT_LIMIT, MAX_LIMIT},
    rows::{Insert, Values, parse_fingerprint, unsigned},
};

const INSERT: Insert = Insert {
    table: "slow_queries",
    columns: &[
        "id",
        "at_ms",
        "host",
        "service",
        "side",
        "database_name",
        "user_name",
        "application_name",
        "client",
        "fingerprint",
        "statement_text",
        "duration_ns",
        "ttfb_ns",
        "row_count",
        "sqlstate",
        "method",
        "route",
        "trace_id",
        "shared_latency",
    ],
    on_conflict: "ON CONFLICT (id) DO NOTHING",
};

const SELECT: &str = "SELECT q.id, q.at_ms, q.host, q.service, q.side, q.database_name, q.user_name, \
     q.application_name, q.client, q.fingerprint, q.statement_text, q.duration_ns, q.ttfb_ns, \
     q.row_count, q.sqlstate, q.method, q.route, q.trace_id, q.shared_latency, \
     COALESCE(s.operation, '') AS operation, COALESCE(s.sql, '') AS sql \
     FROM slow_queries q LEFT JOIN statements s ON s.fingerprint = q.fingerprint";

/// Writes those of the records that belong here.
///
/// # Errors
/// As the database says.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    records: &[Record],
) -> Result<(), StoreError> {
    let queries: Vec<&SlowQuery> = records
        .iter()
        .filter_map(|record| match record {
            Record::SlowQuery(query) => Some(&**query),
            _ => None,
        })
        .collect();
    INSERT
        .run(connection, &queries, |row, query| {
            row.signed(query.id)
                .signed(query.at_ms)
                .text(&query.host)
                .text(&query.service)
                .text(query.side.as_str())
                .optional_text(query.database.as_deref())
                .optional_text(query.user.as_deref())
                .optional_text(query.application_name.as_deref())
                .optional_text(query.client.as_deref())
                .fingerprint(query.fingerprint)
                .optional_text(query.text.as_deref())
                .count(query.duration_ns)
                .optional_count(query.ttfb_ns)
                .optional_count(query.rows)
                .optional_text(query.sqlstate.as_deref())
                .optional_text(query.method.as_deref())
                .optional_text(query.route.as_deref())
                .optional_text(query.trace_id.as_deref())
                .count(query.shared_latency.into());
        })
        .await
}

/// Finds records, newest first.
///
/// # Errors
/// As the database says.
pub(super) async fn find(
    readers: &AnyPool,
    filter: &SlowQueryFilter,
) -> Result<Page<SlowQuery>, StoreError> {
    const DOING: &str = "cannot read slow queries";
    let limit = match filter.limit {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let (sql, values) = question(filter, limit);
    let rows = sqlx::query_with(trusted(sql), values.finish()?)
        .fetch_all(readers)
        .await
        .doing(DOING)?;
    let read: Result<Vec<SlowQuery>, sqlx::Error> = rows.iter().map(read).collect();
    let mut items = read.doing(DOING)?;
    // One more than was asked for, which shows that there is a next page.
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let last = items.last().filter(|_| more);
    let next = last.map(|last| Cursor {
        at_ms: last.at_ms,
        id: last.id,
    });
    Ok(Page { items, next })
}

fn question(filter: &SlowQueryFilter, limit: u32) -> (String, Values) {
    let mut values = Values::default();
    let mut conditions: Vec<&str> = Vec::new();
    let texts = [
        ("q.service = ?", filter.service.as_deref()),
        ("q.database_name = ?", filter.database.as_deref()),
        ("q.user_name = ?", filter.user.as_deref()),
        ("q.route = ?", filter.route.as_deref()),
        ("q.side = ?", filter.side.map(Side::as_str)),
        ("q.sqlstate = ?", filter.sqlstate.as_deref()),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            conditions.push(condition);
            values.text(value);
        }
    }
    if let Some(fingerprint) = filter.fingerprint {
        conditions.push("q.fingerprint = ?");
        values.fingerprint(fingerprint);
    }
    if let Some(ns) = filter.min_duration_ns {
        conditions.push("q.duration_ns >= ?");
        values.count(ns);
    }
    if let Some(from) = filter.from_ms {
        conditions.push("q.at_ms >= ?");
        values.signed(from);
    }
    if let Some(to) = filter.to_ms {
        conditions.push("q.at_ms < ?");
        values.signed(to);
    }
    if let Some(before) = filter.before {
        // Both databases compare rows, and use the index for that.
        conditions.push("(q.at_ms, q.id) < (?, ?)");
        values.signed(before.at_ms).signed(before.id);
    }
    if filter.only_errors {
        conditions.push("q.sqlstate IS NOT NULL");
    }
    let conditions = match conditions.is_empty() {
        true => String::new(),
        false => numbered(&format!(" WHERE {}", conditions.join(" AND "))),
    };
    let limit = u64::from(limit) + 1;
    let sql = format!("{SELECT}{conditions} ORDER BY q.at_ms DESC, q.id DESC LIMIT {limit}");
    (sql, values)
}

/// With `$1`, `$2`, ... for the question marks.
fn numbered(conditions: &str) -> String {
    let mut parts = conditions.split('?');
    let mut sql = parts.next().unwrap_or_default().to_owned();
    for (place, part) in (1..).zip(parts) {
        sql.push_str(&format!("${place}{part}"));
    }
    sql
}

fn read(row: &AnyRow) -> Result<SlowQuery, sqlx::Error> {
    let text = |name: &str| row.try_get::<Option<String>, _>(name);
    let needed = |name: &str| row.try_get::<String, _>(name);
    let number = |name: &str| row.try_get::<i64, _>(name);
    let count = |name: &str| {
        let value = row.try_get::<Option<i64>, _>(name);
        value.map(|value| value.map(unsigned))
    };
    Ok(SlowQuery {
        id: number("id")?,
        at_ms: number("at_ms")?,
        host: needed("host")?,
        service: needed("service")?,
        side: needed("side")?.parse().unwrap_or(Side::Server),
        database: text("database_name")?,
        user: text("user_name")?,
        application_name: text("application_name")?,
        client: text("client")?,
        fingerprint: parse_fingerprint(&needed("fingerprint")?),
        operation: needed("operation")?,
        sql: needed("sql")?,
        text: text("statement_text")?,
        duration_ns: unsigned(number("duration_ns")?),
        ttfb_ns: count("ttfb_ns")?,
        rows: count("row_count")?,
        sqlstate: text("sqlstate")?,
        method: text("method")?,
        route: text("route")?,
        trace_id: text("trace_id")?,
        shared_latency: number("shared_latency")? != 0,
    })
}
