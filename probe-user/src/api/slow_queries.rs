//! `/api/slow-queries`: statements that took long, newest first, page by page.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Serialize;

use super::{App, Problem, parameters};
use crate::{
    metrics::metric::seconds,
    store::{Cursor, MAX_LIMIT, SlowQuery, SlowQueryFilter, StoreError, now_ms},
};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Answer {
    /// Where they come from: `store`, or `memory` when there is none or it is down.
    source: &'static str,
    /// Why they don't come from the store.
    source_reason: Option<String>,
    slow_queries: Vec<SlowStatement>,
    /// The parameter `cursor` of the next page; `None` after the last one.
    next: Option<String>,
}

/// One statement, as one end of its connection saw it.
#[derive(Serialize)]
struct SlowStatement {
    /// Text, because it is larger than the numbers that JSON has everywhere.
    id: String,
    /// When it ended, RFC 3339.
    at: String,
    host: String,
    service: String,
    side: &'static str,
    database: Option<String>,
    user: Option<String>,
    application_name: Option<String>,
    client: Option<String>,
    /// Sixteen hexadecimal digits; `None` when the text was never seen.
    fingerprint: Option<String>,
    operation: String,
    /// Without literals.
    sql: String,
    /// With literals; only with `sql.capture_literals`.
    text: Option<String>,
    duration_seconds: f64,
    ttfb_seconds: Option<f64>,
    rows: Option<u64>,
    /// Why it failed.
    sqlstate: Option<String>,
    method: Option<String>,
    route: Option<String>,
    trace_id: Option<String>,
    shared_latency: bool,
}

pub(super) async fn slow_queries(
    State(app): State<App>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(parameters) = parameters.map_err(|error| parameters::bad(error.body_text()))?;
    let filter = filter(&parameters, now_ms())?;
    let (page, source, source_reason) = match app.source.store().slow_queries(&filter).await {
        Ok(page) => (page, "store", None),
        Err(error) => {
            if !matches!(error, StoreError::Off) {
                tracing::debug!("slow queries are answered from memory: {error}");
            }
            let page = app.source.recent().slow_queries(&filter);
            (page, "memory", Some(error.to_string()))
        }
    };
    Ok(Json(Answer {
        source,
        source_reason,
        slow_queries: page.items.into_iter().map(SlowStatement::from).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    }))
}

const NAMES: &str = "service, database, user, fingerprint, route, side, sqlstate, errors, min_ms, \
                     since, until, limit, cursor";

fn filter(asked: &[(String, String)], now_ms: i64) -> Result<SlowQueryFilter, Problem> {
    let mut filter = SlowQueryFilter::default();
    for (name, value) in asked {
        let refuse = |allowed: &str| parameters::refuse(name, value, allowed);
        let text = || Some(value.clone());
        match name.as_str() {
            "service" => filter.service = text(),
            "database" => filter.database = text(),
            "user" => filter.user = text(),
            "route" => filter.route = text(),
            "sqlstate" => filter.sqlstate = text(),
            "side" => filter.side = Some(value.parse().map_err(refuse)?),
            "fingerprint" => filter.fingerprint = Some(parameters::fingerprint(name, value)?),
            "errors" => {
                filter.only_errors = match value.as_str() {
                    "only" => true,
                    "all" => false,
                    _ => return Err(refuse("allowed are only, all")),
                };
            }
            "min_ms" => {
                let ms: Option<f64> = value.parse().ok();
                let ms = ms.filter(|ms| (0.0..=1e12).contains(ms));
                let ms = ms.ok_or_else(|| refuse("allowed is a number of milliseconds from 0"))?;
                filter.min_duration_ns = Some(nanoseconds(ms));
            }
            "since" => filter.from_ms = Some(parameters::time(name, value, now_ms)?),
            "until" => filter.to_ms = Some(parameters::time(name, value, now_ms)?),
            "limit" => filter.limit = parameters::limit(name, value, MAX_LIMIT)?,
            "cursor" => {
                let cursor: Cursor = value.parse().map_err(refuse)?;
                filter.before = Some(cursor);
            }
            _ => return Err(parameters::unknown(name, NAMES)),
        }
    }
    Ok(filter)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has checked the range"
)]
fn nanoseconds(ms: f64) -> u64 {
    (ms * 1e6).round() as u64
}

impl From<SlowQuery> for SlowStatement {
    fn from(query: SlowQuery) -> Self {
        let unknown = query.fingerprint == 0;
        Self {
            id: query.id.to_string(),
            at: parameters::rfc3339(query.at_ms),
            host: query.host,
            service: query.service,
            side: query.side.as_str(),
            database: query.database,
            user: query.user,
            application_name: query.application_name,
            client: query.client,
            fingerprint: (!unknown).then(|| format!("{:016x}", query.fingerprint)),
            operation: query.operation,
            sql: query.sql,
            text: query.text,
            duration_seconds: seconds(query.duration_ns),
            ttfb_seconds: query.ttfb_ns.map(seconds),
            rows: query.rows,
            sqlstate: query.sqlstate,
            method: query.method,
            route: query.route,
            trace_id: query.trace_id,
            shared_latency: query.shared_latency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<SlowQueryFilter, Problem> {
        filter(&[(name.to_owned(), value.to_owned())], 1_000_000_000)
    }

    /// A mistyped filter that were ignored would show statements that nobody asked for.
    #[test]
    fn what_is_not_understood_is_named_with_what_is_allowed() {
        for (name, value, allowed) in [
            ("side", "both", "server, client"),
            ("fingerprint", "12", "16 hexadecimal"),
            ("fingerprint", "+123456789abcdef", "16 hexadecimal"),
            ("errors", "yes", "only, all"),
            ("min_ms", "-1", "milliseconds"),
            ("min_ms", "NaN", "milliseconds"),
            ("min_ms", "1s", "milliseconds"),
            ("since", "yesterday", "15m"),
            ("until", "-5m", "15m"),
            ("limit", "0", "1 to 1000"),
            ("limit", "1001", "1 to 1000"),
            ("cursor", "x", "cursor"),
            ("minms", "5", "min_ms"),
        ] {
            let problem = read(name, value).unwrap_err();
            let text = serde_json::to_string(&problem).unwrap();
            for part in [format!("`{name}`"), allowed.to_owned()] {
                assert!(text.contains(&part), "{part} is not in {text}");
            }
        }
    }

    #[test]
    fn times_are_absolute_or_before_now() {
        for (text, at_ms) in [
            ("0s", 1_000_000_000),
            ("90s", 999_910_000),
            ("2h", 992_800_000),
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("1970-01-01T01:00:00+01:00", 0),
        ] {
            assert_eq!(read("since", text).unwrap().from_ms, Some(at_ms), "{text}");
            assert_eq!(read("until", text).unwrap().to_ms, Some(at_ms), "{text}");
        }
        let parsed = read("min_ms", "0.5").unwrap();
        assert_eq!(parsed.min_duration_ns, Some(500_000));
    }
}
